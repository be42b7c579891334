//! Replicas without sockets, disks and clocks, in a simulated network whose links tests can cut.

use std::collections::BTreeSet;

use oxkeeper_proto::{OpCode, ServerId, SessionId};
use oxkeeper_replica::engine::{Event, Outside};
use oxkeeper_replica::ensemble::journal::scalar;
use oxkeeper_replica::ensemble::{Bugs, Journal, JournalOp, MemoryJournal, Pace, Replica, ReplicaConfig, Role, Want};
use oxkeeper_replica::{Applier, Clocks, SessionTable, Shared};
use oxkeeper_state::reconfig::Ruling;
use oxkeeper_state::{Command, Entry, Identities, Level, Settings, State};
use parking_lot::{Mutex, RwLock, RwLockWriteGuard};

/// Kind of the frame with which a leader asks another server to lead.
const TAKE_OVER: u8 = 44;

/// Returns the ping of a server that votes in the first configuration, which starts consensus.
pub(crate) fn voter_ping() -> Vec<u8> {
    let (configuration, base, promise, flags) = (1u32.to_be_bytes(), [0; 8], [0; 20], [1, 0, 0, 0]);
    [&[32][..], &[0; 8], &configuration, &base, &promise, &flags, &[0; 32]].concat()
}

/// Records what is applied.
struct Logged<'a>(&'a mut Vec<Vec<u8>>);

impl Outside for Logged<'_> {
    fn send(&mut self, _peer: ServerId, _frame: Vec<u8>) {}

    fn flush(&mut self) {}

    fn end_link(&mut self, _peer: ServerId, _why: &str) {}

    fn deliver(&mut self, _writer: &mut Applier, _locked: RwLockWriteGuard<'_, Shared>, entry: Option<&[u8]>) {
        self.0.extend(entry.map(<[u8]>::to_vec));
    }

    fn spent(&mut self) -> u64 {
        0
    }

    fn happened(&mut self, _event: Event<'_>) {}
}

/// A simulated server.
pub(crate) struct Pure {
    pub(crate) replica: Replica,
    pub(crate) shared: RwLock<Shared>,
    pub(crate) applier: Applier,
    /// Applies decided entries before they are durable.
    pub(crate) early: bool,
    /// The entries applied.
    log: Vec<Vec<u8>>,
}

impl Pure {
    /// Returns server `me` of `members` with the contents of `journal`, of which `decided` entries
    /// are applied.
    pub(crate) fn new(me: u8, members: &[u8], journal: Box<dyn Journal>, decided: u64) -> Pure {
        Pure::with(me, members, journal, decided, State::new(1), false, Bugs::default())
    }

    /// Returns a server that was never a member, with an imported state of this origin, or empty if
    /// the origin is 0.
    fn blank(me: u8, members: &[u8], origin: u64, initialize: bool) -> Pure {
        let (mut state, mut journal) = (State::new(1), MemoryJournal::default());
        if origin != 0 {
            state.dedicate(origin);
            journal.write(vec![JournalOp::Append([0][..].into())]).unwrap();
            journal.trim(1);
        }
        let applied = u64::from(origin != 0);
        Pure::with(me, members, Box::new(journal), applied, state, initialize, Bugs::default())
    }

    fn with(
        me: u8,
        members: &[u8],
        journal: Box<dyn Journal>,
        decided: u64,
        state: State,
        initialize: bool,
        bugs: Bugs,
    ) -> Pure {
        let config = ReplicaConfig {
            me: ServerId(me),
            members: members.iter().copied().map(ServerId).collect(),
            membership: members.iter().map(|id| format!("server.{id}=host{id}:2888:3888\n")).collect(),
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
            knows: Level::KNOWN,
            raises_to: Level::KNOWN,
            bugs,
        };
        let replica = Replica::start(config, journal, &state, 0).unwrap();
        let sessions = SessionTable::new(ServerId(me), 0, &state, Clocks::new(100, 0));
        let shared = RwLock::new(Shared::new(state, Settings::default(), sessions, 0));
        Pure { replica, shared, applier: Applier::new(1), early: true, log: Vec::new() }
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
        let (shared, entry, outside) = (&self.shared, Mutex::new(()), &mut Logged(&mut self.log));
        let applied = self.replica.apply(shared, &entry, &mut self.applier, outside, self.early, now_ms);
        applied.expect("all entries are entries");
    }
}

/// Servers and the links between them.
pub(crate) struct Net {
    pub(crate) servers: Vec<Pure>,
    up: BTreeSet<(u8, u8)>,
    pub(crate) now_ms: u64,
    /// Number of refused frames; `None`: none may be refused.
    refused: Option<u64>,
    /// Length of the longest frame so far, bytes.
    pub(crate) longest: usize,
    /// A server was a mere learner for a while and did not serve.
    pub(crate) learned: bool,
}

impl Net {
    /// Returns `count` members with empty logs, all linked.
    pub(crate) fn new(count: u8) -> Net {
        Net::with(count, Bugs::default())
    }

    /// Like [`Net::new`], with deliberate bugs.
    pub(crate) fn with(count: u8, bugs: Bugs) -> Net {
        let members: Vec<u8> = (1..=count).collect();
        let server = |&me: &u8| {
            let mut journal = MemoryJournal::default();
            journal.write(vec![JournalOp::Scalar(scalar::MEMBERS, members.clone())]).unwrap();
            Pure::with(me, &members, Box::new(journal), 0, State::new(1), false, bugs)
        };
        Net::of(members.iter().map(server).collect())
    }

    /// Returns a network of these servers, all linked.
    fn of(servers: Vec<Pure>) -> Net {
        let count = servers.len() as u8;
        let mut net = Net { servers, up: BTreeSet::new(), now_ms: 0, refused: None, longest: 0, learned: false };
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
        self.server(a).replica.link_up(ServerId(b), now_ms);
        self.server(b).replica.link_up(ServerId(a), now_ms);
    }

    pub(crate) fn cut(&mut self, a: u8, b: u8) {
        self.up.remove(&(a, b));
        self.up.remove(&(b, a));
        let now_ms = self.now_ms;
        self.server(a).replica.link_down(ServerId(b), now_ms);
        self.server(b).replica.link_down(ServerId(a), now_ms);
    }

    /// Drops all frames between two servers without telling them.
    fn silence(&mut self, a: u8, b: u8) {
        self.up.remove(&(a, b));
        self.up.remove(&(b, a));
    }

    /// Advances time by ten milliseconds; frames take one.
    pub(crate) fn turn(&mut self) {
        (0..10).for_each(|_| self.millisecond(|_| true));
    }

    /// Advances time by one millisecond. `disk_works` says whose disks work.
    pub(crate) fn millisecond(&mut self, disk_works: impl Fn(u8) -> bool) {
        self.now_ms += 1;
        let now_ms = self.now_ms;
        for &(from, to) in &self.up.clone() {
            while let Some(frame) = self.server(from).replica.next_frame(ServerId(to)) {
                self.longest = self.longest.max(frame.len());
                match (self.server(to).replica.receive(ServerId(from), &frame, now_ms), &mut self.refused) {
                    (Err(_), Some(refused)) => *refused += 1,
                    (received, _) => received.unwrap(),
                }
            }
        }
        for server in &mut self.servers {
            server.step(now_ms);
            if disk_works(server.replica.origin().0.0) {
                server.persist(now_ms);
                let learns = matches!(server.replica.role(), Role::Observing(_));
                self.learned |= learns && !server.replica.is_serving();
            }
        }
    }

    pub(crate) fn run(&mut self, ms: u64) {
        (0..ms / 10).for_each(|_| self.turn());
    }

    /// Returns the servers that lead and serve.
    pub(crate) fn leaders(&self) -> Vec<u8> {
        let leads = |server: &&Pure| server.replica.role() == Role::Leading && server.replica.is_serving();
        self.servers.iter().filter(leads).map(|server| server.replica.origin().0.0).collect()
    }
}

/// A leader returns after being cut off, but sees only followers of its successor. It does not win
/// them over, and does not serve.
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

/// Uninitialized servers do not count towards a majority: a leader that hears only from them does
/// not serve.
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

/// A blank server without a link to the leader asks through another server. The answer to a request
/// over an earlier link is not passed on: the server may have lost more since.
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
    assert!(matches!(want, Some(Want::Install { from, at }) if from.0 == between && at > 0), "{want:?}");
    // Its promises no longer count anywhere. That is done once, no matter how often the state
    // cannot be fetched.
    net.run(500);
    let again = net.server(blank).replica.take_want();
    assert!(
        matches!(again, Some(Want::Install { at, .. }) if want == Some(Want::Install { from: ServerId(between), at })),
        "{again:?}"
    );
    for id in [leader, between] {
        let configuration = net.server(id).replica.configuration().clone();
        assert_eq!((configuration.id, configuration.voters), (2, [1, 2, 3].map(ServerId).into()), "server {id}");
        assert_eq!(net.server(id).shared.read().state.membership().version(), 0, "the members are the same");
    }
    renew(&mut net);
    let now_ms = net.now_ms;
    for (link, is_passed_on) in [(1u64, false), (2, false), (3, true)] {
        while net.server(between).replica.next_frame(ServerId(blank)).is_some() {}
        let answer = [&[46][..], &9u64.to_be_bytes(), &link.to_be_bytes(), &[blank]].concat();
        net.server(between).replica.receive(ServerId(leader), &answer, now_ms).unwrap();
        assert_eq!(net.server(between).replica.next_frame(ServerId(blank)).is_some(), is_passed_on, "link {link}");
    }
}

/// A voter that lost its disk while the ensemble was founded does not found it again: a candidate
/// may have its promise.
#[test]
fn who_has_voted_founds_nothing_again() {
    let blank = |me| Pure::blank(me, &[1, 2, 3], 0, false);
    let mut net = Net::of([1, 2, 3].map(blank).into());
    // All have founded the ensemble, and its log is still empty.
    while net.servers.iter().any(|server| server.replica.role() == Role::Uninitialized) {
        net.turn();
        assert!(net.leaders().is_empty());
    }
    [1, 2].into_iter().for_each(|peer| net.cut(3, peer));
    *net.server(3) = blank(3);
    [1, 2].into_iter().for_each(|peer| net.link(3, peer));
    net.run(2_000);
    assert_eq!(net.server(3).replica.role(), Role::Uninitialized);
    assert!(matches!(net.server(3).replica.take_want(), Some(Want::Install { .. })), "it is let in by those who lead");
    assert_eq!(net.server(1).replica.configuration().id, 2);
}

/// Returns the state that results from these entries.
fn replayed(entries: &[Vec<u8>]) -> State {
    let mut state = State::new(1);
    for entry in entries {
        match Entry::decode(entry, Level::KNOWN).unwrap() {
            Entry::Epoch(epoch) => state.begin_epoch(&epoch, &mut ()),
            Entry::Raise(raise) => state.raise(&raise),
            Entry::Renewal(renewal) => state.renew(&renewal),
            Entry::Batch(batch) => {
                let time_ms = batch.time_ms;
                for command in batch {
                    let _ = state.apply(&command.unwrap(), time_ms, &mut Vec::new(), &mut ());
                }
                state.end_entry();
            }
        }
    }
    state
}

/// Runs five voters. A candidate is cut off with the promise of a server that then loses its disk
/// and returns; the candidate meets one of the others first, and completes its election. Returns
/// whether two servers have applied different entries, or one is told to revoke a decided entry.
fn diverges_over_a_lost_promise(bugs: Bugs) -> bool {
    let members = [1, 2, 3, 4, 5];
    let journal = || {
        let mut journal = MemoryJournal::default();
        journal.write(vec![JournalOp::Scalar(scalar::MEMBERS, members.to_vec())]).unwrap();
        journal
    };
    let pure = |me, journal| Pure::with(me, &members, Box::new(journal), 0, State::new(1), false, bugs);
    let mut net = Net::of(members.map(|me| pure(me, journal())).into());
    net.refused = Some(0);
    net.run(2_000);
    let [leader] = net.leaders()[..] else { panic!("one leads: {:?}", net.leaders()) };
    let others: Vec<u8> = members.into_iter().filter(|&id| id != leader).collect();
    let [loser, early, late, candidate] = others[..] else { unreachable!("there are five") };
    // Only the server that is about to lose its disk hears of the new ballot.
    [early, late].into_iter().for_each(|peer| net.cut(candidate, peer));
    let now_ms = net.now_ms;
    let server = net.server(candidate);
    server.replica.receive(ServerId(leader), &[TAKE_OVER], now_ms).unwrap();
    server.step(now_ms);
    net.cut(candidate, leader);
    net.run(20);
    assert!(net.server(candidate).replica.is_candidate());
    net.cut(candidate, loser);
    let replace = |net: &mut Net, server| {
        let peers = [leader, early, late];
        peers.into_iter().for_each(|peer| net.cut(loser, peer));
        *net.server(loser) = server;
        peers.into_iter().for_each(|peer| net.link(loser, peer));
    };
    replace(&mut net, pure(loser, MemoryJournal::default()));
    let want = loop {
        net.turn();
        if let Some(Want::Install { at, .. }) = net.server(loser).replica.take_want() {
            break at;
        }
    };
    net.run(500);
    // Writes what a transfer would leave: here, the log reaches back to its start.
    let part = net.server(leader).replica.log_part(0, usize::MAX).unwrap();
    let tail = part.last.unwrap();
    assert!(tail.decided >= want);
    let log: Vec<Vec<u8>> = part.entries.iter().map(|entry| entry.to_vec()).collect();
    let entries = part.entries.into_iter().map(JournalOp::Append);
    let scalars = [
        (scalar::PROMISE, tail.promise),
        (scalar::ROUND, tail.round),
        (scalar::DECIDED, tail.decided.to_be_bytes().to_vec()),
        (scalar::MEMBERS, members.to_vec()),
        (scalar::CONFIGURATION, tail.configuration),
    ];
    let scalars = scalars.into_iter().map(|(key, value)| JournalOp::Scalar(key, value));
    let mut installed = MemoryJournal::default();
    installed.write(entries.chain(scalars).collect()).unwrap();
    let applied = tail.decided as usize;
    let state = replayed(&log[..applied]);
    let mut server = Pure::with(loser, &members, Box::new(installed), tail.decided, state, false, bugs);
    server.log = log[..applied].to_vec();
    replace(&mut net, server);
    net.run(1_000);
    assert_eq!(net.leaders(), [leader]);
    // The candidate meets one of the others, and then all of them.
    [leader, loser, late].into_iter().for_each(|peer| net.cut(early, peer));
    net.link(candidate, early);
    net.run(100);
    for _ in 0..5 {
        net.server(leader).replica.submit_own(SessionId::NONE, OpCode::DeleteContainer, b"");
        net.run(20);
    }
    [leader, loser, late].into_iter().for_each(|peer| net.link(candidate, peer));
    net.run(3_000);
    let longest = net.servers.iter().max_by_key(|server| server.log.len()).unwrap().log.clone();
    net.refused > Some(0) || net.servers.iter().any(|server| server.log[..] != longest[..server.log.len()])
}

#[test]
fn a_lost_promise_elects_nobody() {
    assert!(!diverges_over_a_lost_promise(Bugs::default()));
    let lasting = Bugs { lasting_configuration: true, ..Bugs::default() };
    assert!(diverges_over_a_lost_promise(lasting), "what this is about");
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
        assert_eq!(
            net.server(leader).replica.receive(ServerId(peer), &frame, now_ms).is_err(),
            refused,
            "from {first} on"
        );
    }
}

/// All servers pause together, as on a suspended machine: none stops serving because of it.
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

/// A leader without followers steps down, even if a slow disk lets it check only now and then.
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

/// Servers with the same imported state found an ensemble with it; if only some have it, none is
/// founded.
#[test]
fn an_ensemble_is_founded_on_one_state() {
    let check = |origins: [u64; 3], initialize: [bool; 3], founds: bool| {
        let blank = |me: u8| Pure::blank(me, &[1, 2, 3], origins[usize::from(me) - 1], initialize[usize::from(me) - 1]);
        let mut net = Net::of((1..=3).map(blank).collect());
        net.run(2000);
        assert_eq!(net.leaders().len(), usize::from(founds), "{origins:?} {initialize:?}");
        let unlike = net.servers.iter().any(|server| !server.replica.peers_with_other_import().is_empty());
        assert_eq!(unlike, !founds, "{origins:?}: who is unlike is told");
    };
    let nobody = [false; 3];
    check([0, 0, 0], nobody, true);
    check([7, 7, 7], nobody, true);
    check([7, 7, 0], nobody, false);
    check([7, 0, 0], nobody, false);
    check([7, 7, 8], nobody, false);
    // A server that may begin without the others reports the conflict; no imported state is lost.
    check([7, 7, 8], [true; 3], false);
    check([7, 0, 0], [false, true, true], false);
}

/// A majority may found the ensemble with its state; the empty server joins it.
#[test]
fn a_majority_may_found_on_its_state() {
    let blank = |me: u8| Pure::blank(me, &[1, 2, 3], if me == 3 { 0 } else { 7 }, me != 3);
    let mut net = Net::of((1..=3).map(blank).collect());
    net.run(2000);
    assert_eq!(net.leaders().len(), 1);
    assert!(net.server(3).replica.take_want().is_some(), "it is to fetch the state");
}

/// A stopping leader hands over leadership: nobody has to notice its silence first.
#[test]
fn a_leader_that_goes_hands_over_at_once() {
    let mut net = Net::new(3);
    net.run(2_000);
    for _ in 0..6 {
        let [leader] = net.leaders()[..] else { panic!("one leads: {:?}", net.leaders()) };
        let now_ms = net.now_ms;
        assert!(net.server(leader).replica.transfer_leadership(now_ms));
        while net.leaders().iter().all(|&id| id == leader) {
            net.turn();
            assert!(net.now_ms < now_ms + 50, "less than a round of the election: {:?}", net.leaders());
        }
        net.run(1_000);
        assert_ne!(net.leaders(), [leader]);
    }
}

/// A leader whose links are down is replaced within one election round, a silent one within two.
#[test]
fn a_leader_that_is_gone_is_replaced_in_time() {
    for (is_cut, latest_ms) in [(true, 100), (false, 250)] {
        let mut net = Net::new(3);
        net.run(2_000);
        let [leader] = net.leaders()[..] else { panic!("one leads: {:?}", net.leaders()) };
        let others: Vec<u8> = (1..=3).filter(|&id| id != leader).collect();
        for &other in &others {
            match is_cut {
                true => net.cut(leader, other),
                false => net.silence(leader, other),
            }
        }
        let since_ms = net.now_ms;
        while !net.leaders().iter().any(|id| others.contains(id)) {
            net.turn();
            assert!(net.now_ms < since_ms + latest_ms, "cut {is_cut}, {} ms", net.now_ms - since_ms);
        }
    }
}
