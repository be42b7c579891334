//! The engine's turns: take what waits, append, sync, apply a few commands, deliver. Between any two of them
//! connections have theirs, as in production, where only applying holds the lock.
//!
//! Mirrors `oxkeeper-server`'s `engine.rs`. Invariant: a command is applied after its log entry is durable.

use oxkeeper_proto::{OpCode, SessionId};
use oxkeeper_replica::{Origin, Proposals};
use oxkeeper_state::command::{batch_extent, begin_batch};
use oxkeeper_state::{Batch, Command, Identities, Settings};
use oxkeeper_store::AppendError;

use crate::options::Bug;
use crate::server::{Around, Server};

/// How often spent containers are looked for, ms.
const REAP_INTERVAL_MS: u64 = 500;
/// Containers reaped at once at most.
const REAP_MAX: usize = 10;

/// What is done with the entry at hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// There is none.
    Idle,
    /// It is staged.
    Staged,
    /// It is durable, and so many of its commands are applied.
    Durable(usize),
}

/// Where the engine stands.
#[derive(Debug)]
pub struct Engine {
    taken: Proposals,
    stage: Stage,
    entry: Vec<u8>,
    origins: Vec<Origin>,
    /// Sessions to close that a full disk kept from closing.
    pub(crate) unclosed: Vec<SessionId>,
    next_tick_ms: u64,
    next_reap_ms: u64,
    /// When it last looked at the clocks.
    last_tick_ms: u64,
}

impl Engine {
    /// Nothing to do.
    pub fn new(now_ms: u64) -> Engine {
        Engine {
            taken: Proposals::default(),
            stage: Stage::Idle,
            entry: Vec::new(),
            origins: Vec::new(),
            unclosed: Vec::new(),
            next_tick_ms: now_ms,
            next_reap_ms: now_ms + REAP_INTERVAL_MS,
            last_tick_ms: now_ms,
        }
    }

    /// Whether nothing was taken that is not done.
    pub fn is_idle(&self) -> bool {
        self.stage == Stage::Idle && self.taken.is_empty() && self.unclosed.is_empty()
    }

    /// Whether an entry is applied in part.
    pub fn is_within_entry(&self) -> bool {
        matches!(self.stage, Stage::Durable(done) if done > 0)
    }
}

impl Server {
    /// One turn of the engine.
    pub fn engine_turn(&mut self, around: &mut Around<'_>) {
        match self.engine.stage {
            Stage::Idle => {
                if self.engine.taken.is_empty() {
                    std::mem::swap(&mut self.engine.taken, &mut self.seats.waiting);
                    self.tick(around);
                }
                if self.engine.taken.is_empty() {
                    self.keep_house(around);
                } else {
                    self.stage_entry(around);
                }
            }
            Stage::Staged => self.sync_entry(around),
            Stage::Durable(done) => {
                let whole = matches!(around.options.bug, Bug::ReplyBeforeSync | Bug::ApplyBeforeSync);
                if whole {
                    self.fill_mailboxes(around);
                    self.engine.stage = Stage::Idle;
                } else {
                    self.apply_some(done, around.options.apply_max as usize, around);
                    self.fill_mailboxes(around);
                }
            }
        }
    }

    /// What time alone brings about.
    fn tick(&mut self, around: &mut Around<'_>) {
        let now_ms = around.now_ms;
        if now_ms < self.engine.next_tick_ms {
            return;
        }
        let clocks = &mut self.shared.sessions.get_mut().clocks;
        self.engine.next_tick_ms = now_ms + clocks.interval_ms();
        let mut expired = Vec::new();
        if around.options.bug == Bug::NoPauseGuard {
            // as if it had looked at them all the time
            let interval_ms = clocks.interval_ms() as usize;
            for at_ms in (self.engine.last_tick_ms..now_ms).step_by(interval_ms) {
                expired.append(&mut clocks.tick(at_ms));
            }
        }
        self.engine.last_tick_ms = now_ms;
        if around.options.bug != Bug::NeverExpire {
            expired.append(&mut clocks.tick(now_ms));
        }
        around.checks.sessions.looked(expired.iter().map(|session| session.0), now_ms);
        for session in std::mem::take(&mut self.engine.unclosed).into_iter().chain(expired) {
            self.propose(session, OpCode::CloseSession, &[], now_ms);
        }
        if now_ms >= self.engine.next_reap_ms {
            self.engine.next_reap_ms = now_ms + REAP_INTERVAL_MS;
            for znode in self.shared.state.expendable(around.wall_ms, 0, REAP_MAX) {
                self.propose(SessionId::NONE, OpCode::DeleteContainer, &znode.encode(), now_ms);
            }
        }
    }

    fn propose(&mut self, session: SessionId, op: OpCode, body: &[u8], now_ms: u64) {
        let (settings, identities) = (Settings::default(), Identities::default());
        let taken = &mut self.engine.taken;
        Command { from: None, session, xid: 0, op, settings, identities, body }.encode(&mut taken.commands);
        taken.origins.push(Origin::own(now_ms));
    }

    /// Packs the next entry and stages it; refuses it if the disk is full.
    fn stage_entry(&mut self, around: &mut Around<'_>) {
        let taken = &mut self.engine.taken;
        let (len, count) = batch_extent(&taken.commands, around.options.entry_len_max as usize);
        self.engine.entry.clear();
        begin_batch(around.wall_ms, &mut self.engine.entry);
        self.engine.entry.extend(taken.commands.drain(..len));
        self.engine.origins = taken.origins.drain(..count).collect();
        match self.log.append(&self.engine.entry) {
            Ok(index) => {
                around.checks.durable.staged(index, &self.engine.entry);
                self.engine.stage = Stage::Staged;
                if !around.check_crash() {
                    self.apply_too_early(around);
                }
            }
            Err(AppendError::Full) => {
                if !around.check_crash() {
                    self.refuse(around);
                }
            }
            Err(problem) => panic!("an entry of {len} bytes fits: {problem}"),
        }
    }

    fn sync_entry(&mut self, around: &mut Around<'_>) {
        let synced = self.log.sync();
        if around.check_crash() {
            return;
        }
        if synced.is_ok() {
            around.checks.durable.synced();
            self.engine.stage = Stage::Durable(0);
        } else {
            around.checks.durable.refused();
            self.refuse(around);
        }
    }

    /// Bugs: the state changes, and replies may leave, while the entry is only staged.
    fn apply_too_early(&mut self, around: &mut Around<'_>) {
        if matches!(around.options.bug, Bug::ReplyBeforeSync | Bug::ApplyBeforeSync) {
            self.apply_some(0, usize::MAX, around);
            self.engine.stage = Stage::Staged;
            if around.options.bug == Bug::ReplyBeforeSync {
                self.fill_mailboxes(around);
            }
        }
    }

    /// Applies the commands of the entry from `done` on, at most `limit`.
    fn apply_some(&mut self, done: usize, limit: usize, around: &mut Around<'_>) {
        let mut batch = Batch::decode(&self.engine.entry).expect("the engine packed it");
        let skipped = batch.by_ref().take(done).count();
        assert_eq!(skipped, done, "the commands applied are there");
        if around.options.bug == Bug::ApplyTwice && done == 0 && around.random.once_in(50) {
            let again =
                self.writer.apply(&mut self.shared, &mut batch.clone(), &mut std::iter::empty(), 1, around.now_ms);
            assert_eq!(again, Ok(1), "an entry has a command");
        }
        let mut origins = self.engine.origins[done..].iter().cloned();
        let applied = self.writer.apply(&mut self.shared, &mut batch, &mut origins, limit, around.now_ms);
        let applied = applied.expect("the engine packed it");
        around.checks.applied(applied, &self.shared.state, around.now_ms);
        let last = done + applied == self.engine.origins.len();
        self.engine.stage = if last { Stage::Idle } else { Stage::Durable(done + applied) };
        if last {
            self.progress.applied += 1;
            if around.random.once_in(16) {
                self.shared.state.check();
                self.shared.watches.get_mut().check();
            }
        }
    }

    /// The disk is full: nothing was done, and everyone is told. Sessions that should end will, later.
    fn refuse(&mut self, around: &mut Around<'_>) {
        self.engine.stage = Stage::Idle;
        let batch = || Batch::decode(&self.engine.entry).expect("the engine packed it");
        let closing = batch().flatten().filter(|command| command.op == OpCode::CloseSession);
        self.engine.unclosed.extend(closing.map(|command| command.session));
        let origins = self.engine.origins.iter().cloned();
        self.writer.refuse(&self.shared, batch(), origins).expect("the engine packed it");
        self.fill_mailboxes(around);
        if around.options.bug == Bug::RefusedIsLogged {
            around.disk.set_room(None);
            if self.log.append(&self.engine.entry).is_ok() && self.log.sync().is_ok() {
                around.checks.durable.staged(self.log.next_index() - 1, &self.engine.entry);
                around.checks.durable.synced();
                self.engine.origins.iter_mut().for_each(|origin| origin.connection = None);
                self.engine.stage = Stage::Durable(0);
            }
        }
    }

    /// When nobody waits: room in the log, old segments gone.
    pub(crate) fn keep_house(&mut self, around: &mut Around<'_>) {
        self.log.prepare();
        if around.check_crash() {
            return;
        }
        let through = match around.options.bug == Bug::TrimTooFar {
            true => self.progress.applied,
            false => self.progress.committed,
        };
        if through > 0 && around.options.bug != Bug::NeverTrim {
            self.log.trim(through - 1).expect("segments can be removed");
            around.check_crash();
        }
    }
}
