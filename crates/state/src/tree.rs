//! The znode tree: an arena of znodes, an index from (parent, name) to slot, and children as linked
//! siblings.
//!
//! Owns every znode, the tree digest, and the record of changes since the last checkpoint. Knows
//! nothing of operations, sessions or permissions. Invariants: every znode except the root is
//! exactly once in the index and in its parent's list, the newest first; `digest` is the wrapping
//! sum of all znodes' digests; every change goes through [`Tree::update`], [`Tree::touch`],
//! [`Tree::insert`] or [`Tree::remove`], which maintain both and mark the slot.
//!
//! Source of the digest: `DigestCalculator` (version 2).

use std::collections::BTreeMap;
use std::hash::BuildHasher;

use foldhash::fast::FixedState;
use hashbrown::HashTable;
use hashbrown::hash_table::Entry;

use crate::dirty::{Captured, Changes};
use crate::hash_order::hash_code;
use crate::record;
use crate::znode::{Links, Slot, Versions, Znode};

/// Number of znodes in one chunk of the arena, which grows by chunks.
pub(crate) const CHUNK_LEN: usize = 1024;

/// An index entry: 8 bytes per znode. The hash is kept so that growing the index touches no znodes.
#[derive(Clone, Copy, Debug)]
struct Indexed {
    hash: u32,
    slot: Slot,
}

/// The znode tree.
#[derive(Debug)]
pub struct Tree {
    chunks: Vec<Vec<Option<Znode>>>,
    free: Vec<Slot>,
    index: HashTable<Indexed>,
    hasher: FixedState,
    seed: u64,
    count: usize,
    digest: u64,
    /// Digest of the znodes that `digest` leaves out. Their own digest fields are 0.
    system: u64,
    /// Sum of the lengths of all paths and data, bytes.
    size: u64,
    pub(crate) changes: Changes,
}

impl Tree {
    /// Creates a tree without any znode, even a root. `seed` keeps clients from crafting index
    /// collisions.
    pub(crate) fn empty(seed: u64) -> Tree {
        Tree {
            chunks: Vec::new(),
            free: Vec::new(),
            index: HashTable::new(),
            hasher: FixedState::with_seed(seed),
            seed,
            count: 0,
            digest: 0,
            system: 0,
            size: 0,
            changes: Changes::default(),
        }
    }

    /// Returns the seed that keeps clients from crafting collisions, here and wherever else paths
    /// are hashed.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// Returns the number of znodes, including the root.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Returns whether the tree is empty, which it never is: there is a root.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Returns the tree digest. Equal trees have equal digests, whatever changes led to them.
    pub fn digest(&self) -> u64 {
        self.digest
    }

    /// Returns the digest of the znodes below /zookeeper, which [`Tree::digest`] leaves out.
    pub(crate) fn system_digest(&self) -> u64 {
        self.system
    }

    /// Returns the length of all paths and data, bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Returns the znode in `slot`, if there is one.
    pub fn get(&self, slot: Slot) -> Option<&Znode> {
        self.chunks.get(slot.0 as usize / CHUNK_LEN)?.get(slot.0 as usize % CHUNK_LEN)?.as_ref()
    }

    /// Returns the znode in `slot`, which must exist.
    pub fn znode(&self, slot: Slot) -> &Znode {
        self.get(slot).expect("the slot was just looked up")
    }

    fn znode_mut(&mut self, slot: Slot) -> &mut Znode {
        let znode = self.chunks[slot.0 as usize / CHUNK_LEN][slot.0 as usize % CHUNK_LEN].as_mut();
        znode.expect("the slot was just looked up")
    }

    /// Returns the slot of `path`. ZooKeeper: the empty path is the root; a malformed path simply
    /// does not exist.
    pub fn lookup(&self, path: &str) -> Option<Slot> {
        if path.is_empty() || path == "/" {
            return Some(Slot::ROOT);
        }
        path.strip_prefix('/')?.split('/').try_fold(Slot::ROOT, |slot, name| self.child(slot, name))
    }

    /// Returns the slot of the child `name` of `parent`.
    pub fn child(&self, parent: Slot, name: &str) -> Option<Slot> {
        let hash = self.hash(parent, name.as_bytes());
        self.index.find(spread(hash), |entry| self.is_at(entry, hash, parent, name)).map(|entry| entry.slot)
    }

    fn is_at(&self, entry: &Indexed, hash: u32, parent: Slot, name: &str) -> bool {
        entry.hash == hash && {
            let znode = self.znode(entry.slot);
            znode.links.parent == parent && znode.name_bytes() == name.as_bytes()
        }
    }

    fn hash(&self, parent: Slot, name: &[u8]) -> u32 {
        index_hash(&self.hasher, parent, name)
    }

    /// Returns the path of a znode.
    pub fn path(&self, slot: Slot) -> String {
        let mut names = Vec::new();
        let mut at = slot;
        while at != Slot::ROOT {
            let znode = self.znode(at);
            names.push(znode.name());
            at = znode.links.parent;
        }
        if names.is_empty() {
            return "/".to_owned();
        }
        names.iter().rev().flat_map(|name| ["/", name]).collect()
    }

    /// Returns the children of a znode in the order in which clients see them.
    pub fn children(&self, parent: Slot) -> Vec<Slot> {
        self.listing(parent, |slot, _| slot)
    }

    /// Returns the names of the children of a znode in the order in which clients see them.
    pub fn child_names(&self, parent: Slot) -> Vec<&[u8]> {
        self.listing(parent, |_, child| child.name_bytes())
    }

    /// ZooKeeper: lists children in the order of a `HashSet` of names. The order is the same on
    /// every server and after a restart, because records hold births and the size of the table.
    fn listing<'t, T: Copy>(&'t self, parent: Slot, show: impl Fn(Slot, &'t Znode) -> T) -> Vec<T> {
        let buckets = self.znode(parent).buckets();
        let listed = self.child_slots(parent).map(|slot| {
            let child = self.znode(slot);
            (buckets.bucket(hash_code(child.name_bytes())), show(slot, child))
        });
        buckets.newest_first(listed.collect())
    }

    /// Returns the slots of the children of a znode, the newest first.
    pub fn child_slots(&self, slot: Slot) -> impl Iterator<Item = Slot> {
        let present = |slot: Slot| (slot != Slot::NIL).then_some(slot);
        let first = present(self.znode(slot).links.first_child);
        std::iter::successors(first, move |&slot| present(self.znode(slot).links.next))
    }

    /// Returns every descendant of a znode, depth first, without the znode itself.
    pub fn descendants(&self, top: Slot) -> impl Iterator<Item = Slot> {
        let mut at = top;
        std::iter::from_fn(move || {
            at = self.successor(at, top)?;
            Some(at)
        })
    }

    /// Returns the znode that follows `at` in a depth-first walk below `top`.
    fn successor(&self, at: Slot, top: Slot) -> Option<Slot> {
        let first_child = self.znode(at).links.first_child;
        if first_child != Slot::NIL {
            return Some(first_child);
        }
        let mut at = at;
        while at != top {
            let links = &self.znode(at).links;
            if links.next != Slot::NIL {
                return Some(links.next);
            }
            at = links.parent;
        }
        None
    }

    /// Adds a znode, which has no children, at `path`.
    pub(crate) fn insert(&mut self, path: &str, mut znode: Znode) -> Slot {
        znode.links = Links::under(znode.parent());
        let slot = self.free.pop().unwrap_or_else(|| Slot(self.high_water()));
        self.changes.before_change(slot.0, || None);
        if znode.parent() != Slot::NIL {
            self.save(znode.parent());
        }
        self.place(slot, znode);
        self.link(slot);
        self.count_in(slot, path);
        slot
    }

    /// Puts a removed znode back where it was. All later changes must have been undone before.
    pub(crate) fn put_back(&mut self, path: &str, znode: Znode) -> Slot {
        let slot = self.free.pop().expect("that of what was removed last");
        self.changes.before_change(slot.0, || None);
        self.place(slot, znode);
        self.enter(slot);
        let Links { parent, next, prev, .. } = self.znode(slot).links;
        self.znode_mut(parent).links.num_children += 1;
        *self.link_to_first_after(prev, parent) = slot;
        if next != Slot::NIL {
            self.znode_mut(next).links.prev = slot;
        }
        self.count_in(slot, path);
        slot
    }

    /// Returns the link to the sibling after `prev`, or to the first child if `prev` is `NIL`.
    fn link_to_first_after(&mut self, prev: Slot, parent: Slot) -> &mut Slot {
        match prev {
            Slot::NIL => &mut self.znode_mut(parent).links.first_child,
            prev => &mut self.znode_mut(prev).links.next,
        }
    }

    /// Removes the childless znode at `path`.
    pub(crate) fn remove(&mut self, slot: Slot, path: &str) -> Znode {
        self.save(slot);
        self.count_out(slot, path);
        self.unlink(slot);
        self.free.push(slot);
        let znode = self.chunks[slot.0 as usize / CHUNK_LEN][slot.0 as usize % CHUNK_LEN].take();
        let znode = znode.expect("the slot was just looked up");
        assert_eq!(znode.links.num_children, 0, "only a childless znode is removed");
        znode
    }

    /// Changes the znode at `path` in place. `change` must not touch the links.
    pub(crate) fn update(&mut self, slot: Slot, path: &str, change: impl FnOnce(&mut Znode)) {
        self.save(slot);
        self.count_out(slot, path);
        change(self.znode_mut(slot));
        self.count_in(slot, path);
    }

    /// Changes the versions of the znode at `path`, at a cost independent of the size of its data.
    pub(crate) fn touch(&mut self, slot: Slot, path: &str, change: impl FnOnce(&mut Versions)) {
        self.save(slot);
        if !is_digested(path) {
            let before = crc(path, self.znode(slot));
            change(&mut self.znode_mut(slot).versions);
            self.system = replaced(self.system, before, crc(path, self.znode(slot)));
            return;
        }
        let znode = self.znode_mut(slot);
        let before = crc32fast::hash(&stat_block(&znode.versions));
        change(&mut znode.versions);
        // CRC-32 is linear: the difference between the checksums of two messages with the same start does not
        // depend on that start.
        let old = znode.digest;
        let new = old ^ before ^ crc32fast::hash(&stat_block(&znode.versions));
        znode.digest = new;
        self.digest = replaced(self.digest, old, new);
    }

    fn save(&mut self, slot: Slot) {
        let Tree { changes, chunks, .. } = self;
        let znode = chunks[slot.0 as usize / CHUNK_LEN][slot.0 as usize % CHUNK_LEN].as_ref();
        changes.before_change(slot.0, || znode.map(record::encode_znode));
    }

    /// Returns up to `count` records of the current checkpoint.
    pub(crate) fn capture(&mut self, count: usize) -> Vec<Captured> {
        let Tree { changes, chunks, .. } = self;
        let get = |slot: u32| chunks.get(slot as usize / CHUNK_LEN)?.get(slot as usize % CHUNK_LEN)?.as_ref();
        changes.capture(count, |slot| get(slot).map(record::encode_znode))
    }

    fn count_in(&mut self, slot: Slot, path: &str) {
        let znode = self.znode_mut(slot);
        znode.digest = znode_digest(path, znode);
        if !is_digested(path) {
            self.system = replaced(self.system, 0, crc(path, self.znode(slot)));
        }
        let znode = self.znode(slot);
        let (digest, size) = (znode.digest, znode_size(path, znode));
        self.digest = self.digest.wrapping_add(u64::from(digest));
        self.size += size;
    }

    fn count_out(&mut self, slot: Slot, path: &str) {
        let znode = self.znode(slot);
        if !is_digested(path) {
            self.system = replaced(self.system, crc(path, znode), 0);
        }
        let znode = self.znode(slot);
        let (digest, size) = (znode.digest, znode_size(path, znode));
        self.digest = self.digest.wrapping_sub(u64::from(digest));
        self.size -= size;
    }

    /// Returns one more than the highest slot ever used.
    fn high_water(&self) -> u32 {
        let full = self.chunks.len().saturating_sub(1) * CHUNK_LEN;
        (full + self.chunks.last().map_or(0, Vec::len)) as u32
    }

    /// Puts a znode into an empty slot of the arena, without linking it.
    fn place(&mut self, slot: Slot, znode: Znode) {
        let (chunk, offset) = (slot.0 as usize / CHUNK_LEN, slot.0 as usize % CHUNK_LEN);
        while self.chunks.len() <= chunk {
            if let Some(last) = self.chunks.last_mut() {
                last.resize_with(CHUNK_LEN, || None);
            }
            self.chunks.push(Vec::with_capacity(CHUNK_LEN));
        }
        let chunk = &mut self.chunks[chunk];
        if chunk.len() <= offset {
            chunk.resize_with(offset + 1, || None);
        }
        assert!(chunk[offset].is_none(), "slot {} is taken", slot.0);
        chunk[offset] = Some(znode);
        self.count += 1;
    }

    /// Makes a placed znode the first child of its parent, and adds it to the index.
    fn link(&mut self, slot: Slot) {
        let parent = self.znode(slot).links.parent;
        if parent != Slot::NIL {
            self.enter(slot);
            self.join_siblings(slot, parent);
        }
    }

    /// Adds a placed znode to the index.
    fn enter(&mut self, slot: Slot) {
        let znode = self.znode(slot);
        let hash = self.hash(znode.links.parent, znode.name_bytes());
        self.index.insert_unique(spread(hash), Indexed { hash, slot }, |entry| spread(entry.hash));
    }

    fn join_siblings(&mut self, slot: Slot, parent: Slot) {
        let links = &mut self.znode_mut(parent).links;
        links.num_children += 1;
        let second = std::mem::replace(&mut links.first_child, slot);
        self.grow_buckets(parent);
        self.znode_mut(slot).links.next = second;
        if second != Slot::NIL {
            self.znode_mut(second).links.prev = slot;
        }
    }

    /// Sorts the children of `parent` by their births.
    fn order_siblings(&mut self, parent: Slot) {
        let mut slots: Vec<Slot> = self.child_slots(parent).collect();
        slots.sort_unstable_by_key(|&slot| self.znode(slot).birth());
        let mut newer = Slot::NIL;
        for &slot in slots.iter().rev() {
            self.znode_mut(slot).links.prev = newer;
            *self.link_to_first_after(newer, parent) = slot;
            newer = slot;
        }
        if newer != Slot::NIL {
            self.znode_mut(newer).links.next = Slot::NIL;
        }
    }

    /// Sorts the children of every znode by their births. Children of the same transaction are
    /// sorted by name: the order in which it created them is unknown, and servers that import the
    /// same state must list alike.
    pub(crate) fn order_imported(&mut self) {
        let czxid = |slot: Slot| self.znode(slot).versions.czxid;
        let is_ordered = |slot: Slot| self.child_slots(slot).is_sorted_by(|&newer, &older| czxid(newer) > czxid(older));
        let parents: Vec<Slot> = self.iter().map(|(slot, _)| slot).filter(|&slot| !is_ordered(slot)).collect();
        for parent in parents {
            let mut slots: Vec<Slot> = self.child_slots(parent).collect();
            slots.sort_unstable_by_key(|&slot| (self.znode(slot).versions.czxid, self.znode(slot).name_bytes()));
            let (mut last, mut place) = (None, 0);
            for slot in slots {
                let znode = self.znode_mut(slot);
                place = if last.replace(znode.versions.czxid) == Some(znode.versions.czxid) { place + 1 } else { 0 };
                znode.set_place(place);
            }
            self.order_siblings(parent);
        }
    }

    fn grow_buckets(&mut self, parent: Slot) {
        let znode = self.znode_mut(parent);
        znode.set_buckets(znode.buckets().grown_for(znode.num_children() as usize));
    }

    fn unlink(&mut self, slot: Slot) {
        let znode = self.znode(slot);
        let links = znode.links;
        let hash = self.hash(links.parent, znode.name_bytes());
        match self.index.entry(spread(hash), |entry| entry.slot == slot, |entry| spread(entry.hash)) {
            Entry::Occupied(entry) => drop(entry.remove()),
            Entry::Vacant(_) => panic!("slot {} is not in the index", slot.0),
        }
        self.znode_mut(links.parent).links.num_children -= 1;
        *self.link_to_first_after(links.prev, links.parent) = links.next;
        if links.next != Slot::NIL {
            self.znode_mut(links.next).links.prev = links.prev;
        }
        self.count -= 1;
    }

    /// Returns a part in which one thread places the znodes that it loads. No two parts may have
    /// slots of the same chunk.
    pub(crate) fn part(&self) -> Part {
        Part { hasher: self.hasher.clone(), chunks: BTreeMap::new(), indexed: Vec::new(), count: 0 }
    }

    /// Adds the znodes of a loaded part. [`Tree::finish_loading`] then links all parts to a tree.
    pub(crate) fn adopt(&mut self, part: Part) {
        for (chunk, znodes) in part.chunks {
            if self.chunks.len() <= chunk {
                self.chunks.resize_with(chunk + 1, Vec::new);
            }
            assert!(self.chunks[chunk].is_empty(), "chunk {chunk} comes in one part");
            self.chunks[chunk] = znodes;
        }
        self.index.reserve(part.indexed.len(), |entry| spread(entry.hash));
        for indexed in part.indexed {
            self.index.insert_unique(spread(indexed.hash), indexed, |entry| spread(entry.hash));
        }
        self.count += part.count;
    }

    /// Links the loaded znodes. *Errors*: a slot whose parent does not exist.
    pub(crate) fn finish_loading(&mut self, digest: u64, size: u64) -> Result<(), Slot> {
        (self.digest, self.size) = (digest, size);
        if let Some((_, full)) = self.chunks.split_last_mut() {
            full.iter_mut().for_each(|chunk| chunk.resize_with(CHUNK_LEN, || None));
        }
        let mut disordered = Vec::new();
        for slot in (0..self.high_water()).map(Slot) {
            match self.get(slot).map(|znode| znode.links.parent) {
                None => self.free.push(slot),
                Some(Slot::NIL) => {}
                Some(parent) if self.get(parent).is_none() => return Err(slot),
                Some(parent) => {
                    self.join_siblings(slot, parent);
                    let second = self.znode(slot).links.next;
                    if second != Slot::NIL && self.znode(second).birth() > self.znode(slot).birth() {
                        disordered.push(parent);
                    }
                }
            }
        }
        disordered.sort_unstable();
        disordered.dedup();
        disordered.into_iter().for_each(|parent| self.order_siblings(parent));
        self.system = self.sum_system();
        Ok(())
    }

    /// Computes the digest of the znodes below /zookeeper, in time proportional to their number.
    fn sum_system(&self) -> u64 {
        let root = self.get(Slot::ROOT).and_then(|_| self.lookup("/zookeeper"));
        let below = root.into_iter().flat_map(|root| self.descendants(root));
        below.fold(0, |sum, slot| replaced(sum, 0, crc(&self.path(slot), self.znode(slot))))
    }

    /// Returns every znode with its slot.
    pub fn iter(&self) -> impl Iterator<Item = (Slot, &Znode)> {
        (0..self.high_water()).map(Slot).filter_map(|slot| Some((slot, self.get(slot)?)))
    }

    /// Checks every invariant, in time proportional to the tree. Panics with a description of the
    /// violation.
    pub fn check(&self) {
        let (mut seen, mut digest, mut size) = (0, 0u64, 0);
        for slot in std::iter::once(Slot::ROOT).chain(self.descendants(Slot::ROOT)) {
            let (znode, path) = (self.znode(slot), self.path(slot));
            assert_eq!(self.lookup(&path), Some(slot), "found under its own path");
            assert_eq!(znode.digest, znode_digest(&path, znode), "digest of {path}");
            digest = digest.wrapping_add(u64::from(znode.digest));
            size += znode_size(&path, znode);
            seen += 1;
        }
        for (slot, znode) in self.iter() {
            let births: Vec<_> = self.child_slots(slot).map(|child| self.znode(child).birth()).collect();
            assert_eq!(births.len(), znode.links.num_children as usize, "children of slot {}", slot.0);
            // Children of one transaction have the same birth if it was recorded before places were.
            assert!(
                births.is_sorted_by(|newer, older| newer >= older),
                "children of slot {}, the newest first",
                slot.0
            );
            assert_eq!(znode.buckets(), znode.buckets().grown_for(births.len()), "room for them");
        }
        assert_eq!((seen, digest, size), (self.count, self.digest, self.size), "count, digest, size");
        assert_eq!(self.sum_system(), self.system, "digest of /zookeeper");
        assert_eq!(self.index.len() + 1, self.count, "all but the root are indexed");
        assert_eq!(self.count + self.free.len(), self.high_water() as usize, "empty slots are free");
    }
}

/// Returns the part of an index entry's hash that is kept.
fn index_hash(hasher: &FixedState, parent: Slot, name: &[u8]) -> u32 {
    let hash = hasher.hash_one((parent.0, name));
    (hash ^ (hash >> 32)) as u32
}

/// Znodes of some chunks of the arena while they are loaded: one thread places and hashes them.
#[derive(Debug)]
pub(crate) struct Part {
    hasher: FixedState,
    chunks: BTreeMap<usize, Vec<Option<Znode>>>,
    indexed: Vec<Indexed>,
    count: usize,
}

impl Part {
    /// Places a znode. Each slot may be filled only once.
    pub(crate) fn place(&mut self, slot: Slot, znode: Znode) {
        if znode.links.parent != Slot::NIL {
            let hash = index_hash(&self.hasher, znode.links.parent, znode.name_bytes());
            self.indexed.push(Indexed { hash, slot });
        }
        let chunk = self.chunks.entry(slot.0 as usize / CHUNK_LEN).or_insert_with(|| Vec::with_capacity(CHUNK_LEN));
        let offset = slot.0 as usize % CHUNK_LEN;
        if chunk.len() <= offset {
            chunk.resize_with(offset + 1, || None);
        }
        assert!(chunk[offset].is_none(), "slot {} is taken", slot.0);
        chunk[offset] = Some(znode);
        self.count += 1;
    }
}

/// Extends the 32 bits that are kept to a table hash: low bits choose the bucket, high bits the
/// tag.
fn spread(hash: u32) -> u64 {
    u64::from(hash).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

/// Returns a znode's contribution to the tree digest: the CRC-32 of path, data and stat block.
fn znode_digest(path: &str, znode: &Znode) -> u32 {
    if is_digested(path) { crc(path, znode) } else { 0 }
}

/// Returns a sum of digests in which `new` replaces `old`.
fn replaced(sum: u64, old: u32, new: u32) -> u64 {
    sum.wrapping_sub(u64::from(old)).wrapping_add(u64::from(new))
}

fn crc(path: &str, znode: &Znode) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(unaliased(path).as_bytes());
    crc.update(znode.data().unwrap_or_default());
    crc.update(&stat_block(&znode.versions));
    crc.finalize()
}

/// Returns a znode's contribution to the size of the tree.
fn znode_size(path: &str, znode: &Znode) -> u64 {
    (unaliased(path).len() + znode.data_len()) as u64
}

/// ZooKeeper: leaves znodes below /zookeeper out of the digest, so that quota statistics may drift.
fn is_digested(path: &str) -> bool {
    !path.starts_with("/zookeeper/")
}

/// ZooKeeper: `/` and the empty path are the same znode; it is digested under the latter.
fn unaliased(path: &str) -> &str {
    if path == "/" { "" } else { path }
}

/// Returns the stat as it is persisted, 60 bytes.
fn stat_block(v: &Versions) -> [u8; 60] {
    let mut block = [0u8; 60];
    let longs = [v.czxid, v.mzxid, v.pzxid, v.ctime, v.mtime];
    for (field, long) in block.chunks_exact_mut(8).zip(longs) {
        field.copy_from_slice(&long.to_be_bytes());
    }
    for (field, int) in block[40..52].chunks_exact_mut(4).zip([v.version, v.cversion, v.aversion]) {
        field.copy_from_slice(&int.to_be_bytes());
    }
    block[52..].copy_from_slice(&v.owner.0.to_be_bytes());
    block
}
