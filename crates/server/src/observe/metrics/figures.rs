//! Everything that metrics show, at one moment.

use oxkeeper_replica::stats::{ServerStats, Tally};
use oxkeeper_replica::watches::Fired;
use oxkeeper_state::Level;

use super::quota::Quotas;
use crate::net::tls::TlsFigures;
use crate::observe::words::metrics::Summary;
use crate::telemetry::counters::{AdminStats, CheckpointStats, EngineStats, StartupStats, signed};
use crate::telemetry::role::{Outages, Place};

/// Everything the metrics show, at one moment.
#[derive(Debug, Default)]
pub(crate) struct Figures {
    /// Of all threads that own connections.
    pub(crate) stats: ServerStats,
    /// Four-letter words: they count as packets received.
    pub(crate) words: u64,
    pub(crate) connections: usize,
    pub(crate) outstanding: u64,
    pub(crate) uptime_ms: u64,
    /// As the reference counts, which counts the root twice.
    pub(crate) znodes: usize,
    pub(crate) watches: usize,
    pub(crate) ephemerals: usize,
    pub(crate) data_size: u64,
    pub(crate) sessions: usize,
    /// Sessions that only this server knows.
    pub(crate) local_sessions: usize,
    pub(crate) open_files: i64,
    pub(crate) open_files_max: i64,
    /// The chance of a session of being refused for no other reason.
    pub(crate) drop_probability: f64,
    /// Connections refused because there were too many.
    pub(crate) rejected: u64,
    pub(crate) tls: TlsFigures,
    /// Whom a certificate is shown to, and when it expires, Unix s.
    pub(crate) expiries: Vec<(&'static str, i64)>,
    pub(crate) fired: Fired,
    pub(crate) engine: EngineStats,
    pub(crate) checkpoints: CheckpointStats,
    pub(crate) startup: StartupStats,
    pub(crate) quotas: Quotas,
    pub(crate) admin: AdminStats,
    pub(crate) place: Place,
    pub(crate) outages: Outages,
    /// Log entries applied, and those of them that the durable tree holds.
    pub(crate) applied: u64,
    pub(crate) checkpointed: u64,
    /// Bytes of log entries behind the last checkpoint.
    pub(crate) behind_len: u64,
    /// The ballot under which entries count now.
    pub(crate) ballot: u64,
    /// The feature level that was agreed on.
    pub(crate) level: Level,
    /// Servers that vote.
    pub(crate) quorum_size: usize,
}

impl Figures {
    /// Packets received, four-letter words among them.
    pub(crate) fn received(&self) -> i64 {
        signed(self.stats.received + self.words)
    }
}

/// A tally as a word shows it.
pub(crate) fn summary(tally: &Tally) -> Summary {
    Summary { min: signed(tally.min()), max: signed(tally.max), count: signed(tally.count), sum: signed(tally.sum) }
}
