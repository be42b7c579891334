//! Replicas without sockets, disks and clocks, in a network of links that tests cut.

use std::collections::BTreeSet;

use oxkeeper_proto::{OpCode, SessionId};
use oxkeeper_replica::ensemble::journal::scalar;
use oxkeeper_replica::ensemble::{
    Applying, Bugs, Journal, JournalOp, MemoryJournal, Pace, Replica, ReplicaConfig, Role, Want,
};
use oxkeeper_replica::{Clocks, SessionTable, Shared, Writer};
use oxkeeper_state::reconfig::Ruling;
use oxkeeper_state::{Command, Identities, Settings, State};
use parking_lot::{Mutex, RwLock};

/// The ping of a server that votes in the first configuration: consensus begins with it.
pub(crate) fn voter_ping() -> Vec<u8> {
    let (configuration, base, promise, flags) = (1u32.to_be_bytes(), [0; 8], [0; 20], [1, 0, 0, 0]);
    [&[32][..], &configuration, &base, &promise, &flags, &[0; 48]].concat()
}

/// One server.
pub(crate) struct Pure {
    pub(crate) replica: Replica,
    shared: RwLock<Shared>,
    writer: Writer,
    /// What is decided is applied before it is durable.
    pub(crate) early: bool,
}

impl Pure {
    /// Server `me` of `members` with what `journal` has, of which `decided` entries are applied.
    pub(crate) fn new(me: u8, members: &[u8], journal: Box<dyn Journal>, decided: u64) -> Pure {
        Pure::with(me, members, journal, decided, State::new(1), false)
    }

    /// A server that holds an imported state of this origin, or nothing if that is 0, and was never a member.
    fn blank(me: u8, members: &[u8], origin: u64, initialize: bool) -> Pure {
        let (mut state, mut journal) = (State::new(1), MemoryJournal::default());
        if origin != 0 {
            state.dedicate(origin);
            journal.write(&[JournalOp::Append([0][..].into())]).unwrap();
            journal.trim(1);
        }
        Pure::with(me, members, Box::new(journal), u64::from(origin != 0), state, initialize)
    }

    fn with(me: u8, members: &[u8], journal: Box<dyn Journal>, decided: u64, state: State, initialize: bool) -> Pure {
        let config = ReplicaConfig {
            me,
            members: members.to_vec(),
            membership: String::new(),
            membership_version: 0,
            pace: Pace { heartbeat_ms: 50, silence_ms: 250, contact_ms: 500 },
            entry_len_max: 1 << 10,
            settings: Settings::default(),
            initialize,
            checkpointed: decided,
            applied: decided,
            wall_ms: 1,
            seed: 1,
            sync_len_max: 1 << 20,
            ruling: Ruling::default(),
            bugs: Bugs::default(),
        };
        let replica = Replica::start(config, journal, &state, 0).unwrap();
        let sessions = SessionTable::new(me, 0, &state, Clocks::new(100, 0));
        let shared = RwLock::new(Shared::new(state, Settings::default(), sessions, 0));
        Pure { replica, shared, writer: Writer::new(1), early: true }
    }

    pub(crate) fn step(&mut self, now_ms: u64) {
        self.replica.step(&self.shared, now_ms, now_ms as i64);
        self.apply(now_ms);
    }

    pub(crate) fn persist(&mut self, now_ms: u64) {
        self.replica.persist().unwrap();
        self.apply(now_ms);
    }

    pub(crate) fn apply(&mut self, now_ms: u64) {
        let entry = Mutex::new(());
        let mut applying = Applying {
            shared: &self.shared,
            entry: &entry,
            writer: &mut self.writer,
            deliver: &mut |_, _| {},
            applied: &mut |_| {},
            now_ms,
            early: self.early,
        };
        self.replica.apply(&mut applying).expect("all entries are entries");
    }
}

/// Servers and the links between them.
pub(crate) struct Net {
    pub(crate) servers: Vec<Pure>,
    up: BTreeSet<(u8, u8)>,
    pub(crate) now_ms: u64,
    /// Bytes of the longest frame so far.
    pub(crate) longest: usize,
    /// A server has only learned for a while, and did not serve.
    pub(crate) learned: bool,
}

impl Net {
    /// Members with empty logs, all of them linked.
    pub(crate) fn new(count: u8) -> Net {
        let members: Vec<u8> = (1..=count).collect();
        let server = |&me: &u8| {
            let mut journal = MemoryJournal::default();
            journal.write(&[JournalOp::Scalar(scalar::MEMBERS, members.clone())]).unwrap();
            Pure::new(me, &members, Box::new(journal), 0)
        };
        Net::of(members.iter().map(server).collect())
    }

    /// All of them linked.
    fn of(servers: Vec<Pure>) -> Net {
        let count = servers.len() as u8;
        let mut net = Net { servers, up: BTreeSet::new(), now_ms: 0, longest: 0, learned: false };
        for a in 1..=count {
            (a + 1..=count).for_each(|b| net.link(a, b));
        }
        net
    }

    pub(crate) fn server(&mut self, id: u8) -> &mut Pure {
        &mut self.servers[usize::from(id) - 1]
    }

    pub(crate) fn link(&mut self, a: u8, b: u8) {
        self.up.extend([(a, b), (b, a)]);
        let now_ms = self.now_ms;
        self.server(a).replica.link_up(b, now_ms);
        self.server(b).replica.link_up(a, now_ms);
    }

    pub(crate) fn cut(&mut self, a: u8, b: u8) {
        self.up.remove(&(a, b));
        self.up.remove(&(b, a));
        let now_ms = self.now_ms;
        self.server(a).replica.link_down(b, now_ms);
        self.server(b).replica.link_down(a, now_ms);
    }

    /// Ten milliseconds of everybody's time; frames take one of them.
    pub(crate) fn turn(&mut self) {
        for _ in 0..10 {
            self.now_ms += 1;
            let now_ms = self.now_ms;
            for &(from, to) in &self.up.clone() {
                while let Some(frame) = self.server(from).replica.next_frame(to) {
                    self.longest = self.longest.max(frame.len());
                    self.server(to).replica.receive(from, &frame, now_ms).unwrap();
                }
            }
            for server in &mut self.servers {
                server.step(now_ms);
                server.persist(now_ms);
                let learns = matches!(server.replica.role(), Role::Observing(_));
                self.learned |= learns && !server.replica.is_serving();
            }
        }
    }

    pub(crate) fn run(&mut self, ms: u64) {
        (0..ms / 10).for_each(|_| self.turn());
    }

    /// Who leads and serves.
    pub(crate) fn leaders(&self) -> Vec<u8> {
        let leads = |server: &&Pure| server.replica.role() == Role::Leading && server.replica.is_serving();
        self.servers.iter().filter(leads).map(|server| server.replica.origin().0).collect()
    }
}

/// A leader that was cut off comes back, but sees only followers of its successor's. It does not take those away, and
/// does not serve.
#[test]
fn a_deposed_leader_that_does_not_see_its_successor_keeps_quiet() {
    for successor in 0..4 {
        let mut net = Net::new(5);
        net.run(2_000);
        let [first] = net.leaders()[..] else { panic!("one leads: {:?}", net.leaders()) };
        let others: Vec<u8> = (1..=5).filter(|&id| id != first).collect();
        let second = others[successor];
        let followers: Vec<u8> = others.iter().copied().filter(|&id| id != second).collect();
        // Only the second one sees a majority.
        for (place, &follower) in followers.iter().enumerate() {
            followers[..place].iter().for_each(|&other| net.cut(follower, other));
        }
        others.iter().for_each(|&other| net.cut(first, other));
        net.run(3_000);
        assert_eq!(net.leaders(), [second]);
        followers.iter().for_each(|&follower| net.link(first, follower));
        for _ in 0..1_000 {
            net.turn();
            assert_eq!(net.leaders(), [second], "at {} ms", net.now_ms);
        }
        net.link(first, second);
        net.run(3_000);
        assert_eq!(net.leaders().len(), 1);
        assert!(net.servers.iter().all(|server| server.replica.is_serving()), "who leads, leads everyone");
    }
}

/// Blank servers do not make a majority: who only hears from them does not serve.
#[test]
fn blank_servers_are_no_company_for_a_leader() {
    let mut net = Net::new(3);
    net.run(2_000);
    let [leader] = net.leaders()[..] else { panic!("one leads: {:?}", net.leaders()) };
    let others: Vec<u8> = (1..=3).filter(|&id| id != leader).collect();
    for &other in &others {
        net.cut(leader, other);
    }
    net.cut(others[0], others[1]);
    *net.server(others[0]) = Pure::new(others[0], &[1, 2, 3], Box::new(MemoryJournal::default()), 0);
    net.link(leader, others[0]);
    net.run(1_000);
    assert!(net.servers.iter().all(|server| !server.replica.is_serving()), "nothing can be decided");
}

/// A blank server without a link to the leader asks through another one. An answer to what it asked over an earlier link is
/// not passed on: it may have lost more since.
#[test]
fn a_blank_server_asks_through_whom_it_knows() {
    let mut net = Net::new(3);
    net.run(2_000);
    let [leader] = net.leaders()[..] else { panic!("one leads: {:?}", net.leaders()) };
    let (blank, between) = match leader {
        1 => (2, 3),
        2 => (3, 1),
        _ => (1, 2),
    };
    let renew = |net: &mut Net| {
        net.cut(blank, leader);
        net.cut(blank, between);
        *net.server(blank) = Pure::new(blank, &[1, 2, 3], Box::new(MemoryJournal::default()), 0);
        net.link(blank, between);
    };
    renew(&mut net);
    net.run(500);
    assert_eq!(net.leaders(), [leader]);
    let want = net.server(blank).replica.take_want();
    assert!(matches!(want, Some(Want::Install { from, at }) if from == between && at > 0), "{want:?}");
    renew(&mut net);
    let now_ms = net.now_ms;
    for (link, is_passed_on) in [(1u64, false), (2, false), (3, true)] {
        while net.server(between).replica.next_frame(blank).is_some() {}
        let answer = [&[46][..], &9u64.to_be_bytes(), &link.to_be_bytes(), &[blank]].concat();
        net.server(between).replica.receive(leader, &answer, now_ms).unwrap();
        assert_eq!(net.server(between).replica.next_frame(blank).is_some(), is_passed_on, "link {link}");
    }
}

/// A leader refuses commands whose numbers leave none above them.
#[test]
fn commands_are_not_numbered_to_the_end() {
    let mut net = Net::new(3);
    net.run(2_000);
    let [leader] = net.leaders()[..] else { panic!("one leads: {:?}", net.leaders()) };
    let peer = if leader == 1 { 2 } else { 1 };
    let now_ms = net.now_ms;
    let mut command = Vec::new();
    let (settings, identities) = (Settings::default(), Identities::default());
    let (session, op) = (SessionId(1), OpCode::SetData);
    Command { from: None, session, xid: 1, op, settings, identities, body: b"" }.encode(&mut command);
    for (first, refused) in [(u64::MAX, true), (1, false)] {
        let frame = [&[34][..], &7u64.to_be_bytes(), &first.to_be_bytes(), &command].concat();
        assert_eq!(net.server(leader).replica.receive(peer, &frame, now_ms).is_err(), refused, "from {first} on");
    }
}

/// All servers stand still together, as a suspended machine does: nobody stops serving for that.
#[test]
fn a_common_pause_is_nobodys_silence() {
    let mut net = Net::new(3);
    net.run(2_000);
    for _ in 0..3 {
        net.now_ms += 3_000;
        for _ in 0..100 {
            net.turn();
            assert!(net.servers.iter().all(|server| server.replica.is_serving()), "at {} ms", net.now_ms);
        }
    }
}

/// A leader without anybody steps back, although its disk lets it look only now and then.
#[test]
fn a_lonely_leader_with_a_slow_disk_steps_back() {
    let mut net = Net::new(3);
    net.run(2_000);
    let [leader] = net.leaders()[..] else { panic!("one leads: {:?}", net.leaders()) };
    (1..=3).filter(|&id| id != leader).for_each(|other| net.cut(leader, other));
    let mut now_ms = net.now_ms;
    for _ in 0..5 {
        now_ms += 400;
        net.server(leader).step(now_ms);
    }
    assert!(!net.server(leader).replica.is_serving(), "2 s are four times as long as it may be alone");
}

/// Servers that hold the same imported state found an ensemble with it; where only some do, nobody does.
#[test]
fn an_ensemble_is_founded_on_one_state() {
    let check = |origins: [u64; 3], initialize: [bool; 3], founds: bool| {
        let blank = |me: u8| Pure::blank(me, &[1, 2, 3], origins[usize::from(me) - 1], initialize[usize::from(me) - 1]);
        let mut net = Net::of((1..=3).map(blank).collect());
        net.run(2000);
        assert_eq!(net.leaders().len(), usize::from(founds), "{origins:?} {initialize:?}");
        let unlike = net.servers.iter().any(|server| !server.replica.unlike().is_empty());
        assert_eq!(unlike, !founds, "{origins:?}: who is unlike is told");
    };
    let nobody = [false; 3];
    check([0, 0, 0], nobody, true);
    check([7, 7, 7], nobody, true);
    check([7, 7, 0], nobody, false);
    check([7, 0, 0], nobody, false);
    check([7, 7, 8], nobody, false);
    // Who is to begin without the others says so; nothing imported is lost by that.
    check([7, 7, 8], [true; 3], false);
    check([7, 0, 0], [false, true, true], false);
}

/// A majority may begin with what it holds; the empty one joins it.
#[test]
fn a_majority_may_found_on_its_state() {
    let blank = |me: u8| Pure::blank(me, &[1, 2, 3], if me == 3 { 0 } else { 7 }, me != 3);
    let mut net = Net::of((1..=3).map(blank).collect());
    net.run(2000);
    assert_eq!(net.leaders().len(), 1);
    assert!(net.server(3).replica.take_want().is_some(), "it is to fetch the state");
}
