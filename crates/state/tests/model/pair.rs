//! A state and a model that get the same commands and are compared.

use std::collections::BTreeSet;

use oxkeeper_proto::multi::MULTI_END;
use oxkeeper_proto::records::{
    Acl, Create2Response, CreateResponse, ErrorResponse, GetAclResponse, GetChildren2Response, GetDataResponse,
    GetEphemeralsResponse, MultiHeader, PathRecord, Stat,
};
use oxkeeper_proto::{Jute, Reader, SessionId};
use oxkeeper_state::{Caller, Change, ChangeKind, ChangeSink, Identities, Settings, State};

use crate::model::{Kind, Model, Reply, Told};
use crate::request::{Ask, EXISTING, Entry, Order, SESSIONS, Step, entry, identity};

/// ChangeSink that records all changes.
#[derive(Default)]
pub(crate) struct Listener(pub(crate) Vec<Told>);

impl ChangeSink for Listener {
    fn changed(&mut self, change: Change<'_>) {
        let kind = match change.kind {
            ChangeKind::Created => Kind::Created,
            ChangeKind::Deleted => Kind::Deleted,
            ChangeKind::DataChanged => Kind::DataChanged,
        };
        // Data changes do not concern watchers of the parent.
        let parent_acl = change.parent_acl.filter(|_| kind != Kind::DataChanged);
        self.0.push(Told {
            kind,
            path: change.path.to_owned(),
            zxid: change.zxid.0,
            acl: change.acl.map(|acl| entries(acl)),
            parent_acl: parent_acl.map(|acl| entries(acl)),
        });
    }
}

pub(crate) fn entries(acl: &[Acl<'_>]) -> Vec<Entry> {
    let text = |text: &Option<oxkeeper_proto::Text<'_>>| text.as_deref().map(str::to_owned);
    acl.iter()
        .map(|entry| Entry { perms: entry.perms, scheme: text(&entry.id.scheme), id: text(&entry.id.id) })
        .collect()
}

pub(crate) struct Pair {
    pub(crate) state: State,
    pub(crate) model: Model,
    pub(crate) now: i64,
}

pub(crate) fn admin() -> Order {
    Order { session: SESSIONS[0], settings: 3, identities: vec![identity("super", "")] }
}

impl Pair {
    pub(crate) fn new() -> Pair {
        Pair { state: State::new(1), model: Model::new(), now: 1_700_000_000_000 }
    }

    /// Creates a pair with sessions, and with a counted subtree whose limits are enforced.
    pub(crate) fn furnished() -> Pair {
        let mut pair = Pair::new();
        for session in SESSIONS {
            pair.tell(&Order { session, ..admin() }, &Ask::CreateSession(6000)).expect("a session");
        }
        let limits = "count=-1,bytes=-1=;byteHardLimit=18;countHardLimit=4";
        for (path, data) in [
            ("/q", "12"),
            ("/zookeeper/quota/q", ""),
            ("/zookeeper/quota/q/zookeeper_limits", limits),
            ("/zookeeper/quota/q/zookeeper_stats", "count=0,bytes=0"),
        ] {
            pair.tell(&admin(), &create(path, data, 0)).expect("a new znode");
        }
        pair.end_entry();
        pair
    }

    /// Takes one random step.
    pub(crate) fn step(&mut self, step: &Step) -> (Ask, Result<Reply, i32>) {
        self.now += step.waited;
        let ask = self.resolve(&step.ask, step);
        let reply = self.tell(&step.order, &ask);
        if step.waited % 2 == 0 {
            self.end_entry();
        }
        (ask, reply)
    }

    pub(crate) fn end_entry(&mut self) {
        self.state.end_entry();
        self.model.records.clear();
    }

    /// Replaces placeholders by the paths of existing znodes.
    pub(crate) fn resolve(&self, ask: &Ask, step: &Step) -> Ask {
        let existing = |path: &Option<String>| match path.as_deref().and_then(|path| path.strip_prefix(EXISTING)) {
            None => path.clone(),
            Some(rest) => {
                let paths: Vec<&String> = self.model.nodes.keys().collect();
                let start = step.pick.get(&paths).as_str();
                Some(if start == "/" && !rest.is_empty() { rest.to_owned() } else { format!("{start}{rest}") })
            }
        };
        match ask {
            Ask::Create { op, path, data, acl, flags, ttl } => {
                let (path, data, acl) = (existing(path), data.clone(), acl.clone());
                Ask::Create { op: *op, path, data, acl, flags: *flags, ttl: *ttl }
            }
            Ask::Delete { path, version } => Ask::Delete { path: existing(path), version: *version },
            Ask::SetData { path, data, version } => {
                Ask::SetData { path: existing(path), data: data.clone(), version: *version }
            }
            Ask::SetAcl { path, acl, version } => {
                Ask::SetAcl { path: existing(path), acl: acl.clone(), version: *version }
            }
            Ask::Check { path, version } => Ask::Check { path: existing(path), version: *version },
            Ask::Multi(asks) => Ask::Multi(asks.iter().map(|ask| self.resolve(ask, step)).collect()),
            Ask::Reap { path, .. } => self.reap(&existing(&Some(path.clone())).unwrap_or_default(), step),
            Ask::CreateSession(_) | Ask::CloseSession | Ask::Reconfig | Ask::Sync(_) => ask.clone(),
        }
    }

    /// Returns a deletion by the reaper: of an expendable znode or of any other, at its mzxid or at
    /// another.
    fn reap(&self, path: &str, step: &Step) -> Ask {
        let candidates = self.model.expendable(self.now, 50);
        if candidates.is_empty() || step.waited % 4 == 0 {
            let mzxid = self.model.node(path).map_or(0, |node| node.mzxid) + i64::from(step.waited % 3 == 0);
            return Ask::Reap { path: path.to_owned(), mzxid };
        }
        let (path, mzxid) = step.pick.get(&candidates).clone();
        Ask::Reap { path, mzxid }
    }

    /// Applies one command to both and checks that their answers and announcements are equal.
    pub(crate) fn tell(&mut self, order: &Order, ask: &Ask) -> Result<Reply, i32> {
        let before = (self.state.tree().digest(), self.model.clone());
        let (identities, body) = (order.identity_bytes(), ask.body());
        let mut listener = Listener::default();
        let mut out = vec![1, 2, 3];
        let command = order.command(ask.op(), &identities, &body);
        let result = self.state.apply(&command, self.now, &mut out, &mut listener);
        let expected = self.model.apply(order, ask, self.now);
        assert_eq!(out[..3], [1, 2, 3], "the reply is appended");
        let reply = match result {
            Ok(()) => Ok(decoded(ask, &out[3..])),
            Err(code) => {
                assert_eq!(out.len(), 3, "an error leaves the body as it was");
                Err(code.wire())
            }
        };
        assert_eq!(reply, expected, "reply to {ask:?} of {order:?}");
        let mut told = std::mem::take(&mut self.model.told);
        if matches!(ask, Ask::CloseSession) {
            // The order of their deletion is tested in `listing.rs`; the model has none.
            told.sort_by(|a, b| a.path.cmp(&b.path));
            listener.0.sort_by(|a, b| a.path.cmp(&b.path));
        }
        // The listener records no parent ACL for data changes, so it is not compared.
        for told in told.iter_mut().filter(|told| told.kind == Kind::DataChanged) {
            told.parent_acl = None;
        }
        assert_eq!(listener.0, told, "changes of {ask:?}");
        assert_eq!((self.state.zxid().0, self.state.time_ms()), (self.model.zxid, self.model.time));
        assert_eq!(self.state.tree().digest(), self.model.digest(), "digest after {ask:?}");
        // The digest does not cover what is below /zookeeper.
        let sizes = (self.state.tree().len(), self.state.tree().size());
        assert_eq!(sizes, (self.model.nodes.len(), self.model.size()), "znodes and bytes after {ask:?}");
        let failed =
            reply.is_err() || matches!(&reply, Ok(Reply::Multi(results)) if results.iter().any(Result::is_err));
        if failed {
            assert_eq!(self.state.tree().digest(), before.0, "a failure changes nothing");
            assert_eq!((&self.model.nodes, &self.model.quotas), (&before.1.nodes, &before.1.quotas));
            assert_eq!(self.model.records, before.1.records);
        }
        reply
    }

    /// Checks that everything that can be read is equal for every caller.
    pub(crate) fn compare(&self, callers: &[Order]) {
        compare(&self.state, &self.model, callers);
        for never_used in [0, 50] {
            let mut expendable: Vec<(String, i64)> = self
                .state
                .expendable(self.now, never_used, usize::MAX)
                .into_iter()
                .map(|e| (e.path, e.mzxid))
                .collect();
            expendable.sort();
            let expected = self.model.expendable(self.now, never_used);
            expendable.retain(|it| expected.contains(it) || !self.model.is_ahead(&it.0, self.now));
            assert_eq!(expendable, expected);
        }
    }
}

pub(crate) fn create(path: &str, data: &str, flags: i32) -> Ask {
    let acl = Some(vec![entry(31, "world", "anyone")]);
    Ask::Create { op: 15, path: Some(path.into()), data: Some(data.into()), acl, flags, ttl: -1 }
}

/// Compares a state with a model by every read operation.
pub(crate) fn compare(state: &State, model: &Model, callers: &[Order]) {
    state.check();
    assert_eq!(state.tree().digest(), model.digest());
    assert_eq!(state.tree().len(), model.nodes.len(), "znodes");
    assert_eq!(state.tree().size(), model.size(), "bytes");
    assert_eq!(state.quotas().prefixes().collect::<Vec<_>>(), model.quotas.iter().collect::<Vec<_>>());
    let sessions: Vec<(i64, i32)> = state.sessions().iter().map(|(id, session)| (id.0, session.timeout_ms)).collect();
    assert_eq!(sessions, model.sessions.iter().map(|(&id, &timeout)| (id, timeout)).collect::<Vec<_>>());
    for &id in model.sessions.keys() {
        let mut out = Vec::new();
        state.get_ephemerals(SessionId(id), None, &mut out).expect("a few");
        let GetEphemeralsResponse { ephemerals } = Jute::from_bytes(&out).expect("our own encoding");
        let mut paths: Vec<String> = ephemerals.expect("never null").into_iter().map(Into::into).collect();
        paths.sort();
        assert_eq!(paths, model.ephemerals(id), "ephemerals of {id:x}");
        let told = state.ephemerals().into_iter().find(|(session, _)| session.0 == id);
        assert_eq!(told.map_or(0, |(_, paths)| paths.len()), paths.len());
    }
    let odd = ["", "//", "x", "/a/", "/no/x"].map(str::to_owned);
    for order in callers {
        for path in model.nodes.keys().chain(&odd) {
            compare_reads(state, model, order, path);
        }
    }
}

fn compare_reads(state: &State, model: &Model, order: &Order, path: &str) {
    let identities = order.identity_bytes();
    let caller = Caller { identities: Identities(&identities), settings: Settings(order.settings) };
    let expected = model.may_read(path, order);
    let stat = || model.stat(path).expect("it may be read");
    let mut out = Vec::new();

    let read = state.get_data(path, &caller, &mut out).map_err(|code| code.wire());
    assert_eq!(read, expected.map(|_| ()), "getData {path:?}");
    assert_eq!(state.exists(path, &caller).map_err(|code| code.wire()), expected.map(|_| stat()), "exists {path:?}");
    if let Ok(node) = expected {
        let response = GetDataResponse::from_bytes(&out).expect("our own encoding");
        assert_eq!((response.data, response.stat), (node.data.as_deref(), stat()), "getData {path:?}");
    }

    let mut out = Vec::new();
    let read = state.get_children(path, &caller, true, &mut out).map_err(|code| code.wire());
    assert_eq!(read, expected.map(|_| ()), "getChildren {path:?}");
    if expected.is_ok() {
        let absolute = if path.is_empty() { "/" } else { path };
        let response = GetChildren2Response::from_bytes(&out).expect("our own encoding");
        let names: Vec<String> = response.children.expect("never null").into_iter().map(Into::into).collect();
        let expected: BTreeSet<String> =
            model.children(absolute).map(|child| child[child.rfind('/').expect("absolute") + 1..].to_owned()).collect();
        assert_eq!((names.len(), names.into_iter().collect()), (expected.len(), expected), "getChildren {path:?}");
        assert_eq!(response.stat, stat());
        if !path.is_empty() {
            let below = model
                .nodes
                .keys()
                .filter(|node| *node != "/" && node.starts_with(&format!("{}/", path.trim_end_matches('/'))));
            assert_eq!(state.all_children_number(path, &caller), Ok(below.count() as i32), "descendants of {path:?}");
        }
    }

    let mut out = Vec::new();
    let read = state.get_acl(path, &caller, &mut out).map_err(|code| code.wire());
    let shown = model.visible_acl(path, order);
    assert_eq!(read, shown.as_ref().map(|_| ()).map_err(|&code| code), "getACL {path:?}");
    if let Ok(shown) = shown {
        let response = GetAclResponse::from_bytes(&out).expect("our own encoding");
        assert_eq!((entries(&response.acl.expect("never null")), response.stat), (shown, stat()), "getACL {path:?}");
    }
}

/// Decodes the reply's body, which must hold nothing else.
pub(crate) fn decoded(ask: &Ask, body: &[u8]) -> Reply {
    let mut reader = Reader::new(body);
    let reply = match ask {
        Ask::Create { op: 1, .. } => path_reply(&mut reader),
        Ask::Create { .. } => path_and_stat_reply(&mut reader),
        Ask::SetData { .. } | Ask::SetAcl { .. } => Reply::Stat(Stat::decode(&mut reader).expect("a Stat")),
        Ask::Sync(_) => {
            Reply::Echo(PathRecord::decode(&mut reader).expect("a path").path.map(|path| path.into_owned()))
        }
        Ask::Multi(_) => multi_reply(&mut reader),
        Ask::Delete { .. }
        | Ask::Check { .. }
        | Ask::CreateSession(_)
        | Ask::CloseSession
        | Ask::Reap { .. }
        | Ask::Reconfig => Reply::Nothing,
    };
    assert!(reader.rest().is_empty(), "nothing follows the reply to {ask:?}");
    reply
}

fn path_reply(reader: &mut Reader<'_>) -> Reply {
    Reply::Path(CreateResponse::decode(reader).expect("a path").path.expect("not null").into_owned())
}

fn path_and_stat_reply(reader: &mut Reader<'_>) -> Reply {
    let Create2Response { path, stat } = Create2Response::decode(reader).expect("a path and a Stat");
    Reply::PathAndStat(path.expect("not null").into_owned(), stat)
}

fn multi_reply(reader: &mut Reader<'_>) -> Reply {
    let mut results = Vec::new();
    loop {
        let header = MultiHeader::decode(reader).expect("a header");
        if header.done {
            assert_eq!(header, MULTI_END);
            return Reply::Multi(results);
        }
        results.push(match header.op {
            -1 => {
                let ErrorResponse { err } = Jute::decode(reader).expect("a code");
                assert_eq!(err, header.err, "the code stands twice");
                Err(err)
            }
            op => {
                assert_eq!(header.err, 0);
                Ok((
                    op,
                    match op {
                        1 => path_reply(reader),
                        15 => path_and_stat_reply(reader),
                        5 => Reply::Stat(Stat::decode(reader).expect("a Stat")),
                        _ => Reply::Nothing,
                    },
                ))
            }
        });
    }
}
