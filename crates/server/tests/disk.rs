//! The running server on disks that fill up, crash, or hold the wrong data.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod support;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use oxkeeper_proto::op::CreateMode::{Ephemeral, Persistent, PersistentSequential};
use oxkeeper_proto::{ErrorCode, OpCode};
use oxkeeper_server::Server;
use oxkeeper_store::fake::FakeDisk;
use support::raw::{Raw, Session, create_request, set_request};
use support::{LONG_MS, TICK_MS, fake_dir, start_in, start_on, until};

/// Sets `/a` to new data until the disk is full to the last byte. Returns the last data and
/// version.
fn fill_up(client: &mut Raw, disk: &FakeDisk) -> (Vec<u8>, i32) {
    disk.set_room(Some(disk.used()));
    let (mut kept, mut len) = ((Vec::new(), 0), 200 << 10);
    while len > 0 {
        let data = vec![len as u8; len];
        match client.set("/a", &data).unwrap() {
            Ok(stat) => kept = (data, stat.version),
            // Writes are padded to a multiple of 16 bytes.
            Err(code) => {
                assert_eq!(code, ErrorCode::SystemError);
                len = len.saturating_sub(16);
            }
        }
        assert!(kept.1 < 1_000, "the disk never fills up");
    }
    kept
}

#[test]
fn a_full_disk_refuses_writes_serves_reads_and_heals() {
    let disk = FakeDisk::new();
    let server = start_on(&disk).unwrap();
    let mut client = Raw::connect(server.address(), LONG_MS).unwrap();
    client.create("/a", b"", Persistent).unwrap().unwrap();
    let mut doomed = Raw::connect(server.address(), LONG_MS).unwrap();
    doomed.create("/doomed", b"", Ephemeral).unwrap().unwrap();
    let doomed = doomed.session;

    let (data, version) = fill_up(&mut client, &disk);
    let before = client.ping().unwrap();
    let refused = client.call(OpCode::SetData, &set_request("/a", b"refused")).unwrap();
    assert_eq!((refused.err, refused.zxid), (ErrorCode::SystemError.wire(), before.zxid), "the last zxid applied");
    assert!(refused.body.is_empty());
    assert_eq!(client.create("/new", b"", Persistent).unwrap(), Err(ErrorCode::SystemError));
    assert_eq!(client.get("/a").map(|(data, stat)| (data, stat.version)), Ok((data, version)), "nothing was done");
    assert_eq!(client.exists("/new"), None);
    Raw::connect(server.address(), LONG_MS).expect_err("no session can be created");

    // The doomed session expires, but this cannot be written: the session is over, and its
    // ephemeral stays. A check renews the session and shortens its timeout, so the checks are far
    // apart.
    until("the session is over", || {
        thread::sleep(Duration::from_millis(20 * u64::from(TICK_MS)));
        Raw::open(server.address(), 2 * TICK_MS as i32, doomed).unwrap().session.id == 0
    });
    assert!(client.exists("/doomed").is_some(), "closing a session is a write");

    disk.set_room(None);
    assert_eq!(client.set("/a", b"again").unwrap().map(|stat| stat.version), Ok(version + 1));
    until("the expired session's ephemeral goes", || client.exists("/doomed").is_none());
    Raw::connect(server.address(), LONG_MS).unwrap();
    server.stop();

    let server = start_on(&disk.kill()).unwrap();
    let mut client = Raw::connect(server.address(), LONG_MS).unwrap();
    assert_eq!(client.get("/a").unwrap().0, b"again");
    assert_eq!((client.exists("/new"), client.exists("/doomed")), (None, None), "what was refused stays refused");
    server.stop();
}

/// Record of one client of the crash test.
struct Writer {
    root: String,
    session: Session,
    /// Rounds sent; `answered` has the rounds answered.
    sent: AtomicU64,
    answered: AtomicU64,
    zxid: AtomicI64,
}

impl Writer {
    fn begin(number: usize, server: &Server) -> (Writer, Raw) {
        let root = format!("/w{number}");
        let mut client = Raw::connect(server.address(), LONG_MS).unwrap();
        client.create(&root, b"0", Persistent).unwrap().unwrap();
        client.create(&format!("{root}/e"), b"", Ephemeral).unwrap().unwrap();
        let (sent, answered) = Default::default();
        (Writer { root, session: client.session, sent, answered, zxid: AtomicI64::new(0) }, client)
    }

    /// Pipelines round `n`: creates a sequential znode with data `n`, then sets the root to `n`.
    fn write(&self, client: &mut Raw, stop: &AtomicBool) {
        for round in 1.. {
            let data = round.to_string();
            let child = format!("{}/s-", self.root);
            let (_, mut frames) =
                client.request(OpCode::Create, &create_request(&child, data.as_bytes(), PersistentSequential));
            frames.extend(client.request(OpCode::SetData, &set_request(&self.root, data.as_bytes())).1);
            if stop.load(Ordering::Relaxed) {
                return;
            }
            self.sent.store(round, Ordering::SeqCst);
            std::io::Write::write_all(&mut client.stream, &frames).unwrap();
            client.receive().unwrap().result().unwrap();
            let reply = client.receive().unwrap();
            assert_eq!(reply.err, 0);
            self.zxid.store(reply.zxid, Ordering::SeqCst);
            self.answered.store(round, Ordering::SeqCst);
        }
    }

    /// Checks the recovered server: between `answered` and `sent` rounds are there, each once, in
    /// order.
    fn check(&self, server: &Server, answered: u64, sent: u64) {
        let mut client = Raw::open(server.address(), LONG_MS, self.session).unwrap();
        assert_eq!(client.session, self.session, "the session is resumed");
        let (data, stat) = client.get(&self.root).unwrap();
        let round: u64 = String::from_utf8(data).unwrap().parse().unwrap();
        assert!((answered..=sent).contains(&round), "{round} is not within {answered}..={sent}");
        assert_eq!(stat.version as u64, round, "each setData was applied once");
        assert_eq!(client.exists(&format!("{}/e", self.root)).unwrap().ephemeral_owner, self.session.id);
        let children: Vec<_> = client.children(&self.root).into_iter().filter(|name| name != "e").collect();
        let count = children.len() as u64;
        assert!(count == round || count == round + 1 && round < sent, "{count} creates for {round} rounds");
        for (index, name) in children.iter().enumerate() {
            // The ephemeral was the root's first child.
            assert_eq!(*name, format!("s-{:010}", index + 1));
            let (data, _) = client.get(&format!("{}/{name}", self.root)).unwrap();
            assert_eq!(data, (index + 1).to_string().as_bytes(), "nothing that was never sent");
        }
    }
}

fn crash_under_load(seed: u64) {
    let disk = FakeDisk::new();
    let server = start_on(&disk).unwrap();
    let stop = AtomicBool::new(false);
    let (writers, clients): (Vec<_>, Vec<_>) = (0..4).map(|number| Writer::begin(number, &server)).unzip();
    let (lost, bounds) = thread::scope(|scope| {
        for (writer, mut client) in writers.iter().zip(clients) {
            let stop = &stop;
            scope.spawn(move || writer.write(&mut client, stop));
        }
        until("everyone writes", || writers.iter().all(|writer| writer.answered.load(Ordering::SeqCst) > 0));
        thread::sleep(Duration::from_micros(seed * 7_919 % 40_000));
        let answered: Vec<_> = writers.iter().map(|writer| writer.answered.load(Ordering::SeqCst)).collect();
        let seen_zxid = writers.iter().map(|writer| writer.zxid.load(Ordering::SeqCst)).max().unwrap();
        // Some seeds lose or tear unsynced data, as a power failure does; the others only kill the
        // process.
        let lost = if seed.is_multiple_of(3) { disk.kill() } else { disk.crash(seed) };
        let sent: Vec<_> = writers.iter().map(|writer| writer.sent.load(Ordering::SeqCst)).collect();
        stop.store(true, Ordering::Relaxed);
        (lost, (answered, sent, seen_zxid))
    });
    server.stop();

    let (answered, sent, seen_zxid) = bounds;
    let server = start_on(&lost).unwrap_or_else(|problem| panic!("seed {seed}: {problem}"));
    for (index, writer) in writers.iter().enumerate() {
        writer.check(&server, answered[index], sent[index]);
    }
    let mut client = Raw::connect(server.address(), LONG_MS).unwrap();
    let reply = client.call(OpCode::SetData, &set_request("/w0", b"on")).unwrap();
    assert!(reply.err == 0 && reply.zxid > seen_zxid, "zxids go on: {:x} after {seen_zxid:x}", reply.zxid);
    server.stop();
}

#[test]
fn crashes_under_load_lose_nothing_that_was_answered() {
    (1..=12).for_each(crash_under_load);
}

/// Writes `count` znodes of 512 KiB.
fn write_much(client: &mut Raw, name: &str, count: usize) {
    for index in 0..count {
        let data = vec![index as u8; 512 << 10];
        client.create(&format!("/{name}{index}"), &data, Persistent).unwrap().unwrap();
    }
}

#[test]
fn a_checkpoint_on_a_full_disk_fails_and_the_former_stands() {
    let disk = FakeDisk::new();
    let tree = fake_dir().join("tree.redb");
    let server = start_on(&disk).unwrap();
    let mut client = Raw::connect(server.address(), LONG_MS).unwrap();
    write_much(&mut client, "first", 66);
    until("a checkpoint", || disk.content(&tree).is_some());
    server.stop();

    // There is room for the log of the second batch, but not for its checkpoint: the log has 34
    // MiB, and the tree would have as much.
    let server = start_on(&disk).unwrap();
    let mut client = Raw::connect(server.address(), LONG_MS).unwrap();
    disk.set_room(Some(disk.used() + (38 << 20)));
    write_much(&mut client, "second", 66);
    until("the disk is full", || client.create("/more", b"", Persistent).unwrap().is_err());

    let killed = disk.kill();
    killed.set_room(None);
    let again = start_on(&killed).unwrap();
    let mut client = Raw::connect(again.address(), LONG_MS).unwrap();
    for name in ["first", "second"] {
        for index in 0..66 {
            assert_eq!(client.get(&format!("/{name}{index}")).unwrap().0, vec![index as u8; 512 << 10]);
        }
    }
    again.stop();
    server.stop();
}

fn refusal(started: Result<Server, oxkeeper_server::StartError>) -> String {
    started.expect_err("the server must not start").to_string()
}

#[test]
fn a_second_server_on_the_same_directory_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let server = start_in(dir.path()).unwrap();
    let message = refusal(start_in(dir.path()));
    let dir_name = dir.path().to_str().unwrap();
    assert!(message.contains(dir_name) && message.contains("another server runs on this directory"), "{message}");
    Raw::connect(server.address(), LONG_MS).expect("the first one does not notice");
    server.stop();
    start_in(dir.path()).expect("free again").stop();
}

#[test]
fn data_of_apache_zookeeper_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("version-2")).unwrap();
    std::fs::write(dir.path().join("version-2/log.1"), b"ZKLG").unwrap();
    let message = refusal(start_in(dir.path()));
    assert!(message.contains("version-2") && message.contains("Apache ZooKeeper's data"), "{message}");
}

/// Returns the disk of a server that was killed with three writes in its log.
fn disk_with_log() -> (FakeDisk, std::path::PathBuf) {
    let disk = FakeDisk::new();
    let server = start_on(&disk).unwrap();
    let mut client = Raw::connect(server.address(), LONG_MS).unwrap();
    for path in ["/before", "/MARKER", "/behind"] {
        client.create(path, b"", Persistent).unwrap().unwrap();
    }
    let killed = disk.kill();
    server.stop();
    let log_dir = fake_dir().join("log");
    let names = oxkeeper_store::Disk::list(&killed, &log_dir).unwrap();
    assert_eq!(names.len(), 1, "{names:?}");
    (killed, log_dir.join(&names[0]))
}

fn position(content: &[u8], marker: &[u8]) -> usize {
    content.windows(marker.len()).position(|window| window == marker).unwrap()
}

#[test]
fn a_damaged_log_is_refused_with_file_and_offset() {
    let (disk, segment) = disk_with_log();
    let at = position(&disk.content(&segment).unwrap(), b"/MARKER");
    disk.flip(&segment, at * 8);
    let message = refusal(start_on(&disk));
    let name = segment.to_str().unwrap();
    assert!(message.contains(&format!("{name}: damaged at offset ")), "{message}");
    let offset = message.split("offset ").nth(1).unwrap().split(':').next().unwrap();
    let offset: usize = offset.parse().unwrap();
    assert!(offset <= at && at < offset + 1024, "the damage is at {at}: {message}");
}

#[test]
fn a_damaged_tree_is_never_served() {
    let disk = FakeDisk::new();
    let server = start_on(&disk).unwrap();
    let mut client = Raw::connect(server.address(), LONG_MS).unwrap();
    write_much(&mut client, "much", 66);
    let tree = fake_dir().join("tree.redb");
    until("a checkpoint", || disk.content(&tree).is_some());
    server.stop();
    let found = disk.content(&tree).unwrap();
    let middle = position(&found, &[33; 4096]);
    disk.flip(&tree, (middle + 100) * 8);
    let message = refusal(start_on(&disk.kill()));
    assert!(message.contains(tree.to_str().unwrap()) && message.contains("damaged"), "{message}");
}

#[test]
fn a_log_of_another_format_version_is_refused() {
    let (disk, segment) = disk_with_log();
    let mut content = disk.content(&segment).unwrap();
    content[8..12].copy_from_slice(&9u32.to_le_bytes());
    content[12..16].fill(0);
    let crc = crc32fast::hash(&content[..512]);
    content[12..16].copy_from_slice(&crc.to_le_bytes());
    disk.set_content(&segment, content);
    let message = refusal(start_on(&disk));
    assert!(message.contains("format version 9 is unknown"), "{message}");
    assert!(message.contains(Path::new("log").to_str().unwrap()), "{message}");
}

/// A server takes an Arc of a disk; clones of a fake disk are the same disk.
#[test]
fn a_restart_on_the_same_disk_finds_everything() {
    let disk = Arc::new(FakeDisk::new());
    for round in 0..3 {
        let server = start_on(&disk).unwrap();
        let mut client = Raw::connect(server.address(), LONG_MS).unwrap();
        assert_eq!(client.children("/").len(), round + 1, "/zookeeper and one of each round");
        client.create(&format!("/round{round}"), b"", Persistent).unwrap().unwrap();
        server.stop();
    }
}
