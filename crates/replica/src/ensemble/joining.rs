//! Blank servers join an existing ensemble.
//!
//! A blank server asks its peers, and a peer that does not lead asks the leader for it. The leader
//! answers once an entry is decided in which the blank server took no part (see `leadership`): with
//! a state that has that entry, the server may take part.

use oxkeeper_proto::ServerId;

use super::frame::Frame;
use super::journal::{JournalFull, JournalOp, scalar};
use super::leadership::Joining;
use super::participation::{Participation, Uninitialized};
use super::replica::{Replica, Want};
use super::storage;

/// Interval at which a blank server asks again if its disk has no room, ms.
const FULL_BLANK_PING_MS: u64 = 5_000;

impl Replica {
    /// Asks the leader of an existing ensemble, or a voter that may know a leader which has joined
    /// since this server was configured. The state is fetched from the server that answers; a
    /// voter's state comes with its vote, that of a server without one only with what it heard
    /// (`round_heard`). A server that was admitted before, but has not got the state yet, only
    /// fetches it.
    pub(super) fn ask_to_join(&mut self) {
        let Participation::Uninitialized(Uninitialized { journal, .. }) = &self.participation else { return };
        let admitted = storage::number(&**journal, scalar::ADMITTED);
        let others = self.statuses().filter(|(_, status)| status.votes);
        let asked = others.max_by_key(|(_, status)| (status.leading, status.configuration, status.decided));
        let Some((peer, status)) = asked else { return };
        match admitted.filter(|&at| at <= status.decided) {
            Some(at) => self.want = Some(Want::Install { from: peer, at }),
            None => self.say(peer, &Frame::Join),
        }
    }

    /// Asks for `peer`, which is blank. A server that does not lead passes the question on, and
    /// later the answer, but over the same link only: what was true for a server that had nothing
    /// then may not be true for one that has lost everything once more.
    pub(super) fn ask_for_blank(&mut self, peer: ServerId) {
        let link = self.links.get(&peer).map_or(0, |link| link.number);
        match self.leader() {
            Some((leader, _)) if leader != self.config.me => self.say(leader, &Frame::JoinFor { blank: peer, link }),
            Some(_) | None => self.admit_blank(peer, peer, link),
        }
    }

    pub(super) fn answer_blank(&mut self, blank: ServerId, link: u64, at: u64) {
        if self.links.get(&blank).is_some_and(|known| known.up && known.number == link) {
            self.say(blank, &Frame::JoinAt(at));
        }
    }

    /// Admits a blank server that asked through `via`, which has a link to it.
    pub(super) fn admit_blank(&mut self, blank: ServerId, via: ServerId, link: u64) {
        self.lead.iter_mut().for_each(|lead| lead.ask_to_join(blank, via, link));
    }

    /// Notes that this server, which is blank, may join with a state of `at` entries. It need not
    /// ask again, whatever happens in between: it takes part in nothing before that, and losing the
    /// disk again loses this note too.
    pub(super) fn note_admitted(&mut self, peer: ServerId, at: u64, now_ms: u64) {
        if let Some(Uninitialized { journal, next_ping_ms }) = self.participation.blank_mut() {
            match journal.write(vec![JournalOp::Scalar(scalar::ADMITTED, at.to_be_bytes().to_vec())]) {
                Ok(()) => self.want = Some(Want::Install { from: peer, at }),
                Err(JournalFull) => *next_ping_ms = now_ms + FULL_BLANK_PING_MS,
            }
        }
    }

    /// Tells the servers that may join by now.
    pub(super) fn settle_joining(&mut self) {
        let Some(lead) = &mut self.lead else { return };
        // A voter may join if none of its former promises counts: the configuration has ended.
        let has_ended = self.next.is_some() || self.config.bugs.lasting_configuration;
        let safe = lead.take_joined(self.applied.end(), |blank| has_ended || !self.configuration.has(blank));
        for Joining { blank, via, link, safe_from } in safe {
            let at = safe_from.unwrap_or_default();
            match via == blank {
                true => self.answer_blank(blank, link, at),
                false => self.say(via, &Frame::JoinAtFor { blank, link, at }),
            }
        }
    }
}
