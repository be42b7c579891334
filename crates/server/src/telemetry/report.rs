//! What the threads that own connections tell when asked: for four-letter words and metrics.

use std::net::SocketAddr;

use oxkeeper_proto::SessionId;
use oxkeeper_replica::stats::{ConnectionStats, ServerStats};

/// One thread's connections and counters.
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
    /// It came with TLS.
    pub(crate) secure: bool,
    pub(crate) session: SessionId,
    pub(crate) timeout_ms: i32,
    /// When it was accepted, Unix ms.
    pub(crate) established_ms: i64,
    pub(crate) outstanding: u32,
    pub(crate) stats: ConnectionStats,
}

impl ThreadReport {
    /// Adds another thread's.
    pub(crate) fn merge(&mut self, mut other: ThreadReport) {
        self.stats.merge(&other.stats);
        self.outstanding += other.outstanding;
        self.connections.append(&mut other.connections);
    }
}
