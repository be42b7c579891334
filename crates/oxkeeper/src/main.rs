//! The `oxkeeper` command.

#[macro_use]
mod out;

mod bench;
mod client_settings;
mod config_check;
mod files;
mod manual;
mod serve;
mod shell;
mod signals;
mod sim;
mod supervisor;
mod tls;
mod usage_error;
mod word;

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;
use std::sync::LazyLock;

use clap::builder::StyledStr;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{CommandFactory, Parser, Subcommand};
use oxkeeper_server::COMPATIBLE_VERSION;

/// Our version and the version of ZooKeeper that clients and operators see, which scripts look for.
static VERSION: LazyLock<String> =
    LazyLock::new(|| format!("{} (Apache ZooKeeper {COMPATIBLE_VERSION})", env!("CARGO_PKG_VERSION")));

/// Maximal width of help in columns: that of a usual terminal, even if help goes through a pager.
const HELP_WIDTH: usize = 80;

/// A coordination server that speaks the ZooKeeper 3.9 client protocol
#[derive(Debug, Parser)]
#[command(
    version = VERSION.as_str(),
    max_term_width = HELP_WIDTH,
    after_help = "\
Without a command, oxkeeper serves clients on 127.0.0.1:2181, with its data in
./oxkeeper-data.

Examples:
  oxkeeper serve --config zoo.cfg
  oxkeeper shell --server localhost:2181"
)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a server: alone, or as a member of an ensemble
    Serve(serve::ServeArgs),
    /// Check a configuration without starting a server
    #[command(
        subcommand,
        after_help = "\
Examples:
  oxkeeper config check zoo.cfg
  oxkeeper config check --strict zoo.cfg"
    )]
    Config(ConfigCommand),
    /// Copy the data of Apache ZooKeeper into a data directory
    Import(files::ImportArgs),
    /// Write the data of a stopped server as files of Apache ZooKeeper
    Export(files::ExportArgs),
    /// Print the content of a snapshot, a log or a durable tree
    Dump(files::DumpArgs),
    /// Print, repair or cut a transaction log of Apache ZooKeeper
    TxnLog(files::TxnLogArgs),
    /// Save a snapshot of a running server or ensemble
    Backup(files::BackupArgs),
    /// Copy a backup into a data directory
    Restore(files::RestoreArgs),
    /// Read and change znodes with the commands of zkCli
    Shell(shell::ShellArgs),
    /// Send a four-letter word to a server and print the answer
    Word(word::WordArgs),
    /// Put load on a server and measure it
    Bench(Box<bench::BenchArgs>),
    /// Simulate an ensemble and its clients, with faults, and check the results
    Sim(sim::SimArgs),
    /// Write man pages into a directory
    Man(manual::ManArgs),
    /// Print a completion script for a shell
    Completions(manual::CompletionsArgs),
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// Print the effect of each line of a zoo.cfg, and whether a server starts with it
    Check(config_check::CheckArgs),
}

/// Parses the command line. If it is wrong or asks for help, prints the message and ends the process.
fn parsed(words: Vec<OsString>) -> Cli {
    Cli::try_parse_from(&words).unwrap_or_else(|mut error| {
        if let Some(line) = serve_line(&words, error.kind()) {
            let tip = StyledStr::from(format!("to run a server: {line}"));
            error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![tip]));
        }
        error.exit()
    })
}

/// Returns the command that was probably meant if `serve` was left out.
fn serve_line(words: &[OsString], kind: ErrorKind) -> Option<String> {
    let first = words.get(1)?.to_str()?;
    let rest: Vec<_> = words.iter().skip(1).map(|word| word.to_string_lossy()).collect();
    if kind == ErrorKind::InvalidSubcommand && (first.ends_with(".cfg") || Path::new(first).is_file()) {
        return Some(format!("oxkeeper serve --config {}", rest.join(" ")));
    }
    if kind != ErrorKind::UnknownArgument {
        return None;
    }
    let name = first.strip_prefix("--")?.split('=').next()?;
    let command = Cli::command();
    let mut options = command.find_subcommand("serve")?.get_arguments();
    options.any(|option| option.get_long() == Some(name)).then(|| format!("oxkeeper serve {}", rest.join(" ")))
}

fn main() -> ExitCode {
    let done = match parsed(shell::respell(std::env::args_os().collect())).command {
        None => serve::run(&serve::ServeArgs::default()),
        Some(Command::Serve(args)) => serve::run(&args),
        Some(Command::Config(ConfigCommand::Check(args))) => config_check::run(&args),
        Some(Command::Import(args)) => files::import(&args),
        Some(Command::Export(args)) => files::export(&args),
        Some(Command::Dump(args)) => files::dump(&args),
        Some(Command::TxnLog(args)) => files::txn_log(&args),
        Some(Command::Backup(args)) => files::backup(&args),
        Some(Command::Restore(args)) => files::restore(&args),
        Some(Command::Shell(args)) => shell::run(&args),
        Some(Command::Word(args)) => word::run(&args),
        Some(Command::Bench(args)) => bench::run(*args),
        Some(Command::Sim(args)) => {
            sim::run_seeds(&args);
            Ok(ExitCode::SUCCESS)
        }
        Some(Command::Man(args)) => manual::man(&args, Cli::command()).map(|()| ExitCode::SUCCESS),
        Some(Command::Completions(args)) => {
            manual::completions(&args, Cli::command());
            Ok(ExitCode::SUCCESS)
        }
    };
    done.unwrap_or_else(|error| {
        eprintln!("oxkeeper: {}", said_once(&error));
        if error.is::<usage_error::UsageError>() { usage_error::EXIT_CODE.into() } else { ExitCode::FAILURE }
    })
}

/// Joins the reasons, outermost first; leaves out those that an outer one already includes.
fn said_once(error: &anyhow::Error) -> String {
    let mut text = error.to_string();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use std::io;

    use anyhow::{Context, anyhow};

    use super::*;

    #[test]
    fn no_reason_is_said_twice() {
        let inner = || io::Error::other("no such file");
        let told = anyhow::Error::from(inner()).context("cannot open x: no such file");
        assert_eq!(said_once(&told), "cannot open x: no such file");
        let wrapped = Err::<(), _>(inner()).context("reading").context("first").expect_err("made so");
        assert_eq!(said_once(&wrapped), "first: reading: no such file");
        assert_eq!(said_once(&anyhow!("alone")), "alone");
    }
}
