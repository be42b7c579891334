//! Feature levels in an ensemble whose servers are upgraded one after another.
//!
//! Each server reports with every ping the level it knows. The leader proposes the highest level
//! that every member knows, as an entry of the log, once all of them are linked and have reported
//! theirs: a member that is away may come back as an older program. The level is agreed on once
//! that entry is applied. See `oxkeeper-state`'s `level`.
//!
//! A server that is older than the agreed level takes nothing that it cannot read: it refuses an
//! entry of a higher level while it decodes the frame. If the frame is from the server that it
//! follows, or would lead by, that server will send the entry again and again: this server is
//! *outdated*, and its driver ends it. Nothing on its disk has changed.

use oxkeeper_proto::ServerId;
use oxkeeper_state::command::Raise;
use oxkeeper_state::{Level, State};
use parking_lot::RwLock;
use thiserror::Error;

use super::ballot;
use super::consensus::Consensus;
use super::frame::{BadFrame, Frame, Status};
use super::leadership::Leadership;
use super::replica::Replica;
use crate::Shared;

/// Reason why a server cannot take part until it is upgraded.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error(
    "server {peer} sends a log entry of kind {kind}, which needs feature level {needs}; this program knows levels up to \
     {knows}. Nothing was written: start a newer release on this server, with the data it has"
)]
pub struct Outdated {
    /// The server that sent the entry.
    pub peer: ServerId,
    /// The kind of the entry.
    pub kind: u8,
    /// The level that the entry needs.
    pub needs: Level,
    /// The highest level that this server knows.
    pub knows: Level,
}

impl Replica {
    /// Returns the highest level that this server allows.
    pub(super) fn highest_allowed_level(&self) -> Level {
        self.config.knows.min(self.config.raises_to)
    }

    /// Returns the level that every member knows, if it is higher than before.
    fn next_level(&self, state: &State) -> Option<Level> {
        let agreed = self.lead.as_ref()?.raised().max(state.level());
        let knows = |server| match server {
            _ if self.config.bugs.hasty_raise => Some(self.config.knows),
            me if me == self.config.me => Some(self.highest_allowed_level()),
            peer => self.links.get(&peer).filter(|link| link.up)?.status.map(|status| status.knows),
        };
        let learners = state.membership().ids();
        let mut members = self.configuration.voters.iter().copied().chain(learners);
        let all = members.try_fold(self.highest_allowed_level(), |least, member| Some(least.min(knows(member)?)))?;
        (all > agreed).then_some(all)
    }

    /// Proposes a higher level, as the leader, once it may.
    pub(super) fn propose_level(&mut self, shared: &RwLock<Shared>, time_ms: i64) {
        let Some(lead) = self.lead.as_ref().filter(|lead| lead.is_open() && lead.leaving.is_none()) else { return };
        let is_busy = self.next.is_some() || lead.awaited(self.applied.end()).is_some();
        if is_busy || lead.raised() >= self.highest_allowed_level() || !self.consensus().is_some_and(Consensus::leads) {
            return;
        }
        let ballot = Some(ballot::to_id(lead.ballot()));
        let Some(level) = self.next_level(&shared.read().state) else { return };
        let mut entry = Vec::new();
        Raise { level, ballot, time_ms }.encode(&mut entry);
        self.consensus_mut().expect("it leads").append(entry);
        self.lead.iter_mut().for_each(|lead| lead.propose(level));
    }

    /// Returns the highest level that is agreed on or proposed; `None` on a server that does not
    /// lead.
    pub fn raised(&self) -> Option<Level> {
        self.lead.as_ref().map(Leadership::raised)
    }

    /// Notes that a frame of `peer` was refused, and marks this server as outdated if it cannot go
    /// on without the content.
    pub(super) fn note_refused(&mut self, peer: ServerId, bytes: &[u8], problem: &BadFrame) {
        let BadFrame::Newer { kind, needs, knows } = *problem else { return };
        let is_ahead = |status: Status| status.configuration > self.configuration.id;
        let counts = match (self.consensus(), Frame::ballot_of_entries(bytes)) {
            (Some(consensus), Some(ballot)) => ballot == consensus.promise(),
            (Some(_), None) => self.links.get(&peer).and_then(|link| link.status).is_some_and(is_ahead),
            (None, _) => self.is_told_by(peer),
        };
        if counts {
            self.outdated = Some(Outdated { peer, kind, needs, knows });
        }
    }

    /// Returns the reason why this server must end, if it must: the others have agreed on something
    /// it does not know.
    pub fn outdated(&self) -> Option<Outdated> {
        self.outdated
    }
}
