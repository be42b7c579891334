//! The durable log behind the interface that consensus needs: any thread can do its writes, and
//! writing does not block readers.

use std::ops::Range;
use std::sync::Arc;

use oxkeeper_replica::ensemble::{DiskJob, Journal, JournalFull, JournalOp};
use oxkeeper_store::{AppendError, Log, LogReader, SyncError};
use parking_lot::Mutex;
use tracing::warn;

/// Bytes of log entries to keep although the durable tree already holds them. A peer that was away
/// for a while can then catch up from log entries, which are smaller than a full state.
const WINDOW_LEN: u64 = 32 << 20;

/// A [`Journal`] backed by the store's log.
#[derive(Debug)]
pub struct LogJournal {
    /// The thread that writes holds the lock, so there is one writer at a time.
    log: Arc<Mutex<Log>>,
    reader: LogReader,
    window_len: u64,
    /// Entries up to and including this one may be trimmed.
    spent: Option<u64>,
}

impl LogJournal {
    /// Creates a journal that keeps a window of entries for peers that were away.
    pub fn new(log: Log) -> LogJournal {
        LogJournal::with_window(log, WINDOW_LEN)
    }

    /// Creates a journal for a server without peers, which keeps no entry that the durable tree
    /// holds.
    pub fn standalone(log: Log) -> LogJournal {
        LogJournal::with_window(log, 0)
    }

    /// Creates a journal with another window; the simulator uses short ones.
    pub fn with_window(log: Log, window_len: u64) -> LogJournal {
        let reader = log.reader();
        LogJournal { log: Arc::new(Mutex::new(log)), reader, window_len, spent: None }
    }
}

impl Journal for LogJournal {
    fn first_index(&self) -> u64 {
        self.reader.first_index()
    }

    fn next_index(&self) -> u64 {
        self.reader.durable_end()
    }

    fn scalar(&self, key: u8) -> Option<Vec<u8>> {
        self.reader.scalar(key)
    }

    fn work(&mut self, groups: Vec<Vec<JournalOp>>) -> DiskJob {
        let log = self.log.clone();
        Box::new(move || {
            let mut log = log.lock();
            groups.iter().try_for_each(|group| write(&mut log, group))
        })
    }

    fn read(&self, range: Range<u64>, entry: &mut dyn FnMut(&[u8])) {
        let read = self.reader.read(range.clone(), |_, bytes| entry(bytes));
        read.unwrap_or_else(|problem| panic!("log entries {range:?} cannot be read: {problem}"));
    }

    fn floor(&self, len_max: u64) -> u64 {
        self.reader.floor(len_max)
    }

    fn trim(&mut self, index: u64) {
        self.spent = self.spent.max(index.min(self.reader.floor(self.window_len)).checked_sub(1));
    }

    fn upkeep(&mut self) -> Option<DiskJob> {
        let log = self.log.lock();
        let spent = self.spent.filter(|&through| log.is_trimmable(through));
        if spent.is_none() && !log.needs_room() {
            return None;
        }
        drop(log);
        let log = self.log.clone();
        Some(Box::new(move || {
            let mut log = log.lock();
            log.prepare();
            if let Some(through) = spent
                && let Err(problem) = log.trim(through)
            {
                warn!(%problem, "old log segments stay for now");
            }
            Ok(())
        }))
    }
}

fn write(log: &mut Log, group: &[JournalOp]) -> Result<(), JournalFull> {
    for op in group {
        match stage(log, op) {
            Err(AppendError::SyncFirst) => {
                log.sync().map_err(|SyncError::Full| JournalFull)?;
                stage(log, op).map_err(|_| JournalFull)?;
            }
            Err(AppendError::Full) => return Err(JournalFull),
            Err(problem @ AppendError::TooLarge { .. }) => unreachable!("the leader packed it: {problem}"),
            Ok(()) => {}
        }
    }
    log.sync().map_err(|SyncError::Full| JournalFull)
}

fn stage(log: &mut Log, op: &JournalOp) -> Result<(), AppendError> {
    match op {
        JournalOp::Append(entry) => log.append(entry).map(drop),
        JournalOp::Truncate(from) => log.truncate(*from),
        JournalOp::Scalar(key, value) => log.set_scalar(*key, value),
    }
}
