//! TLS for clients: data shared by all such connections, and the TLS session of one connection.
//!
//! This module owns the sessions and the count of handshakes in progress; the buffers belong to the
//! connection and the thread. Invariant: the first `sealed` bytes of a client's unsent output are
//! encrypted, and only encrypted bytes reach the socket. Source: `NettyServerCnxnFactory`,
//! `X509AuthenticationProvider`.

use std::cell::RefCell;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use oxkeeper_tls::{ClientAuth, FIRST_BYTE, Facts, LiveTls, Session, SessionError, Sides, TlsError, check_name};
use thiserror::Error;
use tracing::warn;

use oxkeeper_config::{Config, Tls};

/// Bytes of the thread's buffer capacity kept for the next record.
const BUFFER_KEPT: usize = 256 << 10;

/// Kind of connections accepted by a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Door {
    /// Plain only.
    Plain,
    /// Plain or TLS, decided by the first byte.
    Either,
    /// TLS only.
    Secure,
}

/// Data shared by all TLS connections.
#[derive(Debug)]
pub(crate) struct ClientTls {
    pub(crate) live: Arc<LiveTls>,
    pub(crate) handshake_timeout_ms: u64,
    check_client_names: bool,
    super_user: Option<String>,
    handshakes_max: Option<u32>,
    handshakes: AtomicU32,
    exceeded: AtomicU64,
    failed: AtomicU64,
}

impl ClientTls {
    /// Loads the stores if the configuration allows TLS clients. Reloads them when they change,
    /// unless that is disabled.
    pub(crate) fn load(config: &Config) -> Result<Option<Arc<ClientTls>>, TlsError> {
        let security = &config.security;
        if config.secure_client.is_none() && !security.client_port_unification {
            return Ok(None);
        }
        let tls = &security.client_tls;
        Ok(Some(Arc::new(ClientTls {
            live: load(tls, Sides::Server)?,
            handshake_timeout_ms: u64::from(tls.handshake_timeout_ms),
            check_client_names: tls.check_client_names && tls.settings.check_server_names,
            super_user: tls.super_user.clone(),
            handshakes_max: tls.handshakes_max,
            handshakes: 0.into(),
            exceeded: 0.into(),
            failed: 0.into(),
        })))
    }

    /// Returns the figures for `mntr`.
    pub(crate) fn figures(&self) -> TlsFigures {
        TlsFigures {
            handshakes: u64::from(self.handshakes.load(Ordering::Relaxed)),
            exceeded: self.exceeded.load(Ordering::Relaxed),
            failed: self.failed.load(Ordering::Relaxed),
            expires_s: self.live.own().map(|own| own.not_after_s),
        }
    }

    /// Resets the figures.
    pub(crate) fn reset_figures(&self) {
        self.exceeded.store(0, Ordering::Relaxed);
        self.failed.store(0, Ordering::Relaxed);
    }
}

/// TLS for administrators.
#[derive(Clone, Debug)]
pub(crate) struct AdminTls {
    pub(crate) live: Arc<LiveTls>,
    /// The same port also accepts plain HTTP.
    pub(crate) accepts_plain: bool,
}

impl AdminTls {
    /// Loads the stores, which are those of the peer links, if the configuration asks for HTTPS.
    pub(crate) fn load(config: &Config) -> Result<Option<AdminTls>, TlsError> {
        let admin = &config.admin;
        if !(admin.enabled && (admin.force_https || admin.port_unification)) {
            return Ok(None);
        }
        let mut tls = config.ensemble.tls.clone();
        // ZooKeeper: `ssl.quorum.clientAuth` applies to other servers only.
        tls.settings.client_auth = if admin.need_client_auth { ClientAuth::Need } else { ClientAuth::None };
        let live = load(&tls, Sides::Server)?;
        Ok(Some(AdminTls { live, accepts_plain: !admin.force_https }))
    }

    /// Returns the protocols served, for the log.
    pub(crate) fn protocols(&self) -> &'static str {
        if self.accepts_plain { "HTTP and HTTPS" } else { "HTTPS" }
    }
}

/// Loads one family of settings and watches its files.
pub(crate) fn load(tls: &Tls, sides: Sides) -> Result<Arc<LiveTls>, TlsError> {
    let live = LiveTls::load(tls.settings.clone(), sides)?;
    if tls.follow_files
        && let Err(error) = live.follow_files()
    {
        warn!(%error, "{}*: changed files will not be read again", tls.settings.prefix);
    }
    Ok(live)
}

/// TLS figures for `mntr`.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct TlsFigures {
    /// Handshakes in progress.
    pub(crate) handshakes: u64,
    /// Connections refused because of too many handshakes.
    pub(crate) exceeded: u64,
    /// Failed handshakes.
    pub(crate) failed: u64,
    /// Expiry of this server's certificate, Unix seconds.
    pub(crate) expires_s: Option<i64>,
}

/// A handshake in progress.
#[derive(Debug)]
struct Handshake(Arc<ClientTls>);

impl Handshake {
    /// Returns `None` if there are too many.
    fn begin(tls: &Arc<ClientTls>) -> Option<Handshake> {
        let count = tls.handshakes.fetch_add(1, Ordering::Relaxed) + 1;
        let handshake = Handshake(tls.clone());
        if tls.handshakes_max.is_some_and(|max| count > max) {
            tls.exceeded.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        Some(handshake)
    }
}

impl Drop for Handshake {
    fn drop(&mut self) {
        self.0.handshakes.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The transport between a connection and its socket.
#[derive(Debug)]
pub(crate) enum Wire {
    /// Plain.
    Plain,
    /// Decided by the first byte.
    Undecided(Arc<ClientTls>, Rc<RefCell<Vec<u8>>>),
    /// Encrypted.
    Secure(Box<Secure>),
}

/// Reason why a connection cannot continue.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub(crate) enum WireEnd {
    #[error("the client does not speak TLS, and this port takes nothing else")]
    NotTls,
    #[error("too many TLS handshakes are under way (netty.server.outstandingHandshake.limit)")]
    TooMany,
    #[error("TLS: {0}")]
    Session(String),
}

impl Wire {
    /// Returns the transport for a connection through `door`. `scratch` belongs to the thread.
    pub(crate) fn new(
        door: Door,
        tls: Option<&Arc<ClientTls>>,
        scratch: &Rc<RefCell<Vec<u8>>>,
    ) -> Result<Wire, WireEnd> {
        match (door, tls) {
            (Door::Plain, _) | (_, None) => Ok(Wire::Plain),
            (Door::Either, Some(tls)) => Ok(Wire::Undecided(tls.clone(), scratch.clone())),
            (Door::Secure, Some(tls)) => Secure::new(tls, scratch),
        }
    }

    /// Decides between plain and TLS from the first byte.
    pub(crate) fn decide(&mut self, first: u8) -> Result<(), WireEnd> {
        if let Wire::Undecided(tls, scratch) = self {
            *self = if first == FIRST_BYTE { Secure::new(tls, scratch)? } else { Wire::Plain };
        }
        Ok(())
    }
}

/// The TLS session of one connection.
#[derive(Debug)]
pub(crate) struct Secure {
    session: Session,
    /// Encrypted bytes at the start of the unsent output.
    sealed: usize,
    /// `None` once the handshake is over.
    handshake: Option<Handshake>,
    scratch: Rc<RefCell<Vec<u8>>>,
}

/// Identity proven by a certificate.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Proved {
    /// The subject, as in ACLs.
    pub(crate) subject: String,
    /// The identity is the superuser.
    pub(crate) is_super: bool,
}

impl Secure {
    #[expect(clippy::new_ret_no_self, reason = "what a connection has is a wire")]
    fn new(tls: &Arc<ClientTls>, scratch: &Rc<RefCell<Vec<u8>>>) -> Result<Wire, WireEnd> {
        let handshake = Handshake::begin(tls).ok_or(WireEnd::TooMany)?;
        let session = Session::accept(tls.live.server()).map_err(|error| WireEnd::Session(error.to_string()))?;
        let secure = Secure { session, sealed: 0, handshake: Some(handshake), scratch: scratch.clone() };
        Ok(Wire::Secure(Box::new(secure)))
    }

    pub(crate) fn is_handshaking(&self) -> bool {
        self.handshake.is_some()
    }

    /// Returns whether the client has announced that it sends nothing more.
    pub(crate) fn is_peer_closed(&self) -> bool {
        self.session.is_peer_closed()
    }

    /// Returns whether part of an unfinished record has arrived.
    pub(crate) fn has_partial(&self) -> bool {
        self.session.has_partial()
    }

    /// Processes raw input. Appends the client's bytes to `plain`. Seals `unsent`, then appends TLS
    /// output to it. Returns the identity in the client's certificate once, when the handshake
    /// completes.
    pub(crate) fn receive(
        &mut self,
        input: &mut [u8],
        peer: SocketAddr,
        plain: &mut Vec<u8>,
        unsent: &mut Vec<u8>,
    ) -> Result<Option<Proved>, WireEnd> {
        if self.handshake.is_some()
            && !self.session.has_begun()
            && input.first().is_some_and(|first| *first != FIRST_BYTE)
        {
            self.count_failure();
            return Err(WireEnd::NotTls);
        }
        self.seal(unsent).map_err(|error| WireEnd::Session(error.to_string()))?;
        let received = self.session.receive(input, plain, unsent);
        self.sealed = unsent.len();
        if let Err(error) = received {
            self.count_failure();
            return Err(WireEnd::Session(error.to_string()));
        }
        if self.session.is_handshaking() {
            return Ok(None);
        }
        let Some(Handshake(tls)) = self.handshake.as_ref() else { return Ok(None) };
        let proved = self.proved(tls, peer.ip().to_canonical());
        if proved.is_err() {
            self.count_failure();
        }
        self.handshake = None;
        proved
    }

    fn count_failure(&self) {
        if let Some(Handshake(tls)) = &self.handshake {
            tls.failed.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn proved(&self, tls: &ClientTls, address: IpAddr) -> Result<Option<Proved>, WireEnd> {
        let Some(certificate) = self.session.peer_certificate() else { return Ok(None) };
        if tls.check_client_names {
            check_name(certificate, &address.to_string()).map_err(WireEnd::Session)?;
        }
        let subject = Facts::of(certificate).map_err(WireEnd::Session)?.subject;
        let is_super = tls.super_user.as_ref() == Some(&subject);
        Ok(Some(Proved { subject, is_super }))
    }

    /// Encrypts the output after the sealed bytes.
    pub(crate) fn seal(&mut self, unsent: &mut Vec<u8>) -> Result<(), SessionError> {
        let start = self.sealed.min(unsent.len());
        if start < unsent.len() {
            let mut scratch = self.scratch.borrow_mut();
            self.session.seal(unsent, start, &mut scratch)?;
            scratch.clear();
            scratch.shrink_to(BUFFER_KEPT);
        }
        self.sealed = unsent.len();
        Ok(())
    }

    /// Notes that `count` of the sealed bytes were sent.
    pub(crate) fn sent(&mut self, count: usize) {
        self.sealed -= count;
    }

    /// Appends the TLS close message after the unsent output. Returns whether there is anything to
    /// send.
    pub(crate) fn close(&mut self, unsent: &mut Vec<u8>) -> bool {
        if self.seal(unsent).is_err() {
            return false;
        }
        self.session.close(unsent);
        let said = unsent.len() > self.sealed;
        self.sealed = unsent.len();
        said
    }
}

#[cfg(test)]
mod tests {
    use oxkeeper_tls::{ServerName, StoreSpec, TlsSettings};

    use super::*;

    /// Returns the server's session and the client's, whose hello is in `hello`.
    fn pair(dir: &std::path::Path, hello: &mut Vec<u8>) -> (Secure, Session) {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        let store = |name: &str, content: String| {
            let (key, path) = (name.to_owned(), dir.join(name).with_extension("pem"));
            std::fs::write(&path, content).unwrap();
            Some(StoreSpec { key, path, ..StoreSpec::default() })
        };
        let settings = TlsSettings {
            prefix: "ssl.".to_owned(),
            key_store: store("key", made.signing_key.serialize_pem() + &made.cert.pem()),
            trust_store: store("trust", made.cert.pem()),
            client_auth: ClientAuth::None,
            ..TlsSettings::default()
        };
        let server = LiveTls::load(settings.clone(), Sides::Server).unwrap();
        let client = LiveTls::load(settings, Sides::Client).unwrap();
        let host = ServerName::try_from("localhost").unwrap();
        let client = Session::dial(client.client(), host, hello).unwrap();
        let session = Session::accept(server.server()).unwrap();
        (Secure { session, sealed: 0, handshake: None, scratch: Rc::default() }, client)
    }

    #[test]
    fn what_waits_is_encrypted_although_something_comes_before_it_can_leave() {
        let dir = tempfile::tempdir().unwrap();
        let (mut to_server, mut unsent) = (Vec::new(), Vec::new());
        let (mut server, mut client) = pair(dir.path(), &mut to_server);
        let peer = SocketAddr::from(([127, 0, 0, 1], 1));
        let (mut heard, mut answer) = (Vec::new(), Vec::new());
        while client.is_handshaking() || server.session.is_handshaking() {
            server.receive(&mut std::mem::take(&mut to_server), peer, &mut heard, &mut unsent).unwrap();
            client.receive(&mut std::mem::take(&mut unsent), &mut answer, &mut to_server).unwrap();
            server.sealed = 0;
        }
        unsent.extend_from_slice(b"an event");
        client.encrypt(b"ping", &mut to_server).unwrap();
        server.receive(&mut to_server, peer, &mut heard, &mut unsent).unwrap();
        unsent.extend_from_slice(b", a reply");
        server.seal(&mut unsent).unwrap();
        client.receive(&mut unsent, &mut answer, &mut Vec::new()).unwrap();
        assert_eq!((heard.as_slice(), answer.as_slice()), (&b"ping"[..], &b"an event, a reply"[..]));
    }
}
