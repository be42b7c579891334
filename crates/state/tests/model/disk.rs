//! Checkpoints: the records that a store would keep. A state loaded from them equals the one that
//! began the checkpoint.

use std::collections::BTreeMap;

use oxkeeper_state::checkpoint::{Head, Loading};
use oxkeeper_state::{Captured, State};
use proptest::collection::vec;
use proptest::prelude::*;

use crate::model::Model;
use crate::pair::{Pair, admin, compare};
use crate::request::{Ask, Order, Step, steps};

/// The records of the committed checkpoints.
#[derive(Default)]
pub(crate) struct Disk {
    pub(crate) scalars: Vec<u8>,
    ensemble: Vec<u8>,
    sessions: BTreeMap<i64, Vec<u8>>,
    acls: BTreeMap<u32, Vec<u8>>,
    pub(crate) znodes: BTreeMap<u32, Vec<u8>>,
}

impl Disk {
    fn commit(&mut self, head: Head, znodes: BTreeMap<u32, Option<Vec<u8>>>) {
        self.scalars = head.scalars;
        self.ensemble = head.ensemble;
        put(&mut self.sessions, head.sessions);
        put(&mut self.acls, head.acls);
        put(&mut self.znodes, znodes);
    }

    pub(crate) fn load(&self, seed: u64) -> State {
        let mut loading = Loading::new(seed, &self.scalars, &self.ensemble).expect("our own record");
        self.sessions.iter().for_each(|(&id, record)| loading.session(id, record).expect("our own record"));
        // Records may be loaded in any order.
        let mut znodes = loading.part();
        self.znodes.iter().rev().for_each(|(&slot, record)| znodes.znode(slot, record).expect("our own record"));
        loading.adopt(znodes);
        self.acls.iter().for_each(|(&id, record)| loading.acl(id, record).expect("our own record"));
        loading.finish().expect("a whole tree")
    }
}

fn put<K: Ord, V>(table: &mut BTreeMap<K, V>, records: impl IntoIterator<Item = (K, Option<V>)>) {
    for (key, record) in records {
        match record {
            Some(record) => drop(table.insert(key, record)),
            None => drop(table.remove(&key)),
        }
    }
}

/// Takes one whole checkpoint.
pub(crate) fn checkpoint(state: &mut State, disk: &mut Disk) {
    let mut under_way = UnderWay::begin(state, &Model::new());
    under_way.capture(state, usize::MAX);
    under_way.end(state, disk, true);
}

/// A checkpoint in progress.
struct UnderWay {
    head: Head,
    captured: BTreeMap<u32, Option<Vec<u8>>>,
    model: Model,
}

impl UnderWay {
    fn begin(state: &mut State, model: &Model) -> UnderWay {
        UnderWay { head: state.begin_checkpoint(), captured: BTreeMap::new(), model: model.clone() }
    }

    /// Captures records and returns whether there may be more.
    fn capture(&mut self, state: &mut State, count: usize) -> bool {
        let captured: Vec<Captured> = state.capture(count);
        assert!(captured.len() <= count, "no more than asked for");
        let more = !captured.is_empty();
        for (slot, record) in captured {
            assert!(self.captured.insert(slot, record).is_none(), "slot {slot} is handed over once");
        }
        more
    }

    fn end(mut self, state: &mut State, disk: &mut Disk, committed: bool) -> Model {
        while committed && self.capture(state, 3) {}
        state.end_checkpoint(&self.head, committed);
        if committed {
            disk.commit(self.head, self.captured);
        }
        self.model
    }
}

#[derive(Clone, Debug)]
enum Move {
    Commands(Vec<Step>),
    Begin,
    Capture(usize),
    End(bool),
    Restart,
}

fn moves() -> impl Strategy<Value = Vec<Move>> {
    let one = prop_oneof![
        8 => steps(1..8).prop_map(Move::Commands),
        4 => Just(Move::Begin),
        3 => (1..6usize).prop_map(Move::Capture),
        3 => any::<bool>().prop_map(Move::End),
        1 => Just(Move::Restart),
    ];
    vec(one, 1..24)
}

/// A server with a disk and a log.
struct Server {
    pair: Pair,
    disk: Disk,
    under_way: Option<UnderWay>,
    /// Commands since the last committed checkpoint began; `log_under_way` has those since the
    /// current one began.
    log: Vec<(Order, Ask, i64)>,
    log_under_way: Vec<(Order, Ask, i64)>,
}

impl Server {
    fn new() -> Server {
        let mut pair = Pair::furnished();
        let mut disk = Disk::default();
        checkpoint(&mut pair.state, &mut disk);
        Server { pair, disk, under_way: None, log: vec![], log_under_way: vec![] }
    }

    fn make(&mut self, one: &Move) {
        match one {
            Move::Commands(steps) => steps.iter().for_each(|step| self.command(step)),
            Move::Begin if self.under_way.is_none() => {
                self.under_way = Some(UnderWay::begin(&mut self.pair.state, &self.pair.model));
                self.log_under_way.clear();
            }
            Move::Begin => {}
            Move::Capture(count) => {
                if let Some(under_way) = &mut self.under_way {
                    under_way.capture(&mut self.pair.state, *count);
                }
            }
            Move::End(committed) => {
                if let Some(under_way) = self.under_way.take() {
                    self.end(under_way, *committed);
                }
            }
            Move::Restart => {
                self.under_way = None;
                self.pair.state = self.replayed();
            }
        }
    }

    /// Applies one command as a log entry of its own.
    fn command(&mut self, step: &Step) {
        let (ask, _) = self.pair.step(step);
        self.pair.end_entry();
        for log in [&mut self.log, &mut self.log_under_way] {
            log.push((step.order.clone(), ask.clone(), self.pair.now));
        }
    }

    fn end(&mut self, under_way: UnderWay, committed: bool) {
        let began = under_way.end(&mut self.pair.state, &mut self.disk, committed);
        if committed {
            self.log = std::mem::take(&mut self.log_under_way);
            compare(&self.disk.load(2), &began, &[admin()]);
        }
        self.compare();
    }

    /// Returns the state after a restart: the disk, then the log.
    fn replayed(&self) -> State {
        let mut state = self.disk.load(3);
        for (order, ask, time) in &self.log {
            let (identities, body) = (order.identity_bytes(), ask.body());
            let command = order.command(ask.op(), &identities, &body);
            // Its answer was compared when it was first applied.
            let _ = state.apply(&command, *time, &mut Vec::new(), &mut ());
            state.end_entry();
        }
        state
    }

    fn compare(&self) {
        compare(&self.pair.state, &self.pair.model, &[admin()]);
        compare(&self.replayed(), &self.pair.model, &[admin()]);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_checkpoint_is_the_state_when_it_began(moves in moves()) {
        let mut server = Server::new();
        moves.iter().for_each(|one| server.make(one));
        server.compare();
    }

    #[test]
    fn counters_overflow_within_an_entry_and_stop_behind_it(steps in steps(1..20), before in 0..3i32) {
        let mut pair = Pair::furnished();
        let mut disk = Disk::default();
        checkpoint(&mut pair.state, &mut disk);
        pair.age("/", i32::MAX - before, &mut disk);
        pair.age("/q", i32::MAX - before, &mut disk);
        pair.state = disk.load(4);
        pair.compare(&[admin()]);
        steps.iter().for_each(|step| drop(pair.step(step)));
        pair.compare(&[admin()]);
    }
}

/// Offset of the cversion in a znode's record; the digest follows.
const CVERSION: usize = 4 + 4 + 6 * 8 + 4;
const DIGEST: usize = CVERSION + 4 + 4;
/// Offset of the tree digest in the scalars.
const TREE_DIGEST: usize = 8 + 8;

impl Pair {
    /// Makes a znode look as if it had had many children.
    fn age(&mut self, path: &str, cversion: i32, disk: &mut Disk) {
        let slot = self.state.tree().lookup(path).expect("it exists");
        let node = self.model.nodes.get_mut(path).expect("it exists");
        node.cversion = cversion;
        let record = disk.znodes.get_mut(&slot.0).expect("it is on the disk");
        record[CVERSION..CVERSION + 4].copy_from_slice(&cversion.to_be_bytes());
        record[DIGEST..DIGEST + 4].copy_from_slice(&crate::model::node_digest(path, node).to_be_bytes());
        disk.scalars[TREE_DIGEST..TREE_DIGEST + 8].copy_from_slice(&self.model.digest().to_be_bytes());
    }
}
