//! `oxkeeper config check FILE`: each line of a zoo.cfg and its effect in this server.

use std::io::stdout;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;
use oxkeeper_config::{Config, EXIT_CODE_INVALID, Explained, LOG_VARIABLE, Properties, Source, explain};
use oxkeeper_durable::recovery::refuse_foreign;
use oxkeeper_server::check;
use rustix::termios::{isatty, tcgetwinsize};
use tracing::Level;

/// Width of output that is not written to a terminal, columns.
const USUAL_WIDTH: usize = 80;
/// Indent of a reason, columns.
const INDENT: usize = 4;

/// Options of `oxkeeper config check`.
#[derive(Args, Debug)]
#[command(after_help = "\
Exit codes:
  0  a server starts with this file; with --strict, also without a warning
  2  a server does not start with it; with --strict, or there is a warning

Examples:
  oxkeeper config check /etc/oxkeeper/zoo.cfg
  SERVER_JVMFLAGS=-Djute.maxbuffer=4096 oxkeeper config check --strict zoo.cfg")]
pub(crate) struct CheckArgs {
    /// The zoo.cfg to check; SERVER_JVMFLAGS, JVMFLAGS and OXKEEPER_LOG are read as well
    file: PathBuf,
    /// Exit with code 2 if there is a warning, as of an unknown key
    #[arg(long)]
    strict: bool,
}

fn read(file: &Path) -> anyhow::Result<Properties> {
    let bytes = std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
    Properties::from_file_bytes(&bytes)
        .map_err(|problem| anyhow::anyhow!("{}:{}: {}", file.display(), problem.line, problem.message))
}

/// Prints the effect of each line, then the verdict.
pub(crate) fn run(args: &CheckArgs) -> anyhow::Result<ExitCode> {
    // For warnings about the files with users and keys.
    tracing_subscriber::fmt().with_max_level(Level::WARN).with_writer(std::io::stderr).without_time().init();
    let mut properties = crate::serve::environment();
    match read(&args.file) {
        Ok(file) => properties.extend(file),
        Err(problem) => return Ok(crate::serve::complain(&format!("{problem:#}"), EXIT_CODE_INVALID)),
    }
    let explained = explain(&properties);
    let terminal = terminal_width();
    let width = terminal.unwrap_or(USUAL_WIDTH);
    let lines = explained.iter().filter_map(|row| row.line).max().unwrap_or_default();
    let places = explained.iter().map(|row| place(row).len()).max().unwrap_or_default().max(lines.to_string().len());
    explained.iter().for_each(|row| say!("{}", shown(row, places, width)));
    // Loads the file and the files that it names, as `serve` does.
    let (problems, warnings) = match Config::load(&args.file, crate::serve::environment()) {
        Ok(config) => {
            if let Err(problem) = refuse_foreign(&config.data_dir) {
                tell(&format!("note: {problem}"), terminal);
            }
            (check(&config).err().map(|problem| problem.to_string()).unwrap_or_default(), config.warnings)
        }
        Err(problem) => (problem.to_string(), Vec::new()),
    };
    warnings.iter().for_each(|warning| tell(&format!("warning: {warning}"), terminal));
    if !problems.is_empty() {
        say!("No server starts with this file:");
        problems.lines().for_each(|problem| tell(problem, terminal));
        return Ok(ExitCode::from(EXIT_CODE_INVALID));
    }
    if args.strict && !warnings.is_empty() {
        say!("A server starts with this file, but --strict allows no warnings.");
        return Ok(ExitCode::from(EXIT_CODE_INVALID));
    }
    say!("OK. Ports and the data directory were not checked.");
    Ok(ExitCode::SUCCESS)
}

/// Returns the width of standard output in columns, if it is a terminal.
fn terminal_width() -> Option<usize> {
    let size = isatty(stdout()).then(|| tcgetwinsize(stdout()).ok()).flatten()?;
    Some(usize::from(size.ws_col)).filter(|&width| width > 0)
}

/// Prints a message: wrapped on a terminal, otherwise on one line, which scripts can search.
fn tell(message: &str, terminal: Option<usize>) {
    match terminal {
        Some(width) => say!("{}", wrapped(message, width).join("\n")),
        None => say!("{message}"),
    }
}

/// Returns the place of a property: its line, or a source without lines.
fn place(row: &Explained) -> String {
    match (row.line, row.source) {
        (Some(line), _) => line.to_string(),
        (None, Source::Environment) => LOG_VARIABLE.to_owned(),
        (None, Source::JvmFlags | Source::CommandLine) => row.source.to_string(),
        (None, Source::File | Source::DynamicFile) => "-".to_owned(),
    }
}

/// Formats a property, and its reason on separate lines. Values are never wrapped, because people copy them.
fn shown(row: &Explained, places: usize, width: usize) -> String {
    let property = if row.value.is_empty() { row.key.clone() } else { format!("{}={}", row.key, row.value) };
    let mut text = format!("{:>places$}  {:<9}  {property}", place(row), row.verdict);
    for line in wrapped(&row.reason, width.saturating_sub(places + INDENT)) {
        text += &format!("\n{:indent$}{line}", "", indent = places + INDENT);
    }
    text
}

/// Breaks text between words into lines of at most `width` characters, except for longer words.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            Some(_) | None => lines.push(word.to_owned()),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_breaks_between_words() {
        assert_eq!(wrapped("a bc def", 4), ["a bc", "def"]);
        assert_eq!(wrapped("a overlong b", 4), ["a", "overlong", "b"]);
        assert_eq!(wrapped("", 4), [""; 0]);
    }
}
