//! Primitives that hand-offs are made of. The tests have another file in the place of this one.

pub(crate) use std::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize};

pub(crate) use parking_lot::{Condvar, Mutex};
pub(crate) use tokio::sync::Notify;

/// Items that wait at a hand-off.
pub(crate) trait Batch: Default {
    /// So many bytes wait before somebody else must.
    const LEN_MAX: usize;

    /// Moves everything behind what `other` holds already.
    fn append_to(&mut self, other: &mut Self);

    /// Its bytes.
    fn len(&self) -> usize;

    /// Whether there is nothing in it; it may have no bytes and something in it.
    fn is_empty(&self) -> bool;
}

/// Ends a sleep.
pub(crate) trait Wake {
    /// Makes a sleeping thread look again.
    fn wake(&self);
}
