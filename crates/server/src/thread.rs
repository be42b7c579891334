//! Threads of this server.

use std::io;
use std::thread::{Builder, JoinHandle};

use rustix::process::nice;

/// Stack of a thread, bytes.
const STACK_LEN: usize = 1 << 20;
/// How much later than the threads that serve a thread behind the scenes gets a core.
const NICENESS: i32 = 10;

/// Starts a thread.
///
/// # Errors
/// The system refuses one.
pub(crate) fn spawn<T: Send + 'static>(
    name: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> io::Result<JoinHandle<T>> {
    Builder::new().name(name.to_owned()).stack_size(STACK_LEN).spawn(work)
}

/// Has this thread give way to those that serve. A system that does not know niceness shares evenly.
pub(crate) fn give_way() {
    let _ = nice(NICENESS);
}
