//! The TLS configuration in force, which follows its files.
//!
//! Owns the configurations of the two sides, and the times and lengths of the files at the time of loading.
//! Invariant: the configuration in force was made from complete files that match each other; if the files do
//! not, the previous configuration stays in force. Established connections keep the configuration they began
//! with. Source: `X509Util#enableCertFileReloading`.

use std::path::PathBuf;
use std::sync::{Arc, Weak};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use parking_lot::RwLock;
use rustls::crypto::CryptoProvider;
use rustls::server::NoServerSessionStorage;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ClientConfig, InconsistentKeys, ServerConfig};
use tracing::{info, warn};

use crate::certificate::Facts;
use crate::error::{StoreProblem, TlsError};
use crate::provider_with;
use crate::settings::{ClientAuth, TlsSettings};
use crate::store::{KeyChain, StoreSpec};
use crate::trust::Trust;
use crate::verify::{ClientJudge, ServerJudge};
use crate::version1::Version1;

/// Interval between two checks of the files.
const LOOK_INTERVAL: Duration = Duration::from_secs(2);
/// Remaining validity below which a certificate causes a warning, seconds.
pub const EXPIRY_WARNING_S: i64 = 30 * 24 * 60 * 60;
/// Time during which the same warning is not repeated.
const WARNING_INTERVAL: Duration = Duration::from_secs(24 * 60 * 60);

/// Sides of connections that a configuration is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sides {
    /// The side that accepts.
    Server,
    /// The side that dials.
    Client,
    /// Both sides.
    Both,
}

impl Sides {
    fn accepts(self) -> bool {
        matches!(self, Sides::Server | Sides::Both)
    }

    fn dials(self) -> bool {
        matches!(self, Sides::Client | Sides::Both)
    }
}

/// A configuration that follows its files.
#[derive(Debug)]
pub struct LiveTls {
    settings: TlsSettings,
    sides: Sides,
    current: RwLock<Current>,
}

#[derive(Clone, Debug)]
struct Current {
    server: Option<Arc<ServerConfig>>,
    client: Option<Arc<ClientConfig>>,
    own: Option<Facts>,
    files: Vec<Look>,
    warned: Option<SystemTime>,
}

/// Path, modification time and length of a file, to detect that it has changed.
type Look = (PathBuf, Option<(SystemTime, u64)>);

impl LiveTls {
    /// Loads the stores.
    ///
    /// # Errors
    /// A store or a setting cannot be used. A server needs a key store, and a trust store unless it asks for
    /// no certificates; a client needs neither.
    pub fn load(settings: TlsSettings, sides: Sides) -> Result<Arc<LiveTls>, TlsError> {
        let current = load(&settings, sides, true)?;
        let live = LiveTls { settings, sides, current: RwLock::new(current) };
        live.warn_of_expiry();
        Ok(Arc::new(live))
    }

    /// Returns the configuration for the next accepted connection.
    ///
    /// # Panics
    /// Panics if the configuration was not loaded for that side.
    pub fn server(&self) -> Arc<ServerConfig> {
        self.current.read().server.clone().expect("loaded for accepting")
    }

    /// Returns the configuration for the next dialled connection.
    ///
    /// # Panics
    /// Panics if the configuration was not loaded for that side.
    pub fn client(&self) -> Arc<ClientConfig> {
        self.current.read().client.clone().expect("loaded for dialling")
    }

    /// Returns our own certificate, if we have one.
    pub fn own(&self) -> Option<Facts> {
        self.current.read().own.clone()
    }

    /// Checks the files periodically in a thread, until the last reference to this is dropped. A change is in
    /// force for new connections.
    ///
    /// # Errors
    /// The system cannot start a thread.
    pub fn follow_files(self: &Arc<Self>) -> std::io::Result<()> {
        let live = Arc::downgrade(self);
        thread::Builder::new().name("tls-files".to_owned()).spawn(move || follow(&live)).map(drop)
    }

    /// Checks the files once. Returns whether a new configuration is in force.
    pub fn look(&self) -> bool {
        let files = looks(&self.settings);
        if files == self.current.read().files {
            self.warn_of_expiry();
            return false;
        }
        match load(&self.settings, self.sides, false) {
            Ok(current) => {
                let subject = current.own.as_ref().map_or_else(String::new, |own| own.subject.clone());
                info!(subject, "{}*: key and trust stores were read again", self.settings.prefix);
                *self.current.write() = current;
                self.warn_of_expiry();
                true
            }
            Err(error) => {
                warn!("{error}; what was read before stays in force");
                self.current.write().files = files;
                false
            }
        }
    }

    fn warn_of_expiry(&self) {
        let current = self.current.read().clone();
        let Some(own) = &current.own else { return };
        let now = SystemTime::now();
        let left_s = own.not_after_s - unix_s(now);
        let recent =
            current.warned.is_some_and(|warned| now.duration_since(warned).is_ok_and(|age| age < WARNING_INTERVAL));
        if left_s >= EXPIRY_WARNING_S || recent {
            return;
        }
        self.current.write().warned = Some(now);
        let (key, subject) = (format!("{}keyStore.location", self.settings.prefix), &own.subject);
        if left_s < 0 {
            warn!(subject, "{key}: the certificate has expired: peers that verify it will refuse the connection");
        } else {
            warn!(subject, "{key}: the certificate expires in {} days", left_s / (24 * 60 * 60));
        }
    }
}

fn unix_s(time: SystemTime) -> i64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| i64::try_from(since.as_secs()).unwrap_or(i64::MAX))
}

fn follow(live: &Weak<LiveTls>) {
    loop {
        thread::sleep(LOOK_INTERVAL);
        let Some(live) = live.upgrade() else { return };
        live.look();
    }
}

fn looks(settings: &TlsSettings) -> Vec<Look> {
    let stores = [&settings.key_store, &settings.trust_store].into_iter().flatten();
    let look = |path: &std::path::Path| {
        let found = std::fs::metadata(path).ok();
        (path.to_owned(), found.and_then(|found| Some((found.modified().ok()?, found.len()))))
    };
    stores.flat_map(StoreSpec::files).map(look).collect()
}

fn load(settings: &TlsSettings, sides: Sides, first: bool) -> Result<Current, TlsError> {
    // Before the files are read, so that a file that changes meanwhile is read again.
    let files = looks(settings);
    let speech = settings.speech()?;
    if first && !speech.left_out.is_empty() {
        let (prefix, left_out) = (&settings.prefix, speech.left_out.join(", "));
        warn!("{prefix}enabledProtocols, {prefix}ciphersuites: ignoring unsupported values: {left_out}");
    }
    let provider = provider_with(speech.suites);
    let key = settings.key_store.as_ref().map(|store| own_key(settings, store, &provider)).transpose()?;
    let trust = settings.trust_store.as_ref().map(trust_of).transpose()?;
    let own = key.as_ref().and_then(|key| key.cert.first()).map(Facts::of).transpose();
    let own = own.map_err(|error| store_error(settings, StoreProblem::Certificate(error)))?;
    let usable = |source| usable(settings, source);
    let versions = &speech.versions;
    let server = if sides.accepts() {
        let key = key.as_ref().ok_or_else(|| missing(settings, "keyStore", "a server with TLS needs a key store"))?;
        let builder = ServerConfig::builder_with_provider(provider.clone()).with_protocol_versions(versions);
        let builder = builder.map_err(usable)?;
        let builder = match client_judge(settings, trust.as_ref())? {
            Some(judge) => builder.with_client_cert_verifier(Arc::new(judge)),
            None => builder.with_no_client_auth(),
        };
        let mut config = builder.with_cert_resolver(resolver(key));
        // Every connection authenticates anew: a client that is no longer trusted has no ticket to resume with.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Some(Arc::new(config))
    } else {
        None
    };
    let client =
        if sides.dials() { Some(client_config(settings, provider, versions, key.as_ref(), trust)?) } else { None };
    Ok(Current { server, client, own, files, warned: None })
}

fn client_config(
    settings: &TlsSettings,
    provider: Arc<CryptoProvider>,
    versions: &[&'static rustls::SupportedProtocolVersion],
    key: Option<&Arc<CertifiedKey>>,
    trust: Option<Trust>,
) -> Result<Arc<ClientConfig>, TlsError> {
    let usable = |source| usable(settings, source);
    let judge = ServerJudge { trust: trust.unwrap_or_else(Trust::of_system), check_names: settings.check_server_names };
    let builder = ClientConfig::builder_with_provider(provider).with_protocol_versions(versions).map_err(usable)?;
    let builder = builder.dangerous().with_custom_certificate_verifier(Arc::new(judge));
    let mut config = match key {
        Some(key) => builder.with_client_cert_resolver(resolver(key)),
        None => builder.with_no_client_auth(),
    };
    config.resumption = rustls::client::Resumption::disabled();
    Ok(Arc::new(config))
}

/// Returns the verifier of clients; `None` if clients are not asked for certificates.
fn client_judge(settings: &TlsSettings, trust: Option<&Trust>) -> Result<Option<ClientJudge>, TlsError> {
    let mandatory = match settings.client_auth {
        ClientAuth::None => return Ok(None),
        ClientAuth::Want => false,
        ClientAuth::Need => true,
    };
    // ZooKeeper: the server starts, and then refuses every client that shows a certificate ("No trust manager
    // available").
    let trust = trust.ok_or_else(|| {
        missing(
            settings,
            "trustStore",
            "clients are asked for certificates, and nothing says which to trust: \
            set a trust store, or clientAuth=none",
        )
    })?;
    Ok(Some(ClientJudge::new(trust.clone(), mandatory)))
}

fn own_key(
    settings: &TlsSettings,
    store: &StoreSpec,
    provider: &CryptoProvider,
) -> Result<Arc<CertifiedKey>, TlsError> {
    let KeyChain { key, chain } = store.load_key()?;
    let certified = match chain.first().and_then(Version1::read).map(|version1| version1.public_key()) {
        // For certificates that the library reads, it compares key and certificate itself.
        Some(wanted) => provider.key_provider.load_private_key(key).and_then(|key| {
            let fits = key.public_key().is_none_or(|own| own == wanted);
            if fits { Ok(CertifiedKey::new(chain, key)) } else { Err(InconsistentKeys::KeyMismatch.into()) }
        }),
        None => CertifiedKey::from_der(chain, key, provider),
    };
    certified.map(Arc::new).map_err(|source| usable(settings, source))
}

fn resolver(key: &Arc<CertifiedKey>) -> Arc<SingleCertAndKey> {
    Arc::new(SingleCertAndKey::from(key.clone()))
}

fn trust_of(store: &StoreSpec) -> Result<Trust, TlsError> {
    Trust::new(store.load_trust()?).map_err(|reason| store.error(StoreProblem::Certificate(reason)))
}

fn missing(settings: &TlsSettings, store: &str, reason: &str) -> TlsError {
    TlsError::Setting { key: format!("{}{store}.location", settings.prefix), reason: reason.to_owned() }
}

fn store_error(settings: &TlsSettings, problem: StoreProblem) -> TlsError {
    let store = settings.key_store.as_ref().expect("a key came out of it");
    store.error(problem)
}

fn usable(settings: &TlsSettings, source: rustls::Error) -> TlsError {
    match (&settings.key_store, source) {
        (Some(_), rustls::Error::General(reason)) => store_error(settings, StoreProblem::KeyKind(reason)),
        (_, source) => TlsError::Unusable { key: format!("{}keyStore.location", settings.prefix), source },
    }
}
