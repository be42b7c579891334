//! An in-memory disk that behaves as badly as a real one may.
//!
//! It serves tests and the simulator. It keeps written and synced data apart. A crash loses, keeps
//! or tears unsynced data sector by sector, as a seed decides; unsynced changes of names are lost
//! from the end. The disk can be full, fail at one operation, and have its bits flipped.
//!
//! Directories are names, too. Creating one is durable at once and is not an operation to crash at;
//! renaming and removing one are changes of names like others. The contents of a renamed directory
//! may be synced only after the rename is: a real disk may keep the one without the other, which is
//! not modelled and therefore refused.
//!
//! Everything is deterministic: the same operations and the same seed give the same disk.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use crate::disk::{Disk, DiskFile};

/// Length of the unit that a crash keeps or loses as a whole, bytes.
pub const SECTOR_LEN: usize = 512;
/// Value that marks a directory where files have their inode.
const DIR: u64 = 0;
/// Length of the unit that copies of a file share until one of them writes to it, bytes.
const PAGE_LEN: usize = 4096;

/// An in-memory disk. Clones share the same disk.
#[derive(Clone, Default)]
pub struct FakeDisk {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Clone, Default)]
struct Inner {
    /// Content of files by inode. It is kept after the name is removed, as it is for open files.
    files: BTreeMap<u64, FileState>,
    /// Names as programs see them; the value is [`DIR`] for directories.
    names: BTreeMap<PathBuf, u64>,
    /// Names as they were at the last sync of their directory.
    synced_names: BTreeMap<PathBuf, u64>,
    /// Changes of names since then.
    name_changes: Vec<NameChange>,
    locked: Vec<PathBuf>,
    /// Number of changing operations so far.
    operations: u64,
    /// Maximum total length of all files, bytes.
    room: Option<u64>,
    fail: Option<Fault>,
    crash_at: Option<u64>,
    crashed: Option<Box<Inner>>,
}

#[derive(Clone, Default)]
struct FileState {
    content: Content,
    synced: Content,
    changes: Vec<Change>,
}

#[derive(Clone)]
enum Change {
    Write { offset: usize, data: Arc<[u8]> },
    SetLen(usize),
}

/// The bytes of a file, in shared pages: a crash copies every file, and most of their bytes never
/// change.
#[derive(Clone, Default)]
struct Content {
    len: usize,
    /// Pages of the file; `None` stands for zeros only. Bytes after the end are zero, too.
    pages: Vec<Option<Arc<[u8; PAGE_LEN]>>>,
}

impl Content {
    fn from_bytes(bytes: &[u8]) -> Self {
        let mut content = Self::default();
        content.resize(bytes.len());
        content.write(0, bytes);
        content
    }

    fn resize(&mut self, len: usize) {
        if len < self.len && self.pages[len / PAGE_LEN].is_some() {
            self.page(len / PAGE_LEN)[len % PAGE_LEN..].fill(0);
        }
        self.len = len;
        self.pages.resize(len.div_ceil(PAGE_LEN), None);
    }

    fn page(&mut self, page: usize) -> &mut [u8; PAGE_LEN] {
        Arc::make_mut(self.pages[page].get_or_insert_with(|| Arc::new([0; PAGE_LEN])))
    }

    /// Writes within the present length.
    fn write(&mut self, offset: usize, data: &[u8]) {
        assert!(offset + data.len() <= self.len, "the file is long enough");
        let mut done = 0;
        while done < data.len() {
            let at = offset + done;
            let len = (PAGE_LEN - at % PAGE_LEN).min(data.len() - done);
            self.page(at / PAGE_LEN)[at % PAGE_LEN..][..len].copy_from_slice(&data[done..done + len]);
            done += len;
        }
    }

    /// Returns false if the content is too short.
    fn read(&self, offset: usize, out: &mut [u8]) -> bool {
        if offset.checked_add(out.len()).is_none_or(|end| end > self.len) {
            return false;
        }
        let mut done = 0;
        while done < out.len() {
            let at = offset + done;
            let len = (PAGE_LEN - at % PAGE_LEN).min(out.len() - done);
            match &self.pages[at / PAGE_LEN] {
                Some(page) => out[done..done + len].copy_from_slice(&page[at % PAGE_LEN..][..len]),
                None => out[done..done + len].fill(0),
            }
            done += len;
        }
        true
    }

    fn bytes(&self) -> Vec<u8> {
        let mut bytes = vec![0; self.len];
        assert!(self.read(0, &mut bytes), "it is as long as it is");
        bytes
    }
}

/// An operation that is to fail.
#[derive(Clone, Copy)]
struct Fault {
    at: u64,
    kind: io::ErrorKind,
    /// Whether the fault also hits syncs and removals, which need no room.
    syncs: bool,
}

#[derive(Clone)]
enum NameChange {
    Set(PathBuf, u64),
    /// Removal of a file or an empty directory.
    Remove(PathBuf),
    MoveDir(PathBuf, PathBuf),
}

impl FakeDisk {
    /// Creates an empty disk with unlimited room.
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns the number of changing operations so far: a point in time to crash or fail at.
    pub fn operations(&self) -> u64 {
        self.inner.lock().operations
    }

    /// Remembers the state of the disk in the middle of operation number `operation`, counted from
    /// 0. Everything goes on as if nothing had happened; [`crash`](Self::crash) and
    /// [`kill`](Self::kill) then show that moment.
    pub fn crash_at(&self, operation: u64) {
        self.inner.lock().crash_at = Some(operation);
    }

    /// Returns the disk after a power failure, at the moment set before or else now.
    pub fn crash(&self, seed: u64) -> Self {
        let mut lost = self.moment();
        lost.lose(&mut Random(seed));
        Self { inner: Arc::new(Mutex::new(lost)) }
    }

    /// Returns the disk after the process was killed, at the moment set before or else now: all
    /// written data is there, but still not synced.
    pub fn kill(&self) -> Self {
        let mut inner = self.moment();
        inner.begin_again();
        Self { inner: Arc::new(Mutex::new(inner)) }
    }

    /// Makes operation number `operation` fail; a failing write writes half of its bytes.
    pub fn fail_at(&self, operation: u64, kind: io::ErrorKind) {
        self.inner.lock().fail = Some(Fault { at: operation, kind, syncs: true });
    }

    /// Makes operation number `operation` fail if it needs room; a failing write writes half of its
    /// bytes.
    pub fn fail_writes_at(&self, operation: u64, kind: io::ErrorKind) {
        self.inner.lock().fail = Some(Fault { at: operation, kind, syncs: false });
    }

    /// Limits the total length of all files to `room` bytes, or removes the limit.
    pub fn set_room(&self, room: Option<u64>) {
        self.inner.lock().room = room;
    }

    /// Returns the total length of all files, bytes.
    pub fn used(&self) -> u64 {
        self.inner.lock().used()
    }

    /// Returns the bytes of a file as programs see them.
    pub fn content(&self, path: &Path) -> Option<Vec<u8>> {
        let inner = self.inner.lock();
        Some(inner.files.get(inner.names.get(path)?)?.content.bytes())
    }

    /// Replaces the bytes of a file, durably, as an operator with an editor would.
    pub fn set_content(&self, path: &Path, content: Vec<u8>) {
        let mut inner = self.inner.lock();
        let inode = inner.names.get(path).copied().unwrap_or_else(|| inner.next_inode());
        inner.names.insert(path.to_path_buf(), inode);
        inner.synced_names.insert(path.to_path_buf(), inode);
        let content = Content::from_bytes(&content);
        let synced = content.clone();
        inner.files.insert(inode, FileState { content, synced, changes: Vec::new() });
    }

    /// Flips one bit of a file, durably.
    pub fn flip(&self, path: &Path, bit: usize) {
        let mut content = self.content(path).expect("the file to damage exists");
        content[bit / 8] ^= 1 << (bit % 8);
        self.set_content(path, content);
    }

    fn moment(&self) -> Inner {
        let inner = self.inner.lock();
        inner.crashed.as_ref().map_or_else(|| inner.clone(), |crashed| (**crashed).clone())
    }

    fn file(&self, inode: u64) -> Box<dyn DiskFile> {
        Box::new(FakeFile { inner: self.inner.clone(), inode })
    }
}

impl fmt::Debug for FakeDisk {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inner = self.inner.lock();
        formatter.debug_struct("FakeDisk").field("names", &inner.names).finish_non_exhaustive()
    }
}

impl Inner {
    /// Counts an operation, and fails if this is the operation to fail.
    fn step(&mut self, needs_room: bool) -> io::Result<()> {
        let operation = self.operations;
        self.operations += 1;
        match self.fail {
            Some(fault) if fault.at == operation && (fault.syncs || needs_room) => Err(fault.kind.into()),
            Some(_) | None => Ok(()),
        }
    }

    /// Remembers this moment, with the change made and none of it synced, if this is the operation
    /// to crash at.
    fn remember(&mut self) {
        if self.crash_at == Some(self.operations - 1) {
            self.crash_at = None;
            self.crashed = Some(Box::new(self.clone()));
        }
    }

    fn used(&self) -> u64 {
        let files = self.names.values().filter_map(|inode| self.files.get(inode));
        files.map(|file| file.content.len as u64).sum()
    }

    fn next_inode(&self) -> u64 {
        self.files.last_key_value().map_or(1, |(inode, _)| inode + 1)
    }

    fn inode(&self, path: &Path) -> io::Result<u64> {
        self.names.get(path).copied().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// Returns the inode of a file: directories cannot be opened, replaced or removed as files.
    fn file_inode(&self, path: &Path) -> io::Result<u64> {
        match self.inode(path)? {
            DIR => Err(io::ErrorKind::IsADirectory.into()),
            inode => Ok(inode),
        }
    }

    fn is_empty_dir(&self, dir: &Path) -> bool {
        self.names.keys().all(|path| path.parent() != Some(dir))
    }

    fn set_name(&mut self, change: NameChange) {
        change.apply(&mut self.names);
        self.name_changes.push(change);
        self.remember();
    }

    fn sync_names(&mut self, dir: &Path) {
        let mut others: Vec<NameChange> = Vec::new();
        for change in std::mem::take(&mut self.name_changes) {
            if change.dir() == Some(dir) {
                change.apply(&mut self.synced_names);
                others = others.into_iter().filter_map(|older| older.behind(&change)).collect();
                continue;
            }
            let renamed = matches!(&change, NameChange::MoveDir(_, to) if dir.starts_with(to));
            assert!(!renamed, "{} was renamed: sync the directory around it first", dir.display());
            others.push(change);
        }
        self.name_changes = others;
    }

    fn write(&mut self, inode: u64, offset: u64, data: &[u8]) -> io::Result<()> {
        let failed = self.step(true);
        let half = if failed.is_err() { data.len() / 2 } else { data.len() };
        let len = self.files[&inode].content.len;
        let room = self.room.map_or(u64::MAX, |room| room.saturating_sub(self.used()));
        let fits = (len as u64).saturating_add(room).saturating_sub(offset);
        let count = match half.min(usize::try_from(fits).unwrap_or(usize::MAX)) {
            count if count == data.len() => count,
            // A refused write ends at a sector boundary.
            count => ((offset as usize + count) / SECTOR_LEN * SECTOR_LEN).saturating_sub(offset as usize),
        };
        let change = Change::Write { offset: offset as usize, data: data[..count].into() };
        let file = self.files.get_mut(&inode).expect("open files exist");
        change.apply(&mut file.content, |_| true);
        file.changes.push(change);
        self.remember();
        failed?;
        match count == data.len() {
            true => Ok(()),
            false => Err(io::ErrorKind::StorageFull.into()),
        }
    }

    fn lose(&mut self, random: &mut Random) {
        let kept = random.below(self.name_changes.len() as u64 + 1) as usize;
        let changes = std::mem::take(&mut self.name_changes);
        changes[..kept].iter().for_each(|change| change.apply(&mut self.synced_names));
        self.names = self.synced_names.clone();
        for file in self.files.values_mut() {
            file.lose(random);
        }
        let Self { names, files, .. } = self;
        files.retain(|inode, _| names.values().any(|named| named == inode));
        self.room = None;
        self.begin_again();
    }

    /// Resets the disk to what a new process finds: no locks, no plans of the test, operations
    /// counted from 0.
    fn begin_again(&mut self) {
        self.locked.clear();
        (self.operations, self.fail, self.crash_at, self.crashed) = (0, None, None, None);
    }
}

impl FileState {
    /// Keeps all, none, or some sectors of the unsynced data.
    fn lose(&mut self, random: &mut Random) {
        let luck = random.below(4);
        let mut content = std::mem::take(&mut self.synced);
        for change in self.changes.drain(..) {
            match &change {
                Change::Write { .. } => change.apply(&mut content, |_| luck == 0 || (luck > 1 && random.below(2) == 0)),
                Change::SetLen(_) if luck == 0 || (luck > 1 && random.below(2) == 0) => {
                    change.apply(&mut content, |_| true);
                }
                Change::SetLen(_) => {}
            }
        }
        self.content = content.clone();
        self.synced = content;
    }
}

impl Change {
    /// Applies the change to those sectors for which `arrives` returns true.
    fn apply(&self, content: &mut Content, mut arrives: impl FnMut(usize) -> bool) {
        match self {
            Self::SetLen(len) => content.resize(*len),
            Self::Write { offset, data } => {
                let mut done = 0;
                while done < data.len() {
                    let at = offset + done;
                    let len = (SECTOR_LEN - at % SECTOR_LEN).min(data.len() - done);
                    if arrives(at / SECTOR_LEN) {
                        if content.len < at + len {
                            content.resize(at + len);
                        }
                        content.write(at, &data[done..done + len]);
                    }
                    done += len;
                }
            }
        }
    }
}

impl NameChange {
    fn apply(&self, names: &mut BTreeMap<PathBuf, u64>) {
        match self {
            Self::Set(path, inode) => {
                // A rename removes the old name in the same step.
                names.retain(|_, named| named != inode);
                names.insert(path.clone(), *inode);
            }
            // The contents of a directory were removed before it, whether or not that was synced.
            Self::Remove(path) => names.retain(|named, _| !named.starts_with(path)),
            Self::MoveDir(from, to) => {
                let place = |path: PathBuf| if path.starts_with(from) { moved_path(&path, from, to) } else { path };
                *names = std::mem::take(names).into_iter().map(|(path, inode)| (place(path), inode)).collect();
            }
        }
    }

    /// Returns the directory whose sync makes this change durable.
    fn dir(&self) -> Option<&Path> {
        match self {
            Self::Set(path, _) | Self::Remove(path) | Self::MoveDir(_, path) => path.parent(),
        }
    }

    /// Returns this older, unsynced change as it is after `later` became durable; `None` if nothing
    /// of it is left.
    fn behind(self, later: &Self) -> Option<Self> {
        match later {
            Self::Set(..) => Some(self),
            Self::Remove(path) => (!self.dir().is_some_and(|dir| dir.starts_with(path))).then_some(self),
            Self::MoveDir(from, to) => {
                let moved = |path: PathBuf| if path.starts_with(from) { moved_path(&path, from, to) } else { path };
                Some(match self {
                    Self::Set(path, inode) => Self::Set(moved(path), inode),
                    Self::Remove(path) => Self::Remove(moved(path)),
                    Self::MoveDir(source, target) => Self::MoveDir(moved(source), moved(target)),
                })
            }
        }
    }
}

/// Returns the new place of `path`, which equals `from` or lies in it, after `from` was renamed to
/// `to`.
fn moved_path(path: &Path, from: &Path, to: &Path) -> PathBuf {
    match path.strip_prefix(from).expect("the path lies in the directory") {
        rest if rest.as_os_str().is_empty() => to.to_path_buf(),
        rest => to.join(rest),
    }
}

impl Disk for FakeDisk {
    fn open(&self, path: &Path) -> io::Result<Option<Box<dyn DiskFile>>> {
        match self.inner.lock().file_inode(path) {
            Ok(inode) => Ok(Some(self.file(inode))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let mut inner = self.inner.lock();
        inner.step(true)?;
        let inode = inner.next_inode();
        inner.files.insert(inode, FileState::default());
        inner.set_name(NameChange::Set(path.to_path_buf(), inode));
        Ok(self.file(inode))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let inner = self.inner.lock();
        let names = inner.names.keys().filter(|path| path.parent() == Some(dir));
        Ok(names.filter_map(|path| path.file_name()?.to_str().map(str::to_owned)).collect())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut inner = self.inner.lock();
        inner.step(false)?;
        inner.file_inode(path)?;
        inner.set_name(NameChange::Remove(path.to_path_buf()));
        Ok(())
    }

    fn remove_dir(&self, dir: &Path) -> io::Result<()> {
        let mut inner = self.inner.lock();
        inner.step(false)?;
        match inner.inode(dir)? {
            DIR if inner.is_empty_dir(dir) => {}
            DIR => return Err(io::ErrorKind::DirectoryNotEmpty.into()),
            _ => return Err(io::ErrorKind::NotADirectory.into()),
        }
        inner.set_name(NameChange::Remove(dir.to_path_buf()));
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut inner = self.inner.lock();
        inner.step(true)?;
        match inner.inode(from)? {
            DIR if inner.names.contains_key(to) => return Err(io::ErrorKind::AlreadyExists.into()),
            DIR => inner.set_name(NameChange::MoveDir(from.to_path_buf(), to.to_path_buf())),
            inode => inner.set_name(NameChange::Set(to.to_path_buf(), inode)),
        }
        Ok(())
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut inner = self.inner.lock();
        inner.step(false)?;
        inner.remember();
        inner.sync_names(dir);
        Ok(())
    }

    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        let mut inner = self.inner.lock();
        for dir in dir.ancestors().filter(|dir| dir.file_name().is_some()) {
            match inner.names.get(dir) {
                Some(&DIR) => {}
                Some(_) => return Err(io::ErrorKind::AlreadyExists.into()),
                None => {
                    dir.parent().into_iter().for_each(|parent| inner.sync_names(parent));
                    inner.names.insert(dir.to_path_buf(), DIR);
                    inner.synced_names.insert(dir.to_path_buf(), DIR);
                }
            }
        }
        Ok(())
    }

    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn Send + Sync>>> {
        let mut inner = self.inner.lock();
        if inner.locked.iter().any(|locked| locked == path) {
            return Ok(None);
        }
        inner.locked.push(path.to_path_buf());
        Ok(Some(Box::new(FakeLock { inner: self.inner.clone(), path: path.to_path_buf() })))
    }
}

/// A lock, which releases its path when dropped.
struct FakeLock {
    inner: Arc<Mutex<Inner>>,
    path: PathBuf,
}

impl Drop for FakeLock {
    fn drop(&mut self) {
        self.inner.lock().locked.retain(|path| *path != self.path);
    }
}

struct FakeFile {
    inner: Arc<Mutex<Inner>>,
    inode: u64,
}

impl fmt::Debug for FakeFile {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("FakeFile").field("inode", &self.inode).finish_non_exhaustive()
    }
}

impl DiskFile for FakeFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.inner.lock().files[&self.inode].content.len as u64)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut inner = self.inner.lock();
        inner.step(true)?;
        let old = inner.files[&self.inode].content.len as u64;
        if inner.room.is_some_and(|room| inner.used() - old + len > room.max(inner.used())) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let change = Change::SetLen(len as usize);
        let file = inner.files.get_mut(&self.inode).expect("open files exist");
        change.apply(&mut file.content, |_| true);
        file.changes.push(change);
        inner.remember();
        Ok(())
    }

    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let inner = self.inner.lock();
        let content = &inner.files[&self.inode].content;
        match content.read(usize::try_from(offset).unwrap_or(usize::MAX), out) {
            true => Ok(()),
            false => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.inner.lock().write(self.inode, offset, data)
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut inner = self.inner.lock();
        inner.step(false)?;
        inner.remember();
        let file = inner.files.get_mut(&self.inode).expect("open files exist");
        file.changes.clear();
        file.synced = file.content.clone();
        Ok(())
    }
}

/// SplitMix64, which is random enough for a disk.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut next = self.0;
        next = (next ^ (next >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        next = (next ^ (next >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (next ^ (next >> 31)) % limit
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(path: &str) -> &Path {
        Path::new(path)
    }

    /// Returns a disk with the directory `/a/old`, which holds one file whose name is synced and
    /// one whose name is not.
    fn disk() -> FakeDisk {
        let disk = FakeDisk::new();
        disk.create_dir(path("/a/old")).expect("free");
        disk.create(path("/a/old/synced")).expect("free");
        disk.sync_dir(path("/a/old")).expect("no fault");
        disk.create(path("/a/old/file")).expect("free");
        disk
    }

    fn names(disk: &FakeDisk, dir: &str) -> String {
        disk.list(path(dir)).expect("no fault").join(" ")
    }

    /// Returns the names that crashes under all seeds leave in a directory.
    fn after_crashes(disk: &FakeDisk, dir: &str) -> Vec<String> {
        let mut found: Vec<_> = (0..50).map(|seed| names(&disk.crash(seed), dir)).collect();
        found.sort();
        found.dedup();
        found
    }

    #[test]
    fn a_directory_moves_with_what_is_in_it_and_a_crash_may_undo_that() {
        let disk = disk();
        disk.rename(path("/a/old"), path("/a/new")).expect("free");
        assert_eq!((names(&disk, "/a"), names(&disk, "/a/new")), ("new".into(), "file synced".into()));
        assert_eq!(after_crashes(&disk, "/a"), ["new", "old"]);
        disk.sync_dir(path("/a")).expect("no fault");
        assert_eq!(after_crashes(&disk, "/a"), ["new"]);
        assert_eq!(after_crashes(&disk, "/a/new"), ["file synced", "synced"], "names in it were not synced");
        disk.sync_dir(path("/a/new")).expect("no fault");
        assert_eq!(after_crashes(&disk, "/a/new"), ["file synced"]);
    }

    #[test]
    fn a_file_moves_from_one_directory_to_another_in_one_step() {
        let disk = disk();
        disk.rename(path("/a/old/synced"), path("/a/moved")).expect("free");
        assert_eq!(after_crashes(&disk, "/a"), ["moved old", "old"]);
        disk.sync_dir(path("/a")).expect("no fault");
        assert_eq!(after_crashes(&disk, "/a"), ["moved old"]);
        assert_eq!(after_crashes(&disk, "/a/old"), ["", "file"], "it is not in two places");
    }

    #[test]
    fn only_an_empty_directory_is_removed_and_nothing_of_it_comes_back_into_a_new_one() {
        let disk = disk();
        assert!(disk.remove_dir(path("/a/old")).is_err(), "not empty");
        assert!(disk.remove(path("/a/old")).is_err() && disk.open(path("/a/old")).is_err(), "not a file");
        assert!(disk.remove_dir(path("/a/old/file")).is_err(), "not a directory");
        disk.remove(path("/a/old/file")).expect("there");
        disk.remove(path("/a/old/synced")).expect("there");
        disk.remove_dir(path("/a/old")).expect("empty");
        assert_eq!(after_crashes(&disk, "/a"), ["", "old"]);
        disk.create_dir(path("/a/old")).expect("free");
        assert_eq!(after_crashes(&disk, "/a/old"), [""]);
    }

    #[test]
    fn a_directory_takes_no_name_in_use() {
        let disk = disk();
        disk.create_dir(path("/a/new")).expect("free");
        assert!(disk.rename(path("/a/old"), path("/a/new")).is_err());
        disk.create(path("/a/file")).expect("free");
        assert!(disk.create_dir(path("/a/file")).is_err());
    }
}
