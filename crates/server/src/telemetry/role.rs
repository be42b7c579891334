//! This server's role among its peers, for readers outside the engine.
//!
//! The engine reports each change; four-letter words and metrics read it. This module also tracks
//! how long the server could not serve, because only changes of role show that. Invariant: only a
//! leader counts learners. Source: `QuorumPeer#setPeerState`, `#setZabState`, `Leader#getLearners`,
//! `#getForwardingFollowers`.

use oxkeeper_proto::ServerId;
use oxkeeper_replica::stats::Distribution;
use parking_lot::Mutex;
use tokio::sync::Notify;

/// Role of a server among its peers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Role {
    /// The server has no peers.
    #[default]
    Standalone,
    /// The server orders all writes, and a majority follows it.
    Leader,
    /// The server follows a leader.
    Follower,
    /// The server follows a leader without a vote.
    Observer,
    /// The server is not in contact with a majority, or does not have the state yet.
    NotServing,
    /// The server has been out of contact with a majority for long, and serves read-only clients.
    ReadOnly,
}

impl Role {
    /// Every role.
    pub(crate) const ALL: [Role; 6] =
        [Role::Standalone, Role::Leader, Role::Follower, Role::Observer, Role::ReadOnly, Role::NotServing];

    /// The name that clients, scripts and monitoring know.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Role::Standalone => "standalone",
            Role::Leader => "leader",
            Role::Follower => "follower",
            Role::Observer => "observer",
            Role::ReadOnly => "read-only",
            Role::NotServing => "not-serving",
        }
    }

    /// Returns whether writes are not served.
    fn is_out(self) -> bool {
        matches!(self, Role::NotServing | Role::ReadOnly)
    }
}

/// Number and duration of the periods in which the server could not serve, and of those without a
/// leader.
#[derive(Clone, Debug, Default)]
pub(crate) struct Outages {
    /// Number of times the server began to look for a leader.
    pub(crate) count: u64,
    /// Start of the last outage, ms of the server's clock.
    began_ms: u64,
    /// Time until the server served again, ms.
    pub(crate) took_ms: Distribution,
    /// Time until the server served again as leader, ms.
    pub(crate) took_until_leading_ms: Distribution,
    /// Time since when no leader is known, ms of the server's clock.
    leaderless_since_ms: u64,
    /// Time until a leader was known, ms.
    pub(crate) elections_ms: Distribution,
    /// Time since when the current leader is known, ms of the server's clock.
    led_since_ms: u64,
    /// Time from then until the server served as its follower, ms.
    pub(crate) follower_syncs_ms: Distribution,
    /// Time from then until the server served as its observer, ms.
    pub(crate) observer_syncs_ms: Distribution,
    /// Number of times the server lost leadership: the voters followed another leader, or were
    /// unreachable.
    pub(crate) quit_leading: u64,
}

/// The role and the values that belong to it, at one moment.
#[derive(Clone, Debug, Default)]
pub(crate) struct Place {
    pub(crate) role: Role,
    /// Start of this role, ms of the server's clock.
    pub(crate) since_ms: u64,
    /// The leader known to this server; `None` without peers.
    pub(crate) leader: Option<ServerId>,
    /// On a leader: its learners.
    pub(crate) learners: Learners,
}

/// Learners of a leader.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Learners {
    /// Learners with a link to the leader.
    pub(crate) linked: usize,
    /// Learners in step with the leader, other than observers.
    pub(crate) followers: usize,
    /// Those among `followers` without a vote: not members yet, or no longer.
    pub(crate) non_voting: usize,
    /// Observers in step with the leader.
    pub(crate) observers: Vec<ServerId>,
}

impl Learners {
    /// Counts peers. The flag of each says whether it is in step.
    pub(crate) fn count(
        peers: impl Iterator<Item = (ServerId, bool)>,
        voters: &[ServerId],
        observers: &[ServerId],
    ) -> Learners {
        let mut learners = Learners::default();
        for (peer, in_step) in peers {
            learners.linked += 1;
            match in_step {
                true if observers.contains(&peer) => learners.observers.push(peer),
                true => {
                    learners.followers += 1;
                    learners.non_voting += usize::from(!voters.contains(&peer));
                }
                false => {}
            }
        }
        learners
    }
}

/// The shared role of this server.
#[derive(Debug, Default)]
pub(crate) struct RoleCell {
    place: Mutex<Place>,
    outages: Mutex<Outages>,
    /// Notified when writes begin to be served.
    served: Notify,
}

impl RoleCell {
    /// Returns the role of a server without peers.
    pub(crate) fn standalone() -> RoleCell {
        RoleCell::default()
    }

    /// Returns the role of a member that has not found the others yet.
    pub(crate) fn looking(now_ms: u64) -> RoleCell {
        let outages = Outages { count: 1, began_ms: now_ms, leaderless_since_ms: now_ms, ..Outages::default() };
        let place = Place { role: Role::NotServing, since_ms: now_ms, ..Place::default() };
        RoleCell { place: Mutex::new(place), outages: Mutex::new(outages), served: Notify::new() }
    }

    /// Sets the role; for the engine. Setting the same role again has no effect.
    pub(crate) fn set(&self, role: Role, now_ms: u64) {
        let mut place = self.place.lock();
        if place.role == role {
            return;
        }
        let mut outages = self.outages.lock();
        outages.quit_leading += u64::from(place.role == Role::Leader);
        if place.role.is_out() {
            let sync_ms = now_ms.saturating_sub(outages.led_since_ms);
            match role {
                Role::Follower => outages.follower_syncs_ms.record(sync_ms),
                Role::Observer => outages.observer_syncs_ms.record(sync_ms),
                Role::Standalone | Role::Leader | Role::NotServing | Role::ReadOnly => {}
            }
        }
        if place.role.is_out() && !role.is_out() {
            let took_ms = now_ms.saturating_sub(outages.began_ms);
            outages.took_ms.record(took_ms);
            if role == Role::Leader {
                outages.took_until_leading_ms.record(took_ms);
            }
        }
        if role.is_out() && !place.role.is_out() {
            outages.count += 1;
            outages.began_ms = now_ms;
        }
        (place.role, place.since_ms) = (role, now_ms);
        place.learners = Learners::default();
        if !role.is_out() {
            self.served.notify_waiters();
        }
    }

    /// Sets the leader; for the engine. Setting the same leader again has no effect.
    pub(crate) fn set_leader(&self, leader: Option<ServerId>, now_ms: u64) {
        let mut place = self.place.lock();
        let former = std::mem::replace(&mut place.leader, leader);
        drop(place);
        if former == leader {
            return;
        }
        let mut outages = self.outages.lock();
        outages.led_since_ms = now_ms;
        match (former, leader) {
            (None, Some(_)) => {
                let took_ms = now_ms.saturating_sub(outages.leaderless_since_ms);
                outages.elections_ms.record(took_ms);
            }
            (Some(_), None) => outages.leaderless_since_ms = now_ms,
            (None, None) | (Some(_), Some(_)) => {}
        }
    }

    /// Sets the learners of a leader; for the engine.
    pub(crate) fn set_learners(&self, learners: Learners) {
        let mut place = self.place.lock();
        if place.role == Role::Leader {
            place.learners = learners;
        }
    }

    /// Waits until writes are served.
    pub(crate) async fn serving(&self) {
        loop {
            let served = self.served.notified();
            if !self.place.lock().role.is_out() {
                return;
            }
            served.await;
        }
    }

    /// Returns the role and the values that belong to it.
    pub(crate) fn place(&self) -> Place {
        self.place.lock().clone()
    }

    /// Returns the outages so far.
    pub(crate) fn outages(&self) -> Outages {
        self.outages.lock().clone()
    }

    /// Resets the counts of outages.
    pub(crate) fn forget_outages(&self) {
        let mut outages = self.outages.lock();
        let Outages { began_ms, leaderless_since_ms, led_since_ms, .. } = *outages;
        *outages = Outages { began_ms, leaderless_since_ms, led_since_ms, ..Outages::default() };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outages_are_timed_from_their_beginning() {
        let cell = RoleCell::looking(100);
        cell.set(Role::NotServing, 150);
        cell.set(Role::Follower, 350);
        cell.set(Role::NotServing, 1000);
        cell.set(Role::ReadOnly, 1030);
        cell.set(Role::NotServing, 1035);
        cell.set(Role::Leader, 1040);
        let (place, outages) = (cell.place(), cell.outages());
        assert_eq!((place.role, place.since_ms, outages.count), (Role::Leader, 1040, 2));
        assert_eq!((outages.took_ms.tally.count, outages.took_ms.tally.sum), (2, 290));
        let leading = outages.took_until_leading_ms.tally;
        assert_eq!((leading.count, leading.sum), (1, 40));
        cell.forget_outages();
        assert_eq!((cell.outages().count, cell.place().role), (0, Role::Leader));
    }

    #[test]
    fn an_election_lasts_until_somebody_leads() {
        let cell = RoleCell::looking(100);
        cell.set_leader(Some(ServerId(2)), 350);
        cell.set_leader(Some(ServerId(3)), 400);
        cell.set_leader(None, 1000);
        cell.set_leader(None, 1100);
        cell.set_leader(Some(ServerId(1)), 1030);
        let elections = cell.outages().elections_ms.tally;
        assert_eq!((elections.count, elections.sum, cell.place().leader), (2, 280, Some(ServerId(1))));
    }

    #[test]
    fn a_learner_is_timed_from_when_it_knows_its_leader() {
        let cell = RoleCell::looking(100);
        cell.set_leader(Some(ServerId(2)), 350);
        cell.set_leader(Some(ServerId(2)), 360);
        cell.set(Role::Follower, 380);
        cell.set(Role::NotServing, 400);
        cell.set_leader(Some(ServerId(3)), 410);
        cell.set(Role::Observer, 450);
        let outages = cell.outages();
        let syncs = [outages.follower_syncs_ms.tally, outages.observer_syncs_ms.tally];
        assert_eq!(syncs.map(|tally| (tally.count, tally.sum)), [(1, 30), (1, 40)]);
    }

    #[test]
    fn who_led_and_leads_no_more_has_quit() {
        let cell = RoleCell::looking(0);
        for role in [Role::Leader, Role::Leader, Role::NotServing, Role::Follower, Role::Leader, Role::Follower] {
            cell.set(role, 1);
        }
        assert_eq!(cell.outages().quit_leading, 2);
    }

    #[test]
    fn only_a_leader_has_learners() {
        // 1 leads, 2 and 3 vote, 4 and 5 observe, 6 is about to join.
        let peers =
            [(2, true), (3, false), (4, true), (5, false), (6, true)].map(|(id, in_step)| (ServerId(id), in_step));
        let learners = Learners::count(peers.into_iter(), &[1, 2, 3].map(ServerId), &[4, 5].map(ServerId));
        assert_eq!(learners, Learners { linked: 5, followers: 2, non_voting: 1, observers: vec![ServerId(4)] });
        let cell = RoleCell::looking(0);
        cell.set_learners(learners.clone());
        assert_eq!(cell.place().learners, Learners::default());
        cell.set(Role::Leader, 1);
        cell.set_learners(learners.clone());
        cell.set(Role::Leader, 5);
        assert_eq!((cell.place().learners, cell.place().since_ms), (learners, 1));
        cell.set(Role::Follower, 9);
        assert_eq!(cell.place().learners, Learners::default());
        assert_eq!(RoleCell::standalone().place().role, Role::Standalone);
    }
}
