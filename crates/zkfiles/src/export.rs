//! Writes a state as a snapshot of ZooKeeper, and computes a fingerprint of a state.

use std::io::{self, Write};

use oxkeeper_proto::Jute;
use oxkeeper_state::State;
use oxkeeper_state::acl::{AclId, encode_list};
use oxkeeper_state::import::StoredStat;
use oxkeeper_state::znode::{Slot, Versions, Znode};
use sha1::{Digest as _, Sha1};

use crate::snapshot::Digest;
use crate::write::Writer;

/// Znodes between two progress reports.
const REPORT_ZNODES: usize = 1024;

/// Returns the stored stat of a znode.
pub fn stored(versions: &Versions) -> StoredStat {
    let &Versions { czxid, mzxid, pzxid, ctime, mtime, owner, version, cversion, aversion, acl: _ } = versions;
    StoredStat { czxid, mzxid, ctime, mtime, version, cversion, aversion, owner, pzxid }
}

/// Returns the name that ZooKeeper looks for, without the extension of a compression.
pub fn file_name(zxid: i64) -> String {
    format!("snapshot.{zxid:x}")
}

/// Iterates over all znodes with the paths that ZooKeeper writes, parents first, children in the order in
/// which clients see them: a loader inserts them in this order. Source: `DataTree.serializeNode`.
fn walk(state: &State) -> impl Iterator<Item = (Slot, String, &Znode)> {
    let tree = state.tree();
    let mut waiting = vec![Slot::ROOT];
    std::iter::from_fn(move || {
        let slot = waiting.pop()?;
        waiting.extend(tree.children(slot).into_iter().rev());
        let path = if slot == Slot::ROOT { String::new() } else { tree.path(slot) };
        Some((slot, path, tree.znode(slot)))
    })
}

/// Writes a state; calls `progress` with the number of znodes written so far.
///
/// # Errors
/// Those of `out`.
pub fn write_state<W: Write>(state: &State, out: W, mut progress: impl FnMut(usize)) -> io::Result<W> {
    let sessions: Vec<_> = state.sessions().iter().map(|(id, session)| (id.0, session.timeout_ms)).collect();
    let mut used: Vec<AclId> = state.tree().iter().map(|(_, znode)| znode.versions.acl).collect();
    used.sort_unstable();
    used.dedup();
    used.retain(|&acl| acl != AclId::OPEN);
    let acls = used.iter().map(|&acl| (acl.0, state.acl(acl).as_slice()));
    let mut writer = Writer::new(out, sessions.into_iter(), acls)?;
    for (count, (_, path, znode)) in walk(state).enumerate() {
        writer.znode(&path, znode.data(), znode.versions.acl.0, &stored(&znode.versions))?;
        if count % REPORT_ZNODES == 0 {
            progress(count);
        }
    }
    writer.finish(Digest { zxid: state.zxid().0, version: 2, digest: state.tree().digest() as i64 })
}

/// Computes a number, never 0, that is equal for states with the same znodes (data, ACLs, stats), sessions
/// and last transaction, regardless of their source, and differs for states that differ.
pub fn fingerprint(state: &State) -> u64 {
    let mut sum = hashed(b"zxid", &state.zxid().0.to_be_bytes());
    for (id, session) in state.sessions().iter() {
        let bytes = [&id.0.to_be_bytes()[..], &session.timeout_ms.to_be_bytes()].concat();
        sum = sum.wrapping_add(hashed(b"session", &bytes));
    }
    let mut bytes = Vec::new();
    for (_, path, znode) in walk(state) {
        bytes.clear();
        Some(path.as_bytes()).encode(&mut bytes);
        znode.data().encode(&mut bytes);
        let v = &znode.versions;
        let longs = [v.czxid, v.mzxid, v.pzxid, v.ctime, v.mtime, v.owner.0];
        longs.iter().for_each(|long| long.encode(&mut bytes));
        [v.version, v.cversion, v.aversion].iter().for_each(|int| int.encode(&mut bytes));
        bytes.extend(encode_list(state.acl(v.acl)));
        sum = sum.wrapping_add(hashed(b"znode", &bytes));
    }
    sum.max(1)
}

/// Returns the first eight bytes of SHA-1. The sum of these over a set of records identifies the set, in any order.
fn hashed(kind: &[u8], bytes: &[u8]) -> u64 {
    let hash = Sha1::new().chain_update(kind).chain_update(bytes).finalize();
    u64::from_be_bytes(*hash.first_chunk().expect("SHA-1 has 20 bytes"))
}

#[cfg(test)]
mod tests {
    use oxkeeper_state::import::Importing;
    use oxkeeper_state::znode::Owner;

    use super::*;

    #[test]
    fn znodes_come_in_the_order_in_which_clients_see_them() {
        let mut importing = Importing::new(1);
        let mut znode = |path: &str, czxid| {
            let owner = Owner::PERSISTENT;
            let (mzxid, pzxid) = (czxid, czxid);
            let stat =
                StoredStat { czxid, mzxid, ctime: 0, mtime: 0, version: 0, cversion: 0, aversion: 0, owner, pzxid };
            importing.znode(path, None, &[], &stat).expect("it has a place");
        };
        // Both names have one hash code: the older one comes first, and its descendants come before the other.
        for (path, czxid) in [("", 0), ("/d", 1), ("/d/Aa", 4), ("/d/BB", 2), ("/d/BB/x", 3), ("/d/Aa/y", 5)] {
            znode(path, czxid);
        }
        let (state, _) = importing.finish(5, true);
        let paths: Vec<String> = walk(&state).map(|(_, path, _)| path).filter(|path| path.starts_with("/d/")).collect();
        assert_eq!(paths, ["/d/BB", "/d/BB/x", "/d/Aa", "/d/Aa/y"]);
    }
}
