//! Proposals on their way to the engine, and the engine's sleep.
//!
//! Invariant: what is pushed before a stop is taken, and the engine does not sleep while something waits.

use std::fmt;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::sync::{AtomicUsize, Batch, Condvar, Mutex, Wake};

/// `P` are proposals, `R` is what is to replace the engine's data, `W` ends its sleep elsewhere.
pub(crate) struct Proposing<P, R, W> {
    waiting: Mutex<Waiting<P, R>>,
    arrived: Condvar,
    /// Ends the engine's sleep, where that is not in [`Proposing::take`].
    waker: Mutex<Option<W>>,
    /// Bytes waiting: read without the lock by those who would add more.
    len: AtomicUsize,
    /// Bytes that the engine has taken and that are not applied.
    unapplied: AtomicUsize,
}

struct Waiting<P, R> {
    proposals: P,
    /// Replacement of the engine's data.
    replacement: Option<R>,
    engine_sleeps: bool,
    stop: bool,
}

impl<P: Batch, R, W> Default for Proposing<P, R, W> {
    fn default() -> Proposing<P, R, W> {
        let waiting = Waiting { proposals: P::default(), replacement: None, engine_sleeps: false, stop: false };
        Proposing {
            waiting: Mutex::new(waiting),
            arrived: Condvar::default(),
            waker: Mutex::new(None),
            len: AtomicUsize::new(0),
            unapplied: AtomicUsize::new(0),
        }
    }
}

impl<P, R, W> fmt::Debug for Proposing<P, R, W> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("proposals on their way")
    }
}

impl<P: Batch, R, W: Wake> Proposing<P, R, W> {
    /// Hands proposals over; `proposals` is empty afterwards. Once the engine is to stop they are dropped: their
    /// connections end without an answer to them.
    pub(crate) fn push(&self, proposals: &mut P) {
        let mut waiting = self.waiting.lock();
        if waiting.stop {
            return drop(std::mem::take(proposals));
        }
        proposals.append_to(&mut waiting.proposals);
        self.len.store(waiting.proposals.len(), Ordering::SeqCst);
        let engine_sleeps = std::mem::take(&mut waiting.engine_sleeps);
        drop(waiting);
        if engine_sleeps {
            self.arrived.notify_one();
        } else if let Some(waker) = &*self.waker.lock() {
            waker.wake();
        }
    }

    /// Whether so much waits that nothing should be added.
    pub(crate) fn is_congested(&self) -> bool {
        // A thread that finds this after it has said that it waits is relieved by the one that makes it untrue: one of the two sees the other.
        self.len.load(Ordering::SeqCst) + self.unapplied.load(Ordering::SeqCst) > P::LEN_MAX
    }

    /// The engine sleeps elsewhere, and is woken by this from now on.
    pub(crate) fn wake_by(&self, waker: W) {
        *self.waker.lock() = Some(waker);
    }

    /// The engine has taken so many bytes that are not applied yet. If these are fewer than before, it is for the
    /// engine to relieve those who wait.
    pub(crate) fn note_unapplied(&self, len: usize) {
        self.unapplied.store(len, Ordering::SeqCst);
    }

    /// Swaps what waits into `taken`, which must be empty, without waiting; whether the engine is to stop.
    pub(crate) fn take_waiting(&self, taken: &mut P) -> bool {
        let mut waiting = self.waiting.lock();
        std::mem::swap(taken, &mut waiting.proposals);
        self.len.store(0, Ordering::SeqCst);
        waiting.stop
    }

    /// Swaps what waits into `taken`, which must be empty; waits for something to arrive, at most so long. False once
    /// the engine is to stop and nothing waits.
    pub(crate) fn take(&self, taken: &mut P, timeout: Duration) -> bool {
        let mut waiting = self.waiting.lock();
        if waiting.proposals.is_empty() && waiting.replacement.is_none() && !waiting.stop {
            waiting.engine_sleeps = true;
            self.arrived.wait_for(&mut waiting, timeout);
            waiting.engine_sleeps = false;
        }
        std::mem::swap(taken, &mut waiting.proposals);
        self.len.store(0, Ordering::SeqCst);
        !(waiting.stop && taken.is_empty())
    }

    /// The engine of a standalone server is to go on with other data. Once it is to stop nobody takes this any more.
    pub(crate) fn replace(&self, replacement: R) {
        let mut waiting = self.waiting.lock();
        if !waiting.stop {
            waiting.replacement = Some(replacement);
            self.arrived.notify_one();
        }
    }

    /// Takes the replacement of the engine's data, if there is one.
    pub(crate) fn take_replacement(&self) -> Option<R> {
        self.waiting.lock().replacement.take()
    }

    /// Whether the engine is to stop.
    pub(crate) fn is_to_stop(&self) -> bool {
        self.waiting.lock().stop
    }

    /// The engine is to stop once everything that waits is done.
    pub(crate) fn stop(&self) {
        self.waiting.lock().stop = true;
        self.arrived.notify_one();
        if let Some(waker) = &*self.waker.lock() {
            waker.wake();
        }
    }
}
