//! redb's storage backend: a file of a [`Disk`](crate::disk::Disk).
//!
//! Owns the pace of checkpoints and the flag that the disk was full. redb writes all pages of a
//! commit and then syncs once. Hundreds of megabytes in one sync would stall the log's syncs on the
//! same disk for as long as it takes, so the backend also syncs whenever
//! [`TreeOptions::pace_len`](crate::TreeOptions) bytes were written. More syncs than redb asks for
//! are always allowed.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use redb::StorageBackend;

use crate::disk::{DiskFile, is_full};

/// Bytes between syncs when nothing waits for the log. If a log write does come, one such sync
/// delays it by about 50 ms.
const HURRIED_PACE_LEN: u64 = 8 << 20;

/// A file, in the form that redb needs.
#[derive(Debug)]
pub(crate) struct Backend {
    pub(crate) path: PathBuf,
    pub(crate) file: Box<dyn DiskFile>,
    /// Set when a write meets a full disk: redb's own errors do not keep the cause.
    pub(crate) full: Arc<AtomicBool>,
    /// Bytes to write between syncs.
    pub(crate) pace_len: u64,
    /// Pause after each of those syncs, during which the disk is left alone.
    pub(crate) pace_rest: Duration,
    /// Whether nothing waits for the log: then there are no pauses, and [`HURRIED_PACE_LEN`] bytes
    /// between syncs.
    pub(crate) hurried: Arc<AtomicBool>,
    pub(crate) unsynced: AtomicU64,
}

impl Backend {
    fn note<T>(&self, done: io::Result<T>) -> io::Result<T> {
        if done.as_ref().is_err_and(is_full) {
            self.full.store(true, Ordering::Relaxed);
        }
        done
    }
}

impl StorageBackend for Backend {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.file.read_at(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.note(self.file.set_len(len))
    }

    /// Panics if the sync fails, as in the log and for the same reason.
    fn sync_data(&self) -> io::Result<()> {
        if let Err(error) = self.file.sync_data() {
            panic!("{}: cannot sync: {error}", self.path.display());
        }
        self.unsynced.store(0, Ordering::Relaxed);
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.note(self.file.write_at(offset, data))?;
        let len = data.len() as u64;
        let unsynced = self.unsynced.fetch_add(len, Ordering::Relaxed) + len;
        let hurried = self.hurried.load(Ordering::Relaxed);
        if unsynced >= if hurried { HURRIED_PACE_LEN.max(self.pace_len) } else { self.pace_len } {
            self.sync_data()?;
            if !hurried && !self.pace_rest.is_zero() {
                std::thread::sleep(self.pace_rest);
            }
        }
        Ok(())
    }
}
