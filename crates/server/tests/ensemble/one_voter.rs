//! Ensembles of one voter: `standaloneEnabled=false`, used by operators who start with one server
//! and add others.

use std::io::Write;
use std::time::Duration;

use oxkeeper_proto::OpCode;
use oxkeeper_proto::op::CreateMode::Persistent;

use crate::group::Group;
use crate::members::{line, longest_write, reconfig, reconfig_whole, zoo_cfg};
use crate::support::raw::{Session, set_request};
use crate::support::{LONG_MS, until};

const LINES: [&str; 3] = ["standaloneEnabled=false", "reconfigEnabled=true", "skipACL=yes"];

#[test]
fn one_voter_serves_at_once_and_keeps_what_it_acknowledged() {
    let mut group = Group::new(&[1], &LINES);
    group.start_all();
    assert_eq!(group.wait_serving(), 1);
    let mut client = group.client(1);
    client.create("/a", b"", Persistent).unwrap().unwrap();
    for seed in 1..20_u64 {
        let data = seed.to_be_bytes();
        group.client(1).set("/a", &data).unwrap().unwrap();
        group.crash_all(seed, || ());
        assert_eq!(group.wait_serving(), 1);
        assert_eq!(group.client(1).get("/a").unwrap().0, data, "seed {seed}");
    }
    group.end();
}

/// A session survives every change of the members.
#[test]
fn an_ensemble_grows_from_one_and_shrinks_to_another() {
    let mut group = Group::new(&[1, 2, 3], &LINES);
    let text = zoo_cfg(&group, 1, &[2, 3], "");
    group.start_with(1, &text).unwrap();
    group.wait_serving();
    let mut client = group.client_of(1, LONG_MS, Session::default());
    client.create("/a", b"", Persistent).unwrap().unwrap();
    for (id, without) in [(2, &[3][..]), (3, &[])] {
        let text = zoo_cfg(&group, id, without, "");
        group.start_with(id, &text).unwrap();
        group.wait_serving();
        assert_eq!(reconfig(&mut client, Some(line(&group, id)), None), 0);
        longest_write(&mut client, 20);
    }
    group.assert_equal();
    // Two of three are a majority, without the first.
    let mut other = group.client(2);
    group.stop(1);
    group.wait_serving();
    longest_write(&mut other, 5);
    let text = zoo_cfg(&group, 1, &[2, 3], "");
    group.start_with(1, &text).unwrap();
    group.wait_serving();
    // Server 2 is alone now.
    assert_eq!(reconfig(&mut other, None, Some("1,3")), 0);
    longest_write(&mut other, 20);
    assert_eq!(group.wait_serving_of(&[2]), 2);
    group.stop(1);
    group.stop(3);
    longest_write(&mut other, 20);
    group.stop(2);
    let text = zoo_cfg(&group, 2, &[1, 3], "");
    group.start_with(2, &text).unwrap();
    until("server 2 leads", || group.mode(2).as_deref() == Some("leader"));
    longest_write(&mut group.client(2), 20);
    group.end();
}

/// A change that removes a voter is answered only when its disk may be discarded.
#[test]
fn a_change_of_voters_is_answered_when_the_new_ones_have_everything() {
    let mut group = Group::new(&[1, 2], &LINES);
    let text = zoo_cfg(&group, 1, &[2], "");
    group.start_with(1, &text).unwrap();
    group.wait_serving();
    group.start(2);
    group.wait_serving();
    let mut client = group.client(1);
    client.create("/a", b"", Persistent).unwrap().unwrap();
    group.contents(2);
    let gate = group.seat(2).gate.clone();
    let closed = gate.close();
    client.set("/a", b"acknowledged").unwrap().unwrap();
    let line = line(&group, 2);
    let asking = std::thread::spawn(move || (reconfig_whole(&mut client, &line), client));
    gate.wait_for_victim();
    std::thread::sleep(Duration::from_millis(300));
    assert!(!asking.is_finished(), "server 2 has nothing on disk yet");
    drop(closed);
    let (err, _client) = asking.join().unwrap();
    assert_eq!(err, 0);
    group.stop(1);
    group.wipe(1);
    until("server 2 leads", || group.mode(2).as_deref() == Some("leader"));
    assert_eq!(group.client(2).get("/a").unwrap().0, b"acknowledged");
    longest_write(&mut group.client(2), 5);
    group.end();
}

/// A sole voter gets no frames from others that would wake it once it has room again.
#[test]
fn more_than_fits_at_once_is_answered() {
    let group = Group::running(&[1], &LINES);
    let mut client = group.client(1);
    client.create("/a", b"", Persistent).unwrap().unwrap();
    let data = vec![7; 1_000_000];
    for _ in 0..12 {
        let requests: Vec<_> = (0..30).map(|_| client.request(OpCode::SetData, &set_request("/a", &data)).1).collect();
        let mut socket = client.stream.try_clone().unwrap();
        let writing = std::thread::spawn(move || requests.iter().try_for_each(|request| socket.write_all(request)));
        (0..30).for_each(|_| assert_eq!(client.receive().unwrap().err, 0));
        writing.join().unwrap().unwrap();
    }
    group.end();
}

/// No voter would be left.
#[test]
fn the_last_voter_does_not_leave() {
    let group = Group::running(&[1], &LINES);
    let mut client = group.client(1);
    client.create("/a", b"", Persistent).unwrap().unwrap();
    assert_eq!(reconfig(&mut client, None, Some("1")), -8);
    longest_write(&mut client, 3);
    group.end();
}
