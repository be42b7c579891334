//! Conditions under which blank servers may found an ensemble.
//!
//! If all members are blank, or have no entry at all, there is nothing to lose. Servers that hold
//! an imported state count as alike if it is the same state. A server that has voted founds nothing
//! any longer: candidates may have its promises.

use std::collections::BTreeSet;

use oxkeeper_proto::ServerId;

use super::frame::Status;
use super::replica::ReplicaConfig;

/// The ensemble that this server may found.
#[derive(Debug)]
pub(super) struct Founding {
    /// Hash of the members.
    founders: u64,
    /// Id of the ensemble in the state that this server began with; 0 for none.
    origin: u64,
    /// Peers that have voted since this server started. If one is blank now, it has lost its
    /// promises.
    seen_voting: BTreeSet<ServerId>,
}

impl Founding {
    pub(super) fn new(config: &ReplicaConfig, origin: u64) -> Founding {
        Founding { founders: founders_of(&config.members), origin, seen_voting: BTreeSet::new() }
    }

    pub(super) fn origin(&self) -> u64 {
        self.origin
    }

    /// Returns the hash of the members.
    pub(super) fn founders(&self) -> u64 {
        self.founders
    }

    /// Notes that `peer` votes.
    pub(super) fn note_voting(&mut self, peer: ServerId) {
        self.seen_voting.insert(peer);
    }

    /// Returns whether `peer` has voted since this server started.
    pub(super) fn has_seen_voting(&self, peer: ServerId) -> bool {
        self.seen_voting.contains(&peer)
    }

    /// Returns whether this server, which is blank, founds the ensemble, given the statuses of its
    /// peers.
    pub(super) fn is_due(&self, config: &ReplicaConfig, statuses: &[(ServerId, Status)]) -> bool {
        let ReplicaConfig { me, members, applied: begin, initialize, .. } = config;
        if !members.contains(me) {
            return false;
        }
        let count = |is: &dyn Fn(&Status) -> bool| {
            1 + statuses.iter().filter(|(peer, status)| members.contains(peer) && is(status)).count()
        };
        // Servers that would found, or have founded, another ensemble.
        let is_new = |status: &Status| {
            let is_like = (status.founders, status.origin) == (self.founders, self.origin);
            is_like && (status.is_blank() || status.configuration == 1 && status.end == *begin)
        };
        let all = count(&is_new) == members.len();
        let eager = count(&|status| is_new(status) && (status.initialize || !status.is_blank()));
        // An empty server takes over the state that the others hold; a server that holds something
        // else must not lose it.
        let yields = |status: &Status| status.is_blank() && status.origin == 0;
        let old = count(&|status| !(is_new(status) || yields(status))) > 1;
        all || !old && *initialize && eager > members.len() / 2
    }

    /// Returns the blank peers that hold another imported state than this server, or none.
    pub(super) fn peers_with_other_import(&self, statuses: impl Iterator<Item = (ServerId, Status)>) -> Vec<ServerId> {
        let unlike = |(_, status): &(ServerId, Status)| status.is_blank() && status.origin != self.origin;
        statuses.filter(unlike).map(|(peer, _)| peer).collect()
    }
}

/// Returns a hash of a set of servers; FNV-1a.
fn founders_of(members: &[ServerId]) -> u64 {
    let ids = members.iter().map(|member| u64::from(member.0));
    ids.fold(0xcbf2_9ce4_8422_2325, |hash, id| (hash ^ id).wrapping_mul(0x100_0000_01b3))
}
