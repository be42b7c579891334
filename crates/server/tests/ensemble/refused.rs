//! Data directories that this server must not use.

use std::sync::Arc;
use std::time::{Duration, Instant};

use oxkeeper_proto::op::CreateMode::Persistent;
use oxkeeper_server::{Server, StartOptions};
use oxkeeper_store::fake::FakeDisk;

use crate::group::Group;
use crate::support::config;
use crate::support::process::Process;
use crate::support::raw::Raw;

/// A standalone server's data is refused on a member, with the reason; and the reverse.
#[test]
fn data_of_a_server_alone_and_of_a_member_are_not_mixed_up() {
    let mut group = Group::running(&[1, 2, 3], &[]);
    write_one(&mut group.client(1));
    group.stop(1);
    let dir = group.seat(1).dir.clone();
    let alone = |disk: &FakeDisk| {
        let options = StartOptions { in_memory: false, io_threads: 1 };
        Server::start_on(config(&dir, &[]), options, Arc::new(disk.clone()))
    };
    let refused = alone(group.seat(1).disk.as_ref().unwrap()).expect_err("a member's data").to_string();
    assert!(refused.contains("it belongs to a member of the ensemble of servers [1, 2, 3]"), "{refused}");

    let empty = FakeDisk::new();
    let server = alone(&empty).unwrap();
    write_one(&mut Raw::connect(server.address(), 10_000).unwrap());
    server.stop();
    group.seat_mut(1).disk = Some(empty.kill());
    let zoo_cfg = group.zoo_cfg(1);
    let refused = group.start_with(1, &zoo_cfg).expect_err("a standalone's data").to_string();
    assert!(refused.contains("a standalone server wrote it. To make an ensemble of it"), "{refused}");
    group.end();
}

fn write_one(client: &mut Raw) {
    client.create("/a", b"", Persistent).unwrap().unwrap();
}

/// The list of members is part of the agreement: a changed list is refused, and the former one
/// still works.
#[test]
fn a_changed_list_of_members_is_refused() {
    let mut group = Group::running(&[1, 2, 3], &[]);
    write_one(&mut group.client(1));
    group.stop(2);
    let zoo_cfg = group.zoo_cfg(2);
    let changed = format!("{zoo_cfg}\nserver.4=127.0.0.1:1:2");
    let refused = group.start_with(2, &changed).expect_err("one more").to_string();
    assert!(refused.contains("[1, 2, 3]") && refused.contains("[1, 2, 3, 4]"), "{refused}");
    let fewer: Vec<&str> = zoo_cfg.lines().filter(|line| !line.starts_with("server.3")).collect();
    let refused = group.start_with(2, &fewer.join("\n")).expect_err("one fewer").to_string();
    assert!(refused.contains("[1, 2, 3]") && refused.contains("[1, 2]"), "{refused}");
    group.start(2);
    group.wait_serving();
    group.assert_equal();
    group.end();
}

/// A copied data directory brings the promises of another server and lacks those of this one. The
/// log warns about it once.
#[test]
fn data_of_another_member_is_used_with_a_warning() {
    let mut group = Group::running_on_files(&[1, 2, 3]);
    write_one(&mut group.client(3));
    group.ids().into_iter().for_each(|id| group.stop(id));
    let dir = group.seat(1).dir.clone();
    std::fs::write(dir.join("myid"), "2").unwrap();
    let zoo_cfg = group.zoo_cfg(2).replace(&group.seat(2).dir.display().to_string(), &dir.display().to_string());
    let told =
        ["WARN", "server 1 wrote the data in", "and this is server 2. Unless all servers start with the same copy"];
    Process::start_member(&dir, &zoo_cfg).until_logged(&told);
    let again = Process::start_member(&dir, &zoo_cfg);
    again.until_logged(&["listening for clients"]);
    assert!(!again.has_logged(&told), "from now on it is its own");
}

/// A copied `myid` is diagnosed from the id that the server believes to have.
#[test]
fn a_place_that_is_not_ours_is_told_with_the_file_that_says_who_we_are() {
    let mut group = Group::new(&[1, 2, 3], &[]);
    let own = format!("server.1={}:", group.seat(1).peer.ip());
    let zoo_cfg = group.zoo_cfg(1).replace(&own, "server.1=192.0.2.1:");
    let my_id = group.seat(1).dir.join("myid");
    let refused = group.start_with(1, &zoo_cfg).expect_err("an address for documentation is nobody's").to_string();
    assert!(refused.contains("cannot listen on 192.0.2.1:"), "{refused}");
    assert!(refused.ends_with(&format!("; this is server 1 by {}", my_id.display())), "{refused}");
}

/// A member of another ensemble with the same ids is refused, and its data is unchanged.
#[test]
fn a_member_of_another_ensemble_is_not_let_in() {
    let mut ours = Group::running(&[1, 2, 3], &[]);
    let mut theirs = Group::running(&[1, 2, 3], &[]);
    write_one(&mut ours.client(1));
    theirs.client(1).create("/theirs", b"", Persistent).unwrap().unwrap();
    theirs.assert_equal();
    ours.stop(3);
    theirs.stop(3);
    let own = ours.seat(3).disk.clone();
    ours.seat_mut(3).disk = theirs.seat(3).disk.clone();
    let (dir, their_dir) = (ours.seat(3).dir.display().to_string(), theirs.seat(3).dir.display().to_string());
    let zoo_cfg = ours.zoo_cfg(3).replace(&dir, &their_dir);
    ours.start_with(3, &zoo_cfg).unwrap();
    let mut client = ours.client(1);
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(2) {
        assert_eq!(ours.mode(3), None, "it does not serve");
        client.set("/a", b"on").unwrap().unwrap();
        std::thread::sleep(Duration::from_millis(100));
    }
    ours.stop(3);
    ours.seat_mut(3).disk = own;
    ours.start(3);
    ours.wait_serving();
    assert!(!ours.assert_equal().contains_key("/theirs"));
    theirs.start(3);
    theirs.wait_serving();
    assert!(theirs.assert_equal().contains_key("/theirs"));
    ours.end();
    theirs.end();
}
