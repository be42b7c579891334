//! Starts threads.

use std::io;
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use rustix::process::nice;

/// Stack size of a thread, bytes.
const STACK_LEN: usize = 1 << 20;
/// Niceness of background threads, relative to the threads that serve.
const NICENESS: i32 = 10;

/// Interval at which a thread that does something else looks whether the server is to stop.
pub(crate) const STOP_POLL: Duration = Duration::from_millis(50);

/// Starts a thread.
///
/// # Errors
/// The system cannot create a thread.
pub(crate) fn spawn<T: Send + 'static>(
    name: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> io::Result<JoinHandle<T>> {
    Builder::new().name(name.to_owned()).stack_size(STACK_LEN).spawn(work)
}

/// Lowers the priority of this thread below those that serve. A system without niceness shares
/// evenly.
pub(crate) fn give_way() {
    let _ = nice(NICENESS);
}
