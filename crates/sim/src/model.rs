//! A naive model of what clients may see: every znode as it was at every zxid, and the answer that
//! each command must get.
//!
//! The model covers only what the scripted clients do: no ACLs, quotas or TTLs. It follows
//! ZooKeeper's promises, not `oxkeeper-state`, with which it shares only the wire records. Memory
//! and time do not matter here.
//!
//! For an ensemble, the model is the one history that all servers must have: see
//! [`Model::begin_epoch`].
//!
//! Invariant: `outcomes` are in zxid order; the past never changes.

use std::collections::{BTreeMap, BTreeSet};

use oxkeeper_proto::multi::{MULTI_END, MultiOp, decode_multi, encode_multi_error};
use oxkeeper_proto::op::CreateMode;
use oxkeeper_proto::records::{
    Create2Response, CreateRequest, CreateResponse, DeleteRequest, MultiHeader, SetDataRequest, Stat, StatResponse,
};
use oxkeeper_proto::{ErrorCode, Jute, OpCode, ServerId};
use oxkeeper_state::reconfig::Ruling;
use oxkeeper_state::{ChangeKind, Command};

use crate::check::times::Times;

/// Value of a container's `owner`; the owner is 0 for a znode that is neither ephemeral nor a
/// container.
const CONTAINER: i64 = i64::MIN;
/// Path of the znode that shows the members.
const CONFIG: &str = "/zookeeper/config";

/// A znode at one zxid.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Node {
    /// Data, which may be null.
    pub data: Option<Vec<u8>>,
    /// Names of the children.
    pub children: BTreeSet<String>,
    czxid: i64,
    /// Zxid of the last setData.
    pub mzxid: i64,
    /// Zxid of the last change of the children.
    pub pzxid: i64,
    ctime: i64,
    mtime: i64,
    version: i32,
    created: i32,
    owner: i64,
}

impl Node {
    /// Returns the `Stat` that clients see.
    pub fn stat(&self) -> Stat {
        let num_children = self.children.len() as i32;
        Stat {
            czxid: self.czxid,
            mzxid: self.mzxid,
            ctime: self.ctime,
            mtime: self.mtime,
            version: self.version,
            cversion: self.created * 2 - num_children,
            aversion: 0,
            ephemeral_owner: if self.owner == CONTAINER { 0 } else { self.owner },
            data_length: self.data.as_ref().map_or(0, Vec::len) as i32,
            num_children,
            pzxid: self.pzxid,
        }
    }
}

/// A change that triggers watches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Kind of change.
    pub kind: ChangeKind,
    /// Path of the changed znode.
    pub path: String,
}

/// Effect of a command, and the answer it must get.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Zxid that the command took.
    pub zxid: i64,
    /// Session that sent the command.
    pub session: i64,
    /// Xid that the client gave the command.
    pub xid: i32,
    /// Operation of the command.
    pub op: OpCode,
    /// 0 or an error code.
    pub err: i32,
    /// Body of the reply.
    pub body: Vec<u8>,
    /// Changes, in order.
    pub changes: Vec<Change>,
}

/// Version of a znode: the zxid at which it begins, and `None` while the znode does not exist.
type Version = (i64, Option<Node>);

/// History of the znodes, sessions and commands.
#[derive(Clone, Debug)]
pub struct Model {
    nodes: BTreeMap<String, Vec<Version>>,
    /// Live sessions.
    pub sessions: BTreeSet<i64>,
    /// Ended sessions.
    pub ended: BTreeSet<i64>,
    /// Owning server of each live session; 0 for a standalone server.
    owners: BTreeMap<i64, ServerId>,
    /// Number of times each session was resumed in this epoch.
    resumes: BTreeMap<i64, u32>,
    /// Outcome of each command that took a zxid.
    pub outcomes: Vec<Outcome>,
    zxid: i64,
    times: Times,
}

/// Result of an operation; a failed one leaves nothing but its error code.
type Tried = Result<(), ErrorCode>;

/// State of the command being applied.
struct Work<'m> {
    model: &'m mut Model,
    zxid: i64,
    session: i64,
    /// Whether the session is local to one server.
    local: bool,
    body: Vec<u8>,
    changes: Vec<Change>,
    /// Previous versions of the changed paths.
    undo: Vec<(String, Option<Node>)>,
}

impl Default for Model {
    fn default() -> Model {
        let mut model = Model {
            nodes: BTreeMap::new(),
            sessions: BTreeSet::new(),
            ended: BTreeSet::new(),
            owners: BTreeMap::new(),
            resumes: BTreeMap::new(),
            outcomes: Vec::new(),
            zxid: 0,
            times: Times::default(),
        };
        let below = |names: &[&str]| Node {
            children: names.iter().map(|&name| name.to_owned()).collect(),
            data: Some(Vec::new()),
            created: 0,
            ..Node::default()
        };
        // No command creates the znodes of a new server, so their creation counters are 0.
        for (path, names) in [("/", &["zookeeper"][..]), ("/zookeeper", &["config", "quota"])] {
            model.nodes.insert(path.to_owned(), vec![(0, Some(below(names)))]);
        }
        for path in ["/zookeeper/config", "/zookeeper/quota"] {
            model.nodes.insert(path.to_owned(), vec![(0, Some(below(&[])))]);
        }
        model
    }
}

impl Model {
    /// Returns the last zxid.
    pub fn zxid(&self) -> i64 {
        self.zxid
    }

    /// Returns the outcome at a zxid.
    pub fn outcome(&self, zxid: i64) -> Option<&Outcome> {
        self.outcomes.get(self.count(zxid).checked_sub(1)?).filter(|outcome| outcome.zxid == zxid)
    }

    /// Returns the zxid at which a session was agreed on.
    pub fn begun(&self, session: i64) -> Option<i64> {
        let begins = |outcome: &&Outcome| outcome.session == session && outcome.op == OpCode::CreateSession;
        self.outcomes.iter().rev().find(begins).map(|outcome| outcome.zxid)
    }

    /// Returns the number of outcomes up to and including `zxid`.
    pub fn count(&self, zxid: i64) -> usize {
        self.outcomes.partition_point(|outcome| outcome.zxid <= zxid)
    }

    /// Begins the epoch of a new leader, from which the next zxids come. The first epoch announces
    /// the members.
    pub fn begin_epoch(&mut self, time_ms: i64) {
        let is_first = self.zxid == 0;
        self.zxid = ((self.zxid >> 32) + 1) << 32;
        self.times.told(time_ms);
        self.resumes.clear();
        if is_first {
            let changes = vec![Change { kind: ChangeKind::DataChanged, path: CONFIG.to_owned() }];
            let (zxid, op, body) = (self.zxid, OpCode::Reconfig, Vec::new());
            self.outcomes.push(Outcome { zxid, session: 0, xid: 0, op, err: 0, body, changes });
        }
    }

    /// Returns a znode as it was after `zxid`.
    pub fn node(&self, path: &str, zxid: i64) -> Option<&Node> {
        let versions = self.nodes.get(path)?;
        versions.iter().rev().find(|(since, _)| *since <= zxid)?.1.as_ref()
    }

    /// Returns every path and its znode as they were after `zxid`.
    pub fn paths(&self, zxid: i64) -> impl Iterator<Item = (&str, &Node)> {
        self.nodes.keys().filter_map(move |path| Some((path.as_str(), self.node(path, zxid)?)))
    }

    /// Returns the paths of a session's ephemerals after `zxid`.
    pub fn ephemerals(&self, session: i64, zxid: i64) -> BTreeSet<String> {
        self.paths(zxid).filter(|(_, node)| node.owner == session).map(|(path, _)| path.to_owned()).collect()
    }

    /// Returns whether the command's session has ended, so that the command has no effect.
    pub fn has_ended(&self, command: &Command<'_>) -> bool {
        self.ended.contains(&command.session.0)
    }

    /// Returns whether the command comes through a server that no longer owns its session.
    pub fn has_moved(&self, command: &Command<'_>) -> bool {
        let Some(number) = command.from.filter(|_| command.op != OpCode::ResumeSession) else { return false };
        self.owners.get(&command.session.0).is_some_and(|&owner| owner != number.server)
    }

    /// Returns whether the command closes an expired session that has been resumed since.
    fn is_back(&self, command: &Command<'_>) -> bool {
        let known = command.body.try_into().map(u32::from_be_bytes);
        let own = command.op == OpCode::CloseSession && command.xid == 0;
        own && known.is_ok_and(|known| self.resumes.get(&command.session.0).is_some_and(|&resumes| resumes > known))
    }

    /// Applies a command. The command takes the next zxid unless it is a sync or resumes a session.
    pub fn apply(&mut self, command: &Command<'_>, time_ms: i64) {
        self.times.told(time_ms);
        let (session, server) = (command.session.0, command.from.map_or(ServerId(0), |number| number.server));
        if command.op == OpCode::ResumeSession && self.sessions.contains(&session) {
            *self.resumes.entry(session).or_default() += 1;
            self.owners.entry(session).and_modify(|owner| *owner = server);
        }
        if matches!(command.op, OpCode::ResumeSession | OpCode::Sync) {
            return;
        }
        self.zxid += 1;
        let zxid = self.zxid;
        let moved = self.has_moved(command) || self.is_back(command);
        let local = command.settings.local_session();
        let mut work =
            Work { model: self, zxid, session, local, body: Vec::new(), changes: Vec::new(), undo: Vec::new() };
        let tried = if moved { Err(ErrorCode::SessionMoved) } else { work.run(command) };
        let (mut body, mut changes) = (work.body, work.changes);
        if tried.is_err() {
            (body, changes) = (Vec::new(), Vec::new());
        }
        let err = tried.err().map_or(0, ErrorCode::wire);
        if command.op == OpCode::CreateSession {
            self.owners.insert(session, server);
        } else if !self.sessions.contains(&session) {
            self.owners.remove(&session);
        }
        self.outcomes.push(Outcome { zxid, session, xid: command.xid, op: command.op, err, body, changes });
    }
}

impl Work<'_> {
    #[expect(clippy::wildcard_enum_match_arm, reason = "clients send no other writes")]
    fn run(&mut self, command: &Command<'_>) -> Tried {
        let body = command.body;
        match command.op {
            OpCode::Create | OpCode::Create2 | OpCode::CreateContainer => {
                let request = decoded(body);
                self.check_may_own(&request, ErrorCode::EphemeralOnLocalSession)?;
                self.create(command.op, &request)
            }
            OpCode::Delete => self.delete(&decoded(body)),
            OpCode::SetData => self.set_data(&decoded(body)),
            OpCode::Multi => {
                self.multi(body);
                Ok(())
            }
            OpCode::DeleteContainer => self.reap(body),
            OpCode::Reconfig => self.reconfig(body),
            OpCode::CreateSession => {
                assert!(!self.model.ended.contains(&self.session), "sessions: id {:x} is used twice", self.session);
                assert!(self.model.sessions.insert(self.session), "sessions: {:x} is created twice", self.session);
                Ok(())
            }
            OpCode::CloseSession => {
                self.close_session();
                Ok(())
            }
            op => panic!("invented: nobody asks for {op:?}"),
        }
    }

    fn multi(&mut self, body: &[u8]) {
        let ops = decode_multi(body).expect("clients send sound multis");
        let count = ops.len();
        for (position, op) in ops.into_iter().enumerate() {
            if let Err(code) = self.multi_op(op) {
                for (path, node) in std::mem::take(&mut self.undo).into_iter().rev() {
                    self.set(&path, node);
                }
                (self.body, self.changes) = (Vec::new(), Vec::new());
                for other in 0..count {
                    let later = if other < position { 0 } else { ErrorCode::RuntimeInconsistency.wire() };
                    encode_multi_error(if other == position { code.wire() } else { later }, &mut self.body);
                }
                break;
            }
        }
        MULTI_END.encode(&mut self.body);
    }

    fn multi_op(&mut self, op: MultiOp<'_>) -> Tried {
        MultiHeader { op: op.op().wire(), done: false, err: 0 }.encode(&mut self.body);
        match op {
            MultiOp::Create(op, request) => {
                self.check_may_own(&request, ErrorCode::SessionExpired)?;
                self.create(op, &request)
            }
            MultiOp::Delete(request) => self.delete(&request),
            MultiOp::SetData(request) => self.set_data(&request),
            MultiOp::Check(request) => {
                self.check_session()?;
                let node = self.lookup(&request.path.expect("clients send paths"))?;
                check_version(request.version, node.version)
            }
            MultiOp::CreateTtl(_) | MultiOp::GetData(_) | MultiOp::GetChildren(_) => panic!("clients send no {op:?}"),
        }
    }

    fn create(&mut self, op: OpCode, request: &CreateRequest<'_>) -> Tried {
        self.check_session()?;
        let mode = CreateMode::from_wire(request.flags).expect("clients send sound modes");
        let wanted = request.path.as_deref().expect("clients send paths");
        let (parent_path, _) = split(wanted);
        let mut parent = self.lookup(parent_path)?;
        let path = if mode.is_sequential() { format!("{wanted}{:010}", parent.created) } else { wanted.to_owned() };
        if self.lookup(&path).is_ok() {
            return Err(ErrorCode::NodeExists);
        }
        if parent.owner != 0 && parent.owner != CONTAINER {
            return Err(ErrorCode::NoChildrenForEphemerals);
        }
        parent.children.insert(split(&path).1.to_owned());
        (parent.created, parent.pzxid) = (parent.created + 1, self.zxid);
        self.change(parent_path, Some(parent));
        let owner = match mode.is_ephemeral() {
            true => self.session,
            false if op == OpCode::CreateContainer => CONTAINER,
            false => 0,
        };
        let (zxid, time) = (self.zxid, self.model.times.now_ms());
        let (data, children) = (request.data.map(<[u8]>::to_vec), BTreeSet::new());
        let (czxid, mzxid, pzxid, ctime, mtime) = (zxid, zxid, zxid, time, time);
        let node = Node { data, children, czxid, mzxid, pzxid, ctime, mtime, version: 0, created: 0, owner };
        let stat = node.stat();
        self.change(&path, Some(node));
        self.changes.push(Change { kind: ChangeKind::Created, path: path.clone() });
        let path = Some(path.into());
        if op == OpCode::Create {
            CreateResponse { path }.encode(&mut self.body);
        } else {
            Create2Response { path, stat }.encode(&mut self.body);
        }
        Ok(())
    }

    fn delete(&mut self, request: &DeleteRequest<'_>) -> Tried {
        self.check_session()?;
        let path = request.path.as_deref().expect("clients send paths");
        let node = self.lookup(path)?;
        check_version(request.version, node.version)?;
        if !node.children.is_empty() {
            return Err(ErrorCode::NotEmpty);
        }
        self.remove(path);
        Ok(())
    }

    fn remove(&mut self, path: &str) {
        let (parent_path, name) = split(path);
        let mut parent = self.lookup(parent_path).expect("every znode has a parent");
        parent.children.remove(name);
        parent.pzxid = self.zxid;
        self.change(parent_path, Some(parent));
        self.change(path, None);
        self.changes.push(Change { kind: ChangeKind::Deleted, path: path.to_owned() });
    }

    fn set_data(&mut self, request: &SetDataRequest<'_>) -> Tried {
        self.check_session()?;
        let path = request.path.as_deref().expect("clients send paths");
        let mut node = self.lookup(path)?;
        check_version(request.version, node.version)?;
        node.data = request.data.map(<[u8]>::to_vec);
        (node.version, node.mzxid, node.mtime) = (node.version + 1, self.zxid, self.model.times.now_ms());
        StatResponse { stat: node.stat() }.encode(&mut self.body);
        self.change(path, Some(node));
        self.changes.push(Change { kind: ChangeKind::DataChanged, path: path.to_owned() });
        Ok(())
    }

    /// Reaps a container on the server's behalf: it must have lost its last child, and must not
    /// have changed since.
    fn reap(&mut self, body: &[u8]) -> Tried {
        let (path, mzxid) = body.split_last_chunk::<8>().expect("the server names a znode and its mzxid");
        let path = Option::<oxkeeper_proto::Text<'_>>::from_bytes(path).ok().flatten().expect("a path");
        let node = self.lookup(&path)?;
        if !node.children.is_empty() {
            return Err(ErrorCode::NotEmpty);
        }
        if node.owner != CONTAINER || node.mzxid != i64::from_be_bytes(*mzxid) {
            return Err(ErrorCode::BadVersion);
        }
        assert!(node.created > 0, "contents: {path} is reaped and never had a child");
        self.remove(&path);
        Ok(())
    }

    /// Changes the members. Clients see only that they change; the leader has appended its ruling
    /// to the request.
    fn reconfig(&mut self, body: &[u8]) -> Tried {
        self.check_session()?;
        match body.last().map_or(0, |&ruling| u32::from(ruling) & !Ruling::ONE_VOTER.0) {
            ruling if ruling == Ruling::SYNCED.0 => {}
            ruling if ruling == Ruling::IN_PROGRESS.0 => return Err(ErrorCode::ReconfigInProgress),
            _ => return Err(ErrorCode::NewConfigNoQuorum),
        }
        self.changes.push(Change { kind: ChangeKind::DataChanged, path: CONFIG.to_owned() });
        Ok(())
    }

    /// Closes the session. The server removes ephemerals in the order of a hash table; the checker
    /// compares their events as a set.
    fn close_session(&mut self) {
        if self.model.sessions.remove(&self.session) {
            self.model.ended.insert(self.session);
            for path in self.model.ephemerals(self.session, self.zxid) {
                self.remove(&path);
            }
        }
    }

    /// Checks that a local session does not create an ephemeral.
    fn check_may_own(&self, request: &CreateRequest<'_>, code: ErrorCode) -> Tried {
        let mode = CreateMode::from_wire(request.flags).expect("clients send sound modes");
        if self.local && mode.is_ephemeral() { Err(code) } else { Ok(()) }
    }

    fn check_session(&self) -> Tried {
        if self.local || self.model.sessions.contains(&self.session) { Ok(()) } else { Err(ErrorCode::SessionExpired) }
    }

    fn lookup(&self, path: &str) -> Result<Node, ErrorCode> {
        self.model.node(path, self.zxid).cloned().ok_or(ErrorCode::NoNode)
    }

    /// Sets a znode and remembers its previous version.
    fn change(&mut self, path: &str, node: Option<Node>) {
        self.undo.push((path.to_owned(), self.model.node(path, self.zxid).cloned()));
        self.set(path, node);
    }

    fn set(&mut self, path: &str, node: Option<Node>) {
        let versions = self.model.nodes.entry(path.to_owned()).or_default();
        versions.retain(|(since, _)| *since < self.zxid);
        versions.push((self.zxid, node));
    }
}

/// Returns the parent and the name of a path.
pub fn split(path: &str) -> (&str, &str) {
    match path.rsplit_once('/') {
        Some(("", name)) => ("/", name),
        Some(parts) => parts,
        None => panic!("{path} is no path"),
    }
}

fn check_version(expected: i32, current: i32) -> Tried {
    if expected == -1 || expected == current { Ok(()) } else { Err(ErrorCode::BadVersion) }
}

fn decoded<'a, T: Jute<'a>>(body: &'a [u8]) -> T {
    T::from_bytes(body).expect("clients send sound requests")
}
