//! What is known of each peer's link: whether it is up, when the peer was last heard of, how the peer stands; and the
//! frames that wait to be sent, in the one order in which they must arrive.
//!
//! Invariant: frames leave a link in order; a frame that tells of something leaves after that is durable. Urgent ones leave at once,
//! and forwarded commands overtake what waits for the disk, so that a slow disk is no silence.

use std::collections::VecDeque;

use omnipaxos::messages::ballot_leader_election::BLEMessage;
use oxkeeper_proto::ServerId;

use super::frame::{Frame, Status};

/// What a peer that does not vote is told: every decided entry, a part at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stream {
    /// The next one.
    pub(crate) next: u64,
    /// It has not said that it has the last part.
    pub(crate) waits: bool,
}

/// Where a server is: frames of consensus mean something only to one that is in the same place. Told in order with them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    configuration: u32,
    base: u64,
    votes: bool,
}

impl Place {
    pub(crate) fn of(status: &Status) -> Place {
        Place { configuration: status.configuration, base: status.base, votes: status.votes }
    }
}

/// One peer.
#[derive(Debug, Default)]
pub(crate) struct Link {
    pub(crate) up: bool,
    /// How many links there were to this peer, with this one.
    pub(crate) number: u64,
    /// Both ends vote in the same configuration, and said so on this link: only then consensus speaks over it.
    pub(crate) joined: bool,
    /// The heartbeat that has overtaken the ping with which its sender joins: it is answered when that is here. Without an
    /// answer its sender may elect itself.
    pub(crate) early: Option<BLEMessage>,
    /// The peer is told what is decided.
    pub(crate) stream: Option<Stream>,
    /// When it was asked for what this server lacks, ms.
    pub(crate) asked_ms: Option<u64>,
    /// When it last said anything, or a part of something, ms.
    pub(crate) heard_ms: Option<u64>,
    /// When it last took bytes of those that waited for it, ms.
    pub(crate) drained_ms: Option<u64>,
    /// How it stands, as it said on this link.
    pub(crate) status: Option<Status>,
    /// Where this server is, as it was told on this link.
    pub(crate) told: Option<Place>,
    /// There and back, ms: the last one measured.
    pub(crate) rtt_ms: u64,
    /// Frames that leave in front of all others.
    urgent: VecDeque<Vec<u8>>,
    /// Each with the number of the journal's write that must come before it; 0 for none.
    waiting: VecDeque<(u64, Vec<u8>)>,
}

impl Link {
    /// A new link: nothing of the old one counts any more.
    pub(crate) fn begin(&mut self, now_ms: u64) {
        let number = self.number + 1;
        *self = Link { up: true, number, heard_ms: Some(now_ms), rtt_ms: self.rtt_ms, ..Link::default() };
    }

    pub(crate) fn end(&mut self) {
        *self = Link { number: self.number, heard_ms: self.heard_ms, rtt_ms: self.rtt_ms, ..Link::default() };
    }

    /// Consensus ends on it.
    pub(crate) fn part(&mut self) {
        (self.joined, self.early) = (false, None);
    }

    pub(crate) fn push(&mut self, needs_write: u64, frame: Vec<u8>) {
        match self.up {
            true if Frame::is_urgent(&frame) => self.urgent.push_back(frame),
            true => self.waiting.push_back((needs_write, frame)),
            false => {}
        }
    }

    /// The next frame: an urgent one, or the first of the others if everything it needs is among the journal's writes up to
    /// `written`.
    pub(crate) fn pop(&mut self, written: u64) -> Option<Vec<u8>> {
        if let Some(frame) = self.urgent.pop_front() {
            return Some(frame);
        }
        let (needs_write, _) = self.waiting.front()?;
        if *needs_write > written {
            let at = self.waiting.iter().position(|(_, frame)| Frame::is_forward(frame))?;
            return self.waiting.remove(at).map(|(_, frame)| frame);
        }
        self.waiting.pop_front().map(|(_, frame)| frame)
    }

    /// What waits for a write that is not among the first `written` will never be true; what does not, stays.
    pub(crate) fn forget_unwritten(&mut self, written: u64) {
        self.waiting.retain(|(needs_write, _)| *needs_write <= written);
        self.waiting.iter_mut().for_each(|(needs_write, _)| *needs_write = 0);
    }

    /// Panics with the invariant that is broken. `staged` writes of the journal are done or to come.
    pub(crate) fn check(&self, peer: ServerId, staged: u64) {
        let is_empty = !self.joined && self.status.is_none() && self.stream.is_none() && self.waiting.is_empty();
        assert!(self.up || is_empty, "invariant: something is left of the link to {peer}: {self:?}");
        assert!(!self.up || self.number > 0, "invariant: the link to {peer} has no number");
        let needs = || self.waiting.iter().map(|(needs_write, _)| *needs_write).filter(|&needs_write| needs_write > 0);
        assert!(needs().is_sorted(), "invariant: frames to {peer} wait for writes in another order");
        let last = needs().next_back().unwrap_or_default();
        assert!(last <= staged, "invariant: a frame to {peer} waits for write {last} of {staged}");
    }

    /// Whether nothing has passed over it since `since_ms`, in either direction, although it is up.
    pub(crate) fn is_silent_since(&self, since_ms: u64) -> bool {
        self.up && self.heard_ms.max(self.drained_ms).is_none_or(|passed_ms| passed_ms < since_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ensemble::check::tests::assert_found;

    fn link() -> Link {
        let mut link = Link::default();
        link.begin(0);
        [1, 0, 2].into_iter().for_each(|needs_write| link.push(needs_write, Vec::new()));
        link
    }

    #[test]
    fn what_is_wrong_in_a_link_is_found() {
        assert_found(
            link,
            |link| link.check(ServerId(2), 2),
            &[
                ("something is left of the link to 2", |it| it.up = false),
                ("the link to 2 has no number", |it| it.number = 0),
                ("frames to 2 wait for writes in another order", |it| it.push(1, Vec::new())),
                ("a frame to 2 waits for write 3 of 2", |it| it.push(3, Vec::new())),
            ],
        );
    }
}
