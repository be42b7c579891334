//! The turns of an engine's thread. Mirrors `oxkeeper-server`'s `ensemble/engine.rs`: listen, take commands, step, send,
//! apply, persist, send, apply. The disk takes its time between two events of the simulation: a follower's has begun then,
//! and its leader is overheard.

use oxkeeper_proto::{OpCode, SessionId};
use oxkeeper_replica::Serving;
use oxkeeper_replica::ensemble::{Applying, JournalFull, Role, Want};
use parking_lot::Mutex;

use super::server::{Begun, Life, Mode, NEVER, Process, REAP_INTERVAL_MS};
use super::trace::note;
use super::wires::Item;
use super::world::World;
use crate::options::Bug;

/// Groups of no more entries are not worth a note.
const GROUP_MIN: u64 = 8;
/// Containers reaped at once at most.
const REAP_MAX: usize = 10;
/// How seldom a link ends while its peer is overheard.
const LOST_ONCE_IN: u64 = 100;

/// What a turn came to.
enum End {
    /// It goes on.
    Going,
    /// A peer's state is needed.
    Install(usize),
    /// There was no room.
    Full,
    /// The machine stopped within it.
    Crashed,
}

impl World {
    /// A turn of server `me`'s engine.
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
        let Some(mut life) = process.life.take() else { unreachable!("only a server that rests has no life") };
        let end = self.loop_turn(me, &mut process, &mut life);
        process.life = Some(life);
        match end {
            End::Going => {
                self.hosts[me].process = Some(process);
                self.schedule(me);
            }
            End::Install(from) => self.begin_install(me, from, process),
            End::Full => {
                note(now_ms, me, "disk full: a new life", [0; 2]);
                self.stop_serving(me, &mut process);
                self.start_anew(me, process);
            }
            End::Crashed => {
                self.hosts[me].process = Some(process);
                self.crash(me);
            }
        }
    }

    fn loop_turn(&mut self, me: usize, process: &mut Process, life: &mut Life) -> End {
        let now_ms = self.now_ms;
        if let Mode::Persisting(until_ms) = process.mode {
            if now_ms >= until_ms {
                return self.finish_persist(me, process, life);
            }
            if !self.options.disk_beside {
                self.overhear(me, process, life);
                return End::Going;
            }
        }
        self.listen(me, life);
        life.replica.lock().submit(&mut process.seats.waiting);
        self.tick(me, process, life);
        if self.hosts[me].has_crashed() {
            return End::Crashed;
        }
        let wall_ms = self.wall_ms(me);
        life.replica.lock().step(&process.shared, now_ms, wall_ms);
        if self.hosts[me].has_crashed() {
            return End::Crashed;
        }
        self.send(me, life);
        self.apply(me, process, life);
        if let Mode::Persisting(_) = process.mode {
            return self.wanted(life);
        }
        if life.replica.lock().is_staged() {
            let takes_ms = self.random.within(0, self.options.disk_ms_max);
            let at_ms = now_ms.max(self.hosts[me].stalled_until_ms) + takes_ms;
            if at_ms > now_ms {
                process.mode = Mode::Persisting(at_ms);
                return if self.options.disk_beside { self.wanted(life) } else { self.begin_persist(me, life) };
            }
        }
        self.finish_persist(me, process, life)
    }

    /// What is staged is on its way to the disk, if the disk is worked at in two halves: a crash from now on may find any
    /// part of it there.
    fn begin_persist(&mut self, me: usize, life: &mut Life) -> End {
        let begun = life.replica.lock().begin_persist();
        if self.hosts[me].has_crashed() {
            return End::Crashed;
        }
        match begun {
            Ok(begun) => life.begun = begun.map(Begun),
            Err(JournalFull) => return End::Full,
        }
        End::Going
    }

    fn finish_persist(&mut self, me: usize, process: &mut Process, life: &mut Life) -> End {
        process.mode = Mode::Ready;
        let mut replica = life.replica.lock();
        let before = replica.with_journal(|journal| journal.next_index());
        let persisted = match life.begun.take() {
            Some(Begun(syncing)) => {
                syncing();
                replica.finish_persist();
                Ok(())
            }
            None => replica.persist().map(drop),
        };
        let after = replica.with_journal(|journal| journal.next_index());
        drop(replica);
        if after > before + GROUP_MIN {
            self.hosts[me].groups.push(before..after);
        }
        if self.hosts[me].has_crashed() {
            return End::Crashed;
        }
        if let Err(JournalFull) = persisted {
            return End::Full;
        }
        self.send(me, life);
        self.apply(me, process, life);
        self.show_role(me, process, life);
        life.replica.lock().with_journal(|journal| journal.prepare());
        if self.hosts[me].has_crashed() { End::Crashed } else { self.wanted(life) }
    }

    /// What the leader says while the disk works.
    fn overhear(&mut self, me: usize, process: &mut Process, life: &mut Life) {
        let mut replica = life.replica.lock();
        let Role::Following(leader) = replica.role() else { return };
        let place = self.options.place(leader);
        let mut heard = false;
        for frame in self.wires.waiting(me, place, self.now_ms) {
            replica.overhear(leader, frame);
            heard = true;
        }
        drop(replica);
        self.apply(me, process, life);
        // A link that is given up meanwhile takes with it what was overheard and not handled.
        if heard && !self.options.steady && self.random.once_in(LOST_ONCE_IN) {
            self.wires.kill(me, place, self.now_ms, &mut self.random);
            self.wake_engine_when_due(place);
        }
    }

    fn wanted(&self, life: &Life) -> End {
        match life.replica.lock().take_want() {
            Some(Want::Install { from, .. }) => End::Install(self.options.place(from)),
            None => End::Going,
        }
    }

    fn listen(&mut self, me: usize, life: &mut Life) {
        let now_ms = self.now_ms;
        for peer in (0..self.hosts.len()).filter(|&peer| peer != me) {
            let id = self.options.id(peer);
            while let Some(item) = self.wires.poll(me, peer, now_ms) {
                let mut replica = life.replica.lock();
                match item {
                    Item::Up(_) => {
                        note(now_ms, me, "linked to", [u64::from(id), 0]);
                        self.trouble_ms = self.trouble_ms.max(now_ms);
                        replica.link_up(id, now_ms);
                    }
                    Item::Down => {
                        note(now_ms, me, "link lost to", [u64::from(id), 0]);
                        self.trouble_ms = self.trouble_ms.max(now_ms);
                        replica.link_down(id, now_ms);
                        drop(replica);
                        self.expiry.troubled(me, now_ms);
                        self.expiry.troubled(peer, now_ms);
                        self.dial_soon(me, peer);
                    }
                    Item::Moves(_) if self.options.bug == Bug::OneLane => {}
                    Item::Moves(true) => replica.stirred(id, now_ms),
                    Item::Moves(false) => replica.drained(id, now_ms),
                    Item::Frame(frame) => {
                        let received = replica.receive(id, &frame, now_ms);
                        received.unwrap_or_else(|problem| {
                            panic!("frames: server {} refuses one of server {}: {problem}", me + 1, peer + 1)
                        });
                    }
                }
            }
        }
    }

    pub(super) fn send(&mut self, me: usize, life: &mut Life) {
        for peer in (0..self.hosts.len()).filter(|&peer| peer != me) {
            let mut replica = life.replica.lock();
            while let Some(frame) = replica.next_frame(self.options.id(peer)) {
                self.report.frames += 1;
                if let Some(at_ms) = self.wires.send(me, peer, frame, self.now_ms, &mut self.random) {
                    self.queue.wake_engine(&mut self.hosts[peer], peer, at_ms);
                }
            }
        }
    }

    fn apply(&mut self, me: usize, process: &mut Process, life: &mut Life) {
        let mut replica = life.replica.lock();
        let before = replica.applied();
        let (seats, bug) = (&mut process.seats, self.options.bug);
        let (mut digests, mut entries) = (Vec::new(), Vec::new());
        let mut applying = Applying {
            shared: &process.shared,
            entry: &Mutex::new(()),
            writer: &mut life.writer,
            deliver: &mut |writer, locked| {
                digests.push((locked.state.zxid().0, locked.state.tree().digest()));
                seats.fill_mailboxes(writer, bug);
            },
            applied: &mut |entry| entries.push(entry.to_vec()),
            now_ms: self.now_ms,
            early: true,
        };
        replica.apply(&mut applying).expect("a log entry is one");
        let after = replica.applied();
        if after > before {
            self.progress.applied(self.now_ms);
        }
        if replica.role() == Role::Leading && replica.configuration().voters.len() == 1 {
            self.report.alone += after - before;
        }
        drop(replica);
        if after == before {
            return;
        }
        for (index, entry) in (before..).zip(&entries) {
            self.note_applied(me, index, entry);
        }
        for (zxid, digest) in digests {
            self.history.digest(me, zxid, digest);
        }
        self.history.stands(me, after, &process.shared.read().state);
        self.wake_io(me, self.now_ms);
    }

    /// The checkers learn what was applied.
    fn note_applied(&mut self, me: usize, index: u64, entry: &[u8]) {
        self.history.applied(me, index, entry, &mut self.books);
        let told = self.history.told(index);
        for (session, timeout_ms) in &told.begun {
            self.expiry.begun(*session, *timeout_ms, me, self.now_ms);
        }
        told.ended.iter().for_each(|session| self.expiry.ended(*session));
    }

    /// What time alone brings about.
    fn tick(&mut self, me: usize, process: &mut Process, life: &mut Life) {
        let now_ms = self.now_ms;
        if now_ms < life.next_tick_ms {
            return;
        }
        life.next_tick_ms = now_ms + process.shared.read().sessions.lock().clocks.interval_ms();
        let silent = life.replica.lock().silent(now_ms);
        for peer in silent {
            note(now_ms, me, "a peer is silent:", [u64::from(peer), 0]);
            self.wires.kill(me, self.options.place(peer), now_ms, &mut self.random);
            self.wake_engine(me, now_ms);
            self.wake_engine_when_due(self.options.place(peer));
        }
        let rules = life.replica.lock().rules();
        if rules {
            self.expire(me, process, life);
            if now_ms >= life.next_reap_ms {
                life.next_reap_ms = now_ms + REAP_INTERVAL_MS;
                let wall_ms = self.wall_ms(me);
                for znode in process.shared.read().state.expendable(wall_ms, 0, REAP_MAX) {
                    life.replica.lock().submit_own(SessionId::NONE, OpCode::DeleteContainer, &znode.encode());
                }
            }
        }
        self.shorten_log(life);
    }

    fn expire(&mut self, me: usize, process: &mut Process, life: &mut Life) {
        let now_ms = self.now_ms;
        let shared = process.shared.read();
        let mut sessions = shared.sessions.lock();
        let mut expired = Vec::new();
        if std::mem::take(&mut self.hosts[me].expired_by_wall) {
            // a bug: the wall's clock, which has jumped
            let (interval_ms, ahead_ms) = (sessions.clocks.interval_ms() as usize, 20 * self.options.tick_ms);
            for at_ms in (now_ms..now_ms + ahead_ms).step_by(interval_ms) {
                expired.append(&mut sessions.clocks.tick(at_ms));
            }
        }
        expired.append(&mut sessions.clocks.tick(now_ms));
        drop(sessions);
        for session in expired {
            note(now_ms, me, "session expired:", [session.0 as u64, 0]);
            self.report.expired += 1;
            self.expiry.expires(session.0, me, now_ms);
            life.replica.lock().submit_own(session, OpCode::CloseSession, &[]);
        }
    }

    fn shorten_log(&mut self, life: &mut Life) {
        let mut replica = life.replica.lock();
        let applied = replica.applied();
        if std::mem::replace(&mut life.applied_last_tick, applied) == applied {
            // A full disk is met by the next write.
            let _ = replica.persist_decided();
        }
        if life.committed > 0 && self.options.bug != Bug::NeverTrim {
            replica.trim_for(life.committed, &life.pins);
        }
    }

    fn show_role(&mut self, me: usize, process: &mut Process, life: &mut Life) {
        let replica = life.replica.lock();
        let (serving, role, rules) = (replica.is_serving(), replica.role(), replica.rules());
        drop(replica);
        let follows = match role {
            Role::Following(leader) | Role::Observing(leader) => Some(self.options.place(leader)),
            Role::Leading | Role::Looking | Role::Blank => None,
        };
        let follows = follows.filter(|&leader| self.wires.carries(me, leader));
        self.expiry.stands(me, rules, follows, self.now_ms);
        let epoch = process.shared.read().state.epoch_ballot();
        if rules && std::mem::replace(&mut self.epoch_told, epoch) != epoch {
            note(self.now_ms, me, "leads, epoch", [self.epochs(), 0]);
        }
        if role != Role::Blank {
            self.hosts[me].initialize = false;
            self.hosts[me].blank &= !serving;
        }
        if (process.shared.read().serving == Serving::Yes) == serving {
            return;
        }
        self.trouble(self.now_ms);
        note(self.now_ms, me, if serving { "serves" } else { "does not serve" }, [0; 2]);
        if serving {
            self.progress.serves(me);
            process.shared.write().serve(Serving::Yes, self.now_ms);
        } else {
            self.stop_serving(me, process);
            life.replica.lock().orphan();
        }
    }

    /// Clients are closed.
    pub(super) fn stop_serving(&mut self, me: usize, process: &mut Process) {
        process.shared.write().serve(Serving::No, self.now_ms);
        if let Some(life) = &process.life {
            life.replica.lock().orphan();
        }
        process.seats.end_sessions(self.now_ms);
        self.wake_io(me, self.now_ms);
    }

    /// When the engine has its next turn.
    fn schedule(&mut self, me: usize) {
        let due_ms = self.wires.due_ms(me).unwrap_or(NEVER);
        let host = &self.hosts[me];
        let Some(Process { seats, mode, life: Some(life), .. }) = &host.process else { return };
        let replica = life.replica.lock();
        let next_step_ms = replica.next_step_ms();
        let mut at_ms = due_ms.min(next_step_ms).min(life.next_tick_ms);
        let staged = replica.is_staged();
        drop(replica);
        if staged || !seats.waiting.is_empty() {
            at_ms = self.now_ms;
        }
        if let Mode::Persisting(until_ms) = mode {
            let early_ms = due_ms.min(next_step_ms).min(life.next_tick_ms).max(self.now_ms + 1);
            let news_ms = self.wires.news_ms(me, self.now_ms).unwrap_or(NEVER);
            at_ms = (if self.options.disk_beside { early_ms } else { news_ms }).min(*until_ms);
        }
        self.wake_engine(me, at_ms.max(self.now_ms));
    }
}
