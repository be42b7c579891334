//! Promise: everything that was acknowledged, or that anyone could see, survives every crash
//! unchanged and in its place.
//!
//! The checker keeps every log entry that the server ever staged, and its progress. After a restart
//! the log must hold all durable entries, byte for byte. It may hold entries whose write was in
//! progress, and must not hold refused ones.

use oxkeeper_store::LogReader;

/// Expected contents of the log.
#[derive(Debug, Default)]
pub struct Durable {
    /// Entries by index: durable ones, then those whose write is in progress.
    entries: Vec<Vec<u8>>,
    /// Number of durable entries.
    durable: usize,
    /// Number of entries applied in full.
    applied: usize,
    /// Number of applied commands of the next entry.
    part: usize,
}

impl Durable {
    /// Notes that an entry is staged.
    pub fn staged(&mut self, index: u64, entry: &[u8]) {
        assert_eq!(index, self.entries.len() as u64, "durable: entries are staged in order");
        self.entries.push(entry.to_vec());
    }

    /// Notes that all staged entries are durable.
    pub fn synced(&mut self) {
        self.durable = self.entries.len();
    }

    /// Notes that the staged entries were refused.
    pub fn refused(&mut self) {
        self.entries.truncate(self.durable);
    }

    /// Returns the entry that is being applied, and the number of its commands that are.
    pub fn at_work(&self) -> (Vec<u8>, usize) {
        (self.entries[self.applied].clone(), self.part)
    }

    /// Notes that `more` of the entry's `count` commands are applied.
    pub fn advanced(&mut self, more: usize, count: usize) {
        self.part = self.part.saturating_add(more).min(count);
        if self.part == count {
            (self.applied, self.part) = (self.applied + 1, 0);
        }
    }

    /// Returns whether there are entries that the model has not applied.
    pub fn behind(&self) -> bool {
        self.applied < self.entries.len()
    }

    /// Returns the number of entries.
    pub fn count(&self) -> u64 {
        self.entries.len() as u64
    }

    /// Returns the size of the entries from `index` on, bytes.
    pub fn len_from(&self, index: u64) -> u64 {
        self.entries[index as usize..].iter().map(|entry| entry.len() as u64).sum()
    }

    /// Checks the log that a restart found, with `applied` entries.
    pub fn recovered(&mut self, applied: u64, log: &LogReader) {
        let (count, durable) = (applied as usize, self.durable);
        assert!(count >= durable, "durable: {durable} entries were synced, {count} are left");
        assert!(count >= self.applied + usize::from(self.part > 0), "durable: what was applied is gone: {count}");
        assert!(count <= self.entries.len(), "durable: {count} entries, only {} were staged", self.entries.len());
        let read = log.read(log.first_index()..log.durable_end(), |index, entry| {
            assert_eq!(entry, self.entries[index as usize], "durable: entry {index} is not what was staged");
        });
        read.expect("durable: the log can be read");
        self.entries.truncate(count);
        self.durable = count;
    }
}
