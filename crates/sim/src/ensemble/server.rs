//! One server of a simulated ensemble: production parts, put together as `oxkeeper-server` does.
//!
//! A [`Host`] is the machine: its disk and clock stay when the process on it goes. A [`Incarnation`] is what one recovery gave,
//! until a peer's state replaces it or the disk was full.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use oxkeeper_durable::LogJournal;
use oxkeeper_durable::RecoveryError;
use oxkeeper_durable::recovery::{Recovered, Replay, StoreOptions, recover_with};
use oxkeeper_durable::transfer::{LogPart, Receiver, RunningServer, Sender, TransferError};
use oxkeeper_proto::ServerId;
use oxkeeper_replica::engine::{MemberEngine, MemberOptions, Reaping};
use oxkeeper_replica::ensemble::journal::scalar;
use oxkeeper_replica::ensemble::{DiskJob, JournalFull, Pins, Replica, ReplicaConfig};
use oxkeeper_replica::{Applier, Clocks, Serving, SessionTable, Shared};
use oxkeeper_state::reconfig::Ruling;
use oxkeeper_state::{Level, Raise, Settings, State};
use oxkeeper_store::fake::FakeDisk;
use oxkeeper_store::{DirLock, Disk, LogOptions, StoreError, Tree, TreeOptions};
use parking_lot::{Mutex, RwLock};

use super::clock::HostClock;
use super::options::Options;
use crate::connections::Connections;
use crate::options::Bug;
use crate::server::DATA_DIR;

/// Never.
pub const NEVER: u64 = u64::MAX;

/// What is known only once: the machine.
#[derive(Debug)]
pub struct Host {
    /// Survives the process.
    pub disk: FakeDisk,
    /// The server, if it runs.
    pub process: Option<Process>,
    /// Counts processes: what was meant for a former one is not for this.
    pub start: u64,
    /// It does nothing until then.
    pub paused_until_ms: u64,
    /// Nothing is written until then.
    pub stalled_until_ms: u64,
    /// The disk is full until then.
    pub full_until_ms: Option<u64>,
    /// Its monotonic clock.
    pub clock: HostClock,
    /// How far its wall clock is ahead.
    pub wall_ahead_ms: i64,
    /// The operation of the disk in which the machine stops, and whether power fails.
    pub crash_at: Option<(u64, bool)>,
    /// Entries that were written at once, where they were many: they are in one segment, however long that gets.
    pub groups: Vec<Range<u64>>,
    /// It has lost its disk and is not back, or was never there.
    pub blank: bool,
    /// It has lost its disk and is not back.
    pub lost: bool,
    /// Its empty disk may found the ensemble: it has the file that says so.
    pub initialize: bool,
    /// It stands for election.
    pub stands: bool,
    /// Sessions that have expired by a jump of the wall clock: a bug.
    pub expired_by_wall: bool,
    /// The highest feature level of the release that it runs.
    pub knows: Level,
    /// The highest one that it ever ran.
    pub ever_knew: Level,
    /// The ensemble has agreed on more than the older release knows, as this server has found out: it starts with the newer one.
    pub outdated: bool,
    /// Znodes and log entries that a restart has to recover.
    pub to_recover: u64,
    /// A process that starts recovers until then.
    pub recovers_until_ms: Option<u64>,
    /// A checkpoint is being written.
    pub checkpoints: bool,
    /// When its engine has its next turn.
    pub engine_at_ms: u64,
    /// When its connections have.
    pub io_at_ms: u64,
}

impl Host {
    /// With an empty disk.
    pub fn new(clock: HostClock) -> Host {
        Host {
            clock,
            disk: FakeDisk::new(),
            process: None,
            start: 0,
            paused_until_ms: 0,
            stalled_until_ms: 0,
            full_until_ms: None,
            wall_ahead_ms: 0,
            crash_at: None,
            groups: Vec::new(),
            blank: true,
            lost: false,
            initialize: false,
            stands: false,
            expired_by_wall: false,
            knows: Level::NONE,
            ever_knew: Level::NONE,
            outdated: false,
            to_recover: 0,
            recovers_until_ms: None,
            checkpoints: false,
            engine_at_ms: NEVER,
            io_at_ms: NEVER,
        }
    }

    /// Whether the moment of a planned crash has passed: nothing after it has happened.
    pub fn has_crashed(&self) -> bool {
        self.crash_at.is_some_and(|(operation, _)| self.disk.operations() > operation)
    }
}

/// What the engine's thread is at.
#[derive(Debug)]
pub enum Mode {
    /// Its loop.
    Ready,
    /// It waits for the disk until then.
    Persisting(u64),
    /// It takes over a peer's state.
    Installing(Box<Install>),
    /// It tries again then, with a new incarnation.
    Resting(u64),
}

/// Asks an engine for log entries.
pub type Ask = Box<dyn Fn(u64) -> Result<Option<LogPart>, TransferError> + Send + Sync>;

/// A state on its way.
pub struct Install {
    /// Whose.
    pub from: usize,
    /// Which process of that server.
    pub from_start: u64,
    /// So many entries must be in it.
    pub at: u64,
    /// `None` until the connection is there.
    pub sender: Option<Sender<RunningServer<Ask>>>,
    /// Builds the files.
    pub receiver: Receiver,
    /// It is given up then, unless something arrives.
    pub until_ms: u64,
    /// Bytes under way, and when they arrive.
    pub coming: Vec<u8>,
}

impl std::fmt::Debug for Install {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "installing from {}", self.from)
    }
}

/// A running server.
#[derive(Debug)]
pub struct Process {
    /// What connections and the engine share.
    pub shared: RwLock<Shared>,
    /// Connections.
    pub connections: Connections,
    /// `None` while it cannot go on.
    pub incarnation: Option<Incarnation>,
    /// What the engine's thread is at.
    pub mode: Mode,
}

/// Work that the disk has to do.
pub enum Work {
    /// It is under way: a crash finds nothing of it.
    ToDo(DiskJob),
    /// It is done, and the engine does not know.
    Done(Result<(), JournalFull>),
}

impl std::fmt::Debug for Work {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("work")
    }
}

/// What one recovery gave.
#[derive(Debug)]
pub struct Incarnation {
    /// Production's.
    pub engine: Arc<Mutex<MemberEngine>>,
    /// The durable tree.
    pub tree: Arc<Tree>,
    /// What states under way need of the log.
    pub pins: Arc<Pins>,
    /// Entries that the durable tree holds.
    pub committed: u64,
    /// Work of the disk.
    pub work: Option<Work>,
    /// The engine has turns meanwhile.
    pub stands_in: bool,
    _locks: Vec<DirLock>,
}

impl Incarnation {
    /// The state, as a peer is sent it: the engine is asked between two of its turns.
    pub fn source(&self) -> RunningServer<Ask> {
        let engine = self.engine.clone();
        let ask: Ask = Box::new(move |from| Ok(engine.lock().replica().log_part(from, PART_LEN)));
        RunningServer::new(self.tree.clone(), self.pins.clone(), ask)
    }
}

/// Bytes of log entries that a peer is sent at once: few, so that there are several parts.
const PART_LEN: usize = 2_000;
/// How often spent containers are looked for, ms.
const REAP_INTERVAL_MS: u64 = 500;
/// Containers reaped at once at most.
const REAP_MAX: usize = 10;

/// What a start needs to know.
pub struct Birth<'a> {
    /// Place of the server, from 0.
    pub place: usize,
    /// Of the run.
    pub options: &'a Options,
    /// Its own randomness.
    pub seed: u64,
    /// By the host's monotonic clock, ms.
    pub now_ms: u64,
    /// Unix, ms.
    pub wall_ms: i64,
    /// Where its data is.
    pub disk: &'a FakeDisk,
    /// An empty disk may found the ensemble.
    pub initialize: bool,
    /// The highest feature level that it knows.
    pub knows: Level,
}

/// Why a server does not start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unfit {
    /// The disk is full.
    Full,
    /// The data is of this feature level, which it does not know.
    Newer(Level),
}

impl Birth<'_> {
    /// How the store is opened.
    pub fn store_options(&self) -> StoreOptions {
        store_options(self.options, self.knows)
    }

    /// Recovers. *Errors*: see [`Unfit`].
    pub fn recover(&self) -> Result<(Incarnation, State), Unfit> {
        let disk: Arc<dyn Disk> = Arc::new(self.disk.clone());
        let dir = Path::new(DATA_DIR);
        let replay = Replay::Decided { scalar: scalar::DECIDED };
        let recovered = match recover_with(&disk, dir, dir, self.seed, &self.store_options(), replay) {
            Ok(recovered) => recovered,
            Err(RecoveryError::Store(StoreError::Full { .. })) => return Err(Unfit::Full),
            Err(RecoveryError::Newer { needs, .. }) => return Err(Unfit::Newer(needs)),
            Err(problem) => panic!("recovery: server {}: {problem}", self.place + 1),
        };
        let Recovered { mut state, log, tree, applied, checkpointed, locks, .. } = recovered;
        let journal = Box::new(LogJournal::with_window(log, self.options.log_window_len));
        let replica = match Replica::start(self.config(applied, checkpointed), journal, &state, self.now_ms) {
            Ok(replica) => replica,
            Err(JournalFull) => return Err(Unfit::Full),
        };
        if self.options.bug == Bug::LevelOfItsOwn {
            state.raise(&Raise { level: self.knows, ballot: state.epoch_ballot(), time_ms: 0 });
        }
        let mut applier = Applier::new(self.options.threads as usize);
        applier.repeats = self.options.bugs.no_duplicate_filter;
        applier.overtakes = self.options.bug == Bug::ReconfigOvertaken;
        let options = MemberOptions {
            reaping: Reaping { interval_ms: REAP_INTERVAL_MS, count_max: REAP_MAX, never_used_ms: 0 },
            read_only_after_ms: Some(self.options.read_only_after_ms).filter(|&after_ms| after_ms > 0),
            disk_stall_ms: self.options.disk_stall_ms,
        };
        let pins: Arc<Pins> = Arc::default();
        let engine = MemberEngine::new(replica, applier, options, Arc::default(), pins.clone(), self.now_ms);
        let incarnation = Incarnation {
            engine: Arc::new(Mutex::new(engine)),
            tree: Arc::new(tree),
            pins,
            committed: checkpointed,
            work: None,
            stands_in: false,
            _locks: locks,
        };
        Ok((incarnation, state))
    }

    /// What connections and the engine share.
    pub fn share(&self, state: State, incarnation: &Incarnation) -> Shared {
        let clocks = Clocks::new(self.options.tick_ms, self.now_ms);
        let mut sessions = SessionTable::new(self.options.id(self.place), self.wall_ms, &state, clocks);
        let (me, boot) = incarnation.engine.lock().replica().origin();
        sessions.start(me, boot);
        Shared { serving: Serving::No, ..Shared::new(state, Settings::default(), sessions, self.now_ms) }
    }

    fn config(&self, applied: u64, checkpointed: u64) -> ReplicaConfig {
        let options = self.options;
        ReplicaConfig {
            me: options.id(self.place),
            members: founders(options, self.place),
            membership: membership(options, self.place),
            membership_version: 0,
            pace: options.pace(),
            entry_len_max: options.entry_len_max as usize,
            settings: Settings::default(),
            initialize: self.initialize,
            checkpointed,
            applied,
            wall_ms: u64::try_from(self.wall_ms).unwrap_or(0),
            seed: self.seed,
            sync_len_max: options.sync_len_max,
            ruling: if options.one_voter { Ruling::ONE_VOTER } else { Ruling::default() },
            knows: self.knows,
            raises_to: self.knows,
            bugs: options.bugs,
        }
    }
}

/// The members as the configuration of the server in `place` has them, for clients to read.
fn membership(options: &Options, place: usize) -> String {
    let voters = founders(options, place).into_iter().map(|id| format!("server.{id}=host{id}:2888:3888\n"));
    let spares = options.servers as usize..options.hosts();
    let observers = spares.filter(|_| options.observing).map(|place| options.id(place));
    voters.chain(observers.map(|id| format!("server.{id}=host{id}:2888:3888:observer\n"))).collect()
}

/// The voters as the configuration of the server in `place` has them: those who found the ensemble, and itself if it wants to
/// join.
pub fn founders(options: &Options, place: usize) -> Vec<ServerId> {
    let observes = options.observing && place as u64 >= options.servers;
    let spare = Some(place).filter(|_| place as u64 >= options.founders && !observes);
    (0..options.founders as usize).chain(spare).map(|place| options.id(place)).collect()
}

/// How the store is opened.
pub fn store_options(options: &Options, knows: Level) -> StoreOptions {
    StoreOptions {
        log: LogOptions { segment_len: options.segment_len, ..LogOptions::default() },
        tree: TreeOptions { pace_rest: Duration::ZERO, ..TreeOptions::default() },
        knows,
    }
}
