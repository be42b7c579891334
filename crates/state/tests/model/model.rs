//! A naive model of the state machine: maps of full paths, which are copied as a whole where a
//! multi may fail.
//!
//! It is written from ZooKeeper's source (`PrepRequestProcessor`, `DataTree`,
//! `ZooKeeperServer.checkACL` and `checkQuota`), not from ours, and without regard to cost. It
//! works on requests, not bytes.

use std::collections::{BTreeMap, BTreeSet};

use oxkeeper_proto::records::Stat;

use crate::request::{Ask, Entry, Order};
use crate::rules::*;

/// One znode; the fields have the names under which ZooKeeper persists them.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Node {
    pub(crate) data: Option<Vec<u8>>,
    pub(crate) acl: Vec<Entry>,
    czxid: i64,
    pub(crate) mzxid: i64,
    pzxid: i64,
    ctime: i64,
    mtime: i64,
    version: i32,
    pub(crate) cversion: i32,
    aversion: i32,
    pub(crate) owner: i64,
}

/// A server's answer.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Reply {
    Nothing,
    Path(String),
    PathAndStat(String, Stat),
    Stat(Stat),
    Echo(Option<String>),
    /// Result of each operation: its code, or its type and reply.
    Multi(Vec<Result<(i32, Reply), i32>>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Created,
    Deleted,
    DataChanged,
}

/// A change as a watcher receives it. Open ACLs are `None`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Told {
    pub(crate) kind: Kind,
    pub(crate) path: String,
    pub(crate) zxid: i64,
    pub(crate) acl: Option<Vec<Entry>>,
    pub(crate) parent_acl: Option<Vec<Entry>>,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Model {
    pub(crate) nodes: BTreeMap<String, Node>,
    pub(crate) sessions: BTreeMap<i64, i32>,
    pub(crate) quotas: BTreeSet<String>,
    pub(crate) zxid: i64,
    pub(crate) time: i64,
    pub(crate) told: Vec<Told>,
    /// Records of znodes that the entry created or created a child of: the counter of creations
    /// that later commands of the entry use, and whether the znode counts as an ephemeral.
    pub(crate) records: BTreeMap<String, (i32, bool)>,
    /// Former usage of the subtrees whose usage this multi changed.
    usage_before: Option<BTreeMap<String, BTreeMap<String, i64>>>,
}

pub(crate) fn world(perms: i32) -> Entry {
    Entry { perms, scheme: Some("world".into()), id: Some("anyone".into()) }
}

impl Model {
    pub(crate) fn new() -> Model {
        let mut model = Model::default();
        for (path, perms, cversion, aversion) in
            [("/", 31, 0, 0), ("/zookeeper", 31, 0, 0), ("/zookeeper/quota", 31, 0, 0), ("/zookeeper/config", 1, 0, -1)]
        {
            let mut node = Node::new(Some(vec![]), vec![world(perms)], 0, 0, 0);
            (node.cversion, node.aversion) = (cversion, aversion);
            model.nodes.insert(path.into(), node);
        }
        model
    }

    pub(crate) fn apply(&mut self, order: &Order, ask: &Ask, time: i64) -> Result<Reply, i32> {
        self.told.clear();
        // ZooKeeper: sync is not a transaction, and a null ACL stops the decoding of a multi before it takes
        // its zxid.
        if !matches!(ask, Ask::Sync(_)) && !matches!(ask, Ask::Multi(asks) if stops_at_null_acl(asks)) {
            self.zxid += 1;
        }
        // If the clock steps back by at most ten seconds, the time stands still.
        if time >= self.time || self.time - time > 10_000 {
            self.time = time;
        }
        match ask {
            Ask::Multi(asks) => self.multi(order, asks),
            Ask::CreateSession(timeout) => {
                self.sessions.insert(order.session, *timeout);
                Ok(Reply::Nothing)
            }
            Ask::CloseSession => {
                let own: Vec<String> = self.ephemerals(order.session);
                own.iter().for_each(|path| self.remove(path));
                self.sessions.remove(&order.session);
                Ok(Reply::Nothing)
            }
            Ask::Reap { path, mzxid } => self.reap(path, *mzxid),
            Ask::Reconfig => {
                if order.settings & 64 == 0 {
                    return Err(RECONFIG_DISABLED);
                }
                self.session(order)?;
                Err(UNIMPLEMENTED)
            }
            Ask::Sync(path) => Ok(Reply::Echo(path.clone())),
            // ZooKeeper: refuses it outside a multi since 3.9.3.
            Ask::Check { .. } => Err(UNIMPLEMENTED),
            Ask::Create { .. } | Ask::Delete { .. } | Ask::SetData { .. } | Ask::SetAcl { .. } => self.one(order, ask),
        }
    }

    fn one(&mut self, order: &Order, ask: &Ask) -> Result<Reply, i32> {
        match ask {
            Ask::Create { .. } => self.create(order, ask),
            Ask::Delete { path, version } => self.delete(order, path.as_deref(), *version),
            Ask::SetData { path, data, version } => self.set_data(order, path.as_deref(), data, *version),
            Ask::SetAcl { path, acl, version } => self.set_acl(order, path.as_deref(), acl, *version),
            Ask::Check { path, version } => {
                self.session(order)?;
                let path = valid(path.as_deref().ok_or(BAD_ARGUMENTS)?)?;
                let node = self.nodes.get(path).ok_or(NO_NODE)?;
                allowed(&node.acl, READ, order)?;
                expect(*version, node.version)?;
                Ok(Reply::Nothing)
            }
            Ask::Multi(_)
            | Ask::CreateSession(_)
            | Ask::CloseSession
            | Ask::Reap { .. }
            | Ask::Reconfig
            | Ask::Sync(_) => unreachable!("not an operation of a multi: {ask:?}"),
        }
    }

    fn multi(&mut self, order: &Order, asks: &[Ask]) -> Result<Reply, i32> {
        let asks: Vec<Ask> = asks.iter().map(as_in_multi).collect::<Option<_>>().ok_or(MARSHALLING)?;
        if asks.iter().any(|ask| ask.path().is_none()) {
            return Err(MARSHALLING);
        }
        let mut next = self.clone();
        next.usage_before = Some(BTreeMap::new());
        let mut results = Vec::new();
        for (position, ask) in asks.iter().enumerate() {
            match next.one(order, ask) {
                Ok(reply) => results.push(Ok((result_type(ask), reply))),
                Err(MARSHALLING) => return Err(MARSHALLING),
                Err(code) => {
                    let failed = |at: usize| {
                        if at < position {
                            0
                        } else if at == position {
                            code
                        } else {
                            -2
                        }
                    };
                    return Ok(Reply::Multi((0..asks.len()).map(|at| Err(failed(at))).collect()));
                }
            }
        }
        next.usage_before = None;
        *self = next;
        Ok(Reply::Multi(results))
    }

    fn create(&mut self, order: &Order, ask: &Ask) -> Result<Reply, i32> {
        let Ask::Create { op, path, data, acl, flags, ttl } = ask else { unreachable!("a create") };
        let ttl = if *op == 21 { *ttl } else { -1 };
        if !(0..=6).contains(flags) {
            return Err(BAD_ARGUMENTS);
        }
        let has_ttl = matches!(flags, 5 | 6);
        if has_ttl && order.settings & 1 == 0 {
            return Err(UNIMPLEMENTED);
        }
        if has_ttl != (1..=0xff_ffff_ffff).contains(&ttl) && (has_ttl || ttl >= 0) {
            return Err(BAD_ARGUMENTS);
        }
        // Differs from ZooKeeper, which accepts this request and breaks when it applies it.
        if *op == 21 && !has_ttl {
            return Err(BAD_ARGUMENTS);
        }
        if order.settings & 128 != 0 && matches!(flags, 1 | 3) {
            let late = self.usage_before.is_some() || *op == 19;
            return Err(if late { SESSION_EXPIRED } else { EPHEMERAL_ON_LOCAL_SESSION });
        }
        self.session(order)?;
        let path = path.as_deref().ok_or(MARSHALLING)?;
        let slash = path.rfind('/').ok_or(BAD_ARGUMENTS)?;
        if path.contains('\0') {
            return Err(BAD_ARGUMENTS);
        }
        let acl = fixup(acl.as_deref().unwrap_or_default(), order)?;
        let parent = if slash == 0 { "/" } else { &path[..slash] }.to_owned();
        let above = self.nodes.get(&parent).ok_or(NO_NODE)?;
        allowed(&above.acl, CREATE, order)?;
        let record = *self.records.get(&parent).unwrap_or(&(above.cversion, false));
        let mut path = path.to_owned();
        if matches!(flags, 2 | 3 | 6) {
            // Java's %010d counts the sign as a digit.
            path += &format!("{:010}", record.0);
        }
        valid(&path)?;
        if self.nodes.contains_key(&path) {
            return Err(NODE_EXISTS);
        }
        if is_ephemeral(above.owner) || record.1 {
            return Err(NO_CHILDREN_FOR_EPHEMERALS);
        }
        self.quota(order, &path, length(data), 1)?;
        let owner = match (op, flags) {
            (19, _) => CONTAINER,
            (_, 1 | 3) => order.session,
            (_, 5 | 6) => TTL | ttl,
            _ => 0,
        };
        let stat = self.add(&parent, &path, Node::new(data.clone(), acl, owner, self.zxid, self.time));
        self.records.insert(path.clone(), (0, matches!((op, flags), (19, 1 | 3))));
        Ok(if *op == 1 { Reply::Path(path) } else { Reply::PathAndStat(path, stat) })
    }

    fn delete(&mut self, order: &Order, path: Option<&str>, version: i32) -> Result<Reply, i32> {
        self.session(order)?;
        let path = path.ok_or(MARSHALLING)?;
        let parent = deletable(path)?;
        let above = self.nodes.get(parent).ok_or(NO_NODE)?;
        allowed(&above.acl, DELETE, order)?;
        let node = self.nodes.get(path).ok_or(NO_NODE)?;
        expect(version, node.version)?;
        if self.children(path).next().is_some() {
            return Err(NOT_EMPTY);
        }
        self.remove(path);
        Ok(Reply::Nothing)
    }

    fn reap(&mut self, path: &str, mzxid: i64) -> Result<Reply, i32> {
        let parent = deletable(path)?;
        self.nodes.get(parent).ok_or(NO_NODE)?;
        let node = self.nodes.get(path).ok_or(NO_NODE)?;
        if self.children(path).next().is_some() {
            return Err(NOT_EMPTY);
        }
        if is_ephemeral(node.owner) || node.mzxid != mzxid {
            return Err(BAD_VERSION);
        }
        self.remove(path);
        Ok(Reply::Nothing)
    }

    fn set_data(
        &mut self,
        order: &Order,
        path: Option<&str>,
        data: &Option<Vec<u8>>,
        version: i32,
    ) -> Result<Reply, i32> {
        self.session(order)?;
        let path = valid(path.ok_or(BAD_ARGUMENTS)?)?;
        let node = self.nodes.get(path).ok_or(NO_NODE)?;
        allowed(&node.acl, WRITE, order)?;
        let bytes = length(data) - length(&node.data);
        self.quota(order, path, bytes, 0)?;
        expect(version, node.version)?;
        let (zxid, time) = (self.zxid, self.time);
        let node = self.nodes.get_mut(path).expect("looked up above");
        node.data = data.clone();
        (node.version, node.mzxid, node.mtime) = (node.version.wrapping_add(1), zxid, time);
        let acl = node.acl.clone();
        let stat = self.stat(path).expect("looked up above");
        self.count(path, bytes, 0);
        self.tell(Kind::DataChanged, path, &acl, &[]);
        Ok(Reply::Stat(stat))
    }

    fn set_acl(
        &mut self,
        order: &Order,
        path: Option<&str>,
        acl: &Option<Vec<Entry>>,
        version: i32,
    ) -> Result<Reply, i32> {
        self.session(order)?;
        let path = valid(path.ok_or(BAD_ARGUMENTS)?)?;
        let acl = fixup(acl.as_deref().unwrap_or_default(), order)?;
        let node = self.nodes.get_mut(path).ok_or(NO_NODE)?;
        allowed(&node.acl, ADMIN, order)?;
        expect(version, node.aversion)?;
        node.acl = acl;
        node.aversion = node.aversion.wrapping_add(1);
        Ok(Reply::Stat(self.stat(path).expect("looked up above")))
    }

    /// Adds a znode. The returned Stat is from before the usage is written.
    fn add(&mut self, parent: &str, path: &str, node: Node) -> Stat {
        let zxid = self.zxid;
        let above = self.nodes.get_mut(parent).expect("the parent was looked up");
        let above_acl = above.acl.clone();
        let record = self.records.entry(parent.to_owned()).or_insert((above.cversion, false));
        record.0 = record.0.wrapping_add(1);
        let cversion = record.0;
        if cversion > above.cversion {
            (above.cversion, above.pzxid) = (cversion, zxid);
        }
        let (acl, bytes) = (node.acl.clone(), length(&node.data));
        self.nodes.insert(path.to_owned(), node);
        let stat = self.stat(path).expect("just created");
        if let Some((prefix, name)) = quota_znode(path) {
            match name {
                "zookeeper_limits" if prefix.starts_with('/') => drop(self.quotas.insert(prefix.to_owned())),
                "zookeeper_stats" => self.recount(prefix),
                _ => {}
            }
        }
        self.count(path, bytes, 1);
        self.tell(Kind::Created, path, &acl, &above_acl);
        stat
    }

    fn remove(&mut self, path: &str) {
        let zxid = self.zxid;
        let node = self.nodes.remove(path).expect("looked up");
        self.records.remove(path);
        let above = self.nodes.get_mut(parent_of(path)).expect("every znode has a parent");
        above.pzxid = above.pzxid.max(zxid);
        let above_acl = above.acl.clone();
        if let Some((prefix, "zookeeper_limits")) = quota_znode(path) {
            self.quotas.remove(prefix);
        }
        self.count(path, -length(&node.data), -1);
        self.tell(Kind::Deleted, path, &node.acl, &above_acl);
    }

    fn tell(&mut self, kind: Kind, path: &str, acl: &[Entry], parent_acl: &[Entry]) {
        let restricted = |acl: &[Entry]| (acl != [world(31)] && !acl.is_empty()).then(|| acl.to_vec());
        let (acl, parent_acl) = (restricted(acl), restricted(parent_acl));
        self.told.push(Told { kind, path: path.to_owned(), zxid: self.zxid, acl, parent_acl });
    }

    fn session(&self, order: &Order) -> Result<(), i32> {
        if self.sessions.contains_key(&order.session) || order.settings & 128 != 0 {
            Ok(())
        } else {
            Err(SESSION_EXPIRED)
        }
    }

    /// Returns the length of all paths and data, bytes.
    pub(crate) fn size(&self) -> u64 {
        let sizes = self.nodes.iter().map(|(path, node)| path.trim_end_matches('/').len() as i64 + length(&node.data));
        sizes.sum::<i64>() as u64
    }

    // Quotas.

    fn prefix(&self, path: &str) -> Option<String> {
        let mut at = path;
        while !at.is_empty() && at != "/" {
            if self.quotas.contains(at) {
                return Some(at.to_owned());
            }
            at = parent_of(at);
        }
        None
    }

    fn track(&self, prefix: &str, name: &str) -> Option<BTreeMap<String, i64>> {
        let data = self.track_data(prefix, name)?;
        let text = String::from_utf8_lossy(data.as_deref().unwrap_or_default()).into_owned();
        let mut track = BTreeMap::new();
        for pair in text.split([',', ';']).filter(|pair| !pair.is_empty()) {
            let parts: Vec<&str> = pair.split('=').collect();
            if parts.len() > 1 && !parts[0].is_empty() {
                track.insert(parts[0].to_owned(), parts[1].parse().unwrap_or(-1));
            }
        }
        Some(track)
    }

    fn track_data(&self, prefix: &str, name: &str) -> Option<&Option<Vec<u8>>> {
        Some(&self.nodes.get(&format!("/zookeeper/quota{prefix}/{name}"))?.data)
    }

    fn quota(&self, order: &Order, path: &str, bytes: i64, count: i64) -> Result<(), i32> {
        let Some(prefix) = self.prefix(path).filter(|_| order.settings & 2 != 0) else { return Ok(()) };
        let Some(limits) = self.track_data(&prefix, "zookeeper_limits") else { return Ok(()) };
        let limits = strict_track(limits.as_deref())?;
        let limit = |key: &str| *limits.get(key).unwrap_or(&-1);
        let asked = [(count, "count", "countHardLimit"), (bytes, "bytes", "byteHardLimit")];
        if !asked.iter().any(|&(change, soft, hard)| change != 0 && (limit(soft) > -1 || limit(hard) > -1)) {
            return Ok(());
        }
        let Some(usage) = self.track_data(&prefix, "zookeeper_stats") else { return Ok(()) };
        let usage = match self.usage_before.as_ref().and_then(|before| before.get(&prefix)) {
            Some(before) => before.clone(),
            None => strict_track(usage.as_deref())?,
        };
        for (change, key, hard) in asked {
            let used = *usage.get(key).unwrap_or(&-1);
            if change != 0 && limit(hard) > -1 && used.wrapping_add(change) > limit(hard) {
                return Err(QUOTA_EXCEEDED);
            }
        }
        Ok(())
    }

    fn count(&mut self, path: &str, bytes: i64, count: i64) {
        let Some(prefix) = self.prefix(path) else { return };
        let Some(mut usage) = self.track(&prefix, "zookeeper_stats") else { return };
        if let Some(before) = &mut self.usage_before {
            before.entry(prefix.clone()).or_insert_with(|| usage.clone());
        }
        for (key, change) in [("count", count), ("bytes", bytes)] {
            let value = usage.entry(key.to_owned()).or_insert(-1);
            *value = value.wrapping_add(change);
        }
        self.write_usage(&prefix, &usage);
    }

    fn recount(&mut self, prefix: &str) {
        let below = format!("{prefix}/");
        let counted = self.nodes.iter().filter(|(path, _)| *path == prefix || path.starts_with(&below));
        let (count, bytes) = counted.fold((0, 0), |(count, bytes), (_, node)| (count + 1, bytes + length(&node.data)));
        self.write_usage(prefix, &BTreeMap::from([("count".to_owned(), count), ("bytes".to_owned(), bytes)]));
    }

    fn write_usage(&mut self, prefix: &str, usage: &BTreeMap<String, i64>) {
        let mut text = format!("count={},bytes={}", usage["count"], usage["bytes"]);
        let mut others = usage.iter().filter(|(key, _)| *key != "count" && *key != "bytes").peekable();
        if others.peek().is_some() {
            text += "=";
        }
        others.for_each(|(key, value)| text += &format!(";{key}={value}"));
        if let Some(node) = self.nodes.get_mut(&format!("/zookeeper/quota{prefix}/zookeeper_stats")) {
            node.data = Some(text.into_bytes());
        }
    }

    // Reads.

    pub(crate) fn node(&self, path: &str) -> Option<&Node> {
        self.nodes.get(if path.is_empty() { "/" } else { path })
    }

    pub(crate) fn children(&self, path: &str) -> impl Iterator<Item = &String> {
        self.nodes.keys().filter(move |child| *child != "/" && parent_of(child) == path)
    }

    pub(crate) fn ephemerals(&self, session: i64) -> Vec<String> {
        self.nodes.iter().filter(|(_, node)| node.owner == session).map(|(path, _)| path.clone()).collect()
    }

    pub(crate) fn stat(&self, path: &str) -> Option<Stat> {
        let path = if path.is_empty() { "/" } else { path };
        let node = self.nodes.get(path)?;
        let num_children = self.children(path).count() as i32;
        Some(Stat {
            czxid: node.czxid,
            mzxid: node.mzxid,
            ctime: node.ctime,
            mtime: node.mtime,
            version: node.version,
            cversion: node.cversion.wrapping_mul(2).wrapping_sub(num_children),
            aversion: node.aversion,
            ephemeral_owner: if is_ephemeral(node.owner) { node.owner } else { 0 },
            data_length: length(&node.data) as i32,
            num_children,
            pzxid: node.pzxid,
        })
    }

    pub(crate) fn may_read(&self, path: &str, order: &Order) -> Result<&Node, i32> {
        let node = self.node(path).ok_or(NO_NODE)?;
        allowed(&node.acl, READ, order).map(|()| node)
    }

    pub(crate) fn visible_acl(&self, path: &str, order: &Order) -> Result<Vec<Entry>, i32> {
        let node = self.node(path).ok_or(NO_NODE)?;
        allowed(&node.acl, READ | ADMIN, order)?;
        let mut acl = node.acl.clone();
        if allowed(&node.acl, ADMIN, order).is_err() {
            for entry in acl.iter_mut().filter(|entry| entry.scheme.as_deref() == Some("digest")) {
                let id = entry.id.clone().expect("digest entries have ids");
                entry.id = Some(format!("{}:x", &id[..id.find(':').expect("and a colon")]));
            }
        }
        Ok(acl)
    }

    /// Returns the znodes that the reaper may delete, sorted.
    pub(crate) fn expendable(&self, now: i64, never_used: i64) -> Vec<(String, i64)> {
        let expendable = |(path, node): (&String, &Node)| {
            let age = now - node.mtime;
            let container = node.owner == CONTAINER && (node.cversion > 0 || (never_used > 0 && age > never_used));
            let ttl = node.owner >> 56 == -1 && age > node.owner & 0xff_ffff_ffff;
            (self.children(path).next().is_none() && (container || ttl)).then(|| (path.clone(), node.mzxid))
        };
        self.nodes.iter().filter_map(expendable).collect()
    }

    /// Returns whether a znode's time stamp is from a clock that was wrong, judged by `now`. The
    /// stamp does not tell when the znode was really written: see `state/src/time.rs` for how this
    /// is handled.
    pub(crate) fn is_ahead(&self, path: &str, now: i64) -> bool {
        self.nodes[path].mtime - now > 10_000
    }

    /// Returns the digest of the tree. Source: `DigestCalculator`, version 2; `AdHash`.
    pub(crate) fn digest(&self) -> u64 {
        let counted = self.nodes.iter().filter(|(path, _)| !path.starts_with("/zookeeper/"));
        counted.fold(0, |sum, (path, node)| sum.wrapping_add(u64::from(node_digest(path, node))))
    }
}

pub(crate) fn node_digest(path: &str, node: &Node) -> u32 {
    let mut bytes = if path == "/" { vec![] } else { path.as_bytes().to_vec() };
    bytes.extend(node.data.as_deref().unwrap_or_default());
    for long in [node.czxid, node.mzxid, node.pzxid, node.ctime, node.mtime] {
        bytes.extend(long.to_be_bytes());
    }
    for int in [node.version, node.cversion, node.aversion] {
        bytes.extend(int.to_be_bytes());
    }
    bytes.extend(node.owner.to_be_bytes());
    crc32fast::hash(&bytes)
}

impl Node {
    fn new(data: Option<Vec<u8>>, acl: Vec<Entry>, owner: i64, zxid: i64, time: i64) -> Node {
        let (czxid, mzxid, pzxid, ctime, mtime) = (zxid, zxid, zxid, time, time);
        Node { data, acl, czxid, mzxid, pzxid, ctime, mtime, version: 0, cversion: 0, aversion: 0, owner }
    }
}

/// Returns a request as a multi decodes it: some requests make the whole multi malformed, others
/// turn into another request.
fn as_in_multi(ask: &Ask) -> Option<Ask> {
    let Ask::Create { op, path, data, acl, flags, ttl } = ask else { return Some(ask.clone()) };
    let has_ttl = matches!(flags, 5 | 6);
    let op = match (*op, *flags) {
        (21, 5 | 6) => 21,
        (_, 4) => 19,
        (21, _) => 1,
        (op, _) => op,
    };
    if op != 21 && (has_ttl || !(0..=6).contains(flags)) && !came_as_ttl(ask) || acl.is_none() && !came_as_ttl(ask) {
        return None;
    }
    Some(Ask::Create { op, path: path.clone(), data: data.clone(), acl: acl.clone(), flags: *flags, ttl: *ttl })
}

/// Returns whether the first operation that cannot be decoded is a create with known flags and a
/// null ACL.
fn stops_at_null_acl(asks: &[Ask]) -> bool {
    let first = asks.iter().find(|ask| as_in_multi(ask).is_none());
    matches!(first, Some(Ask::Create { acl: None, flags: 0..=6, .. }))
}

fn came_as_ttl(ask: &Ask) -> bool {
    matches!(ask, Ask::Create { op: 21, .. })
}

fn result_type(ask: &Ask) -> i32 {
    match ask {
        Ask::Create { op: 1, .. } => 1,
        Ask::Create { .. } => 15,
        Ask::Delete { .. } => 2,
        Ask::SetData { .. } => 5,
        Ask::Check { .. } => 13,
        Ask::SetAcl { .. }
        | Ask::Multi(_)
        | Ask::CreateSession(_)
        | Ask::CloseSession
        | Ask::Reap { .. }
        | Ask::Reconfig
        | Ask::Sync(_) => unreachable!("not an operation of a multi: {ask:?}"),
    }
}
