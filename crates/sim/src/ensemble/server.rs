//! A server of a simulated ensemble: production parts, assembled as `oxkeeper-server` does.
//!
//! A [`Host`] is the machine: its disk and clock survive the process. An [`Incarnation`] is the
//! result of a recovery, and lasts until a peer's state replaces it or the disk is full.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use oxkeeper_durable::LogJournal;
use oxkeeper_durable::RecoveryError;
use oxkeeper_durable::StoreOptions;
use oxkeeper_durable::recovery::{Recovered, Replay, recover_with};
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

use super::options::Options;
use crate::connections::Connections;
use crate::host_clock::HostClock;
use crate::options::Bug;
use crate::server::DATA_DIR;

/// Time that never comes.
pub const NEVER: u64 = u64::MAX;

/// The machine of a server.
#[derive(Debug)]
pub struct Host {
    /// Disk, which survives the process.
    pub disk: FakeDisk,
    /// Server process, if it is running.
    pub process: Option<Process>,
    /// Number of process starts; events meant for an earlier process are ignored.
    pub start: u64,
    /// End of the server's pause, ms.
    pub paused_until_ms: u64,
    /// End of the disk's stall, ms: nothing is written before.
    pub stalled_until_ms: u64,
    /// Time until which the disk is full, ms.
    pub full_until_ms: Option<u64>,
    /// Monotonic clock of the host.
    pub clock: HostClock,
    /// Offset of the wall clock, ms.
    pub wall_ahead_ms: i64,
    /// Disk operation at which the machine stops, and whether power fails.
    pub crash_at: Option<(u64, bool)>,
    /// Large groups of entries that were written at once: each is in one segment, however long that
    /// gets.
    pub groups: Vec<Range<u64>>,
    /// Whether the disk is empty: it was lost and the server is not back, or the server has never
    /// taken part.
    pub blank: bool,
    /// Whether the server has lost its disk and is not back.
    pub lost: bool,
    /// Whether an empty disk may found the ensemble, because of the file that permits it.
    pub initialize: bool,
    /// Whether the server stands for election.
    pub stands: bool,
    /// Whether sessions are to expire because the wall clock has jumped, for
    /// [`Bug::ExpiryByWallClock`].
    pub expired_by_wall: bool,
    /// Highest feature level of the release that the server runs.
    pub knows: Level,
    /// Highest feature level of all releases that the server has run.
    pub ever_knew: Level,
    /// Whether the server has found that the ensemble agreed on a level that the older release does
    /// not know, so that it starts with the newer one.
    pub outdated: bool,
    /// Number of znodes and log entries that a restart must recover.
    pub to_recover: u64,
    /// Time until which a starting process recovers, ms.
    pub recovers_until_ms: Option<u64>,
    /// Whether a checkpoint is being written.
    pub checkpoints: bool,
    /// Time of the engine's next turn, ms.
    pub engine_at_ms: u64,
    /// Time of the connections' next turn, ms.
    pub io_at_ms: u64,
}

impl Host {
    /// Creates a host with an empty disk.
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

    /// Returns whether the moment of a planned crash has passed: nothing after it has happened.
    pub fn has_crashed(&self) -> bool {
        self.crash_at.is_some_and(|(operation, _)| self.disk.operations() > operation)
    }
}

/// State of the engine's thread.
#[derive(Debug)]
pub enum Mode {
    /// Runs its loop.
    Ready,
    /// Waits for the disk until this time, ms.
    Persisting(u64),
    /// Installs a peer's state.
    Installing(Box<Install>),
    /// Waits until this time, ms, and then tries again with a new incarnation.
    Resting(u64),
}

/// Asks an engine for log entries.
pub type Ask = Box<dyn Fn(u64) -> Result<Option<LogPart>, TransferError> + Send + Sync>;

/// A state transfer in progress.
pub struct Install {
    /// Place of the sending server.
    pub from: usize,
    /// Start number of the sending process.
    pub from_start: u64,
    /// Decided index that the state must reach.
    pub at: u64,
    /// Sender at the peer, or `None` until the connection is established.
    pub sender: Option<Sender<RunningServer<Ask>>>,
    /// Receiver, which builds the files.
    pub receiver: Receiver,
    /// Time at which the transfer is given up unless something arrives, ms.
    pub until_ms: u64,
    /// Bytes in flight.
    pub coming: Vec<u8>,
}

impl std::fmt::Debug for Install {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "installing from {}", self.from)
    }
}

/// A running server process.
#[derive(Debug)]
pub struct Process {
    /// State that connections and the engine share.
    pub shared: RwLock<Shared>,
    /// Connections of the server.
    pub connections: Connections,
    /// Current incarnation, or `None` while the server cannot go on.
    pub incarnation: Option<Incarnation>,
    /// State of the engine's thread.
    pub mode: Mode,
}

/// Work of the disk.
pub enum Work {
    /// In progress: nothing of it survives a crash.
    ToDo(DiskJob),
    /// Done, but the engine does not know it yet.
    Done(Result<(), JournalFull>),
}

impl std::fmt::Debug for Work {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("work")
    }
}

/// Result of a recovery.
#[derive(Debug)]
pub struct Incarnation {
    /// Production engine.
    pub engine: Arc<Mutex<MemberEngine>>,
    /// The durable tree.
    pub tree: Arc<Tree>,
    /// Pins of the log for state transfers in progress.
    pub pins: Arc<Pins>,
    /// Number of entries that the durable tree holds.
    pub committed: u64,
    /// Pending work of the disk.
    pub work: Option<Work>,
    /// Whether the engine takes turns while the disk works.
    pub stands_in: bool,
    _locks: Vec<DirLock>,
}

impl Incarnation {
    /// Returns the state as a source for a peer. The engine is asked for entries between two of its
    /// turns.
    pub fn source(&self) -> RunningServer<Ask> {
        let engine = self.engine.clone();
        let ask: Ask = Box::new(move |from| Ok(engine.lock().replica().log_part(from, PART_LEN)));
        RunningServer::new(self.tree.clone(), self.pins.clone(), ask)
    }
}

/// Bytes of log entries sent to a peer at a time: few, so that there are several parts.
const PART_LEN: usize = 2_000;
/// Interval between searches for empty containers, ms.
const REAP_INTERVAL_MS: u64 = 500;
/// Number of containers reaped at a time.
const REAP_MAX: usize = 10;

/// Parameters of a start.
pub struct Birth<'a> {
    /// Place of the server, counted from 0.
    pub place: usize,
    /// Options of the run.
    pub options: &'a Options,
    /// Seed of the server's own random choices.
    pub seed: u64,
    /// Time of the host's monotonic clock, ms.
    pub now_ms: u64,
    /// Unix time, ms.
    pub wall_ms: i64,
    /// Disk with the server's data.
    pub disk: &'a FakeDisk,
    /// Whether an empty disk may found the ensemble.
    pub initialize: bool,
    /// Highest feature level that the server knows.
    pub knows: Level,
}

/// Reason why a server does not start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unfit {
    /// The disk is full.
    Full,
    /// The data has this feature level, which the server does not know.
    Newer(Level),
}

impl Birth<'_> {
    /// Returns the options for opening the store.
    pub fn store_options(&self) -> StoreOptions {
        store_options(self.options, self.knows)
    }

    /// Recovers the state and creates an incarnation. *Errors*: see [`Unfit`].
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

    /// Creates the state that connections and the engine share.
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

/// Returns the members in the configuration of the server in `place`, as clients read them.
fn membership(options: &Options, place: usize) -> String {
    let voters = founders(options, place).into_iter().map(|id| format!("server.{id}=host{id}:2888:3888\n"));
    let spares = options.servers as usize..options.hosts();
    let observers = spares.filter(|_| options.observing).map(|place| options.id(place));
    voters.chain(observers.map(|id| format!("server.{id}=host{id}:2888:3888:observer\n"))).collect()
}

/// Returns the voters in the configuration of the server in `place`: the founders of the ensemble,
/// and the server itself if it wants to join.
pub fn founders(options: &Options, place: usize) -> Vec<ServerId> {
    let observes = options.observing && place as u64 >= options.servers;
    let spare = Some(place).filter(|_| place as u64 >= options.founders && !observes);
    (0..options.founders as usize).chain(spare).map(|place| options.id(place)).collect()
}

/// Returns the options for opening the store.
pub fn store_options(options: &Options, knows: Level) -> StoreOptions {
    StoreOptions {
        log: LogOptions { segment_len: options.segment_len, ..LogOptions::default() },
        tree: TreeOptions { pace_rest: Duration::ZERO, ..TreeOptions::default() },
        knows,
    }
}
