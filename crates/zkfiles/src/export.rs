//! A state as a snapshot of ZooKeeper, and the number that tells two states apart.

use std::io::{self, Write};

use oxkeeper_proto::Jute;
use oxkeeper_state::State;
use oxkeeper_state::acl::{AclId, encode_list};
use oxkeeper_state::import::StoredStat;
use oxkeeper_state::znode::{Slot, Versions, Znode};
use sha1::{Digest as _, Sha1};

use crate::snapshot::Digest;
use crate::write::Writer;

/// Znodes between two reports of progress.
const REPORT_ZNODES: usize = 1024;

/// What a znode stores beside path, data and ACL.
pub fn stored(versions: &Versions) -> StoredStat {
    let &Versions { czxid, mzxid, pzxid, ctime, mtime, owner, version, cversion, aversion, acl: _ } = versions;
    StoredStat { czxid, mzxid, ctime, mtime, version, cversion, aversion, owner, pzxid }
}

/// The name ZooKeeper looks for, without the suffix of a compression.
pub fn file_name(zxid: i64) -> String {
    format!("snapshot.{zxid:x}")
}

/// Every znode with its path as ZooKeeper writes it, parents first, children in the order in which clients see them: who
/// loads them takes them in so. Source: `DataTree.serializeNode`.
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

/// Writes a state; `progress` is told how many znodes are written.
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

/// A number that is the same for states with the same znodes (data, ACLs, stats), sessions and last transaction, whatever
/// they were read from, and another one for any two that differ. Never 0.
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

/// The first eight bytes of SHA-1: a sum of these over records in any order says what is among them.
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
        // One hash code: the older one first, and what is below it before the other.
        for (path, czxid) in [("", 0), ("/d", 1), ("/d/Aa", 4), ("/d/BB", 2), ("/d/BB/x", 3), ("/d/Aa/y", 5)] {
            znode(path, czxid);
        }
        let (state, _) = importing.finish(5, true);
        let paths: Vec<String> = walk(&state).map(|(_, path, _)| path).filter(|path| path.starts_with("/d/")).collect();
        assert_eq!(paths, ["/d/BB", "/d/BB/x", "/d/Aa", "/d/Aa/y"]);
    }
}
