//! A run: servers, clients, virtual time, faults; then the faults stop, and all servers must agree
//! and become idle.
//!
//! Events happen at their virtual times; events at the same time happen in the order in which they
//! were planned. Invariant: no participant sees anything that happens after the moment of a crash.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::ops::Range;

use oxkeeper_replica::End;
use oxkeeper_replica::ensemble::{Replica, Role};
use oxkeeper_store::fake::FakeDisk;
use parking_lot::RwLock;

use super::Report;
use super::faults::Fault;
use super::options::Options;
use super::peer_network::PeerNetwork;
use super::server::{Birth, Host, Mode, NEVER, Process, Unfit};
use super::trace::{self, note};
use crate::check::expiry::Expiry;
use crate::check::history::History;
use crate::check::locals::Locals;
use crate::check::progress::Progress;
use crate::check::{Oracle, bounds, contents};
use crate::client::{Client, Habits, Nearby};
use crate::connections::{Connections, Surroundings, Witness};
use crate::host_clock::HostClock;
use crate::link::Network;
use crate::options::Bug;
use crate::random::Random;
use crate::request::Request;
use oxkeeper_state::{BallotId, Level, Settings};

/// Unix time at which every run begins, ms.
const EPOCH_MS: i64 = 1_700_000_000_000;
/// Virtual time within which everything must settle once the faults have stopped, ms.
const SETTLE_MS_MAX: u64 = 60_000;
/// Window below which the client's network alone makes clients wait, bytes.
const NARROW_LEN: u64 = 4 << 10;
/// Size allowed for a group of few entries, bytes.
const GROUP_LEN: u64 = 16 << 10;
/// Maximum interval between turns of a server's connections, ms.
const IO_INTERVAL_MS: u64 = 250;
/// Events between checks of the state that connections and the engine share; the checks are slow.
const SHARED_EVERY: u64 = 16;
/// Limit of events in one millisecond: more of them mean that servers answer each other in a loop.
const STEPS_PER_MS_MAX: u64 = 100_000;

/// Event of the simulation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Event {
    Engine(usize),
    Io(usize),
    Client(usize),
    Dial(usize, usize),
    Start(usize, u64),
    Fault(Fault),
    Checkpoint(usize, u64),
    LosePromise { candidate: usize, giver: usize },
    DiskHasRoom(usize),
}

/// Planned events.
#[derive(Debug, Default)]
pub(super) struct Queue {
    events: BinaryHeap<Reverse<(u64, u64, Event)>>,
    count: u64,
}

impl Queue {
    pub(super) fn plan(&mut self, at_ms: u64, event: Event) {
        self.count += 1;
        self.events.push(Reverse((at_ms, self.count, event)));
    }

    /// Wakes the engine at `at_ms` at the latest.
    pub(super) fn wake_engine(&mut self, host: &mut Host, place: usize, at_ms: u64) {
        if at_ms < host.engine_at_ms {
            host.engine_at_ms = at_ms;
            self.plan(at_ms, Event::Engine(place));
        }
    }
}

/// State of the whole simulation.
pub(super) struct World {
    pub(super) options: Options,
    pub(super) random: Random,
    pub(super) now_ms: u64,
    /// Events at the current time.
    steps_now: u64,
    pub(super) queue: Queue,
    pub(super) hosts: Vec<Host>,
    pub(super) peer_network: PeerNetwork,
    network: Network,
    pub(super) clients: Vec<Client>,
    /// Server to which each client is connected.
    places: Vec<usize>,
    client_at_ms: Vec<u64>,
    pub(super) oracle: Oracle,
    pub(super) history: History,
    pub(super) expiry: Expiry,
    pub(super) locals: Locals,
    pub(super) progress: Progress,
    /// Ballot of the last epoch in the trace.
    pub(super) epoch_told: Option<BallotId>,
    /// End of the last known disturbance, ms.
    pub(super) trouble_ms: u64,
    /// Time until which a candidate is cut off; only one is at a time.
    pub(super) cut_off_until_ms: u64,
    pub(super) settling: bool,
    /// Highest feature level that a leader has proposed.
    pub(super) raised: Level,
    pub(super) report: Report,
}

/// Runs one seed. Panics at the first broken promise.
pub fn run(options: &Options) -> Report {
    trace::clear();
    let mut world = World::new(options.clone());
    world.begin();
    world.go_on_until(options.run_ms);
    world.report.unsettled_epochs = world.epochs();
    world.progress.check(world.now_ms, world.epochs());
    world.settle();
    world.report()
}

/// Trims the log as the engine does.
fn trim(replica: &mut Replica, index: u64) {
    replica.trim(index);
    if let Some(work) = replica.begin_upkeep() {
        replica.finish_persist(work()).expect("there is room");
    }
}

fn habits(options: &Options) -> Habits {
    let Options { tick_ms, depth, delay_ms_max, local_sessions, .. } = *options;
    Habits { tick_ms, depth, delay_ms_max, agreed: true, local_sessions }
}

fn new_client(options: &Options, number: u64) -> Client {
    let client = Client::new();
    if number < options.read_only_clients { client.taking_read_only() } else { client }
}

fn changes_of(host: &Host) -> u64 {
    host.process.as_ref().map_or(0, |process| process.shared.read().state.voter_changes())
}

impl World {
    fn new(options: Options) -> World {
        let (servers, clients) = (options.hosts(), options.clients as usize);
        let Options { tick_ms, peer_delay_ms_max, disk_ms_max, .. } = options;
        let clocks = HostClock::choose(servers, options.seed, options.drift_ppm_max);
        let report_ms = 5 * peer_delay_ms_max + 6 * disk_ms_max + 15;
        World {
            random: Random::new(options.seed),
            now_ms: 0,
            steps_now: 0,
            queue: Queue::default(),
            hosts: clocks.iter().copied().map(Host::new).collect(),
            peer_network: {
                let one_lane = options.bug == Bug::OneLane;
                PeerNetwork::new(servers, options.peer_delay_ms_max, options.peer_bytes_per_ms, one_lane)
            },
            network: Network::new(options.window_len, options.delay_ms_max),
            clients: (0..options.clients).map(|client| new_client(&options, client)).collect(),
            places: vec![0; clients],
            client_at_ms: vec![NEVER; clients],
            oracle: Oracle::default(),
            history: History::default(),
            locals: Locals::default(),
            expiry: Expiry::new(clocks, tick_ms, report_ms),
            epoch_told: None,
            progress: Progress::new(servers, options.steady, options.lone_wipes, options.patience_ms()),
            trouble_ms: 0,
            cut_off_until_ms: 0,
            settling: false,
            raised: Level::NONE,
            report: Report::default(),
            options,
        }
    }

    fn begin(&mut self) {
        for place in 0..self.hosts.len() {
            self.hosts[place].initialize = self.options.initialize;
            self.hosts[place].wall_ahead_ms = self.random.within(0, 2_000) as i64 - 1_000;
            let at_ms = self.random.within(0, 200);
            self.queue.plan(at_ms, Event::Start(place, 0));
        }
        for client in 0..self.clients.len() {
            let at_ms = self.random.within(0, 1_000);
            self.wake_client(client, at_ms);
        }
        for fault in Fault::ALL {
            self.plan_fault(fault);
        }
    }

    pub(super) fn epochs(&self) -> u64 {
        (self.oracle.model.zxid() >> 32) as u64
    }

    fn report(&self) -> Report {
        let mut report = self.report;
        report.entries = self.history.len();
        report.commands = self.oracle.model.outcomes.len() as u64;
        report.epochs = self.epochs();
        report.sessions = self.oracle.model.ended.len() as u64;
        report.replies = self.clients.iter().map(|client| client.replies).sum();
        report.read_only_replies = self.clients.iter().map(|client| client.read_only_replies).sum();
        (report.local, report.upgraded, report.local_expired) =
            (self.locals.begun, self.locals.upgraded, self.locals.expired);
        report.events = self.clients.iter().map(|client| client.events).sum();
        report.configurations = self.hosts.iter().map(changes_of).max().unwrap_or_default();
        report.virtual_ms = self.now_ms;
        let digest =
            |host: &Host| host.process.as_ref().map_or(0, |process| process.shared.read().state.tree().digest());
        report.digest = self.hosts.first().map_or(0, digest);
        report
    }

    pub(super) fn wall_ms(&self, me: usize) -> i64 {
        EPOCH_MS + self.now_ms as i64 + self.hosts[me].wall_ahead_ms
    }

    /// Returns what a host's monotonic clock shows.
    pub(super) fn host_ms(&self, me: usize) -> u64 {
        self.hosts[me].clock.at(self.now_ms)
    }

    pub(super) fn wake_engine(&mut self, me: usize, at_ms: u64) {
        self.queue.wake_engine(&mut self.hosts[me], me, at_ms);
    }

    pub(super) fn wake_engine_when_due(&mut self, me: usize) {
        if let Some(due_ms) = self.peer_network.due_ms(me) {
            self.wake_engine(me, due_ms.max(self.now_ms));
        }
    }

    pub(super) fn wake_io(&mut self, me: usize, at_ms: u64) {
        let host = &mut self.hosts[me];
        if at_ms < host.io_at_ms {
            host.io_at_ms = at_ms;
            self.queue.plan(at_ms, Event::Io(me));
        }
    }

    fn wake_client(&mut self, client: usize, at_ms: u64) {
        if at_ms < self.client_at_ms[client] {
            self.client_at_ms[client] = at_ms;
            self.queue.plan(at_ms, Event::Client(client));
        }
    }

    fn go_on_until(&mut self, until_ms: u64) {
        while self.queue.events.peek().is_some_and(|Reverse((at_ms, ..))| *at_ms <= until_ms) {
            self.step();
        }
        self.now_ms = self.now_ms.max(until_ms);
    }

    /// Processes the next event, and checks the state that it left.
    pub(super) fn step(&mut self) {
        // Clients and their connections do not touch a replica.
        let changed = match self.queue.events.peek() {
            Some(Reverse((_, _, Event::Engine(me) | Event::Checkpoint(me, _)))) => *me..*me + 1,
            Some(Reverse((_, _, Event::Fault(_) | Event::Start(..) | Event::LosePromise { .. }))) => {
                0..self.hosts.len()
            }
            Some(Reverse((_, _, Event::Io(_) | Event::Client(_) | Event::Dial(..) | Event::DiskHasRoom(_)))) | None => {
                0..0
            }
        };
        self.next_event();
        let looks_at_shared = self.report.steps.is_multiple_of(SHARED_EVERY);
        for me in changed {
            let Some(Process { incarnation: Some(incarnation), shared, .. }) = &self.hosts[me].process else {
                continue;
            };
            if self.options.check {
                incarnation.engine.lock().replica_mut().check();
            }
            if looks_at_shared {
                let shared = shared.read();
                shared.check();
                self.locals.check_count(me, shared.sessions.lock().local.len());
            }
        }
    }

    fn next_event(&mut self) {
        let Some(Reverse((at_ms, _, event))) = self.queue.events.pop() else { unreachable!("servers always wake up") };
        let is_later = at_ms > self.now_ms;
        self.steps_now = if is_later { 0 } else { self.steps_now + 1 };
        assert!(self.steps_now < STEPS_PER_MS_MAX, "servers go on saying something, and time does not: {event:?}");
        self.now_ms = self.now_ms.max(at_ms);
        self.report.steps += 1;
        match event {
            Event::Engine(me) => {
                if self.hosts[me].engine_at_ms != at_ms {
                    return;
                }
                self.hosts[me].engine_at_ms = NEVER;
                if self.hosts[me].paused_until_ms > self.now_ms {
                    return self.wake_engine(me, self.hosts[me].paused_until_ms);
                }
                self.engine_turn(me);
            }
            Event::Io(me) => {
                if self.hosts[me].io_at_ms == at_ms {
                    self.hosts[me].io_at_ms = NEVER;
                    self.io_turn(me);
                }
            }
            Event::Client(client) => {
                if self.client_at_ms[client] == at_ms {
                    self.client_at_ms[client] = NEVER;
                    self.client_turn(client);
                }
            }
            Event::Dial(me, peer) => self.dial(me, peer),
            Event::Start(me, start) => {
                if self.hosts[me].process.is_none() && self.hosts[me].start == start {
                    self.start(me);
                }
            }
            Event::Fault(fault) => {
                if !self.settling {
                    self.fault(fault);
                    self.plan_fault(fault);
                }
            }
            Event::Checkpoint(me, start) => {
                if self.hosts[me].start == start && self.hosts[me].process.is_some() {
                    self.checkpoint(me);
                    self.plan_checkpoint(me);
                }
            }
            Event::LosePromise { candidate, giver } => self.lose_promise(candidate, giver),
            Event::DiskHasRoom(me) => {
                if self.hosts[me].full_until_ms.is_some_and(|until_ms| until_ms <= self.now_ms) {
                    self.hosts[me].full_until_ms = None;
                    self.hosts[me].disk.set_room(None);
                    self.trouble(self.now_ms);
                }
            }
        }
    }

    fn plan_checkpoint(&mut self, me: usize) {
        let after_ms = self.random.within(1, 2 * self.options.checkpoint_every_ms);
        self.queue.plan(self.now_ms + after_ms, Event::Checkpoint(me, self.hosts[me].start));
    }

    /// Takes a turn of all connections of a server.
    fn io_turn(&mut self, me: usize) {
        let of = if self.options.bug == Bug::ForeignClock { (me + 1) % self.hosts.len() } else { me };
        let (now_ms, host_ms) = (self.now_ms, self.host_ms(of));
        if self.hosts[me].paused_until_ms > now_ms {
            return self.wake_io(me, self.hosts[me].paused_until_ms);
        }
        let Some(process) = &mut self.hosts[me].process else { return };
        let mut ears = Ears { expiry: &mut self.expiry, locals: &mut self.locals, server: me };
        let shared = process.shared.read();
        let mut surroundings = Surroundings {
            shared: &shared,
            now_ms,
            host_ms,
            random: &mut self.random,
            network: &mut self.network,
            witness: &mut ears,
            bug: self.options.bug,
        };
        process.connections.all_turns(&mut surroundings);
        let due_ms = process.connections.due_ms(&mut self.network);
        let waits = !process.connections.waiting.is_empty();
        drop(shared);
        if waits {
            self.wake_engine(me, now_ms);
        }
        self.wake_io(me, due_ms.unwrap_or(NEVER).max(now_ms + 1).min(now_ms + IO_INTERVAL_MS));
        for client in 0..self.clients.len() {
            if self.places[client] == me {
                self.wake_client_when_due(client);
            }
        }
    }

    fn wake_client_when_due(&mut self, client: usize) {
        if let Some(link) = self.clients[client].link()
            && let Some(due_ms) = self.network.link(link).down.due_ms()
        {
            self.wake_client(client, due_ms.max(self.now_ms + 1));
        }
    }

    fn client_turn(&mut self, client: usize) {
        let think_ms_max = self.options.think_ms_max;
        let mut nearby = Nearby {
            now_ms: self.now_ms,
            random: &mut self.random,
            network: &mut self.network,
            oracle: &mut self.oracle,
            habits: habits(&self.options),
            settling: self.settling,
        };
        if let Some(link) = self.clients[client].turn(&mut nearby, true) {
            let place = self.random.place(self.hosts.len());
            self.places[client] = place;
            let host_ms = self.host_ms(place);
            match &mut self.hosts[place].process {
                Some(process) => process.connections.accept(link, host_ms),
                None => {
                    self.network.link(link).up.end(self.now_ms);
                    self.network.link(link).down.end(self.now_ms);
                }
            }
        }
        if self.clients[client].is_done() {
            return;
        }
        self.check_patience(client);
        if let Some(link) = self.clients[client].link() {
            let due_ms = self.network.link(link).up.due_ms().unwrap_or(self.now_ms);
            self.wake_io(self.places[client], due_ms.max(self.now_ms));
        }
        let again_ms = self.now_ms + self.random.within(1, think_ms_max);
        let away_ms = self.clients[client].away_until_ms().unwrap_or(0);
        self.wake_client(client, again_ms.max(away_ms));
        self.wake_client_when_due(client);
    }

    /// Makes a client send a request in addition to its own. Returns whether the client is
    /// connected.
    pub(super) fn ask(&mut self, client: usize, request: Request) -> bool {
        let mut nearby = Nearby {
            now_ms: self.now_ms,
            random: &mut self.random,
            network: &mut self.network,
            oracle: &mut self.oracle,
            habits: habits(&self.options),
            settling: self.settling,
        };
        let asked = self.clients[client].ask_also(request, &mut nearby);
        self.wake_client(client, self.now_ms);
        asked
    }

    /// Describes a client's connection as its server sees it.
    fn seat_of(&self, client: usize) -> String {
        let process = self.hosts[self.places[client]].process.as_ref();
        process
            .zip(self.clients[client].link())
            .map_or(String::new(), |(process, link)| process.connections.describe(link))
    }

    /// Checks the promise that clients get replies when nothing has been wrong for a while.
    fn check_patience(&mut self, client: usize) {
        let Some(asked_ms) = self.clients[client].waits_since_ms() else { return };
        let Some(link) = self.clients[client].link().map(|link| self.network.link(link)) else { return };
        // A client may learn late that its connection has broken, and a narrow connection carries
        // little.
        if self.options.window_len <= NARROW_LEN || link.up.has_ended() || link.down.has_ended() {
            return;
        }
        let since_ms = asked_ms.max(self.trouble_ms);
        let patience_ms = self.options.patience_ms();
        assert!(
            self.now_ms <= since_ms + patience_ms,
            "liveness: client {client} at server {} waits since {asked_ms}, nothing is wrong since {}: {}; {}",
            self.places[client] + 1,
            self.trouble_ms,
            self.seat_of(client),
            self.roles()
        );
    }

    /// Notes a disturbance that lasts until `until_ms`.
    pub(super) fn trouble(&mut self, until_ms: u64) {
        self.trouble_ms = self.trouble_ms.max(until_ms);
    }

    /// Plans a dial between two servers, by the one with the smaller place.
    pub(super) fn dial_soon(&mut self, one: usize, other: usize) {
        let at_ms = self.now_ms + self.random.within(1, 100);
        self.queue.plan(at_ms, Event::Dial(one.min(other), one.max(other)));
    }

    fn dial(&mut self, me: usize, peer: usize) {
        let now_ms = self.now_ms;
        let alive = |host: &Host| host.process.as_ref().is_some_and(|process| process.incarnation.is_some());
        if !alive(&self.hosts[me]) || self.peer_network.is_linked(me, peer) {
            return;
        }
        let paused = self.hosts[me].paused_until_ms.max(self.hosts[peer].paused_until_ms) > now_ms;
        if paused || !alive(&self.hosts[peer]) || !self.peer_network.may_dial(me, peer, now_ms) {
            return self.dial_soon(me, peer);
        }
        self.peer_network.connect(me, peer, now_ms, &mut self.random);
        self.wake_engine_when_due(me);
        self.wake_engine_when_due(peer);
    }

    pub(super) fn birth(&self, me: usize, seed: u64, wall_ms: i64, initialize: bool) -> Birth<'_> {
        let (options, now_ms, disk) = (&self.options, self.host_ms(me), &self.hosts[me].disk);
        let knows = self.hosts[me].knows;
        Birth { place: me, options, seed, now_ms, wall_ms, disk, initialize, knows }
    }

    /// Starts a process. A crash may happen during the start.
    fn start(&mut self, me: usize) {
        let now_ms = self.now_ms;
        if self.hosts[me].paused_until_ms > now_ms {
            let event = Event::Start(me, self.hosts[me].start);
            return self.queue.plan(self.hosts[me].paused_until_ms, event);
        }
        if let Some(until_ms) = self.still_recovers(me) {
            return self.queue.plan(until_ms, Event::Start(me, self.hosts[me].start));
        }
        if self.random.once_in(10) && !self.settling && self.options.crash_every_ms > 0 {
            let operation = self.hosts[me].disk.operations() + self.random.below(12);
            self.plan_crash(me, operation);
        }
        let initialize = self.hosts[me].initialize;
        self.hosts[me].start += 1;
        self.choose_release(me);
        let (seed, wall_ms) = (self.random.any(), self.wall_ms(me));
        let birth = self.birth(me, seed, wall_ms, initialize);
        let recovered = birth.recover().map(|(incarnation, state)| {
            let shared = birth.share(state, &incarnation);
            (incarnation, shared)
        });
        if self.hosts[me].has_crashed() {
            return self.crash(me);
        }
        let (incarnation, shared) = match recovered {
            Ok(recovered) => recovered,
            Err(Unfit::Newer(needs)) => {
                self.note_outdated(me, needs);
                return self.queue.plan(now_ms + 100, Event::Start(me, self.hosts[me].start));
            }
            Err(Unfit::Full) => {
                // There is no room: some will be freed, and until then the server retries.
                assert!(self.hosts[me].full_until_ms.is_some(), "recovery: a server does not start without a reason");
                return self.queue.plan(now_ms + 100, Event::Start(me, self.hosts[me].start));
            }
        };
        self.trouble(now_ms);
        note(now_ms, me, "starts, applied", [incarnation.engine.lock().replica().applied(), self.hosts[me].start]);
        self.report.starts += 1;
        let threads = self.options.threads as usize;
        // Clients may change the voters.
        let settings = Settings::RECONFIG.with(Settings::SKIP_ACL);
        let connections = Connections::new(threads, self.options.tick_ms, settings, true, self.options.local_sessions);
        let (shared, mode) = (RwLock::new(shared), Mode::Ready);
        self.hosts[me].process = Some(Process { shared, connections, incarnation: Some(incarnation), mode });
        self.check_recovered(me);
        (0..self.hosts.len()).filter(|&peer| peer != me).for_each(|peer| self.dial_soon(me, peer));
        self.plan_checkpoint(me);
        self.wake_engine(me, now_ms);
        self.wake_io(me, now_ms + IO_INTERVAL_MS);
    }

    /// Checks that the state which a server recovered from its disk is part of the history.
    pub(super) fn check_recovered(&mut self, me: usize) {
        let Some(Process { shared, incarnation: Some(incarnation), .. }) = &self.hosts[me].process else { return };
        let mut engine = incarnation.engine.lock();
        let replica = engine.replica_mut();
        let applied = replica.applied();
        let (history, oracle) = (&mut self.history, &mut self.oracle);
        replica.with_journal(|journal| {
            let mut index = journal.first_index();
            journal.read(index..applied.max(index), &mut |entry| {
                history.applied(me, index, entry, oracle);
                index += 1;
            });
        });
        let shared = shared.read();
        history.stands(me, applied, &shared.state);
        for (id, session) in shared.state.sessions().iter() {
            self.expiry.begun(id.0, session.timeout_ms as u64, me, self.now_ms);
        }
    }

    /// Plans a crash at a later disk operation.
    pub(super) fn plan_crash(&mut self, me: usize, operation: u64) {
        let power = self.random.once_in(2);
        let host = &mut self.hosts[me];
        if host.crash_at.is_none() {
            host.disk.crash_at(operation);
            host.crash_at = Some((operation, power));
        }
    }

    /// Stops the server and cuts every connection. The disk keeps what it had at the moment of the
    /// crash.
    pub(super) fn crash(&mut self, me: usize) {
        let now_ms = self.now_ms;
        let planned = self.hosts[me].crash_at.take();
        let power = planned.map_or_else(|| self.random.once_in(2), |(_, power)| power);
        note(now_ms, me, if power { "loses power" } else { "is killed" }, [0; 2]);
        self.hosts[me].note_what_to_recover();
        self.hosts[me].recovers_until_ms = None;
        if let Some(process) = self.hosts[me].process.take() {
            for link in process.connections.links() {
                self.network.cut(link, now_ms, &mut self.random);
            }
        }
        self.peer_network.die(me, power, now_ms, &mut self.random);
        for peer in 0..self.hosts.len() {
            self.wake_engine_when_due(peer);
        }
        self.end_states_of(me);
        self.expiry.gone(me, now_ms);
        self.locals.gone(me);
        let seed = self.random.any();
        let host = &mut self.hosts[me];
        host.disk = if power { host.disk.crash(seed) } else { host.disk.kill() };
        if power {
            host.full_until_ms = None;
        }
        self.report.crashes += 1;
        self.trouble(now_ms);
        for client in 0..self.clients.len() {
            self.wake_client_when_due(client);
        }
        let down_ms = match self.random.below(4) {
            0 => 0,
            1 | 2 => self.random.within(0, 500),
            _ => self.random.within(0, 3_000),
        };
        let down_ms = if self.settling { 0 } else { down_ms };
        self.queue.plan(now_ms + down_ms, Event::Start(me, self.hosts[me].start));
    }

    /// Makes power fail at all servers.
    pub(super) fn black_out(&mut self) {
        for me in 0..self.hosts.len() {
            if self.hosts[me].process.is_some() {
                self.hosts[me].crash_at = Some((0, true));
                self.crash(me);
            }
        }
    }

    /// Ends the state transfers that this server is sending.
    pub(super) fn end_states_of(&mut self, me: usize) {
        for host in &mut self.hosts {
            if let Some(Process { mode: Mode::Installing(install), .. }) = &mut host.process
                && install.from == me
            {
                install.until_ms = 0;
                install.sender = None;
            }
        }
    }

    /// Stops the faults. All participants must come back, every request must be answered, every
    /// session must end, and nothing may be left over.
    fn settle(&mut self) {
        self.stop_faults();
        self.upgrade_all();
        self.until("all servers serve and agree", World::agrees);
        self.until("the feature level is raised", |world| world.agrees() && world.is_upgraded());
        self.until("answers", |world| world.clients.iter().all(Client::is_settled));
        for client in 0..self.clients.len() {
            let mut nearby = Nearby {
                now_ms: self.now_ms,
                random: &mut self.random,
                network: &mut self.network,
                oracle: &mut self.oracle,
                habits: habits(&self.options),
                settling: true,
            };
            self.clients[client].finish(&mut nearby);
            self.wake_client(client, self.now_ms);
        }
        self.until("sessions end", |world| {
            world.oracle.model.sessions.is_empty() && world.is_empty() && world.agrees()
        });
        self.check_end();
        // Check once more, with states recovered from the disks alone.
        self.black_out();
        self.until("restart", World::agrees);
        self.check_end();
    }

    fn stop_faults(&mut self) {
        self.settling = true;
        let now_ms = self.now_ms;
        let Options { disk_ms_max, heartbeat_ms, .. } = self.options;
        (self.options.disk_ms_min, self.options.disk_ms_max) = (0, disk_ms_max.min(heartbeat_ms / 5));
        self.peer_network.heal(now_ms);
        self.trouble_ms = now_ms;
        self.expiry.healed(now_ms);
        for me in 0..self.hosts.len() {
            let host = &mut self.hosts[me];
            host.disk.crash_at(u64::MAX);
            host.disk.set_room(None);
            host.crash_at = None;
            host.full_until_ms = None;
            (host.paused_until_ms, host.stalled_until_ms) = (0, 0);
            (host.engine_at_ms, host.io_at_ms) = (NEVER, NEVER);
            if let Some(Process { mode, .. }) = &mut host.process
                && let Mode::Persisting(until_ms) = mode
            {
                *until_ms = now_ms;
            }
            if host.process.is_none() {
                let event = Event::Start(me, host.start);
                self.queue.plan(now_ms, event);
            }
            self.wake_engine(me, now_ms);
            self.wake_io(me, now_ms);
        }
        self.clients.iter_mut().for_each(|client| client.pause(0));
        (0..self.clients.len()).for_each(|client| self.wake_client(client, now_ms));
    }

    /// Returns whether one server leads, all others follow it, all serve, and all have applied
    /// everything.
    fn agrees(&self) -> bool {
        let mut leaders = 0;
        let all = self.hosts.iter().all(|host| {
            let Some(Process { incarnation: Some(incarnation), connections, .. }) = &host.process else { return false };
            let engine = incarnation.engine.lock();
            let replica = engine.replica();
            leaders += usize::from(replica.role() == Role::Leading);
            let quiet = replica.waiting_len() == 0 && connections.is_idle();
            quiet && replica.is_serving() && replica.applied() == self.history.len() && replica.is_durable()
        });
        all && leaders == 1
    }

    fn is_empty(&self) -> bool {
        let is_empty = |process: &Process| {
            process.connections.links().is_empty() && process.shared.read().sessions.lock().local.is_empty()
        };
        self.locals.is_empty() && self.hosts.iter().all(|host| host.process.as_ref().is_some_and(is_empty))
    }

    fn until(&mut self, what: &str, done: impl Fn(&World) -> bool) {
        let until_ms = self.now_ms + SETTLE_MS_MAX;
        while !done(self) {
            assert!(
                self.now_ms < until_ms,
                "liveness: without faults, {what} within {SETTLE_MS_MAX} ms: {}",
                self.roles()
            );
            self.step();
        }
    }

    fn roles(&self) -> String {
        let role = |host: &Host| {
            let Some(Process { incarnation: Some(incarnation), mode, .. }) = &host.process else {
                return "down".to_owned();
            };
            let engine = incarnation.engine.lock();
            let replica = engine.replica();
            format!("{:?} {mode:?} serving {} applied {}", replica.role(), replica.is_serving(), replica.applied())
        };
        let roles: Vec<_> = self.hosts.iter().map(role).collect();
        let connections = |process: &Process| {
            let links = process.connections.links();
            links.into_iter().map(|link| process.connections.describe(link)).collect::<Vec<_>>()
        };
        let links: Vec<_> = self.hosts.iter().map(|host| host.process.as_ref().map(connections)).collect();
        let sessions: Vec<_> = self.oracle.model.sessions.iter().map(|session| format!("{session:x}")).collect();
        format!("{}; history {}, links {links:?}, sessions {sessions:?}", roles.join("; "), self.history.len())
    }

    fn check_end(&mut self) {
        for me in 0..self.hosts.len() {
            let process = self.hosts[me].process.as_mut().expect("it runs");
            let shared = process.shared.get_mut();
            bounds::check_idle(shared);
            shared.state.check();
            contents::check(&shared.state, &self.oracle.model);
            self.oracle.check_seen(shared.state.zxid().0);
        }
        self.check_logs();
    }

    /// Checks that the log is as short as it may be after a checkpoint and a trim.
    fn check_logs(&mut self) {
        let trims = if self.options.bug == Bug::NeverTrim { 0 } else { 2_000 };
        let Options { log_window_len, segment_len, .. } = self.options;
        for me in 0..self.hosts.len() {
            // Other events happen during a checkpoint: the disk work that they leave comes first,
            // then the next checkpoint.
            self.until("all is durable", World::agrees);
            self.checkpoint(me);
            self.until("all is durable", World::agrees);
            let Some(Process { incarnation: Some(incarnation), .. }) = &self.hosts[me].process else {
                unreachable!("it runs")
            };
            let mut engine = incarnation.engine.lock();
            let replica = engine.replica_mut();
            // Each call removes a few segments.
            (0..trims).for_each(|_| trim(replica, incarnation.committed));
            let (first, end) = replica.with_journal(|journal| (journal.first_index(), journal.next_index()));
            let kept = self.history.len_of(first..end.min(self.history.len()));
            let end_of_history = self.history.len();
            let len_of = |group: &Range<u64>| {
                self.history.len_of(group.start.min(end_of_history)..group.end.min(end_of_history))
            };
            let group_len = self.hosts[me].groups.iter().map(len_of).max().unwrap_or(0).max(GROUP_LEN);
            // The window is counted in segments, each of which may end with a long group.
            let most = (log_window_len / segment_len + 3) * (segment_len + group_len);
            assert!(kept <= most, "bounds: the log of server {} keeps {kept} bytes, entries {first}..{end}", me + 1);
        }
    }

    /// Breaks a client's connection.
    pub(super) fn cut_client(&mut self, client: usize) {
        if let Some(link) = self.clients[client].link() {
            self.network.cut(link, self.now_ms, &mut self.random);
            self.wake_client_when_due(client);
            self.wake_io(self.places[client], self.now_ms);
        }
    }

    /// Returns whether a majority of the voters keep their disks if this server loses its own. That
    /// must hold in each configuration that any server is in, since each of them may have decided
    /// something that counts.
    fn may_lose_disk(&self, me: usize) -> bool {
        if self.hosts[me].blank {
            return false;
        }
        let keeps = |place: &usize| *place != me && !self.hosts[*place].blank;
        let founders: Vec<usize> = (0..self.options.founders as usize).collect();
        if self.options.reconfig_every_ms == 0 {
            return founders.iter().copied().filter(keeps).count() > founders.len() / 2;
        }
        // The next configuration may have only three voters.
        let is_alone = self.hosts.iter().all(|host| !host.blank);
        is_alone
            && self.hosts.iter().all(|host| {
                let incarnation = host.process.as_ref().and_then(|process| process.incarnation.as_ref());
                let Some(incarnation) = incarnation else { return false };
                let voters = incarnation.engine.lock().replica().configuration().voters.clone();
                let places = voters.iter().map(|&voter| self.options.place(voter));
                // A voter of two cannot come back without the other.
                places.filter(keeps).count() > voters.len() / 2
            })
    }

    /// Replaces a server's disk with an empty one.
    pub(super) fn wipe(&mut self, me: usize) {
        if !self.may_lose_disk(me) {
            return;
        }
        self.hosts[me].crash_at = Some((0, true));
        self.crash(me);
        note(self.now_ms, me, "loses its disk", [0; 2]);
        (self.hosts[me].disk, self.hosts[me].to_recover) = (FakeDisk::new(), 0);
        self.hosts[me].groups.clear();
        (self.hosts[me].blank, self.hosts[me].lost) = (true, true);
        self.report.wipes += 1;
    }
}

/// Observer of what a server's connections receive.
struct Ears<'a> {
    expiry: &'a mut Expiry,
    locals: &'a mut Locals,
    server: usize,
}

impl Witness for Ears<'_> {
    fn attached(&mut self, _session: i64, _timeout_ms: i32, _now_ms: u64) {}

    fn attached_local(&mut self, session: i64, timeout_ms: i32, now_ms: u64) {
        self.locals.attached(session, self.server, timeout_ms, now_ms);
    }

    fn upgraded(&mut self, session: i64) {
        self.locals.upgraded(session);
    }

    fn heard(&mut self, session: i64, now_ms: u64) {
        self.expiry.heard(session, self.server, now_ms);
        self.locals.heard(session, self.server, now_ms);
    }

    fn closing(&mut self, session: i64) {
        self.locals.closed(session);
    }

    fn ends(&mut self, end: &End) {
        if let End::SessionExpired(session) = end {
            return self.locals.check_over(session.0, self.server);
        }
        let expected = matches!(
            end,
            End::SessionClosed
                | End::Disconnected
                | End::NotServing
                | End::ZxidAhead { .. }
                | End::ServesReadOnly
                | End::SessionOfEnsemble(_)
        );
        assert!(expected, "a server ends a connection: {end}");
    }
}
