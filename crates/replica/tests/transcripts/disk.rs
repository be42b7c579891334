//! A server's disk: it outlives the process, and can be slow or full.

use std::ops::Range;
use std::sync::Arc;

use oxkeeper_replica::ensemble::{DiskJob, Journal, JournalFull, JournalOp, MemoryJournal};
use parking_lot::Mutex;

/// Behaviour of the disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Mood {
    /// Answers at once.
    #[default]
    Fast,
    /// Answers when it is told to.
    Slow,
    /// Answers with [`JournalFull`].
    Full,
}

#[derive(Debug, Default)]
struct Contents {
    journal: MemoryJournal,
    mood: Mood,
}

/// A server's disk; see the module. Clones share one disk.
#[derive(Clone, Debug, Default)]
pub(crate) struct MemoryDisk {
    contents: Arc<Mutex<Contents>>,
}

impl MemoryDisk {
    pub(crate) fn mood(&self) -> Mood {
        self.contents.lock().mood
    }

    pub(crate) fn set_mood(&self, mood: Mood) {
        self.contents.lock().mood = mood;
    }

    /// Replaces the journal on this disk.
    pub(crate) fn replace(&self, journal: MemoryJournal) {
        self.contents.lock().journal = journal;
    }
}

impl Journal for MemoryDisk {
    fn first_index(&self) -> u64 {
        self.contents.lock().journal.first_index()
    }

    fn next_index(&self) -> u64 {
        self.contents.lock().journal.next_index()
    }

    fn scalar(&self, key: u8) -> Option<Vec<u8>> {
        self.contents.lock().journal.scalar(key)
    }

    fn work(&mut self, groups: Vec<Vec<JournalOp>>) -> DiskJob {
        let contents = Arc::clone(&self.contents);
        Box::new(move || {
            let mut contents = contents.lock();
            match contents.mood {
                Mood::Full => Err(JournalFull),
                Mood::Fast | Mood::Slow => contents.journal.work(groups)(),
            }
        })
    }

    fn read(&self, range: Range<u64>, entry: &mut dyn FnMut(&[u8])) {
        self.contents.lock().journal.read(range, entry);
    }

    fn floor(&self, len_max: u64) -> u64 {
        self.contents.lock().journal.floor(len_max)
    }

    fn trim(&mut self, index: u64) {
        self.contents.lock().journal.trim(index);
    }
}
