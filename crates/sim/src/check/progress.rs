//! Promise: under load, on links and disks that are slow within the bounds of the run, and while followers are cut off now and
//! then, an ensemble keeps its leader, and somebody applies something all the time.
//!
//! Only of runs that are [steady](crate::ensemble::Options::steady): where servers crash, leaders change.

/// Leaderships of a steady run: the first, and one for those who came late to it.
const EPOCHS_MAX: u64 = 2;

/// See the module.
#[derive(Debug)]
pub struct Progress {
    steady: bool,
    patience_ms: u64,
    applied_ms: u64,
}

impl Progress {
    /// Of a run in which nobody waits longer than `patience_ms`.
    pub fn new(steady: bool, patience_ms: u64) -> Progress {
        Progress { steady, patience_ms, applied_ms: 0 }
    }

    /// Somebody has applied an entry.
    pub fn applied(&mut self, now_ms: u64) {
        if self.steady {
            let (since_ms, patience_ms) = (self.applied_ms, self.patience_ms);
            assert!(now_ms <= since_ms + patience_ms, "progress: nothing was applied from {since_ms} to {now_ms} ms");
        }
        self.applied_ms = now_ms;
    }

    /// The run is over, with so many leaderships.
    pub fn check(&mut self, now_ms: u64, epochs: u64) {
        self.applied(now_ms);
        assert!(!self.steady || epochs <= EPOCHS_MAX, "progress: {epochs} leaderships although nothing was wrong");
    }
}
