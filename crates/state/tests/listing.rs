//! Children are listed in the order of a Java hash set, also after a load from records in any
//! order, and after failed transactions.

use std::collections::BTreeMap;

use oxkeeper_proto::multi::MULTI_END;
use oxkeeper_proto::records::{
    Acl, CheckVersionRequest, CreateRequest, DeleteRequest, GetChildrenResponse, GetEphemeralsResponse, Id, MultiHeader,
};
use oxkeeper_proto::{Jute, OpCode, SessionId};
use oxkeeper_state::checkpoint::Loading;
use oxkeeper_state::{Caller, Change, ChangeKind, ChangeSink, Command, Identities, Settings, State};
use proptest::prelude::*;

const SESSION: SessionId = SessionId(0x100_0000_0000_0001);
const DIRECTORY: &str = "/d";

/// Java's `HashSet<String>`, written independently of ours: the members by bucket. A bucket that
/// would become a tree is not modelled.
struct JavaSet(Vec<Vec<String>>);

impl JavaSet {
    fn new(buckets: usize) -> JavaSet {
        JavaSet(vec![Vec::new(); buckets])
    }

    fn len(&self) -> usize {
        self.0.iter().map(Vec::len).sum()
    }

    fn bucket(&mut self, name: &str) -> &mut Vec<String> {
        let hash = name.encode_utf16().fold(0i32, |hash, unit| hash.wrapping_mul(31).wrapping_add(i32::from(unit)));
        let hash = hash as u32;
        let mask = self.0.len() - 1;
        &mut self.0[(hash ^ hash >> 16) as usize & mask]
    }

    fn add(&mut self, name: &str) {
        self.bucket(name).push(name.to_owned());
        if self.len() * 4 > self.0.len() * 3 {
            let mut grown = JavaSet::new(self.0.len() * 2);
            self.0.iter().flatten().for_each(|name| grown.bucket(name).push(name.clone()));
            *self = grown;
        }
    }

    fn remove(&mut self, name: &str) {
        self.bucket(name).retain(|other| other != name);
    }

    fn contains(&mut self, name: &str) -> bool {
        self.bucket(name).iter().any(|other| other == name)
    }

    fn listed(&self) -> Vec<String> {
        self.0.iter().flatten().cloned().collect()
    }
}

/// Change to the children: each name is created, or deleted if it exists.
#[derive(Clone, Debug)]
enum Step {
    Flip(Vec<u16>),
    /// In one transaction.
    Together(Vec<u16>),
    /// In one transaction that fails.
    InVain(Vec<u16>),
    Reload,
}

fn step() -> impl Strategy<Value = Step> {
    let names = || proptest::collection::vec(0u16..400, 1..60);
    prop_oneof![
        4 => names().prop_map(Step::Flip),
        2 => names().prop_map(Step::Together),
        2 => names().prop_map(Step::InVain),
        1 => Just(Step::Reload),
    ]
}

/// Returns a name. Some names share a hash code, some share a bucket of a small table.
fn name(number: u16) -> String {
    match number % 4 {
        0 => format!("n-{number:010}"),
        1 => (0..4)
            .map(|bit| if number >> (bit + 2) & 1 == 0 { "Aa" } else { "BB" })
            .chain([["", "x"][usize::from(number > 200)]])
            .collect(),
        2 => format!("é中{number}"),
        _ => number.to_string(),
    }
}

struct Pair {
    state: State,
    java: JavaSet,
    disk: Disk,
}

impl Pair {
    fn new() -> Pair {
        let mut state = State::new(1);
        apply(&mut state, OpCode::CreateSession, &6000i32.to_be_bytes());
        apply(&mut state, OpCode::Create, &create(DIRECTORY));
        Pair { state, java: JavaSet::new(8), disk: Disk::default() }
    }

    /// Returns the request bodies that create or delete each name, once per name.
    fn flips(&mut self, numbers: &[u16]) -> BTreeMap<String, (OpCode, Vec<u8>)> {
        let mut flips = BTreeMap::new();
        for name in numbers.iter().map(|&number| name(number)) {
            let path = format!("{DIRECTORY}/{name}");
            let flip = match self.java.contains(&name) {
                false => (OpCode::Create, create(&path)),
                true => (OpCode::Delete, bytes(DeleteRequest { path: Some(path.into()), version: -1 })),
            };
            flips.insert(name, flip);
        }
        flips
    }

    fn flip(&mut self, names: impl Iterator<Item = String>) {
        for name in names {
            if self.java.contains(&name) { self.java.remove(&name) } else { self.java.add(&name) }
        }
    }

    fn run(&mut self, step: &Step) {
        match step {
            Step::Flip(numbers) => {
                let flips = self.flips(numbers);
                flips.values().for_each(|(op, body)| apply(&mut self.state, *op, body));
                self.flip(flips.into_keys());
            }
            Step::Together(numbers) => {
                let flips = self.flips(numbers);
                apply(&mut self.state, OpCode::Multi, &multi(flips.values().cloned()));
                self.flip(flips.into_keys());
            }
            Step::InVain(numbers) => {
                let failing = bytes(CheckVersionRequest { path: Some("/none".into()), version: 0 });
                let flips = self.flips(numbers).into_values().chain([(OpCode::Check, failing)]);
                apply(&mut self.state, OpCode::Multi, &multi(flips));
            }
            Step::Reload => self.state = self.disk.reload(&mut self.state),
        }
        self.state.check();
        assert_eq!(listed(&self.state), self.java.listed());
    }
}

/// The records that a store keeps.
#[derive(Default)]
struct Disk {
    sessions: BTreeMap<i64, Vec<u8>>,
    acls: BTreeMap<u32, Vec<u8>>,
    znodes: BTreeMap<u32, Vec<u8>>,
}

impl Disk {
    /// Returns the state after a restart.
    fn reload(&mut self, state: &mut State) -> State {
        let head = state.begin_checkpoint();
        put(&mut self.sessions, &head.sessions);
        put(&mut self.acls, &head.acls);
        put(&mut self.znodes, &state.capture(usize::MAX));
        state.end_checkpoint(&head, true);
        let mut loading = Loading::new(2, &head.scalars, &head.ensemble).expect("our own record");
        self.sessions.iter().for_each(|(&id, record)| loading.session(id, record).expect("our own record"));
        self.acls.iter().for_each(|(&id, record)| loading.acl(id, record).expect("our own record"));
        let mut znodes = loading.part();
        self.znodes.iter().for_each(|(&slot, record)| znodes.znode(slot, record).expect("our own record"));
        loading.adopt(znodes);
        loading.finish().expect("a whole tree")
    }
}

fn put<K: Ord + Copy>(table: &mut BTreeMap<K, Vec<u8>>, records: &[(K, Option<Vec<u8>>)]) {
    for (key, record) in records {
        match record {
            Some(record) => drop(table.insert(*key, record.clone())),
            None => drop(table.remove(key)),
        }
    }
}

fn listed(state: &State) -> Vec<String> {
    let caller = Caller { identities: Identities(&[]), settings: Settings::default() };
    let mut out = Vec::new();
    state.get_children(DIRECTORY, &caller, false, &mut out).expect("it is there");
    let response = GetChildrenResponse::from_bytes(&out).expect("our own encoding");
    response.children.expect("never null").into_iter().map(Into::into).collect()
}

fn create(path: &str) -> Vec<u8> {
    let id = Id { scheme: Some("world".into()), id: Some("anyone".into()) };
    bytes(CreateRequest { path: Some(path.into()), data: None, acl: Some(vec![Acl { perms: 31, id }]), flags: 0 })
}

fn multi(ops: impl Iterator<Item = (OpCode, Vec<u8>)>) -> Vec<u8> {
    let mut out = Vec::new();
    for (op, body) in ops {
        MultiHeader { op: op.wire(), done: false, err: -1 }.encode(&mut out);
        out.extend(body);
    }
    MULTI_END.encode(&mut out);
    out
}

fn bytes<'a>(record: impl Jute<'a>) -> Vec<u8> {
    let mut out = Vec::new();
    record.encode(&mut out);
    out
}

fn apply(state: &mut State, op: OpCode, body: &[u8]) {
    let (settings, identities) = (Settings::default(), Identities(&[]));
    let command = Command { from: None, session: SESSION, xid: 1, op, settings, identities, body };
    state.apply(&command, 1, &mut Vec::new(), &mut ()).expect("a request that is in order");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn children_are_listed_as_java_would(steps in proptest::collection::vec(step(), 1..12)) {
        let mut pair = Pair::new();
        steps.iter().for_each(|step| pair.run(step));
    }
}

/// Records deleted paths.
#[derive(Default)]
struct Deleted(Vec<String>);

impl ChangeSink for Deleted {
    fn changed(&mut self, change: Change<'_>) {
        assert_eq!(change.kind, ChangeKind::Deleted);
        self.0.push(change.path.to_owned());
    }
}

/// `HashSet.clone` makes a table of the size that the members need. Ephemerals are listed and
/// deleted in the order of that table.
#[test]
fn ephemerals_are_listed_and_end_as_a_clone_of_their_set() {
    // Two names for each hash code; and names of which some share a bucket of the clone, but none a bucket of
    // the set.
    let twin = |number: u16| format!("{}{}", ["Aa", "BB"][usize::from(number % 2)], number / 2);
    let twins = [1u16, 3, 6, 12, 13, 48, 49, 200].map(|count| (count, None));
    let mixed = (0..200u64).map(|seed| (2 + (seed % 8) as u16, Some(seed)));
    for (count, seed) in twins.into_iter().chain(mixed) {
        let scattered = |seed: u64, number: u16| {
            format!("{:x}", (seed << 16 | u64::from(number)).wrapping_mul(0x9e37_79b9_7f4a_7c15))
        };
        let mut pair = Pair::new();
        let (mut paths, mut clone) = (JavaSet::new(16), JavaSet::new(16));
        for number in 0..count {
            let name = seed.map_or_else(|| twin(number), |seed| scattered(seed, number));
            let path = format!("{DIRECTORY}/{name}");
            let id = Id { scheme: Some("world".into()), id: Some("anyone".into()) };
            let acl = Some(vec![Acl { perms: 31, id }]);
            let body = bytes(CreateRequest { path: Some(path.as_str().into()), data: None, acl, flags: 1 });
            apply(&mut pair.state, OpCode::Create, &body);
            paths.add(&path);
        }
        clone.0 = vec![Vec::new(); ((f32::from(count) / 0.75 + 1.0) as usize).next_power_of_two()];
        paths.listed().iter().for_each(|path| clone.add(path));
        let mut out = Vec::new();
        pair.state.get_ephemerals(SESSION, None, &mut out).expect("there are few");
        let response = GetEphemeralsResponse::from_bytes(&out).expect("our own encoding");
        let listed: Vec<String> = response.ephemerals.expect("never null").into_iter().map(Into::into).collect();
        assert_eq!(listed, clone.listed(), "{count}");
        let (settings, identities) = (Settings::default(), Identities(&[]));
        let command =
            Command { from: None, session: SESSION, xid: 2, op: OpCode::CloseSession, settings, identities, body: &[] };
        let mut deleted = Deleted::default();
        pair.state.apply(&command, 1, &mut Vec::new(), &mut deleted).expect("it is open");
        assert_eq!(deleted.0, clone.listed(), "{count}");
    }
}

/// There are more children than a comparison sort is used for, in a table of the right size and in
/// one that has become too large.
#[test]
fn many_children() {
    let mut pair = Pair::new();
    for numbers in [0..4000u16, 0..3990] {
        let name = |number| format!("{:x}", u64::from(number).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        for name in numbers.clone().map(name) {
            let path = format!("{DIRECTORY}/{name}");
            match pair.java.contains(&name) {
                false => apply(&mut pair.state, OpCode::Create, &create(&path)),
                true => apply(
                    &mut pair.state,
                    OpCode::Delete,
                    &bytes(DeleteRequest { path: Some(path.into()), version: -1 }),
                ),
            }
            pair.flip(std::iter::once(name));
        }
        assert_eq!(listed(&pair.state), pair.java.listed());
    }
    assert_eq!(pair.java.len(), 10);
}
