//! A data directory of ZooKeeper: which of its files count, and the state they amount to.
//!
//! The newest snapshot that is sound, then every transaction behind it. Unlike ZooKeeper, an older snapshot is used only if the
//! logs reach back to it: what was purged in between would be lost without a word.
//! Source: `FileTxnSnapLog.restore`, `FileSnap.findNValidSnapshots`, `FileTxnLog.FileTxnIterator.init`.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use oxkeeper_proto::records::Acl;
use oxkeeper_state::import::{Importing, Misplaced};

use crate::compress::{open, open_stream};
use crate::error::{FileError, Problem, io_error};
use crate::log::{self, End};
use crate::replay::replay;
use crate::snapshot::{self, Digest, Item};

/// Where ZooKeeper keeps its files below the directories an operator names.
const VERSION_DIR: &str = "version-2";
const SNAPSHOT_PREFIX: &str = "snapshot.";
const LOG_PREFIX: &str = "log.";
/// ZooKeeper: older ones are not tried.
const SNAPSHOTS_MAX: usize = 100;
/// The digest we compute.
const DIGEST_VERSION: i32 = 2;

/// How far reading has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Bytes of files read.
    pub read: u64,
    /// Bytes of files there are to read, as far as it is known which ones.
    pub total: u64,
}

/// How a directory is read.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// Against crafted collisions of paths.
    pub seed: u64,
    /// Damage in the last log ends it there, instead of ending the import.
    pub stop_at_damage: bool,
}

/// What a directory amounts to.
#[derive(Debug)]
pub struct Loaded {
    /// Not finished yet: sessions are still to be kept or left out.
    pub importing: Importing,
    /// The last transaction in it.
    pub zxid: i64,
    /// What was found.
    pub found: Found,
}

/// What was found in a directory.
#[derive(Clone, Debug, Default)]
pub struct Found {
    /// The snapshot that was used.
    pub snapshot: PathBuf,
    /// Its zxid.
    pub snapshot_zxid: i64,
    /// Logs read.
    pub logs: usize,
    /// Transactions behind the snapshot.
    pub transactions: u64,
    /// Whether the last tree digest that ZooKeeper wrote down is that of the tree read; `None` if it wrote none.
    pub digest_matches: Option<bool>,
    /// What an operator should know.
    pub notes: Vec<String>,
}

/// A file and the zxid in its name.
type Named = (i64, PathBuf);

type Told = Rc<RefCell<dyn FnMut(Progress)>>;

/// Reads what is in `data_dir` and `data_log_dir` (the same, unless ZooKeeper's dataLogDir is set).
///
/// # Errors
/// Any [`FileError`].
pub fn load(
    data_dir: &Path,
    data_log_dir: &Path,
    options: Options,
    progress: impl FnMut(Progress) + 'static,
) -> Result<Loaded, FileError> {
    let (snapshot_dir, log_dir) = (version_dir(data_dir), version_dir(data_log_dir));
    let mut snapshots = list(&snapshot_dir, SNAPSHOT_PREFIX)?;
    snapshots.reverse();
    let logs = list(&log_dir, LOG_PREFIX)?;
    if snapshots.is_empty() {
        let path = if logs.is_empty() { snapshot_dir } else { log_dir };
        return Err(if logs.is_empty() { FileError::Empty { path } } else { FileError::NoSnapshot { path } });
    }
    let told: Told = Rc::new(RefCell::new(progress));
    let mut loading = load_snapshot(&snapshot_dir, &snapshots, &logs, options, &told)?;
    let from = loading.found.snapshot_zxid.saturating_add(1);
    let first = logs.iter().rposition(|(zxid, _)| *zxid <= from).unwrap_or(0);
    loading.replay(&logs[first..], options)?;
    loading.found.digest_matches = loading.digest_matches;
    Ok(Loaded { importing: loading.importing, zxid: loading.zxid, found: loading.found })
}

/// Reads one snapshot file, as a backup is.
///
/// # Errors
/// Any [`FileError`].
pub fn load_file(path: &Path, seed: u64, progress: impl FnMut(Progress) + 'static) -> Result<Loaded, FileError> {
    let total = len_of(path)?;
    let told: Told = Rc::new(RefCell::new(progress));
    let mut loading = Loading::read(path, None, seed, Counting::new(&told, total))?;
    if loading.zxid < 0 {
        let what = "neither its name (snapshot.ZXID) nor its end says of which transaction it is".to_owned();
        return Err(Problem::Nonsense { offset: 0, what }.of(path));
    }
    loading.compare_snapshot_digest();
    loading.found.digest_matches = loading.digest_matches;
    Ok(Loaded { importing: loading.importing, zxid: loading.zxid, found: loading.found })
}

/// What a stream of one snapshot amounts to: it has no name that says of which transaction it is.
#[derive(Debug)]
pub struct Streamed {
    /// Not finished yet: sessions are still to be kept or left out.
    pub importing: Importing,
    /// The last transaction in it.
    pub zxid: i64,
    /// Whether its tree digest is that of the tree read; `None` if it has none of that transaction.
    pub digest_matches: Option<bool>,
}

/// Reads one snapshot to the end of the stream, as AdminServer's `snapshot` sends it: plain, gzip or snappy.
///
/// # Errors
/// Any [`Problem`]; nothing of it may be used.
pub fn load_stream(stream: impl Read, seed: u64) -> Result<Streamed, Problem> {
    let content = open_stream(stream).map_err(|source| Problem::Unreadable { offset: 0, source })?;
    let (importing, trailer) = read_snapshot(content, seed)?;
    let zxid = trailer.zxid().filter(|&zxid| zxid >= 0);
    let zxid = zxid.ok_or_else(|| nonsense("its end does not say of which transaction it is".to_owned()))?;
    let digest = trailer.digest.filter(|digest| digest.version == DIGEST_VERSION && digest.zxid == zxid);
    let digest_matches = digest.map(|digest| digest.digest as u64 == importing.digest());
    Ok(Streamed { importing, zxid, digest_matches })
}

/// The directory that has the files: the one named, or `version-2` in it.
pub fn version_dir(dir: &Path) -> PathBuf {
    let below = dir.join(VERSION_DIR);
    if below.is_dir() { below } else { dir.to_path_buf() }
}

/// The files of a kind in a directory, by zxid.
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

/// The zxid in the name of a file of a kind.
pub fn zxid_of(name: &str, prefix: &str) -> Option<i64> {
    let rest = name.strip_prefix(prefix)?;
    let hex = rest.strip_suffix(".gz").or_else(|| rest.strip_suffix(".snappy")).unwrap_or(rest);
    i64::from_str_radix(hex, 16).ok()
}

fn len_of(path: &Path) -> Result<u64, FileError> {
    Ok(path.metadata().map_err(io_error(path, "open"))?.len())
}

/// The newest snapshot that is sound.
fn load_snapshot(
    dir: &Path,
    snapshots: &[Named],
    logs: &[Named],
    options: Options,
    told: &Told,
) -> Result<Loading, FileError> {
    let mut problems = Vec::new();
    for (zxid, path) in snapshots.iter().take(SNAPSHOTS_MAX) {
        let mut total = len_of(path)?;
        for (_, log) in logs.iter().filter(|(log_zxid, _)| log_zxid > zxid) {
            total += len_of(log)?;
        }
        match Loading::read(path, Some(*zxid), options.seed, Counting::new(told, total)) {
            Ok(_) if !problems.is_empty() && !logs.iter().any(|(log_zxid, _)| *log_zxid <= zxid + 1) => {
                return Err(FileError::Gap { snapshot: path.clone(), zxid: *zxid, problems });
            }
            Ok(mut loading) => {
                loading.found.notes = problems;
                return Ok(loading);
            }
            Err(problem) => problems.push(problem.to_string()),
        }
    }
    Err(FileError::NoSoundSnapshot { path: dir.to_path_buf(), problems })
}

/// Counts bytes read.
#[derive(Clone)]
struct Counting {
    told: Told,
    progress: Rc<RefCell<Progress>>,
}

impl Counting {
    fn new(told: &Told, total: u64) -> Counting {
        Counting { told: told.clone(), progress: Rc::new(RefCell::new(Progress { read: 0, total })) }
    }

    fn open(&self, path: &Path) -> Result<Box<dyn Read>, FileError> {
        let counting = self.clone();
        open(path, move |count| {
            let mut progress = counting.progress.borrow_mut();
            progress.read += count;
            progress.total = progress.total.max(progress.read);
            (counting.told.borrow_mut())(*progress);
        })
    }
}

/// Everything in a snapshot, and what stands behind it.
fn read_snapshot(input: impl Read, seed: u64) -> Result<(Importing, snapshot::Trailer), Problem> {
    let mut reader = snapshot::Reader::new(input)?;
    let mut importing = Importing::new(seed);
    let mut acls: BTreeMap<i64, Vec<Acl<'static>>> = BTreeMap::new();
    let mut trailer = snapshot::Trailer::default();
    while let Some(item) = reader.next()? {
        match item {
            Item::Session { id, timeout_ms } => importing.open_session(id, timeout_ms),
            Item::Acl { id, list } => drop(acls.insert(id, list)),
            Item::Znode(record) => place(&mut importing, &record, &acls)?,
            Item::End(end) => trailer = end,
        }
    }
    if importing.is_empty() {
        return Err(nonsense("it has no root".to_owned()));
    }
    Ok((importing, trailer))
}

struct Loading {
    importing: Importing,
    zxid: i64,
    counting: Counting,
    found: Found,
    snapshot_digest: Option<Digest>,
    digest_matches: Option<bool>,
}

impl Loading {
    /// From a snapshot; without a `zxid`, the one it names.
    fn read(path: &Path, zxid: Option<i64>, seed: u64, counting: Counting) -> Result<Loading, FileError> {
        let (importing, trailer) = read_snapshot(counting.open(path)?, seed).map_err(|problem| problem.of(path))?;
        let named = path.file_name().and_then(|name| zxid_of(name.to_str()?, SNAPSHOT_PREFIX));
        let zxid = zxid.or(named).or(trailer.zxid()).unwrap_or(-1);
        let found = Found { snapshot: path.to_path_buf(), snapshot_zxid: zxid, ..Found::default() };
        let snapshot_digest = trailer.digest.filter(|digest| digest.version == DIGEST_VERSION);
        Ok(Loading { importing, zxid, counting, found, snapshot_digest, digest_matches: None })
    }

    /// ZooKeeper: a snapshot's digest is that of the tree at a zxid at or behind the one of its name, since writes go on meanwhile.
    fn compare_snapshot_digest(&mut self) {
        if let Some(digest) = self.snapshot_digest.take_if(|digest| digest.zxid <= self.zxid)
            && digest.zxid == self.zxid
        {
            self.digest_matches = Some(digest.digest as u64 == self.importing.digest());
        }
    }

    fn replay(&mut self, logs: &[Named], options: Options) -> Result<(), FileError> {
        self.compare_snapshot_digest();
        for (position, (_, path)) in logs.iter().enumerate() {
            let is_last = position + 1 == logs.len();
            match self.replay_log(path, is_last) {
                Err(FileError::Content { problem, .. }) if is_last && options.stop_at_damage => {
                    self.found
                        .notes
                        .push(format!("{} {problem}; what follows is left out, as you asked", path.display()));
                }
                replayed => replayed?,
            }
        }
        if self.snapshot_digest.is_some() {
            let note = "the logs end before everything is there that the snapshot has: it was taken while writes went on, and the log that covers it is missing or was cut short. The tree may be inconsistent";
            self.found.notes.push(note.to_owned());
        }
        Ok(())
    }

    fn replay_log(&mut self, path: &Path, is_last: bool) -> Result<(), FileError> {
        let of_file = |problem: Problem| problem.of(path);
        let mut reader = log::Reader::new(self.counting.open(path)?).map_err(of_file)?;
        self.found.logs += 1;
        while let Some(record) = reader.next().map_err(of_file)? {
            let transaction = record.transaction;
            let (zxid, digest) = (transaction.zxid, transaction.digest);
            if zxid <= self.found.snapshot_zxid {
                continue;
            }
            if zxid <= self.zxid {
                let (path, last) = (path.display(), self.zxid);
                self.found.notes.push(format!("{path} has transaction {zxid:#x} behind {last:#x}: it was carried out all the same, as ZooKeeper does"));
            }
            replay(&mut self.importing, transaction);
            self.zxid = self.zxid.max(zxid);
            self.found.transactions += 1;
            self.compare_snapshot_digest();
            // Until the snapshot's own digest was met, some of what is behind may be in it already.
            if let Some((DIGEST_VERSION, digest)) = digest.filter(|_| self.snapshot_digest.is_none()) {
                self.digest_matches = Some(digest as u64 == self.importing.digest());
            }
        }
        if let Some(End::Torn { offset }) = reader.end() {
            let path = path.display();
            let what =
                if is_last { "what a crash leaves of a write that was never answered" } else { "as a crash leaves it" };
            self.found.notes.push(format!("{path} ends with half a record, at byte {offset}: {what}"));
        }
        Ok(())
    }
}

fn place(
    importing: &mut Importing,
    record: &snapshot::Record,
    acls: &BTreeMap<i64, Vec<Acl<'static>>>,
) -> Result<(), Problem> {
    let snapshot::Record { path, data, acl, stat } = record;
    let list = match *acl {
        snapshot::OPEN_ACL => &[][..],
        id => acls.get(&id).ok_or_else(|| nonsense(format!("{path} refers to ACL {id}, which is not there")))?,
    };
    importing.znode(path, data.as_deref(), list, stat).map_err(|misplaced| {
        nonsense(match misplaced {
            Misplaced::Path => format!("{path:?} is not the path of a znode"),
            Misplaced::Orphan => format!("{path} comes before its parent, or has none"),
            Misplaced::Twice => format!("{path:?} is there twice"),
            Misplaced::BelowEphemeral => format!("{path:?} is below an ephemeral znode"),
            Misplaced::System => format!("{path:?} is ephemeral, a container or has a ttl: it is always there"),
        })
    })
}

fn nonsense(what: String) -> Problem {
    Problem::Nonsense { offset: 0, what }
}
