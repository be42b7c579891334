//! Proposals for the engine, and the engine's sleep.
//!
//! Invariant: everything pushed before a stop is taken, and the engine does not sleep while
//! something waits.

use std::fmt;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::sync::{AtomicUsize, Batch, Condvar, Mutex, Wake};

/// See the module. `P` is the type of proposals, `R` of a replacement of the engine's data, `W` of
/// the waker for a sleep elsewhere.
pub(crate) struct Proposing<P, R, W> {
    waiting: Mutex<Waiting<P, R>>,
    arrived: Condvar,
    /// Ends the engine's sleep when it sleeps outside [`Proposing::take`].
    waker: Mutex<Option<W>>,
    /// Bytes waiting. Producers read it without the lock before they add more.
    len: AtomicUsize,
    /// Bytes that the engine has taken and not applied.
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
    /// Hands over the proposals and leaves `proposals` empty. Drops them if the engine is to stop:
    /// their connections then end without a reply.
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

    /// Returns whether so much is waiting that nothing should be added.
    pub(crate) fn is_congested(&self) -> bool {
        // A thread that sees congestion after it announced that it waits is relieved by the thread
        // that ends the congestion: one of the two sees the other.
        self.len.load(Ordering::SeqCst) + self.unapplied.load(Ordering::SeqCst) > P::LEN_MAX
    }

    /// Sets the waker for an engine that sleeps elsewhere.
    pub(crate) fn wake_by(&self, waker: W) {
        *self.waker.lock() = Some(waker);
    }

    /// Notes the number of bytes that the engine has taken and not applied. If it is lower than
    /// before, the engine must relieve the waiting threads.
    pub(crate) fn note_unapplied(&self, len: usize) {
        self.unapplied.store(len, Ordering::SeqCst);
    }

    /// Swaps the waiting proposals into `taken`, which must be empty, without blocking. Returns
    /// whether the engine is to stop.
    pub(crate) fn take_waiting(&self, taken: &mut P) -> bool {
        let mut waiting = self.waiting.lock();
        std::mem::swap(taken, &mut waiting.proposals);
        self.len.store(0, Ordering::SeqCst);
        waiting.stop
    }

    /// Swaps the waiting proposals into `taken`, which must be empty. Waits at most `timeout` for
    /// something to arrive. Returns false once the engine is to stop and nothing waits.
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

    /// Asks the engine of a standalone server to continue with other data. Ignored once the engine
    /// is to stop.
    pub(crate) fn replace(&self, replacement: R) {
        let mut waiting = self.waiting.lock();
        if !waiting.stop {
            waiting.replacement = Some(replacement);
            self.arrived.notify_one();
        }
    }

    /// Takes the replacement of the engine's data, if any.
    pub(crate) fn take_replacement(&self) -> Option<R> {
        self.waiting.lock().replacement.take()
    }

    /// Returns whether the engine is to stop.
    pub(crate) fn is_to_stop(&self) -> bool {
        self.waiting.lock().stop
    }

    /// Tells the engine to stop once everything waiting is done.
    pub(crate) fn stop(&self) {
        self.waiting.lock().stop = true;
        self.arrived.notify_one();
        if let Some(waker) = &*self.waker.lock() {
            waker.wake();
        }
    }
}
