//! Servers that stop and return: with their disks, with parts of them, or with empty ones.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use oxkeeper_proto::op::CreateMode::{Ephemeral, Persistent};
use oxkeeper_store::fake::FakeDisk;

use crate::group::{Contents, Group};
use crate::support::raw::Raw;
use crate::support::{LONG_MS, Stop, until};

/// Observation time when nothing must happen: founding takes a tenth of it.
const LOOK: Duration = Duration::from_secs(3);

fn write(client: &mut Raw, name: &str, count: usize) {
    for index in 0..count {
        client.create(&format!("/{name}{index}"), name.as_bytes(), Persistent).unwrap().unwrap();
    }
}

fn has_all(contents: &Contents, name: &str, count: usize) -> bool {
    (0..count).all(|index| contents.contains_key(&format!("/{name}{index}")))
}

/// A server that was away has everything written in the meantime. After all were stopped and
/// started, everything is there, including sessions.
#[test]
fn one_restarts_then_all_and_nothing_is_lost() {
    let mut group = Group::running(&[1, 2, 3], &[]);
    let follower = group.follower();
    let mut client = group.client(group.wait_serving());
    client.create("/e", b"", Ephemeral).unwrap().unwrap();
    write(&mut client, "before", 10);
    group.stop(follower);
    write(&mut client, "during", 10);
    group.start(follower);
    group.wait_serving();
    write(&mut client, "after", 10);
    let before = group.assert_equal();

    let zxid = client.ping().unwrap().zxid;
    for id in group.ids() {
        group.stop(id);
    }
    group.start_all();
    group.wait_serving();
    let after = group.assert_equal();
    assert_eq!(before.keys().collect::<Vec<_>>(), after.keys().collect::<Vec<_>>());
    assert!(before.iter().all(|(path, node)| path == "/zookeeper/config" || after[path] == *node));
    let mut client = group.client_of(follower, LONG_MS, client.session);
    assert_eq!(client.exists("/e").unwrap().ephemeral_owner, client.session.id);
    client.set("/e", b"on").unwrap().unwrap();
    assert!(client.ping().unwrap().zxid >> 32 > zxid >> 32, "a new leader begins a new epoch");
    group.end();
}

/// Simultaneous power failures of all servers during writes: everything acknowledged is there.
#[test]
fn a_power_failure_of_all_loses_nothing_that_was_answered() {
    let mut group = Group::running(&[1, 2, 3], &[]);
    for seed in 1..=3 {
        let name = format!("seed{seed}-");
        let mut clients: Vec<Raw> = group.ids().iter().map(|&id| group.client(id)).collect();
        let counts: Vec<AtomicUsize> = clients.iter().map(|_| AtomicUsize::new(0)).collect();
        let answered: Vec<usize> = std::thread::scope(|scope| {
            for (number, (client, count)) in clients.iter_mut().zip(&counts).enumerate() {
                let name = format!("/{name}{number}-");
                scope.spawn(move || {
                    let next = || format!("{name}{}", count.load(Ordering::SeqCst));
                    while client.create(&next(), b"", Persistent).is_ok() {
                        count.fetch_add(1, Ordering::SeqCst);
                    }
                });
            }
            std::thread::sleep(Duration::from_millis(50 + 37 * seed));
            group.crash_all(seed, || counts.iter().map(|count| count.load(Ordering::SeqCst)).collect())
        });
        group.wait_serving();
        let contents = group.assert_equal();
        for (number, count) in answered.into_iter().enumerate() {
            assert!(has_all(&contents, &format!("{name}{number}-"), count), "seed {seed}, writer {number}: {count}");
        }
    }
    group.end();
}

/// A server that was away for longer than the others keep their logs installs a state instead.
#[test]
fn a_server_that_was_away_for_too_long_installs_the_state() {
    let mut group = Group::running_on_files(&[1, 2, 3]);
    let (leader, follower) = (group.wait_serving(), group.follower());
    let mut client = group.client(leader);
    write(&mut client, "before", 10);
    group.stop(follower);
    client.create("/big", b"", Persistent).unwrap().unwrap();
    // A segment of 64 MiB, which falls behind a checkpoint and the 32 MiB that are always kept.
    let mut written = 0;
    let log = group.seat(leader).dir.join("log");
    let first_segment = || std::fs::read_dir(&log).unwrap().map(|entry| entry.unwrap().file_name()).min();
    let first = first_segment();
    until("the leader's log is trimmed", || {
        for _ in 0..16 {
            written += 1;
            client.set("/big", &vec![written as u8; 1_000_000]).unwrap().unwrap();
        }
        first_segment() != first
    });
    println!("trimmed after {written} MB");
    let start = Instant::now();
    group.start(follower);
    group.wait_serving();
    println!("a state of little and a log of 32 MiB or more: serving after {:?}", start.elapsed());
    let contents = group.assert_equal();
    assert!(has_all(&contents, "before", 10));
    assert_eq!(contents["/big"].0[0], written as u8);
    group.end();
}

/// A server with an empty disk joins; the data sent to it counts as much as that of others.
#[test]
fn an_empty_disk_joins_and_is_as_good_as_any() {
    let mut group = Group::running(&[1, 2, 3], &[]);
    let mut client = group.client(group.wait_serving());
    write(&mut client, "a", 20);
    for id in group.ids() {
        group.stop(id);
        group.wipe(id);
        // The others serve without the wiped server.
        group.wait_serving();
        let other = group.running_ids()[0];
        write(&mut group.client(other), &format!("without-{id}-"), 5);
        group.start(id);
        group.wait_serving();
        assert!(has_all(&group.assert_equal(), "a", 20), "every disk but this one was replaced, one after the other");
    }
    group.end();
}

/// A server with an empty disk joins during writes: the transfer ends nevertheless.
#[test]
fn an_empty_disk_joins_while_others_write() {
    let mut group = Group::running(&[1, 2, 3], &[]);
    let id = group.follower();
    write(&mut group.client(id), "a", 20);
    group.stop(id);
    group.wipe(id);
    group.wait_serving();
    let mut clients: Vec<Raw> = group.running_ids().iter().map(|&id| group.client(id)).collect();
    let done = Stop::default();
    std::thread::scope(|scope| {
        let _done = done.when_done();
        for (number, client) in clients.iter_mut().enumerate() {
            let done = &done;
            scope.spawn(move || {
                for count in (0..).take_while(|_| !done.is_told()) {
                    client.create(&format!("/during{number}-{count}"), &[0; 2000], Persistent).unwrap().unwrap();
                }
            });
        }
        group.start(id);
        group.wait_serving();
    });
    let contents = group.assert_equal();
    assert!(has_all(&contents, "a", 20) && has_all(&contents, "during0-", 1));
    group.end();
}

/// Two empty disks and an old one do not found a new ensemble: the old one may be all that is left
/// of the acknowledged data. It becomes usable when another old disk returns.
#[test]
fn a_majority_of_empty_disks_founds_nothing_beside_an_old_one() {
    let mut group = Group::running(&[1, 2, 3], &[]);
    write(&mut group.client(1), "a", 5);
    group.assert_equal();
    for id in group.ids() {
        group.stop(id);
    }
    let kept = group.seat(2).disk.clone();
    for id in [2, 3] {
        group.wipe(id);
    }
    group.start_all();
    let start = Instant::now();
    while start.elapsed() < LOOK {
        assert_eq!(group.ids().into_iter().find(|&id| group.mode(id).is_some()), None, "nobody serves");
        std::thread::sleep(Duration::from_millis(50));
    }
    group.stop(2);
    group.seat_mut(2).disk = kept;
    group.start(2);
    group.wait_serving();
    assert!(has_all(&group.assert_equal(), "a", 5));
    group.end();
}

/// Uninitialized servers wait for all others, unless `initialize` permits a majority; it does so
/// only once.
#[test]
fn the_initialize_file_lets_a_majority_found_an_ensemble_once() {
    let mut group = Group::new(&[1, 2, 3], &[]);
    for id in [1, 2] {
        group.start(id);
    }
    let start = Instant::now();
    while start.elapsed() < LOOK {
        assert_eq!((group.mode(1), group.mode(2)), (None, None), "server 3 may have what they lack");
        std::thread::sleep(Duration::from_millis(50));
    }
    for id in [1, 2] {
        group.stop(id);
        std::fs::write(group.seat(id).dir.join("initialize"), b"").unwrap();
    }
    for id in [1, 2] {
        group.start(id);
    }
    group.wait_serving();
    write(&mut group.client(1), "a", 5);
    for id in [1, 2] {
        until("it has served its purpose", || !group.seat(id).dir.join("initialize").exists());
    }
    group.start(3);
    group.wait_serving();
    assert!(has_all(&group.assert_equal(), "a", 5));
    group.end();
}

/// Stopping a blank server, or one that looks for a leader, does not wait for others.
#[test]
fn a_server_that_waits_for_others_stops() {
    let mut group = Group::new(&[1, 2, 3], &[]);
    group.start(1);
    group.stop(1);
    group.seat_mut(1).disk = Some(FakeDisk::new());
    group.start_all();
    group.wait_serving();
    for id in group.ids() {
        group.stop(id);
    }
    group.start(1);
    group.stop(1);
    group.end();
}
