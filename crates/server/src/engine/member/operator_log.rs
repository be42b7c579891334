//! Publishes a member's role, and logs what it is waiting for.

use std::collections::BTreeSet;

use oxkeeper_proto::ServerId;
use oxkeeper_replica::Serving;
use oxkeeper_replica::ensemble::{Mismatch, Role, TwinReport};
use tracing::{error, info, warn};

use super::engine::MemberThread;
use super::incarnation::{Agreed, INITIALIZE};
use crate::ended::Reason;
use crate::telemetry::role::{self, Learners};

/// Interval between checks for something to log, ms.
const LOOK_INTERVAL_MS: u64 = 100;
/// Interval at which an empty server logs what it is waiting for, ms.
pub(super) const BLANK_LOG_INTERVAL_MS: u64 = 10_000;
/// Time a server with data is out of service before it logs the reason, ms.
pub(super) const LONELY_LOG_AFTER_MS: u64 = 10_000;
/// Interval at which that message is repeated, ms.
const LONELY_LOG_INTERVAL_MS: u64 = 60_000;
/// Interval between messages about a server that runs twice, ms.
const TWIN_LOG_INTERVAL_MS: u64 = 10_000;

impl MemberThread {
    /// Performs the periodic tasks that only a real server needs.
    pub(super) fn housekeep(&mut self) {
        let now_ms = self.parts.clock.now_ms();
        if now_ms < self.running.next_look_ms {
            return;
        }
        self.running.next_look_ms = now_ms + LOOK_INTERVAL_MS;
        self.tell_mismatches();
        if let Some(file) = &mut self.parts.config_file {
            file.keep_up(self.parts.shared.read().state.membership());
        }
        self.use_up_initialize();
        self.complain_if_blank(now_ms);
        self.complain_if_lonely(now_ms);
        self.complain_of_twins(now_ms);
    }

    /// Removes the permission to found an ensemble after its first use: it must not be present
    /// after the server has lost its disk.
    fn use_up_initialize(&mut self) {
        if self.running.initialize && self.running.engine.replica().role() != Role::Uninitialized {
            let removed = std::fs::remove_file(self.parts.data_dir.join(INITIALIZE));
            removed.unwrap_or_else(|problem| warn!(%problem, "cannot remove the file `{INITIALIZE}`; remove it"));
            self.running.initialize = false;
        }
    }

    /// Logs what an empty server is waiting for: it may wait forever, so the operator must know.
    fn complain_if_blank(&mut self, now_ms: u64) {
        if self.running.engine.replica().role() == Role::Uninitialized && now_ms >= self.running.next_blank_log_ms {
            self.running.next_blank_log_ms = now_ms + BLANK_LOG_INTERVAL_MS;
            let (linked, unlike) =
                (self.running.engine.replica().linked(), self.running.engine.replica().peers_with_other_import());
            let imported = self.parts.shared.read().state.ensemble() != 0;
            if !unlike.is_empty() {
                warn!(
                    ?linked,
                    ?unlike,
                    imported,
                    "these servers do not hold the same imported state as this one: import the same \
                    on all of them, or on none"
                );
            } else if imported {
                warn!(
                    ?linked,
                    "this server holds an imported state: it waits for all members to found an ensemble with the \
                    same, or for a leader whose state replaces it"
                );
            } else {
                warn!(
                    ?linked,
                    "this server is empty: it waits for a leader to join, or for all members to found an ensemble"
                );
            }
        }
    }

    /// Logs servers with different states, and the differences, for the operator.
    fn tell_mismatches(&mut self) {
        let mismatches = self.running.engine.replica_mut().take_mismatches();
        self.parts.stats.lock().digest_mismatches += mismatches.len() as u64;
        for Mismatch { peer, applied, own, peers } in mismatches {
            error!(
                peer = peer.0,
                entry = applied.saturating_sub(1),
                zxid = format!("0x{:x}", peers.zxid),
                differs = own.differences(&peers).join(", "),
                %own,
                %peers,
                "this server's state differs from that of server {peer} behind the same log entry: one of them is damaged. \
                 A server that a majority contradicts stops by itself. Without a majority, whoever differs from the leader serves \
                 no clients: compare the servers (`dump`, `hash`), empty the data directory of the wrong one, and start it again"
            );
        }
    }

    /// Stops this server because a majority of the voters has another state. This server's data is
    /// wrong, and it could become leader.
    pub(super) fn stop_wrong(mut self) {
        self.tell_mismatches();
        let data_dir = self.parts.data_dir.clone();
        self.give_up(Reason::Diverged { data_dir });
    }

    /// Logs that two processes use one id. Each would keep closing the other's links forever.
    fn complain_of_twins(&mut self, now_ms: u64) {
        if now_ms < self.running.next_twin_log_ms {
            return;
        }
        let TwinReport { peers, accused_by } = self.running.engine.replica_mut().take_twins();
        if peers.is_empty() && accused_by.is_empty() {
            return;
        }
        self.running.next_twin_log_ms = now_ms + TWIN_LOG_INTERVAL_MS;
        for peer in peers {
            error!(
                peer = peer.0,
                "two processes run as server {peer} and keep disconnecting each other: stop one of them, and give it an id of its own \
                 in its file `myid` (the addresses of both are in the lines `linked to server {peer}`)"
            );
        }
        if !accused_by.is_empty() {
            let (me, file) = (self.parts.membership.me, self.parts.data_dir.join("myid"));
            error!(
                ?accused_by,
                "another process runs as server {me}, too, and each keeps disconnecting the other: stop one of the two, and give it an \
                 id of its own in its file `myid` (here {})",
                file.display()
            );
        }
    }

    /// Logs which servers the operator has to look at.
    fn complain_if_lonely(&mut self, now_ms: u64) {
        let replica = self.running.engine.replica();
        if replica.is_serving() || replica.role() == Role::Uninitialized {
            self.running.next_lonely_log_ms = now_ms + LONELY_LOG_AFTER_MS;
        } else if now_ms >= self.running.next_lonely_log_ms {
            self.running.next_lonely_log_ms = now_ms + LONELY_LOG_INTERVAL_MS;
            let (me, up) = (self.parts.membership.me, replica.linked());
            let voters = &replica.configuration().voters;
            let others = voters.iter().copied().filter(|&voter| voter != me);
            let (linked, missing): (Vec<ServerId>, Vec<ServerId>) = others.partition(|voter| up.contains(voter));
            let (needed, votes) = (voters.len() / 2 + 1, voters.contains(&me));
            warn!(
                ?linked,
                ?missing,
                voters = voters.len(),
                needed,
                "this server does not serve: {}",
                match replica.is_doubtful() {
                    true => "its state differs from the leader's, and no majority says which one is right",
                    false => lonely_because(linked.len() + usize::from(votes) >= needed),
                }
            );
        }
    }

    /// Logs each new leader.
    fn tell_role(&mut self) {
        let role = self.running.engine.replica().role();
        if role != self.running.told_role && matches!(role, Role::Leading | Role::Following(_) | Role::Observing(_)) {
            self.running.told_role = role;
            match role {
                Role::Following(leader) => info!(leader = leader.0, "following"),
                Role::Observing(leader) => info!(leader = leader.0, "observing"),
                Role::Leading | Role::Looking | Role::Uninitialized => info!("leading"),
            }
        }
    }

    /// ZooKeeper: a server that is not a member, or not yet, is a follower regardless of its own
    /// line.
    fn observes(&self) -> bool {
        let learns = matches!(self.running.engine.replica().role(), Role::Observing(_));
        learns && self.running.agreed.observers.contains(&self.parts.membership.me)
    }

    pub(super) fn show_role(&mut self) {
        let now_ms = self.parts.clock.now_ms();
        self.tell_role();
        let place = match self.parts.shared.read().serving {
            Serving::Yes if self.running.engine.replica().role() == Role::Leading => role::Role::Leader,
            Serving::Yes if self.observes() => role::Role::Observer,
            Serving::Yes => role::Role::Follower,
            Serving::ReadOnly => role::Role::ReadOnly,
            Serving::No => role::Role::NotServing,
        };
        let leader = match self.running.engine.replica().role() {
            Role::Leading => Some(self.parts.membership.me),
            Role::Following(leader) | Role::Observing(leader) => Some(leader),
            Role::Looking | Role::Uninitialized => None,
        };
        self.parts.role.set_leader(leader, now_ms);
        self.parts.role.set(place, now_ms);
        if place == role::Role::Leader {
            self.count_joined();
            let Agreed { voters, observers, .. } = &self.running.agreed;
            self.parts.role.set_learners(Learners::count(self.running.engine.replica().learners(), voters, observers));
        }
    }

    /// Counts peers that have caught up and now participate.
    fn count_joined(&mut self) {
        let in_step: BTreeSet<ServerId> =
            self.running.engine.replica().learners().filter(|&(_, in_step)| in_step).map(|(peer, _)| peer).collect();
        if in_step != self.running.in_step {
            let joined = in_step.difference(&self.running.in_step).count();
            self.parts.stats.lock().joined += joined as u64;
            self.running.in_step = in_step;
        }
    }
}

/// Returns why a server with data does not serve.
fn lonely_because(enough: bool) -> &'static str {
    match enough {
        true => "a majority is linked, but there is no leader in touch with it, or this server has not caught up yet",
        false => {
            "no majority of the voters is linked; start those that are missing, or look at the network between them"
        }
    }
}
