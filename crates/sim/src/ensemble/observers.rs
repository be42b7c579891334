//! Servers that do not vote.
//!
//! Promise: if no client requests other voters, a server that did not found the ensemble never
//! votes, follows or leads, whatever is lost. It serves like every other server once the faults
//! have stopped.

use oxkeeper_replica::ensemble::{Replica, Role};

use super::world::World;

impl World {
    /// Checks the role of a server without a vote.
    pub(super) fn check_observer(&self, me: usize, replica: &Replica) {
        if self.options.reconfig_every_ms > 0 || (me as u64) < self.options.founders {
            return;
        }
        let (id, role) = (self.options.id(me), replica.role());
        let takes_part = matches!(role, Role::Leading | Role::Following(_)) || replica.is_candidate();
        assert!(!takes_part, "observers: server {} is {role:?}", me + 1);
        assert!(
            !replica.configuration().voters.contains(&id) || role == Role::Uninitialized,
            "observers: server {} votes",
            me + 1
        );
    }
}
