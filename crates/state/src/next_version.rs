//! A simulated next version for tests: everything that depends on the agreed level is tested before
//! a version needs it.
//!
//! With the cargo feature `next-version` there is one more level (`Level::NEXT`), and with it a
//! kind of log entry, a rule of `apply` and a layout in the durable tree. A server acts as that
//! version if it is told that it knows the level; other servers in the same process act as this
//! one. Without the feature none of this is compiled.
//!
//! * The kind: batches of an ensemble have the time before the ballot.
//! * The rule: the state keeps a sum over the zxids of all commands.
//! * The layout: the sum follows the level.

use crate::level::Level;

/// A sum that only the next version's rule changes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sum {
    #[cfg(feature = "next-version")]
    sum: u64,
}

#[cfg(feature = "next-version")]
impl Sum {
    /// Updates the sum for a command applied at `level`.
    pub(crate) fn applied(&mut self, level: Level, zxid: i64) {
        if level >= Level::NEXT {
            self.sum = self.sum.wrapping_mul(31).wrapping_add(zxid as u64);
        }
    }

    /// Appends the sum, if there is one at `level`.
    pub(crate) fn encode(self, level: Level, out: &mut Vec<u8>) {
        if level >= Level::NEXT {
            out.extend_from_slice(&self.sum.to_be_bytes());
        }
    }

    /// Decodes the bytes that follow a level.
    pub(crate) fn decode(bytes: &[u8]) -> Sum {
        Sum { sum: bytes.try_into().map_or(0, u64::from_be_bytes) }
    }
}

#[cfg(not(feature = "next-version"))]
impl Sum {
    pub(crate) fn applied(&mut self, _level: Level, _zxid: i64) {}

    pub(crate) fn encode(self, _level: Level, _out: &mut Vec<u8>) {}

    pub(crate) fn decode(_bytes: &[u8]) -> Sum {
        Sum {}
    }
}

impl crate::State {
    /// Returns the sum that only the next version's rule changes. It is equal on servers that have
    /// applied the same entries.
    #[cfg(feature = "next-version")]
    pub fn next_sum(&self) -> u64 {
        self.sum.sum
    }

    /// Returns 0, because there is no next version.
    #[cfg(not(feature = "next-version"))]
    pub fn next_sum(&self) -> u64 {
        0
    }
}
