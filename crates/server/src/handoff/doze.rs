//! A sleep that ends when something comes, where the sleeper waits for several things at once.
//!
//! Invariant: whatever was done before [`Doze::wake`] is seen by the sleeper after its next [`Doze::awake`], and that
//! comes without delay. 1. A wake before [`Doze::fall_asleep`] keeps it from sleeping. 2. A wake after it finds `ASLEEP`
//! and has its caller ring, which ends the sleep.

use std::sync::atomic::Ordering;

use super::sync::AtomicU8;

/// The sleeper works; it will look at everything before it sleeps.
const AWAKE: u8 = 0;
/// It sleeps, or is about to.
const ASLEEP: u8 = 1;
/// Something came: it must not sleep before it has looked again.
const WOKEN: u8 = 2;

/// See the module. A wake costs one atomic operation unless somebody sleeps.
#[derive(Debug)]
pub(crate) struct Doze {
    state: AtomicU8,
}

impl Doze {
    pub(crate) fn new() -> Doze {
        Doze { state: AtomicU8::new(AWAKE) }
    }

    /// Something came; true: the sleep must be ended by whatever the sleeper waits for.
    #[must_use]
    pub(crate) fn wake(&self) -> bool {
        self.state.swap(WOKEN, Ordering::AcqRel) == ASLEEP
    }

    /// Announces a sleep. False: it must not be.
    pub(crate) fn fall_asleep(&self) -> bool {
        self.state.compare_exchange(AWAKE, ASLEEP, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// The sleeper is about to look at everything.
    pub(crate) fn awake(&self) {
        self.state.swap(AWAKE, Ordering::AcqRel);
    }
}
