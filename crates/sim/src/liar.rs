//! A journal that lies, to show that the checkers notice: it claims to have made durable what it
//! has not, or to have refused what it has written.

use std::ops::Range;

use oxkeeper_replica::ensemble::{DiskJob, Journal, JournalFull, JournalOp};
use oxkeeper_store::fake::FakeDisk;

use crate::options::Bug;

/// Wrapper of a journal that lies as `bug` demands. Without a bug it behaves like the journal
/// inside.
pub struct Liar<J> {
    /// Honest journal.
    pub journal: J,
    /// Kind of lie.
    pub bug: Bug,
    /// Disk of the journal.
    pub disk: FakeDisk,
    /// Groups that it has claimed to have written but has not.
    pub late: Vec<Vec<JournalOp>>,
}

impl<J: Journal> Journal for Liar<J> {
    fn first_index(&self) -> u64 {
        self.journal.first_index()
    }

    fn next_index(&self) -> u64 {
        self.journal.next_index()
    }

    fn scalar(&self, key: u8) -> Option<Vec<u8>> {
        self.journal.scalar(key)
    }

    fn work(&mut self, groups: Vec<Vec<JournalOp>>) -> DiskJob {
        if self.bug == Bug::EarlyDurability {
            let work = self.journal.work(std::mem::replace(&mut self.late, groups));
            return Box::new(move || work().or(Ok(())));
        }
        if self.bug != Bug::RefusedIsLogged {
            return self.journal.work(groups);
        }
        let (work, again, disk) = (self.journal.work(groups.clone()), self.journal.work(groups), self.disk.clone());
        Box::new(move || {
            work().or_else(|JournalFull| {
                disk.set_room(None);
                again().and(Err(JournalFull))
            })
        })
    }

    fn read(&self, range: Range<u64>, entry: &mut dyn FnMut(&[u8])) {
        self.journal.read(range, entry);
    }

    fn floor(&self, len_max: u64) -> u64 {
        self.journal.floor(len_max)
    }

    fn trim(&mut self, index: u64) {
        self.journal.trim(index);
    }

    fn upkeep(&mut self) -> Option<DiskJob> {
        self.journal.upkeep()
    }
}
