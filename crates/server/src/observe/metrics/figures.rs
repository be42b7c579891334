//! The values of all metrics at one moment.

use oxkeeper_replica::stats::{ServerStats, Tally};
use oxkeeper_replica::watches::Fired;
use oxkeeper_state::Level;

use super::quota::Quotas;
use crate::net::tls::TlsFigures;
use crate::observe::words::metrics::Summary;
use crate::telemetry::counters::{AdminStats, CheckpointStats, EngineStats, StartupStats, signed};
use crate::telemetry::role::{Outages, Place};

/// Values of all metrics at one moment.
#[derive(Debug, Default)]
pub(crate) struct Figures {
    /// Totals of all threads that own connections.
    pub(crate) stats: ServerStats,
    /// Number of four-letter words, which count as packets received.
    pub(crate) words: u64,
    pub(crate) connections: usize,
    pub(crate) outstanding: u64,
    pub(crate) uptime_ms: u64,
    /// Number of znodes as in ZooKeeper, which counts the root twice.
    pub(crate) znodes: usize,
    pub(crate) watches: usize,
    pub(crate) ephemerals: usize,
    pub(crate) data_size: u64,
    pub(crate) sessions: usize,
    /// Sessions known only to this server.
    pub(crate) local_sessions: usize,
    pub(crate) open_files: i64,
    pub(crate) open_files_max: i64,
    /// Probability that the connection throttle refuses a session.
    pub(crate) drop_probability: f64,
    /// Connections refused because of a limit.
    pub(crate) rejected: u64,
    pub(crate) tls: TlsFigures,
    /// Kind of connection and expiry of its certificate, Unix s.
    pub(crate) expiries: Vec<(&'static str, i64)>,
    pub(crate) fired: Fired,
    pub(crate) engine: EngineStats,
    pub(crate) checkpoints: CheckpointStats,
    pub(crate) startup: StartupStats,
    pub(crate) quotas: Quotas,
    pub(crate) admin: AdminStats,
    pub(crate) place: Place,
    pub(crate) outages: Outages,
    /// Log entries applied; `checkpointed` has those in the durable tree.
    pub(crate) applied: u64,
    pub(crate) checkpointed: u64,
    /// Bytes of log entries after the last checkpoint.
    pub(crate) behind_len: u64,
    /// Ballot of the current log entries.
    pub(crate) ballot: u64,
    /// The agreed feature level.
    pub(crate) level: Level,
    /// Number of voters.
    pub(crate) quorum_size: usize,
}

impl Figures {
    /// Returns the number of packets received, including four-letter words.
    pub(crate) fn received(&self) -> i64 {
        signed(self.stats.received + self.words)
    }
}

/// Returns a tally as a summary for a word.
pub(crate) fn summary(tally: &Tally) -> Summary {
    Summary { min: signed(tally.min()), max: signed(tally.max), count: signed(tally.count), sum: signed(tally.sum) }
}
