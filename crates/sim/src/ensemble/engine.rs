//! Takes the turns of an ensemble server's engine. The engine is production's; this module provides
//! its links, disk and clock, and reports to the checkers.
//!
//! A disk write takes time between two events of the simulation. In the meantime the engine takes
//! turns or not, like the server's second thread, which may step in at once or too late.

use oxkeeper_proto::{OpCode, ServerId};
use oxkeeper_replica::engine::{Event, MemberEngine, Moment, Outside};
use oxkeeper_replica::ensemble::{BadFrame, JournalFull, Role, Want};
use oxkeeper_replica::{Applier, Serving, Shared};
use oxkeeper_state::{Command, Identities, Level, Number, Settings, State};
use parking_lot::{RwLock, RwLockWriteGuard};

use super::peer_network::Item;
use super::server::{Incarnation, Mode, NEVER, Process, Work};
use super::trace::note;
use super::world::World;
use crate::connections::Connections;
use crate::options::Bug;

/// Duration of a disk write above which the disk is slow and the engine goes on without it, ms.
const SLOW_DISK_AFTER_MS: u64 = 2;
/// Number of entries above which a group is recorded.
const GROUP_MIN: u64 = 8;

/// Result of a turn.
enum End {
    /// The engine goes on.
    Going,
    /// The engine needs the state of a peer (given by its place), up to this decided index.
    Install(usize, u64),
    /// The disk was full.
    Full,
    /// The machine stopped during the turn.
    Crashed,
    /// The ensemble has agreed on a feature level that the server does not know.
    Outdated(Level),
}

/// Surroundings of a server's engine.
struct Surroundings<'a> {
    world: &'a mut World,
    me: usize,
    connections: &'a mut Connections,
    /// Index of the next entry.
    next: u64,
    /// Tree digests, each with its zxid.
    digests: Vec<(i64, u64)>,
    /// Number of entries that the durable tree holds.
    spent: u64,
}

impl Outside for Surroundings<'_> {
    fn send(&mut self, peer: ServerId, frame: Vec<u8>) {
        let World { options, peer_network, hosts, queue, report, random, now_ms, .. } = &mut *self.world;
        if hosts[self.me].has_crashed() {
            return;
        }
        report.frames += 1;
        let place = options.place(peer);
        if let Some(at_ms) = peer_network.send(self.me, place, frame, *now_ms, random) {
            queue.wake_engine(&mut hosts[place], place, at_ms);
        }
    }

    fn flush(&mut self) {}

    fn end_link(&mut self, peer: ServerId, _why: &str) {
        let now_ms = self.world.now_ms;
        note(now_ms, self.me, "a peer is silent:", [u64::from(peer.0), 0]);
        let place = self.world.options.place(peer);
        self.world.peer_network.kill(self.me, place, now_ms, &mut self.world.random);
        self.world.wake_engine(self.me, now_ms);
        self.world.wake_engine_when_due(place);
    }

    fn deliver(&mut self, applier: &mut Applier, locked: RwLockWriteGuard<'_, Shared>, entry: Option<&[u8]>) {
        if self.world.hosts[self.me].has_crashed() {
            return;
        }
        self.digests.push((locked.state.zxid().0, locked.state.tree().digest()));
        self.connections.fill_mailboxes(applier, self.world.options.bug);
        if let Some(entry) = entry {
            self.world.note_applied(self.me, self.next, entry);
            self.next += 1;
        }
    }

    fn spent(&mut self) -> u64 {
        if self.world.options.bug == Bug::NeverTrim { 0 } else { self.spent }
    }

    fn happened(&mut self, event: Event<'_>) {
        let now_ms = self.world.now_ms;
        if self.world.hosts[self.me].has_crashed() {
            return;
        }
        match event {
            Event::SessionExpired { session, .. } => {
                note(now_ms, self.me, "session expired:", [session.0 as u64, 0]);
                self.world.report.expired += 1;
                self.world.expiry.expires(session.0, self.me, now_ms);
                self.world.history.expires(session.0, self.next);
            }
            Event::LocalSessionExpired { session, holder } => {
                note(now_ms, self.me, "a session of its own expired:", [session.0 as u64, 0]);
                self.world.locals.expires(session.0, self.me, now_ms, &self.world.expiry);
                holder.into_iter().for_each(|takeover| self.connections.end_soon(takeover));
                self.world.wake_io(self.me, now_ms);
            }
            Event::Serving { former, now } => self.serve(former, now),
            Event::DiskStalled { stalled_ms } => note(now_ms, self.me, "disk stands still", [stalled_ms, 0]),
            Event::Reaped(_) | Event::LevelRaised(_) | Event::DiskFull => {}
        }
    }
}

impl Surroundings<'_> {
    /// Notes a change of service, and closes the clients of the former kind of service.
    fn serve(&mut self, former: Serving, now: Serving) {
        let (me, now_ms) = (self.me, self.world.now_ms);
        self.world.trouble(now_ms);
        self.world.locals.gone(me);
        match now {
            Serving::Yes => {
                note(now_ms, me, "serves", [0; 2]);
                self.world.progress.serves(me);
            }
            Serving::ReadOnly => note(now_ms, me, "serves reads only", [0; 2]),
            Serving::No => note(now_ms, me, "does not serve", [0; 2]),
        }
        if former != Serving::No {
            self.connections.end_sessions(former == Serving::ReadOnly, self.world.host_ms(me));
            self.world.wake_io(me, now_ms);
        }
    }
}

impl World {
    /// Takes a turn of the engine of server `me`.
    pub(super) fn engine_turn(&mut self, me: usize) {
        let Some(mut process) = self.hosts[me].process.take() else { return };
        let now_ms = self.now_ms;
        match process.mode {
            Mode::Resting(until_ms) if now_ms >= until_ms => return self.start_anew(me, process),
            Mode::Resting(until_ms) => {
                self.hosts[me].process = Some(process);
                return self.wake_engine(me, until_ms);
            }
            Mode::Installing(_) => {
                self.hosts[me].process = Some(process);
                return self.install_turn(me);
            }
            Mode::Ready | Mode::Persisting(_) => {}
        }
        let Some(mut incarnation) = process.incarnation.take() else {
            unreachable!("only a server that rests has no incarnation")
        };
        let end = self.loop_turn(me, &mut process, &mut incarnation);
        process.incarnation = Some(incarnation);
        match end {
            End::Going => {
                self.hosts[me].process = Some(process);
                self.schedule(me);
            }
            End::Install(from, at) => self.begin_install(me, from, at, process),
            End::Full => {
                note(now_ms, me, "disk full: a new incarnation", [0; 2]);
                self.stop_serving(me, &mut process);
                let takes_ms = self.recovers_anew_ms(me, &process);
                self.load(me, process, takes_ms);
            }
            End::Outdated(needs) => {
                self.note_outdated(me, needs);
                self.hosts[me].process = Some(process);
                self.hosts[me].crash_at = Some((0, false));
                self.crash(me);
            }
            End::Crashed => {
                self.hosts[me].process = Some(process);
                self.crash(me);
            }
        }
    }

    fn loop_turn(&mut self, me: usize, process: &mut Process, incarnation: &mut Incarnation) -> End {
        let now_ms = self.now_ms;
        let works = matches!(process.mode, Mode::Persisting(_));
        if let Mode::Persisting(until_ms) = process.mode
            && now_ms >= until_ms
        {
            return self.finish_disk(me, process, incarnation);
        }
        if works && !incarnation.stands_in {
            return End::Going;
        }
        self.listen(me, incarnation);
        incarnation.engine.lock().submit(&mut process.connections.waiting);
        self.expire_by_wall(me, process, incarnation);
        let moment = Moment { now_ms: self.host_ms(me), wall_ms: self.wall_ms(me) };
        self.drive(me, process, incarnation, |engine, shared, outside| engine.turn(shared, moment, outside));
        if self.hosts[me].has_crashed() {
            return End::Crashed;
        }
        if incarnation.engine.lock().replica().is_candidate() {
            self.cut_candidate(me);
        }
        self.check_raise(process, incarnation);
        if works { End::Going } else { self.begin_disk(me, process, incarnation) }
    }

    /// Runs `work` on the engine, and reports to the checkers what the engine does.
    fn drive<T>(
        &mut self,
        me: usize,
        process: &mut Process,
        incarnation: &mut Incarnation,
        work: impl FnOnce(&mut MemberEngine, &RwLock<Shared>, &mut Surroundings<'_>) -> T,
    ) -> T {
        let mut engine = incarnation.engine.lock();
        let before = engine.replica().applied();
        let spent = incarnation.committed;
        let connections = &mut process.connections;
        let mut outside = Surroundings { world: self, me, connections, next: before, digests: Vec::new(), spent };
        let done = work(&mut engine, &process.shared, &mut outside);
        let digests = outside.digests;
        if self.hosts[me].has_crashed() {
            return done;
        }
        let replica = engine.replica();
        let after = replica.applied();
        if after > before {
            self.progress.applied(self.now_ms);
            if replica.role() == Role::Leading && replica.configuration().is_sole() {
                self.report.alone += after - before;
            }
            for (zxid, digest) in digests {
                self.history.digest(me, zxid, digest);
            }
            self.history.stands(me, after, &process.shared.read().state);
            if self.options.bug == Bug::SilentDivergence && self.random.once_in(100) {
                diverge(&mut process.shared.write().state);
            }
            self.wake_io(me, self.now_ms);
        }
        drop(engine);
        self.check_digests(me, incarnation);
        self.note_role(me, process, incarnation);
        done
    }

    /// Gives the disk its work. The work takes time, and the engine may learn late that it is done.
    fn begin_disk(&mut self, me: usize, process: &mut Process, incarnation: &mut Incarnation) -> End {
        let work = incarnation.engine.lock().begin_disk(self.host_ms(me));
        let Some(work) = work else { return self.wanted(incarnation) };
        let takes_ms = self.random.within(self.options.disk_ms_min, self.options.disk_ms_max);
        let at_ms = self.now_ms.max(self.hosts[me].stalled_until_ms) + takes_ms;
        incarnation.stands_in = at_ms > self.now_ms + SLOW_DISK_AFTER_MS || self.random.once_in(2);
        incarnation.work = Some(Work::ToDo(work));
        if at_ms == self.now_ms {
            return self.finish_disk(me, process, incarnation);
        }
        if self.random.once_in(4) {
            let _known_later = self.work_of_disk(me, incarnation);
            if self.hosts[me].has_crashed() {
                return End::Crashed;
            }
        }
        process.mode = Mode::Persisting(at_ms);
        End::Going
    }

    fn work_of_disk(&mut self, me: usize, incarnation: &mut Incarnation) -> Result<(), JournalFull> {
        let next = |incarnation: &Incarnation| {
            incarnation.engine.lock().replica_mut().with_journal(|journal| journal.next_index())
        };
        let before = next(incarnation);
        let done = match incarnation.work.take() {
            Some(Work::ToDo(work)) => work(),
            Some(Work::Done(done)) => done,
            None => unreachable!("it has work"),
        };
        incarnation.work = Some(Work::Done(done));
        let after = next(incarnation);
        if after > before + GROUP_MIN {
            self.hosts[me].groups.push(before..after);
        }
        done
    }

    fn finish_disk(&mut self, me: usize, process: &mut Process, incarnation: &mut Incarnation) -> End {
        process.mode = Mode::Ready;
        let done = self.work_of_disk(me, incarnation);
        incarnation.work = None;
        if self.hosts[me].has_crashed() {
            return End::Crashed;
        }
        let host_ms = self.host_ms(me);
        let finished = self.drive(me, process, incarnation, |engine, shared, outside| {
            engine.finish_disk(done, shared, host_ms, outside)
        });
        if self.hosts[me].has_crashed() {
            return End::Crashed;
        }
        match finished {
            Ok(()) => self.wanted(incarnation),
            Err(JournalFull) => End::Full,
        }
    }

    fn wanted(&self, incarnation: &Incarnation) -> End {
        if let Some(outdated) = incarnation.engine.lock().replica().outdated() {
            return End::Outdated(outdated.needs);
        }
        match incarnation.engine.lock().take_want() {
            Some(Want::Install { from, at }) => End::Install(self.options.place(from), at),
            None => End::Going,
        }
    }

    fn listen(&mut self, me: usize, incarnation: &mut Incarnation) {
        let (now_ms, host_ms) = (self.now_ms, self.host_ms(me));
        for peer in (0..self.hosts.len()).filter(|&peer| peer != me) {
            let id = self.options.id(peer);
            while let Some(item) = self.peer_network.poll(me, peer, now_ms) {
                let mut engine = incarnation.engine.lock();
                match item {
                    Item::Up(_) => {
                        note(now_ms, me, "linked to", [u64::from(id.0), 0]);
                        self.trouble_ms = self.trouble_ms.max(now_ms);
                        engine.link_up(id, host_ms);
                    }
                    Item::Down => {
                        note(now_ms, me, "link lost to", [u64::from(id.0), 0]);
                        self.trouble_ms = self.trouble_ms.max(now_ms);
                        engine.link_down(id, host_ms);
                        drop(engine);
                        self.expiry.troubled(me, now_ms);
                        self.expiry.troubled(peer, now_ms);
                        self.dial_soon(me, peer);
                    }
                    Item::Moves(_) if self.options.bug == Bug::OneLane => {}
                    Item::Moves(true) => engine.replica_mut().stirred(id, host_ms),
                    Item::Moves(false) => engine.replica_mut().drained(id, host_ms),
                    Item::Frame(frame) => {
                        let received = engine.receive(id, &frame, host_ms);
                        drop(engine);
                        match received {
                            Ok(()) => {}
                            Err(BadFrame::Newer { needs, .. }) => {
                                assert!(
                                    needs <= self.raised,
                                    "levels: level {needs} is sent, and nobody has proposed it"
                                );
                                self.peer_network.kill(me, peer, now_ms, &mut self.random);
                                self.wake_engine(me, now_ms);
                                self.wake_engine_when_due(peer);
                            }
                            Err(problem) => {
                                panic!("frames: server {} refuses one of server {}: {problem}", me + 1, peer + 1)
                            }
                        }
                    }
                }
            }
        }
    }

    /// Checks that the servers' comparison of state digests finds no difference.
    fn check_digests(&self, me: usize, incarnation: &Incarnation) {
        let mut engine = incarnation.engine.lock();
        let replica = engine.replica_mut();
        let mismatches = replica.take_mismatches();
        let wrong = replica.is_wrong();
        assert!(mismatches.is_empty() && !wrong, "agreement: server {} finds {mismatches:?}, wrong {wrong}", me + 1);
    }

    /// Tells the checkers what was applied.
    fn note_applied(&mut self, me: usize, index: u64, entry: &[u8]) {
        self.history.applied(me, index, entry, &mut self.oracle);
        let told = self.history.told(index);
        for (session, timeout_ms) in &told.begun {
            self.locals.check_agreed(*session);
            self.expiry.begun(*session, *timeout_ms, me, self.now_ms);
        }
        told.ended.iter().for_each(|session| self.expiry.ended(*session));
    }

    /// Implements [`Bug::ExpiryByWallClock`]: expires sessions as if the time of the wall clock's
    /// jump had passed.
    fn expire_by_wall(&mut self, me: usize, process: &Process, incarnation: &Incarnation) {
        let (now_ms, host_ms) = (self.now_ms, self.host_ms(me));
        let mut engine = incarnation.engine.lock();
        if engine.replica().ruled_until_ms(host_ms).is_none() || !std::mem::take(&mut self.hosts[me].expired_by_wall) {
            return;
        }
        let shared = process.shared.read();
        let mut sessions = shared.sessions.lock();
        let (interval_ms, ahead_ms) = (sessions.clocks.interval_ms() as usize, 20 * self.options.tick_ms);
        let jump = (host_ms..host_ms + ahead_ms).step_by(interval_ms);
        for session in jump.flat_map(|at_ms| sessions.clocks.tick(at_ms)) {
            self.expiry.expires(session.0, me, now_ms);
            engine.replica_mut().submit_own(session, OpCode::CloseSession, &[]);
        }
    }

    /// Tells the checkers the server's role.
    fn note_role(&mut self, me: usize, process: &Process, incarnation: &Incarnation) {
        let engine = incarnation.engine.lock();
        let replica = engine.replica();
        let follows = match replica.role() {
            Role::Following(leader) | Role::Observing(leader) => Some(self.options.place(leader)),
            Role::Leading | Role::Looking | Role::Uninitialized => None,
        };
        let follows = follows.filter(|&leader| self.peer_network.carries(me, leader));
        if std::mem::replace(&mut self.hosts[me].stands, replica.is_candidate()) != replica.is_candidate() {
            note(self.now_ms, me, if replica.is_candidate() { "stands for election" } else { "stood" }, [0; 2]);
        }
        self.check_observer(me, replica);
        let epoch = process.shared.read().state.epoch_ballot();
        let rules = replica.ruled_until_ms(self.host_ms(me)).is_some();
        if rules && std::mem::replace(&mut self.epoch_told, epoch) != epoch {
            note(self.now_ms, me, "leads, epoch", [self.epochs(), 0]);
        }
        self.expiry.stands(me, rules, follows, self.now_ms);
        self.expiry.serves(me, process.shared.read().serving == Serving::Yes, self.now_ms);
        if replica.role() != Role::Uninitialized {
            self.hosts[me].initialize = false;
            // A founder counts at once; a server that lost its disk is back once it serves.
            self.hosts[me].lost &= !replica.is_serving();
            self.hosts[me].blank &= self.hosts[me].lost;
        }
    }

    /// Stops serving, and closes the clients.
    pub(super) fn stop_serving(&mut self, me: usize, process: &mut Process) {
        let host_ms = self.host_ms(me);
        if let Some(mut incarnation) = process.incarnation.take() {
            self.drive(me, process, &mut incarnation, |engine, shared, outside| {
                engine.stop_serving(shared, host_ms, outside)
            });
            process.incarnation = Some(incarnation);
        }
    }

    /// Schedules the engine's next turn.
    fn schedule(&mut self, me: usize) {
        let due_ms = self.peer_network.due_ms(me).unwrap_or(NEVER);
        let Some(Process { connections, mode, incarnation: Some(incarnation), .. }) = &self.hosts[me].process else {
            return;
        };
        let turn_ms = self.hosts[me].clock.when(incarnation.engine.lock().next_turn_ms());
        let waits = !connections.waiting.is_empty();
        let at_ms = match mode {
            Mode::Persisting(until_ms) if incarnation.stands_in => {
                due_ms.min(turn_ms).max(self.now_ms + 1).min(*until_ms)
            }
            Mode::Persisting(until_ms) => *until_ms,
            Mode::Ready | Mode::Installing(_) | Mode::Resting(_) if waits => self.now_ms,
            Mode::Ready | Mode::Installing(_) | Mode::Resting(_) => due_ms.min(turn_ms),
        };
        self.wake_engine(me, at_ms.max(self.now_ms));
    }
}

/// Implements [`Bug::SilentDivergence`]: gives some session another timeout than at the other
/// servers.
fn diverge(state: &mut State) {
    let Some((session, owner)) = state.sessions().iter().next().map(|(id, session)| (id, session.owner)) else {
        return;
    };
    let (from, settings) = (Some(Number { server: owner, boot: 1, seq: 1 }), Settings::default());
    let (identities, body) = (Identities::default(), &77i32.to_be_bytes()[..]);
    let command = Command { from, session, xid: 0, op: OpCode::ResumeSession, settings, identities, body };
    state.apply(&command, state.time_ms(), &mut Vec::new(), &mut ()).expect("the session exists");
}
