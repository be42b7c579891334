//! Decided entries are applied: once each, in order.

use std::collections::VecDeque;

use oxkeeper_state::command::{BadEntry, BallotId, Entry};
use parking_lot::{Mutex, RwLock};

use super::ballot;
use super::frame::Frame;
use super::replica::Replica;
use super::storage::{LogEntry, READ_ENTRIES};
use crate::outside::Outside;
use crate::{Applier, Shared};

/// Largest number of commands applied under one exclusive lock: readers wait no longer than these
/// take, about 0.2 ms.
const APPLY_MAX: usize = 256;

/// Progress of a server's state.
#[derive(Debug)]
pub(super) struct Applied {
    /// One past the last applied entry.
    end: u64,
    /// The ballot of the last epoch.
    epoch: Option<BallotId>,
    /// Entries read ahead from the journal, from `end` on.
    ahead: VecDeque<LogEntry>,
}

impl Applied {
    pub(super) fn new(end: u64, epoch: Option<BallotId>) -> Applied {
        Applied { end, epoch, ahead: VecDeque::new() }
    }

    /// Returns how many entries are applied.
    pub(super) fn end(&self) -> u64 {
        self.end
    }

    /// Returns the ballot of the last epoch.
    pub(super) fn epoch(&self) -> Option<BallotId> {
        self.epoch
    }

    pub(super) fn begin_epoch(&mut self, epoch: BallotId) {
        self.epoch = Some(epoch);
    }

    /// Keeps the entries that come next.
    pub(super) fn read_ahead(&mut self, entries: Vec<LogEntry>) {
        self.ahead = entries.into();
    }

    /// Forgets the entries that were read ahead: they may be void.
    pub(super) fn forget_ahead(&mut self) {
        self.ahead.clear();
    }

    /// Returns one past the last entry that was read ahead.
    pub(super) fn ahead_end(&self) -> u64 {
        self.end + self.ahead.len() as u64
    }
}

impl Replica {
    /// Applies decided entries that are durable here; if `early` is set, a follower need not wait
    /// for its disk. `entry` is held while an entry is applied, during which the state may be
    /// unlocked at times. *Errors*: an entry is invalid: the log is damaged.
    pub fn apply(
        &mut self,
        shared: &RwLock<Shared>,
        entry: &Mutex<()>,
        applier: &mut Applier,
        outside: &mut dyn Outside,
        early: bool,
        now_ms: u64,
    ) -> Result<(), BadEntry> {
        let before = self.applied.end;
        while let Some(bytes) = self.next_applicable(early) {
            let between_entries = entry.lock();
            self.apply_entry(&bytes.0, shared, applier, outside, now_ms)?;
            drop(between_entries);
            self.applied.end += 1;
            self.note_end(shared);
            self.settle_joining();
        }
        if self.applied.end > before
            && let Some(store) = self.store()
        {
            store.lock().note_applied(self.applied.end);
        }
        self.debug_check();
        Ok(())
    }

    /// Returns whether an entry is applied that this server's disk does not have.
    pub fn is_ahead_of_disk(&self) -> bool {
        self.store().is_some_and(|store| store.lock().durable_end() < self.applied.end)
    }

    fn next_applicable(&mut self, early: bool) -> Option<LogEntry> {
        if self.next.is_some() && !self.config.bugs.late_end {
            return None;
        }
        if let Some(entry) = self.applied.ahead.pop_front() {
            return Some(entry);
        }
        let applied = self.applied.end;
        let end = self.participation.applicable(early).min(applied + READ_ENTRIES);
        if applied >= end {
            return None;
        }
        let entries = self.store()?.lock().entries(applied, end);
        self.applied.read_ahead(entries);
        self.applied.ahead.pop_front()
    }

    fn apply_entry(
        &mut self,
        bytes: &[u8],
        shared: &RwLock<Shared>,
        applier: &mut Applier,
        outside: &mut dyn Outside,
        now_ms: u64,
    ) -> Result<(), BadEntry> {
        let mut batch = match Entry::decode(bytes, self.config.knows)? {
            Entry::Epoch(epoch) => {
                let mut shared = shared.write();
                applier.begin_epoch(&mut shared, &epoch);
                self.digests.note(self.applied.end + 1, shared.state.digest());
                self.begin_epoch(epoch.ballot, &mut shared, now_ms);
                outside.deliver(applier, shared, Some(bytes));
                return Ok(());
            }
            Entry::Raise(raise) => {
                let mut shared = shared.write();
                shared.state.raise(&raise);
                self.digests.note(self.applied.end + 1, shared.state.digest());
                self.lead.iter_mut().for_each(|lead| lead.note_level(shared.state.level()));
                outside.deliver(applier, shared, Some(bytes));
                return Ok(());
            }
            Entry::Renewal(renewal) => {
                let mut shared = shared.write();
                shared.state.renew(&renewal);
                self.digests.note(self.applied.end + 1, shared.state.digest());
                outside.deliver(applier, shared, Some(bytes));
                return Ok(());
            }
            Entry::Batch(batch) => batch,
        };
        loop {
            let mut shared = shared.write();
            let last = applier.apply(&mut shared, &mut batch, &mut self.outstanding, APPLY_MAX, now_ms)? < APPLY_MAX;
            if last {
                self.digests.note(self.applied.end + 1, shared.state.digest());
            }
            outside.deliver(applier, shared, last.then_some(bytes));
            if last {
                return Ok(());
            }
        }
    }

    /// Begins an epoch. If this server leads it, its clocks and its queue have waited for it.
    fn begin_epoch(&mut self, id: BallotId, shared: &mut Shared, now_ms: u64) {
        self.applied.begin_epoch(id);
        let ballot = ballot::from_id(id);
        let Some(lead) = self.lead.as_mut().filter(|lead| lead.ballot() == ballot) else { return };
        lead.open(&shared.state, self.config.knows, self.config.bugs);
        if !self.config.bugs.stale_clocks {
            shared.sessions.get_mut().clocks.restart(now_ms);
        }
        self.aim(self.config.me, ballot);
        for peer in self.linked() {
            self.say(peer, &Frame::Ready(id));
        }
        self.ping(None, now_ms);
    }
}
