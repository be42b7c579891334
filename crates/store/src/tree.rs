//! The durable tree: records by kind and key at one applied index, in redb.
//!
//! Owns the file `tree.redb`, which the first checkpoint creates (a server without data starts
//! without it). A checkpoint is one write transaction: after a crash the tree is the old one or the
//! new one. A [`Snapshot`] is one read transaction: a consistent view, whatever checkpoints do
//! meanwhile.
//!
//! Damage. redb verifies its page checksums only when asked to read the whole file, so the tree has
//! its own: each value begins with a CRC-32 of kind, key and value, and the header row holds for
//! each table the count of its records and a sum over their checksums, kept up to date by every put
//! and remove (redb hands out the replaced value anyway). A full load computes the same sum, so a
//! lost or stale page of intact records is detected, too: a table being loaded must not be used
//! before `load` has returned. Damage in redb's own structure is an error or a panic of redb, that
//! is, the process stops; in neither case are records served (`tests/tree.rs` flips bits all over
//! the file).
//!
//! Checkpoints commit with redb's quick repair: opening after a crash reads the allocator's state
//! instead of the whole file. Measured with a million records of 190 bytes
//! (`examples/log_bench.rs`, 2 cores): open after an unclean stop 0.5 ms, load 160–210 ms in one
//! thread, file 272 MiB.
//!
//! Pace. Written without pauses, that checkpoint takes 1.3 s and stalls syncs of the log for up to
//! 79 ms. At the default pace it takes 7.5 s and the p99 of log syncs stays below 1 ms (0.2 ms
//! without it).

use std::fmt;
use std::io;
use std::ops::{Add, RangeBounds};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use redb::{
    AccessGuard, Database, ReadOnlyTable, ReadTransaction, ReadableDatabase, ReadableTable, Table, TableDefinition,
    TableError, WriteTransaction,
};

use crate::backend::Backend;
use crate::disk::{Disk, DiskFile};
use crate::error::{StoreError, io_error};

/// Name of the tree's file.
pub const TREE_FILE: &str = "tree.redb";
pub(crate) const UNFINISHED: &str = "tree.unfinished";
const FORMAT_VERSION: u32 = 1;
/// Version of redb's file format, in which our own format is embedded.
const REDB_FORMAT_VERSION: u32 = 3;
/// Length of the checksum before each value, bytes.
const CRC_LEN: usize = 4;
const HEADER: TableDefinition<'static, u8, &[u8]> = TableDefinition::new("header");
const META: TableDefinition<'static, &str, &[u8]> = TableDefinition::new("meta");
/// Length of the header row, bytes: version, applied index, a count and a sum for each table,
/// checksum.
const HEADER_LEN: usize = 4 + 8 + Contents::LEN + 4;
const TABLE_COUNT: usize = Kind::ALL.len() + 1;
/// Index of the meta table's sum, after those of the kinds.
const META_SLOT: usize = Kind::ALL.len();

type Records<'txn> = Table<'txn, u64, &'static [u8]>;

/// The tables of records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// One record per znode.
    Znode,
    /// One record per session.
    Session,
    /// One record per access control list.
    Acl,
}

impl Kind {
    /// All kinds.
    pub const ALL: [Self; 3] = [Self::Znode, Self::Session, Self::Acl];

    fn name(self) -> &'static str {
        match self {
            Self::Znode => "znodes",
            Self::Session => "sessions",
            Self::Acl => "acls",
        }
    }

    fn table(self) -> TableDefinition<'static, u64, &'static [u8]> {
        TableDefinition::new(self.name())
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// Number of records and the sum over their checksums, in any order. Sums of parts add up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sum {
    count: u64,
    sum: u64,
}

impl Sum {
    /// Returns the number of records.
    pub fn count(self) -> u64 {
        self.count
    }

    fn of(crc: u32, key: u64) -> Self {
        // The finaliser of SplitMix64 keeps sums of related records from cancelling out.
        let mut sum = (key ^ (u64::from(crc) << 32 | u64::from(crc))).wrapping_add(0x9e37_79b9_7f4a_7c15);
        sum = (sum ^ (sum >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        sum = (sum ^ (sum >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        Self { count: 1, sum: sum ^ (sum >> 31) }
    }

    fn without(self, other: Self) -> Self {
        Self { count: self.count.wrapping_sub(other.count), sum: self.sum.wrapping_sub(other.sum) }
    }
}

impl Add for Sum {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self { count: self.count.wrapping_add(other.count), sum: self.sum.wrapping_add(other.sum) }
    }
}

/// Summary of a tree's contents from its checksums: equal for trees with equal records and named
/// values.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Contents {
    sums: [Sum; TABLE_COUNT],
}

impl Contents {
    /// Length of the encoded form, bytes: count and sum of each table.
    pub const LEN: usize = TABLE_COUNT * 16;

    /// Returns the number of records of all kinds.
    pub fn records(&self) -> u64 {
        Kind::ALL.iter().map(|kind| self.sums[*kind as usize].count).sum()
    }

    /// Encodes the summary.
    pub fn encode(&self) -> [u8; Self::LEN] {
        let mut bytes = [0; Self::LEN];
        for (slot, sum) in bytes.chunks_exact_mut(16).zip(self.sums) {
            slot[..8].copy_from_slice(&sum.count.to_le_bytes());
            slot[8..].copy_from_slice(&sum.sum.to_le_bytes());
        }
        bytes
    }

    /// Decodes what [`Contents::encode`] wrote.
    pub fn decode(bytes: &[u8; Self::LEN]) -> Self {
        let long = |bytes: &[u8]| bytes.try_into().map_or(0, u64::from_le_bytes);
        let mut contents = Self::default();
        for (slot, sum) in bytes.chunks_exact(16).zip(&mut contents.sums) {
            *sum = Sum { count: long(&slot[..8]), sum: long(&slot[8..]) };
        }
        contents
    }
}

/// Settings of a tree.
#[derive(Debug, Clone)]
pub struct TreeOptions {
    /// Memory that redb may use for its cache, bytes; default 8 MiB.
    pub cache_len: usize,
    /// Bytes that a checkpoint writes between syncs; default 128 KiB.
    pub pace_len: u64,
    /// Pause of a checkpoint after each such sync, during which it leaves the disk alone; default 1
    /// ms, zero on a fake disk.
    pub pace_rest: Duration,
}

impl Default for TreeOptions {
    fn default() -> Self {
        Self { cache_len: 8 << 20, pace_len: 128 << 10, pace_rest: Duration::from_millis(1) }
    }
}

/// The durable tree of a directory. See the module for its rules.
pub struct Tree {
    disk: Arc<dyn Disk>,
    pub(crate) dir: PathBuf,
    path: PathBuf,
    options: TreeOptions,
    full: Arc<AtomicBool>,
    hurried: Arc<AtomicBool>,
    /// Held for a whole checkpoint.
    writer: Mutex<()>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    database: Option<Arc<Database>>,
    /// Whether the last checkpoint failed: redb then refuses further work until it is reopened.
    failed: bool,
}

/// The content of the header row.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) applied: u64,
    pub(crate) contents: Contents,
}

impl fmt::Debug for Tree {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Tree").field("path", &self.path).finish_non_exhaustive()
    }
}

impl Tree {
    /// Opens the tree in `dir`, an existing directory. Creates no file.
    ///
    /// # Errors
    /// Any [`StoreError`] about the file; nothing of it can be used then.
    pub fn open(disk: Arc<dyn Disk>, dir: &Path, options: &TreeOptions) -> Result<Self, StoreError> {
        let names = disk.list(dir).map_err(io_error(dir, "list"))?;
        if names.iter().any(|name| name == UNFINISHED) {
            let unfinished = dir.join(UNFINISHED);
            disk.remove(&unfinished).map_err(io_error(&unfinished, "remove"))?;
        }
        let tree = Self::closed(disk, dir, options);
        let database = tree.open_database()?;
        tree.state.lock().database = database;
        if let Some(snapshot) = tree.snapshot()? {
            snapshot.load_meta(|_, _| {})?;
        }
        Ok(tree)
    }

    /// Sets whether the current checkpoint may use the whole disk, because nothing waits for the
    /// log.
    pub fn hurry(&self, hurried: bool) {
        self.hurried.store(hurried, Ordering::Relaxed);
    }

    /// Returns a consistent view of the last checkpoint; `None` if there never was one. Checkpoints
    /// go on meanwhile, but space that they free is not reused before the view is dropped.
    ///
    /// # Errors
    /// [`StoreError::Busy`] after a full disk, while an older view is held; any error about the
    /// file.
    pub fn snapshot(&self) -> Result<Option<Snapshot>, StoreError> {
        let Some(database) = self.database()? else {
            return Ok(None);
        };
        let txn = database.begin_read().map_err(|error| self.error(error))?;
        let header = read_header(&txn, &self.path)?;
        Ok(Some(Snapshot { txn, _database: database, header, path: self.path.clone() }))
    }

    /// Writes the changes up to the applied index, all or nothing: `write` puts and removes
    /// records, then everything is committed. If `write` fails, nothing is.
    ///
    /// # Errors
    /// [`StoreError::Full`]: the former checkpoint stays, and a later call succeeds once there is
    /// room. [`StoreError::Busy`] after that, while an older snapshot is held. Any error that
    /// `write` returns.
    ///
    /// # Panics
    /// If `applied` is below that of the former checkpoint, or if a sync fails.
    pub fn checkpoint(
        &self,
        applied: u64,
        write: impl FnOnce(&mut TreeWriter<'_>) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let _writer = self.writer.lock();
        if let Some(database) = self.database()? {
            let done = self.commit(&database, applied, write);
            self.state.lock().failed |= done.is_err();
            return done;
        }
        // The first checkpoint creates the file, which gets its name once it is complete.
        let unfinished = self.dir.join(UNFINISHED);
        let created = self.create(&unfinished, applied, write);
        match created {
            Ok(database) => {
                self.state.lock().database = Some(Arc::new(database));
                Ok(())
            }
            Err(error) => {
                // A file without its final name is ignored; the next start or attempt removes it.
                let _ = self.disk.remove(&unfinished);
                Err(error)
            }
        }
    }

    pub(crate) fn closed(disk: Arc<dyn Disk>, dir: &Path, options: &TreeOptions) -> Self {
        let (path, dir, options) = (dir.join(TREE_FILE), dir.to_path_buf(), options.clone());
        let (full, hurried) = (Arc::default(), Arc::default());
        Self { disk, dir, path, options, full, hurried, writer: Mutex::default(), state: Mutex::default() }
    }

    fn create(
        &self,
        unfinished: &Path,
        applied: u64,
        write: impl FnOnce(&mut TreeWriter<'_>) -> Result<(), StoreError>,
    ) -> Result<Database, StoreError> {
        let database = self.begin(unfinished)?;
        self.commit(&database, applied, write)?;
        self.name(unfinished)?;
        Ok(database)
    }

    /// Creates a database in a new file.
    pub(crate) fn begin(&self, unfinished: &Path) -> Result<Database, StoreError> {
        let file = self.disk.create(unfinished).map_err(io_error(unfinished, "create"))?;
        self.build(file)
    }

    /// Gives the complete file its final name.
    pub(crate) fn name(&self, unfinished: &Path) -> Result<(), StoreError> {
        self.disk.rename(unfinished, &self.path).map_err(io_error(&self.path, "name"))?;
        self.disk.sync_dir(&self.dir).map_err(io_error(&self.dir, "sync"))
    }

    fn commit(
        &self,
        database: &Database,
        applied: u64,
        write: impl FnOnce(&mut TreeWriter<'_>) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let mut txn = database.begin_write().map_err(|error| self.error(error))?;
        txn.set_quick_repair(true);
        let mut writer = TreeWriter::open(self, &txn)?;
        let former = writer.header.applied;
        assert!(applied >= former, "a checkpoint at {applied} would go back: the former is at {former}");
        writer.header.applied = applied;
        write(&mut writer)?;
        writer.finish()?;
        txn.commit().map_err(|error| self.error(error))
    }

    /// Returns the open database; reopens it if the last checkpoint failed.
    fn database(&self) -> Result<Option<Arc<Database>>, StoreError> {
        let mut state = self.state.lock();
        if state.failed {
            // Two databases on one file would not know of each other's readers.
            if let Some(shared) = state.database.take()
                && let Err(shared) = Arc::try_unwrap(shared).map(drop)
            {
                state.database = Some(shared);
                return Err(StoreError::Busy { path: self.path.clone() });
            }
            state.database = self.open_database()?;
            state.failed = false;
        }
        Ok(state.database.clone())
    }

    fn open_database(&self) -> Result<Option<Arc<Database>>, StoreError> {
        let Some(file) = self.disk.open(&self.path).map_err(io_error(&self.path, "open"))? else {
            return Ok(None);
        };
        // redb would begin a new database in an empty file.
        if file.is_empty().map_err(io_error(&self.path, "measure"))? {
            return Err(StoreError::Empty { path: self.path.clone() });
        }
        // This may read data that a killed process left only in the operating system's memory. The log is
        // trimmed on the strength of it, so it must survive the next power failure.
        file.sync_data().map_err(io_error(&self.path, "sync"))?;
        self.disk.sync_dir(&self.dir).map_err(io_error(&self.dir, "sync"))?;
        Ok(Some(Arc::new(self.build(file)?)))
    }

    fn build(&self, file: Box<dyn DiskFile>) -> Result<Database, StoreError> {
        let (path, full) = (self.path.clone(), self.full.clone());
        let (pace_len, pace_rest) = (self.options.pace_len, self.options.pace_rest);
        self.full.store(false, Ordering::Relaxed);
        let (hurried, unsynced) = (self.hurried.clone(), AtomicU64::new(0));
        let backend = Backend { path, file, full, pace_len, pace_rest, hurried, unsynced };
        let mut builder = Database::builder();
        builder.set_cache_size(self.options.cache_len);
        builder.create_with_backend(backend).map_err(|error| self.error(error))
    }

    pub(crate) fn error(&self, error: impl Into<redb::Error>) -> StoreError {
        match self.full.load(Ordering::Relaxed) {
            true => StoreError::Full { path: self.path.clone() },
            false => database_error(&self.path, error.into()),
        }
    }
}

/// Writer of one checkpoint.
pub struct TreeWriter<'txn> {
    tree: &'txn Tree,
    tables: [Records<'txn>; Kind::ALL.len()],
    meta: Table<'txn, &'static str, &'static [u8]>,
    header_table: Table<'txn, u8, &'static [u8]>,
    pub(crate) header: Header,
    /// Buffer for a value preceded by its checksum.
    value: Vec<u8>,
}

impl fmt::Debug for TreeWriter<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("TreeWriter").field("header", &self.header).finish_non_exhaustive()
    }
}

impl<'txn> TreeWriter<'txn> {
    /// Sets the record of a key.
    ///
    /// # Errors
    /// [`StoreError::Full`] and errors about the file. Return them from the checkpoint.
    pub fn put(&mut self, kind: Kind, key: u64, value: &[u8]) -> Result<(), StoreError> {
        let crc = record_crc(kind, key, value);
        seal_value(&mut self.value, crc, value);
        let table = &mut self.tables[kind as usize];
        let old = table.insert(key, &*self.value).map_err(|error| self.tree.error(error))?;
        let old = old.map_or(Sum::default(), |old| Sum::of(stored_crc(&old), key));
        let sum = &mut self.header.contents.sums[kind as usize];
        *sum = sum.without(old) + Sum::of(crc, key);
        Ok(())
    }

    /// Removes the record of a key; succeeds if there is none.
    ///
    /// # Errors
    /// As [`put`](Self::put).
    pub fn remove(&mut self, kind: Kind, key: u64) -> Result<(), StoreError> {
        let old = self.tables[kind as usize].remove(key).map_err(|error| self.tree.error(error))?;
        if let Some(old) = old {
            let sum = &mut self.header.contents.sums[kind as usize];
            *sum = sum.without(Sum::of(stored_crc(&old), key));
        }
        Ok(())
    }

    /// Sets a named value.
    ///
    /// # Errors
    /// As [`put`](Self::put).
    pub fn put_meta(&mut self, key: &str, value: &[u8]) -> Result<(), StoreError> {
        let crc = meta_crc(key, value);
        seal_value(&mut self.value, crc, value);
        let old = self.meta.insert(key, &*self.value).map_err(|error| self.tree.error(error))?;
        let old = old.map_or(Sum::default(), |old| Sum::of(stored_crc(&old), 0));
        let sum = &mut self.header.contents.sums[META_SLOT];
        *sum = sum.without(old) + Sum::of(crc, 0);
        Ok(())
    }

    pub(crate) fn open(tree: &'txn Tree, txn: &'txn WriteTransaction) -> Result<Self, StoreError> {
        let open = |kind: Kind| txn.open_table(kind.table()).map_err(|error| tree.error(error));
        let tables = [open(Kind::Znode)?, open(Kind::Session)?, open(Kind::Acl)?];
        let meta = txn.open_table(META).map_err(|error| tree.error(error))?;
        let header_table = txn.open_table(HEADER).map_err(|error| tree.error(error))?;
        let row = header_table.get(0).map_err(|error| tree.error(error))?;
        let header = row.map_or(Ok(Header::default()), |row| Header::decode(row.value(), &tree.path))?;
        Ok(Self { tree, tables, meta, header_table, header, value: Vec::new() })
    }

    pub(crate) fn finish(mut self) -> Result<(), StoreError> {
        let row = self.header.encode();
        self.header_table.insert(0, &row[..]).map_err(|error| self.tree.error(error))?;
        Ok(())
    }
}

/// A consistent view of one checkpoint.
pub struct Snapshot {
    txn: ReadTransaction,
    _database: Arc<Database>,
    header: Header,
    path: PathBuf,
}

impl fmt::Debug for Snapshot {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Snapshot").field("header", &self.header).finish_non_exhaustive()
    }
}

impl Snapshot {
    /// Returns the applied index of the checkpoint.
    pub fn applied_index(&self) -> u64 {
        self.header.applied
    }

    /// Returns the number of records of a kind.
    pub fn count(&self, kind: Kind) -> u64 {
        self.header.contents.sums[kind as usize].count
    }

    /// Returns the summary of the contents that the checkpoint recorded.
    pub fn contents(&self) -> Contents {
        self.header.contents
    }

    /// Returns a named value.
    ///
    /// # Errors
    /// [`StoreError::DamagedMeta`] and errors about the file.
    pub fn meta(&self, key: &str) -> Result<Option<Vec<u8>>, StoreError> {
        let table = self.txn.open_table(META).map_err(|error| self.error(error))?;
        let Some(row) = table.get(key).map_err(|error| self.error(error))? else {
            return Ok(None);
        };
        match open_value(row.value(), |value| meta_crc(key, value)) {
            Some((_, value)) => Ok(Some(value.to_vec())),
            None => Err(StoreError::DamagedMeta { path: self.path.clone(), key: key.to_owned() }),
        }
    }

    /// Returns the record of a key.
    ///
    /// # Errors
    /// [`StoreError::DamagedRecord`] and errors about the file. A record that damage made
    /// unreachable reads as absent: only [`load`](Self::load) detects that.
    pub fn get(&self, kind: Kind, key: u64) -> Result<Option<Vec<u8>>, StoreError> {
        let table = self.table(kind)?;
        let row = table.get(key).map_err(|error| self.error(error))?;
        row.map(|row| Ok(self.open_record(kind, key, &row)?.1.to_vec())).transpose()
    }

    /// Returns the highest key of a kind.
    ///
    /// # Errors
    /// Errors about the file.
    pub fn last_key(&self, kind: Kind) -> Result<Option<u64>, StoreError> {
        let table = self.table(kind)?;
        let last = table.last().map_err(|error| self.error(error))?;
        Ok(last.map(|(key, _)| key.value()))
    }

    /// Passes every record of a kind to `record` in the order of keys. The records may be used once
    /// this has returned `Ok`.
    ///
    /// # Errors
    /// [`StoreError::DamagedRecord`], [`StoreError::DamagedTable`] and errors about the file.
    pub fn load(&self, kind: Kind, record: impl FnMut(u64, &[u8])) -> Result<(), StoreError> {
        let sum = self.load_range(kind, .., record)?;
        self.check(kind, sum)
    }

    /// Passes records of a kind to `record` in the order of keys, starting at `from`, until
    /// `record` returns false for one. Returns where to continue, if there may be more. Add up the
    /// sums and [`check`](Self::check) them at the end.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn load_while(
        &self,
        kind: Kind,
        from: u64,
        mut record: impl FnMut(u64, &[u8]) -> bool,
    ) -> Result<(Sum, Option<u64>), StoreError> {
        let mut sum = Sum::default();
        let table = self.table(kind)?;
        for row in table.range(from..).map_err(|error| self.error(error))? {
            let (key, row) = row.map_err(|error| self.error(error))?;
            let (crc, value) = self.open_record(kind, key.value(), &row)?;
            sum = sum + Sum::of(crc, key.value());
            if !record(key.value(), value) {
                return Ok((sum, key.value().checked_add(1)));
            }
        }
        Ok((sum, None))
    }

    /// Passes the records of a range of keys to `record` in order. To use several threads, load
    /// disjoint ranges that cover all keys, add up the sums, and use the records once
    /// [`check`](Self::check) has accepted the total.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn load_range(
        &self,
        kind: Kind,
        range: impl RangeBounds<u64>,
        mut record: impl FnMut(u64, &[u8]),
    ) -> Result<Sum, StoreError> {
        let mut sum = Sum::default();
        let table = self.table(kind)?;
        for row in table.range(range).map_err(|error| self.error(error))? {
            let (key, row) = row.map_err(|error| self.error(error))?;
            let (crc, value) = self.open_record(kind, key.value(), &row)?;
            record(key.value(), value);
            sum = sum + Sum::of(crc, key.value());
            // A damaged structure with a cycle must not make this load forever.
            if sum.count > self.count(kind) {
                return Err(StoreError::DamagedTable { path: self.path.clone(), table: kind.name() });
            }
        }
        Ok(sum)
    }

    /// Checks that the loaded records are all those of a kind, with none missing and none stale.
    ///
    /// # Errors
    /// [`StoreError::DamagedTable`].
    pub fn check(&self, kind: Kind, sum: Sum) -> Result<(), StoreError> {
        match sum == self.header.contents.sums[kind as usize] {
            true => Ok(()),
            false => Err(StoreError::DamagedTable { path: self.path.clone(), table: kind.name() }),
        }
    }

    /// Passes every named value to `value` in the order of names. The values may be used once this
    /// has returned `Ok`.
    ///
    /// # Errors
    /// [`StoreError::DamagedMeta`], [`StoreError::DamagedTable`] and errors about the file.
    pub fn load_meta(&self, mut value: impl FnMut(&str, &[u8])) -> Result<(), StoreError> {
        let table = self.txn.open_table(META).map_err(|error| self.error(error))?;
        let mut sum = Sum::default();
        for row in table.iter().map_err(|error| self.error(error))? {
            let (key, row) = row.map_err(|error| self.error(error))?;
            let Some((crc, bytes)) = open_value(row.value(), |value| meta_crc(key.value(), value)) else {
                let (path, key) = (self.path.clone(), key.value().to_owned());
                return Err(StoreError::DamagedMeta { path, key });
            };
            value(key.value(), bytes);
            sum = sum + Sum::of(crc, 0);
        }
        match sum == self.header.contents.sums[META_SLOT] {
            true => Ok(()),
            false => Err(StoreError::DamagedTable { path: self.path.clone(), table: "meta" }),
        }
    }

    fn table(&self, kind: Kind) -> Result<ReadOnlyTable<u64, &'static [u8]>, StoreError> {
        self.txn.open_table(kind.table()).map_err(|error| self.error(error))
    }

    fn open_record<'a>(
        &self,
        kind: Kind,
        key: u64,
        row: &'a AccessGuard<'_, &'static [u8]>,
    ) -> Result<(u32, &'a [u8]), StoreError> {
        open_value(row.value(), |value| record_crc(kind, key, value)).ok_or_else(|| StoreError::DamagedRecord {
            path: self.path.clone(),
            kind,
            key,
        })
    }

    fn error(&self, error: impl Into<redb::Error>) -> StoreError {
        database_error(&self.path, error.into())
    }
}

impl Header {
    fn encode(&self) -> [u8; HEADER_LEN] {
        let mut row = [0; HEADER_LEN];
        row[..4].copy_from_slice(&FORMAT_VERSION.to_le_bytes());
        row[4..12].copy_from_slice(&self.applied.to_le_bytes());
        row[12..HEADER_LEN - 4].copy_from_slice(&self.contents.encode());
        let crc = crc32fast::hash(&row[..HEADER_LEN - 4]);
        row[HEADER_LEN - 4..].copy_from_slice(&crc.to_le_bytes());
        row
    }

    /// Decodes a header row. The checksum is at the end in every version, so that a bit flip does
    /// not read as another version.
    fn decode(row: &[u8], path: &Path) -> Result<Self, StoreError> {
        let damaged = || StoreError::DamagedTable { path: path.to_path_buf(), table: "header" };
        let (content, crc) = row.split_last_chunk::<4>().ok_or_else(damaged)?;
        if crc32fast::hash(content) != u32::from_le_bytes(*crc) {
            return Err(damaged());
        }
        let (version, content) = content.split_first_chunk::<4>().ok_or_else(damaged)?;
        let (found, supported) = (u32::from_le_bytes(*version), FORMAT_VERSION);
        if found != supported {
            return Err(StoreError::UnknownVersion { path: path.to_path_buf(), found, supported });
        }
        let (applied, content) = content.split_first_chunk::<8>().ok_or_else(damaged)?;
        let contents = content.try_into().map_err(|_| damaged())?;
        Ok(Self { applied: u64::from_le_bytes(*applied), contents: Contents::decode(contents) })
    }
}

fn read_header(txn: &ReadTransaction, path: &Path) -> Result<Header, StoreError> {
    let error = |error: redb::Error| database_error(path, error);
    let table = match txn.open_table(HEADER) {
        // The first commit writes the row, and the file gets its name only afterwards.
        Err(TableError::TableDoesNotExist(_)) => return Err(StoreError::Foreign { path: path.to_path_buf() }),
        opened => opened.map_err(|failed| error(failed.into()))?,
    };
    let damaged = || StoreError::DamagedTable { path: path.to_path_buf(), table: "header" };
    let row = table.get(0).map_err(|failed| error(failed.into()))?.ok_or_else(damaged)?;
    Header::decode(row.value(), path)
}

fn database_error(path: &Path, error: redb::Error) -> StoreError {
    let path = path.to_path_buf();
    if let redb::Error::UpgradeRequired(found) = error {
        return StoreError::UnknownVersion { path, found: found.into(), supported: REDB_FORMAT_VERSION };
    }
    let redb::Error::Io(source) = error else {
        return StoreError::Database { path, source: Box::new(error) };
    };
    match source.kind() == io::ErrorKind::InvalidData {
        true => StoreError::Foreign { path },
        false => io_error(&path, "read or write")(source),
    }
}

fn seal_value(out: &mut Vec<u8>, crc: u32, value: &[u8]) {
    out.clear();
    out.extend_from_slice(&crc.to_le_bytes());
    out.extend_from_slice(value);
}

/// Returns the checksum and the value of a stored row, if the checksum is right.
fn open_value(row: &[u8], crc_of: impl FnOnce(&[u8]) -> u32) -> Option<(u32, &[u8])> {
    let (crc, value) = row.split_first_chunk::<CRC_LEN>()?;
    let crc = u32::from_le_bytes(*crc);
    (crc_of(value) == crc).then_some((crc, value))
}

/// Returns the checksum stored in a replaced row. A row too short for one makes the sum wrong, as
/// it should.
fn stored_crc(row: &AccessGuard<'_, &'static [u8]>) -> u32 {
    row.value().first_chunk::<CRC_LEN>().map_or(0, |crc| u32::from_le_bytes(*crc))
}

fn record_crc(kind: Kind, key: u64, value: &[u8]) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    let mut place = [kind as u8; 9];
    place[1..].copy_from_slice(&key.to_le_bytes());
    crc.update(&place);
    crc.update(value);
    crc.finalize()
}

fn meta_crc(key: &str, value: &[u8]) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(key.as_bytes());
    crc.update(&[0xff]); // not UTF-8: ends the key
    crc.update(value);
    crc.finalize()
}
