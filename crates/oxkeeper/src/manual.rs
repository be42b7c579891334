//! Man pages and completion scripts, generated from the definition of the command line.

use std::path::PathBuf;

use anyhow::Context;
use clap::{Args, Command};
use clap_complete::Shell;

use crate::out::{flush, put};

/// Options of `oxkeeper man`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  oxkeeper man /usr/local/share/man/man1
  oxkeeper man ./man && man ./man/oxkeeper-serve.1")]
pub(crate) struct ManArgs {
    /// Directory for oxkeeper.1, oxkeeper-serve.1 and the others; created if it is missing
    #[arg(value_name = "DIR")]
    directory: PathBuf,
}

/// Options of `oxkeeper completions`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  oxkeeper completions bash > /etc/bash_completion.d/oxkeeper
  oxkeeper completions fish > ~/.config/fish/completions/oxkeeper.fish")]
pub(crate) struct CompletionsArgs {
    /// The shell to complete commands in
    #[arg(value_enum)]
    shell: Shell,
}

/// Writes one page for each command.
pub(crate) fn man(args: &ManArgs, command: Command) -> anyhow::Result<()> {
    let directory = &args.directory;
    std::fs::create_dir_all(directory).with_context(|| format!("cannot make {}", directory.display()))?;
    clap_mangen::generate_to(command, directory).with_context(|| format!("cannot write into {}", directory.display()))
}

/// Writes a completion script to standard output.
pub(crate) fn completions(args: &CompletionsArgs, mut command: Command) {
    // Writing directly to standard output would panic if its reader has gone.
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut command, "oxkeeper", &mut script);
    put(String::from_utf8_lossy(&script));
    flush();
}
