//! One server with a stuck disk or a full disk.

use std::time::Duration;

use oxkeeper_proto::op::CreateMode::{Ephemeral, Persistent, PersistentSequential};

use crate::group::Group;
use crate::support::raw::Raw;
use crate::support::until;

fn create_some(client: &mut Raw, count: usize) {
    for _ in 0..count {
        client.create("/s-", b"", PersistentSequential).unwrap().unwrap();
    }
}

/// A leader with a stuck disk is replaced: clients of other servers continue to write with their
/// sessions. When the disk recovers, nothing is lost or duplicated.
#[test]
fn writes_go_on_while_the_leaders_disk_stands_still() {
    let group = Group::running(&[1, 2, 3], &["oxkeeper.diskStallMs=300"]);
    let (leader, follower) = (group.wait_serving(), group.follower());
    let mut client = group.client(follower);
    create_some(&mut client, 10);
    let gate = group.seat(leader).gate.clone();
    let closed = gate.close();
    // This write gets stuck on the leader's disk.
    create_some(&mut client, 1);
    gate.wait_for_victim();
    create_some(&mut client, 50);
    // The disk recovers only now.
    drop(closed);
    group.wait_serving();
    let contents = group.assert_equal();
    assert_eq!(contents.keys().filter(|path| path.starts_with("/s-")).count(), 61);
    group.end();
}

/// A follower with a stuck disk delays nobody.
#[test]
fn a_followers_disk_that_stands_still_holds_nobody_up() {
    let group = Group::running(&[1, 2, 3], &[]);
    let (leader, follower) = (group.wait_serving(), group.follower());
    let mut client = group.client(leader);
    create_some(&mut client, 10);
    let gate = group.seat(follower).gate.clone();
    let closed = gate.close();
    create_some(&mut client, 200);
    gate.wait_for_victim();
    // The disk recovers only now.
    drop(closed);
    group.wait_serving();
    let contents = group.assert_equal();
    assert_eq!(contents.keys().filter(|path| path.starts_with("/s-")).count(), 210);
    group.end();
}

/// A client of a server with a stuck disk keeps its session: a leader first hands over leadership;
/// a follower tells its leader which sessions it hears, and shows what a majority has decided.
fn a_stalled_servers_client_keeps_its_session(stalled_leads: bool) {
    let group = Group::running(&[1, 2, 3], &["oxkeeper.diskStallMs=300"]);
    let (leader, follower) = (group.wait_serving(), group.follower());
    let stalled = if stalled_leads { leader } else { follower };
    let other = group.ids().into_iter().find(|&id| id != leader && id != follower).unwrap();
    let timeout_ms = 16_000;
    let mut client = group.client_of(stalled, timeout_ms, Default::default());
    client.create("/e", b"", Ephemeral).unwrap().unwrap();
    let mut elsewhere = group.client(other);
    let gate = group.seat(stalled).gate.clone();
    let closed = gate.close();
    create_some(&mut elsewhere, 1);
    gate.wait_for_victim();
    if stalled_leads {
        until("a leader whose disk stands still is no leader any more", || client.ping().is_err());
        client = group.client_of(other, timeout_ms, client.session);
    } else {
        create_some(&mut client, 20);
        elsewhere.create("/seen", b"", Persistent).unwrap().unwrap();
        until("a read shows what others have written", || client.exists("/seen").is_some());
    }
    assert_eq!(client.exists("/e").map(|stat| stat.ephemeral_owner), Some(client.session.id));
    drop(closed);
    group.wait_serving();
    client.set("/e", b"").unwrap().unwrap();
    group.assert_equal();
    group.end();
}

#[test]
fn a_client_of_a_leader_whose_disk_stands_still_keeps_its_session() {
    a_stalled_servers_client_keeps_its_session(true);
}

#[test]
fn a_client_of_a_follower_whose_disk_stands_still_keeps_its_session() {
    a_stalled_servers_client_keeps_its_session(false);
}

/// Fills the disk of `full` while a client of another server continues to write.
fn fill_up_and_heal(group: &mut Group, full: u8) {
    let others: Vec<u8> = group.ids().into_iter().filter(|&id| id != full).collect();
    let disk = group.seat(full).disk.clone().unwrap();
    let mut client = group.client(others[0]);
    client.create(&format!("/full-{full}"), b"", Persistent).unwrap().unwrap();
    disk.set_room(Some(disk.used()));
    let mut version = 0;
    until("a server whose disk is full leaves", || {
        let written = client.set(&format!("/full-{full}"), &vec![version as u8; 200 << 10]).unwrap();
        version = written.unwrap().version;
        group.mode(full).is_none()
    });
    // The others continue, even when the full server returns for a moment and leaves again.
    for _ in 0..20 {
        version = client.set(&format!("/full-{full}"), &[version as u8]).unwrap().unwrap().version;
    }
    disk.set_room(None);
    group.wait_serving();
    assert_eq!(group.assert_equal()[&format!("/full-{full}")].1.version, version, "each was done once");
}

#[test]
fn a_server_whose_disk_is_full_leaves_and_comes_back() {
    let mut group = Group::running(&[1, 2, 3], &[]);
    let (leader, follower) = (group.wait_serving(), group.follower());
    fill_up_and_heal(&mut group, follower);
    fill_up_and_heal(&mut group, leader);
    group.end();
}

/// A server waiting for room on its disk can still be stopped.
#[test]
fn a_server_without_room_stops() {
    let mut group = Group::running(&[1, 2, 3], &[]);
    let (leader, full) = (group.wait_serving(), group.follower());
    let mut client = group.client(leader);
    client.create("/a", b"", Persistent).unwrap().unwrap();
    let disk = group.seat(full).disk.clone().unwrap();
    disk.set_room(Some(0));
    until("a server whose disk is full leaves", || {
        client.set("/a", &vec![1; 200 << 10]).unwrap().unwrap();
        group.mode(full).is_none()
    });
    std::thread::sleep(Duration::from_millis(200));
    group.stop(full);
    disk.set_room(None);
    group.start(full);
    group.wait_serving();
    group.assert_equal();
    group.end();
}
