//! Members that come and go while clients write, observers, and leaders that hand over.

use std::io::Write;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use oxkeeper_proto::OpCode;
use oxkeeper_proto::op::CreateMode::Persistent;
use oxkeeper_proto::op::{XID_NOTIFICATION, XID_PING};
use oxkeeper_proto::records::ReconfigRequest;

use crate::group::{Group, word};
use crate::support::raw::{Raw, Session, create_request, read_request};
use crate::support::{LONG_MS, until};

/// Like `zoo_cfg`, without the lines of the servers in `without`, and with `role` for the last one.
pub(crate) fn zoo_cfg(group: &Group, id: u8, without: &[u8], role: &str) -> String {
    let left_out = |line: &&str| !without.iter().any(|id| line.starts_with(&format!("server.{id}=")));
    let text = group.zoo_cfg(id);
    let last = format!("server.{}=", group.ids().last().unwrap());
    let named = |line: &str| if line.starts_with(&last) { format!("{line}{role}") } else { line.to_owned() };
    text.lines().filter(left_out).map(named).collect::<Vec<_>>().join("\n")
}

pub(crate) fn reconfig(client: &mut Raw, joining: Option<String>, leaving: Option<&str>) -> i32 {
    client.call(OpCode::Reconfig, &reconfig_request(joining, leaving)).unwrap().err
}

fn reconfig_request(joining: Option<String>, leaving: Option<&str>) -> ReconfigRequest<'_> {
    ReconfigRequest {
        joining_servers: joining.map(Into::into),
        leaving_servers: leaving.map(Into::into),
        new_members: None,
        cur_config_id: -1,
    }
}

/// Makes these servers, and no others, the members.
pub(crate) fn reconfig_whole(client: &mut Raw, lines: &str) -> i32 {
    let new_members = Some(lines.to_owned().into());
    let request = ReconfigRequest { joining_servers: None, leaving_servers: None, new_members, cur_config_id: -1 };
    client.call(OpCode::Reconfig, &request).unwrap().err
}

pub(crate) fn line(group: &Group, id: u8) -> String {
    line_at(id, group.seat(id).peer, free_address(group))
}

fn line_at(id: u8, peer: SocketAddr, client: SocketAddr) -> String {
    format!("server.{id}={}:{}:3888:participant;{client}", peer.ip(), peer.port())
}

/// Returns a free address on the group's own host.
fn free_address(group: &Group) -> SocketAddr {
    TcpListener::bind((group.seats[0].peer.ip(), 0)).unwrap().local_addr().unwrap()
}

/// Makes writes until one shows that clients continue. Returns the longest pause.
pub(crate) fn longest_write(client: &mut Raw, writes: u32) -> Duration {
    let write = |at: u32| {
        let start = Instant::now();
        client.set("/a", &at.to_be_bytes()).unwrap().unwrap();
        start.elapsed()
    };
    (0..writes).map(write).max().unwrap()
}

/// A server joins and votes, another one leaves; connections survive it, and the new majority
/// counts.
#[test]
fn members_change_while_clients_write() {
    let mut group = Group::new(&[1, 2, 3, 4], &["reconfigEnabled=true", "skipACL=yes"]);
    for id in [1, 2, 3] {
        let text = zoo_cfg(&group, id, &[4], "");
        group.start_with(id, &text).unwrap();
    }
    group.wait_serving();
    let mut old = group.client(2);
    old.create("/a", b"", Persistent).unwrap().unwrap();
    // It learns and does not vote.
    group.start(4);
    group.wait_serving();
    let mut new = group.client(4);
    new.set("/a", b"through the one that learns").unwrap().unwrap();
    let start = Instant::now();
    assert_eq!(reconfig(&mut new, Some(line(&group, 4)), None), 0);
    let pause = longest_write(&mut old, 50).max(longest_write(&mut new, 50));
    println!("one more: the longest write took {pause:?}, all {:?}", start.elapsed());
    assert_eq!(reconfig(&mut old, None, Some("1")), 0);
    let pause = longest_write(&mut old, 50).max(longest_write(&mut new, 50));
    println!("one less: the longest write took {pause:?}");
    group.assert_equal();
    // Two of 2, 3, 4 are a majority, though 4 was not an initial member and 1 is absent.
    group.stop(1);
    group.stop(3);
    group.wait_serving();
    longest_write(&mut new, 5);
    // Both return, one of them as a non-member.
    let text = zoo_cfg(&group, 3, &[4], "");
    group.start_with(3, &text).unwrap();
    let text = zoo_cfg(&group, 1, &[4], "");
    group.start_with(1, &text).unwrap();
    group.wait_serving();
    group.assert_equal();
    group.end();
}

/// Requests after a reconfig on its connection are answered after it, and events arrive in their
/// proper places.
#[test]
fn nothing_overtakes_a_reconfig_on_its_connection() {
    let group = Group::running(&[1, 2, 3], &["reconfigEnabled=true", "skipACL=yes"]);
    for (round, id) in [1, 2, 3, 1, 2, 3].into_iter().enumerate() {
        let (leaving, joining) = match round % 2 {
            0 => (Some("3"), None),
            _ => (None, Some(line_at(3, group.seat(3).peer, group.address(3)))),
        };
        let (a, b) = (format!("/a{round}"), format!("/b{round}"));
        let mut client = group.client(id);
        client.call(OpCode::Exists, &read_request(&b, true)).unwrap();
        let requests = [
            client.request(OpCode::Reconfig, &reconfig_request(joining, leaving)),
            client.request(OpCode::Create, &create_request(&a, b"", Persistent)),
            client.request(OpCode::GetData, &read_request(&a, false)),
            client.request(OpCode::Create, &create_request(&b, b"", Persistent)),
            client.request(OpCode::GetData, &read_request(&b, false)),
            (XID_PING, client.request_with(OpCode::Ping, |_| {}).1),
        ];
        let (mut xids, frames): (Vec<i32>, Vec<Vec<u8>>) = requests.into_iter().unzip();
        xids.insert(3, XID_NOTIFICATION);
        client.stream.write_all(&frames.concat()).unwrap();
        let replies: Vec<_> = xids.iter().map(|_| client.receive().unwrap()).collect();
        assert_eq!(replies.iter().map(|reply| reply.xid).collect::<Vec<_>>(), xids, "through server {id}");
        assert!(replies.iter().all(|reply| reply.err == 0), "{replies:?}");
        assert!(replies.is_sorted_by_key(|reply| reply.zxid), "{replies:?}");
    }
    group.end();
}

/// A server whose configuration does not name the leader, a later member, fetches the state from a
/// server that it names.
#[test]
fn a_joiner_need_not_know_the_leader() {
    let mut group = Group::new(&[1, 2, 3, 4, 5], &["reconfigEnabled=true", "skipACL=yes"]);
    for id in [1, 2, 3] {
        let text = zoo_cfg(&group, id, &[4, 5], "");
        group.start_with(id, &text).unwrap();
    }
    group.wait_serving();
    let text = zoo_cfg(&group, 4, &[5], "");
    group.start_with(4, &text).unwrap();
    group.wait_serving();
    let mut client = group.client(4);
    client.create("/a", b"", Persistent).unwrap().unwrap();
    assert_eq!(reconfig(&mut client, Some(line(&group, 4)), None), 0);
    // Any other leader is stopped until server 4 leads.
    let lead = |group: &mut Group| {
        let leader = group.wait_serving();
        if leader != 4 {
            group.stop(leader);
            let text = zoo_cfg(group, leader, &[5], "");
            group.wait_serving();
            group.start_with(leader, &text).unwrap();
        }
        leader == 4
    };
    assert!((0..40).any(|_| lead(&mut group)), "server 4 leads at some time");
    // The leader has not heard of server 5 either.
    let text = zoo_cfg(&group, 5, &[4], "");
    group.start_with(5, &text).unwrap();
    group.wait_serving();
    assert_eq!(reconfig(&mut group.client(4), Some(line(&group, 5)), None), 0);
    longest_write(&mut group.client(5), 5);
    group.assert_equal();
    group.end();
}

/// A reconfig of a server's addresses takes effect at once: for clients, who stay connected, and
/// for other servers.
#[test]
fn a_server_moves_without_a_restart() {
    let mut group = Group::running(&[1, 2, 3], &["reconfigEnabled=true", "skipACL=yes"]);
    let (old_peer, old_client) = (group.seat(2).peer, group.address(2));
    let mut connected = group.client(2);
    connected.create("/a", b"", Persistent).unwrap().unwrap();
    let (peer, client) = (free_address(&group), free_address(&group));
    assert_eq!(reconfig(&mut connected, Some(line_at(2, peer, client)), None), 0);
    until("clients are accepted at the new address only", || {
        Raw::open(client, LONG_MS, Session::default()).is_ok() && TcpStream::connect(old_client).is_err()
    });
    until("it says so, too", || group.address(2) == client);
    until("peers are accepted at the new address only", || {
        TcpStream::connect(peer).is_ok() && TcpStream::connect(old_peer).is_err()
    });
    longest_write(&mut connected, 5);
    // Server 1 dials server 2 at its new address, regardless of what its own file says.
    group.stop(1);
    group.start(1);
    group.wait_serving();
    let mut newer = group.client(1);
    longest_write(&mut newer, 5);
    // An address that cannot be bound changes nothing except the members' list.
    let taken = TcpListener::bind(free_address(&group)).unwrap();
    let address = taken.local_addr().unwrap();
    assert_eq!(reconfig(&mut connected, Some(line_at(2, peer, address)), None), 0);
    longest_write(&mut connected, 5);
    Raw::open(client, LONG_MS, Session::default()).unwrap();
    // Another address with the same port: the old one is in the way.
    let everywhere = SocketAddr::from(([0, 0, 0, 0], client.port()));
    assert_eq!(reconfig(&mut connected, Some(line_at(2, peer, everywhere)), None), 0);
    until("clients are accepted everywhere", || {
        Raw::open(SocketAddr::from(([127, 0, 0, 1], client.port())), LONG_MS, Session::default()).is_ok()
    });
    // The new address also applies after a restart, though the server's own file still has the old
    // one.
    group.stop(2);
    group.start(2);
    until("the server is where the members say", || group.address(2).port() == client.port());
    group.wait_serving();
    until("and only there", || TcpStream::connect(old_client).is_err() && TcpStream::connect(old_peer).is_err());
    // The file may also have the same port at another address, which is in the way.
    let text = group.zoo_cfg(2).replace("clientPort=0", &format!("clientPort={}", client.port()));
    for _ in 0..5 {
        group.stop(2);
        group.start_with(2, &text).unwrap();
        until("it is there again", || group.address(2).ip().is_unspecified());
        group.wait_serving();
    }
    group.assert_equal();
    group.end();
}

/// An observer serves clients and does not count towards a majority.
#[test]
fn observers_serve_and_do_not_vote() {
    let mut group = Group::new(&[1, 2, 3, 4], &["4lw.commands.whitelist=mntr,srvr"]);
    for id in group.ids() {
        let text = zoo_cfg(&group, id, &[], ":observer");
        group.start_with(id, &text).unwrap();
    }
    let leader = group.wait_serving();
    let mut client = group.client(4);
    client.create("/a", b"", Persistent).unwrap().unwrap();
    longest_write(&mut client, 20);
    group.assert_equal();
    assert_eq!(group.mode(4).as_deref(), Some("observer"));
    let told = |id, lines: &[&str]| {
        let mntr = word(group.address(id), "mntr");
        lines.iter().all(|line| mntr.lines().any(|told| told.replace('\t', " ") == format!("zk_{line}")))
    };
    let learners = ["learners 3", "synced_followers 2", "synced_non_voting_followers 0", "synced_observers 1"];
    until("the leader counts its observer", || told(leader, &learners));
    let master = format!("observer_master_id {leader}");
    until("the observer tells whom it follows", || told(4, &["peer_state observing - broadcast", &master]));
    group.stop(1);
    group.wait_serving();
    longest_write(&mut client, 5);
    group.stop(2);
    client.wait_closed();
    for id in [1, 2] {
        let text = zoo_cfg(&group, id, &[], ":observer");
        group.start_with(id, &text).unwrap();
    }
    group.wait_serving();
    group.assert_equal();
    group.end();
}

/// Each server in turn, including the leader, is stopped as an operator would: a client of another
/// server notices a pause at most. (The simulation in `pure.rs` shows its length.)
#[test]
fn a_leader_that_stops_hands_over() {
    let mut group = Group::running(&[1, 2, 3], &[]);
    group.client(1).create("/a", b"", Persistent).unwrap().unwrap();
    for _ in 0..3 {
        let leader = group.wait_serving();
        let mut client = group.client(group.follower());
        let server = group.seat_mut(leader).server.take().unwrap();
        let stopping = std::thread::spawn(move || server.stop());
        let mut pause = Duration::ZERO;
        while !stopping.is_finished() {
            pause = pause.max(longest_write(&mut client, 1));
        }
        pause = pause.max(longest_write(&mut client, 20));
        stopping.join().unwrap();
        println!("the leader stops: the longest write took {pause:?}");
        group.start(leader);
    }
    group.wait_serving();
    group.assert_equal();
    group.end();
}
