//! Three health checks for tools that restart servers or direct clients to them.
//!
//! | check | yes means | no means |
//! |---|---|---|
//! | live | every thread makes progress, or waits for the disk or a peer | restart the server |
//! | ready | clients are served, reads and writes | send no clients here |
//! | started | the data on disk is recovered | wait |
//!
//! This module owns the server's phase. Invariant: liveness does not depend on peers, the disk or
//! the state's lock. Source: none; ZooKeeper has `ruok`, which always succeeds.

use std::fmt::Write as _;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::telemetry::role::Role;
use crate::telemetry::watchdog::Watchdog;

/// Time without progress from which a thread is stuck, ms.
const STUCK_MS: u64 = 30_000;
/// The same in ticks, if those take longer: an idle engine makes one round per tick.
const STUCK_TICKS: u64 = 3;
/// Number of consecutive checks that must find the thread stuck: after a pause of the whole
/// process, its threads need a moment.
const LOOKS: u32 = 3;

/// Phase of a server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Reading the data on disk.
    #[default]
    Recovering,
    /// Running.
    Running,
    /// Told to stop.
    Stopping,
}

/// Health of the threads.
#[derive(Debug, Default)]
pub(super) struct Health {
    watched: Mutex<Option<Watched>>,
}

#[derive(Debug)]
struct Watched {
    watchdog: Arc<Watchdog>,
    patience_ms: u64,
    /// Number of consecutive checks that found a thread stuck.
    looks: u32,
    stuck: Vec<String>,
}

impl Health {
    /// Starts monitoring the threads.
    pub(super) fn watch(&self, watchdog: Arc<Watchdog>, tick_ms: u64) {
        let patience_ms = STUCK_MS.max(STUCK_TICKS * tick_ms);
        *self.watched.lock() = Some(Watched { watchdog, patience_ms, looks: 0, stuck: Vec::new() });
    }

    /// Checks the threads. Called once a second.
    pub(super) fn look(&self) {
        if let Some(watched) = &mut *self.watched.lock() {
            watched.stuck = watched.watchdog.stalled(watched.patience_ms);
            watched.looks = if watched.stuck.is_empty() { 0 } else { watched.looks.saturating_add(1) };
        }
    }

    /// Returns whether the process is alive.
    pub(super) fn live(&self) -> Verdict {
        let mut verdict = Verdict::default();
        let watched = self.watched.lock();
        let stuck = watched.as_ref().filter(|watched| watched.looks >= LOOKS);
        let trouble = stuck.map(|watched| {
            let (threads, seconds) = (watched.stuck.join(", "), watched.patience_ms / 1000);
            format!("no progress for {seconds} s: {threads}")
        });
        verdict.check("threads", trouble);
        verdict
    }
}

/// Returns whether the server has recovered.
pub(super) fn started(phase: Phase) -> Verdict {
    let mut verdict = Verdict::default();
    let trouble = (phase == Phase::Recovering).then(|| "the data on disk is being read".to_owned());
    verdict.check("recovery", trouble);
    verdict
}

/// Returns whether the server serves clients. `role` is known once it has recovered. Read-only mode
/// counts as ready only if `read_only_is_enough`.
pub(super) fn ready(phase: Phase, role: Option<Role>, read_only_is_enough: bool) -> Verdict {
    let mut verdict = started(phase);
    verdict.check("stop", (phase == Phase::Stopping).then(|| "the server is stopping".to_owned()));
    let trouble = match role {
        Some(Role::Standalone | Role::Leader | Role::Follower | Role::Observer) => None,
        Some(Role::ReadOnly) if read_only_is_enough => None,
        Some(Role::ReadOnly) => Some("out of touch with a majority: only read-only clients are served"),
        Some(Role::NotServing) => Some("no leader, out of touch with a majority, or restoring a snapshot"),
        None => Some("not yet"),
    };
    verdict.check("serving", trouble.map(str::to_owned));
    verdict
}

/// Result, check by check.
#[derive(Debug, Default)]
pub(super) struct Verdict {
    text: String,
    bad: bool,
}

impl Verdict {
    fn check(&mut self, name: &str, trouble: Option<String>) {
        let written = match &trouble {
            Some(trouble) => writeln!(self.text, "[-]{name}: {trouble}"),
            None => writeln!(self.text, "[+]{name} ok"),
        };
        written.expect("a String takes all");
        self.bad |= trouble.is_some();
    }

    /// Returns whether all checks passed.
    pub(super) fn is_good(&self) -> bool {
        !self.bad
    }

    /// Returns one line per check, then the result.
    pub(super) fn text(&self, question: &str) -> String {
        let answer = if self.bad { "failed" } else { "passed" };
        format!("{}{question} check {answer}\n", self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;

    #[test]
    fn ready_is_who_serves_clients() {
        let cases = [
            (Phase::Recovering, None, false, false),
            (Phase::Running, Some(Role::Standalone), false, true),
            (Phase::Running, Some(Role::Leader), false, true),
            (Phase::Running, Some(Role::Follower), false, true),
            (Phase::Running, Some(Role::NotServing), false, false),
            (Phase::Running, Some(Role::NotServing), true, false),
            (Phase::Running, Some(Role::ReadOnly), false, false),
            (Phase::Running, Some(Role::ReadOnly), true, true),
            (Phase::Stopping, Some(Role::Standalone), false, false),
        ];
        for (phase, role, read_only_is_enough, expected) in cases {
            let verdict = ready(phase, role, read_only_is_enough);
            assert_eq!(verdict.is_good(), expected, "{phase:?} {role:?}");
        }
        let verdict = ready(Phase::Running, Some(Role::NotServing), false).text("readyz");
        let expected = "[+]recovery ok\n[+]stop ok\n[-]serving: no leader, out of touch with a majority, or restoring a snapshot\nreadyz check failed\n";
        assert_eq!(verdict, expected);
    }

    #[test]
    fn a_server_without_a_leader_is_alive_and_one_that_is_stuck_is_not() {
        let health = Health::default();
        assert!(health.live().is_good());
        let watchdog = Arc::new(Watchdog::new(Clock::start(), 1));
        health.watch(watchdog.clone(), 500);
        if let Some(watched) = &mut *health.watched.lock() {
            watched.patience_ms = 20;
        }
        std::thread::sleep(std::time::Duration::from_millis(40));
        watchdog.io_beats(0);
        for look in 1..=LOOKS {
            assert!(health.live().is_good(), "{look}");
            health.look();
        }
        assert_eq!(health.live().text("livez"), "[-]threads: no progress for 0 s: engine\nlivez check failed\n");
        watchdog.engine_beats();
        health.look();
        assert_eq!(health.live().text("livez"), "[+]threads ok\nlivez check passed\n");
    }
}
