//! The simulated server: production parts, assembled as `oxkeeper-server` does, with its threads
//! split into turns that the seed puts in order. The engine's turns are in `engine.rs`, those of
//! connections in `connections.rs`.

use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use oxkeeper_durable::LogJournal;
use oxkeeper_durable::RecoveryError;
use oxkeeper_durable::StoreOptions;
use oxkeeper_durable::recovery::{Recovered, Replay, recover_with};
use oxkeeper_proto::ServerId;
use oxkeeper_replica::engine::{Reaping, StandaloneEngine, StandaloneOptions};
use oxkeeper_replica::ensemble::{DiskJob, Journal};
use oxkeeper_replica::{Applier, Clocks, LocalSessions, SessionTable, Shared};
use oxkeeper_state::{Level, Settings};
use oxkeeper_store::fake::FakeDisk;
use oxkeeper_store::{DirLock, Disk, Log, LogOptions, LogReader, StoreError, Tree, TreeOptions};
use parking_lot::RwLock;

use crate::check::Checks;
use crate::connections::{Connections, Surroundings};
use crate::liar::Liar;
use crate::link::{LinkId, Network};
use crate::options::{Bug, Options};
use crate::random::Random;

/// Data directory of the simulated server.
pub const DATA_DIR: &str = "/data";
/// Log directory of the simulated server.
pub const LOG_DIR: &str = "/data/log";

/// Interval between searches for empty containers, ms.
const REAP_INTERVAL_MS: u64 = 500;
/// Number of containers reaped at a time.
const REAP_MAX: usize = 10;

/// Surroundings of the server during its turn.
pub struct Around<'a> {
    /// Monotonic time, ms.
    pub now_ms: u64,
    /// Unix time, ms.
    pub wall_ms: i64,
    /// Random choices of the run.
    pub random: &'a mut Random,
    /// Links to clients.
    pub network: &'a mut Network,
    /// Checkers of the run.
    pub checks: &'a mut Checks,
    /// Options of the run.
    pub options: &'a Options,
    /// Whether the moment of a planned crash has passed: nothing after it has happened.
    pub crashed: bool,
    /// Disk operation at which the machine stops.
    pub crash_at: Option<u64>,
    /// Disk of the server.
    pub disk: &'a FakeDisk,
}

impl Around<'_> {
    /// Returns whether the planned crash has happened. Must be called after everything that may
    /// have touched the disk.
    pub fn check_crash(&mut self) -> bool {
        self.crashed |= self.crash_at.is_some_and(|operation| self.disk.operations() > operation);
        self.crashed
    }
}

/// Progress of the log and the durable tree, in entries.
#[derive(Debug)]
pub struct Progress {
    /// Entries applied to the state.
    pub applied: u64,
    /// Entries held by the durable tree.
    pub committed: u64,
}

/// A running server.
pub struct Server {
    /// State that connections and the engine share.
    pub shared: RwLock<Shared>,
    pub(crate) log: LogReader,
    /// Pending work of the disk.
    pub(crate) work: Option<DiskJob>,
    /// Time at which the engine last looked at the clocks, ms.
    pub(crate) last_tick_ms: u64,
    pub(crate) tree: Rc<Tree>,
    pub(crate) progress: Progress,
    pub(crate) engine: StandaloneEngine,
    /// Connections of the server.
    pub connections: Connections,
    _locks: Vec<DirLock>,
}

impl Server {
    /// Starts a server on the disk. Returns `None` if there is no room.
    pub fn start(around: &mut Around<'_>) -> Option<Server> {
        let options = around.options;
        let store = StoreOptions {
            log: LogOptions { segment_len: options.segment_len, ..LogOptions::default() },
            tree: TreeOptions { pace_rest: Duration::ZERO, ..TreeOptions::default() },
            ..StoreOptions::default()
        };
        let disk: Arc<dyn Disk> = Arc::new(around.disk.clone());
        let seed = around.random.any();
        let dir = Path::new(DATA_DIR);
        if options.bug == Bug::LoseLastEntry {
            lose_last_entry(&disk, &store.log, around);
        }
        let recovered = match recover_with(&disk, dir, dir, seed, &store, Replay::All) {
            Ok(recovered) => recovered,
            Err(RecoveryError::Store(StoreError::Full { .. })) => return None,
            Err(problem) => panic!("recovery: {problem}"),
        };
        Some(Server::assemble(recovered, around))
    }

    fn assemble(recovered: Recovered, around: &mut Around<'_>) -> Server {
        let Recovered { state, log, tree, applied, checkpointed, tail_len: _, locks, .. } = recovered;
        let (options, now_ms) = (around.options, around.now_ms);
        let sessions = SessionTable::new(ServerId(1), around.wall_ms, &state, Clocks::new(options.tick_ms, now_ms));
        let threads = options.threads as usize;
        let settings = Settings::default();
        let reader = log.reader();
        let journal = Liar {
            journal: LogJournal::standalone(log),
            bug: options.bug,
            disk: around.disk.clone(),
            late: Vec::new(),
        };
        let engine_options = StandaloneOptions {
            reaping: Reaping { interval_ms: REAP_INTERVAL_MS, count_max: REAP_MAX, never_used_ms: 0 },
            settings,
            entry_len_max: options.entry_len_max as usize,
            apply_max: options.apply_max as usize,
            raises_to: Level::NONE,
        };
        let level = state.level();
        let (journal, applier) = (Some(Box::new(journal) as Box<dyn Journal>), Applier::new(threads));
        Server {
            shared: RwLock::new(Shared::new(state, settings, sessions, now_ms)),
            log: reader,
            work: None,
            last_tick_ms: now_ms,
            tree: Rc::new(tree),
            progress: Progress { applied, committed: checkpointed },
            engine: StandaloneEngine::new(journal, applier, engine_options, Arc::default(), (applied, level), now_ms),
            connections: Connections::new(threads, options.tick_ms, settings, false, LocalSessions::Off),
            _locks: locks,
        }
    }

    /// Returns the links of all connections.
    pub fn links(&self) -> Vec<LinkId> {
        self.connections.links()
    }

    /// Returns whether no work is pending.
    pub fn is_idle(&self) -> bool {
        self.engine.is_idle() && self.work.is_none() && self.connections.is_idle()
    }

    /// Takes a turn of one connection, or of one thread's mailbox.
    pub fn io_turn(&mut self, around: &mut Around<'_>) {
        let shared = self.shared.read();
        let mut surroundings = Surroundings {
            shared: &shared,
            now_ms: around.now_ms,
            host_ms: around.now_ms,
            random: around.random,
            network: around.network,
            witness: &mut around.checks.sessions,
            bug: around.options.bug,
        };
        self.connections.io_turn(&mut surroundings);
        drop(shared);
        self.engine.close_later(&mut self.connections.unclosed);
    }
}

/// Implements [`Bug::LoseLastEntry`]: removes the last entry of the log.
fn lose_last_entry(disk: &Arc<dyn Disk>, options: &LogOptions, around: &Around<'_>) {
    let Ok(mut log) = Log::open(disk.clone(), Path::new(LOG_DIR), options) else { return };
    if around.checks.durable.count() > 0 && log.next_index() > log.first_index() {
        let last = log.next_index() - 1;
        if log.truncate(last).is_ok() {
            let _ = log.sync();
        }
    }
}
