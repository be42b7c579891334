//! Moves something to the last requested place, one attempt at a time.
//!
//! Invariant: the requester does not wait; once no worker is active, the last requested place was
//! the last one tried.

use super::sync::Mutex;

/// See the module. `P` is a place.
#[derive(Debug)]
pub(crate) struct Errand<P> {
    wanted: Mutex<Wanted<P>>,
}

#[derive(Debug)]
struct Wanted<P> {
    place: Option<P>,
    /// A worker is active.
    busy: bool,
}

impl<P> Default for Errand<P> {
    fn default() -> Errand<P> {
        Errand { wanted: Mutex::new(Wanted { place: None, busy: false }) }
    }
}

impl<P> Errand<P> {
    /// Returns whether an earlier requested place is still being tried.
    pub(crate) fn is_busy(&self) -> bool {
        self.wanted.lock().busy
    }

    /// Requests a place. If no worker is active, `set_out` starts one, which tries each place that
    /// [`Errand::next`] returns until that is `None`. *Errors*: those of `set_out`.
    pub(crate) fn ask<E>(&self, place: P, set_out: impl FnOnce() -> Result<(), E>) -> Result<(), E> {
        let mut wanted = self.wanted.lock();
        wanted.place = Some(place);
        if !wanted.busy {
            set_out()?;
            wanted.busy = true;
        }
        Ok(())
    }

    /// Returns the next place to try. With `None`, the worker is no longer active.
    pub(crate) fn next(&self) -> Option<P> {
        let mut wanted = self.wanted.lock();
        let next = wanted.place.take();
        wanted.busy = next.is_some();
        next
    }
}
