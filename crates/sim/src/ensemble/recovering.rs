//! Makes restarts take time: the more znodes and log entries there are to recover, the longer.
//!
//! In the meantime the process is down: it has no links, and clients are turned away.

use super::options::Options;
use super::server::{Host, Incarnation, Process};
use super::trace::note;
use super::world::World;

const US_PER_MS: u64 = 1_000;

impl Host {
    /// Counts what a restart must recover if the server stops now.
    pub(super) fn note_what_to_recover(&mut self) {
        if let Some(Process { shared, incarnation: Some(incarnation), .. }) = &self.process {
            self.to_recover = to_recover(shared.read().state.tree().len(), incarnation);
        }
    }

    /// Returns the duration of a restart, ms.
    fn recovery_ms(&self, options: &Options) -> u64 {
        options.start_ms + self.to_recover * options.recovers_one_us / US_PER_MS
    }
}

/// Returns the number of znodes, plus the number of log entries that no checkpoint holds.
fn to_recover(znodes: usize, incarnation: &Incarnation) -> u64 {
    let behind = incarnation.engine.lock().replica().applied().saturating_sub(incarnation.committed);
    znodes as u64 + behind
}

impl World {
    /// Returns the time until which a process that is about to start recovers, or `None` if it is
    /// done.
    pub(super) fn still_recovers(&mut self, me: usize) -> Option<u64> {
        let (now_ms, host) = (self.now_ms, &mut self.hosts[me]);
        let until_ms = host.recovers_until_ms.take().unwrap_or_else(|| now_ms + host.recovery_ms(&self.options));
        if until_ms <= now_ms {
            return None;
        }
        host.recovers_until_ms = Some(until_ms);
        note(now_ms, me, "recovers so much, until ms", [host.to_recover, until_ms]);
        Some(until_ms)
    }

    /// Returns how long a process that continues takes to recover the data on its disk, ms.
    pub(super) fn recovers_anew_ms(&mut self, me: usize, process: &Process) -> u64 {
        if let Some(incarnation) = &process.incarnation {
            self.hosts[me].to_recover = to_recover(process.shared.read().state.tree().len(), incarnation);
        }
        self.hosts[me].recovery_ms(&self.options)
    }

    /// Returns how long it takes to load the state of server `from` and the `behind` entries that
    /// follow it, ms.
    pub(super) fn loads_ms(&mut self, me: usize, from: usize, behind: u64) -> u64 {
        let znodes = |process: &Process| process.shared.read().state.tree().len() as u64;
        self.hosts[me].to_recover = self.hosts[from].process.as_ref().map_or(0, znodes) + behind;
        self.options.load_ms + self.hosts[me].recovery_ms(&self.options)
    }
}
