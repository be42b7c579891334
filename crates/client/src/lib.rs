//! A small async ZooKeeper client: what the command line, the bench and our own tests drive a server with.
//!
//! One [`Client`] is one connection of one session. Calls may be made from any number of tasks; they leave in the order
//! of the calls and are answered in that order. The session is kept alive by pings until the client is dropped. A lost
//! connection is told, never repaired behind the caller's back: [`Client::resume`] takes the session up again.
//!
//! One [`Handle`] is one session over any number of connections to a list of servers: it reconnects, shows its identities
//! again and leaves its watches again, as the Java client does.
//!
//! Deliberately absent: retries of calls, caches, recipes. What needs them needs a real client library.
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

/// Watch events that may wait for their reader; one more ends the connection with [`Error::EventsOverflow`].
pub const EVENTS_MAX: usize = 65_536;

/// What a client must keep to take its session up again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// Its id.
    pub id: SessionId,
    /// Proof that it is ours.
    pub password: [u8; PASSWORD_LEN],
    /// As negotiated.
    pub timeout: Duration,
    /// Whether the server that answered the handshake serves reads only.
    pub read_only: bool,
}

/// A watch that fired.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WatchEvent {
    /// What happened.
    pub event: EventType,
    /// To which znode.
    pub path: String,
    /// In which transaction; -1 when a re-registered watch fired at once.
    pub zxid: Zxid,
}

/// A successful answer, undecoded.
#[derive(Clone, Debug)]
pub struct Reply {
    /// The last transaction the server had applied.
    pub zxid: Zxid,
    /// The bytes behind the reply header.
    pub body: Vec<u8>,
}

/// TLS, and whom a server's certificate must name.
#[derive(Clone, Debug)]
pub struct Tls {
    /// Our certificate, if we have one, and whom we trust; loaded for dialling.
    pub live: Arc<LiveTls>,
    /// A name or an address; `None`: the address that is dialled.
    pub name: Option<String>,
}

/// How to connect.
#[derive(Clone, Debug)]
pub struct Options {
    /// The session timeout to ask for; it also bounds the handshake.
    pub timeout: Duration,
    /// Whether a server without a quorum will do.
    pub read_only: bool,
    /// The highest zxid seen so far: a server that is behind it refuses the connection.
    pub last_zxid_seen: Zxid,
    /// `None`: without TLS.
    pub tls: Option<Tls>,
    /// The znode taken for the root: starts with `/`, or is empty for the real one.
    pub chroot: String,
    /// Whom a [`Handle`] proves to be on every connection.
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

/// A connection with a session. Dropping it drops the connection and leaves the session to its timeout.
#[derive(Clone, Debug)]
pub struct Client {
    calls: mpsc::Sender<connection::Call>,
    session: Session,
    chroot: Arc<str>,
    last_zxid: Arc<AtomicI64>,
    auth_refused: Arc<AtomicBool>,
}

/// The watch events of one connection, in the order they arrived.
pub type Events = mpsc::Receiver<WatchEvent>;

impl Client {
    /// Connects and begins a new session.
    ///
    /// *Errors*: `Io`, `HandshakeTimeout`, `Decode`, and `ConnectionLost` when the server closes instead of answering.
    pub async fn connect(server: impl ToSocketAddrs, options: &Options) -> Result<(Client, Events), Error> {
        Client::open(server, options, None).await
    }

    /// Connects and takes `session` up again; `options.timeout` is negotiated anew.
    ///
    /// *Errors*: as [`Client::connect`], and `SessionExpired` when the server no longer knows the session.
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

    /// The session of this connection.
    pub fn session(&self) -> &Session {
        &self.session
    }

    /// The last transaction that any answer named.
    pub fn last_zxid(&self) -> Zxid {
        Zxid(self.last_zxid.load(Ordering::Relaxed))
    }

    /// Whether the server refused an identity, after which it closes the connection.
    pub fn auth_refused(&self) -> bool {
        self.auth_refused.load(Ordering::Relaxed)
    }

    /// Sends one request and waits for its answer. The request leaves before this returns `Pending` a second time, so
    /// futures polled in order are sent in order.
    ///
    /// *Errors*: `Server` for what the server refuses, `ConnectionLost` and its kin for what may or may not have happened.
    pub async fn call(&self, op: OpCode, body: Vec<u8>) -> Result<Reply, Error> {
        self.call_as(None, op, body).await
    }

    /// As [`Client::call`], with an xid of its own (auth and setWatches have one).
    pub(crate) async fn call_as(&self, xid: Option<i32>, op: OpCode, body: Vec<u8>) -> Result<Reply, Error> {
        let (answer, answered) = oneshot::channel();
        let call = connection::Call { xid, op, body, answer };
        self.calls.send(call).await.map_err(|_| Error::ConnectionLost(io::ErrorKind::NotConnected))?;
        answered.await.map_err(|_| Error::ConnectionLost(io::ErrorKind::NotConnected))?
    }
}
