//! Helpers for tests of a running server: servers in this process, on any disk, and a blocking
//! client that sends frames.

#![allow(dead_code, unreachable_pub, reason = "each test binary uses its part")]
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

pub mod gate;
pub mod http;
pub mod process;
pub mod raw;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use oxkeeper_config::{Config, Properties, Source};
use oxkeeper_server::{Server, StartError, StartOptions};
use oxkeeper_store::RealDisk;
use oxkeeper_store::fake::FakeDisk;

/// Tick, ms: short, so that sessions can expire during a test.
pub const TICK_MS: u32 = 50;
/// Session timeout longer than any test, ms.
pub const LONG_MS: i32 = 120_000;
/// Maximum time for anything that must happen.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Returns the data directory on the fake disk. The real disk never has it.
pub fn fake_dir() -> &'static Path {
    Path::new("/fake/data")
}

/// Returns a standalone configuration on a free port, with additional keys.
pub fn config(data_dir: &Path, more: &[(&str, &str)]) -> Config {
    let tick = TICK_MS.to_string();
    let data_dir = data_dir.to_str().unwrap();
    let usual = [("clientPort", "0"), ("dataDir", data_dir), ("tickTime", &tick), ("maxSessionTimeout", "120000")];
    let mut properties = Properties::default();
    for (key, value) in usual.iter().chain(more) {
        properties.push(Source::CommandLine, key, value);
    }
    Config::standalone(properties).unwrap()
}

/// Starts a server on a fake disk, with several threads that own connections.
pub fn start_on(disk: &FakeDisk) -> Result<Server, StartError> {
    let options = StartOptions { in_memory: false, io_threads: 3 };
    Server::start_on(config(fake_dir(), &[]), options, Arc::new(disk.clone()))
}

/// Starts a server on a directory.
pub fn start_in(dir: &Path) -> Result<Server, StartError> {
    let options = StartOptions { in_memory: false, io_threads: 3 };
    Server::start_on(config(dir, &[]), options, Arc::new(RealDisk))
}

/// Starts a server without data on disk.
pub fn start_in_memory(io_threads: usize, more: &[(&str, &str)]) -> Server {
    Server::start(config(fake_dir(), more), StartOptions { in_memory: true, io_threads }).unwrap()
}

/// Waits until `holds` returns true; panics with `what` if that takes too long.
pub fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "not within {PATIENCE:?}: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Checks a promised duration. A wrong implementation exceeds it every time; a correct one does so
/// only while the machine is busy.
pub fn in_time(what: &str, limit: Duration, mut once: impl FnMut() -> Duration) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let took = once();
        if took < limit {
            return;
        }
        assert!(Instant::now() < deadline, "{what} takes {limit:?} or more, each time; now {took:?}");
    }
}

/// Tells threads to stop, even if the test fails: a scope waits for all of its threads.
#[derive(Debug, Default)]
pub struct Stop(AtomicBool);

impl Stop {
    pub fn is_told(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// Tells the threads to stop when the guard is dropped.
    pub fn when_done(&self) -> impl Drop {
        struct Guard<'a>(&'a Stop);
        impl Drop for Guard<'_> {
            fn drop(&mut self) {
                self.0.0.store(true, Ordering::Relaxed);
            }
        }
        Guard(self)
    }
}
