//! `oxkeeper shell`: ZooKeeper's shell, for any server of the protocol.
//!
//! It takes the commands and options of zkCli and answers in its words, so that it can replace it. It also answers in JSON,
//! completes lines, keeps a history, and returns exit codes that tell failures. docs/shell.md lists the deliberate
//! differences.
//!
//! Reading order: [`session`] (the state between commands), [`commands`] and [`task`], then [`report`], [`progress`] and
//! [`failure`] (their output), [`mod@line`] and [`options`] (their syntax), [`events`], [`interrupts`], [`console`],
//! [`completion`], [`walk`].

mod acl;
mod commands;
mod completion;
mod console;
mod events;
mod failure;
mod interrupts;
mod line;
mod options;
mod path;
mod progress;
mod report;
mod session;
mod stat;
mod task;
mod usage;
mod walk;

use std::ffi::OsString;
use std::future::pending;
use std::io::{IsTerminal, stdin};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Args;
use oxkeeper_client::ConnectString;
use parking_lot::Mutex;
use tokio::runtime;

use self::completion::Completion;
use self::console::{Given, Lines, Piped, Typed};
use self::interrupts::Interrupts;
use self::report::Format;
use self::session::{Next, Settings, Shell};
use crate::client_settings::ClientSettings;
use crate::out::{flush, put};
use crate::tls::TlsArgs;
use crate::usage_error::UsageError;

/// Options of `oxkeeper shell`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  oxkeeper shell --server zoo1:2181,zoo2:2181/app
  oxkeeper shell -o json get /config/name")]
pub(crate) struct ShellArgs {
    /// Servers, and the znode that becomes the root
    #[arg(short, long, value_name = "HOST:PORT,…[/CHROOT]", default_value = "localhost:2181")]
    server: String,
    /// Session timeout
    #[arg(long, value_name = "MS", default_value_t = 30_000)]
    timeout: u32,
    /// Accept a server without a quorum, which serves reads only
    #[arg(short = 'r', long)]
    read_only: bool,
    /// Connect before the first command runs
    #[arg(long)]
    waitforconnection: bool,
    /// A properties file with settings of ZooKeeper's clients, which override CLIENT_JVMFLAGS
    #[arg(long, value_name = "FILE")]
    client_configuration: Option<PathBuf>,
    /// Format of answers
    #[arg(short, long, value_enum, default_value_t = Format::Text)]
    output: Format,
    /// Print no greetings, and no events for the first connection and the end of the session
    #[arg(short, long)]
    quiet: bool,
    /// Print each line of a script before its answer, and the exit code of each that fails
    #[arg(long)]
    echo: bool,
    /// Run this command; repeat for more. The first failure ends the run with its exit code
    #[arg(short, long, value_name = "COMMAND", conflicts_with = "command", allow_hyphen_values = true)]
    execute: Vec<String>,
    /// Run a script (-e or standard input) to its end despite failures; its exit code is that of the last command
    #[arg(long)]
    keep_going: bool,
    #[command(flatten)]
    tls: TlsArgs,
    /// One command and its arguments. Without it and -e, commands are read from standard input
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "COMMAND")]
    command: Vec<String>,
}

/// The options that take a value.
const VALUED: [&str; 15] = [
    "-e",
    "--execute",
    "-client-configuration",
    "--client-configuration",
    "-server",
    "-timeout",
    "--server",
    "--timeout",
    "-s",
    "-o",
    "--output",
    "--tls-key-store",
    "--tls-trust-store",
    "--tls-password-file",
    "--tls-name",
];

/// The spellings of options in zkCli, and ours.
const SPELLINGS: [(&str, &str); 4] = [
    ("-server", "--server"),
    ("-timeout", "--timeout"),
    ("-waitforconnection", "--waitforconnection"),
    ("-client-configuration", "--client-configuration"),
];

/// Rewrites the options between `shell` and its command from the spelling of zkCli to ours.
pub(crate) fn respell(mut args: Vec<OsString>) -> Vec<OsString> {
    if args.get(1).is_none_or(|name| name != "shell") {
        return args;
    }
    let mut at = 2;
    while let Some(arg) = args.get(at).and_then(|arg| arg.to_str()).map(str::to_owned) {
        if !arg.starts_with('-') {
            break;
        }
        if let Some((_, ours)) = SPELLINGS.iter().find(|(theirs, _)| *theirs == arg) {
            args[at] = (*ours).into();
        }
        let takes_value = VALUED.contains(&arg.as_str());
        at += if takes_value { 2 } else { 1 };
    }
    args
}

/// Runs the command of the command line, or a script from `-e` or standard input. The exit code is that of the last
/// command.
///
/// *Errors*: a command line that cannot be used, settings that cannot be loaded.
pub(crate) fn run(args: &ShellArgs) -> Result<ExitCode> {
    if let Some(option) = args.command.first().filter(|name| name.starts_with('-')) {
        bail!(UsageError(format!("unknown option {option}; see `oxkeeper shell --help`")));
    }
    ConnectString::parse(&args.server).map_err(|error| UsageError(format!("--server {}: {error}", args.server)))?;
    let runtime = runtime::Builder::new_current_thread().enable_all().build().context("cannot start")?;
    let handle = runtime.handle().clone();
    // This thread keeps the connection alive while the main thread waits for a line.
    std::thread::Builder::new()
        .name("shell-io".to_owned())
        .spawn(move || runtime.block_on(pending::<()>()))
        .context("cannot start a thread")?;
    Session { shell: Shell::new(settings(args)?), runtime: handle, args }.run()
}

fn settings(args: &ShellArgs) -> Result<Settings> {
    let client = ClientSettings::load(args.client_configuration.as_deref())?;
    Ok(Settings {
        tls: args.tls.load_with(&client)?,
        client,
        timeout: Duration::from_millis(args.timeout.into()),
        read_only: args.read_only,
        wait: args.waitforconnection,
        format: args.output,
        quiet: args.quiet,
        answers_only: !args.command.is_empty() || !args.execute.is_empty(),
    })
}

/// One run of the shell.
struct Session<'a> {
    shell: Shell,
    runtime: runtime::Handle,
    args: &'a ShellArgs,
}

impl Session<'_> {
    fn run(mut self) -> Result<ExitCode> {
        self.greet(format_args!("Connecting to {}", self.args.server));
        if let Err(failure) = self.runtime.clone().block_on(self.shell.connect(&self.args.server)) {
            self.shell.fail("connect", failure);
            return Ok(ExitCode::from(self.shell.exit));
        }
        if self.args.command.is_empty() {
            self.run_lines()?;
        } else {
            self.runtime.clone().block_on(self.shell.run_alone(&self.args.command));
        }
        self.runtime.block_on(self.shell.leave());
        Ok(ExitCode::from(self.shell.exit))
    }

    /// Prints a line for people, unless the commands come from the command line.
    fn greet(&self, text: impl std::fmt::Display) {
        let answers_only = !self.args.command.is_empty() || !self.args.execute.is_empty();
        if !self.args.quiet && self.args.output == Format::Text && !answers_only {
            put(format_args!("{text}\n"));
            flush();
        }
    }

    fn run_lines(&mut self) -> Result<()> {
        let current = Arc::new(Mutex::new(self.shell.handle()));
        self.greet("Welcome to ZooKeeper!");
        let typed = self.args.execute.is_empty() && stdin().is_terminal();
        let mut lines: Box<dyn Lines> = if !self.args.execute.is_empty() {
            Box::new(Given(self.args.execute.clone().into_iter()))
        } else if typed {
            self.greet("JLine support is enabled");
            let completion = Completion::new(self.runtime.clone(), current.clone());
            self.shell.interrupts = Interrupts::catch(&self.runtime).context("cannot catch SIGINT")?;
            Box::new(Typed::open(completion, &self.shell.line_printer)?)
        } else {
            self.greet("JLine support is disabled");
            Box::new(Piped)
        };
        while let Some(line) = lines.next(&self.shell.prompt())? {
            if self.args.echo {
                put(format_args!("{line}\n"));
            }
            if !typed && line.starts_with('#') {
                flush();
                continue;
            }
            if self.runtime.block_on(self.shell.run_line(&line)) == Next::Quit {
                break;
            }
            if self.args.echo && self.shell.exit != 0 {
                put(format_args!("[exit {}]\n", self.shell.exit));
            }
            if !typed && !self.args.keep_going && self.shell.exit != 0 {
                flush();
                break;
            }
            *current.lock() = self.shell.handle();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zkcli_spellings() {
        let check = |line: &str, expected: &str| {
            let args = line.split(' ').map(OsString::from).collect();
            let respelt: Vec<_> = respell(args).into_iter().map(|arg| arg.into_string().expect("text")).collect();
            assert_eq!(respelt.join(" "), expected);
        };
        check("oxkeeper shell -server h:1 -r -timeout 5 ls /", "oxkeeper shell --server h:1 -r --timeout 5 ls /");
        check("oxkeeper shell -waitforconnection ls -server", "oxkeeper shell --waitforconnection ls -server");
        check("oxkeeper shell -s -timeout -timeout 7", "oxkeeper shell -s -timeout --timeout 7");
        check("oxkeeper shell -e -server -server h", "oxkeeper shell -e -server --server h");
        check("oxkeeper bench -server", "oxkeeper bench -server");
    }
}
