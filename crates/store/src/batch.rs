//! The bytes of one group of records, which one `sync` writes.
//!
//! ```text
//! batch   header, 16 bytes, at an offset that is a multiple of 16
//!           0  u32  body length
//!           4  u32  CRC-32 of the body
//!           8  u32  mark: DATA or SEAL (the segment ends here)
//!          12  u32  CRC-32 of segment sequence, offset and the 12 bytes above
//!         body, records one after another, zeros up to a multiple of 16, of which at least one
//!         closes the last 16 bytes with a byte that differs from the fill
//! record    0  u8   kind, 1 u8 scalar key, 2 u16 zero, 4 u32 payload length, 8 u64 index, 16 payload
//! ```
//!
//! All integers are little-endian. Space not yet written holds [`FILL`]. Together these tell a torn
//! write from damage, as far as that is possible:
//!
//! 1. A disk sector holds either its old content or its new content. Old content here is always the
//!    fill, because the space was filled and synced before it was used.
//! 2. A header is therefore either valid or fill; anything else is damage. A body whose checksum
//!    fails was torn only if 16 aligned bytes of it are still the fill.
//! 3. A batch is started only after the one before it is synced. A valid header anywhere after a
//!    bad batch therefore proves that the bad batch had been acknowledged. Header checksums cover
//!    the position, so a header copied elsewhere is not valid.
//!
//! A bit flip in the last acknowledged batch is thus detected, although nothing follows that batch.
//! One case cannot be told from "never written": a disk that confirmed a sync and then lost *all*
//! of a sector it held, in the last batch only. Sectors are at least 512 bytes; a tear finer than
//! 16 bytes is reported as damage, which is the safe side.

use crate::segment::FILL;

/// Length of a batch header and alignment of batches, bytes.
pub(crate) const GRANULE: usize = 16;
/// Length of a record without its payload, bytes.
pub(crate) const RECORD_HEADER_LEN: usize = 16;
const MARK_DATA: u32 = u32::from_le_bytes(*b"oxkD");
const MARK_SEAL: u32 = u32::from_le_bytes(*b"oxkS");

/// One record, borrowed from a batch's body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Record<'a> {
    /// An entry of the log.
    Entry { index: u64, payload: &'a [u8] },
    /// Entries at `index` and above are void; the next entry gets this index.
    Truncate { index: u64 },
    /// All entries are void; the next entry gets this index.
    Reset { index: u64 },
    /// A named value, which replaces the former value of the key.
    Scalar { key: u8, payload: &'a [u8] },
}

/// A header that passed its checksum.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) body_len: usize,
    body_crc: u32,
    pub(crate) seal: bool,
}

/// Content of the 16 bytes at a batch boundary.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Boundary {
    Batch(Header),
    Unwritten,
    Damaged,
}

impl Header {
    /// Returns the length of the whole batch, bytes, a multiple of [`GRANULE`].
    pub(crate) fn batch_len(&self) -> usize {
        batch_len(self.body_len)
    }

    /// Returns whether `body` (including padding) matches the checksum.
    pub(crate) fn accepts(&self, body: &[u8]) -> bool {
        crc32fast::hash(body) == self.body_crc
    }
}

/// Returns the length of a batch with `body_len` bytes of records. A batch without records consists
/// of its header alone.
pub(crate) fn batch_len(body_len: usize) -> usize {
    GRANULE + padded_len(body_len)
}

/// Returns the padded length of a body. There is room for at least one closing byte, so that the
/// last 16 bytes of a batch never equal the fill, whatever a payload holds.
fn padded_len(body_len: usize) -> usize {
    match body_len {
        0 => 0,
        len => (len + 1).next_multiple_of(GRANULE),
    }
}

/// Appends one record to a body.
pub(crate) fn push(body: &mut Vec<u8>, record: Record<'_>) {
    let (kind, key, index, payload) = match record {
        Record::Entry { index, payload } => (1, 0, index, payload),
        Record::Truncate { index } => (2, 0, index, &[][..]),
        Record::Reset { index } => (3, 0, index, &[][..]),
        Record::Scalar { key, payload } => (4, key, 0, payload),
    };
    let len = u32::try_from(payload.len()).expect("limited by RECORD_LEN_MAX");
    body.extend_from_slice(&[kind, key, 0, 0]);
    body.extend_from_slice(&len.to_le_bytes());
    body.extend_from_slice(&index.to_le_bytes());
    body.extend_from_slice(payload);
}

/// Completes a batch in place: `batch` is [`GRANULE`] bytes of room followed by the records.
pub(crate) fn finish(batch: &mut Vec<u8>, sequence: u64, offset: u64, seal: bool) {
    let body_len = batch.len() - GRANULE;
    batch.resize(batch_len(body_len), 0);
    let mut header = [0; GRANULE];
    let len = u32::try_from(body_len).expect("limited by STAGED_LEN_MAX");
    header[..4].copy_from_slice(&len.to_le_bytes());
    header[4..8].copy_from_slice(&crc32fast::hash(&batch[GRANULE..]).to_le_bytes());
    header[8..12].copy_from_slice(&if seal { MARK_SEAL } else { MARK_DATA }.to_le_bytes());
    let crc = header_crc(&header, sequence, offset);
    header[12..].copy_from_slice(&crc.to_le_bytes());
    batch[..GRANULE].copy_from_slice(&header);
}

/// Decodes the 16 bytes at a batch boundary.
pub(crate) fn boundary(bytes: &[u8; GRANULE], sequence: u64, offset: u64) -> Boundary {
    if *bytes == FILL {
        return Boundary::Unwritten;
    }
    if word(bytes, 12) != header_crc(bytes, sequence, offset) {
        return Boundary::Damaged;
    }
    let seal = match word(bytes, 8) {
        MARK_DATA => false,
        MARK_SEAL => true,
        _ => return Boundary::Damaged,
    };
    Boundary::Batch(Header { body_len: word(bytes, 0) as usize, body_crc: word(bytes, 4), seal })
}

/// Returns whether a body that fails its checksum looks torn, that is, whether some of it was never
/// written.
pub(crate) fn has_unwritten(body: &[u8]) -> bool {
    body.chunks_exact(GRANULE).any(|granule| granule == FILL)
}

/// Returns the records of a body whose checksum is right, each with its offset in the body. `None`
/// stands for a record that cannot be read: since the checksum is right, the writer is broken, not
/// the disk.
pub(crate) fn records(body: &[u8], body_len: usize) -> impl Iterator<Item = (usize, Option<Record<'_>>)> {
    let mut rest = body.get(..body_len).unwrap_or_default();
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let at = body_len - rest.len();
        let parsed = split_record(rest);
        rest = parsed.map_or(&[][..], |(_, rest)| rest);
        Some((at, parsed.map(|(record, _)| record)))
    })
}

fn split_record(bytes: &[u8]) -> Option<(Record<'_>, &[u8])> {
    let (header, rest) = bytes.split_first_chunk::<RECORD_HEADER_LEN>()?;
    let (payload, rest) = rest.split_at_checked(word(header, 4) as usize)?;
    let index = u64::from_le_bytes(header[8..].try_into().expect("eight bytes"));
    let record = match header[0] {
        1 => Record::Entry { index, payload },
        2 => Record::Truncate { index },
        3 => Record::Reset { index },
        4 => Record::Scalar { key: header[1], payload },
        _ => return None,
    };
    Some((record, rest))
}

fn header_crc(header: &[u8; GRANULE], sequence: u64, offset: u64) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(&sequence.to_le_bytes());
    crc.update(&offset.to_le_bytes());
    crc.update(&header[..12]);
    crc.finalize()
}

fn word(bytes: &[u8; GRANULE], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch_of(records: &[Record<'_>]) -> Vec<u8> {
        let mut batch = vec![0; GRANULE];
        records.iter().for_each(|record| push(&mut batch, *record));
        finish(&mut batch, 7, 512, false);
        batch
    }

    fn header_of(batch: &[u8]) -> Boundary {
        boundary(batch.first_chunk().expect("a header"), 7, 512)
    }

    #[test]
    fn records_come_back_as_they_went_in() {
        let written = [
            Record::Entry { index: 5, payload: b"five" },
            Record::Scalar { key: 3, payload: b"" },
            Record::Truncate { index: 5 },
            Record::Reset { index: 90 },
            Record::Entry { index: 90, payload: &[0; 40] },
        ];
        let batch = batch_of(&written);
        let Boundary::Batch(header) = header_of(&batch) else { panic!("a header") };
        assert_eq!(header.batch_len(), batch.len());
        assert!(header.accepts(&batch[GRANULE..]));
        let read: Vec<_> = records(&batch[GRANULE..], header.body_len).map(|(_, record)| record).collect();
        assert_eq!(read, written.map(Some));
    }

    #[test]
    fn a_header_is_valid_only_in_its_place() {
        let batch = batch_of(&[Record::Truncate { index: 1 }]);
        let header = batch.first_chunk().expect("a header");
        assert_eq!(boundary(header, 8, 512), Boundary::Damaged);
        assert_eq!(boundary(header, 7, 528), Boundary::Damaged);
        assert_eq!(boundary(&FILL, 7, 512), Boundary::Unwritten);
    }

    #[test]
    fn every_flip_of_a_batch_is_seen() {
        let mut batch = batch_of(&[Record::Entry { index: 1, payload: &[0; 700] }]);
        for bit in 0..batch.len() * 8 {
            batch[bit / 8] ^= 1 << (bit % 8);
            let sound = match header_of(&batch) {
                Boundary::Batch(header) => header.accepts(&batch[GRANULE..]) || has_unwritten(&batch[GRANULE..]),
                Boundary::Unwritten => true,
                Boundary::Damaged => false,
            };
            assert!(!sound, "bit {bit}");
            batch[bit / 8] ^= 1 << (bit % 8);
        }
    }

    #[test]
    fn the_last_granule_never_equals_the_fill() {
        for len in 0..64 {
            let payload: Vec<u8> = FILL.iter().copied().cycle().take(len).collect();
            let batch = batch_of(&[Record::Entry { index: 1, payload: &payload }]);
            assert_ne!(batch[batch.len() - GRANULE..], FILL, "payload of {len} bytes");
        }
    }
}
