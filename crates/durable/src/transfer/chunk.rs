//! Splits the stream into chunks with checksums, and reads them.
//!
//! ```text
//! chunk   0  magic "oxst"   4  u32 format version   8  u64 number, counted from 0   16  u32 length of the content
//!         20 u32 CRC-32 of the content   24  u32 CRC-32 of the 24 bytes above   28  content
//! ```
//!
//! All integers are little-endian. The header has its own checksum, so that the receiver can tell
//! another version from damage without knowing that version's content.

use super::TransferError;

/// Size limit of a chunk, header included, bytes.
pub const CHUNK_LEN_MAX: usize = 256 << 10;
/// Size limit of a chunk's content, bytes.
pub(super) const CONTENT_LEN_MAX: usize = CHUNK_LEN_MAX - HEADER_LEN;
const HEADER_LEN: usize = 28;
const MAGIC: [u8; 4] = *b"oxst";
const FORMAT_VERSION: u32 = 2;

/// Appends a chunk to `out`.
pub(super) fn seal(number: u64, content: &[u8], out: &mut Vec<u8>) {
    assert!(content.len() <= CONTENT_LEN_MAX, "{} bytes are too many for a chunk", content.len());
    let start = out.len();
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&FORMAT_VERSION.to_le_bytes());
    out.extend_from_slice(&number.to_le_bytes());
    out.extend_from_slice(&(content.len() as u32).to_le_bytes());
    out.extend_from_slice(&crc32fast::hash(content).to_le_bytes());
    out.extend_from_slice(&crc32fast::hash(&out[start..]).to_le_bytes());
    out.extend_from_slice(content);
}

/// Decoder of chunks from a byte stream that arrives in arbitrary pieces.
#[derive(Debug, Default)]
pub(super) struct Chunks {
    /// Number of the next chunk.
    next: u64,
    /// Bytes of the next chunk that have arrived.
    bytes: Vec<u8>,
}

impl Chunks {
    /// Consumes the part of `bytes` that belongs to the next chunk. Appends the chunk's content to
    /// `content` and returns true if the chunk is complete; otherwise all of `bytes` is consumed
    /// and it returns false.
    pub(super) fn next(&mut self, bytes: &mut &[u8], content: &mut Vec<u8>) -> Result<bool, TransferError> {
        if !self.fill(HEADER_LEN, bytes) {
            return Ok(false);
        }
        let (content_len, crc) = self.header()?;
        if !self.fill(HEADER_LEN + content_len, bytes) {
            return Ok(false);
        }
        let received = &self.bytes[HEADER_LEN..];
        if crc32fast::hash(received) != crc {
            return Err(self.damaged("its checksum fails"));
        }
        content.extend_from_slice(received);
        self.bytes.clear();
        self.next += 1;
        Ok(true)
    }

    /// Returns an error in the content of the chunk that was last returned.
    pub(super) fn damaged_content(&self, what: &'static str) -> TransferError {
        TransferError::Damaged { chunk: self.next.saturating_sub(1), what }
    }

    fn damaged(&self, what: &'static str) -> TransferError {
        TransferError::Damaged { chunk: self.next, what }
    }

    /// Moves bytes to the chunk until it has `len` bytes, and returns whether it has them.
    fn fill(&mut self, len: usize, bytes: &mut &[u8]) -> bool {
        let missing = len.saturating_sub(self.bytes.len());
        let (taken, rest) = bytes.split_at(missing.min(bytes.len()));
        self.bytes.extend_from_slice(taken);
        *bytes = rest;
        self.bytes.len() >= len
    }

    /// Returns the length and the checksum of the content.
    fn header(&self) -> Result<(usize, u32), TransferError> {
        let word = |at: usize| u32::from_le_bytes(self.bytes[at..at + 4].try_into().expect("four bytes"));
        if self.bytes[..4] != MAGIC {
            return Err(self.damaged("it is not a chunk of a state"));
        }
        if crc32fast::hash(&self.bytes[..HEADER_LEN - 4]) != word(HEADER_LEN - 4) {
            return Err(self.damaged("its header's checksum fails"));
        }
        if word(4) != FORMAT_VERSION {
            return Err(TransferError::UnknownVersion { found: word(4), supported: FORMAT_VERSION });
        }
        let found = u64::from_le_bytes(self.bytes[8..16].try_into().expect("eight bytes"));
        if found != self.next {
            return Err(TransferError::OutOfOrder { expected: self.next, found });
        }
        match word(16) as usize {
            len if len <= CONTENT_LEN_MAX => Ok((len, word(20))),
            _ => Err(self.damaged("it is too long")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunk(number: u64, content: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        seal(number, content, &mut out);
        out
    }

    fn read(mut bytes: &[u8]) -> Result<Vec<u8>, TransferError> {
        let (mut chunks, mut content) = (Chunks::default(), Vec::new());
        while chunks.next(&mut bytes, &mut content)? {}
        Ok(content)
    }

    #[test]
    fn chunks_arrive_in_any_pieces() {
        let stream = [chunk(0, b"first"), chunk(1, b""), chunk(2, b"second")].concat();
        for step in 1..stream.len() {
            let (mut chunks, mut content) = (Chunks::default(), Vec::new());
            for mut piece in stream.chunks(step) {
                while chunks.next(&mut piece, &mut content).expect("sound") {}
            }
            assert_eq!(content, b"firstsecond");
        }
    }

    #[test]
    fn every_flipped_bit_is_found() {
        let sound = chunk(0, b"content");
        for bit in 0..sound.len() * 8 {
            let mut flipped = sound.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(matches!(read(&flipped), Err(TransferError::Damaged { chunk: 0, .. })), "bit {bit}");
        }
    }

    #[test]
    fn another_version_and_another_order_are_named() {
        let mut other = chunk(0, b"content of a later release");
        other[4..8].copy_from_slice(&7u32.to_le_bytes());
        let crc = crc32fast::hash(&other[..HEADER_LEN - 4]);
        other[HEADER_LEN - 4..HEADER_LEN].copy_from_slice(&crc.to_le_bytes());
        assert!(matches!(read(&other), Err(TransferError::UnknownVersion { found: 7, supported: FORMAT_VERSION })));
        let swapped = [chunk(1, b"b"), chunk(0, b"a")].concat();
        assert!(matches!(read(&swapped), Err(TransferError::OutOfOrder { expected: 0, found: 1 })));
    }
}
