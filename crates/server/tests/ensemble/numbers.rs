//! Server ids from 0 to 255 are all treated alike.

use std::io::Write;

use oxkeeper_proto::op::CreateMode::{Ephemeral, Persistent};
use oxkeeper_proto::{ErrorCode, OpCode};

use crate::group::{Group, sync};
use crate::support::raw::Raw;

fn end_session(client: &mut Raw) {
    let (xid, frame) = client.request_with(OpCode::CloseSession, |_| {});
    client.stream.write_all(&frame).unwrap();
    assert_eq!(client.reply_to(xid).unwrap().err, 0);
}

/// With any server id, a session's ephemeral znode is ephemeral and ends with the session.
#[test]
fn ephemerals_are_ephemerals_at_any_server() {
    let ids = [0, 128, 254, 255];
    let mut group = Group::running(&ids, &[]);
    for (at, id) in ids.into_iter().enumerate() {
        let mut client = group.client(id);
        let session = client.session;
        assert_eq!((session.id >> 56) as u8, id, "{:x}", session.id);
        let path = format!("/of-{id}");
        client.create(&path, b"", Ephemeral).unwrap().unwrap();
        assert_eq!(client.exists(&path).unwrap().ephemeral_owner, session.id);
        let below = client.create(&format!("{path}/child"), b"", Persistent).unwrap();
        assert_eq!(below.map(|_| ()), Err(ErrorCode::NoChildrenForEphemerals));

        let mut other = group.client(ids[(at + 1) % ids.len()]);
        sync(&mut other);
        assert_eq!(other.exists(&path).unwrap().ephemeral_owner, session.id, "at {id}");
        end_session(&mut client);
        sync(&mut other);
        assert!(other.exists(&path).is_none(), "the session of server {id} has ended");
    }
    // Command numbers and voters are on the disks, too.
    let before = group.assert_equal();
    group.crash_all(7, || ());
    group.wait_serving();
    let after = group.assert_equal();
    assert_eq!(before.keys().collect::<Vec<_>>(), after.keys().collect::<Vec<_>>());
    for id in ids {
        group.client(id).create(&format!("/again-{id}"), b"", Persistent).unwrap().unwrap();
    }
    group.assert_equal();
    group.end();
}

/// Server 0 alone leads, and recovers what it has lost once it has peers.
#[test]
fn server_0_leads_and_comes_back_from_an_empty_disk() {
    let mut alone = Group::running(&[0], &["standaloneEnabled=false"]);
    alone.client(0).create("/led-by-0", b"x", Persistent).unwrap().unwrap();
    alone.crash_all(3, || ());
    assert_eq!(alone.wait_serving(), 0);
    assert!(alone.contents(0).contains_key("/led-by-0"));
    alone.end();

    let mut group = Group::running(&[0, 1, 255], &[]);
    let mut client = group.client(255);
    client.create("/a", b"x", Persistent).unwrap().unwrap();
    group.stop(0);
    group.wait_serving();
    group.wipe(0);
    group.start(0);
    group.wait_serving();
    group.client(0).create("/from-0", b"y", Persistent).unwrap().unwrap();
    assert!(group.assert_equal().contains_key("/a"));
    group.end();
}
