//! A snapshot restored into a running server: the view of clients, the data on disk at every
//! moment, and bad snapshots.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use oxkeeper_durable::StoreOptions;
use oxkeeper_durable::recovery::{Replay, recover_with};
use oxkeeper_proto::op::CreateMode::{Ephemeral, Persistent};
use oxkeeper_proto::{OpCode, Zxid};
use oxkeeper_server::restore::{Dirs, RestoreError};
use oxkeeper_server::{Server, StartOptions};
use oxkeeper_state::import::StoredStat;
use oxkeeper_state::znode::Owner;
use oxkeeper_store::fake::FakeDisk;
use oxkeeper_store::{Disk, StoreError};
use oxkeeper_zkfiles::snapshot::Digest;
use oxkeeper_zkfiles::write::Writer;
use support::http::{command, get};
use support::process::Process;
use support::raw::{Raw, Session, create_request, read_request};
use support::{LONG_MS, Stop, config, fake_dir, start_in_memory, until};

/// Disables the rate limit.
const AT_ONCE: (&str, &str) = ("admin.rateLimiterIntervalInMS", "0");

fn start(disk: &FakeDisk) -> Server {
    let options = StartOptions { in_memory: false, io_threads: 3 };
    Server::start_on(config(fake_dir(), &[AT_ONCE]), options, Arc::new(disk.clone())).unwrap()
}

fn connect(server: &Server) -> Raw {
    Raw::connect(server.address(), LONG_MS).unwrap()
}

fn snapshot(server: &Server) -> Vec<u8> {
    let (status, content) = command(server.admin_address().unwrap(), "snapshot?streaming=true", None);
    assert_eq!(status, 200);
    content
}

fn restore(server: &Server, content: &[u8]) -> (u16, String) {
    let (status, text) = command(server.admin_address().unwrap(), "restore", Some(content));
    (status, String::from_utf8(text).unwrap())
}

fn is_restored((status, text): (u16, String)) {
    assert!(status == 200 && text.contains("\"error\" : null"), "{status} {text}");
}

#[test]
fn the_tree_is_as_it_was_and_clients_come_back_to_it() {
    let disk = FakeDisk::new();
    let server = start(&disk);
    let (mut kept, mut closed) = (connect(&server), connect(&server));
    kept.create("/a", b"then", Persistent).unwrap().unwrap();
    kept.create("/a/e", b"", Ephemeral).unwrap().unwrap();
    closed.create("/closed", b"", Ephemeral).unwrap().unwrap();
    let (then, former) = (kept.get("/a").unwrap(), closed.session);
    let content = snapshot(&server);

    kept.set("/a", b"now").unwrap().unwrap();
    kept.create("/b", b"", Persistent).unwrap().unwrap();
    kept.call(OpCode::GetData, &read_request("/b", true)).unwrap();
    let (xid, frame) = closed.request_with(OpCode::CloseSession, |_| ());
    closed.stream.write_all(&frame).unwrap();
    assert_eq!(closed.reply_to(xid).unwrap().err, 0);
    let mut young = connect(&server);
    young.create("/young", b"", Ephemeral).unwrap().unwrap();
    let seen = kept.ping().unwrap().zxid;
    is_restored(restore(&server, &content));

    // All clients are disconnected, and have seen no change.
    kept.wait_closed();
    young.wait_closed();
    let mut back = Raw::open(server.address(), LONG_MS, kept.session).unwrap();
    assert_eq!(back.session, kept.session, "it is in the snapshot");
    assert_eq!(back.get("/a").unwrap(), then);
    assert_eq!(back.exists("/a/e").unwrap().ephemeral_owner, kept.session.id);
    assert_eq!((back.exists("/b"), back.exists("/young")), (None, None));
    assert!(back.exists("/closed").is_some(), "its session, which ended since, has its full timeout again");
    assert_eq!(Raw::open(server.address(), LONG_MS, former).unwrap().session, former);
    assert_eq!(Raw::open(server.address(), LONG_MS, young.session).unwrap().session, Session::default());
    assert!(back.ping().unwrap().zxid > seen, "nobody has seen a later zxid");
    assert!(connect(&server).session.id > young.session.id, "an id is never given twice");

    back.create("/c", b"", Persistent).unwrap().unwrap();
    let page = get(server.admin_address().unwrap(), "/metrics").1;
    assert!(page.contains("restore_time_count 1") && page.contains("restore_error_count 0"), "{page}");
    let killed = disk.kill();
    server.stop();
    for disk in [killed, disk.kill()] {
        let server = start(&disk);
        let mut client = connect(&server);
        assert_eq!((client.get("/a").unwrap().0, client.exists("/b")), (b"then".to_vec(), None));
        assert!(client.exists("/c").is_some(), "what came since is there");
        server.stop();
    }
}

#[test]
fn a_snapshot_of_another_server_and_of_older_and_newer_epochs() {
    let (one, other) = (start(&FakeDisk::new()), start(&FakeDisk::new()));
    connect(&one).create("/one", b"1", Persistent).unwrap().unwrap();
    let (first, empty) = (snapshot(&one), snapshot(&other));
    let mut epochs = Vec::new();
    for (content, has) in [(&empty, false), (&first, true), (&empty, false), (&first, true)] {
        is_restored(restore(&one, content));
        let mut client = connect(&one);
        assert_eq!(client.exists("/one").is_some(), has);
        epochs.push(Zxid(client.ping().unwrap().zxid).epoch());
    }
    assert_eq!(epochs, [1, 2, 3, 4], "each is later than all before");
    is_restored(restore(&other, &snapshot(&one)));
    let mut client = connect(&other);
    assert_eq!((client.get("/one").unwrap().0, Zxid(client.ping().unwrap().zxid).epoch()), (b"1".to_vec(), 5));
    one.stop();
    other.stop();
}

/// Returns a valid snapshot with these sessions and znodes, each with its owner, as of a
/// transaction.
fn made_of(sessions: &[(i64, i32)], znodes: &[(&str, &[u8], Owner)], zxid: i64) -> Vec<u8> {
    let mut writer = Writer::new(Vec::new(), sessions.iter().copied(), [].into_iter()).unwrap();
    for (path, data, owner) in [("", &b""[..], Owner::PERSISTENT)].iter().chain(znodes) {
        let (czxid, mzxid, pzxid, ctime, mtime) = (0, 0, 0, 0, 0);
        let (version, cversion, aversion, owner) = (0, 0, 0, *owner);
        let stat = StoredStat { czxid, mzxid, ctime, mtime, version, cversion, aversion, owner, pzxid };
        writer.znode(path, Some(data), 0, &stat).unwrap();
    }
    writer.finish(Digest { zxid, version: 2, digest: 0 }).unwrap()
}

#[test]
fn a_digest_that_is_not_the_trees_is_counted() {
    let disk = FakeDisk::new();
    let server = start(&disk);
    let mismatches = |count: u64| {
        let page = get(server.admin_address().unwrap(), "/metrics").1;
        assert!(page.contains(&format!("\ndigest_mismatches_count {count}\n")), "{page}");
    };
    let own = snapshot(&server);
    is_restored(restore(&server, &own));
    mismatches(0);
    is_restored(restore(&server, &made_of(&[], &[("/a", b"x", Owner::PERSISTENT)], 5)));
    mismatches(1);
    server.stop();
}

#[test]
fn odd_but_sound_snapshots_cost_nobody_the_server() {
    let newest = 0x01ff_ffff_ffff_ffff;
    let sessions = [(0, 1000), (-1, -5), (5, i32::MIN), (6, i32::MAX), (i64::MAX, 1000), (i64::MIN, 0), (newest, 1000)];
    let znodes = [
        ("/a", &b"x"[..], Owner(5)),
        ("/b", b"", Owner(-1)),
        ("/c", b"", Owner::ttl(1)),
        ("/d", b"", Owner(i64::MIN)),
        ("/e", b"", Owner(77)),
        ("/..", b"", Owner::PERSISTENT),
        ("/zookeeper", b"no", Owner::PERSISTENT),
        ("/zookeeper/quota", b"no", Owner::PERSISTENT),
        ("/zookeeper/quota/a", b"no", Owner::PERSISTENT),
        ("/zookeeper/quota/a/zookeeper_limits", b"count=x,bytes=99999999999999999999", Owner::PERSISTENT),
    ];
    let disk = FakeDisk::new();
    let server = start(&disk);
    for content in [made_of(&sessions, &znodes, 5), made_of(&sessions, &[], 0), made_of(&[], &znodes, 1 << 40)] {
        is_restored(restore(&server, &content));
        let mut client = connect(&server);
        client.create("/new", b"", Persistent).unwrap().unwrap();
        thread::sleep(Duration::from_millis(200));
        assert!(connect(&server).exists("/new").is_some());
        snapshot(&server);
        let again = start(&disk.kill());
        assert!(connect(&again).exists("/new").is_some());
        again.stop();
    }
    for (path, below) in [("/a", "/a/b"), ("/zookeeper", "/b"), ("/zookeeper/config", "/b")] {
        for owner in [Owner(5), Owner::CONTAINER, Owner::ttl(1)] {
            let up = ("/zookeeper", &b""[..], Owner::PERSISTENT);
            let above = if path == "/zookeeper/config" { &[up][..] } else { &[] };
            let znodes = [above, &[(path, b"", owner), (below, b"", Owner::PERSISTENT)]].concat();
            let may_be = path == "/a" && owner != Owner(5);
            let (status, text) = restore(&server, &made_of(&sessions, &znodes, 5));
            assert_eq!(status == 200, may_be, "{path}, {owner:?}: {text}");
        }
    }
    server.stop();
}

#[test]
fn what_is_no_whole_snapshot_changes_nothing() {
    let disk = FakeDisk::new();
    let server = start(&disk);
    let mut client = connect(&server);
    client.create("/a", b"x", Persistent).unwrap().unwrap();
    let content = snapshot(&server);
    let mut odd: Vec<Vec<u8>> = (0..content.len()).step_by(41).map(|len| content[..len].to_vec()).collect();
    odd.push([&content[..], b"more"].concat());
    for place in (0..content.len()).step_by(53) {
        let mut flipped = content.clone();
        flipped[place] ^= 0x10;
        odd.push(flipped);
    }
    let (status, text) = restore(&server, &made_of(&[], &[], i64::MAX));
    assert_eq!((status, text.contains("no epoch of zxids is left")), (500, true), "{text}");
    for (number, content) in odd.iter().enumerate() {
        let (status, text) = restore(&server, content);
        assert_eq!((status, text.contains("what was sent ")), (500, true), "{number}: {text}");
    }
    // One request ends earlier than announced, and one stays silent for long.
    let stream = std::net::TcpStream::connect(server.admin_address().unwrap()).unwrap();
    let head = "POST /commands/restore HTTP/1.1\r\nAuthorization: ip\r\nContent-Length: 100000\r\n\r\n";
    (&stream).write_all(&[head.as_bytes(), &content].concat()).unwrap();
    drop(stream);
    let failed = odd.len() + 2;
    until("it is given up", || {
        get(server.admin_address().unwrap(), "/metrics").1.contains(&format!("restore_error_count {failed}"))
    });
    assert_eq!(client.get("/a").unwrap().0, b"x", "the connection goes on");
    let names = disk.list(fake_dir()).unwrap();
    assert!(!names.iter().any(|name| name.starts_with("incoming")), "{names:?}");
    server.stop();
}

#[test]
fn who_is_not_to_restore_does_not() {
    let server = start_in_memory(1, &[AT_ONCE]);
    let (status, text) = restore(&server, b"");
    assert_eq!((status, text.contains("keeps nothing on disk")), (503, true));
    server.stop();
    let options = StartOptions { in_memory: false, io_threads: 1 };
    let run =
        |more: &[(&str, &str)]| Server::start_on(config(fake_dir(), more), options, Arc::new(FakeDisk::new())).unwrap();
    let server = run(&[("admin.restore.enabled", "false")]);
    assert_eq!(restore(&server, b"").0, 503);
    server.stop();
    let server = run(&[]);
    let content = snapshot(&server);
    is_restored(restore(&server, &content));
    assert_eq!(restore(&server, &content).0, 429, "one in five minutes");
    server.stop();
}

/// Numbered znodes of one connection: sent, and answered.
#[derive(Default)]
struct Counts {
    sent: AtomicU64,
    answered: AtomicU64,
}

/// Creates `/connection-0`, `/connection-1`, … in a pipeline until the connection ends.
fn create_until_closed(server: &Server, session: Session, connection: u64, counts: &Counts, stop: &Stop) {
    let Ok(mut client) = Raw::open(server.address(), LONG_MS, session) else { return };
    assert_eq!(client.session, session, "it is in the snapshot");
    while !stop.is_told() {
        for _ in 0..8 {
            let number = counts.sent.fetch_add(1, Ordering::SeqCst);
            let path = format!("/{connection}-{number}");
            if client.send(OpCode::Create, &create_request(&path, b"", Persistent)).is_err() {
                return;
            }
        }
        for _ in 0..8 {
            let Ok(reply) = client.receive() else { return };
            assert_eq!(reply.err, 0);
            counts.answered.fetch_add(1, Ordering::SeqCst);
        }
    }
}

#[test]
fn no_write_of_before_is_found_after_and_none_of_after_is_lost() {
    let server = start(&FakeDisk::new());
    // The sessions survive, so only the restore itself prevents the writes made before it.
    let sessions: Vec<Session> = (0..4).map(|_| connect(&server).session).collect();
    let content = snapshot(&server);
    let (stop, next) = (Stop::default(), AtomicU64::new(0));
    let all = parking_lot::Mutex::new(BTreeMap::<u64, Arc<Counts>>::new());
    thread::scope(|scope| {
        let _done = stop.when_done();
        for &session in &sessions {
            let (server, all, stop, next) = (&server, &all, &stop, &next);
            scope.spawn(move || {
                while !stop.is_told() {
                    let (connection, counts) = (next.fetch_add(1, Ordering::SeqCst), Arc::new(Counts::default()));
                    all.lock().insert(connection, counts.clone());
                    create_until_closed(server, session, connection, &counts, stop);
                }
            });
        }
        for _ in 0..8 {
            thread::sleep(Duration::from_millis(60));
            // Each of these connections ends before the restored tree is served.
            let doomed: Vec<(u64, u64)> =
                all.lock().iter().map(|(&id, counts)| (id, counts.answered.load(Ordering::SeqCst))).collect();
            is_restored(restore(&server, &content));
            let found: BTreeSet<u64> = children(&server).into_iter().map(|(connection, _)| connection).collect();
            let stale = doomed.iter().find(|(id, answered)| *answered > 0 && found.contains(id));
            assert_eq!(stale, None, "a connection of before has written after");
        }
        thread::sleep(Duration::from_millis(60));
    });
    let found = children(&server);
    let connections: BTreeSet<u64> = found.iter().map(|(connection, _)| *connection).collect();
    assert!(!connections.is_empty());
    for connection in connections {
        let counts = &all.lock()[&connection];
        let numbers: Vec<u64> =
            found.range((connection, 0)..=(connection, u64::MAX)).map(|&(_, number)| number).collect();
        let (answered, sent) = (counts.answered.load(Ordering::SeqCst), counts.sent.load(Ordering::SeqCst));
        assert_eq!(numbers, (0..numbers.len() as u64).collect::<Vec<_>>(), "of {connection}: from its first on");
        assert!(
            (answered..=sent).contains(&(numbers.len() as u64)),
            "of {connection}: {answered}, {}, {sent}",
            numbers.len()
        );
    }
    server.stop();
}

/// Returns which znodes of which connections exist.
fn children(server: &Server) -> BTreeSet<(u64, u64)> {
    let names = connect(server).children("/");
    let of = |name: &String| {
        let (connection, number) = name.split_once('-')?;
        Some((connection.parse().ok()?, number.parse().ok()?))
    };
    names.iter().filter_map(of).collect()
}

/// Contents: znodes with their data, sessions, and the next epoch.
type Seen = (Vec<(String, Vec<u8>)>, usize, u32);

fn recover(disk: &FakeDisk, (data_dir, data_log_dir): (&str, &str)) -> Seen {
    let disk: Arc<dyn Disk> = Arc::new(disk.clone());
    let (data_dir, data_log_dir) = (Path::new(data_dir), Path::new(data_log_dir));
    let recovered = recover_with(&disk, data_dir, data_log_dir, 1, &StoreOptions::default(), Replay::All).unwrap();
    let tree = recovered.state.tree();
    let mut znodes: Vec<_> =
        tree.iter().map(|(slot, znode)| (tree.path(slot), znode.data().unwrap_or_default().to_vec())).collect();
    znodes.sort();
    (znodes, recovered.state.sessions().len(), recovered.state.zxid().epoch())
}

/// Returns the disk of a killed server with data in tree and log, and a snapshot of another state.
fn prepared((data_dir, data_log_dir): (&str, &str)) -> (FakeDisk, Vec<u8>) {
    let (disk, other) = (FakeDisk::new(), start(&FakeDisk::new()));
    let more = [("dataLogDir", data_log_dir)];
    let options = StartOptions { in_memory: false, io_threads: 1 };
    let server = Server::start_on(config(Path::new(data_dir), &more), options, Arc::new(disk.clone())).unwrap();
    connect(&server).create("/old", b"1", Persistent).unwrap().unwrap();
    snapshot(&server);
    connect(&server).create("/older", b"2", Persistent).unwrap().unwrap();
    connect(&other).create("/new", b"3", Persistent).unwrap().unwrap();
    let content = snapshot(&other);
    let killed = disk.kill();
    server.stop();
    other.stop();
    (killed, content)
}

fn dirs(disk: &FakeDisk, (data_dir, data_log_dir): (&str, &str)) -> Dirs {
    Dirs { disk: Arc::new(disk.clone()), data_dir: data_dir.into(), data_log_dir: data_log_dir.into(), seed: 1 }
}

fn crash_everywhere(places: (&str, &str)) {
    let (begin, content) = prepared(places);
    let old = recover(&begin.kill(), places);
    let (mut seen_old, mut seen_new) = (0, 0);
    let new = {
        let disk = begin.kill();
        let planted = dirs(&disk, places).plant(&content[..], Zxid::new(7, 9)).unwrap();
        assert_eq!(recover(&disk.kill(), places), old, "nothing counts yet");
        let planted_again = dirs(&disk, places).plant(&content[..], Zxid::new(7, 9)).unwrap();
        assert_eq!(planted_again.zxid, planted.zxid);
        planted_again.count().unwrap();
        recover(&disk, places)
    };
    assert_eq!((new.2, old.2), (8, 0));
    assert!(new.0.iter().any(|(path, data)| path == "/new" && data == b"3"), "{new:?}");
    assert!(old.0.iter().any(|(path, data)| path == "/older" && data == b"2"), "{old:?}");
    for at in 0.. {
        let disk = begin.kill();
        disk.crash_at(at);
        let planted = dirs(&disk, places).plant(&content[..], Zxid::new(7, 9)).unwrap();
        planted.count().unwrap();
        let counted = disk.operations();
        assert_eq!(recover(&disk, places), new);
        if at >= disk.operations() {
            assert!(at > counted + 5 && counted > 10, "{counted} operations, then {at}");
            break;
        }
        for (case, crashed) in [("power failure", disk.crash(at)), ("kill", disk.kill())] {
            let found = recover(&crashed, places);
            assert!(found == old || found == new, "{case} at {at}: a mixture: {found:?}");
            assert!(found == new || at < counted, "{case} at {at}: restored at {counted} and gone");
            assert!(found == old || at + 2 >= counted, "{case} at {at}: new before {counted}");
            assert_eq!(recover(&crashed.crash(at), places), found, "{case} at {at}: what was seen once stays");
            *if found == old { &mut seen_old } else { &mut seen_new } += 1;
        }
    }
    assert!(seen_old > 10 && seen_new > 5, "{seen_old} old, {seen_new} new");
}

#[test]
fn a_crash_at_every_operation_leaves_the_old_data_or_the_new() {
    crash_everywhere(("/fake/data", "/fake/data"));
}

#[test]
fn a_crash_at_every_operation_of_two_directories_leaves_the_old_data_or_the_new() {
    crash_everywhere(("/fake/data", "/fake/log"));
}

#[test]
fn a_disk_that_fills_up_at_any_moment_leaves_the_old_data() {
    let places = ("/fake/data", "/fake/log");
    let (begin, content) = prepared(places);
    let old = recover(&begin.kill(), places);
    let mut failed = 0;
    for at in 0.. {
        let disk = begin.kill();
        disk.fail_writes_at(at, std::io::ErrorKind::StorageFull);
        match dirs(&disk, places).plant(&content[..], Zxid(0)) {
            Ok(_) if at >= disk.operations() => break,
            // Preallocated space.
            Ok(_) => {}
            Err(RestoreError::Store(StoreError::Full { .. })) => {
                failed += 1;
                let names = disk.list(Path::new(places.0)).unwrap();
                assert!(!names.iter().any(|name| name == "incoming"), "{at}: {names:?}");
            }
            Err(other) => panic!("{at}: {other}"),
        }
        assert_eq!(recover(&disk, places), old, "{at}");
    }
    assert!(failed > 5, "{failed}");
}

#[test]
fn a_full_disk_refuses_a_snapshot_and_serves_on() {
    let disk = FakeDisk::new();
    let server = start(&disk);
    let mut client = connect(&server);
    client.create("/a", b"x", Persistent).unwrap().unwrap();
    let content = snapshot(&server);
    disk.set_room(Some(disk.used()));
    let (status, text) = restore(&server, &content);
    assert_eq!((status, text.contains("full")), (500, true), "{text}");
    assert_eq!(client.get("/a").unwrap().0, b"x");
    disk.set_room(None);
    is_restored(restore(&server, &content));
    assert_eq!(connect(&server).get("/a").unwrap().0, b"x");
    server.stop();
}

#[test]
fn new_files_that_cannot_be_named_leave_the_server_what_it_had() {
    let (begin, content) = prepared(("/fake/data", "/fake/data"));
    let planting = {
        let disk = begin.kill();
        dirs(&disk, ("/fake/data", "/fake/data")).plant(&content[..], Zxid(9)).unwrap();
        disk.operations()
    };
    // After the new files are written, the operations are those that close the old ones, and the
    // rename.
    for at in planting.. {
        let disk = begin.kill();
        let server = start(&disk);
        disk.fail_at(disk.operations() + at, std::io::ErrorKind::Other);
        let (status, text) = restore(&server, &content);
        let mut client = connect(&server);
        assert_eq!((client.exists("/old").is_some(), client.exists("/new").is_some()), (status != 200, status == 200));
        client.create("/later", b"", Persistent).unwrap().unwrap();
        assert!(recover(&disk.kill(), ("/fake/data", "/fake/data")).0.iter().any(|(path, _)| path == "/later"));
        is_restored(restore(&server, &content));
        assert!(connect(&server).exists("/new").is_some());
        server.stop();
        if status == 500 && text.contains("cannot name") {
            return;
        }
        assert!(at < planting + 20, "there is a rename");
    }
}

#[test]
fn a_backup_that_nobody_takes_holds_nothing_up() {
    let server = start(&FakeDisk::new());
    let content = snapshot(&server);
    let mut client = connect(&server);
    for number in 0..40 {
        client.create(&format!("/{number}"), &vec![b'x'; 900_000], Persistent).unwrap().unwrap();
    }
    let admin = server.admin_address().unwrap();
    let mut idle = std::net::TcpStream::connect(admin).unwrap();
    idle.write_all(b"GET /commands/snapshot HTTP/1.0\r\nAuthorization: ip\r\n\r\n").unwrap();
    let mut begin = [0; 12];
    std::io::Read::read_exact(&mut idle, &mut begin).unwrap();
    assert_eq!(begin, *b"HTTP/1.0 200");
    // The backup is still waiting for its client, which reads nothing.
    is_restored(restore(&server, &content));
    assert_eq!(connect(&server).exists("/0"), None);
    server.stop();
}

#[test]
fn a_stop_at_any_moment_of_it_ends() {
    let disk = FakeDisk::new();
    let server = start(&disk);
    connect(&server).create("/a", b"", Persistent).unwrap().unwrap();
    let content = snapshot(&server);
    connect(&server).create("/b", b"", Persistent).unwrap().unwrap();
    server.stop();
    for delay_ms in (0..40).step_by(4) {
        let disk = disk.kill();
        let server = start(&disk);
        let (admin, content) = (server.admin_address().unwrap(), content.clone());
        let asking = thread::spawn(move || command(admin, "restore", Some(&content)).0);
        thread::sleep(Duration::from_millis(delay_ms));
        server.stop();
        let answered = asking.join().unwrap() == 200;
        let has_b = recover(&disk, ("/fake/data", "/fake/data")).0.iter().any(|(path, _)| path == "/b");
        assert!(!(answered && has_b), "after {delay_ms} ms");
    }
}

#[test]
fn a_kill_at_any_moment_leaves_the_old_data_or_the_new() {
    let dir = tempfile::tempdir().unwrap();
    let mut process = Process::start_on(dir.path(), "admin.serverPort=0\nadmin.rateLimiterIntervalInMS=0");
    let admin = |process: &Process| process.admin.unwrap();
    Raw::connect(process.address, LONG_MS).unwrap().create("/round", b"restored", Persistent).unwrap().unwrap();
    let (status, content) = command(admin(&process), "snapshot?streaming=true", None);
    assert_eq!(status, 200);
    for round in 0..8u64 {
        let data = format!("{round}");
        let mut client = Raw::connect(process.address, LONG_MS).unwrap();
        client.set("/round", data.as_bytes()).unwrap().unwrap();
        client.create(&format!("/{round}"), b"", Persistent).unwrap().unwrap();
        let (address, content) = (admin(&process), content.clone());
        let asking = thread::spawn(move || command(address, "restore", Some(&content)).0);
        thread::sleep(Duration::from_millis(round * 23));
        process.kill();
        let answered = asking.join().unwrap() == 200;
        process = Process::start_on(dir.path(), "admin.serverPort=0\nadmin.rateLimiterIntervalInMS=0");
        let mut client = Raw::connect(process.address, LONG_MS).unwrap();
        let found = (client.get("/round").unwrap().0, client.exists(&format!("/{round}")).is_some());
        let (new, old) = ((b"restored".to_vec(), false), (data.into_bytes(), true));
        assert!(found == new || found == old && !answered, "round {round}: {found:?}, answered: {answered}");
    }
}
