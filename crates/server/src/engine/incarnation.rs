//! Incarnations of a standalone server. An incarnation holds everything that belongs to one
//! recovery from disk. A restored snapshot ends one incarnation and begins the next.
//!
//! Invariants: a new incarnation begins only after all writes to the files of the old one have
//! ended; a write from a connection of the old incarnation is never applied in the new one; a zxid
//! or session id of the old incarnation is never reused.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use oxkeeper_durable::recovery::{self, Recovered, Replay};
use oxkeeper_durable::{LogJournal, RecoveryError, StoreOptions};
use oxkeeper_replica::{Proposals, Serving, Shared};
use oxkeeper_state::State;
use oxkeeper_store::{DirLock, StoreError};
use tokio::sync::oneshot;
use tracing::{info, warn};

use crate::ended::Reason;
use crate::engine::mailbox::{Mailbox, Order};
use crate::engine::standalone::{Engine, FullDisk};
use crate::memory;
use crate::storage::restore::{Dirs, Planted, Replacement, RestoreError};
use crate::thread::STOP_POLL;

/// Pause between attempts to continue while the disk is full.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// Everything a standalone server has on disk, except its log.
pub(crate) struct OnDisk {
    pub(crate) dirs: Dirs,
    /// Held from the start of the first incarnation to the end of the last.
    pub(crate) _locks: Vec<DirLock>,
    /// `None` between two incarnations.
    pub(crate) checkpointing: Option<JoinHandle<()>>,
    /// Builds the shared part from a recovered state.
    pub(crate) renew: Box<dyn Fn(State) -> Shared + Send>,
}

impl std::fmt::Debug for OnDisk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OnDisk").field("dirs", &self.dirs).finish_non_exhaustive()
    }
}

impl Engine {
    /// Continues with a restored snapshot or, if that fails, with the previous data.
    pub(crate) fn succeed(&mut self, Replacement { planted, answer }: Replacement) {
        let replaced = self.replace(&planted);
        // The requester may have gone.
        let _ = answer.send(replaced);
    }

    fn replace(&mut self, planted: &Planted) -> Result<(), RestoreError> {
        if self.surroundings.shared.read().state.zxid() >= planted.begin {
            return Err(RestoreError::Overtaken);
        }
        self.surroundings.watchdog.engine_is_excused();
        warn!(zxid = %planted.zxid, "restoring a snapshot; closing every client");
        self.close_clients();
        self.end_incarnation();
        let counts = planted.count();
        self.begin_incarnation();
        self.surroundings.watchdog.engine_beats();
        Ok(counts?)
    }

    /// Ends every connection that has a session or asks for one. Discards their proposals that have
    /// not been answered.
    ///
    /// (1) Once the state has been locked, no session can begin or resume. (2) Each thread ends its
    /// connections. (3) Each thread reports, so every proposal it made for them is in the mailbox.
    /// (4) The mailbox is emptied.
    fn close_clients(&mut self) {
        self.surroundings.shared.write().serve(Serving::No, self.surroundings.clock.now_ms());
        let end = |mailbox: &Arc<Mailbox>| {
            let (answer, answered) = oneshot::channel();
            mailbox.order(Order::EndSessions { read_only: false });
            mailbox.order(Order::Report(answer));
            answered
        };
        let reports: Vec<_> = self.surroundings.mailboxes.iter().map(end).collect();
        // A thread that has stopped has no connections.
        reports.into_iter().for_each(|answered| drop(answered.blocking_recv()));
        self.surroundings.proposing.take_waiting(&mut Proposals::default());
        self.surroundings.mailboxes.iter().for_each(|mailbox| mailbox.relieve());
    }

    /// Ends the incarnation. Nothing writes to its files afterwards.
    fn end_incarnation(&mut self) {
        if let Some(checkpoints) = &self.surroundings.checkpoints {
            checkpoints.stop();
        }
        if let Some(thread) = self.on_disk.as_mut().and_then(|on_disk| on_disk.checkpointing.take()) {
            let _ = thread.join();
        }
        self.engine.end_incarnation();
        self.surroundings.full = FullDisk::default();
    }

    /// Begins an incarnation from the current data on disk, as a restart of the process would.
    /// Returns without one if the server is told to stop.
    fn begin_incarnation(&mut self) {
        while !self.surroundings.proposing.is_to_stop() {
            match self.recover() {
                Ok(()) => return info!(zxid = %self.surroundings.shared.read().state.zxid(), "serving"),
                Err(RecoveryError::Store(problem @ StoreError::Full { .. })) => {
                    warn!(%problem, "cannot recover yet; trying again");
                    std::thread::sleep(RETRY_PAUSE);
                }
                Err(problem) => return self.give_up(&problem),
            }
        }
    }

    /// Ends the process: its data cannot be used, and an operator has to act. Serves nobody until the
    /// server is stopped for that.
    fn give_up(&self, problem: &RecoveryError) {
        self.surroundings.ended.tell(Reason::Data(problem.to_string()));
        while !self.surroundings.proposing.is_to_stop() {
            std::thread::sleep(STOP_POLL);
        }
    }

    fn recover(&mut self) -> Result<(), RecoveryError> {
        let (Some(on_disk), Some(checkpoints)) = (&mut self.on_disk, &self.surroundings.checkpoints) else {
            unreachable!("what keeps nothing on disk is not restored");
        };
        let Dirs { disk, data_dir, data_log_dir, seed } = &on_disk.dirs;
        let options = StoreOptions::default();
        let recovered =
            recovery::recover_locked(Vec::new(), disk, data_dir, data_log_dir, *seed, &options, Replay::All)?;
        let Recovered { state, log, tree, applied, checkpointed, tail_len, last_checkpoint, .. } = recovered;
        let renewed = (on_disk.renew)(state);
        let mut shared = self.surroundings.shared.write();
        renewed.sessions.lock().succeed(shared.sessions.get_mut());
        renewed.watches.lock().fired = std::mem::take(&mut shared.watches.get_mut().fired);
        checkpoints.restart(applied, checkpointed, tail_len);
        checkpoints.stats.lock().last = last_checkpoint;
        let former = std::mem::replace(&mut *shared, renewed);
        drop(shared);
        drop(former);
        memory::give_back();
        let journal = Box::new(LogJournal::standalone(log));
        let level = self.surroundings.shared.read().state.level();
        self.engine.restart(journal, (applied, level), self.surroundings.clock.now_ms());
        let thread = checkpoints.start(&self.surroundings.shared, Arc::new(tree), self.surroundings.clock);
        on_disk.checkpointing = Some(thread.expect("the system has a thread: one has just ended"));
        Ok(())
    }
}
