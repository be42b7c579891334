//! Writes a snapshot, item by item: sessions, ACLs, znodes (parents before children), the end.
//!
//! Invariant: [`crate::snapshot::Reader`] and Apache ZooKeeper can read the output. Source:
//! `FileSnap.serialize`, `DataTree.serialize`.

use std::io::{self, Write};

use oxkeeper_proto::Jute;
use oxkeeper_proto::records::Acl;
use oxkeeper_state::import::StoredStat;
use simd_adler32::Adler32;

use crate::snapshot::{Digest, END, MAGIC, OPEN_ACL, STAT_LEN, VERSION};

/// ZooKeeper: the database id in every snapshot.
const DBID: i64 = -1;
/// Bytes collected before they are checksummed and written.
const PORTION_LEN: usize = 64 << 10;

/// A writer of one snapshot.
pub struct Writer<W> {
    out: W,
    adler: Adler32,
    buffer: Vec<u8>,
}

impl<W: Write> Writer<W> {
    /// Writes the header and the sessions: id and timeout in ms. `acls` are the ACLs that znodes will refer
    /// to, each with its id.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn new<'a>(
        out: W,
        sessions: impl ExactSizeIterator<Item = (i64, i32)>,
        acls: impl ExactSizeIterator<Item = (u32, &'a [Acl<'static>])>,
    ) -> io::Result<Writer<W>> {
        let mut writer = Writer { out, adler: Adler32::new(), buffer: Vec::with_capacity(2 * PORTION_LEN) };
        (MAGIC as i32).encode(&mut writer.buffer);
        VERSION.encode(&mut writer.buffer);
        DBID.encode(&mut writer.buffer);
        writer.count(sessions.len())?;
        for (id, timeout_ms) in sessions {
            id.encode(&mut writer.buffer);
            timeout_ms.encode(&mut writer.buffer);
            writer.spill()?;
        }
        writer.count(acls.len())?;
        for (id, list) in acls {
            assert_ne!(id, 0, "the open list has no number");
            i64::from(id).encode(&mut writer.buffer);
            writer.count(list.len())?;
            list.iter().for_each(|entry| entry.encode(&mut writer.buffer));
            writer.spill()?;
        }
        Ok(writer)
    }

    fn count(&mut self, count: usize) -> io::Result<()> {
        let count = i32::try_from(count).map_err(|_| io::Error::other("more than ZooKeeper's format counts"))?;
        count.encode(&mut self.buffer);
        Ok(())
    }

    /// Writes a znode; the path of the root is empty, ACL 0 is the open one.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn znode(&mut self, path: &str, data: Option<&[u8]>, acl: u32, stat: &StoredStat) -> io::Result<()> {
        assert!(path.is_empty() || path.len() > 1 && path.starts_with('/'), "{path:?} is the path of a znode");
        Some(path.as_bytes()).encode(&mut self.buffer);
        data.encode(&mut self.buffer);
        let acl = if acl == 0 { OPEN_ACL } else { i64::from(acl) };
        acl.encode(&mut self.buffer);
        let before = self.buffer.len();
        let s = stat;
        [s.czxid, s.mzxid, s.ctime, s.mtime].iter().for_each(|long| long.encode(&mut self.buffer));
        [s.version, s.cversion, s.aversion].iter().for_each(|int| int.encode(&mut self.buffer));
        [s.owner.0, s.pzxid].iter().for_each(|long| long.encode(&mut self.buffer));
        debug_assert_eq!(self.buffer.len() - before, STAT_LEN, "as it is read");
        self.spill()
    }

    /// Writes the end. Returns `out`.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn finish(mut self, digest: Digest) -> io::Result<W> {
        Some(END.as_bytes()).encode(&mut self.buffer);
        self.seal()?;
        digest.zxid.encode(&mut self.buffer);
        digest.version.encode(&mut self.buffer);
        digest.digest.encode(&mut self.buffer);
        self.seal()?;
        // ZooKeeper: `restore` takes its zxid from here; older releases do not read this far.
        digest.zxid.encode(&mut self.buffer);
        self.seal()?;
        self.put()?;
        self.out.flush()?;
        Ok(self.out)
    }

    /// Writes a checksum of everything before it.
    fn seal(&mut self) -> io::Result<()> {
        self.put()?;
        i64::from(self.adler.finish()).encode(&mut self.buffer);
        Some(END.as_bytes()).encode(&mut self.buffer);
        Ok(())
    }

    fn spill(&mut self) -> io::Result<()> {
        if self.buffer.len() < PORTION_LEN { Ok(()) } else { self.put() }
    }

    fn put(&mut self) -> io::Result<()> {
        self.adler.write(&self.buffer);
        self.out.write_all(&self.buffer)?;
        self.buffer.clear();
        Ok(())
    }
}
