//! Sessions as agreed on by all servers: their existence, their timeout, and the znodes that end
//! with them.
//!
//! Clocks are kept elsewhere: only one server knows when a session was last heard from. Source:
//! `SessionTrackerImpl`, `ZooKeeperServer.generatePasswd`.

use std::collections::{BTreeMap, BTreeSet};

use oxkeeper_proto::records::PASSWORD_LEN;
use oxkeeper_proto::{ServerId, SessionId};

use crate::digest;
use crate::znode::Slot;

/// A session.
#[derive(Clone, Debug, Default)]
pub struct Session {
    /// Timeout, ms, as negotiated when the session was created or, in an ensemble, last resumed.
    pub timeout_ms: i32,
    /// The server to which its client is connected; always 0 on a standalone server.
    pub owner: ServerId,
    /// Number of resumptions since the leader's epoch began.
    pub resumes: u32,
    /// Znodes that end with the session.
    pub ephemerals: BTreeSet<Slot>,
}

/// All sessions, and the set of those that changed since the last checkpoint.
#[derive(Debug, Default)]
pub struct Sessions {
    by_id: BTreeMap<SessionId, Session>,
    /// The highest id that each server ever assigned, by the id's top byte: ids do not repeat,
    /// whatever clocks do.
    pub(crate) newest: BTreeMap<ServerId, SessionId>,
    pub(crate) dirty: BTreeSet<SessionId>,
    /// Sum of the digests of all sessions.
    digest: u64,
}

impl Session {
    fn digest(&self, id: SessionId) -> u64 {
        digest::of_numbers([id.0 as u64, self.timeout_ms as u64, u64::from(self.owner.0)])
    }
}

impl Sessions {
    /// Returns the session with this id.
    pub fn get(&self, id: SessionId) -> Option<&Session> {
        self.by_id.get(&id)
    }

    /// Returns every session, ordered by id.
    pub fn iter(&self) -> impl Iterator<Item = (SessionId, &Session)> {
        self.by_id.iter().map(|(&id, session)| (id, session))
    }

    /// Returns the number of sessions.
    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Returns whether there are no sessions.
    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    /// Returns the highest id that `server` ever assigned, even if that session has ended.
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

    /// Returns a digest that is equal for the same sessions and the same highest ids.
    pub(crate) fn digest(&self) -> u64 {
        let newest = self.newest.values().map(|newest| newest.0 as u64);
        digest::of_numbers(std::iter::once(self.digest).chain(newest))
    }

    /// Panics if the digest does not match the sessions.
    pub(crate) fn check(&self) {
        let digests = self.by_id.iter().map(|(&id, session)| session.digest(id));
        assert_eq!(digests.fold(0, u64::wrapping_add), self.digest, "digest of the sessions");
    }

    /// Resumes the session at `owner`. Returns false if it does not exist.
    pub(crate) fn resume(&mut self, id: SessionId, timeout_ms: i32, owner: ServerId) -> bool {
        let Some(session) = self.by_id.get_mut(&id) else { return false };
        let former = session.digest(id);
        (session.timeout_ms, session.owner) = (timeout_ms, owner);
        self.digest = self.digest.wrapping_sub(former).wrapping_add(session.digest(id));
        session.resumes = session.resumes.saturating_add(1);
        self.dirty.insert(id);
        true
    }

    /// Resets the counts of resumptions when a leader begins: it knows of every earlier one.
    pub(crate) fn forget_resumes(&mut self) {
        self.by_id.values_mut().for_each(|session| session.resumes = 0);
    }

    /// Adds a session from a checkpoint.
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

    /// Notes that a znode was created which ends with session `id`. ZooKeeper: the session need not
    /// exist (an imported tree).
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

/// ZooKeeper's constant. Passwords are derived as ZooKeeper does, so that clients of an imported
/// ensemble can resume their sessions.
const PASSWORD_SECRET: i64 = 0xb341_5c00;

/// Returns the password of a session: four draws of `java.util.Random` seeded by the id.
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
