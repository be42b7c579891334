//! The three storage forms of a snapshot, recognized by the extension of its name or by its first bytes.
//! Source: `SnapStream`.
//!
//! Snappy here is not the framing of the Snappy project but that of the library `snappy-java`: a header of 16
//! bytes, then blocks of raw Snappy, each preceded by its length (u32). Source: `SnappyInputStream`,
//! `SnappyOutputStream`.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::Path;

use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;
use snap::raw::{Decoder, Encoder, decompress_len};

use crate::error::{FileError, io_error};

/// Bytes read from or written to a file at once.
const BUFFER_LEN: usize = 256 << 10;
const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];
const SNAPPY_MAGIC: [u8; 8] = *b"\x82SNAPPY\0";
/// Version 1, readable by readers of version 1.
const SNAPPY_VERSIONS: [u8; 8] = [0, 0, 0, 1, 0, 0, 0, 1];
/// Bytes of content in a block: the library's default.
const SNAPPY_BLOCK_LEN: usize = 32 << 10;
/// Maximal length of a block, compressed or not, bytes; a greater length is damage.
const SNAPPY_BLOCK_LEN_MAX: usize = 64 << 20;

/// Storage form of a snapshot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Compression {
    /// No compression.
    #[default]
    None,
    /// gzip.
    Gzip,
    /// snappy-java's blocks.
    Snappy,
}

impl Compression {
    /// Returns the form that the extension of the name stands for.
    pub fn of(path: &Path) -> Compression {
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("gz") => Compression::Gzip,
            Some("snappy") => Compression::Snappy,
            Some(_) | None => Compression::None,
        }
    }

    /// Returns the extension for names of this form, dot included.
    pub fn suffix(self) -> &'static str {
        match self {
            Compression::None => "",
            Compression::Gzip => ".gz",
            Compression::Snappy => ".snappy",
        }
    }

    /// Compresses everything that `write` writes into `out`. Afterwards the stream is complete and flushed.
    ///
    /// # Errors
    /// Those of `write` and `out`.
    pub fn wrap<W: Write, T>(self, out: W, write: impl FnOnce(&mut dyn Write) -> io::Result<T>) -> io::Result<(T, W)> {
        let out = BufWriter::with_capacity(BUFFER_LEN, out);
        let (done, out) = match self {
            Compression::None => {
                let mut out = out;
                (write(&mut out)?, out)
            }
            Compression::Gzip => {
                let mut encoder = GzEncoder::new(out, flate2::Compression::default());
                (write(&mut encoder)?, encoder.finish()?)
            }
            Compression::Snappy => {
                let mut encoder = SnappyWriter::begin(out)?;
                (write(&mut encoder)?, encoder.finish()?)
            }
        };
        Ok((done, out.into_inner().map_err(io::IntoInnerError::into_error)?))
    }
}

/// Opens a file to read its decompressed content. Each read of the file reports its length to `progress`.
///
/// # Errors
/// The system cannot open the file.
pub fn open(path: &Path, progress: impl FnMut(u64) + 'static) -> Result<Box<dyn Read>, FileError> {
    let file = File::open(path).map_err(io_error(path, "open"))?;
    let file = BufReader::with_capacity(BUFFER_LEN, Watched { file, progress });
    Ok(match Compression::of(path) {
        Compression::None => Box::new(file),
        Compression::Gzip => Box::new(BufReader::with_capacity(BUFFER_LEN, MultiGzDecoder::new(file))),
        Compression::Snappy => Box::new(SnappyReader::new(file)),
    })
}

/// Reads the decompressed content of a stream. A stream has no name, so its first bytes tell the form.
///
/// # Errors
/// Those of `stream`.
pub(crate) fn open_stream<'s>(mut stream: impl Read + 's) -> io::Result<Box<dyn Read + 's>> {
    let mut first = Vec::with_capacity(SNAPPY_MAGIC.len());
    (&mut stream).take(SNAPPY_MAGIC.len() as u64).read_to_end(&mut first)?;
    let is_gzip = first.starts_with(&GZIP_MAGIC);
    let is_snappy = first == SNAPPY_MAGIC;
    let whole = BufReader::with_capacity(BUFFER_LEN, io::Cursor::new(first).chain(stream));
    Ok(match (is_gzip, is_snappy) {
        (true, _) => Box::new(BufReader::with_capacity(BUFFER_LEN, MultiGzDecoder::new(whole))),
        (false, true) => Box::new(SnappyReader::new(whole)),
        (false, false) => Box::new(whole),
    })
}

/// A file that reports the length of each read.
struct Watched<P> {
    file: File,
    progress: P,
}

impl<P: FnMut(u64)> Read for Watched<P> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read(buffer)?;
        (self.progress)(count as u64);
        Ok(count)
    }
}

pub(crate) struct SnappyReader<R> {
    inner: R,
    begun: bool,
    block: Vec<u8>,
    taken: usize,
}

impl<R: Read> SnappyReader<R> {
    pub(crate) fn new(inner: R) -> SnappyReader<R> {
        SnappyReader { inner, begun: false, block: Vec::new(), taken: 0 }
    }

    /// Returns the next four bytes; `None` at the end.
    fn word(&mut self) -> io::Result<Option<[u8; 4]>> {
        let mut word = Vec::with_capacity(4);
        (&mut self.inner).take(4).read_to_end(&mut word)?;
        match word.as_slice().try_into() {
            Ok(word) => Ok(Some(word)),
            Err(_) if word.is_empty() => Ok(None),
            Err(_) => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }

    fn header(&mut self, first: [u8; 4]) -> io::Result<()> {
        let mut rest = [0; 12];
        self.inner.read_exact(&mut rest)?;
        if first == SNAPPY_MAGIC[..4] && rest[..4] == SNAPPY_MAGIC[4..] { Ok(()) } else { Err(bad("no snappy header")) }
    }

    /// Reads the next block. Returns false at the end.
    fn next_block(&mut self) -> io::Result<bool> {
        let Some(mut word) = self.word()? else {
            return if self.begun { Ok(false) } else { Err(io::ErrorKind::UnexpectedEof.into()) };
        };
        // Streams may be concatenated, each with its header.
        while !self.begun || word == SNAPPY_MAGIC[..4] {
            self.header(word)?;
            self.begun = true;
            let Some(next) = self.word()? else { return Ok(false) };
            word = next;
        }
        let len = u32::from_be_bytes(word) as usize;
        if len > SNAPPY_BLOCK_LEN_MAX {
            return Err(bad("an impossible length of a snappy block"));
        }
        let mut packed = Vec::new();
        (&mut self.inner).take(len as u64).read_to_end(&mut packed)?;
        if packed.len() < len {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let damaged = |error: snap::Error| io::Error::new(io::ErrorKind::InvalidData, error);
        if decompress_len(&packed).map_err(damaged)? > SNAPPY_BLOCK_LEN_MAX {
            return Err(bad("an impossible length in a snappy block"));
        }
        self.block = Decoder::new().decompress_vec(&packed).map_err(damaged)?;
        self.taken = 0;
        Ok(true)
    }
}

fn bad(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

impl<R: Read> Read for SnappyReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.taken == self.block.len() {
            if !self.next_block()? {
                return Ok(0);
            }
        }
        let rest = &self.block[self.taken..];
        let count = rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        self.taken += count;
        Ok(count)
    }
}

struct SnappyWriter<W> {
    inner: W,
    block: Vec<u8>,
}

impl<W: Write> SnappyWriter<W> {
    fn begin(mut inner: W) -> io::Result<SnappyWriter<W>> {
        inner.write_all(&SNAPPY_MAGIC)?;
        inner.write_all(&SNAPPY_VERSIONS)?;
        Ok(SnappyWriter { inner, block: Vec::with_capacity(SNAPPY_BLOCK_LEN) })
    }

    fn put_block(&mut self) -> io::Result<()> {
        if self.block.is_empty() {
            return Ok(());
        }
        let packed = Encoder::new().compress_vec(&self.block).map_err(|_| bad("a block too long for snappy"))?;
        self.inner.write_all(&(packed.len() as u32).to_be_bytes())?;
        self.inner.write_all(&packed)?;
        self.block.clear();
        Ok(())
    }

    fn finish(mut self) -> io::Result<W> {
        self.put_block()?;
        Ok(self.inner)
    }
}

impl<W: Write> Write for SnappyWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = bytes.len().min(SNAPPY_BLOCK_LEN - self.block.len());
        self.block.extend_from_slice(&bytes[..count]);
        if self.block.len() == SNAPPY_BLOCK_LEN {
            self.put_block()?;
        }
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn snappy_blocks_are_those_of_the_java_library() {
        // Output of `new SnappyOutputStream(out).write("aaaaaaaaaaaaaaaaaaaa")` in snappy-java 1.1.10.
        let golden = b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01\0\0\0\x06\x14\x00a\x4a\x01\x00";
        let mut content = Vec::new();
        SnappyReader::new(&golden[..]).read_to_end(&mut content).expect("sound");
        assert_eq!(content, [b'a'; 20]);
        let twice = [&golden[..], golden].concat();
        let mut content = Vec::new();
        SnappyReader::new(&twice[..]).read_to_end(&mut content).expect("sound");
        assert_eq!(content, [b'a'; 40]);
        for len in (1..golden.len()).filter(|&len| len != 16) {
            let read = SnappyReader::new(&golden[..len]).read_to_end(&mut Vec::new());
            assert_eq!(read.map_err(|error| error.kind()), Err(io::ErrorKind::UnexpectedEof), "{len} bytes");
        }
    }

    #[test]
    fn what_was_written_is_read() {
        let content: Vec<u8> = (0..200_000u32).flat_map(|number| (number / 7).to_be_bytes()).collect();
        for compression in [Compression::None, Compression::Gzip, Compression::Snappy] {
            let dir = tempfile::tempdir().expect("room");
            let path = dir.path().join(format!("file{}", compression.suffix()));
            let file = File::create(&path).expect("room");
            compression.wrap(file, |out| out.write_all(&content)).expect("room");
            let mut read = Vec::new();
            open(&path, |_| {}).expect("it was written").read_to_end(&mut read).expect("sound");
            assert!(read == content, "{compression:?}");
            let mut read = Vec::new();
            let file = File::open(&path).expect("it was written");
            open_stream(file).expect("it was written").read_to_end(&mut read).expect("sound");
            assert!(read == content, "{compression:?}, as a stream");
        }
    }
}
