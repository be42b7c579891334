//! Construction of a state from elsewhere: the znodes and sessions of a ZooKeeper snapshot, then
//! the transactions after it.
//!
//! A transaction here is the *result* of a request: names, versions and zxids are given instead of
//! computed, and a step that was carried out before has no effect. (Snapshots are taken while
//! writes go on, so the log after a snapshot repeats some of what the snapshot holds.)
//! Invariant: the tree is a valid tree after every step. [`Importing::finish`] builds the
//! registries of sessions, containers, TTL znodes and quotas. Source: `DataTree.deserialize`,
//! `processTxn`, `killSession`, `setupQuota`; `ZooKeeperServer.loadData`.

use std::collections::{BTreeMap, BTreeSet};

use oxkeeper_proto::records::{Acl, Id};
use oxkeeper_proto::{ServerId, SessionId, Zxid};

use crate::acl::{AclId, AclList};
use crate::agreement::CONFIG;
use crate::quota::{self, Track};
use crate::state::State;
use crate::znode::{Owner, Slot, Versions, Znode};

/// A state under construction.
#[derive(Debug)]
pub struct Importing {
    state: State,
    sessions: BTreeMap<i64, i32>,
    ephemerals: BTreeMap<i64, BTreeSet<Slot>>,
    unlisted: BTreeMap<Slot, i64>,
}

/// A znode's stored fields, apart from its path, data and ACL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoredStat {
    /// See [`Versions`].
    pub czxid: i64,
    /// See [`Versions`].
    pub mzxid: i64,
    /// See [`Versions`].
    pub ctime: i64,
    /// See [`Versions`].
    pub mtime: i64,
    /// See [`Versions`].
    pub version: i32,
    /// The stored cversion, which counts only creations of children.
    pub cversion: i32,
    /// See [`Versions`].
    pub aversion: i32,
    /// See [`Versions`].
    pub owner: Owner,
    /// See [`Versions`].
    pub pzxid: i64,
}

/// A znode that a transaction created.
#[derive(Clone, Debug)]
pub struct Created<'a> {
    /// Path of the znode.
    pub path: &'a str,
    /// Data of the znode.
    pub data: Option<&'a [u8]>,
    /// ACL of the znode; empty for the open list.
    pub acl: AclList,
    /// Kind of the znode.
    pub owner: Owner,
    /// Stored cversion of its parent afterwards; `None`, as in old logs, adds one.
    pub parent_cversion: Option<i32>,
    /// The transaction's zxid.
    pub zxid: i64,
    /// The transaction's time, Unix ms.
    pub time_ms: i64,
}

/// Reason why a znode cannot be placed in the tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Misplaced {
    /// The path does not begin with a slash, or ends with one.
    Path,
    /// The parent does not exist.
    Orphan,
    /// The znode exists already.
    Twice,
    /// The parent is ephemeral.
    BelowEphemeral,
    /// A system znode that would end with a session or a TTL.
    System,
}

/// Paths of the znodes that always exist; these have no owner.
const SYSTEM: [&str; 5] = ["", "/", "/zookeeper", "/zookeeper/quota", "/zookeeper/config"];

/// Counts of the sessions and ephemeral znodes that were kept and dropped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Kept {
    /// Sessions kept.
    pub sessions: usize,
    /// Sessions dropped.
    pub sessions_dropped: usize,
    /// Ephemeral znodes kept.
    pub ephemerals: usize,
    /// Ephemeral znodes dropped.
    pub ephemerals_dropped: usize,
    /// Sessions dropped because their id reads as the owner of another kind of znode.
    pub sessions_ambiguous: usize,
}

impl Importing {
    /// Starts with no znodes at all. `seed`: see [`State::new`].
    pub fn new(seed: u64) -> Importing {
        Importing::from_state(State::bare(seed))
    }

    /// Starts with the state of a new server. `seed`: see [`State::new`].
    pub fn fresh(seed: u64) -> Importing {
        Importing::from_state(State::new(seed))
    }

    fn from_state(state: State) -> Importing {
        Importing { state, sessions: BTreeMap::new(), ephemerals: BTreeMap::new(), unlisted: BTreeMap::new() }
    }

    /// Returns the number of znodes.
    pub fn len(&self) -> usize {
        self.state.tree.len()
    }

    /// Returns true if there is not even a root.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the tree digest, as ZooKeeper computes it.
    pub fn digest(&self) -> u64 {
        self.state.tree.digest()
    }

    /// Adds a session of the snapshot or of a transaction that creates one.
    pub fn open_session(&mut self, id: i64, timeout_ms: i32) {
        self.sessions.insert(id, timeout_ms);
    }

    /// Adds a znode of a snapshot. The root, whose path is empty, comes first, and parents come
    /// before their children. An empty list stands for the open list. *Errors*: the znode cannot be
    /// placed.
    pub fn znode(
        &mut self,
        path: &str,
        data: Option<&[u8]>,
        acl: &[Acl<'static>],
        stat: &StoredStat,
    ) -> Result<(), Misplaced> {
        // The end of its session or of its TTL would not delete it.
        if SYSTEM.contains(&path) && stat.owner != Owner::PERSISTENT {
            return Err(Misplaced::System);
        }
        let (parent, path, name) = match path {
            "" if self.is_empty() => (Slot::NIL, "/", ""),
            "" => return Err(Misplaced::Twice),
            path => {
                let (parent, name) = self.place_of(path)?;
                (parent, path, name)
            }
        };
        let acl = self.acquire(acl.to_vec());
        self.insert(parent, path, name, data, acl, stat);
        Ok(())
    }

    /// Adds a znode of a snapshot whose ACL has this number and is missing from the snapshot: the
    /// log after the snapshot may have the list. Until then only the super user has access.
    /// *Errors*: the znode cannot be placed.
    pub fn znode_without_acl(
        &mut self,
        path: &str,
        data: Option<&[u8]>,
        number: i64,
        stat: &StoredStat,
    ) -> Result<(), Misplaced> {
        self.znode(path, data, &[closed_entry()], stat)?;
        let slot = self.lookup(path).expect("placed just now");
        self.unlisted.insert(slot, number);
        Ok(())
    }

    /// Returns the znodes whose ACL is still missing, each with the number of its list.
    pub fn without_acl(&self) -> impl ExactSizeIterator<Item = (String, i64)> {
        self.unlisted.iter().map(|(&slot, &number)| (self.state.tree.path(slot), number))
    }

    /// Returns the parent and the name for a new znode. *Errors*: the znode cannot be placed, or
    /// exists already.
    fn place_of<'p>(&self, path: &'p str) -> Result<(Slot, &'p str), Misplaced> {
        let (parent, name) = path.rsplit_once('/').ok_or(Misplaced::Path)?;
        if name.is_empty() || !path.starts_with('/') {
            return Err(Misplaced::Path);
        }
        let parent = self.lookup(parent).ok_or(Misplaced::Orphan)?;
        if self.is_ephemeral(parent) {
            return Err(Misplaced::BelowEphemeral);
        }
        match self.state.tree.child(parent, name) {
            None => Ok((parent, name)),
            Some(_) => Err(Misplaced::Twice),
        }
    }

    fn is_ephemeral(&self, slot: Slot) -> bool {
        self.session_of(self.state.tree.znode(slot).versions.owner).is_some()
    }

    /// Returns the session of an ephemeral znode. ZooKeeper: without `extendedTypesEnabled`, an
    /// owner that would otherwise mark a TTL znode is a session of server 255. Here it is a session
    /// if there is one with that id.
    fn session_of(&self, owner: Owner) -> Option<i64> {
        let is_session = || owner.ttl_ms().is_some() && self.sessions.contains_key(&owner.0);
        owner.session().or_else(|| is_session().then_some(owner.0))
    }

    /// ZooKeeper: paths are keys there; only `/` and the empty path denote the root.
    fn lookup(&self, path: &str) -> Option<Slot> {
        if self.is_empty() { None } else { self.state.tree.lookup(path) }
    }

    fn acquire(&mut self, list: AclList) -> AclId {
        if list.is_empty() { AclId::OPEN } else { self.state.acquire_acl(list) }
    }

    fn insert(&mut self, parent: Slot, path: &str, name: &str, data: Option<&[u8]>, acl: AclId, stat: &StoredStat) {
        let &StoredStat { czxid, mzxid, ctime, mtime, version, cversion, aversion, owner, pzxid } = stat;
        let versions = Versions { czxid, mzxid, pzxid, ctime, mtime, owner, version, cversion, aversion, acl };
        let slot = self.state.tree.insert(path, Znode::new(parent, name, data, versions, 0));
        if let Some(session) = self.session_of(owner) {
            self.ephemerals.entry(session).or_default().insert(slot);
        }
    }

    /// Creates a znode. An existing znode keeps everything but its ACL. A znode that no server
    /// would create is not created.
    pub fn create(&mut self, new: Created<'_>) {
        let Created { path, data, acl, owner, parent_cversion, zxid, time_ms } = new;
        let Some((parent_path, name)) = path.rsplit_once('/').filter(|(_, name)| !name.is_empty()) else { return };
        let Some(parent) = self.lookup(parent_path) else { return };
        if self.is_ephemeral(parent) || SYSTEM.contains(&path) && owner != Owner::PERSISTENT {
            return;
        }
        let acl = self.acquire(acl);
        let existing = self.state.tree.child(parent, name);
        if let Some(slot) = existing {
            self.change_acl(slot, path, acl, None);
        }
        self.state.tree.touch(parent, rooted(parent_path), |versions| {
            let cversion = parent_cversion.unwrap_or(versions.cversion.wrapping_add(1));
            // ZooKeeper: only raises it, because the znode may have been created and deleted again while the
            // snapshot was taken.
            if cversion > versions.cversion {
                (versions.cversion, versions.pzxid) = (cversion, zxid);
            }
        });
        if existing.is_none() {
            let (ctime, mtime, czxid, mzxid, pzxid) = (time_ms, time_ms, zxid, zxid, zxid);
            let stat = StoredStat { czxid, mzxid, ctime, mtime, version: 0, cversion: 0, aversion: 0, owner, pzxid };
            self.insert(parent, path, name, data, acl, &stat);
        }
    }

    fn change_acl(&mut self, slot: Slot, path: &str, acl: AclId, aversion: Option<i32>) {
        self.unlisted.remove(&slot);
        let old = self.state.tree.znode(slot).versions.acl;
        self.state.tree.touch(slot, path, |versions| {
            versions.acl = acl;
            versions.aversion = aversion.unwrap_or(versions.aversion);
        });
        self.state.release_acl(old);
    }

    /// Deletes a znode with everything still below it.
    pub fn delete(&mut self, path: &str, zxid: i64) {
        let Some((parent_path, name)) = path.rsplit_once('/').filter(|(_, name)| !name.is_empty()) else { return };
        let Some(parent) = self.lookup(parent_path) else { return };
        // ZooKeeper: changes pzxid even if the znode is gone, and only raises it.
        self.state.tree.touch(parent, rooted(parent_path), |versions| versions.pzxid = versions.pzxid.max(zxid));
        let Some(slot) = self.state.tree.child(parent, name) else { return };
        // A fuzzy snapshot may still have children that were deleted before their parent.
        let mut below: Vec<_> = self.state.tree.descendants(slot).collect();
        while let Some(slot) = below.pop() {
            let path = self.state.tree.path(slot);
            self.remove(slot, &path);
        }
        self.remove(slot, path);
    }

    fn remove(&mut self, slot: Slot, path: &str) {
        let Versions { owner, acl, .. } = self.state.tree.remove(slot, path).versions;
        self.unlisted.remove(&slot);
        if let Some(owned) = self.ephemerals.get_mut(&owner.0) {
            owned.remove(&slot);
        }
        self.state.release_acl(acl);
    }

    /// Sets a znode's data; `version` is the new version.
    pub fn set_data(&mut self, path: &str, data: Option<&[u8]>, version: i32, zxid: i64, time_ms: i64) {
        let Some(slot) = self.lookup(path) else { return };
        self.state.tree.update(slot, rooted(path), |znode| {
            znode.set_data(data);
            let versions = &mut znode.versions;
            (versions.version, versions.mzxid, versions.mtime) = (version, zxid, time_ms);
        });
    }

    /// Sets a znode's ACL; `version` is the new aversion.
    pub fn set_acl(&mut self, path: &str, acl: AclList, version: i32) {
        let Some(slot) = self.lookup(path) else { return };
        let acl = self.acquire(acl);
        self.change_acl(slot, rooted(path), acl, Some(version));
    }

    /// Ends a session and deletes these znodes and all that the session still owns.
    pub fn close_session(&mut self, id: i64, paths: &[String], zxid: i64) {
        self.sessions.remove(&id);
        paths.iter().for_each(|path| self.delete(path, zxid));
        self.delete_ephemerals(id, zxid);
    }

    fn delete_ephemerals(&mut self, session: i64, zxid: i64) -> usize {
        let slots = self.ephemerals.remove(&session).unwrap_or_default();
        for &slot in &slots {
            let path = self.state.tree.path(slot);
            self.delete(&path, zxid);
        }
        slots.len()
    }

    /// Completes the state as of transaction `zxid`, its last one. Without `keep_sessions` it has
    /// no sessions. Ephemeral znodes without a session are deleted. A session whose id reads as the
    /// owner of another kind of znode is dropped together with the znodes it owns, since no znode
    /// could be recognised as its ephemeral. Clients of dropped sessions are told that they have
    /// expired.
    ///
    /// The state's time starts again at 0, because a znode may carry a time stamp from a clock that
    /// was wrongly ahead.
    ///
    /// # Panics
    /// If there is no root.
    pub fn finish(mut self, zxid: i64, keep_sessions: bool) -> (State, Kept) {
        assert!(!self.is_empty(), "a tree has a root");
        let mut kept = Kept::default();
        let all = std::mem::take(&mut self.sessions);
        let is_clear = |id: &i64| Owner(*id).session().is_some();
        kept.sessions_ambiguous = all.keys().filter(|id| !is_clear(id)).count();
        let mut sessions = if keep_sessions { all.clone() } else { BTreeMap::new() };
        sessions.retain(|id, _| is_clear(id));
        (kept.sessions, kept.sessions_dropped) = (sessions.len(), all.len() - sessions.len());
        let owners: Vec<i64> = self.ephemerals.keys().copied().collect();
        for owner in owners.into_iter().filter(|owner| !sessions.contains_key(owner)) {
            // ZooKeeper: deletes them as of the last transaction, without a transaction of their own.
            kept.ephemerals_dropped += self.delete_ephemerals(owner, zxid);
        }
        kept.ephemerals = self.ephemerals.values().map(BTreeSet::len).sum();
        let mut state = self.state;
        for (id, timeout_ms) in sessions {
            state.sessions.open(SessionId(id), timeout_ms, ServerId(0));
        }
        let special: Vec<Slot> = state
            .tree
            .iter()
            .filter(|(_, znode)| znode.versions.owner != Owner::PERSISTENT)
            .map(|(slot, _)| slot)
            .collect();
        special.into_iter().for_each(|slot| state.enroll(slot));
        state.plant_missing();
        state.tree.order_imported();
        state.forget_members();
        for prefix in state.limited_subtrees() {
            state.quotas.set(&prefix, true);
            state.recount(&prefix);
        }
        state.zxid = Zxid(zxid);
        (state, kept)
    }
}

impl State {
    /// Moves to a new epoch of zxids, so that no transaction of this state shares a zxid with
    /// `others` or with a later transaction that its origin may have had. Returns false and changes
    /// nothing if no epoch is left.
    pub fn leave_epoch(&mut self, others: Zxid) -> bool {
        let next = u64::from(self.zxid.epoch().max(others.epoch())) + 1;
        let Ok(next) = i32::try_from(next) else { return false };
        self.zxid = Zxid::new(next as u32, 0);
        true
    }

    /// Assigns this state to the ensemble with this id, which is not 0 and is yet to be founded.
    pub fn dedicate(&mut self, ensemble: u64) {
        self.set_ensemble(ensemble);
    }

    /// Adds the system znodes that old releases of ZooKeeper do not have.
    fn plant_missing(&mut self) {
        let fresh = State::new(0);
        for path in ["/zookeeper", "/zookeeper/quota", "/zookeeper/config"] {
            if self.tree.lookup(path).is_some() {
                continue;
            }
            let znode = fresh.tree.znode(fresh.tree.lookup(path).expect("every new state has it"));
            let acl = match znode.versions.acl {
                AclId::OPEN => AclId::OPEN,
                restricted => self.acquire_acl(fresh.acl(restricted).clone()),
            };
            let (parent, name) = path.rsplit_once('/').expect("written with a slash");
            let parent = self.tree.lookup(parent).expect("planted before");
            let versions = Versions { acl, ..znode.versions };
            self.tree.insert(path, Znode::new(parent, name, znode.data(), versions, znode.place()));
        }
    }

    /// Clears the configuration znode, because the imported one names other servers. ZooKeeper:
    /// each server writes that znode by itself when it starts, at its own time.
    fn forget_members(&mut self) {
        let slot = self.tree.lookup(CONFIG).expect("planted if it was missing");
        self.tree.update(slot, CONFIG, |znode| {
            znode.set_data(Some(b""));
            (znode.versions.mzxid, znode.versions.mtime, znode.versions.version) = (0, 0, 0);
        });
    }

    /// Sets the usage of a counted subtree from its znodes.
    fn recount(&mut self, prefix: &str) {
        let path = quota::stats_path(prefix);
        let Some(stats) = self.tree.lookup(&path) else { return };
        let mut usage = Track::default();
        let (mut count, mut bytes) = (0, 0);
        if let Some(top) = self.tree.lookup(prefix) {
            for slot in std::iter::once(top).chain(self.tree.descendants(top)) {
                count += 1;
                bytes += self.tree.znode(slot).data_len() as i64;
            }
        }
        usage.set_usage(count, bytes);
        let text = usage.text();
        self.tree.update(stats, &path, |znode| znode.set_data(Some(text.as_bytes())));
    }
}

/// Returns an ACL entry that grants nothing, so that only the super user has access.
fn closed_entry() -> Acl<'static> {
    Acl { perms: 0, id: Id { scheme: Some("world".into()), id: Some("anyone".into()) } }
}

/// Returns `path`, or `/` if it is empty. ZooKeeper: the empty path is the root's.
fn rooted(path: &str) -> &str {
    if path.is_empty() { "/" } else { path }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn persistent() -> StoredStat {
        let owner = Owner::PERSISTENT;
        StoredStat { czxid: 0, mzxid: 0, ctime: 0, mtime: 0, version: 0, cversion: 0, aversion: 0, owner, pzxid: 0 }
    }

    fn importing() -> Importing {
        let mut importing = Importing::new(1);
        importing.znode("", Some(b""), &[], &persistent()).expect("the root");
        importing
    }

    fn created(path: &str, owner: Owner, zxid: i64) -> Created<'_> {
        Created { path, data: Some(b"x"), acl: Vec::new(), owner, parent_cversion: None, zxid, time_ms: 7 }
    }

    #[test]
    fn what_has_no_place_is_refused() {
        let mut importing = importing();
        let mut check = |path: &str, expected| {
            assert_eq!(importing.znode(path, None, &[], &persistent()), expected, "{path}");
        };
        check("", Err(Misplaced::Twice));
        check("a", Err(Misplaced::Path));
        check("/a/", Err(Misplaced::Path));
        check("/a/b", Err(Misplaced::Orphan));
        check("/a", Ok(()));
        check("/a", Err(Misplaced::Twice));
        check("/a/b", Ok(()));
        assert_eq!(
            Importing::new(1).znode("/a", None, &[], &persistent()),
            Err(Misplaced::Orphan),
            "the root is first"
        );
    }

    #[test]
    fn a_repeated_transaction_changes_nothing() {
        let mut importing = importing();
        importing.open_session(5, 1000);
        let steps = |importing: &mut Importing| {
            importing.create(Created { parent_cversion: Some(1), ..created("/a", Owner::PERSISTENT, 1) });
            importing.create(Created { parent_cversion: Some(1), ..created("/a/e", Owner(5), 2) });
            importing.set_data("/a", Some(b"new"), 1, 3, 9);
            importing.create(Created { parent_cversion: Some(2), ..created("/gone", Owner(5), 4) });
            importing.delete("/gone", 5);
        };
        steps(&mut importing);
        let digest = importing.digest();
        steps(&mut importing);
        assert_eq!(importing.digest(), digest);
        let (state, kept) = importing.finish(5, true);
        state.check();
        assert_eq!(kept, Kept { sessions: 1, ephemerals: 1, ..Kept::default() });
        // Time stamps of other clocks do not count: the first log entry sets the time.
        assert_eq!((state.zxid(), state.time_ms()), (Zxid(5), 0));
    }

    #[test]
    fn ephemerals_without_a_session_go() {
        let check = |keep, sessions: usize, ephemerals: usize| {
            let mut importing = importing();
            importing.open_session(5, 1000);
            importing.open_session(6, 1000);
            importing.create(created("/five", Owner(5), 1));
            importing.create(created("/six", Owner(6), 2));
            importing.create(created("/lost", Owner(7), 3));
            importing.close_session(6, &["/six".to_owned()], 4);
            let (state, kept) = importing.finish(4, keep);
            state.check();
            assert_eq!((kept.sessions, kept.ephemerals), (sessions, ephemerals));
            assert_eq!(state.ephemerals_count(), ephemerals);
            assert_eq!(state.tree().znode(Slot::ROOT).versions.pzxid, 4);
        };
        check(true, 1, 1);
        check(false, 0, 0);
    }

    /// A session of ZooKeeper's server 255, up for less than five hours: the id reads as a TTL of
    /// 4,295,032,833 ms.
    const AMBIGUOUS: i64 = 0xff00_0001_0001_0001_u64 as i64;
    /// A session of the same server, up for longer.
    const LONG_UP: i64 = 0xff00_1701_0001_0001_u64 as i64;

    #[test]
    fn ephemerals_of_server_255_end_with_their_session() {
        let mut importing = importing();
        importing.open_session(AMBIGUOUS, 1000);
        importing.open_session(LONG_UP, 1000);
        importing.open_session(AMBIGUOUS + 1, 1000);
        // No server assigns these ids.
        importing.open_session(Owner::PERSISTENT.0, 1000);
        importing.open_session(Owner::CONTAINER.0, 1000);
        let of = |owner| StoredStat { owner: Owner(owner), ..persistent() };
        importing.znode("/lock", None, &[], &of(AMBIGUOUS)).expect("placed");
        importing.znode("/long-up", None, &[], &of(LONG_UP)).expect("placed");
        assert_eq!(importing.znode("/lock/below", None, &[], &persistent()), Err(Misplaced::BelowEphemeral));
        importing.znode("/container", None, &[], &of(Owner::CONTAINER.0)).expect("placed");
        importing.znode("/container/below", None, &[], &persistent()).expect("placed");
        importing.znode("/ttl", None, &[], &of(Owner::ttl(5000).0)).expect("placed");
        importing.create(created("/replayed", Owner(AMBIGUOUS + 1), 1));
        importing.create(created("/closed", Owner(AMBIGUOUS), 2));
        importing.close_session(AMBIGUOUS, &["/closed".to_owned()], 3);
        let (state, kept) = importing.finish(3, true);
        state.check();
        let (sessions_dropped, ephemerals_dropped) = (3, 1);
        let expected = Kept { sessions: 1, ephemerals: 1, sessions_dropped, ephemerals_dropped, sessions_ambiguous: 3 };
        assert_eq!(kept, expected);
        let there = |path: &str| state.tree().lookup(path).map(|slot| state.tree().znode(slot).versions.owner);
        assert_eq!(["/lock", "/closed", "/replayed"].map(there), [None, None, None]);
        assert_eq!(there("/long-up").and_then(Owner::session), Some(LONG_UP));
        assert_eq!(there("/ttl").and_then(Owner::ttl_ms), Some(5000));
        assert_eq!(there("/container"), Some(Owner::CONTAINER));
        assert_eq!(there("/container/below"), Some(Owner::PERSISTENT));
    }

    #[test]
    fn an_acl_may_come_later_or_never() {
        let mut importing = importing();
        for (path, number) in [("/created", 7), ("/set", 8), ("/gone", 9), ("/never", 10)] {
            importing.znode_without_acl(path, Some(b"x"), number, &persistent()).expect("placed");
        }
        let list = vec![Acl { perms: 1, ..closed_entry() }];
        importing.create(Created { acl: list.clone(), ..created("/created", Owner::PERSISTENT, 1) });
        importing.set_acl("/set", list.clone(), 1);
        importing.delete("/gone", 2);
        importing.create(created("/another", Owner::PERSISTENT, 3));
        assert_eq!(importing.without_acl().collect::<Vec<_>>(), [("/never".to_owned(), 10)]);
        let (state, _) = importing.finish(3, true);
        state.check();
        let acl = |path: &str| {
            let slot = state.tree().lookup(path).expect("it is there");
            state.acl(state.tree().znode(slot).versions.acl).clone()
        };
        assert_eq!((acl("/created"), acl("/set")), (list.clone(), list));
        assert_eq!(acl("/never"), [closed_entry()]);
    }

    #[test]
    fn a_time_from_the_future_is_not_the_last_time() {
        let mut importing = importing();
        let stat = StoredStat { ctime: i64::MAX, mtime: 4_075_000_000_000, ..persistent() };
        importing.znode("/future", None, &[], &stat).expect("placed");
        assert_eq!(importing.finish(1, true).0.time_ms(), 0);
    }

    #[test]
    fn quotas_are_counted_anew() {
        let mut importing = importing();
        for path in ["/a", "/a/b", "/zookeeper", "/zookeeper/quota", "/zookeeper/quota/a"] {
            importing.create(created(path, Owner::PERSISTENT, 1));
        }
        importing.create(created("/zookeeper/quota/a/zookeeper_limits", Owner::PERSISTENT, 2));
        importing.create(created("/zookeeper/quota/a/zookeeper_stats", Owner::PERSISTENT, 2));
        let (state, _) = importing.finish(2, true);
        state.check();
        let stats = state.tree().lookup("/zookeeper/quota/a/zookeeper_stats").expect("it was created");
        assert_eq!(state.tree().znode(stats).data(), Some(&b"count=2,bytes=2"[..]));
        assert!(state.tree().lookup("/zookeeper/config").is_some());
    }

    /// Servers that import the same state must list children alike, whichever files they import.
    #[test]
    fn children_are_in_the_order_of_their_transactions_and_then_of_their_names() {
        let named = |names: [(&str, i64); 4]| {
            let mut importing = importing();
            for (name, czxid) in names {
                importing.znode(name, None, &[], &StoredStat { czxid, ..persistent() }).expect("it has a place");
            }
            let (state, _) = importing.finish(9, true);
            state.check();
            let names =
                state.tree.child_names(Slot::ROOT).into_iter().map(|name| String::from_utf8_lossy(name).into_owned());
            names.filter(|name| name.len() == 4).collect::<Vec<_>>()
        };
        // All four have the same hash code.
        let expected = ["BBBB", "AaAa", "BBAa", "AaBB"];
        assert_eq!(named([("/AaBB", 4), ("/BBAa", 2), ("/BBBB", 1), ("/AaAa", 2)]), expected);
        assert_eq!(named([("/AaAa", 2), ("/BBBB", 1), ("/BBAa", 2), ("/AaBB", 4)]), expected);
    }
}
