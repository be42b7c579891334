//! Work for the disk, and its completion.

use super::consensus::Consensus;
use super::journal::{DiskJob, JournalFull};
use super::participation::Participation;
use super::replica::Replica;

/// Work that the disk does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Writing {
    /// Staged changes.
    Staged,
    /// The end of the configuration.
    End,
    /// Work that nothing waits for.
    Upkeep,
}

impl Replica {
    /// Returns whether [`Replica::begin_persist`] may have work.
    pub fn wants_disk(&self) -> bool {
        let is_staged = self.next.is_some() || self.store().is_some_and(|store| store.lock().is_staged());
        self.writing.is_none() && is_staged
    }

    /// Returns whether the disk has nothing to do: no work is under way or waiting.
    pub fn is_durable(&self) -> bool {
        self.next.is_none() && self.store().is_none_or(|store| store.lock().is_durable())
    }

    /// Returns the work that makes durable what must be, if there is any. Any thread may do it, and
    /// everything else here may continue meanwhile; the caller calls [`Replica::finish_persist`]
    /// when it is done.
    pub fn begin_persist(&mut self) -> Option<DiskJob> {
        if self.writing.is_some() {
            return None;
        }
        if let Some(next) = self.next.clone()
            && self.store().is_some_and(|store| store.lock().durable_end() >= next.base)
        {
            self.writing = Some(Writing::End);
            return Some(self.begin_reconfiguration(&next));
        }
        let work = match &mut self.participation {
            Participation::Voter(consensus) => loop {
                match consensus.begin_persist() {
                    None if consensus.settle_phantom() => consensus.take_outgoing(&mut self.links),
                    work => break work,
                }
            },
            Participation::Learner(learner) => learner.store.lock().begin(),
            Participation::Uninitialized(_) => None,
        }?;
        self.writing = Some(Writing::Staged);
        Some(work)
    }

    /// Returns work that nothing waits for, if there is any, under the rules of
    /// [`Replica::begin_persist`].
    pub fn begin_upkeep(&mut self) -> Option<DiskJob> {
        // A candidate may need everything it has.
        if self.writing.is_some() || self.next.is_some() || self.consensus().is_some_and(Consensus::is_candidate) {
            return None;
        }
        let work = self.store()?.lock().begin_upkeep()?;
        self.writing = Some(Writing::Upkeep);
        Some(work)
    }

    /// Notes that the work is done. *Errors*: the disk is full; the replica must be restarted from
    /// what is on disk.
    pub fn finish_persist(&mut self, written: Result<(), JournalFull>) -> Result<(), JournalFull> {
        written?;
        match (self.writing.take().expect("work was under way"), &mut self.participation) {
            (Writing::End, _) => self.finish_reconfiguration(),
            (Writing::Staged, Participation::Voter(consensus)) => {
                consensus.finish_persist();
                // Acceptances that count only now may produce messages for the others.
                consensus.take_outgoing(&mut self.links);
            }
            (Writing::Staged | Writing::Upkeep, _) => self.store().into_iter().for_each(|store| store.lock().finish()),
        }
        self.debug_check();
        Ok(())
    }

    /// Makes durable what must be, at once. Returns true if anything was. *Errors*: those of
    /// [`Replica::finish_persist`].
    pub fn persist(&mut self) -> Result<bool, JournalFull> {
        let mut worked = false;
        while let Some(work) = self.begin_persist() {
            let written = work();
            self.finish_persist(written)?;
            worked = true;
        }
        Ok(worked)
    }
}
