//! What this server is among its peers, for those who only look.
//!
//! The engine tells it at each change; words and metrics read it. Owns also how long the server could not serve, because
//! only changes of role tell.
//! Invariant: followers are counted on a leader only.
//! Source: `QuorumPeer#setPeerState`, `#setZabState`, `Leader#getLearners`, `#getForwardingFollowers`.

use oxkeeper_replica::stats::Tally;
use parking_lot::Mutex;

/// What a server is among its peers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Role {
    /// It has no peers.
    #[default]
    Alone,
    /// It orders the writes of all, and a majority follows.
    Leader,
    /// It follows a leader.
    Follower,
    /// It is in touch with no majority, or does not have the state yet.
    NotServing,
    /// It has been in touch with no majority for long, and serves those who only read.
    ReadOnly,
}

impl Role {
    /// Whether writes are not served.
    fn is_out(self) -> bool {
        matches!(self, Role::NotServing | Role::ReadOnly)
    }
}

/// How often and how long the server could not serve.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Outages {
    /// Times it began to look for a leader.
    pub(crate) count: u64,
    /// When the last one began, ms of the server's clock.
    began_ms: u64,
    /// How long it took until it served again, ms.
    pub(crate) took_ms: Tally,
    /// The same where it then led, ms.
    pub(crate) took_until_leading_ms: Tally,
}

/// Role, and what belongs to it, at one moment.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Place {
    pub(crate) role: Role,
    /// When it took this role, ms of the server's clock.
    pub(crate) since_ms: u64,
    /// On a leader: servers that are linked to it.
    pub(crate) followers: usize,
    /// Those of them that have what it has.
    pub(crate) synced_followers: usize,
    pub(crate) outages: Outages,
}

/// The place of this server, shared.
#[derive(Debug)]
pub(crate) struct RoleCell(Mutex<Place>);

impl RoleCell {
    /// A server without peers.
    pub(crate) fn alone() -> RoleCell {
        RoleCell(Mutex::default())
    }

    /// A member of an ensemble that has not found the others yet.
    pub(crate) fn looking(now_ms: u64) -> RoleCell {
        let outages = Outages { count: 1, began_ms: now_ms, ..Outages::default() };
        RoleCell(Mutex::new(Place { role: Role::NotServing, since_ms: now_ms, outages, ..Place::default() }))
    }

    /// The engine's: the role from now on. The same role again changes nothing.
    pub(crate) fn set(&self, role: Role, now_ms: u64) {
        let mut place = self.0.lock();
        if place.role == role {
            return;
        }
        if place.role.is_out() && !role.is_out() {
            let took_ms = now_ms.saturating_sub(place.outages.began_ms);
            place.outages.took_ms.record(took_ms);
            if role == Role::Leader {
                place.outages.took_until_leading_ms.record(took_ms);
            }
        }
        if role.is_out() && !place.role.is_out() {
            place.outages.count += 1;
            place.outages.began_ms = now_ms;
        }
        (place.role, place.since_ms) = (role, now_ms);
        (place.followers, place.synced_followers) = (0, 0);
    }

    /// The engine's, on a leader: servers linked to it, and those of them that have what it has.
    pub(crate) fn set_followers(&self, linked: usize, synced: usize) {
        let mut place = self.0.lock();
        if place.role == Role::Leader {
            (place.followers, place.synced_followers) = (linked, synced);
        }
    }

    /// Role, and what belongs to it.
    pub(crate) fn place(&self) -> Place {
        *self.0.lock()
    }

    /// Outages are counted anew.
    pub(crate) fn forget_outages(&self) {
        let mut place = self.0.lock();
        place.outages = Outages { began_ms: place.outages.began_ms, ..Outages::default() };
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
        let place = cell.place();
        assert_eq!((place.role, place.since_ms, place.outages.count), (Role::Leader, 1040, 2));
        assert_eq!((place.outages.took_ms.count, place.outages.took_ms.sum), (2, 290));
        let leading = place.outages.took_until_leading_ms;
        assert_eq!((leading.count, leading.sum), (1, 40));
        cell.forget_outages();
        assert_eq!((cell.place().outages.count, cell.place().role), (0, Role::Leader));
    }

    #[test]
    fn only_a_leader_has_followers() {
        let cell = RoleCell::looking(0);
        cell.set_followers(2, 1);
        assert_eq!(cell.place().followers, 0);
        cell.set(Role::Leader, 1);
        cell.set_followers(2, 1);
        cell.set(Role::Leader, 5);
        assert_eq!((cell.place().followers, cell.place().synced_followers, cell.place().since_ms), (2, 1, 1));
        cell.set(Role::Follower, 9);
        assert_eq!((cell.place().followers, cell.place().synced_followers), (0, 0));
        assert_eq!(RoleCell::alone().place().role, Role::Alone);
    }
}
