//! A small async ZooKeeper client, used by the command line, the bench and our own tests.
//!
//! One [`Client`] is one connection of one session. Any number of tasks may make calls; requests are sent and
//! answered in the order of the calls. Pings keep the session alive until the client is dropped. The client
//! reports a lost connection and does not reconnect by itself: [`Client::resume`] continues the session.
//!
//! One [`Handle`] is one session over any number of connections to a list of servers: it reconnects, sends
//! its identities again and sets its watches again, as the Java client does.
//!
//! Deliberately absent: retries of calls, caches, recipes. Programs that need these need a full client library.
//!
//! Reading order: [`error`], `connection` (the driver of one socket), [`calls`] (the operations), [`multi`], [`sasl`], [`hosts`],
//! `watches`, `search`, [`handle`].

pub mod calls;
mod connection;
pub mod error;
pub mod handle;
pub mod hosts;
pub mod multi;
pub mod sasl;
mod search;
mod watches;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use oxkeeper_proto::op::EventType;
use oxkeeper_proto::records::PASSWORD_LEN;
use oxkeeper_proto::{OpCode, SessionId, Zxid};
use oxkeeper_tls::LiveTls;
use tokio::net::ToSocketAddrs;
use tokio::sync::{mpsc, oneshot};

pub use calls::Created;
pub use connection::ask_word;
pub use error::Error;
pub use handle::Handle;
pub use hosts::ConnectString;
pub use multi::OpResult;
pub use sasl::Credentials;

/// Watch events that may wait for their receiver; one more ends the connection with [`Error::EventsOverflow`].
pub const EVENTS_MAX: usize = 65_536;

/// Data that a client needs to resume its session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// Session id.
    pub id: SessionId,
    /// Password of the session, which proves that it is ours.
    pub password: [u8; PASSWORD_LEN],
    /// Negotiated timeout.
    pub timeout: Duration,
    /// Whether the server that answered the handshake serves only reads.
    pub read_only: bool,
}

/// A watch that fired.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WatchEvent {
    /// Type of event.
    pub event: EventType,
    /// Path of the znode.
    pub path: String,
    /// Zxid of the transaction; -1 if a re-registered watch fired at once.
    pub zxid: Zxid,
}

/// A successful answer, not decoded.
#[derive(Clone, Debug)]
pub struct Reply {
    /// The last transaction that the server had applied.
    pub zxid: Zxid,
    /// The bytes after the reply header.
    pub body: Vec<u8>,
}

/// TLS configuration, and the name that the server's certificate must have.
#[derive(Clone, Debug)]
pub struct Tls {
    /// Our certificate, if we have one, and the trusted certificates; loaded for dialling.
    pub live: Arc<LiveTls>,
    /// A name or an address; `None`: the dialled address.
    pub name: Option<String>,
}

/// Options of a connection.
#[derive(Clone, Debug)]
pub struct Options {
    /// Requested session timeout; it also limits the handshake.
    pub timeout: Duration,
    /// Whether a server without a quorum is acceptable.
    pub read_only: bool,
    /// The highest zxid seen so far: a server that has not reached it refuses the connection.
    pub last_zxid_seen: Zxid,
    /// TLS; `None`: a connection without TLS.
    pub tls: Option<Tls>,
    /// The znode used as root: starts with `/`, or is empty for the real root.
    pub chroot: String,
    /// SASL credentials that a [`Handle`] uses on every connection.
    pub credentials: Option<Credentials>,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            timeout: Duration::from_secs(30),
            read_only: false,
            last_zxid_seen: Zxid(0),
            tls: None,
            chroot: String::new(),
            credentials: None,
        }
    }
}

/// A connection with a session. Dropping it drops the connection, and the session lasts until its timeout.
#[derive(Clone, Debug)]
pub struct Client {
    calls: mpsc::Sender<connection::Call>,
    session: Session,
    chroot: Arc<str>,
    last_zxid: Arc<AtomicI64>,
    auth_refused: Arc<AtomicBool>,
}

/// The watch events of one connection, in the order in which they arrived.
pub type Events = mpsc::Receiver<WatchEvent>;

impl Client {
    /// Connects and begins a new session.
    ///
    /// *Errors*: `Io`, `HandshakeTimeout`, `Decode`, and `ConnectionLost` if the server closes the connection
    /// instead of answering.
    pub async fn connect(server: impl ToSocketAddrs, options: &Options) -> Result<(Client, Events), Error> {
        Client::open(server, options, None).await
    }

    /// Connects and resumes `session`; `options.timeout` is negotiated again.
    ///
    /// *Errors*: those of [`Client::connect`], and `SessionExpired` if the server no longer knows the session.
    pub async fn resume(
        server: impl ToSocketAddrs,
        options: &Options,
        session: &Session,
    ) -> Result<(Client, Events), Error> {
        Client::open(server, options, Some(session)).await
    }

    async fn open(
        server: impl ToSocketAddrs,
        options: &Options,
        session: Option<&Session>,
    ) -> Result<(Client, Events), Error> {
        let handshake = connection::handshake(server, options, session);
        let (socket, session) =
            tokio::time::timeout(options.timeout, handshake).await.map_err(|_| Error::HandshakeTimeout)??;
        let (calls, waiting) = mpsc::channel(connection::WAITING_MAX);
        let (events, received) = mpsc::channel(EVENTS_MAX);
        let last_zxid = Arc::new(AtomicI64::new(options.last_zxid_seen.0));
        let auth_refused = Arc::new(AtomicBool::new(false));
        let chroot: Arc<str> = options.chroot.as_str().into();
        let incoming = connection::Incoming {
            events,
            chroot: chroot.clone(),
            last_zxid: last_zxid.clone(),
            auth_refused: auth_refused.clone(),
        };
        tokio::spawn(connection::drive(socket, session.timeout, waiting, incoming));
        Ok((Client { calls, session, chroot, last_zxid, auth_refused }, received))
    }

    /// Returns the session of this connection.
    pub fn session(&self) -> &Session {
        &self.session
    }

    /// Returns the highest zxid in any answer.
    pub fn last_zxid(&self) -> Zxid {
        Zxid(self.last_zxid.load(Ordering::Relaxed))
    }

    /// Returns whether the server refused an identity, after which it closes the connection.
    pub fn auth_refused(&self) -> bool {
        self.auth_refused.load(Ordering::Relaxed)
    }

    /// Sends one request and waits for its answer. The request is sent before this returns `Pending` a second
    /// time, so futures polled in order are sent in order.
    ///
    /// *Errors*: `Server` if the server refuses the request; `ConnectionLost` and similar errors if the
    /// request may or may not have taken effect.
    pub async fn call(&self, op: OpCode, body: Vec<u8>) -> Result<Reply, Error> {
        self.call_as(None, op, body).await
    }

    /// Does the same as [`Client::call`] with a special xid (auth and setWatches have one).
    pub(crate) async fn call_as(&self, xid: Option<i32>, op: OpCode, body: Vec<u8>) -> Result<Reply, Error> {
        let (answer, answered) = oneshot::channel();
        let call = connection::Call { xid, op, body, answer };
        self.calls.send(call).await.map_err(|_| Error::ConnectionLost(io::ErrorKind::NotConnected))?;
        answered.await.map_err(|_| Error::ConnectionLost(io::ErrorKind::NotConnected))?
    }
}
