//! Injects faults, which the seed chooses.

use oxkeeper_replica::ensemble::Role;

use super::server::Process;
use super::trace::note;
use super::world::{Event, World};
use crate::options::Bug;
use crate::request::Request;

/// Kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Fault {
    Crash,
    LeaderCrash,
    Blackout,
    Wipe,
    Cut,
    Partition,
    LostQuorum,
    Pause,
    Stall,
    Full,
    WallJump,
    Reconfig,
    LeadershipTransfer,
    Isolation,
    ClientCut,
    ClientPause,
}

impl Fault {
    pub(super) const ALL: [Fault; 16] = [
        Fault::Crash,
        Fault::LeaderCrash,
        Fault::Blackout,
        Fault::Wipe,
        Fault::Cut,
        Fault::Partition,
        Fault::LostQuorum,
        Fault::Pause,
        Fault::Stall,
        Fault::Full,
        Fault::WallJump,
        Fault::ClientCut,
        Fault::ClientPause,
        Fault::Reconfig,
        Fault::LeadershipTransfer,
        Fault::Isolation,
    ];
}

impl World {
    /// Plans the next fault of this kind.
    pub(super) fn plan_fault(&mut self, fault: Fault) {
        let options = &self.options;
        let every_ms = match fault {
            Fault::Crash => options.crash_every_ms,
            Fault::LeaderCrash => options.leader_crash_every_ms,
            Fault::Blackout => options.blackout_every_ms,
            Fault::Wipe => options.wipe_every_ms,
            Fault::Cut => options.cut_every_ms,
            Fault::Partition => options.partition_every_ms,
            Fault::LostQuorum => options.lost_quorum_every_ms,
            Fault::Pause => options.pause_every_ms,
            Fault::Stall => options.stall_every_ms,
            Fault::Full => options.full_every_ms,
            Fault::WallJump => options.wall_jump_every_ms,
            Fault::Reconfig => options.reconfig_every_ms,
            Fault::LeadershipTransfer => options.transfer_every_ms,
            Fault::Isolation => options.isolation_every_ms,
            Fault::ClientCut => options.client_cut_every_ms,
            Fault::ClientPause => options.client_pause_every_ms,
        };
        if every_ms > 0 {
            let at_ms = self.now_ms + self.random.within(1, 2 * every_ms);
            self.queue.plan(at_ms, Event::Fault(fault));
        }
    }

    pub(super) fn fault(&mut self, fault: Fault) {
        let now_ms = self.now_ms;
        let me = self.random.place(self.hosts.len());
        match fault {
            Fault::Crash => {
                if self.hosts[me].process.is_none() {
                } else if self.random.once_in(3) {
                    self.crash(me);
                } else {
                    let operation = self.hosts[me].disk.operations() + self.random.below(20);
                    self.plan_crash(me, operation);
                }
            }
            Fault::LeaderCrash => {
                let leader = self.leader();
                leader.into_iter().for_each(|leader| self.crash(leader));
            }
            Fault::Blackout => self.black_out(),
            Fault::Wipe => {
                self.wipe(me);
                // Wipe more disks, perhaps as many as may be lost.
                while self.random.once_in(3) {
                    let other = self.random.place(self.hosts.len());
                    self.wipe(other);
                }
            }
            Fault::Cut => {
                let peer = (me + 1 + self.random.place(self.hosts.len() - 1)) % self.hosts.len();
                note(now_ms, me, "link breaks to", [peer as u64 + 1, 0]);
                self.peer_network.cut(me, peer, now_ms, &mut self.random);
                self.trouble(now_ms);
                self.expiry.troubled(me, now_ms);
                self.expiry.troubled(peer, now_ms);
                self.wake_engine_when_due(me);
                self.wake_engine_when_due(peer);
            }
            Fault::Partition => self.partition(),
            Fault::LostQuorum => self.lose_quorum(),
            Fault::Pause => {
                let pause_ms = self.long_or_short(6_000);
                self.pause(me, pause_ms);
            }
            Fault::Stall => {
                let stall_ms = self.long_or_short(3_000);
                note(now_ms, me, "its disk stalls, ms", [stall_ms, 0]);
                let until_ms = self.hosts[me].stalled_until_ms.max(now_ms + stall_ms);
                self.hosts[me].stalled_until_ms = until_ms;
                self.trouble(until_ms);
                self.expiry.stalled(me, now_ms, until_ms);
            }
            Fault::Full => {
                let room = self.random.one_of(&[0, 512, 4 << 10, 100 << 10]);
                note(now_ms, me, "its disk has room for", [room, 0]);
                let until_ms = now_ms + self.long_or_short(3_000);
                let host = &mut self.hosts[me];
                host.disk.set_room(Some(host.disk.used() + room));
                host.full_until_ms = Some(until_ms);
                self.queue.plan(until_ms, Event::DiskHasRoom(me));
                self.trouble(until_ms);
            }
            Fault::WallJump => {
                self.hosts[me].wall_ahead_ms += self.random.within(0, 200_000) as i64 - 100_000;
                self.hosts[me].expired_by_wall = self.options.bug == Bug::ExpiryByWallClock;
            }
            Fault::Reconfig => self.reconfigure(),
            Fault::LeadershipTransfer => self.transfer_leadership(),
            Fault::Isolation => self.isolate(me),
            Fault::ClientCut => {
                let client = self.random.place(self.clients.len());
                self.cut_client(client);
            }
            Fault::ClientPause => {
                let client = self.random.place(self.clients.len());
                let until_ms = now_ms + self.random.within(1, 30 * self.options.tick_ms);
                self.clients[client].pause(until_ms);
                self.trouble(until_ms);
            }
        }
    }

    /// Makes a client request other voters, in addition to its own requests.
    fn reconfigure(&mut self) {
        let loses_disks = self.options.wipe_every_ms > 0 || self.options.lost_promise_once_in > 0;
        let least = if loses_disks { 3 } else { 2 };
        let mut voters: Vec<usize> = (0..self.hosts.len()).collect();
        while voters.len() > least && !self.random.once_in(3) {
            voters.remove(self.random.place(voters.len()));
        }
        if voters.len() == 2 && least == 2 && self.options.one_voter && self.seed_says(0) {
            voters.remove(usize::from(self.seed_says(1)));
        }
        let role = |place: &usize| if voters.contains(place) { "participant" } else { "observer" };
        let listed = |place: &usize| voters.contains(place) || self.seed_says(*place);
        let line = |place: usize| {
            format!("server.{0}=host{0}:2888:3888:{1};0.0.0.0:2181", self.options.id(place), role(&place))
        };
        let text: Vec<String> = (0..self.hosts.len()).filter(listed).map(line).collect();
        let client = self.random.place(self.clients.len());
        if self.ask(client, Request::voters(&text.join("\n"))) {
            note(
                self.now_ms,
                client,
                "this client asks for the voters",
                [voters.iter().map(|place| 1 << place).sum(), 0],
            );
            self.report.reconfigs += 1;
        }
    }

    fn seed_says(&self, place: usize) -> bool {
        (self.options.seed ^ self.now_ms) >> place & 1 == 1
    }

    fn transfer_leadership(&mut self) {
        for host in &self.hosts {
            let incarnation = host.process.as_ref().and_then(|process| process.incarnation.as_ref());
            let host_ms = host.clock.at(self.now_ms);
            let begun = incarnation
                .is_some_and(|incarnation| incarnation.engine.lock().replica_mut().transfer_leadership(host_ms));
            self.report.leadership_transfers += u64::from(begun);
        }
    }

    fn long_or_short(&mut self, longest_ms: u64) -> u64 {
        let most_ms = self.random.one_of(&[self.options.heartbeat_ms, 5 * self.options.heartbeat_ms, longest_ms]);
        self.random.within(1, most_ms)
    }

    fn pause(&mut self, me: usize, pause_ms: u64) {
        let now_ms = self.now_ms;
        if self.hosts[me].paused_until_ms > now_ms {
            return;
        }
        note(now_ms, me, "is paused, ms", [pause_ms, 0]);
        let until_ms = now_ms + pause_ms;
        self.hosts[me].paused_until_ms = until_ms;
        self.trouble(until_ms);
        self.expiry.paused(me, now_ms, until_ms);
    }

    fn leader(&self) -> Option<usize> {
        let leads = |process: &Process| {
            process
                .incarnation
                .as_ref()
                .is_some_and(|incarnation| incarnation.engine.lock().replica().role() == Role::Leading)
        };
        self.hosts.iter().position(|host| host.process.as_ref().is_some_and(leads))
    }

    /// Takes the quorum away from the leader: all other servers are paused or crash, or no server
    /// reaches another.
    fn lose_quorum(&mut self) {
        let (now_ms, leader) = (self.now_ms, self.leader());
        let others: Vec<usize> = (0..self.hosts.len()).filter(|&place| Some(place) != leader).collect();
        let pause_ms = self.long_or_short(6_000);
        match self.random.below(3) {
            0 => others.into_iter().for_each(|place| self.pause(place, pause_ms)),
            1 => {
                let running = others.into_iter().filter(|&place| self.hosts[place].process.is_some());
                running.collect::<Vec<_>>().into_iter().for_each(|place| self.crash(place));
            }
            _ => {
                let until_ms = now_ms + pause_ms;
                note(now_ms, 0, "nobody reaches anybody, until ms", [until_ms, 0]);
                self.trouble(until_ms);
                for from in 0..self.hosts.len() {
                    (0..self.hosts.len()).filter(|&to| to != from).for_each(|to| {
                        self.peer_network.block(from, to, until_ms, now_ms);
                    });
                    self.expiry.troubled(from, until_ms);
                }
            }
        }
    }

    /// Cuts a candidate off, so that it may receive one more promise, whose giver then loses its
    /// disk. The other servers hear of the candidate's ballot late, each at a different time.
    pub(super) fn cut_candidate(&mut self, me: usize) {
        let once_in = self.options.lost_promise_once_in;
        let (now_ms, count) = (self.now_ms, self.hosts.len());
        if once_in == 0 || self.settling || now_ms < self.cut_off_until_ms || !self.random.once_in(once_in) {
            return;
        }
        let giver = (me + 1 + self.random.place(count - 1)) % count;
        let (mut last_ms, rest_ms) = (now_ms, 20 * self.options.heartbeat_ms);
        for peer in (0..count).filter(|&peer| peer != me && peer != giver) {
            let until_ms = now_ms + self.random.within(rest_ms / 4, rest_ms);
            self.cut_off(me, peer, until_ms);
            last_ms = last_ms.max(until_ms);
        }
        self.cut_off_until_ms = last_ms;
        note(now_ms, me, "as a candidate is cut off from all but, until ms", [giver as u64 + 1, last_ms]);
        let at_ms = now_ms + self.random.within(1, 2 * self.options.heartbeat_ms);
        self.queue.plan(at_ms, Event::LosePromise { candidate: me, giver });
    }

    /// Makes a server forget a promise that no server but the candidate has heard of.
    pub(super) fn lose_promise(&mut self, candidate: usize, giver: usize) {
        if self.settling {
            return;
        }
        self.wipe(giver);
        // The server comes back while the candidate is cut off.
        let event = Event::Start(giver, self.hosts[giver].start);
        self.queue.plan(self.now_ms, event);
        let until_ms = self.now_ms + self.random.within(1, 40 * self.options.heartbeat_ms);
        self.cut_off(candidate, giver, until_ms);
    }

    /// Blocks both directions between two servers.
    fn cut_off(&mut self, one: usize, other: usize, until_ms: u64) {
        self.trouble(until_ms);
        for (from, to) in [(one, other), (other, one)] {
            self.peer_network.block(from, to, until_ms, self.now_ms);
            self.expiry.troubled(from, until_ms);
        }
    }

    /// Isolates server `me`, unless it leads or another server is cut off.
    fn isolate(&mut self, me: usize) {
        let now_ms = self.now_ms;
        let pairs = (0..self.hosts.len()).flat_map(|one| (0..one).map(move |other| (one, other)));
        if pairs.collect::<Vec<_>>().into_iter().any(|(one, other)| !self.peer_network.is_open(one, other, now_ms)) {
            return;
        }
        let incarnation = self.hosts[me].process.as_ref().and_then(|process| process.incarnation.as_ref());
        if incarnation.is_none_or(|incarnation| incarnation.engine.lock().replica().role() == Role::Leading) {
            return;
        }
        let until_ms = now_ms + self.options.isolation_ms;
        note(now_ms, me, "is cut off until ms", [until_ms, 0]);
        self.trouble(until_ms);
        for peer in (0..self.hosts.len()).filter(|&peer| peer != me) {
            self.peer_network.block(me, peer, until_ms, now_ms);
            self.peer_network.block(peer, me, until_ms, now_ms);
            self.expiry.troubled(peer, until_ms);
        }
        self.expiry.troubled(me, until_ms);
    }

    /// Blocks the paths from some servers to some others.
    fn partition(&mut self) {
        let (now_ms, count) = (self.now_ms, self.hosts.len());
        let until_ms = now_ms + self.long_or_short(6_000);
        let (one, other) = (self.random.place(count), self.random.place(count));
        let sides: Vec<bool> = (0..count).map(|_| self.random.once_in(2)).collect();
        let kind = self.random.below(5);
        self.trouble(until_ms);
        note(now_ms, one, "partition of kind, until ms", [kind, until_ms]);
        for from in 0..count {
            for to in (0..count).filter(|&to| to != from) {
                let blocked = match kind {
                    // One server alone.
                    0 => from == one || to == one,
                    // Two sides.
                    1 => sides[from] != sides[to],
                    // One direction.
                    2 => from == one && to == other,
                    // A chain: each server reaches only its neighbours.
                    3 => from.abs_diff(to) > 1,
                    // A hub: each server reaches only the hub.
                    _ => from != one && to != one,
                };
                if blocked {
                    self.peer_network.block(from, to, until_ms, now_ms);
                    self.expiry.troubled(from, until_ms);
                    self.expiry.troubled(to, until_ms);
                }
            }
        }
    }
}
