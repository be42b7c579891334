//! From the files of a data directory to a running state: an installation begun before is finished, then the durable
//! tree is loaded and the tail of the log replayed.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant, UNIX_EPOCH};

use oxkeeper_proto::{DecodeError, Zxid};
use oxkeeper_replica::ensemble::journal::scalar;
use oxkeeper_state::checkpoint::{Loading, Znodes};
use oxkeeper_state::{BadEntry, Entry, Level, State};
use oxkeeper_store::{DirLock, Disk, Kind, Log, LogOptions, Snapshot, StoreError, TREE_FILE, Tree, TreeOptions};
use thiserror::Error;
use tracing::info;

use crate::checkpoint::{ENSEMBLE, LEVEL, SCALARS};
use crate::offline;
use crate::transfer::finish_install;

/// The highest feature level of this program.
#[cfg(not(feature = "next-version"))]
pub const KNOWS: Level = Level::KNOWN;
#[cfg(feature = "next-version")]
pub const KNOWS: Level = Level::NEXT;
/// Name of the log's directory below `dataLogDir`.
pub const LOG_DIR: &str = "log";
/// Threads that read the durable tree.
const LOADERS: u64 = 2;

/// Why a data directory cannot be used.
#[derive(Debug, Error)]
pub enum RecoveryError {
    /// The store says why.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A record is sound but not one of ours.
    #[error("{what} {key} in the durable tree cannot be decoded: {source}. The data is of another version or damaged")]
    Record {
        /// Kind of record.
        what: &'static str,
        /// Its key.
        key: u64,
        /// What is wrong with it.
        source: DecodeError,
    },
    /// A log entry is sound but not one of ours.
    #[error("log entry {index} cannot be decoded: {source}. The data is of another version or damaged")]
    Entry {
        /// Its index.
        index: u64,
        /// What is wrong with it.
        source: DecodeError,
    },
    /// A newer release wrote it.
    #[error(
        "{what} is of feature level {needs}, this release ({}) knows levels up to {knows}: start a release that knows it. \
         Nothing was changed",
        env!("CARGO_PKG_VERSION")
    )]
    Newer {
        /// The data, or an entry of the log.
        what: String,
        /// Its level.
        needs: Level,
        /// The highest level known here.
        knows: Level,
    },
    /// The log begins behind what the tree holds, or ends before it.
    #[error("the log has entries {first}..{end}, but the durable tree ends at {applied}: files are missing")]
    Gap {
        /// First entry of the log.
        first: u64,
        /// One past the last entry of the log.
        end: u64,
        /// Entries the tree holds.
        applied: u64,
    },
    /// The log ends before what was decided.
    #[error("the log ends at entry {end}, but entries up to {decided} were decided: files are missing or damaged")]
    Decided {
        /// One past the last entry of the log.
        end: u64,
        /// Entries decided.
        decided: u64,
    },
    /// The directory holds Apache ZooKeeper's files.
    #[error(
        "{0} holds Apache ZooKeeper's data: take it over with `oxkeeper import`, or use another dataDir to begin empty"
    )]
    Foreign(String),
    /// An import was interrupted.
    #[error("{0} holds half an import: run `oxkeeper import` (or `restore`) again, or empty the directory")]
    Unfinished(String),
    /// There is nothing.
    #[error("{0} holds no data of oxkeeper")]
    Nothing(String),
}

/// What was found in a data directory.
#[derive(Debug)]
pub struct Recovered {
    /// As of the last log entry that was replayed.
    pub state: State,
    /// Open for appending.
    pub log: Log,
    /// Open for checkpoints.
    pub tree: Tree,
    /// Log entries applied to `state`; a member of an ensemble may have more in its log.
    pub applied: u64,
    /// Log entries the durable tree holds.
    pub checkpointed: u64,
    /// Bytes of the log entries applied behind the durable tree.
    pub tail_len: u64,
    /// Keep other processes out for as long as they are held.
    pub locks: Vec<DirLock>,
    /// Of the durable tree: its zxid, and when it was last written, Unix s.
    pub last_checkpoint: Option<(Zxid, i64)>,
    /// To load the durable tree.
    pub loading: Duration,
    /// To replay the log behind it.
    pub replaying: Duration,
    /// Commands replayed.
    pub replayed: u64,
}

/// How the two halves of the store are opened, and what may be in them.
#[derive(Clone, Debug)]
pub struct StoreOptions {
    /// The log.
    pub log: LogOptions,
    /// The durable tree.
    pub tree: TreeOptions,
    /// The highest feature level that is read.
    pub knows: Level,
}

impl Default for StoreOptions {
    fn default() -> StoreOptions {
        StoreOptions { log: LogOptions::default(), tree: TreeOptions::default(), knows: KNOWS }
    }
}

/// How far the log is replayed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Replay {
    /// To its end: of a standalone server every entry counts.
    #[default]
    All,
    /// A member of an ensemble: as far as it is known to be decided. What is behind may still be taken back.
    Decided {
        /// The log's scalar that says how far, a big-endian u64; none is 0.
        scalar: u8,
    },
}

impl Replay {
    /// A member's, as far as its log says.
    pub const DECIDED: Replay = Replay::Decided { scalar: scalar::DECIDED };

    /// One past the last entry to replay, of a log that goes on from `checkpointed`.
    fn end(self, log: &Log, checkpointed: u64) -> Result<u64, RecoveryError> {
        let end = log.next_index();
        let Replay::Decided { scalar } = self else { return Ok(end) };
        let decided = log.scalar(scalar).map_or(Ok(0), |bytes| bytes.try_into().map(u64::from_be_bytes));
        // the scalar may be older than the checkpoint
        let decided = decided.unwrap_or(u64::MAX).max(checkpointed);
        if decided <= end { Ok(decided) } else { Err(RecoveryError::Decided { end, decided }) }
    }
}

/// Opens the directories, creating them if need be, and rebuilds the state; with stores of other sizes for the simulator.
///
/// # Errors
/// Any [`RecoveryError`]; nothing is served then.
pub fn recover_with(
    disk: &Arc<dyn Disk>,
    data_dir: &Path,
    data_log_dir: &Path,
    seed: u64,
    options: &StoreOptions,
    replay: Replay,
) -> Result<Recovered, RecoveryError> {
    refuse_foreign(data_dir)?;
    let locks = lock(&**disk, data_dir, data_log_dir)?;
    recover_locked(locks, disk, data_dir, data_log_dir, seed, options, replay)
}

/// Keeps other processes out of both directories.
pub(crate) fn lock(disk: &dyn Disk, data_dir: &Path, data_log_dir: &Path) -> Result<Vec<DirLock>, StoreError> {
    let mut locks = vec![oxkeeper_store::lock(disk, data_dir)?];
    if data_log_dir != data_dir {
        locks.push(oxkeeper_store::lock(disk, data_log_dir)?);
    }
    Ok(locks)
}

/// As [`recover_with`], with the locks of a former recovery, or none if the caller keeps those: of a server whose state was replaced.
///
/// # Errors
/// Any [`RecoveryError`].
pub fn recover_locked(
    locks: Vec<DirLock>,
    disk: &Arc<dyn Disk>,
    data_dir: &Path,
    data_log_dir: &Path,
    seed: u64,
    options: &StoreOptions,
    replay: Replay,
) -> Result<Recovered, RecoveryError> {
    let start = Instant::now();
    finish_install(&**disk, data_dir, data_log_dir)?;
    let written_s = written_s(&data_dir.join(TREE_FILE));
    let tree = Tree::open(disk.clone(), data_dir, &options.tree)?;
    let (mut state, checkpointed) = match tree.snapshot()? {
        Some(snapshot) if !is_unborn(&snapshot) => (load(&snapshot, seed, options.knows)?, snapshot.applied_index()),
        Some(_) | None => (State::new(seed), 0),
    };
    let last_checkpoint = (checkpointed > 0).then(|| (state.zxid(), written_s));
    let loading = start.elapsed();
    let log = Log::open(disk.clone(), &data_log_dir.join(LOG_DIR), &options.log)?;
    if log.first_index() > checkpointed || log.next_index() < checkpointed {
        let (first, end) = (log.first_index(), log.next_index());
        return Err(RecoveryError::Gap { first, end, applied: checkpointed });
    }
    let applied = replay.end(&log, checkpointed)?;
    let tail = replay_entries(&log, checkpointed..applied, &mut state, options.knows)?;
    check_entries(&log, applied..log.next_index(), options.knows)?;
    let replaying = start.elapsed() - loading;
    info!(
        znodes = state.tree().len(),
        sessions = state.sessions().len(),
        zxid = %state.zxid(),
        loaded_ms = loading.as_millis() as u64,
        replayed = applied - checkpointed,
        replayed_ms = replaying.as_millis() as u64,
        undecided = log.next_index() - applied,
        "data recovered"
    );
    Ok(Recovered {
        state,
        log,
        tree,
        applied,
        checkpointed,
        tail_len: tail.len,
        locks,
        last_checkpoint,
        loading,
        replaying,
        replayed: tail.commands,
    })
}

/// When a file was last written, Unix s; 0 if the system does not tell.
fn written_s(file: &Path) -> i64 {
    let modified = file.metadata().and_then(|metadata| metadata.modified()).ok();
    let since = modified.and_then(|at| at.duration_since(UNIX_EPOCH).ok());
    since.map_or(0, |since| since.as_secs() as i64)
}

/// Apache ZooKeeper keeps its files in `version-2`. Starting empty beside them would look like losing them; what was imported
/// from them stands beside them.
///
/// # Errors
/// The files are there, and none of ours; or an import was not finished.
pub fn refuse_foreign(data_dir: &Path) -> Result<(), RecoveryError> {
    if data_dir.join(offline::UNFINISHED).exists() {
        return Err(RecoveryError::Unfinished(data_dir.display().to_string()));
    }
    if data_dir.join(TREE_FILE).exists() {
        return Ok(());
    }
    let dir = data_dir.join("version-2");
    let Ok(entries) = dir.read_dir() else { return Ok(()) };
    let foreign = |name: &str| name.starts_with("snapshot.") || name.starts_with("log.");
    let found = entries.filter_map(Result::ok).any(|entry| entry.file_name().to_str().is_some_and(foreign));
    if found { Err(RecoveryError::Foreign(dir.display().to_string())) } else { Ok(()) }
}

/// Whether a tree holds what a server begins with: its sender had written no checkpoint yet.
fn is_unborn(snapshot: &Snapshot) -> bool {
    snapshot.applied_index() == 0 && snapshot.count(Kind::Znode) == 0
}

/// Reads the durable tree, the znodes on several threads.
pub(crate) fn load(snapshot: &Snapshot, seed: u64, knows: Level) -> Result<State, RecoveryError> {
    let bad = |what: &'static str, key: u64| move |source| RecoveryError::Record { what, key, source };
    let level = snapshot.meta(LEVEL)?.unwrap_or_default();
    let needs = Level::decode(&level).map_err(bad("meta value", 0))?;
    if needs > knows {
        return Err(RecoveryError::Newer { what: "the durable tree".to_owned(), needs, knows });
    }
    let scalars = snapshot.meta(SCALARS)?.unwrap_or_default();
    let ensemble = snapshot.meta(ENSEMBLE)?.unwrap_or_default();
    let loading = Loading::new(seed, &scalars, &ensemble).and_then(|loading| loading.at_level(&level));
    let mut loading = loading.map_err(bad("meta value", 0))?;
    let mut failed = Ok(());
    snapshot.load(Kind::Acl, |key, record| {
        if let Err(source) = loading.acl(key as u32, record) {
            failed = Err(bad("ACL", key)(source));
        }
    })?;
    snapshot.load(Kind::Session, |key, record| {
        if let Err(source) = loading.session(key as i64, record) {
            failed = Err(bad("session", key)(source));
        }
    })?;
    failed?;
    load_znodes(snapshot, &mut loading)?;
    loading.finish().map_err(bad("tree", 0))
}

fn load_znodes(snapshot: &Snapshot, loading: &mut Loading) -> Result<(), RecoveryError> {
    let slots = snapshot.last_key(Kind::Znode)?.map_or(0, |key| key + 1);
    let share = slots.div_ceil(LOADERS * Znodes::RUN).max(1) * Znodes::RUN;
    let parts: Vec<_> = thread::scope(|scope| {
        let spawn = |part: u64| {
            let znodes = loading.part();
            scope.spawn(move || load_part(snapshot, part * share..(part + 1) * share, znodes))
        };
        let threads: Vec<_> = (0..LOADERS).map(spawn).collect();
        threads.into_iter().map(|thread| thread.join().expect("loading does not panic")).collect()
    });
    let mut sum = oxkeeper_store::Sum::default();
    for part in parts {
        let (part_sum, znodes) = part?;
        sum = sum + part_sum;
        loading.adopt(znodes);
    }
    snapshot.check(Kind::Znode, sum)?;
    Ok(())
}

fn load_part(
    snapshot: &Snapshot,
    slots: Range<u64>,
    mut znodes: Znodes,
) -> Result<(oxkeeper_store::Sum, Znodes), RecoveryError> {
    let mut failed = Ok(());
    let sum = snapshot.load_range(Kind::Znode, slots, |key, record| {
        if let Err(source) = znodes.znode(key as u32, record) {
            failed = Err(RecoveryError::Record { what: "znode", key, source });
        }
    })?;
    failed?;
    Ok((sum, znodes))
}

/// The log entries behind the durable tree.
#[derive(Default)]
struct Tail {
    /// Their bytes.
    len: u64,
    /// Their commands.
    commands: u64,
}

/// Looks whether this release can read the entries that are not applied yet.
fn check_entries(log: &Log, range: Range<u64>, knows: Level) -> Result<(), RecoveryError> {
    let mut found = Ok(());
    log.read(range, |index, entry| {
        if found.is_ok() {
            found = Entry::check(entry, knows).map_err(|problem| unreadable(index, problem));
        }
    })?;
    found
}

fn unreadable(index: u64, problem: BadEntry) -> RecoveryError {
    match problem {
        BadEntry::Newer { kind, needs, knows } => {
            RecoveryError::Newer { what: format!("log entry {index}, of kind {kind},"), needs, knows }
        }
        BadEntry::Malformed(source) => RecoveryError::Entry { index, source },
    }
}

/// Applies the log entries behind the durable tree.
fn replay_entries(log: &Log, range: Range<u64>, state: &mut State, knows: Level) -> Result<Tail, RecoveryError> {
    let mut failed = Ok(());
    let mut tail = Tail::default();
    let mut body = Vec::new();
    log.read(range, |index, entry| {
        tail.len += entry.len() as u64;
        if failed.is_ok() {
            match replay_entry(entry, state, &mut body, knows) {
                Ok(count) => tail.commands += count,
                Err(problem) => failed = Err(unreadable(index, problem)),
            }
        }
    })?;
    failed.map(|()| tail)
}

/// Applies one entry; how many commands it has.
fn replay_entry(entry: &[u8], state: &mut State, body: &mut Vec<u8>, knows: Level) -> Result<u64, BadEntry> {
    let batch = match Entry::decode(entry, knows)? {
        Entry::Raise(raise) => {
            state.raise(&raise);
            return Ok(0);
        }
        Entry::Epoch(epoch) => {
            state.begin_epoch(&epoch, &mut ());
            return Ok(0);
        }
        Entry::Renewal(renewal) => {
            state.renew(&renewal);
            return Ok(0);
        }
        // of a leader that was none any more when this was decided
        Entry::Batch(batch) if !state.accepts(&batch) => return Ok(0),
        Entry::Batch(batch) => batch,
    };
    let time_ms = batch.time_ms;
    let mut count = 0;
    for command in batch {
        let command = command?;
        // a command that was sent to two leaders is there twice
        if command.from.is_some_and(|number| !state.admit(number)) {
            continue;
        }
        count += 1;
        body.clear();
        // A command that fails fails again, in the same way.
        let _ = state.apply(&command, time_ms, body, &mut ());
    }
    state.end_entry();
    Ok(count)
}
