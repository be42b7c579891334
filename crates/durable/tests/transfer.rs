//! Tests state transfer from one data directory to another: complete, damaged, cut short, and with
//! a crash at every disk operation.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use oxkeeper_durable::RecoveryError;
use oxkeeper_durable::StoreOptions;
use oxkeeper_durable::recovery::{Recovered, Replay, recover_with};
use oxkeeper_durable::transfer::{
    CHUNK_LEN_MAX, Installed, InstalledScalars, LogPart, Receiver, Sender, StateSource, Tail, TransferError,
    finish_install,
};
use oxkeeper_proto::{OpCode, SessionId};
use oxkeeper_state::command::begin_batch;
use oxkeeper_state::{Command, Identities, Settings};
use oxkeeper_store::fake::FakeDisk;
use oxkeeper_store::{Disk, Kind, Log, LogOptions, RealDisk, Snapshot, StoreError, Tree, TreeOptions, TreeWriter};

/// Data and log directories on the fake disk, which may be the same.
type Dirs = (&'static str, &'static str);
const APART: Dirs = ("/data", "/elsewhere/log-dir");
const TOGETHER: Dirs = ("/data", "/data");
const ROUND: u8 = 2;
const DECIDED: u8 = 3;

fn options() -> StoreOptions {
    StoreOptions {
        log: LogOptions { segment_len: 2000, ..LogOptions::default() },
        tree: TreeOptions { pace_rest: Duration::ZERO, ..TreeOptions::default() },
        ..StoreOptions::default()
    }
}

fn entry(server: u8, index: u64) -> Vec<u8> {
    entry_of(&[&[server][..], &index.to_be_bytes()].concat().repeat(30))
}

/// Returns a batch of one command with this body.
fn entry_of(body: &[u8]) -> Vec<u8> {
    let (settings, identities) = (Settings::default(), Identities::default());
    let mut out = Vec::new();
    begin_batch(0, &mut out);
    let (session, op) = (SessionId(1), OpCode::SetData);
    Command { from: None, session, xid: 1, op, settings, identities, body }.encode(&mut out);
    out
}

fn open_tree(disk: &FakeDisk, dirs: Dirs) -> Tree {
    Tree::open(Arc::new(disk.clone()), Path::new(dirs.0), &options().tree).unwrap()
}

fn open_log(disk: &FakeDisk, dirs: Dirs, first_index: u64) -> Log {
    let options = LogOptions { first_index, ..options().log };
    Log::open(Arc::new(disk.clone()), &Path::new(dirs.1).join("log"), &options).unwrap()
}

/// Contents of a data directory.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Contents {
    applied: u64,
    records: Vec<(String, u64, Vec<u8>)>,
    values: Vec<(String, Vec<u8>)>,
    entries: Vec<(u64, Vec<u8>)>,
    round: Option<Vec<u8>>,
}

/// Reads a data directory as a server does when it starts.
fn start(disk: &FakeDisk, dirs: Dirs) -> Contents {
    finish_install(disk, Path::new(dirs.0), Path::new(dirs.1)).unwrap();
    let mut contents = Contents::default();
    let tree = open_tree(disk, dirs);
    if let Some(snapshot) = tree.snapshot().unwrap() {
        contents.applied = snapshot.applied_index();
        for kind in Kind::ALL {
            snapshot.load(kind, |key, value| contents.records.push((kind.to_string(), key, value.to_vec()))).unwrap();
        }
        snapshot.load_meta(|key, value| contents.values.push((key.to_owned(), value.to_vec()))).unwrap();
    }
    let log = open_log(disk, dirs, 0);
    assert!(log.first_index() <= contents.applied && contents.applied <= log.next_index(), "no gap");
    log.read(log.first_index()..log.next_index(), |index, entry| contents.entries.push((index, entry.to_vec())))
        .unwrap();
    contents.round = log.scalar(ROUND);
    contents
}

/// Returns the disk of a server with a checkpoint at `applied` and a log from there to `end`.
fn server(number: u8, dirs: Dirs, applied: u64, end: u64) -> FakeDisk {
    let disk = FakeDisk::new();
    disk.create_dir(Path::new(dirs.0)).unwrap();
    disk.create_dir(Path::new(dirs.1)).unwrap();
    open_tree(&disk, dirs).checkpoint(applied, |writer| put_records(writer, number, 40)).unwrap();
    let mut log = open_log(&disk, dirs, applied);
    log.set_scalar(ROUND, &[number]).unwrap();
    for index in applied..end {
        log.append(&entry(number, index)).unwrap();
        log.sync().unwrap();
    }
    drop(log);
    disk.kill()
}

fn put_records(writer: &mut TreeWriter<'_>, number: u8, count: u64) -> Result<(), StoreError> {
    writer.put_meta("scalars", &[number; 40])?;
    writer.put_meta("other", &[number])?;
    for key in 0..count {
        writer.put(Kind::Znode, key * 3, &[number; 100])?;
    }
    writer.put(Kind::Session, u64::MAX, &[number; 5])?;
    writer.put(Kind::Acl, 1, &[number; 9])
}

/// A peer that sends the state on a disk, a few entries at a time.
struct Peer {
    tree: Tree,
    log: Log,
    decided: u64,
    part: u64,
}

impl Peer {
    fn new(disk: &FakeDisk, dirs: Dirs, decided: u64) -> Peer {
        Peer { tree: open_tree(disk, dirs), log: open_log(disk, dirs, 0), decided, part: 3 }
    }
}

impl StateSource for Peer {
    fn snapshot(&self) -> Result<Option<Snapshot>, StoreError> {
        self.tree.snapshot()
    }

    fn entries(&self, from: u64) -> Result<LogPart, TransferError> {
        let first = self.log.first_index();
        if from < first {
            return Err(TransferError::Trimmed { from, first });
        }
        let end = self.log.next_index();
        let last = from + self.part >= self.decided;
        let mut part = LogPart::default();
        self.log.read(from..if last { end } else { from + self.part }, |_, entry| part.entries.push(entry.into()))?;
        part.last = last.then(|| Tail {
            promise: b"promise".to_vec(),
            round: b"round".to_vec(),
            configuration: b"voters".to_vec(),
            decided: self.decided,
            end,
        });
        Ok(part)
    }
}

fn chunks_of(source: impl StateSource) -> Vec<Vec<u8>> {
    let (mut sender, mut chunks) = (Sender::new(source).unwrap(), Vec::new());
    loop {
        let mut chunk = Vec::new();
        if !sender.next_chunk(&mut chunk).unwrap() {
            assert!(!sender.next_chunk(&mut chunk).unwrap() && chunk.is_empty(), "the end is the end");
            return chunks;
        }
        assert!(!chunk.is_empty() && chunk.len() <= CHUNK_LEN_MAX);
        chunks.push(chunk);
    }
}

fn receiver(disk: &FakeDisk, dirs: Dirs) -> Receiver {
    let disk: Arc<dyn Disk> = Arc::new(disk.clone());
    Receiver::new(&disk, Path::new(dirs.0), Path::new(dirs.1), &options()).unwrap()
}

/// Accepts everything from the peer.
fn all_of_it(tail: &Tail) -> InstalledScalars {
    let scalars = vec![(ROUND, tail.round.clone()), (DECIDED, tail.decided.to_be_bytes().to_vec())];
    InstalledScalars { keep_until: tail.end, own: Vec::new(), scalars }
}

fn transfer(disk: &FakeDisk, dirs: Dirs, stream: &[u8]) -> Result<Installed, TransferError> {
    let mut receiver = receiver(disk, dirs);
    receiver.take(stream)?;
    receiver.finish(all_of_it)
}

/// Returns the disk of a server that is behind, the contents that a copy of its peer has, and the
/// chunks that the peer sends.
fn pair(dirs: Dirs) -> (FakeDisk, Contents, Vec<Vec<u8>>) {
    let peer = server(7, APART, 100, 120);
    let copy = Contents { round: Some(b"round".to_vec()), ..start(&peer, APART) };
    (server(1, dirs, 3, 8), copy, chunks_of(Peer::new(&peer, APART, 115)))
}

#[test]
fn a_state_arrives_in_any_pieces_and_replaces_the_old_one() {
    for dirs in [APART, TOGETHER] {
        let (behind, copy, chunks) = pair(dirs);
        let stream = chunks.concat();
        for step in [1, 7, 4096, stream.len()] {
            let disk = behind.kill();
            let mut receiver = receiver(&disk, dirs);
            assert_eq!(receiver.tail(), None);
            let mut progress = Default::default();
            for piece in stream.chunks(step) {
                assert_eq!(progress, receiver.take(&[]).unwrap());
                progress = receiver.take(piece).unwrap();
            }
            assert!(progress.complete && progress.received == stream.len() as u64);
            assert_eq!((progress.records, progress.records_total, progress.entries), (42, 42, 20));
            assert_eq!(receiver.tail().unwrap().decided, 115);
            let installed = receiver.finish(all_of_it).unwrap();
            assert_eq!(installed, Installed { applied: 100, end: 120 });
            assert_eq!(start(&disk, dirs), copy);
            assert_eq!(open_log(&disk, dirs, 0).scalar(DECIDED), Some(115u64.to_be_bytes().to_vec()));
            let names = disk.list(Path::new(dirs.0)).unwrap();
            assert!(names.iter().all(|name| ["tree.redb", "log"].contains(&name.as_str())), "{names:?}");
        }
    }
}

#[test]
fn large_records_and_many_of_them_go_through() {
    let disk = server(7, APART, 100, 101);
    let tree = open_tree(&disk, APART);
    let random = |seed: u64, len: usize| -> Vec<u8> {
        (0..len as u64).map(|at| (((at ^ seed) * 0x9e37_79b9) >> 13) as u8).collect()
    };
    let write = |writer: &mut TreeWriter<'_>| {
        writer.put(Kind::Znode, 1, &random(1, 1 << 20))?;
        writer.put(Kind::Znode, 2, &random(2, 3 << 20))?;
        (1000..41_000).try_for_each(|key| writer.put(Kind::Znode, key, &random(key, 150)))
    };
    tree.checkpoint(100, write).unwrap();
    drop(tree);
    let mut log = open_log(&disk, APART, 0);
    for (index, len) in [(101, (16 << 20) - 100), (102, 5 << 20), (103, 0)] {
        log.append(&entry_of(&random(index, len))).unwrap();
        log.sync().unwrap();
    }
    drop(log);
    let chunks = chunks_of(Peer::new(&disk, APART, 104));
    let behind = server(1, TOGETHER, 3, 8);
    assert_eq!(transfer(&behind, TOGETHER, &chunks.concat()).unwrap(), Installed { applied: 100, end: 104 });
    let copy = Contents { round: Some(b"round".to_vec()), ..start(&disk, APART) };
    assert!(start(&behind, TOGETHER) == copy, "the same records, values and entries");
}

#[test]
fn checkpoints_of_the_sender_do_not_change_what_is_sent() {
    let disk = server(7, APART, 100, 120);
    let peer = Peer::new(&disk, APART, 120);
    let copy = Contents { round: Some(b"round".to_vec()), ..start(&disk.kill(), APART) };
    let peer = Arc::new(peer);
    let mut sender = Sender::new(peer.clone()).unwrap();
    peer.tree.checkpoint(118, |writer| put_records(writer, 8, 70)).unwrap();
    let mut stream = Vec::new();
    while sender.next_chunk(&mut stream).unwrap() {}
    let behind = server(1, APART, 3, 8);
    transfer(&behind, APART, &stream).unwrap();
    assert_eq!(start(&behind, APART), copy);
}

#[test]
fn the_receivers_own_suffix_can_stay() {
    let (disk, copy, chunks) = pair(APART);
    let mut receiver = receiver(&disk, APART);
    receiver.take(&chunks.concat()).unwrap();
    let own: Vec<Arc<[u8]>> = (115..119).map(|index| entry(1, index).into()).collect();
    let decide =
        |tail: &Tail| InstalledScalars { keep_until: tail.decided, own, scalars: vec![(ROUND, b"mine".to_vec())] };
    assert_eq!(receiver.finish(decide).unwrap(), Installed { applied: 100, end: 119 });
    let found = start(&disk, APART);
    assert_eq!((found.applied, &found.records, found.round), (100, &copy.records, Some(b"mine".to_vec())));
    let expected = (100..119).map(|index| (index, entry(if index < 115 { 7 } else { 1 }, index)));
    assert_eq!(found.entries, expected.collect::<Vec<_>>());
}

#[test]
fn a_peer_without_a_checkpoint_sends_its_log() {
    let peer = FakeDisk::new();
    let mut log = open_log(&peer, APART, 0);
    (0..5).for_each(|index| assert_eq!(log.append(&entry(7, index)), Ok(index)));
    log.sync().unwrap();
    drop(log);
    let stream = chunks_of(Peer::new(&peer, APART, 5)).concat();
    let disk = server(1, APART, 3, 8);
    assert_eq!(transfer(&disk, APART, &stream).unwrap(), Installed { applied: 0, end: 5 });
    let found = start(&disk, APART);
    assert_eq!((found.applied, found.records.len(), found.values.len()), (0, 0, 0), "the old tree is gone");
    assert_eq!(found.entries, (0..5).map(|index| (index, entry(7, index))).collect::<Vec<_>>());
    // A server that receives an empty state starts as on a new directory.
    let disk = server(1, TOGETHER, 3, 8);
    let empty = Peer::new(&FakeDisk::new(), APART, 0);
    transfer(&disk, TOGETHER, &chunks_of(empty).concat()).unwrap();
    let recovered = recover(&disk, TOGETHER, Replay::All).unwrap();
    assert_eq!((recovered.applied, recovered.checkpointed, recovered.state.tree().len()), (0, 0, fresh_len()));
}

fn fresh_len() -> usize {
    recover(&FakeDisk::new(), TOGETHER, Replay::All).unwrap().state.tree().len()
}

fn recover(disk: &FakeDisk, dirs: Dirs, replay: Replay) -> Result<Recovered, RecoveryError> {
    let disk: Arc<dyn Disk> = Arc::new(disk.clone());
    recover_with(&disk, Path::new(dirs.0), Path::new(dirs.1), 1, &options(), replay)
}

#[test]
fn a_stream_that_is_cut_swapped_or_damaged_leaves_the_old_state() {
    let peer = server(7, APART, 100, 120);
    let tree = open_tree(&peer, APART);
    tree.checkpoint(100, |writer| put_records(writer, 7, 9000)).unwrap();
    drop(tree);
    let chunks = chunks_of(Peer::new(&peer, APART, 115));
    assert!(chunks.len() > 3, "{} chunks", chunks.len());
    let stream = chunks.concat();
    let behind = server(1, APART, 3, 8);
    let old = start(&behind, APART);
    let refused = |stream: &[u8]| {
        let disk = behind.kill();
        let refused = transfer(&disk, APART, stream).unwrap_err();
        assert_eq!(start(&disk, APART), old);
        refused
    };
    let ends: Vec<usize> = chunks
        .iter()
        .scan(0, |end, chunk| {
            *end += chunk.len();
            Some(*end)
        })
        .collect();
    for cut in [0, 1, 27, 28, 1000, stream.len() - 1].iter().chain(&ends[..ends.len() - 1]) {
        assert!(matches!(refused(&stream[..*cut]), TransferError::Incomplete), "cut at {cut}");
    }
    for at in 1..chunks.len() {
        let mut others = chunks.clone();
        others.swap(at - 1, at);
        assert!(matches!(refused(&others.concat()), TransferError::OutOfOrder { .. }), "swapped at {at}");
        others = chunks.clone();
        others.remove(at - 1);
        assert!(matches!(refused(&others.concat()), TransferError::OutOfOrder { .. }), "lost before {at}");
        others = chunks.clone();
        others.insert(at, chunks[at - 1].clone());
        assert!(matches!(refused(&others.concat()), TransferError::OutOfOrder { .. }), "twice before {at}");
    }
    let step = stream.len() * 8 / 60;
    for bit in (3..stream.len() * 8).step_by(step) {
        let mut flipped = stream.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert!(matches!(refused(&flipped), TransferError::Damaged { .. }), "bit {bit}");
    }
    assert!(matches!(refused(&[&stream[..], &b"more"[..]].concat()), TransferError::Unexpected { .. }));
}

#[test]
fn after_a_failure_a_new_attempt_succeeds_and_the_old_receiver_stays_failed() {
    let (disk, copy, chunks) = pair(APART);
    let mut first = receiver(&disk, APART);
    first.take(&chunks[0][..100]).unwrap();
    assert!(matches!(first.take(&chunks[0]), Err(TransferError::Damaged { .. })));
    assert!(matches!(first.take(&chunks[0]), Err(TransferError::Failed)));
    assert!(matches!(first.finish(all_of_it), Err(TransferError::Failed)));
    transfer(&disk, APART, &chunks.concat()).unwrap();
    let real: Arc<dyn Disk> = Arc::new(disk.clone());
    let early = Receiver::new(&real, Path::new(APART.0), Path::new(APART.1), &options());
    assert!(matches!(early, Err(TransferError::Pending)));
    assert_eq!(start(&disk, APART), copy);
}

#[test]
fn a_source_that_breaks_its_promises_is_found_out() {
    struct Broken(LogPart);
    impl StateSource for Broken {
        fn snapshot(&self) -> Result<Option<Snapshot>, StoreError> {
            Ok(None)
        }
        fn entries(&self, _from: u64) -> Result<LogPart, TransferError> {
            Ok(self.0.clone())
        }
    }
    let tail = Tail { end: 2, ..Tail::default() };
    for part in [LogPart::default(), LogPart { entries: vec![[1].into()], last: Some(tail) }] {
        let mut sender = Sender::new(Broken(part)).unwrap();
        assert!(matches!(sender.next_chunk(&mut Vec::new()), Err(TransferError::Source(_))));
        assert!(matches!(sender.next_chunk(&mut Vec::new()), Err(TransferError::Failed)));
    }
}

#[test]
fn damage_on_the_senders_disk_is_not_sent() {
    let disk = server(7, APART, 100, 120);
    let path = Path::new("/data/tree.redb");
    let content = disk.content(path).unwrap();
    let at = content.windows(100).position(|bytes| bytes == [7; 100]).unwrap();
    disk.flip(path, at * 8 + 300);
    let mut sender = Sender::new(Peer::new(&disk, APART, 120)).unwrap();
    let sent = sender.next_chunk(&mut Vec::new());
    assert!(matches!(sent, Err(TransferError::Store(StoreError::DamagedRecord { .. }))), "{sent:?}");
}

#[test]
fn a_full_disk_ends_the_transfer_and_the_old_state_stays() {
    let (behind, copy, chunks) = pair(APART);
    let old = start(&behind.kill(), APART);
    let (used, mut refused) = (behind.used(), 0);
    for room in (0..3 << 20).step_by(100 << 10) {
        let disk = behind.kill();
        disk.set_room(Some(used + room));
        let real: Arc<dyn Disk> = Arc::new(disk.clone());
        let done = Receiver::new(&real, Path::new(APART.0), Path::new(APART.1), &options())
            .and_then(|mut receiver| receiver.take(&chunks.concat()).map(|_| receiver))
            .and_then(|receiver| receiver.finish(all_of_it));
        disk.set_room(None);
        match done {
            Ok(_) => assert_eq!(start(&disk, APART), copy),
            Err(TransferError::Store(StoreError::Full { .. })) => {
                refused += 1;
                assert_eq!(start(&disk, APART), old, "room {room}");
            }
            Err(other) => panic!("{other}"),
        }
    }
    assert!(refused > 2, "{refused} refused");
}

/// Receives and installs a state and starts, with a crash at each disk operation.
fn crash_everywhere(dirs: Dirs) {
    let (behind, copy, chunks) = pair(dirs);
    let (stream, old) = (chunks.concat(), start(&behind.kill(), dirs));
    let (mut seen_old, mut seen_new) = (0, 0);
    for at in 0.. {
        let disk = behind.kill();
        disk.crash_at(at);
        transfer(&disk, dirs, &stream).unwrap();
        let committed = disk.operations();
        assert_eq!(start(&disk, dirs), copy);
        if at >= disk.operations() {
            assert!(at > committed + 5 && committed > 20, "{committed} operations, then {at}");
            break;
        }
        let check = |disk: &FakeDisk, case: &str| {
            let found = start(disk, dirs);
            assert!(found == old || found == copy, "{case} at {at}: a mixture: {found:?}");
            assert!(found == copy || at < committed, "{case} at {at}: installed at {committed} and gone");
            assert!(found == old || at + 2 >= committed, "{case} at {at}: new before {committed}");
            found == copy
        };
        for seed in 0..2 {
            let crashed = disk.crash(at * 10 + seed);
            let new = check(&crashed, "power failure");
            if new {
                seen_new += 1
            } else {
                seen_old += 1
            }
            // A result that was seen once stays, even without another sync in between.
            assert_eq!(check(&crashed.crash(seed), "twice"), new, "crash at {at}");
            let killed = disk.kill();
            let new = check(&killed, "kill");
            assert_eq!(check(&killed.crash(seed), "power failure after a kill"), new, "kill at {at}");
            if !new {
                transfer(&killed, dirs, &stream).unwrap();
                assert_eq!(start(&killed, dirs), copy, "kill at {at}, and again");
            }
        }
        // Before the commit, a start only removes leftovers.
        if at + 10 >= committed || at.is_multiple_of(16) {
            power_failure_while_starting(&disk.kill(), at, &check);
        }
    }
    assert!(seen_old > 20 && seen_new > 20, "{seen_old} old, {seen_new} new");
}

/// Cuts the start after a kill short, at each of its disk operations.
fn power_failure_while_starting(killed: &FakeDisk, at: u64, check: &dyn Fn(&FakeDisk, &str) -> bool) {
    for second in 0.. {
        let disk = killed.kill();
        disk.crash_at(second);
        check(&disk, "kill");
        if second >= disk.operations() {
            return;
        }
        check(&disk.crash(at + second), "power failure while starting");
        check(&disk.kill(), "kill while starting");
    }
}

#[test]
fn a_crash_at_every_operation_leaves_the_old_state_or_the_new_one() {
    crash_everywhere(APART);
}

#[test]
fn a_crash_at_every_operation_of_one_directory_leaves_the_old_state_or_the_new_one() {
    crash_everywhere(TOGETHER);
}

#[test]
fn a_state_goes_to_a_real_disk() {
    let (_, copy, chunks) = pair(APART);
    let (data, logs) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    for _ in 0..2 {
        let mut half = Receiver::new(&disk, data.path(), logs.path(), &options()).unwrap();
        half.take(&chunks[0][..chunks[0].len() / 2]).unwrap();
        drop(half);
        let mut receiver = Receiver::new(&disk, data.path(), logs.path(), &options()).unwrap();
        receiver.take(&chunks.concat()).unwrap();
        receiver.finish(all_of_it).unwrap();
        assert!(finish_install(&RealDisk, data.path(), logs.path()).unwrap());
        assert!(!finish_install(&RealDisk, data.path(), logs.path()).unwrap());
        let names = |dir: &Path| RealDisk.list(dir).unwrap();
        assert_eq!((names(data.path()), names(logs.path())), (vec!["tree.redb".to_owned()], vec!["log".to_owned()]));
        let tree = Tree::open(disk.clone(), data.path(), &options().tree).unwrap();
        assert_eq!(tree.snapshot().unwrap().unwrap().contents().records(), copy.records.len() as u64);
        let log = Log::open(disk.clone(), &logs.path().join("log"), &options().log).unwrap();
        assert_eq!((log.first_index(), log.next_index()), (100, 120));
    }
}
