//! Promise: every command takes the next zxid, also across restarts, and trees at equal zxids are
//! equal.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use oxkeeper_state::State;
use oxkeeper_state::tree::Tree;
use oxkeeper_state::znode::Slot;

use crate::model::Model;

/// Digest and listing order of the tree at each zxid that the server has reached.
#[derive(Debug, Default)]
pub struct Zxids {
    digests: BTreeMap<i64, u64>,
    listings: BTreeMap<i64, u64>,
}

impl Zxids {
    /// Checks a server's state at its zxid.
    pub fn reached(&mut self, state: &State, model: &Model) {
        let zxid = state.zxid().0;
        assert_eq!(zxid, model.zxid(), "zxids: the server's is not the number of commands applied");
        let digest = state.tree().digest();
        let before = *self.digests.entry(zxid).or_insert(digest);
        assert_eq!(digest, before, "digest: at zxid {zxid} it was another one");
        let listing = listing(state.tree());
        let before = *self.listings.entry(zxid).or_insert(listing);
        assert_eq!(listing, before, "order: at zxid {zxid} children were listed in another one");
    }
}

/// Returns a hash of the order in which all znodes are listed, from the root down; the digest does
/// not cover that order.
pub(super) fn listing(tree: &Tree) -> u64 {
    let (mut hasher, mut waiting) = (DefaultHasher::new(), vec![Slot::ROOT]);
    while let Some(slot) = waiting.pop() {
        let children = tree.children(slot);
        tree.child_names(slot).hash(&mut hasher);
        waiting.extend(children.into_iter().rev());
    }
    hasher.finish()
}
