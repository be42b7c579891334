//! Logs slow writes: one line each, at a limited rate, with a breakdown of the time.
//!
//! This module owns the rate of lines. Invariant: every slow write is counted, even if it is not
//! logged.

use oxkeeper_replica::Applier;
use oxkeeper_replica::applier::SlowWrite;
use tracing::warn;

use crate::clock::Clock;

/// Maximum number of lines per interval; the others are only counted.
const LINES_MAX: u64 = 10;
/// Length of the interval, ms.
const INTERVAL_MS: u64 = 10_000;

/// Times at which a write passed from one stage to the next, ms of the server's clock.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Times {
    /// Taken from the queue, on its way to the disk. `None`: the write also went to peers, so the
    /// stages cannot be separated.
    pub(crate) taken_ms: Option<u64>,
    /// Agreed on and on disk.
    pub(crate) durable_ms: u64,
}

/// State of the log rate.
#[derive(Debug, Default)]
pub(crate) struct SlowLog {
    since_ms: u64,
    lines: u64,
    unlogged: u64,
}

impl SlowLog {
    /// Logs the writes that the applier found slow. Returns their number.
    pub(crate) fn report(&mut self, applier: &mut Applier, times: Times, clock: Clock) -> u64 {
        if applier.slow.is_empty() {
            return 0;
        }
        let now_ms = clock.now_ms();
        let more = std::mem::take(&mut applier.slow_unnamed);
        let found = applier.slow.len() as u64 + more;
        for slow in applier.slow.drain(..) {
            if self.may_log(now_ms) {
                log(&slow, times, now_ms);
            }
        }
        self.unlogged += more;
        found
    }

    /// Returns whether another line may be logged now.
    fn may_log(&mut self, now_ms: u64) -> bool {
        if now_ms >= self.since_ms + INTERVAL_MS {
            let unlogged = std::mem::take(&mut self.unlogged);
            if unlogged > 0 {
                warn!(unlogged, "more slow requests, not logged one by one");
            }
            (self.since_ms, self.lines) = (now_ms, 0);
        }
        let may = self.lines < LINES_MAX;
        if may {
            self.lines += 1;
        } else {
            self.unlogged += 1;
        }
        may
    }
}

fn log(slow: &SlowWrite, times: Times, now_ms: u64) {
    let SlowWrite { op, path, session, address, received_ms } = slow;
    let total_ms = now_ms.saturating_sub(*received_ms);
    let apply_ms = now_ms.saturating_sub(times.durable_ms);
    match times.taken_ms {
        Some(taken_ms) => {
            // Delay caused by the connection's own earlier writes counts as queueing.
            let queue_ms = taken_ms.saturating_sub(*received_ms);
            let disk_ms = times.durable_ms.saturating_sub(taken_ms.max(*received_ms));
            warn!(?op, path, %session, client = address, total_ms, queue_ms, disk_ms, apply_ms, "slow request");
        }
        None => {
            let agreement_ms = times.durable_ms.saturating_sub(*received_ms);
            warn!(?op, path, %session, client = address, total_ms, agreement_ms, apply_ms, "slow request");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_lines_in_an_interval() {
        let mut log = SlowLog::default();
        let logged = |log: &mut SlowLog, now_ms| (0..25).filter(|_| log.may_log(now_ms)).count();
        assert_eq!((logged(&mut log, INTERVAL_MS), log.unlogged), (10, 15));
        assert_eq!((logged(&mut log, 2 * INTERVAL_MS - 1), log.unlogged), (0, 40));
        assert_eq!((logged(&mut log, 2 * INTERVAL_MS), log.unlogged), (10, 15));
    }
}
