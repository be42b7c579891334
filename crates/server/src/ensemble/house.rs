//! What a member does once in a while: sessions and znodes whose time is over, a shorter log, its role for all to see.

use std::collections::BTreeSet;

use oxkeeper_proto::{OpCode, SessionId};
use oxkeeper_replica::ensemble::{Role, TwinReport};
use oxkeeper_replica::{Serving, Takeover};
use tracing::{error, info, warn};

use super::engine::Ensemble;
use super::life::{Agreed, INITIALIZE};
use crate::engine::expendable;
use crate::mailbox::Order;
use crate::role::{self, Learners};

/// How often an empty server says what it waits for, ms.
pub(super) const BLANK_LOG_INTERVAL_MS: u64 = 10_000;
/// How long a server that has data is out of service before it says why, ms.
pub(super) const LONELY_LOG_AFTER_MS: u64 = 10_000;
/// How often it says so again, ms.
const LONELY_LOG_INTERVAL_MS: u64 = 60_000;
/// How often a server says that one runs twice, ms.
const TWIN_LOG_INTERVAL_MS: u64 = 10_000;

impl Ensemble {
    /// What time alone brings about.
    pub(super) fn tick(&mut self) {
        let now_ms = self.parts.clock.now_ms();
        if now_ms < self.running.next_tick_ms {
            return;
        }
        let interval_ms = self.parts.shared.read().sessions.lock().clocks.interval_ms();
        self.running.next_tick_ms = now_ms + interval_ms;
        for peer in self.running.replica.silent(now_ms) {
            self.running.peers.kill(peer, "it is silent");
        }
        if self.running.replica.rules() {
            self.expire(now_ms);
            if now_ms >= self.running.next_reap_ms {
                self.running.next_reap_ms = now_ms + u64::from(self.parts.containers.check_interval_ms);
                self.reap();
            }
        }
        self.expire_local(now_ms);
        if let Some(file) = &mut self.parts.config_file {
            file.keep_up(self.parts.shared.read().state.membership());
        }
        self.shorten_log();
        self.use_up_initialize();
        self.complain_if_blank(now_ms);
        self.complain_if_lonely(now_ms);
        self.complain_of_twins(now_ms);
    }

    fn expire(&mut self, now_ms: u64) {
        // What followers have heard may have come only now, all at once.
        self.running.replica.settle_touches(&self.parts.shared, now_ms);
        let shared = self.parts.shared.read();
        let expired = shared.sessions.lock().clocks.tick(now_ms);
        for &session in &expired {
            info!(%session, ephemerals = shared.state.ephemerals_of(session), "session expired");
        }
        drop(shared);
        self.parts.stats.lock().sessions_expired += expired.len() as u64;
        for session in expired {
            self.running.replica.submit_own(session, OpCode::CloseSession, &[]);
        }
    }

    /// Sessions that only this server knows.
    fn expire_local(&mut self, now_ms: u64) {
        let expired = self.parts.shared.read().sessions.lock().expire_local(now_ms);
        self.parts.stats.lock().sessions_expired += expired.len() as u64;
        for (session, holder) in expired {
            info!(%session, "session that only this server knew expired");
            if let Some(holder) = holder {
                let takeover = Takeover { holder, successor: None };
                self.parts.mailboxes[usize::from(holder.thread)].order(Order::Supersede(takeover));
            }
        }
    }

    fn reap(&mut self) {
        let expendable = expendable(&self.parts.containers, &self.parts.shared.read().state, self.parts.clock);
        for znode in expendable {
            info!(path = znode.path, "reaping a container or TTL znode");
            self.running.replica.submit_own(SessionId::NONE, OpCode::DeleteContainer, &znode.encode());
        }
    }

    /// Once a tick: what a checkpoint holds leaves the log; a tick without a write is time for one.
    fn shorten_log(&mut self) {
        let applied = self.running.replica.applied();
        if std::mem::replace(&mut self.running.applied_last_tick, applied) == applied {
            self.parts.checkpoints.idle();
            // A full disk is met by the next write.
            let _ = self.running.replica.persist_decided();
        }
        if let Some(through) = self.parts.checkpoints.trimmable() {
            self.running.replica.trim_for(through + 1, &self.running.pins);
        }
    }

    /// The permission to found an ensemble is for once: with the disk that it is lost on, it must not be there again.
    fn use_up_initialize(&mut self) {
        if self.running.initialize && self.running.replica.role() != Role::Blank {
            let removed = std::fs::remove_file(self.parts.data_dir.join(INITIALIZE));
            removed.unwrap_or_else(|problem| warn!(%problem, "the file `{INITIALIZE}` stays; remove it"));
            self.running.initialize = false;
        }
    }

    /// It may wait for ever: an operator must know what for.
    fn complain_if_blank(&mut self, now_ms: u64) {
        if self.running.replica.role() == Role::Blank && now_ms >= self.running.next_blank_log_ms {
            self.running.next_blank_log_ms = now_ms + BLANK_LOG_INTERVAL_MS;
            let (linked, unlike) = (self.running.replica.linked(), self.running.replica.unlike());
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

    /// Two processes with one id throw each other's links out for ever.
    fn complain_of_twins(&mut self, now_ms: u64) {
        if now_ms < self.running.next_twin_log_ms {
            return;
        }
        let TwinReport { peers, accused_by } = self.running.replica.take_twins();
        if peers.is_empty() && accused_by.is_empty() {
            return;
        }
        self.running.next_twin_log_ms = now_ms + TWIN_LOG_INTERVAL_MS;
        for peer in peers {
            error!(
                peer,
                "two processes run as server {peer} and throw each other out: stop one of them, and give it an id of its own \
                 in its file `myid` (the addresses of both are in the lines `linked to server {peer}`)"
            );
        }
        if !accused_by.is_empty() {
            let (me, file) = (self.parts.membership.me, self.parts.data_dir.join("myid"));
            error!(
                ?accused_by,
                "another process runs as server {me}, too, and each throws the other out: stop one of the two, and give it an \
                 id of its own in its file `myid` (here {})",
                file.display()
            );
        }
    }

    /// An operator must know which servers to look at.
    fn complain_if_lonely(&mut self, now_ms: u64) {
        let replica = &self.running.replica;
        if replica.is_serving() || replica.role() == Role::Blank {
            self.running.next_lonely_log_ms = now_ms + LONELY_LOG_AFTER_MS;
        } else if now_ms >= self.running.next_lonely_log_ms {
            self.running.next_lonely_log_ms = now_ms + LONELY_LOG_INTERVAL_MS;
            let (me, up) = (self.parts.membership.me, replica.linked());
            let voters = &replica.configuration().voters;
            let others = voters.iter().copied().filter(|&voter| voter != me);
            let (linked, missing): (Vec<u8>, Vec<u8>) = others.partition(|voter| up.contains(voter));
            let (needed, votes) = (voters.len() / 2 + 1, voters.contains(&me));
            warn!(
                ?linked,
                ?missing,
                voters = voters.len(),
                needed,
                "this server does not serve: {}",
                lonely_because(linked.len() + usize::from(votes) >= needed)
            );
        }
    }

    /// The log tells of each new leader.
    fn tell_role(&mut self) {
        let role = self.running.replica.role();
        if role != self.running.told_role && matches!(role, Role::Leading | Role::Following(_) | Role::Observing(_)) {
            self.running.told_role = role;
            match role {
                Role::Following(leader) => info!(leader, "following"),
                Role::Observing(leader) => info!(leader, "observing"),
                Role::Leading | Role::Looking | Role::Blank => info!("leading"),
            }
        }
    }

    /// ZooKeeper: a server that is no member, or not yet, is a follower all the same, whatever its own line says.
    fn observes(&self) -> bool {
        let learns = matches!(self.running.replica.role(), Role::Observing(_));
        learns && self.running.agreed.observers.contains(&self.parts.membership.me)
    }

    pub(super) fn show_role(&mut self) {
        let now_ms = self.parts.clock.now_ms();
        self.tell_role();
        let serving = self.whom_to_serve(now_ms);
        let place = match serving {
            Serving::Yes if self.running.replica.role() == Role::Leading => role::Role::Leader,
            Serving::Yes if self.observes() => role::Role::Observer,
            Serving::Yes => role::Role::Follower,
            Serving::ReadOnly => role::Role::ReadOnly,
            Serving::No => role::Role::NotServing,
        };
        self.serve(serving);
        let leader = match self.running.replica.role() {
            Role::Leading => Some(self.parts.membership.me),
            Role::Following(leader) | Role::Observing(leader) => Some(leader),
            Role::Looking | Role::Blank => None,
        };
        self.parts.role.set_leader(leader, now_ms);
        self.parts.role.set(place, now_ms);
        if place == role::Role::Leader {
            self.count_joined();
            let Agreed { voters, observers, .. } = &self.running.agreed;
            self.parts.role.set_learners(Learners::count(self.running.replica.learners(), voters, observers));
        }
    }

    /// A peer has what it lacked and takes part from now on.
    fn count_joined(&mut self) {
        let in_step: BTreeSet<u8> =
            self.running.replica.learners().filter(|&(_, in_step)| in_step).map(|(peer, _)| peer).collect();
        if in_step != self.running.in_step {
            let joined = in_step.difference(&self.running.in_step).count();
            self.parts.stats.lock().joined += joined as u64;
            self.running.in_step = in_step;
        }
    }

    fn whom_to_serve(&self, now_ms: u64) -> Serving {
        let replica = &self.running.replica;
        let is_long = |after_ms| replica.alone_ms(now_ms) >= after_ms;
        match self.parts.read_only_after_ms {
            _ if replica.is_serving() => Serving::Yes,
            // An empty server has nothing to read.
            Some(after_ms) if is_long(after_ms) && replica.role() != Role::Blank => Serving::ReadOnly,
            Some(_) | None => Serving::No,
        }
    }

    /// Clients of the former kind are closed: they come back if they are of the new one.
    pub(super) fn serve(&mut self, serving: Serving) {
        let former = self.parts.shared.read().serving;
        if former == serving {
            return;
        }
        self.parts.shared.write().serve(serving, self.parts.clock.now_ms());
        match serving {
            Serving::Yes => info!(role = ?self.running.replica.role(), "serving"),
            Serving::ReadOnly => warn!("out of touch with the ensemble for long: only read-only clients are served"),
            Serving::No => warn!("out of touch with the ensemble: clients are closed until that changes"),
        }
        if former == Serving::Yes {
            self.running.replica.orphan();
        }
        let read_only = former == Serving::ReadOnly;
        if former != Serving::No {
            self.parts.mailboxes.iter().for_each(|mailbox| mailbox.order(Order::EndSessions { read_only }));
        }
    }
}

/// Why a server with data does not serve.
fn lonely_because(enough: bool) -> &'static str {
    match enough {
        true => "a majority is linked, but there is no leader in touch with it, or this server has not caught up yet",
        false => {
            "no majority of the voters is linked; start those that are missing, or look at the network between them"
        }
    }
}
