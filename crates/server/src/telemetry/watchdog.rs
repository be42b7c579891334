//! Whether the threads that must not stand still go round: for a watchdog.
//!
//! Owns one beat for each of them. Invariant: a thread that waits for the disk, or fetches a state, is excused: killing a
//! server does not make its disk any faster.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::clock::Clock;

/// A beat of a thread that is excused.
const EXCUSED: u64 = u64::MAX;
/// The engine's place; the threads that own connections follow.
const ENGINE: usize = 0;

/// When each thread last went round.
#[derive(Debug)]
pub(crate) struct Watchdog {
    clock: Clock,
    /// ms of the clock.
    beats: Vec<AtomicU64>,
}

impl Watchdog {
    /// Of an engine and so many threads that own connections, all of which are about to start.
    pub(crate) fn new(clock: Clock, io_threads: usize) -> Watchdog {
        Watchdog { clock, beats: (0..=io_threads).map(|_| AtomicU64::new(clock.now_ms())).collect() }
    }

    /// The engine goes round.
    pub(crate) fn engine_beats(&self) {
        self.beat(ENGINE, self.clock.now_ms());
    }

    /// The engine does something that may take any time, until it goes round again.
    pub(crate) fn engine_is_excused(&self) {
        self.beat(ENGINE, EXCUSED);
    }

    /// A thread that owns connections goes round.
    pub(crate) fn io_beats(&self, thread: u16) {
        self.beat(usize::from(thread) + 1, self.clock.now_ms());
    }

    fn beat(&self, place: usize, now_ms: u64) {
        self.beats[place].store(now_ms, Ordering::Relaxed);
    }

    /// The threads that have not gone round for longer than `patience_ms`, by name.
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
