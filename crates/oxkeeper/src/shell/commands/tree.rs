//! Commands about whole subtrees. Source: `LsCommand`, `DeleteAllCommand`, `ZKUtil`.

use std::borrow::Cow;

use oxkeeper_client::{Client, Error, OpResult};
use oxkeeper_proto::multi::MultiOp;
use oxkeeper_proto::records::DeleteRequest;
use serde_json::Value;
use tokio::task::JoinSet;

use super::super::failure::{At, Failure};
use super::super::options::Spec;
use super::super::progress::Progress;
use super::super::task::{Task, parse, parse_with_old_watch};
use super::super::usage::LS_HELP;
use super::super::walk::{Walk, breadth_first};
use super::super::{path, stat};
use super::read::missing_path;

const LS: Spec = Spec { options: &[("?", false), ("s", false), ("w", false), ("R", false)], exclusive: false };
const DELETE_ALL: Spec = Spec { options: &[("b", true)], exclusive: false };
/// ZooKeeper: the default number of znodes in one transaction.
const BATCH: i32 = 1000;
/// ZooKeeper: transactions in flight.
const BATCHES_MAX: usize = 10;

pub(super) async fn ls(words: &[String], task: &mut Task<'_>) -> Result<(), Failure> {
    if LS.parse(words)?.has("?") {
        task.report.line(LS_HELP);
        task.report.field("help", LS_HELP);
    }
    let parsed = parse_with_old_watch(words, &LS, 1, task)?;
    let path = parsed.args.get(1).ok_or_else(|| missing_path("ls"))?;
    path::check(path)?;
    task.report.field("path", path.as_str());
    if parsed.has("R") {
        return ls_below(path, parsed.has("w"), task).await;
    }
    let (mut children, found) = task.handle.get_children2(path, parsed.has("w")).await.at(path)?;
    children.sort_unstable();
    task.report.line(format_args!("[{}]", children.join(", ")));
    task.report.field("children", children);
    task.report.field("stat", stat::json(&found));
    if parsed.has("s") {
        stat::print(task.report, &found);
    }
    Ok(())
}

/// Lists a subtree as it is walked.
async fn ls_below(path: &str, watch: bool, task: &mut Task<'_>) -> Result<(), Failure> {
    task.report.progress().count("znodes listed");
    task.report.lines_are_progress();
    let (mut walk, mut batch) = Walk::begin(task.handle, path, watch).await?;
    let mut paths: Vec<Value> = Vec::new();
    loop {
        task.report.progress().advance(batch.len());
        for path in batch {
            task.report.line(&path);
            if task.report.is_json() {
                paths.push(path.into());
            }
        }
        match walk.next().await? {
            Some(next) => batch = next,
            None => break,
        }
    }
    task.report.field("paths", paths);
    Ok(())
}

pub(super) async fn delete_all(words: &[String], task: &mut Task<'_>) -> Result<(), Failure> {
    let parsed = parse(words, &DELETE_ALL, 2)?;
    let batch = match parsed.value("b") {
        Some(text) => text.parse().map_err(|_| Failure::value("-b argument must be an int value"))?,
        None => BATCH,
    };
    let path = &parsed.args[1];
    path::check(path)?;
    task.report.progress().count_found("znodes listed");
    let mut paths = breadth_first(task.handle, path, task.report.progress()).await?;
    // Leaves first.
    paths.reverse();
    task.report.field("path", path.as_str());
    let count = paths.len();
    task.report.progress().count_towards(count, "znodes deleted");
    match usize::try_from(batch) {
        Ok(batch) if batch > 0 => delete_in_batches(paths, batch, task).await?,
        _ => {
            for path in &paths {
                task.handle.client().await.at(path)?.delete(path, -1).await.at(path)?;
                task.report.progress().advance(1);
            }
        }
    }
    task.report.field("deleted", count);
    Ok(())
}

async fn delete_in_batches(paths: Vec<String>, batch: usize, task: &mut Task<'_>) -> Result<(), Failure> {
    let progress = task.report.progress();
    let client = task.handle.client().await.nowhere()?;
    let (mut under_way, mut failed) = (JoinSet::new(), None);
    for paths in paths.chunks(batch) {
        if under_way.len() == BATCHES_MAX {
            settle(under_way.join_next().await, progress, &mut failed);
        }
        if failed.is_some() {
            break;
        }
        under_way.spawn(delete_batch(client.clone(), paths.to_vec()));
    }
    while let Some(ended) = under_way.join_next().await {
        settle(Some(ended), progress, &mut failed);
    }
    match failed {
        None => Ok(()),
        Some(why) => {
            task.report.field("cause", why);
            // ZooKeeper: prints only this, and its exit code is 0.
            Err(Failure::new("Partial", "Failed to delete some node(s) in the subtree!"))
        }
    }
}

type Ended = Option<Result<Result<usize, Error>, tokio::task::JoinError>>;

fn settle(ended: Ended, progress: &Progress, failed: &mut Option<String>) {
    match ended {
        Some(Ok(Ok(count))) => progress.advance(count),
        Some(Ok(Err(error))) => *failed = Some(error.to_string()),
        Some(Err(error)) => *failed = Some(error.to_string()),
        None => {}
    }
}

/// Deletes `paths` in one transaction.
async fn delete_batch(client: Client, paths: Vec<String>) -> Result<usize, Error> {
    let delete = |path| MultiOp::Delete(DeleteRequest { path: Some(Cow::Borrowed(path)), version: -1 });
    let ops: Vec<_> = paths.iter().map(|path| delete(path.as_str())).collect();
    let results = client.multi(&ops).await?;
    let codes = results.iter().map(|result| if let OpResult::Failed(code) = result { *code } else { 0 });
    let refused = codes.into_iter().find(|code| *code != 0);
    match refused {
        Some(code) => Err(Error::from_wire(code)),
        None => Ok(paths.len()),
    }
}
