//! The applier: applies agreed commands, in order, and writes the deliveries to each connection.
//!
//! Events of a command are delivered before its reply, and all of them before the state is
//! unlocked: a thread that reads the new state afterwards finds its events already waiting. Source:
//! `FinalRequestProcessor`.

use oxkeeper_proto::records::ReplyHeader;
use oxkeeper_proto::{DecodeError, ErrorCode, Jute, OpCode, Reader, ServerId, SessionId, Text, frame};
use oxkeeper_state::command::Epoch;
use oxkeeper_state::{Batch, Change, ChangeSink, Command};

use crate::Shared;
use crate::audit::Audit;
use crate::delivery::{Answered, ConnectionId, DeliveryKind, Origin, Outbox};
use crate::watches::Watches;
use crate::withheld::Withheld;

/// Largest number of slow writes kept with their details until they are taken.
pub const SLOW_MAX: usize = 64;
/// Largest number of path bytes kept.
const SLOW_PATH_MAX: usize = 128;
/// Bytes in front of the path of a transaction's first operation.
const MULTI_HEADER_LEN: usize = 9;

/// A slow write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlowWrite {
    /// The requested operation.
    pub op: OpCode,
    /// The path, cut if it is long; for a transaction, that of its first operation.
    pub path: String,
    /// The session of the client.
    pub session: SessionId,
    /// The client's address.
    pub address: String,
    /// Arrival time on the monotonic clock, ms.
    pub received_ms: u64,
}

impl SlowWrite {
    fn new(command: &Command<'_>, received_ms: u64) -> SlowWrite {
        let ip = command.identities.iter().find(|id| id.scheme.as_deref() == Some("ip"));
        let address = ip.and_then(|id| id.id.map(|id| id.into_owned())).unwrap_or_default();
        SlowWrite { op: command.op, path: path_of(command), session: command.session, address, received_ms }
    }
}

#[expect(clippy::wildcard_enum_match_arm, reason = "every other write begins with its path")]
/// Returns the path of a command; empty if it has none.
fn path_of(command: &Command<'_>) -> String {
    let skipped = match command.op {
        OpCode::CreateSession | OpCode::ResumeSession | OpCode::CloseSession | OpCode::Reconfig => {
            return String::new();
        }
        OpCode::Multi => MULTI_HEADER_LEN,
        _ => 0,
    };
    let body = command.body.get(skipped..).unwrap_or_default();
    let path = Option::<Text<'_>>::decode(&mut Reader::new(body)).ok().flatten();
    path.map_or_else(String::new, |path| path.chars().take(SLOW_PATH_MAX).collect())
}

/// Applies commands and fills one outbox for each thread that owns connections.
#[derive(Debug)]
pub struct Applier {
    /// Deliveries for each thread's connections; the caller takes them before it unlocks the state.
    pub outboxes: Vec<Outbox>,
    /// This server and its boot number, in an ensemble: commands with these are from its own
    /// clients.
    pub me: Option<(ServerId, u64)>,
    /// Whether commands are applied again although they were applied before. Only the simulator
    /// sets this, to show that it would notice.
    pub repeats: bool,
    /// Whether answers behind a reconfig on its connection do not wait for it. Only the simulator
    /// sets this.
    pub overtakes: bool,
    /// Time from arrival to application after which a write of this server's own clients is slow,
    /// ms.
    pub slow_after_ms: Option<u64>,
    /// Slow writes since they were last taken, at most [`SLOW_MAX`].
    pub slow: Vec<SlowWrite>,
    /// Number of slow writes beyond those.
    pub slow_unnamed: u64,
    /// Audit log of changes, if wanted.
    pub audit: Option<Audit>,
    /// Commands applied since the count was last taken.
    pub applied: u64,
    /// Answers that wait until the next configuration has begun.
    withheld: Withheld,
    body: Vec<u8>,
}

/// Fires the watches of changes while they are applied.
struct Announcer<'a> {
    watches: &'a mut Watches,
    outboxes: &'a mut [Outbox],
    audit: Option<&'a mut Audit>,
}

impl ChangeSink for Announcer<'_> {
    fn changed(&mut self, change: Change<'_>) {
        if let Some(audit) = &mut self.audit {
            audit.changed(&change);
        }
        let outboxes = &mut *self.outboxes;
        self.watches.fire(&change, &mut |connection: ConnectionId, frame: &[u8]| {
            outboxes[usize::from(connection.thread)].push(connection, DeliveryKind::Event, |out| {
                out.extend_from_slice(frame);
            });
        });
    }
}

impl Applier {
    /// Creates an applier for connections owned by `threads` threads.
    pub fn new(threads: usize) -> Applier {
        Applier {
            outboxes: (0..threads).map(|_| Outbox::default()).collect(),
            me: None,
            repeats: false,
            overtakes: false,
            slow_after_ms: None,
            slow: Vec::new(),
            slow_unnamed: 0,
            audit: None,
            applied: 0,
            withheld: Withheld::new(threads),
            body: Vec::new(),
        }
    }

    /// Applies up to `limit` commands of a batch. `origins` are those of this server's own clients,
    /// one for each applied command of theirs; none for a batch that is replayed. Returns how many
    /// were dealt with: applied, or skipped because they were applied before or come too early.
    /// *Errors*: the batch is invalid; the log is damaged.
    ///
    /// A batch that no longer counts (see [`State::accepts`](oxkeeper_state::State::accepts)) is
    /// skipped as a whole.
    pub fn apply(
        &mut self,
        shared: &mut Shared,
        batch: &mut Batch<'_>,
        origins: &mut dyn Iterator<Item = Origin>,
        limit: usize,
        now_ms: u64,
    ) -> Result<usize, DecodeError> {
        if !shared.state.accepts(batch) {
            return Ok(0);
        }
        let applied = self.apply_some(shared, batch, origins, limit, now_ms);
        self.withheld.take_from(&mut self.outboxes, self.overtakes);
        applied
    }

    fn apply_some(
        &mut self,
        shared: &mut Shared,
        batch: &mut Batch<'_>,
        origins: &mut dyn Iterator<Item = Origin>,
        limit: usize,
        now_ms: u64,
    ) -> Result<usize, DecodeError> {
        let time_ms = batch.time_ms;
        for count in 0..limit {
            let Some(command) = batch.next() else {
                shared.state.end_entry();
                return Ok(count);
            };
            let command = command?;
            self.applied += 1;
            let is_next = command.from.is_none_or(|number| shared.state.admit(number));
            if is_next || self.repeats {
                let origin = if self.is_ours(&command) { origins.next() } else { None };
                self.apply_one(shared, &command, time_ms, origin, now_ms);
            }
        }
        Ok(limit)
    }

    /// Applies the epoch entry with which a leader begins. Once it is decided, a majority of the
    /// current voters has everything before it.
    pub fn begin_epoch(&mut self, shared: &mut Shared, epoch: &Epoch<'_>) {
        self.withheld.release(&mut self.outboxes);
        let mut announcer = Announcer { watches: shared.watches.get_mut(), outboxes: &mut self.outboxes, audit: None };
        shared.state.begin_epoch(epoch, &mut announcer);
    }

    fn is_ours(&self, command: &Command<'_>) -> bool {
        self.me.is_none() || self.me == command.from.map(|number| (number.server, number.boot))
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "every operation but three is answered alike")]
    fn apply_one(
        &mut self,
        shared: &mut Shared,
        command: &Command<'_>,
        time_ms: i64,
        origin: Option<Origin>,
        now_ms: u64,
    ) {
        self.body.clear();
        let received_ms = origin.as_ref().map_or(now_ms, |origin| origin.received_ms);
        let asker = origin.as_ref().and_then(|origin| origin.connection);
        debug_assert!(
            command.op == OpCode::ResumeSession || is_of_holder(shared, command.session, asker),
            "what a connection has sent is applied before its session goes on at another one"
        );
        self.answer_reads(shared, command, origin);
        let Applier { outboxes, audit, .. } = self;
        let mut announcer = Announcer { watches: shared.watches.get_mut(), outboxes, audit: audit.as_mut() };
        let voter_changes = shared.state.voter_changes();
        let result = shared.state.apply(command, time_ms, &mut self.body, &mut announcer);
        let zxid = shared.state.zxid().0;
        let answered = Answered { op: command.op, xid: command.xid, zxid, received_ms };
        if let Some(audit) = &mut self.audit {
            audit.applied(command, result, asker.is_some(), &self.body);
        }
        if asker.is_some() && self.slow_after_ms.is_some_and(|after_ms| now_ms.saturating_sub(received_ms) >= after_ms)
        {
            match self.slow.len() {
                0..SLOW_MAX => self.slow.push(SlowWrite::new(command, received_ms)),
                _ => self.slow_unnamed += 1,
            }
        }
        let sessions = shared.sessions.get_mut();
        match command.op {
            // ZooKeeper: no answer; the client will notice that its session has moved.
            _ if result == Err(ErrorCode::SessionMoved) => self.say(asker, DeliveryKind::Unanswered, |_| {}),
            OpCode::ResumeSession if result.is_err() => {
                asker.into_iter().for_each(|asker| sessions.settle(command.session, asker));
                self.say(asker, DeliveryKind::SessionRefused, |_| {});
            }
            OpCode::ResumeSession => {
                let timeout_ms = i32::from_bytes(command.body).unwrap_or_default();
                let holder = sessions.resume(command.session, timeout_ms, asker, now_ms);
                self.say(holder.filter(|_| holder != asker), DeliveryKind::Disconnect, |_| {});
                self.say(asker, DeliveryKind::SessionOpened(answered), |_| {});
            }
            OpCode::CreateSession => {
                let timeout_ms = i32::from_bytes(command.body).unwrap_or_default();
                sessions.clocks.open(command.session, timeout_ms, now_ms);
                asker.map(|asker| sessions.hold(command.session, asker));
                self.say(asker, DeliveryKind::SessionOpened(answered), |_| {});
            }
            OpCode::CloseSession => {
                let holder = sessions.close(command.session);
                self.say(holder.filter(|_| holder != asker), DeliveryKind::Disconnect, |_| {});
                self.reply(asker, DeliveryKind::SessionClosed, answered, result);
            }
            // A client that receives the answer may remove the disks of former voters.
            OpCode::Reconfig if shared.state.voter_changes() > voter_changes => {
                asker.into_iter().for_each(|asker| self.withheld.begin(asker, &self.outboxes));
                self.reply(asker, DeliveryKind::Reply, answered, result);
            }
            _ => self.reply(asker, DeliveryKind::Reply, answered, result),
        }
    }

    /// Answers the reads that wait for the state before `command`.
    fn answer_reads(&mut self, shared: &Shared, command: &Command<'_>, origin: Option<Origin>) {
        let Some(Origin { connection: Some(connection), reads: Some(reads), .. }) = origin else { return };
        // A watch of a connection that has ended would stay forever.
        if shared.sessions.lock().holder(command.session) == Some(connection) {
            reads.answer(shared, command, connection, &mut self.outboxes[usize::from(connection.thread)]);
        }
    }

    fn reply(
        &mut self,
        asker: Option<ConnectionId>,
        kind: fn(Answered) -> DeliveryKind,
        answered: Answered,
        result: Result<(), ErrorCode>,
    ) {
        let Some(asker) = asker else { return };
        let Applier { outboxes, body, .. } = self;
        let err = result.map_or_else(ErrorCode::wire, |()| 0);
        outboxes[usize::from(asker.thread)].push(asker, kind(answered), |out| {
            frame::put_frame(out, |out| {
                ReplyHeader { xid: answered.xid, zxid: answered.zxid, err }.encode(out);
                out.extend_from_slice(body);
            });
        });
    }

    fn say(&mut self, whom: Option<ConnectionId>, kind: DeliveryKind, write: impl FnOnce(&mut Vec<u8>)) {
        if let Some(connection) = whom {
            self.outboxes[usize::from(connection.thread)].push(connection, kind, write);
        }
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "every operation but three is answered alike")]
    /// Answers commands that were not agreed on: the disk is full, and nothing was done.
    pub fn refuse(
        &mut self,
        shared: &Shared,
        batch: Batch<'_>,
        origins: impl Iterator<Item = Origin>,
    ) -> Result<(), DecodeError> {
        self.body.clear();
        let zxid = shared.state.zxid().0;
        for (command, origin) in batch.zip(origins) {
            let command = command?;
            let Command { op, xid, .. } = command;
            let Origin { connection, received_ms, .. } = origin;
            self.answer_reads(shared, &command, Some(origin));
            if let Some(audit) = &mut self.audit {
                audit.applied(&command, Err(ErrorCode::SystemError), connection.is_some(), &[]);
            }
            let answered = Answered { op, xid, zxid, received_ms };
            match op {
                OpCode::CreateSession | OpCode::ResumeSession | OpCode::CloseSession => {
                    self.say(connection, DeliveryKind::Unanswered, |_| {});
                }
                _ => self.reply(connection, DeliveryKind::Reply, answered, Err(ErrorCode::SystemError)),
            }
        }
        Ok(())
    }
}

/// Returns whether no other connection than `asker` has the session here.
fn is_of_holder(shared: &Shared, session: SessionId, asker: Option<ConnectionId>) -> bool {
    asker.is_none() || shared.sessions.lock().holder(session).is_none_or(|holder| Some(holder) == asker)
}
