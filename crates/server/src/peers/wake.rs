//! Wakes the engine out of its one wait.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use rustix::event::{EventfdFlags, eventfd};

use crate::handoff::doze::Doze;
use crate::handoff::sync::Wake;

/// Ends the engine's wait. Costs one atomic operation unless the engine sleeps.
#[derive(Clone, Debug)]
pub(crate) struct Waker {
    bell: Arc<Bell>,
}

#[derive(Debug)]
struct Bell {
    doze: Doze,
    descriptor: OwnedFd,
}

impl Waker {
    pub(super) fn new() -> io::Result<Waker> {
        let descriptor = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Waker { bell: Arc::new(Bell { doze: Doze::new(), descriptor }) })
    }

    /// Makes the engine look again.
    pub(crate) fn wake(&self) {
        if self.bell.doze.wake() {
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
        self.bell.doze.fall_asleep()
    }

    /// The engine is about to look at everything.
    pub(super) fn awake(&self) {
        self.bell.doze.awake();
    }

    /// Makes the descriptor unreadable again.
    pub(super) fn silence(&self) {
        // Fails only when it is unreadable already.
        let _ = rustix::io::read(&self.bell.descriptor, &mut [0u8; 8]);
    }
}

impl Wake for Waker {
    fn wake(&self) {
        Waker::wake(self);
    }
}
