//! One znode: 112 bytes plus one allocation for its name and data.

use oxkeeper_proto::records::Stat;

use crate::acl::AclId;
use crate::hash_order::Buckets;

/// Index of a znode in the tree's arena. It is local to one server and stable while the znode
/// exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slot(pub u32);

impl Slot {
    /// Slot of the root.
    pub const ROOT: Slot = Slot(0);
    /// No znode.
    pub const NIL: Slot = Slot(u32::MAX);
}

/// Kind of a znode, encoded as the stored owner. Source: `EphemeralType`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner(pub i64);

impl Owner {
    /// A znode that stays until it is deleted.
    pub const PERSISTENT: Owner = Owner(0);
    /// A container, which is reaped once its last child is gone.
    pub const CONTAINER: Owner = Owner(i64::MIN);
    /// The top byte that marks a TTL znode, and two bytes that ZooKeeper reserves for future kinds.
    const TTL_TAG: i64 = 0xff00_0000_0000_0000_u64 as i64;
    /// The longest TTL, ms: 40 bits.
    pub const TTL_MAX_MS: i64 = 0xff_ffff_ffff;

    /// Returns the owner of a TTL znode, which is reaped when it was unchanged and childless for
    /// `ttl_ms`.
    pub fn ttl(ttl_ms: i64) -> Owner {
        Owner(Owner::TTL_TAG | ttl_ms)
    }

    /// Returns the TTL of a TTL znode, ms.
    pub fn ttl_ms(self) -> Option<i64> {
        (self.0 & !Owner::TTL_MAX_MS == Owner::TTL_TAG).then_some(self.0 & Owner::TTL_MAX_MS)
    }

    /// Returns the session of an ephemeral znode.
    pub fn session(self) -> Option<i64> {
        let ephemeral = self != Owner::PERSISTENT && self != Owner::CONTAINER && self.ttl_ms().is_none();
        ephemeral.then_some(self.0)
    }
}

/// The fields of a znode that a multi may have to restore.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Versions {
    /// Transaction that created it.
    pub czxid: i64,
    /// Transaction that last set its data.
    pub mzxid: i64,
    /// Transaction that last created or deleted a child.
    pub pzxid: i64,
    /// Time of creation, Unix ms.
    pub ctime: i64,
    /// Time when its data was last set, Unix ms.
    pub mtime: i64,
    /// Kind of the znode.
    pub owner: Owner,
    /// Number of times its data was set.
    pub version: i32,
    /// Number of children ever created: the *stored* cversion, and the next sequence number.
    pub cversion: i32,
    /// Number of times its ACL was set.
    pub aversion: i32,
    /// Access control list of the znode.
    pub acl: AclId,
}

/// Neighbours in the tree.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Links {
    pub(crate) parent: Slot,
    pub(crate) first_child: Slot,
    pub(crate) next: Slot,
    pub(crate) prev: Slot,
    pub(crate) num_children: u32,
}

impl Links {
    pub(crate) fn under(parent: Slot) -> Links {
        Links { parent, first_child: Slot::NIL, next: Slot::NIL, prev: Slot::NIL, num_children: 0 }
    }
}

/// A znode. The name is fixed; the data may be null, which differs from empty data.
#[derive(Clone, Debug)]
pub struct Znode {
    /// The fields that a multi may have to restore.
    pub versions: Versions,
    pub(crate) links: Links,
    /// Contribution to the tree digest; maintained by the tree.
    pub(crate) digest: u32,
    /// Number of znodes its transaction created before it.
    place: u32,
    /// Length of the name in bytes, buckets of its children, and [`NULL_DATA`].
    shape: u32,
    /// The name, then the data.
    bytes: Box<[u8]>,
}

/// Flag in `shape`: the data is null.
const NULL_DATA: u32 = 1 << 31;
/// Position in `shape` of the exponent of the buckets. A name is shorter than a frame, so 24
/// bits are enough for its length.
const BUCKETS_SHIFT: u32 = 31 - Buckets::LOG2_BITS;
const NAME_LEN: u32 = (1 << BUCKETS_SHIFT) - 1;
const BUCKETS: u32 = !NULL_DATA & !NAME_LEN;

impl Znode {
    /// Creates a znode without children. `place` is the number of znodes its transaction created
    /// before it.
    pub(crate) fn new(parent: Slot, name: &str, data: Option<&[u8]>, versions: Versions, place: u32) -> Znode {
        let (links, shape) = (Links::under(parent), name.len() as u32);
        let mut znode = Znode { versions, links, digest: 0, place, shape, bytes: joined(name.as_bytes(), data) };
        znode.set_buckets(Buckets::OF_CHILDREN);
        znode.mark_null(data.is_none());
        znode
    }

    fn name_len(&self) -> usize {
        (self.shape & NAME_LEN) as usize
    }

    /// Returns a key that orders znodes by their creation.
    pub(crate) fn birth(&self) -> (i64, u32) {
        (self.versions.czxid, self.place)
    }

    pub(crate) fn place(&self) -> u32 {
        self.place
    }

    pub(crate) fn set_place(&mut self, place: u32) {
        self.place = place;
    }

    /// Returns the size of the table in which ZooKeeper keeps the names of its children. It grows
    /// with them and never shrinks.
    pub(crate) fn buckets(&self) -> Buckets {
        Buckets::from_log2((self.shape & BUCKETS) >> BUCKETS_SHIFT)
    }

    pub(crate) fn set_buckets(&mut self, buckets: Buckets) {
        self.shape = self.shape & !BUCKETS | buckets.log2() << BUCKETS_SHIFT;
    }

    fn mark_null(&mut self, null: bool) {
        self.shape = if null { self.shape | NULL_DATA } else { self.shape & !NULL_DATA };
    }

    /// Returns the last component of its path; empty for the root.
    pub fn name(&self) -> &str {
        std::str::from_utf8(&self.bytes[..self.name_len()]).expect("names are stored from text")
    }

    pub(crate) fn name_bytes(&self) -> &[u8] {
        &self.bytes[..self.name_len()]
    }

    /// Returns its data; `None` for null.
    pub fn data(&self) -> Option<&[u8]> {
        (self.shape & NULL_DATA == 0).then(|| &self.bytes[self.name_len()..])
    }

    /// Returns the length of its data, bytes; 0 for null.
    pub fn data_len(&self) -> usize {
        self.bytes.len() - self.name_len()
    }

    /// Replaces the data, in place if the length stays the same.
    pub(crate) fn set_data(&mut self, data: Option<&[u8]>) {
        let new = data.unwrap_or_default();
        let name_len = self.name_len();
        if self.data_len() == new.len() {
            self.bytes[name_len..].copy_from_slice(new);
        } else {
            self.bytes = joined(&self.bytes[..name_len], data);
        }
        self.mark_null(data.is_none());
    }

    /// Returns the number of its children.
    pub fn num_children(&self) -> u32 {
        self.links.num_children
    }

    /// Returns its parent; `NIL` for the root.
    pub fn parent(&self) -> Slot {
        self.links.parent
    }

    /// Returns the stat that clients see. Source: `DataNode.copyStat`.
    pub fn stat(&self) -> Stat {
        let v = &self.versions;
        let num_children = self.links.num_children as i32;
        Stat {
            czxid: v.czxid,
            mzxid: v.mzxid,
            ctime: v.ctime,
            mtime: v.mtime,
            version: v.version,
            // ZooKeeper: counts creations plus deletions, from a counter of creations only.
            cversion: v.cversion.wrapping_mul(2).wrapping_sub(num_children),
            aversion: v.aversion,
            ephemeral_owner: v.owner.session().unwrap_or(0),
            data_length: self.data_len() as i32,
            num_children,
            pzxid: v.pzxid,
        }
    }
}

fn joined(name: &[u8], data: Option<&[u8]>) -> Box<[u8]> {
    [name, data.unwrap_or_default()].concat().into_boxed_slice()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_znode_is_small() {
        assert_eq!(size_of::<Option<Znode>>(), 112);
    }

    #[test]
    fn owners() {
        assert_eq!(Owner::ttl(1000).ttl_ms(), Some(1000));
        assert_eq!(Owner::ttl(1000).session(), None);
        assert_eq!(Owner::CONTAINER.ttl_ms(), None);
        assert_eq!(Owner::CONTAINER.session(), None);
        assert_eq!(Owner(0x100_0000_0000_0001).session(), Some(0x100_0000_0000_0001));
        assert_eq!(Owner::PERSISTENT.session(), None);
        assert_eq!(Owner::ttl(Owner::TTL_MAX_MS).ttl_ms(), Some(Owner::TTL_MAX_MS));
        // ZooKeeper: in TTL znodes these two bytes name their kind. Sessions of server 255 have other values
        // there.
        let of_255 = Owner(0xff80_0000_0000_0001_u64 as i64);
        assert_eq!((of_255.ttl_ms(), of_255.session()), (None, Some(of_255.0)));
    }
}
