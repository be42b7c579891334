//! Recent percentiles: those of about the last ten minutes, computed from cumulative counts.
//!
//! ZooKeeper's Prometheus client keeps samples of ten minutes. Here, the counts at a few past
//! moments are kept and subtracted, so that counting a value has no extra cost. Invariant: moments
//! are at least [`STEP_MS`] apart, and at most [`KEPT`] are kept per metric. Source:
//! `io.prometheus.client.Summary` (`maxAgeSeconds`, `ageBuckets`).

use std::collections::{HashMap, VecDeque};

use oxkeeper_replica::stats::{Counts, Distribution};

/// Minimum time between two kept moments, ms.
const STEP_MS: u64 = 120_000;
/// Maximum number of moments per metric.
const KEPT: usize = 5;

/// Past moments, by metric.
#[derive(Debug, Default)]
pub(crate) struct Windows(HashMap<&'static str, VecDeque<(u64, Counts)>>);

impl Windows {
    /// Returns the values that the given shares of recent values, in per mille, do not exceed;
    /// `None` without values.
    pub(crate) fn percentiles<const N: usize>(
        &mut self,
        name: &'static str,
        values: &Distribution,
        per_mille: [u64; N],
        now_ms: u64,
    ) -> [Option<u64>; N] {
        let moments = self.0.entry(name).or_default();
        if moments.back().is_none_or(|(at_ms, _)| now_ms >= at_ms + STEP_MS) {
            // Values counted before the first request belong to the first answers.
            let counts = if moments.is_empty() { Counts::default() } else { values.counts() };
            moments.push_back((now_ms, counts));
            if moments.len() > KEPT {
                moments.pop_front();
            }
        }
        let (_, oldest) = moments.front().expect("one was just put there");
        per_mille.map(|per_mille| values.percentile_since(oldest, per_mille))
    }

    /// Resets all windows.
    pub(crate) fn forget(&mut self) {
        self.0.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_values_are_forgotten_in_ten_minutes() {
        let mut windows = Windows::default();
        let mut values = Distribution::default();
        values.record(30);
        let mut median = |values: &Distribution, at_s: u64| windows.percentiles("x", values, [500], at_s * 1000)[0];
        assert_eq!(median(&values, 0), Some(30));
        for at_s in [60, 119, 120, 240, 360, 480] {
            assert_eq!(median(&values, at_s), Some(30), "{at_s}");
        }
        assert_eq!(median(&values, 600), None);
        values.record(2);
        assert_eq!(median(&values, 601), Some(2));
        assert_eq!(median(&values, 1200), Some(2));
    }

    #[test]
    fn forgotten_is_forgotten() {
        let mut windows = Windows::default();
        let mut values = Distribution::default();
        (0..9).for_each(|_| values.record(7));
        for at_s in (0..1000).step_by(120) {
            windows.percentiles("x", &values, [500], at_s * 1000);
        }
        windows.forget();
        let mut anew = Distribution::default();
        anew.record(7);
        assert_eq!(windows.percentiles("x", &anew, [500, 990], 1_000_000), [Some(7), Some(7)]);
    }
}
