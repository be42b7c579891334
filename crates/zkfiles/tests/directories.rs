//! Directories after crashes, fuzzy snapshots, lost files and forgotten options: the state loaded from them,
//! and the missing parts reported.

mod common;

use std::fs;
use std::path::{Path, PathBuf};

use common::{log_of, text, transaction};
use oxkeeper_proto::records::{Acl, Id};
use oxkeeper_proto::{Jute, Zxid};
use oxkeeper_state::State;
use oxkeeper_state::import::StoredStat;
use oxkeeper_state::znode::Owner;
use oxkeeper_zkfiles::dir::{Checked, Loaded, Options, load, load_file, load_stream};
use oxkeeper_zkfiles::snapshot::Digest;
use oxkeeper_zkfiles::txn::op;
use oxkeeper_zkfiles::write::Writer;
use oxkeeper_zkfiles::{FileError, Loss};
use tempfile::TempDir;

/// A dataDir of ZooKeeper.
struct Dir(TempDir);

impl Dir {
    fn new() -> Dir {
        let dir = TempDir::new().expect("a place");
        fs::create_dir(dir.path().join("version-2")).expect("a directory");
        Dir(dir)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.path().join("version-2").join(name)
    }

    fn with(self, name: &str, bytes: &[u8]) -> Dir {
        fs::write(self.file(name), bytes).expect("a file");
        self
    }

    /// Adds a log that creates `/zxid` with each of these zxids.
    fn log(self, zxids: &[i64]) -> Dir {
        self.log_named(zxids[0], zxids)
    }

    fn log_named(self, name: i64, zxids: &[i64]) -> Dir {
        let bytes = log_of(&zxids.iter().map(|&zxid| created(zxid, &format!("/{zxid:x}"), &[])).collect::<Vec<_>>());
        self.with(&format!("log.{name:x}"), &bytes)
    }

    /// Adds a snapshot of nothing but the root.
    fn snapshot(self, zxid: i64) -> Dir {
        let bytes = a_snapshot(&[], EMPTY_DIGEST);
        self.with(&format!("snapshot.{zxid:x}"), &bytes)
    }

    fn load_with(&self, options: Options) -> Result<Loaded, FileError> {
        load(self.0.path(), self.0.path(), Options { seed: 1, ..options }, |_| {})
    }

    fn load(&self) -> Loaded {
        self.load_with(Options::default()).expect("a directory")
    }

    fn losses(&self) -> Vec<Loss> {
        self.load().found.losses
    }
}

fn stat(owner: Owner) -> StoredStat {
    let time = 4_075_000_000_000;
    let (czxid, mzxid, pzxid, ctime, mtime) = (0, 0, 0, time, time);
    StoredStat { czxid, mzxid, ctime, mtime, version: 0, cversion: 0, aversion: 0, owner, pzxid }
}

/// Makes a snapshot of the root and of znodes with these ACL ids, none of which is in the snapshot.
fn a_snapshot(znodes: &[(&str, u32)], digest: Digest) -> Vec<u8> {
    let mut writer = Writer::new(Vec::new(), [(7, 1000)].into_iter(), [].into_iter()).expect("memory");
    writer.znode("", Some(b""), 0, &stat(Owner::PERSISTENT)).expect("memory");
    for &(path, acl) in znodes {
        writer.znode(path, Some(b"x"), acl, &stat(Owner::PERSISTENT)).expect("memory");
    }
    writer.finish(digest).expect("memory")
}

fn only(address: &str) -> Vec<Acl<'static>> {
    vec![Acl { perms: 1, id: Id { scheme: Some("ip".into()), id: Some(address.to_owned().into()) } }]
}

fn created(zxid: i64, path: &str, acl: &[Acl<'static>]) -> Vec<u8> {
    let mut body = text(path);
    Some(b"x".as_slice()).encode(&mut body);
    (acl.len() as i32).encode(&mut body);
    acl.iter().for_each(|entry| entry.encode(&mut body));
    body.push(0);
    (zxid as i32).encode(&mut body);
    transaction(zxid, op::CREATE, &body)
}

fn finished(loaded: Loaded) -> State {
    let (state, _) = loaded.importing.finish(loaded.zxid, true);
    state.check();
    state
}

fn acl_of(state: &State, path: &str) -> Vec<Acl<'static>> {
    let slot = state.tree().lookup(path).expect("it is there");
    state.acl(state.tree().znode(slot).versions.acl).clone()
}

/// Version of a digest that we do not compute.
const UNKNOWN: i32 = 3;
const EMPTY_DIGEST: Digest = Digest { zxid: 0, version: 2, digest: 0 };

/// ZOOKEEPER-3306: ACLs added while a snapshot is taken are only in the log.
#[test]
fn the_log_has_acls_that_the_snapshot_has_not() {
    let fuzzy = Digest { zxid: 4, version: UNKNOWN, digest: 0 };
    let znodes = [("/created", 57_187), ("/set", 57_188), ("/gone", 57_189), ("/never", 57_190)];
    let mut set_acl = text("/set");
    1i32.encode(&mut set_acl);
    only("10.0.0.2")[0].encode(&mut set_acl);
    1i32.encode(&mut set_acl);
    let log = log_of(&[
        created(2, "/created", &only("10.0.0.1")),
        transaction(3, op::SET_ACL, &set_acl),
        transaction(4, op::DELETE, &text("/gone")),
    ]);
    let loaded = Dir::new().with("snapshot.1", &a_snapshot(&znodes, fuzzy)).with("log.1", &log).load();
    assert_eq!(loaded.found.losses, []);
    let [note] = &loaded.found.notes[..] else { panic!("{:?}", loaded.found.notes) };
    assert!(note.contains("1 znodes have ACLs") && note.contains("/never (ACL 57190)"), "{note}");
    let state = finished(loaded);
    assert_eq!(acl_of(&state, "/created"), only("10.0.0.1"));
    assert_eq!(acl_of(&state, "/set"), only("10.0.0.2"));
    assert_eq!(state.tree().lookup("/gone"), None);
    // Only the super user has permissions.
    assert_eq!(acl_of(&state, "/never").iter().map(|entry| entry.perms).sum::<i32>(), 0);
    assert_eq!(state.time_ms(), 0, "times of znodes are not the last time");
}

/// A snapshot alone has no log that could have the ACL.
#[test]
fn a_backup_without_its_acls_is_refused() {
    let bytes = a_snapshot(&[("/a", 9)], EMPTY_DIGEST);
    let dir = Dir::new().with("snapshot.1", &bytes);
    let problem = load_file(&dir.file("snapshot.1"), 1, |_| {}).expect_err("no list").to_string();
    assert!(problem.contains("/a refers to ACL 9"), "{problem}");
    assert!(load_stream(&bytes[..], 1).is_err());
}

#[test]
fn a_backup_taken_while_writes_went_on_is_incomplete() {
    let dir = Dir::new().with("snapshot.5", &a_snapshot(&[], Digest { zxid: 8, version: UNKNOWN, digest: 0 }));
    let snapshot = dir.file("snapshot.5");
    let loaded = load_file(&snapshot, 1, |_| {}).expect("a snapshot");
    assert_eq!(loaded.found.losses, [Loss::Uncovered { snapshot, has: Zxid(8), last: Zxid(5) }]);
}

#[test]
fn what_healthy_servers_leave_is_complete() {
    let check = |what: &str, dir: Dir| assert_eq!(dir.losses(), [], "{what}");
    check("brand-new", Dir::new().snapshot(0));
    check("no snapshot since the first", Dir::new().snapshot(0).log(&[1, 2, 3]));
    check("several logs", Dir::new().snapshot(0).log(&[1, 2]).log(&[3]).log(&[4, 5]));
    check("purged", Dir::new().snapshot(5).log(&[4, 5, 6]).log(&[7]));
    check("nothing since the snapshot", Dir::new().snapshot(5).log(&[4, 5]));
    check("elections", Dir::new().snapshot(0).log(&[1, 2, 0x3_0000_0001, 0x3_0000_0002]).log(&[0x7_0000_0001]));
    check("a new leader's snapshot", Dir::new().snapshot(0x2_0000_0000).log(&[0x1_0000_0009]).log(&[0x2_0000_0001]));
    check("a log begun in a crash", Dir::new().snapshot(0).log(&[1, 2]).with("log.3", b""));
    check("a log's head begun in a crash", Dir::new().snapshot(0).log(&[1, 2]).with("log.3", b"ZKLG\0\0"));
    check("the same, with its head", Dir::new().snapshot(2).with("log.3", &log_of(&[])));
    check("a member that took a state", Dir::new().snapshot(9).log(&[1, 2]).with("currentEpoch", b"1"));
}

#[test]
fn what_is_missing_is_told() {
    let hole =
        |dir: &Dir, name: &str, last, next| Loss::Hole { path: dir.file(name), last: Zxid(last), next: Zxid(next) };
    let dir = Dir::new().snapshot(0).log(&[1, 2]).log(&[5, 6]);
    assert_eq!(dir.losses(), [hole(&dir, "log.5", 2, 5)], "a log");
    let dir = Dir::new().snapshot(0).log(&[1, 2, 4, 5]);
    assert_eq!(dir.losses(), [hole(&dir, "log.1", 2, 4)], "a transaction within a log");
    let dir = Dir::new().snapshot(3).log(&[6, 7]);
    assert_eq!(dir.losses(), [hole(&dir, "log.6", 3, 6)], "the log behind the snapshot");
    let dir = Dir::new().snapshot(0).log(&[1]).log(&[0x2_0000_0003]);
    assert_eq!(dir.losses(), [hole(&dir, "log.200000003", 1, 0x2_0000_0003)], "the begin of an epoch");
    let dir = Dir::new().snapshot(0).log(&[1, 2]).with("log.9", &log_of(&[]));
    assert_eq!(dir.losses(), [hole(&dir, "log.9", 2, 9)], "what was before a log that a crash left empty");
    let dir = Dir::new().snapshot(0).log(&[1, 2]).with("log.3", b"").log(&[5]);
    assert_eq!(dir.losses(), [Loss::EmptyLog { path: dir.file("log.3") }, hole(&dir, "log.5", 2, 5)], "an emptied log");
    let dir = Dir::new().snapshot(0).log(&[1, 2]).with("log.3", &log_of(&[])).log(&[5]);
    assert_eq!(dir.losses(), [hole(&dir, "log.5", 2, 5)], "an emptied log that kept its head");
    let dir = Dir::new().snapshot(9).log(&[1, 2]);
    let loss = Loss::LogsEnd { snapshot: dir.file("snapshot.9"), zxid: Zxid(9), last: Zxid(2) };
    assert_eq!(dir.losses(), [loss], "newer logs of a standalone server");
    let fuzzy = a_snapshot(&[], Digest { zxid: 8, version: 2, digest: 0 });
    let dir = Dir::new().with("snapshot.5", &fuzzy).log(&[5, 6]);
    let loss = Loss::Uncovered { snapshot: dir.file("snapshot.5"), has: Zxid(8), last: Zxid(6) };
    assert_eq!(dir.losses(), [loss], "what the snapshot has already");
    let dir = Dir::new().snapshot(3).with("snapshot.5", b"ZKSN").log(&[5, 6]);
    let losses = dir.losses();
    assert!(
        matches!(losses[..], [Loss::OlderSnapshot { .. }, Loss::Hole { .. }]),
        "what newer, damaged snapshots had: {losses:?}"
    );
}

#[test]
fn damage_ends_the_last_log_only_if_asked() {
    let mut damaged = log_of(&[created(1, "/1", &[]), created(2, "/2", &[])]);
    let at = damaged.len() - 10;
    damaged[at] ^= 1;
    let dir = Dir::new().snapshot(0).with("log.1", &damaged);
    let stopping = Options { stop_at_damage: true, ..Options::default() };
    assert!(matches!(dir.load_with(Options::default()), Err(FileError::Content { .. })));
    let loaded = dir.load_with(stopping).expect("up to the damage");
    assert_eq!((loaded.zxid, loaded.found.stopped_at_damage, loaded.found.losses), (1, true, Vec::new()));
    let followed = dir.log(&[3]);
    assert!(matches!(followed.load_with(stopping), Err(FileError::Content { .. })), "not the last");
}

/// The operator forgot --data-log-dir.
#[test]
fn a_snapshot_without_any_log_is_doubted() {
    let dir = Dir::new().snapshot(0).snapshot(7);
    let loss = Loss::NoLogs { path: dir.file(""), snapshot: Zxid(7) };
    assert_eq!(dir.losses(), [loss]);
    let loaded = dir.load_with(Options { logs_named: true, ..Options::default() }).expect("a directory");
    assert_eq!((loaded.found.losses, loaded.zxid), (Vec::new(), 7), "somebody said that there is none");
}

#[test]
fn files_of_the_other_kind_are_doubted() {
    let (data, logs) = (Dir::new().snapshot(0).log(&[1, 2]), Dir::new().log(&[1, 2, 3]));
    let load =
        |data: &Path, logs: &Path| load(data, logs, Options::default(), |_| {}).map(|loaded| loaded.found.losses);
    let losses = load(data.0.path(), logs.0.path()).expect("directories");
    assert!(matches!(losses[..], [Loss::Mixed { .. }]), "{losses:?}");
    let only_snapshots = Dir::new().snapshot(0);
    assert_eq!(load(only_snapshots.0.path(), logs.0.path()).expect("directories"), []);
    assert_eq!(
        load(data.0.path(), &data.0.path().join("version-2")).expect("one directory"),
        [],
        "the same, said twice"
    );
}

#[test]
fn logs_alone_count_if_the_empty_snapshot_is_trusted() {
    let dir = Dir::new().log(&[1, 2, 3]);
    assert!(matches!(dir.load_with(Options::default()), Err(FileError::NoSnapshot { .. })));
    let trusting = Options { trust_empty: true, ..Options::default() };
    let loaded = dir.load_with(trusting).expect("all there ever was");
    assert_eq!((&loaded.found.losses[..], loaded.found.transactions), (&[][..], 3));
    let state = finished(loaded);
    for path in ["/1", "/2", "/3", "/zookeeper/config", "/zookeeper/quota"] {
        assert!(state.tree().lookup(path).is_some(), "{path}");
    }
    let purged = Dir::new().log(&[4, 5]).load_with(trusting).expect("logs").found.losses;
    assert!(matches!(purged[..], [Loss::Hole { last: Zxid(0), next: Zxid(4), .. }]), "{purged:?}");
    let nothing = Dir::new().load_with(trusting);
    assert!(matches!(nothing, Err(FileError::Empty { .. })), "{nothing:?}");
}

/// Each transaction has a digest: first those of another tree, then that of this one.
#[test]
fn the_last_digest_decides() {
    let with_digest = |zxid: i64, digest: u64| {
        let mut bytes = created(zxid, &format!("/{zxid:x}"), &[]);
        2i32.encode(&mut bytes);
        (digest as i64).encode(&mut bytes);
        bytes
    };
    let digest_after = |zxids: &[i64]| Dir::new().snapshot(0).log(zxids).load().importing.digest();
    let (one, two) = (digest_after(&[1]), digest_after(&[1, 2]));
    let dir = |digests: [u64; 2]| {
        let log = log_of(&[with_digest(1, digests[0]), with_digest(2, digests[1])]);
        Dir::new().snapshot(0).with("log.1", &log).load().found
    };
    for first in [one, 5] {
        let found = dir([first, two]);
        assert_eq!((found.losses, found.checked), (Vec::new(), Checked::Transaction(Zxid(2))));
    }
    assert_eq!(dir([one, 5]).losses, [Loss::OtherTree { since: Zxid(2), until: Zxid(2) }]);
    assert_eq!(dir([4, 5]).losses, [Loss::OtherTree { since: Zxid(1), until: Zxid(2) }]);
    assert_eq!(Dir::new().snapshot(0).log(&[1]).load().found.checked, Checked::Nothing);
}
