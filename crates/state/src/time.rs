//! The time at which a command is applied: that of its server's wall clock, whose small steps back are not seen.
//!
//! Clients see it as ctime and mtime. Within [`HELD_MS`] it stands still until the clock has caught up: clocks of servers
//! that lead one after the other differ by as much, and clocks are set right by as much. A clock that goes back further
//! was wrong, and times follow it at once: what it has stamped stays as it is, and what comes later is right again.
//!
//! ZooKeeper: stamps each request with its leader's wall clock, whatever came before.

use crate::state::State;

/// The longest step back that is not seen, ms.
pub const HELD_MS: i64 = 10_000;

impl State {
    /// The entry at work was packed when its server's wall clock showed `told_ms`.
    pub(crate) fn tell_time(&mut self, told_ms: i64) {
        let is_held = (1..=HELD_MS).contains(&self.time_ms.saturating_sub(told_ms));
        if !is_held {
            self.time_ms = told_ms;
        }
    }

    /// The time of the last command applied, Unix ms.
    pub fn time_ms(&self) -> i64 {
        self.time_ms
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_steps_back_are_not_seen_and_large_ones_are_taken() {
        let mut state = State::new(1);
        let now = 1_700_000_000_000;
        let hour = 3_600_000;
        let mut check = |told, expected| {
            state.tell_time(told);
            assert_eq!(state.time_ms(), expected, "{told}");
        };
        check(now, now);
        check(now - 1, now);
        check(now - HELD_MS, now);
        check(now + 5, now + 5);
        check(now + hour, now + hour);
        check(now + hour - HELD_MS, now + hour);
        check(now + hour - HELD_MS - 1, now + hour - HELD_MS - 1);
        check(now + 6, now + 6);
        check(i64::MAX, i64::MAX);
        check(i64::MIN, i64::MIN);
        check(now, now);
        check(0, 0);
    }
}
