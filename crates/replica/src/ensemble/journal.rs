//! What consensus needs of a durable log. The server's is `oxkeeper-store`'s; tests have one in memory.

use std::ops::Range;
use std::sync::Arc;

use thiserror::Error;

/// Keys of the scalars that consensus keeps beside the entries.
pub mod scalar {
    /// Ballot promised.
    pub const PROMISE: u8 = 1;
    /// Ballot of the accepted entries.
    pub const ROUND: u8 = 2;
    /// Index below which everything is decided, u64; may lag behind the truth.
    pub const DECIDED: u8 = 3;
    /// How often this server was started, u64.
    pub const BOOT: u8 = 4;
    /// The members' ids as this server knew them when it ceased to be blank.
    pub const MEMBERS: u8 = 5;
    /// Who votes, from where on: a [`Configuration`](super::super::configuration::Configuration).
    pub const CONFIGURATION: u8 = 6;
}

/// The disk is full: nothing was written.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("the disk is full")]
pub struct JournalFull;

/// One change of the log. A group of them is durable as a whole or not at all, unless it is longer than the journal
/// writes at once: then a prefix of it may be. That is more than what one frame brings.
#[derive(Clone, Debug)]
pub enum JournalOp {
    /// The entry with the next index.
    Append(Arc<[u8]>),
    /// Entries from this index on are void.
    Truncate(u64),
    /// A new value of a scalar.
    Scalar(u8, Vec<u8>),
}

impl JournalOp {
    /// Bytes of what it brings.
    pub(crate) fn payload_len(&self) -> usize {
        match self {
            JournalOp::Append(entry) => entry.len(),
            JournalOp::Truncate(_) => 0,
            JournalOp::Scalar(_, value) => value.len(),
        }
    }
}

/// Blocks until what was begun is durable.
pub type Syncing = Box<dyn FnOnce() + Send>;

/// A durable log with scalars.
pub trait Journal: Send {
    /// Index of the oldest entry.
    fn first_index(&self) -> u64;

    /// One past the newest entry.
    fn next_index(&self) -> u64;

    /// The value of a scalar.
    fn scalar(&self, key: u8) -> Option<Vec<u8>>;

    /// Makes a group of changes durable. *Errors*: the disk is full; a prefix of the group may be there.
    fn write(&mut self, ops: &[JournalOp]) -> Result<(), JournalFull>;

    /// Begins what [`Journal::write`] does. What it returns blocks until the group is durable, on any thread; only then the
    /// caller says so by [`Journal::finish`], and until then it changes nothing. `None`: the group is durable. *Errors*: as
    /// [`Journal::write`].
    fn begin(&mut self, ops: &[JournalOp]) -> Result<Option<Syncing>, JournalFull> {
        self.write(ops).map(|()| None)
    }

    /// The group begun is durable.
    fn finish(&mut self) {}

    /// Reads entries in order.
    ///
    /// # Panics
    /// When they are not there or cannot be read: crash rather than corrupt.
    fn read(&self, range: Range<u64>, entry: &mut dyn FnMut(&[u8]));

    /// The lowest index from which on there are at most `len_max` bytes of entries.
    fn floor(&self, len_max: u64) -> u64;

    /// Forgets entries below `index`, as far as that is convenient.
    fn trim(&mut self, index: u64);

    /// Nobody waits: room for the next write can be made.
    fn prepare(&mut self) {}
}

/// A journal in memory, for tests and for servers that keep nothing on disk.
#[derive(Clone, Debug, Default)]
pub struct MemoryJournal {
    first: u64,
    entries: std::collections::VecDeque<Arc<[u8]>>,
    scalars: std::collections::BTreeMap<u8, Vec<u8>>,
}

impl Journal for MemoryJournal {
    fn first_index(&self) -> u64 {
        self.first
    }

    fn next_index(&self) -> u64 {
        self.first + self.entries.len() as u64
    }

    fn scalar(&self, key: u8) -> Option<Vec<u8>> {
        self.scalars.get(&key).cloned()
    }

    fn write(&mut self, ops: &[JournalOp]) -> Result<(), JournalFull> {
        for op in ops {
            match op {
                JournalOp::Append(entry) => self.entries.push_back(entry.clone()),
                JournalOp::Truncate(from) => self.entries.truncate((from - self.first) as usize),
                JournalOp::Scalar(key, value) => drop(self.scalars.insert(*key, value.clone())),
            }
        }
        Ok(())
    }

    fn read(&self, range: Range<u64>, entry: &mut dyn FnMut(&[u8])) {
        range.for_each(|index| entry(&self.entries[(index - self.first) as usize]));
    }

    fn floor(&self, len_max: u64) -> u64 {
        let mut len = 0;
        let fits = |entry: &&Arc<[u8]>| {
            len += entry.len() as u64;
            len <= len_max
        };
        self.next_index() - self.entries.iter().rev().take_while(fits).count() as u64
    }

    fn trim(&mut self, index: u64) {
        while self.first < index && self.entries.pop_front().is_some() {
            self.first += 1;
        }
    }
}
