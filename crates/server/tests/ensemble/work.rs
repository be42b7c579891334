//! An ensemble at work: it is founded, elects, accepts writes through any server, and continues
//! without one.

use std::time::{Duration, Instant};

use oxkeeper_proto::op::CreateMode::{Persistent, PersistentSequential};

use crate::group::{Group, sync};
use crate::support::raw::Raw;

/// Uninitialized servers found the ensemble; writes through any server are visible on all others
/// after a sync; `srvr` reports the leader; `/zookeeper/config` lists the members.
fn founds_and_works(ids: &[u8]) {
    let group = Group::running(ids, &[]);
    let leader = group.wait_serving();
    for &id in ids {
        let expected = if id == leader { "leader" } else { "follower" };
        assert_eq!(group.mode(id).as_deref(), Some(expected));
    }

    let mut clients: Vec<Raw> = ids.iter().map(|&id| group.client(id)).collect();
    for writer in 0..clients.len() {
        let path = format!("/by-{writer}");
        clients[writer].create(&path, b"", Persistent).unwrap().unwrap();
        for round in 0..20u8 {
            let version = clients[writer].set(&path, &[round]).unwrap().unwrap().version;
            assert_eq!(version, i32::from(round) + 1, "each write is applied once");
        }
        for reader in &mut clients {
            sync(reader);
            assert_eq!(reader.get(&path).unwrap().0, [19]);
        }
    }

    let contents = group.assert_equal();
    let config = String::from_utf8(contents["/zookeeper/config"].0.clone()).unwrap();
    let mut lines = config.lines();
    for seat in &group.seats {
        let start = format!("server.{}={}:{}:3888:participant", seat.id, seat.peer.ip(), seat.peer.port());
        assert!(lines.next().is_some_and(|line| line.starts_with(&start)), "{start} is not in its place in {config}");
    }
    assert_eq!((lines.next(), lines.next()), (Some("version=0"), None));
    group.end();
}

#[test]
fn three_servers_found_an_ensemble_and_work() {
    // Ids need not be consecutive.
    founds_and_works(&[2, 5, 9]);
}

#[test]
fn five_servers_found_an_ensemble_and_work() {
    founds_and_works(&[1, 2, 3, 4, 5]);
}

/// Makes sequential creates, one at a time, until `rounds` are done: none is lost or duplicated.
fn create_in_turn(client: &mut Raw, rounds: usize) {
    for _ in 0..rounds {
        client.create("/turn-", b"", PersistentSequential).unwrap().unwrap();
    }
}

/// A client of a remaining server notices only a pause when the leader stops: its connection stays
/// open, and writes made in the meantime are executed once.
#[test]
fn clients_of_a_survivor_keep_their_connection_when_the_leader_stops() {
    let mut group = Group::running(&[1, 2, 3], &[]);
    let leader = group.wait_serving();
    let survivor = group.follower();
    let mut client = group.client(survivor);
    let start = std::thread::scope(|scope| {
        let writing = scope.spawn(|| {
            create_in_turn(&mut client, 300);
            Instant::now()
        });
        let start = Instant::now();
        group.stop(leader);
        assert!(writing.join().unwrap() > start, "it wrote while the leader stopped");
        start
    });
    create_in_turn(&mut client, 10);
    println!("the leader's stop and the rest of 300 writes took {:?}", start.elapsed());
    assert_ne!(group.wait_serving(), leader);
    let contents = group.assert_equal();
    let created: Vec<&String> = contents.keys().filter(|path| path.starts_with("/turn-")).collect();
    let expected: Vec<String> = (0..310).map(|number| format!("/turn-{number:010}")).collect();
    assert_eq!(created, expected.iter().collect::<Vec<_>>());
    group.end();
}

/// A server that is cut off from a majority disconnects its clients and says so; it serves again
/// once it has a majority.
#[test]
fn without_a_majority_nobody_is_served() {
    let mut group = Group::running(&[1, 2, 3], &[]);
    let mut client = group.client(1);
    client.create("/a", b"", Persistent).unwrap().unwrap();
    group.stop(2);
    group.stop(3);
    client.wait_closed();
    crate::support::until("it says that it does not serve", || group.mode(1).is_none());
    Raw::connect(group.address(1), 10_000).expect_err("no session is given");
    group.start(2);
    group.wait_serving();
    let mut client = group.client_of(1, client.timeout_ms, client.session);
    assert!(client.set("/a", b"again").unwrap().is_ok());
    group.end();
}

/// A member stops even if clients continue to write, or a majority is absent.
#[test]
fn a_member_stops_whatever_goes_on() {
    let mut group = Group::running(&[1, 2, 3], &[]);
    let (leader, follower) = (group.wait_serving(), group.follower());
    for id in [follower, leader] {
        let mut clients: Vec<Raw> = group.ids().iter().map(|&id| group.client(id)).collect();
        std::thread::scope(|scope| {
            for client in &mut clients {
                scope.spawn(|| while client.create("/turn-", &[7; 10_000], PersistentSequential).is_ok() {});
            }
            std::thread::sleep(Duration::from_millis(100));
            group.stop(id);
            // The others' writers end with their servers.
            for other in group.running_ids() {
                group.stop(other);
            }
        });
        group.start_all();
        group.wait_serving();
    }
    let others: Vec<u8> = group.ids().into_iter().filter(|&id| id != leader).collect();
    others.iter().chain([&leader]).for_each(|&id| group.stop(id));
}
