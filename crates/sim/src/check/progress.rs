//! Two promises. First: under load, on links and disks that are slow within the bounds of the run,
//! and while followers are cut off now and then, an ensemble keeps its leader and never stops
//! applying entries. Second: however long a fetched state takes to load, a server that lost its
//! disk catches up after a few of them, although the load goes on.
//!
//! The first applies only to runs that are [steady](crate::ensemble::Options::steady), because
//! leaders change if servers crash. The second applies only to runs in which nothing but disks is
//! lost ([`Options::lone_wipes`](crate::ensemble::Options::lone_wipes)).

/// Leaderships allowed in a steady run: the first, that of a server which started an election at
/// the same time with its own ballot, and one for servers that came late.
const EPOCHS_MAX: u64 = 3;
/// States that a server may fetch before it has caught up; a change of leader requires another one.
const FETCHES_MAX: u64 = 3;

/// Checker of both promises.
#[derive(Debug)]
pub struct Progress {
    steady: bool,
    lone_wipes: bool,
    patience_ms: u64,
    applied_ms: u64,
    /// States that each server has fetched since it last served.
    fetches: Vec<u64>,
}

impl Progress {
    /// Creates a checker for a run in which no request waits longer than `patience_ms`.
    pub fn new(servers: usize, steady: bool, lone_wipes: bool, patience_ms: u64) -> Progress {
        Progress { steady, lone_wipes, patience_ms, applied_ms: 0, fetches: vec![0; servers] }
    }

    /// Notes that a server has applied an entry.
    pub fn applied(&mut self, now_ms: u64) {
        if self.steady {
            let (since_ms, patience_ms) = (self.applied_ms, self.patience_ms);
            assert!(now_ms <= since_ms + patience_ms, "progress: nothing was applied from {since_ms} to {now_ms} ms");
        }
        self.applied_ms = now_ms;
    }

    /// Notes that a server has fetched a state.
    pub fn fetched(&mut self, server: usize) {
        self.fetches[server] += 1;
        let count = self.fetches[server];
        assert!(
            !self.lone_wipes || count <= FETCHES_MAX,
            "progress: server {} fetches a state again and again",
            server + 1
        );
    }

    /// Notes that a server serves.
    pub fn serves(&mut self, server: usize) {
        self.fetches[server] = 0;
    }

    /// Checks the end of the run, in which there were `epochs` leaderships.
    pub fn check(&mut self, now_ms: u64, epochs: u64) {
        self.applied(now_ms);
        assert!(!self.steady || epochs <= EPOCHS_MAX, "progress: {epochs} leaderships although nothing was wrong");
        // There are no more requests.
        self.steady = false;
    }
}
