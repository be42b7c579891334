//! OmniPaxos' storage: entries by index over a [`Journal`], with what is not durable yet in memory.
//!
//! Nothing is written while OmniPaxos runs: changes are noted, and [`Store::persist`] makes them durable, as one group
//! unless it is large. Invariants: the tail in memory holds every entry that is not durable; entries that a leader's log
//! replaces or adds, and the round in which they were accepted, are written as one. (Apart, a crash between the two would
//! leave entries of one round under the name of another, and servers with logs of the same round take each other's to be
//! the same. Or it would leave a round without all its entries, which would outvote those that have decided ones.)

use std::collections::VecDeque;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use omnipaxos::ballot_leader_election::Ballot;
use omnipaxos::storage::{NoSnapshot, StopSign, Storage, StorageOp, StorageResult};
use parking_lot::{Mutex, MutexGuard};

use super::Bugs;
use super::ballot;
use super::configuration::Configuration;
use super::journal::{Journal, JournalFull, JournalOp, MemoryJournal, Syncing, scalar};

/// Bytes of durable entries kept in memory for followers that are a little behind.
const TAIL_KEPT: usize = 256 << 10;
/// Bytes of entries that are written as one group, unless they must be; less than a journal does at once.
const GROUP_LEN: usize = 16 << 20;

/// Entries read from the journal at once.
pub(super) const READ_ENTRIES: u64 = 256;

/// One entry of the replicated log: a batch or an epoch, encoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogEntry(pub Arc<[u8]>);

impl omnipaxos::storage::Entry for LogEntry {
    type Snapshot = NoSnapshot;
}

/// What OmniPaxos and its driver share.
#[derive(Clone, Debug)]
pub(crate) struct Store {
    inner: Arc<Mutex<Inner>>,
}

pub(crate) struct Inner {
    pub(crate) journal: Box<dyn Journal>,
    /// Entries from `tail_first` on.
    tail: VecDeque<Arc<[u8]>>,
    tail_first: u64,
    tail_len: usize,
    promise: Option<Ballot>,
    round: Option<Ballot>,
    decided: u64,
    /// So many entries are known to count: what is decided behind them may be void, if one of them ends the configuration.
    applied: u64,
    /// What the journal does not have yet.
    ops: Vec<JournalOp>,
    /// Places among `ops` of those that are durable together or not at all.
    indivisible: Vec<Range<usize>>,
    /// `decided` as the journal knows it.
    decided_written: u64,
}

impl fmt::Debug for Inner {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inner { tail_first, promise, round, decided, .. } = self;
        let end = self.end();
        write!(formatter, "{tail_first}..{end}, promise {promise:?}, round {round:?}, decided {decided}")
    }
}

impl Store {
    /// `applied` is how far this server's state has come: all of it is decided. What was promised and accepted in other
    /// configurations than `configuration` is void.
    pub(crate) fn new(journal: Box<dyn Journal>, applied: u64, configuration: u32, bugs: Bugs) -> Store {
        let read = |key| journal.scalar(key).and_then(|bytes| ballot::from_bytes(&bytes));
        let counts = |ballot: &Ballot| ballot.config_id == configuration || bugs.old_promise;
        let (promise, round) = (read(scalar::PROMISE).filter(counts), read(scalar::ROUND).filter(counts));
        let decided_written = decided(&*journal);
        let decided = decided_written.max(applied);
        let applied = decided;
        let tail_first = journal.next_index();
        let inner = Inner {
            journal,
            tail: VecDeque::new(),
            tail_first,
            tail_len: 0,
            promise,
            round,
            decided,
            applied,
            ops: Vec::new(),
            indivisible: Vec::new(),
            decided_written,
        };
        Store { inner: Arc::new(Mutex::new(inner)) }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock()
    }
}

/// The decided index a journal knows of.
pub(crate) fn decided(journal: &dyn Journal) -> u64 {
    number(journal, scalar::DECIDED).unwrap_or(0)
}

/// A scalar that is a number.
pub(crate) fn number(journal: &dyn Journal, key: u8) -> Option<u64> {
    journal.scalar(key).and_then(|bytes| bytes.try_into().ok()).map(u64::from_be_bytes)
}

/// A configuration ends before entry `end` of a journal, and `next` begins, in one write. *Errors*: there is no room.
pub(crate) fn cut(journal: &mut dyn Journal, end: u64, next: &Configuration, bugs: Bugs) -> Result<(), JournalFull> {
    let mut ops = Vec::new();
    if journal.next_index() > end && !bugs.uncut_log {
        ops.push(JournalOp::Truncate(end));
    }
    ops.push(JournalOp::Scalar(scalar::CONFIGURATION, next.encode()));
    ops.push(JournalOp::Scalar(scalar::DECIDED, end.to_be_bytes().to_vec()));
    journal.write(&ops)
}

impl Inner {
    /// One past the newest entry, durable or not.
    pub(crate) fn end(&self) -> u64 {
        self.tail_first + self.tail.len() as u64
    }

    pub(crate) fn round(&self) -> Ballot {
        self.round.unwrap_or_default()
    }

    /// Bytes of entries that are not decided yet, of those in memory.
    pub(crate) fn undecided_len(&self) -> usize {
        let decided = self.decided.saturating_sub(self.tail_first) as usize;
        self.tail.iter().skip(decided).map(|entry| entry.len()).sum()
    }

    /// Whether something must be durable before it may be told to others.
    pub(crate) fn is_staged(&self) -> bool {
        !self.ops.is_empty()
    }

    /// One past the newest durable entry that no staged change takes back.
    pub(crate) fn durable_end(&self) -> u64 {
        let cut = self.ops.iter().find_map(|op| match op {
            JournalOp::Truncate(from) => Some(*from),
            JournalOp::Append(_) | JournalOp::Scalar(..) => None,
        });
        cut.unwrap_or(u64::MAX).min(self.journal.next_index())
    }

    /// The accepted round as the journal has it.
    pub(crate) fn durable_round(&self) -> Ballot {
        let bytes = self.journal.scalar(scalar::ROUND);
        bytes.and_then(|bytes| ballot::from_bytes(&bytes)).unwrap_or_default()
    }

    pub(crate) fn decided(&self) -> u64 {
        self.decided
    }

    /// Of a server that is told: takes entries that are decided, from `first` on.
    pub(crate) fn learn(&mut self, first: u64, entries: Vec<LogEntry>) {
        let (start, end) = (self.ops.len(), first + entries.len() as u64);
        self.append_on_prefix(first, entries);
        self.indivisible.push(start..self.ops.len());
        self.decided = self.decided.max(end);
    }

    /// Of a voter that is told what is decided: takes entries from `first` on, unless that leaves a gap. `epoch` is the ballot of
    /// the last epoch among them that is of this configuration.
    ///
    /// Where they differ from what it had accepted, that was never decided, and nothing behind it was; what it had accepted
    /// besides stays, with its round. A later epoch among them makes their round that of the epoch: whoever leads appends it
    /// behind all that may have been decided before, so these entries are a prefix of that leader's log which has all of this,
    /// as if it had sent them. What was accepted in an earlier round behind them was not decided.
    pub(crate) fn catch_up(&mut self, first: u64, mut entries: Vec<LogEntry>, epoch: Option<Ballot>) {
        let (start, decided, end) = (self.ops.len(), self.decided, first + entries.len() as u64);
        if first > decided || end <= decided {
            return;
        }
        let entries = entries.split_off((decided - first) as usize);
        let known = self.entries(decided, self.end().min(end));
        let same = known.iter().zip(&entries).take_while(|(known, entry)| known == entry).count() as u64;
        let round = epoch.filter(|epoch| *epoch > self.round());
        if decided + same < end || round.is_some() {
            self.append_on_prefix(decided, entries);
        }
        round.into_iter().for_each(|round| self.set_round(round));
        self.indivisible.push(start..self.ops.len());
        self.decided = end;
    }

    /// `applied` entries are applied, so all of them are decided.
    pub(crate) fn note_decided_by(&mut self, applied: u64) {
        self.decided = self.decided.max(applied);
    }

    /// `applied` entries are applied: so many count.
    pub(crate) fn note_applied(&mut self, applied: u64) {
        self.applied = self.applied.max(applied);
    }

    /// The configuration ends before entry `end`. What is behind, written or not, is void, and what was promised, too.
    /// *Errors*: as [`Inner::persist`].
    pub(crate) fn cut(&mut self, end: u64, next: &Configuration, bugs: Bugs) -> Result<(), JournalFull> {
        // A follower may have applied what its disk does not have yet.
        if self.durable_end() < end {
            self.persist()?;
        }
        self.ops.clear();
        self.indivisible.clear();
        cut(&mut *self.journal, end, next, bugs)
    }

    /// The journal, for the next configuration; this store is done with.
    pub(crate) fn take_journal(&mut self) -> Box<dyn Journal> {
        std::mem::replace(&mut self.journal, Box::new(MemoryJournal::default()))
    }

    /// Makes everything staged durable. *Errors*: the disk is full; this server must start anew from what it has.
    pub(crate) fn persist(&mut self) -> Result<(), JournalFull> {
        if self.ops.is_empty() {
            return Ok(());
        }
        let mut ops = std::mem::take(&mut self.ops);
        // What is decided is not all there yet if a leader said so in front of the entries.
        self.note_decided(self.end(), &mut ops);
        self.write(&ops)?;
        ops.clear();
        self.ops = ops;
        self.shorten_tail();
        Ok(())
    }

    /// The same in two halves, if it is one group that blocks: the other one is [`Inner::finish_persist`], before which nothing is
    /// staged. *Errors*: as [`Inner::persist`].
    pub(crate) fn begin_persist(&mut self) -> Result<Option<Syncing>, JournalFull> {
        if self.ops.iter().map(JournalOp::payload_len).sum::<usize>() > GROUP_LEN {
            return Ok(None);
        }
        let mut ops = std::mem::take(&mut self.ops);
        if !ops.is_empty() {
            self.note_decided(self.end(), &mut ops);
        }
        let begun = self.journal.begin(&ops);
        // Until it is durable it counts as staged.
        self.ops = ops;
        if let Ok(None) = begun {
            self.forget_staged();
        }
        begun
    }

    /// What was begun is durable.
    pub(crate) fn finish_persist(&mut self) {
        self.journal.finish();
        self.forget_staged();
    }

    fn forget_staged(&mut self) {
        self.ops.clear();
        self.indivisible.clear();
        self.shorten_tail();
    }

    /// Writes all of it as one group, or each part that is indivisible and what is between them.
    fn write(&mut self, ops: &[JournalOp]) -> Result<(), JournalFull> {
        let indivisible = std::mem::take(&mut self.indivisible);
        if ops.iter().map(JournalOp::payload_len).sum::<usize>() <= GROUP_LEN {
            return self.journal.write(ops);
        }
        let mut written = 0;
        for part in indivisible {
            self.journal.write(&ops[written..part.start])?;
            self.journal.write(&ops[part.clone()])?;
            written = part.end;
        }
        self.journal.write(&ops[written..])
    }

    /// Writes down how far everything is decided, for a quicker next start. *Errors*: as [`Inner::persist`].
    pub(crate) fn persist_decided(&mut self) -> Result<(), JournalFull> {
        let mut ops = Vec::new();
        // Entries that are only staged may be lost: the log must not end before what it says is decided.
        self.note_decided(self.durable_end(), &mut ops);
        if ops.is_empty() { Ok(()) } else { self.journal.write(&ops) }
    }

    /// Of `end` entries.
    fn note_decided(&mut self, end: u64, ops: &mut Vec<JournalOp>) {
        let decided = self.decided.min(end).min(self.applied);
        if decided > self.decided_written {
            ops.push(JournalOp::Scalar(scalar::DECIDED, decided.to_be_bytes().to_vec()));
            self.decided_written = decided;
        }
    }

    fn shorten_tail(&mut self) {
        while self.tail_len > TAIL_KEPT
            && self.tail_first < self.decided
            && let Some(entry) = self.tail.pop_front()
        {
            self.tail_len -= entry.len();
            self.tail_first += 1;
        }
    }

    /// Entries of a range that is not trimmed.
    pub(crate) fn entries(&self, from: u64, to: u64) -> Vec<LogEntry> {
        let mut entries = Vec::with_capacity((to - from) as usize);
        if from < self.tail_first {
            let durable = from..to.min(self.tail_first);
            self.journal.read(durable, &mut |entry| entries.push(LogEntry(entry.into())));
        }
        let start = from.max(self.tail_first);
        if start < to {
            let (skipped, count) = ((start - self.tail_first) as usize, (to - start) as usize);
            entries.extend(self.tail.iter().skip(skipped).take(count).cloned().map(LogEntry));
        }
        entries
    }

    /// Entries from `from` on, below `end`, until they have `len_max` bytes, or somewhat more: how long an entry is shows when it
    /// is read, so that few are read at first.
    pub(crate) fn entries_of(&self, from: u64, end: u64, len_max: usize) -> Vec<LogEntry> {
        let (mut entries, mut len, mut count) = (Vec::new(), 0, 1);
        let mut next = from;
        while next < end && len < len_max {
            let more = self.entries(next, (next + count).min(end));
            next += more.len() as u64;
            len += more.iter().map(|entry| entry.0.len()).sum::<usize>();
            count = (2 * count).min(READ_ENTRIES);
            entries.extend(more);
        }
        entries
    }

    fn append(&mut self, entry: LogEntry) {
        self.tail_len += entry.0.len();
        self.tail.push_back(entry.0.clone());
        self.ops.push(JournalOp::Append(entry.0));
    }

    /// Replaces everything from `from` on, but leaves alone what is the same.
    fn append_on_prefix(&mut self, from: u64, entries: Vec<LogEntry>) {
        let end = self.end();
        let known = self.entries(from.min(end), end.min(from + entries.len() as u64));
        let same = known.iter().zip(&entries).take_while(|(known, entry)| known == entry).count();
        let keep = from + same as u64;
        if keep < end {
            self.truncate(keep);
        }
        entries.into_iter().skip(same).for_each(|entry| self.append(entry));
    }

    fn truncate(&mut self, from: u64) {
        self.ops.push(JournalOp::Truncate(from));
        if from < self.tail_first {
            self.tail.clear();
            (self.tail_first, self.tail_len) = (from, 0);
        } else {
            let removed = self.tail.drain((from - self.tail_first) as usize..);
            self.tail_len -= removed.map(|entry| entry.len()).sum::<usize>();
        }
    }

    fn set_promise(&mut self, promise: Ballot) {
        // OmniPaxos says again what it found; that it found nothing is not a promise.
        if self.promise.unwrap_or_default() != promise {
            self.promise = Some(promise);
            self.ops.push(JournalOp::Scalar(scalar::PROMISE, ballot::to_id(promise).0.to_vec()));
        }
    }

    fn set_round(&mut self, round: Ballot) {
        if self.round != Some(round) {
            self.round = Some(round);
            self.ops.push(JournalOp::Scalar(scalar::ROUND, ballot::to_id(round).0.to_vec()));
        }
    }
}

/// The calls OmniPaxos 0.2.4 makes without snapshots, trimming and reconfiguration; see `shared/omnipaxos.md` §2.
impl Storage<LogEntry> for Store {
    fn write_atomically(&mut self, ops: Vec<StorageOp<LogEntry>>) -> StorageResult<()> {
        let mut inner = self.lock();
        let start = inner.ops.len();
        let mut round = None;
        for op in ops {
            match op {
                StorageOp::AppendEntry(entry) => inner.append(entry),
                StorageOp::AppendEntries(entries) => entries.into_iter().for_each(|entry| inner.append(entry)),
                StorageOp::AppendOnPrefix(from, entries) => inner.append_on_prefix(from as u64, entries),
                StorageOp::SetPromise(promise) => inner.set_promise(promise),
                StorageOp::SetDecidedIndex(decided) => inner.decided = decided as u64,
                StorageOp::SetAcceptedRound(accepted) => round = Some(accepted),
                StorageOp::SetCompactedIdx(_) | StorageOp::Trim(_) => unreachable!("trimming is not the library's"),
                StorageOp::SetStopsign(_) => unreachable!("configurations are not the library's"),
                StorageOp::SetSnapshot(_) => unreachable!("snapshots are not the library's"),
            }
        }
        round.into_iter().for_each(|round| inner.set_round(round));
        let end = inner.ops.len();
        inner.indivisible.push(start..end);
        Ok(())
    }

    fn append_entry(&mut self, entry: LogEntry) -> StorageResult<()> {
        self.lock().append(entry);
        Ok(())
    }

    fn append_entries(&mut self, entries: Vec<LogEntry>) -> StorageResult<()> {
        let mut inner = self.lock();
        entries.into_iter().for_each(|entry| inner.append(entry));
        Ok(())
    }

    fn append_on_prefix(&mut self, from: usize, entries: Vec<LogEntry>) -> StorageResult<()> {
        self.lock().append_on_prefix(from as u64, entries);
        Ok(())
    }

    fn set_promise(&mut self, promise: Ballot) -> StorageResult<()> {
        self.lock().set_promise(promise);
        Ok(())
    }

    fn set_decided_idx(&mut self, decided: usize) -> StorageResult<()> {
        self.lock().decided = decided as u64;
        Ok(())
    }

    fn get_decided_idx(&self) -> StorageResult<usize> {
        Ok(self.lock().decided as usize)
    }

    fn set_accepted_round(&mut self, round: Ballot) -> StorageResult<()> {
        self.lock().set_round(round);
        Ok(())
    }

    fn get_accepted_round(&self) -> StorageResult<Option<Ballot>> {
        Ok(self.lock().round)
    }

    fn get_entries(&self, from: usize, to: usize) -> StorageResult<Vec<LogEntry>> {
        Ok(self.lock().entries(from as u64, to as u64))
    }

    fn get_log_len(&self) -> StorageResult<usize> {
        let inner = self.lock();
        Ok((inner.end() - inner.journal.first_index()) as usize)
    }

    fn get_suffix(&self, from: usize) -> StorageResult<Vec<LogEntry>> {
        let inner = self.lock();
        let end = inner.end();
        Ok(inner.entries((from as u64).min(end), end))
    }

    fn get_promise(&self) -> StorageResult<Option<Ballot>> {
        Ok(self.lock().promise)
    }

    fn set_stopsign(&mut self, stopsign: Option<StopSign>) -> StorageResult<()> {
        assert!(stopsign.is_none(), "configurations are not the library's");
        Ok(())
    }

    fn get_stopsign(&self) -> StorageResult<Option<StopSign>> {
        Ok(None)
    }

    fn trim(&mut self, _index: usize) -> StorageResult<()> {
        unreachable!("trimming is not the library's")
    }

    fn set_compacted_idx(&mut self, _index: usize) -> StorageResult<()> {
        unreachable!("trimming is not the library's")
    }

    fn get_compacted_idx(&self) -> StorageResult<usize> {
        Ok(self.lock().journal.first_index() as usize)
    }

    fn set_snapshot(&mut self, _snapshot: Option<NoSnapshot>) -> StorageResult<()> {
        unreachable!("snapshots are not the library's")
    }

    fn get_snapshot(&self) -> StorageResult<Option<NoSnapshot>> {
        Ok(None)
    }
}
