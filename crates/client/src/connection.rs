//! The driver of one connection: handshake, then requests out, replies and events in, pings when idle.
//!
//! Owns the socket, the requests that wait for their replies, and the xid counter. Invariant: replies are matched to
//! requests in order, and one that does not fit ends the connection. Source: `ClientCnxn`.

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
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, ToSocketAddrs};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until};

use crate::calls::below;
use crate::{Error, Options, Reply, Session, WatchEvent};

/// Calls that may wait for the driver to take them; more wait in their callers.
pub(crate) const WAITING_MAX: usize = 1024;
/// Requests sent and not answered; more wait in the channel.
const IN_FLIGHT_MAX: usize = 4096;
/// Replies may be longer than requests: a multiRead, or the children of a wide znode.
const REPLY_LEN_MAX: usize = 64 * FRAME_LEN_MAX;
/// ZooKeeper: an idle Java client pings at least this often, whatever the timeout.
const PING_INTERVAL_MAX: Duration = Duration::from_secs(10);

/// One request and where its answer goes.
#[derive(Debug)]
pub(crate) struct Call {
    /// A special xid, or the next ordinary one.
    pub(crate) xid: Option<i32>,
    /// Which operation.
    pub(crate) op: OpCode,
    /// Its encoded record.
    pub(crate) body: Vec<u8>,
    /// Dropped by callers that stopped waiting.
    pub(crate) answer: oneshot::Sender<Result<Reply, Error>>,
}

/// What a driver tells besides answers.
pub(crate) struct Incoming {
    /// Watches that fired.
    pub(crate) events: mpsc::Sender<WatchEvent>,
    /// Taken off the paths of events.
    pub(crate) chroot: Arc<str>,
    /// The last transaction that any answer named.
    pub(crate) last_zxid: Arc<AtomicI64>,
    /// Whether an identity was refused.
    pub(crate) auth_refused: Arc<AtomicBool>,
}

/// Connects and shakes hands.
pub(crate) async fn handshake(
    server: impl ToSocketAddrs,
    options: &Options,
    resumed: Option<&Session>,
) -> Result<(TcpStream, Session), Error> {
    let mut socket = TcpStream::connect(server).await?;
    socket.set_nodelay(true)?;
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
    let lost = |error: io::Error| Error::ConnectionLost(error.kind());
    socket.write_all(&out).await.map_err(lost)?;
    let mut input = Vec::new();
    loop {
        if let Some((frame, _)) = split_frame(&input, FRAME_LEN_MAX)? {
            return Ok((socket, accepted(frame)?));
        }
        if socket.read_buf(&mut input).await.map_err(lost)? == 0 {
            return Err(Error::ConnectionLost(io::ErrorKind::UnexpectedEof));
        }
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

/// Runs the connection until every [`crate::Client`] is gone or it fails; then fails what is unanswered.
pub(crate) async fn drive(socket: TcpStream, timeout: Duration, calls: mpsc::Receiver<Call>, incoming: Incoming) {
    let mut driver = Driver { incoming, input: Vec::new(), out: Vec::new(), pending: VecDeque::new(), last_xid: 0 };
    if let Err(error) = driver.run(&socket, timeout, calls).await {
        driver.fail_pending(error);
    }
}

/// A request that was sent.
struct Pending {
    xid: i32,
    /// `None` for the driver's own pings.
    answer: Option<oneshot::Sender<Result<Reply, Error>>>,
}

struct Driver {
    incoming: Incoming,
    /// Received, not yet a whole frame.
    input: Vec<u8>,
    /// Encoded, not yet taken by the socket.
    out: Vec<u8>,
    pending: VecDeque<Pending>,
    last_xid: i32,
}

impl Driver {
    async fn run(
        &mut self,
        socket: &TcpStream,
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
                ready = socket.readable() => {
                    ready.map_err(|error| Error::ConnectionLost(error.kind()))?;
                    self.read(socket)?;
                    heard_at = Instant::now();
                }
                _ = socket.writable(), if !self.out.is_empty() => self.write(socket)?,
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

    fn write(&mut self, socket: &TcpStream) -> Result<(), Error> {
        match socket.try_write(&self.out) {
            Ok(count) => drop(self.out.drain(..count)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(Error::ConnectionLost(error.kind())),
        }
        Ok(())
    }

    fn read(&mut self, socket: &TcpStream) -> Result<(), Error> {
        match socket.try_read_buf(&mut self.input) {
            Ok(0) => return Err(Error::ConnectionLost(io::ErrorKind::UnexpectedEof)),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(Error::ConnectionLost(error.kind())),
        }
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
            // Who dropped the receiver does not want to know.
            Ok(()) | Err(mpsc::error::TrySendError::Closed(_)) => Ok(()),
            Err(mpsc::error::TrySendError::Full(_)) => Err(Error::EventsOverflow),
        }
    }

    /// The oldest unanswered request learns the reason, those behind it that the connection is lost.
    fn fail_pending(&mut self, error: Error) {
        let mut reason = Some(error);
        for answer in self.pending.drain(..).filter_map(|pending| pending.answer) {
            let error = reason.take().unwrap_or(Error::ConnectionLost(io::ErrorKind::NotConnected));
            let _ = answer.send(Err(error));
        }
    }
}
