//! The durable log: entries by index, and the scalars of consensus, in segment files.
//!
//! Owns a directory of segments, the records that are staged but not yet synced, and the position
//! of the next write. A [`LogReader`] shares the durable part: it reads while another thread
//! writes.
//!
//! Invariants: at any time an index belongs to at most one entry, and there are no gaps; `sync`
//! returns only when everything staged is durable; a record that was refused, or dropped because of
//! a full disk, is in no file and never reappears. A full disk is detected where room is made, in
//! `append`, before anything is promised: the write of a group goes into room that exists already.
//!
//! A group is one `pwrite` and one `fdatasync`. `prepare`, called when nothing waits, makes the
//! next room in advance, so that a group rarely pays for it.
//!
//! Scalars survive trimming because each segment begins with the scalars of its time. Trimming
//! deletes whole segments from the front, never the one being written.
//!
//! This half does not use redb, because a commit of one 200-byte entry takes 94 µs here and 159 µs
//! in redb, of 200 entries 118 µs and 495 µs (`examples/log_bench.rs`, p50), and a checkpoint would
//! block the single writer that redb allows.

use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::{RwLock, RwLockReadGuard};

use crate::batch::{self, GRANULE, RECORD_HEADER_LEN, Record};
use crate::disk::{Disk, is_full};
use crate::error::{AppendError, StoreError, SyncError, io_error};
use crate::index::{Index, Span};
use crate::recover::{At, Reader, recover};
use crate::segment::{self, HEADER_LEN, ROOM_STEP, Segment};

/// Length after which the next group starts a new segment, bytes.
pub const SEGMENT_LEN: u64 = 64 << 20;
/// Maximum length of a payload, bytes.
pub const RECORD_LEN_MAX: usize = 16 << 20;
/// Maximum length that may be staged at once, bytes, unless one record alone is longer. The
/// contents of one frame to a member of an ensemble must become durable as a whole.
pub const STAGED_LEN_MAX: usize = 128 << 20;
/// Maximum length of a scalar, bytes.
pub const SCALAR_LEN_MAX: usize = 64 << 10;
/// Maximum number of segments that one `trim` deletes: deleting 64 MiB takes milliseconds.
pub const TRIM_SEGMENTS_MAX: usize = 4;
/// Maximum length of a body, bytes: the maximum that may be staged, preceded by the scalars of 256
/// keys.
pub(crate) const BATCH_BODY_LEN_MAX: usize =
    STAGED_LEN_MAX + RECORD_LEN_MAX + 256 * (SCALAR_LEN_MAX + RECORD_HEADER_LEN);
/// Room that `prepare` keeps available at least, bytes.
const ROOM_LOW: u64 = ROOM_STEP / 2;
/// Capacity above which an empty buffer is freed, bytes, so that idle memory stays small.
const BUFFER_KEPT: usize = 1 << 20;

/// Settings of a log.
#[derive(Debug, Clone)]
pub struct LogOptions {
    /// Length after which a new segment is started, bytes; default [`SEGMENT_LEN`].
    pub segment_len: u64,
    /// Index of the first entry of a new log; default 0.
    pub first_index: u64,
}

impl Default for LogOptions {
    fn default() -> Self {
        Self { segment_len: SEGMENT_LEN, first_index: 0 }
    }
}

/// An open log. See the module for its invariants.
#[derive(Debug)]
pub struct Log {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    segment_len: u64,
    durable: Arc<RwLock<Durable>>,
    first_sequence: u64,
    tail: Segment,
    /// Offset of the next group in the tail.
    offset: u64,
    /// Room for a header, then the staged records; empty if there are none.
    staged: Vec<u8>,
    /// Index of the next entry, including staged ones.
    next: u64,
    /// End of the range `offset..dirty` that may hold part of a refused group; it is cleared before
    /// anything else is staged.
    dirty: u64,
}

/// The durable part of the log.
#[derive(Debug)]
struct Durable {
    index: Index,
    /// The segment being written, as of the last sync.
    tail: Segment,
    /// Offset of the next group in it.
    offset: u64,
}

/// Reader of the durable part of the log, usable from any thread.
#[derive(Clone, Debug)]
pub struct LogReader {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    segment_len: u64,
    durable: Arc<RwLock<Durable>>,
}

impl Log {
    /// Opens the log in `dir`, or begins one there; creates the directory if absent.
    ///
    /// # Errors
    /// Any [`StoreError`] about a file of the log; no part of the log can be used then.
    pub fn open(disk: Arc<dyn Disk>, dir: &Path, options: &LogOptions) -> Result<Self, StoreError> {
        disk.create_dir(dir).map_err(io_error(dir, "create the directory"))?;
        let (index, first_sequence, tail, offset) = match recover(&*disk, dir)? {
            Some(found) => (found.index, found.first_sequence, found.tail, found.offset),
            None => {
                let first = options.first_index;
                let created = Segment::create(&*disk, dir, 1, first, 0);
                let tail = created.map_err(io_error(&segment::path_of(dir, 1), "create"))?;
                (Index::new(first), 1, tail, HEADER_LEN)
            }
        };
        let (dir, segment_len, next) = (dir.to_path_buf(), options.segment_len, index.next);
        let durable = Arc::new(RwLock::new(Durable { index, tail: tail.clone(), offset }));
        Ok(Self { disk, dir, segment_len, durable, first_sequence, tail, offset, staged: Vec::new(), next, dirty: 0 })
    }

    /// Returns a reader of the durable part.
    pub fn reader(&self) -> LogReader {
        let Log { disk, dir, segment_len, durable, .. } = self;
        LogReader { disk: disk.clone(), dir: dir.clone(), segment_len: *segment_len, durable: durable.clone() }
    }

    /// Returns the index of the oldest durable entry, or [`next_index`](Self::next_index) if there
    /// is none.
    pub fn first_index(&self) -> u64 {
        self.durable.read().index.first
    }

    /// Returns the index that the next entry gets, counting staged entries.
    pub fn next_index(&self) -> u64 {
        self.next
    }

    /// Returns one past the index of the newest durable entry.
    pub fn durable_end(&self) -> u64 {
        self.durable.read().index.next
    }

    /// Returns the durable value of a scalar.
    pub fn scalar(&self, key: u8) -> Option<Vec<u8>> {
        self.reader().scalar(key)
    }

    /// Stages an entry and returns its index.
    ///
    /// # Errors
    /// Any [`AppendError`]; nothing of the entry is staged then.
    pub fn append(&mut self, payload: &[u8]) -> Result<u64, AppendError> {
        let index = self.next;
        self.stage(Record::Entry { index, payload }, payload.len())?;
        self.next += 1;
        Ok(index)
    }

    /// Stages a record that voids the entries at `from` and above. The next entry gets that index.
    ///
    /// # Errors
    /// Any [`AppendError`]; nothing is staged then.
    ///
    /// # Panics
    /// If `from` lies outside `first_index()..=next_index()`.
    pub fn truncate(&mut self, from: u64) -> Result<(), AppendError> {
        let (first, next) = (self.first_index(), self.next);
        assert!(first <= from && from <= next, "cannot truncate at {from}: entries are {first}..{next}");
        self.stage(Record::Truncate { index: from }, 0)?;
        self.next = from;
        Ok(())
    }

    /// Stages a record that voids all entries and gives the next one the index `next`: for a server
    /// that installed a state from a peer. Scalars are kept.
    ///
    /// # Errors
    /// Any [`AppendError`]; nothing is staged then.
    pub fn reset(&mut self, next: u64) -> Result<(), AppendError> {
        self.stage(Record::Reset { index: next }, 0)?;
        self.next = next;
        Ok(())
    }

    /// Stages a new value of a scalar, of at most [`SCALAR_LEN_MAX`] bytes.
    ///
    /// # Errors
    /// Any [`AppendError`]; nothing is staged then.
    pub fn set_scalar(&mut self, key: u8, value: &[u8]) -> Result<(), AppendError> {
        if value.len() > SCALAR_LEN_MAX {
            return Err(AppendError::TooLarge { len: value.len() });
        }
        self.stage(Record::Scalar { key, payload: value }, value.len())
    }

    /// Makes everything staged durable with one write and one `fdatasync`. Does no I/O if nothing
    /// is staged.
    ///
    /// # Errors
    /// [`SyncError::Full`]: everything staged is dropped, as if never appended. This happens only
    /// on file systems that need new blocks to overwrite old ones.
    ///
    /// # Panics
    /// If the write or the `fdatasync` fails for another reason: crash rather than corrupt.
    pub fn sync(&mut self) -> Result<(), SyncError> {
        if self.staged.is_empty() {
            return Ok(());
        }
        let body_len = self.staged.len() - GRANULE;
        if self.write_staged(false).is_err() {
            self.dirty = self.offset + self.staged.len() as u64;
            self.next = self.durable_end();
            self.empty_staged();
            return Err(SyncError::Full);
        }
        self.tail.sync();
        self.count_as_durable(body_len);
        Ok(())
    }

    fn count_as_durable(&mut self, body_len: usize) {
        let mut durable = self.durable.write();
        let applied = durable.index.apply(self.tail.sequence, self.offset, &self.staged[GRANULE..], body_len);
        applied.expect("append, truncate and reset stage what fits");
        assert_eq!(durable.index.next, self.next, "what was staged is what is durable");
        self.offset += self.staged.len() as u64;
        durable.offset = self.offset;
        if (durable.tail.sequence, durable.tail.len) != (self.tail.sequence, self.tail.len) {
            durable.tail = self.tail.clone();
        }
        drop(durable);
        self.empty_staged();
    }

    /// Makes room in advance if little is left; to be called when nothing waits. A full disk is not
    /// an error here: the next append will detect it.
    pub fn prepare(&mut self) {
        if self.needs_room() {
            let _ = self.tail.extend(self.offset + ROOM_LOW);
        }
    }

    /// Returns whether [`Log::prepare`] has something to do.
    pub fn needs_room(&self) -> bool {
        self.staged.is_empty() && self.dirty == 0 && self.tail.len - self.offset < ROOM_LOW
    }

    /// Reads the durable entries of `range` in order, as many as there are; memory is bounded by
    /// one group.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] or [`StoreError::Io`]; entries passed to `entry` before it are
    /// intact.
    ///
    /// # Panics
    /// If the range begins below `first_index()`: those entries were trimmed.
    pub fn read(&self, range: Range<u64>, entry: impl FnMut(u64, &[u8])) -> Result<(), StoreError> {
        self.reader().read(range, entry)
    }

    /// Returns the lowest index from which on the log has at most about `len_max` bytes.
    pub fn floor(&self, len_max: u64) -> u64 {
        self.reader().floor(len_max)
    }

    /// Returns whether [`Log::trim`] would delete something.
    pub fn is_trimmable(&self, through: u64) -> bool {
        // A tail without a group has no scalars yet.
        self.offset > HEADER_LEN
            && self.first_sequence < self.tail.sequence
            && !self.durable.read().index.needs(self.first_sequence, through)
    }

    /// Frees the space of entries up to `through`, in whole segments, at most [`TRIM_SEGMENTS_MAX`]
    /// per call; returns the number of deleted segments.
    ///
    /// # Errors
    /// [`StoreError::Io`] if a file cannot be removed.
    pub fn trim(&mut self, through: u64) -> Result<usize, StoreError> {
        let mut deleted = 0;
        while deleted < TRIM_SEGMENTS_MAX && self.is_trimmable(through) {
            // No reader reads what the index does not know.
            self.durable.write().index.forget(self.first_sequence);
            let path = segment::path_of(&self.dir, self.first_sequence);
            self.disk.remove(&path).map_err(io_error(&path, "remove"))?;
            // Sync each removal by itself: deletions reordered by a crash would leave a hole.
            self.disk.sync_dir(&self.dir).map_err(io_error(&self.dir, "sync"))?;
            self.first_sequence += 1;
            deleted += 1;
        }
        Ok(deleted)
    }

    fn stage(&mut self, record: Record<'_>, len: usize) -> Result<(), AppendError> {
        if len > RECORD_LEN_MAX {
            return Err(AppendError::TooLarge { len });
        }
        if self.staged.len() + len > STAGED_LEN_MAX && !self.staged.is_empty() {
            return Err(AppendError::SyncFirst);
        }
        let before = self.staged.len();
        let staged = self.begin(len).and_then(|()| {
            batch::push(&mut self.staged, record);
            self.make_room()
        });
        staged.map_err(|error| {
            assert!(is_full(&error), "{}: cannot write: {error}", self.dir.display());
            self.staged.truncate(before);
            AppendError::Full
        })
    }

    /// Begins a group if there is none: in a new segment if this one is long enough, and with the
    /// scalars if it is the segment's first.
    fn begin(&mut self, len: usize) -> io::Result<()> {
        if !self.staged.is_empty() {
            return Ok(());
        }
        self.clear_refused()?;
        if self.offset >= self.segment_len {
            self.roll(len as u64)?;
        }
        self.staged.resize(GRANULE, 0);
        if self.offset == HEADER_LEN {
            for (&key, payload) in &self.durable.read().index.scalars {
                batch::push(&mut self.staged, Record::Scalar { key, payload });
            }
        }
        Ok(())
    }

    /// Makes room for the present group, and for the next header or the seal after it.
    fn make_room(&mut self) -> io::Result<()> {
        let len = batch::batch_len(self.staged.len() - GRANULE) + GRANULE;
        self.tail.extend(self.offset + len as u64)
    }

    /// Ends the segment and begins the next. The new one is durable before the old one is sealed,
    /// so a seal without a successor means that the successor was lost.
    fn roll(&mut self, room: u64) -> io::Result<()> {
        let sequence = self.tail.sequence + 1;
        let next = Segment::create(&*self.disk, &self.dir, sequence, self.durable_end(), room)?;
        self.staged.resize(GRANULE, 0);
        let sealed = self.write_staged(true).map(|()| self.tail.sync());
        self.staged.clear();
        if let Err(error) = sealed {
            self.dirty = self.offset + GRANULE as u64;
            self.disk.remove(&next.path)?;
            return Err(error);
        }
        self.tail = next;
        self.offset = HEADER_LEN;
        Ok(())
    }

    fn write_staged(&mut self, seal: bool) -> io::Result<()> {
        batch::finish(&mut self.staged, self.tail.sequence, self.offset, seal);
        self.tail.write(self.offset, &self.staged)
    }

    /// Overwrites the remains of a refused group with the fill. Nothing is staged before that
    /// succeeds. If a crash comes first, recovery finds a torn batch and does the same.
    fn clear_refused(&mut self) -> io::Result<()> {
        if self.dirty > 0 {
            self.tail.fill(self.offset, self.dirty)?;
            self.tail.sync();
            self.dirty = 0;
        }
        Ok(())
    }

    fn empty_staged(&mut self) {
        self.staged.clear();
        self.staged.shrink_to(BUFFER_KEPT);
    }
}

impl LogReader {
    /// See [`Log::first_index`].
    pub fn first_index(&self) -> u64 {
        self.durable.read().index.first
    }

    /// See [`Log::durable_end`].
    pub fn durable_end(&self) -> u64 {
        self.durable.read().index.next
    }

    /// See [`Log::scalar`].
    pub fn scalar(&self, key: u8) -> Option<Vec<u8>> {
        self.durable.read().index.scalars.get(&key).map(|value| value.to_vec())
    }

    /// See [`Log::read`].
    ///
    /// # Errors
    /// See [`Log::read`].
    ///
    /// # Panics
    /// See [`Log::read`].
    pub fn read(&self, range: Range<u64>, mut entry: impl FnMut(u64, &[u8])) -> Result<(), StoreError> {
        // The lock is held to the end, because nothing that the index knows is deleted.
        let durable = self.durable.read();
        let first = durable.index.first;
        assert!(range.is_empty() || first <= range.start, "entry {} is trimmed, the first is {first}", range.start);
        let mut open: Option<Segment> = None;
        for span in durable.index.spans(range.start, range.end) {
            let sequence = span.place.sequence;
            let wanted = span.first.max(range.start)..span.end.min(range.end);
            if sequence == durable.tail.sequence {
                read_span(&durable.tail, span, wanted, &mut entry)?;
                continue;
            }
            let segment = match open.take() {
                Some(segment) if segment.sequence == sequence => segment,
                Some(_) | None => Segment::open(&*self.disk, &self.dir, sequence)?,
            };
            read_span(&segment, span, wanted, &mut entry)?;
            open = Some(segment);
        }
        Ok(())
    }

    /// See [`Log::floor`].
    pub fn floor(&self, len_max: u64) -> u64 {
        let durable: RwLockReadGuard<'_, Durable> = self.durable.read();
        let behind = |span: &Span| {
            let segments = durable.tail.sequence - span.place.sequence;
            (segments * self.segment_len + durable.offset).saturating_sub(span.place.batch)
        };
        let mut spans = durable.index.spans(durable.index.first, durable.index.next);
        spans.find(|span| behind(span) <= len_max).map_or(durable.index.next, |span| span.first)
    }
}

/// Passes the entries `wanted` of a span to the callback.
fn read_span(
    segment: &Segment,
    span: &Span,
    wanted: Range<u64>,
    entry: &mut impl FnMut(u64, &[u8]),
) -> Result<(), StoreError> {
    let mut reader = Reader::new(segment);
    let (mut offset, mut skip, mut next) = (span.place.batch, span.place.record, span.first);
    while next < wanted.end {
        let At::Batch(header, body) = reader.at(offset)? else {
            return Err(segment.damaged(offset, "a batch that was there is gone"));
        };
        for (at, record) in batch::records(body, header.body_len) {
            if let Some(Record::Entry { index, payload }) = record
                && at >= skip
                && next < wanted.end
            {
                assert_eq!(index, next, "a span holds its entries in order");
                if index >= wanted.start {
                    entry(index, payload);
                }
                next += 1;
            }
        }
        offset += header.batch_len() as u64;
        skip = 0;
    }
    Ok(())
}
