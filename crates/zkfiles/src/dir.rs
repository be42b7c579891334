//! A data directory of ZooKeeper: selects the files that count and loads the state from them.
//!
//! Loads the newest intact snapshot, then every transaction after it, as ZooKeeper itself does at start.
//! Reports the parts that are missing between them ([`Found::losses`]), because the operator should know that
//! the state is incomplete. Source: `FileTxnSnapLog.restore`, `FileSnap.findNValidSnapshots`,
//! `FileTxnLog.FileTxnIterator.init`.

use std::cell::RefCell;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use oxkeeper_proto::Zxid;
use oxkeeper_state::import::Importing;

use crate::compress::open_stream;
use crate::error::{FileError, Problem, io_error};
use crate::loading::{Counting, Loading, MissingAcl, Told, comparable, nonsense, read_snapshot};
use crate::loss::Loss;

/// Subdirectory in which ZooKeeper keeps its files, below the configured directories.
const VERSION_DIR: &str = "version-2";
pub(crate) const SNAPSHOT_PREFIX: &str = "snapshot.";
const LOG_PREFIX: &str = "log.";
/// ZooKeeper: a member of an ensemble keeps this file beside its snapshots, a standalone server does not.
const EPOCH_FILE: &str = "currentEpoch";
/// Maximal number of snapshots tried. ZooKeeper: older ones are not tried.
const SNAPSHOTS_MAX: usize = 100;

/// Progress of reading.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Bytes of files read so far.
    pub read: u64,
    /// Total bytes of the files to read, as far as these are known.
    pub total: u64,
}

/// Options for reading a directory.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// Hash seed, against crafted collisions of paths.
    pub seed: u64,
    /// Whether damage in the last log ends the log there, instead of failing the import.
    pub stop_at_damage: bool,
    /// Whether logs without a snapshot begin with an empty tree: ZooKeeper's `snapshot.trust.empty`.
    pub trust_empty: bool,
    /// Whether the operator named the directory of the logs: if it has none, nothing was written after the snapshot.
    pub logs_named: bool,
}

/// State loaded from a directory.
#[derive(Debug)]
pub struct Loaded {
    /// The state, not finished yet: sessions are still to be kept or left out.
    pub importing: Importing,
    /// The last transaction in the state.
    pub zxid: i64,
    /// Report about the files.
    pub found: Found,
}

/// Report about the files of a directory.
#[derive(Clone, Debug, Default)]
pub struct Found {
    /// The snapshot that was used; `None` if the logs have everything.
    pub snapshot: Option<PathBuf>,
    /// Zxid of the snapshot.
    pub snapshot_zxid: i64,
    /// Number of logs read.
    pub logs: usize,
    /// Number of transactions after the snapshot.
    pub transactions: u64,
    /// Evidence that the tree is the one that ZooKeeper had.
    pub checked: Checked,
    /// Notes for the operator.
    pub notes: Vec<String>,
    /// Missing parts.
    pub losses: Vec<Loss>,
    /// Whether the last log is damaged and the rest of it was left out, as the options ask.
    pub stopped_at_damage: bool,
}

/// The last of ZooKeeper's tree digests that matches the tree read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Checked {
    /// No digest matched; old releases write none.
    #[default]
    Nothing,
    /// The digest of the snapshot.
    Snapshot,
    /// The digest in this transaction.
    Transaction(Zxid),
}

/// The zxid in a file's name, and the file.
pub(crate) type Named = (i64, PathBuf);

/// Reads the files in `data_dir` and `data_log_dir` (the same, unless ZooKeeper's dataLogDir is set).
///
/// # Errors
/// Any [`FileError`]. Missing parts are not errors: see [`Found::losses`].
pub fn load(
    data_dir: &Path,
    data_log_dir: &Path,
    options: Options,
    progress: impl FnMut(Progress) + 'static,
) -> Result<Loaded, FileError> {
    let dirs = Dirs { snapshot_dir: version_dir(data_dir), log_dir: version_dir(data_log_dir) };
    let mut snapshots = list(&dirs.snapshot_dir, SNAPSHOT_PREFIX)?;
    snapshots.reverse();
    let logs = list(&dirs.log_dir, LOG_PREFIX)?;
    let told: Told = Rc::new(RefCell::new(progress));
    let mut loading = match snapshots.first() {
        None if logs.is_empty() => return Err(FileError::Empty { path: dirs.snapshot_dir }),
        None if options.trust_empty => Loading::fresh(options.seed, Counting::new(&told, total_len(&logs)?)),
        None => return Err(FileError::NoSnapshot { path: dirs.log_dir }),
        Some(_) => load_snapshot(&dirs.snapshot_dir, &snapshots, &logs, options, &told)?,
    };
    loading.found.losses.extend(dirs.mixed()?);
    let snapshot_zxid = loading.found.snapshot_zxid;
    // A server that was never written to has no log yet.
    if logs.is_empty() && !options.logs_named && snapshot_zxid > 0 {
        loading.found.losses.push(Loss::NoLogs { path: dirs.log_dir, snapshot: Zxid(snapshot_zxid) });
    }
    loading.replay(behind(&logs, snapshot_zxid), options)?;
    Ok(loading.finish(dirs.snapshot_dir.join(EPOCH_FILE).exists()))
}

/// Directories of the snapshots and the logs.
struct Dirs {
    snapshot_dir: PathBuf,
    log_dir: PathBuf,
}

impl Dirs {
    /// Returns a loss if two separate directories contain files of each other's kind. Source:
    /// `FileTxnSnapLog.checkLogDir`, `checkSnapDir`.
    fn mixed(&self) -> Result<Option<Loss>, FileError> {
        let Dirs { snapshot_dir, log_dir } = self;
        let same = |left: &Path, right: &Path| left.canonicalize().ok() == right.canonicalize().ok();
        if same(snapshot_dir, log_dir) {
            return Ok(None);
        }
        let is_mixed = !list(snapshot_dir, LOG_PREFIX)?.is_empty() || !list(log_dir, SNAPSHOT_PREFIX)?.is_empty();
        Ok(is_mixed.then(|| Loss::Mixed { snapshot_dir: snapshot_dir.clone(), log_dir: log_dir.clone() }))
    }
}

/// Reads a single snapshot file, such as a backup.
///
/// # Errors
/// Any [`FileError`].
pub fn load_file(path: &Path, seed: u64, progress: impl FnMut(Progress) + 'static) -> Result<Loaded, FileError> {
    let total = len_of(path)?;
    let told: Told = Rc::new(RefCell::new(progress));
    let mut loading = Loading::read(path, None, seed, MissingAcl::Refuse, Counting::new(&told, total))?;
    if loading.zxid.0 < 0 {
        let what = "neither its name (snapshot.ZXID) nor its end names its transaction".to_owned();
        return Err(Problem::Nonsense { offset: 0, what }.of(path));
    }
    loading.compare_snapshot_digest();
    Ok(loading.finish(false))
}

/// State read from a stream of one snapshot, which has no name with a zxid.
#[derive(Debug)]
pub struct Streamed {
    /// The state, not finished yet: sessions are still to be kept or left out.
    pub importing: Importing,
    /// The last transaction in the state.
    pub zxid: i64,
    /// Whether the snapshot's tree digest matches the tree read; `None` if it has no digest at that transaction.
    pub digest_matches: Option<bool>,
}

/// Reads one snapshot to the end of the stream, in the form AdminServer's `snapshot` sends: plain, gzip or snappy.
///
/// # Errors
/// Any [`Problem`]; no part of the state may be used then.
pub fn load_stream(stream: impl Read, seed: u64) -> Result<Streamed, Problem> {
    let content = open_stream(stream).map_err(|source| Problem::Unreadable { offset: 0, source })?;
    let (importing, trailer) = read_snapshot(content, seed, MissingAcl::Refuse)?;
    let zxid = trailer.zxid().filter(|&zxid| zxid >= 0);
    let zxid = zxid.ok_or_else(|| nonsense("its end does not name its transaction".to_owned()))?;
    let digest = comparable(trailer).filter(|digest| digest.zxid == zxid);
    let digest_matches = digest.map(|digest| digest.digest as u64 == importing.digest());
    Ok(Streamed { importing, zxid, digest_matches })
}

/// Returns the directory that has the files: `dir` itself, or `version-2` in it.
pub fn version_dir(dir: &Path) -> PathBuf {
    let below = dir.join(VERSION_DIR);
    if below.is_dir() { below } else { dir.to_path_buf() }
}

/// Lists the files with this prefix in a directory, in the order of their zxids.
fn list(dir: &Path, prefix: &str) -> Result<Vec<Named>, FileError> {
    let mut files = Vec::new();
    for entry in dir.read_dir().map_err(io_error(dir, "list"))? {
        let entry = entry.map_err(io_error(dir, "list"))?;
        if let Some(zxid) = entry.file_name().to_str().and_then(|name| zxid_of(name, prefix)) {
            files.push((zxid, entry.path()));
        }
    }
    files.sort();
    Ok(files)
}

/// Parses the zxid in the name of a file with this prefix.
pub fn zxid_of(name: &str, prefix: &str) -> Option<i64> {
    let rest = name.strip_prefix(prefix)?;
    let hex = rest.strip_suffix(".gz").or_else(|| rest.strip_suffix(".snappy")).unwrap_or(rest);
    i64::from_str_radix(hex, 16).ok()
}

fn total_len(files: &[Named]) -> Result<u64, FileError> {
    files.iter().map(|(_, path)| len_of(path)).sum()
}

fn len_of(path: &Path) -> Result<u64, FileError> {
    Ok(path.metadata().map_err(io_error(path, "open"))?.len())
}

/// Selects the logs that count, from logs in order: the last one that may have the first transaction after
/// the snapshot, and all later ones.
fn behind(logs: &[Named], snapshot_zxid: i64) -> &[Named] {
    let from = snapshot_zxid.saturating_add(1);
    let first = logs.iter().rposition(|(zxid, _)| *zxid <= from).unwrap_or(0);
    &logs[first..]
}

/// Loads the newest intact snapshot.
fn load_snapshot(
    dir: &Path,
    snapshots: &[Named],
    logs: &[Named],
    options: Options,
    told: &Told,
) -> Result<Loading, FileError> {
    let mut problems = Vec::new();
    for (zxid, path) in snapshots.iter().take(SNAPSHOTS_MAX) {
        let total = len_of(path)? + total_len(behind(logs, *zxid))?;
        match Loading::read(path, Some(*zxid), options.seed, MissingAcl::Await, Counting::new(told, total)) {
            Ok(mut loading) => {
                if !problems.is_empty() && !logs.iter().any(|(log_zxid, _)| *log_zxid <= zxid + 1) {
                    let (snapshot, zxid, problems) = (path.clone(), Zxid(*zxid), problems.clone());
                    loading.found.losses.push(Loss::OlderSnapshot { snapshot, zxid, problems });
                }
                loading.found.notes = problems;
                return Ok(loading);
            }
            Err(problem) => problems.push(problem.to_string()),
        }
    }
    Err(FileError::NoSoundSnapshot { path: dir.to_path_buf(), problems })
}
