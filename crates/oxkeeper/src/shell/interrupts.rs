//! Ctrl-C at a terminal cancels the command that runs; the session lives on.

use std::future::pending;
use std::io;
use std::sync::Arc;

use tokio::runtime;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Notify;

/// Tells that SIGINT came. The default never tells: SIGINT then ends the process, as scripts expect.
#[derive(Clone, Default)]
pub(super) struct Interrupts(Option<Arc<Notify>>);

impl Interrupts {
    /// Catches SIGINT from now on.
    pub(super) fn catch(runtime: &runtime::Handle) -> io::Result<Interrupts> {
        let _entered = runtime.enter();
        let mut signals = signal(SignalKind::interrupt())?;
        let notify = Arc::new(Notify::new());
        let told = notify.clone();
        runtime.spawn(async move {
            while signals.recv().await.is_some() {
                told.notify_waiters();
            }
        });
        Ok(Interrupts(Some(notify)))
    }

    /// Waits for the next SIGINT; one that came earlier does not count.
    pub(super) async fn next(&self) {
        match &self.0 {
            Some(notify) => notify.notified().await,
            None => pending().await,
        }
    }
}
