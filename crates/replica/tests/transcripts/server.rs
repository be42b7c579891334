//! One server: the only file that knows how to drive the engine of a member.

use std::sync::Arc;

use oxkeeper_proto::records::{CreateRequest, ReconfigRequest};
use oxkeeper_proto::{Jute, OpCode, ServerId, SessionId};
use oxkeeper_replica::delivery::DeliveryKind;
use oxkeeper_replica::engine::{Event, MemberEngine, MemberOptions, Moment, Outside, Reaping};
use oxkeeper_replica::ensemble::journal::scalar;
use oxkeeper_replica::ensemble::replica::{LogPart, LogTail, OwnLog, compare_rounds, greater_ballot};
use oxkeeper_replica::ensemble::{
    BadFrame, Bugs, Configuration, DiskJob, Journal, JournalFull, JournalOp, MemoryJournal, Outdated, Pace, Replica,
    ReplicaConfig, Role, Want,
};
use oxkeeper_replica::{Applier, Clocks, ConnectionId, Origin, Proposals, SessionTable, Shared};
use oxkeeper_state::reconfig::{self, Ruling};
use oxkeeper_state::{Command, Entry, Identities, Level, Settings, State};
use parking_lot::{RwLock, RwLockWriteGuard};

use super::disk::{MemoryDisk, Mood};

/// Fast timing, like that of `tickTime=500`, so that elections in the scripts take few lines.
pub(crate) const PACE: Pace = Pace { heartbeat_ms: 100, silence_ms: 1_000, contact_ms: 600 };
const TICK_MS: u64 = 500;
const SESSION_TIMEOUT_MS: i32 = 4_000;
/// Reaping settings under which nothing is reaped in the scripts.
const REAPING: Reaping = Reaping { interval_ms: 3_600_000, count_max: 1, never_used_ms: 0 };
const OPTIONS: MemberOptions = MemberOptions { reaping: REAPING, read_only_after_ms: None, disk_stall_ms: 2_000 };

/// Settings of a server.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) id: u8,
    pub(crate) founders: Vec<u8>,
    pub(crate) initialize: bool,
    /// Bytes of log above which it is not sent as entries.
    pub(crate) sync_len_max: u64,
    /// Whether one voter is enough.
    pub(crate) one_voter: bool,
    pub(crate) entry_len_max: usize,
    /// The highest feature level that it knows; `raises_to` limits the agreed one.
    pub(crate) knows: Level,
    pub(crate) raises_to: Level,
    pub(crate) bugs: Bugs,
}

/// An answer to a client of this server.
pub(crate) struct Answer {
    pub(crate) xid: i32,
    pub(crate) zxid: i64,
    pub(crate) err: i32,
}

/// Actions of an engine, in order.
pub(crate) enum Deed {
    Applied { index: u64, entry: Vec<u8> },
    Answered(Answer),
    Expired(SessionId),
    Silent(u8),
    DiskStalled,
}

/// Outcome of a call to the engine.
#[derive(Default)]
pub(crate) struct Outcome {
    pub(crate) frames: Vec<(u8, Vec<u8>)>,
    pub(crate) deeds: Vec<Deed>,
}

/// Records the actions of the engine.
struct Recorder<'a> {
    outcome: Outcome,
    applied: &'a mut Vec<Vec<u8>>,
    spent: u64,
}

impl Outside for Recorder<'_> {
    fn send(&mut self, peer: ServerId, frame: Vec<u8>) {
        self.outcome.frames.push((peer.0, frame));
    }

    fn flush(&mut self) {}

    /// Only records the end of the link: the scripts end links by their own commands.
    fn end_link(&mut self, peer: ServerId, _why: &str) {
        self.outcome.deeds.push(Deed::Silent(peer.0));
    }

    fn deliver(&mut self, applier: &mut Applier, _locked: RwLockWriteGuard<'_, Shared>, entry: Option<&[u8]>) {
        if let Some(entry) = entry {
            let index = self.applied.len() as u64;
            self.applied.push(entry.to_vec());
            self.outcome.deeds.push(Deed::Applied { index, entry: entry.to_vec() });
        }
        take_answers(applier, &mut self.outcome.deeds);
    }

    fn spent(&mut self) -> u64 {
        self.spent
    }

    fn happened(&mut self, event: Event<'_>) {
        match event {
            Event::SessionExpired { session, .. } => self.outcome.deeds.push(Deed::Expired(session)),
            Event::DiskStalled { .. } => self.outcome.deeds.push(Deed::DiskStalled),
            // Its served clients are among its facts.
            Event::Serving { .. } => {}
            Event::LocalSessionExpired { .. } | Event::Reaped(_) | Event::LevelRaised(_) | Event::DiskFull => {
                unreachable!("there are no local sessions, containers and standalone servers")
            }
        }
    }
}

/// Facts that a server shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Facts {
    pub(crate) role: Role,
    pub(crate) serving: bool,
    /// Whether it takes commands and may expire sessions: its epoch is applied, and it has contact
    /// with a majority.
    pub(crate) rules: bool,
    pub(crate) leaving: bool,
    pub(crate) configuration: Configuration,
    pub(crate) linked: Vec<ServerId>,
    pub(crate) applied: u64,
    pub(crate) decided: u64,
    pub(crate) ahead_of_disk: bool,
}

struct Process {
    engine: MemberEngine,
    shared: RwLock<Shared>,
    /// Disk work under way.
    work: Option<DiskJob>,
}

/// A machine with its disk, and the process on it.
pub(crate) struct Server {
    pub(crate) plan: Plan,
    pub(crate) disk: MemoryDisk,
    /// Entries in the durable tree: the tree is the state that they make.
    tree: Vec<Vec<u8>>,
    /// Entries that are applied.
    applied: Vec<Vec<u8>>,
    process: Option<Process>,
}

impl Server {
    pub(crate) fn new(plan: Plan) -> Server {
        Server { plan, disk: MemoryDisk::default(), tree: Vec::new(), applied: Vec::new(), process: None }
    }

    fn process(&mut self) -> &mut Process {
        self.process.as_mut().unwrap_or_else(|| panic!("server {} does not run", self.plan.id))
    }

    pub(crate) fn is_running(&self) -> bool {
        self.process.is_some()
    }

    /// Recovers the durable tree, then the entries that the log knows to be decided.
    pub(crate) fn start(&mut self, now_ms: u64) -> Result<(), JournalFull> {
        let decided = self
            .disk
            .scalar(scalar::DECIDED)
            .map_or(0, |bytes| u64::from_be_bytes(bytes.try_into().expect("a number")));
        self.applied.clone_from(&self.tree);
        let from = self.tree.len() as u64;
        self.disk
            .read(from..decided.min(self.disk.next_index()).max(from), &mut |entry| self.applied.push(entry.to_vec()));
        let id = self.plan.id;
        let state = replayed(&self.applied);
        let replica = Replica::start(self.config(now_ms), Box::new(self.disk.clone()), &state, now_ms)?;
        let mut sessions = SessionTable::new(ServerId(id), now_ms as i64, &state, Clocks::new(TICK_MS, now_ms));
        let (me, boot) = replica.origin();
        sessions.start(me, boot);
        let mut applier = Applier::new(1);
        applier.repeats = self.plan.bugs.no_duplicate_filter;
        let shared = RwLock::new(Shared::new(state, Settings::default(), sessions, now_ms));
        let engine = MemberEngine::new(replica, applier, OPTIONS, Arc::default(), Arc::default(), now_ms);
        self.process = Some(Process { engine, shared, work: None });
        Ok(())
    }

    fn config(&self, now_ms: u64) -> ReplicaConfig {
        let Plan { id, founders, initialize, sync_len_max, one_voter, entry_len_max, knows, raises_to, bugs } =
            &self.plan;
        ReplicaConfig {
            me: ServerId(*id),
            members: founders.iter().copied().map(ServerId).collect(),
            membership: founders.iter().map(|id| member(*id, "participant")).collect(),
            membership_version: 0,
            pace: PACE,
            entry_len_max: *entry_len_max,
            settings: Settings::default(),
            initialize: *initialize,
            checkpointed: self.tree.len() as u64,
            applied: self.applied.len() as u64,
            wall_ms: now_ms,
            seed: 1,
            sync_len_max: *sync_len_max,
            ruling: if *one_voter { Ruling::ONE_VOTER } else { Ruling::default() },
            knows: *knows,
            raises_to: *raises_to,
            bugs: *bugs,
        }
    }

    /// Ends the process: writes under way are lost.
    pub(crate) fn crash(&mut self) {
        self.process = None;
    }

    /// Replaces the disk by an empty one.
    pub(crate) fn wipe(&mut self) {
        (self.disk, self.tree, self.applied) = (MemoryDisk::default(), Vec::new(), Vec::new());
    }

    // The calls to the engine, in the order in which a driver makes them.

    pub(crate) fn link_up(&mut self, peer: u8, now_ms: u64) {
        self.process().engine.link_up(ServerId(peer), now_ms);
    }

    pub(crate) fn link_down(&mut self, peer: u8, now_ms: u64) {
        self.process().engine.link_down(ServerId(peer), now_ms);
    }

    pub(crate) fn receive(&mut self, peer: u8, frame: &[u8], now_ms: u64) -> Result<(), BadFrame> {
        self.process().engine.receive(ServerId(peer), frame, now_ms)
    }

    /// Begins a session of this server's client.
    pub(crate) fn open_session(&mut self, xid: i32, now_ms: u64) {
        let mut body = Vec::new();
        SESSION_TIMEOUT_MS.encode(&mut body);
        self.submit(OpCode::CreateSession, Settings::default(), &body, xid, now_ms);
    }

    /// Resumes the session of another server's client here.
    pub(crate) fn resume_session(&mut self, of: u8, xid: i32, now_ms: u64) {
        let mut body = Vec::new();
        SESSION_TIMEOUT_MS.encode(&mut body);
        self.submit_for(session_of(of), OpCode::ResumeSession, Settings::default(), &body, xid, now_ms);
    }

    /// Returns the sessions in its state.
    pub(crate) fn sessions(&mut self) -> Vec<SessionId> {
        self.process().shared.read().state.sessions().iter().map(|(session, _)| session).collect()
    }

    /// Renews the session of its client.
    pub(crate) fn touch(&mut self, now_ms: u64) {
        let session = session_of(self.plan.id);
        self.process().shared.read().sessions.lock().clocks.touch(session, now_ms);
    }

    /// Creates a znode for this server's client.
    pub(crate) fn create(&mut self, path: &str, xid: i32, now_ms: u64) {
        let acl = Some(vec![oxkeeper_proto::records::Acl {
            perms: 31,
            id: oxkeeper_proto::records::Id { scheme: Some("world".into()), id: Some("anyone".into()) },
        }]);
        let mut body = Vec::new();
        CreateRequest { path: Some(path.into()), data: None, acl, flags: 0 }.encode(&mut body);
        self.submit(OpCode::Create, Settings::default(), &body, xid, now_ms);
    }

    /// Reconfigures to these members, each with its role, for this server's client.
    pub(crate) fn reconfig(&mut self, members: &[(u8, &str)], xid: i32, now_ms: u64) {
        let text: String = members.iter().map(|(id, role)| member(*id, role)).collect();
        let new_members = Some(text.as_str().into());
        let request = ReconfigRequest { joining_servers: None, leaving_servers: None, new_members, cur_config_id: -1 };
        let (mut bare, mut body) = (Vec::new(), Vec::new());
        request.encode(&mut bare);
        reconfig::put_body(&bare, &mut body);
        self.submit(OpCode::Reconfig, Settings::RECONFIG.with(Settings::SKIP_ACL), &body, xid, now_ms);
    }

    fn submit(&mut self, op: OpCode, settings: Settings, body: &[u8], xid: i32, now_ms: u64) {
        self.submit_for(session_of(self.plan.id), op, settings, body, xid, now_ms);
    }

    fn submit_for(&mut self, session: SessionId, op: OpCode, settings: Settings, body: &[u8], xid: i32, now_ms: u64) {
        let mut proposals = Proposals::default();
        let identities = Identities::default();
        Command { from: None, session, xid, op, settings, identities, body }.encode(&mut proposals.commands);
        let connection = Some(ConnectionId { thread: 0, generation: 0, place: 0 });
        proposals.origins.push(Origin { connection, received_ms: now_ms, reads: None });
        self.process().engine.submit(&mut proposals);
    }

    pub(crate) fn transfer_leadership(&mut self, now_ms: u64) -> bool {
        self.process().engine.replica_mut().transfer_leadership(now_ms)
    }

    /// Acts on the time and on everything received.
    pub(crate) fn turn(&mut self, now_ms: u64) -> Outcome {
        let moment = Moment { now_ms, wall_ms: now_ms as i64 };
        self.drive(|engine, shared, outside| engine.turn(shared, moment, outside)).1
    }

    fn drive<T>(
        &mut self,
        act: impl FnOnce(&mut MemberEngine, &RwLock<Shared>, &mut Recorder<'_>) -> T,
    ) -> (T, Outcome) {
        let Server { process, applied, tree, plan, .. } = self;
        let Process { engine, shared, .. } =
            process.as_mut().unwrap_or_else(|| panic!("server {} does not run", plan.id));
        let mut recorder = Recorder { outcome: Outcome::default(), applied, spent: tree.len() as u64 };
        let done = act(engine, shared, &mut recorder);
        (done, recorder.outcome)
    }

    /// Starts disk work, if there is any. Returns whether work is under way.
    pub(crate) fn begin_disk(&mut self, now_ms: u64) -> bool {
        let process = self.process();
        if process.work.is_none() {
            process.work = process.engine.begin_disk(now_ms);
        }
        process.work.is_some()
    }

    pub(crate) fn finish_disk(&mut self, now_ms: u64) -> Result<Outcome, JournalFull> {
        let done = self.process().work.take().expect("work is under way")();
        let (finished, outcome) =
            self.drive(|engine, shared, outside| engine.finish_disk(done, shared, now_ms, outside));
        finished.map(|()| outcome)
    }

    pub(crate) fn take_want(&mut self) -> Option<Want> {
        self.process().engine.take_want()
    }

    /// Returns the reason why it must end.
    pub(crate) fn outdated(&mut self) -> Option<Outdated> {
        self.process().engine.replica().outdated()
    }

    pub(crate) fn next_turn_ms(&self) -> Option<u64> {
        self.process.as_ref().map(|process| process.engine.next_turn_ms())
    }

    pub(crate) fn facts(&self, now_ms: u64) -> Option<Facts> {
        let replica = self.process.as_ref()?.engine.replica();
        Some(Facts {
            role: replica.role(),
            serving: replica.is_serving(),
            rules: replica.leads_now(now_ms),
            leaving: replica.is_leaving(),
            configuration: replica.configuration().clone(),
            linked: replica.linked(),
            applied: replica.applied(),
            decided: replica.decided().0,
            ahead_of_disk: replica.is_ahead_of_disk(),
        })
    }

    pub(crate) fn digest(&mut self) -> u64 {
        self.process().shared.read().state.tree().digest()
    }

    // These mirror the file handling of the server around the replica.

    /// Makes the durable tree hold everything that is applied and on disk, and trims the log.
    pub(crate) fn checkpoint(&mut self) {
        let durable = self.disk.next_index() as usize;
        self.tree = self.applied.iter().take(durable).cloned().collect();
        let index = self.tree.len() as u64;
        self.process().engine.replica_mut().trim(index);
    }

    /// Installs the state of `source`, as `oxkeeper-server` does: `kept` there determines what
    /// survives of its own log.
    pub(crate) fn install(&mut self, source: &mut Server, now_ms: u64) -> Result<(), JournalFull> {
        self.crash();
        let from = source.applied.len() as u64;
        let part = source.process().engine.replica().log_part(from, usize::MAX).expect("its log has the end");
        self.disk.replace(merged(&self.disk, &self.plan, &part));
        self.tree.clone_from(&source.applied);
        self.start(now_ms)
    }
}

/// Returns the session of a server's client.
fn session_of(id: u8) -> SessionId {
    SessionId(i64::from(id) << 56 | 1)
}

/// Returns a line of the configuration.
fn member(id: u8, role: &str) -> String {
    format!("server.{id}=host{id}:2888:3888:{role};2181\n")
}

/// Returns the state that these entries make.
fn replayed(entries: &[Vec<u8>]) -> State {
    let state = State::new(1);
    let sessions = SessionTable::new(ServerId(0), 0, &state, Clocks::new(TICK_MS, 0));
    let mut shared = Shared::new(state, Settings::default(), sessions, 0);
    let mut applier = Applier::new(1);
    for bytes in entries {
        match Entry::decode(bytes, Level::KNOWN).expect("it was applied") {
            Entry::Epoch(epoch) => applier.begin_epoch(&mut shared, &epoch),
            Entry::Raise(raise) => shared.state.raise(&raise),
            Entry::Renewal(renewal) => shared.state.renew(&renewal),
            Entry::Batch(mut batch) => {
                let applied = applier.apply(&mut shared, &mut batch, &mut std::iter::empty(), usize::MAX, 0);
                applied.expect("it was applied");
            }
        }
    }
    shared.state
}

fn take_answers(applier: &mut Applier, deeds: &mut Vec<Deed>) {
    for outbox in &mut applier.outboxes {
        for (delivery, bytes) in outbox.iter() {
            if let DeliveryKind::Reply(answered) = delivery.kind {
                let err = bytes.get(16..20).map_or(0, |err| i32::from_be_bytes(err.try_into().expect("four bytes")));
                deeds.push(Deed::Answered(Answer { xid: answered.xid, zxid: answered.zxid, err }));
            }
        }
        outbox.clear(0);
    }
}

/// Returns the log after a state is installed: see `kept` in `oxkeeper-server`.
fn merged(disk: &MemoryDisk, plan: &Plan, part: &LogPart) -> MemoryJournal {
    let peer: &LogTail = part.last.as_ref().expect("the whole tail was asked for");
    let own = own_log(disk, &plan.founders, peer.decided);
    let id_of = |bytes: &[u8]| Configuration::decode(bytes).map_or(0, |configuration| configuration.id);
    let is_void = own.configuration_id() != id_of(&peer.configuration);
    let void = OwnLog { boot: own.boot.clone(), members: own.members.clone(), ..OwnLog::default() };
    let own = if is_void { void } else { own };
    let takes_peers = compare_rounds((&peer.round, peer.end), (&own.round, own.end)).is_ge();
    let is_naive = plan.bugs.naive_install;
    let suffix = if takes_peers && !is_naive { part.entries.clone() } else { own.suffix(peer.decided) };
    let scalars = [
        (scalar::PROMISE, greater_ballot(&own.promise, &peer.promise)),
        (scalar::ROUND, if takes_peers && !is_naive { peer.round.clone() } else { own.round }),
        (scalar::DECIDED, peer.decided.to_be_bytes().to_vec()),
        (scalar::BOOT, own.boot),
        (scalar::MEMBERS, own.members),
        (scalar::CONFIGURATION, peer.configuration.clone()),
    ];
    // The log begins at the end of the state.
    let mut journal = MemoryJournal::default();
    let placeholders = (0..peer.decided).map(|_| JournalOp::Append([].into()));
    let scalars = scalars.into_iter().filter(|(_, value)| !value.is_empty());
    let scalars = scalars.map(|(key, value)| JournalOp::Scalar(key, value));
    let ops: Vec<JournalOp> = placeholders.chain(suffix.into_iter().map(JournalOp::Append)).chain(scalars).collect();
    journal.write(ops).expect("a journal in memory takes everything");
    journal.trim(peer.decided);
    journal
}

fn own_log(disk: &MemoryDisk, founders: &[u8], from: u64) -> OwnLog {
    let scalar = |key| disk.scalar(key).unwrap_or_default();
    let first = from.clamp(disk.first_index(), disk.next_index());
    let mut entries = Vec::new();
    disk.read(first..disk.next_index(), &mut |entry| entries.push(entry.into()));
    OwnLog {
        promise: scalar(scalar::PROMISE),
        round: scalar(scalar::ROUND),
        end: disk.next_index(),
        boot: scalar(scalar::BOOT),
        members: founders.to_vec(),
        configuration: scalar(scalar::CONFIGURATION),
        first,
        entries,
    }
}

/// Returns whether the disk answers without being told to.
pub(crate) fn is_fast(disk: &MemoryDisk) -> bool {
    disk.mood() != Mood::Slow
}
