//! The engine of a standalone server, in turns: it packs what waits into one log entry, has it made durable, and applies it. What arrives
//! while the disk works is the next entry.
//!
//! Invariants: a command is applied after its log entry is durable, and its replies leave after it is applied; a command that a
//! full disk refused has changed nothing, and its client is told.

use std::sync::Arc;

use oxkeeper_proto::{OpCode, SessionId};
use oxkeeper_state::command::{batch_extent, begin_batch};
use oxkeeper_state::{Batch, Command, Identities, Level, Raise, Settings};
use parking_lot::{Mutex, RwLock};

use super::housekeeping::Reaping;
use super::member::Moment;
use super::outside::{Event, Outside};
use crate::delivery::{Origin, Proposals};
use crate::ensemble::{DiskJob, Journal, JournalFull, JournalOp};
use crate::{Applier, Shared};

/// Settings of a standalone server.
#[derive(Clone, Copy, Debug)]
pub struct StandaloneOptions {
    /// How containers and TTL znodes are looked for.
    pub reaping: Reaping,
    /// Switches of the server's own commands.
    pub settings: Settings,
    /// Bytes of commands in one entry, unless one command alone has more.
    pub entry_len_max: usize,
    /// Commands applied under one exclusive lock.
    pub apply_max: usize,
    /// The feature level is raised to this one.
    pub raises_to: Level,
}

/// The entry at hand.
#[derive(Debug)]
struct Packed {
    bytes: Arc<[u8]>,
    /// One of each of its commands.
    origins: Vec<Origin>,
    /// It raises the feature level, and has no commands.
    raise: Option<Raise>,
    stage: Stage,
}

/// Progress of the entry at hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// The disk has it to write.
    Writing,
    /// It is durable, and so many of its commands are applied.
    Applying(usize),
}

/// Work of the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Writing {
    Entry,
    Upkeep,
}

/// See the module.
pub struct StandaloneEngine {
    /// `None`: everything is in memory only.
    journal: Option<Box<dyn Journal>>,
    applier: Applier,
    options: StandaloneOptions,
    /// Held while an entry is applied, of which the state may be unlocked in between.
    entry: Arc<Mutex<()>>,
    taken: Proposals,
    packed: Option<Packed>,
    writing: Option<Writing>,
    /// Sessions to close that a full disk kept from closing.
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
    /// Begins with a state at feature level `level` and `applied` entries, all that `journal` has. Who holds `entry` keeps entries from being applied.
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

    /// Goes on with another log and state, of which `applied` entries are applied; what was taken and not applied is forgotten.
    pub fn restart(&mut self, journal: Box<dyn Journal>, (applied, level): (u64, Level), now_ms: u64) {
        self.end_incarnation();
        self.journal = Some(journal);
        (self.applied, self.applied_last_tick, self.level) = (applied, applied, level);
        (self.next_tick_ms, self.next_reap_ms) = (0, now_ms + self.options.reaping.interval_ms);
    }

    /// Lets go of the log. Until [`StandaloneEngine::restart`] nothing may be submitted.
    pub fn end_incarnation(&mut self) {
        self.taken.clear();
        self.unclosed.clear();
        (self.journal, self.packed, self.writing) = (None, None, None);
    }

    /// Applies.
    pub fn applier_mut(&mut self) -> &mut Applier {
        &mut self.applier
    }

    /// Entries applied.
    pub fn applied(&self) -> u64 {
        self.applied
    }

    /// The entry that is being written or applied.
    pub fn entry_at_hand(&self) -> Option<&[u8]> {
        self.packed.as_ref().map(|packed| &*packed.bytes)
    }

    /// Whether an entry is applied in part.
    pub fn is_within_entry(&self) -> bool {
        self.packed.as_ref().is_some_and(|packed| matches!(packed.stage, Stage::Applying(1..)))
    }

    /// Whether everything submitted is applied or refused.
    pub fn is_idle(&self) -> bool {
        self.taken.is_empty() && self.packed.is_none() && self.unclosed.is_empty()
    }

    /// Whether something submitted waits to be written or applied.
    pub fn is_busy(&self) -> bool {
        !self.taken.is_empty() || self.packed.is_some()
    }

    /// Commands that wait to be packed.
    pub fn waiting(&self) -> u64 {
        self.taken.origins.len() as u64
    }

    /// Takes commands; `proposals` is empty afterwards.
    pub fn submit(&mut self, proposals: &mut Proposals) {
        if self.taken.is_empty() {
            std::mem::swap(&mut self.taken, proposals);
        } else {
            proposals.append_to(&mut self.taken);
        }
    }

    /// A connection's client is gone, and asked for its session to end behind what a full disk refused.
    pub fn close_later(&mut self, sessions: &mut Vec<SessionId>) {
        self.unclosed.append(sessions);
    }

    /// Does what time alone brings about, once an interval of the clocks.
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

    /// Trims what a checkpoint holds from the log; a tick without a write is time for one.
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

    /// Returns work of the disk, if there is any and no other is under way: the next entry, or what nobody waits for.
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

    /// As many of the commands taken as one entry may have.
    fn pack(&mut self, wall_ms: i64) -> Packed {
        let (len, count) = batch_extent(&self.taken.commands, self.options.entry_len_max);
        let mut entry = Vec::with_capacity(len + 64);
        begin_batch(wall_ms, &mut entry);
        entry.extend_from_slice(&self.taken.commands[..len]);
        self.taken.commands.drain(..len);
        let origins = self.taken.origins.drain(..count).collect();
        Packed { bytes: entry.into(), origins, raise: None, stage: Stage::Applying(0) }
    }

    /// In front of a write: whoever only looks at the data with a newer release may still go back to the former one.
    fn pack_raise(&self, wall_ms: i64) -> Option<Packed> {
        let level = Some(self.options.raises_to).filter(|level| *level > self.level)?;
        let raise = Raise { level, ballot: None, time_ms: wall_ms };
        let mut entry = Vec::new();
        raise.encode(&mut entry);
        Some(Packed { bytes: entry.into(), origins: Vec::new(), raise: Some(raise), stage: Stage::Applying(0) })
    }

    /// The work is done, or the disk is full.
    pub fn finish_disk(&mut self, done: Result<(), JournalFull>, shared: &RwLock<Shared>, outside: &mut dyn Outside) {
        let writing = self.writing.take().expect("work was under way");
        match (writing, done, &mut self.packed) {
            (Writing::Entry, Ok(()), Some(packed)) => packed.stage = Stage::Applying(0),
            (Writing::Entry, Err(JournalFull), _) => self.refuse(shared, outside),
            (Writing::Upkeep, ..) | (Writing::Entry, Ok(()), None) => {}
        }
    }

    /// Applies all of the entry at hand, if that is durable.
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

    /// Applies as much of the entry at hand as may be under one exclusive lock: for a driver that has others' turns in between.
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

    /// Applies the next commands of `entry`; how many. Fewer than may be are the last.
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

    /// The disk is full: nothing was done, and everyone is told. Sessions that should end will, later.
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

    /// When the next turn is due if nothing arrives before, ms.
    pub fn next_turn_ms(&self) -> u64 {
        self.next_tick_ms
    }

    /// Gives back buffers that a burst has left.
    pub fn shrink(&mut self, len: usize) {
        self.taken.commands.shrink_to(len);
    }
}
