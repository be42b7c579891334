//! Rebuilds a running state from the files of a data directory: finishes an installation that was
//! begun earlier, loads the durable tree, and replays the tail of the log.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant, UNIX_EPOCH};

use oxkeeper_proto::{DecodeError, Zxid};
use oxkeeper_replica::ensemble::journal::scalar;
use oxkeeper_state::checkpoint::{Loading, Znodes};
use oxkeeper_state::{BadEntry, Entry, Level, State};
use oxkeeper_store::{DirLock, Disk, Kind, Log, Snapshot, StoreError, TREE_FILE, Tree};
use thiserror::Error;
use tracing::info;

use crate::checkpoint::{ENSEMBLE, LEVEL, SCALARS};
use crate::layout::{LOG_DIR, StoreOptions, UNFINISHED};
use crate::transfer::finish_install;

/// Number of threads that load the durable tree.
const LOADERS: u64 = 2;

/// Error that makes a data directory unusable.
#[derive(Debug, Error)]
pub enum RecoveryError {
    /// Error from the store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A record is intact but cannot be decoded.
    #[error("{what} {key} in the durable tree cannot be decoded: {source}. The data is of another version or damaged")]
    Record {
        /// Kind of record.
        what: &'static str,
        /// Key of the record.
        key: u64,
        /// Error from the decoder.
        source: DecodeError,
    },
    /// A log entry is intact but cannot be decoded.
    #[error("log entry {index} cannot be decoded: {source}. The data is of another version or damaged")]
    Entry {
        /// Index of the entry.
        index: u64,
        /// Error from the decoder.
        source: DecodeError,
    },
    /// The data was written by a newer release.
    #[error(
        "{what} is of feature level {needs}, this release ({}) knows levels up to {knows}: start a release that knows it. \
         Nothing was changed",
        env!("CARGO_PKG_VERSION")
    )]
    Newer {
        /// The durable tree, or a log entry.
        what: String,
        /// Feature level of the data.
        needs: Level,
        /// Highest feature level that this build knows.
        knows: Level,
    },
    /// The log begins after the last entry in the tree, or ends before it.
    #[error("the log has entries {first}..{end}, but the durable tree ends at {applied}: files are missing")]
    Gap {
        /// Index of the first entry of the log.
        first: u64,
        /// Index after the last entry of the log.
        end: u64,
        /// Number of entries that the tree holds.
        applied: u64,
    },
    /// The log ends before the decided index.
    #[error("the log ends at entry {end}, but entries up to {decided} were decided: files are missing or damaged")]
    Decided {
        /// Index after the last entry of the log.
        end: u64,
        /// Number of decided entries.
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
    /// The directory holds no data of oxkeeper.
    #[error("{0} holds no data of oxkeeper")]
    Nothing(String),
}

/// Result of a recovery.
#[derive(Debug)]
pub struct Recovered {
    /// State after the last replayed log entry.
    pub state: State,
    /// The log, open for appending.
    pub log: Log,
    /// The durable tree, open for checkpoints.
    pub tree: Tree,
    /// Number of log entries applied to `state`; the log of an ensemble member may hold more.
    pub applied: u64,
    /// Number of log entries that the durable tree holds.
    pub checkpointed: u64,
    /// Bytes of the log entries that were applied after the durable tree.
    pub tail_len: u64,
    /// Directory locks; they keep other processes out for as long as they are held.
    pub locks: Vec<DirLock>,
    /// Zxid of the durable tree, and the time of its last write, Unix s.
    pub last_checkpoint: Option<(Zxid, i64)>,
    /// Time spent loading the durable tree.
    pub loading: Duration,
    /// Time spent replaying the log entries that follow the tree.
    pub replaying: Duration,
    /// Number of commands replayed.
    pub replayed: u64,
}

/// Extent to which the log is replayed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Replay {
    /// The whole log: every entry of a standalone server counts.
    #[default]
    All,
    /// Up to the decided index, for an ensemble member. Later entries may still be overwritten.
    Decided {
        /// Key of the log's scalar that holds the decided index, a big-endian u64; 0 if it is
        /// absent.
        scalar: u8,
    },
}

impl Replay {
    /// Replays an ensemble member's log up to the decided index that the log records.
    pub const DECIDED: Replay = Replay::Decided { scalar: scalar::DECIDED };

    /// Returns the index after the last entry to replay, given that the tree holds `checkpointed`
    /// entries.
    fn end(self, log: &Log, checkpointed: u64) -> Result<u64, RecoveryError> {
        let end = log.next_index();
        let Replay::Decided { scalar } = self else { return Ok(end) };
        let decided = log.scalar(scalar).map_or(Ok(0), |bytes| bytes.try_into().map(u64::from_be_bytes));
        // The scalar may be older than the checkpoint.
        let decided = decided.unwrap_or(u64::MAX).max(checkpointed);
        if decided <= end { Ok(decided) } else { Err(RecoveryError::Decided { end, decided }) }
    }
}

/// Opens the directories, creating them if necessary, and rebuilds the state. The store options are
/// parameters because the simulator uses smaller stores.
///
/// # Errors
/// Any [`RecoveryError`]; the server must not serve then.
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

/// Locks both directories against other processes.
pub(crate) fn lock(disk: &dyn Disk, data_dir: &Path, data_log_dir: &Path) -> Result<Vec<DirLock>, StoreError> {
    let mut locks = vec![oxkeeper_store::lock(disk, data_dir)?];
    if data_log_dir != data_dir {
        locks.push(oxkeeper_store::lock(disk, data_log_dir)?);
    }
    Ok(locks)
}

/// Recovers like [`recover_with`], after a server's state was replaced. `locks` are those of the
/// previous recovery, or empty if the caller keeps them.
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

/// Returns the time of the last write to a file, Unix s, or 0 if the system does not report it.
fn written_s(file: &Path) -> i64 {
    let modified = file.metadata().and_then(|metadata| metadata.modified()).ok();
    let since = modified.and_then(|at| at.duration_since(UNIX_EPOCH).ok());
    since.map_or(0, |since| since.as_secs() as i64)
}

/// Refuses a directory that holds Apache ZooKeeper's files, which are in `version-2`, or an
/// unfinished import. Starting empty beside ZooKeeper's files would look like losing them. A tree
/// imported from them may stand beside them.
///
/// # Errors
/// [`RecoveryError::Foreign`] if ZooKeeper's files are there without a durable tree of our own,
/// [`RecoveryError::Unfinished`] if an import was not finished.
pub fn refuse_foreign(data_dir: &Path) -> Result<(), RecoveryError> {
    if data_dir.join(UNFINISHED).exists() {
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

/// Returns whether the tree is empty because its sender had not yet written a checkpoint.
fn is_unborn(snapshot: &Snapshot) -> bool {
    snapshot.applied_index() == 0 && snapshot.count(Kind::Znode) == 0
}

/// Loads the durable tree, reading the znodes on several threads.
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

/// Size of the log entries that follow the durable tree.
#[derive(Default)]
struct Tail {
    /// Bytes of the entries.
    len: u64,
    /// Number of commands in the entries.
    commands: u64,
}

/// Checks that this release can read the entries that are not applied yet.
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

/// Applies the log entries that follow the durable tree.
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

/// Applies one entry, and returns the number of commands applied.
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
        // The leader of this batch had already been deposed when the batch was decided.
        Entry::Batch(batch) if !state.accepts(&batch) => return Ok(0),
        Entry::Batch(batch) => batch,
    };
    let time_ms = batch.time_ms;
    let mut count = 0;
    for command in batch {
        let command = command?;
        // A command that was sent to two leaders is in the log twice.
        if command.from.is_some_and(|number| !state.admit(number)) {
            continue;
        }
        count += 1;
        body.clear();
        // A command that failed when it was first applied fails again in the same way.
        let _ = state.apply(&command, time_ms, body, &mut ());
    }
    state.end_entry();
    Ok(count)
}
