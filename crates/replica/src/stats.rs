//! Counters of one connection and of the server, as four-letter words show them.

use crate::delivery::Answered;

/// Latency of answered requests, ms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Latency {
    /// Smallest; 0 when none was answered.
    pub min_ms: u64,
    /// Largest.
    pub max_ms: u64,
    /// Sum of all.
    pub total_ms: u64,
    /// How many.
    pub count: u64,
}

impl Default for Latency {
    fn default() -> Latency {
        Latency { min_ms: u64::MAX, max_ms: 0, total_ms: 0, count: 0 }
    }
}

impl Latency {
    /// Counts one answered request.
    pub fn record(&mut self, latency_ms: u64) {
        self.min_ms = self.min_ms.min(latency_ms);
        self.max_ms = self.max_ms.max(latency_ms);
        self.total_ms += latency_ms;
        self.count += 1;
    }

    /// Counts all that `other` counted.
    pub fn merge(&mut self, other: &Latency) {
        self.min_ms = self.min_ms.min(other.min_ms);
        self.max_ms = self.max_ms.max(other.max_ms);
        self.total_ms += other.total_ms;
        self.count += other.count;
    }
}

/// What one connection did.
#[derive(Clone, Copy, Debug, Default)]
pub struct ConnectionStats {
    /// Frames taken in.
    pub received: u64,
    /// Frames sent: replies and notifications.
    pub sent: u64,
    /// The last answered operation, its xid, its zxid, and when it was answered (ms).
    pub last: Option<LastReply>,
    /// Latency of its requests.
    pub latency: Latency,
}

/// The last request a connection had answered.
#[derive(Clone, Copy, Debug)]
pub struct LastReply {
    /// Which.
    pub answered: Answered,
    /// When, ms.
    pub at_ms: u64,
    /// How long it took, ms.
    pub latency_ms: u64,
}

impl ConnectionStats {
    /// A request was answered.
    pub fn answered(&mut self, answered: Answered, now_ms: u64) {
        let latency_ms = now_ms.saturating_sub(answered.received_ms);
        self.sent += 1;
        self.latency.record(latency_ms);
        self.last = Some(LastReply { answered, at_ms: now_ms, latency_ms });
    }

    /// Forgets everything, as `crst` asks.
    pub fn reset(&mut self) {
        *self = ConnectionStats::default();
    }
}
