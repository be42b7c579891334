//! Checkpoints copy changes from memory to the durable tree in the background, so that the log
//! stays short.
//!
//! A checkpoint begins when the log after the last one has grown by [`LOG_LEN`]. The state is
//! locked only to capture a few znodes at a time. After a failure, the previous checkpoint stays
//! and another attempt follows. Invariant: the log is trimmed only up to what a committed
//! checkpoint holds. A checkpoint begins between two log entries, because a restart applies whole
//! entries.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{self, Sender as Channel};
use std::thread::JoinHandle;
use std::time::Duration;

use oxkeeper_durable::checkpoint::{put_head, put_znodes};
use oxkeeper_replica::Shared;
use oxkeeper_store::{Snapshot, StoreError, Tree, TreeWriter};
use parking_lot::{Condvar, Mutex, MutexGuard, RwLock};
use tracing::{info, warn};

use crate::clock::Clock;
use crate::telemetry::counters::CheckpointStats;
use crate::thread::{give_way, spawn};

/// Bytes of log after the last checkpoint at which the next one begins.
const LOG_LEN: u64 = 32 << 20;
/// Maximum number of znodes captured under one lock, which takes about 30 µs.
const CAPTURE_MAX: usize = 128;
/// Bytes of log after the last checkpoint above which a stop, or a tick without a write, triggers
/// another one to speed up the next start.
const STOP_LOG_LEN: u64 = 4 << 20;
/// Time without writes after which a checkpoint may use the full disk bandwidth, ms.
const QUIET_MS: u64 = 5;
/// Interval between checks whether the log has everything that is applied.
const DISK_POLL: Duration = Duration::from_millis(1);
/// Interval between checks whether an image can still come.
const IMAGE_POLL: Duration = Duration::from_secs(1);
/// Pause after a failed checkpoint.
const RETRY_PAUSE: Duration = Duration::from_secs(5);

/// Decides when to checkpoint, and tracks the progress.
#[derive(Debug)]
pub(crate) struct Checkpoints {
    /// Number of log entries applied. Changes only while the state is locked exclusively.
    applied: AtomicU64,
    /// Number of log entries in the durable tree.
    committed: AtomicU64,
    /// Bytes of log after the last checkpoint.
    behind: AtomicU64,
    /// Held while an entry is applied, since the state may be unlocked in the middle of an entry.
    entry: Arc<Mutex<()>>,
    /// An entry is applied, or about to be, that is not in the log.
    ahead: AtomicBool,
    /// A checkpoint is about to begin: entries are applied only once they are in the log.
    begins: AtomicBool,
    asked: Mutex<Asked>,
    wake: Condvar,
    /// Callers that wait for an image of the state.
    waiting: Mutex<Vec<Channel<Image>>>,
    readers: Arc<Readers>,
    pub(crate) stats: Mutex<CheckpointStats>,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Asked {
    checkpoint: bool,
    stop: bool,
}

impl Checkpoints {
    /// Returns the status after a recovery: entries applied, entries in the tree, and bytes of log
    /// between the two.
    pub(crate) fn new(applied: u64, committed: u64, behind: u64) -> Checkpoints {
        Checkpoints {
            applied: AtomicU64::new(applied),
            committed: AtomicU64::new(committed),
            behind: AtomicU64::new(behind),
            entry: Arc::default(),
            ahead: AtomicBool::new(false),
            begins: AtomicBool::new(false),
            asked: Mutex::default(),
            wake: Condvar::new(),
            waiting: Mutex::default(),
            readers: Arc::default(),
            stats: Mutex::default(),
        }
    }

    /// Resets the status after another recovery; see [`Checkpoints::new`].
    pub(crate) fn restart(&self, applied: u64, committed: u64, behind: u64) {
        self.applied.store(applied, Ordering::Release);
        self.committed.store(committed, Ordering::Release);
        self.behind.store(behind, Ordering::Relaxed);
        self.ahead.store(false, Ordering::SeqCst);
        // A caller that asked while there was no thread is still waiting.
        *self.asked.lock() = Asked { checkpoint: !self.waiting.lock().is_empty(), stop: false };
        self.readers.ending.store(false, Ordering::Release);
    }

    /// Returns the lock held while an entry is applied, since the state may be unlocked in the
    /// middle of an entry. It keeps checkpoints from beginning, and is taken before the state's
    /// lock.
    pub(crate) fn between_entries(&self) -> &Arc<Mutex<()>> {
        &self.entry
    }

    /// Returns whether entries that are not in the log may be applied now. If so, a call to
    /// [`Checkpoints::note_ahead`] must follow.
    pub(crate) fn allow_ahead(&self) -> bool {
        let allowed = !self.begins.load(Ordering::SeqCst);
        if allowed {
            self.ahead.store(true, Ordering::SeqCst);
        }
        allowed
    }

    /// Notes whether entries are applied that are not in the log.
    pub(crate) fn note_ahead(&self, ahead: bool) {
        self.ahead.store(ahead, Ordering::SeqCst);
    }

    /// Waits until everything applied is in the log, and keeps more from being applied. Returns
    /// `None` if the thread is to stop first.
    fn begin(&self) -> Option<MutexGuard<'_, ()>> {
        self.begins.store(true, Ordering::SeqCst);
        let begun = loop {
            let between_entries = self.entry.lock();
            if !self.ahead.load(Ordering::SeqCst) {
                break Some(between_entries);
            }
            drop(between_entries);
            if self.asked.lock().stop {
                break None;
            }
            std::thread::sleep(DISK_POLL);
        };
        self.begins.store(false, Ordering::SeqCst);
        begun
    }

    /// Notes that another entry of `len` bytes is applied. The caller still holds the state's lock.
    pub(crate) fn applied(&self, len: u64) {
        self.applied.fetch_add(1, Ordering::Release);
        if self.behind.fetch_add(len, Ordering::Relaxed) + len > LOG_LEN {
            self.ask(|asked| asked.checkpoint = true);
        }
    }

    /// Notes that nothing was applied for a while, a good time to shorten the log for the next
    /// start.
    pub(crate) fn idle(&self) {
        if self.behind.load(Ordering::Relaxed) > STOP_LOG_LEN {
            self.ask(|asked| asked.checkpoint = true);
        }
    }

    /// Returns the number of log entries in the durable tree.
    pub(crate) fn committed_count(&self) -> u64 {
        self.committed.load(Ordering::Relaxed)
    }

    /// Returns the bytes of log entries applied after the last checkpoint.
    pub(crate) fn behind_len(&self) -> u64 {
        self.behind.load(Ordering::Relaxed)
    }

    /// Returns the number of log entries applied.
    pub(crate) fn applied_count(&self) -> u64 {
        self.applied.load(Ordering::Relaxed)
    }

    fn ask(&self, ask: impl FnOnce(&mut Asked)) {
        let mut asked = self.asked.lock();
        let before = *asked;
        ask(&mut asked);
        if *asked != before {
            self.wake.notify_one();
        }
    }

    /// Returns an image of the state, as of now or slightly later. Blocks until a checkpoint has
    /// it. Returns `None` if that fails or the server stops.
    pub(crate) fn image(&self) -> Option<Image> {
        let (sender, receiver) = mpsc::channel();
        self.waiting.lock().push(sender);
        self.ask(|asked| asked.checkpoint = true);
        loop {
            match receiver.recv_timeout(IMAGE_POLL) {
                Ok(image) => return Some(image),
                Err(mpsc::RecvTimeoutError::Timeout) if !self.readers.ending.load(Ordering::Acquire) => {}
                Err(_) => return None,
            }
        }
    }

    /// Sends images of this checkpoint, which has everything that was applied before it began.
    fn hand_out(&self, tree: &Tree, waiting: Vec<Channel<Image>>) {
        for sender in waiting {
            match tree.snapshot() {
                Ok(Some(snapshot)) => drop(sender.send(Image::new(snapshot, &self.readers))),
                Ok(None) => {}
                Err(problem) => warn!(%problem, "cannot read the state for a backup"),
            }
        }
    }

    /// Tells the thread to stop after the current checkpoint.
    pub(crate) fn stop(&self) {
        self.ask(|asked| asked.stop = true);
    }

    /// Returns the last entry that the log may drop.
    pub(crate) fn trimmable(&self) -> Option<u64> {
        self.committed.load(Ordering::Acquire).checked_sub(1)
    }

    /// Starts the thread that copies changes into the durable tree.
    ///
    /// # Errors
    /// The system cannot create a thread.
    pub(crate) fn start(
        self: &Arc<Self>,
        shared: &Arc<RwLock<Shared>>,
        tree: Arc<Tree>,
        clock: Clock,
    ) -> io::Result<JoinHandle<()>> {
        let (checkpoints, shared) = (self.clone(), shared.clone());
        spawn("checkpoint", move || checkpoints.run(&shared, &tree, clock))
    }

    /// Runs the thread: makes a checkpoint whenever one is requested.
    fn run(&self, shared: &RwLock<Shared>, tree: &Tree, clock: Clock) {
        give_way();
        loop {
            let mut asked = self.asked.lock();
            while !asked.checkpoint && !asked.stop {
                self.wake.wait(&mut asked);
            }
            let stop = asked.stop;
            asked.checkpoint = false;
            drop(asked);
            let waiting = std::mem::take(&mut *self.waiting.lock());
            if stop {
                self.readers.end();
            }
            if stop && self.behind.load(Ordering::Relaxed) < STOP_LOG_LEN {
                return;
            }
            let start_ms = clock.now_ms();
            let Some(between_entries) = self.begin() else { return };
            if let Err(problem) = self.checkpoint(between_entries, shared, tree, clock) {
                warn!(%problem, "the checkpoint failed; the one before it and the log still hold everything");
                self.stats.lock().failed += 1;
                if stop {
                    return;
                }
                let mut asked = self.asked.lock();
                asked.checkpoint = true;
                if !asked.stop {
                    self.wake.wait_for(&mut asked, RETRY_PAUSE);
                }
                continue;
            }
            if !stop {
                self.hand_out(tree, waiting);
            }
            let took_ms = clock.now_ms() - start_ms;
            self.stats.lock().took_ms.record(took_ms);
            info!(took_ms, entries = self.committed.load(Ordering::Relaxed), "checkpoint");
        }
    }

    fn checkpoint(
        &self,
        between_entries: MutexGuard<'_, ()>,
        shared: &RwLock<Shared>,
        tree: &Tree,
        clock: Clock,
    ) -> Result<(), StoreError> {
        let mut locked = shared.write();
        let head = locked.state.begin_checkpoint();
        let applied = self.applied.load(Ordering::Acquire);
        let zxid = locked.state.zxid();
        let behind = self.behind.swap(0, Ordering::Relaxed);
        drop(locked);
        drop(between_entries);
        let done = tree.checkpoint(applied, |writer| {
            put_head(writer, &head)?;
            self.put_znodes(writer, shared, tree, clock)
        });
        shared.write().state.end_checkpoint(&head, done.is_ok());
        match done {
            Ok(()) => {
                self.committed.store(applied, Ordering::Release);
                self.stats.lock().last = Some((zxid, clock.wall_ms() / 1000));
            }
            Err(_) => drop(self.behind.fetch_add(behind, Ordering::Relaxed)),
        }
        done
    }

    /// Writes the changed znodes, capturing a few at a time. Without writes from clients, the disk
    /// need not be shared.
    fn put_znodes(
        &self,
        writer: &mut TreeWriter<'_>,
        shared: &RwLock<Shared>,
        tree: &Tree,
        clock: Clock,
    ) -> Result<(), StoreError> {
        let (mut applied, mut applied_ms) = (self.applied.load(Ordering::Relaxed), clock.now_ms());
        loop {
            let captured = shared.write().state.capture(CAPTURE_MAX);
            if captured.is_empty() {
                return Ok(());
            }
            put_znodes(writer, captured)?;
            let now = (self.applied.load(Ordering::Relaxed), clock.now_ms());
            if now.0 != applied {
                (applied, applied_ms) = now;
            }
            tree.hurry(now.1 - applied_ms >= QUIET_MS);
        }
    }
}

/// Readers of images. Invariant: the thread ends only after all readers have, so that the file is
/// reopened without readers.
#[derive(Debug, Default)]
struct Readers {
    count: Mutex<usize>,
    none: Condvar,
    ending: AtomicBool,
}

impl Readers {
    /// Tells all readers to end and waits until they have.
    fn end(&self) {
        self.ending.store(true, Ordering::Release);
        let mut count = self.count.lock();
        while *count > 0 {
            self.none.wait(&mut count);
        }
    }
}

/// The durable tree as of one checkpoint. Valid while somebody reads it.
pub(crate) struct Image {
    pub(crate) snapshot: Option<Snapshot>,
    readers: Arc<Readers>,
}

impl std::fmt::Debug for Image {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Image").finish_non_exhaustive()
    }
}

impl Image {
    fn new(snapshot: Snapshot, readers: &Arc<Readers>) -> Image {
        *readers.count.lock() += 1;
        Image { snapshot: Some(snapshot), readers: readers.clone() }
    }

    /// Returns whether the reader must end because the server stops.
    pub(crate) fn is_to_end(&self) -> bool {
        self.readers.ending.load(Ordering::Acquire)
    }

    /// Returns the same check as a closure, for the consumer of what is read.
    pub(crate) fn ending(&self) -> impl Fn() -> bool + Send + 'static {
        let readers = self.readers.clone();
        move || readers.ending.load(Ordering::Acquire)
    }
}

impl Drop for Image {
    fn drop(&mut self) {
        // Closes the file before the count says so.
        drop(self.snapshot.take());
        *self.readers.count.lock() -= 1;
        self.readers.none.notify_all();
    }
}

/// Checkpoints shared with the thread.
pub(crate) type SharedCheckpoints = Arc<Checkpoints>;
