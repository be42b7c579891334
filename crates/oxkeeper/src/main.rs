//! `oxkeeper`: the one binary.

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

use std::process::ExitCode;
use std::sync::LazyLock;

use clap::{CommandFactory, Parser, Subcommand};
use oxkeeper_server::COMPATIBLE_VERSION;

/// With the version of ZooKeeper that clients and operators see, which scripts look for.
static VERSION: LazyLock<String> =
    LazyLock::new(|| format!("{} (Apache ZooKeeper {COMPATIBLE_VERSION})", env!("CARGO_PKG_VERSION")));

/// A coordination server that speaks the ZooKeeper 3.9 client protocol
#[derive(Debug, Parser)]
#[command(version = VERSION.as_str())]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve clients (this is also what no command does)
    Serve(serve::ServeArgs),
    /// Say what this server makes of a configuration
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Take over the data of Apache ZooKeeper
    Import(files::ImportArgs),
    /// Write a server's data as Apache ZooKeeper has it
    Export(files::ExportArgs),
    /// Show what is in a file: a snapshot, a log, a tree
    Dump(files::DumpArgs),
    /// Show, repair or cut a transaction log of Apache ZooKeeper, as its zkTxnLogToolkit.sh does
    TxnLog(files::TxnLogArgs),
    /// Take a backup of a running server or ensemble
    Backup(files::BackupArgs),
    /// Make a backup a server's data
    Restore(files::RestoreArgs),
    /// Speak to any server of the ZooKeeper protocol: the commands and options of zkCli
    Shell(shell::ShellArgs),
    /// Ask a server one of the four-letter words, and print its answer
    Word(word::WordArgs),
    /// Load any server of the ZooKeeper protocol and measure it
    Bench(Box<bench::BenchArgs>),
    /// Simulate a server and its clients under a seed, and check every promise
    Sim(sim::SimArgs),
    /// Write man pages into a directory
    Man(manual::ManArgs),
    /// Print a completion script for a shell
    Completions(manual::CompletionsArgs),
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// Explain each line of a zoo.cfg: used, ignored, unknown, wrong
    Check(config_check::CheckArgs),
}

fn main() -> ExitCode {
    let done = match Cli::parse_from(shell::respell(std::env::args_os().collect())).command {
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

/// The reasons, outermost first; those that an outer one has told already are left out.
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
