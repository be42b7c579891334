//! Requests that the model understands, their encoding, and their random generation.

use oxkeeper_proto::multi::MULTI_END;
use oxkeeper_proto::records::{
    Acl, CheckVersionRequest, CreateRequest, CreateTtlRequest, DeleteRequest, Id, MultiHeader, PathRecord,
    ReconfigRequest, SetAclRequest, SetDataRequest,
};
use oxkeeper_proto::{Jute, OpCode, SessionId};
use oxkeeper_state::{Command, Expendable, Identities, Settings};
use proptest::collection::vec;
use proptest::option::weighted;
use proptest::prelude::*;
use proptest::sample::{Index, select};

/// An ACL entry.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Entry {
    pub(crate) perms: i32,
    pub(crate) scheme: Option<String>,
    pub(crate) id: Option<String>,
}

/// An identity of a connection.
#[derive(Clone, Debug)]
pub(crate) struct Identity {
    pub(crate) scheme: String,
    pub(crate) id: String,
}

/// The session, the settings and the caller of a request.
#[derive(Clone, Debug)]
pub(crate) struct Order {
    pub(crate) session: i64,
    pub(crate) settings: u32,
    pub(crate) identities: Vec<Identity>,
}

/// A request.
#[derive(Clone, Debug)]
pub(crate) enum Ask {
    Create { op: i32, path: Option<String>, data: Option<Vec<u8>>, acl: Option<Vec<Entry>>, flags: i32, ttl: i64 },
    Delete { path: Option<String>, version: i32 },
    SetData { path: Option<String>, data: Option<Vec<u8>>, version: i32 },
    SetAcl { path: Option<String>, acl: Option<Vec<Entry>>, version: i32 },
    Check { path: Option<String>, version: i32 },
    Multi(Vec<Ask>),
    CreateSession(i32),
    CloseSession,
    Reap { path: String, mzxid: i64 },
    Reconfig,
    Sync(Option<String>),
}

impl Ask {
    pub(crate) fn path(&self) -> Option<&str> {
        match self {
            Ask::Create { path, .. }
            | Ask::Delete { path, .. }
            | Ask::SetData { path, .. }
            | Ask::SetAcl { path, .. }
            | Ask::Check { path, .. }
            | Ask::Sync(path) => path.as_deref(),
            Ask::Reap { path, .. } => Some(path),
            Ask::Multi(_) | Ask::CreateSession(_) | Ask::CloseSession | Ask::Reconfig => None,
        }
    }

    pub(crate) fn op(&self) -> OpCode {
        match self {
            Ask::Create { op, .. } => OpCode::from_wire(*op).expect("a create"),
            Ask::Delete { .. } => OpCode::Delete,
            Ask::SetData { .. } => OpCode::SetData,
            Ask::SetAcl { .. } => OpCode::SetAcl,
            Ask::Check { .. } => OpCode::Check,
            Ask::Multi(_) => OpCode::Multi,
            Ask::CreateSession(_) => OpCode::CreateSession,
            Ask::CloseSession => OpCode::CloseSession,
            Ask::Reap { .. } => OpCode::DeleteContainer,
            Ask::Reconfig => OpCode::Reconfig,
            Ask::Sync(_) => OpCode::Sync,
        }
    }

    pub(crate) fn body(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.put(&mut out);
        out
    }

    fn put(&self, out: &mut Vec<u8>) {
        match self {
            Ask::Create { op: 21, path, data, acl, flags, ttl } => {
                let (path, data) = (text(path), data.as_deref());
                CreateTtlRequest { path, data, acl: acls(acl), flags: *flags, ttl: *ttl }.encode(out);
            }
            Ask::Create { path, data, acl, flags, .. } => {
                CreateRequest { path: text(path), data: data.as_deref(), acl: acls(acl), flags: *flags }.encode(out);
            }
            Ask::Delete { path, version } => DeleteRequest { path: text(path), version: *version }.encode(out),
            Ask::SetData { path, data, version } => {
                SetDataRequest { path: text(path), data: data.as_deref(), version: *version }.encode(out);
            }
            Ask::SetAcl { path, acl, version } => {
                SetAclRequest { path: text(path), acl: acls(acl), version: *version }.encode(out);
            }
            Ask::Check { path, version } => CheckVersionRequest { path: text(path), version: *version }.encode(out),
            Ask::Multi(asks) => {
                for ask in asks {
                    MultiHeader { op: ask.op().wire(), done: false, err: -1 }.encode(out);
                    ask.put(out);
                }
                MULTI_END.encode(out);
            }
            Ask::CreateSession(timeout) => timeout.encode(out),
            Ask::CloseSession => {}
            Ask::Reap { path, mzxid } => out.extend(Expendable { path: path.clone(), mzxid: *mzxid }.encode()),
            Ask::Reconfig => {
                let none = ReconfigRequest {
                    joining_servers: None,
                    leaving_servers: None,
                    new_members: None,
                    cur_config_id: -1,
                };
                none.encode(out);
            }
            Ask::Sync(path) => PathRecord { path: text(path) }.encode(out),
        }
    }
}

impl Order {
    pub(crate) fn identity_bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        for Identity { scheme, id } in &self.identities {
            Id { scheme: Some(scheme.into()), id: Some(id.into()) }.encode(&mut out);
        }
        out
    }

    pub(crate) fn command<'a>(&self, op: OpCode, identities: &'a [u8], body: &'a [u8]) -> Command<'a> {
        let (session, settings) = (SessionId(self.session), Settings(self.settings));
        Command { from: None, session, xid: 7, op, settings, identities: Identities(identities), body }
    }
}

fn text(path: &Option<String>) -> Option<oxkeeper_proto::Text<'_>> {
    path.as_deref().map(Into::into)
}

fn acls(acl: &Option<Vec<Entry>>) -> Option<Vec<Acl<'_>>> {
    let entry =
        |entry: &Entry| Acl { perms: entry.perms, id: Id { scheme: text2(&entry.scheme), id: text2(&entry.id) } };
    fn text2<'a>(text: &Option<String>) -> Option<oxkeeper_proto::Text<'a>> {
        text.clone().map(Into::into)
    }
    acl.as_ref().map(|acl| acl.iter().map(entry).collect())
}

// Random requests.

/// A request whose path may stand for an existing znode.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    pub(crate) order: Order,
    pub(crate) ask: Ask,
    /// Selects the existing znodes that paths marked by [`EXISTING`] stand for.
    pub(crate) pick: Index,
    /// Time that passed since the previous step, ms.
    pub(crate) waited: i64,
}

/// Placeholder for the path of an existing znode, at the start of a path.
pub(crate) const EXISTING: char = '*';

const ALICE: &str = "alice:wIDLPZpZXlLKkbyD4EYeOxzr8cQ=";
pub(crate) const SESSIONS: [i64; 3] = [0x100_0000_0000_0001, 0x100_0000_0000_0002, 0x200_0000_0000_0003];

pub(crate) fn identity(scheme: &str, id: &str) -> Identity {
    Identity { scheme: scheme.into(), id: id.into() }
}

pub(crate) fn entry(perms: i32, scheme: &str, id: &str) -> Entry {
    Entry { perms, scheme: Some(scheme.into()), id: Some(id.into()) }
}

pub(crate) fn orders() -> impl Strategy<Value = Order> {
    let callers = vec![
        vec![identity("ip", "127.0.0.1")],
        vec![identity("ip", "127.0.0.1")],
        vec![identity("ip", "10.1.2.3"), identity("digest", ALICE)],
        vec![identity("digest", "bob:x="), identity("digest", ALICE), identity("sasl", "carol")],
        vec![identity("ip", "127.0.0.1"), identity("super", "")],
        vec![],
    ];
    let sessions = select(vec![SESSIONS[0], SESSIONS[0], SESSIONS[1], SESSIONS[2], 0x99]);
    // Bits: extended types 1, quotas 2, skipACL 4, x509 8, sasl 16, no digest 32, reconfig 64, local session 128.
    let settings = prop_oneof![8 => Just(3u32), 2 => Just(19u32), 3 => 0..256u32, 1 => any::<u32>()];
    (sessions, settings, select(callers)).prop_map(|(session, settings, identities)| Order {
        session,
        settings,
        identities,
    })
}

fn paths() -> impl Strategy<Value = Option<String>> {
    let fixed = [
        "/a",
        "/a",
        "/b",
        "/a/b",
        "/a/b",
        "/a/c",
        "/b/ä",
        "/a/b/c d",
        "/q",
        "/q/r",
        "/",
        "",
        "//",
        "/a/",
        "/b//c",
        "a",
        "/.",
        "/a/..",
        "/a/.b",
        "/a\0",
        "/a/\u{1}",
        "/\u{e000}",
        "/😀",
        "/zookeeper",
        "/zookeeper/quota",
        "/zookeeper/config",
        "/zookeeper/x",
        "/no/x",
    ];
    let existing = ["*", "*", "*", "*/a", "*/b", "*/s-", "*/s-", "*/", "*/zookeeper_limits", "*/zookeeper_stats"];
    prop_oneof![
        1 => Just(None),
        40 => select(fixed.to_vec()).prop_map(|path| Some(path.to_owned())),
        60 => select(existing.to_vec()).prop_map(|path| Some(path.to_owned())),
    ]
}

fn data() -> impl Strategy<Value = Option<Vec<u8>>> {
    let texts = [
        "count=1,bytes=2",
        "count=-1,bytes=-1=;byteHardLimit=9;countHardLimit=3",
        "count=,bytes=x;;=4,k",
        "count=9223372036854775807,bytes=1",
    ];
    prop_oneof![
        1 => Just(None),
        1 => Just(Some(vec![])),
        4 => vec(any::<u8>(), 0..12).prop_map(Some),
        1 => select(texts.to_vec()).prop_map(|text| Some(text.as_bytes().to_vec())),
    ]
}

fn acl_entries() -> impl Strategy<Value = Entry> {
    let ids = vec![
        ("world", "anyone"),
        ("world", "anyone"),
        ("world", "bar"),
        ("auth", ""),
        ("digest", ALICE),
        ("digest", "bob:x="),
        ("digest", "u:"),
        ("digest", ":x"),
        ("digest", "a:b:c"),
        ("ip", "127.0.0.1"),
        ("ip", "10.0.0.0/8"),
        ("ip", "1.2.3"),
        ("sasl", "carol"),
        ("foo", "bar"),
        ("super", ""),
        ("x509", "CN=dave"),
    ];
    let perms = prop_oneof![4 => Just(31), 4 => 0..32i32, 1 => any::<i32>()];
    let known = (perms, select(ids)).prop_map(|(perms, (scheme, id))| entry(perms, scheme, id));
    prop_oneof![
        40 => known,
        2 => Just(Entry { perms: 31, scheme: None, id: None }),
        2 => Just(Entry { perms: 31, scheme: Some("world".into()), id: None }),
        2 => Just(Entry { perms: 31, scheme: Some("auth".into()), id: None }),
        2 => Just(Entry { perms: 31, scheme: Some("ip".into()), id: None }),
    ]
}

/// Generates lists that any caller may store, and that grant each caller different permissions.
fn valid_acl() -> impl Strategy<Value = Option<Vec<Entry>>> {
    let ids = vec![("world", "anyone"), ("ip", "127.0.0.1"), ("ip", "10.0.0.0/8"), ("digest", ALICE)];
    let entries = (0..32i32, select(ids)).prop_map(|(perms, (scheme, id))| entry(perms, scheme, id));
    vec(entries, 1..3).prop_map(Some)
}

fn acl() -> impl Strategy<Value = Option<Vec<Entry>>> {
    let open = Just(Some(vec![entry(31, "world", "anyone")]));
    let random = weighted(0.95, vec(acl_entries(), 0..4));
    prop_oneof![6 => open, 2 => valid_acl(), 2 => random]
}

fn versions() -> impl Strategy<Value = i32> {
    prop_oneof![4 => Just(-1), 2 => 0..3i32, 1 => any::<i32>()]
}

fn creates() -> impl Strategy<Value = Ask> {
    let flags = prop_oneof![12 => 0..7i32, 1 => 7..9i32, 1 => Just(-1)];
    let ttl =
        prop_oneof![2 => Just(-1i64), 4 => 1..200i64, 1 => Just(0), 1 => Just(0xff_ffff_ffff), 1 => Just(1 << 40)];
    (select(vec![1, 1, 15, 19, 21]), paths(), data(), acl(), flags, ttl)
        .prop_map(|(op, path, data, acl, flags, ttl)| Ask::Create { op, path, data, acl, flags, ttl })
}

fn multi_asks() -> impl Strategy<Value = Ask> {
    let delete = (paths(), versions()).prop_map(|(path, version)| Ask::Delete { path, version });
    let set = (paths(), data(), versions()).prop_map(|(path, data, version)| Ask::SetData { path, data, version });
    let check = (paths(), versions()).prop_map(|(path, version)| Ask::Check { path, version });
    prop_oneof![5 => creates(), 2 => delete, 2 => set, 1 => check]
}

/// Generates creates and deletes that most likely succeed.
fn likely_asks() -> impl Strategy<Value = Ask> {
    let paths = select(vec!["/a", "/b", "/a/b", "*/s-", "/q/r", "*/a"]).prop_map(|path| Some(path.to_owned()));
    let acl = prop_oneof![3 => Just(Some(vec![entry(31, "world", "anyone")])), 1 => valid_acl()];
    let create = (paths, data(), acl, select(vec![0, 0, 1, 2, 3, 4]))
        .prop_map(|(path, data, acl, flags)| Ask::Create { op: 1, path, data, acl, flags, ttl: -1 });
    prop_oneof![3 => create, 1 => Just(Ask::Delete { path: Some(EXISTING.to_string()), version: -1 })]
}

/// Generates data changes of znodes that exist and are counted.
fn likely_sets() -> impl Strategy<Value = Ask> {
    let path = select(vec!["/q", "/q/r"]).prop_map(|path| Some(path.to_owned()));
    (path, vec(any::<u8>(), 0..20)).prop_map(|(path, data)| Ask::SetData { path, data: Some(data), version: -1 })
}

fn asks() -> impl Strategy<Value = Ask> {
    let set_acl = (paths(), acl(), versions()).prop_map(|(path, acl, version)| Ask::SetAcl { path, acl, version });
    let multi = vec(prop_oneof![1 => likely_asks(), 1 => multi_asks()], 0..6).prop_map(Ask::Multi);
    let reap = paths().prop_map(|path| Ask::Reap { path: path.unwrap_or_default(), mzxid: 0 });
    prop_oneof![
        24 => multi_asks(),
        12 => likely_asks(),
        3 => likely_sets(),
        4 => set_acl,
        8 => multi,
        2 => Just(Ask::CreateSession(4000)),
        2 => Just(Ask::CloseSession),
        3 => reap,
        1 => Just(Ask::Reconfig),
        1 => paths().prop_map(Ask::Sync),
    ]
}

pub(crate) fn steps(count: impl Into<proptest::collection::SizeRange>) -> impl Strategy<Value = Vec<Step>> {
    // The clock goes back occasionally.
    let waited = prop_oneof![20 => 0..100i64, 1 => -20_000..0i64];
    let step = (orders(), asks(), any::<Index>(), waited).prop_map(|(order, ask, pick, waited)| Step {
        order,
        ask,
        pick,
        waited,
    });
    vec(step, count)
}
