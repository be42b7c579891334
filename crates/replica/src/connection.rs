//! One client connection: frames in, replies and commands out, strictly in order.
//!
//! A read is answered on arrival, under the shared lock, unless this connection has a write under
//! way: then the read waits until that write is answered, while later writes are proposed
//! (`reads_ahead.rs`). So replies leave in request order, and a client sees its own writes, but
//! never a later write of its own in an earlier read.
//!
//! A client that comes back with its session waits until the connection that has the session has
//! ended: requests that have arrived there come before those that it sends here.
//!
//! Invariant: `in_flight` counts the writes proposed and not yet answered. Source: `NIOServerCnxn`, `ZooKeeperServer`,
//! `FinalRequestProcessor`, `CommitProcessor`.

use std::collections::VecDeque;
use std::sync::atomic::Ordering;

use oxkeeper_proto::records::{ConnectRequest, ConnectResponse, PASSWORD_LEN, ReplyHeader, RequestHeader};
use oxkeeper_proto::{ErrorCode, Jute, OpClass, OpCode, Reader, SessionId, frame};
use oxkeeper_state::{Command, Identities, Settings, reconfig, session};
use thiserror::Error;

use crate::auth::AuthConfig;
use crate::auth::digest_md5::DigestMd5;
use crate::clocks::{Heard, TAKEN_OVER};
use crate::delivery::{Answered, ConnectionId, Delivery, DeliveryKind, Origin, Proposals};
use crate::load::Load;
use crate::local::LocalSessions;
use crate::reads_ahead::{ANSWERS_LEN_MAX, Ahead};
use crate::request::Outcome;
use crate::stats::{ConnectionStats, Counting, ServerStats};
use crate::{Serving, Shared};

/// Number of unanswered writes at which a connection is not read any further.
pub const IN_FLIGHT_MAX: u32 = 4096;
/// Bytes of replies collected in one turn before they are written out.
pub const OUT_TURN_MAX: usize = 1 << 20;

/// Configuration that all connections of a server share.
#[derive(Clone, Debug)]
pub struct ConnectionConfig {
    /// `jute.maxbuffer`, bytes.
    pub frame_len_max: usize,
    /// Shortest session timeout granted, ms.
    pub session_timeout_min_ms: i32,
    /// Longest session timeout granted, ms.
    pub session_timeout_max_ms: i32,
    /// Settings that travel with every command.
    pub settings: Settings,
    /// Authentication settings.
    pub auth: AuthConfig,
    /// Returns whether the first four bytes of a connection are a four-letter word.
    pub is_word: fn([u8; 4]) -> bool,
    /// Whether there are other servers: then this server's state may lag behind what is agreed on.
    pub distributed: bool,
    /// Sessions that are not agreed on.
    pub local_sessions: LocalSessions,
}

/// Reason why a connection ends.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum End {
    #[error("{}", told_by_length(*.0))]
    FrameLength(i32),
    #[error("this server has no quorum")]
    NotServing,
    #[error("this server has no quorum and serves reads only")]
    ServesReadOnly,
    #[error("session {0} belongs to the ensemble; a read-only server cannot resume it")]
    SessionOfEnsemble(SessionId),
    #[error("the connect request is malformed")]
    ConnectMalformed,
    #[error(
        "the client has seen zxid 0x{client:x}, this server only 0x{server:x}: was its data lost or replaced? \
         Restart the client"
    )]
    ZxidAhead { client: i64, server: i64 },
    #[error("session {0} has expired or was closed")]
    SessionExpired(SessionId),
    #[error("wrong password for session {0}")]
    WrongPassword(SessionId),
    #[error("a request header is malformed")]
    HeaderMalformed,
    #[error("operation {0} does not exist")]
    UnknownOperation(i32),
    #[error("an auth packet is malformed")]
    AuthMalformed,
    #[error("authentication with scheme {0:?} failed")]
    AuthFailed(String),
    #[error("the client expects ensemble {0:?}, which is not in ensembleAuthName")]
    OtherEnsemble(String),
    #[error("authentication with sasl failed: {0}")]
    SaslFailed(String),
    #[error("a sasl token is malformed")]
    SaslMalformed,
    #[error("authentication is required")]
    AuthRequired,
    #[error("a request of {0} bytes and those under way exceed largeRequestMaxBytes")]
    LargeRequest(usize),
    #[error("too many new sessions (connection_throttle_tokens)")]
    Rationed,
    #[error("the session was closed")]
    SessionClosed,
    #[error("the session has expired or moved")]
    Disconnected,
    #[error("the replies to reads between two writes exceed {ANSWERS_LEN_MAX} bytes")]
    Overlong,
}

/// Explains four bytes that are no valid frame length: most are the first bytes of another
/// protocol.
fn told_by_length(len: i32) -> String {
    match &len.to_be_bytes() {
        [0x16, 0x03, ..] => "TLS client on the plaintext port".to_owned(),
        b"GET " | b"HEAD" | b"POST" | b"PUT " | b"OPTI" | b"PRI " => {
            "HTTP client on the port for ZooKeeper clients".to_owned()
        }
        _ => format!("frame length {len} is out of range"),
    }
}

/// Outcome of a turn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Flow {
    /// Every complete frame was handled.
    More,
    /// The next frame waits for this connection's own writes, or for the end of the connection that
    /// had its session.
    Blocked,
    /// The next frame waits until the server has fewer requests under way.
    Throttled,
    /// Replies must be written out before the next frame is handled.
    Flush,
    /// The connection begins with a four-letter word.
    Word([u8; 4]),
    /// The connection ends once its replies are written out.
    End(End),
}

/// Context in which a connection handles frames.
#[derive(Debug)]
pub struct Turn<'a> {
    /// The state, locked for reading.
    pub shared: &'a Shared,
    /// Configuration of all connections.
    pub config: &'a ConnectionConfig,
    /// Load of all connections.
    pub load: &'a Load,
    /// Monotonic time, ms.
    pub now_ms: u64,
    /// Takes commands.
    pub proposals: &'a mut Proposals,
    /// Takes replies.
    pub out: &'a mut Vec<u8>,
    /// Takes the connections whose session this one wants.
    pub superseded: &'a mut Vec<Takeover>,
    /// Counters of all connections of the thread.
    pub stats: &'a mut ServerStats,
}

/// A connection that must end because its client has come back over another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Takeover {
    /// The connection that must end. Input that has arrived there is handled first.
    pub holder: ConnectionId,
    /// The connection that waits for that, and is notified with [`Connection::clear`]; `None` if it
    /// was refused.
    pub successor: Option<ConnectionId>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Stage {
    /// No input has arrived.
    Fresh,
    /// The connection that has the session must end first.
    Superseding(ConnectionId),
    /// The connection that had the session has ended.
    Cleared(ConnectionId),
    /// The session is being created, or resumed.
    Connecting,
    /// Requests are handled.
    Open,
    /// closeSession is under way, or the connection ends: input is ignored.
    Closing,
}

/// One client connection.
#[derive(Debug)]
pub struct Connection {
    pub(crate) id: ConnectionId,
    stage: Stage,
    pub(crate) session: SessionId,
    pub(crate) timeout_ms: i32,
    /// Whether the connect request carried the `readOnly` byte, which its answer then mirrors.
    knows_read_only: bool,
    /// Whether only this server knows its session.
    pub(crate) local: bool,
    /// Whether it was opened in read-only mode, with which it ends.
    read_only: bool,
    pub(crate) identities: Vec<u8>,
    /// The exchange of SASL tokens, once there is one.
    pub(crate) sasl: Option<Box<DigestMd5>>,
    in_flight: u32,
    pub(crate) ahead: Ahead,
    /// Number of writes answered so far.
    answered: u64,
    /// Large requests in flight: the number of each among all writes of the connection, and its
    /// bytes.
    large: VecDeque<(u64, u32)>,
    pub(crate) heard: Option<Heard>,
    /// Arrival time of the current frames, ms.
    pub(crate) arrived_ms: u64,
    /// Time since which the next frame has been held back, ms.
    held_since_ms: Option<u64>,
    /// Time since which it has been held back for the sake of other connections, ms.
    throttled_since_ms: Option<u64>,
    /// Time for which the current frames were held back for the sake of other connections, ms.
    throttled_ms: u64,
    /// Counters of this connection.
    pub stats: ConnectionStats,
}

impl Connection {
    /// Creates a connection that was just accepted from `address`.
    pub fn new(id: ConnectionId, address: &str) -> Connection {
        let mut identities = Vec::new();
        crate::auth::add_identity(&mut identities, "ip", address);
        identities.shrink_to_fit();
        Connection {
            id,
            stage: Stage::Fresh,
            session: SessionId::NONE,
            timeout_ms: 0,
            knows_read_only: false,
            local: false,
            read_only: false,
            identities,
            sasl: None,
            in_flight: 0,
            ahead: Ahead::default(),
            answered: 0,
            large: VecDeque::new(),
            heard: None,
            arrived_ms: 0,
            held_since_ms: None,
            throttled_since_ms: None,
            throttled_ms: 0,
            stats: ConnectionStats::default(),
        }
    }

    /// Adds an identity that the transport has proved, before the first frame. Returns false if
    /// there is no room for it.
    pub fn identify(&mut self, scheme: &str, id: &str) -> bool {
        if self.identities.len() + scheme.len() + id.len() > crate::auth::IDENTITIES_LEN_MAX {
            return false;
        }
        crate::auth::add_identity(&mut self.identities, scheme, id);
        self.identities.shrink_to_fit();
        true
    }

    /// Returns its session; `NONE` before the handshake.
    pub fn session(&self) -> SessionId {
        self.session
    }

    /// Returns the negotiated timeout, ms.
    pub fn timeout_ms(&self) -> i32 {
        self.timeout_ms
    }

    /// Returns whether only this server knows its session.
    pub fn is_local(&self) -> bool {
        self.local
    }

    /// Returns whether it was opened in read-only mode.
    pub fn is_read_only(&self) -> bool {
        self.read_only
    }

    /// Returns the number of writes proposed and not yet answered.
    pub fn in_flight(&self) -> u32 {
        self.in_flight
    }

    /// Returns the bytes of its large requests in flight.
    pub fn large_bytes(&self) -> u64 {
        self.large.iter().map(|&(_, len)| u64::from(len)).sum()
    }

    /// Returns whether a handshake has begun.
    pub fn has_begun(&self) -> bool {
        self.session != SessionId::NONE
    }

    /// Returns whether the handshake is over.
    pub fn is_open(&self) -> bool {
        self.stage == Stage::Open
    }

    /// Notes that the connection that had the session has ended. [`Connection::handle`] continues.
    pub fn clear(&mut self) {
        if let Stage::Superseding(holder) = self.stage {
            self.stage = Stage::Cleared(holder);
        }
    }

    /// Returns whether [`Connection::handle`] has something to do without input.
    pub fn is_cleared(&self) -> bool {
        matches!(self.stage, Stage::Cleared(_))
    }

    /// Returns whether a connection that takes the session over must wait until the writes in
    /// flight are answered. If the resumption itself is agreed on, it is ordered behind them.
    pub fn must_settle(&self, config: &ConnectionConfig) -> bool {
        self.in_flight > 0 && (self.local || !config.distributed)
    }

    /// Renews the session although no request was handled: bytes have come from its client, or it
    /// has taken some. Returns false if it has no session, has not used it yet, or has lost it.
    pub fn renew(&self, now_ms: u64) -> bool {
        self.heard.as_ref().is_some_and(|heard| heard.fetch_max(now_ms, Ordering::Relaxed) != TAKEN_OVER)
    }

    /// Handles the complete frames at the start of `input`. Returns how many bytes were consumed,
    /// and the outcome. The input of the next call begins with the bytes that were not consumed.
    pub fn handle(&mut self, input: &[u8], turn: &mut Turn<'_>) -> (usize, Flow) {
        let mut rest = input;
        // Input that was held back arrived earlier than the rest.
        self.arrived_ms = self.held_since_ms.take().unwrap_or(turn.now_ms);
        if self.in_flight == 0 {
            self.ahead = Ahead::default();
        }
        if let Stage::Cleared(ended) = self.stage
            && let Err(flow) = self.claim(Some(ended), turn)
        {
            self.stage = Stage::Closing;
            return (input.len(), flow);
        }
        if let Some(since_ms) = self.throttled_since_ms.take_if(|_| !turn.load.is_full()) {
            self.throttled_ms = turn.now_ms.saturating_sub(since_ms);
            turn.stats.throttled_ms.record(self.throttled_ms);
        }
        let flow = loop {
            match self.next(rest, turn) {
                Ok(Some(behind)) => rest = behind,
                Ok(None) => {
                    self.throttled_ms = 0;
                    break Flow::More;
                }
                Err(Flow::Blocked) if let Some(len) = self.send_ahead(rest, turn) => rest = &rest[len..],
                Err(flow) => {
                    match flow {
                        Flow::Blocked | Flow::Flush | Flow::Throttled => {
                            if flow == Flow::Throttled {
                                self.throttled_since_ms.get_or_insert(turn.now_ms);
                            }
                            self.held_since_ms = (!rest.is_empty()).then_some(self.arrived_ms);
                        }
                        Flow::End(_) => {
                            self.stage = Stage::Closing;
                            rest = &[];
                        }
                        Flow::More | Flow::Word(_) => {}
                    }
                    break flow;
                }
            }
        };
        (input.len() - rest.len(), flow)
    }

    /// Holds its input back from now on; the wait counts as latency.
    pub fn hold(&mut self, now_ms: u64) {
        self.held_since_ms.get_or_insert(now_ms);
        self.throttled_since_ms.get_or_insert(now_ms);
    }

    /// Handles the first frame of `input`. Returns the rest behind it, or `None` while the frame is
    /// incomplete.
    fn next<'i>(&mut self, input: &'i [u8], turn: &mut Turn<'_>) -> Result<Option<&'i [u8]>, Flow> {
        match self.stage {
            Stage::Superseding(_) | Stage::Cleared(_) | Stage::Connecting => return Err(Flow::Blocked),
            Stage::Closing => return Ok((!input.is_empty()).then_some(&[])),
            Stage::Fresh => {
                if let Some(word) = input.first_chunk::<4>()
                    && (turn.config.is_word)(*word)
                {
                    return Err(Flow::Word(*word));
                }
            }
            Stage::Open => {}
        }
        self.check_large(input, turn)?;
        let split = frame::split_frame(input, turn.config.frame_len_max);
        let split = split.map_err(|error| Flow::End(End::FrameLength(error.len)))?;
        let Some((body, behind)) = split else { return Ok(None) };
        if self.stage == Stage::Fresh {
            if turn.load.is_full() {
                return Err(Flow::Throttled);
            }
            self.counting(turn.stats).received(body.len());
            self.connect(body, turn)?;
        } else {
            self.request(body, turn)?;
        }
        Ok(Some(behind))
    }

    /// Checks for a request that is too large together with others: the connection does not even
    /// wait for it to be complete.
    fn check_large(&self, input: &[u8], turn: &mut Turn<'_>) -> Result<(), Flow> {
        let Some(prefix) = input.first_chunk::<{ frame::PREFIX_LEN }>() else { return Ok(()) };
        let len = usize::try_from(i32::from_be_bytes(*prefix)).unwrap_or(0);
        if self.stage == Stage::Fresh || turn.load.has_room(len) {
            return Ok(());
        }
        turn.stats.large_rejected += 1;
        Err(Flow::End(End::LargeRequest(len)))
    }

    /// Handles the handshake. Source: `ZooKeeperServer.processConnectRequest`.
    fn connect(&mut self, body: &[u8], turn: &mut Turn<'_>) -> Result<(), Flow> {
        let serving = turn.shared.serving;
        if serving == Serving::No {
            turn.stats.unserved += 1;
            return Err(Flow::End(End::NotServing));
        }
        let decoded = ConnectRequest::decode_with_read_only(body);
        let (request, read_only) = decoded.map_err(|_| Flow::End(End::ConnectMalformed))?;
        self.ration(request.session_id != 0, turn)?;
        turn.stats.connects += 1;
        self.knows_read_only = read_only.is_some();
        self.read_only = serving == Serving::ReadOnly;
        if self.read_only && read_only != Some(true) {
            return Err(Flow::End(End::ServesReadOnly));
        }
        let (client, server) = (request.last_zxid_seen, turn.shared.state.zxid().0);
        if client > server {
            return Err(Flow::End(End::ZxidAhead { client, server }));
        }
        let config = turn.config;
        self.timeout_ms = request.timeout_ms.clamp(config.session_timeout_min_ms, config.session_timeout_max_ms);
        let begins_local = self.read_only || config.local_sessions != LocalSessions::Off;
        if request.session_id == 0 && begins_local {
            self.begin_local(turn);
            return Ok(());
        }
        if request.session_id == 0 {
            let session = turn.shared.sessions.lock().next_id();
            self.propose_session(OpCode::CreateSession, session, turn);
            return Ok(());
        }
        turn.stats.resumes += 1;
        self.resume(SessionId(request.session_id), request.passwd.unwrap_or_default(), turn)
    }

    /// Limits the rate at which sessions begin and resume.
    fn ration(&self, resumes: bool, turn: &mut Turn<'_>) -> Result<(), Flow> {
        let (admitted, deficit) = turn.load.admit(resumes, turn.now_ms);
        if !admitted {
            turn.stats.rationed += 1;
            return Err(Flow::End(End::Rationed));
        }
        turn.stats.token_deficit.record(u64::from(deficit));
        Ok(())
    }

    /// Handles a client that comes back with its session.
    fn resume(&mut self, session: SessionId, password: &[u8], turn: &mut Turn<'_>) -> Result<(), Flow> {
        let agreed_on = turn.shared.state.sessions().get(session).is_some();
        if self.read_only && agreed_on {
            // ZooKeeper: closed without an answer, so that the client goes on looking for the
            // ensemble.
            return Err(Flow::End(End::SessionOfEnsemble(session)));
        }
        self.session = session;
        if password == session::password(session) {
            return self.claim(None, turn);
        }
        // ZooKeeper: the older connection is closed before the password is checked.
        let holder = turn.shared.sessions.lock().holder(session);
        turn.superseded.extend(holder.map(|holder| Takeover { holder, successor: None }));
        Err(Flow::End(self.refuse(End::WrongPassword(session), turn.out, turn.stats)))
    }

    /// Takes the session over once no other connection of this server has it; `ended` is the one
    /// that it waited for.
    fn claim(&mut self, ended: Option<ConnectionId>, turn: &mut Turn<'_>) -> Result<(), Flow> {
        if self.read_only != (turn.shared.serving == Serving::ReadOnly) || turn.shared.serving == Serving::No {
            return Err(Flow::End(End::NotServing));
        }
        let session = self.session;
        let agreed_on = turn.shared.state.sessions().get(session).is_some();
        let mut sessions = turn.shared.sessions.lock();
        let local = sessions.local.knows(session);
        // A connection that ended before it was agreed that the session is its own could not let it
        // go.
        ended.into_iter().for_each(|ended| sessions.let_go(session, ended));
        if let Some(holder) = sessions.holder(session) {
            // The client is there while it waits.
            let clocks = if local { &mut sessions.local } else { &mut sessions.clocks };
            clocks.touch(session, turn.now_ms);
            turn.superseded.push(Takeover { holder, successor: Some(self.id) });
            self.stage = Stage::Superseding(holder);
            return Ok(());
        }
        if turn.config.distributed && !local && !self.read_only {
            // Any other connection of this server that asks for it has lost it.
            sessions.take_over(session, self.id);
            // The client is here, however long agreement takes.
            sessions.clocks.touch(session, turn.now_ms);
            drop(sessions);
            // All servers agree on whether the session exists.
            self.propose_session(OpCode::ResumeSession, session, turn);
            return Ok(());
        }
        let clocks = if local { &mut sessions.local } else { &mut sessions.clocks };
        let known = agreed_on || local;
        let heard = known.then(|| clocks.attach(session, self.timeout_ms, turn.now_ms)).flatten();
        let Some(heard) = heard else {
            drop(sessions);
            return Err(Flow::End(self.refuse(End::SessionExpired(session), turn.out, turn.stats)));
        };
        sessions.hold(session, self.id);
        drop(sessions);
        (self.heard, self.local) = (Some(heard), local);
        self.open(turn.out);
        self.counting(turn.stats).connected();
        Ok(())
    }

    /// Proposes to create or resume a session; the handshake waits until that is agreed on.
    fn propose_session(&mut self, op: OpCode, session: SessionId, turn: &mut Turn<'_>) {
        self.session = session;
        self.stage = Stage::Connecting;
        let timeout = self.timeout_ms.to_be_bytes();
        self.propose(op, 0, &timeout, turn);
    }

    /// Answers the handshake of a session that cannot continue.
    fn refuse(&mut self, end: End, out: &mut Vec<u8>, stats: &mut ServerStats) -> End {
        self.session = SessionId::NONE;
        self.put_connect_response(0, SessionId::NONE, &[0; PASSWORD_LEN], out);
        self.counting(stats).connected();
        end
    }

    pub(crate) fn open(&mut self, out: &mut Vec<u8>) {
        self.stage = Stage::Open;
        self.put_connect_response(self.timeout_ms, self.session, &session::password(self.session), out);
    }

    fn put_connect_response(&mut self, timeout_ms: i32, session: SessionId, password: &[u8], out: &mut Vec<u8>) {
        frame::put_frame(out, |out| {
            let session_id = session.0;
            ConnectResponse { protocol_version: 0, timeout_ms, session_id, passwd: Some(password) }.encode(out);
            if self.knows_read_only {
                self.read_only.encode(out);
            }
        });
    }

    /// Returns whether the current request has waited too long for other connections' requests.
    pub(crate) fn is_too_late(&self, turn: &Turn<'_>) -> bool {
        turn.load.is_too_late(self.throttled_ms)
    }

    /// Handles one request. *Errors*: it waits, and nothing was done; or the connection ends.
    pub(crate) fn request(&mut self, body: &[u8], turn: &mut Turn<'_>) -> Result<(), Flow> {
        // The mode of the server has changed, of which its thread has not yet learned.
        if self.read_only != (turn.shared.serving == Serving::ReadOnly) {
            return Err(Flow::End(End::NotServing));
        }
        let mut reader = Reader::new(body);
        let header = RequestHeader::decode(&mut reader).map_err(|_| Flow::End(End::HeaderMalformed))?;
        let op = OpCode::from_wire(header.op).filter(|op| op.class() != OpClass::Internal);
        let ends_local = self.local && op == Some(OpCode::CloseSession);
        let is_write = op.is_some_and(|op| is_write(op, turn.config)) && !ends_local;
        let too_late = self.is_too_late(turn) && op.is_some_and(is_throttlable);
        let crowded = self.in_flight > 0 && turn.load.is_crowded();
        if (!is_write || too_late) && self.in_flight > 0 || crowded || self.in_flight >= IN_FLIGHT_MAX {
            return Err(Flow::Blocked);
        }
        if is_write && !too_late && turn.load.is_full() {
            return Err(Flow::Throttled);
        }
        if turn.out.len() > OUT_TURN_MAX {
            return Err(Flow::Flush);
        }
        self.counting(turn.stats).received(body.len());
        // ZooKeeper: authentication alone does not keep a session alive.
        if !matches!(op, Some(OpCode::Auth | OpCode::Sasl)) {
            self.touch(turn)?;
        }
        self.check_enforced_auth(header, turn)?;
        let Some(op) = op else {
            // ZooKeeper: an unknown operation costs the connection, after an answer with zxid -1.
            self.put_reply(header, -1, turn, |_, _, _| Err(ErrorCode::Unimplemented));
            return Err(Flow::End(End::UnknownOperation(header.op)));
        };
        if too_late {
            turn.stats.throttled += 1;
            let zxid = turn.shared.state.zxid().0;
            self.put_reply(header, zxid, turn, |_, _, _| Err(ErrorCode::ThrottledOp));
            return Ok(());
        }
        if ends_local {
            return Err(self.end_local(header, turn));
        }
        if is_write && self.read_only {
            // Source: `ReadOnlyRequestProcessor`.
            let zxid = turn.shared.state.zxid().0;
            self.put_reply(header, zxid, turn, |_, _, _| Err(ErrorCode::NotReadOnly));
            return Ok(());
        }
        if is_write {
            self.upgrade_for(op, reader.rest(), turn);
            let mut reconfig = Vec::new();
            let body = if op == OpCode::Reconfig {
                reconfig::put_body(reader.rest(), &mut reconfig);
                &*reconfig
            } else {
                reader.rest()
            };
            self.propose(op, header.xid, body, turn);
            if op == OpCode::CloseSession {
                self.stage = Stage::Closing;
                turn.shared.sessions.lock().clocks.closing(self.session);
            }
            return Ok(());
        }
        self.answer(header, op, reader.rest(), turn)
    }

    /// Renews the session. The first request after its creation attaches to its clock.
    ///
    /// ZooKeeper closes the older connection before it answers the newer one. Here the older one's
    /// thread learns of it later; requests that it has not handled by then must not take effect
    /// after those that the client sends on the newer one.
    fn touch(&mut self, turn: &Turn<'_>) -> Result<(), Flow> {
        let taken_over = match &self.heard {
            Some(heard) => heard.fetch_max(turn.now_ms, Ordering::Relaxed) == TAKEN_OVER,
            None => {
                let mut sessions = turn.shared.sessions.lock();
                let holds = sessions.may_speak(self.session, self.id);
                if holds {
                    self.heard = sessions.clocks.attach(self.session, self.timeout_ms, turn.now_ms);
                }
                !holds
            }
        };
        if taken_over { Err(Flow::End(End::Disconnected)) } else { Ok(()) }
    }

    /// Rejects requests before the enforced authentication. Source:
    /// `AuthenticationHelper.enforceAuthentication`.
    fn check_enforced_auth(&mut self, header: RequestHeader, turn: &mut Turn<'_>) -> Result<(), Flow> {
        let exempt = [OpCode::Auth, OpCode::Sasl].map(OpCode::wire).contains(&header.op);
        if exempt || self.has_enforced_auth(turn.config) {
            return Ok(());
        }
        self.put_reply(header, 0, turn, |_, _, _| Err(ErrorCode::SessionClosedRequireSaslAuth));
        Err(Flow::End(End::AuthRequired))
    }

    /// Returns whether it has proved an identity of the schemes that `enforce.auth` requires.
    pub(crate) fn has_enforced_auth(&self, config: &ConnectionConfig) -> bool {
        let enforced = &config.auth.enforced_schemes;
        let proved = |scheme: Option<&str>| enforced.iter().any(|wanted| Some(wanted.as_str()) == scheme);
        enforced.is_empty() || Identities(&self.identities).iter().any(|id| proved(id.scheme.as_deref()))
    }

    fn propose(&mut self, op: OpCode, xid: i32, body: &[u8], turn: &mut Turn<'_>) {
        let session = self.session;
        let local = if self.local { Settings::LOCAL_SESSION } else { Settings::default() };
        let settings = turn.config.settings.with(local);
        let identities = Identities(&self.identities);
        Command { from: None, session, xid, op, settings, identities, body }.encode(&mut turn.proposals.commands);
        let reads = self.ahead.reads.take();
        self.ahead.longest = self.ahead.longest.max(body.len());
        turn.proposals.origins.push(Origin { connection: Some(self.id), received_ms: self.arrived_ms, reads });
        let large_len = Some(PREFIX_OF_BODY + body.len()).filter(|&len| turn.load.is_large(len));
        turn.load.begin(large_len);
        if let Some(len) = large_len {
            self.large.push_back((self.answered + u64::from(self.in_flight), len as u32));
        }
        self.in_flight += 1;
    }

    /// Notes that its oldest write is no longer in flight.
    fn answered(&mut self) {
        self.in_flight -= 1;
        if self.large.front().is_some_and(|&(number, _)| number == self.answered) {
            self.large.pop_front();
        }
        self.answered += 1;
    }

    /// Appends one reply and counts it. An error replaces a body that was begun.
    pub(crate) fn put_reply(
        &mut self,
        header: RequestHeader,
        zxid: i64,
        turn: &mut Turn<'_>,
        body: impl FnOnce(&Connection, &Turn<'_>, &mut Vec<u8>) -> Outcome,
    ) {
        let mut out = std::mem::take(turn.out);
        let before = out.len();
        put_reply(header.xid, zxid, &mut out, |out| body(self, turn, out));
        let frame_len = out.len() - before;
        *turn.out = out;
        let op = OpCode::from_wire(header.op).unwrap_or(OpCode::Error);
        let answered = Answered { op, xid: header.xid, zxid, received_ms: self.arrived_ms };
        self.counting(turn.stats).read(answered, frame_len, turn.now_ms);
    }

    /// Handles a delivery, whose bytes the caller has already appended to `out`.
    ///
    /// `SessionOpened` and `SessionRefused` append the handshake's answer. *Errors*: the connection
    /// ends once `out` is sent.
    pub fn delivered(
        &mut self,
        delivery: Delivery,
        now_ms: u64,
        out: &mut Vec<u8>,
        stats: &mut ServerStats,
    ) -> Result<(), End> {
        let frame_len = delivery.len as usize;
        match delivery.kind {
            DeliveryKind::Event => {
                self.counting(stats).notified(frame_len, now_ms);
                Ok(())
            }
            DeliveryKind::Reply(answered) => {
                self.answered();
                self.counting(stats).updated(answered, frame_len, now_ms);
                Ok(())
            }
            DeliveryKind::Read(answered) => {
                self.ahead.answered();
                self.counting(stats).read(answered, frame_len, now_ms);
                Ok(())
            }
            DeliveryKind::SessionOpened(answered) => {
                self.answered();
                self.open(out);
                // ZooKeeper: a resumed session is not counted among the requests.
                if answered.op == OpCode::ResumeSession {
                    self.counting(stats).connected();
                } else {
                    self.counting(stats).opened(answered, now_ms);
                }
                Ok(())
            }
            DeliveryKind::SessionRefused => {
                self.answered();
                Err(self.refuse(End::SessionExpired(self.session), out, stats))
            }
            DeliveryKind::SessionClosed(answered) => {
                self.answered();
                self.counting(stats).updated(answered, frame_len, now_ms);
                Err(End::SessionClosed)
            }
            DeliveryKind::Unanswered => {
                self.answered();
                Err(End::Disconnected)
            }
            DeliveryKind::Disconnect => Err(End::Disconnected),
            DeliveryKind::Overlong => Err(End::Overlong),
        }
    }

    pub(crate) fn counting<'a>(&'a mut self, server: &'a mut ServerStats) -> Counting<'a> {
        Counting { connection: &mut self.stats, server }
    }

    /// Cleans up after the connection has ended: its watches are removed, its session stays until
    /// it expires.
    pub fn ended(&self, shared: &Shared) {
        if self.session != SessionId::NONE {
            shared.sessions.lock().let_go(self.session, self.id);
            shared.watches.lock().drop_connection(self.id);
        }
    }
}

/// Appends one reply. An error replaces a body that was begun.
pub(crate) fn put_reply(xid: i32, zxid: i64, out: &mut Vec<u8>, body: impl FnOnce(&mut Vec<u8>) -> Outcome) {
    frame::put_frame(out, |out| {
        ReplyHeader { xid, zxid, err: 0 }.encode(out);
        let start = out.len();
        if let Err(code) = body(out) {
            out.truncate(start);
            out[start - 4..].copy_from_slice(&code.wire().to_be_bytes());
        }
    });
}

/// Length of a request in front of its body: xid and operation, bytes.
const PREFIX_OF_BODY: usize = 8;

/// Returns whether an operation may be refused because it waited.
fn is_throttlable(op: OpCode) -> bool {
    !matches!(op, OpCode::Ping | OpCode::CloseSession | OpCode::CreateSession)
}

/// Returns whether an operation goes through the log. In an ensemble sync does, too: only that
/// proves that nothing is missing here.
pub(crate) fn is_write(op: OpCode, config: &ConnectionConfig) -> bool {
    match op.class() {
        OpClass::Write => true,
        OpClass::Barrier => config.distributed,
        OpClass::Read | OpClass::Connection | OpClass::Internal => false,
    }
}
