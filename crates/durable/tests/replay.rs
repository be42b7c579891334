//! Tests how far a recovery replays the log, what the entries of an ensemble do then, and that a
//! transferred state recovers as the state that it copies.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use oxkeeper_durable::RecoveryError;
use oxkeeper_durable::StoreOptions;
use oxkeeper_durable::checkpoint::{ENSEMBLE, LEVEL, SCALARS};
use oxkeeper_durable::recovery::{Recovered, Replay, recover_locked, recover_with};
use oxkeeper_durable::transfer::{
    InstalledScalars, LogPart, Receiver, Sender, StateSource, Tail, TransferError, finish_install,
};
use oxkeeper_proto::records::{Acl, CreateRequest, Id};
use oxkeeper_proto::{Jute, OpCode, ServerId, SessionId};
use oxkeeper_state::command::{begin_agreed, begin_batch, put_section};
use oxkeeper_state::{BallotId, Command, Epoch, Identities, Level, Raise, Settings, State};
use oxkeeper_store::fake::FakeDisk;
use oxkeeper_store::{Disk, Kind, Log, LogOptions, Snapshot, StoreError, Tree, TreeOptions};

const DIR: &str = "/data";
const DECIDED: u8 = 3;
const REPLAY: Replay = Replay::Decided { scalar: DECIDED };
const FIRST: BallotId = BallotId([1; 20]);
const SECOND: BallotId = BallotId([2; 20]);
/// Marker among paths: the session itself is created.
const SESSION: &str = "";

fn options() -> StoreOptions {
    let tree = TreeOptions { pace_rest: Duration::ZERO, ..TreeOptions::default() };
    StoreOptions { tree, ..StoreOptions::default() }
}

fn open_log(disk: &FakeDisk, first_index: u64) -> Log {
    let options = LogOptions { first_index, ..LogOptions::default() };
    Log::open(Arc::new(disk.clone()), &Path::new(DIR).join("log"), &options).unwrap()
}

fn recover(disk: &FakeDisk, replay: Replay) -> Result<Recovered, RecoveryError> {
    let disk: Arc<dyn Disk> = Arc::new(disk.clone());
    recover_with(&disk, Path::new(DIR), Path::new(DIR), 1, &options(), replay)
}

/// Returns the encoded commands of a session which create these znodes, or the session itself for
/// [`SESSION`].
fn commands(session: SessionId, paths: &[&str]) -> Vec<u8> {
    let mut out = Vec::new();
    for path in paths {
        let (op, mut body) = (if *path == SESSION { OpCode::CreateSession } else { OpCode::Create }, Vec::new());
        if op == OpCode::CreateSession {
            6000i32.encode(&mut body);
        } else {
            let acl = Some(vec![Acl { perms: 31, id: Id { scheme: Some("world".into()), id: Some("anyone".into()) } }]);
            CreateRequest { path: Some((*path).into()), data: None, acl, flags: 0 }.encode(&mut body);
        }
        let (settings, identities) = (Settings::default(), Identities::default());
        Command { from: None, session, xid: 1, op, settings, identities, body: &body }.encode(&mut out);
    }
    out
}

fn epoch(ballot: BallotId) -> Vec<u8> {
    let mut out = Vec::new();
    Epoch { ballot, time_ms: 5, ensemble: 77, config_version: 0, config: b"" }.encode(&mut out);
    out
}

/// Returns an entry with commands of server 1, numbered from `first` on.
fn agreed(ballot: BallotId, first: u64, paths: &[&str]) -> Vec<u8> {
    let mut out = Vec::new();
    begin_agreed(ballot, 6, &mut out);
    put_section(ServerId(1), 9, first, &commands(SessionId(1 << 56), paths), &mut out);
    out
}

/// Returns an entry of a standalone server.
fn alone(paths: &[&str]) -> Vec<u8> {
    let mut out = Vec::new();
    begin_batch(6, &mut out);
    out.extend(commands(SessionId(7), paths));
    out
}

/// Returns the log of an ensemble in which leaders change, with the zxid and the znodes after each
/// entry.
fn history() -> Vec<(Vec<u8>, i64, &'static [&'static str])> {
    vec![
        (alone(&[SESSION, "/alone"]), 2, &["/alone"]),
        (epoch(FIRST), 1 << 32, &["/alone"]),
        (agreed(FIRST, 1, &[SESSION, "/a", "/b"]), 1 << 32 | 3, &["/alone", "/a", "/b"]),
        // A batch that its origin sends again: the known command is skipped, the new one is
        // applied.
        (agreed(FIRST, 3, &["/b", "/c"]), 1 << 32 | 4, &["/alone", "/a", "/b", "/c"]),
        // A leader that has not begun its epoch.
        (agreed(SECOND, 5, &["/d"]), 1 << 32 | 4, &["/alone", "/a", "/b", "/c"]),
        (epoch(SECOND), 2 << 32, &["/alone", "/a", "/b", "/c"]),
        // A deposed leader.
        (agreed(FIRST, 5, &["/d"]), 2 << 32, &["/alone", "/a", "/b", "/c"]),
        // A gap in the command numbers.
        (agreed(SECOND, 6, &["/e"]), 2 << 32, &["/alone", "/a", "/b", "/c"]),
        (agreed(SECOND, 5, &["/d"]), 2 << 32 | 1, &["/alone", "/a", "/b", "/c", "/d"]),
    ]
}

/// Returns a disk whose log holds these entries from index `first` on, with this decided index.
fn disk_of(entries: &[Vec<u8>], first: u64, decided: Option<u64>) -> FakeDisk {
    let disk = FakeDisk::new();
    disk.create_dir(Path::new(DIR)).unwrap();
    let mut log = open_log(&disk, first);
    for entry in entries {
        log.append(entry).unwrap();
    }
    if let Some(decided) = decided {
        log.set_scalar(DECIDED, &decided.to_be_bytes()).unwrap();
    }
    log.sync().unwrap();
    disk
}

fn znodes(state: &State) -> usize {
    state.tree().len()
}

fn check(recovered: &Recovered, zxid: i64, paths: &[&str]) {
    let empty = znodes(&State::new(1));
    assert_eq!((recovered.state.zxid().0, znodes(&recovered.state)), (zxid, empty + paths.len()));
    for path in paths {
        assert!(recovered.state.tree().lookup(path).is_some(), "{path}");
    }
}

/// Writes a checkpoint as a server does.
fn write_checkpoint(tree: &Tree, state: &mut State, applied: u64) {
    let head = state.begin_checkpoint();
    let written = tree.checkpoint(applied, |writer| {
        writer.put_meta(SCALARS, &head.scalars)?;
        writer.put_meta(ENSEMBLE, &head.ensemble)?;
        writer.put_meta(LEVEL, &head.level)?;
        for (id, record) in &head.sessions {
            writer.put(Kind::Session, *id as u64, record.as_deref().unwrap())?;
        }
        for (id, record) in &head.acls {
            writer.put(Kind::Acl, u64::from(*id), record.as_deref().unwrap())?;
        }
        loop {
            let captured = state.capture(100);
            if captured.is_empty() {
                return Ok(());
            }
            for (slot, record) in captured {
                writer.put(Kind::Znode, u64::from(slot), record.as_deref().unwrap())?;
            }
        }
    });
    written.unwrap();
    state.end_checkpoint(&head, true);
}

/// Returns a disk with the history and a checkpoint after `applied` entries; all entries but the
/// last are decided.
fn checkpointed(applied: u64) -> FakeDisk {
    let entries: Vec<_> = history().into_iter().map(|(entry, ..)| entry).collect();
    let disk = disk_of(&entries, 0, Some(applied));
    let recovered = recover(&disk, REPLAY).unwrap();
    let Recovered { mut state, mut log, tree, .. } = recovered;
    write_checkpoint(&tree, &mut state, applied);
    log.set_scalar(DECIDED, &(entries.len() as u64 - 1).to_be_bytes()).unwrap();
    log.sync().unwrap();
    disk.kill()
}

#[test]
fn a_member_replays_what_is_decided_and_keeps_the_rest() {
    let history = history();
    let entries: Vec<_> = history.iter().map(|(entry, ..)| entry.clone()).collect();
    for (index, (_, zxid, paths)) in history.iter().enumerate() {
        let decided = index as u64 + 1;
        let recovered = recover(&disk_of(&entries, 0, Some(decided)), REPLAY).unwrap();
        assert_eq!((recovered.applied, recovered.checkpointed), (decided, 0));
        assert_eq!(recovered.log.next_index(), entries.len() as u64, "the rest is still there");
        let behind: usize = entries[..=index].iter().map(Vec::len).sum();
        assert_eq!(recovered.tail_len, behind as u64);
        check(&recovered, *zxid, paths);
    }
    let recovered = recover(&disk_of(&entries, 0, None), REPLAY).unwrap();
    assert_eq!(recovered.applied, 0, "nothing is known to be decided");
    check(&recovered, 0, &[]);
    let recovered = recover(&disk_of(&entries, 0, Some(2)), Replay::All).unwrap();
    assert_eq!(recovered.applied, entries.len() as u64);
    check(&recovered, 2 << 32 | 1, history.last().unwrap().2);
    assert_eq!(recovered.state.epoch_ballot(), Some(SECOND));
    assert_eq!(recovered.state.last_admitted(ServerId(1)), Some((9, 5)));
}

#[test]
fn every_checkpoint_and_the_tail_behind_it_are_the_same_state() {
    let history = history();
    let (last, before) = (history.len() as u64, &history[history.len() - 2]);
    for applied in 1..last {
        let disk = checkpointed(applied);
        let recovered = recover(&disk, REPLAY).unwrap();
        assert_eq!((recovered.applied, recovered.checkpointed), (last - 1, applied));
        check(&recovered, before.1, before.2);
        assert_eq!(recovered.state.last_admitted(ServerId(1)), Some((9, 4)), "checkpoint at {applied}");
        drop(recovered);
        // The scalar is written lazily: the checkpoint may include more than it says.
        let mut log = open_log(&disk, 0);
        log.set_scalar(DECIDED, &0u64.to_be_bytes()).unwrap();
        log.sync().unwrap();
        drop(log);
        assert_eq!(recover(&disk, REPLAY).unwrap().applied, applied);
    }
}

#[test]
fn files_that_do_not_fit_together_are_refused() {
    let entries: Vec<_> = history().into_iter().map(|(entry, ..)| entry).collect();
    let refused = |disk: &FakeDisk| recover(disk, REPLAY).map(|recovered| recovered.applied).unwrap_err();
    let beyond = refused(&disk_of(&entries, 0, Some(10)));
    assert!(matches!(beyond, RecoveryError::Decided { end: 9, decided: 10 }), "{beyond}");
    let disk = disk_of(&entries, 0, None);
    let mut log = open_log(&disk, 0);
    log.set_scalar(DECIDED, b"short").unwrap();
    log.sync().unwrap();
    drop(log);
    assert!(matches!(refused(&disk), RecoveryError::Decided { .. }));
    let behind = refused(&disk_of(&entries, 4, Some(5)));
    assert!(matches!(behind, RecoveryError::Gap { first: 4, end: 13, applied: 0 }), "{behind}");
    // A log that ends before the tree does is refused with either kind of replay.
    let disk = checkpointed(6);
    let mut log = open_log(&disk, 0);
    log.truncate(5).unwrap();
    log.sync().unwrap();
    drop(log);
    for replay in [REPLAY, Replay::All] {
        let short = recover(&disk, replay).map(|recovered| recovered.applied).unwrap_err();
        assert!(matches!(short, RecoveryError::Gap { first: 0, end: 5, applied: 6 }), "{short}");
    }
}

fn raise(level: Level, ballot: Option<BallotId>) -> Vec<u8> {
    let mut out = Vec::new();
    Raise { level, ballot, time_ms: 7 }.encode(&mut out);
    out
}

#[test]
fn the_feature_level_is_recovered_from_the_log_and_from_the_tree() {
    let entries = [epoch(FIRST), raise(Level::KNOWN, Some(FIRST)), agreed(FIRST, 1, &[SESSION, "/a"])];
    let disk = disk_of(&entries, 0, Some(3));
    let Recovered { mut state, tree, .. } = recover(&disk, REPLAY).unwrap();
    assert_eq!(state.level(), Level::KNOWN);
    write_checkpoint(&tree, &mut state, 3);
    drop(tree);
    let recovered = recover(&disk.kill(), REPLAY).unwrap();
    assert_eq!((recovered.state.level(), recovered.checkpointed), (Level::KNOWN, 3));
    let older = disk_of(&entries[..1], 0, Some(1));
    assert_eq!(recover(&older, REPLAY).unwrap().state.level(), Level::NONE, "data from before there were levels");
}

/// An older release refuses data that a newer one has written, whether applied or not, and leaves
/// it unchanged.
#[test]
fn data_of_a_newer_release_is_refused_by_its_level() {
    let above = Level(Level::KNOWN.0 + 1);
    let refused = |disk: &FakeDisk, replay| {
        let problem = recover(disk, replay).map(|recovered| recovered.applied).unwrap_err();
        assert!(
            matches!(problem, RecoveryError::Newer { needs, knows: Level::KNOWN, .. } if needs == above),
            "{problem}"
        );
        problem.to_string()
    };
    let entries = [epoch(FIRST), agreed(FIRST, 1, &[SESSION, "/a"]), raise(above, Some(FIRST))];
    for decided in 1..=3 {
        let disk = disk_of(&entries, 0, Some(decided));
        let text = refused(&disk, REPLAY);
        assert_eq!(
            text,
            format!(
                "log entry 2, of kind 4, is of feature level {above}, this release ({}) knows levels up to {}: start a \
                 release that knows it. Nothing was changed",
                env!("CARGO_PKG_VERSION"),
                Level::KNOWN
            )
        );
        let newer = StoreOptions { knows: above, ..options() };
        let shared: Arc<dyn Disk> = Arc::new(disk.kill());
        let recovered = recover_with(&shared, Path::new(DIR), Path::new(DIR), 1, &newer, REPLAY).unwrap();
        assert_eq!((recovered.log.next_index(), recovered.applied), (3, decided), "the newer one finds all of it");
    }
    let disk = disk_of(&entries[..2], 0, Some(2));
    let Recovered { mut state, tree, .. } = recover(&disk, REPLAY).unwrap();
    state.raise(&Raise { level: above, ballot: Some(FIRST), time_ms: 0 });
    write_checkpoint(&tree, &mut state, 2);
    drop(tree);
    assert!(refused(&disk.kill(), REPLAY).starts_with("the durable tree is of feature level"));
}

/// Source that sends the state of a recovered server.
struct Peer(Recovered);

impl StateSource for Peer {
    fn snapshot(&self) -> Result<Option<Snapshot>, StoreError> {
        self.0.tree.snapshot()
    }

    fn entries(&self, from: u64) -> Result<LogPart, TransferError> {
        let end = self.0.log.next_index();
        let tail = Tail { decided: self.0.applied, end, ..Tail::default() };
        let mut part = LogPart { entries: Vec::new(), last: Some(tail) };
        self.0.log.read(from..end, |_, entry| part.entries.push(entry.into()))?;
        Ok(part)
    }
}

#[test]
fn a_transferred_state_recovers_as_the_senders() {
    let peer = Peer(recover(&checkpointed(6), REPLAY).unwrap());
    let behind = disk_of(&[alone(&[SESSION, "/mine"]), alone(&["/other"])], 0, Some(2));
    let old = recover(&behind, REPLAY).unwrap();
    assert!(old.state.tree().lookup("/mine").is_some());
    let disk: Arc<dyn Disk> = Arc::new(behind.clone());
    let mut receiver = Receiver::new(&disk, Path::new(DIR), Path::new(DIR), &options()).unwrap();
    let (mut sender, mut chunk) = (Sender::new(&peer).unwrap(), Vec::new());
    while sender.next_chunk(&mut chunk).unwrap() {
        receiver.take(&chunk).unwrap();
        chunk.clear();
    }
    let decide = |tail: &Tail| {
        let scalars = vec![(DECIDED, tail.decided.to_be_bytes().to_vec())];
        InstalledScalars { keep_until: tail.end, own: Vec::new(), scalars }
    };
    receiver.finish(decide).unwrap();
    let Recovered { locks, .. } = old;
    let new = recover_locked(locks, &disk, Path::new(DIR), Path::new(DIR), 2, &options(), REPLAY).unwrap();
    assert!(!finish_install(&*disk, Path::new(DIR), Path::new(DIR)).unwrap(), "all of it is done");
    let (new, peer) = (&new, &peer.0);
    assert_eq!((new.applied, new.checkpointed), (8, 6));
    assert_eq!((new.log.first_index(), new.log.next_index()), (6, 9));
    let facts = |recovered: &Recovered| {
        let state = &recovered.state;
        let agreement = (state.epoch_ballot(), state.ensemble(), state.last_admitted(ServerId(1)));
        (state.zxid(), state.tree().digest(), znodes(state), agreement)
    };
    assert_eq!(facts(new), facts(peer));
    assert!(new.state.tree().lookup("/mine").is_none());
}
