//! `oxkeeper config check FILE`: each line of a zoo.cfg and what this server makes of it.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;
use comfy_table::Table;
use comfy_table::presets::UTF8_HORIZONTAL_ONLY;
use oxkeeper_server::config::{Config, EXIT_CODE_INVALID, Properties, explain};

/// What to check.
#[derive(Args, Debug)]
pub(crate) struct CheckArgs {
    /// A zoo.cfg
    file: PathBuf,
}

/// Prints the table. The exit code is 2 if a server would not start with it.
pub(crate) fn run(args: &CheckArgs) -> anyhow::Result<ExitCode> {
    let bytes = std::fs::read(&args.file).with_context(|| format!("cannot read {}", args.file.display()))?;
    let properties = Properties::from_file_bytes(&bytes)?;
    let mut table = Table::new();
    table.load_preset(UTF8_HORIZONTAL_ONLY).set_header(["line", "key", "value", "verdict", "why"]);
    for row in explain(&properties) {
        let line = row.line.map(|line| line.to_string()).unwrap_or_default();
        table.add_row([line, row.key, row.value, format!("{:?}", row.verdict).to_lowercase(), row.reason]);
    }
    println!("{table}");
    let problems = match Config::load(&args.file, Properties::default()) {
        Ok(config) => config.unserved().join("\n"),
        Err(problem) => problem.to_string(),
    };
    if problems.is_empty() {
        println!("A server starts with this file.");
        return Ok(ExitCode::SUCCESS);
    }
    println!("No server starts with this file:\n{problems}");
    Ok(ExitCode::from(EXIT_CODE_INVALID))
}
