//! One segment file of the log: its name, its header, and room to write into.
//!
//! ```text
//! 0    magic "oxkp.log"   8  u32 format version   12  u32 CRC-32 of the 512 bytes with this field zero
//! 16   u64 sequence       24 u64 index of the next entry when the segment was begun
//! 32   zeros up to 512, then batches, then FILL to the end of the file
//! ```
//!
//! Owns the rule *room before use*: space is filled and synced before a batch goes there, and a
//! segment gets its name only when its header and first room are durable. Hence a crash leaves no
//! empty or headerless segment, a write into room needs no new blocks and cannot meet a full disk,
//! and a file that ends inside its contents was cut from outside. There are always [`GRANULE`]
//! bytes of room after the last batch, so even a cut exactly between two batches is detected.
//!
//! Room is filled in steps of [`ROOM_STEP`] by the caller that needs it: there is no helper thread,
//! so the simulator sees the same operations. The choice rests on `examples/log_bench.rs` (2 cores,
//! virtio disk, ext4; p50 of one `pwrite` and `fdatasync`, µs):
//!
//! | bytes  | growing file | `fallocate`d extents | filled room | recycled segment |
//! |--------|--------------|----------------------|-------------|------------------|
//! | 200    | 124          | 86                   | 101         | 99               |
//! | 20,000 | 173          | 165                  | 106         | 103              |
//!
//! Filling a step of 256 KiB takes 270 µs, of 1 MiB 660 µs, of 4 MiB 12,800 µs (the disk is
//! throttled). Recycling would save that, one step in 13 groups of 20 KB, but the remains of old
//! batches could not be told from a torn new one the way fill can.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::batch::GRANULE;
use crate::disk::{Disk, DiskFile, is_full};
use crate::error::{StoreError, io_error};

/// Content of unwritten room. Unlike zeros, no payload holds it by accident.
pub(crate) const FILL: [u8; GRANULE] = *b"\xa7oxkeeper.room\xd3\x9e";
/// Length of the segment header, bytes: one sector, so it is never torn.
pub(crate) const HEADER_LEN: u64 = 512;
/// Length of the steps in which room is filled, bytes.
pub(crate) const ROOM_STEP: u64 = 256 << 10;
const MAGIC: [u8; 8] = *b"oxkp.log";
const FORMAT_VERSION: u32 = 1;
const SUFFIX: &str = ".segment";
const UNFINISHED: &str = "unfinished";

/// An open segment.
#[derive(Clone, Debug)]
pub(crate) struct Segment {
    pub(crate) path: PathBuf,
    pub(crate) file: Arc<dyn DiskFile>,
    pub(crate) sequence: u64,
    /// Index of the next entry when the segment was begun.
    pub(crate) first_index: u64,
    /// Length of the file. All of the tail's length is filled and synced.
    pub(crate) len: u64,
}

/// Returns the path of the segment with this sequence.
pub(crate) fn path_of(dir: &Path, sequence: u64) -> PathBuf {
    dir.join(format!("{sequence:010}{SUFFIX}"))
}

/// Returns the sequences of the segments in a directory, ascending. Removes the remains of an
/// interrupted creation.
pub(crate) fn list(disk: &dyn Disk, dir: &Path) -> Result<Vec<u64>, StoreError> {
    let names = disk.list(dir).map_err(io_error(dir, "list"))?;
    if names.iter().any(|name| name == UNFINISHED) {
        let path = dir.join(UNFINISHED);
        disk.remove(&path).map_err(io_error(&path, "remove"))?;
    }
    let mut sequences: Vec<u64> = names.iter().filter_map(|name| name.strip_suffix(SUFFIX)?.parse().ok()).collect();
    sequences.sort_unstable();
    Ok(sequences)
}

impl Segment {
    /// Creates a segment with at least `room` bytes for batches. It is durable with its name when
    /// this returns.
    ///
    /// # Errors
    /// If the disk is full; nothing is left of the attempt.
    pub(crate) fn create(disk: &dyn Disk, dir: &Path, sequence: u64, first_index: u64, room: u64) -> io::Result<Self> {
        let unfinished = dir.join(UNFINISHED);
        let path = path_of(dir, sequence);
        let file: Arc<dyn DiskFile> = disk.create(&unfinished)?.into();
        let mut segment = Self { path, file, sequence, first_index, len: HEADER_LEN };
        let created =
            segment.file.write_at(0, &segment.header()).and_then(|()| segment.extend(HEADER_LEN + room.max(1)));
        if let Err(error) = created {
            disk.remove(&unfinished)?;
            return Err(error);
        }
        disk.rename(&unfinished, &segment.path)?;
        disk.sync_dir(dir)?;
        Ok(segment)
    }

    /// Opens a segment and checks its header.
    pub(crate) fn open(disk: &dyn Disk, dir: &Path, sequence: u64) -> Result<Self, StoreError> {
        let path = path_of(dir, sequence);
        let Some(file) = disk.open(&path).map_err(io_error(&path, "open"))? else {
            return Err(StoreError::MissingSegment { path });
        };
        let len = file.len().map_err(io_error(&path, "measure"))?;
        match len {
            0 => return Err(StoreError::Empty { path }),
            1..HEADER_LEN => return Err(StoreError::Truncated { path, offset: 0, len, needed: HEADER_LEN }),
            HEADER_LEN.. => {}
        }
        let mut header = [0; HEADER_LEN as usize];
        file.read_at(0, &mut header).map_err(io_error(&path, "read"))?;
        let first_index = check_header(&path, &header, sequence)?;
        Ok(Self { path, file: file.into(), sequence, first_index, len })
    }

    /// Makes room up to offset `end`: fills whole steps and syncs them. Changes nothing if there is
    /// enough.
    ///
    /// # Errors
    /// If the disk is full. Panics on any other failure, including a failed sync.
    pub(crate) fn extend(&mut self, end: u64) -> io::Result<()> {
        if end <= self.len {
            return Ok(());
        }
        let end = end.next_multiple_of(ROOM_STEP);
        self.fill(self.len, end)?;
        self.sync();
        self.len = end;
        Ok(())
    }

    /// Writes the fill from `start`, a multiple of [`GRANULE`], to `end`.
    pub(crate) fn fill(&self, start: u64, end: u64) -> io::Result<()> {
        let step = FILL.repeat((end - start).min(ROOM_STEP) as usize / GRANULE);
        let mut at = start;
        while at < end {
            let len = (end - at).min(step.len() as u64);
            self.write(at, &step[..len as usize])?;
            at += len;
        }
        Ok(())
    }

    /// Writes bytes. Returns an error only if the disk is full.
    pub(crate) fn write(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        match self.file.write_at(offset, bytes) {
            Err(error) if !is_full(&error) => panic!("{}: cannot write at {offset}: {error}", self.path.display()),
            written => written,
        }
    }

    /// Makes everything written durable. Panics if that fails.
    ///
    /// After a failed `fdatasync` the content of the disk is unknown, but the pages are marked
    /// clean in memory, so trying again would report success for data that is gone. The restart
    /// reads what is really there.
    pub(crate) fn sync(&self) {
        if let Err(error) = self.file.sync_data() {
            panic!("{}: cannot sync: {error}", self.path.display());
        }
    }

    /// Reads `len` bytes at `offset` into `buffer`.
    pub(crate) fn read<'a>(&self, offset: u64, len: usize, buffer: &'a mut Vec<u8>) -> Result<&'a [u8], StoreError> {
        buffer.clear();
        buffer.resize(len, 0);
        self.file.read_at(offset, buffer).map_err(io_error(&self.path, "read"))?;
        Ok(buffer)
    }

    /// Returns an error for damage at `offset` of this file.
    pub(crate) fn damaged(&self, offset: u64, what: &'static str) -> StoreError {
        StoreError::Damaged { path: self.path.clone(), offset, what }
    }

    /// Returns the error for a batch at `offset` that needs the file to have `needed` bytes.
    pub(crate) fn truncated(&self, offset: u64, needed: u64) -> StoreError {
        StoreError::Truncated { path: self.path.clone(), offset, len: self.len, needed }
    }

    fn header(&self) -> [u8; HEADER_LEN as usize] {
        let mut header = [0; HEADER_LEN as usize];
        header[..8].copy_from_slice(&MAGIC);
        header[8..12].copy_from_slice(&FORMAT_VERSION.to_le_bytes());
        header[16..24].copy_from_slice(&self.sequence.to_le_bytes());
        header[24..32].copy_from_slice(&self.first_index.to_le_bytes());
        let crc = crc32fast::hash(&header);
        header[12..16].copy_from_slice(&crc.to_le_bytes());
        header
    }
}

/// Checks a header read from `path` and returns the first index.
fn check_header(path: &Path, header: &[u8; HEADER_LEN as usize], sequence: u64) -> Result<u64, StoreError> {
    let word = |at: usize| u32::from_le_bytes(header[at..at + 4].try_into().expect("four bytes"));
    let long = |at: usize| u64::from_le_bytes(header[at..at + 8].try_into().expect("eight bytes"));
    let damaged = |what| StoreError::Damaged { path: path.to_path_buf(), offset: 0, what };
    let mut zeroed = *header;
    zeroed[12..16].fill(0);
    let sound = crc32fast::hash(&zeroed) == word(12);
    match (sound, header[..8] == MAGIC) {
        // Check the checksum first: a bit flip in the version must not read as another version.
        (false, true) => return Err(damaged("the header's checksum fails")),
        (_, false) => return Err(StoreError::Foreign { path: path.to_path_buf() }),
        (true, true) => {}
    }
    if word(8) != FORMAT_VERSION {
        let (found, supported) = (word(8), FORMAT_VERSION);
        return Err(StoreError::UnknownVersion { path: path.to_path_buf(), found, supported });
    }
    match long(16) == sequence {
        true => Ok(long(24)),
        false => Err(damaged("the file is another segment than its name says")),
    }
}
