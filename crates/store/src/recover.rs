//! Opening a log: scanning its segments, and telling a torn end from damage.
//!
//! Decides where the log ends, by the rules of [`crate::batch`]. Afterwards everything after the
//! end of the last segment is fill again, durably: no byte of a torn batch is left to be misread,
//! and everything that was read is durable. No segment is changed before the whole log has been
//! found intact.

use std::path::Path;

use crate::batch::{Boundary, GRANULE, Header, Record, boundary, has_unwritten, records};
use crate::disk::Disk;
use crate::error::{StoreError, io_error};
use crate::index::{Index, Misfit};
use crate::log::BATCH_BODY_LEN_MAX;
use crate::segment::{self, FILL, HEADER_LEN, ROOM_STEP, Segment};

/// Length of one read, bytes.
const WINDOW_LEN: u64 = 256 << 10;

/// The log found in a directory.
pub(crate) struct Recovered {
    pub(crate) index: Index,
    /// The oldest segment.
    pub(crate) first_sequence: u64,
    /// The segment in which to continue writing.
    pub(crate) tail: Segment,
    /// Offset in that segment at which to continue.
    pub(crate) offset: u64,
}

/// The content at a batch boundary.
pub(crate) enum At<'a> {
    /// An intact batch: its header, and its body with padding.
    Batch(Header, &'a [u8]),
    /// Nothing was written, or nothing of the first sector reached the disk.
    Unwritten,
    /// A batch of this many bytes, some of which never reached the disk.
    Torn(u64),
}

/// A window on a segment, for reading it from front to back.
pub(crate) struct Reader<'a> {
    segment: &'a Segment,
    window: Vec<u8>,
    start: u64,
}

/// End of the batches of a segment.
struct End {
    offset: u64,
    sealed: bool,
    /// Whether there is nothing but fill after the end.
    clean: bool,
}

/// Recovers a log; returns `None` if the directory holds no segment.
pub(crate) fn recover(disk: &dyn Disk, dir: &Path) -> Result<Option<Recovered>, StoreError> {
    let sequences = segment::list(disk, dir)?;
    let (Some(&first), Some(&last)) = (sequences.first(), sequences.last()) else {
        return Ok(None);
    };
    let mut tail = Segment::open(disk, dir, first)?;
    let mut index = Index::new(tail.first_index);
    let mut end = scan(&tail, &mut index)?;
    for sequence in first + 1..=last {
        let next = Segment::open(disk, dir, sequence)?;
        if !end.sealed {
            check_unbegun(&tail, end.offset, &next, sequence == last)?;
            disk.remove(&next.path).map_err(io_error(&next.path, "remove"))?;
            disk.sync_dir(dir).map_err(io_error(dir, "sync"))?;
            break;
        }
        if next.first_index != index.next {
            let (path, expected, found) = (next.path, index.next, next.first_index);
            return Err(StoreError::Gap { path, offset: 0, expected, found });
        }
        // Its seal may still be in memory only, see `confirm`.
        tail.sync();
        tail = next;
        end = scan(&tail, &mut index)?;
    }
    if end.sealed {
        // Its successor was durable before the seal was written.
        return Err(StoreError::MissingSegment { path: segment::path_of(dir, last + 1) });
    }
    clear_behind(&mut tail, &end)?;
    confirm(disk, dir, &tail)?;
    Ok(Some(Recovered { index, first_sequence: first, tail, offset: end.offset }))
}

impl<'a> Reader<'a> {
    pub(crate) fn new(segment: &'a Segment) -> Self {
        Self { segment, window: Vec::new(), start: 0 }
    }

    /// Returns the content at `offset`. Damage is an error, as is a file that ends too early.
    pub(crate) fn at(&mut self, offset: u64) -> Result<At<'_>, StoreError> {
        let segment = self.segment;
        let header = match self.boundary(offset)? {
            Boundary::Batch(header) => header,
            Boundary::Unwritten => return Ok(At::Unwritten),
            Boundary::Damaged => return Err(segment.damaged(offset, "not the header of a batch")),
        };
        if header.body_len > BATCH_BODY_LEN_MAX {
            return Err(segment.damaged(offset, "an impossible length"));
        }
        let len = header.batch_len();
        let body = &self.bytes(offset, offset, len)?[GRANULE..];
        match (header.accepts(body), has_unwritten(body)) {
            (true, _) => Ok(At::Batch(header, body)),
            (false, true) => Ok(At::Torn(len as u64)),
            (false, false) => Err(segment.damaged(offset, "the checksum of a batch fails")),
        }
    }

    fn boundary(&mut self, offset: u64) -> Result<Boundary, StoreError> {
        let sequence = self.segment.sequence;
        let bytes = self.bytes(offset, offset, GRANULE)?;
        Ok(boundary(bytes.first_chunk().expect("as long as asked for"), sequence, offset))
    }

    /// Returns `len` bytes at `offset`, which belong to the batch that starts at `whole`.
    fn bytes(&mut self, whole: u64, offset: u64, len: usize) -> Result<&[u8], StoreError> {
        let end = offset + len as u64;
        if end > self.segment.len {
            return Err(self.segment.truncated(whole, end));
        }
        if offset < self.start || end > self.start + self.window.len() as u64 {
            let window = (len as u64).max(WINDOW_LEN).min(self.segment.len - offset);
            self.segment.read(offset, window as usize, &mut self.window)?;
            self.start = offset;
        }
        let at = (offset - self.start) as usize;
        Ok(&self.window[at..at + len])
    }
}

/// Applies the batches of a segment to the index.
fn scan(segment: &Segment, index: &mut Index) -> Result<End, StoreError> {
    let mut reader = Reader::new(segment);
    let mut offset = HEADER_LEN;
    loop {
        match reader.at(offset)? {
            At::Batch(header, body) => {
                let applied = index.apply(segment.sequence, offset, body, header.body_len);
                applied.map_err(|misfit| misfit_error(segment, offset, misfit))?;
                offset += header.batch_len() as u64;
                if header.seal {
                    return Ok(End { offset, sealed: true, clean: true });
                }
            }
            At::Unwritten => {
                let clean = check_behind(&mut reader, offset, offset + GRANULE as u64)?;
                return Ok(End { offset, sealed: false, clean });
            }
            At::Torn(len) => {
                check_behind(&mut reader, offset, offset + len)?;
                tracing::info!(file = %segment.path.display(), offset, len, "the last write was torn: it is dropped");
                return Ok(End { offset, sealed: false, clean: false });
            }
        }
    }
}

/// Proves that nothing acknowledged lies after the end at `offset`, that is, no batch at `behind`
/// or later. Returns whether there is only fill.
fn check_behind(reader: &mut Reader<'_>, offset: u64, behind: u64) -> Result<bool, StoreError> {
    let segment = reader.segment;
    let mut clean = segment.len.is_multiple_of(GRANULE as u64);
    let mut at = behind;
    while at + GRANULE as u64 <= segment.len {
        match reader.boundary(at)? {
            Boundary::Unwritten => {}
            Boundary::Damaged => clean = false,
            Boundary::Batch(_) => return Err(segment.damaged(offset, "a batch is missing, later ones are there")),
        }
        at += GRANULE as u64;
    }
    Ok(clean)
}

/// Checks that `next` may be dropped: a crash came between its creation and the seal of `tail`.
fn check_unbegun(tail: &Segment, end: u64, next: &Segment, last: bool) -> Result<(), StoreError> {
    let begun = scan(next, &mut Index::new(next.first_index))?;
    match last && begun.offset == HEADER_LEN && begun.clean {
        true => Ok(()),
        false => Err(tail.damaged(end, "the segment's end is missing, later segments are there")),
    }
}

/// Turns everything after the end into room again, durably.
fn clear_behind(tail: &mut Segment, end: &End) -> Result<(), StoreError> {
    if end.clean && tail.len.is_multiple_of(ROOM_STEP) {
        return Ok(());
    }
    let len = tail.len.max(end.offset + 1).next_multiple_of(ROOM_STEP);
    tail.fill(end.offset, len).map_err(io_error(&tail.path, "clear the end of"))?;
    tail.sync();
    tail.len = len;
    Ok(())
}

/// Makes durable what was read. A process that was killed between a write and its sync has left
/// data only in the operating system's memory. This process reads it, builds on it, and would lose
/// it in a power failure.
fn confirm(disk: &dyn Disk, dir: &Path, tail: &Segment) -> Result<(), StoreError> {
    tail.sync();
    disk.sync_dir(dir).map_err(io_error(dir, "sync"))
}

fn misfit_error(segment: &Segment, batch: u64, misfit: Misfit) -> StoreError {
    let offset = |record: usize| batch + (GRANULE + record) as u64;
    match misfit {
        Misfit::Nonsense { record } => segment.damaged(offset(record), "not a record"),
        Misfit::Gap { record, expected, found } => {
            StoreError::Gap { path: segment.path.clone(), offset: offset(record), expected, found }
        }
    }
}

// `clear_behind` writes the fill in whole granules.
const _: () = assert!(HEADER_LEN.is_multiple_of(FILL.len() as u64) && ROOM_STEP.is_multiple_of(FILL.len() as u64));

/// One record of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Logged<'a> {
    /// An entry.
    Entry {
        /// Index of the entry.
        index: u64,
        /// Bytes of the entry.
        payload: &'a [u8],
    },
    /// Entries from this index on are void.
    Truncate(u64),
    /// A scalar has a new value.
    Scalar {
        /// Key of the scalar.
        key: u8,
        /// New value of the scalar.
        value: &'a [u8],
    },
}

/// Passes every record of one log file to `record`, with the offset of its batch, and changes
/// nothing. Returns the end of the records, and whether a torn batch follows.
///
/// # Errors
/// Any [`StoreError`] about the file; the records passed before it may be used.
pub fn read_segment(
    disk: &dyn Disk,
    path: &Path,
    mut record: impl FnMut(u64, Logged<'_>),
) -> Result<(u64, bool), StoreError> {
    let foreign = || StoreError::Foreign { path: path.to_path_buf() };
    let sequence = path.file_stem().and_then(|stem| stem.to_str()?.parse().ok()).ok_or_else(foreign)?;
    let segment = Segment::open(disk, path.parent().ok_or_else(foreign)?, sequence)?;
    let mut reader = Reader::new(&segment);
    let mut offset = HEADER_LEN;
    loop {
        match reader.at(offset)? {
            At::Batch(header, body) => {
                for (_, found) in records(body, header.body_len) {
                    match found {
                        Some(Record::Entry { index, payload }) => record(offset, Logged::Entry { index, payload }),
                        Some(Record::Truncate { index } | Record::Reset { index }) => {
                            record(offset, Logged::Truncate(index));
                        }
                        Some(Record::Scalar { key, payload }) => {
                            record(offset, Logged::Scalar { key, value: payload });
                        }
                        None => return Err(segment.damaged(offset, "a record that cannot be read")),
                    }
                }
                offset += header.batch_len() as u64;
                if header.seal {
                    return Ok((offset, false));
                }
            }
            At::Unwritten => return Ok((offset, false)),
            At::Torn(_) => return Ok((offset, true)),
        }
    }
}
