//! Primitives used by the hand-offs. The tests replace this file with another one.

pub(crate) use std::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize};

pub(crate) use parking_lot::{Condvar, Mutex};
pub(crate) use tokio::sync::Notify;

/// Items that wait at a hand-off.
pub(crate) trait Batch: Default {
    /// Number of waiting bytes above which the other side must wait.
    const LEN_MAX: usize;

    /// Moves all items to the end of `other`.
    fn append_to(&mut self, other: &mut Self);

    /// Returns the length in bytes.
    fn len(&self) -> usize;

    /// Returns whether there are no items. A batch of zero bytes may still have items.
    fn is_empty(&self) -> bool;
}

/// Ends a sleep.
pub(crate) trait Wake {
    /// Makes a sleeping thread check its input again.
    fn wake(&self);
}
