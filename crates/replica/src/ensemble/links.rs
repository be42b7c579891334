//! What is known of each peer's link: whether it is up, when the peer was last heard of, how the peer stands; and the
//! frames that wait to be sent, in the one order in which they must arrive.
//!
//! Invariant: frames leave a link strictly in order, but for urgent ones, which leave at once; a frame that tells of something
//! leaves after that is durable.

use std::collections::VecDeque;

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
            return None;
        }
        self.waiting.pop_front().map(|(_, frame)| frame)
    }

    /// What waits for a write that is not among the first `written` will never be true; what does not, stays.
    pub(crate) fn forget_unwritten(&mut self, written: u64) {
        self.waiting.retain(|(needs_write, _)| *needs_write <= written);
        self.waiting.iter_mut().for_each(|(needs_write, _)| *needs_write = 0);
    }

    /// Whether nothing has passed over it since `since_ms`, in either direction, although it is up.
    pub(crate) fn is_silent_since(&self, since_ms: u64) -> bool {
        self.up && self.heard_ms.max(self.drained_ms).is_none_or(|passed_ms| passed_ms < since_ms)
    }
}
