//! A leader hands over to another server without an election.
//!
//! The leader packs nothing more, and asks a follower to lead. The request follows every entry on
//! the same link, so a follower that receives it has all of them. The servers whose commands were
//! not packed send them again to the new leader. If no server takes over in time, the leader goes
//! on leading: a transfer is a courtesy.

use oxkeeper_proto::ServerId;

use super::consensus::Consensus;
use super::frame::Frame;
use super::replica::Replica;

/// A leadership transfer in progress.
#[derive(Debug)]
pub(super) struct Leaving {
    /// Time after which the leader stays, ms.
    until_ms: u64,
    /// The followers that were asked.
    asked: Vec<ServerId>,
    /// Time at which to ask the next one, ms.
    next_ms: u64,
}

impl Replica {
    /// Begins to hand leadership to another voter, and returns whether it has begun. The transfer
    /// is complete once this server's role has changed.
    pub fn transfer_leadership(&mut self, now_ms: u64) -> bool {
        let until_ms = now_ms + self.config.pace.contact_ms;
        if self.consensus().is_some_and(Consensus::is_alone) {
            return false;
        }
        if let Some(lead) = self.lead.as_mut().filter(|lead| lead.is_open()) {
            lead.leaving.get_or_insert(Leaving { until_ms, asked: Vec::new(), next_ms: now_ms });
            return true;
        }
        false
    }

    /// Returns whether this server leads and wants another server to lead.
    pub fn is_leaving(&self) -> bool {
        self.lead.as_ref().is_some_and(|lead| lead.leaving.is_some())
    }

    /// Asks the follower with the longest log, and then the others.
    pub(super) fn leave(&mut self, now_ms: u64) {
        let Some(leaving) = self.lead.as_ref().and_then(|lead| lead.leaving.as_ref()) else { return };
        if now_ms < leaving.next_ms {
            return;
        }
        let fit = |(peer, link): (&ServerId, &super::links::Link)| {
            let status = link.status.filter(|status| link.joined && status.accepting)?;
            (!leaving.asked.contains(peer)).then_some((status.end, *peer))
        };
        let next = self.links.iter().filter_map(fit).max().map(|(_, peer)| peer);
        let (is_late, next_ms) = (now_ms >= leaving.until_ms, now_ms + self.config.pace.heartbeat_ms);
        let Some(lead) = &mut self.lead else { return };
        match (next, &mut lead.leaving) {
            (Some(peer), Some(leaving)) if !is_late => {
                leaving.asked.push(peer);
                leaving.next_ms = next_ms;
                self.say(peer, &Frame::TakeOver);
            }
            (None, Some(leaving)) if !is_late && !leaving.asked.is_empty() => leaving.next_ms = leaving.until_ms,
            _ => lead.leaving = None,
        }
    }

    /// Handles the leader's request that this server lead.
    pub(super) fn take_over(&mut self, leader: ServerId) {
        if let Some(consensus) = self.consensus_mut()
            && consensus.leading_server() == Some(leader)
        {
            consensus.take_over();
        }
    }
}
