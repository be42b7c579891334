//! A run: one server, its clients, virtual time, and faults; then the faults stop and everything
//! must settle.
//!
//! Each step is one turn of one participant, chosen by the seed. Invariant: no participant sees
//! anything that happens after the moment of a crash.

use std::fmt;
use std::path::Path;

use oxkeeper_durable::checkpoint::{put_head, put_znodes};
use oxkeeper_replica::LocalSessions;
use oxkeeper_store::fake::FakeDisk;
use oxkeeper_store::{Disk, StoreError, TreeWriter};

use crate::check::{Checks, bounds, contents};
use crate::client::{Client, Habits, Nearby};
use crate::figures::{self, Count};
use crate::link::Network;
use crate::options::{Bug, Options};
use crate::random::Random;
use crate::server::{Around, DATA_DIR, LOG_DIR, Server};

/// Number of steps within which everything must settle once the faults have stopped.
const SETTLE_STEPS_MAX: u64 = 60_000;
/// Unix time at which every run begins, ms.
const EPOCH_MS: i64 = 1_700_000_000_000;

/// Results of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Commands applied.
    pub commands: u64,
    /// Replies checked.
    pub replies: u64,
    /// Events checked.
    pub events: u64,
    /// Times the server started.
    pub starts: u64,
    /// Power failures.
    pub power_losses: u64,
    /// Checkpoints committed.
    pub checkpoints: u64,
    /// Checkpoints that failed or were interrupted.
    pub checkpoints_lost: u64,
    /// Sessions that existed.
    pub sessions: u64,
    /// Virtual time, ms.
    pub virtual_ms: u64,
    /// Digest of the final tree.
    pub digest: u64,
}

impl Report {
    /// Returns a sentence which states that `seeds` seeds kept every promise, and what the runs
    /// did.
    pub fn verdict(&self, seeds: u64) -> String {
        format!(
            "{}, no promise broken; {} commands, {} starts, {} power failures, {} replies and {} events checked, \
             {} simulated seconds",
            figures::seeds(seeds),
            Count(self.commands),
            Count(self.starts),
            Count(self.power_losses),
            Count(self.replies),
            Count(self.events),
            Count(self.virtual_ms / 1_000),
        )
    }

    /// Adds the results of another run.
    pub fn add(&mut self, other: &Report) {
        self.commands += other.commands;
        self.replies += other.replies;
        self.events += other.events;
        self.starts += other.starts;
        self.power_losses += other.power_losses;
        self.checkpoints += other.checkpoints;
        self.checkpoints_lost += other.checkpoints_lost;
        self.sessions += other.sessions;
        self.virtual_ms += other.virtual_ms;
        self.digest ^= other.digest;
    }
}

impl fmt::Display for Report {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        figures::write_all(
            formatter,
            &[
                ("commands applied", self.commands),
                ("replies checked", self.replies),
                ("events checked", self.events),
                ("starts", self.starts),
                ("power failures", self.power_losses),
                ("checkpoints", self.checkpoints),
                ("checkpoints lost", self.checkpoints_lost),
                ("sessions", self.sessions),
                ("ms of virtual time", self.virtual_ms),
            ],
        )?;
        write!(formatter, ", tree digest {:016x}", self.digest)
    }
}

/// State of the whole simulation.
struct World {
    options: Options,
    random: Random,
    now_ms: u64,
    wall_ahead_ms: i64,
    disk: FakeDisk,
    full_until_ms: Option<u64>,
    /// Disk operation at which the machine stops, and whether power fails.
    crash_at: Option<(u64, bool)>,
    server: Option<Server>,
    down_until_ms: u64,
    /// Whether a checkpoint waits for the engine to release the state.
    checkpoint_due: bool,
    /// Whether a checkpoint is in progress: there is no restart during it, and no second one.
    within_checkpoint: bool,
    settling: bool,
    network: Network,
    clients: Vec<Client>,
    checks: Checks,
    report: Report,
}

/// Runs one seed. Panics at the first broken promise.
pub fn run(options: &Options) -> Report {
    let mut world = World::new(options.clone());
    for _ in 0..options.steps {
        world.fault();
        world.step();
    }
    world.settle();
    world.report()
}

impl World {
    fn new(options: Options) -> World {
        World {
            random: Random::new(options.seed),
            now_ms: 0,
            wall_ahead_ms: 0,
            disk: FakeDisk::new(),
            full_until_ms: None,
            crash_at: None,
            server: None,
            down_until_ms: 0,
            checkpoint_due: false,
            within_checkpoint: false,
            settling: false,
            network: Network::new(options.window_len, options.delay_ms_max),
            clients: (0..options.clients).map(|_| Client::new()).collect(),
            checks: Checks::new(options.tick_ms),
            report: Report::default(),
            options,
        }
    }

    fn report(&self) -> Report {
        let mut report = self.report.clone();
        report.commands = self.checks.oracle.model.zxid() as u64;
        report.sessions = self.checks.oracle.model.ended.len() as u64;
        report.replies = self.clients.iter().map(|client| client.replies).sum();
        report.events = self.clients.iter().map(|client| client.events).sum();
        report.virtual_ms = self.now_ms;
        report.digest = self.server.as_ref().map_or(0, |server| server.shared.read().state.tree().digest());
        report
    }

    /// Takes one turn of one participant.
    fn step(&mut self) {
        self.now_ms += self.random.within(0, self.options.step_ms_max);
        if self.full_until_ms.is_some_and(|until_ms| self.now_ms >= until_ms) {
            self.full_until_ms = None;
            self.disk.set_room(None);
        }
        if self.server.is_none() && !self.within_checkpoint && self.now_ms >= self.down_until_ms {
            return self.start();
        }
        match self.random.below(10 + self.options.engine_turns) {
            0..=4 => self.client_turn(),
            5..=9 => self.with_server(Server::io_turn),
            _ => {
                self.with_server(Server::engine_turn);
                if self.checkpoint_due {
                    self.checkpoint();
                }
            }
        }
    }

    fn client_turn(&mut self) {
        let place = self.random.place(self.clients.len());
        let (server_is_up, now_ms) = (self.server.is_some(), self.now_ms);
        let link = with_client(self, place, |client, nearby| client.turn(nearby, server_is_up));
        if let (Some(link), Some(server)) = (link, &mut self.server) {
            server.connections.accept(link, now_ms);
        }
    }

    /// Takes a turn of the server if it runs. A planned crash may happen during the turn.
    fn with_server(&mut self, turn: impl FnOnce(&mut Server, &mut Around<'_>)) {
        let Some(mut server) = self.server.take() else { return };
        let mut around = self.around();
        turn(&mut server, &mut around);
        let crashed = around.crashed;
        self.server = Some(server);
        if crashed {
            self.crash();
        }
    }

    fn around(&mut self) -> Around<'_> {
        Around {
            now_ms: self.now_ms,
            wall_ms: EPOCH_MS + self.now_ms as i64 + self.wall_ahead_ms,
            random: &mut self.random,
            network: &mut self.network,
            checks: &mut self.checks,
            options: &self.options,
            crashed: false,
            crash_at: self.crash_at.map(|(operation, _)| operation),
            disk: &self.disk,
        }
    }

    /// Injects the faults that the seed chooses for this step.
    fn fault(&mut self) {
        let Options { kill_every, power_every, .. } = self.options;
        let kill = self.random.once_in(kill_every);
        if kill || self.random.once_in(power_every) {
            self.plan_crash(!kill);
        }
        if self.random.once_in(self.options.full_every) && self.full_until_ms.is_none() {
            let room = self.random.one_of(&[0, 512, 4 << 10, 100 << 10]);
            self.disk.set_room(Some(self.disk.used() + room));
            self.full_until_ms = Some(self.now_ms + self.random.within(1, 3_000));
        }
        if self.random.once_in(self.options.cut_every) {
            let place = self.random.place(self.clients.len());
            if let Some(link) = self.clients[place].link() {
                self.network.cut(link, self.now_ms, &mut self.random);
            }
        }
        if self.random.once_in(self.options.client_pause_every) {
            let place = self.random.place(self.clients.len());
            let until_ms = self.now_ms + self.random.within(1, 30 * self.options.tick_ms);
            self.clients[place].pause(until_ms);
        }
        if self.random.once_in(self.options.server_pause_every) && self.server.is_some() {
            let pause_ms = self.random.within(1, 60 * self.options.tick_ms);
            self.now_ms += pause_ms;
            self.checks.sessions.paused(pause_ms);
        }
        if self.random.once_in(self.options.wall_jump_every) {
            self.wall_ahead_ms += self.random.within(0, 200_000) as i64 - 100_000;
        }
        self.checkpoint_due |= self.random.once_in(self.options.checkpoint_every);
    }

    /// Crashes the server now, or plans a crash in one of the next disk operations.
    fn plan_crash(&mut self, power: bool) {
        if self.server.is_none() || self.crash_at.is_some() {
            return;
        }
        if self.random.once_in(4) {
            self.crash_at = Some((0, power));
            return self.crash();
        }
        let operation = self.disk.operations() + self.random.below(40);
        self.disk.crash_at(operation);
        self.crash_at = Some((operation, power));
    }

    /// Stops the server and cuts every connection. The disk keeps what it had at the moment of the
    /// crash.
    fn crash(&mut self) {
        let (_, power) = self.crash_at.take().expect("it was planned");
        let links = self.server.take().map_or(Vec::new(), |server| server.links());
        links.into_iter().for_each(|link| self.network.cut(link, self.now_ms, &mut self.random));
        self.disk = if power { self.disk.crash(self.random.any()) } else { self.disk.kill() };
        if power {
            self.full_until_ms = None;
            self.report.power_losses += 1;
        }
        self.down_until_ms = self.now_ms + self.random.within(0, 300);
    }

    /// Starts the server. Another crash may happen during the start.
    fn start(&mut self) {
        if self.random.once_in(8) && !self.settling && self.crash_at.is_none() {
            let operation = self.disk.operations() + self.random.below(12);
            self.disk.crash_at(operation);
            self.crash_at = Some((operation, self.random.once_in(2)));
        }
        let mut around = self.around();
        let started = Server::start(&mut around);
        let crashed = around.check_crash();
        self.server = started;
        if crashed {
            return self.crash();
        }
        let Some(server) = &self.server else {
            // There is no room: some will be freed, and until then the server retries.
            assert!(self.full_until_ms.is_some(), "a server does not start without a reason");
            self.down_until_ms = self.now_ms + 100;
            return;
        };
        self.report.starts += 1;
        let (applied, shared, log) = (server.progress.applied, server.shared.read(), &server.log);
        shared.state.check();
        self.checks.recovered(applied, &shared.state, log, self.now_ms);
    }

    /// Writes a checkpoint, while the simulation goes on.
    fn checkpoint(&mut self) {
        let bug = self.options.bug;
        let Some(server) = self.server.as_mut().filter(|_| !self.within_checkpoint) else { return };
        if server.engine.is_within_entry() && bug != Bug::CheckpointWithinEntry {
            return;
        }
        self.checkpoint_due = false;
        let head = server.shared.get_mut().state.begin_checkpoint();
        let (applied, tree) = (server.progress.applied, server.tree.clone());
        self.within_checkpoint = true;
        let done = tree.checkpoint(applied, |writer| {
            put_head(writer, &head)?;
            self.write_znodes(writer)
        });
        self.within_checkpoint = false;
        let crashed = self.around().check_crash();
        let Some(server) = &mut self.server else {
            self.report.checkpoints_lost += 1;
            return;
        };
        if crashed {
            self.report.checkpoints_lost += 1;
            return self.crash();
        }
        let committed = done.is_ok();
        server.shared.get_mut().state.end_checkpoint(&head, committed || bug == Bug::FailedCheckpointCounts);
        if committed {
            server.progress.committed = applied;
            self.report.checkpoints += 1;
        } else {
            self.report.checkpoints_lost += 1;
        }
    }

    /// Writes the captured znodes. *Errors*: there is no room, or the server is gone and the result
    /// does not matter.
    fn write_znodes(&mut self, writer: &mut TreeWriter<'_>) -> Result<(), StoreError> {
        let gone = || StoreError::Full { path: DATA_DIR.into() };
        loop {
            let count = 1 + self.random.place(12);
            let captured = self.server.as_mut().ok_or_else(gone)?.shared.get_mut().state.capture(count);
            if captured.is_empty() {
                return Ok(());
            }
            put_znodes(writer, captured)?;
            if self.around().check_crash() {
                self.crash();
            }
            for _ in 0..self.random.below(20) {
                if !self.settling {
                    self.fault();
                }
                self.step();
            }
        }
    }

    /// Stops the faults. All participants must come back, every request must be answered, every
    /// session must end, and nothing may be left over.
    fn settle(&mut self) {
        self.settling = true;
        self.disk.set_room(None);
        self.full_until_ms = None;
        self.down_until_ms = 0;
        if self.crash_at.is_some() {
            self.crash();
            self.down_until_ms = 0;
        }
        self.clients.iter_mut().for_each(|client| client.pause(0));
        self.until("answers", |world| world.clients.iter().all(Client::is_settled));
        for place in 0..self.clients.len() {
            with_client(self, place, |client, nearby| client.finish(nearby));
        }
        self.until("sessions end", |world| {
            let server = world.server.as_ref();
            world.checks.oracle.model.sessions.is_empty()
                && server.is_some_and(|server| server.is_idle() && server.links().is_empty())
        });
        self.check_end();
        // Check once more, with a state recovered from the disk alone.
        self.crash_at = Some((0, true));
        self.crash();
        self.down_until_ms = 0;
        self.until("restart", |world| world.server.is_some());
        self.check_end();
    }

    fn until(&mut self, what: &str, done: impl Fn(&World) -> bool) {
        for _ in 0..SETTLE_STEPS_MAX {
            if done(self) {
                return;
            }
            self.step();
        }
        panic!("liveness: without faults, {what} within {SETTLE_STEPS_MAX} steps");
    }

    fn check_end(&mut self) {
        self.checkpoint();
        // Each call removes a few segments.
        for _ in 0..100 {
            self.with_server(Server::housekeep);
        }
        let server = self.server.as_mut().expect("it runs");
        let shared = server.shared.get_mut();
        bounds::check_idle(shared);
        shared.state.check();
        shared.watches.get_mut().check();
        contents::check(&shared.state, &self.checks.oracle.model);
        let committed = server.progress.committed;
        let segments = self.disk.list(Path::new(LOG_DIR)).expect("the directory can be listed").len() as u64;
        let (needed_len, entries) = (self.checks.durable.len_from(committed), self.checks.durable.count() - committed);
        bounds::check_log(segments, needed_len, entries, self.options.segment_len);
    }
}

/// Takes a client's turn with its surroundings.
fn with_client<T>(world: &mut World, place: usize, turn: impl FnOnce(&mut Client, &mut Nearby<'_>) -> T) -> T {
    let Options { tick_ms, depth, delay_ms_max, .. } = world.options;
    let mut nearby = Nearby {
        now_ms: world.now_ms,
        random: &mut world.random,
        network: &mut world.network,
        oracle: &mut world.checks.oracle,
        habits: Habits { tick_ms, depth, delay_ms_max, agreed: false, local_sessions: LocalSessions::Off },
        settling: world.settling,
    };
    turn(&mut world.clients[place], &mut nearby)
}
