//! Conversion of the state to durable records and back.
//!
//! A checkpoint begins at one zxid; its znodes are then captured a few at a time while commands go
//! on (see `dirty.rs`). Sessions, ACLs and the few scalars are small, so they are all captured when
//! the checkpoint begins.

use std::collections::BTreeSet;

use bytes::BufMut;
use oxkeeper_proto::{DecodeError, Jute, Reader, ServerId, SessionId, Zxid};

use crate::acl::{AclId, encode_list};
use crate::agreement::Agreement;
use crate::dirty::Captured;
use crate::level::Level;
use crate::next_version::Sum;
use crate::quota;
use crate::record::{decode_session, decode_znode, encode_session};
use crate::state::State;
use crate::tree::{CHUNK_LEN, Part};
use crate::znode::Slot;

/// The part of a checkpoint that is captured when it begins.
#[derive(Clone, Debug)]
pub struct Head {
    /// zxid, time, digest, size, and the highest session id of each server: 32 bytes, plus 8 for
    /// each server.
    pub scalars: Vec<u8>,
    /// The ensemble's id, the ballot, and the last command of each server; empty for a standalone
    /// server.
    pub ensemble: Vec<u8>,
    /// The feature level, 4 bytes. Every program that reads the rest must know this level.
    pub level: Vec<u8>,
    /// Changed sessions by id: timeout, owner and resumptions, or `None` if the session is gone.
    pub sessions: Vec<(i64, Option<Vec<u8>>)>,
    /// Changed ACLs by id: the list, or `None` if it is gone.
    pub acls: Vec<Captured>,
}

impl State {
    /// Begins a checkpoint of everything that changed since the last one that was committed.
    pub fn begin_checkpoint(&mut self) -> Head {
        self.tree.changes.begin_checkpoint();
        let mut scalars = Vec::new();
        scalars.put_i64(self.zxid.0);
        scalars.put_i64(self.time_ms);
        scalars.put_u64(self.tree.digest());
        scalars.put_u64(self.tree.size());
        self.sessions.newest.values().for_each(|newest| scalars.put_i64(newest.0));
        let mut level = self.level.0.to_be_bytes().to_vec();
        self.sum.encode(self.level, &mut level);
        let ballot = self.epoch_ballot();
        let session = |&id: &SessionId| (id.0, self.sessions.get(id).map(|session| encode_session(session, ballot)));
        let acl = |&id: &u32| (id, self.acls.find(AclId(id)).map(|list| encode_list(list)));
        let head = Head {
            scalars,
            ensemble: self.agreement.encode(),
            level,
            sessions: self.sessions.dirty.iter().map(session).collect(),
            acls: self.dirty_acls.iter().map(acl).collect(),
        };
        self.sessions.dirty.clear();
        self.dirty_acls.clear();
        head
    }

    /// Returns up to `count` znodes of the current checkpoint, as they were when it began; empty
    /// once all were returned.
    pub fn capture(&mut self, count: usize) -> Vec<Captured> {
        self.tree.capture(count)
    }

    /// Ends the checkpoint. If it was not `committed`, everything it covered counts as changed
    /// again.
    pub fn end_checkpoint(&mut self, head: &Head, committed: bool) {
        self.tree.changes.end_checkpoint(committed);
        if !committed {
            self.sessions.dirty.extend(head.sessions.iter().map(|&(id, _)| SessionId(id)));
            self.dirty_acls.extend(head.acls.iter().map(|&(id, _)| id));
        }
    }
}

/// Decodes the last transaction of a checkpoint, and the tree digest, from its scalars. *Errors*:
/// see [`DecodeError`].
pub fn position(scalars: &[u8]) -> Result<(Zxid, u64), DecodeError> {
    let reader = &mut Reader::new(scalars);
    let zxid = Zxid(i64::decode(reader)?);
    i64::decode(reader)?;
    Ok((zxid, i64::decode(reader)? as u64))
}

/// A state being loaded: takes records in any order, then [`Loading::finish`].
#[derive(Debug)]
pub struct Loading {
    state: State,
    digest: u64,
    size: u64,
}

/// Znodes being loaded.
#[derive(Debug)]
pub struct Znodes {
    part: Part,
}

impl Znodes {
    /// Number of slots in a run. All slots of a run belong into one part.
    pub const RUN: u64 = CHUNK_LEN as u64;

    /// Adds a znode's record. *Errors*: see [`DecodeError`].
    pub fn znode(&mut self, slot: u32, record: &[u8]) -> Result<(), DecodeError> {
        self.part.place(Slot(slot), decode_znode(record)?);
        Ok(())
    }
}

impl Loading {
    /// Starts from the scalars of a checkpoint and its record of the ensemble, which may be empty.
    /// *Errors*: see [`DecodeError`].
    pub fn new(seed: u64, scalars: &[u8], ensemble: &[u8]) -> Result<Loading, DecodeError> {
        let mut state = State::bare(seed);
        state.agreement = Agreement::decode(ensemble)?;
        let reader = &mut Reader::new(scalars);
        state.zxid = Zxid(i64::decode(reader)?);
        state.time_ms = i64::decode(reader)?;
        let digest = i64::decode(reader)? as u64;
        let size = i64::decode(reader)? as u64;
        while !reader.rest().is_empty() {
            let newest = SessionId(i64::decode(reader)?);
            state.sessions.newest.insert(ServerId((newest.0 >> 56) as u8), newest);
        }
        Ok(Loading { state, digest, size })
    }

    /// Sets the checkpoint's feature level, after the reader has checked that it knows the level.
    /// *Errors*: see [`DecodeError`].
    pub fn at_level(mut self, bytes: &[u8]) -> Result<Loading, DecodeError> {
        self.state.level = Level::decode(bytes)?;
        self.state.sum = Sum::decode(bytes.get(4..).unwrap_or_default());
        Ok(self)
    }

    /// Adds a session's record. *Errors*: see [`DecodeError`].
    pub fn session(&mut self, id: i64, record: &[u8]) -> Result<(), DecodeError> {
        let session = decode_session(record, self.state.epoch_ballot())?;
        self.state.sessions.load(SessionId(id), session);
        Ok(())
    }

    /// Adds an ACL's record. *Errors*: see [`DecodeError`].
    pub fn acl(&mut self, id: u32, record: &[u8]) -> Result<(), DecodeError> {
        let list: Option<Vec<oxkeeper_proto::records::Acl<'_>>> = Jute::from_bytes(record)?;
        let list = list.ok_or(DecodeError::NotAllowed("a null ACL"))?;
        self.state.acls.place_loaded(AclId(id), list.into_iter().map(|entry| entry.into_owned()).collect());
        Ok(())
    }

    /// Returns a part that one thread fills with znodes, in whole runs of [`Znodes::RUN`] slots. No
    /// two parts may share a run.
    pub fn part(&self) -> Znodes {
        Znodes { part: self.state.tree.part() }
    }

    /// Adds the znodes of a part.
    pub fn adopt(&mut self, znodes: Znodes) {
        self.state.tree.adopt(znodes.part);
    }

    /// Links everything and returns the state. *Errors*: no root; a znode whose parent or ACL is
    /// missing.
    pub fn finish(self) -> Result<State, DecodeError> {
        let Loading { mut state, digest, size } = self;
        state.tree.finish_loading(digest, size).map_err(|_| DecodeError::NotAllowed("a znode without its parent"))?;
        state.tree.get(Slot::ROOT).ok_or(DecodeError::NotAllowed("a tree without a root"))?;
        let mut special = Vec::new();
        for (slot, znode) in state.tree.iter() {
            let acl = znode.versions.acl;
            if acl != AclId::OPEN {
                state.acls.find(acl).ok_or(DecodeError::NotAllowed("a znode without its ACL"))?;
            }
            if acl != AclId::OPEN || znode.versions.owner.0 != 0 {
                special.push((slot, acl));
            }
        }
        for (slot, acl) in special {
            state.acls.retain(acl);
            state.enroll(slot);
        }
        state.acls.finish_loading();
        state.sessions.dirty.clear();
        for prefix in state.limited_subtrees() {
            state.quotas.set(&prefix, true);
        }
        Ok(state)
    }
}

impl State {
    /// Returns the subtrees that have limits in the tree.
    pub(crate) fn limited_subtrees(&self) -> BTreeSet<String> {
        let root = self.tree.lookup(quota::QUOTA_ROOT);
        let below = root.into_iter().flat_map(|root| self.tree.descendants(root));
        let limits = below.filter(|&slot| self.tree.znode(slot).name() == quota::LIMITS);
        let path = |slot: Slot| self.tree.path(self.tree.znode(slot).parent());
        let prefix = |path: String| path.strip_prefix(quota::QUOTA_ROOT).map(str::to_owned);
        limits.filter_map(|slot| prefix(path(slot))).filter(|prefix| !prefix.is_empty()).collect()
    }
}
