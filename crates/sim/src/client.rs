//! A scripted client. It connects, sends random requests, pings in time, returns after a cut with
//! its session and watches, and closes or abandons its session. It speaks only the wire protocol,
//! and checks every byte that comes back.
//!
//! Invariant: a client has at most one connection. A request sent on a lost connection counts as
//! unknown: it may or may not have been done.

use oxkeeper_proto::op::{XID_NOTIFICATION, XID_PING};
use oxkeeper_proto::records::{
    ConnectRequest, ConnectResponse, ErrorResponse, ReplyHeader, RequestHeader, WatcherEvent,
};
use oxkeeper_proto::{ErrorCode, Jute, OpCode, Reader, frame};
use oxkeeper_replica::LocalSessions;

use crate::check::order::Order;
use crate::check::watches::{Lists, Watching};
use crate::check::{Oracle, contents};
use crate::link::{LinkId, Network, Read};
use crate::random::Random;
use crate::request::Request;

/// Surroundings of a client during its turn.
pub struct Nearby<'a> {
    /// Monotonic time, ms.
    pub now_ms: u64,
    /// Random choices of the run.
    pub random: &'a mut Random,
    /// Links to the server.
    pub network: &'a mut Network,
    /// Oracle of the run.
    pub oracle: &'a mut Oracle,
    /// Settings of all clients of the run.
    pub habits: Habits,
    /// Whether the faults have stopped, so that clients begin nothing new.
    pub settling: bool,
}

/// Settings that all clients of a run share.
#[derive(Clone, Copy, Debug)]
pub struct Habits {
    /// Unit of session timeouts, ms.
    pub tick_ms: u64,
    /// Limit of outstanding requests per client.
    pub depth: u64,
    /// Maximum delay of a byte, ms.
    pub delay_ms_max: u64,
    /// Whether a client hears of the end of a session only after it is agreed on.
    pub agreed: bool,
    /// Kind of local sessions, if new sessions are local.
    pub local_sessions: LocalSessions,
}

#[derive(Clone, Debug)]
struct Session {
    id: i64,
    password: Vec<u8>,
    timeout_ms: i32,
    /// Whether a server in read-only mode created the session.
    read_only: bool,
    /// Whether the session was known to be agreed on, or to have ended, when the client last
    /// presented it.
    agreed: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Disconnected until this time, ms.
    Away(u64),
    /// The handshake is in progress.
    Greeting(LinkId),
    /// Connected.
    Open(LinkId),
    /// Waits for the answer to closeSession.
    Closing(LinkId),
    /// Does nothing more.
    Done,
}

/// A client.
#[derive(Debug)]
pub struct Client {
    phase: Phase,
    session: Option<Session>,
    order: Order<Request>,
    watching: Watching,
    /// Watches of the previous connection.
    to_watch: Lists,
    next_xid: i32,
    input: Vec<u8>,
    output: Vec<u8>,
    last_sent_ms: u64,
    last_heard_ms: u64,
    paused_until_ms: u64,
    /// Whether the client wants to end its session, and do nothing more after that.
    ending: bool,
    /// Whether the client accepts servers in read-only mode.
    takes_read_only: bool,
    /// Replies checked that came from servers in read-only mode.
    pub read_only_replies: u64,
    /// Replies checked.
    pub replies: u64,
    /// Events checked.
    pub events: u64,
}

impl Client {
    /// Creates a client that connects at once.
    pub fn new() -> Client {
        Client {
            phase: Phase::Away(0),
            session: None,
            order: Order::default(),
            watching: Watching::default(),
            to_watch: Lists::default(),
            next_xid: 1,
            input: Vec::new(),
            output: Vec::new(),
            last_sent_ms: 0,
            last_heard_ms: 0,
            paused_until_ms: 0,
            ending: false,
            takes_read_only: false,
            read_only_replies: 0,
            replies: 0,
            events: 0,
        }
    }

    /// Makes the client accept servers in read-only mode, which it states at each connection.
    pub fn taking_read_only(self) -> Client {
        Client { takes_read_only: true, ..self }
    }

    /// Returns the client's link, if it has one.
    pub fn link(&self) -> Option<LinkId> {
        match self.phase {
            Phase::Greeting(link) | Phase::Open(link) | Phase::Closing(link) => Some(link),
            Phase::Away(_) | Phase::Done => None,
        }
    }

    /// Returns the time until which a disconnected client waits before it connects again.
    pub fn away_until_ms(&self) -> Option<u64> {
        if let Phase::Away(until_ms) = self.phase { Some(until_ms) } else { None }
    }

    /// Returns the time at which the oldest unanswered request was sent, while the client is
    /// connected and not stopped.
    pub fn waits_since_ms(&self) -> Option<u64> {
        self.order.oldest_ms().filter(|_| matches!(self.phase, Phase::Open(_) | Phase::Closing(_)))
    }

    /// Returns whether the client does nothing more.
    pub fn is_done(&self) -> bool {
        self.phase == Phase::Done
    }

    /// Pauses the client.
    pub fn pause(&mut self, until_ms: u64) {
        self.paused_until_ms = until_ms;
    }

    /// Returns whether the client is connected and has no unanswered request other than a ping, or
    /// is done.
    pub fn is_settled(&self) -> bool {
        match self.phase {
            Phase::Open(_) => self.order.is_settled(),
            Phase::Done => true,
            Phase::Away(_) | Phase::Greeting(_) | Phase::Closing(_) => false,
        }
    }

    /// Ends the client: it closes its session, or just disconnects.
    pub fn finish(&mut self, nearby: &mut Nearby<'_>) {
        self.ending = true;
        if let Some(link) = self.link()
            && nearby.random.once_in(2)
        {
            self.leave(link, nearby);
            self.phase = Phase::Done;
        }
    }

    /// Takes one turn. Returns the new link if the client connects, for the server to accept.
    pub fn turn(&mut self, nearby: &mut Nearby<'_>, server_is_up: bool) -> Option<LinkId> {
        if nearby.now_ms < self.paused_until_ms || self.phase == Phase::Done {
            return None;
        }
        if let Phase::Away(until_ms) = self.phase {
            if self.ending && self.session.is_none() {
                self.phase = Phase::Done;
                return None;
            }
            let comes = nearby.now_ms >= until_ms && server_is_up;
            return comes.then(|| self.connect(nearby));
        }
        self.receive(nearby);
        match self.phase {
            Phase::Open(link) => self.act(link, nearby),
            Phase::Greeting(link) | Phase::Closing(link) => self.mind_silence(link, nearby),
            Phase::Away(_) | Phase::Done => {}
        }
        if let Some(link) = self.link() {
            nearby.network.write_up(link, &mut self.output, nearby.now_ms, nearby.random);
        }
        None
    }

    fn connect(&mut self, nearby: &mut Nearby<'_>) -> LinkId {
        self.choose_session(nearby);
        let link = nearby.network.open();
        let wanted_ms = nearby.random.within(1, 24 * nearby.habits.tick_ms) as i32;
        let (session_id, passwd) =
            self.session.as_ref().map_or((0, &[0; 16][..]), |session| (session.id, &*session.password));
        let last_zxid_seen = self.order.last_zxid();
        let request = ConnectRequest {
            protocol_version: 0,
            last_zxid_seen,
            timeout_ms: wanted_ms,
            session_id,
            passwd: Some(passwd),
        };
        let takes_read_only = self.takes_read_only;
        frame::put_frame(&mut self.output, |out| {
            request.encode(out);
            // Old libraries omit this field.
            takes_read_only.then(|| true.encode(out));
        });
        (self.last_sent_ms, self.last_heard_ms) = (nearby.now_ms, nearby.now_ms);
        self.phase = Phase::Greeting(link);
        nearby.network.write_up(link, &mut self.output, nearby.now_ms, nearby.random);
        link
    }

    /// Chooses the session to present. A session of read-only mode is of no use with other servers:
    /// some libraries present it nevertheless, some begin a new one. The zxid last seen and the
    /// watches stay.
    fn choose_session(&mut self, nearby: &mut Nearby<'_>) {
        if self.session.as_ref().is_some_and(|session| session.read_only) && nearby.random.once_in(2) {
            (self.session, self.next_xid) = (None, 1);
        }
        let model = &nearby.oracle.model;
        if let Some(session) = &mut self.session {
            session.agreed = model.sessions.contains(&session.id) || model.ended.contains(&session.id);
        }
    }

    /// Gives up the connection, or handles its loss.
    fn leave(&mut self, link: LinkId, nearby: &mut Nearby<'_>) {
        let ends = nearby.network.link(link);
        ends.up.end(nearby.now_ms);
        ends.down.end(nearby.now_ms);
        let lost: Vec<Request> = self.order.lost().collect();
        let setting = lost.iter().any(|request| matches!(request, Request::SetWatches(..)));
        self.watching.ended(&nearby.oracle.model, setting);
        // Some libraries restore their watches, some do not.
        if nearby.random.once_in(3) {
            self.to_watch = Lists::default();
        } else if !matches!(self.phase, Phase::Greeting(_)) {
            self.to_watch = self.watching.lists();
        }
        self.watching = Watching::default();
        self.input.clear();
        self.output.clear();
        let rest_ms = nearby.random.within(0, 4 * nearby.habits.tick_ms);
        self.phase = Phase::Away(nearby.now_ms + if nearby.settling { 0 } else { rest_ms });
    }

    /// Forgets the session, which is over; the next one begins afresh.
    fn forget_session(&mut self) {
        self.session = None;
        self.order.forget();
        self.to_watch = Lists::default();
        self.next_xid = 1;
    }

    /// Sends requests, pings, leaves, or does nothing.
    fn act(&mut self, link: LinkId, nearby: &mut Nearby<'_>) {
        let (now_ms, random) = (nearby.now_ms, &mut *nearby.random);
        let timeout_ms = self.session.as_ref().map_or(0, |session| session.timeout_ms as u64);
        if self.ending {
            self.close(link, nearby);
        } else if now_ms > self.last_sent_ms + timeout_ms / 3 && !self.order.pings() {
            self.ask(Request::Ping, nearby);
        } else if !nearby.settling && random.once_in(400) {
            if random.once_in(2) {
                self.close(link, nearby);
            } else {
                self.leave(link, nearby);
                self.forget_session();
            }
        } else {
            self.mind_silence(link, nearby);
            self.ask_some(nearby);
        }
    }

    /// Sends as many requests as the seed chooses, unless too many are unanswered.
    fn ask_some(&mut self, nearby: &mut Nearby<'_>) {
        while matches!(self.phase, Phase::Open(_))
            && !nearby.settling
            && self.order.count() < nearby.habits.depth as usize
            && !nearby.random.once_in(3)
        {
            let request = Request::random(nearby.random, &nearby.oracle.model);
            self.ask(request, nearby);
        }
    }

    /// Gives the connection up if the server has been silent for two thirds of the timeout.
    fn mind_silence(&mut self, link: LinkId, nearby: &mut Nearby<'_>) {
        let timeout_ms = self.session.as_ref().map_or(1_000, |session| session.timeout_ms as u64);
        if nearby.now_ms > self.last_heard_ms + timeout_ms * 2 / 3 + 2 * nearby.habits.delay_ms_max {
            self.leave(link, nearby);
        }
    }

    fn ask(&mut self, request: Request, nearby: &mut Nearby<'_>) {
        let op = request.op();
        let xid = if op == OpCode::Ping { XID_PING } else { self.next_xid };
        self.next_xid += i32::from(xid > 0);
        let mut body = Vec::new();
        request.encode(&mut body);
        frame::put_frame(&mut self.output, |out| {
            RequestHeader { xid, op: op.wire() }.encode(out);
            out.extend_from_slice(&body);
        });
        if let (Request::Write(..) | Request::Sync(_), Some(session)) = (&request, &self.session) {
            nearby.oracle.origins.sent(session.id, xid, op, &body);
        }
        self.order.asked(xid, nearby.oracle.answered_zxid(), nearby.now_ms, request);
        self.last_sent_ms = nearby.now_ms;
    }

    /// Sends a request that the client would not send by itself. Returns whether the client is
    /// connected.
    pub fn ask_also(&mut self, request: Request, nearby: &mut Nearby<'_>) -> bool {
        let is_open = matches!(self.phase, Phase::Open(_)) && !self.ending;
        if is_open {
            self.ask(request, nearby);
        }
        is_open
    }

    fn close(&mut self, link: LinkId, nearby: &mut Nearby<'_>) {
        self.ask(Request::Write(OpCode::CloseSession, Vec::new()), nearby);
        self.phase = Phase::Closing(link);
    }

    fn receive(&mut self, nearby: &mut Nearby<'_>) {
        let Some(link) = self.link() else { return };
        match nearby.network.link(link).down.read(nearby.now_ms, nearby.random) {
            Read::Nothing => {}
            Read::End => self.leave(link, nearby),
            Read::Bytes(bytes) => {
                self.last_heard_ms = nearby.now_ms;
                self.input.extend_from_slice(&bytes);
                let input = std::mem::take(&mut self.input);
                let mut rest = &*input;
                while let Some((body, behind)) = frame::split_frame(rest, usize::MAX).expect("frames are sound") {
                    self.take(link, body, nearby);
                    rest = behind;
                }
                self.input = rest.to_vec();
            }
        }
    }

    fn take(&mut self, link: LinkId, body: &[u8], nearby: &mut Nearby<'_>) {
        if self.phase == Phase::Greeting(link) {
            return self.greeted(link, body, nearby);
        }
        let mut reader = Reader::new(body);
        let header = ReplyHeader::decode(&mut reader).expect("a reply has a header");
        nearby.oracle.seen(header.zxid);
        if header.xid == XID_NOTIFICATION {
            let event = WatcherEvent::from_bytes(reader.rest()).expect("a notification has an event");
            let path = event.path.expect("an event has a path").into_owned();
            self.watching.received((header.zxid, event.event_type, path));
            self.events += 1;
        } else {
            let (request, floor) = self.order.answered(header.xid, header.zxid);
            let (zxid, refused) = (header.zxid, header.err == ErrorCode::SystemError.wire());
            let in_read_only = self.session.as_ref().is_some_and(|session| session.read_only);
            self.read_only_replies += u64::from(in_read_only);
            let is_agreed_on = self.answered(&request, header, reader.rest(), nearby);
            if is_agreed_on && !refused {
                nearby.oracle.answered(request.op(), zxid, floor);
            }
            self.replies += 1;
        }
    }

    fn greeted(&mut self, link: LinkId, body: &[u8], nearby: &mut Nearby<'_>) {
        let mut reader = Reader::new(body);
        let response = ConnectResponse::decode(&mut reader).expect("a handshake is answered soundly");
        let read_only = self.takes_read_only && bool::decode(&mut reader).expect("it is told whether it may write");
        assert!(reader.rest().is_empty(), "a handshake is answered with nothing more");
        if response.session_id == 0 {
            self.check_refusal(read_only, nearby);
            self.leave(link, nearby);
            return self.forget_session();
        }
        let (id, timeout_ms) = (response.session_id, response.timeout_ms);
        if let Some(session) = &self.session {
            assert_eq!(session.id, id, "sessions: the client gets back the one it had");
            assert_eq!(session.read_only, read_only, "read-only: session {id:x} goes on as one of another kind");
        }
        let password = response.passwd.expect("a session has a password").to_vec();
        self.session = Some(Session { id, password, timeout_ms, read_only, agreed: false });
        self.phase = Phase::Open(link);
        let lists = std::mem::take(&mut self.to_watch);
        if lists != Lists::default() {
            self.ask(Request::SetWatches(lists, self.order.last_zxid()), nearby);
        }
    }

    /// Checks the server's statement that the client's session is over: the session must have
    /// ended, or no other server may have known it.
    ///
    /// A server in read-only mode cannot distinguish a session that it has not heard of yet from
    /// one that has ended; neither can ZooKeeper's. In that case the client has seen nothing since
    /// its session was agreed on, because a server refuses clients that have seen a later zxid than
    /// its own.
    fn check_refusal(&self, read_only: bool, nearby: &Nearby<'_>) {
        let session = self.session.as_ref().expect("sessions: a new one is never refused");
        let Habits { agreed, local_sessions, .. } = nearby.habits;
        let (id, ended) = (session.id, nearby.oracle.model.ended.contains(&session.id));
        let is_own = session.read_only || local_sessions != LocalSessions::Off;
        assert!(!agreed || session.agreed || is_own, "sessions: {id:x} is its client's, and was never agreed on");
        let begun = nearby.oracle.model.begun(id);
        let unheard_of = !session.agreed || read_only && begun.is_some_and(|zxid| self.order.last_zxid() < zxid);
        assert!(ended || unheard_of || !agreed, "sessions: {id:x} lives, and its client is told otherwise");
    }

    /// Checks everything about a reply. Returns whether the request went through the log that all
    /// servers share.
    fn answered(&mut self, request: &Request, header: ReplyHeader, body: &[u8], nearby: &mut Nearby<'_>) -> bool {
        let is_write = matches!(request, Request::Write(..) | Request::Sync(_));
        if is_write && self.is_answered_here(request, &header, body, nearby) {
            return false;
        }
        self.check_answer(request, header, body, nearby);
        is_write
    }

    /// Checks the reply to a request that no other server hears of: a write in read-only mode,
    /// which is refused, or the end of a session that only one server knows. Returns whether the
    /// request is such a one.
    fn is_answered_here(
        &mut self,
        request: &Request,
        &ReplyHeader { xid, zxid, err }: &ReplyHeader,
        body: &[u8],
        nearby: &mut Nearby<'_>,
    ) -> bool {
        let (model, session) = (&nearby.oracle.model, self.session.as_ref().expect("it is connected"));
        let (id, read_only) = (session.id, session.read_only);
        let is_in_history = model.outcome(zxid).is_some_and(|outcome| (outcome.session, outcome.xid) == (id, xid));
        let closes = request.op() == OpCode::CloseSession && !is_in_history;
        if !closes && !read_only {
            return false;
        }
        let expected = if closes { 0 } else { ErrorCode::NotReadOnly.wire() };
        let answer = (err, body);
        assert_eq!(answer, (expected, &[][..]), "read-only: {:?} where reads only are served", request.op());
        let is_own = read_only || nearby.habits.local_sessions != LocalSessions::Off && !model.sessions.contains(&id);
        assert!(is_own, "zxids: session {id:x} is closed without the others");
        self.watching.replied(model, zxid, Vec::new());
        nearby.oracle.origins.refused(id, xid);
        if closes {
            self.forget_session();
        }
        true
    }

    fn check_answer(&mut self, request: &Request, header: ReplyHeader, body: &[u8], nearby: &mut Nearby<'_>) {
        let model = &nearby.oracle.model;
        let ReplyHeader { xid, zxid, err } = header;
        let (watching, session) = (&mut self.watching, self.session.as_ref().expect("it is connected").id);
        if let Request::SetWatches(lists, since) = request {
            // The watches set before fire first; then `set` registers the watches that the state at
            // `zxid` leaves.
            let missed = Watching::default().set(lists, model, *since, zxid);
            watching.replied(model, zxid, missed);
            watching.set(lists, model, *since, zxid);
            assert_eq!((err, body), (0, &[][..]), "watches: setWatches2 is answered");
            return;
        }
        watching.replied(model, zxid, Vec::new());
        match request {
            Request::Write(op, _) if err == ErrorCode::SystemError.wire() => {
                assert_ne!(*op, OpCode::CloseSession, "a closing that is refused ends the connection");
                nearby.oracle.origins.refused(session, xid);
            }
            Request::Write(op, asked) => {
                let outcome = model.outcome(zxid).expect("zxids: a reply of one that is not there");
                // The model does not know the members.
                let (theirs, ours) = if *op == OpCode::Reconfig {
                    contents::check_reconfig(asked, zxid, err, body);
                    (&[][..], &[][..])
                } else {
                    (body, &*outcome.body)
                };
                let theirs = (session, xid, *op, err, theirs);
                let ours = (outcome.session, outcome.xid, outcome.op, outcome.err, ours);
                assert_eq!(theirs, ours, "zxids: the reply to a write is not that of its zxid {zxid}");
                if *op == OpCode::CloseSession {
                    self.forget_session();
                }
            }
            Request::Exists(path, watch) => {
                contents::check_exists(model, path, zxid, err, body);
                if *watch {
                    watching.watch_data(path, err == 0);
                }
            }
            Request::GetData(path, watch) => {
                contents::check_data(model, path, zxid, err, body);
                if *watch && err == 0 {
                    watching.watch_data(path, true);
                }
            }
            Request::GetChildren(path, watch) => {
                contents::check_children(model, path, zxid, err, body);
                if *watch && err == 0 {
                    watching.watch_children(path);
                }
            }
            Request::Ping => assert_eq!((err, body), (0, &[][..]), "order: a ping is answered"),
            Request::Sync(path) => contents::check_sync(path, err, body),
            Request::GetEphemerals => contents::check_ephemerals(model, session, zxid, err, body),
            Request::AddWatch(path, recursive) => {
                assert_eq!(
                    (err, ErrorResponse::from_bytes(body)),
                    (0, Ok(ErrorResponse { err: 0 })),
                    "watches: addWatch"
                );
                watching.watch_always(path, *recursive);
            }
            Request::CheckWatches(path, kind) | Request::RemoveWatches(path, kind) => {
                let expected = if watching.has(path, *kind) { 0 } else { ErrorCode::NoWatcher.wire() };
                assert_eq!((err, body), (expected, &[][..]), "watches: {kind:?} at {path}");
                if matches!(request, Request::RemoveWatches(..)) {
                    watching.remove(path, *kind);
                }
            }
            Request::SetWatches(..) => unreachable!("answered above"),
        }
    }
}

impl Default for Client {
    fn default() -> Client {
        Client::new()
    }
}
