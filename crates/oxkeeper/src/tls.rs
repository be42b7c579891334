//! The options of commands that dial servers with TLS.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Result;
use clap::Args;
use oxkeeper_client::Tls;
use oxkeeper_tls::{LiveTls, Password, Sides, StoreSpec, TlsSettings};

use crate::client_settings::ClientSettings;

/// The options of connections with TLS.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct TlsArgs {
    /// Connect with TLS
    #[arg(long)]
    tls: bool,
    /// The client's key and certificate: a .pem, .p12 or .jks file
    #[arg(long, value_name = "FILE", requires = "tls")]
    tls_key_store: Option<PathBuf>,
    /// The authorities that may sign a server's certificate: a .pem, .p12 or .jks file [default: those of the system]
    #[arg(long, value_name = "FILE", requires = "tls")]
    tls_trust_store: Option<PathBuf>,
    /// A file with the password of both stores
    #[arg(long, value_name = "FILE", requires = "tls")]
    tls_password_file: Option<PathBuf>,
    /// The name that a server's certificate must have, if not the host's
    #[arg(long, value_name = "NAME", requires = "tls")]
    tls_name: Option<String>,
    /// Accept any name in a server's certificate
    #[arg(long, requires = "tls", conflicts_with = "tls_name")]
    tls_any_name: bool,
}

impl TlsArgs {
    /// Loads the stores; `None` without TLS.
    pub(crate) fn load(&self) -> Result<Option<Tls>> {
        self.load_with(&ClientSettings::default())
    }

    /// Loads the stores; `None` without TLS. Properties of ZooKeeper's clients may ask for TLS, and name the stores if no
    /// option does.
    pub(crate) fn load_with(&self, client: &ClientSettings) -> Result<Option<Tls>> {
        if !self.tls && !client.secure {
            return Ok(None);
        }
        let names_stores =
            self.tls_key_store.is_some() || self.tls_trust_store.is_some() || self.tls_password_file.is_some();
        let settings = if names_stores || client.tls == TlsSettings::default() {
            self.settings()
        } else {
            let check_server_names = client.tls.check_server_names && !self.tls_any_name;
            TlsSettings { check_server_names, ..client.tls.clone() }
        };
        let live: Arc<LiveTls> = LiveTls::load(settings, Sides::Client)?;
        Ok(Some(Tls { live, name: self.tls_name.clone() }))
    }

    fn settings(&self) -> TlsSettings {
        let store = |option: &str, path: &Path| StoreSpec {
            key: option.to_owned(),
            path: path.to_owned(),
            kind: String::new(),
            password: Password::default(),
            password_path: self.tls_password_file.clone(),
        };
        TlsSettings {
            prefix: "--tls-".to_owned(),
            key_store: self.tls_key_store.as_deref().map(|path| store("--tls-key-store", path)),
            trust_store: self.tls_trust_store.as_deref().map(|path| store("--tls-trust-store", path)),
            check_server_names: !self.tls_any_name,
            ..TlsSettings::default()
        }
    }
}
