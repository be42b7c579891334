//! Promise: every command takes the next zxid, also across restarts; and at equal zxid there is an equal tree.

use std::collections::BTreeMap;

use oxkeeper_state::State;

use crate::model::Model;

/// The tree digest at each zxid at which the server stood.
#[derive(Debug, Default)]
pub struct Zxids {
    digests: BTreeMap<i64, u64>,
}

impl Zxids {
    /// The server stands at the zxid of `state`.
    pub fn reached(&mut self, state: &State, model: &Model) {
        let zxid = state.zxid().0;
        assert_eq!(zxid, model.zxid(), "zxids: the server's is not the number of commands applied");
        let digest = state.tree().digest();
        let before = *self.digests.entry(zxid).or_insert(digest);
        assert_eq!(digest, before, "digest: at zxid {zxid} it was another one");
    }
}
