//! Digests of everything that servers agree on, by which they detect that they have diverged.
//!
//! Each part is small or is updated as the state changes, so that a digest takes at most a hundred
//! nanoseconds, whatever the size of the state. Digests are the same on every machine and in every
//! version. They do not cover the order in which children are listed, or how often a session was
//! resumed in this epoch (checkpoints of older versions do not have it). If either ever makes a
//! difference, the difference shows in what is covered.
//!
//! [`History`] keeps the tree's digests as ZooKeeper does. Source: `DataTree.logZxidDigest`.

use std::collections::VecDeque;
use std::fmt;

use oxkeeper_proto::{DecodeError, Jute, Reader};

use crate::state::State;

/// The digest of a state. States that have applied the same entries have equal digests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Digest {
    /// The last zxid.
    pub zxid: i64,
    /// The time of the last command.
    pub time_ms: i64,
    /// Digest of the znodes, as ZooKeeper computes it.
    pub tree: u64,
    /// Digest of the znodes below /zookeeper, which `tree` leaves out.
    pub system: u64,
    /// Digest of the ACLs, each counted once per znode that has it.
    pub acls: u64,
    /// Digest of the sessions.
    pub sessions: u64,
    /// Digest of the epoch, the members, and the last command of each server.
    pub agreement: u64,
}

/// Length of an encoded [`Digest`], bytes.
pub const DIGEST_LEN: usize = 56;

impl Digest {
    /// Encodes the fields in order, big-endian.
    pub fn encode(&self) -> [u8; DIGEST_LEN] {
        let mut out = [0; DIGEST_LEN];
        for (field, bytes) in self.fields().iter().zip(out.chunks_exact_mut(8)) {
            bytes.copy_from_slice(&field.1.to_be_bytes());
        }
        out
    }

    /// Decodes what [`Digest::encode`] wrote. *Errors*: too few bytes.
    pub fn decode(reader: &mut Reader<'_>) -> Result<Digest, DecodeError> {
        let (zxid, time_ms) = (i64::decode(reader)?, i64::decode(reader)?);
        let mut next = || i64::decode(reader).map(|long| long as u64);
        let (tree, system, acls, sessions, agreement) = (next()?, next()?, next()?, next()?, next()?);
        Ok(Digest { zxid, time_ms, tree, system, acls, sessions, agreement })
    }

    fn fields(&self) -> [(&'static str, u64); 7] {
        let Digest { zxid, time_ms, tree, system, acls, sessions, agreement } = *self;
        [
            ("zxid", zxid as u64),
            ("time", time_ms as u64),
            ("znodes", tree),
            ("znodes of /zookeeper", system),
            ("ACLs", acls),
            ("sessions", sessions),
            ("members, epoch or numbers of commands", agreement),
        ]
    }

    /// Returns the names of the parts in which `other` differs.
    pub fn differences(&self, other: &Digest) -> Vec<&'static str> {
        let pairs = self.fields().into_iter().zip(other.fields());
        pairs.filter(|(own, other)| own.1 != other.1).map(|(own, _)| own.0).collect()
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Digest { zxid, tree, system, acls, sessions, agreement, .. } = self;
        write!(f, "zxid 0x{zxid:x}: {tree:x}/{system:x}/{acls:x}/{sessions:x}/{agreement:x}")
    }
}

impl State {
    /// Returns the digest of the state, to be called between log entries.
    pub fn digest(&self) -> Digest {
        Digest {
            zxid: self.zxid.0,
            time_ms: self.time_ms,
            tree: self.tree.digest(),
            system: self.tree.system_digest(),
            acls: self.acls.digest(),
            sessions: self.sessions.digest(),
            agreement: self.agreement.digest(),
        }
    }

    /// Returns the tree's digests at certain zxids, oldest first.
    pub fn digest_history(&self) -> impl Iterator<Item = (i64, u64)> {
        self.history.0.iter().copied()
    }
}

/// Number of digests kept.
const KEPT: usize = 1024;
/// ZooKeeper: keeps the digest at every zxid that is a multiple of this.
const INTERVAL: i64 = 128;

/// The tree's digests at certain zxids.
#[derive(Debug, Default)]
pub(crate) struct History(VecDeque<(i64, u64)>);

impl History {
    /// Notes the digest of the tree after a transaction, if it is to be kept.
    pub(crate) fn note(&mut self, zxid: i64, digest: u64) {
        if zxid % INTERVAL == 0 {
            if self.0.len() == KEPT {
                self.0.pop_front();
            }
            self.0.push_back((zxid, digest));
        }
    }
}

/// Returns the digest of a sequence of numbers.
pub(crate) fn of_numbers(numbers: impl IntoIterator<Item = u64>) -> u64 {
    numbers.into_iter().fold(0, mix)
}

/// Returns the digest of a byte string.
pub(crate) fn of_bytes(bytes: &[u8]) -> u64 {
    let word = |chunk: &[u8]| chunk.iter().fold(0, |word, &byte| word << 8 | u64::from(byte));
    of_numbers(std::iter::once(bytes.len() as u64).chain(bytes.chunks(8).map(word)))
}

/// Mixes one more number into the hash. Source: the finalizer of SplitMix64.
fn mix(hash: u64, number: u64) -> u64 {
    let mut mixed = hash.rotate_left(23) ^ number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ mixed >> 31
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_survives_its_encoding_and_names_what_differs() {
        let digest = Digest { zxid: -1, time_ms: 2, tree: u64::MAX, system: 4, acls: 5, sessions: 6, agreement: 7 };
        let bytes = digest.encode();
        assert_eq!(Digest::decode(&mut Reader::new(&bytes)), Ok(digest));
        assert!(Digest::decode(&mut Reader::new(&bytes[..DIGEST_LEN - 1])).is_err());
        assert_eq!(digest.differences(&digest), [""; 0]);
        assert_eq!(digest.differences(&Digest { acls: 6, zxid: 1, ..digest }), ["zxid", "ACLs"]);
    }

    /// Servers of other versions and machines must compute the same values.
    #[test]
    fn the_function_stays_as_it_is() {
        assert_eq!(of_bytes(b""), of_numbers([0]));
        assert_eq!(of_bytes(b"123456789"), of_numbers([9, 0x3132_3334_3536_3738, 0x39]));
        assert_ne!(of_bytes(b"\0"), of_bytes(b"\0\0"));
        assert_eq!(of_numbers([]), 0);
        assert_eq!(of_numbers([0]), 0xe220_a839_7b1d_cdaf, "the first output of SplitMix64 seeded by 0");
    }

    #[test]
    fn every_128th_zxid_is_kept_1024_of_them() {
        let mut history = History::default();
        (1..=1026 * 128).for_each(|zxid| history.note(zxid, zxid as u64 + 1));
        assert_eq!((history.0.len(), history.0[0]), (1024, (3 * 128, 3 * 128 + 1)));
    }
}
