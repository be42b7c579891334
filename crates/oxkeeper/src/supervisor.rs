//! Notifies systemd, if it asks for it (`Type=notify`), that the server is ready, is stopping, or is alive.
//!
//! Source: `sd_notify(3)`, `sd_watchdog_enabled(3)`.

use std::time::Duration;

use oxkeeper_server::Server;
use sd_notify::NotifyState;
use tokio::time::{Instant, sleep_until};
use tracing::{error, warn};

/// Sleep of a future that never completes.
const NEVER: Duration = Duration::from_secs(u32::MAX as u64);
/// Minimal time after which a thread counts as stalled, even if the supervisor's interval is shorter: an idle
/// thread goes through its loop once a second.
const PATIENCE_MIN: Duration = Duration::from_secs(5);

/// Reports the reason why the server does not serve clients yet.
pub(crate) fn waiting(what: &str) {
    tell(&[NotifyState::Status(&format!("waiting for {what}"))]);
}

/// Reports that the server serves clients. Without a listening supervisor, does nothing.
pub(crate) fn serving(server: &Server) {
    let status = format!("serving clients on {}", server.address());
    tell(&[NotifyState::Ready, NotifyState::Status(&status)]);
}

/// Reports that the server is stopping.
pub(crate) fn stopping() {
    tell(&[NotifyState::Stopping, NotifyState::Status("stopping: waiting for clients' last answers")]);
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        warn!(%error, "cannot notify the supervisor at $NOTIFY_SOCKET");
    }
}

/// Reports to the supervisor, twice in each interval that it allows, that the server is alive.
pub(crate) struct Watchdog {
    interval: Option<Duration>,
    next: Instant,
    told: bool,
}

impl Watchdog {
    pub(crate) fn new() -> Watchdog {
        Watchdog { interval: sd_notify::watchdog_enabled(), next: Instant::now(), told: false }
    }

    /// Waits until the next report is due.
    pub(crate) async fn due(&self) {
        match self.interval {
            Some(_) => sleep_until(self.next).await,
            None => tokio::time::sleep(NEVER).await,
        }
    }

    /// Reports that the server is alive, unless a thread is stalled.
    pub(crate) fn answer(&mut self, server: &Server) {
        let interval = self.interval.unwrap_or(NEVER);
        self.next = Instant::now() + interval / 2;
        let stalled = server.stalled(interval.max(PATIENCE_MIN));
        if stalled.is_empty() {
            self.told = false;
            return tell(&[NotifyState::Watchdog]);
        }
        if !std::mem::replace(&mut self.told, true) {
            error!(threads = ?stalled, "threads are stalled; not notifying the watchdog");
        }
    }
}
