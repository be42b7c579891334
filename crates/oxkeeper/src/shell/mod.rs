//! `oxkeeper shell`: ZooKeeper's shell, for any server of the protocol.
//!
//! It takes the commands and options of zkCli and answers in its words, so that it can stand in its place; besides, it
//! answers in JSON, completes, keeps a history, and its exit codes tell failures. Where it differs on purpose stands in
//! docs/shell.md.
//!
//! Reading order: [`session`] (what is between commands), [`commands`], then [`report`] and [`failure`] (what they say),
//! [`line`] and [`options`] (how they are written), [`events`], [`console`], [`walk`].

mod acl;
mod commands;
mod console;
mod events;
mod failure;
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
use parking_lot::Mutex;
use tokio::runtime;

use self::console::{Completion, Lines, Piped, Typed};
use self::report::Format;
use self::session::{Next, Settings, Shell};
use crate::client_settings::ClientSettings;
use crate::out::{flush, put};
use crate::tls::TlsArgs;

#[derive(Debug, Args)]
pub(crate) struct ShellArgs {
    /// Servers, and the znode to take for the root
    #[arg(short, long, value_name = "HOST:PORT,…[/CHROOT]", default_value = "localhost:2181")]
    server: String,
    /// Session timeout
    #[arg(long, value_name = "MS", default_value_t = 30_000)]
    timeout: u32,
    /// Be content with a server that has no quorum and serves reads only
    #[arg(short = 'r', long)]
    read_only: bool,
    /// Wait until a server serves us before the first command
    #[arg(long)]
    waitforconnection: bool,
    /// Settings of ZooKeeper's clients, as a properties file; CLIENT_JVMFLAGS is read before it
    #[arg(long, value_name = "FILE")]
    client_configuration: Option<PathBuf>,
    /// How to answer
    #[arg(short, long, value_enum, default_value_t = Format::Text)]
    output: Format,
    /// Print neither greetings nor that the connection was made or ended as asked
    #[arg(short, long)]
    quiet: bool,
    /// Print each line of a script before what it answers, and the exit code of each that fails
    #[arg(long)]
    echo: bool,
    #[command(flatten)]
    tls: TlsArgs,
    /// One command and its arguments; without, commands are read from standard input
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "COMMAND")]
    command: Vec<String>,
}

/// The options that take a value.
const VALUED: [&str; 13] = [
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

/// The options as zkCli spells them, and as we do.
const SPELLINGS: [(&str, &str); 4] = [
    ("-server", "--server"),
    ("-timeout", "--timeout"),
    ("-waitforconnection", "--waitforconnection"),
    ("-client-configuration", "--client-configuration"),
];

/// Our spelling of the process's arguments: what stands between `shell` and its command may be spelt as zkCli does.
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

/// Runs one command, or those of standard input. The exit code is that of the last.
pub(crate) fn run(args: &ShellArgs) -> Result<ExitCode> {
    if let Some(option) = args.command.first().filter(|name| name.starts_with('-')) {
        bail!("there is no option {option}; see oxkeeper shell --help");
    }
    let runtime = runtime::Builder::new_current_thread().enable_all().build().context("cannot start")?;
    let handle = runtime.handle().clone();
    // The connection lives on while this thread waits for a line.
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

    /// A line that only people want.
    fn greet(&self, text: impl std::fmt::Display) {
        if !self.args.quiet && self.args.output == Format::Text {
            put(format_args!("{text}\n"));
            flush();
        }
    }

    fn run_lines(&mut self) -> Result<()> {
        let current = Arc::new(Mutex::new(self.shell.handle()));
        self.greet("Welcome to ZooKeeper!");
        let typed = stdin().is_terminal();
        let mut lines: Box<dyn Lines> = if typed {
            self.greet("JLine support is enabled");
            let completion = Completion::new(self.runtime.clone(), current.clone());
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
        check("oxkeeper bench -server", "oxkeeper bench -server");
    }
}
