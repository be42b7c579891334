//! A leader goes, and another one takes its place without an election.
//!
//! It packs nothing more, and asks a follower to lead. The request comes behind every entry on the same link: who hears it
//! has all of them. Whatever was not packed is sent again to the new leader by those whose it is. If nobody leads in time,
//! it goes on leading: a hand-over is a courtesy.

use oxkeeper_proto::ServerId;

use super::consensus::Consensus;
use super::frame::Frame;
use super::replica::Replica;

/// Of a leader that goes.
#[derive(Debug)]
pub(super) struct Leaving {
    /// Then it stays.
    until_ms: u64,
    /// The followers that were asked.
    asked: Vec<ServerId>,
    /// When the next one is.
    next_ms: u64,
}

impl Replica {
    /// Has another server lead. It has done so when this one's role is another; whether it has begun to: there must be
    /// another voter.
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

    /// Whether it leads and wants another server to.
    pub fn is_leaving(&self) -> bool {
        self.lead.as_ref().is_some_and(|lead| lead.leaving.is_some())
    }

    /// Asks the follower that has most, and then the others.
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

    /// The leader asks this server to lead.
    pub(super) fn take_over(&mut self, leader: ServerId) {
        if let Some(consensus) = self.consensus_mut()
            && consensus.leading_server() == Some(leader)
        {
            consensus.take_over();
        }
    }
}
