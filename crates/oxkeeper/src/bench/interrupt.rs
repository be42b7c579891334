//! SIGINT while a load is measured: the measurement ends early, and what it found is reported.
//!
//! Until [`Interrupt::arm`] the signal ends the process, and so does a second one afterwards.

use std::process::exit;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use anyhow::{Context, Result};
use tokio::signal::unix::{SignalKind, signal};

use super::setup;

/// What a shell shows for a process that SIGINT ended.
const EXIT_CODE: i32 = 130;

pub(super) struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// From here on the signal is counted.
    pub(super) fn arm() -> Result<Interrupt> {
        let runtime = setup::runtime()?;
        let mut signals = {
            let _entered = runtime.enter();
            signal(SignalKind::interrupt()).context("SIGINT")?
        };
        let came = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&came);
        thread::spawn(move || {
            runtime.block_on(async {
                signals.recv().await;
                told.store(true, Ordering::Relaxed);
                signals.recv().await;
                exit(EXIT_CODE)
            })
        });
        Ok(Interrupt(came))
    }

    /// Whether it has come.
    pub(super) fn came(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}
