//! A sleep that ends when input arrives, for a thread that waits for several sources at once.
//!
//! Invariant: the sleeper sees everything done before [`Doze::wake`] after its next
//! [`Doze::awake`], and that call comes without delay. 1. A wake before [`Doze::fall_asleep`]
//! prevents the sleep. 2. A wake after it finds `ASLEEP` and tells its caller to ring, which ends
//! the sleep.

use std::sync::atomic::Ordering;

use super::sync::AtomicU8;

/// The sleeper is working and will check all input before it sleeps.
const AWAKE: u8 = 0;
/// The thread sleeps or is about to.
const ASLEEP: u8 = 1;
/// Input arrived: the thread must check again before it sleeps.
const WOKEN: u8 = 2;

/// See the module. A wake costs one atomic operation unless the thread sleeps.
#[derive(Debug)]
pub(crate) struct Doze {
    state: AtomicU8,
}

impl Doze {
    pub(crate) fn new() -> Doze {
        Doze { state: AtomicU8::new(AWAKE) }
    }

    /// Notes new input. Returns true if the caller must end the sleep through a source the sleeper
    /// waits for.
    #[must_use]
    pub(crate) fn wake(&self) -> bool {
        self.state.swap(WOKEN, Ordering::AcqRel) == ASLEEP
    }

    /// Announces a sleep. Returns false if the thread must not sleep.
    pub(crate) fn fall_asleep(&self) -> bool {
        self.state.compare_exchange(AWAKE, ASLEEP, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// Notes that the sleeper is about to check all input.
    pub(crate) fn awake(&self) {
        self.state.swap(AWAKE, Ordering::AcqRel);
    }
}
