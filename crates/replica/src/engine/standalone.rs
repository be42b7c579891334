//! The engine of a standalone server, in turns: it packs the waiting commands into one log entry,
//! has it made durable, and applies it. Commands that arrive while the disk works go into the next
//! entry.
//!
//! Invariants: a command is applied after its log entry is durable, and its replies leave after it
//! is applied; a command that a full disk refused has changed nothing, and its client is told.

use std::sync::Arc;

use oxkeeper_proto::{OpCode, SessionId};
use oxkeeper_state::command::{batch_extent, begin_batch};
use oxkeeper_state::{Batch, Command, Identities, Level, Raise, Settings};
use parking_lot::{Mutex, RwLock};

use super::housekeeping::Reaping;
use super::member::Moment;
use crate::delivery::{Origin, Proposals};
use crate::ensemble::{DiskJob, Journal, JournalFull, JournalOp};
use crate::outside::{Event, Outside};
use crate::{Applier, Shared};

/// Settings of a standalone server.
#[derive(Clone, Copy, Debug)]
pub struct StandaloneOptions {
    /// Settings for the deletion of containers and TTL znodes.
    pub reaping: Reaping,
    /// Settings for the server's own commands.
    pub settings: Settings,
    /// Bytes of commands in one entry, unless one command alone is longer.
    pub entry_len_max: usize,
    /// Number of commands applied under one exclusive lock.
    pub apply_max: usize,
    /// Level to which the server raises the feature level.
    pub raises_to: Level,
}

/// The current entry, which is being written or applied.
#[derive(Debug)]
struct Packed {
    bytes: Arc<[u8]>,
    /// Origins of its commands, one for each.
    origins: Vec<Origin>,
    /// Set if the entry raises the feature level, and has no commands.
    raise: Option<Raise>,
    stage: Stage,
}

/// Progress of the current entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// The disk is writing the entry.
    Writing,
    /// The entry is durable, and this many of its commands are applied.
    Applying(usize),
}

/// Kind of disk work under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Writing {
    Entry,
    Upkeep,
}

/// See the module.
pub struct StandaloneEngine {
    /// The log; `None` if everything is in memory only.
    journal: Option<Box<dyn Journal>>,
    applier: Applier,
    options: StandaloneOptions,
    /// Held while an entry is applied, during which the state may be unlocked at times.
    entry: Arc<Mutex<()>>,
    taken: Proposals,
    packed: Option<Packed>,
    writing: Option<Writing>,
    /// Sessions whose close a full disk refused, still to be closed.
    unclosed: Vec<SessionId>,
    applied: u64,
    level: Level,
    applied_last_tick: u64,
    next_tick_ms: u64,
    next_reap_ms: u64,
}

impl std::fmt::Debug for StandaloneEngine {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("StandaloneEngine").field("applied", &self.applied).finish_non_exhaustive()
    }
}

impl StandaloneEngine {
    /// Creates an engine with a state at feature level `level` and `applied` entries, which are all
    /// that `journal` has. A thread that holds `entry` keeps entries from being applied.
    pub fn new(
        journal: Option<Box<dyn Journal>>,
        applier: Applier,
        options: StandaloneOptions,
        entry: Arc<Mutex<()>>,
        (applied, level): (u64, Level),
        now_ms: u64,
    ) -> StandaloneEngine {
        StandaloneEngine {
            journal,
            applier,
            options,
            entry,
            taken: Proposals::default(),
            packed: None,
            writing: None,
            unclosed: Vec::new(),
            applied,
            level,
            applied_last_tick: applied,
            next_tick_ms: 0,
            next_reap_ms: now_ms + options.reaping.interval_ms,
        }
    }

    /// Continues with another log and state, which has `applied` entries applied. Commands that
    /// were taken and not applied are forgotten.
    pub fn restart(&mut self, journal: Box<dyn Journal>, (applied, level): (u64, Level), now_ms: u64) {
        self.end_incarnation();
        self.journal = Some(journal);
        (self.applied, self.applied_last_tick, self.level) = (applied, applied, level);
        (self.next_tick_ms, self.next_reap_ms) = (0, now_ms + self.options.reaping.interval_ms);
    }

    /// Releases the log. Nothing may be submitted until [`StandaloneEngine::restart`].
    pub fn end_incarnation(&mut self) {
        self.taken.clear();
        self.unclosed.clear();
        (self.journal, self.packed, self.writing) = (None, None, None);
    }

    /// Returns the applier, mutably.
    pub fn applier_mut(&mut self) -> &mut Applier {
        &mut self.applier
    }

    /// Returns the number of applied entries.
    pub fn applied(&self) -> u64 {
        self.applied
    }

    /// Returns the entry that is being written or applied.
    pub fn entry_at_hand(&self) -> Option<&[u8]> {
        self.packed.as_ref().map(|packed| &*packed.bytes)
    }

    /// Returns whether an entry is partly applied.
    pub fn is_within_entry(&self) -> bool {
        self.packed.as_ref().is_some_and(|packed| matches!(packed.stage, Stage::Applying(1..)))
    }

    /// Returns whether everything submitted is applied or refused.
    pub fn is_idle(&self) -> bool {
        self.taken.is_empty() && self.packed.is_none() && self.unclosed.is_empty()
    }

    /// Returns whether a submitted command waits to be written or applied.
    pub fn is_busy(&self) -> bool {
        !self.taken.is_empty() || self.packed.is_some()
    }

    /// Returns the number of commands that wait to be packed.
    pub fn waiting(&self) -> u64 {
        self.taken.origins.len() as u64
    }

    /// Takes commands and leaves `proposals` empty.
    pub fn submit(&mut self, proposals: &mut Proposals) {
        if self.taken.is_empty() {
            std::mem::swap(&mut self.taken, proposals);
        } else {
            proposals.append_to(&mut self.taken);
        }
    }

    /// Takes sessions to close later: their connections are gone, and a full disk refused to close
    /// them.
    pub fn close_later(&mut self, sessions: &mut Vec<SessionId>) {
        self.unclosed.append(sessions);
    }

    /// Does the work that is due by time alone, once per interval of the clocks.
    pub fn turn(&mut self, shared: &RwLock<Shared>, moment: Moment, outside: &mut dyn Outside) {
        let Moment { now_ms, wall_ms } = moment;
        if now_ms < self.next_tick_ms {
            return;
        }
        self.expire(shared, now_ms, outside);
        self.shorten_log(outside);
        if now_ms >= self.next_reap_ms {
            let Reaping { interval_ms, count_max, never_used_ms } = self.options.reaping;
            self.next_reap_ms = now_ms + interval_ms;
            for znode in shared.read().state.expendable(wall_ms, never_used_ms, count_max) {
                outside.happened(Event::Reaped(&znode));
                self.propose(SessionId::NONE, OpCode::DeleteContainer, &znode.encode(), now_ms);
            }
        }
    }

    fn expire(&mut self, shared: &RwLock<Shared>, now_ms: u64, outside: &mut dyn Outside) {
        let shared = shared.read();
        let mut sessions = shared.sessions.lock();
        self.next_tick_ms = now_ms + sessions.clocks.interval_ms();
        let expired = sessions.clocks.tick(now_ms);
        drop(sessions);
        for &session in &expired {
            let ephemerals = shared.state.ephemerals_of(session);
            outside.happened(Event::SessionExpired { session, ephemerals });
        }
        for session in std::mem::take(&mut self.unclosed).into_iter().chain(expired) {
            self.propose(session, OpCode::CloseSession, &[], now_ms);
        }
    }

    /// Trims entries that a checkpoint holds from the log. A tick without a write is a good time
    /// for a checkpoint.
    pub fn shorten_log(&mut self, outside: &mut dyn Outside) {
        if std::mem::replace(&mut self.applied_last_tick, self.applied) == self.applied {
            outside.idle();
        }
        if let Some(journal) = &mut self.journal {
            journal.trim(outside.spent());
        }
    }

    fn propose(&mut self, session: SessionId, op: OpCode, body: &[u8], now_ms: u64) {
        let (settings, identities) = (self.options.settings, Identities::default());
        let command = Command { from: None, session, xid: 0, op, settings, identities, body };
        command.encode(&mut self.taken.commands);
        self.taken.origins.push(Origin::own(now_ms));
    }

    /// Returns work for the disk, if there is any and no other is under way: the next entry, or
    /// work that nothing waits for.
    pub fn begin_disk(&mut self, wall_ms: i64) -> Option<DiskJob> {
        if self.writing.is_some() || self.packed.is_some() {
            return None;
        }
        if self.taken.is_empty() {
            let work = self.journal.as_mut()?.upkeep()?;
            self.writing = Some(Writing::Upkeep);
            return Some(work);
        }
        let packed = self.pack_raise(wall_ms).unwrap_or_else(|| self.pack(wall_ms));
        let packed = self.packed.insert(packed);
        let journal = self.journal.as_mut()?;
        packed.stage = Stage::Writing;
        let work = journal.work(vec![vec![JournalOp::Append(packed.bytes.clone())]]);
        self.writing = Some(Writing::Entry);
        Some(work)
    }

    /// Packs as many of the waiting commands as fit one entry.
    fn pack(&mut self, wall_ms: i64) -> Packed {
        let (len, count) = batch_extent(&self.taken.commands, self.options.entry_len_max);
        let mut entry = Vec::with_capacity(len + 64);
        begin_batch(wall_ms, &mut entry);
        entry.extend_from_slice(&self.taken.commands[..len]);
        self.taken.commands.drain(..len);
        let origins = self.taken.origins.drain(..count).collect();
        Packed { bytes: entry.into(), origins, raise: None, stage: Stage::Applying(0) }
    }

    /// Packs a raise of the feature level in front of a write: an operator who only looks at the
    /// data with a newer release may still go back to the former one.
    fn pack_raise(&self, wall_ms: i64) -> Option<Packed> {
        let level = Some(self.options.raises_to).filter(|level| *level > self.level)?;
        let raise = Raise { level, ballot: None, time_ms: wall_ms };
        let mut entry = Vec::new();
        raise.encode(&mut entry);
        Some(Packed { bytes: entry.into(), origins: Vec::new(), raise: Some(raise), stage: Stage::Applying(0) })
    }

    /// Handles the end of the work, or a full disk.
    pub fn finish_disk(&mut self, done: Result<(), JournalFull>, shared: &RwLock<Shared>, outside: &mut dyn Outside) {
        let writing = self.writing.take().expect("work was under way");
        match (writing, done, &mut self.packed) {
            (Writing::Entry, Ok(()), Some(packed)) => packed.stage = Stage::Applying(0),
            (Writing::Entry, Err(JournalFull), _) => self.refuse(shared, outside),
            (Writing::Upkeep, ..) | (Writing::Entry, Ok(()), None) => {}
        }
    }

    /// Applies the whole current entry, if it is durable.
    pub fn apply(&mut self, shared: &RwLock<Shared>, now_ms: u64, outside: &mut dyn Outside) {
        let Some(packed) = self.packed.take_if(|packed| packed.stage == Stage::Applying(0)) else { return };
        let entry = self.entry.clone();
        let _between_entries = entry.lock();
        if let Some(raise) = &packed.raise {
            return self.raise(raise, &packed.bytes, shared, outside);
        }
        let mut batch = Batch::decode(&packed.bytes).expect("the engine packed it");
        let mut origins = packed.origins.into_iter();
        while self.apply_chunk(&packed.bytes, &mut batch, &mut origins, shared, now_ms, outside)
            == self.options.apply_max
        {}
    }

    /// Applies as many commands of the current entry as one exclusive lock allows: for a driver
    /// that lets others take turns in between.
    pub fn apply_some(&mut self, shared: &RwLock<Shared>, now_ms: u64, outside: &mut dyn Outside) {
        let Some(mut packed) = self.packed.take_if(|packed| packed.stage != Stage::Writing) else { return };
        let Stage::Applying(done) = packed.stage else { return };
        if let Some(raise) = &packed.raise {
            return self.raise(raise, &packed.bytes, shared, outside);
        }
        let limit = self.options.apply_max;
        let mut batch = Batch::decode(&packed.bytes).expect("the engine packed it");
        let passed = batch.by_ref().take(done).count();
        assert_eq!(passed, done, "the commands applied are there");
        let mut origins = packed.origins.drain(..limit.min(packed.origins.len()));
        let applied = self.apply_chunk(&packed.bytes, &mut batch, &mut origins, shared, now_ms, outside);
        drop(origins);
        if applied == limit {
            packed.stage = Stage::Applying(done + applied);
            self.packed = Some(packed);
        }
    }

    fn raise(&mut self, raise: &Raise, entry: &[u8], shared: &RwLock<Shared>, outside: &mut dyn Outside) {
        let mut locked = shared.write();
        locked.state.raise(raise);
        (self.level, self.applied) = (raise.level, self.applied + 1);
        outside.deliver(&mut self.applier, locked, Some(entry));
        outside.happened(Event::LevelRaised(raise.level));
    }

    /// Applies the next commands of `entry` and returns how many. If there are fewer than allowed,
    /// they are the last.
    fn apply_chunk(
        &mut self,
        entry: &[u8],
        batch: &mut Batch<'_>,
        origins: &mut dyn Iterator<Item = Origin>,
        shared: &RwLock<Shared>,
        now_ms: u64,
        outside: &mut dyn Outside,
    ) -> usize {
        let mut locked = shared.write();
        let applied = self.applier.apply(&mut locked, batch, origins, self.options.apply_max, now_ms);
        let applied = applied.expect("the engine packed it");
        let is_last = applied < self.options.apply_max;
        self.applied += u64::from(is_last);
        outside.deliver(&mut self.applier, locked, is_last.then_some(entry));
        applied
    }

    /// Handles a full disk: nothing was done, and every client that waits is told. Sessions that
    /// should end will do so later.
    fn refuse(&mut self, shared: &RwLock<Shared>, outside: &mut dyn Outside) {
        let Some(Packed { bytes, origins, raise: None, .. }) = self.packed.take() else {
            return outside.happened(Event::DiskFull);
        };
        let batch = || Batch::decode(&bytes).expect("the engine packed it");
        let closing = batch().flatten().filter(|command| command.op == OpCode::CloseSession);
        self.unclosed.extend(closing.map(|command| command.session));
        let locked = shared.write();
        self.applier.refuse(&locked, batch(), origins.into_iter()).expect("the engine packed it");
        outside.deliver(&mut self.applier, locked, None);
        outside.happened(Event::DiskFull);
    }

    /// Returns the time at which the next turn is due if nothing arrives before, ms.
    pub fn next_turn_ms(&self) -> u64 {
        self.next_tick_ms
    }

    /// Frees buffers that a burst has left.
    pub fn shrink(&mut self, len: usize) {
        self.taken.commands.shrink_to(len);
    }
}
