//! Servers whose states diverge notice it, and only one state is served.

use std::path::Path;
use std::sync::Arc;

use oxkeeper_proto::op::CreateMode::Persistent;
use oxkeeper_proto::{OpCode, ServerId, SessionId};
use oxkeeper_replica::ensemble::Role;
use oxkeeper_replica::{Origin, Proposals};
use oxkeeper_state::{Command, Identities, Settings};
use oxkeeper_store::{Kind, RealDisk, Tree, TreeOptions};

use crate::group::Group;
use crate::pure::Net;
use crate::support::http::get;
use crate::support::process::Process;
use crate::support::until;

/// Maximum time until a divergence is noticed, virtual ms: one election round, and the transfer.
const NOTICED_MS: u64 = 80;

/// Begins a session, in the log or on one server only.
fn begin(session: i64, work: impl FnOnce(&Command<'_>)) {
    let (settings, identities) = (Settings::default(), Identities::default());
    let (session, op, body) = (SessionId(session), OpCode::CreateSession, &5_000i32.to_be_bytes()[..]);
    work(&Command { from: None, session, xid: 0, op, settings, identities, body });
}

/// Returns servers with a few entries, and the id of the leader.
fn started(count: u8) -> (Net, u8) {
    let mut net = Net::new(count);
    net.run(2_000);
    let [leader] = net.leaders()[..] else { panic!("one leads: {:?}", net.leaders()) };
    for session in 1..=5 {
        write(&mut net, leader, session);
    }
    assert!(net.servers.iter_mut().all(|server| server.replica.take_mismatches().is_empty()));
    (net, leader)
}

fn write(net: &mut Net, at: u8, session: i64) {
    begin(session, |command| {
        let mut proposals = Proposals::default();
        command.encode(&mut proposals.commands);
        proposals.origins.push(Origin::own(net.now_ms));
        net.server(at).replica.submit(&mut proposals);
    });
    net.run(20);
}

/// Changes one server's state outside the log, like a memory error or a rule that differs between
/// servers.
fn damage(net: &mut Net, id: u8, session: i64) {
    begin(session, |command| {
        let mut shared = net.server(id).shared.write();
        shared.state.apply(command, 1, &mut Vec::new(), &mut ()).unwrap();
    });
}

#[test]
fn the_one_that_differs_from_a_majority_must_stop() {
    for count in [3, 5] {
        for leads in [false, true] {
            let (mut net, leader) = started(count);
            let wrong = if leads { leader } else { leader % count + 1 };
            damage(&mut net, wrong, 77);
            // Any later write reveals it, once something is applied.
            write(&mut net, leader, 6);
            net.run(NOTICED_MS);
            for id in 1..=count {
                assert_eq!(net.server(id).replica.is_wrong(), id == wrong, "server {id} of {count}");
                let mismatches = net.server(id).replica.take_mismatches();
                assert_eq!(mismatches.len(), if id == wrong { usize::from(count) - 1 } else { 1 });
                assert!(mismatches.iter().all(|it| it.own.differences(&it.peers).contains(&"sessions")));
            }
            assert!(!net.server(wrong).replica.is_serving());
            assert_eq!(net.servers.iter().filter(|server| server.replica.is_serving()).count(), usize::from(count) - 1);
        }
    }
}

/// If it is unknown which state is right, only the leader's is served, and the follower continues
/// to vote.
#[test]
fn without_a_majority_one_state_is_served() {
    for (count, away) in [(2, 0), (3, 1)] {
        for leads in [false, true] {
            let (mut net, leader) = started(count);
            let follower = leader % count + 1;
            for gone in (1..=count).filter(|&id| away > 0 && id != leader && id != follower) {
                (1..=count).filter(|&id| id != gone).for_each(|id| net.cut(gone, id));
            }
            damage(&mut net, if leads { leader } else { follower }, 77);
            write(&mut net, leader, 6);
            net.run(NOTICED_MS);
            for session in 7..20 {
                write(&mut net, leader, session);
                assert!(net.server(leader).replica.is_serving());
                assert!(!net.server(follower).replica.is_serving());
                assert!(!net.server(leader).replica.is_wrong() && !net.server(follower).replica.is_wrong());
            }
            let applied = net.server(leader).replica.applied();
            assert_eq!(net.server(follower).replica.applied(), applied, "it votes and applies");
            assert_eq!(net.server(follower).replica.role(), Role::Following(ServerId(leader)));
            // The third server decides which state is right.
            if away > 0 {
                let gone = (1..=count).find(|&id| id != leader && id != follower).unwrap();
                (1..=count).filter(|&id| id != gone).for_each(|id| net.link(gone, id));
                net.run(2_000);
                write(&mut net, leader, 21);
                net.run(NOTICED_MS);
                let wrong = if leads { leader } else { follower };
                assert!((1..=count).all(|id| net.server(id).replica.is_wrong() == (id == wrong)));
            }
        }
    }
}

/// If all servers differ, there is no majority, either.
#[test]
fn where_all_differ_the_leaders_state_is_served() {
    let (mut net, leader) = started(3);
    (1..=3).for_each(|id| damage(&mut net, id, 70 + i64::from(id)));
    write(&mut net, leader, 6);
    net.run(NOTICED_MS);
    for id in 1..=3 {
        assert_eq!((net.server(id).replica.is_serving(), net.server(id).replica.is_wrong()), (id == leader, false));
    }
}

/// Changes the record of a session on disk, with a valid checksum.
fn damage_tree(dir: &Path, session: i64) {
    let tree = Tree::open(Arc::new(RealDisk), dir, &TreeOptions::default()).unwrap();
    let (snapshot, key) = (tree.snapshot().unwrap().unwrap(), session as u64);
    let mut record = snapshot.get(Kind::Session, key).unwrap().unwrap();
    record[3] ^= 1;
    let applied = snapshot.applied_index();
    drop(snapshot);
    tree.checkpoint(applied, |writer| writer.put(Kind::Session, key, &record)).unwrap();
}

/// Tests the real server: it logs the difference and the remedy, and exits with its exit code. The
/// others continue, and an empty disk replaces it.
#[test]
fn a_member_whose_disk_has_changed_stops() {
    // The changed session must not expire in the meantime.
    Process::prepare();
    let mut group = Group::running_on_files(&[1, 2, 3]);
    let wrong = group.follower();
    let mut client = group.client(group.wait_serving());
    let dir = group.seat(wrong).dir.clone();
    let session = client.session.id;
    let has_checkpoint = |dir: &Path| {
        let tree = Tree::open(Arc::new(RealDisk), dir, &TreeOptions::default()).unwrap();
        tree.snapshot().unwrap().is_some_and(|snapshot| snapshot.get(Kind::Session, session as u64).unwrap().is_some())
    };
    client.create("/a", b"", Persistent).unwrap().unwrap();
    loop {
        // A stop writes a checkpoint if the log has grown.
        (0..8).for_each(|fill| _ = client.set("/a", &vec![fill; 1_000_000]).unwrap().unwrap());
        group.wait_serving();
        group.assert_equal();
        group.stop(wrong);
        if has_checkpoint(&dir) {
            break;
        }
        group.start(wrong);
    }
    damage_tree(&dir, session);
    std::fs::write(dir.join("myid"), wrong.to_string()).unwrap();
    let mut process = Process::start_member(&dir, &group.zoo_cfg(wrong));
    process.until_logged(&["state differs from that of server", "sessions"]);
    process.until_logged(&["not that of a majority"]);
    assert_eq!(process.until_ended(), Some(12));
    client.set("/a", b"on").unwrap().unwrap();
    for id in group.running_ids() {
        let admin = group.seat(id).server.as_ref().unwrap().admin_address().unwrap();
        until("the others count it, too", || !get(admin, "/metrics").1.contains("\ndigest_mismatches_count 0\n"));
    }
    for entry in std::fs::read_dir(&dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { std::fs::remove_dir_all(path).unwrap() } else { std::fs::remove_file(path).unwrap() }
    }
    group.start(wrong);
    group.wait_serving();
    group.assert_equal();
    group.end();
}
