//! Shared parts of the commands: their connection and report, and the parsing of their words.

use oxkeeper_client::Handle;

use super::failure::Failure;
use super::options::{Parsed, Spec};
use super::report::Report;
use super::usage;

/// A command with no options.
pub(super) const PLAIN: Spec = Spec { options: &[], exclusive: false };

/// The connection and the report of a command.
pub(super) struct Task<'a> {
    pub(super) handle: &'a Handle,
    pub(super) report: &'a mut Report,
}

/// Parses `words`, at least `count` of which must be arguments, the command itself included.
pub(super) fn parse(words: &[String], spec: &Spec, count: usize) -> Result<Parsed, Failure> {
    let parsed = spec.parse(words)?;
    if parsed.args.len() < count {
        return Err(Failure::usage(usage::of(&words[0])));
    }
    Ok(parsed)
}

/// Parses `get path watch` and the like: deprecated forms that still work.
pub(super) fn parse_with_old_watch(
    words: &[String],
    spec: &Spec,
    count: usize,
    task: &mut Task<'_>,
) -> Result<Parsed, Failure> {
    let parsed = parse(words, spec, count)?;
    if parsed.args.len() <= 2 {
        return Ok(parsed);
    }
    let (name, options) = (&words[0], if words[0] == "get" { "[-s] [-w]" } else { "[-w]" });
    task.report
        .warn(format_args!("'{name} path [watch]' has been deprecated. Please use '{name} {options} path' instead."));
    // ZooKeeper: it is the third word that becomes the option, wherever the path was.
    let mut words = words.to_vec();
    "-w".clone_into(&mut words[2]);
    parse(&words, spec, count)
}

/// Parses a whole number as Java does.
pub(super) fn number<T: std::str::FromStr>(text: &str) -> Result<T, Failure> {
    // ZooKeeper: the shell ends here, with a stack trace that begins with these words.
    text.parse().map_err(|_| Failure::value(format!("For input string: \"{text}\"")))
}

/// Returns the `-v` of a command; -1 for any version.
pub(super) fn version_of(parsed: &Parsed) -> Result<i32, Failure> {
    parsed.value("v").map_or(Ok(-1), number)
}
