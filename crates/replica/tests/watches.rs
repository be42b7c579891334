//! [`Watches`] against a naive model: a plain list of watches that is searched from end to end.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::collections::{BTreeMap, BTreeSet};

use oxkeeper_proto::op::{EventType, WatcherType, perms};
use oxkeeper_proto::records::{Acl, Id, ReplyHeader, WatcherEvent};
use oxkeeper_proto::{Jute, Reader, SessionId, Zxid, frame};
use oxkeeper_replica::auth::add_identity;
use oxkeeper_replica::watches::{Mode, Table, Watcher, Watches};
use oxkeeper_replica::{ConnectionId, watches};
use oxkeeper_state::{AclList, Change, ChangeKind, Settings};
use proptest::prelude::*;

const PATHS: [&str; 7] = ["/", "/a", "/a/b", "/a/b/c", "/ab", "/d", "/d/e"];
const CONNECTIONS: u32 = 4;

/// Events: connection, type, path.
type Told = Vec<(ConnectionId, i32, String)>;

#[derive(Clone, Debug)]
enum Step {
    Add(u32, usize, Table, Mode),
    AddPersistent(u32, usize, bool),
    Remove(u32, usize, WatcherType),
    Drop(u32),
    /// The connection proves `user`, which the restricted ACL names.
    Identified(u32),
    /// Kind, path, whether the znode's and the parent's ACL are restricted.
    Fire(ChangeKind, usize, bool, bool),
}

fn step() -> impl Strategy<Value = Step> {
    let who = 0..CONNECTIONS;
    let path = 0..PATHS.len();
    let table = prop_oneof![Just(Table::Data), Just(Table::Child)];
    let kind = prop_oneof![Just(ChangeKind::Created), Just(ChangeKind::Deleted), Just(ChangeKind::DataChanged)];
    prop_oneof![
        4 => (who.clone(), path.clone(), table).prop_map(|(who, path, table)| Step::Add(who, path, table, Mode::Standard)),
        3 => (who.clone(), path.clone(), any::<bool>()).prop_map(|(who, path, all)| Step::AddPersistent(who, path, all)),
        3 => (who.clone(), path, prop::sample::select(WatcherType::ALL))
            .prop_map(|(who, path, kind)| Step::Remove(who, path, kind)),
        1 => who.clone().prop_map(Step::Drop),
        1 => who.prop_map(Step::Identified),
        6 => (kind, 1..PATHS.len(), any::<bool>(), any::<bool>()).prop_map(|(k, p, acl, above)| Step::Fire(k, p, acl, above)),
    ]
}

fn connection(number: u32) -> ConnectionId {
    ConnectionId { thread: (number % 2) as u16, generation: 0, place: number }
}

fn parent(path: &str) -> &str {
    match path.rsplit_once('/') {
        Some(("", _)) | None => "/",
        Some((above, _)) => above,
    }
}

/// The watches, and the connections that may know of restricted changes.
#[derive(Default)]
struct Model {
    watches: BTreeSet<(u32, usize, bool, u8)>,
    proved: BTreeSet<u32>,
}

const STANDARD: u8 = 0;
const PERSISTENT: u8 = 1;
const RECURSIVE: u8 = 2;
const DATA: bool = false;
const CHILD: bool = true;

impl Model {
    fn add_persistent(&mut self, who: u32, path: usize, recursive: bool) {
        if recursive {
            self.watches.insert((who, path, DATA, RECURSIVE));
        } else {
            self.watches.extend([(who, path, DATA, PERSISTENT), (who, path, CHILD, PERSISTENT)]);
        }
    }

    fn remove(&mut self, who: u32, path: usize, kind: WatcherType) -> bool {
        let hit = |&(of, at, table, mode): &(u32, usize, bool, u8)| {
            let named = match kind {
                WatcherType::Children => table == CHILD && mode == STANDARD,
                WatcherType::Data => table == DATA && mode == STANDARD,
                WatcherType::Any => true,
                WatcherType::Persistent => mode == PERSISTENT,
                WatcherType::PersistentRecursive => mode == RECURSIVE,
            };
            of == who && at == path && named
        };
        let before = self.watches.len();
        self.watches.retain(|watch| !hit(watch));
        self.watches.len() < before
    }

    /// Returns the connections that are notified by a table of a change of `path`, and consumes
    /// one-shot watches.
    fn take(&mut self, path: usize, table: bool, restricted: bool) -> BTreeSet<u32> {
        let at = |watch: &&(u32, usize, bool, u8)| watch.1 == path && watch.2 == table;
        let hit: BTreeSet<u32> = self.watches.iter().filter(at).map(|watch| watch.0).collect();
        self.watches.retain(|watch| !(watch.1 == path && watch.2 == table && watch.3 == STANDARD));
        self.allowed(hit, restricted)
    }

    fn allowed(&self, hit: BTreeSet<u32>, restricted: bool) -> BTreeSet<u32> {
        hit.into_iter().filter(|who| !restricted || self.proved.contains(who)).collect()
    }

    fn fire(&mut self, kind: ChangeKind, path: usize, restricted: bool, above_restricted: bool) -> Told {
        let name = PATHS[path];
        let is_below = |top: &str| top == "/" || name.strip_prefix(top).is_some_and(|rest| rest.starts_with('/'));
        let recursive = self.watches.iter().filter(|watch| watch.3 == RECURSIVE && is_below(PATHS[watch.1]));
        let recursive: BTreeSet<u32> = recursive.map(|watch| watch.0).collect();
        let mut told = self.take(path, DATA, restricted);
        told.extend(self.allowed(recursive, restricted));
        let event_type = match kind {
            ChangeKind::Created => EventType::NodeCreated,
            ChangeKind::Deleted => EventType::NodeDeleted,
            ChangeKind::DataChanged => EventType::NodeDataChanged,
        };
        if kind == ChangeKind::Deleted {
            told.extend(self.take(path, CHILD, restricted));
        }
        let mut events: Told =
            told.into_iter().map(|who| (connection(who), event_type.wire(), name.to_owned())).collect();
        if kind != ChangeKind::DataChanged {
            let above = PATHS.iter().position(|&path| path == parent(name)).unwrap();
            let told = self.take(above, CHILD, above_restricted);
            let event_type = EventType::NodeChildrenChanged.wire();
            events.extend(told.into_iter().map(|who| (connection(who), event_type, PATHS[above].to_owned())));
        }
        events
    }
}

/// Decodes a notification, and checks its state and its zxid.
fn decode(bytes: &[u8], zxid: i64) -> (i32, String) {
    let (body, rest) = frame::split_frame(bytes, 1 << 20).unwrap().unwrap();
    assert!(rest.is_empty(), "one frame");
    let mut reader = Reader::new(body);
    assert_eq!(ReplyHeader::decode(&mut reader).unwrap(), ReplyHeader { xid: -1, zxid, err: 0 });
    let event = WatcherEvent::from_bytes(reader.rest()).unwrap();
    assert_eq!(event.state, 3);
    (event.event_type, event.path.unwrap().into_owned())
}

struct Both {
    watches: Watches,
    model: Model,
    identities: BTreeMap<u32, Vec<u8>>,
    restricted: AclList,
    zxid: i64,
}

impl Both {
    fn new() -> Both {
        let id = Id { scheme: Some("digest".into()), id: Some("user:hash".into()) };
        let restricted = vec![Acl { perms: perms::READ, id }];
        let mut nobody = Vec::new();
        add_identity(&mut nobody, "ip", "127.0.0.1");
        let identities = (0..CONNECTIONS).map(|who| (who, nobody.clone())).collect();
        Both { watches: Watches::new(Settings::default(), 0), model: Model::default(), identities, restricted, zxid: 0 }
    }

    fn take(&mut self, step: &Step) {
        match *step {
            Step::Add(who, path, table, mode) => {
                self.with_watcher(who, |watches, watcher| watches.add(watcher, PATHS[path], table, mode));
                self.model.watches.insert((who, path, table == Table::Child, STANDARD));
            }
            Step::AddPersistent(who, path, recursive) => {
                self.with_watcher(who, |watches, watcher| watches.add_persistent(watcher, PATHS[path], recursive));
                self.model.add_persistent(who, path, recursive);
            }
            Step::Remove(who, path, kind) => {
                let there = self.watches.contains(connection(who), PATHS[path], kind);
                assert_eq!(self.watches.remove(connection(who), PATHS[path], kind), there);
                assert_eq!(self.model.remove(who, path, kind), there, "{step:?}");
            }
            Step::Drop(who) => {
                self.watches.drop_connection(connection(who));
                self.model.watches.retain(|watch| watch.0 != who);
            }
            Step::Identified(who) => {
                let identities = self.identities.get_mut(&who).unwrap();
                add_identity(identities, "digest", "user:hash");
                self.watches.identified(connection(who), identities);
                self.model.proved.insert(who);
            }
            Step::Fire(kind, path, restricted, above) => self.fire(kind, path, restricted, above),
        }
        self.compare();
    }

    fn with_watcher(&mut self, who: u32, add: impl FnOnce(&mut Watches, &Watcher<'_>)) {
        let (connection, session) = (connection(who), SessionId(i64::from(who) + 1));
        add(&mut self.watches, &Watcher { connection, session, identities: &self.identities[&who] });
    }

    fn fire(&mut self, kind: ChangeKind, path: usize, restricted: bool, above: bool) {
        self.zxid += 1;
        let acl = restricted.then_some(&self.restricted);
        let parent_acl = above.then_some(&self.restricted);
        let change = Change { kind, path: PATHS[path], zxid: Zxid(self.zxid), acl, parent_acl };
        let mut told = Told::new();
        let zxid = self.zxid;
        self.watches.fire(&change, &mut |connection, bytes| {
            let (event_type, path) = decode(bytes, zxid);
            told.push((connection, event_type, path));
        });
        let children = EventType::NodeChildrenChanged.wire();
        assert!(told.is_sorted_by_key(|event| event.1 == children), "the znode's own event comes first");
        let mut expected = self.model.fire(kind, path, restricted, above);
        told.sort();
        expected.sort();
        assert_eq!(told, expected);
    }

    fn compare(&self) {
        self.watches.check();
        let entries = |table| {
            let of_table = self.model.watches.iter().filter(move |watch| watch.2 == table);
            of_table.map(|watch| (watch.0, watch.1)).collect::<BTreeSet<_>>()
        };
        let data = entries(DATA);
        let expected = watches::WatchCounts {
            total: data.len() + entries(CHILD).len(),
            data: data.len(),
            data_paths: data.iter().map(|entry| entry.1).collect::<BTreeSet<_>>().len(),
            data_connections: data.iter().map(|entry| entry.0).collect::<BTreeSet<_>>().len(),
        };
        assert_eq!(self.watches.counts(), expected);
        let found: BTreeSet<(i64, String)> = self
            .watches
            .data_watches()
            .flat_map(|(path, sessions)| sessions.into_iter().map(move |session| (session.0, path.to_owned())))
            .collect();
        assert_eq!(found, data.iter().map(|&(who, path)| (i64::from(who) + 1, PATHS[path].to_owned())).collect());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn watches_are_what_a_list_of_watches_is(steps in prop::collection::vec(step(), 1..80)) {
        let mut both = Both::new();
        for step in &steps {
            both.take(step);
        }
        for who in 0..CONNECTIONS {
            both.take(&Step::Drop(who));
        }
        prop_assert_eq!(both.watches.counts(), watches::WatchCounts::default());
    }
}
