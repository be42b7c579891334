//! Counters of the threads that own no connections.
//!
//! Values that change with many requests are counted without atomics by the thread that sees them.
//! The values here are under a lock, which is taken a few times per log entry, not per request.
//! Source: `ServerMetrics`, `ServerStats#reset`.

use std::time::Duration;

use oxkeeper_durable::recovery::Recovered;
use oxkeeper_proto::Zxid;
use oxkeeper_replica::ensemble::Packed;
use oxkeeper_replica::stats::{Distribution, Tally};

use super::histogram::Histogram;

/// Duration from which a sync is slow, µs.
// ZooKeeper: `fsync.warningthresholdms`.
const SLOW_SYNC_US: u64 = 1_000_000;

/// Counters of the engine.
#[derive(Clone, Debug, Default)]
pub(crate) struct EngineStats {
    /// Commands found waiting, whenever there were any.
    pub(crate) taken: Distribution,
    /// Commands in each log entry made durable and applied.
    pub(crate) applied: Distribution,
    /// Time to write and sync a log entry, µs.
    pub(crate) sync_us: Tally,
    /// Time to write and sync a log entry, ms, with percentiles.
    pub(crate) sync_ms: Distribution,
    /// Time to write and sync a log entry, by bounds.
    pub(crate) syncs: Histogram,
    /// Syncs that took longer than a second.
    pub(crate) slow_syncs: u64,
    /// Commands proposed by this server as leader; `committed` has those committed.
    pub(crate) proposed: u64,
    pub(crate) committed: u64,
    /// Commands committed under another leader.
    pub(crate) learned: u64,
    /// Age of each log entry when applied here, by the wall clock, ms; `ages_learned_ms` has those
    /// of other leaders.
    pub(crate) ages_ms: Distribution,
    pub(crate) ages_learned_ms: Distribution,
    /// Age of each log entry applied while leading, ms: a majority has just confirmed it.
    pub(crate) ages_led_ms: Distribution,
    /// On a leader: number of times a peer caught up.
    pub(crate) joined: u64,
    /// Expired sessions.
    pub(crate) sessions_expired: u64,
    /// Length of each log entry this server proposed to its peers, bytes.
    pub(crate) proposals: Tally,
    /// Length of the last proposal, bytes.
    pub(crate) last_proposal_len: u64,
    /// Writes that took longer than `oxkeeper.slowRequestMs`.
    pub(crate) slow_requests: u64,
    /// Full states sent to peers.
    pub(crate) states_sent: u64,
    /// Number of times this server's state was found to differ from a peer's.
    pub(crate) digest_mismatches: u64,
    /// In an ensemble: entries decided, and bytes of undecided entries on this server.
    pub(crate) decided: (u64, usize),
    /// In an ensemble: bytes of unapplied commands from this server's clients.
    pub(crate) waiting_len: usize,
}

impl EngineStats {
    /// Resets the counts, but not the current values.
    pub(crate) fn reset(&mut self) {
        let (decided, waiting_len) = (self.decided, self.waiting_len);
        *self = EngineStats { decided, waiting_len, ..EngineStats::default() };
    }

    /// Counts a log entry written to disk.
    pub(crate) fn synced(&mut self, took_us: u64) {
        self.sync_us.record(took_us);
        self.sync_ms.record(took_us / 1000);
        self.syncs.record(took_us);
        self.slow_syncs += u64::from(took_us > SLOW_SYNC_US);
    }

    /// Counts the commands that a standalone server found waiting.
    pub(crate) fn taken(&mut self, commands: u64) {
        self.taken.record(commands);
        self.proposed += commands;
    }

    /// Counts an applied log entry with its commands and age. `leads`: this server is the leader.
    // ZooKeeper: only leaders count proposals and commits. A standalone server is its own leader.
    pub(crate) fn applied(&mut self, commands: u64, age_ms: u64, leads: bool) {
        self.applied.record(commands);
        self.ages_ms.record(age_ms);
        let (count, ages_ms) = match leads {
            true => (&mut self.committed, &mut self.ages_led_ms),
            false => (&mut self.learned, &mut self.ages_learned_ms),
        };
        *count += commands;
        ages_ms.record(age_ms);
    }

    /// Counts log entries proposed to peers.
    pub(crate) fn proposed(&mut self, packed: &Packed) {
        if packed.lens.count > 0 {
            self.last_proposal_len = packed.last_len;
            self.proposals.merge(&packed.lens);
            self.proposed += packed.commands;
            self.taken.record(packed.commands);
        }
    }

    /// Returns the last, minimum and maximum length of a proposal.
    // ZooKeeper: -1 if there was none.
    pub(crate) fn proposal_sizes(&self) -> [i64; 3] {
        match self.proposals.count {
            0 => [-1; 3],
            _ => [self.last_proposal_len, self.proposals.min(), self.proposals.max].map(signed),
        }
    }
}

/// Counters of checkpoints.
#[derive(Clone, Debug, Default)]
pub(crate) struct CheckpointStats {
    /// Duration of each checkpoint, ms.
    pub(crate) took_ms: Distribution,
    /// Failed checkpoints.
    pub(crate) failed: u64,
    /// The last checkpoint: its zxid and completion time, Unix s.
    pub(crate) last: Option<(Zxid, i64)>,
}

impl CheckpointStats {
    /// Resets the counts.
    pub(crate) fn reset(&mut self) {
        *self = CheckpointStats { last: self.last, ..CheckpointStats::default() };
    }
}

/// Counters of HTTP requests from administrators.
#[derive(Clone, Debug, Default)]
pub(crate) struct AdminStats {
    /// Snapshots refused because the last one was too recent.
    pub(crate) snapshots_limited: u64,
    /// Restores refused because the last one was too recent.
    pub(crate) restores_limited: u64,
    /// Restores that failed.
    pub(crate) restores_failed: u64,
    /// Duration of successful restores, ms.
    pub(crate) restores_ms: Distribution,
    /// Restored snapshots whose tree does not match the digest in them.
    pub(crate) digest_mismatches: u64,
    /// Plain connections to a port that accepts both plain and TLS.
    pub(crate) insecure: u64,
}

/// Durations and sizes of the recovery.
#[derive(Clone, Debug, Default)]
pub(crate) struct StartupStats {
    /// Time to load the durable tree, ms.
    pub(crate) load_ms: Distribution,
    /// Time to replay the log after it, ms.
    pub(crate) replay_ms: Distribution,
    /// Commands replayed.
    pub(crate) replayed: Distribution,
    /// Total time, ms.
    pub(crate) whole_ms: Distribution,
}

impl StartupStats {
    /// Returns the figures of a recovery.
    pub(crate) fn of(recovered: &Recovered) -> StartupStats {
        let once = |value| {
            let mut values = Distribution::default();
            values.record(value);
            values
        };
        let ms = |time: Duration| time.as_millis() as u64;
        let Recovered { loading, replaying, replayed, .. } = *recovered;
        StartupStats {
            load_ms: once(ms(loading)),
            replay_ms: once(ms(replaying)),
            replayed: once(replayed),
            whole_ms: once(ms(loading + replaying)),
        }
    }
}

/// Returns the value as signed, like Java.
pub(crate) fn signed(value: u64) -> i64 {
    value as i64
}
