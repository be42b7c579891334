//! Records of writes that are checked and not yet applied, by which ZooKeeper checks the next write.
//!
//! ZooKeeper: such a record differs in two ways from the znode that comes of it. A counter of creations that overflows goes
//! on at -2147483648, while the znode's stays at 2147483647; and a container that was asked for with the flags of an
//! ephemeral is an ephemeral. There, time decides whether a write meets the record or the znode. Here the entry of the log
//! does: its commands, like the operations of a transaction, follow each other without a pause.
//!
//! Source: `PrepRequestProcessor.pRequest2TxnCreate`, `ZooKeeperServer.outstandingChanges`, `DataTree.createNode`.

use crate::state::State;
use crate::znode::Slot;

/// Difference between the record of a znode and the znode.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Unapplied {
    /// The counter of creations, once it has overflown.
    pub(crate) counter: Option<i32>,
    /// Whether children are refused as those of an ephemeral.
    pub(crate) is_ephemeral: bool,
}

impl State {
    /// An entry of the log ends: what follows finds znodes as they are.
    pub fn end_entry(&mut self) {
        self.unapplied.clear();
    }

    /// The next sequence number below a znode.
    pub(crate) fn counter(&self, parent: Slot) -> i32 {
        let unapplied = self.unapplied.get(&parent).and_then(|unapplied| unapplied.counter);
        unapplied.unwrap_or_else(|| self.tree.znode(parent).versions.cversion)
    }

    /// A child was created, which made the counter this.
    pub(crate) fn counted(&mut self, parent: Slot, counter: i32) {
        if self.tree.znode(parent).versions.cversion != counter {
            self.unapplied.entry(parent).or_default().counter = Some(counter);
        }
    }

    /// Whether a znode may have no children.
    pub(crate) fn passes_for_ephemeral(&self, slot: Slot) -> bool {
        let is_one = self.tree.znode(slot).versions.owner.session().is_some();
        is_one || self.unapplied.get(&slot).is_some_and(|unapplied| unapplied.is_ephemeral)
    }
}
