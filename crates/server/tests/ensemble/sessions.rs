//! Sessions in an ensemble: they move, they end, and their watches fire regardless of the writing
//! server.

use std::io::Write;
use std::time::{Duration, Instant};

use oxkeeper_proto::Jute;
use oxkeeper_proto::OpCode;
use oxkeeper_proto::op::CreateMode::{Ephemeral, Persistent};
use oxkeeper_proto::op::EventType;
use oxkeeper_proto::records::GetDataResponse;

use crate::group::Group;
use crate::support::LONG_MS;
use crate::support::raw::{Raw, read_request};
use crate::support::until;

/// A session continues on another server, with its ephemerals, when its own server stops. When a
/// session moves from a working server, the old connection there is closed.
#[test]
fn a_session_moves_with_its_ephemerals_and_leaves_no_connection_behind() {
    let mut group = Group::running(&[1, 2, 3], &[]);
    let first = group.follower();
    let mut client = group.client(first);
    let session = client.session;
    client.create("/e", b"mine", Ephemeral).unwrap().unwrap();
    group.stop(first);

    let others = group.running_ids();
    let mut second = group.client_of(others[0], LONG_MS, session);
    assert_eq!(second.session, session, "it is the same session");
    assert_eq!(second.exists("/e").unwrap().ephemeral_owner, session.id);
    second.set("/e", b"still").unwrap().unwrap();

    let mut third = group.client_of(others[1], LONG_MS, session);
    assert_eq!(third.session, session);
    second.wait_closed();
    third.set("/e", b"and again").unwrap().unwrap();

    // Moves back to the original server, and then to a second connection of that server.
    let mut fourth = group.client_of(others[0], LONG_MS, session);
    third.wait_closed();
    let mut fifth = group.client_of(others[0], LONG_MS, session);
    fourth.wait_closed();
    assert_eq!(fifth.set("/e", b"at last").unwrap().unwrap().version, 3);

    group.start(first);
    group.wait_serving();
    assert_eq!(group.assert_equal()["/e"].1.ephemeral_owner, session.id);
    let (xid, frame) = fifth.request_with(OpCode::CloseSession, |_| {});
    fifth.stream.write_all(&frame).unwrap();
    assert_eq!(fifth.reply_to(xid).unwrap().err, 0);
    assert!(!group.assert_equal().contains_key("/e"));
    group.end();
}

/// A wrong password has no effect.
#[test]
fn a_session_does_not_move_for_a_stranger() {
    let group = Group::running(&[1, 2, 3], &[]);
    let mut client = group.client(1);
    client.create("/e", b"", Ephemeral).unwrap().unwrap();
    let mut stolen = client.session;
    stolen.password[3] ^= 1;
    assert_eq!(group.client_of(2, LONG_MS, stolen).session.id, 0, "refused");
    client.set("/e", b"mine").unwrap().unwrap();
    group.end();
}

/// An expired session's ephemerals disappear on all servers. A session that pings a follower
/// survives, even across a change of the leader.
#[test]
fn sessions_expire_everywhere_but_not_those_that_ping() {
    let mut group = Group::running(&[1, 2, 3], &[]);
    let leader = group.wait_serving();
    let follower = group.follower();
    let timeout_ms = 2_000;
    let mut silent = group.client_of(follower, timeout_ms, Default::default());
    silent.create("/silent", b"", Ephemeral).unwrap().unwrap();
    let mut lively = group.client_of(follower, timeout_ms, Default::default());
    assert_eq!(lively.timeout_ms, timeout_ms);
    lively.create("/lively", b"", Ephemeral).unwrap().unwrap();

    let begun = Instant::now();
    group.stop(leader);
    let mut gone = false;
    until("the silent session expires", || {
        lively.ping().unwrap();
        std::thread::sleep(Duration::from_millis(100));
        gone = gone || lively.exists("/silent").is_none();
        gone && begun.elapsed() > Duration::from_millis(3 * timeout_ms as u64)
    });
    group.start(leader);
    group.wait_serving();
    lively.ping().unwrap();
    let contents = group.assert_equal();
    assert!(!contents.contains_key("/silent"));
    assert!(contents.contains_key("/lively"));
    group.end();
}

/// Events seen by one client, in order.
#[derive(Debug, PartialEq, Eq)]
enum Seen {
    Event,
    Data(Vec<u8>),
}

fn next_seen(client: &mut Raw) -> Seen {
    let reply = client.receive().unwrap();
    match reply.event() {
        Some(event) => {
            assert_eq!(event, (EventType::NodeDataChanged.wire(), "/watched".to_owned()));
            Seen::Event
        }
        None => Seen::Data(GetDataResponse::from_bytes(&reply.result().unwrap()).unwrap().data.unwrap().to_vec()),
    }
}

/// Reads until the data is `new`, which a watch must announce once.
fn read_until(reader: &mut Raw, new: u8) {
    let mut told = false;
    loop {
        let told_before = told;
        reader.send(OpCode::GetData, &read_request("/watched", false)).unwrap();
        let data = loop {
            match next_seen(reader) {
                Seen::Event if told => panic!("a watch fires once"),
                Seen::Event => told = true,
                Seen::Data(data) => break data,
            }
        };
        assert!(told || data != [new], "the new data was seen before the event");
        assert!(!told_before || data == [new], "old data was seen behind the event");
        if data == [new] {
            return;
        }
    }
}

/// A watch set on one server fires for a write through another, once, and before the new data is
/// visible.
#[test]
fn a_watch_fires_before_the_new_data_is_seen_wherever_it_was_written() {
    let group = Group::running(&[1, 2, 3], &[]);
    let mut writer = group.client(1);
    writer.create("/watched", b"0", Persistent).unwrap().unwrap();
    let mut readers: Vec<Raw> = vec![group.client(2), group.client(3)];
    for round in 1..=40u8 {
        for reader in &mut readers {
            crate::group::sync(reader);
            reader.send(OpCode::GetData, &read_request("/watched", true)).unwrap();
            assert!(matches!(next_seen(reader), Seen::Data(_)));
        }
        std::thread::scope(|scope| {
            for reader in &mut readers {
                scope.spawn(move || read_until(reader, round));
            }
            writer.set("/watched", &[round]).unwrap().unwrap();
        });
    }
    group.end();
}
