//! Clients that return in time, while the disks of a majority are slow.

use oxkeeper_proto::{OpCode, SessionId};
use oxkeeper_replica::ensemble::Bugs;
use oxkeeper_replica::{Origin, Proposals};
use oxkeeper_state::{Command, Identities, Settings};

use crate::pure::Net;

const SESSION: SessionId = SessionId(0x0100_0000_0000_0001);
const TIMEOUT_MS: u64 = 1_000;
/// Time for which a majority cannot write, ms.
const WRITE_MS: u64 = 250;

/// Simulated servers: the leader, and a follower whose client owns the session.
struct Ensemble {
    net: Net,
    leader: u8,
    follower: u8,
    /// Time at which the leader's clocks expired the session.
    expired_ms: Option<u64>,
}

impl Ensemble {
    fn new(bugs: Bugs) -> Ensemble {
        let mut net = Net::with(3, bugs);
        net.run(2_000);
        let [leader] = net.leaders()[..] else { panic!("one leads: {:?}", net.leaders()) };
        let follower = if leader == 1 { 2 } else { 1 };
        let mut ensemble = Ensemble { net, leader, follower, expired_ms: None };
        ensemble.ask(OpCode::CreateSession);
        ensemble.net.run(50);
        assert!(ensemble.lives());
        ensemble
    }

    fn ask(&mut self, op: OpCode) {
        let (settings, identities) = (Settings::default(), Identities::default());
        let body = (TIMEOUT_MS as i32).to_be_bytes();
        let mut proposals = Proposals::default();
        let command = Command { from: None, session: SESSION, xid: 0, op, settings, identities, body: &body };
        command.encode(&mut proposals.commands);
        proposals.origins.push(Origin::own(self.net.now_ms));
        let follower = self.follower;
        self.net.server(follower).replica.submit(&mut proposals);
    }

    /// Returns whether all servers have the session.
    fn lives(&mut self) -> bool {
        let knows: Vec<bool> =
            self.net.servers.iter().map(|it| it.shared.read().state.sessions().get(SESSION).is_some()).collect();
        assert!(knows.iter().all(|&it| it == knows[0]), "{knows:?}");
        knows[0]
    }

    /// Lets time pass; the leader checks its clocks as its server would. `disks_work` is for the
    /// other disks; its own always works.
    fn pass(&mut self, ms: u64, disks_work: bool) {
        for _ in 0..ms {
            let leader = self.leader;
            self.net.millisecond(|me| disks_work || me == leader);
            let now_ms = self.net.now_ms;
            if !now_ms.is_multiple_of(50) {
                continue;
            }
            let server = self.net.server(leader);
            server.replica.settle_touches(&server.shared, now_ms);
            let shared = server.shared.read();
            let expired = shared.sessions.lock().clocks.tick(now_ms);
            for session in expired {
                self.expired_ms = Some(now_ms);
                server.replica.submit_expiry(session, &shared.state);
            }
        }
    }
}

#[test]
fn a_client_that_is_back_in_time_keeps_its_session() {
    for away_ms in [500, 700, 800, 840, 900] {
        let mut ensemble = Ensemble::new(Bugs::default());
        ensemble.pass(away_ms, true);
        ensemble.ask(OpCode::ResumeSession);
        ensemble.pass(WRITE_MS, false);
        ensemble.pass(400, true);
        assert_eq!(ensemble.expired_ms, None, "the leader knows of it, away {away_ms}");
        assert!(ensemble.lives());
    }
}

/// The expiry arrives too late, or a majority cannot write for longer than the session lasts.
#[test]
fn an_expiry_that_was_under_way_when_the_client_was_told_ends_nothing() {
    let ends = |bugs| {
        let mut ensemble = Ensemble::new(bugs);
        ensemble.pass(800, true);
        ensemble.ask(OpCode::ResumeSession);
        ensemble.pass(10, false);
        // Its clock had not noticed.
        let leader = ensemble.leader;
        let server = ensemble.net.server(leader);
        server.replica.submit_expiry(SESSION, &server.shared.read().state);
        ensemble.pass(WRITE_MS, false);
        ensemble.pass(300, true);
        !ensemble.lives()
    };
    assert!(!ends(Bugs::default()));
    assert!(ends(Bugs { stale_expiry: true, ..Bugs::default() }), "as it was");
}

/// A client that stays away loses its session, even if it returned once before.
#[test]
fn a_client_that_stays_away_loses_its_session() {
    let mut ensemble = Ensemble::new(Bugs::default());
    ensemble.pass(900, true);
    ensemble.ask(OpCode::ResumeSession);
    ensemble.pass(WRITE_MS, false);
    ensemble.pass(TIMEOUT_MS + 200, true);
    assert!(ensemble.expired_ms.is_some() && !ensemble.lives());
}
