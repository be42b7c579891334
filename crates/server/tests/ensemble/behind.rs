//! Servers that are far behind, and servers that run twice.

use oxkeeper_proto::{OpCode, ServerId, SessionId};
use oxkeeper_replica::ensemble::frame::Frame;
use oxkeeper_replica::ensemble::journal::scalar;
use oxkeeper_replica::ensemble::{Journal, JournalOp, MemoryJournal, Role, TwinReport};

use crate::pure::{Net, Pure};

/// Bytes per command.
const BODY_LEN: usize = 900;
/// More commands than are sent at once (`Pure`).
const COMMANDS: usize = 3_000;

/// A voter that is too far behind for a single frame catches up, votes again, and loses nothing. No
/// frame is long, and the link is not silent.
#[test]
fn a_voter_that_lacks_much_is_told_a_part_at_a_time() {
    let mut net = Net::new(3);
    net.run(2_000);
    let [leader] = net.leaders()[..] else { panic!("one leads: {:?}", net.leaders()) };
    let late = if leader == 1 { 2 } else { 1 };
    (1..=3).filter(|&id| id != late).for_each(|other| net.cut(late, other));
    for _ in 0..COMMANDS {
        net.server(leader).replica.submit_own(SessionId(7), OpCode::SetData, &[0; BODY_LEN]);
    }
    net.run(2_000);
    assert_eq!(net.leaders(), [leader]);
    let applied = net.server(leader).replica.applied();
    assert!(applied > net.server(late).replica.applied() + 1_000);
    net.longest = 0;
    (1..=3).filter(|&id| id != late).for_each(|other| net.link(late, other));
    while net.server(late).replica.applied() < applied || !net.server(late).replica.is_serving() {
        net.turn();
        assert!(net.now_ms < 20_000, "{:?}", net.server(late).replica);
    }
    assert!(net.learned && net.server(late).replica.role() == Role::Following(ServerId(leader)));
    assert!(net.longest < 2 << 20, "a frame of {} bytes", net.longest);
    assert_eq!(net.leaders(), [leader]);
}

/// Received or sent parts of a long frame are signs of life; a link on which nothing passes is
/// silent.
#[test]
fn a_part_of_a_frame_is_no_silence() {
    let mut net = Net::new(3);
    net.run(2_000);
    let now_ms = net.now_ms;
    let replica = &mut net.server(1).replica;
    replica.stirred(ServerId(2), now_ms + 400);
    assert_eq!(replica.silent(now_ms + 500), [ServerId(3)]);
    replica.drained(ServerId(3), now_ms + 400);
    assert_eq!(replica.silent(now_ms + 500), [] as [ServerId; 0]);
    assert_eq!(replica.silent(now_ms + 1_000), [2, 3].map(ServerId));
}

/// Heartbeats, and frames that belong to them, overtake frames that wait for the disk; no others
/// do.
#[test]
fn urgent_frames_leave_first() {
    let mut net = Net::new(3);
    net.run(2_000);
    let [leader] = net.leaders()[..] else { panic!("one leads: {:?}", net.leaders()) };
    let other = if leader == 1 { 2 } else { 1 };
    net.server(leader).replica.submit_own(SessionId(7), OpCode::SetData, &[0; BODY_LEN]);
    let now_ms = net.now_ms + 50;
    net.server(leader).step(now_ms);
    let frames: Vec<Vec<u8>> = std::iter::from_fn(|| net.server(leader).replica.next_frame(ServerId(other))).collect();
    let urgent: Vec<bool> = frames.iter().map(|frame| Frame::is_urgent(frame)).collect();
    assert!(urgent.contains(&true) && urgent.contains(&false), "{urgent:?}");
    assert!(urgent.is_sorted_by(|a, b| a >= b), "{urgent:?}");
}

/// Returns the ping with which a process of server 2 greets server 3.
fn ping(boot: u64) -> (Pure, Vec<u8>) {
    let mut journal = MemoryJournal::default();
    let scalars = [(scalar::MEMBERS, vec![2, 3]), (scalar::BOOT, boot.to_be_bytes().to_vec())];
    journal.write(scalars.map(|(key, value)| JournalOp::Scalar(key, value)).to_vec()).unwrap();
    let mut server = Pure::new(2, &[2, 3], Box::new(journal), 0);
    server.replica.link_up(ServerId(3), 0);
    let ping = server.replica.next_frame(ServerId(3)).unwrap();
    (server, ping)
}

/// A process that is heard again after another one with its id is running in parallel; a restarted
/// process is not.
#[test]
fn two_processes_with_one_id_are_told() {
    let (_, earliest) = ping(1);
    let (mut one, first) = ping(10);
    let (_, second) = ping(20);
    let mut three = Pure::new(3, &[2, 3], Box::new(MemoryJournal::default()), 0);
    let mut meet = |ping: &[u8]| {
        three.replica.link_up(ServerId(2), 0);
        three.replica.receive(ServerId(2), ping, 0).unwrap();
        let frames: Vec<Vec<u8>> = std::iter::from_fn(|| three.replica.next_frame(ServerId(2))).collect();
        (three.replica.take_twins(), frames)
    };
    for ping in [&earliest, &first, &second] {
        assert_eq!(meet(ping).0, TwinReport::default(), "it was started anew");
    }
    let (report, frames) = meet(&first);
    assert_eq!(report.peers, [ServerId(2)]);
    let mut twin = Vec::new();
    Frame::Twin.encode(&mut twin);
    assert!(frames.contains(&twin), "it is told");
    one.replica.receive(ServerId(3), &twin, 0).unwrap();
    assert_eq!(one.replica.take_twins().accused_by, [ServerId(3)]);
}
