//! Log and tree as a server uses them: writes go to the log, checkpoints to the tree, then the log
//! is trimmed. After a crash at any operation, the tree and the log tail together hold every
//! acknowledged write.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use oxkeeper_store::fake::FakeDisk;
use oxkeeper_store::{Kind, Log, LogOptions, Tree, TreeOptions};

const WRITES: u64 = 45;

/// Keys and values; the effect of a write is a function of its index.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct State {
    applied: u64,
    values: BTreeMap<u64, Vec<u8>>,
}

impl State {
    fn apply(&mut self, index: u64, payload: &[u8]) -> u64 {
        assert_eq!((index, payload), (self.applied, &*payload_of(index)), "entries in order, as written");
        let key = index % 17;
        match index % 5 {
            0 => self.values.remove(&key),
            _ => self.values.insert(key, payload.to_vec()),
        };
        self.applied += 1;
        key
    }

    fn after(count: u64) -> Self {
        let mut state = Self::default();
        (0..count).for_each(|index| {
            state.apply(index, &payload_of(index));
        });
        state
    }
}

fn payload_of(index: u64) -> Vec<u8> {
    index.to_le_bytes().repeat(30)
}

struct Server {
    log: Log,
    tree: Tree,
    state: State,
    changed: BTreeSet<u64>,
}

impl Server {
    /// Starts as after any stop: loads the tree and replays the log from there.
    fn start(disk: &FakeDisk) -> Self {
        let (disk, options) = (Arc::new(disk.clone()), LogOptions { segment_len: 2000, ..LogOptions::default() });
        let unpaced = TreeOptions { pace_rest: Duration::ZERO, ..TreeOptions::default() };
        let tree = Tree::open(disk.clone(), Path::new("/data"), &unpaced).expect("sound");
        let mut log = Log::open(disk, Path::new("/data/log"), &options).expect("sound");
        let mut state = State::default();
        if let Some(view) = tree.snapshot().expect("sound") {
            state.applied = view.applied_index();
            view.load(Kind::Znode, |key, value| {
                state.values.insert(key, value.to_vec());
            })
            .expect("sound");
        }
        assert!(log.first_index() <= state.applied, "no gap between tree and log");
        // A server that was killed before it could trim does so now.
        log.trim(state.applied.saturating_sub(1)).expect("removes");
        let mut changed = BTreeSet::new();
        log.read(state.applied..u64::MAX, |index, payload| {
            changed.insert(state.apply(index, payload));
        })
        .expect("sound");
        Self { log, tree, state, changed }
    }

    fn write(&mut self) {
        let index = self.log.append(&payload_of(self.state.applied)).expect("room");
        self.log.sync().expect("room");
        self.changed.insert(self.state.apply(index, &payload_of(index)));
    }

    fn checkpoint(&mut self) {
        let state = &self.state;
        let written = self.tree.checkpoint(state.applied, |writer| {
            self.changed.iter().try_for_each(|key| match state.values.get(key) {
                Some(value) => writer.put(Kind::Znode, *key, value),
                None => writer.remove(Kind::Znode, *key),
            })
        });
        written.expect("room");
        self.changed.clear();
        self.log.trim(self.state.applied - 1).expect("removes");
    }
}

/// Writes and takes checkpoints; returns the number of operations after each acknowledged write.
fn serve(disk: &FakeDisk, server: &mut Server) -> Vec<u64> {
    let mut acknowledged = Vec::new();
    while server.state.applied < WRITES {
        server.write();
        acknowledged.push(disk.operations());
        if server.state.applied.is_multiple_of(13) {
            server.checkpoint();
        }
    }
    acknowledged
}

#[test]
fn a_crash_at_every_operation_loses_no_acknowledged_write() {
    for at in 0.. {
        let disk = FakeDisk::new();
        disk.crash_at(at);
        let mut server = Server::start(&disk);
        let acknowledged = serve(&disk, &mut server);
        if at >= disk.operations() {
            assert!(at > 150, "there were operations to crash at: {at}");
            break;
        }
        let certain = acknowledged.iter().filter(|operations| **operations <= at).count() as u64;
        let crashed = disk.crash(at);
        let mut restarted = Server::start(&crashed);
        let found = restarted.state.applied;
        assert!(found == certain || found == certain + 1, "crash at {at}: {found} of {certain} writes");
        assert_eq!(restarted.state, State::after(found), "crash at {at}");
        // The server continues from there.
        serve(&crashed, &mut restarted);
        assert_eq!(Server::start(&crashed.kill()).state, State::after(WRITES), "crash at {at}");
    }
}

/// The data that a killed process left in the operating system's memory is visible to the next
/// process, but not on the disk: a process that builds on it must first make it durable.
#[test]
fn a_power_failure_after_a_kill_at_every_operation_loses_no_acknowledged_write() {
    for at in 0.. {
        let disk = FakeDisk::new();
        disk.crash_at(at);
        let mut server = Server::start(&disk);
        let acknowledged = serve(&disk, &mut server);
        if at >= disk.operations() {
            break;
        }
        let certain = acknowledged.iter().filter(|operations| **operations <= at).count() as u64;
        for seed in [at, at + 1000] {
            let killed = disk.kill();
            let mut restarted = Server::start(&killed);
            let found = restarted.state.applied;
            assert!(found == certain || found == certain + 1, "kill at {at}: {found} of {certain} writes");
            let seen = Server::start(&killed.crash(seed)).state;
            assert_eq!(seen, State::after(found), "kill at {at}, power failure at once");
            if found < WRITES {
                restarted.write();
                let seen = Server::start(&killed.crash(seed)).state;
                assert_eq!(seen, State::after(found + 1), "kill at {at}, power failure after a write");
            }
        }
    }
}
