//! The conformance trace: rows that a raw client recorded from Apache ZooKeeper, limited to those
//! that the state machine decides.
//!
//! Each write takes one zxid, even if it fails; reads and sync take none.

use oxkeeper_proto::multi::{MULTI_END, encode_multi_error};
use oxkeeper_proto::records::{
    Acl, CheckVersionRequest, Create2Response, CreateRequest, CreateResponse, CreateTtlRequest, DeleteRequest,
    GetDataResponse, Id, MultiHeader, PathRecord, ReconfigRequest, SetDataRequest, Stat,
};
use oxkeeper_proto::{Jute, OpCode, Reader, SessionId};
use oxkeeper_state::{Caller, Command, Identities, Settings, State};

const SESSION: SessionId = SessionId(0x100_0000_0000_0001);
const OTHER: SessionId = SessionId(0x100_0000_0000_0002);

/// A server with `extendedTypesEnabled` and `enforceQuota`, and one client.
struct Trace {
    state: State,
    session: SessionId,
    identities: Vec<u8>,
}

fn settings() -> Settings {
    Settings::EXTENDED_TYPES.with(Settings::ENFORCE_QUOTA)
}

fn id<'a>(scheme: &'a str, id: &'a str) -> Id<'a> {
    Id { scheme: Some(scheme.into()), id: Some(id.into()) }
}

fn acl<'a>(perms: i32, scheme: &'a str, name: &'a str) -> Option<Vec<Acl<'a>>> {
    Some(vec![Acl { perms, id: id(scheme, name) }])
}

fn open() -> Option<Vec<Acl<'static>>> {
    acl(31, "world", "anyone")
}

fn bytes<'a>(record: impl Jute<'a>) -> Vec<u8> {
    let mut out = Vec::new();
    record.encode(&mut out);
    out
}

fn create<'a>(path: &'a str, flags: i32) -> CreateRequest<'a> {
    CreateRequest { path: Some(path.into()), data: Some(b"d"), acl: open(), flags }
}

fn create_ttl(path: &str, flags: i32, ttl: i64) -> Vec<u8> {
    bytes(CreateTtlRequest { path: Some(path.into()), data: None, acl: open(), flags, ttl })
}

fn delete(path: &str, version: i32) -> Vec<u8> {
    bytes(DeleteRequest { path: Some(path.into()), version })
}

fn set_data(path: &str, version: i32) -> Vec<u8> {
    bytes(SetDataRequest { path: Some(path.into()), data: Some(b"e"), version })
}

fn multi(ops: &[(OpCode, Vec<u8>)]) -> Vec<u8> {
    let mut out = Vec::new();
    for (op, body) in ops {
        MultiHeader { op: op.wire(), done: false, err: -1 }.encode(&mut out);
        out.extend(body);
    }
    MULTI_END.encode(&mut out);
    out
}

impl Trace {
    fn new() -> Trace {
        let identities = bytes(id("ip", "127.0.0.1"));
        let mut trace = Trace { state: State::new(1), session: SESSION, identities };
        for session in [SESSION, OTHER] {
            trace.session = session;
            trace.write(OpCode::CreateSession, &6000i32.to_be_bytes(), 0);
        }
        trace.session = SESSION;
        trace
    }

    fn apply(&mut self, op: OpCode, body: &[u8]) -> (i32, Vec<u8>) {
        let (session, settings, identities) = (self.session, settings(), Identities(&self.identities));
        let mut reply = Vec::new();
        let command = Command { from: None, session, xid: 1, op, settings, identities, body };
        let result = self.state.apply(&command, 1_000, &mut reply, &mut ());
        (result.map_or_else(|code| code.wire(), |()| 0), reply)
    }

    /// Checks a row: its code, and that it took one zxid.
    fn write(&mut self, op: OpCode, body: &[u8], code: i32) -> Vec<u8> {
        let before = self.state.zxid().0;
        let (actual, reply) = self.apply(op, body);
        assert_eq!((actual, self.state.zxid().0), (code, before + 1), "{op:?} {}", String::from_utf8_lossy(body));
        reply
    }

    fn caller(&self) -> Caller<'_> {
        Caller { identities: Identities(&self.identities), settings: settings() }
    }

    fn exists(&self, path: &str) -> Stat {
        self.state.exists(path, &self.caller()).expect(path)
    }

    fn read_code(&self, path: &str) -> i32 {
        self.state.get_data(path, &self.caller(), &mut Vec::new()).map_or_else(|code| code.wire(), |()| 0)
    }
}

#[test]
fn the_system_znodes() {
    let trace = Trace::new();
    let root = trace.exists("/");
    assert_eq!((root.cversion, root.num_children), (-1, 1));
    assert_eq!((root.czxid, root.mzxid, root.pzxid, root.ctime, root.mtime), (0, 0, 0, 0, 0));
    let zookeeper = trace.exists("/zookeeper");
    assert_eq!((zookeeper.cversion, zookeeper.num_children), (-2, 2));
    assert_eq!(trace.exists("/zookeeper/config").aversion, -1);
    assert_eq!(trace.state.all_children_number("/", &trace.caller()).map_err(|code| code.wire()), Ok(3));
}

#[test]
fn creates() {
    let mut trace = Trace::new();
    trace.write(OpCode::Create, &bytes(create("/a", 0)), 0);
    trace.write(OpCode::Create, &bytes(CreateRequest { data: None, ..create("/nul", 0) }), 0);
    let mut reply = Vec::new();
    trace.state.get_data("/nul", &trace.caller(), &mut reply).expect("just created");
    assert_eq!(reply[..4], (-1i32).to_be_bytes());
    assert_eq!(GetDataResponse::from_bytes(&reply).expect("a record").stat.data_length, 0);
    trace.write(OpCode::Create, &bytes(create("/a", 0)), -110);
    trace.write(OpCode::Create, &bytes(create("/f", 9)), -8);
    for acl in [None, Some(vec![]), acl(31, "foo", "x"), acl(31, "world", "bar"), acl(31, "auth", "")] {
        trace.write(OpCode::Create, &bytes(CreateRequest { acl: acl.clone(), ..create("/f", 0) }), -114);
        trace.write(OpCode::Create, &bytes(CreateRequest { acl, ..create("/no/x", 0) }), -114);
    }
    trace.write(OpCode::Create, &bytes(create("/no/x", 0)), -101);
    trace.write(OpCode::Create, &bytes(create("/a/", 0)), -8);
    trace.write(OpCode::Create, &bytes(create("abc", 0)), -8);
    trace.write(OpCode::Create, &bytes(CreateRequest { path: None, ..create("", 0) }), -5);
    trace.write(OpCode::Create, &bytes(create("/", 0)), -110);
    trace.write(OpCode::Create, &bytes(create("/a/first", 0)), 0);
    let reply = trace.write(OpCode::Create, &bytes(create("/a/", 2)), 0);
    assert_eq!(CreateResponse::from_bytes(&reply).expect("a record").path.as_deref(), Some("/a/0000000001"));
}

#[test]
fn a_child_shows_in_its_parent() {
    let mut trace = Trace::new();
    trace.write(OpCode::Create, &bytes(create("/a", 0)), 0);
    let reply = trace.write(OpCode::Create2, &bytes(create("/a/b", 0)), 0);
    let Create2Response { path, stat } = Jute::from_bytes(&reply).expect("a record");
    let zxid = trace.state.zxid().0;
    assert_eq!((path.as_deref(), stat.czxid, stat.mzxid, stat.pzxid), (Some("/a/b"), zxid, zxid, zxid));
    let above = trace.exists("/a");
    assert_eq!((above.cversion, above.num_children, above.pzxid), (1, 1, zxid));
    trace.write(OpCode::Delete, &delete("/a/b", -1), 0);
    let above = trace.exists("/a");
    assert_eq!((above.cversion, above.num_children, above.pzxid), (2, 0, zxid + 1));
}

#[test]
fn a_path_is_a_name_not_a_walk() {
    let mut trace = Trace::new();
    trace.write(OpCode::Create, &bytes(create("/a", 0)), 0);
    trace.write(OpCode::Delete, &delete("//a", -1), -101);
    trace.exists("/a");
    trace.write(OpCode::Delete, &delete("/a", -1), 0);
    trace.state.check();
}

#[test]
fn containers_ttls_and_ephemerals() {
    let mut trace = Trace::new();
    let owner = |reply: Vec<u8>| Create2Response::from_bytes(&reply).expect("a record").stat.ephemeral_owner;
    assert_eq!(owner(trace.write(OpCode::CreateContainer, &bytes(create("/c", 0)), 0)), 0);
    assert_eq!(owner(trace.write(OpCode::CreateTtl, &create_ttl("/t", 5, 1000), 0)), 0);
    trace.write(OpCode::CreateTtl, &create_ttl("/u", 5, 0), -8);
    trace.write(OpCode::CreateTtl, &create_ttl("/u", 0, 5), -8);
    assert_eq!(owner(trace.write(OpCode::Create2, &bytes(create("/e", 1)), 0)), SESSION.0);
    trace.write(OpCode::Create, &bytes(create("/e/x", 0)), -108);
    trace.write(OpCode::CloseSession, &[], 0);
    assert_eq!(trace.read_code("/e"), -101);
}

#[test]
fn deletes_and_sets() {
    let mut trace = Trace::new();
    trace.write(OpCode::Create, &bytes(create("/a", 0)), 0);
    trace.write(OpCode::Delete, &delete("/zookeeper", -1), -8);
    trace.write(OpCode::Delete, &delete("/", -1), -8);
    trace.write(OpCode::SetData, &set_data("/zookeeper/config", -1), -102);
    trace.write(OpCode::SetData, &set_data("/a", 5), -103);
    trace.write(OpCode::SetData, &set_data("/a/", -1), -8);
    let none = ReconfigRequest { joining_servers: None, leaving_servers: None, new_members: None, cur_config_id: -1 };
    trace.write(OpCode::Reconfig, &bytes(none), -123);
}

#[test]
fn reads_and_syncs_take_no_zxid() {
    let mut trace = Trace::new();
    trace.write(OpCode::Create, &bytes(create("/a", 0)), 0);
    let before = trace.state.zxid();
    assert_eq!(["/a/", "xyz", ""].map(|path| trace.read_code(path)), [-101, -101, 0]);
    assert_eq!(trace.state.all_children_number("/none", &trace.caller()).map_err(|code| code.wire()), Err(-101));
    for path in [Some("/whatever".into()), None] {
        let body = bytes(PathRecord { path });
        assert_eq!(trace.apply(OpCode::Sync, &body), (0, body));
    }
    assert_eq!(trace.state.zxid(), before);
}

#[test]
fn multis() {
    let mut trace = Trace::new();
    let check = |path: &str, version| bytes(CheckVersionRequest { path: Some(path.into()), version });
    let reply = trace.write(
        OpCode::Multi,
        &multi(&[
            (OpCode::Create, bytes(create("/m", 0))),
            (OpCode::Create2, bytes(create("/m/2", 0))),
            (OpCode::Check, check("/m", 0)),
            (OpCode::SetData, set_data("/m", 0)),
            (OpCode::Delete, delete("/m/2", -1)),
            (OpCode::CreateContainer, bytes(create("/m/c", 0))),
            (OpCode::CreateTtl, create_ttl("/m/t", 5, 9)),
        ]),
        0,
    );
    assert_eq!(types(&reply), [1, 15, 13, 5, 2, 15, 15]);

    let ops =
        [(OpCode::Create, bytes(create("/x", 0))), (OpCode::Check, check("/m", 9)), (OpCode::Delete, delete("/m", -1))];
    let reply = trace.write(OpCode::Multi, &multi(&ops), 0);
    let failed = |codes: &[i32]| {
        let mut out = Vec::new();
        codes.iter().for_each(|&code| encode_multi_error(code, &mut out));
        MULTI_END.encode(&mut out);
        out
    };
    assert_eq!(reply, failed(&[0, -103, -2]));
    assert_eq!(trace.read_code("/x"), -101);

    assert_eq!(trace.write(OpCode::Multi, &multi(&[]), 0), multi(&[]));
    let read = bytes(PathRecord { path: Some("/m".into()) });
    trace.write(OpCode::Multi, &multi(&[(OpCode::GetData, [read, vec![0]].concat())]), -5);
    trace.write(OpCode::Multi, &multi(&[(OpCode::DeleteContainer, bytes(PathRecord { path: None }))]), -5);
    trace.write(OpCode::Multi, &multi(&[(OpCode::Delete, bytes(DeleteRequest { path: None, version: -1 }))]), -5);
}

/// Returns the types of the results of a multi that succeeded, up to its end.
fn types(reply: &[u8]) -> Vec<i32> {
    let reader = &mut Reader::new(reply);
    let mut types = Vec::new();
    loop {
        let header = MultiHeader::decode(reader).expect("a header");
        if header.done {
            assert_eq!((header, reader.rest()), (MULTI_END, &[][..]));
            return types;
        }
        match header.op {
            1 => drop(CreateResponse::decode(reader).expect("a path")),
            15 => drop(Create2Response::decode(reader).expect("a path and a Stat")),
            5 => drop(Stat::decode(reader).expect("a Stat")),
            _ => {}
        }
        types.push(header.op);
    }
}

#[test]
fn a_multi_sees_its_own_sequence_numbers() {
    let mut trace = Trace::new();
    let ops = [
        (OpCode::Create, bytes(create("/s", 0))),
        (OpCode::Create, bytes(create("/s/n-", 2))),
        (OpCode::Create, bytes(create("/s/n-", 2))),
        (OpCode::Delete, delete("/s/n-0000000000", -1)),
        (OpCode::Create, bytes(create("/s/n-", 3))),
    ];
    trace.write(OpCode::Multi, &multi(&ops), 0);
    for path in ["/s/n-0000000001", "/s/n-0000000002"] {
        assert_eq!(trace.read_code(path), 0, "{path}");
    }
    let parent = trace.exists("/s");
    assert_eq!((parent.cversion, parent.num_children), (4, 2));
}

#[test]
fn permissions() {
    let mut trace = Trace::new();
    let bob = acl(31, "digest", "bob:x=");
    trace.write(OpCode::Create, &bytes(CreateRequest { acl: bob, ..create("/bobs", 0) }), 0);
    trace.session = OTHER;
    let caller = trace.caller();
    let code = |result: Result<(), oxkeeper_proto::ErrorCode>| result.map_or_else(|code| code.wire(), |()| 0);
    assert_eq!(trace.read_code("/bobs"), -102);
    assert_eq!(code(trace.state.get_acl("/bobs", &caller, &mut vec![])), -102);
    assert_eq!(code(trace.state.get_children("/bobs", &caller, false, &mut vec![])), -102);
    assert_eq!(code(trace.state.exists("/bobs", &caller).map(drop)), -102);
    trace.write(OpCode::Delete, &delete("/bobs", -1), 0);
}

#[test]
fn hard_quotas_refuse() {
    let mut trace = Trace::new();
    let with = |path: &'static str, data: &'static [u8]| bytes(CreateRequest { data: Some(data), ..create(path, 0) });
    trace.write(OpCode::Create, &with("/q", b"0"), 0);
    trace.write(OpCode::Create, &with("/zookeeper/quota/q", b""), 0);
    let limits = b"count=-1,bytes=-1=;byteHardLimit=-1;countHardLimit=2";
    trace.write(OpCode::Create, &with("/zookeeper/quota/q/zookeeper_limits", limits), 0);
    trace.write(OpCode::Create, &with("/zookeeper/quota/q/zookeeper_stats", b"count=0,bytes=0"), 0);
    trace.write(OpCode::Create, &with("/q/1", b"1"), 0);
    trace.write(OpCode::Create, &with("/q/2", b"2"), -125);
    let mut reply = Vec::new();
    trace.state.get_data("/zookeeper/quota/q/zookeeper_stats", &trace.caller(), &mut reply).expect("it exists");
    let GetDataResponse { data, stat } = Jute::from_bytes(&reply).expect("a record");
    assert_eq!((data, stat.version), (Some(&b"count=2,bytes=2"[..]), 0));
}
