//! Journal groups that are durable together: a crash leaves no entries of one leader under the
//! ballot of another.

use std::path::Path;
use std::sync::Arc;

use oxkeeper_durable::LogJournal;
use oxkeeper_proto::ServerId;
use oxkeeper_replica::ensemble::journal::scalar;
use oxkeeper_replica::ensemble::{DiskJob, Journal, JournalOp, MemoryJournal};
use oxkeeper_state::{BallotId, Epoch};
use oxkeeper_store::fake::FakeDisk;
use oxkeeper_store::{Log, LogOptions};
use parking_lot::Mutex;

use crate::pure::{Pure, voter_ping};

/// Groups as they were written.
type Groups = Arc<Mutex<Vec<Vec<JournalOp>>>>;

/// A journal that records the groups written.
struct Watched {
    inner: MemoryJournal,
    groups: Groups,
}

impl Journal for Watched {
    fn first_index(&self) -> u64 {
        self.inner.first_index()
    }

    fn next_index(&self) -> u64 {
        self.inner.next_index()
    }

    fn scalar(&self, key: u8) -> Option<Vec<u8>> {
        self.inner.scalar(key)
    }

    fn work(&mut self, groups: Vec<Vec<JournalOp>>) -> DiskJob {
        self.groups.lock().extend(groups.iter().cloned());
        self.inner.work(groups)
    }

    fn read(&self, range: std::ops::Range<u64>, entry: &mut dyn FnMut(&[u8])) {
        self.inner.read(range, entry);
    }

    fn floor(&self, len_max: u64) -> u64 {
        self.inner.floor(len_max)
    }

    fn trim(&mut self, index: u64) {
        self.inner.trim(index);
    }
}

/// Returns a ballot of process 1.
fn ballot(number: u32) -> Vec<u8> {
    [&1u32.to_be_bytes()[..], &number.to_be_bytes(), &[0; 4], &1u64.to_be_bytes()].concat()
}

fn prepare(number: u32) -> Vec<u8> {
    [&[2][..], &ballot(number), &[0; 16], &[0; 20]].concat()
}

/// Returns a leader's whole log: three entries of `len` bytes.
fn accept_sync(number: u32, len: usize) -> Vec<u8> {
    let mut frame = [&[4][..], &ballot(number), &[0; 8], &1u64.to_be_bytes(), &1u64.to_be_bytes(), &[0; 8]].concat();
    let config = vec![number as u8; len];
    let (ballot, config) = (BallotId(ballot(number).try_into().unwrap()), &config[..]);
    let mut entry = Vec::new();
    Epoch { ballot, time_ms: 0, ensemble: 1, config_version: 0, config }.encode(&mut entry);
    for _ in 0..3 {
        frame.extend_from_slice(&(entry.len() as u32).to_be_bytes());
        frame.extend_from_slice(&entry);
    }
    frame
}

/// The logs of two leaders arrive in one iteration: each is written with its round, or both in one
/// group that is short enough for any journal.
#[test]
fn a_leaders_entries_and_their_round_are_written_together() {
    for (len, groups_expected) in [(1 << 10, 1), (7 << 20, 2)] {
        let groups = Groups::default();
        let mut inner = MemoryJournal::default();
        inner.write(vec![JournalOp::Scalar(scalar::MEMBERS, vec![1, 2, 3])]).unwrap();
        let mut server = Pure::new(2, &[1, 2, 3], Box::new(Watched { inner, groups: groups.clone() }), 0);
        server.replica.link_up(ServerId(1), 0);
        server.replica.receive(ServerId(1), &voter_ping(), 0).unwrap();
        groups.lock().clear();
        for number in [2, 3] {
            server.replica.receive(ServerId(1), &prepare(number), 0).unwrap();
            server.replica.receive(ServerId(1), &accept_sync(number, len), 0).unwrap();
        }
        server.replica.persist().unwrap();
        let groups = groups.lock();
        let is_round = |op: &JournalOp| matches!(op, JournalOp::Scalar(scalar::ROUND, _));
        let is_entry = |op: &JournalOp| matches!(op, JournalOp::Append(_) | JournalOp::Truncate(_));
        let with_entries: Vec<_> = groups.iter().filter(|group| group.iter().any(is_entry)).collect();
        assert_eq!(with_entries.len(), groups_expected, "{len}");
        for group in with_entries {
            let behind = group.iter().rev().take_while(|op| !is_entry(op));
            assert!(behind.into_iter().any(is_round), "the round is behind the entries, in the same group");
        }
        assert_eq!(groups.iter().flatten().filter(|op| is_round(op)).count(), 2);
    }
}

/// Returns a disk with a log of two entries and then a group that replaces the second one by more
/// than 32 MiB, crashed at operation `operation` of the group, or after all. Also returns the
/// number of operations.
fn crashed_in_a_long_group(operation: Option<u64>) -> (FakeDisk, u64) {
    let disk = FakeDisk::new();
    let mut journal = LogJournal::new(open(&disk));
    journal.write([b"a", b"b"].map(|entry| JournalOp::Append(Arc::from(*entry))).to_vec()).unwrap();
    let before = disk.operations();
    if let Some(operation) = operation {
        disk.crash_at(before + operation);
    }
    let entry: Arc<[u8]> = Arc::from(vec![7; 14 << 20]);
    let mut group = vec![JournalOp::Truncate(1)];
    group.extend((0..3).map(|_| JournalOp::Append(entry.clone())));
    group.push(JournalOp::Scalar(scalar::ROUND, vec![2]));
    journal.write(group).unwrap();
    (disk.crash(1), disk.operations() - before)
}

fn open(disk: &FakeDisk) -> Log {
    Log::open(Arc::new(disk.clone()), Path::new("/log"), &LogOptions::default()).unwrap()
}

/// The log writes everything that one frame brings as a unit: after a crash at any operation, it is
/// all there, or none of it is.
#[test]
fn a_long_group_is_durable_as_a_whole() {
    let found = |disk: &FakeDisk| {
        let log = open(disk);
        (log.next_index(), log.scalar(scalar::ROUND))
    };
    let (whole, operations) = crashed_in_a_long_group(None);
    assert_eq!(found(&whole), (4, Some(vec![2])));
    for operation in operations.saturating_sub(6)..operations {
        let (left, _) = crashed_in_a_long_group(Some(operation));
        let found = found(&left);
        assert!(found == (2, None) || found == (4, Some(vec![2])), "{found:?} at {operation} of {operations}");
    }
}
