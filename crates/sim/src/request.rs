//! The requests of clients, chosen by the seed and encoded as any client would.

use oxkeeper_proto::multi::{MultiOp, encode_multi};
use oxkeeper_proto::op::{CreateMode, WatcherType, perms};
use oxkeeper_proto::records::{
    Acl, AddWatchRequest, CheckVersionRequest, CreateRequest, DeleteRequest, Id, PathRecord, ReadRequest,
    ReconfigRequest, SetDataRequest, SetWatches2, WatchesRequest,
};
use oxkeeper_proto::{Jute, OpCode, Text};

use crate::check::watches::Lists;
use crate::model::Model;
use crate::random::Random;

/// Paths that clients use: few, so that clients collide.
const PATHS: [&str; 8] = ["/a", "/b", "/a/x", "/a/y", "/b/x", "/a/x/1", "/c", "/c/x"];
/// Length of data that takes more than one sector and several turns, bytes.
const LONG_DATA_LEN: usize = 3_000;

/// A request.
#[derive(Clone, Debug)]
pub enum Request {
    /// A write, with its body.
    Write(OpCode, Vec<u8>),
    /// A path, and whether to set a watch.
    Exists(String, bool),
    /// A path, and whether to set a watch.
    GetData(String, bool),
    /// A path, and whether to set a watch.
    GetChildren(String, bool),
    /// A ping.
    Ping,
    /// The path to sync.
    Sync(String),
    /// The ephemerals of the client's session.
    GetEphemerals,
    /// A path, and whether the watch is recursive in addition to persistent.
    AddWatch(String, bool),
    /// A path, and the kind of watches to remove.
    RemoveWatches(String, WatcherType),
    /// A path, and the kind of watches to check.
    CheckWatches(String, WatcherType),
    /// Watches of an earlier connection, and the last zxid that it saw.
    SetWatches(Lists, i64),
}

impl Request {
    /// Returns a random request of any kind except closeSession.
    pub fn random(random: &mut Random, model: &Model) -> Request {
        let path = any_path(random, model);
        let kinds = [WatcherType::Children, WatcherType::Data, WatcherType::Any, WatcherType::Persistent];
        match random.below(20) {
            0..=8 => Request::random_write(random, model),
            9 | 10 => Request::Exists(path, random.once_in(2)),
            11..=13 => Request::GetData(path, random.once_in(2)),
            14 | 15 => Request::GetChildren(path, random.once_in(2)),
            16 => Request::AddWatch(if random.once_in(4) { "/".to_owned() } else { path }, random.once_in(2)),
            17 => Request::RemoveWatches(path, random.one_of(&kinds)),
            18 => Request::CheckWatches(path, random.one_of(&kinds)),
            _ => [Request::Ping, Request::Sync(path), Request::GetEphemerals][random.place(3)].clone(),
        }
    }

    /// Returns a reconfig request that makes exactly these servers the members.
    pub fn voters(lines: &str) -> Request {
        let new_members = Some(lines.into());
        let request = ReconfigRequest { joining_servers: None, leaving_servers: None, new_members, cur_config_id: -1 };
        let mut body = Vec::new();
        request.encode(&mut body);
        Request::Write(OpCode::Reconfig, body)
    }

    fn random_write(random: &mut Random, model: &Model) -> Request {
        let mut body = Vec::new();
        let op = match random.below(20) {
            0..=9 => {
                let op = random.one_of(&[OpCode::Create, OpCode::Create2, OpCode::CreateContainer]);
                let (path, data) = (any_path(random, model), data(random));
                create(op, random, &path, &data).encode(&mut body);
                op
            }
            10..=13 => {
                let (path, version) = (any_path(random, model), version(random));
                DeleteRequest { path: Some(path.into()), version }.encode(&mut body);
                OpCode::Delete
            }
            14..=17 => {
                let (path, version, data) = (any_path(random, model), version(random), data(random));
                let data = (!random.once_in(8)).then_some(&*data);
                SetDataRequest { path: Some(path.into()), data, version }.encode(&mut body);
                OpCode::SetData
            }
            _ => {
                multi(random, model, &mut body);
                OpCode::Multi
            }
        };
        Request::Write(op, body)
    }

    /// Returns the operation code on the wire.
    pub fn op(&self) -> OpCode {
        match self {
            Request::Write(op, _) => *op,
            Request::Exists(..) => OpCode::Exists,
            Request::GetData(..) => OpCode::GetData,
            Request::GetChildren(..) => OpCode::GetChildren2,
            Request::Ping => OpCode::Ping,
            Request::Sync(_) => OpCode::Sync,
            Request::GetEphemerals => OpCode::GetEphemerals,
            Request::AddWatch(..) => OpCode::AddWatch,
            Request::RemoveWatches(..) => OpCode::RemoveWatches,
            Request::CheckWatches(..) => OpCode::CheckWatches,
            Request::SetWatches(..) => OpCode::SetWatches2,
        }
    }

    /// Appends the body.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Request::Write(_, body) => out.extend_from_slice(body),
            Request::Exists(path, watch) | Request::GetData(path, watch) | Request::GetChildren(path, watch) => {
                ReadRequest { path: text(path), watch: *watch }.encode(out);
            }
            Request::Ping => {}
            Request::Sync(path) => PathRecord { path: text(path) }.encode(out),
            Request::GetEphemerals => PathRecord { path: text("/") }.encode(out),
            Request::AddWatch(path, recursive) => {
                AddWatchRequest { path: text(path), mode: i32::from(*recursive) }.encode(out);
            }
            Request::RemoveWatches(path, kind) | Request::CheckWatches(path, kind) => {
                WatchesRequest { path: text(path), watcher_type: kind.wire() }.encode(out);
            }
            Request::SetWatches(lists, relative_zxid) => {
                SetWatches2 {
                    relative_zxid: *relative_zxid,
                    data_watches: texts(&lists.data),
                    exist_watches: texts(&lists.exist),
                    child_watches: texts(&lists.child),
                    persistent_watches: texts(&lists.persistent),
                    persistent_recursive_watches: texts(&lists.recursive),
                }
                .encode(out);
            }
        }
    }
}

fn text(path: &str) -> Option<Text<'_>> {
    Some(path.into())
}

fn texts(paths: &[String]) -> Option<Vec<Option<Text<'_>>>> {
    Some(paths.iter().map(|path| text(path)).collect())
}

/// Returns one of [`PATHS`], or a path that exists.
fn any_path(random: &mut Random, model: &Model) -> String {
    let there: Vec<&str> = model.paths(model.zxid()).map(|(path, _)| path).collect();
    let ours: Vec<&str> = there.into_iter().filter(|path| path.len() > 1 && !path.starts_with("/zookeeper")).collect();
    match ours.is_empty() || random.once_in(2) {
        true => random.one_of(&PATHS).to_owned(),
        false => random.one_of(&ours).to_owned(),
    }
}

fn data(random: &mut Random) -> Vec<u8> {
    let len = if random.once_in(30) { LONG_DATA_LEN } else { random.place(40) };
    vec![random.any() as u8; len]
}

fn version(random: &mut Random) -> i32 {
    if random.once_in(3) { random.below(3) as i32 } else { -1 }
}

fn create<'a>(op: OpCode, random: &mut Random, path: &'a str, data: &'a [u8]) -> CreateRequest<'a> {
    let modes = [
        CreateMode::Persistent,
        CreateMode::Persistent,
        CreateMode::Ephemeral,
        CreateMode::Ephemeral,
        CreateMode::PersistentSequential,
        CreateMode::EphemeralSequential,
    ];
    let mode = if op == OpCode::CreateContainer { CreateMode::Container } else { random.one_of(&modes) };
    let everyone = Id { scheme: Some("world".into()), id: Some("anyone".into()) };
    let acl = Some(vec![Acl { perms: perms::ALL, id: everyone }]);
    CreateRequest { path: text(path), data: Some(data), acl, flags: mode.wire() }
}

fn multi(random: &mut Random, model: &Model, body: &mut Vec<u8>) {
    let parts: Vec<_> = (0..random.within(1, 4)).map(|_| (any_path(random, model), data(random))).collect();
    let ops: Vec<MultiOp<'_>> = parts
        .iter()
        .map(|(path, data)| match random.below(8) {
            0..=2 => MultiOp::Create(OpCode::Create, create(OpCode::Create, random, path, data)),
            3 | 4 => MultiOp::Delete(DeleteRequest { path: text(path), version: -1 }),
            5 | 6 => MultiOp::SetData(SetDataRequest { path: text(path), data: Some(data), version: -1 }),
            _ => MultiOp::Check(CheckVersionRequest { path: text(path), version: version(random) }),
        })
        .collect();
    encode_multi(&ops, body);
}
