//! Writes the audit log on a separate thread: formats the records that the engine took while
//! applying, and appends the lines to the file.
//!
//! This module owns the records waiting to be written. Invariant: lines are written in the order of
//! their events, and none is dropped because the file is slow: the engine waits. A crash may lose
//! those of the last milliseconds. Source: `Slf4jAuditLogger`, and ZooKeeper's `logback.xml` for
//! the format of a line.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::BufMut;
use oxkeeper_proto::{Jute, Reader};
use oxkeeper_replica::Applier;
use oxkeeper_replica::audit::{Audit, Lines};
use parking_lot::{Condvar, Mutex};
use tracing::error;

use crate::clock::Clock;
use crate::java::log_time;
use crate::thread::spawn;
use oxkeeper_config::Config;

/// Bytes of unformatted records waiting for the file above which the engine waits.
const WAITING_LEN_MAX: usize = 4 << 20;
/// Bytes of records at which the thread stops gathering more.
const HURRY_LEN: usize = 256 << 10;
/// Bytes of lines per write: small enough to stay in the processor's cache.
const WRITE_LEN: usize = 128 << 10;
/// Time the first of several lines waits for the others.
const GATHER_TIME: Duration = Duration::from_millis(5);

/// The audit log of a running server.
#[derive(Debug)]
pub(crate) struct AuditLog {
    clock: Clock,
    waiting: Mutex<Waiting>,
    filled: Condvar,
    room: Condvar,
}

#[derive(Debug, Default)]
struct Waiting {
    /// Records; each part begins with its time (i64) and length (u32).
    parts: Vec<u8>,
    /// Number of bytes at which the thread is woken, if it sleeps.
    wakes_at: Option<usize>,
    stopping: bool,
}

/// The audit log and the thread that writes it.
#[derive(Debug)]
pub(crate) struct Auditing {
    log: Arc<AuditLog>,
    writing: JoinHandle<()>,
}

impl Auditing {
    /// Opens the file. Returns `None` if the configuration disables the audit log. The server acts
    /// as `user`.
    ///
    /// *Errors*: the file cannot be written.
    pub(crate) fn start(config: &Config, clock: Clock, user: impl FnOnce() -> String) -> io::Result<Option<Auditing>> {
        if !config.audit.enabled {
            return Ok(None);
        }
        let sink = sink(config.audit.file.as_deref())?;
        let log = Arc::new(AuditLog { clock, waiting: Mutex::default(), filled: Condvar::new(), room: Condvar::new() });
        let mut pen = Pen { sink, lines: Lines::new(user()), text: String::new(), failing: false };
        let thread = log.clone();
        let writing = spawn("audit", move || thread.run(&mut pen))?;
        Ok(Some(Auditing { log, writing }))
    }

    /// Returns the log for the threads that add records.
    pub(crate) fn log(&self) -> Arc<AuditLog> {
        self.log.clone()
    }

    /// Writes the waiting records and a last line, and stops.
    pub(crate) fn stop(self) {
        self.log.server("serverStop", "invoked");
        self.end();
    }

    /// Logs that the server did not start, and stops.
    pub(crate) fn failed(self) {
        self.log.server("serverStart", "failure");
        self.end();
    }

    fn end(self) {
        self.log.waiting.lock().stopping = true;
        self.log.filled.notify_one();
        let _ = self.writing.join();
    }
}

impl AuditLog {
    /// Logs that the server itself starts or stops.
    pub(crate) fn server(&self, operation: &str, result: &str) {
        let mut audit = Audit::default();
        audit.process(operation, result);
        self.put(&audit.records);
    }

    /// Takes the records of an applier.
    pub(crate) fn take(&self, applier: &mut Applier) {
        if let Some(audit) = applier.audit.as_mut().filter(|audit| !audit.records.is_empty()) {
            self.put(&audit.records);
            audit.records.clear();
            audit.records.shrink_to(HURRY_LEN);
        }
    }

    fn put(&self, records: &[u8]) {
        let mut waiting = self.waiting.lock();
        while waiting.parts.len() > WAITING_LEN_MAX {
            self.room.wait(&mut waiting);
        }
        waiting.parts.put_i64(self.clock.wall_ms());
        Some(records).encode(&mut waiting.parts);
        let len = waiting.parts.len();
        let wakes = waiting.wakes_at.take_if(|wakes_at| len >= *wakes_at).is_some();
        drop(waiting);
        if wakes {
            self.filled.notify_one();
        }
    }

    fn run(&self, pen: &mut Pen) {
        let mut parts = Vec::new();
        while self.gather(&mut parts) {
            pen.write(&parts);
            parts.clear();
            parts.shrink_to(2 * HURRY_LEN);
        }
        pen.write(&parts);
    }

    /// Swaps the waiting records into `parts`, which must be empty. Waits until there are some and
    /// then a moment longer, so that lines are written together and the engine rarely has to wake
    /// the thread. Returns false once there will be no more.
    fn gather(&self, parts: &mut Vec<u8>) -> bool {
        let mut waiting = self.waiting.lock();
        while waiting.parts.is_empty() && !waiting.stopping {
            waiting.wakes_at = Some(1);
            self.filled.wait(&mut waiting);
        }
        if waiting.parts.len() < HURRY_LEN && !waiting.stopping {
            waiting.wakes_at = Some(HURRY_LEN);
            self.filled.wait_for(&mut waiting, GATHER_TIME);
        }
        waiting.wakes_at = None;
        std::mem::swap(parts, &mut waiting.parts);
        self.room.notify_all();
        !waiting.stopping
    }
}

/// Formats lines and writes them.
struct Pen {
    sink: Box<dyn Write + Send>,
    lines: Lines,
    /// Complete lines.
    text: String,
    /// The last write failed.
    failing: bool,
}

impl Pen {
    fn write(&mut self, parts: &[u8]) {
        let mut parts = Reader::new(parts);
        while let Ok(time_ms) = i64::decode(&mut parts) {
            let mut records = Reader::new(parts.buffer().ok().flatten().expect("`put` wrote it"));
            let time = log_time(time_ms);
            while !records.rest().is_empty() {
                self.lines.write(&mut records, &time, &mut self.text);
                if self.text.len() >= WRITE_LEN {
                    self.write_out();
                }
            }
        }
        self.write_out();
        self.text.shrink_to(2 * WRITE_LEN);
    }

    fn write_out(&mut self) {
        if self.text.is_empty() {
            return;
        }
        if self.failing {
            // The last line written may be incomplete.
            self.text.insert(0, '\n');
        }
        let written = self.sink.write_all(self.text.as_bytes());
        // Logged only once: a full disk must not fill the log, too.
        if let Err(problem) = &written
            && !self.failing
        {
            error!(%problem, "cannot write the audit log; its lines are lost until it can be written again");
        }
        self.failing = written.is_err();
        self.text.clear();
    }
}

/// Opens the file or, if none is configured, standard error, independent of its log level.
fn sink(file: Option<&Path>) -> io::Result<Box<dyn Write + Send>> {
    let Some(path) = file else { return Ok(Box::new(io::stderr())) };
    let file: io::Result<File> = OpenOptions::new().create(true).append(true).open(path);
    let file = file.map_err(|error| named(path, &error))?;
    Ok(Box::new(file))
}

/// Checks that the audit log file can be written. Does not create a missing file, since the server
/// may run as another user.
///
/// *Errors*: it cannot be written, or its directory is missing.
pub(crate) fn check(config: &Config) -> io::Result<()> {
    let Some(path) = config.audit.file.as_deref().filter(|_| config.audit.enabled) else { return Ok(()) };
    match OpenOptions::new().append(true).open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            if oxkeeper_store::parent(path).is_dir() {
                Ok(())
            } else {
                Err(named(path, &error))
            }
        }
        opened => opened.map(drop).map_err(|error| named(path, &error)),
    }
}

fn named(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

/// Returns the user of this process: looks up its uid in the system's list, as a JVM does.
pub(crate) fn process_user() -> String {
    let number = rustix::process::geteuid().as_raw();
    let users = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let named = users.lines().find_map(|line| {
        let mut fields = line.split(':');
        let (name, id) = (fields.next()?, fields.nth(1)?);
        (id.parse() == Ok(number)).then(|| name.to_owned())
    });
    named.or_else(|| std::env::var("USER").ok()).unwrap_or_else(|| number.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use oxkeeper_config::AuditConfig;

    #[test]
    fn lines_are_appended_to_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("audit.log");
        for _ in 0..2 {
            let audit = AuditConfig { enabled: true, file: Some(file.clone()), ..AuditConfig::default() };
            let config = Config { audit, ..Config::default() };
            let auditing = Auditing::start(&config, Clock::start(), || "zk".to_owned()).unwrap().unwrap();
            auditing.log().server("serverStart", "success");
            auditing.stop();
        }
        let text = std::fs::read_to_string(&file).unwrap();
        let lines: Vec<_> = text.lines().map(|line| line.split_once(" INFO ").unwrap().1).collect();
        let start = "audit.Slf4jAuditLogger: user=zk\toperation=serverStart\tresult=success";
        let stop = "audit.Slf4jAuditLogger: user=zk\toperation=serverStop\tresult=invoked";
        assert_eq!(lines, [start, stop, start, stop]);
    }

    #[test]
    fn it_is_off_unless_it_is_on() {
        assert!(Auditing::start(&Config::default(), Clock::start(), String::new).unwrap().is_none());
        let missing = AuditConfig { enabled: true, file: Some("/nowhere/audit.log".into()), ..AuditConfig::default() };
        let config = Config { audit: missing, ..Config::default() };
        let problem = Auditing::start(&config, Clock::start(), String::new).unwrap_err().to_string();
        assert!(problem.starts_with("/nowhere/audit.log: "), "{problem}");
    }

    #[test]
    fn the_process_has_a_user() {
        assert!(!process_user().is_empty());
    }
}
