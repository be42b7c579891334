//! A server's disk: it outlives the process, and can be slow or full.

use std::ops::Range;
use std::sync::Arc;

use oxkeeper_replica::ensemble::{Journal, JournalFull, JournalOp, MemoryJournal, Syncing};
use parking_lot::Mutex;

/// How the disk answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Mood {
    /// At once.
    #[default]
    Fast,
    /// Not until it is told to.
    Slow,
    /// With [`JournalFull`].
    Full,
}

#[derive(Debug, Default)]
struct Contents {
    journal: MemoryJournal,
    /// A write that has begun: it is there once it is finished, and lost in a crash.
    begun: Vec<JournalOp>,
    mood: Mood,
}

/// See the module. Copies are of one disk.
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

    /// The process dies: what has begun is lost.
    pub(crate) fn lose_begun(&self) {
        self.contents.lock().begun.clear();
    }

    /// Puts another journal in the place of this one.
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

    fn write(&mut self, ops: &[JournalOp]) -> Result<(), JournalFull> {
        let mut contents = self.contents.lock();
        match contents.mood {
            Mood::Full => Err(JournalFull),
            Mood::Fast | Mood::Slow => contents.journal.write(ops),
        }
    }

    fn begin(&mut self, ops: &[JournalOp]) -> Result<Option<Syncing>, JournalFull> {
        match self.mood() {
            Mood::Slow => {
                self.contents.lock().begun = ops.to_vec();
                Ok(Some(Box::new(|| {})))
            }
            Mood::Fast | Mood::Full => self.write(ops).map(|()| None),
        }
    }

    fn finish(&mut self) {
        let mut contents = self.contents.lock();
        let begun = std::mem::take(&mut contents.begun);
        contents.journal.write(&begun).expect("a journal in memory takes everything");
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
