//! Each assertion can fail: a sound value passes, and a fault in one place is found, by name.

use std::panic::{AssertUnwindSafe, catch_unwind};

use oxkeeper_proto::{OpCode, ServerId, SessionId};
use oxkeeper_state::reconfig::Ruling;
use oxkeeper_state::{BallotId, Command, Identities, Level, Settings, State};
use parking_lot::{Mutex, RwLock, RwLockWriteGuard};

use super::*;
use crate::delivery::{Origin, Proposals};
use crate::ensemble::apply::Applied;
use crate::ensemble::{JournalOp, MemoryJournal, Pace, ReplicaConfig};
use crate::outside::{Event, Outside};
use crate::{Applier, Clocks, SessionTable, Shared};

/// A fault, and the message that names it.
pub(crate) type Fault<T> = (&'static str, fn(&mut T));

/// Asserts that `check` passes a sound value and finds each of the faults.
pub(crate) fn assert_found<T>(sound: impl Fn() -> T, check: impl Fn(&mut T), faults: &[Fault<T>]) {
    check(&mut sound());
    let mut missed = Vec::new();
    for (name, spoil) in faults {
        let mut spoiled = sound();
        spoil(&mut spoiled);
        let said = match catch_unwind(AssertUnwindSafe(|| check(&mut spoiled))) {
            Ok(()) => "nothing".to_owned(),
            Err(said) => {
                let fixed = said.downcast_ref::<&str>().map(|said| (*said).to_owned());
                fixed.or_else(|| said.downcast_ref::<String>().cloned()).unwrap_or_default()
            }
        };
        if !said.contains(name) {
            missed.push(format!("for \"{name}\" is found: {said}"));
        }
    }
    assert!(missed.is_empty(), "{}", missed.join("\n"));
}

/// An outside that drops everything.
struct Nobody;

impl Outside for Nobody {
    fn send(&mut self, _peer: ServerId, _frame: Vec<u8>) {}

    fn flush(&mut self) {}

    fn end_link(&mut self, _peer: ServerId, _why: &str) {}

    fn deliver(&mut self, applier: &mut Applier, _locked: RwLockWriteGuard<'_, Shared>, _entry: Option<&[u8]>) {
        applier.outboxes.iter_mut().for_each(|outbox| outbox.clear(0));
    }

    fn spent(&mut self) -> u64 {
        0
    }

    fn happened(&mut self, _event: Event<'_>) {}
}

struct Server {
    replica: Replica,
    shared: RwLock<Shared>,
    applier: Applier,
}

impl Server {
    fn new(me: ServerId) -> Server {
        let config = ReplicaConfig {
            me,
            members: [1, 2, 3].map(ServerId).into(),
            membership: (1..=3).map(|id| format!("server.{id}=host{id}:2888:3888\n")).collect(),
            membership_version: 0,
            pace: Pace { heartbeat_ms: 100, silence_ms: 1_000, contact_ms: 600 },
            entry_len_max: 1 << 10,
            settings: Settings::default(),
            initialize: false,
            checkpointed: 0,
            applied: 0,
            wall_ms: 0,
            seed: 1,
            sync_len_max: 1 << 20,
            ruling: Ruling::default(),
            knows: Level::KNOWN,
            raises_to: Level::NONE,
            bugs: Bugs::default(),
        };
        let state = State::new(1);
        let replica = Replica::start(config, Box::new(MemoryJournal::default()), &state, 0).unwrap();
        let sessions = SessionTable::new(me, 0, &state, Clocks::new(100, 0));
        let mut applier = Applier::new(1);
        applier.me = Some(replica.origin());
        Server { replica, shared: RwLock::new(Shared::new(state, Settings::default(), sessions, 0)), applier }
    }

    fn apply(&mut self, now_ms: u64) {
        let (shared, entry) = (&self.shared, Mutex::new(()));
        self.replica.apply(shared, &entry, &mut self.applier, &mut Nobody, true, now_ms).unwrap();
    }

    fn submit(&mut self) {
        let (session, identities) = (SessionId(7), Identities::default());
        let body = &1_000i32.to_be_bytes();
        let mut proposals = Proposals::default();
        let command = Command {
            session,
            xid: 0,
            op: OpCode::CreateSession,
            settings: Settings::default(),
            identities,
            body,
            from: None,
        };
        command.encode(&mut proposals.commands);
        proposals.origins.push(Origin::own(0));
        self.replica.submit(&mut proposals);
    }
}

/// Returns three servers that have founded an ensemble and applied a command from each.
fn ensemble() -> Vec<Server> {
    let mut servers: Vec<Server> = (1..=3).map(ServerId).map(Server::new).collect();
    for (one, other) in [(1, 2), (2, 1), (1, 3), (3, 1), (2, 3), (3, 2)] {
        servers[one as usize - 1].replica.link_up(ServerId(other), 0);
    }
    for now_ms in 0..300 {
        turns(&mut servers, now_ms);
    }
    servers.iter_mut().for_each(Server::submit);
    for now_ms in 300..310 {
        turns(&mut servers, now_ms);
    }
    servers
}

fn turns(servers: &mut [Server], now_ms: u64) {
    for place in 0..servers.len() {
        let me = servers[place].replica.config.me;
        let server = &mut servers[place];
        server.replica.step(&server.shared, now_ms, now_ms as i64);
        server.apply(now_ms);
        server.replica.persist().unwrap();
        server.apply(now_ms);
        for peer in 1..=3 {
            while let Some(frame) = servers[place].replica.next_frame(ServerId(peer)) {
                servers[peer as usize - 1].replica.receive(me, &frame, now_ms).unwrap();
            }
        }
    }
}

/// Returns the leader, with one command on its way into the log, and another behind it.
fn leader() -> Server {
    let mut servers = ensemble();
    let place = servers.iter().position(|server| server.replica.leads_now(310)).expect("one leads");
    let mut leader = servers.swap_remove(place);
    leader.submit();
    leader.replica.step(&leader.shared, 310, 310);
    leader.submit();
    assert_eq!(leader.replica.applied(), 2, "its epoch, and the commands");
    leader
}

/// Returns a follower that has accepted entries but not written them.
fn follower() -> Server {
    let mut servers = ensemble();
    let place = servers.iter().position(|server| server.replica.leads_now(310)).expect("one leads");
    servers[place].submit();
    let server = &mut servers[place];
    let me = server.replica.config.me;
    server.replica.step(&server.shared, 310, 310);
    let other = (place + 1) % 3;
    let peer = servers[other].replica.config.me;
    while let Some(frame) = servers[place].replica.next_frame(peer) {
        servers[other].replica.receive(me, &frame, 310).unwrap();
    }
    servers.swap_remove(other)
}

fn store(server: &Server) -> &crate::ensemble::storage::Store {
    server.replica.store().expect("it votes")
}

fn link(server: &mut Server) -> &mut Link {
    server.replica.links.values_mut().find(|link| link.up).expect("there is one")
}

fn consensus(server: &mut Server) -> &mut Consensus {
    server.replica.consensus_mut().expect("it votes")
}

const LATER: BallotId = BallotId([0, 0, 0, 1, 0, 0, 0, 99, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);

#[test]
fn what_is_wrong_in_a_leader_is_found() {
    assert_found(
        leader,
        |server| server.replica.check(),
        &[
            ("voters [2, 1] are not in order", |it| it.replica.configuration.voters = [2, 1].map(ServerId).into()),
            ("configuration 1 begins at 9, 2 are applied", |it| it.replica.configuration.base = 9),
            ("it votes, and is no voter", |it| it.replica.configuration.voters = vec![ServerId(200)]),
            ("consensus is in Configuration { id: 1", |it| it.replica.configuration.id = 2),
            ("configuration 1 comes behind 1", |it| it.replica.next = Some(it.replica.configuration.clone())),
            ("begins, 2 are applied", |it| {
                it.replica.next = Some(Configuration { id: 2, base: 1, voters: vec![ServerId(1)] });
            }),
            ("entries behind the end of a configuration are to be applied", |it| {
                it.replica.next = Some(Configuration { id: 2, base: 2, voters: vec![ServerId(1)] });
                let entries = store(it).lock().entries(1, 2);
                it.replica.applied.read_ahead(entries);
            }),
            ("3 entries are applied, 2 are decided", |it| it.replica.applied = Applied::new(3, None)),
            ("3 entries are to be applied, 2 are decided", |it| {
                let entries = store(it).lock().entries(1, 2);
                it.replica.applied.read_ahead(entries);
            }),
            ("the log begins at 2, 1 entries are applied", |it| {
                store(it).lock().journal.trim(2);
                it.replica.applied = Applied::new(1, None);
            }),
            ("3 entries count, 2 are applied", |it| store(it).lock().note_applied(3)),
            ("2 entries are applied, 1 are durable", |it| store(it).lock().spoil_by_writing_again(1)),
            ("the log is in another configuration", |it| {
                let other = JournalOp::Scalar(scalar::CONFIGURATION, Configuration::first(vec![ServerId(9)]).encode());
                store(it).lock().journal.write(vec![other]).unwrap();
            }),
            ("a link to itself", |it| it.replica.links.entry(it.replica.config.me).or_default().begin(0)),
            ("consensus speaks to 9, which does not vote", |it| {
                let link = it.replica.links.entry(ServerId(9)).or_default();
                link.begin(0);
                link.joined = true;
            }),
            ("which is not in its configuration", |it| link(it).status = None),
            ("commands go to 9, to which there is no link", |it| {
                it.replica.target = it.replica.target.map(|(_, ballot)| (ServerId(9), ballot));
            }),
            ("commands go to a leader of configuration 0 in 1", |it| {
                it.replica.target = it.replica.target.map(|(leader, _)| (leader, Default::default()));
            }),
            ("now it is 0", |it| it.replica.contact.advance(0)),
            ("it serves without an epoch", |it| {
                it.replica.lead = None;
                it.replica.applied = Applied::new(2, None);
            }),
            ("what is accepted is of Ballot", |it| {
                it.replica.lead = None;
                it.replica.applied.begin_epoch(LATER);
            }),
            ("write 9 is staged", |it| consensus(it).staged = 9),
            ("write 9 is begun", |it| consensus(it).begun = 9),
            ("a frame to", |it| link(it).push(9, Vec::new())),
            ("something is left of the link", |it| link(it).up = false),
        ],
    );
}

#[test]
fn what_is_wrong_in_a_follower_is_found() {
    assert_found(
        follower,
        |server| server.replica.check(),
        &[
            ("3 entries are applied, 2 are decided", |it| it.replica.applied = Applied::new(3, None)),
            ("is promised, Ballot", |it| store(it).lock().spoil_promise(ballot::from_id(LATER))),
            ("above the promise", |it| store(it).lock().spoil_round(ballot::from_id(LATER))),
            ("in configuration 1", |it| {
                let round = store(it).lock().round();
                store(it).lock().spoil_round(omnipaxos::ballot_leader_election::Ballot { config_id: 3, ..round });
            }),
            ("2 entries are decided, 1 are stored as such", |it| {
                store(it).lock().spoil_decided(1);
                it.replica.applied = Applied::new(1, None);
            }),
        ],
    );
}

#[test]
fn what_goes_back_is_found() {
    let seen = || {
        let mut leader = leader();
        leader.replica.check();
        leader
    };
    assert_found(
        seen,
        |server| server.replica.check(),
        &[
            ("9 entries were applied, now 2", |it| it.replica.seen.applied = 9),
            ("9 were decided, now 2", |it| it.replica.seen.decided = 9),
            ("behind configuration 9 comes 1", |it| it.replica.seen.configuration = 9),
            ("promised (9, Ballot", |it| it.replica.seen.promise.0 = 9),
            ("behind epoch (9, Ballot", |it| it.replica.seen.epoch.0 = 9),
        ],
    );
}

#[test]
fn a_blank_server_is_in_no_configuration_and_a_learner_is_in_one() {
    assert_found(
        || Server::new(ServerId(1)),
        |server| server.replica.check(),
        &[("a blank server is in configuration 1", |it: &mut Server| it.replica.configuration.id = 1)],
    );
    let learner = || {
        let mut server = Server::new(ServerId(4));
        let configuration = Configuration::first([1, 2, 3].map(ServerId).into());
        let journal = Box::new(MemoryJournal::default());
        server.replica.enter(configuration, journal, None, 0);
        server
    };
    assert_found(
        learner,
        |server| server.replica.check(),
        &[
            ("a learner is in no configuration", |it| it.replica.configuration.id = 0),
            ("9 entries are decided, 0 are accepted", |it| store(it).lock().spoil_decided(9)),
            ("it leads without a vote", |it| it.replica.lead = leader().replica.lead),
        ],
    );
}

/// Checks frames that must not leave before a follower's disk has what they report.
#[test]
fn what_tells_of_the_disk_too_early_is_found() {
    fn frame(kind: u8, ballot: BallotId, accepted: u64) -> Vec<u8> {
        [&[kind], ballot.0.as_slice(), &accepted.to_be_bytes()].concat()
    }
    let promised = |it: &Server| ballot::to_id(store(it).lock().promise());
    let (prepare, promise, accepted) = (2, 3, 6);
    let sound = follower();
    for kind in [prepare, promise, accepted] {
        sound.replica.check_leaving(&frame(kind, promised(&sound), 2));
        let said = catch_unwind(AssertUnwindSafe(|| sound.replica.check_leaving(&frame(kind, LATER, 2))));
        assert!(said.is_err(), "kind {kind}");
    }
    let said = catch_unwind(AssertUnwindSafe(|| sound.replica.check_leaving(&frame(accepted, promised(&sound), 3))));
    assert!(said.is_err(), "entry 2 is accepted, and not durable");
}
