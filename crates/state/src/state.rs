//! The state: the tree and everything that belongs to it.

use std::collections::{BTreeMap, BTreeSet};

use oxkeeper_proto::{SessionId, Zxid, op::perms};

use crate::acl::{self, AclId, AclList, Acls};
use crate::agreement::Agreement;
use crate::digest::History;
use crate::hash_order::{Buckets, hash_code, hash_code_of_long};
use crate::level::Level;
use crate::membership::Membership;
use crate::next_version::Sum;
use crate::quota::Quotas;
use crate::session::Sessions;
use crate::tree::Tree;
use crate::unapplied::Unapplied;
use crate::znode::{Owner, Slot, Versions, Znode};

/// The state that the servers of an ensemble agree on.
///
/// Invariants: `containers`, `ttls` and the sessions' ephemerals name exactly the znodes of that
/// kind; every znode's ACL is interned and its uses are counted; `quotas` names the subtrees that
/// have limits; `zxid` never decreases.
#[derive(Debug)]
pub struct State {
    pub(crate) tree: Tree,
    pub(crate) acls: Acls,
    pub(crate) dirty_acls: BTreeSet<u32>,
    pub(crate) sessions: Sessions,
    pub(crate) quotas: Quotas,
    pub(crate) containers: BTreeSet<Slot>,
    pub(crate) ttls: BTreeSet<Slot>,
    pub(crate) zxid: Zxid,
    pub(crate) time_ms: i64,
    /// Time when this server last saw the clock set back, or else the first time it was told since
    /// it started. Not agreed on.
    pub(crate) righted_ms: Option<i64>,
    pub(crate) agreement: Agreement,
    /// Digests of former trees. Not agreed on.
    pub(crate) history: History,
    pub(crate) level: Level,
    pub(crate) sum: Sum,
    /// Empty between log entries.
    pub(crate) unapplied: BTreeMap<Slot, Unapplied>,
}

/// A znode that the reaper may propose to delete.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expendable {
    /// Path of the znode.
    pub path: String,
    /// mzxid of the znode when it was examined: a later change saves it.
    pub mzxid: i64,
}

impl State {
    /// Creates the state of a new server, with only the system znodes. `seed` keeps clients from
    /// crafting index collisions.
    pub fn new(seed: u64) -> State {
        let mut state = State::bare(seed);
        state.plant(Slot::NIL, "/", "", 0, 0, AclId::OPEN);
        let zookeeper = state.plant(Slot::ROOT, "/zookeeper", "zookeeper", 0, 0, AclId::OPEN);
        state.plant(zookeeper, "/zookeeper/quota", "quota", 0, 0, AclId::OPEN);
        let readable = state.acquire_acl(acl::world(perms::READ));
        // ZooKeeper: sets the configuration znode's ACL after its creation, from version -1.
        state.plant(zookeeper, "/zookeeper/config", "config", 0, -1, readable);
        state
    }

    pub(crate) fn bare(seed: u64) -> State {
        State {
            tree: Tree::empty(seed),
            acls: Acls::new(seed),
            dirty_acls: BTreeSet::new(),
            sessions: Sessions::default(),
            quotas: Quotas::default(),
            containers: BTreeSet::new(),
            ttls: BTreeSet::new(),
            zxid: Zxid(0),
            time_ms: 0,
            righted_ms: None,
            agreement: Agreement::default(),
            history: History::default(),
            level: Level::NONE,
            sum: Sum::default(),
            unapplied: BTreeMap::new(),
        }
    }

    fn plant(&mut self, parent: Slot, path: &str, name: &str, cversion: i32, aversion: i32, acl: AclId) -> Slot {
        let owner = Owner::PERSISTENT;
        let versions =
            Versions { czxid: 0, mzxid: 0, pzxid: 0, ctime: 0, mtime: 0, owner, version: 0, cversion, aversion, acl };
        let place = self.tree.len() as u32;
        self.tree.insert(path, Znode::new(parent, name, Some(b""), versions, place))
    }

    /// Returns the znode tree.
    pub fn tree(&self) -> &Tree {
        &self.tree
    }

    /// Returns the sessions.
    pub fn sessions(&self) -> &Sessions {
        &self.sessions
    }

    /// Returns the counted subtrees.
    pub fn quotas(&self) -> &Quotas {
        &self.quotas
    }

    /// Returns the zxid of the last command applied.
    pub fn zxid(&self) -> Zxid {
        self.zxid
    }

    /// Returns the membership; empty for a standalone server.
    pub fn membership(&self) -> &Membership {
        &self.agreement.membership
    }

    /// Returns the feature level that was agreed on.
    pub fn level(&self) -> Level {
        self.level
    }

    /// Returns how often the set of voters has changed.
    pub fn voter_changes(&self) -> u64 {
        self.agreement.voter_changes
    }

    /// Returns the interned list with this ACL id.
    pub fn acl(&self, id: AclId) -> &AclList {
        self.acls.list(id)
    }

    /// Returns the number of ephemeral znodes.
    pub fn ephemerals_count(&self) -> usize {
        self.sessions.iter().map(|(_, session)| session.ephemerals.len()).sum()
    }

    /// Returns the paths of each session that has ephemerals. ZooKeeper: a `HashMap` that holds a
    /// `HashSet` for each session.
    pub fn ephemerals(&self) -> Vec<(SessionId, Vec<String>)> {
        let paths = |session| {
            let listed = self.owned_by(session, |len| Buckets::DEFAULT.grown_for(len));
            (session, listed.into_iter().map(|(_, path)| path).collect::<Vec<_>>())
        };
        let owners = self.sessions.iter().filter(|(_, session)| !session.ephemerals.is_empty());
        let mut owners: Vec<SessionId> = owners.map(|(id, _)| id).collect();
        Buckets::of_concurrent(owners.len()).arrange(&mut owners, |id| hash_code_of_long(id.0));
        owners.into_iter().map(paths).collect()
    }

    /// Returns the ephemerals of a session with their paths, in the order of a set of the paths;
    /// `buckets` gives the size of that set's table.
    pub(crate) fn owned_by(&self, session: SessionId, buckets: fn(usize) -> Buckets) -> Vec<(Slot, String)> {
        let owned = self.sessions.get(session).into_iter().flat_map(|session| session.ephemerals.iter());
        let mut owned: Vec<(Slot, String)> = owned.map(|&slot| (slot, self.tree.path(slot))).collect();
        owned.sort_by_key(|&(slot, _)| self.tree.znode(slot).birth());
        // The copy is filled in the order in which the session's own set lists them.
        for buckets in [Buckets::DEFAULT.grown_for(owned.len()), buckets(owned.len())] {
            buckets.arrange(&mut owned, |(_, path)| hash_code(path.as_bytes()));
        }
        owned
    }

    /// Returns childless containers and expired TTL znodes, at most `limit`. Source:
    /// `ContainerManager.getCandidates`.
    ///
    /// `never_used_ms` is the time for which a container that never had a child is kept; 0 means
    /// forever.
    pub fn expendable(&self, now_ms: i64, never_used_ms: i64, limit: usize) -> Vec<Expendable> {
        let containers = self.containers.iter().filter(|&&slot| self.container_is_spent(slot, now_ms, never_used_ms));
        let ttls = self.ttls.iter().filter(|&&slot| self.ttl_is_over(slot, now_ms));
        let expendable =
            |&slot: &Slot| Expendable { path: self.tree.path(slot), mzxid: self.tree.znode(slot).versions.mzxid };
        containers.chain(ttls).take(limit).map(expendable).collect()
    }

    fn container_is_spent(&self, slot: Slot, now_ms: i64, never_used_ms: i64) -> bool {
        let znode = self.tree.znode(slot);
        let forgotten = never_used_ms > 0 && self.age_ms(znode.versions.mtime, now_ms) > never_used_ms;
        znode.num_children() == 0 && (znode.versions.cversion > 0 || forgotten)
    }

    fn ttl_is_over(&self, slot: Slot, now_ms: i64) -> bool {
        let znode = self.tree.znode(slot);
        let over =
            znode.versions.owner.ttl_ms().is_some_and(|ttl_ms| self.age_ms(znode.versions.mtime, now_ms) > ttl_ms);
        znode.num_children() == 0 && over
    }

    pub(crate) fn acquire_acl(&mut self, list: AclList) -> AclId {
        let (id, new) = self.acls.acquire(list);
        if new {
            self.dirty_acls.insert(id.0);
        }
        id
    }

    pub(crate) fn release_acl(&mut self, id: AclId) {
        if self.acls.release(id) {
            self.dirty_acls.insert(id.0);
        }
    }

    /// Adds a znode to the registry of its kind.
    pub(crate) fn enroll(&mut self, slot: Slot) {
        let owner = self.tree.znode(slot).versions.owner;
        if let Some(session) = owner.session() {
            self.sessions.own(SessionId(session), slot);
        } else if owner == Owner::CONTAINER {
            self.containers.insert(slot);
        } else if owner.ttl_ms().is_some() {
            self.ttls.insert(slot);
        }
    }

    /// Removes a znode from the registry of its kind.
    pub(crate) fn dismiss(&mut self, slot: Slot, owner: Owner) {
        if let Some(session) = owner.session() {
            self.sessions.disown(SessionId(session), slot);
        }
        self.containers.remove(&slot);
        self.ttls.remove(&slot);
    }

    /// Returns the data of the znode at `path`; `None` if there is no znode.
    pub(crate) fn data_at(&self, path: &str) -> Option<Option<&[u8]>> {
        Some(self.tree.znode(self.tree.lookup(path)?).data())
    }

    /// Checks every invariant, in time proportional to the state. Panics with a description of the
    /// violation.
    pub fn check(&self) {
        self.tree.check();
        let mut kinds = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        let mut acl_uses = BTreeMap::new();
        for (slot, znode) in self.tree.iter() {
            let owner = znode.versions.owner;
            if owner == Owner::CONTAINER {
                kinds.0.insert(slot);
            } else if owner.ttl_ms().is_some() {
                kinds.1.insert(slot);
            } else if owner.session().is_some() {
                kinds.2.insert(slot);
            }
            assert!(!self.acl(znode.versions.acl).is_empty(), "every znode has an ACL");
            if znode.versions.acl != AclId::OPEN {
                *acl_uses.entry(znode.versions.acl).or_default() += 1;
            }
        }
        let owned = self.sessions.iter().flat_map(|(_, session)| session.ephemerals.iter().copied()).collect();
        assert_eq!(kinds, (self.containers.clone(), self.ttls.clone(), owned), "registries name their znodes");
        self.acls.check(&acl_uses);
        self.sessions.check();
        self.agreement.check();
        assert!(self.quotas.prefixes().eq(&self.limited_subtrees()), "the subtrees with limits are the counted ones");
    }
}

/// Returns the zxid after `zxid`. An exhausted counter starts the next epoch.
pub(crate) fn next_zxid(zxid: Zxid) -> Zxid {
    match zxid.counter() {
        u32::MAX => Zxid::new(zxid.epoch() + 1, 1),
        counter => Zxid::new(zxid.epoch(), counter + 1),
    }
}
