//! Writes a server's checkpoints. Between portions of znodes the simulation goes on, as a server
//! does beside its checkpoint thread.
//!
//! Invariants, as in `oxkeeper-server`'s `checkpoint.rs`: a checkpoint begins between two entries,
//! when the log has everything that is applied; there is one at a time; and no incarnation of the
//! server ends before its checkpoint does.

use oxkeeper_durable::checkpoint::{put_head, put_znodes};
use oxkeeper_store::{StoreError, TreeWriter};

use super::server::{Mode, Process};
use super::world::World;
use crate::options::Bug;
use crate::server::DATA_DIR;

/// Limit of znodes in a portion.
const PORTION_MAX: u64 = 12;
/// Limit of events between two portions.
const STEPS_MAX: u64 = 20;

impl World {
    /// Writes all changes to the durable tree.
    pub(super) fn checkpoint(&mut self, me: usize) {
        let host = &mut self.hosts[me];
        if host.paused_until_ms > self.now_ms || host.checkpoints {
            return;
        }
        let start = host.start;
        let Some(Process { mode: Mode::Ready | Mode::Persisting(_), shared, incarnation: Some(incarnation), .. }) =
            &host.process
        else {
            return;
        };
        let engine = incarnation.engine.lock();
        if engine.replica().is_ahead_of_disk() && self.options.bug != Bug::EagerCheckpoint {
            return;
        }
        let applied = engine.replica().applied();
        drop(engine);
        let (head, tree) = (shared.write().state.begin_checkpoint(), incarnation.tree.clone());
        host.checkpoints = true;
        let done = tree.checkpoint(applied, |writer| {
            put_head(writer, &head)?;
            self.put_portions(me, start, writer)
        });
        drop(tree);
        self.hosts[me].checkpoints = false;
        if self.hosts[me].has_crashed() {
            return self.crash(me);
        }
        let host = &mut self.hosts[me];
        let Some(Process { shared, incarnation: Some(incarnation), .. }) =
            host.process.as_mut().filter(|_| host.start == start)
        else {
            return;
        };
        shared.write().state.end_checkpoint(&head, done.is_ok());
        if done.is_ok() {
            incarnation.committed = applied;
            self.report.checkpoints += 1;
        }
    }

    /// Writes the captured znodes. *Errors*: there is no room, or the process is gone and the
    /// result does not matter.
    fn put_portions(&mut self, me: usize, start: u64, writer: &mut TreeWriter<'_>) -> Result<(), StoreError> {
        let gone = || StoreError::Full { path: DATA_DIR.into() };
        loop {
            let count = self.random.within(1, PORTION_MAX) as usize;
            let host = self.hosts.get(me).filter(|host| host.start == start);
            let process = host.and_then(|host| host.process.as_ref()).ok_or_else(gone)?;
            let captured = process.shared.write().state.capture(count);
            if captured.is_empty() {
                return Ok(());
            }
            put_znodes(writer, captured)?;
            for _ in 0..self.random.below(STEPS_MAX) {
                self.step();
            }
        }
    }

    /// Returns whether a checkpoint is in progress, which must end before the server's incarnation
    /// may.
    pub(super) fn is_checkpointing(&self, me: usize) -> bool {
        self.hosts[me].checkpoints
    }
}
