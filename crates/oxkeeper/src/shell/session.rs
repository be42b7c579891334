//! What the shell is between commands: its connection, its history, and the commands that concern only these. Source:
//! `ZooKeeperMain`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use oxkeeper_client::{ConnectString, Error, Handle, Options, Tls};
use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use super::commands;
use super::events::{LinePrinter, Teller};
use super::failure::Failure;
use super::line::words;
use super::report::{Format, Report};
use super::task::Task;
use super::usage;
use crate::client_settings::ClientSettings;

/// ZooKeeper: lines that `history` shows, besides itself.
const HISTORY_SHOWN: usize = 10;

/// How to connect and how to talk.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    pub(super) timeout: Duration,
    pub(super) read_only: bool,
    /// Whether connecting waits until a server serves us.
    pub(super) wait: bool,
    pub(super) format: Format,
    pub(super) quiet: bool,
    /// `None`: without TLS.
    pub(super) tls: Option<Tls>,
    pub(super) client: ClientSettings,
}

/// A session and who tells its events.
struct Link {
    handle: Handle,
    fences: mpsc::Sender<oneshot::Sender<()>>,
}

impl Link {
    /// Returns when every event that came before the answers we have is printed.
    async fn settle(&self) {
        self.handle.fence().await;
        let (passed, told) = oneshot::channel();
        if self.fences.send(passed).await.is_ok() {
            let _ = told.await;
        }
    }

    async fn close(&self) {
        self.handle.close().await;
        self.settle().await;
    }
}

/// Whether another command follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    Command,
    Quit,
}

pub(super) struct Shell {
    settings: Settings,
    host: String,
    link: Option<Link>,
    /// Lines by number.
    history: Vec<String>,
    print_watches: Arc<AtomicBool>,
    /// Whether a command is under way.
    busy: Arc<AtomicBool>,
    pub(super) line_printer: LinePrinter,
    /// Of the last command.
    pub(super) exit: u8,
}

impl Shell {
    pub(super) fn new(settings: Settings) -> Shell {
        Shell {
            settings,
            host: String::new(),
            link: None,
            history: Vec::new(),
            print_watches: Arc::new(AtomicBool::new(true)),
            busy: Arc::default(),
            line_printer: LinePrinter::default(),
            exit: 0,
        }
    }

    pub(super) fn handle(&self) -> Option<Handle> {
        self.link.as_ref().map(|link| link.handle.clone())
    }

    /// Ends the session there is and begins one at `host`.
    pub(super) async fn connect(&mut self, host: &str) -> Result<(), Failure> {
        let servers = ConnectString::parse(host).map_err(|error| Failure::value(error.to_string()))?;
        self.close().await;
        host.clone_into(&mut self.host);
        let Settings { timeout: limit, read_only, wait, format, quiet, tls, client } = self.settings.clone();
        let credentials = client.credentials;
        let options = Options { timeout: limit, read_only, tls, credentials, ..Options::default() };
        let (handle, events) = Handle::open(servers, options);
        let (fences, fenced) = mpsc::channel(1);
        let on = self.print_watches.clone();
        let quiet = quiet || format == Format::Json;
        let (busy, line_printer) = (self.busy.clone(), self.line_printer.clone());
        tokio::spawn(Teller { format, quiet, on, busy, line_printer }.run(events, fenced));
        let connected = handle.clone();
        self.link = Some(Link { handle, fences });
        if wait && !timeout(limit, connected.connected()).await.unwrap_or(false) {
            let trouble = self.trouble();
            self.close().await;
            let lost = Error::ConnectionLost(std::io::ErrorKind::NotConnected);
            let mut failure = Failure::refused(&lost, None);
            failure.message.extend(trouble.map(|trouble| format!(" ({trouble})")));
            return Err(failure);
        }
        if wait {
            self.settle().await;
        }
        Ok(())
    }

    /// Ends the session, if there is one.
    pub(super) async fn close(&self) {
        if let Some(link) = self.link.as_ref().filter(|link| link.handle.state().is_alive()) {
            link.close().await;
        }
    }

    /// Ends the session without a word.
    pub(super) async fn leave(&self) {
        self.print_watches.store(false, Ordering::Relaxed);
        self.close().await;
    }

    /// Why no connection with TLS can be made.
    fn trouble(&self) -> Option<Arc<str>> {
        self.link.as_ref().and_then(|link| link.handle.trouble())
    }

    pub(super) fn prompt(&self) -> String {
        let state = self.link.as_ref().map_or("CLOSED".to_owned(), |link| link.handle.state().to_string());
        format!("[zk: {}({state}) {}] ", self.host, self.history.len())
    }

    /// Runs one line, and remembers it.
    pub(super) async fn run_line(&mut self, line: &str) -> Next {
        let command = words(line);
        if command.is_empty() {
            return Next::Command;
        }
        self.history.push(line.to_owned());
        let next = match self.resolve(command) {
            Ok(command) => self.run(&command).await,
            Err(failure) => {
                self.exit = failure.exit;
                Report::new(self.settings.format).finish("redo", &Err(failure));
                Next::Command
            }
        };
        self.settle().await;
        next
    }

    /// Runs the command line's command.
    pub(super) async fn run_alone(&mut self, command: &[String]) {
        self.run(command).await;
        self.settle().await;
    }

    async fn settle(&self) {
        if let Some(link) = &self.link {
            link.settle().await;
        }
    }

    /// What `redo` stands for.
    fn resolve(&mut self, command: Vec<String>) -> Result<Vec<String>, Failure> {
        let (true, Some(number)) = (command[0] == "redo", command.get(1)) else { return Ok(command) };
        let number: i64 = number.parse().map_err(|_| Failure::value(format!("For input string: \"{number}\"")))?;
        let current = self.history.len() - 1;
        let index = usize::try_from(number).ok().filter(|index| *index < current);
        let index = index.ok_or_else(|| Failure::value("Command index out of range"))?;
        let again = words(&self.history[index]);
        if again.first().is_some_and(|name| name == "redo") {
            return Err(Failure::value("No redoing redos"));
        }
        self.history[current] = self.history[index].clone();
        Ok(again)
    }

    /// Runs one command.
    pub(super) async fn run(&mut self, command: &[String]) -> Next {
        let mut report = Report::new(self.settings.format);
        self.busy.store(true, Ordering::Relaxed);
        let result = self.attempt(command, &mut report).await;
        // ZooKeeper: `quit` keeps the exit code of the command before it.
        if command[0] == "quit" && result.is_ok() {
            return Next::Quit;
        }
        self.exit = result.as_ref().err().map_or(0, |failure| failure.exit);
        if result.as_ref().is_err_and(Failure::is_connection_loss)
            && let Some(trouble) = self.trouble()
        {
            report.warn(trouble);
        }
        report.finish(&command[0], &result);
        self.busy.store(false, Ordering::Relaxed);
        Next::Command
    }

    async fn attempt(&mut self, command: &[String], report: &mut Report) -> Result<(), Failure> {
        let name = command[0].as_str();
        let argument = command.get(1).map(String::as_str);
        match (name, argument) {
            // ZooKeeper: does not know this one, and says all this on standard error.
            ("help", _) => {
                report.line(usage::all());
                report.field("usage", usage::all());
                return Ok(());
            }
            ("quit", _) => {
                self.close().await;
                return Ok(());
            }
            ("history", _) => self.show_history(report),
            ("printwatches", None) => {
                let on = if self.print_watches.load(Ordering::Relaxed) { "on" } else { "off" };
                report.line(format_args!("printwatches is {on}"));
                report.field("printwatches", on);
            }
            ("printwatches", Some(wanted)) => self.print_watches.store(wanted == "on", Ordering::Relaxed),
            ("connect", host) => {
                let host = host.unwrap_or(&self.host).to_owned();
                self.connect(&host).await?;
            }
            _ if !usage::is_command(name) => {
                report.aside(usage::all());
                return Err(Failure::no_command(name));
            }
            _ => {}
        }
        let alive = self.link.as_ref().filter(|link| link.handle.state().is_alive());
        let Some(link) = alive else {
            report.line("Not connected");
            // ZooKeeper: its exit code is 0.
            return Err(if report.is_json() {
                Failure::new("NotConnected", "Not connected")
            } else {
                Failure::new("NotConnected", "")
            });
        };
        if name == "close" {
            link.close().await;
            return Ok(());
        }
        commands::run(command, &mut Task { handle: &link.handle, report }).await
    }

    fn show_history(&self, report: &mut Report) {
        let current = self.history.len().saturating_sub(1);
        let shown = self.history.iter().enumerate().skip(current.saturating_sub(HISTORY_SHOWN));
        let mut entries = Vec::new();
        for (number, line) in shown {
            report.line(format_args!("{number} - {line}"));
            entries.push(json!({"number": number, "line": line}));
        }
        report.field("history", Value::from(entries));
    }

    /// Says why there is no connection, as a command would.
    pub(super) fn fail(&mut self, command: &str, failure: Failure) {
        self.exit = failure.exit;
        Report::new(self.settings.format).finish(command, &Err(failure));
    }
}
