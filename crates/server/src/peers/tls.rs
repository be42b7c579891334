//! TLS between servers: data shared by all links, and their handshakes.
//!
//! The helper threads perform the handshake before the greeting. Source: `UnifiedServerSocket`,
//! `QuorumX509Util`.

use std::io::{self, ErrorKind};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Instant;

use oxkeeper_tls::{FIRST_BYTE, LiveTls, SecureSocket, Sides, TlsError, limit};

use crate::net::tls::load;
use oxkeeper_config::Config;

/// Names of the alerts as rustls prints them.
const CERTIFICATE_ALERTS: [&str; 4] = ["BadCertificate", "CertificateUnknown", "UnknownCA", "CertificateExpired"];

/// TLS data shared by the links to other servers.
#[derive(Debug)]
pub(crate) struct PeerTls {
    pub(crate) live: Arc<LiveTls>,
    /// This server dials with TLS.
    pub(crate) dials: bool,
    /// Peers without TLS are accepted, too.
    pub(crate) accepts_plain: bool,
    /// The certificate of a connecting peer must name its host.
    pub(crate) checks_names: bool,
}

impl PeerTls {
    /// Loads the stores for links to other servers, if links may use TLS.
    ///
    /// # Errors
    /// A store cannot be read, or there is no trust store.
    // ZooKeeper: without `sslQuorum`, `portUnification` accepts links with TLS and dials without.
    pub(crate) fn load(config: &Config) -> Result<Option<Arc<PeerTls>>, TlsError> {
        let ensemble = &config.ensemble;
        if ensemble.membership.is_none() || !(ensemble.ssl_quorum || ensemble.port_unification) {
            return Ok(None);
        }
        let tls = &ensemble.tls;
        if tls.settings.trust_store.is_none() {
            let reason = "set a trust store: servers must not trust every authority that the system trusts".to_owned();
            return Err(TlsError::Setting { key: "ssl.quorum.trustStore.location".to_owned(), reason });
        }
        Ok(Some(Arc::new(PeerTls {
            live: load(tls, Sides::Both)?,
            dials: ensemble.ssl_quorum,
            accepts_plain: ensemble.port_unification,
            checks_names: tls.check_client_names && tls.settings.check_server_names,
        })))
    }

    /// Performs the handshake of an accepted connection. Returns `None` if it is plain and that is
    /// allowed.
    pub(super) fn accept(&self, socket: &TcpStream, deadline: Instant) -> io::Result<Option<SecureSocket>> {
        let mut first = [0];
        limit(socket, deadline)?;
        if socket.peek(&mut first)? == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        if first[0] != FIRST_BYTE && self.accepts_plain {
            return Ok(None);
        }
        if first[0] != FIRST_BYTE {
            return Err(io::Error::new(
                ErrorKind::InvalidData,
                "it comes without TLS, and only portUnification=true would let it in",
            ));
        }
        SecureSocket::accept(self.live.server(), socket, deadline).map_err(explain).map(Some)
    }

    /// Performs the handshake of a dialled connection. Returns `None` if this server dials without
    /// TLS.
    pub(super) fn dial(&self, socket: &TcpStream, host: &str, deadline: Instant) -> io::Result<Option<SecureSocket>> {
        if !self.dials {
            return Ok(None);
        }
        SecureSocket::dial(self.live.client(), host, socket, deadline).map(Some)
    }
}

/// Explains an alert about certificates; the other server does not report more than that.
fn explain(error: io::Error) -> io::Error {
    let said = error.to_string();
    if !CERTIFICATE_ALERTS.iter().any(|alert| said.contains(alert)) {
        return error;
    }
    let advice = "it refuses this server's certificate, which must be of an authority that it trusts \
                  (ssl.quorum.trustStore) and name the host of this server's server line";
    io::Error::new(error.kind(), format!("{said}: {advice}"))
}
