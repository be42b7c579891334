//! Reads Jute-encoded fields of a stream. Tracks the position and the Adler-32 of everything read so far.

use std::io::{self, Read};

use oxkeeper_proto::records::Acl;
use oxkeeper_proto::{DecodeError, Jute, Reader, java};
use simd_adler32::Adler32;

use crate::error::Problem;

/// Maximal bytes reserved for a field before they are read, so that a false length costs no more.
const RESERVE_MAX: usize = 1 << 20;
/// Maximal entries of one ACL. ZooKeeper's own frame limit allows far fewer.
const ACL_ENTRIES_MAX: i32 = 1 << 16;

/// A stream with its position and checksum.
pub(crate) struct Input<R> {
    inner: R,
    adler: Adler32,
    position: u64,
}

impl<R: Read> Input<R> {
    pub(crate) fn new(inner: R) -> Input<R> {
        Input { inner, adler: Adler32::new(), position: 0 }
    }

    /// Returns the number of bytes read.
    pub(crate) fn position(&self) -> u64 {
        self.position
    }

    /// Returns the checksum of everything read.
    pub(crate) fn checksum(&self) -> u32 {
        self.adler.finish()
    }

    /// Reads up to `len` bytes; fewer only at the end of the stream.
    pub(crate) fn up_to(&mut self, len: usize) -> Result<Vec<u8>, Problem> {
        let mut bytes = Vec::with_capacity(len.min(RESERVE_MAX));
        let read = (&mut self.inner).take(len as u64).read_to_end(&mut bytes);
        let offset = self.position;
        self.position += bytes.len() as u64;
        self.adler.write(&bytes);
        match read {
            Ok(_) => Ok(bytes),
            // A compressed stream was cut short.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(bytes),
            Err(source) => Err(Problem::Unreadable { offset, source }),
        }
    }

    pub(crate) fn bytes(&mut self, len: usize, what: &'static str) -> Result<Vec<u8>, Problem> {
        let bytes = self.up_to(len)?;
        if bytes.len() == len { Ok(bytes) } else { Err(Problem::Truncated { offset: self.position, what }) }
    }

    fn array<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], Problem> {
        let mut bytes = [0; N];
        self.fill(&mut bytes, what)?;
        Ok(bytes)
    }

    /// Fills `bytes`.
    pub(crate) fn fill(&mut self, bytes: &mut [u8], what: &'static str) -> Result<(), Problem> {
        let mut done = 0;
        while done < bytes.len() {
            let offset = self.position + done as u64;
            match self.inner.read(&mut bytes[done..]) {
                Ok(0) => return Err(Problem::Truncated { offset, what }),
                Ok(count) => done += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                    return Err(Problem::Truncated { offset, what });
                }
                Err(source) => return Err(Problem::Unreadable { offset, source }),
            }
        }
        self.position += done as u64;
        self.adler.write(bytes);
        Ok(())
    }

    pub(crate) fn int(&mut self, what: &'static str) -> Result<i32, Problem> {
        self.array(what).map(i32::from_be_bytes)
    }

    pub(crate) fn long(&mut self, what: &'static str) -> Result<i64, Problem> {
        self.array(what).map(i64::from_be_bytes)
    }

    /// Reads a count; -1 means none. *Errors*: the count is less than -1.
    pub(crate) fn count(&mut self, what: &'static str) -> Result<Option<usize>, Problem> {
        match self.int(what)? {
            -1 => Ok(None),
            count => match usize::try_from(count) {
                Ok(count) => Ok(Some(count)),
                Err(_) => Err(self.nonsense(format!("a negative length ({count}) of {what}"))),
            },
        }
    }

    pub(crate) fn buffer(&mut self, what: &'static str) -> Result<Option<Vec<u8>>, Problem> {
        let len = self.count(what)?;
        len.map(|len| self.bytes(len, what)).transpose()
    }

    /// Reads a ustring that is not null, with Java's decoding.
    pub(crate) fn text(&mut self, what: &'static str) -> Result<String, Problem> {
        let bytes = self.buffer(what)?.ok_or_else(|| self.nonsense(format!("{what} is null")))?;
        // ZooKeeper: its reader turns each character above U+FFFF that its own writer wrote into two U+FFFD.
        Ok(java::text(&bytes).into_owned())
    }

    pub(crate) fn acl(&mut self) -> Result<Vec<Acl<'static>>, Problem> {
        const WHAT: &str = "an ACL";
        let count = self.int(WHAT)?;
        if count > ACL_ENTRIES_MAX {
            return Err(self.nonsense(format!("an ACL of {count} entries")));
        }
        let mut list = Vec::new();
        for _ in 0..count.max(0) {
            let mut bytes = self.array::<4>(WHAT)?.to_vec();
            for _ in 0..2 {
                let text = self.buffer(WHAT)?;
                text.as_deref().encode(&mut bytes);
            }
            let entry: Result<Acl<'_>, DecodeError> = Acl::decode(&mut Reader::new(&bytes));
            let entry = entry.map_err(|source| self.nonsense(format!("an ACL: {source}")))?;
            list.push(entry.into_owned());
        }
        Ok(list)
    }

    pub(crate) fn nonsense(&self, what: String) -> Problem {
        Problem::Nonsense { offset: self.position, what }
    }
}
