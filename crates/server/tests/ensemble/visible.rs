//! Visibility of decided entries on a server that did not decide them: no later than its leader
//! announces them, even with a slow disk.

use oxkeeper_proto::{OpCode, ServerId, SessionId};

use crate::pure::Net;

/// Kind of the frame that acknowledges durable entries.
const ACCEPTED: u8 = 6;

/// Three servers. The leader and one follower have an entry on disk; the other follower has
/// received it, and its disk is still busy. `said` has what the leader then sends to that follower.
struct Slow {
    net: Net,
    leader: u8,
    slow: u8,
    said: Vec<Vec<u8>>,
}

impl Slow {
    fn new() -> Slow {
        let mut net = Net::new(3);
        net.run(2_000);
        let [leader] = net.leaders()[..] else { panic!("one leads: {:?}", net.leaders()) };
        let followers: Vec<u8> = (1..=3).filter(|&id| id != leader).collect();
        let (quick, slow) = (followers[0], followers[1]);
        net.server(leader).replica.submit_own(SessionId(7), OpCode::CloseSession, &[]);
        let now_ms = net.now_ms;
        net.server(leader).step(now_ms);
        for follower in [quick, slow] {
            let proposed = frames(&mut net, leader, follower);
            hear(&mut net, leader, follower, &proposed);
            net.server(follower).step(now_ms);
        }
        net.server(leader).persist(now_ms);
        net.server(quick).persist(now_ms);
        let accepted = frames(&mut net, quick, leader);
        hear(&mut net, quick, leader, &accepted);
        // One turn decides, announces and applies.
        let before = net.server(leader).replica.applied();
        net.server(leader).step(now_ms);
        assert_eq!(net.server(leader).replica.applied(), before + 1);
        let (said, said_to_quick) = (frames(&mut net, leader, slow), frames(&mut net, leader, quick));
        assert!(!said.is_empty() && !said_to_quick.is_empty(), "all followers are told in that turn");
        hear(&mut net, leader, quick, &said_to_quick);
        let slow_replica = &net.server(slow).replica;
        assert!(slow_replica.applied() == before && slow_replica.wants_disk());
        Slow { net, leader, slow, said }
    }

    fn applied(&mut self) -> (u64, u64) {
        let leader = self.net.server(self.leader).replica.applied();
        (self.net.server(self.slow).replica.applied(), leader)
    }

    /// Completes the disk write, and delivers all frames.
    fn finish(mut self) {
        let (leader, slow, now_ms) = (self.leader, self.slow, self.net.now_ms);
        self.net.server(slow).persist(now_ms);
        assert!(!self.net.server(slow).replica.is_ahead_of_disk());
        hear(&mut self.net, leader, slow, &self.said);
        self.net.server(slow).step(now_ms);
        let (applied, expected) = self.applied();
        assert_eq!(applied, expected);
        self.net.run(1_000);
        let applied = self.net.servers.iter().map(|server| server.replica.applied()).collect::<Vec<_>>();
        assert!(applied.iter().all(|&it| it == applied[0]), "{applied:?}");
    }
}

fn frames(net: &mut Net, from: u8, to: u8) -> Vec<Vec<u8>> {
    std::iter::from_fn(|| net.server(from).replica.next_frame(ServerId(to))).collect()
}

fn hear(net: &mut Net, from: u8, to: u8, frames: &[Vec<u8>]) {
    let now_ms = net.now_ms;
    frames.iter().for_each(|frame| net.server(to).replica.receive(ServerId(from), frame, now_ms).unwrap());
}

#[test]
fn what_is_decided_is_applied_before_the_own_disk_has_it() {
    let mut slow = Slow::new();
    let (leader, id, now_ms) = (slow.leader, slow.slow, slow.net.now_ms);
    hear(&mut slow.net, leader, id, &slow.said);
    slow.net.server(id).step(now_ms);
    let (applied, expected) = slow.applied();
    assert_eq!(applied, expected);
    assert!(slow.net.server(id).replica.is_ahead_of_disk());
    slow.said.clear();
    slow.finish();
}

#[test]
fn what_is_heard_while_the_disk_works_is_applied_and_written_next() {
    let mut slow = Slow::new();
    let (leader, id, now_ms) = (slow.leader, slow.slow, slow.net.now_ms);
    let work = slow.net.server(id).replica.begin_persist().expect("it was told of an entry");
    hear(&mut slow.net, leader, id, &slow.said);
    slow.net.server(leader).replica.submit_own(SessionId(8), OpCode::CloseSession, &[]);
    slow.net.server(leader).step(now_ms);
    let proposed = frames(&mut slow.net, leader, id);
    hear(&mut slow.net, leader, id, &proposed);
    slow.net.server(id).step(now_ms);
    let (applied, expected) = slow.applied();
    assert_eq!(applied, expected);
    let says_accepted = |net: &mut Net| frames(net, id, leader).iter().filter(|frame| frame[0] == ACCEPTED).count();
    assert_eq!(says_accepted(&mut slow.net), 0, "nothing of it is durable");
    let replica = &mut slow.net.server(id).replica;
    assert!(replica.is_ahead_of_disk() && replica.begin_persist().is_none(), "one work at a time");
    let done = work();
    replica.finish_persist(done).unwrap();
    assert!(!replica.is_ahead_of_disk() && replica.wants_disk(), "the second entry is not written");
    assert_eq!(says_accepted(&mut slow.net), 1, "the first one is");
    slow.said.clear();
    slow.finish();
}

/// While a checkpoint is about to begin, only durable entries are applied.
#[test]
fn a_checkpoint_waits_for_the_disk() {
    let mut slow = Slow::new();
    let (leader, id, now_ms) = (slow.leader, slow.slow, slow.net.now_ms);
    slow.net.server(id).early = false;
    hear(&mut slow.net, leader, id, &slow.said);
    slow.net.server(id).step(now_ms);
    let (applied, expected) = slow.applied();
    assert!(applied < expected && !slow.net.server(id).replica.is_ahead_of_disk());
    slow.said.clear();
    slow.finish();
}
