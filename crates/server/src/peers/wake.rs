//! Wakes the engine out of its one wait.
//!
//! Invariant: whatever was done before [`Waker::wake`] is seen by the engine after its next [`Waker::awake`], and that
//! comes without delay. 1. A wake before [`Waker::fall_asleep`] keeps the engine from sleeping. 2. A wake after it finds
//! `ASLEEP` and writes to the event descriptor, which ends the sleep.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use rustix::event::{EventfdFlags, eventfd};

/// The engine works; it will look at everything before it sleeps.
const AWAKE: u8 = 0;
/// The engine sleeps, or is about to.
const ASLEEP: u8 = 1;
/// Something came: the engine must not sleep before it has looked again.
const WOKEN: u8 = 2;

/// Ends the engine's wait. Costs one atomic operation unless the engine sleeps.
#[derive(Clone, Debug)]
pub(crate) struct Waker {
    bell: Arc<Bell>,
}

#[derive(Debug)]
struct Bell {
    state: AtomicU8,
    descriptor: OwnedFd,
}

impl Waker {
    pub(super) fn new() -> io::Result<Waker> {
        let descriptor = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Waker { bell: Arc::new(Bell { state: AtomicU8::new(AWAKE), descriptor }) })
    }

    /// Makes the engine look again.
    pub(crate) fn wake(&self) {
        if self.bell.state.swap(WOKEN, Ordering::AcqRel) == ASLEEP {
            // Refused only when the counter is full: then it is readable, which is all that is wanted.
            let _ = rustix::io::write(&self.bell.descriptor, &1u64.to_ne_bytes());
        }
    }

    /// What the engine's wait watches: readable when it is to end.
    pub(super) fn descriptor(&self) -> &OwnedFd {
        &self.bell.descriptor
    }

    /// Announces that the engine is about to sleep. False: it must not.
    pub(super) fn fall_asleep(&self) -> bool {
        self.bell.state.compare_exchange(AWAKE, ASLEEP, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// The engine is about to look at everything.
    pub(super) fn awake(&self) {
        self.bell.state.swap(AWAKE, Ordering::AcqRel);
    }

    /// Makes the descriptor unreadable again.
    pub(super) fn silence(&self) {
        // Fails only when it is unreadable already.
        let _ = rustix::io::read(&self.bell.descriptor, &mut [0u8; 8]);
    }
}
