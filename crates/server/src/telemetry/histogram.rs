//! A histogram with fixed bounds, exact at each of them.

/// Upper bounds for the duration of a sync, µs: from a drive with battery-backed cache to a failing
/// disk.
const SYNC_BOUNDS_US: [u64; 14] =
    [50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 1_000_000, 10_000_000];

/// Durations of syncs, or of similar operations.
#[derive(Clone, Debug, Default)]
pub(crate) struct Histogram {
    /// Values up to each bound and above the previous one; the last place counts the values above
    /// all bounds.
    counts: [u64; SYNC_BOUNDS_US.len() + 1],
    sum_us: u64,
}

impl Histogram {
    /// Counts one value.
    pub(crate) fn record(&mut self, took_us: u64) {
        let place = SYNC_BOUNDS_US.iter().position(|&bound| took_us <= bound).unwrap_or(SYNC_BOUNDS_US.len());
        self.counts[place] += 1;
        self.sum_us += took_us;
    }

    /// Returns the bounds in seconds, each with the count of values up to it. The last bound is
    /// infinite.
    pub(crate) fn cumulative(&self) -> Vec<(f64, u64)> {
        let bounds = SYNC_BOUNDS_US.iter().map(|&bound| bound as f64 / 1e6).chain([f64::INFINITY]);
        let reached = self.counts.iter().scan(0, |reached, count| {
            *reached += count;
            Some(*reached)
        });
        bounds.zip(reached).collect()
    }

    /// Returns the sum of all values, s.
    pub(crate) fn sum_s(&self) -> f64 {
        self.sum_us as f64 / 1e6
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_counts_at_every_bound_it_does_not_exceed() {
        let mut histogram = Histogram::default();
        [50, 51, 1_000_000, 99_000_000].into_iter().for_each(|took_us| histogram.record(took_us));
        let cumulative = histogram.cumulative();
        assert_eq!((cumulative[0], cumulative[1]), ((0.000_05, 1), (0.0001, 2)));
        assert_eq!(cumulative[12..], [(1.0, 3), (10.0, 3), (f64::INFINITY, 4)]);
        assert!((histogram.sum_s() - 100.000_101).abs() < 1e-9);
    }
}
