//! The durable log as consensus wants it.

use std::ops::Range;

use oxkeeper_replica::ensemble::{Journal, JournalFull, JournalOp, Syncing};
use oxkeeper_store::{AppendError, Log, SyncError};
use tracing::warn;

/// Bytes of entries kept although the durable tree has them, for peers that were away for a while: what they need is
/// sent to them as entries, which is less than a state.
const WINDOW_LEN: u64 = 32 << 20;

/// See the module.
#[derive(Debug)]
pub struct LogJournal {
    log: Log,
    window_len: u64,
}

impl LogJournal {
    /// Over a log.
    pub fn new(log: Log) -> LogJournal {
        LogJournal { log, window_len: WINDOW_LEN }
    }

    /// The same, with another window: the simulator's are short.
    pub fn with_window(log: Log, window_len: u64) -> LogJournal {
        LogJournal { log, window_len }
    }
}

impl Journal for LogJournal {
    fn first_index(&self) -> u64 {
        self.log.first_index()
    }

    fn next_index(&self) -> u64 {
        self.log.durable_end()
    }

    fn scalar(&self, key: u8) -> Option<Vec<u8>> {
        self.log.scalar(key).map(<[u8]>::to_vec)
    }

    fn write(&mut self, ops: &[JournalOp]) -> Result<(), JournalFull> {
        stage_all(&mut self.log, ops)?;
        self.log.sync().map_err(|SyncError::Full| JournalFull)
    }

    fn begin(&mut self, ops: &[JournalOp]) -> Result<Option<Syncing>, JournalFull> {
        stage_all(&mut self.log, ops)?;
        let begun = self.log.begin_sync().map_err(|SyncError::Full| JournalFull)?;
        Ok(begun.map(|syncing| Box::new(|| syncing.run()) as Syncing))
    }

    fn finish(&mut self) {
        self.log.finish_sync();
    }

    fn read(&self, range: Range<u64>, entry: &mut dyn FnMut(&[u8])) {
        let read = self.log.read(range.clone(), |_, bytes| entry(bytes));
        read.unwrap_or_else(|problem| panic!("log entries {range:?} cannot be read: {problem}"));
    }

    fn floor(&self, len_max: u64) -> u64 {
        self.log.floor(len_max)
    }

    fn trim(&mut self, index: u64) {
        if let Some(through) = index.min(self.log.floor(self.window_len)).checked_sub(1)
            && let Err(problem) = self.log.trim(through)
        {
            warn!(%problem, "old log segments stay for now");
        }
    }

    fn prepare(&mut self) {
        self.log.prepare();
    }
}

fn stage_all(log: &mut Log, ops: &[JournalOp]) -> Result<(), JournalFull> {
    for op in ops {
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
    Ok(())
}

fn stage(log: &mut Log, op: &JournalOp) -> Result<(), AppendError> {
    match op {
        JournalOp::Append(entry) => log.append(entry).map(drop),
        JournalOp::Truncate(from) => log.truncate(*from),
        JournalOp::Scalar(key, value) => log.set_scalar(*key, value),
    }
}
