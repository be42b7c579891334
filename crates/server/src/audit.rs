//! Writes the audit log: lines that the engine hands over while it applies, in a thread of its own.
//!
//! Owns what waits to be written. Invariant: lines are written in the order of what they tell, and none is dropped because
//! the file is slow: the engine waits. A crash may lose those of the last milliseconds.
//! Source: `Slf4jAuditLogger`, and ZooKeeper's `logback.xml` for the look of a line.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;

use oxkeeper_replica::Writer;
use oxkeeper_replica::audit::{Audit, AuditLine};
use parking_lot::{Condvar, Mutex};
use tracing::error;

use crate::clock::Clock;
use crate::config::Config;
use crate::serve::spawn;
use crate::words::java::log_time;

/// Bytes of lines that wait for the file: the engine waits until there are fewer.
const WAITING_LEN_MAX: usize = 4 << 20;

/// The audit log of a running server.
#[derive(Debug)]
pub(crate) struct AuditLog {
    clock: Clock,
    user: String,
    waiting: Mutex<Waiting>,
    filled: Condvar,
    room: Condvar,
}

#[derive(Debug, Default)]
struct Waiting {
    /// Complete lines.
    text: String,
    stopping: bool,
}

/// The log and the thread that writes it.
#[derive(Debug)]
pub(crate) struct Auditing {
    log: Arc<AuditLog>,
    writing: JoinHandle<()>,
}

impl Auditing {
    /// Opens the file, if the configuration wants an audit log; `None` if it does not. The server acts as `user`.
    ///
    /// *Errors*: the file cannot be written.
    pub(crate) fn start(config: &Config, clock: Clock, user: impl FnOnce() -> String) -> io::Result<Option<Auditing>> {
        if !config.audit.enabled {
            return Ok(None);
        }
        let mut sink = sink(config.audit.file.as_deref())?;
        let (waiting, filled, room) = (Mutex::default(), Condvar::new(), Condvar::new());
        let user = user();
        let log = Arc::new(AuditLog { clock, user, waiting, filled, room });
        let thread = log.clone();
        let writing = spawn("audit", move || thread.run(&mut sink))?;
        Ok(Some(Auditing { log, writing }))
    }

    /// For whoever makes lines.
    pub(crate) fn log(&self) -> Arc<AuditLog> {
        self.log.clone()
    }

    /// Writes what waits, and a last line.
    pub(crate) fn stop(self) {
        self.log.server("serverStop", "invoked");
        self.end();
    }

    /// The server did not start.
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
    /// What a writer needs to make lines.
    pub(crate) fn audit(&self) -> Audit {
        Audit::new(&self.user)
    }

    /// The server itself starts, or stops.
    pub(crate) fn server(&self, operation: &str, result: &str) {
        let mut audit = self.audit();
        audit.server(operation, result);
        self.put(&audit.lines);
    }

    /// Takes the lines that a writer has made.
    pub(crate) fn take(&self, writer: &mut Writer) {
        if let Some(audit) = writer.audit.as_mut().filter(|audit| !audit.lines.is_empty()) {
            self.put(&audit.lines);
            audit.lines.clear();
        }
    }

    fn put(&self, lines: &[AuditLine]) {
        let time = log_time(self.clock.wall_ms());
        let mut waiting = self.waiting.lock();
        while waiting.text.len() > WAITING_LEN_MAX {
            self.room.wait(&mut waiting);
        }
        for AuditLine { failed, text } in lines {
            let level = if *failed { "ERROR" } else { "INFO" };
            for part in [time.as_str(), " ", level, " audit.Slf4jAuditLogger: ", text, "\n"] {
                waiting.text.push_str(part);
            }
        }
        drop(waiting);
        self.filled.notify_one();
    }

    fn run(&self, sink: &mut dyn Write) {
        let mut lines = String::new();
        let mut stopping = false;
        let mut failing = false;
        while !stopping {
            let mut waiting = self.waiting.lock();
            while waiting.text.is_empty() && !waiting.stopping {
                self.filled.wait(&mut waiting);
            }
            stopping = waiting.stopping;
            std::mem::swap(&mut lines, &mut waiting.text);
            drop(waiting);
            self.room.notify_all();
            let written = sink.write_all(lines.as_bytes());
            // Said once: a full disk must not fill the log, too.
            if let Err(problem) = &written
                && !failing
            {
                error!(%problem, "the audit log cannot be written: lines are lost until it can");
            }
            failing = written.is_err();
            lines.clear();
            lines.shrink_to(WAITING_LEN_MAX / 8);
        }
    }
}

/// Standard error, unless there is a file. Its log level does not count for it.
fn sink(file: Option<&Path>) -> io::Result<Box<dyn Write + Send>> {
    let Some(path) = file else { return Ok(Box::new(io::stderr())) };
    let named = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
    let file: File = OpenOptions::new().create(true).append(true).open(path).map_err(named)?;
    Ok(Box::new(file))
}

/// Which user this process runs as: by its number, looked up in the system's list, as a JVM does.
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
    use crate::config::AuditConfig;

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
