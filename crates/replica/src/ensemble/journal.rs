//! The durable log as consensus needs it. The server's is in `oxkeeper-store`; tests have one in
//! memory.

use std::ops::Range;
use std::sync::Arc;

use parking_lot::Mutex;
use thiserror::Error;

/// Keys of the scalars that consensus keeps beside the entries.
pub mod scalar {
    /// The promised ballot.
    pub const PROMISE: u8 = 1;
    /// The ballot of the accepted entries.
    pub const ROUND: u8 = 2;
    /// Index below which everything is decided, u64; may lag behind the actual one.
    pub const DECIDED: u8 = 3;
    /// Number of this start of the server, u64; it grows with every start.
    pub const BOOT: u8 = 4;
    /// The members' ids as this server knew them when it ceased to be blank.
    pub const MEMBERS: u8 = 5;
    /// The voters and their first index: a
    /// [`Configuration`](super::super::configuration::Configuration).
    pub const CONFIGURATION: u8 = 6;
    /// Number of entries that an admitted blank server's state must have before it takes part, u64.
    pub const ADMITTED: u8 = 7;
    /// The id of the server whose log this is, one byte.
    pub const OWNER: u8 = 8;
}

/// The disk is full: nothing was written.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("the disk is full")]
pub struct JournalFull;

/// One change of the log. A group of changes is durable as a whole or not at all, unless it is
/// longer than the journal writes at once (which is more than one frame brings): then a prefix of
/// it may be.
#[derive(Clone, Debug)]
pub enum JournalOp {
    /// Appends the entry with the next index.
    Append(Arc<[u8]>),
    /// Voids the entries from this index on.
    Truncate(u64),
    /// Sets a scalar.
    Scalar(u8, Vec<u8>),
}

impl JournalOp {
    /// Returns the bytes of its payload.
    pub(crate) fn payload_len(&self) -> usize {
        match self {
            JournalOp::Append(entry) => entry.len(),
            JournalOp::Truncate(_) => 0,
            JournalOp::Scalar(_, value) => value.len(),
        }
    }
}

/// Disk work of a journal, for any thread. It blocks until the work is done. *Errors*: the disk is
/// full.
pub type DiskJob = Box<dyn FnOnce() -> Result<(), JournalFull> + Send>;

/// A durable log with scalars.
pub trait Journal: Send {
    /// Returns the index of the oldest entry.
    fn first_index(&self) -> u64;

    /// Returns one past the index of the newest entry.
    fn next_index(&self) -> u64;

    /// Returns the value of a scalar.
    fn scalar(&self, key: u8) -> Option<Vec<u8>>;

    /// Returns the work that makes groups of changes durable, one after the other. Until it is
    /// done, every other call is allowed, except for more work. If it fails, a prefix of the groups
    /// may be there.
    fn work(&mut self, groups: Vec<Vec<JournalOp>>) -> DiskJob;

    /// Makes a group of changes durable. *Errors*: the disk is full; a prefix of the group may be there.
    fn write(&mut self, ops: Vec<JournalOp>) -> Result<(), JournalFull> {
        self.work(vec![ops])()
    }

    /// Reads entries in order.
    ///
    /// # Panics
    /// Panics if they are not there or cannot be read: crash rather than corrupt.
    fn read(&self, range: Range<u64>, entry: &mut dyn FnMut(&[u8]));

    /// Returns the lowest index from which there are at most `len_max` bytes of entries.
    fn floor(&self, len_max: u64) -> u64;

    /// Allows the journal to forget entries below `index`, when convenient.
    fn trim(&mut self, index: u64);

    /// Returns work to do while nothing waits for the disk, if there is any: making room for the
    /// next write, deleting trimmed entries. The rules of [`Journal::work`] apply.
    fn upkeep(&mut self) -> Option<DiskJob> {
        None
    }
}

/// A journal in memory, for tests and for servers that keep nothing on disk.
#[derive(Clone, Debug, Default)]
pub struct MemoryJournal {
    kept: Arc<Mutex<Kept>>,
}

#[derive(Debug, Default)]
struct Kept {
    first: u64,
    entries: std::collections::VecDeque<Arc<[u8]>>,
    scalars: std::collections::BTreeMap<u8, Vec<u8>>,
}

impl Kept {
    fn change(&mut self, op: JournalOp) {
        match op {
            JournalOp::Append(entry) => self.entries.push_back(entry),
            JournalOp::Truncate(from) => self.entries.truncate((from - self.first) as usize),
            JournalOp::Scalar(key, value) => drop(self.scalars.insert(key, value)),
        }
    }

    fn next(&self) -> u64 {
        self.first + self.entries.len() as u64
    }
}

impl Journal for MemoryJournal {
    fn first_index(&self) -> u64 {
        self.kept.lock().first
    }

    fn next_index(&self) -> u64 {
        self.kept.lock().next()
    }

    fn scalar(&self, key: u8) -> Option<Vec<u8>> {
        self.kept.lock().scalars.get(&key).cloned()
    }

    fn work(&mut self, groups: Vec<Vec<JournalOp>>) -> DiskJob {
        let kept = self.kept.clone();
        Box::new(move || {
            let mut kept = kept.lock();
            groups.into_iter().flatten().for_each(|op| kept.change(op));
            Ok(())
        })
    }

    fn read(&self, range: Range<u64>, entry: &mut dyn FnMut(&[u8])) {
        let kept = self.kept.lock();
        range.for_each(|index| entry(&kept.entries[(index - kept.first) as usize]));
    }

    fn floor(&self, len_max: u64) -> u64 {
        let kept = self.kept.lock();
        let mut len = 0;
        let fits = |entry: &&Arc<[u8]>| {
            len += entry.len() as u64;
            len <= len_max
        };
        kept.next() - kept.entries.iter().rev().take_while(fits).count() as u64
    }

    fn trim(&mut self, index: u64) {
        let mut kept = self.kept.lock();
        while kept.first < index && kept.entries.pop_front().is_some() {
            kept.first += 1;
        }
    }
}
