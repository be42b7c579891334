//! What the commands share: their connection and report, and how they take their words apart.

use oxkeeper_client::Handle;

use super::failure::Failure;
use super::options::{Parsed, Spec};
use super::report::Report;
use super::usage;

/// A command with no options.
pub(super) const PLAIN: Spec = Spec { options: &[], exclusive: false };

/// What a command works with.
pub(super) struct Task<'a> {
    pub(super) handle: &'a Handle,
    pub(super) report: &'a mut Report,
}

/// Parses `words`, of which there must be `count` with the command itself.
pub(super) fn parse(words: &[String], spec: &Spec, count: usize) -> Result<Parsed, Failure> {
    let parsed = spec.parse(words)?;
    if parsed.args.len() < count {
        return Err(Failure::usage(usage::of(&words[0])));
    }
    Ok(parsed)
}

/// `get path watch` and the like, which were given up long ago and still work.
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

/// A whole number as Java parses it.
pub(super) fn number<T: std::str::FromStr>(text: &str) -> Result<T, Failure> {
    // ZooKeeper: its shell ends here, with a stack trace that begins so.
    text.parse().map_err(|_| Failure::value(format!("For input string: \"{text}\"")))
}

/// The `-v` of a command; -1 for any.
pub(super) fn version_of(parsed: &Parsed) -> Result<i32, Failure> {
    parsed.value("v").map_or(Ok(-1), number)
}
