//! Limits on connections, per address and in total. Source: `NIOServerCnxnFactory`.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};

use parking_lot::Mutex;

/// Counts connections. A limit of 0 means no limit.
#[derive(Debug)]
pub(crate) struct Admission {
    per_address_max: u32,
    total_max: u32,
    counts: Mutex<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    total: u32,
    parting: u32,
    by_address: HashMap<IpAddr, u32>,
    rejected: u64,
}

impl Admission {
    pub(crate) fn new(per_address_max: u32, total_max: u32) -> Admission {
        Admission { per_address_max, total_max, counts: Mutex::default() }
    }

    /// Counts a new connection. *Errors*: the limit that forbids it.
    pub(crate) fn enter(&self, peer: SocketAddr) -> Result<(), String> {
        let mut counts = self.counts.lock();
        let of_address = counts.by_address.get(&peer.ip()).copied().unwrap_or(0);
        let full = |max: u32, count: u32| max > 0 && count >= max;
        if full(self.per_address_max, of_address) {
            counts.rejected += 1;
            return Err(format!(
                "its address has as many connections as it may (maxClientCnxns={})",
                self.per_address_max
            ));
        }
        if full(self.total_max, counts.total) {
            counts.rejected += 1;
            return Err(format!("there are as many connections as there may be (maxCnxns={})", self.total_max));
        }
        counts.total += 1;
        *counts.by_address.entry(peer.ip()).or_default() += 1;
        Ok(())
    }

    /// Counts a closed connection.
    pub(crate) fn leave(&self, peer: SocketAddr) {
        let mut counts = self.counts.lock();
        counts.total -= 1;
        if let Some(count) = counts.by_address.get_mut(&peer.ip()) {
            *count -= 1;
            if *count == 0 {
                counts.by_address.remove(&peer.ip());
            }
        }
    }

    /// Changes the number of connected clients that know of the server's stop and are about to
    /// close.
    pub(crate) fn parts(&self, change: i32) {
        let mut counts = self.counts.lock();
        counts.parting = counts.parting.saturating_add_signed(change);
    }

    /// Returns whether all connected clients know of the server's stop.
    pub(crate) fn all_parting(&self) -> bool {
        let counts = self.counts.lock();
        counts.parting == counts.total
    }

    /// Returns whether no client is connected.
    pub(crate) fn is_empty(&self) -> bool {
        self.counts.lock().total == 0
    }

    /// Returns the number of connections refused since the last reset.
    pub(crate) fn rejected(&self) -> u64 {
        self.counts.lock().rejected
    }

    /// Resets the count of refused connections.
    pub(crate) fn forget_rejected(&self) {
        self.counts.lock().rejected = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_hold() {
        let admission = Admission::new(1, 2);
        let [a, b, c] = ["10.0.0.1:1", "10.0.0.2:1", "10.0.0.3:1"].map(|peer| peer.parse().unwrap());
        assert!(admission.enter(a).is_ok());
        assert!(admission.enter(a).is_err());
        assert!(admission.enter(b).is_ok());
        assert!(admission.enter(c).is_err());
        admission.leave(a);
        assert!(admission.enter(c).is_ok());
        assert_eq!(admission.rejected(), 2);
        admission.forget_rejected();
        assert_eq!(admission.rejected(), 0);
    }
}
