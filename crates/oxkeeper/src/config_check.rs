//! `oxkeeper config check FILE`: each line of a zoo.cfg and what this server makes of it.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;
use comfy_table::Table;
use comfy_table::presets::UTF8_HORIZONTAL_ONLY;
use oxkeeper_durable::recovery::refuse_foreign;
use oxkeeper_server::check;
use oxkeeper_server::config::{Config, EXIT_CODE_INVALID, Properties, explain};
use tracing::Level;

/// What to check.
#[derive(Args, Debug)]
pub(crate) struct CheckArgs {
    /// A zoo.cfg
    file: PathBuf,
}

fn read(file: &Path) -> anyhow::Result<Properties> {
    let bytes = std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
    Ok(Properties::from_file_bytes(&bytes)?)
}

/// Prints the table. The exit code is 2 if a server would not start with it.
pub(crate) fn run(args: &CheckArgs) -> anyhow::Result<ExitCode> {
    // What reading the files of users and keys has to say.
    tracing_subscriber::fmt().with_max_level(Level::WARN).with_writer(std::io::stderr).without_time().init();
    let properties = match read(&args.file) {
        Ok(properties) => properties,
        Err(problem) => return Ok(crate::serve::complain(&format!("{problem:#}"), EXIT_CODE_INVALID)),
    };
    let mut table = Table::new();
    table.load_preset(UTF8_HORIZONTAL_ONLY).set_header(["line", "key", "value", "verdict", "why"]);
    for row in explain(&properties) {
        let line = row.line.map(|line| line.to_string()).unwrap_or_default();
        table.add_row([line, row.key, row.value, format!("{:?}", row.verdict).to_lowercase(), row.reason]);
    }
    say!("{table}");
    // As `serve` would read it and what it names, here and now: the JVM flags of the environment count.
    let problems = match Config::load(&args.file, crate::serve::jvm_flags()) {
        Ok(config) => {
            config.warnings.iter().for_each(|warning| say!("warning: {warning}"));
            if let Err(problem) = refuse_foreign(&config.data_dir) {
                say!("note: {problem}");
            }
            check(&config).err().map(|problem| problem.to_string()).unwrap_or_default()
        }
        Err(problem) => problem.to_string(),
    };
    if problems.is_empty() {
        say!("A server starts with this file. Whether ports are free and the data is its own, its start will tell.");
        return Ok(ExitCode::SUCCESS);
    }
    say!("No server starts with this file:\n{problems}");
    Ok(ExitCode::from(EXIT_CODE_INVALID))
}
