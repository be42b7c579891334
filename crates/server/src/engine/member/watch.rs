//! Checks that the engine thread makes progress.
//!
//! While the engine thread is stuck, for example on its disk, nobody tells the leader which
//! sessions' clients were heard, and the leader expires those sessions. In the meantime, threads
//! that know nothing of this must not tell the clients that all is well. Invariant: a server whose
//! engine has been stuck for as long as it may be out of contact serves nobody.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use std::{io, thread};

use oxkeeper_replica::{Serving, Shared};
use parking_lot::{Condvar, Mutex, RwLock};
use tracing::warn;

use crate::clock::Clock;
use crate::engine::mailbox::{Mailbox, Order};
use crate::telemetry::role::{Role, RoleCell};
use crate::thread::spawn;

/// Number of checks per maximum standstill.
const LOOKS: u64 = 4;

/// State shared between the engine and the watch thread.
#[derive(Debug, Default)]
struct Beat {
    moved_ms: AtomicU64,
    stop: Mutex<bool>,
    stopped: Condvar,
}

/// Data of the watch thread.
pub(super) struct Watched {
    pub(super) shared: Arc<RwLock<Shared>>,
    pub(super) mailboxes: Vec<Arc<Mailbox>>,
    pub(super) role: Arc<RoleCell>,
    pub(super) clock: Clock,
    /// Maximum standstill of the engine, ms.
    pub(super) patience_ms: u64,
}

/// The engine's handle. Dropping it ends the thread.
#[derive(Debug)]
pub(super) struct Watch {
    beat: Arc<Beat>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Watch {
    /// Starts the thread.
    ///
    /// # Errors
    /// The system cannot create a thread.
    pub(super) fn start(watched: Watched) -> io::Result<Watch> {
        let beat = Arc::new(Beat::default());
        beat.moved_ms.store(watched.clock.now_ms(), Ordering::Relaxed);
        let seen = beat.clone();
        let thread = spawn("watch", move || watched.run(&seen))?;
        Ok(Watch { beat, thread: Some(thread) })
    }

    /// Notes that the engine made progress at `now_ms`.
    pub(super) fn moved(&self, now_ms: u64) {
        self.beat.moved_ms.store(now_ms, Ordering::Relaxed);
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        *self.beat.stop.lock() = true;
        self.beat.stopped.notify_all();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Watched {
    fn run(&self, beat: &Beat) {
        let pause = Duration::from_millis((self.patience_ms / LOOKS).max(1));
        let mut stop = beat.stop.lock();
        let mut looked_ms = self.clock.now_ms();
        while !*stop {
            let now_ms = self.clock.now_ms();
            // This thread stood still as well, so the whole process did, and nobody was told
            // anything.
            if now_ms - std::mem::replace(&mut looked_ms, now_ms) > self.patience_ms / 2 {
                beat.moved_ms.fetch_max(now_ms, Ordering::Relaxed);
            }
            let still_ms = now_ms.saturating_sub(beat.moved_ms.load(Ordering::Relaxed));
            if still_ms > self.patience_ms {
                self.end_sessions(still_ms);
            }
            beat.stopped.wait_for(&mut stop, pause);
        }
    }

    /// Closes the clients as the engine would. The engine serves again as soon as it finds itself
    /// in contact.
    fn end_sessions(&self, still_ms: u64) {
        let mut shared = self.shared.write();
        if shared.serving != Serving::Yes {
            return;
        }
        warn!(still_ms, "the engine is stuck; closing clients until it moves. Is the disk slow?");
        let now_ms = self.clock.now_ms();
        shared.serve(Serving::No, now_ms);
        self.role.set(Role::NotServing, now_ms);
        self.mailboxes.iter().for_each(|mailbox| mailbox.order(Order::EndSessions { read_only: false }));
    }
}
