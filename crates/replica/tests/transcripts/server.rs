//! One server: the only file that knows how a replica is driven.

use oxkeeper_proto::records::{CreateRequest, ReconfigRequest};
use oxkeeper_proto::{Jute, OpCode, SessionId};
use oxkeeper_replica::delivery::DeliveryKind;
use oxkeeper_replica::ensemble::journal::scalar;
use oxkeeper_replica::ensemble::replica::{LogPart, LogTail, OwnLog, compare_rounds, greater_ballot};
use oxkeeper_replica::ensemble::{
    Applying, BadFrame, Bugs, Configuration, Journal, JournalFull, JournalOp, MemoryJournal, Pace, Replica,
    ReplicaConfig, Role, Syncing, Want,
};
use oxkeeper_replica::{Clocks, ConnectionId, Origin, Proposals, SessionTable, Shared, Writer};
use oxkeeper_state::reconfig::{self, Ruling};
use oxkeeper_state::{Command, Entry, Identities, Settings, State};
use parking_lot::{Mutex, RwLock};

use super::disk::{MemoryDisk, Mood};

/// As fast as `tickTime=500` or so: elections of the scripts take few lines.
pub(crate) const PACE: Pace = Pace { heartbeat_ms: 100, silence_ms: 1_000, contact_ms: 600 };
const TICK_MS: u64 = 500;
const SESSION_TIMEOUT_MS: i32 = 4_000;

/// What a server was told to be.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) id: u8,
    pub(crate) founders: Vec<u8>,
    pub(crate) initialize: bool,
    /// More log than this is not sent as entries.
    pub(crate) sync_len_max: u64,
    /// One voter is enough.
    pub(crate) one_voter: bool,
    pub(crate) entry_len_max: usize,
    pub(crate) bugs: Bugs,
}

/// An answer to a client of this server.
pub(crate) struct Answer {
    pub(crate) xid: i32,
    pub(crate) zxid: i64,
    pub(crate) err: i32,
}

/// What a server shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Facts {
    pub(crate) role: Role,
    pub(crate) serving: bool,
    /// It takes commands: its own epoch is applied.
    pub(crate) rules: bool,
    pub(crate) leaving: bool,
    pub(crate) configuration: Configuration,
    pub(crate) linked: Vec<u8>,
    pub(crate) applied: u64,
    pub(crate) decided: u64,
    pub(crate) ahead_of_disk: bool,
}

struct Process {
    replica: Replica,
    shared: RwLock<Shared>,
    writer: Writer,
    syncing: Option<Syncing>,
    next_tick_ms: u64,
}

/// A machine with its disk, and the process on it.
pub(crate) struct Server {
    pub(crate) plan: Plan,
    pub(crate) disk: MemoryDisk,
    /// Entries that its durable tree stands for: the tree is what they make.
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

    /// Recovers: the durable tree, then what the log knows to be decided.
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
        let mut sessions = SessionTable::new(id, now_ms as i64, &state, Clocks::new(TICK_MS, now_ms));
        let (me, boot) = replica.origin();
        sessions.start(me, boot);
        let mut writer = Writer::new(1);
        writer.me = Some((me, boot));
        writer.repeats = self.plan.bugs.no_duplicate_filter;
        let shared = RwLock::new(Shared::new(state, Settings::default(), sessions, now_ms));
        self.process = Some(Process { replica, shared, writer, syncing: None, next_tick_ms: now_ms });
        Ok(())
    }

    fn config(&self, now_ms: u64) -> ReplicaConfig {
        let Plan { id, founders, initialize, sync_len_max, one_voter, entry_len_max, bugs } = &self.plan;
        ReplicaConfig {
            me: *id,
            members: founders.clone(),
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
            bugs: *bugs,
        }
    }

    /// The process ends: what has begun to be written is lost.
    pub(crate) fn crash(&mut self) {
        self.process = None;
        self.disk.lose_begun();
    }

    /// Another disk, with nothing on it.
    pub(crate) fn wipe(&mut self) {
        (self.disk, self.tree, self.applied) = (MemoryDisk::default(), Vec::new(), Vec::new());
    }

    // The verbs of a replica, in the order in which a turn has them.

    pub(crate) fn link_up(&mut self, peer: u8, now_ms: u64) {
        self.process().replica.link_up(peer, now_ms);
    }

    pub(crate) fn link_down(&mut self, peer: u8, now_ms: u64) {
        self.process().replica.link_down(peer, now_ms);
    }

    pub(crate) fn receive(&mut self, peer: u8, frame: &[u8], now_ms: u64) -> Result<(), BadFrame> {
        self.process().replica.receive(peer, frame, now_ms)
    }

    pub(crate) fn overhear(&mut self, peer: u8, frame: &[u8]) {
        self.process().replica.overhear(peer, frame);
    }

    /// The session of this server's client.
    fn session(&self) -> SessionId {
        SessionId(i64::from(self.plan.id) << 56 | 1)
    }

    /// A client of this server begins its session.
    pub(crate) fn open_session(&mut self, xid: i32, now_ms: u64) {
        let mut body = Vec::new();
        SESSION_TIMEOUT_MS.encode(&mut body);
        self.submit(OpCode::CreateSession, Settings::default(), &body, xid, now_ms);
    }

    /// Its client says that it lives.
    pub(crate) fn touch(&mut self, now_ms: u64) {
        let session = self.session();
        self.process().shared.read().sessions.lock().clocks.touch(session, now_ms);
    }

    /// A client of this server wants a znode.
    pub(crate) fn create(&mut self, path: &str, xid: i32, now_ms: u64) {
        let acl = Some(vec![oxkeeper_proto::records::Acl {
            perms: 31,
            id: oxkeeper_proto::records::Id { scheme: Some("world".into()), id: Some("anyone".into()) },
        }]);
        let mut body = Vec::new();
        CreateRequest { path: Some(path.into()), data: None, acl, flags: 0 }.encode(&mut body);
        self.submit(OpCode::Create, Settings::default(), &body, xid, now_ms);
    }

    /// A client of this server wants these members, each with its role.
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
        let mut proposals = Proposals::default();
        let (session, identities) = (self.session(), Identities::default());
        Command { from: None, session, xid, op, settings, identities, body }.encode(&mut proposals.commands);
        let connection = Some(ConnectionId { thread: 0, generation: 0, place: 0 });
        proposals.origins.push(Origin { connection, received_ms: now_ms, reads: None });
        self.process().replica.submit(&mut proposals);
    }

    pub(crate) fn hand_over(&mut self, now_ms: u64) -> bool {
        self.process().replica.hand_over(now_ms)
    }

    /// What time alone brings about: sessions whose time has passed by the clocks of a leader.
    pub(crate) fn expire(&mut self, now_ms: u64) -> Vec<SessionId> {
        let Process { replica, shared, next_tick_ms, .. } = self.process();
        if now_ms < *next_tick_ms {
            return Vec::new();
        }
        let shared = shared.read();
        let clocks = &mut shared.sessions.lock().clocks;
        *next_tick_ms = now_ms + clocks.interval_ms();
        let expired = if replica.rules() { clocks.tick(now_ms) } else { Vec::new() };
        expired.iter().for_each(|session| replica.submit_own(*session, OpCode::CloseSession, &[]));
        expired
    }

    pub(crate) fn step(&mut self, now_ms: u64) {
        let Process { replica, shared, .. } = self.process();
        replica.step(shared, now_ms, now_ms as i64);
    }

    pub(crate) fn next_frame(&mut self, peer: u8) -> Option<Vec<u8>> {
        self.process().replica.next_frame(peer)
    }

    /// Entries applied, and answers to this server's clients.
    pub(crate) fn apply(&mut self, now_ms: u64) -> (Vec<Vec<u8>>, Vec<Answer>) {
        let Process { replica, shared, writer, .. } = self.process();
        let (mut entries, mut answers) = (Vec::new(), Vec::new());
        let mut applying = Applying {
            shared,
            entry: &Mutex::new(()),
            writer,
            deliver: &mut |writer, _locked| take_answers(writer, &mut answers),
            applied: &mut |entry| entries.push(entry.to_vec()),
            now_ms,
            early: true,
        };
        replica.apply(&mut applying).expect("a log entry is one");
        self.applied.extend_from_slice(&entries);
        (entries, answers)
    }

    pub(crate) fn is_staged(&mut self) -> bool {
        self.process().replica.is_staged()
    }

    pub(crate) fn persist(&mut self) -> Result<bool, JournalFull> {
        self.process().replica.persist()
    }

    /// Whether the write is under way now.
    pub(crate) fn begin_persist(&mut self) -> Result<bool, JournalFull> {
        let process = self.process();
        process.syncing = process.replica.begin_persist()?;
        Ok(process.syncing.is_some())
    }

    /// Whether a write is under way: then frames are only overheard.
    pub(crate) fn is_syncing(&self) -> bool {
        self.process.as_ref().is_some_and(|process| process.syncing.is_some())
    }

    pub(crate) fn finish_persist(&mut self) {
        let process = self.process();
        let syncing = process.syncing.take().expect("a write is under way");
        syncing();
        process.replica.finish_persist();
    }

    pub(crate) fn take_want(&mut self) -> Option<Want> {
        self.process().replica.take_want()
    }

    pub(crate) fn next_step_ms(&self) -> Option<u64> {
        self.process.as_ref().map(|process| process.replica.next_step_ms().min(process.next_tick_ms))
    }

    pub(crate) fn silent(&mut self, now_ms: u64) -> Vec<u8> {
        self.process().replica.silent(now_ms)
    }

    pub(crate) fn facts(&self) -> Option<Facts> {
        let Process { replica, .. } = self.process.as_ref()?;
        Some(Facts {
            role: replica.role(),
            serving: replica.is_serving(),
            rules: replica.rules(),
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

    // What the server around the replica does with its files.

    /// The durable tree has all that is applied and on disk; the log lets go of what it need not keep.
    pub(crate) fn checkpoint(&mut self) {
        let durable = self.disk.next_index() as usize;
        self.tree = self.applied.iter().take(durable).cloned().collect();
        let index = self.tree.len() as u64;
        self.process().replica.trim(index);
    }

    /// Takes over the state of `source`, as `oxkeeper-server` does: what survives of the own log, says `kept` there.
    pub(crate) fn install(&mut self, source: &mut Server, now_ms: u64) -> Result<(), JournalFull> {
        self.crash();
        let from = source.applied.len() as u64;
        let part = source.process().replica.log_part(from, usize::MAX).expect("nothing is staged at the source");
        self.disk.replace(merged(&self.disk, &self.plan, &part));
        self.tree.clone_from(&source.applied);
        self.start(now_ms)
    }
}

/// A line of the configuration.
fn member(id: u8, role: &str) -> String {
    format!("server.{id}=host{id}:2888:3888:{role};2181\n")
}

/// The state that these entries make.
fn replayed(entries: &[Vec<u8>]) -> State {
    let state = State::new(1);
    let sessions = SessionTable::new(0, 0, &state, Clocks::new(TICK_MS, 0));
    let mut shared = Shared::new(state, Settings::default(), sessions, 0);
    let mut writer = Writer::new(1);
    for bytes in entries {
        match Entry::decode(bytes).expect("it was applied") {
            Entry::Epoch(epoch) => writer.begin_epoch(&mut shared, &epoch),
            Entry::Batch(mut batch) => {
                let applied = writer.apply(&mut shared, &mut batch, &mut std::iter::empty(), usize::MAX, 0);
                applied.expect("it was applied");
            }
        }
    }
    shared.state
}

fn take_answers(writer: &mut Writer, answers: &mut Vec<Answer>) {
    for outbox in &mut writer.outboxes {
        for (delivery, bytes) in outbox.iter() {
            if let DeliveryKind::Reply(answered) = delivery.kind {
                let err = bytes.get(16..20).map_or(0, |err| i32::from_be_bytes(err.try_into().expect("four bytes")));
                answers.push(Answer { xid: answered.xid, zxid: answered.zxid, err });
            }
        }
        outbox.clear(0);
    }
}

/// The log after a state is installed: see `kept` in `oxkeeper-server`.
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
    // The log begins where the state ends.
    let mut journal = MemoryJournal::default();
    let placeholders = (0..peer.decided).map(|_| JournalOp::Append([].into()));
    let scalars = scalars.into_iter().filter(|(_, value)| !value.is_empty());
    let scalars = scalars.map(|(key, value)| JournalOp::Scalar(key, value));
    let ops: Vec<JournalOp> = placeholders.chain(suffix.into_iter().map(JournalOp::Append)).chain(scalars).collect();
    journal.write(&ops).expect("a journal in memory takes everything");
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

/// Whether the disk answers without being told to.
pub(crate) fn is_fast(disk: &MemoryDisk) -> bool {
    disk.mood() != Mood::Slow
}
