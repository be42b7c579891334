//! Ends the engine's wait.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use rustix::event::{EventfdFlags, eventfd};

use crate::handoff::doze::Doze;
use crate::handoff::sync::Wake;

/// A handle that ends the engine's wait. A wake costs one atomic operation unless the engine
/// sleeps.
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

    /// Makes the engine check its input again.
    pub(crate) fn wake(&self) {
        if self.bell.doze.wake() {
            // This fails only if the counter is full; the descriptor is then readable, as intended.
            let _ = rustix::io::write(&self.bell.descriptor, &1u64.to_ne_bytes());
        }
    }

    /// Returns the descriptor that the engine's wait watches. It is readable when the wait is to
    /// end.
    pub(super) fn descriptor(&self) -> &OwnedFd {
        &self.bell.descriptor
    }

    /// Announces that the engine is about to sleep. Returns false if it must not.
    pub(super) fn fall_asleep(&self) -> bool {
        self.bell.doze.fall_asleep()
    }

    /// Notes that the engine is about to check all its input.
    pub(super) fn awake(&self) {
        self.bell.doze.awake();
    }

    /// Makes the descriptor unreadable.
    pub(super) fn silence(&self) {
        // This fails only if it is already unreadable.
        let _ = rustix::io::read(&self.bell.descriptor, &mut [0u8; 8]);
    }
}

impl Wake for Waker {
    fn wake(&self) {
        Waker::wake(self);
    }
}
