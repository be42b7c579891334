//! A backup of a running server: the durable tree of one checkpoint, in ZooKeeper's snapshot
//! format.
//!
//! There are two passes. The first reads every record once, verifies the checksums and learns the
//! shape of the tree, and from it the length of the file. It uses sixteen bytes of memory per
//! znode. The second walks the tree, parents first. Invariant: the output is one checkpoint,
//! regardless of concurrent writes; damage ends it with an error.

use std::io::{self, Write};

use oxkeeper_durable::checkpoint::SCALARS;
use oxkeeper_proto::records::Acl;
use oxkeeper_proto::{DecodeError, Jute, Zxid};
use oxkeeper_state::checkpoint::position;
use oxkeeper_state::record::decode_znode;
use oxkeeper_state::znode::Slot;
use oxkeeper_store::{Kind, Snapshot, StoreError};
use oxkeeper_zkfiles::export::stored;
use oxkeeper_zkfiles::snapshot::Digest;
use oxkeeper_zkfiles::write::Writer;
use thiserror::Error;

use crate::storage::checkpoint::Image;

/// Version of the tree digest.
const DIGEST_VERSION: i32 = 2;
/// Bytes of the fixed parts: header, counts, end mark, digest, last zxid, three seals.
const FRAME_LEN: u64 = 16 + 4 + 4 + 5 + 20 + 8 + 3 * 13;
/// Bytes per session.
const SESSION_LEN: u64 = 12;
/// Bytes per znode, without path and data.
const ZNODE_LEN: u64 = 4 + 4 + 8 + 60;
/// Absence of a slot.
const NIL: u32 = Slot::NIL.0;

/// Reason why there is no backup.
#[derive(Debug, Error)]
pub(crate) enum BackupError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("a record of the durable tree cannot be decoded: {0}")]
    Record(#[from] DecodeError),
    #[error("the durable tree is inconsistent")]
    Shape,
    #[error("the server is stopping or replacing its state")]
    Ending,
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// A backup ready to be written.
#[derive(Debug)]
pub(crate) struct Backup {
    image: Image,
    /// The last transaction included.
    pub(crate) zxid: Zxid,
    /// Length of the output, bytes.
    pub(crate) len: u64,
    digest: u64,
    sessions: Vec<(i64, i32)>,
    acls: Vec<(u32, Vec<Acl<'static>>)>,
    shape: Shape,
}

/// Parent and child links between slots.
#[derive(Debug, Default)]
struct Shape {
    parents: Vec<u32>,
    name_lens: Vec<u32>,
    first_children: Vec<u32>,
    siblings: Vec<u32>,
}

impl Shape {
    fn put(&mut self, slot: u32, parent: u32, name_len: u32) {
        let len = slot as usize + 1;
        if self.parents.len() < len {
            self.parents.resize(len, NIL);
            self.name_lens.resize(len, 0);
        }
        (self.parents[slot as usize], self.name_lens[slot as usize]) = (parent, name_len);
    }

    /// Links the children. Returns the number of znodes under the root, including the root, and the
    /// total bytes of their paths.
    fn link(&mut self) -> Option<(u64, u64)> {
        self.first_children = vec![NIL; self.parents.len()];
        self.siblings = vec![NIL; self.parents.len()];
        for slot in (0..self.parents.len()).rev() {
            let parent = self.parents[slot];
            if parent != NIL {
                let first = self.first_children.get_mut(parent as usize)?;
                self.siblings[slot] = std::mem::replace(first, slot as u32);
            }
        }
        let (mut count, mut bytes) = (0, 0);
        let mut lens: Vec<u64> = Vec::new();
        let mut at = Some((Slot::ROOT.0, 0));
        while let Some((slot, depth)) = at {
            lens.truncate(depth);
            let above = lens.last().copied().unwrap_or(0);
            let len = if depth == 0 { 0 } else { above + 1 + u64::from(self.name_lens[slot as usize]) };
            lens.push(len);
            count += 1;
            bytes += len;
            at = self.next(slot, depth);
        }
        Some((count, bytes))
    }

    /// Returns the next slot and its depth in a pre-order walk.
    fn next(&self, slot: u32, depth: usize) -> Option<(u32, usize)> {
        let first = self.first_children[slot as usize];
        if first != NIL {
            return Some((first, depth + 1));
        }
        let (mut at, mut depth) = (slot, depth);
        while depth > 0 {
            let sibling = self.siblings[at as usize];
            if sibling != NIL {
                return Some((sibling, depth));
            }
            (at, depth) = (self.parents[at as usize], depth - 1);
        }
        None
    }
}

impl Backup {
    /// Makes the first pass.
    pub(crate) fn prepare(image: Image) -> Result<Backup, BackupError> {
        let snapshot = image.snapshot.as_ref().ok_or(BackupError::Ending)?;
        let (zxid, digest) = position(&snapshot.meta(SCALARS)?.unwrap_or_default())?;
        let (mut sessions, mut acls, mut bad) = (Vec::new(), Vec::new(), None);
        snapshot.load(Kind::Session, |key, record| match record.first_chunk::<4>() {
            Some(timeout_ms) => sessions.push((key as i64, i32::from_be_bytes(*timeout_ms))),
            None => bad = Some(DecodeError::Truncated),
        })?;
        let mut len = FRAME_LEN + SESSION_LEN * sessions.len() as u64;
        snapshot.load(Kind::Acl, |key, record| match Option::<Vec<Acl<'_>>>::from_bytes(record) {
            Ok(list) => {
                let list = list.unwrap_or_default().into_iter().map(Acl::into_owned).collect();
                len += 8 + record.len() as u64;
                acls.push((key as u32, list));
            }
            Err(problem) => bad = Some(problem),
        })?;
        let mut shape = Shape::default();
        let mut count = 0;
        snapshot.load(Kind::Znode, |key, record| match decode_znode(record) {
            Ok(znode) => {
                shape.put(key as u32, znode.parent().0, znode.name().len() as u32);
                len += ZNODE_LEN + znode.data_len() as u64;
                count += 1;
            }
            Err(problem) => bad = Some(problem),
        })?;
        if let Some(problem) = bad {
            return Err(problem.into());
        }
        let (linked, path_bytes) = shape.link().ok_or(BackupError::Shape)?;
        if linked != count {
            return Err(BackupError::Shape);
        }
        len += path_bytes;
        Ok(Backup { image, zxid, len, digest, sessions, acls, shape })
    }

    /// Returns a check whether the backup must end early, for the consumer of the output.
    pub(crate) fn ending(&self) -> impl Fn() -> bool + Send + 'static {
        self.image.ending()
    }

    /// Writes the backup.
    pub(crate) fn write(self, out: impl Write) -> Result<(), BackupError> {
        let snapshot = self.image.snapshot.as_ref().ok_or(BackupError::Ending)?;
        let acls = self.acls.iter().map(|(id, list)| (*id, list.as_slice()));
        let mut writer = Writer::new(out, self.sessions.iter().copied(), acls)?;
        let (mut path, mut lens) = (String::new(), Vec::new());
        let mut at = Some((Slot::ROOT.0, 0));
        while let Some((slot, depth)) = at {
            if self.image.is_to_end() {
                return Err(BackupError::Ending);
            }
            let znode = decode_znode(&record(snapshot, slot)?)?;
            lens.truncate(depth);
            path.truncate(lens.last().copied().unwrap_or(0));
            if depth > 0 {
                path.push('/');
                path.push_str(znode.name());
            }
            lens.push(path.len());
            writer.znode(&path, znode.data(), znode.versions.acl.0, &stored(&znode.versions))?;
            at = self.shape.next(slot, depth);
        }
        writer.finish(Digest { zxid: self.zxid.0, version: DIGEST_VERSION, digest: self.digest as i64 })?;
        Ok(())
    }
}

fn record(snapshot: &Snapshot, slot: u32) -> Result<Vec<u8>, BackupError> {
    snapshot.get(Kind::Znode, u64::from(slot))?.ok_or(BackupError::Shape)
}
