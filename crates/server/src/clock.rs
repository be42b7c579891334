//! The two clocks: a monotonic one for sessions and latencies, and the wall clock, only for ctime,
//! mtime and TTLs.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// The monotonic clock and the wall clock.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    start: Instant,
}

impl Clock {
    /// Returns a clock whose monotonic time begins now.
    pub(crate) fn start() -> Clock {
        Clock { start: Instant::now() }
    }

    /// Returns monotonic ms since the start.
    pub(crate) fn now_ms(&self) -> u64 {
        self.start.elapsed().as_millis() as u64
    }

    /// Returns Unix ms. The value may jump; [`oxkeeper_state::time`] defines which backward steps
    /// are hidden.
    pub(crate) fn wall_ms(&self) -> i64 {
        SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64)
    }
}
