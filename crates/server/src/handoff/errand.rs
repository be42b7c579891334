//! Something is to be brought to where it was last wanted, one try at a time.
//!
//! Invariant: whoever asks does not wait; once nobody is on the way, the last place asked for was tried last.

use super::sync::Mutex;

/// See the module. `P` is a place.
#[derive(Debug)]
pub(crate) struct Errand<P> {
    wanted: Mutex<Wanted<P>>,
}

#[derive(Debug)]
struct Wanted<P> {
    place: Option<P>,
    /// Somebody is on the way.
    busy: bool,
}

impl<P> Default for Errand<P> {
    fn default() -> Errand<P> {
        Errand { wanted: Mutex::new(Wanted { place: None, busy: false }) }
    }
}

impl<P> Errand<P> {
    /// Whether a place that was asked for before is still being tried.
    pub(crate) fn is_busy(&self) -> bool {
        self.wanted.lock().busy
    }

    /// Asks for a place. If nobody is on the way, `set_out` sends somebody, who tries whatever [`Errand::next`] says until
    /// that is `None`. *Errors*: those of `set_out`.
    pub(crate) fn ask<E>(&self, place: P, set_out: impl FnOnce() -> Result<(), E>) -> Result<(), E> {
        let mut wanted = self.wanted.lock();
        wanted.place = Some(place);
        if !wanted.busy {
            set_out()?;
            wanted.busy = true;
        }
        Ok(())
    }

    /// Where to go next; `None`: nobody is on the way any more.
    pub(crate) fn next(&self) -> Option<P> {
        let mut wanted = self.wanted.lock();
        let next = wanted.place.take();
        wanted.busy = next.is_some();
        next
    }
}
