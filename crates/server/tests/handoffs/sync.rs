//! Replaces `src/handoff/sync.rs`: the same types, under shuttle's scheduler.

use std::ops::{Deref, DerefMut};
use std::time::Duration;

pub(crate) use shuttle::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize};

/// Like `parking_lot`'s.
#[derive(Debug, Default)]
pub(crate) struct Mutex<T>(shuttle::sync::Mutex<T>);

/// `None` only while waiting for a condition.
pub(crate) struct Guard<'a, T>(Option<shuttle::sync::MutexGuard<'a, T>>);

impl<T> Mutex<T> {
    pub(crate) fn new(value: T) -> Mutex<T> {
        Mutex(shuttle::sync::Mutex::new(value))
    }

    pub(crate) fn lock(&self) -> Guard<'_, T> {
        Guard(Some(self.0.lock().expect("nobody panics while holding it")))
    }
}

impl<T> Deref for Guard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.0.as_ref().expect("nobody waits")
    }
}

impl<T> DerefMut for Guard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        self.0.as_mut().expect("nobody waits")
    }
}

/// Like `parking_lot`'s.
#[derive(Debug, Default)]
pub(crate) struct Condvar(shuttle::sync::Condvar);

impl Condvar {
    pub(crate) fn wait<T>(&self, guard: &mut Guard<'_, T>) {
        let held = guard.0.take().expect("it is held");
        guard.0 = Some(self.0.wait(held).expect("nobody panics while holding it"));
    }

    /// Waits without a timeout, so that a missing wake becomes a deadlock, which shuttle reports.
    pub(crate) fn wait_for<T>(&self, guard: &mut Guard<'_, T>, _timeout: Duration) {
        self.wait(guard);
    }

    pub(crate) fn notify_one(&self) {
        self.0.notify_one();
    }
}

/// Like tokio's, for a single waiter: stores one wake.
#[derive(Debug, Default)]
pub(crate) struct Notify {
    woken: Mutex<bool>,
    changed: Condvar,
}

impl Notify {
    pub(crate) fn notify_one(&self) {
        *self.woken.lock() = true;
        self.changed.notify_one();
    }

    pub(crate) async fn notified(&self) {
        self.wait();
    }

    pub(crate) fn wait(&self) {
        let mut woken = self.woken.lock();
        while !std::mem::take(&mut *woken) {
            self.changed.wait(&mut woken);
        }
    }
}

/// Same as in `src/handoff/sync.rs`.
pub(crate) trait Batch: Default {
    const LEN_MAX: usize;
    fn append_to(&mut self, other: &mut Self);
    fn len(&self) -> usize;
    fn is_empty(&self) -> bool;
}

/// Same as in `src/handoff/sync.rs`.
pub(crate) trait Wake {
    fn wake(&self);
}
