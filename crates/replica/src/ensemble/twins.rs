//! Two processes with one id: each closes the other's links.
//!
//! Every start has a number of its own (`boot`). If a server is heard under one number, then under
//! another, and then under the first again, it runs twice: a process that has ended never comes
//! back. Both processes are told, and an operator must stop one of them.

use std::collections::BTreeMap;

use oxkeeper_proto::ServerId;

use super::frame::Frame;
use super::replica::Replica;

/// Start numbers and findings about peers and this server.
#[derive(Debug, Default)]
pub(super) struct Twins {
    /// Each peer's last process number, and the one before.
    boots: BTreeMap<ServerId, (u64, u64)>,
    /// Peers that run twice, found since the last call.
    found: Vec<ServerId>,
    /// Peers that report two processes with this server's id, since the last call.
    accused_by: Vec<ServerId>,
}

/// Duplicate ids, for the operator.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TwinReport {
    /// Peers of which two processes run.
    pub peers: Vec<ServerId>,
    /// Peers that report two processes with this server's id.
    pub accused_by: Vec<ServerId>,
}

impl Replica {
    /// Notes that `peer` is the process `boot`.
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

    /// Notes that `peer` has heard two processes with this server's id.
    pub(super) fn note_accusation(&mut self, peer: ServerId) {
        note(&mut self.twins.accused_by, peer);
    }

    /// Returns the servers that run twice, as found since the last call.
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
