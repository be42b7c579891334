//! `oxkeeper`: the one binary.

mod bench;

use clap::{Parser, Subcommand};

/// A coordination server that speaks the ZooKeeper 3.9 client protocol
#[derive(Debug, Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Load any server of the ZooKeeper protocol and measure it
    Bench(Box<bench::BenchArgs>),
}

fn main() -> anyhow::Result<()> {
    match Cli::parse().command {
        Command::Bench(args) => bench::run(*args),
    }
}
