//! SIGINT while a load runs: it ends early, reports its results so far, and removes the znodes that it made.
//!
//! A second SIGINT ends the process at once, and so does every SIGINT before [`Interrupt::arm`].

use std::process::exit;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use tokio::signal::unix::{SignalKind, signal};

use super::runtime::runtime;

/// Signals that come so soon after the first one ask for the same stop: `timeout` sends its signal to the process and to
/// its group.
const ONE_STOP: Duration = Duration::from_millis(200);
/// The exit code that shells give a process ended by SIGINT.
const EXIT_CODE: i32 = 130;

pub(super) struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// Catches the signal from now on.
    pub(super) fn arm() -> Result<Interrupt> {
        let queue = runtime()?;
        let mut signals = {
            let _entered = queue.enter();
            signal(SignalKind::interrupt()).context("SIGINT")?
        };
        let came = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&came);
        thread::spawn(move || {
            queue.block_on(async {
                signals.recv().await;
                told.store(true, Ordering::Relaxed);
                let first = Instant::now();
                loop {
                    signals.recv().await;
                    if first.elapsed() >= ONE_STOP {
                        exit(EXIT_CODE)
                    }
                }
            })
        });
        Ok(Interrupt(came))
    }

    /// Whether it has come.
    pub(super) fn came(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}
