//! Read-only mode: service for clients while the rest of the ensemble is gone.

use std::time::{Duration, Instant};

use oxkeeper_proto::ErrorCode::NotReadOnly;
use oxkeeper_proto::OpCode;
use oxkeeper_proto::op::CreateMode::{Ephemeral, Persistent};
use oxkeeper_proto::records::PathRecord;

use crate::group::{Group, word};
use crate::support::raw::{Raw, Session, read_request};
use crate::support::{LONG_MS, until};

/// Starts three servers that serve reads without a quorum.
fn readers() -> Group {
    let mut group = Group::new(&[1, 2, 3], &["4lw.commands.whitelist=mntr"]);
    group.flags = "-Dreadonlymode.enabled=true".to_owned();
    group.start_all();
    group.wait_serving();
    group
}

fn wait_read_only(group: &Group, id: u8) {
    until("it serves reads only", || group.mode(id).as_deref() == Some("read-only"));
    assert_eq!(word(group.address(id), "isro"), "ro");
}

/// Returns a value from `mntr`.
fn metric(group: &Group, id: u8, name: &str) -> String {
    let text = word(group.address(id), "mntr");
    text.lines().find_map(|line| line.strip_prefix(&format!("zk_{name}\t"))).unwrap().to_owned()
}

/// Returns whether a server accepts a client for reading and writing.
fn takes(group: &Group, id: u8, session: Session) -> bool {
    Raw::open(group.address(id), LONG_MS, session).is_ok()
}

#[test]
fn a_server_without_its_quorum_serves_those_who_only_read() {
    let mut group = readers();
    let mut client = group.client(1);
    client.create("/a", b"known", Persistent).unwrap().unwrap();
    client.create("/mine", b"", Ephemeral).unwrap().unwrap();
    assert_eq!(word(group.address(1), "isro"), "rw");
    let start = Instant::now();
    group.stop(2);
    group.stop(3);
    client.wait_closed();
    wait_read_only(&group, 1);
    println!("it served reads after {:?}", start.elapsed());

    assert!(!takes(&group, 1, Session::default()), "it wants to write");
    assert!(!takes(&group, 1, client.session));
    let address = group.address(1);
    assert!(Raw::open_to_read(address, LONG_MS, client.session).is_err(), "the ensemble's session goes on elsewhere");
    let mut reader = Raw::open_to_read(address, LONG_MS, Session::default()).unwrap();
    assert!(reader.read_only && reader.session.id != 0);
    assert_eq!(reader.get("/a").unwrap().0, b"known");
    assert!(reader.exists("/mine").is_some(), "whose session nobody can end now");
    assert_eq!(reader.set("/a", b"new").unwrap().unwrap_err(), NotReadOnly);
    assert_eq!(reader.create("/b", b"", Persistent).unwrap().unwrap_err(), NotReadOnly);
    let zxid = reader.ping().unwrap().zxid;
    let sync = reader.call(OpCode::Sync, &PathRecord { path: Some("/".into()) }).unwrap();
    assert_eq!((sync.zxid, sync.err, sync.body.len()), (zxid, NotReadOnly.wire(), 0));
    assert_eq!(reader.call(OpCode::GetData, &read_request("/a", true)).unwrap().err, 0, "with a watch");
    let again = Raw::open_to_read(address, LONG_MS, reader.session).unwrap();
    reader.wait_closed();
    let mut reader = again;
    assert_eq!((metric(&group, 1, "local_sessions"), metric(&group, 1, "global_sessions")), ("1".into(), "1".into()));

    group.start(2);
    reader.wait_closed();
    group.wait_serving();
    assert_eq!(word(group.address(1), "isro"), "rw");
    assert_eq!(Raw::open(group.address(1), LONG_MS, reader.session).unwrap().session.id, 0, "nobody knows it any more");
    assert_eq!(metric(&group, 1, "local_sessions"), "0");
    let mut client = group.client_of(2, LONG_MS, client.session);
    client.set("/mine", b"still").unwrap().unwrap();
    let client = Raw::open_to_read(group.address(1), LONG_MS, Session::default()).unwrap();
    assert!(!client.read_only, "there is no need for it");
    group.end();
}

#[test]
fn sessions_of_read_only_mode_expire_and_can_be_closed() {
    let mut group = readers();
    group.stop(2);
    group.stop(3);
    wait_read_only(&group, 1);
    let address = group.address(1);
    let start = Instant::now();
    let begin = || Raw::open_to_read(address, 2000, Session::default()).unwrap();
    let (mut silent, mut lively, mut closed) = (begin(), begin(), begin());
    assert_eq!(silent.timeout_ms, 2000);
    closed.call(OpCode::CloseSession, &0).unwrap();
    closed.wait_closed();
    std::thread::scope(|scope| {
        let watching = scope.spawn(move || {
            silent.wait_closed();
            (silent.session, start.elapsed())
        });
        while !watching.is_finished() {
            lively.ping().unwrap();
            std::thread::sleep(Duration::from_millis(50));
        }
        let (silent, took) = watching.join().unwrap();
        assert!(took >= Duration::from_millis(2000), "{took:?}");
        for session in [silent, closed.session] {
            assert_eq!(Raw::open_to_read(address, 2000, session).unwrap().session.id, 0);
        }
    });
    lively.ping().unwrap();
    group.end();
}

/// A server that is started alone serves the data on its disk. An empty server has nothing to
/// serve, and one without read-only mode serves nobody.
#[test]
fn only_a_server_that_has_a_state_and_was_asked_to_serves_reads() {
    let mut group = readers();
    group.client(1).create("/a", b"kept", Persistent).unwrap().unwrap();
    group.ids().into_iter().for_each(|id| group.stop(id));
    group.wipe(2);
    group.start(1);
    wait_read_only(&group, 1);
    let mut reader = Raw::open_to_read(group.address(1), LONG_MS, Session::default()).unwrap();
    assert_eq!(reader.get("/a").unwrap().0, b"kept");
    group.stop(1);

    group.start(2);
    group.flags.clear();
    group.start(3);
    // Server 3 alone is not a quorum for the empty server.
    let until = Instant::now() + Duration::from_millis(3500);
    while Instant::now() < until {
        assert_eq!((group.mode(2), group.mode(3)), (None, None));
        std::thread::sleep(Duration::from_millis(100));
    }
    for id in [2, 3] {
        assert!(Raw::open_to_read(group.address(id), LONG_MS, Session::default()).is_err(), "{id}");
    }
    group.end();
}
