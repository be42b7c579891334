//! Promise: no session of an ensemble expires before its timeout has passed without its client being heard. A new leader
//! gives every session its full timeout anew; a server that stood still does not count that time; and time in which no server
//! serves, so that no client could be heard, is no time.
//!
//! What a client said counts from when the leader must know of it: at once if the leader's own connection took it in;
//! after half a tick and the way there if another server did which followed it undisturbed ever since; and a session
//! begun or resumed counts from when the leader has applied that. (That sessions do end is asked for at the end of a
//! run, and that their ephemerals end with them by the model.)
//!
//! A timeout is one by the clock of the server that rules, which may go faster or slower than true time. This checker is told
//! everything in true time, and compares what that clock showed then. That needs no slack. Let `c(t)` be what it shows at the
//! true time `t`: whole milliseconds, never falling. The server stamps with `c(t)` what happens at `t`, moves a deadline by a
//! pause of at least `c(until) - c(from)`, because it looked at its clock no later than `from` and no earlier than `until`,
//! and rounds deadlines up. So a deadline is no earlier than `c(heard) + timeout + pauses`, and what it finds due at `t` has
//! `c(t)` not below that. What others measure by their own clocks is only how long a follower waits before it reports whom it
//! has heard: that takes as long as its clock takes.

use std::collections::{BTreeMap, BTreeSet};

use crate::ensemble::clock::HostClock;

/// Of one session.
#[derive(Clone, Debug, Default)]
struct Life {
    /// When each server last heard from it.
    heard_ms: Vec<Option<u64>>,
    /// When each server applied that it begins or goes on, and with which timeout.
    begun_ms: Vec<Option<(u64, u64)>>,
}

/// Of one server.
#[derive(Clone, Debug, Default)]
struct Participation {
    /// Since when it rules: sessions expire by its clocks.
    rules_since_ms: Option<u64>,
    /// Since when it follows whom without any trouble.
    follows: Option<(usize, u64)>,
    /// When it stood still: from, until.
    pauses: Vec<(u64, u64)>,
    /// When its disk did.
    stalls: Vec<(u64, u64)>,
}

/// See the module.
#[derive(Debug)]
pub struct Expiry {
    tick_ms: u64,
    /// How long a server takes at most to tell its leader whom it has heard, once it is time to, if nothing is wrong, ms.
    report_ms: u64,
    /// By server.
    clocks: Vec<HostClock>,
    lives: BTreeMap<i64, Life>,
    servers: Vec<Participation>,
    /// The servers that serve.
    serving: BTreeSet<usize>,
    /// When nobody served: from, until. The last one may not have ended.
    outages: Vec<(u64, Option<u64>)>,
}

impl Expiry {
    /// Knows the servers' clocks. A follower takes at most half a tick of its clock, and then `report_ms` of true time, to tell
    /// its leader whom it has heard.
    pub fn new(clocks: Vec<HostClock>, tick_ms: u64, report_ms: u64) -> Expiry {
        let servers = clocks.len();
        Expiry {
            clocks,
            tick_ms,
            report_ms,
            lives: BTreeMap::new(),
            servers: vec![Participation::default(); servers],
            serving: BTreeSet::new(),
            outages: vec![(0, None)],
        }
    }

    /// A session begins, or goes on, at a server that has applied that.
    pub fn begun(&mut self, session: i64, timeout_ms: u64, server: usize, now_ms: u64) {
        let count = self.servers.len();
        let new = || Life { heard_ms: vec![None; count], begun_ms: vec![None; count] };
        let life = self.lives.entry(session).or_insert_with(new);
        life.begun_ms[server] = Some((now_ms, timeout_ms));
    }

    /// It is over.
    pub fn ended(&mut self, session: i64) {
        self.lives.remove(&session);
    }

    /// A connection of `server` has taken in a request.
    pub fn heard(&mut self, session: i64, server: usize, now_ms: u64) {
        if let Some(life) = self.lives.get_mut(&session) {
            life.heard_ms[server] = Some(now_ms);
        }
    }

    /// How a server stands after a turn of its engine.
    pub fn stands(&mut self, server: usize, rules: bool, follows: Option<usize>, now_ms: u64) {
        let standing = &mut self.servers[server];
        standing.rules_since_ms = match standing.rules_since_ms {
            Some(since_ms) if rules => Some(since_ms),
            _ => rules.then_some(now_ms),
        };
        let still = standing.pauses.iter().chain(&standing.stalls).filter(|(from_ms, _)| *from_ms <= now_ms);
        let still_until_ms = still.map(|(_, until_ms)| *until_ms).max().unwrap_or(0);
        standing.follows = match (standing.follows, follows) {
            (Some((leader, since_ms)), Some(follows)) if leader == follows => Some((leader, since_ms)),
            (_, follows) => follows.map(|leader| (leader, now_ms.max(still_until_ms))),
        };
    }

    /// Whether a server serves.
    pub fn serves(&mut self, server: usize, serves: bool, now_ms: u64) {
        if serves {
            self.serving.insert(server);
        } else {
            self.serving.remove(&server);
        }
        match (self.outages.last_mut(), self.serving.is_empty()) {
            (Some((_, until @ None)), false) => *until = Some(now_ms),
            (Some((_, Some(_))) | None, true) => self.outages.push((now_ms, None)),
            (Some((_, None)), true) | (Some((_, Some(_))) | None, false) => {}
        }
    }

    /// Something is wrong with a server, or with its links, until then.
    pub fn troubled(&mut self, server: usize, until_ms: u64) {
        for (place, standing) in self.servers.iter_mut().enumerate() {
            if let Some((leader, since_ms)) = &mut standing.follows
                && (place == server || *leader == server)
            {
                *since_ms = until_ms.max(*since_ms);
            }
        }
    }

    /// A server is gone.
    pub fn gone(&mut self, server: usize, now_ms: u64) {
        self.troubled(server, now_ms);
        self.serves(server, false, now_ms);
        self.servers[server] = Participation::default();
        // Its clocks are, too.
        self.lives.values_mut().for_each(|life| (life.heard_ms[server], life.begun_ms[server]) = (None, None));
    }

    /// A server stands still: what it is sent meanwhile waits.
    pub fn paused(&mut self, server: usize, from_ms: u64, until_ms: u64) {
        if let Some((_, since_ms)) = &mut self.servers[server].follows {
            *since_ms = until_ms.max(*since_ms);
        }
        self.servers[server].pauses.push((from_ms, until_ms));
    }

    /// Nothing stands still any more.
    pub fn healed(&mut self, now_ms: u64) {
        for standing in &mut self.servers {
            for (_, until_ms) in standing.pauses.iter_mut().chain(&mut standing.stalls) {
                *until_ms = now_ms.min(*until_ms);
            }
        }
    }

    /// The disk of a server stands still, and with it its engine, should it write.
    pub fn stalled(&mut self, server: usize, from_ms: u64, until_ms: u64) {
        if let Some((_, since_ms)) = &mut self.servers[server].follows {
            *since_ms = until_ms.max(*since_ms);
        }
        self.servers[server].stalls.push((from_ms, until_ms));
    }

    /// By its clocks, the ruling server takes the session for expired.
    pub fn expires(&self, session: i64, server: usize, now_ms: u64) {
        let Some(life) = self.lives.get(&session) else { return };
        let Some(rules_ms) = self.servers[server].rules_since_ms else { return };
        let Some((begun_ms, timeout_ms)) = life.begun_ms[server] else { return };
        let clock = self.clocks[server];
        let shown_ms = clock.at(now_ms);
        let check = |since_ms: u64, why: &str| {
            let due_ms = self.due_ms(server, since_ms, timeout_ms);
            assert!(
                shown_ms >= due_ms,
                "sessions: {session:x} expires early at server {}: at {now_ms}, due at {}: {why} at {since_ms}, timeout {timeout_ms}",
                server + 1,
                clock.when(due_ms)
            );
        };
        check(rules_ms, "the leader began");
        if let Some(heard_ms) = life.heard_ms.iter().flatten().max() {
            let due_ms = self.due_after_outages_ms(server, *heard_ms, timeout_ms);
            assert!(
                shown_ms >= due_ms,
                "sessions: {session:x} expires early at server {}: at {now_ms}, due at {}: heard at {heard_ms}, timeout {timeout_ms}, \
                 and for a while nobody served",
                server + 1,
                clock.when(due_ms)
            );
        }
        check(begun_ms, "it was begun");
        life.heard_ms[server].into_iter().for_each(|at_ms| check(at_ms, "the leader heard it"));
        for (other, heard_ms) in life.heard_ms.iter().enumerate().filter(|(other, _)| *other != server) {
            let Some(heard_ms) = *heard_ms else { continue };
            let follows = self.servers[other].follows;
            let steady = follows.is_some_and(|(leader, since_ms)| leader == server && since_ms < heard_ms);
            let report_ms =
                self.clocks[other].takes_ms(self.tick_ms / 2) + self.report_ms + self.stood_ms(server, heard_ms);
            if steady && now_ms > heard_ms + report_ms && heard_ms >= rules_ms {
                check(heard_ms, "a follower heard it");
            }
        }
    }

    /// Whether a session may be over for `server` that this server last heard at `since_ms`.
    pub fn is_due(&self, server: usize, since_ms: u64, timeout_ms: u64, now_ms: u64) -> bool {
        self.clocks[server].at(now_ms) >= self.due_ms(server, since_ms, timeout_ms)
    }

    /// When, by the clock of `server`, a session may expire at the earliest that was heard at `heard_ms`, given that nobody could
    /// hear it while nobody served: not before that time is added, or its full timeout has passed since somebody serves again.
    fn due_after_outages_ms(&self, server: usize, heard_ms: u64, timeout_ms: u64) -> u64 {
        let outages = self.outages.iter().map(|(from_ms, until_ms)| (*from_ms, until_ms.unwrap_or(u64::MAX)));
        let lost = self.long_ones(server, outages, heard_ms);
        lost.until_ms.map_or(0, |_| lost.due_ms(self.clocks[server].at(heard_ms), timeout_ms))
    }

    /// How long the server or its disk stood still since then.
    fn stood_ms(&self, server: usize, since_ms: u64) -> u64 {
        let Participation { pauses, stalls, .. } = &self.servers[server];
        let later = pauses.iter().chain(stalls).filter(|(_, until_ms)| *until_ms > since_ms);
        later.map(|(from_ms, until_ms)| until_ms - from_ms).sum()
    }

    /// When, by the clock of `server`, a session may expire at the earliest that was heard at `since_ms`, given its pauses.
    fn due_ms(&self, server: usize, since_ms: u64, timeout_ms: u64) -> u64 {
        let pauses = self.servers[server].pauses.iter().copied();
        self.long_ones(server, pauses, since_ms).due_ms(self.clocks[server].at(since_ms), timeout_ms)
    }

    /// Adds up times since `since_ms`, by the clock of `server`. Those of less than one and a half ticks need not be noticed.
    fn long_ones(&self, server: usize, times: impl Iterator<Item = (u64, u64)>, since_ms: u64) -> Lost {
        let (clock, long_ms) = (self.clocks[server], self.tick_ms * 3 / 2);
        let later = times.filter(|(from_ms, _)| *from_ms >= since_ms);
        let shown = later.map(|(from_ms, until_ms)| (clock.at(from_ms), clock.at(until_ms)));
        let mut lost = Lost::default();
        for (from_ms, until_ms) in shown.filter(|(from_ms, until_ms)| until_ms - from_ms > long_ms) {
            lost.sum_ms = lost.sum_ms.saturating_add(until_ms - from_ms);
            lost.until_ms = Some(until_ms);
        }
        lost
    }
}

/// Time that is no time, by one server's clock.
#[derive(Clone, Copy, Debug, Default)]
struct Lost {
    sum_ms: u64,
    /// When the last of it ended.
    until_ms: Option<u64>,
}

impl Lost {
    /// When a session is over that was heard before: its time goes on behind what was lost, but it has its full timeout at most.
    fn due_ms(&self, heard_ms: u64, timeout_ms: u64) -> u64 {
        let due_ms = heard_ms.saturating_add(timeout_ms).saturating_add(self.sum_ms);
        self.until_ms.map_or(due_ms, |until_ms| due_ms.min(until_ms.saturating_add(timeout_ms)))
    }
}
