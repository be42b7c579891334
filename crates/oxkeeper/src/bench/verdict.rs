//! `bench --check`: whether a server carries a stated load, in the manner of `etcdctl check perf`.

use super::report::{Cost, grouped};

/// The least share of the rate that must be answered, percent.
const ANSWERED_MIN: f64 = 95.0;
/// The longest time that 99 % of the requests may take, ms.
const P99_MAX_MS: f64 = 100.0;
/// The longest time that any request may take, ms.
const SLOWEST_MAX_MS: f64 = 500.0;

/// Whether the server passed, and the sentence that says why.
#[derive(Debug)]
pub(super) struct Verdict {
    pub(super) passed: bool,
    pub(super) sentence: String,
}

/// Judges `cost`, which `rate` requests of `workload` a second had.
pub(super) fn judge(workload: &str, rate: u32, cost: &Cost, is_whole: bool) -> Verdict {
    let (answered, p99_ms, slowest_ms) = (cost.ops_per_s, cost.latency.p99_us / 1e3, cost.latency.max_us / 1e3);
    let answered_min = f64::from(rate) * ANSWERED_MIN / 100.0;
    let passed = is_whole && answered >= answered_min && p99_ms <= P99_MAX_MS && slowest_ms <= SLOWEST_MAX_MS;
    let shown = |number: f64| grouped(&format!("{number:.1}"));
    let sentence = format!(
        "{}: {workload} at {} requests a second: {} a second were answered (at least {}), 99 % took at most {} ms (limit {} ms), \
         the slowest took {} ms (limit {} ms)",
        if passed { "PASS" } else { "FAIL" },
        grouped(&rate.to_string()),
        shown(answered),
        shown(answered_min),
        shown(p99_ms),
        P99_MAX_MS,
        shown(slowest_ms),
        SLOWEST_MAX_MS,
    );
    Verdict { passed, sentence }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::process::{Cpu, Probe};
    use super::super::report::{histogram, record};
    use super::*;

    fn check(ops: u64, took_ms: u64, slowest_ms: u64) -> Verdict {
        let mut times = histogram();
        (1..ops).for_each(|_| record(&mut times, Duration::from_millis(took_ms)));
        record(&mut times, Duration::from_millis(slowest_ms));
        let probe = Probe::new(&[]).expect("no process to look at");
        judge("mixed:50", 1_000, &Cost::new(ops, Duration::from_secs(1), Cpu::default(), &times, &probe), true)
    }

    #[test]
    fn a_server_passes_that_keeps_every_limit() {
        let passed = check(1_000, 3, 40);
        assert!(passed.passed && passed.sentence.starts_with("PASS: mixed:50 at 1,000 requests a second: 1,000.0"));
        assert!(!check(900, 3, 40).passed, "too few");
        assert!(!check(1_000, 150, 160).passed, "slow");
        assert!(!check(1_000, 3, 700).passed, "one is slow");
    }
}
