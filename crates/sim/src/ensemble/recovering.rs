//! Restarts take time: the longer, the more znodes and log entries there are to recover.
//!
//! Meanwhile the process is down: it has no links, and clients who come are turned away.

use super::options::Options;
use super::server::{Host, Incarnation, Process};
use super::trace::note;
use super::world::World;

/// Microseconds in a millisecond.
const US_PER_MS: u64 = 1_000;

impl Host {
    /// Counts what a restart has to recover, if the server goes now.
    pub(super) fn note_what_to_recover(&mut self) {
        if let Some(Process { shared, incarnation: Some(incarnation), .. }) = &self.process {
            self.to_recover = to_recover(shared.read().state.tree().len(), incarnation);
        }
    }

    /// How long a restart takes, ms.
    fn recovery_ms(&self, options: &Options) -> u64 {
        options.start_ms + self.to_recover * options.recovers_one_us / US_PER_MS
    }
}

/// Znodes of the tree, and log entries that no checkpoint holds.
fn to_recover(znodes: usize, incarnation: &Incarnation) -> u64 {
    let behind = incarnation.engine.lock().replica().applied().saturating_sub(incarnation.committed);
    znodes as u64 + behind
}

impl World {
    /// Until when a process that is to start now recovers, if that is not over.
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

    /// How long a process that goes on takes to recover what is on its disk, ms.
    pub(super) fn recovers_anew_ms(&mut self, me: usize, process: &Process) -> u64 {
        if let Some(incarnation) = &process.incarnation {
            self.hosts[me].to_recover = to_recover(process.shared.read().state.tree().len(), incarnation);
        }
        self.hosts[me].recovery_ms(&self.options)
    }

    /// How long it takes to load the state of server `from`, with so many entries behind it, ms.
    pub(super) fn loads_ms(&mut self, me: usize, from: usize, behind: u64) -> u64 {
        let znodes = |process: &Process| process.shared.read().state.tree().len() as u64;
        self.hosts[me].to_recover = self.hosts[from].process.as_ref().map_or(0, znodes) + behind;
        self.options.load_ms + self.hosts[me].recovery_ms(&self.options)
    }
}
