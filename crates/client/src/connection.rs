//! The driver of one connection: performs the handshake, then sends requests, receives replies and events,
//! and sends pings when idle.
//!
//! Owns the socket, the requests that wait for their replies, and the xid counter. Invariant: replies are
//! matched to requests in order, and a reply that does not match ends the connection. Source: `ClientCnxn`.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use oxkeeper_proto::frame::{FRAME_LEN_MAX, put_frame, split_frame};
use oxkeeper_proto::op::{EventType, XID_AUTH, XID_NOTIFICATION, XID_PING};
use oxkeeper_proto::records::{
    ConnectRequest, ConnectResponse, PASSWORD_LEN, ReplyHeader, RequestHeader, WatcherEvent,
};
use oxkeeper_proto::{ErrorCode, Jute, OpCode, Reader, SessionId, Zxid};
use oxkeeper_tls::{ServerName, Session as TlsSession, SessionError};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, ToSocketAddrs};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until};

use crate::calls::below;
use crate::{Error, Options, Reply, Session, Tls, WatchEvent};

/// Calls that may wait for the driver to take them; further callers wait.
pub(crate) const WAITING_MAX: usize = 1024;
/// Bytes read at once over TLS.
const READ_LEN: usize = 16 << 10;
/// Requests sent and not yet answered; further ones wait in the channel.
const IN_FLIGHT_MAX: usize = 4096;
/// Maximal length of a reply, bytes. Replies may be longer than requests: a multiRead, or the children of a wide znode.
const REPLY_LEN_MAX: usize = 64 * FRAME_LEN_MAX;
/// ZooKeeper: an idle Java client pings at least this often, whatever the timeout.
const PING_INTERVAL_MAX: Duration = Duration::from_secs(10);

/// A request and the channel for its answer.
#[derive(Debug)]
pub(crate) struct Call {
    /// A special xid; `None` for the next ordinary one.
    pub(crate) xid: Option<i32>,
    /// Operation.
    pub(crate) op: OpCode,
    /// Encoded record.
    pub(crate) body: Vec<u8>,
    /// Receiver of the answer; dropped by a caller that has stopped waiting.
    pub(crate) answer: oneshot::Sender<Result<Reply, Error>>,
}

/// Outputs of a driver other than answers.
pub(crate) struct Incoming {
    /// Fired watches.
    pub(crate) events: mpsc::Sender<WatchEvent>,
    /// The chroot, which is removed from the paths of events.
    pub(crate) chroot: Arc<str>,
    /// The highest zxid in any answer.
    pub(crate) last_zxid: Arc<AtomicI64>,
    /// Whether the server refused an identity.
    pub(crate) auth_refused: Arc<AtomicBool>,
}

/// Connects and performs the handshake.
pub(crate) async fn handshake(
    server: impl ToSocketAddrs,
    options: &Options,
    resumed: Option<&Session>,
) -> Result<(Socket, Session), Error> {
    let mut socket = Socket::dial(server, options.tls.as_ref()).await?;
    let mut out = Vec::new();
    let request = ConnectRequest {
        protocol_version: 0,
        last_zxid_seen: options.last_zxid_seen.0,
        timeout_ms: i32::try_from(options.timeout.as_millis()).unwrap_or(i32::MAX),
        session_id: resumed.map_or(SessionId::NONE, |session| session.id).0,
        passwd: Some(resumed.map_or(&[0; PASSWORD_LEN], |session| &session.password)),
    };
    put_frame(&mut out, |out| {
        request.encode(out);
        options.read_only.encode(out);
    });
    socket.write_all(&mut out).await.map_err(lost)?;
    let mut input = Vec::new();
    loop {
        if let Some((frame, _)) = split_frame(&input, FRAME_LEN_MAX)? {
            return Ok((socket, accepted(frame)?));
        }
        socket.stream.readable().await.map_err(lost)?;
        socket.read(&mut input).map_err(lost)?;
    }
}

/// Sends a four-letter word to a server. Returns the answer.
///
/// *Errors*: those of [`crate::Client::connect`]; a truncated answer is not an error.
pub async fn ask_word((host, port): &(String, u16), tls: Option<&Tls>, word: &str) -> Result<Vec<u8>, Error> {
    let tls = tls.map(|tls| Tls { name: tls.name.clone().or(Some(host.clone())), ..tls.clone() });
    let mut socket = Socket::dial((host.as_str(), *port), tls.as_ref()).await?;
    socket.write_all(&mut word.as_bytes().to_vec()).await.map_err(lost)?;
    let mut answer = Vec::new();
    while answer.len() < REPLY_LEN_MAX {
        socket.stream.readable().await.map_err(lost)?;
        match socket.read(&mut answer) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(answer),
            Err(error) => return Err(lost(error)),
        }
    }
    Ok(answer)
}

/// Makes the error of a lost connection. With TLS 1.3 a server may refuse our certificate only after we have
/// accepted its own.
fn lost(error: io::Error) -> Error {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<SessionError>()) {
        Some(reason) => Error::Tls(reason.to_string()),
        None => Error::ConnectionLost(error.kind()),
    }
}

/// A socket, with TLS or without.
#[derive(Debug)]
pub(crate) struct Socket {
    stream: TcpStream,
    secure: Option<Box<TlsSession>>,
    /// Encrypted bytes that the socket has not taken yet; empty without TLS.
    wire: Vec<u8>,
}

impl Socket {
    /// Connects to a server.
    async fn dial(server: impl ToSocketAddrs, tls: Option<&Tls>) -> Result<Socket, Error> {
        let stream = TcpStream::connect(server).await?;
        stream.set_nodelay(true)?;
        let mut socket = Socket { stream, secure: None, wire: Vec::new() };
        if let Some(tls) = tls {
            socket.secure(tls).await?;
        }
        Ok(socket)
    }

    /// Performs the TLS handshake.
    async fn secure(&mut self, tls: &Tls) -> Result<(), Error> {
        let address = self.stream.peer_addr()?.ip().to_canonical().to_string();
        let name = tls.name.clone().unwrap_or(address);
        let name = ServerName::try_from(name).map_err(|error| Error::Tls(error.to_string()))?;
        let session = TlsSession::dial(tls.live.client(), name, &mut self.wire);
        let mut session = session.map_err(|error| Error::Tls(error.to_string()))?;
        let (mut input, mut plain) = (Vec::with_capacity(READ_LEN), Vec::new());
        while session.is_handshaking() {
            self.stream.write_all(&self.wire).await?;
            self.wire.clear();
            input.clear();
            if self.stream.read_buf(&mut input).await? == 0 {
                return Err(Error::Tls("the server closed the connection in the handshake".to_owned()));
            }
            let received = session.receive(&mut input, &mut plain, &mut self.wire);
            if let Err(error) = received {
                let _ = self.stream.write_all(&self.wire).await;
                return Err(Error::Tls(error.to_string()));
            }
        }
        self.secure = Some(Box::new(session));
        Ok(())
    }

    /// Writes all bytes of `out`.
    async fn write_all(&mut self, out: &mut Vec<u8>) -> io::Result<()> {
        self.write(out)?;
        while self.has_unsent(out) {
            self.stream.writable().await?;
            self.write(out)?;
        }
        Ok(())
    }

    /// Returns whether bytes wait to be written, in `out` or encrypted.
    fn has_unsent(&self, out: &[u8]) -> bool {
        !out.is_empty() || !self.wire.is_empty()
    }

    /// Writes as much of `out` as the socket takes now.
    fn write(&mut self, out: &mut Vec<u8>) -> io::Result<()> {
        let wire = match &mut self.secure {
            None => out,
            Some(session) => {
                if !out.is_empty() {
                    session.encrypt(out, &mut self.wire).map_err(io::Error::other)?;
                    out.clear();
                }
                &mut self.wire
            }
        };
        if wire.is_empty() {
            return Ok(());
        }
        match self.stream.try_write(wire) {
            Ok(count) => drop(wire.drain(..count)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Appends received bytes to `input`.
    ///
    /// *Errors*: those of the socket; the end of the stream is an error, too.
    fn read(&mut self, input: &mut Vec<u8>) -> io::Result<()> {
        let mut sealed = Vec::with_capacity(if self.secure.is_some() { READ_LEN } else { 0 });
        let into = if self.secure.is_some() { &mut sealed } else { &mut *input };
        match self.stream.try_read_buf(into) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error),
        }
        let Some(session) = &mut self.secure else { return Ok(()) };
        let invalid = |error| io::Error::new(io::ErrorKind::InvalidData, error);
        session.receive(&mut sealed, input, &mut self.wire).map_err(invalid)?;
        if session.is_peer_closed() && input.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(())
    }
}

fn accepted(frame: &[u8]) -> Result<Session, Error> {
    let mut reader = Reader::new(frame);
    let response = ConnectResponse::decode(&mut reader)?;
    if response.session_id == SessionId::NONE.0 || response.timeout_ms <= 0 {
        return Err(Error::SessionExpired);
    }
    let password = response.passwd.and_then(|bytes| bytes.try_into().ok());
    Ok(Session {
        id: SessionId(response.session_id),
        password: password.ok_or(oxkeeper_proto::DecodeError::Truncated)?,
        timeout: Duration::from_millis(response.timeout_ms.unsigned_abs().into()),
        read_only: bool::decode(&mut reader).unwrap_or(false),
    })
}

/// Runs the connection until all its [`crate::Client`]s are dropped or it fails; then fails the unanswered requests.
pub(crate) async fn drive(mut socket: Socket, timeout: Duration, calls: mpsc::Receiver<Call>, incoming: Incoming) {
    let mut driver = Driver { incoming, input: Vec::new(), out: Vec::new(), pending: VecDeque::new(), last_xid: 0 };
    if let Err(error) = driver.run(&mut socket, timeout, calls).await {
        driver.fail_pending(error);
    }
}

/// A request that was sent and is not answered.
struct Pending {
    xid: i32,
    /// `None` for the driver's own pings.
    answer: Option<oneshot::Sender<Result<Reply, Error>>>,
}

struct Driver {
    incoming: Incoming,
    /// Received bytes that are not yet a complete frame.
    input: Vec<u8>,
    /// Encoded bytes that the socket has not taken yet.
    out: Vec<u8>,
    pending: VecDeque<Pending>,
    last_xid: i32,
}

impl Driver {
    async fn run(
        &mut self,
        socket: &mut Socket,
        timeout: Duration,
        mut calls: mpsc::Receiver<Call>,
    ) -> Result<(), Error> {
        let ping_interval = (timeout / 3).min(PING_INTERVAL_MAX);
        let silence_max = timeout * 2 / 3;
        let (mut heard_at, mut sent_at) = (Instant::now(), Instant::now());
        loop {
            tokio::select! {
                call = calls.recv(), if self.pending.len() < IN_FLIGHT_MAX => {
                    let Some(call) = call else { return Ok(()) };
                    self.send(call);
                    while self.pending.len() < IN_FLIGHT_MAX && let Ok(call) = calls.try_recv() {
                        self.send(call);
                    }
                    sent_at = Instant::now();
                    self.write(socket)?;
                }
                ready = socket.stream.readable() => {
                    ready.map_err(|error| Error::ConnectionLost(error.kind()))?;
                    self.read(socket)?;
                    heard_at = Instant::now();
                }
                _ = socket.stream.writable(), if socket.has_unsent(&self.out) => self.write(socket)?,
                () = sleep_until(sent_at + ping_interval) => {
                    self.put_request(XID_PING, OpCode::Ping, &[]);
                    self.pending.push_back(Pending { xid: XID_PING, answer: None });
                    sent_at = Instant::now();
                    self.write(socket)?;
                }
                () = sleep_until(heard_at + silence_max) => return Err(Error::Silent),
            }
        }
    }

    fn send(&mut self, call: Call) {
        let xid = call.xid.unwrap_or_else(|| {
            self.last_xid = self.last_xid.checked_add(1).unwrap_or(1);
            self.last_xid
        });
        self.put_request(xid, call.op, &call.body);
        self.pending.push_back(Pending { xid, answer: Some(call.answer) });
    }

    fn put_request(&mut self, xid: i32, op: OpCode, body: &[u8]) {
        put_frame(&mut self.out, |out| {
            RequestHeader { xid, op: op.wire() }.encode(out);
            out.extend_from_slice(body);
        });
    }

    fn write(&mut self, socket: &mut Socket) -> Result<(), Error> {
        socket.write(&mut self.out).map_err(|error| Error::ConnectionLost(error.kind()))
    }

    fn read(&mut self, socket: &mut Socket) -> Result<(), Error> {
        socket.read(&mut self.input).map_err(|error| Error::ConnectionLost(error.kind()))?;
        let input = std::mem::take(&mut self.input);
        let mut rest = &input[..];
        while let Some((frame, behind)) = split_frame(rest, REPLY_LEN_MAX)? {
            self.receive(frame)?;
            rest = behind;
        }
        self.input = rest.to_vec();
        Ok(())
    }

    fn receive(&mut self, frame: &[u8]) -> Result<(), Error> {
        let mut reader = Reader::new(frame);
        let header = ReplyHeader::decode(&mut reader)?;
        if header.xid == XID_NOTIFICATION {
            return self.notify(Zxid(header.zxid), reader);
        }
        if header.zxid > 0 {
            self.incoming.last_zxid.store(header.zxid, Ordering::Relaxed);
        }
        let expected = self.pending.front().map(|pending| pending.xid);
        if expected != Some(header.xid) {
            return Err(Error::OutOfOrder { found: header.xid, expected });
        }
        if header.xid == XID_AUTH && header.err == ErrorCode::AuthFailed.wire() {
            self.incoming.auth_refused.store(true, Ordering::Relaxed);
        }
        let answer = self.pending.pop_front().and_then(|pending| pending.answer);
        if let Some(answer) = answer {
            let reply = Reply { zxid: Zxid(header.zxid), body: reader.rest().to_vec() };
            // A caller that stopped waiting is not an error.
            let _ = answer.send(if header.err == 0 { Ok(reply) } else { Err(Error::from_wire(header.err)) });
        }
        Ok(())
    }

    fn notify(&mut self, zxid: Zxid, mut body: Reader<'_>) -> Result<(), Error> {
        let event = WatcherEvent::decode(&mut body)?;
        let kind = EventType::from_wire(event.event_type);
        let kind = kind.ok_or(oxkeeper_proto::DecodeError::NotAllowed("event type"))?;
        let path = event.path.unwrap_or_default();
        let event = WatchEvent { event: kind, path: below(&self.incoming.chroot, &path).to_owned(), zxid };
        match self.incoming.events.try_send(event) {
            // A caller that dropped the receiver does not want the event.
            Ok(()) | Err(mpsc::error::TrySendError::Closed(_)) => Ok(()),
            Err(mpsc::error::TrySendError::Full(_)) => Err(Error::EventsOverflow),
        }
    }

    /// Fails all unanswered requests: the oldest one with `error`, the others because the connection is lost.
    fn fail_pending(&mut self, error: Error) {
        let mut reason = Some(error);
        for answer in self.pending.drain(..).filter_map(|pending| pending.answer) {
            let error = reason.take().unwrap_or(Error::ConnectionLost(io::ErrorKind::NotConnected));
            let _ = answer.send(Err(error));
        }
    }
}
