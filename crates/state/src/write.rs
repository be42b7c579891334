//! The write operations: for each one its checks, in the reference's order of precedence, then its
//! change.
//!
//! Source: `PrepRequestProcessor.pRequest2Txn` and the methods it calls; `DataTree.createNode`,
//! `deleteNode`, `setData`.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use oxkeeper_proto::multi::MultiOp;
use oxkeeper_proto::op::{CreateMode, perms};
use oxkeeper_proto::path::check_path;
use oxkeeper_proto::records::{
    CheckVersionRequest, CreateRequest, CreateTtlRequest, DeleteRequest, GetDataResponse, ReconfigRequest,
    SetAclRequest, SetDataRequest, StatResponse,
};
use oxkeeper_proto::{ErrorCode, Jute, OpCode, SessionId, Text};

use crate::acl::{AclId, AclList, Caller, fix_acl, is_open};
use crate::agreement::CONFIG;
use crate::apply::{ChangeKind, ChangeSink, Effect, decoded, put_result_header};
use crate::command::Command;
use crate::hash_order::Buckets;
use crate::quota::Track;
use crate::reconfig;
use crate::state::State;
use crate::unapplied::Unapplied;
use crate::znode::{Owner, Slot, Versions, Znode};

/// Paths that can never be deleted.
const SPECIAL_PATHS: [&str; 4] = ["/", "/zookeeper", "/zookeeper/quota", "/zookeeper/config"];

/// A command while it is being applied. In a transaction, effects wait and every change can be
/// undone.
pub(crate) struct Write<'s> {
    pub(crate) state: &'s mut State,
    watcher: &'s mut dyn ChangeSink,
    pub(crate) caller: Caller<'s>,
    session: SessionId,
    pub(crate) transaction: Option<Transaction>,
}

#[derive(Default)]
pub(crate) struct Transaction {
    effects: Vec<Effect<'static>>,
    pub(crate) undo: Vec<Undo>,
    /// Number of znodes the transaction has created.
    created: u32,
    /// Former usage of each counted subtree whose usage the transaction has changed.
    pub(crate) usage_before: BTreeMap<String, Track>,
    /// ACL uses that end if the transaction commits.
    released: Vec<AclId>,
    unapplied_before: BTreeMap<Slot, Unapplied>,
}

/// The information needed to undo one change.
pub(crate) enum Undo {
    Inserted { slot: Slot, path: String },
    Removed { znode: Znode, path: String },
    Updated { slot: Slot, path: String, versions: Versions, buckets: Buckets, data: Option<Option<Box<[u8]>>> },
    Registered { prefix: String, counted: bool },
}

/// The parameters of a create, from any kind of request.
struct NewZnode<'a> {
    op: OpCode,
    path: Option<Text<'a>>,
    data: Option<&'a [u8]>,
    acl: Option<Vec<oxkeeper_proto::records::Acl<'a>>>,
    flags: i32,
    ttl: i64,
}

impl<'s> Write<'s> {
    pub(crate) fn new(state: &'s mut State, command: &Command<'s>, watcher: &'s mut dyn ChangeSink) -> Write<'s> {
        Write { state, watcher, caller: command.caller(), session: command.session, transaction: None }
    }

    pub(crate) fn transaction(
        state: &'s mut State,
        command: &Command<'s>,
        watcher: &'s mut dyn ChangeSink,
    ) -> Write<'s> {
        let transaction = Transaction { unapplied_before: state.unapplied.clone(), ..Transaction::default() };
        Write { transaction: Some(transaction), ..Write::new(state, command, watcher) }
    }

    /// Carries out one operation of a multi and appends its result.
    pub(crate) fn multi_op(&mut self, op: MultiOp<'_>, body: &mut Vec<u8>) -> Result<(), ErrorCode> {
        // Every kind of create except the plain one answers as create2.
        let result_op = match &op {
            MultiOp::Create(OpCode::Create, _) => OpCode::Create,
            MultiOp::Create(..) | MultiOp::CreateTtl(_) => OpCode::Create2,
            MultiOp::Delete(_)
            | MultiOp::SetData(_)
            | MultiOp::Check(_)
            | MultiOp::GetData(_)
            | MultiOp::GetChildren(_) => op.op(),
        };
        put_result_header(result_op, body);
        match op {
            MultiOp::Create(op, request) => self.create(op, request, body),
            MultiOp::CreateTtl(request) => self.create_ttl(request, body),
            MultiOp::Delete(request) => self.delete(request),
            MultiOp::SetData(request) => self.set_data(request, body),
            MultiOp::Check(request) => self.check(request),
            MultiOp::GetData(_) | MultiOp::GetChildren(_) => Err(ErrorCode::Marshalling),
        }
    }

    pub(crate) fn create(
        &mut self,
        op: OpCode,
        request: CreateRequest<'_>,
        body: &mut Vec<u8>,
    ) -> Result<(), ErrorCode> {
        let CreateRequest { path, data, acl, flags } = request;
        self.create_znode(NewZnode { op, path, data, acl, flags, ttl: -1 }, body)
    }

    pub(crate) fn create_ttl(&mut self, request: CreateTtlRequest<'_>, body: &mut Vec<u8>) -> Result<(), ErrorCode> {
        let CreateTtlRequest { path, data, acl, flags, ttl } = request;
        self.create_znode(NewZnode { op: OpCode::CreateTtl, path, data, acl, flags, ttl }, body)
    }

    fn create_znode(&mut self, new: NewZnode<'_>, body: &mut Vec<u8>) -> Result<(), ErrorCode> {
        let mode = CreateMode::from_wire(new.flags).ok_or(ErrorCode::BadArguments)?;
        let owner = self.owner(new.op, mode, new.ttl)?;
        self.check_may_own(new.op, mode)?;
        self.check_session()?;
        // ZooKeeper: detects a null path only at this point.
        let path = new.path.ok_or(ErrorCode::Marshalling)?;
        let (parent_path, _) = path.rsplit_once('/').ok_or(ErrorCode::BadArguments)?;
        if path.contains('\0') {
            return Err(ErrorCode::BadArguments);
        }
        let acl = if is_open(new.acl.as_deref()) { None } else { Some(fix_acl(new.acl, &self.caller)?) };
        let parent = self.lookup(parent_path)?;
        self.check_acl(parent, perms::CREATE)?;
        let counter = self.state.counter(parent);
        let path = if mode.is_sequential() { Cow::Owned(format!("{path}{counter:010}")) } else { path };
        check_path(&path).map_err(|_| ErrorCode::BadArguments)?;
        let (parent_path, name) = path.rsplit_once('/').expect("a checked path has a slash");
        if path == "/" || self.state.tree.child(parent, name).is_some() {
            return Err(ErrorCode::NodeExists);
        }
        if self.state.passes_for_ephemeral(parent) {
            return Err(ErrorCode::NoChildrenForEphemerals);
        }
        let bytes = new.data.map_or(0, <[u8]>::len) as i64;
        self.check_quota(&path, bytes, 1)?;
        let slot = self.insert(parent, parent_path, &path, name, new.data, owner, acl);
        if mode.is_ephemeral() && owner == Owner::CONTAINER {
            self.state.unapplied.entry(slot).or_default().is_ephemeral = true;
        }
        Some(Cow::Borrowed(path.as_ref())).encode(body);
        if new.op != OpCode::Create {
            self.state.tree.znode(slot).stat().encode(body);
        }
        self.took_effect(ChangeKind::Created, path.as_ref(), slot, parent, bytes);
        Ok(())
    }

    /// Returns the stored owner of a new znode. Source: `validateCreateRequest`,
    /// `EphemeralType.validateTTL`.
    fn owner(&self, op: OpCode, mode: CreateMode, ttl: i64) -> Result<Owner, ErrorCode> {
        if mode.has_ttl() {
            if !self.caller.settings.extended_types() {
                return Err(ErrorCode::Unimplemented);
            }
            let ttl = Some(ttl).filter(|ttl| (1..=Owner::TTL_MAX_MS).contains(ttl));
            return ttl.map(Owner::ttl).ok_or(ErrorCode::BadArguments);
        }
        // ZooKeeper: accepts createTTL without a ttl mode and with ttl -1, and then the server breaks when it
        // applies it.
        if ttl >= 0 || op == OpCode::CreateTtl {
            return Err(ErrorCode::BadArguments);
        }
        // ZooKeeper: the operation, not the flags, makes a container.
        Ok(if op == OpCode::CreateContainer {
            Owner::CONTAINER
        } else if mode.is_ephemeral() {
            Owner(self.session.0)
        } else {
            Owner::PERSISTENT
        })
    }

    pub(crate) fn delete(&mut self, request: DeleteRequest<'_>) -> Result<(), ErrorCode> {
        self.check_session()?;
        let path = request.path.ok_or(ErrorCode::Marshalling)?;
        let (parent, slot) = self.deletable(&path)?;
        self.check_acl(parent, perms::DELETE)?;
        let slot = slot.ok_or(ErrorCode::NoNode)?;
        let znode = self.state.tree.znode(slot);
        check_version(request.version, znode.versions.version)?;
        if znode.num_children() > 0 {
            return Err(ErrorCode::NotEmpty);
        }
        self.remove(slot, parent, &path);
        Ok(())
    }

    /// Returns the parent of a path that may be deleted, and the znode at that path, if any.
    fn deletable(&self, path: &str) -> Result<(Slot, Option<Slot>), ErrorCode> {
        let (parent_path, name) = path.rsplit_once('/').ok_or(ErrorCode::BadArguments)?;
        if path.contains('\0') || SPECIAL_PATHS.contains(&path) {
            return Err(ErrorCode::BadArguments);
        }
        let parent = self.lookup(parent_path)?;
        // ZooKeeper: a path is a key rather than a walk: `//a` has the root as its parent and names nothing.
        let slot = if parent_path == "/" { None } else { self.state.tree.child(parent, name) };
        Ok((parent, slot))
    }

    /// Deletes a znode for the reaper: needs no permission, but the znode must be unchanged since
    /// it was chosen.
    pub(crate) fn reap(&mut self, body: &[u8]) -> Result<(), ErrorCode> {
        let DeleteContainer { path, mzxid } = DeleteContainer::decode(body)?;
        let (parent, slot) = self.deletable(&path)?;
        let slot = slot.ok_or(ErrorCode::NoNode)?;
        let znode = self.state.tree.znode(slot);
        if znode.num_children() > 0 {
            return Err(ErrorCode::NotEmpty);
        }
        if znode.versions.owner.session().is_some() || znode.versions.mzxid != mzxid {
            return Err(ErrorCode::BadVersion);
        }
        self.remove(slot, parent, &path);
        Ok(())
    }

    pub(crate) fn set_data(&mut self, request: SetDataRequest<'_>, body: &mut Vec<u8>) -> Result<(), ErrorCode> {
        self.check_session()?;
        let path = checked(request.path)?;
        let slot = self.lookup(&path)?;
        self.check_acl(slot, perms::WRITE)?;
        let znode = self.state.tree.znode(slot);
        let parent = znode.parent();
        let bytes = request.data.map_or(0, <[u8]>::len) as i64 - znode.data_len() as i64;
        let version = znode.versions.version;
        self.check_quota(&path, bytes, 0)?;
        check_version(request.version, version)?;
        let (zxid, time_ms) = (self.state.zxid.0, self.state.time_ms);
        self.set_bytes(slot, &path, request.data, |versions| {
            (versions.mzxid, versions.mtime, versions.version) = (zxid, time_ms, version.wrapping_add(1));
        });
        StatResponse { stat: self.state.tree.znode(slot).stat() }.encode(body);
        self.took_effect(ChangeKind::DataChanged, &path, slot, parent, bytes);
        Ok(())
    }

    pub(crate) fn set_acl(&mut self, request: SetAclRequest<'_>, body: &mut Vec<u8>) -> Result<(), ErrorCode> {
        self.check_session()?;
        let path = checked(request.path)?;
        let acl = fix_acl(request.acl, &self.caller)?;
        let slot = self.lookup(&path)?;
        self.check_acl(slot, perms::ADMIN)?;
        let Versions { aversion, acl: old, .. } = self.state.tree.znode(slot).versions;
        check_version(request.version, aversion)?;
        let acl = self.state.acquire_acl(acl);
        self.touch(slot, &path, |versions| {
            (versions.aversion, versions.acl) = (aversion.wrapping_add(1), acl);
        });
        self.release_acl(old);
        StatResponse { stat: self.state.tree.znode(slot).stat() }.encode(body);
        Ok(())
    }

    fn check(&mut self, request: CheckVersionRequest<'_>) -> Result<(), ErrorCode> {
        self.check_session()?;
        let path = checked(request.path)?;
        let slot = self.lookup(&path)?;
        self.check_acl(slot, perms::READ)?;
        check_version(request.version, self.state.tree.znode(slot).versions.version)
    }

    /// Changes the membership. A standalone server has none to change. Source:
    /// `PrepRequestProcessor`, case `reconfig`.
    pub(crate) fn reconfig(&mut self, command: &Command<'_>, body: &mut Vec<u8>) -> Result<(), ErrorCode> {
        decoded::<ReconfigRequest<'_>>(command.body)?;
        if !self.caller.settings.reconfig_enabled() {
            return Err(ErrorCode::ReconfigDisabled);
        }
        self.check_session()?;
        // A standalone server does not number its commands.
        if command.from.is_none() {
            return Err(ErrorCode::Unimplemented);
        }
        let membership = reconfig::decide(self.state, command.body, self.state.zxid)?;
        // ZooKeeper: checks the caller's permission last.
        let slot = self.lookup(CONFIG)?;
        self.check_acl(slot, perms::WRITE)?;
        reconfig::check_ours(&membership)?;
        self.state.set_membership(membership);
        self.state.show_membership(self.watcher);
        let znode = self.state.tree.znode(slot);
        GetDataResponse { data: znode.data(), stat: znode.stat() }.encode(body);
        Ok(())
    }

    /// Ends the session and deletes its ephemerals in the same transaction.
    pub(crate) fn close_session(&mut self) {
        if self.state.sessions.get(self.session).is_none() {
            return;
        }
        // ZooKeeper: deletes in the order of a clone of the session's set, which is also the order of the
        // events.
        for (slot, path) in self.state.owned_by(self.session, Buckets::of_clone) {
            let parent = self.state.tree.znode(slot).parent();
            self.remove(slot, parent, &path);
        }
        self.state.sessions.close(self.session);
    }

    /// Commits the transaction: announces the waiting effects and ends the uses of released ACLs.
    pub(crate) fn commit(self) {
        let transaction = self.transaction.expect("only a transaction is committed");
        for effect in &transaction.effects {
            effect.announce(self.state.zxid, self.watcher);
        }
        for acl in transaction.released {
            self.state.release_acl(acl);
        }
    }

    /// Rolls the transaction back: undoes every change, the last one first.
    pub(crate) fn roll_back(mut self) {
        let transaction = self.transaction.take().expect("only a transaction is rolled back");
        for step in transaction.undo.into_iter().rev() {
            self.take_back(step);
        }
        self.state.unapplied = transaction.unapplied_before;
    }

    fn take_back(&mut self, step: Undo) {
        match step {
            Undo::Registered { prefix, counted } => self.state.quotas.set(&prefix, counted),
            Undo::Inserted { slot, path } => {
                let Versions { owner, acl, .. } = self.state.tree.remove(slot, &path).versions;
                self.state.dismiss(slot, owner);
                self.state.release_acl(acl);
            }
            Undo::Removed { znode, path } => {
                let slot = self.state.tree.put_back(&path, znode);
                self.state.enroll(slot);
            }
            Undo::Updated { slot, path, versions, buckets, data } => self.state.tree.update(slot, &path, |znode| {
                znode.versions = versions;
                znode.set_buckets(buckets);
                if let Some(data) = data {
                    znode.set_data(data.as_deref());
                }
            }),
        }
    }

    #[expect(clippy::too_many_arguments, reason = "the parts of a znode, used once")]
    fn insert(
        &mut self,
        parent: Slot,
        parent_path: &str,
        path: &str,
        name: &str,
        data: Option<&[u8]>,
        owner: Owner,
        acl: Option<AclList>,
    ) -> Slot {
        let (zxid, time_ms) = (self.state.zxid.0, self.state.time_ms);
        let cversion = self.state.counter(parent).wrapping_add(1);
        self.touch(parent, parent_path, |versions| {
            // ZooKeeper: only raises it, so an overflowed counter keeps its value, and pzxid does too.
            if cversion > versions.cversion {
                (versions.cversion, versions.pzxid) = (cversion, zxid);
            }
        });
        self.state.counted(parent, cversion);
        let acl = acl.map_or(AclId::OPEN, |list| self.state.acquire_acl(list));
        let versions = Versions {
            czxid: zxid,
            mzxid: zxid,
            pzxid: zxid,
            ctime: time_ms,
            mtime: time_ms,
            owner,
            version: 0,
            cversion: 0,
            aversion: 0,
            acl,
        };
        let place = self.transaction.as_ref().map_or(0, |transaction| transaction.created);
        let slot = self.state.tree.insert(path, Znode::new(parent, name, data, versions, place));
        self.state.enroll(slot);
        if let Some(transaction) = &mut self.transaction {
            transaction.created += 1;
            transaction.undo.push(Undo::Inserted { slot, path: path.to_owned() });
        }
        slot
    }

    fn remove(&mut self, slot: Slot, parent: Slot, path: &str) {
        let (parent_path, _) = path.rsplit_once('/').expect("only paths with a parent are deleted");
        let zxid = self.state.zxid.0;
        self.touch(parent, parent_path, |versions| versions.pzxid = versions.pzxid.max(zxid));
        let bytes = -(self.state.tree.znode(slot).data_len() as i64);
        // The ACL that the znode had decides which watchers may learn of the deletion.
        let effect = self.effect(ChangeKind::Deleted, path, slot, parent, bytes);
        let znode = self.state.tree.remove(slot, path);
        self.state.unapplied.remove(&slot);
        self.state.dismiss(slot, znode.versions.owner);
        self.release_acl(znode.versions.acl);
        if let Some(transaction) = &mut self.transaction {
            transaction.undo.push(Undo::Removed { znode, path: path.to_owned() });
        }
        self.settle(effect);
    }

    /// Changes versions in a way that can be undone.
    fn touch(&mut self, slot: Slot, path: &str, change: impl FnOnce(&mut Versions)) {
        if let Some(transaction) = &mut self.transaction {
            let znode = self.state.tree.znode(slot);
            let (versions, buckets, path) = (znode.versions, znode.buckets(), path.to_owned());
            transaction.undo.push(Undo::Updated { slot, path, versions, buckets, data: None });
        }
        self.state.tree.touch(slot, path, change);
    }

    /// Replaces the data and changes versions, in a way that can be undone.
    pub(crate) fn set_bytes(
        &mut self,
        slot: Slot,
        path: &str,
        data: Option<&[u8]>,
        change: impl FnOnce(&mut Versions),
    ) {
        if let Some(transaction) = &mut self.transaction {
            let znode = self.state.tree.znode(slot);
            let (versions, buckets, path) = (znode.versions, znode.buckets(), path.to_owned());
            let data = Some(znode.data().map(Box::from));
            transaction.undo.push(Undo::Updated { slot, path, versions, buckets, data });
        }
        self.state.tree.update(slot, path, |znode| {
            znode.set_data(data);
            change(&mut znode.versions);
        });
    }

    fn release_acl(&mut self, acl: AclId) {
        match &mut self.transaction {
            Some(transaction) => transaction.released.push(acl),
            None => self.state.release_acl(acl),
        }
    }

    fn took_effect(&mut self, kind: ChangeKind, path: &str, slot: Slot, parent: Slot, bytes: i64) {
        let effect = self.effect(kind, path, slot, parent, bytes);
        self.settle(effect);
    }

    fn effect<'p>(&self, kind: ChangeKind, path: &'p str, slot: Slot, parent: Slot, bytes: i64) -> Effect<'p> {
        let path = Cow::Borrowed(path);
        let parent_acl = if parent == Slot::NIL { None } else { self.restricted_acl(parent) };
        Effect { kind, path, acl: self.restricted_acl(slot), parent_acl, bytes }
    }

    /// Returns a znode's ACL, unless it is open to everyone.
    fn restricted_acl(&self, slot: Slot) -> Option<Arc<AclList>> {
        let acl = self.state.tree.znode(slot).versions.acl;
        (acl != AclId::OPEN).then(|| self.state.acls.list(acl).clone())
    }

    fn settle(&mut self, effect: Effect<'_>) {
        self.keep_quotas(&effect);
        match &mut self.transaction {
            Some(transaction) => transaction.effects.push(effect.into_owned()),
            None => effect.announce(self.state.zxid, self.watcher),
        }
    }

    fn lookup(&self, path: &str) -> Result<Slot, ErrorCode> {
        self.state.tree.lookup(path).ok_or(ErrorCode::NoNode)
    }

    fn check_acl(&self, slot: Slot, wanted: i32) -> Result<(), ErrorCode> {
        let acl = self.state.tree.znode(slot).versions.acl;
        if acl == AclId::OPEN { Ok(()) } else { self.caller.check(self.state.acls.list(acl), wanted) }
    }

    /// Refuses ephemerals of a local session, which only one server knows. Source:
    /// `QuorumZooKeeperServer.checkUpgradeSession`.
    fn check_may_own(&self, op: OpCode, mode: CreateMode) -> Result<(), ErrorCode> {
        if !self.caller.settings.local_session() || !mode.is_ephemeral() {
            return Ok(());
        }
        // ZooKeeper: in a multi, and for a container with the flags of an ephemeral, the leader detects this;
        // the leader does not know the session at all.
        let found_by_leader = self.transaction.is_some() || op == OpCode::CreateContainer;
        Err(if found_by_leader { ErrorCode::SessionExpired } else { ErrorCode::EphemeralOnLocalSession })
    }

    fn check_session(&self) -> Result<(), ErrorCode> {
        if self.caller.settings.local_session() {
            return Ok(());
        }
        self.state.sessions.get(self.session).map(|_| ()).ok_or(ErrorCode::SessionExpired)
    }
}

/// Returns a path that must be valid.
fn checked(path: Option<Text<'_>>) -> Result<Text<'_>, ErrorCode> {
    // ZooKeeper: a null path fails the path check here; elsewhere it is an exception.
    let path = path.ok_or(ErrorCode::BadArguments)?;
    check_path(&path).map_err(|_| ErrorCode::BadArguments)?;
    Ok(path)
}

fn check_version(expected: i32, current: i32) -> Result<(), ErrorCode> {
    if expected == -1 || expected == current { Ok(()) } else { Err(ErrorCode::BadVersion) }
}

/// Body of the reaper's command.
#[derive(Debug)]
pub(crate) struct DeleteContainer<'a> {
    path: Text<'a>,
    mzxid: i64,
}

impl<'a> DeleteContainer<'a> {
    fn decode(body: &'a [u8]) -> Result<DeleteContainer<'a>, ErrorCode> {
        let (path, mzxid) = body.split_last_chunk::<8>().ok_or(ErrorCode::Marshalling)?;
        Ok(DeleteContainer { path: decoded(path)?, mzxid: i64::from_be_bytes(*mzxid) })
    }
}

impl crate::state::Expendable {
    /// Encodes the body of the command that deletes the znode.
    pub fn encode(&self) -> Vec<u8> {
        let mut body = Vec::new();
        Some(Cow::Borrowed(self.path.as_str())).encode(&mut body);
        self.mzxid.encode(&mut body);
        body
    }
}
