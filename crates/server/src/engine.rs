//! The engine: one thread through which every write goes. It packs what waits into one log entry, makes it durable,
//! applies it, and hands out events and replies. What arrives while the disk works is the next entry.
//!
//! It also drives what only time moves: session expiry and the reaper of containers and TTL znodes.
//!
//! Invariant: a command is applied after its log entry is durable, and its replies leave after it is applied.
//! What a restored snapshot changes stands in `alone.rs`.

use std::sync::Arc;
use std::time::Duration;

use oxkeeper_proto::{OpCode, SessionId};
use oxkeeper_replica::engine::Reaping;
use oxkeeper_replica::{Origin, Proposals, Shared, Writer};
use oxkeeper_state::command::{batch_extent, begin_batch};
use oxkeeper_state::{Batch, Command, Identities, Settings, State};
use oxkeeper_store::{AppendError, Log, RECORD_LEN_MAX};
use parking_lot::{Mutex, RwLock};
use tracing::{error, info, warn};

use crate::alone::Home;
use crate::audit::AuditLog;
use crate::checkpoint::Checkpoints;
use crate::clock::Clock;
use crate::config::Containers;
use crate::mailbox::{Mailbox, Proposing};
use crate::metrics::EngineStats;
use crate::pulse::Pulse;
use crate::slow::{SlowLog, Times};

/// Commands applied under one exclusive lock: readers wait no longer than these take, about 0.2 ms.
const APPLY_MAX: usize = 256;
/// Bytes of commands in one log entry, unless one command alone has more.
const ENTRY_LEN_MAX: usize = RECORD_LEN_MAX / 2;
/// Bytes of buffers kept while nothing happens.
const BUFFER_KEPT: usize = 256 << 10;
/// How long a full disk is left alone before the next write tries it, ms.
const FULL_LOG_INTERVAL_MS: u64 = 5_000;

/// The thread's state.
#[derive(Debug)]
pub(crate) struct Engine {
    pub(crate) shared: Arc<RwLock<Shared>>,
    pub(crate) proposing: Arc<Proposing>,
    pub(crate) mailboxes: Vec<Arc<Mailbox>>,
    /// `None`: everything is in memory only, or the server stops in the midst of a restore.
    pub(crate) log: Option<Log>,
    /// `None`: everything is in memory only.
    pub(crate) home: Option<Home>,
    pub(crate) checkpoints: Option<Arc<Checkpoints>>,
    pub(crate) clock: Clock,
    pub(crate) pulse: Arc<Pulse>,
    pub(crate) containers: Containers,
    pub(crate) settings: Settings,
    pub(crate) stats: Arc<Mutex<EngineStats>>,
    pub(crate) writer: Writer,
    pub(crate) slow: SlowLog,
    pub(crate) audit: Option<Arc<AuditLog>>,
    /// Sessions to close that a full disk kept from closing.
    pub(crate) unclosed: Vec<SessionId>,
    pub(crate) next_tick_ms: u64,
    /// Log entries that were applied when the last tick came.
    pub(crate) applied_last_tick: u64,
    pub(crate) next_reap_ms: u64,
    pub(crate) full_since_ms: Option<u64>,
    pub(crate) next_full_log_ms: u64,
}

impl Engine {
    /// Runs until it is told to stop and nothing waits any more. What it leaves has a thread that is to be stopped.
    pub(crate) fn run(mut self) -> Option<Home> {
        let mut proposals = Proposals::default();
        let mut entry = Vec::new();
        while self.proposing.take(&mut proposals, self.idle_time()) {
            self.pulse.engine_beats();
            self.tick(&mut proposals);
            if !proposals.is_empty() {
                self.settle(&mut proposals, &mut entry);
                entry.shrink_to(BUFFER_KEPT);
                proposals.commands.shrink_to(BUFFER_KEPT);
            }
            self.keep_house();
            if let Some(replacement) = self.proposing.take_replacement() {
                self.succeed(replacement);
            }
        }
        // Whoever waits for one more is told so.
        drop(self.proposing.take_replacement());
        info!(zxid = %self.shared.read().state.zxid(), "every write is on disk");
        self.home
    }

    fn idle_time(&self) -> Duration {
        Duration::from_millis(self.next_tick_ms.saturating_sub(self.clock.now_ms()))
    }

    /// What time alone brings about.
    fn tick(&mut self, proposals: &mut Proposals) {
        let now_ms = self.clock.now_ms();
        if now_ms < self.next_tick_ms {
            return;
        }
        let shared = self.shared.read();
        let mut sessions = shared.sessions.lock();
        self.next_tick_ms = now_ms + sessions.clocks.interval_ms();
        let expired = sessions.clocks.tick(now_ms);
        drop(sessions);
        for &session in &expired {
            info!(%session, ephemerals = shared.state.ephemerals_of(session), "session expired");
        }
        drop(shared);
        self.stats.lock().sessions_expired += expired.len() as u64;
        for session in std::mem::take(&mut self.unclosed).into_iter().chain(expired) {
            self.propose(proposals, session, OpCode::CloseSession, &[]);
        }
        self.shorten_log();
        if now_ms >= self.next_reap_ms {
            self.next_reap_ms = now_ms + u64::from(self.containers.check_interval_ms);
            self.reap(proposals);
        }
    }

    /// Proposes to delete spent containers and overdue TTL znodes.
    fn reap(&self, proposals: &mut Proposals) {
        let Reaping { count_max, never_used_ms, .. } = reaping(&self.containers);
        for znode in self.shared.read().state.expendable(self.clock.wall_ms(), never_used_ms, count_max) {
            info!(path = znode.path, "reaping a container or TTL znode");
            self.propose(proposals, SessionId::NONE, OpCode::DeleteContainer, &znode.encode());
        }
    }

    fn propose(&self, proposals: &mut Proposals, session: SessionId, op: OpCode, body: &[u8]) {
        let (settings, identities) = (self.settings, Identities::default());
        let command = Command { from: None, session, xid: 0, op, settings, identities, body };
        command.encode(&mut proposals.commands);
        proposals.origins.push(Origin::own(self.clock.now_ms()));
    }

    /// Makes everything proposed durable and applies it, in entries of bounded size.
    fn settle(&mut self, proposals: &mut Proposals, entry: &mut Vec<u8>) {
        self.stats.lock().taken(proposals.origins.len() as u64);
        let mut commands = proposals.commands.as_slice();
        let mut origins = proposals.origins.drain(..);
        while !commands.is_empty() {
            let (len, count) = batch_extent(commands, ENTRY_LEN_MAX);
            entry.clear();
            begin_batch(self.clock.wall_ms(), entry);
            entry.extend_from_slice(&commands[..len]);
            self.settle_entry(entry, count, &mut origins.by_ref().take(count));
            commands = &commands[len..];
        }
        drop(origins);
        proposals.clear();
    }

    /// `origins` are those of its `count` commands.
    fn settle_entry(&mut self, entry: &[u8], count: usize, origins: &mut dyn Iterator<Item = Origin>) {
        let taken_ms = Some(self.clock.now_ms());
        if self.make_durable(entry) {
            let durable_ms = self.clock.now_ms();
            self.apply(entry, count, origins);
            let slow = self.slow.report(&mut self.writer, Times { taken_ms, durable_ms }, self.clock);
            if slow > 0 {
                self.stats.lock().slow_requests += slow;
            }
        } else {
            self.refuse(entry, origins);
        }
    }

    /// False if the disk is full: then the entry is not in the log and never will be.
    fn make_durable(&mut self, entry: &[u8]) -> bool {
        let Some(log) = &mut self.log else { return true };
        self.pulse.engine_is_excused();
        let start = std::time::Instant::now();
        let durable = match log.append(entry) {
            Ok(_) => log.sync().is_ok(),
            Err(AppendError::Full) => false,
            Err(problem @ (AppendError::TooLarge { .. } | AppendError::SyncFirst)) => {
                unreachable!("an entry of {} bytes fits: {problem}", entry.len())
            }
        };
        let took_us = start.elapsed().as_micros() as u64;
        self.pulse.engine_beats();
        self.stats.lock().synced(took_us);
        durable
    }

    fn apply(&mut self, entry: &[u8], count: usize, origins: &mut dyn Iterator<Item = Origin>) {
        if let Some(since_ms) = self.full_since_ms.take() {
            info!(full_ms = self.clock.now_ms() - since_ms, "the disk has room again: writes are taken");
        }
        let mut batch = Batch::decode(entry).expect("the engine packed it");
        let now_ms = self.clock.now_ms();
        let checkpoints = self.checkpoints.clone();
        let _applying = checkpoints.as_ref().map(|checkpoints| checkpoints.between_entries().lock());
        loop {
            let mut shared = self.shared.write();
            let applied = self.writer.apply(&mut shared, &mut batch, origins, APPLY_MAX, now_ms);
            let last = applied.expect("the engine packed it") < APPLY_MAX;
            if last {
                let age_ms = age_ms(&shared.state, self.clock.wall_ms());
                self.stats.lock().applied(count as u64, age_ms, true);
                checkpoints.iter().for_each(|checkpoints| checkpoints.applied(entry.len() as u64));
            }
            deliver(&mut self.writer, &self.mailboxes, self.audit.as_deref(), shared);
            if last {
                return;
            }
        }
    }

    /// The disk is full: nothing was done, and everyone is told. Sessions that should end will, later.
    fn refuse(&mut self, entry: &[u8], origins: &mut dyn Iterator<Item = Origin>) {
        let now_ms = self.clock.now_ms();
        self.full_since_ms.get_or_insert(now_ms);
        if now_ms >= self.next_full_log_ms {
            self.next_full_log_ms = now_ms + FULL_LOG_INTERVAL_MS;
            error!("the disk is full: writes are refused, reads are served; free space and writes are taken again");
        }
        let batch = || Batch::decode(entry).expect("the engine packed it");
        let closing = batch().flatten().filter(|command| command.op == OpCode::CloseSession);
        self.unclosed.extend(closing.map(|command| command.session));
        let shared = self.shared.read();
        self.writer.refuse(&shared, batch(), origins).expect("the engine packed it");
        deliver(&mut self.writer, &self.mailboxes, self.audit.as_deref(), shared);
    }

    /// When nobody waits: room in the log.
    fn keep_house(&mut self) {
        if let Some(log) = &mut self.log {
            log.prepare();
        }
    }

    /// Once a tick: what a checkpoint holds leaves the log, a few files at a time; a tick without a write is time for one.
    fn shorten_log(&mut self) {
        let (Some(log), Some(checkpoints)) = (&mut self.log, &self.checkpoints) else { return };
        let applied = checkpoints.applied_count();
        if std::mem::replace(&mut self.applied_last_tick, applied) == applied {
            checkpoints.idle();
        }
        if let Some(through) = checkpoints.trimmable()
            && let Err(problem) = log.trim(through)
        {
            warn!(%problem, "old log segments stay for now");
        }
    }
}

/// How old the entry is that was just applied, by this server's clock. That of whoever stamped it may be ahead.
pub(crate) fn age_ms(state: &State, wall_ms: i64) -> u64 {
    u64::try_from(wall_ms.saturating_sub(state.time_ms())).unwrap_or(0)
}

/// How spent containers and overdue TTL znodes are looked for.
pub(crate) fn reaping(containers: &Containers) -> Reaping {
    let interval_ms = u64::from(containers.check_interval_ms);
    let per_check = u64::from(containers.removals_per_minute_max) * interval_ms.min(60_000) / 60_000;
    Reaping {
        interval_ms,
        count_max: usize::try_from(per_check).unwrap_or(usize::MAX).max(1),
        never_used_ms: i64::try_from(containers.never_used_max_ms).unwrap_or(i64::MAX),
    }
}

/// Fills the mailboxes while the state is still locked, and wakes their threads once it is not.
pub(crate) fn deliver(writer: &mut Writer, mailboxes: &[Arc<Mailbox>], audit: Option<&AuditLog>, locked: impl Sized) {
    let mut filled = 0u64;
    for (place, (outbox, mailbox)) in writer.outboxes.iter_mut().zip(mailboxes).enumerate() {
        filled |= u64::from(mailbox.fill(outbox)) << place;
    }
    drop(locked);
    if let Some(audit) = audit {
        audit.take(writer);
    }
    for (place, mailbox) in mailboxes.iter().enumerate() {
        if filled >> place & 1 == 1 {
            mailbox.wake();
            mailbox.wait_for_room();
        } else {
            mailbox.relieve();
        }
    }
}
