//! Signals of a running server: SIGTERM and SIGINT stop it, a second one immediately; SIGHUP reloads the
//! settings that may change. With `--end-with-parent` the end of the parent process stops it, too.
//!
//! While waiting for signals, answers the supervisor's watchdog.

use std::time::{Duration, Instant};

use anyhow::Context;
use oxkeeper_server::Server;
use rustix::process::{Pid, Signal as Number, getppid, set_parent_process_death_signal};
use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::{info, warn};

use crate::supervisor::Watchdog;

/// Time after the first signal in which further ones ask for the same stop: `timeout` and wrappers send
/// theirs to the process and to its group.
const ONE_STOP: Duration = Duration::from_millis(200);

/// The process that started this one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Parent(Option<Pid>);

impl Parent {
    /// Finds the parent. Called early, while the parent still lives.
    pub(crate) fn find() -> Parent {
        Parent(getppid())
    }

    fn is_gone(self) -> bool {
        getppid() != self.0
    }
}

/// The signals of the process. Listening begins before the server announces itself, because the reader of the
/// announcement may stop it immediately.
pub(crate) struct Signals {
    runtime: Runtime,
    stop: Stop,
    hang_up: Signal,
    orphaned: Option<Orphaned>,
}

/// The end of the parent. The kernel sends the signal when the *thread* that started this process ends, so
/// the parent is looked up each time.
struct Orphaned {
    parent: Parent,
    signal: Signal,
}

impl Orphaned {
    fn new(parent: Parent) -> anyhow::Result<Orphaned> {
        let signal = signal(SignalKind::user_defined1())?;
        set_parent_process_death_signal(Some(Number::USR1)).context("--end-with-parent")?;
        Ok(Orphaned { parent, signal })
    }

    /// Waits until the parent is gone. It may have ended before the kernel was asked for the signal.
    async fn wait(&mut self) {
        while !self.parent.is_gone() {
            self.signal.recv().await;
        }
    }
}

impl Signals {
    /// Begins to listen for signals and, with a parent, for its end.
    pub(crate) fn listen(parent: Option<Parent>) -> anyhow::Result<Signals> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build();
        let runtime = runtime.context("no event queue")?;
        let entered = runtime.enter();
        let (stop, hang_up) = (Stop::new()?, signal(SignalKind::hangup())?);
        let orphaned = parent.map(Orphaned::new).transpose()?;
        drop(entered);
        Ok(Signals { runtime, stop, hang_up, orphaned })
    }

    /// Waits until the server is to stop; calls `serving` once clients are served. After the return, the next
    /// signal ends the process immediately, like a crash, which loses nothing that was acknowledged.
    pub(crate) fn wait(self, server: &Server, serving: impl Fn(), reload: impl Fn()) -> anyhow::Result<()> {
        let Signals { runtime, mut stop, mut hang_up, mut orphaned } = self;
        runtime.block_on(async {
            let mut watchdog = Watchdog::new();
            let mut serves = false;
            loop {
                tokio::select! {
                    name = stop.asked() => return info!("{name}: stopping"),
                    () = wait_for_orphan(&mut orphaned) => return info!("the parent process has ended: stopping"),
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

async fn wait_for_orphan(orphaned: &mut Option<Orphaned>) {
    match orphaned {
        Some(orphaned) => orphaned.wait().await,
        None => std::future::pending().await,
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

    /// Waits for a signal that asks to stop. Returns its name.
    async fn asked(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}
