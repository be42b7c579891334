//! Takes the turns of a standalone server's engine: it packs an entry, the disk writes it, a few
//! commands are applied. Connections take turns in between, as in production, where only applying
//! holds the lock. The engine is production's; this module provides its disk and clock, reports to
//! the checkers, and injects bugs.

use oxkeeper_proto::{OpCode, ServerId, SessionId};
use oxkeeper_replica::engine::{Event, Moment, Outside};
use oxkeeper_replica::{Applier, Origin, Proposals, Shared};
use oxkeeper_state::{Batch, Command, Identities, Settings};
use parking_lot::RwLockWriteGuard;

use crate::connections::Connections;
use crate::options::Bug;
use crate::server::{Around, Progress, Server};

struct Surroundings<'a, 'b> {
    around: &'a mut Around<'b>,
    connections: &'a mut Connections,
    progress: &'a mut Progress,
    expired: Vec<i64>,
}

impl Outside for Surroundings<'_, '_> {
    fn send(&mut self, _peer: ServerId, _frame: Vec<u8>) {}

    fn flush(&mut self) {}

    fn end_link(&mut self, _peer: ServerId, _why: &str) {}

    fn deliver(&mut self, applier: &mut Applier, locked: RwLockWriteGuard<'_, Shared>, entry: Option<&[u8]>) {
        let Around { checks, options, random, now_ms, .. } = &mut *self.around;
        let applied = std::mem::take(&mut applier.applied) as usize;
        if applied > 0 {
            checks.applied(applied, &locked.state, *now_ms);
        }
        self.connections.fill_mailboxes(applier, options.bug);
        if entry.is_some() {
            self.progress.applied += 1;
            if random.once_in(16) {
                locked.state.check();
                locked.watches.lock().check();
            }
        }
    }

    fn spent(&mut self) -> u64 {
        let bug = self.around.options.bug;
        if bug == Bug::NeverTrim {
            0
        } else if bug == Bug::TrimTooFar {
            self.progress.applied
        } else {
            self.progress.committed
        }
    }

    fn happened(&mut self, event: Event<'_>) {
        if let Event::SessionExpired { session, .. } = event {
            self.expired.push(session.0);
        }
    }
}

impl Server {
    /// Takes one turn of the engine.
    pub fn engine_turn(&mut self, around: &mut Around<'_>) {
        if self.work.is_some() {
            self.work_of_disk(around);
        } else if self.engine.entry_at_hand().is_some() {
            self.apply_twice(around);
            let now_ms = around.now_ms;
            let Server { engine, shared, connections, progress, .. } = self;
            let outside = &mut Surroundings { around, connections, progress, expired: Vec::new() };
            engine.apply_some(shared, now_ms, outside);
        } else {
            self.engine.submit(&mut self.connections.waiting);
            self.tick(around);
            self.begin_disk(around);
        }
    }

    /// Does the work that depends on time alone.
    fn tick(&mut self, around: &mut Around<'_>) {
        let (now_ms, wall_ms) = (around.now_ms, around.wall_ms);
        if now_ms < self.engine.next_turn_ms() {
            return;
        }
        let mut expired = self.lie_about_time(around);
        let Server { engine, shared, connections, progress, .. } = self;
        let outside = &mut Surroundings { around, connections, progress, expired: Vec::new() };
        engine.turn(shared, Moment { now_ms, wall_ms }, outside);
        expired.append(&mut outside.expired);
        around.checks.sessions.looked(expired.into_iter(), now_ms);
        self.last_tick_ms = now_ms;
    }

    /// Implements [`Bug::NoPauseGuard`] (clocks that are looked at throughout a pause) and
    /// [`Bug::NeverExpire`] (clocks that restart at every tick). Returns the sessions that expired
    /// because of the bug.
    fn lie_about_time(&mut self, around: &Around<'_>) -> Vec<i64> {
        let clocks = &mut self.shared.get_mut().sessions.get_mut().clocks;
        let mut expired = Vec::new();
        if around.options.bug == Bug::NoPauseGuard {
            let looks = (self.last_tick_ms..around.now_ms).step_by(clocks.interval_ms() as usize);
            looks.for_each(|at_ms| expired.append(&mut clocks.tick(at_ms)));
        }
        if around.options.bug == Bug::NeverExpire {
            clocks.restart(around.now_ms);
        }
        for &session in &expired {
            let mut proposals = close(session, around.now_ms);
            self.engine.submit(&mut proposals);
        }
        expired.into_iter().map(|session| session.0).collect()
    }

    fn begin_disk(&mut self, around: &mut Around<'_>) {
        let index = self.progress.applied;
        self.work = self.engine.begin_disk(around.wall_ms);
        if let (Some(_), Some(entry)) = (&self.work, self.engine.entry_at_hand()) {
            around.checks.durable.staged(index, entry);
        }
    }

    fn work_of_disk(&mut self, around: &mut Around<'_>) {
        let Some(work) = self.work.take() else { unreachable!("it has work") };
        let done = work();
        if around.check_crash() {
            return;
        }
        if self.engine.entry_at_hand().is_some() {
            match done {
                Ok(()) => around.checks.durable.synced(),
                Err(_) => around.checks.durable.refused(),
            }
        }
        let Server { engine, shared, connections, progress, .. } = self;
        engine.finish_disk(done, shared, &mut Surroundings { around, connections, progress, expired: Vec::new() });
    }

    /// Implements [`Bug::ApplyTwice`]: applies the first command of an entry once more.
    fn apply_twice(&mut self, around: &mut Around<'_>) {
        let applies =
            around.options.bug == Bug::ApplyTwice && !self.engine.is_within_entry() && around.random.once_in(50);
        let Some(entry) = self.engine.entry_at_hand().filter(|_| applies).map(<[u8]>::to_vec) else { return };
        let mut batch = Batch::decode(&entry).expect("the engine packed it");
        let applier = self.engine.applier_mut();
        let again = applier.apply(self.shared.get_mut(), &mut batch, &mut std::iter::empty(), 1, around.now_ms);
        assert_eq!(again, Ok(1), "an entry has a command");
        applier.applied = 0;
    }

    /// Does the engine's housekeeping: makes room in the log, and removes old segments.
    pub(crate) fn housekeep(&mut self, around: &mut Around<'_>) {
        if self.work.is_none() {
            let Server { engine, connections, progress, .. } = self;
            engine.shorten_log(&mut Surroundings { around, connections, progress, expired: Vec::new() });
            self.begin_disk(around);
        }
        if self.work.is_some() {
            self.work_of_disk(around);
        }
    }
}

/// Returns a closeSession command of the server's own.
fn close(session: SessionId, now_ms: u64) -> Proposals {
    let (settings, identities, op) = (Settings::default(), Identities::default(), OpCode::CloseSession);
    let mut proposals = Proposals::default();
    Command { from: None, session, xid: 0, op, settings, identities, body: &[] }.encode(&mut proposals.commands);
    proposals.origins.push(Origin::own(now_ms));
    proposals
}
