//! Checkpoints: what changed goes from memory to the durable tree, in the background, so that the log stays short.
//!
//! Begun when the log behind the last one has grown by [`LOG_LEN`]; the state is locked only to capture a few znodes at
//! a time. A failed checkpoint leaves the former one and is tried again. Invariant: the log is trimmed only up to what a
//! committed checkpoint holds. A checkpoint begins between two log entries: a restart applies whole ones.

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

/// Bytes of log behind the last checkpoint that begin the next one.
const LOG_LEN: u64 = 32 << 20;
/// Znodes captured under one lock: about 30 µs.
const CAPTURE_MAX: usize = 128;
/// Bytes of log behind the last checkpoint that a stop, or a tick without a write, turns into one more, so that the next
/// start is quick.
const STOP_LOG_LEN: u64 = 4 << 20;
/// A checkpoint may use the whole disk when no write has come for this long, ms.
const QUIET_MS: u64 = 5;
/// How often it is looked whether the log has all that is applied.
const DISK_POLL: Duration = Duration::from_millis(1);
/// How often it is looked whether an image may still come.
const IMAGE_POLL: Duration = Duration::from_secs(1);
/// Pause after a failed checkpoint.
const RETRY_PAUSE: Duration = Duration::from_secs(5);

/// When to checkpoint, and how far the last one came.
#[derive(Debug)]
pub(crate) struct Checkpoints {
    /// Log entries applied. Changed only while the state is locked exclusively.
    applied: AtomicU64,
    /// Log entries the durable tree holds.
    committed: AtomicU64,
    /// Bytes of the log behind the last checkpoint.
    behind: AtomicU64,
    /// Held while an entry is applied, of which the state may be unlocked in between.
    entry: Arc<Mutex<()>>,
    /// Something is applied, or about to be, that the log does not have.
    ahead: AtomicBool,
    /// A checkpoint is about to begin: nothing is applied before the log has it.
    begins: AtomicBool,
    asked: Mutex<Asked>,
    wake: Condvar,
    /// Who waits for an image of the state.
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
    /// After recovery: so many entries applied, so many in the tree, so many bytes between.
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

    /// Begins anew, after another recovery: as [`Checkpoints::new`].
    pub(crate) fn restart(&self, applied: u64, committed: u64, behind: u64) {
        self.applied.store(applied, Ordering::Release);
        self.committed.store(committed, Ordering::Release);
        self.behind.store(behind, Ordering::Relaxed);
        self.ahead.store(false, Ordering::SeqCst);
        // Who came while there was no thread is still waiting.
        *self.asked.lock() = Asked { checkpoint: !self.waiting.lock().is_empty(), stop: false };
        self.readers.ending.store(false, Ordering::Release);
    }

    /// Held while an entry is applied, of which the state may be unlocked in between: it keeps checkpoints from beginning.
    /// Taken before the state.
    pub(crate) fn between_entries(&self) -> &Arc<Mutex<()>> {
        &self.entry
    }

    /// Whether entries may be applied now that the log does not have. If so, [`Checkpoints::note_ahead`] follows.
    pub(crate) fn allow_ahead(&self) -> bool {
        let allowed = !self.begins.load(Ordering::SeqCst);
        if allowed {
            self.ahead.store(true, Ordering::SeqCst);
        }
        allowed
    }

    /// Whether entries are applied that the log does not have.
    pub(crate) fn note_ahead(&self, ahead: bool) {
        self.ahead.store(ahead, Ordering::SeqCst);
    }

    /// Waits until the log has all that is applied, and keeps more from being applied. `None` if the thread is to stop before.
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

    /// One more entry of `len` bytes is applied; the state is still locked.
    pub(crate) fn applied(&self, len: u64) {
        self.applied.fetch_add(1, Ordering::Release);
        if self.behind.fetch_add(len, Ordering::Relaxed) + len > LOG_LEN {
            self.ask(|asked| asked.checkpoint = true);
        }
    }

    /// Nothing was applied for a while: a good time to shorten the log for the next start.
    pub(crate) fn idle(&self) {
        if self.behind.load(Ordering::Relaxed) > STOP_LOG_LEN {
            self.ask(|asked| asked.checkpoint = true);
        }
    }

    /// Log entries the durable tree holds.
    pub(crate) fn committed_count(&self) -> u64 {
        self.committed.load(Ordering::Relaxed)
    }

    /// Bytes of log entries applied behind the last checkpoint.
    pub(crate) fn behind_len(&self) -> u64 {
        self.behind.load(Ordering::Relaxed)
    }

    /// Log entries applied.
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

    /// The state as it is now or a little later, once a checkpoint has it: blocks. `None` if that fails, or the server stops.
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

    /// Everything that was applied before this checkpoint began is in it.
    fn hand_out(&self, tree: &Tree, waiting: Vec<Channel<Image>>) {
        for sender in waiting {
            match tree.snapshot() {
                Ok(Some(snapshot)) => drop(sender.send(Image::new(snapshot, &self.readers))),
                Ok(None) => {}
                Err(problem) => warn!(%problem, "cannot read the state for a backup"),
            }
        }
    }

    /// The thread is to stop, after the checkpoint under way.
    pub(crate) fn stop(&self) {
        self.ask(|asked| asked.stop = true);
    }

    /// The last entry the log may forget.
    pub(crate) fn trimmable(&self) -> Option<u64> {
        self.committed.load(Ordering::Acquire).checked_sub(1)
    }

    /// Starts the thread that copies what changed into the durable tree.
    ///
    /// # Errors
    /// The system refuses a thread.
    pub(crate) fn start(
        self: &Arc<Self>,
        shared: &Arc<RwLock<Shared>>,
        tree: Arc<Tree>,
        clock: Clock,
    ) -> io::Result<JoinHandle<()>> {
        let (checkpoints, shared) = (self.clone(), shared.clone());
        spawn("checkpoint", move || checkpoints.run(&shared, &tree, clock))
    }

    /// The thread's work: a checkpoint whenever one is asked for.
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

    /// Captures a few znodes at a time. While nobody writes, the disk need not be shared.
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

/// Who reads images. Invariant: the thread ends when nobody does any more, so that the file is opened anew without readers.
#[derive(Debug, Default)]
struct Readers {
    count: Mutex<usize>,
    none: Condvar,
    ending: AtomicBool,
}

impl Readers {
    /// Waits until all have noticed.
    fn end(&self) {
        self.ending.store(true, Ordering::Release);
        let mut count = self.count.lock();
        while *count > 0 {
            self.none.wait(&mut count);
        }
    }
}

/// The durable tree as of one checkpoint, for as long as somebody reads it.
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

    /// The server stops: whoever reads must end.
    pub(crate) fn is_to_end(&self) -> bool {
        self.readers.ending.load(Ordering::Acquire)
    }

    /// Tells the same to somebody who waits for what is read.
    pub(crate) fn ending(&self) -> impl Fn() -> bool + Send + 'static {
        let readers = self.readers.clone();
        move || readers.ending.load(Ordering::Acquire)
    }
}

impl Drop for Image {
    fn drop(&mut self) {
        // The file is let go of before it is said so.
        drop(self.snapshot.take());
        *self.readers.count.lock() -= 1;
        self.readers.none.notify_all();
    }
}

/// Shared with the thread.
pub(crate) type SharedCheckpoints = Arc<Checkpoints>;
