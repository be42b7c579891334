//! Promise: what was acknowledged, or could be seen by anyone, survives every crash, as it was and where it was.
//!
//! Keeps every log entry the server ever staged and how far it came. After a restart the log must hold all that were
//! durable, byte for byte; one that was under way may be there or not; one that was refused must not.

use oxkeeper_store::LogReader;

/// The log as it must be.
#[derive(Debug, Default)]
pub struct Durable {
    /// By index: durable ones, then those under way.
    entries: Vec<Vec<u8>>,
    /// How many are durable.
    durable: usize,
    /// How many are applied in full.
    applied: usize,
    /// Commands of the next one that are applied.
    part: usize,
}

impl Durable {
    /// An entry is staged.
    pub fn staged(&mut self, index: u64, entry: &[u8]) {
        assert_eq!(index, self.entries.len() as u64, "durable: entries are staged in order");
        self.entries.push(entry.to_vec());
    }

    /// All that is staged is durable.
    pub fn synced(&mut self) {
        self.durable = self.entries.len();
    }

    /// What is staged was refused.
    pub fn refused(&mut self) {
        self.entries.truncate(self.durable);
    }

    /// The entry being applied and how many of its commands are.
    pub fn at_work(&self) -> (Vec<u8>, usize) {
        (self.entries[self.applied].clone(), self.part)
    }

    /// So many more of its `count` commands are applied.
    pub fn advanced(&mut self, more: usize, count: usize) {
        self.part = self.part.saturating_add(more).min(count);
        if self.part == count {
            (self.applied, self.part) = (self.applied + 1, 0);
        }
    }

    /// Whether there are entries the model has not applied.
    pub fn behind(&self) -> bool {
        self.applied < self.entries.len()
    }

    /// Entries there are.
    pub fn count(&self) -> u64 {
        self.entries.len() as u64
    }

    /// Bytes of the entries from `index` on.
    pub fn len_from(&self, index: u64) -> u64 {
        self.entries[index as usize..].iter().map(|entry| entry.len() as u64).sum()
    }

    /// A restart found this log, with `applied` entries.
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
