//! Checks that the essential threads make progress, for a watchdog.
//!
//! Each of these threads has a heartbeat here. Invariant: a thread that waits for the disk, or
//! fetches a state, is excused: killing a server does not make its disk any faster.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::clock::Clock;

/// Heartbeat of an excused thread.
const EXCUSED: u64 = u64::MAX;
/// Index of the engine; the threads that own connections follow it.
const ENGINE: usize = 0;

/// Time of each thread's last heartbeat.
#[derive(Debug)]
pub(crate) struct Watchdog {
    clock: Clock,
    /// Heartbeats, ms of the clock.
    beats: Vec<AtomicU64>,
}

impl Watchdog {
    /// Returns a watchdog for an engine and `io_threads` threads that own connections, all about to
    /// start.
    pub(crate) fn new(clock: Clock, io_threads: usize) -> Watchdog {
        Watchdog { clock, beats: (0..=io_threads).map(|_| AtomicU64::new(clock.now_ms())).collect() }
    }

    /// Notes that the engine makes progress.
    pub(crate) fn engine_beats(&self) {
        self.beat(ENGINE, self.clock.now_ms());
    }

    /// Notes that the engine begins an operation of unbounded duration. Ends with its next
    /// heartbeat.
    pub(crate) fn engine_is_excused(&self) {
        self.beat(ENGINE, EXCUSED);
    }

    /// Notes that a thread that owns connections makes progress.
    pub(crate) fn io_beats(&self, thread: u16) {
        self.beat(usize::from(thread) + 1, self.clock.now_ms());
    }

    fn beat(&self, place: usize, now_ms: u64) {
        self.beats[place].store(now_ms, Ordering::Relaxed);
    }

    /// Returns the names of the threads without progress for longer than `patience_ms`.
    pub(crate) fn stalled(&self, patience_ms: u64) -> Vec<String> {
        let now_ms = self.clock.now_ms();
        let name = |place: usize| if place == ENGINE { "engine".to_owned() } else { format!("io-{}", place - 1) };
        let late = |beat: &AtomicU64| now_ms.saturating_sub(beat.load(Ordering::Relaxed)) > patience_ms;
        self.beats.iter().enumerate().filter(|(_, beat)| late(beat)).map(|(place, _)| name(place)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_late_and_who_is_excused() {
        let watchdog = Watchdog::new(Clock::start(), 2);
        let back = |place: usize| watchdog.beats[place].store(0, Ordering::Relaxed);
        std::thread::sleep(std::time::Duration::from_millis(30));
        (0..3).for_each(back);
        assert_eq!(watchdog.stalled(10), ["engine", "io-0", "io-1"]);
        watchdog.io_beats(0);
        watchdog.engine_is_excused();
        assert_eq!(watchdog.stalled(10), ["io-1"]);
        watchdog.engine_beats();
        assert_eq!(watchdog.stalled(10), ["io-1"]);
        assert!(watchdog.stalled(60_000).is_empty());
    }
}
