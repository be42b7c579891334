//! Records of writes that are checked but not yet applied, against which ZooKeeper checks the next
//! write.
//!
//! ZooKeeper: such a record differs in two ways from the znode that results from it. A counter of
//! creations that overflows continues at -2147483648, while the znode's counter stays at
//! 2147483647; and a container requested with the flags of an ephemeral counts as an ephemeral. In
//! ZooKeeper, timing decides whether a write meets the record or the znode. Here the log entry
//! decides: its commands, like the operations of a transaction, follow each other without a pause.
//!
//! Source: `PrepRequestProcessor.pRequest2TxnCreate`, `ZooKeeperServer.outstandingChanges`,
//! `DataTree.createNode`.

use crate::state::State;
use crate::znode::Slot;

/// Differences between the record of a znode and the znode.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Unapplied {
    /// The counter of creations, once it has overflowed.
    pub(crate) counter: Option<i32>,
    /// Whether children are refused as if the znode were an ephemeral.
    pub(crate) is_ephemeral: bool,
}

impl State {
    /// Ends a log entry: later commands see the znodes as they are.
    pub fn end_entry(&mut self) {
        self.unapplied.clear();
    }

    /// Returns the next sequence number below a znode.
    pub(crate) fn counter(&self, parent: Slot) -> i32 {
        let unapplied = self.unapplied.get(&parent).and_then(|unapplied| unapplied.counter);
        unapplied.unwrap_or_else(|| self.tree.znode(parent).versions.cversion)
    }

    /// Notes the counter's value after a child was created.
    pub(crate) fn counted(&mut self, parent: Slot, counter: i32) {
        if self.tree.znode(parent).versions.cversion != counter {
            self.unapplied.entry(parent).or_default().counter = Some(counter);
        }
    }

    /// Returns whether a znode may not have children.
    pub(crate) fn passes_for_ephemeral(&self, slot: Slot) -> bool {
        let is_one = self.tree.znode(slot).versions.owner.session().is_some();
        is_one || self.unapplied.get(&slot).is_some_and(|unapplied| unapplied.is_ephemeral)
    }
}
