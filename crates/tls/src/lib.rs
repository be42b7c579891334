//! TLS: key and trust stores as ZooKeeper's settings name them, configurations that follow their files, and
//! sessions without sockets.
//!
//! Deliberately absent: timers (the owner of a connection has them), resumption (each connection
//! authenticates anew), revocation lists, look-ups of names.
//!
//! Reading order: [`TlsSettings`] and [`StoreSpec`] are the settings; [`LiveTls`] is the configuration loaded
//! from them, which follows its files; [`Session`] is one connection without a socket, [`SecureSocket`] one
//! with a socket; [`Facts`] and [`check_name`] examine a certificate.

mod certificate;
mod error;
mod live;
mod names;
mod session;
mod settings;
mod socket;
mod store;
mod trust;
mod verify;
mod version1;

use std::sync::{Arc, LazyLock};

use rustls::SupportedCipherSuite;
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms};

pub use self::certificate::Facts;
pub use self::error::{StoreProblem, TlsError};
pub use self::live::{EXPIRY_WARNING_S, LiveTls, Sides};
pub use self::names::check_name;
pub use self::session::{FIRST_BYTE, Session};
pub use self::settings::{ClientAuth, TlsSettings};
pub use self::socket::{SecureSocket, limit};
pub use self::store::{Password, StoreSpec};
pub use rustls::pki_types::{CertificateDer, ServerName};
pub use rustls::{ClientConfig, Error as SessionError, ServerConfig};

static PROVIDER: LazyLock<Arc<CryptoProvider>> = LazyLock::new(|| Arc::new(rustls::crypto::ring::default_provider()));

fn provider() -> Arc<CryptoProvider> {
    PROVIDER.clone()
}

fn algorithms() -> WebPkiSupportedAlgorithms {
    PROVIDER.signature_verification_algorithms
}

fn provider_with(cipher_suites: Vec<SupportedCipherSuite>) -> Arc<CryptoProvider> {
    Arc::new(CryptoProvider { cipher_suites, ..rustls::crypto::ring::default_provider() })
}
