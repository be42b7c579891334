//! The commands that ask a server. Each parses its words as ZooKeeper's shell does, sends requests, and reports.
//!
//! Source: `org.apache.zookeeper.cli`, one class for each command. The commands of the shell itself (`connect`, `history`,
//! …) are in [`super::session`].

mod acl;
mod ensemble;
mod quota;
mod read;
mod stats_track;
mod tree;
mod watch;
mod write;

use super::failure::Failure;
use super::task::{PLAIN, Task};
use super::usage;

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
        // `connect` and the like have already run.
        _ => Ok(()),
    }
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
