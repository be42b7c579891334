//! Counters of threads that own no connections.
//!
//! Values that many requests change are counted by the thread that sees them, without atomics; these under a lock that is
//! taken a few times for a log entry, not for a request. Source: `ServerMetrics`, `ServerStats#reset`.

use std::time::Duration;

use oxkeeper_durable::recovery::Recovered;
use oxkeeper_proto::Zxid;
use oxkeeper_replica::ensemble::Packed;
use oxkeeper_replica::stats::{Distribution, Tally};

use super::histogram::Histogram;

/// A sync that takes longer is slow, µs.
// ZooKeeper: `fsync.warningthresholdms`.
const SLOW_SYNC_US: u64 = 1_000_000;

/// What the engine counts.
#[derive(Clone, Debug, Default)]
pub(crate) struct EngineStats {
    /// Commands found waiting, whenever there were any.
    pub(crate) taken: Distribution,
    /// Commands in each log entry that was made durable and applied.
    pub(crate) applied: Distribution,
    /// Time to write and sync a log entry, µs.
    pub(crate) sync_us: Tally,
    /// The same in ms, with percentiles.
    pub(crate) sync_ms: Distribution,
    /// The same, by bounds.
    pub(crate) syncs: Histogram,
    /// Those that took longer than a second.
    pub(crate) slow_syncs: u64,
    /// Commands proposed, and those committed, by a leader.
    pub(crate) proposed: u64,
    pub(crate) committed: u64,
    /// Commands committed on another server's word.
    pub(crate) learned: u64,
    /// How old log entries were when they were applied here, by the wall clock, ms: of all, and of those of others.
    pub(crate) ages_ms: Distribution,
    pub(crate) ages_learned_ms: Distribution,
    /// The same of those of a leader of others: a majority has just been heard to have them.
    pub(crate) ages_led_ms: Distribution,
    /// On a leader: peers that came into step with it.
    pub(crate) joined: u64,
    /// Sessions that expired.
    pub(crate) sessions_expired: u64,
    /// Length of each log entry this server proposed to its peers, bytes.
    pub(crate) proposals: Tally,
    /// Of the last one.
    pub(crate) last_proposal_len: u64,
    /// Writes that took longer than `oxkeeper.slowRequestMs`.
    pub(crate) slow_requests: u64,
    /// Whole states sent to peers.
    pub(crate) states_sent: u64,
    /// Times this server's state was found to differ from a peer's.
    pub(crate) digest_mismatches: u64,
    /// In an ensemble: entries decided, and bytes of those on this server that are not.
    pub(crate) decided: (u64, usize),
    /// In an ensemble: bytes of own clients' commands that are not applied.
    pub(crate) waiting_len: usize,
}

impl EngineStats {
    /// Counts begin anew; what is, stays.
    pub(crate) fn reset(&mut self) {
        let (decided, waiting_len) = (self.decided, self.waiting_len);
        *self = EngineStats { decided, waiting_len, ..EngineStats::default() };
    }

    /// A log entry is on disk.
    pub(crate) fn synced(&mut self, took_us: u64) {
        self.sync_us.record(took_us);
        self.sync_ms.record(took_us / 1000);
        self.syncs.record(took_us);
        self.slow_syncs += u64::from(took_us > SLOW_SYNC_US);
    }

    /// A standalone server found so many commands waiting.
    pub(crate) fn taken(&mut self, commands: u64) {
        self.taken.record(commands);
        self.proposed += commands;
    }

    /// A log entry of so many commands was applied, when it was so old; `leads`: on this server's word.
    // ZooKeeper: proposals and commits are counted by leaders only. A standalone server leads itself.
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

    /// Log entries were proposed to peers.
    pub(crate) fn proposed(&mut self, packed: &Packed) {
        if packed.lens.count > 0 {
            self.last_proposal_len = packed.last_len;
            self.proposals.merge(&packed.lens);
            self.proposed += packed.commands;
            self.taken.record(packed.commands);
        }
    }

    /// Last, least and greatest length of a proposal.
    // ZooKeeper: -1 while there was none.
    pub(crate) fn proposal_sizes(&self) -> [i64; 3] {
        match self.proposals.count {
            0 => [-1; 3],
            _ => [self.last_proposal_len, self.proposals.min(), self.proposals.max].map(signed),
        }
    }
}

/// What checkpoints count.
#[derive(Clone, Debug, Default)]
pub(crate) struct CheckpointStats {
    /// Time each took, ms.
    pub(crate) took_ms: Distribution,
    /// Those that failed.
    pub(crate) failed: u64,
    /// The last one: the zxid it holds, and when it was done, Unix s.
    pub(crate) last: Option<(Zxid, i64)>,
}

impl CheckpointStats {
    /// Counts begin anew.
    pub(crate) fn reset(&mut self) {
        *self = CheckpointStats { last: self.last, ..CheckpointStats::default() };
    }
}

/// What administrators asked for over HTTP.
#[derive(Clone, Debug, Default)]
pub(crate) struct AdminStats {
    /// Snapshots refused because the last one was not long enough ago.
    pub(crate) snapshots_limited: u64,
    /// Restores refused for the same reason.
    pub(crate) restores_limited: u64,
    /// Restores that failed.
    pub(crate) restores_failed: u64,
    /// What the others took, ms.
    pub(crate) restores_ms: Distribution,
    /// Restored snapshots whose tree is not the one whose digest stands in them.
    pub(crate) digest_mismatches: u64,
    /// Connections without TLS to a port that speaks both.
    pub(crate) insecure: u64,
}

/// What recovery took, once.
#[derive(Clone, Debug, Default)]
pub(crate) struct StartupStats {
    /// To load the durable tree, ms.
    pub(crate) load_ms: Distribution,
    /// To replay the log behind it, ms.
    pub(crate) replay_ms: Distribution,
    /// Commands replayed.
    pub(crate) replayed: Distribution,
    /// All of it, ms.
    pub(crate) whole_ms: Distribution,
}

impl StartupStats {
    /// Of a recovery.
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

/// As signed as Java's.
pub(crate) fn signed(value: u64) -> i64 {
    value as i64
}
