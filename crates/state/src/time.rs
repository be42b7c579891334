//! The time at which a command is applied: that of its server's wall clock, whose small steps back are not seen.
//!
//! Clients see it as ctime and mtime. Within [`HELD_MS`] it stands still until the clock has caught up: clocks of servers
//! that lead one after the other differ by as much, and clocks are set right by as much. A clock that goes back further
//! was wrong, and times follow it at once: what it has stamped stays as it is, and what comes later is right again.
//!
//! A time stamp that lies ahead is of such a clock. The znode that has it was written before the clock was set right, which
//! this server has seen, or before it began: from then on its age counts, so that a TTL znode outlives its time by no more than that.
//! (That is for whoever proposes to delete it; what is agreed on does not depend on it.)
//!
//! ZooKeeper: stamps each request with its leader's wall clock, whatever came before.

use crate::state::State;

/// The longest step back that is not seen, ms.
pub const HELD_MS: i64 = 10_000;

impl State {
    /// The entry at work was packed when its server's wall clock showed `told_ms`.
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

    /// How long ago something was stamped with `stamp_ms`, ms, by a clock that shows `now_ms`: at least.
    ///
    /// ZooKeeper: counts from the stamp alone, and so waits until the time that a wrong clock has shown.
    pub(crate) fn age_ms(&self, stamp_ms: i64, now_ms: i64) -> i64 {
        let stamped_ms = if stamp_ms.saturating_sub(now_ms) > HELD_MS { self.righted_ms } else { None };
        now_ms.saturating_sub(stamped_ms.unwrap_or(stamp_ms))
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

    /// A server whose clock is a day ahead has led, and another one leads now.
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
        // Steps that are not seen change nothing.
        state.tell_time(now);
        check(&state, now + day, now + 1_010, 1_000);
        // A server that has started since, and does not know when that was.
        let mut later = State::new(1);
        later.time_ms = now + 20;
        check(&later, now + day, now + 30, -day + 30);
        later.tell_time(now + 40);
        check(&later, now + day, now + 50, 10);
        // Its clock may still be wrong: then nothing lies ahead.
        check(&state, now + day, now + day + 7, 7);
    }
}
