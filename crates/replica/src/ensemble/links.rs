//! State of each peer's link: whether it is up, when the peer was last heard, and the peer's
//! status; and the frames that wait to be sent, in the one order in which they must arrive.
//!
//! Invariant: frames leave a link in order; a frame that reports something leaves after that is
//! durable. Urgent frames leave at once, and forwarded commands overtake frames that wait for the
//! disk, so that a slow disk does not look like silence.

use std::collections::VecDeque;

use omnipaxos::messages::ballot_leader_election::BLEMessage;
use oxkeeper_proto::ServerId;

use super::frame::{Frame, Status};

/// Stream of decided entries to a peer that does not vote, a part at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stream {
    /// Index of the next entry.
    pub(crate) next: u64,
    /// Whether the peer has yet to acknowledge the last part.
    pub(crate) waits: bool,
}

/// Configuration that a server is in: consensus frames mean something only to a server in the same
/// place. Sent in order with them.
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

/// Link to one peer.
#[derive(Debug, Default)]
pub(crate) struct Link {
    pub(crate) up: bool,
    /// Number of links to this peer so far, including this one.
    pub(crate) number: u64,
    /// Whether both ends vote in the same configuration and have said so on this link: only then
    /// consensus runs over it.
    pub(crate) joined: bool,
    /// A heartbeat that has overtaken the ping with which its sender joins: it is answered when
    /// that ping is here. Without an answer its sender may elect itself.
    pub(crate) early: Option<BLEMessage>,
    /// Stream of decided entries to the peer.
    pub(crate) stream: Option<Stream>,
    /// Time at which the peer was last asked for what this server lacks, ms.
    pub(crate) asked_ms: Option<u64>,
    /// Time at which the peer last sent anything, if only a part of a frame, ms.
    pub(crate) heard_ms: Option<u64>,
    /// Time at which the peer last took bytes of those that waited for it, ms.
    pub(crate) drained_ms: Option<u64>,
    /// The status that the peer last reported on this link.
    pub(crate) status: Option<Status>,
    /// The place of this server that the peer was told on this link.
    pub(crate) told: Option<Place>,
    /// The last measured round-trip time, ms.
    pub(crate) rtt_ms: u64,
    /// Frames that leave in front of all others.
    urgent: VecDeque<Vec<u8>>,
    /// Other frames, each with the number of the journal write that must come before it; 0 for
    /// none.
    waiting: VecDeque<(u64, Vec<u8>)>,
}

impl Link {
    /// Begins a new link: nothing of the old one counts any longer.
    pub(crate) fn begin(&mut self, now_ms: u64) {
        let number = self.number + 1;
        *self = Link { up: true, number, heard_ms: Some(now_ms), rtt_ms: self.rtt_ms, ..Link::default() };
    }

    pub(crate) fn end(&mut self) {
        *self = Link { number: self.number, heard_ms: self.heard_ms, rtt_ms: self.rtt_ms, ..Link::default() };
    }

    /// Ends consensus on this link.
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

    /// Returns the next frame: an urgent one, or the first of the others if the write it needs is
    /// among the journal's first `written` ones.
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

    /// Drops the frames that wait for a write after the first `written` ones, since what they
    /// report will never be true; the others stay.
    pub(crate) fn forget_unwritten(&mut self, written: u64) {
        self.waiting.retain(|(needs_write, _)| *needs_write <= written);
        self.waiting.iter_mut().for_each(|(needs_write, _)| *needs_write = 0);
    }

    /// Panics with the invariant that is broken. `staged` writes of the journal are done or yet to
    /// come.
    pub(crate) fn check(&self, peer: ServerId, staged: u64) {
        let is_empty = !self.joined && self.status.is_none() && self.stream.is_none() && self.waiting.is_empty();
        assert!(self.up || is_empty, "invariant: something is left of the link to {peer}: {self:?}");
        assert!(!self.up || self.number > 0, "invariant: the link to {peer} has no number");
        let needs = || self.waiting.iter().map(|(needs_write, _)| *needs_write).filter(|&needs_write| needs_write > 0);
        assert!(needs().is_sorted(), "invariant: frames to {peer} wait for writes in another order");
        let last = needs().next_back().unwrap_or_default();
        assert!(last <= staged, "invariant: a frame to {peer} waits for write {last} of {staged}");
    }

    /// Returns whether nothing has passed over this link since `since_ms`, in either direction,
    /// although it is up.
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
