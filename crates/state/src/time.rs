//! The time at which a command is applied: the wall clock of the server that packed it, with small
//! backward steps hidden.
//!
//! Clients see it as ctime and mtime. If the clock steps back by at most [`HELD_MS`], the time
//! stands still until the clock has caught up: the clocks of successive leaders differ by that
//! much, and clocks are corrected by that much. A clock that steps back further was wrong, and the
//! time follows it at once: existing time stamps stay as they are, and later ones are right again.
//!
//! A time stamp that lies in the future comes from such a wrong clock. Its znode was written before
//! the clock was corrected, if this server has seen that, or else before this server started. The
//! znode's age counts from that moment, so that a TTL znode outlives its time by no more than that.
//! (This matters only to the server that proposes to delete the znode; nothing that is agreed on
//! depends on it.)
//!
//! ZooKeeper: stamps each request with its leader's wall clock, whatever the time before.

use crate::state::State;

/// The longest backward step that is hidden, ms.
pub const HELD_MS: i64 = 10_000;

impl State {
    /// Sets the time for the current entry, which was packed when its server's wall clock showed
    /// `told_ms`.
    pub(crate) fn tell_time(&mut self, told_ms: i64) {
        let back_ms = self.time_ms.saturating_sub(told_ms);
        if back_ms > HELD_MS {
            self.righted_ms = Some(told_ms);
        }
        self.righted_ms.get_or_insert(told_ms);
        if !(1..=HELD_MS).contains(&back_ms) {
            self.time_ms = told_ms;
        }
    }

    /// Returns a lower bound on the time since `stamp_ms`, ms, by a clock that shows `now_ms`.
    ///
    /// ZooKeeper: counts from the stamp alone, and so waits until the time that a wrong clock has
    /// shown.
    pub(crate) fn age_ms(&self, stamp_ms: i64, now_ms: i64) -> i64 {
        let stamped_ms = if stamp_ms.saturating_sub(now_ms) > HELD_MS { self.righted_ms } else { None };
        now_ms.saturating_sub(stamped_ms.unwrap_or(stamp_ms))
    }

    /// Returns the time of the last command applied, Unix ms.
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

    /// A server whose clock is a day ahead has led, and now another server leads.
    #[test]
    fn what_a_wrong_clock_has_stamped_is_as_old_as_the_right_one() {
        let (now, day) = (1_700_000_000_000, 86_400_000);
        let mut state = State::new(1);
        let check = |state: &State, stamp, at, age| assert_eq!(state.age_ms(stamp, at), age, "{stamp} at {at}");
        state.tell_time(now - 500);
        check(&state, now - 500, now, 500);
        check(&state, now + 1, now, -1);
        state.tell_time(now + day);
        state.tell_time(now + day + 5);
        state.tell_time(now + 10);
        check(&state, now + day, now + 10, 0);
        check(&state, now + day + 5, now + 1_010, 1_000);
        check(&state, now - 500, now + 1_010, 1_510);
        check(&state, now + 900, now + 1_010, 110);
        // Hidden steps change nothing.
        state.tell_time(now);
        check(&state, now + day, now + 1_010, 1_000);
        // A server that has started since does not know when the clock was corrected.
        let mut later = State::new(1);
        later.time_ms = now + 20;
        check(&later, now + day, now + 30, -day + 30);
        later.tell_time(now + 40);
        check(&later, now + day, now + 50, 10);
        // If its clock is still wrong, no stamp lies in the future.
        check(&state, now + day, now + day + 7, 7);
    }
}
