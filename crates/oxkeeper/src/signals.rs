//! Signals of a running server: SIGTERM and SIGINT stop it, a second one at once; SIGHUP reads again what may change.
//!
//! While it waits for them it answers the supervisor's watchdog.

use std::time::{Duration, Instant};

use anyhow::Context;
use oxkeeper_server::Server;
use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::{info, warn};

use crate::supervisor::Watchdog;

/// Signals that come so soon after the first one ask for the same stop: `timeout` and wrappers send theirs to the process
/// and to its group.
const ONE_STOP: Duration = Duration::from_millis(200);

/// What is listened for: before anybody is told that the server is there, since that may be who wants it to stop.
pub(crate) struct Signals {
    runtime: Runtime,
    stop: Stop,
    hang_up: Signal,
}

impl Signals {
    pub(crate) fn listen() -> anyhow::Result<Signals> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build();
        let runtime = runtime.context("no event queue")?;
        let entered = runtime.enter();
        let (stop, hang_up) = (Stop::new()?, signal(SignalKind::hangup())?);
        drop(entered);
        Ok(Signals { runtime, stop, hang_up })
    }

    /// Until the server is to stop; calls `serving` once clients are served. From then on the next signal ends the process where it stands, as a crash would:
    /// nothing acknowledged is lost by that.
    pub(crate) fn wait(self, server: &Server, serving: impl Fn(), reload: impl Fn()) -> anyhow::Result<()> {
        let Signals { runtime, mut stop, mut hang_up } = self;
        runtime.block_on(async {
            let mut watchdog = Watchdog::new();
            let mut serves = false;
            loop {
                tokio::select! {
                    name = stop.asked() => return info!("{name}: stopping"),
                    () = server.wait_for_end() => return info!("this server cannot go on: stopping"),
                    () = server.serving(), if !serves => {
                        serves = true;
                        serving();
                    }
                    _ = hang_up.recv() => reload(),
                    () = watchdog.due() => watchdog.answer(server),
                }
            }
        });
        let begun = Instant::now();
        std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
            let mut name = runtime.block_on(stop.asked());
            while begun.elapsed() < ONE_STOP {
                name = runtime.block_on(stop.asked());
            }
            warn!("{name} again: ending at once");
            std::process::exit(0);
        })?;
        Ok(())
    }
}

struct Stop {
    terminate: Signal,
    interrupt: Signal,
}

impl Stop {
    fn new() -> anyhow::Result<Stop> {
        Ok(Stop { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// Until a signal asks for it; its name.
    async fn asked(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}
