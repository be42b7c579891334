//! Promise: no session of an ensemble expires before its timeout has passed without a message from
//! its client. A new leader gives every session its full timeout again. A server that was paused
//! does not count the time of the pause. Time in which no server serves does not count either,
//! because no client can be heard then.
//!
//! A client's message counts from the moment at which the leader must know of it. That is at once
//! if it arrived on a connection of the leader. If it arrived at another server that has followed
//! the leader without disturbance ever since, it is half a tick and the delay of the network later.
//! A session that is created or resumed counts from the moment at which the leader has applied
//! that. (The end of a run checks that sessions do end, and the model checks that their ephemerals
//! end with them.)
//!
//! A timeout is measured by the clock of the leader, which may run faster or slower than true time.
//! This checker is given true times, and compares what the leader's clock showed then. No slack is
//! needed for that. Let `c(t)` be what the clock shows at the true time `t`, in whole milliseconds,
//! never decreasing. The server stamps an event at `t` with `c(t)`. It extends a deadline by at
//! least `c(until) - c(from)` for a pause, because it looked at its clock no later than `from` and
//! not again before `until`. It rounds deadlines up. So a deadline is no earlier than
//! `c(heard) + timeout + pauses`, and if it is found due at `t`, `c(t)` is not below it. Another
//! server's clock matters only for how long a follower waits before it reports the sessions it has
//! heard from: the wait is converted to true time with the follower's clock.

use std::collections::{BTreeMap, BTreeSet};

use crate::host_clock::HostClock;

/// Events in the life of a session.
#[derive(Clone, Debug, Default)]
struct Life {
    /// Time at which each server last heard from the session.
    heard_ms: Vec<Option<u64>>,
    /// Time at which each server applied that the session is created or resumed, and the timeout.
    begun_ms: Vec<Option<(u64, u64)>>,
}

/// A server's part in the ensemble.
#[derive(Clone, Debug, Default)]
struct Participation {
    /// Time since which the server rules, which means that sessions expire by its clocks.
    rules_since_ms: Option<u64>,
    /// Leader that the server follows, and the time since which it has followed without
    /// disturbance.
    follows: Option<(usize, u64)>,
    /// Start and end of each pause of the server.
    pauses: Vec<(u64, u64)>,
    /// Start and end of each stall of its disk.
    stalls: Vec<(u64, u64)>,
}

/// Checker of the expiry of sessions.
#[derive(Debug)]
pub struct Expiry {
    tick_ms: u64,
    /// Maximum time a healthy follower takes to report to its leader the sessions it has heard
    /// from, once the report is due, ms.
    report_ms: u64,
    /// Clock of each server.
    clocks: Vec<HostClock>,
    lives: BTreeMap<i64, Life>,
    servers: Vec<Participation>,
    /// Servers that serve.
    serving: BTreeSet<usize>,
    /// Start and end of each period in which no server served. The last one may not have ended.
    outages: Vec<(u64, Option<u64>)>,
}

impl Expiry {
    /// Creates a checker with the servers' clocks. A follower takes at most half a tick of its
    /// clock, and then `report_ms` of true time, to report to its leader the sessions it has heard
    /// from.
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

    /// Notes that a server has applied that a session is created or resumed.
    pub fn begun(&mut self, session: i64, timeout_ms: u64, server: usize, now_ms: u64) {
        let count = self.servers.len();
        let new = || Life { heard_ms: vec![None; count], begun_ms: vec![None; count] };
        let life = self.lives.entry(session).or_insert_with(new);
        life.begun_ms[server] = Some((now_ms, timeout_ms));
    }

    /// Notes that the session has ended.
    pub fn ended(&mut self, session: i64) {
        self.lives.remove(&session);
    }

    /// Notes that a connection of `server` has received a request.
    pub fn heard(&mut self, session: i64, server: usize, now_ms: u64) {
        if let Some(life) = self.lives.get_mut(&session) {
            life.heard_ms[server] = Some(now_ms);
        }
    }

    /// Notes a server's role after a turn of its engine.
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

    /// Notes whether a server serves.
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

    /// Notes that a server or its links are disturbed until `until_ms`.
    pub fn troubled(&mut self, server: usize, until_ms: u64) {
        for (place, standing) in self.servers.iter_mut().enumerate() {
            if let Some((leader, since_ms)) = &mut standing.follows
                && (place == server || *leader == server)
            {
                *since_ms = until_ms.max(*since_ms);
            }
        }
    }

    /// Notes that a server has stopped.
    pub fn gone(&mut self, server: usize, now_ms: u64) {
        self.troubled(server, now_ms);
        self.serves(server, false, now_ms);
        self.servers[server] = Participation::default();
        // The server's session clocks are gone, too.
        self.lives.values_mut().for_each(|life| (life.heard_ms[server], life.begun_ms[server]) = (None, None));
    }

    /// Notes that a server is paused: messages to it wait in the meantime.
    pub fn paused(&mut self, server: usize, from_ms: u64, until_ms: u64) {
        if let Some((_, since_ms)) = &mut self.servers[server].follows {
            *since_ms = until_ms.max(*since_ms);
        }
        self.servers[server].pauses.push((from_ms, until_ms));
    }

    /// Notes that all pauses and stalls end.
    pub fn healed(&mut self, now_ms: u64) {
        for standing in &mut self.servers {
            for (_, until_ms) in standing.pauses.iter_mut().chain(&mut standing.stalls) {
                *until_ms = now_ms.min(*until_ms);
            }
        }
    }

    /// Notes that a server's disk stalls, and its engine with it if it writes.
    pub fn stalled(&mut self, server: usize, from_ms: u64, until_ms: u64) {
        if let Some((_, since_ms)) = &mut self.servers[server].follows {
            *since_ms = until_ms.max(*since_ms);
        }
        self.servers[server].stalls.push((from_ms, until_ms));
    }

    /// Checks that a session which has expired by the clocks of the ruling server was due.
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

    /// Returns whether a session that `server` last heard from at `since_ms` may expire there.
    pub fn is_due(&self, server: usize, since_ms: u64, timeout_ms: u64, now_ms: u64) -> bool {
        self.clocks[server].at(now_ms) >= self.due_ms(server, since_ms, timeout_ms)
    }

    /// Returns the earliest time, by the clock of `server`, at which a session heard from at
    /// `heard_ms` may expire, considering that no client could be heard while no server served:
    /// that time is added, but the session has at most its full timeout from the moment at which a
    /// server serves again.
    fn due_after_outages_ms(&self, server: usize, heard_ms: u64, timeout_ms: u64) -> u64 {
        let outages = self.outages.iter().map(|(from_ms, until_ms)| (*from_ms, until_ms.unwrap_or(u64::MAX)));
        let lost = self.long_ones(server, outages, heard_ms);
        lost.until_ms.map_or(0, |_| lost.due_ms(self.clocks[server].at(heard_ms), timeout_ms))
    }

    /// Returns how long the server or its disk stood still after `since_ms`, ms.
    fn stood_ms(&self, server: usize, since_ms: u64) -> u64 {
        let Participation { pauses, stalls, .. } = &self.servers[server];
        let later = pauses.iter().chain(stalls).filter(|(_, until_ms)| *until_ms > since_ms);
        later.map(|(from_ms, until_ms)| until_ms - from_ms).sum()
    }

    /// Returns the earliest time, by the clock of `server`, at which a session heard from at
    /// `since_ms` may expire, given the server's pauses.
    fn due_ms(&self, server: usize, since_ms: u64, timeout_ms: u64) -> u64 {
        let pauses = self.servers[server].pauses.iter().copied();
        self.long_ones(server, pauses, since_ms).due_ms(self.clocks[server].at(since_ms), timeout_ms)
    }

    /// Adds up periods that began after `since_ms`, by the clock of `server`. A server need not
    /// notice periods of up to one and a half ticks.
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

/// Time that does not count, by one server's clock.
#[derive(Clone, Copy, Debug, Default)]
struct Lost {
    sum_ms: u64,
    /// End of the last such period.
    until_ms: Option<u64>,
}

impl Lost {
    /// Returns the time at which a session heard from at `heard_ms` is due: the time lost is added,
    /// but the session has at most its full timeout from the end of the last period.
    fn due_ms(&self, heard_ms: u64, timeout_ms: u64) -> u64 {
        let due_ms = heard_ms.saturating_add(timeout_ms).saturating_add(self.sum_ms);
        self.until_ms.map_or(due_ms, |until_ms| due_ms.min(until_ms.saturating_add(timeout_ms)))
    }
}
