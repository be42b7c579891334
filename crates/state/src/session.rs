//! Sessions as every server agrees on them: that they exist, their timeout, and what ends with them.
//!
//! Clocks are not here: when a session was last heard of is known to one server only. Source: `SessionTrackerImpl`,
//! `ZooKeeperServer.generatePasswd`.

use std::collections::{BTreeMap, BTreeSet};

use oxkeeper_proto::records::PASSWORD_LEN;
use oxkeeper_proto::{ServerId, SessionId};

use crate::digest;
use crate::znode::Slot;

/// A session.
#[derive(Clone, Debug, Default)]
pub struct Session {
    /// As negotiated when it was created, ms; in an ensemble, when it was last resumed.
    pub timeout_ms: i32,
    /// The server whose client it is; 0 also of a standalone server.
    pub owner: ServerId,
    /// How often it was resumed since the leader's epoch began.
    pub resumes: u32,
    /// The znodes that end with it.
    pub ephemerals: BTreeSet<Slot>,
}

/// All sessions, and which of them changed since the last checkpoint.
#[derive(Debug, Default)]
pub struct Sessions {
    by_id: BTreeMap<SessionId, Session>,
    /// The highest id each server ever gave, by the id's top byte: ids do not repeat, whatever clocks do.
    pub(crate) newest: BTreeMap<ServerId, SessionId>,
    pub(crate) dirty: BTreeSet<SessionId>,
    /// Sum of the digests of all of them.
    digest: u64,
}

impl Session {
    fn digest(&self, id: SessionId) -> u64 {
        digest::of_numbers([id.0 as u64, self.timeout_ms as u64, u64::from(self.owner.0)])
    }
}

impl Sessions {
    /// The session with this id.
    pub fn get(&self, id: SessionId) -> Option<&Session> {
        self.by_id.get(&id)
    }

    /// Every session, by id.
    pub fn iter(&self) -> impl Iterator<Item = (SessionId, &Session)> {
        self.by_id.iter().map(|(&id, session)| (id, session))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    /// The highest id that `server` ever gave, also if that session has ended.
    pub fn newest(&self, server: ServerId) -> Option<SessionId> {
        self.newest.get(&server).copied()
    }

    pub(crate) fn open(&mut self, id: SessionId, timeout_ms: i32, owner: ServerId) {
        let newest = self.newest.entry(ServerId((id.0 >> 56) as u8)).or_insert(id);
        *newest = id.max(*newest);
        let former = self.by_id.get(&id).map_or(0, |session| session.digest(id));
        let session = self.by_id.entry(id).or_default();
        (session.timeout_ms, session.owner) = (timeout_ms, owner);
        self.digest = self.digest.wrapping_sub(former).wrapping_add(session.digest(id));
        self.dirty.insert(id);
    }

    /// Equal for the same sessions, of which the same had the highest ids.
    pub(crate) fn digest(&self) -> u64 {
        let newest = self.newest.values().map(|newest| newest.0 as u64);
        digest::of_numbers(std::iter::once(self.digest).chain(newest))
    }

    /// Panics if the digest is not that of the sessions.
    pub(crate) fn check(&self) {
        let digests = self.by_id.iter().map(|(&id, session)| session.digest(id));
        assert_eq!(digests.fold(0, u64::wrapping_add), self.digest, "digest of the sessions");
    }

    /// The session goes on at `owner`. False: there is none.
    pub(crate) fn resume(&mut self, id: SessionId, timeout_ms: i32, owner: ServerId) -> bool {
        let Some(session) = self.by_id.get_mut(&id) else { return false };
        let former = session.digest(id);
        (session.timeout_ms, session.owner) = (timeout_ms, owner);
        self.digest = self.digest.wrapping_sub(former).wrapping_add(session.digest(id));
        session.resumes = session.resumes.saturating_add(1);
        self.dirty.insert(id);
        true
    }

    /// A leader begins: it knows of every resumption before that.
    pub(crate) fn forget_resumes(&mut self) {
        self.by_id.values_mut().for_each(|session| session.resumes = 0);
    }

    /// A session from a checkpoint.
    pub(crate) fn load(&mut self, id: SessionId, session: Session) {
        self.open(id, session.timeout_ms, session.owner);
        self.by_id.insert(id, session);
    }

    pub(crate) fn close(&mut self, id: SessionId) -> Option<Session> {
        self.dirty.insert(id);
        let session = self.by_id.remove(&id);
        self.digest = self.digest.wrapping_sub(session.as_ref().map_or(0, |session| session.digest(id)));
        session
    }

    /// A znode that ends with session `id` came to be. ZooKeeper: the session need not exist (an imported tree).
    pub(crate) fn own(&mut self, id: SessionId, slot: Slot) {
        if let Some(session) = self.by_id.get_mut(&id) {
            session.ephemerals.insert(slot);
        }
    }

    pub(crate) fn disown(&mut self, id: SessionId, slot: Slot) {
        if let Some(session) = self.by_id.get_mut(&id) {
            session.ephemerals.remove(&slot);
        }
    }
}

/// ZooKeeper's constant. Deriving passwords as it does lets clients of an imported ensemble resume their sessions.
const PASSWORD_SECRET: i64 = 0xb341_5c00;

/// The password of a session: four draws of `java.util.Random` seeded by the id.
pub fn password(id: SessionId) -> [u8; PASSWORD_LEN] {
    const MULTIPLIER: u64 = 0x5_deec_e66d;
    const MASK: u64 = (1 << 48) - 1;
    let mut seed = ((id.0 ^ PASSWORD_SECRET) as u64 ^ MULTIPLIER) & MASK;
    let mut password = [0; PASSWORD_LEN];
    for draw in password.chunks_exact_mut(4) {
        seed = (seed.wrapping_mul(MULTIPLIER) + 0xb) & MASK;
        draw.copy_from_slice(&((seed >> 16) as u32).to_le_bytes());
    }
    password
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_the_references() {
        let check = |id, hex: u128| assert_eq!(u128::from_be_bytes(password(SessionId(id))), hex, "{id:x}");
        check(0x0100_0000_0000_0001, 0x054c_c74a_3732_7db2_15e7_02e2_0c73_f005);
        check(0x0100_07ab_7c55_0006, 0x07c3_4e90_9ace_120a_12bf_5d5f_dab9_1304);
        check(0x0100_001b_6769_0000, 0xbdb7_9e35_063b_7982_6351_2ebe_bfe1_bd0d);
    }
}
