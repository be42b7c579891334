//! Holds the log for peers that receive a state, until they are in step.
//!
//! While a state is sent, the log keeps what is still to be sent. Afterwards it keeps the entries
//! that follow the state until the peer is in step: the peer has to install the state and load it,
//! which takes longer the larger it is, and would otherwise find the log trimmed. This ends when
//! the peer takes no part within [`KEPT_MS`], or when the entries kept for it exceed
//! [`PINNED_LEN_MAX`] bytes.
//!
//! The threads that send states share this with the engine.

use std::collections::BTreeMap;

use oxkeeper_proto::ServerId;
use parking_lot::Mutex;

/// Bytes of log kept for peers that received a state and are not in step yet; a peer that needs
/// more starts over.
pub const PINNED_LEN_MAX: u64 = 2 << 30;
/// Time that a peer has to get in step after it received a state, ms.
const KEPT_MS: u64 = 600_000;

/// The index from which the log must stay, for each state.
#[derive(Debug, Default)]
pub struct Pins(Mutex<Pinned>);

#[derive(Debug, Default)]
struct Pinned {
    next: u64,
    /// States being sent: number to first index needed.
    sending: BTreeMap<u64, u64>,
    /// States that were sent: peer to first index needed, and the expiry, which the first look at
    /// the clock sets.
    kept: BTreeMap<ServerId, (u64, Option<u64>)>,
}

impl Pins {
    /// Registers a state to send and returns its number. The whole log stays until more is known.
    pub fn begin(&self) -> u64 {
        let mut pinned = self.0.lock();
        pinned.next += 1;
        let number = pinned.next;
        pinned.sending.insert(number, 0);
        number
    }

    /// Releases the log below `from`: this state no longer needs it.
    pub fn set(&self, number: u64, from: u64) {
        self.0.lock().sending.entry(number).and_modify(|pin| *pin = from);
    }

    /// Ends the sending of a state. If `peer` has all of it, the log keeps what comes next for that
    /// peer.
    pub fn end(&self, number: u64, peer: Option<ServerId>) {
        let mut pinned = self.0.lock();
        if let (Some(from), Some(peer)) = (pinned.sending.remove(&number), peer) {
            pinned.kept.insert(peer, (from, None));
        }
    }

    /// Returns the lowest index that must stay for states being sent, and the lowest for peers that
    /// received one. Forgets the latter once they are among those in step, or after a while.
    pub fn lowest(&self, now_ms: u64, in_step: &[ServerId]) -> (u64, u64) {
        let mut pinned = self.0.lock();
        pinned.kept.retain(|peer, (_, until_ms)| {
            !in_step.contains(peer) && now_ms < *until_ms.get_or_insert(now_ms.saturating_add(KEPT_MS))
        });
        let sending = pinned.sending.values().copied().min().unwrap_or(u64::MAX);
        let kept = pinned.kept.values().map(|(from, _)| *from).min().unwrap_or(u64::MAX);
        (sending, kept)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_peer_needs_stays_until_it_is_in_step() {
        let pins = Pins::default();
        assert_eq!(pins.lowest(0, &[]), (u64::MAX, u64::MAX));
        let (one, other) = (pins.begin(), pins.begin());
        pins.set(one, 7);
        assert_eq!(pins.lowest(0, &[ServerId(3)]), (0, u64::MAX));
        pins.set(other, 9);
        pins.end(one, Some(ServerId(3)));
        pins.end(other, None);
        assert_eq!(pins.lowest(0, &[ServerId(2)]), (u64::MAX, 7));
        assert_eq!(pins.lowest(KEPT_MS - 1, &[ServerId(2)]), (u64::MAX, 7));
        assert_eq!(pins.lowest(KEPT_MS - 1, &[ServerId(2), ServerId(3)]), (u64::MAX, u64::MAX));
    }

    #[test]
    fn a_peer_that_does_not_come_back_is_forgotten() {
        let pins = Pins::default();
        pins.end(pins.begin(), Some(ServerId(3)));
        assert_eq!(pins.lowest(5, &[]), (u64::MAX, 0));
        assert_eq!(pins.lowest(5 + KEPT_MS, &[]), (u64::MAX, u64::MAX));
    }
}
