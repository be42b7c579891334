//! Mailbox of a thread that owns connections.
//!
//! Invariant: the thread finds everything put in before a wake once it has woken; a thread that
//! waits for room is woken once there is room.

use std::fmt;
use std::sync::atomic::Ordering;

use super::sync::{AtomicBool, Batch, Condvar, Mutex, Notify};

/// See the module. `D` is the type of deliveries, `O` of an order.
pub(crate) struct Mailbox<D, O> {
    outbox: Mutex<D>,
    filled: AtomicBool,
    congested: AtomicBool,
    emptied: Condvar,
    orders: Mutex<Vec<O>>,
    wake: Notify,
}

impl<D: Batch, O> Default for Mailbox<D, O> {
    fn default() -> Mailbox<D, O> {
        Mailbox {
            outbox: Mutex::new(D::default()),
            filled: AtomicBool::new(false),
            congested: AtomicBool::new(false),
            emptied: Condvar::default(),
            orders: Mutex::new(Vec::new()),
            wake: Notify::default(),
        }
    }
}

impl<D, O> fmt::Debug for Mailbox<D, O> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("mailbox")
    }
}

impl<D: Batch, O> Mailbox<D, O> {
    /// Adds deliveries without waking the thread, and leaves `outbox` empty. Returns whether there
    /// were any.
    pub(crate) fn fill(&self, outbox: &mut D) -> bool {
        if outbox.is_empty() {
            return false;
        }
        outbox.append_to(&mut self.outbox.lock());
        self.filled.store(true, Ordering::Release);
        true
    }

    /// Notes that the thread has clients waiting for room among the proposals.
    pub(crate) fn wait_for_relief(&self) {
        self.congested.store(true, Ordering::SeqCst);
    }

    /// Wakes the thread if it has clients waiting for room.
    pub(crate) fn relieve(&self) {
        if self.congested.swap(false, Ordering::SeqCst) {
            self.wake();
        }
    }

    /// Swaps the deliveries into `taken`, which must be empty. Returns whether there were any.
    pub(crate) fn empty_into(&self, taken: &mut D) -> bool {
        if !self.filled.load(Ordering::Acquire) {
            return false;
        }
        let mut outbox = self.outbox.lock();
        self.filled.store(false, Ordering::Release);
        std::mem::swap(&mut *outbox, taken);
        self.emptied.notify_one();
        true
    }

    /// Waits until there is room for more deliveries, so that a burst of events cannot outrun the
    /// threads that write them out. The state must not be locked, or the thread could not empty the
    /// mailbox.
    pub(crate) fn wait_for_room(&self) {
        let mut outbox = self.outbox.lock();
        while outbox.len() > D::LEN_MAX {
            self.emptied.wait(&mut outbox);
        }
    }

    /// Adds an order and wakes the thread.
    pub(crate) fn order(&self, order: O) {
        self.orders.lock().push(order);
        self.wake();
    }

    /// Takes all orders.
    pub(crate) fn orders(&self) -> Vec<O> {
        std::mem::take(&mut self.orders.lock())
    }

    /// Wakes the thread.
    pub(crate) fn wake(&self) {
        self.wake.notify_one();
    }

    /// Waits until the thread is woken.
    pub(crate) async fn woken(&self) {
        self.wake.notified().await;
    }
}
