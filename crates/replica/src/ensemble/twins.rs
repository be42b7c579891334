//! Two processes with one id: each throws the other's links out.
//!
//! Every start has a number of its own (`boot`). Who is heard of under one number, then under another, and then under the first
//! again, runs twice: a process that has ended never comes back. Both are told, and an operator must stop one of them.

use std::collections::BTreeMap;

use oxkeeper_proto::ServerId;

use super::frame::Frame;
use super::replica::Replica;

/// What is known of others and of this server in this.
#[derive(Debug, Default)]
pub(super) struct Twins {
    /// By peer: the process that was heard of last, and the one before.
    boots: BTreeMap<ServerId, (u64, u64)>,
    /// Peers that run twice, since it was last asked.
    found: Vec<ServerId>,
    /// Peers that say so of this server, since it was last asked.
    accused_by: Vec<ServerId>,
}

/// What an operator should know.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TwinReport {
    /// Peers of which two processes run.
    pub peers: Vec<ServerId>,
    /// Peers that say that two processes have this server's id.
    pub accused_by: Vec<ServerId>,
}

impl Replica {
    /// `peer` is the process `boot`.
    pub(super) fn note_boot(&mut self, peer: ServerId, boot: u64) {
        let (last, before) = self.twins.boots.get(&peer).copied().unwrap_or_default();
        if boot == last {
            return;
        }
        self.twins.boots.insert(peer, (boot, last));
        if boot == before {
            note(&mut self.twins.found, peer);
            self.say(peer, &Frame::Twin);
        }
    }

    /// `peer` has heard of two processes with this server's id.
    pub(super) fn note_accusation(&mut self, peer: ServerId) {
        note(&mut self.twins.accused_by, peer);
    }

    /// Which servers run twice, as far as was found since this was last asked.
    pub fn take_twins(&mut self) -> TwinReport {
        let Twins { found, accused_by, .. } = &mut self.twins;
        TwinReport { peers: std::mem::take(found), accused_by: std::mem::take(accused_by) }
    }
}

fn note(list: &mut Vec<ServerId>, peer: ServerId) {
    if !list.contains(&peer) {
        list.push(peer);
    }
}
