//! The commands that ask a server: each parses its words as ZooKeeper's shell does, asks, and reports.
//!
//! Source: `org.apache.zookeeper.cli`, one class a command. What the shell does by itself (`connect`, `history`, …) is in
//! [`super::session`].

mod acl;
mod ensemble;
mod quota;
mod read;
mod stats_track;
mod tree;
mod watch;
mod write;

use oxkeeper_client::Handle;

use super::failure::Failure;
use super::options::{Parsed, Spec};
use super::report::Report;
use super::usage;

/// A command with no options.
const PLAIN: Spec = Spec { options: &[], exclusive: false };

/// What a command works with.
pub(super) struct Task<'a> {
    pub(super) handle: &'a Handle,
    pub(super) report: &'a mut Report,
}

/// Runs the command that `words` begins with, if it is one that asks a server.
pub(super) async fn run(words: &[String], task: &mut Task<'_>) -> Result<(), Failure> {
    let name = words.first().map(String::as_str).unwrap_or_default();
    match name {
        "addWatch" => watch::add_watch(words, task).await,
        "addauth" => acl::add_auth(words, task).await,
        "config" => ensemble::config(words, task).await,
        "create" => write::create(words, task).await,
        "delete" => write::delete(words, task).await,
        "deleteall" => tree::delete_all(words, task).await,
        "delquota" => quota::delete(words, task).await,
        "get" => read::get(words, task).await,
        "getAcl" => acl::get_acl(words, task).await,
        "getAllChildrenNumber" => read::all_children_number(words, task).await,
        "getEphemerals" => read::ephemerals(words, task).await,
        "listquota" => quota::list(words, task).await,
        "ls" => tree::ls(words, task).await,
        "reconfig" => ensemble::reconfig(words, task).await,
        "removewatches" => watch::remove(words, task).await,
        "set" => write::set(words, task).await,
        "setAcl" => acl::set_acl(words, task).await,
        "setquota" => quota::set(words, task).await,
        "stat" => read::stat(words, task).await,
        "sync" => read::sync(words, task).await,
        "version" => version(words, task),
        "whoami" => ensemble::who_am_i(task).await,
        // `connect` and its like have done their work.
        _ => Ok(()),
    }
}

/// Parses `words`, of which there must be `count` with the command itself.
fn parse(words: &[String], spec: &Spec, count: usize) -> Result<Parsed, Failure> {
    let parsed = spec.parse(words)?;
    if parsed.args.len() < count {
        return Err(Failure::usage(usage::of(&words[0])));
    }
    Ok(parsed)
}

/// `get path watch` and the like, which were given up long ago and still work.
fn parse_with_old_watch(words: &[String], spec: &Spec, count: usize, task: &mut Task<'_>) -> Result<Parsed, Failure> {
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
fn number<T: std::str::FromStr>(text: &str) -> Result<T, Failure> {
    // ZooKeeper: its shell ends here, with a stack trace that begins so.
    text.parse().map_err(|_| Failure::value(format!("For input string: \"{text}\"")))
}

/// The `-v` of a command; -1 for any.
fn version_of(parsed: &Parsed) -> Result<i32, Failure> {
    parsed.value("v").map_or(Ok(-1), number)
}

fn version(words: &[String], task: &mut Task<'_>) -> Result<(), Failure> {
    if PLAIN.parse(words)?.args.len() > 1 {
        return Err(Failure::usage(usage::of("version")));
    }
    let version = env!("CARGO_PKG_VERSION");
    task.report.line(format_args!("ZooKeeper CLI version: oxkeeper {version}"));
    task.report.field("version", version);
    Ok(())
}
