//! The monotonic clock of a host, which starts at an arbitrary value and runs a little faster or
//! slower than true time.
//!
//! Servers use only this clock. The world's queue, the network and the checkers use true time.

use crate::random::Random;

/// Ticks of a true clock during [`HostClock::rate`] ticks of a host's clock.
const TRUE_RATE: u128 = 1_000_000;
/// Largest reading of a clock that is not true at the start of a run, ms.
const ORIGIN_MS_MAX: u64 = 100_000_000;

/// Monotonic clock of a host.
#[derive(Clone, Copy, Debug)]
pub struct HostClock {
    origin_ms: u64,
    rate: u128,
}

impl HostClock {
    /// Clock that shows true time.
    pub const TRUE: HostClock = HostClock { origin_ms: 0, rate: TRUE_RATE };

    /// Chooses the clocks of `hosts` hosts, each with its own drift of at most `drift_ppm_max`
    /// parts per million.
    pub fn choose(hosts: usize, seed: u64, drift_ppm_max: u64) -> Vec<HostClock> {
        let random = &mut Random::new(seed ^ 0x636c_6f63_6b73_6864);
        let mut choose = || HostClock {
            origin_ms: random.within(0, ORIGIN_MS_MAX),
            rate: TRUE_RATE - u128::from(drift_ppm_max) + u128::from(random.within(0, 2 * drift_ppm_max)),
        };
        (0..hosts).map(|_| if drift_ppm_max == 0 { HostClock::TRUE } else { choose() }).collect()
    }

    /// Returns what the clock shows at a true time.
    pub fn at(&self, true_ms: u64) -> u64 {
        self.origin_ms.saturating_add(clamped(u128::from(true_ms) * self.rate / TRUE_RATE))
    }

    /// Returns the first true time at which the clock shows `shown_ms`; `u64::MAX` stands for
    /// never.
    pub fn when(&self, shown_ms: u64) -> u64 {
        if shown_ms == u64::MAX {
            return u64::MAX;
        }
        let since_origin = u128::from(shown_ms.saturating_sub(self.origin_ms));
        clamped((since_origin * TRUE_RATE).div_ceil(self.rate))
    }

    /// Returns the longest true time in which the clock advances by `shown_ms`, ms. The clock may
    /// have just missed a millisecond.
    pub fn takes_ms(&self, shown_ms: u64) -> u64 {
        let exact = u128::from(shown_ms) * TRUE_RATE;
        clamped(exact.div_ceil(self.rate)) + u64::from(self.rate != TRUE_RATE)
    }
}

/// Returns the longest true time in which a clock with a drift of at most `drift_ppm_max` parts per
/// million advances by `shown_ms`, ms.
pub fn slowest_takes_ms(shown_ms: u64, drift_ppm_max: u64) -> u64 {
    HostClock { origin_ms: 0, rate: TRUE_RATE - u128::from(drift_ppm_max) }.takes_ms(shown_ms)
}

fn clamped(ms: u128) -> u64 {
    u64::try_from(ms).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_shown_first_when_it_says_so() {
        for clock in HostClock::choose(20, 7, 100_000) {
            for shown_ms in (clock.origin_ms + 1..).step_by(37).take(1_000) {
                let when_ms = clock.when(shown_ms);
                assert!(clock.at(when_ms) >= shown_ms && clock.at(when_ms - 1) < shown_ms, "{clock:?}, {shown_ms}");
            }
            assert_eq!((clock.when(0), clock.when(u64::MAX)), (0, u64::MAX));
        }
    }

    #[test]
    fn a_span_takes_no_longer_than_it_says() {
        for clock in HostClock::choose(20, 3, 20_000).into_iter().chain([HostClock::TRUE]) {
            for (from_ms, span_ms) in (0..200).flat_map(|from_ms| [(from_ms, 1), (from_ms, 50), (from_ms, 3_000)]) {
                assert!(clock.at(from_ms + clock.takes_ms(span_ms)) >= clock.at(from_ms) + span_ms, "{clock:?}");
            }
        }
    }

    #[test]
    fn a_true_clock_shows_true_time() {
        let clock = HostClock::TRUE;
        assert_eq!((clock.at(77), clock.when(77), clock.takes_ms(77)), (77, 77, 77));
    }
}
