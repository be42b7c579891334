//! Promises: under load, on links and disks that are slow within the bounds of the run, and while followers are cut off now and
//! then, an ensemble keeps its leader, and somebody applies something all the time. And: however long a fetched state takes to
//! load, a server that lost its disk is in step after a few of them, although the load goes on.
//!
//! The first only of runs that are [steady](crate::ensemble::Options::steady): where servers crash, leaders change. The second
//! only of runs in which nothing but disks is lost ([`Options::lone_wipes`](crate::ensemble::Options::lone_wipes)).

/// Leaderships of a steady run: the first; that of a server which began at the same time, with a ballot of its own; and one for
/// those who came late.
const EPOCHS_MAX: u64 = 3;
/// States that a server fetches before it is in step: another one if there is a new leader meanwhile.
const FETCHES_MAX: u64 = 3;

/// See the module.
#[derive(Debug)]
pub struct Progress {
    steady: bool,
    lone_wipes: bool,
    patience_ms: u64,
    applied_ms: u64,
    /// By server: states fetched since it last served.
    fetches: Vec<u64>,
}

impl Progress {
    /// Of a run in which nobody waits longer than `patience_ms`.
    pub fn new(servers: usize, steady: bool, lone_wipes: bool, patience_ms: u64) -> Progress {
        Progress { steady, lone_wipes, patience_ms, applied_ms: 0, fetches: vec![0; servers] }
    }

    /// Somebody has applied an entry.
    pub fn applied(&mut self, now_ms: u64) {
        if self.steady {
            let (since_ms, patience_ms) = (self.applied_ms, self.patience_ms);
            assert!(now_ms <= since_ms + patience_ms, "progress: nothing was applied from {since_ms} to {now_ms} ms");
        }
        self.applied_ms = now_ms;
    }

    /// A server has fetched a state.
    pub fn fetched(&mut self, server: usize) {
        self.fetches[server] += 1;
        let count = self.fetches[server];
        assert!(
            !self.lone_wipes || count <= FETCHES_MAX,
            "progress: server {} fetches a state again and again",
            server + 1
        );
    }

    /// A server serves.
    pub fn serves(&mut self, server: usize) {
        self.fetches[server] = 0;
    }

    /// The run is over, with so many leaderships.
    pub fn check(&mut self, now_ms: u64, epochs: u64) {
        self.applied(now_ms);
        assert!(!self.steady || epochs <= EPOCHS_MAX, "progress: {epochs} leaderships although nothing was wrong");
        // Nobody asks for anything any more.
        self.steady = false;
    }
}
