//! The engine thread of a standalone server. It gives a [`StandaloneEngine`] its clients' commands,
//! a clock and a disk.
//!
//! `incarnation.rs` handles restored snapshots.

use std::sync::Arc;
use std::time::{Duration, Instant};

use oxkeeper_proto::ServerId;
use oxkeeper_replica::engine::{Event, Moment, Outside, Reaping, StandaloneEngine};
use oxkeeper_replica::ensemble::DiskJob;
use oxkeeper_replica::{Applier, Proposals, Shared};
use oxkeeper_state::State;
use oxkeeper_store::RECORD_LEN_MAX;
use parking_lot::{Mutex, RwLock, RwLockWriteGuard};
use tracing::{error, info};

use crate::clock::Clock;
use crate::ended::Ended;
use crate::engine::incarnation::OnDisk;
use crate::engine::mailbox::{Mailbox, Proposing};
use crate::storage::checkpoint::Checkpoints;
use crate::telemetry::audit::AuditLog;
use crate::telemetry::counters::EngineStats;
use crate::telemetry::slow::{SlowLog, Times};
use crate::telemetry::watchdog::Watchdog;
use oxkeeper_config::Containers;

/// Maximum number of commands applied under one exclusive lock. It bounds the wait of readers to
/// about 0.2 ms.
pub(crate) const APPLY_MAX: usize = 256;
/// Maximum bytes of commands in one log entry. A single longer command gets an entry of its own.
pub(crate) const ENTRY_LEN_MAX: usize = RECORD_LEN_MAX / 2;
/// Bytes of buffer capacity kept while idle.
const BUFFER_KEPT: usize = 256 << 10;
/// Interval between log lines about a full disk, ms.
const FULL_LOG_INTERVAL_MS: u64 = 5_000;

/// State of the engine thread.
#[derive(Debug)]
pub(crate) struct Engine {
    pub(crate) engine: StandaloneEngine,
    /// `None`: all data is in memory only.
    pub(crate) on_disk: Option<OnDisk>,
    pub(crate) slow: SlowLog,
    pub(crate) surroundings: Surroundings,
}

/// Surroundings of the engine.
#[derive(Debug)]
pub(crate) struct Surroundings {
    pub(crate) shared: Arc<RwLock<Shared>>,
    pub(crate) proposing: Arc<Proposing>,
    pub(crate) mailboxes: Vec<Arc<Mailbox>>,
    /// `None`: all data is in memory only.
    pub(crate) checkpoints: Option<Arc<Checkpoints>>,
    pub(crate) clock: Clock,
    pub(crate) watchdog: Arc<Watchdog>,
    pub(crate) stats: Arc<Mutex<EngineStats>>,
    pub(crate) audit: Option<Arc<AuditLog>>,
    pub(crate) ended: Arc<Ended>,
    pub(crate) full: FullDisk,
}

/// State of a full disk, for the operator's log.
#[derive(Debug, Default)]
pub(crate) struct FullDisk {
    pub(crate) since_ms: Option<u64>,
    next_log_ms: u64,
}

impl Engine {
    /// Runs until told to stop and nothing is waiting. The checkpoint thread in the returned value
    /// must still be stopped.
    pub(crate) fn run(mut self) -> Option<OnDisk> {
        let mut proposals = Proposals::default();
        while self.surroundings.proposing.take(&mut proposals, self.idle_time()) {
            self.surroundings.watchdog.engine_beats();
            self.go_round(&mut proposals);
            proposals.commands.shrink_to(BUFFER_KEPT);
            if let Some(replacement) = self.surroundings.proposing.take_replacement() {
                self.succeed(replacement);
            }
        }
        // Dropping it tells the waiting requester.
        drop(self.surroundings.proposing.take_replacement());
        let zxid = self.surroundings.shared.read().state.zxid();
        match self.on_disk {
            Some(_) => info!(%zxid, "stopped; every write is on disk"),
            None => info!(%zxid, "stopped; nothing was kept on disk"),
        }
        self.on_disk
    }

    fn idle_time(&self) -> Duration {
        Duration::from_millis(self.engine.next_turn_ms().saturating_sub(self.surroundings.clock.now_ms()))
    }

    /// Makes all proposals durable and applies them, in entries of bounded size.
    fn go_round(&mut self, proposals: &mut Proposals) {
        let Engine { engine, surroundings: outside, .. } = self;
        let shared = outside.shared.clone();
        engine.submit(proposals);
        let moment = Moment { now_ms: outside.clock.now_ms(), wall_ms: outside.clock.wall_ms() };
        engine.turn(&shared, moment, outside);
        outside.stats.lock().taken(engine.waiting());
        loop {
            let taken_ms = self.surroundings.clock.now_ms();
            if let Some(work) = self.engine.begin_disk(self.surroundings.clock.wall_ms()) {
                self.wait_for_disk(&shared, work);
            }
            if !self.engine.is_busy() {
                break;
            }
            self.apply(&shared, taken_ms);
        }
        self.engine.shrink(BUFFER_KEPT);
    }

    fn wait_for_disk(&mut self, shared: &RwLock<Shared>, work: DiskJob) {
        let outside = &mut self.surroundings;
        let start = Instant::now();
        outside.watchdog.engine_is_excused();
        let done = work();
        outside.watchdog.engine_beats();
        if self.engine.is_busy() {
            outside.stats.lock().synced(start.elapsed().as_micros() as u64);
        }
        self.engine.finish_disk(done, shared, outside);
    }

    fn apply(&mut self, shared: &RwLock<Shared>, taken_ms: u64) {
        let outside = &mut self.surroundings;
        let durable_ms = outside.clock.now_ms();
        self.engine.apply(shared, durable_ms, outside);
        let times = Times { taken_ms: Some(taken_ms), durable_ms };
        let slow = self.slow.report(self.engine.applier_mut(), times, outside.clock);
        if slow > 0 {
            outside.stats.lock().slow_requests += slow;
        }
    }
}

impl Outside for Surroundings {
    fn send(&mut self, _peer: ServerId, _frame: Vec<u8>) {}

    fn flush(&mut self) {}

    fn end_link(&mut self, _peer: ServerId, _why: &str) {}

    fn deliver(&mut self, applier: &mut Applier, locked: RwLockWriteGuard<'_, Shared>, entry: Option<&[u8]>) {
        if let Some(entry) = entry {
            if let Some(since_ms) = self.full.since_ms.take() {
                info!(full_ms = self.clock.now_ms() - since_ms, "the disk has room again; accepting writes");
            }
            let age_ms = age_ms(&locked.state, self.clock.wall_ms());
            self.stats.lock().applied(std::mem::take(&mut applier.applied), age_ms, true);
            self.checkpoints.iter().for_each(|checkpoints| checkpoints.applied(entry.len() as u64));
        }
        deliver(applier, &self.mailboxes, self.audit.as_deref(), locked);
    }

    fn idle(&mut self) {
        self.checkpoints.iter().for_each(|checkpoints| checkpoints.idle());
    }

    fn spent(&mut self) -> u64 {
        let through = self.checkpoints.as_ref().and_then(|checkpoints| checkpoints.trimmable());
        through.map_or(0, |through| through + 1)
    }

    fn happened(&mut self, event: Event<'_>) {
        match event {
            Event::SessionExpired { session, ephemerals } => {
                info!(%session, ephemerals, "session expired");
                self.stats.lock().sessions_expired += 1;
            }
            Event::Reaped(znode) => info!(path = znode.path, "deleting a container or TTL znode"),
            Event::LevelRaised(level) => {
                info!(level = level.0, "raised the feature level; older releases can no longer read the data");
            }
            Event::DiskFull => self.note_full(),
            Event::LocalSessionExpired { .. } | Event::Serving { .. } | Event::DiskStalled { .. } => {}
        }
    }
}

impl Surroundings {
    fn note_full(&mut self) {
        let now_ms = self.clock.now_ms();
        self.full.since_ms.get_or_insert(now_ms);
        if now_ms >= self.full.next_log_ms {
            self.full.next_log_ms = now_ms + FULL_LOG_INTERVAL_MS;
            error!("the disk is full; refusing writes, serving reads. Free some space");
        }
    }
}

/// Returns the age of the entry just applied, by this server's clock. The clock that stamped the
/// entry may be ahead.
pub(crate) fn age_ms(state: &State, wall_ms: i64) -> u64 {
    u64::try_from(wall_ms.saturating_sub(state.time_ms())).unwrap_or(0)
}

/// Returns how to look for empty containers and overdue TTL znodes.
pub(crate) fn reaping(containers: &Containers) -> Reaping {
    let interval_ms = u64::from(containers.check_interval_ms);
    let per_check = u64::from(containers.removals_per_minute_max) * interval_ms.min(60_000) / 60_000;
    Reaping {
        interval_ms,
        count_max: usize::try_from(per_check).unwrap_or(usize::MAX).max(1),
        never_used_ms: i64::try_from(containers.never_used_max_ms).unwrap_or(i64::MAX),
    }
}

/// Fills the mailboxes while the state is still locked, and wakes their threads after the lock is
/// released.
pub(crate) fn deliver(applier: &mut Applier, mailboxes: &[Arc<Mailbox>], audit: Option<&AuditLog>, locked: impl Sized) {
    let mut filled = 0u64;
    for (place, (outbox, mailbox)) in applier.outboxes.iter_mut().zip(mailboxes).enumerate() {
        filled |= u64::from(mailbox.fill(outbox)) << place;
    }
    drop(locked);
    if let Some(audit) = audit {
        audit.take(applier);
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
