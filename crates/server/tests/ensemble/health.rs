//! Health of a member over HTTP: without a majority, it is alive but not ready.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use oxkeeper_proto::op::CreateMode::Persistent;

use crate::group::Group;
use crate::support::http::{command, get};
use crate::support::process::Process;
use crate::support::until;

fn admin(group: &Group, id: u8) -> SocketAddr {
    group.seat(id).server.as_ref().unwrap().admin_address().unwrap()
}

fn statuses(group: &Group, id: u8) -> [u16; 3] {
    ["/livez", "/readyz", "/startupz"].map(|path| get(admin(group, id), path).0)
}

/// A client that asks for a session and is disconnected.
fn come_in_vain(server: SocketAddr) {
    let mut socket = TcpStream::connect(server).unwrap();
    let request = [&44u32.to_be_bytes()[..], &[0; 24], &16u32.to_be_bytes(), &[0; 16]].concat();
    socket.write_all(&request).unwrap();
    assert_eq!(socket.read(&mut [0]).unwrap(), 0, "nothing but the end");
}

#[test]
fn a_member_without_a_majority_is_alive_and_not_ready() {
    let mut group = Group::new(&[1, 2, 3], &[]);
    group.start(1);
    assert_eq!(statuses(&group, 1), [200, 503, 200]);
    let ruok = get(admin(&group, 1), "/commands/ruok");
    assert_eq!(ruok.0, 200);
    assert!(ruok.1.contains("\"error\" : \"This ZooKeeper instance is not currently serving requests\""), "{}", ruok.1);
    let monitor = get(admin(&group, 1), "/commands/monitor").1;
    assert!(monitor.contains("\"peer_state\" : \"looking\""), "{monitor}");
    let metrics = get(admin(&group, 1), "/metrics").1;
    assert!(metrics.contains("\noxkeeper_state{state=\"not-serving\"} 1\n"), "{metrics}");

    group.start(2);
    group.start(3);
    let leader = group.wait_serving();
    group.ids().into_iter().for_each(|id| assert_eq!(statuses(&group, id), [200; 3]));
    let metrics = get(admin(&group, leader), "/metrics").1;
    assert!(metrics.contains("\nquorum_size 3\n"), "{metrics}");

    let shown = |id: u8, name: &str| {
        let metrics = get(admin(&group, id), "/metrics").1;
        let line = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.map(|value| value.parse::<f64>().unwrap())
    };
    let counts = |id: u8, name: &str| shown(id, name).unwrap_or_else(|| panic!("server {id} shows no {name}"));
    // The first leader elected may be replaced at once, and again; only leaders count proposals.
    let follower = group.follower();
    let count_all = |name: &str| [1, 2, 3].map(|id| counts(id, name));
    let before = ["commit_count", "proposal_count"].map(|name| (name, count_all(name)));
    group.client(follower).create("/n", b"x", Persistent).unwrap().unwrap();
    for (name, before) in before {
        let added: Vec<f64> = before.iter().zip(count_all(name)).map(|(before, after)| after - before).collect();
        assert!(added.iter().sum::<f64>() >= 2.0, "a session and a znode: {name}: {added:?}");
        assert!(added.contains(&0.0), "{name}: {added:?}");
    }
    let by_any = |name: &str| group.ids().into_iter().filter_map(|id| shown(id, name)).fold(0.0, f64::max);
    assert!(by_any("election_time_count") >= 1.0);
    // The current leader may have proposed only its epoch so far.
    let mut client = group.client(follower);
    until("a proposal has a size", || client.set("/n", b"y").unwrap().is_ok() && by_any("last_proposal_size") > 20.0);
    assert!(counts(follower, "sync_processor_batch_size_count") >= 2.0);
    // A follower counts commits, and the time until it served; a leader counts quorums, and peers
    // that caught up.
    for name in ["learner_commit_received_count", "commit_propagation_latency_count", "follower_sync_time_count"] {
        assert!(counts(follower, name) >= 1.0, "{name}");
    }
    for name in ["quorum_ack_latency_count", "propagation_latency_count", "diff_count"] {
        assert!(by_any(name) >= 1.0, "{name}");
    }

    group.ids().into_iter().filter(|&id| id != follower).for_each(|id| {
        group.stop(id);
    });
    until("it is out of touch", || get(admin(&group, follower), "/readyz").0 == 503);
    come_in_vain(group.address(follower));
    let metrics = get(admin(&group, follower), "/metrics").1;
    assert!(metrics.contains("\ncnxn_closed_without_zk_server_running 1\n"), "{metrics}");
    assert_eq!(statuses(&group, follower), [200, 503, 200]);
    group.stop(follower);
}

/// The log of such a server says so after a while: who is missing, and how many are needed.
#[test]
fn a_member_with_data_and_no_majority_says_whom_it_misses() {
    let mut group = Group::running_on_files(&[1, 2, 3]);
    group.ids().into_iter().for_each(|id| group.stop(id));
    let dir = group.seat(1).dir.clone();
    std::fs::write(dir.join("myid"), "1").unwrap();
    let alone = Process::start_member(&dir, &group.zoo_cfg(1));
    let figures = ["linked=[]", "missing=[2, 3]", "voters=3", "needed=2"];
    alone.until_logged(
        &[&["WARN", "this server does not serve: no majority of the voters is linked"], &figures[..]].concat(),
    );
}

#[test]
fn a_member_is_not_restored_alone() {
    let mut group = Group::new(&[1], &["standaloneEnabled=false"]);
    group.start_all();
    group.wait_serving();
    group.client(1).create("/n", b"x", Persistent).unwrap().unwrap();
    let (status, content) = command(admin(&group, 1), "snapshot?streaming=true", None);
    assert_eq!(status, 200);
    let (status, text) = command(admin(&group, 1), "restore", Some(&content));
    let text = String::from_utf8(text).unwrap();
    assert_eq!((status, text.contains("`oxkeeper restore` on each of its servers")), (503, true), "{text}");
    assert_eq!(group.client(1).get("/n").unwrap().0, b"x");
    group.end();
}
