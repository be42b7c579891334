//! Rate limit for warnings that could repeat many times a second.

use std::time::{Duration, Instant};

/// Interval between two warnings of a kind.
const INTERVAL: Duration = Duration::from_secs(5);

/// Lets an occasional warning of a kind through.
#[derive(Debug, Default)]
pub(crate) struct Throttle {
    last: Option<Instant>,
    left_out: u64,
}

impl Throttle {
    /// If the warning is due, returns the number suppressed since the last one.
    pub(crate) fn due(&mut self, now: Instant) -> Option<u64> {
        if self.last.is_some_and(|last| now < last + INTERVAL) {
            self.left_out += 1;
            return None;
        }
        self.last = Some(now);
        Some(std::mem::take(&mut self.left_out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_left_out_are_counted() {
        let (mut throttle, start) = (Throttle::default(), Instant::now());
        assert_eq!(throttle.due(start), Some(0));
        assert_eq!(throttle.due(start), None);
        assert_eq!(throttle.due(start + INTERVAL / 2), None);
        assert_eq!(throttle.due(start + INTERVAL), Some(2));
        assert_eq!(throttle.due(start + 2 * INTERVAL), Some(0));
    }
}
