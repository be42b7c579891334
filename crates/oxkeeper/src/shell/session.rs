//! The state of the shell between commands: its connection, its history, and the commands about these. Source:
//! `ZooKeeperMain`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use oxkeeper_client::handle::State;
use oxkeeper_client::{ConnectString, Error, Handle, Options, Tls};
use oxkeeper_proto::ErrorCode;
use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use super::commands;
use super::events::{LinePrinter, Teller};
use super::failure::{Failure, keeper_message};
use super::interrupts::Interrupts;
use super::line::words;
use super::report::{Format, Report};
use super::task::Task;
use super::usage;
use crate::client_settings::ClientSettings;

/// ZooKeeper: the number of lines that `history` shows, besides itself.
const HISTORY_SHOWN: usize = 10;

/// The settings of every connection and every answer.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    pub(super) timeout: Duration,
    pub(super) read_only: bool,
    /// Whether to connect before the first command runs.
    pub(super) wait: bool,
    pub(super) format: Format,
    pub(super) quiet: bool,
    /// Whether the commands come from the command line: only answers and watches are printed.
    pub(super) answers_only: bool,
    /// `None`: without TLS.
    pub(super) tls: Option<Tls>,
    pub(super) client: ClientSettings,
}

/// A session and the task that prints its events.
struct Link {
    handle: Handle,
    fences: mpsc::Sender<oneshot::Sender<()>>,
}

impl Link {
    /// Returns once every event that came before the answers so far is printed.
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
    /// The lines so far; `redo` takes their index.
    history: Vec<String>,
    print_watches: Arc<AtomicBool>,
    /// Whether a command is under way.
    busy: Arc<AtomicBool>,
    pub(super) line_printer: LinePrinter,
    /// Cancels the command that runs.
    pub(super) interrupts: Interrupts,
    /// The exit code of the last command.
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
            interrupts: Interrupts::default(),
            exit: 0,
        }
    }

    pub(super) fn handle(&self) -> Option<Handle> {
        self.link.as_ref().map(|link| link.handle.clone())
    }

    /// Ends the current session and begins one at `host`.
    pub(super) async fn connect(&mut self, host: &str) -> Result<(), Failure> {
        let servers = ConnectString::parse(host).map_err(|error| Failure::value(error.to_string()))?;
        self.close().await;
        host.clone_into(&mut self.host);
        let Settings { timeout: limit, read_only, wait, format, quiet, answers_only, tls, client } =
            self.settings.clone();
        let credentials = client.credentials;
        let options = Options { timeout: limit, read_only, tls, credentials, ..Options::default() };
        let (handle, events) = Handle::open(servers, options);
        let (fences, fenced) = mpsc::channel(1);
        let on = self.print_watches.clone();
        let quiet = quiet || format == Format::Json;
        let (busy, line_printer) = (self.busy.clone(), self.line_printer.clone());
        tokio::spawn(Teller { format, quiet, watches_only: answers_only, on, busy, line_printer }.run(events, fenced));
        let connected = handle.clone();
        self.link = Some(Link { handle, fences });
        if wait && !timeout(limit, connected.connected()).await.unwrap_or(false) {
            let refused = self.link.as_ref().is_some_and(|link| link.handle.state() == State::AuthFailed);
            let trouble = self.trouble();
            self.close().await;
            let auth_failed = Error::Server(ErrorCode::AuthFailed);
            let lost = Error::ConnectionLost(std::io::ErrorKind::NotConnected);
            let mut failure = Failure::refused(if refused { &auth_failed } else { &lost }, None);
            if let Some(trouble) = trouble {
                failure.add_reason(&trouble);
            }
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

    /// Ends the session without printing events. Ctrl-C stops waiting and leaves the session to its timeout.
    pub(super) async fn leave(&self) {
        self.print_watches.store(false, Ordering::Relaxed);
        tokio::select! {
            () = self.close() => {}
            () = self.interrupts.next() => {}
        }
    }

    /// Returns the reason why there is no connection.
    fn trouble(&self) -> Option<String> {
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

    /// Runs the command of the command line.
    pub(super) async fn run_alone(&mut self, command: &[String]) {
        self.run(command).await;
        self.settle().await;
    }

    async fn settle(&self) {
        if let Some(link) = &self.link {
            tokio::select! {
                () = link.settle() => {}
                () = self.interrupts.next() => {}
            }
        }
    }

    /// Replaces `redo` by the command that it repeats.
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
    async fn run(&mut self, command: &[String]) -> Next {
        let mut report = Report::begin(self.settings.format, &command[0]);
        self.busy.store(true, Ordering::Relaxed);
        let interrupts = self.interrupts.clone();
        // An interrupted command is dropped, and with it the answers to its requests; the session goes on.
        let mut result = tokio::select! {
            result = self.attempt(command, &mut report) => result,
            () = interrupts.next() => Err(Failure::interrupted()),
        };
        // ZooKeeper: `quit` keeps the exit code of the command before it.
        if command[0] == "quit" && result.is_ok() {
            return Next::Quit;
        }
        self.exit = result.as_ref().err().map_or(0, |failure| failure.exit);
        if let Err(failure) = &mut result {
            self.explain(failure);
        }
        report.finish(&command[0], &result);
        self.busy.store(false, Ordering::Relaxed);
        Next::Command
    }

    /// Adds the reasons to a failure that the user cannot see elsewhere.
    fn explain(&self, failure: &mut Failure) {
        if failure.is_connection_loss()
            && let Some(trouble) = self.trouble()
        {
            failure.add_reason(&trouble);
        }
        // The event that tells the reason is not printed.
        if self.settings.answers_only && failure.code == "AuthFailed" && failure.message.is_empty() {
            failure.message = keeper_message(&Error::Server(ErrorCode::AuthFailed), None);
        }
        if failure.code == "Interrupted" && self.settings.format == Format::Text {
            // The terminal has shown ^C on this line.
            failure.message.insert(0, '\n');
        }
    }

    async fn attempt(&mut self, command: &[String], report: &mut Report) -> Result<(), Failure> {
        let name = command[0].as_str();
        let argument = command.get(1).map(String::as_str);
        match (name, argument) {
            // ZooKeeper: `help` is unknown, and the list goes to standard error.
            ("help", None) => {
                report.line(usage::all());
                report.field("usage", usage::all());
                return Ok(());
            }
            ("help", Some(name)) if usage::is_command(name) => {
                report.line(usage::of(name).trim_end());
                report.field("usage", usage::of(name).trim_end());
                return Ok(());
            }
            ("help", Some(name)) => return Err(Failure::no_command(name)),
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
        let refused = self.link.as_ref().is_some_and(|link| link.handle.state() == State::AuthFailed);
        let Some(link) = alive else {
            if refused && self.settings.answers_only {
                return Err(Failure::refused(&Error::Server(ErrorCode::AuthFailed), None));
            }
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

    /// Reports a failure as `command` would.
    pub(super) fn fail(&mut self, command: &str, failure: Failure) {
        self.exit = failure.exit;
        Report::new(self.settings.format).finish(command, &Err(failure));
    }
}
