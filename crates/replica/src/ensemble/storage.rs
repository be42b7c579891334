//! OmniPaxos' storage: entries by index over a [`Journal`], with those that are not durable yet in
//! memory.
//!
//! Nothing is written while OmniPaxos runs: changes are staged, and [`StagedLog::begin`] returns the
//! work that makes them durable, as one group unless it is large. Changes that OmniPaxos makes
//! during that work form the next group. Invariants: the tail in memory holds every entry that is
//! not durable; entries that a leader's log replaces or adds, and the round in which they were
//! accepted, are written as one. (If they were written separately, a crash between the two could
//! leave entries of one round under the name of another, and servers with logs of the same round
//! take each other's logs to be the same. Or it could leave a round without all its entries, which
//! would outvote servers that have decided entries.)

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
use super::journal::{DiskJob, Journal, JournalOp, MemoryJournal, scalar};

/// Bytes of durable entries kept in memory for followers that are slightly behind.
const TAIL_KEPT: usize = 256 << 10;
/// Bytes of entries written as one group, unless they are indivisible; less than a journal writes
/// at once.
const GROUP_LEN: usize = 16 << 20;

/// Number of entries read from the journal at once.
pub(super) const READ_ENTRIES: u64 = 256;

/// One entry of the replicated log, encoded: for example a batch or an epoch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogEntry(pub Arc<[u8]>);

impl omnipaxos::storage::Entry for LogEntry {
    type Snapshot = NoSnapshot;
}

/// The storage that OmniPaxos and its driver share.
#[derive(Clone, Debug)]
pub(crate) struct Store {
    inner: Arc<Mutex<StagedLog>>,
}

pub(crate) struct StagedLog {
    pub(crate) journal: Box<dyn Journal>,
    /// Entries from `tail_first` on.
    tail: VecDeque<Arc<[u8]>>,
    tail_first: u64,
    tail_len: usize,
    promise: Option<Ballot>,
    round: Option<Ballot>,
    decided: u64,
    /// Number of entries that are known to count: decided entries behind them may be void, if one
    /// of them ends the configuration.
    applied: u64,
    /// Changes that are neither in the journal nor being written.
    ops: Vec<JournalOp>,
    /// Ranges of `ops` that are durable together or not at all.
    indivisible: Vec<Range<usize>>,
    writing: Option<Writing>,
    /// The decided index that the journal has.
    decided_written: u64,
}

/// Disk work under way.
#[derive(Clone, Copy, Debug)]
struct Writing {
    /// Index from which entries are void until others replace them.
    truncates: Option<u64>,
    /// One past the newest entry when the work began.
    end: u64,
}

impl fmt::Debug for StagedLog {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let StagedLog { tail_first, promise, round, decided, .. } = self;
        let end = self.end();
        write!(formatter, "{tail_first}..{end}, promise {promise:?}, round {round:?}, decided {decided}")
    }
}

impl Store {
    /// Creates a store. `applied` is the number of entries in this server's state, all of which are
    /// decided. Promises and accepted rounds of configurations other than `configuration` are void.
    pub(crate) fn new(journal: Box<dyn Journal>, applied: u64, configuration: u32, bugs: Bugs) -> Store {
        let read = |key| journal.scalar(key).and_then(|bytes| ballot::from_bytes(&bytes));
        let counts = |ballot: &Ballot| ballot.config_id == configuration || bugs.old_promise;
        let (promise, round) = (read(scalar::PROMISE).filter(counts), read(scalar::ROUND).filter(counts));
        let decided_written = decided(&*journal);
        let decided = decided_written.max(applied);
        let applied = decided;
        let tail_first = journal.next_index();
        let inner = StagedLog {
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
            writing: None,
            decided_written,
        };
        Store { inner: Arc::new(Mutex::new(inner)) }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, StagedLog> {
        self.inner.lock()
    }
}

/// Returns the decided index that a journal has.
pub(crate) fn decided(journal: &dyn Journal) -> u64 {
    number(journal, scalar::DECIDED).unwrap_or(0)
}

/// Returns the value of a numeric scalar.
pub(crate) fn number(journal: &dyn Journal, key: u8) -> Option<u64> {
    journal.scalar(key).and_then(|bytes| bytes.try_into().ok()).map(u64::from_be_bytes)
}

/// Returns the work that ends a configuration before entry `end` of a journal and begins `next`, in
/// one write.
pub(crate) fn cut(journal: &mut dyn Journal, end: u64, next: &Configuration, bugs: Bugs) -> DiskJob {
    let mut ops = Vec::new();
    if journal.next_index() > end && !bugs.uncut_log {
        ops.push(JournalOp::Truncate(end));
    }
    ops.push(JournalOp::Scalar(scalar::CONFIGURATION, next.encode()));
    ops.push(JournalOp::Scalar(scalar::DECIDED, end.to_be_bytes().to_vec()));
    journal.work(vec![ops])
}

impl StagedLog {
    /// Returns one past the newest entry, durable or not.
    pub(crate) fn end(&self) -> u64 {
        self.tail_first + self.tail.len() as u64
    }

    pub(crate) fn promise(&self) -> Ballot {
        self.promise.unwrap_or_default()
    }

    pub(crate) fn round(&self) -> Ballot {
        self.round.unwrap_or_default()
    }

    /// Returns the promised ballot, durable or not.
    pub(crate) fn promised(&self) -> Option<Ballot> {
        self.promise
    }

    /// Returns the round of the entries, durable or not.
    pub(crate) fn accepted(&self) -> Option<Ballot> {
        self.round
    }

    /// Returns the bytes of undecided entries in memory.
    pub(crate) fn undecided_len(&self) -> usize {
        let decided = self.decided.saturating_sub(self.tail_first) as usize;
        self.tail.iter().skip(decided).map(|entry| entry.len()).sum()
    }

    /// Returns whether changes wait for [`StagedLog::begin`].
    pub(crate) fn is_staged(&self) -> bool {
        !self.ops.is_empty()
    }

    /// Returns whether work is under way.
    pub(crate) fn is_writing(&self) -> bool {
        self.writing.is_some()
    }

    /// Returns whether every change is durable, so that it may be reported to other servers.
    pub(crate) fn is_durable(&self) -> bool {
        !self.is_staged() && !self.is_writing()
    }

    /// Returns one past the newest durable entry that no staged change or work under way voids.
    pub(crate) fn durable_end(&self) -> u64 {
        let written = self.writing.and_then(|writing| writing.truncates);
        let cut = written.into_iter().chain(truncations(&self.ops)).min();
        cut.unwrap_or(u64::MAX).min(self.journal.next_index())
    }

    /// Returns the accepted round that the journal has.
    pub(crate) fn durable_round(&self) -> Ballot {
        let bytes = self.journal.scalar(scalar::ROUND);
        bytes.and_then(|bytes| ballot::from_bytes(&bytes)).unwrap_or_default()
    }

    pub(crate) fn decided(&self) -> u64 {
        self.decided
    }

    /// Takes decided entries from `first` on; for a server that is a learner.
    pub(crate) fn learn(&mut self, first: u64, entries: Vec<LogEntry>) {
        let (start, end) = (self.ops.len(), first + entries.len() as u64);
        self.append_on_prefix(first, entries);
        self.indivisible.push(start..self.ops.len());
        self.decided = self.decided.max(end);
    }

    /// Returns the number of entries that count.
    pub(crate) fn applied(&self) -> u64 {
        self.applied
    }

    /// Panics with the invariant that is broken.
    pub(crate) fn check(&self) {
        let (tail, durable) = (self.tail_first, self.durable_end());
        // Only the end of a configuration voids entries that are not in memory, and it leaves the
        // tail as it is: nothing reads it any longer.
        let is_cut = self.writing.and_then(|writing| writing.truncates).is_some_and(|from| from < tail);
        assert!(tail <= durable || is_cut, "invariant: in memory are entries from {tail} on, durable are {durable}");
        let mut len = self.ops.len();
        assert!(
            self.indivisible.iter().all(|part| part.start <= part.end && part.end <= len),
            "invariant: of {len} changes {:?} are whole",
            self.indivisible
        );
        assert!(
            self.indivisible.is_sorted_by_key(|part| part.start),
            "invariant: {:?} is not in order",
            self.indivisible
        );
        // The progress of the work under way is unknown.
        let durable = self.writing.map_or_else(|| self.journal.next_index(), |writing| writing.end);
        let staged = self.ops.iter().fold(durable, |end, op| match op {
            JournalOp::Append(_) => end + 1,
            JournalOp::Truncate(from) => end.min(*from),
            JournalOp::Scalar(..) => end,
        });
        let end = self.end();
        assert!(staged == end, "invariant: {end} entries are accepted, {staged} will be durable");
        let (written, decided) = (self.decided_written, self.decided);
        assert!(written <= decided, "invariant: {written} entries are durably decided, {decided} are decided");
        let rounds = (ballot::order(self.durable_round()), ballot::order(self.round()));
        assert!(
            rounds.0 <= rounds.1 || self.round.is_none(),
            "invariant: accepted in {:?}, durably in {:?}",
            rounds.1,
            rounds.0
        );
        len = self.tail.iter().map(|entry| entry.len()).sum();
        assert!(len == self.tail_len, "invariant: entries of {len} bytes are in memory, counted {}", self.tail_len);
    }

    /// Takes decided entries from `first` on, unless that leaves a gap; for a voter that catches
    /// up. `epoch` is the ballot of the last epoch of this configuration among them.
    ///
    /// Where they differ from the accepted entries, the accepted entry was never decided, and
    /// nothing behind it was; the other accepted entries stay, with their round. A later epoch
    /// among the new entries makes their round that of the epoch: the leader appends its epoch
    /// behind everything that may have been decided before, so these entries are a prefix of that
    /// leader's log which has all of this, as if the leader had sent them. Entries accepted in an
    /// earlier round behind them were not decided. Accepting in that round implies promising it: no
    /// earlier leader may overwrite these entries.
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
        if let Some(round) = round {
            self.set_promise(round.max(self.promise()));
            self.set_round(round);
        }
        self.indivisible.push(start..self.ops.len());
        self.decided = end;
    }

    /// Notes that `applied` entries are applied, so all of them are decided.
    pub(crate) fn note_decided_by(&mut self, applied: u64) {
        self.decided = self.decided.max(applied);
    }

    /// Notes that `applied` entries are applied, so all of them count.
    pub(crate) fn note_applied(&mut self, applied: u64) {
        self.applied = self.applied.max(applied);
    }

    /// Returns the work that ends the configuration before entry `end`: entries from there on,
    /// written or not, and promises become void. Everything before `end` is durable, and no work is
    /// under way.
    pub(crate) fn cut(&mut self, end: u64, next: &Configuration, bugs: Bugs) -> DiskJob {
        assert!(self.durable_end() >= end, "what is applied is durable before the configuration ends");
        self.forget_staged();
        self.writing = Some(Writing { truncates: Some(end), end: self.end() });
        cut(&mut *self.journal, end, next, bugs)
    }

    /// Drops the staged changes.
    pub(crate) fn forget_staged(&mut self) {
        self.ops.clear();
        self.indivisible.clear();
    }

    /// Takes the journal, for the next configuration; this store is no longer used.
    pub(crate) fn take_journal(&mut self) -> Box<dyn Journal> {
        std::mem::replace(&mut self.journal, Box::new(MemoryJournal::default()))
    }

    /// Returns the work that makes everything staged durable, for any thread; the caller calls
    /// [`StagedLog::finish`] when it is done. Returns `None` if nothing is staged, or work is under
    /// way. If the work fails, this server must restart from what it has.
    pub(crate) fn begin(&mut self) -> Option<DiskJob> {
        if !self.is_staged() || self.is_writing() {
            return None;
        }
        let mut ops = std::mem::take(&mut self.ops);
        // If the leader reported entries as decided before it sent them, some decided entries are
        // not here yet.
        self.note_decided(self.end(), &mut ops);
        self.writing = Some(Writing { truncates: truncations(&ops).min(), end: self.end() });
        let groups = split(ops, std::mem::take(&mut self.indivisible));
        Some(self.journal.work(groups))
    }

    /// Returns work that nothing waits for, if there is any, under the rules of [`StagedLog::begin`].
    pub(crate) fn begin_upkeep(&mut self) -> Option<DiskJob> {
        if !self.is_durable() {
            return None;
        }
        let work = self.journal.upkeep()?;
        self.writing = Some(Writing { truncates: None, end: self.end() });
        Some(work)
    }

    /// Notes that the work under way is done.
    pub(crate) fn finish(&mut self) {
        self.writing = None;
        self.shorten_tail();
    }

    /// Stages the decided index, for a quicker next start.
    pub(crate) fn stage_decided(&mut self) {
        let mut ops = std::mem::take(&mut self.ops);
        // Entries that are not durable may be lost: the log must not end below its own decided
        // index.
        self.note_decided(self.durable_end(), &mut ops);
        self.ops = ops;
    }

    /// Stages how many of the first `end` entries are decided.
    fn note_decided(&mut self, end: u64, ops: &mut Vec<JournalOp>) {
        let decided = self.decided.min(end).min(self.applied);
        if decided > self.decided_written {
            ops.push(JournalOp::Scalar(scalar::DECIDED, decided.to_be_bytes().to_vec()));
            self.decided_written = decided;
        }
    }

    fn shorten_tail(&mut self) {
        let spare = self.decided.min(self.durable_end());
        while self.tail_len > TAIL_KEPT
            && self.tail_first < spare
            && let Some(entry) = self.tail.pop_front()
        {
            self.tail_len -= entry.len();
            self.tail_first += 1;
        }
    }

    /// Returns the entries of a range that is not trimmed.
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

    /// Returns entries from `from` up to `end`, until they have `len_max` bytes or slightly more:
    /// the length of an entry is known only once it is read, so the first reads are small.
    pub(crate) fn entries_of(&self, from: u64, end: u64, len_max: usize) -> Vec<LogEntry> {
        let (mut entries, mut len, mut count) = (Vec::new(), 0, 1);
        let mut next = from;
        while next < end && len < len_max {
            let more = self.entries(next, (next + count).min(end));
            assert!(!more.is_empty(), "invariant: the log ends before entry {next}, {end} are applied");
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

    /// Replaces everything from `from` on, but leaves identical entries alone.
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
        // OmniPaxos sets the promise that it read again; a default ballot for none is not a
        // promise.
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

/// Returns the indices from which changes void entries.
fn truncations(ops: &[JournalOp]) -> impl Iterator<Item = u64> {
    ops.iter().filter_map(|op| match op {
        JournalOp::Truncate(from) => Some(*from),
        JournalOp::Append(_) | JournalOp::Scalar(..) => None,
    })
}

/// Splits changes into groups: one group of all, or, if they are long, one for each indivisible
/// part and one for each stretch in between.
fn split(mut ops: Vec<JournalOp>, indivisible: Vec<Range<usize>>) -> Vec<Vec<JournalOp>> {
    if ops.iter().map(JournalOp::payload_len).sum::<usize>() <= GROUP_LEN {
        return vec![ops];
    }
    let mut groups = Vec::new();
    for Range { start, end } in indivisible.into_iter().rev() {
        groups.push(ops.split_off(end));
        groups.push(ops.split_off(start));
    }
    groups.push(ops);
    groups.reverse();
    groups.retain(|group| !group.is_empty());
    groups
}

#[cfg(test)]
impl StagedLog {
    pub(crate) fn spoil_decided(&mut self, decided: u64) {
        self.decided = decided;
    }

    pub(crate) fn spoil_promise(&mut self, promise: Ballot) {
        self.promise = Some(promise);
    }

    pub(crate) fn spoil_round(&mut self, round: Ballot) {
        self.round = Some(round);
    }

    pub(crate) fn spoil_by_writing_again(&mut self, from: u64) {
        let entries = self.entries(from, self.end());
        self.truncate(from);
        entries.into_iter().for_each(|entry| self.append(entry));
    }
}

/// Implements the calls that OmniPaxos 0.2.4 makes without snapshots, trimming and reconfiguration;
/// see docs/omnipaxos-notes.md.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ensemble::check::tests::assert_found;

    fn ballot(n: u32) -> Ballot {
        Ballot { config_id: 1, n, priority: 0, pid: 1 }
    }

    /// Returns a store with two durable entries, one of which is about to be replaced by two
    /// others.
    fn store() -> Store {
        let store = Store::new(Box::new(MemoryJournal::default()), 0, 1, Bugs::default());
        let entry = |byte| LogEntry(Arc::from([byte].as_slice()));
        let mut inner = store.lock();
        inner.set_promise(ballot(1));
        inner.set_round(ballot(1));
        inner.append(entry(1));
        inner.append(entry(2));
        inner.begin().expect("entries are staged")().unwrap();
        inner.finish();
        inner.set_promise(ballot(2));
        inner.set_round(ballot(2));
        let start = inner.ops.len();
        inner.append_on_prefix(1, vec![entry(3), entry(4)]);
        let end = inner.ops.len();
        inner.indivisible.push(start..end);
        drop(inner);
        store
    }

    /// The store stays sound at every stage of a write on another thread.
    #[test]
    fn a_store_is_sound_while_its_disk_works() {
        let store = store();
        let work = store.lock().begin().expect("changes are staged");
        store.lock().check();
        store.lock().append(LogEntry(Arc::from([5].as_slice())));
        store.lock().check();
        assert_eq!(store.lock().durable_end(), 1, "the second entry gives way to another one");
        work().unwrap();
        store.lock().check();
        assert!(store.lock().begin().is_none(), "one at a time");
        store.lock().finish();
        store.lock().check();
        assert_eq!(store.lock().durable_end(), 3);
        store.lock().begin().expect("an entry came meanwhile")().unwrap();
        store.lock().finish();
        let store = store.lock();
        assert_eq!((store.durable_end(), store.end()), (4, 4));
    }

    #[test]
    fn what_is_wrong_in_a_store_is_found() {
        assert_found(
            store,
            |store| store.lock().check(),
            &[
                ("in memory are entries from 2 on, durable are 1", |it| it.lock().tail_first = 2),
                ("of 5 changes [2..5, 4..6] are whole", |it| it.lock().indivisible.push(4..6)),
                ("[2..5, 1..2] is not in order", |it| it.lock().indivisible.push(1..2)),
                ("3 entries are accepted, 2 will be durable", |it| {
                    it.lock().indivisible.clear();
                    it.lock().ops.pop();
                }),
                ("7 entries are durably decided, 0 are decided", |it| it.lock().decided_written = 7),
                ("accepted in (1, Ballot", |it| it.lock().round = Some(ballot(0))),
                ("entries of 3 bytes are in memory, counted 4", |it| it.lock().tail_len = 4),
            ],
        );
    }
}
