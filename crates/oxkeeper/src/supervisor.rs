//! What systemd is told, where it asks for it (`Type=notify`): ready, stopping, and that the server is alive.
//!
//! Source: `sd_notify(3)`, `sd_watchdog_enabled(3)`.

use std::time::Duration;

use oxkeeper_server::Server;
use sd_notify::NotifyState;
use tokio::time::{Instant, sleep_until};
use tracing::{error, warn};

/// For a future that never comes due.
const NEVER: Duration = Duration::from_secs(u32::MAX as u64);
/// Shorter than this no thread is thought to stand still, whatever interval is asked for: an idle one goes round once a second.
const PATIENCE_MIN: Duration = Duration::from_secs(5);

/// Says what the server waits for before it serves clients.
pub(crate) fn waiting(what: &str) {
    tell(&[NotifyState::Status(&format!("waiting for {what}"))]);
}

/// Says that clients are served. Without a supervisor that listens, nothing happens.
pub(crate) fn serving(server: &Server) {
    let status = format!("serving clients on {}", server.address());
    tell(&[NotifyState::Ready, NotifyState::Status(&status)]);
}

/// Says that the server ends.
pub(crate) fn stopping() {
    tell(&[NotifyState::Stopping, NotifyState::Status("stopping: waiting for clients' last answers")]);
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        warn!(%error, "the supervisor behind $NOTIFY_SOCKET cannot be told");
    }
}

/// Tells the supervisor that the server is alive, twice in each interval it allows, as long as it is.
pub(crate) struct Watchdog {
    interval: Option<Duration>,
    next: Instant,
    told: bool,
}

impl Watchdog {
    pub(crate) fn new() -> Watchdog {
        Watchdog { interval: sd_notify::watchdog_enabled(), next: Instant::now(), told: false }
    }

    /// Until it is time to answer.
    pub(crate) async fn due(&self) {
        match self.interval {
            Some(_) => sleep_until(self.next).await,
            None => tokio::time::sleep(NEVER).await,
        }
    }

    /// Answers, if every thread goes round.
    pub(crate) fn answer(&mut self, server: &Server) {
        let interval = self.interval.unwrap_or(NEVER);
        self.next = Instant::now() + interval / 2;
        let stalled = server.stalled(interval.max(PATIENCE_MIN));
        if stalled.is_empty() {
            self.told = false;
            return tell(&[NotifyState::Watchdog]);
        }
        if !std::mem::replace(&mut self.told, true) {
            error!(threads = ?stalled, "threads stand still: the watchdog gets no answer");
        }
    }
}
