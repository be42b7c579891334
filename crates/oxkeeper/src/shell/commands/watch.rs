//! Commands about watches. Source: `AddWatchCommand`, `RemoveWatchesCommand`.

use oxkeeper_proto::op::{AddWatchMode, WatcherType};

use super::super::failure::{At, Failure};
use super::super::options::Spec;
use super::super::task::{Task, parse};
use super::super::{path, usage};

const ADD_WATCH: Spec = Spec { options: &[("m", true)], exclusive: false };
const REMOVE: Spec = Spec {
    options: &[("c", false), ("d", false), ("p", false), ("r", false), ("a", false), ("l", false)],
    exclusive: false,
};

pub(super) async fn add_watch(words: &[String], task: &mut Task<'_>) -> Result<(), Failure> {
    let parsed = ADD_WATCH.parse(words)?;
    let usage = || Failure::usage(usage::of("addWatch"));
    let [_, path] = &parsed.args[..] else { return Err(usage()) };
    // ZooKeeper: the mode of one command is the default of the next, whatever its help says. Not here.
    let mode = match parsed.value("m").map(str::to_uppercase).as_deref() {
        None | Some("PERSISTENT_RECURSIVE") => AddWatchMode::PersistentRecursive,
        Some("PERSISTENT") => AddWatchMode::Persistent,
        Some(_) => return Err(usage()),
    };
    path::check(path)?;
    task.report.field("path", path.as_str());
    task.handle.add_watch(path, mode).await.at(path)
}

pub(super) async fn remove(words: &[String], task: &mut Task<'_>) -> Result<(), Failure> {
    let parsed = parse(words, &REMOVE, 2)?;
    let kinds = [
        ("c", WatcherType::Children),
        ("d", WatcherType::Data),
        ("p", WatcherType::Persistent),
        ("r", WatcherType::PersistentRecursive),
    ];
    let kind = kinds.into_iter().find(|(option, _)| parsed.has(option)).map_or(WatcherType::Any, |(_, kind)| kind);
    let path = &parsed.args[1];
    path::check(path)?;
    task.report.field("path", path.as_str());
    task.handle.remove_watches(path, kind, parsed.has("l")).await.at(path)
}
