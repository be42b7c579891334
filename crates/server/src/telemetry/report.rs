//! Reports of the threads that own connections, for four-letter words and metrics.

use std::net::SocketAddr;

use oxkeeper_proto::SessionId;
use oxkeeper_replica::stats::{ConnectionStats, ServerStats};

/// Connections and counters of one thread.
#[derive(Debug, Default)]
pub(crate) struct ThreadReport {
    pub(crate) stats: ServerStats,
    pub(crate) outstanding: u64,
    pub(crate) connections: Vec<ConnectionReport>,
}

/// One connection.
#[derive(Clone, Debug)]
pub(crate) struct ConnectionReport {
    pub(crate) peer: SocketAddr,
    /// The connection uses TLS.
    pub(crate) secure: bool,
    pub(crate) session: SessionId,
    pub(crate) timeout_ms: i32,
    /// Time of acceptance, Unix ms.
    pub(crate) established_ms: i64,
    pub(crate) outstanding: u32,
    pub(crate) stats: ConnectionStats,
}

impl ThreadReport {
    /// Adds the report of another thread.
    pub(crate) fn merge(&mut self, mut other: ThreadReport) {
        self.stats.merge(&other.stats);
        self.outstanding += other.outstanding;
        self.connections.append(&mut other.connections);
    }
}
