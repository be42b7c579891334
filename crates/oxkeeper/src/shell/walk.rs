//! Lists subtrees in the order of ZooKeeper's shell, but with many requests in flight.
//!
//! A list is not a snapshot: znodes come and go meanwhile. Source: `ZKUtil.visitSubTreeDFS`, `ZKUtil.listSubTreeBFS`.

use std::collections::VecDeque;

use oxkeeper_client::{Error, Handle};
use oxkeeper_proto::ErrorCode;

use super::failure::{At, Failure};
use super::path;
use super::progress::Progress;

/// Requests in flight.
const AHEAD: usize = 64;

/// Asks about each of `paths`, many at once. Returns the answers in the order of the paths.
pub(super) async fn gather<T, F>(paths: &[String], ask: impl Fn(String) -> F) -> Vec<Result<T, Error>>
where
    T: Send + 'static,
    F: Future<Output = Result<T, Error>> + Send + 'static,
{
    let mut answers = Vec::with_capacity(paths.len());
    for paths in paths.chunks(AHEAD) {
        let asked: Vec<_> = paths.iter().map(|path| tokio::spawn(ask(path.clone()))).collect();
        for answer in asked {
            // A task fails only by panicking, and that ends the process anyway.
            answers.push(answer.await.unwrap_or(Err(Error::SessionExpired)));
        }
    }
    answers
}

async fn children(handle: Handle, path: String, watch: bool) -> Result<Vec<String>, Error> {
    let (mut children, _) = handle.get_children2(&path, watch).await?;
    children.sort_unstable();
    Ok(children.into_iter().map(|child| join(&path, &child)).collect())
}

fn join(parent: &str, child: &str) -> String {
    if parent == "/" { format!("/{child}") } else { format!("{parent}/{child}") }
}

/// Returns every path from `root` down, level by level.
pub(super) async fn breadth_first(handle: &Handle, root: &str, progress: &Progress) -> Result<Vec<String>, Failure> {
    let mut paths = vec![root.to_owned()];
    progress.find(1);
    let mut asked = 0;
    while asked < paths.len() {
        let next: Vec<String> = paths[asked..].iter().take(AHEAD).cloned().collect();
        asked += next.len();
        let answers = gather(&next, |path| children(handle.clone(), path, false)).await;
        progress.advance(answers.len());
        for (path, answer) in next.iter().zip(answers) {
            let children = answer.at(path)?;
            progress.find(children.len());
            paths.extend(children);
        }
    }
    Ok(paths)
}

/// A walk that visits the children of a znode, then the subtree of each.
#[derive(Debug)]
pub(super) struct Walk<'a> {
    handle: &'a Handle,
    watch: bool,
    levels: Vec<Level>,
}

/// The children of one znode.
#[derive(Debug, Default)]
struct Level {
    /// Not yet listed.
    ahead: VecDeque<String>,
    /// Listed, not yet descended into.
    listed: VecDeque<(String, Result<Vec<String>, Error>)>,
}

impl<'a> Walk<'a> {
    /// Begins at `root`; with `watch`, leaves a data watch there and a child watch everywhere. The first batch is the root
    /// alone.
    pub(super) async fn begin(handle: &'a Handle, root: &str, watch: bool) -> Result<(Walk<'a>, Vec<String>), Failure> {
        path::check(root)?;
        handle.get_data(root, watch).await.at(root)?;
        let level = Level { ahead: [root.to_owned()].into(), listed: VecDeque::new() };
        Ok((Walk { handle, watch, levels: vec![level] }, vec![root.to_owned()]))
    }

    /// Returns the children of the next znode that has any.
    pub(super) async fn next(&mut self) -> Result<Option<Vec<String>>, Failure> {
        while let Some(level) = self.levels.last_mut() {
            if let Some((path, listed)) = level.listed.pop_front() {
                match listed {
                    // Deleted since it was listed.
                    Err(Error::Server(ErrorCode::NoNode)) => {}
                    listed => {
                        let children = listed.at(&path)?;
                        if !children.is_empty() {
                            self.levels.push(Level { ahead: children.clone().into(), listed: VecDeque::new() });
                            return Ok(Some(children));
                        }
                    }
                }
            } else if level.ahead.is_empty() {
                self.levels.pop();
            } else {
                let next: Vec<String> = level.ahead.drain(..level.ahead.len().min(AHEAD)).collect();
                let (handle, watch) = (self.handle, self.watch);
                let answers = gather(&next, |path| children(handle.clone(), path, watch)).await;
                level.listed.extend(next.into_iter().zip(answers));
            }
        }
        Ok(None)
    }
}
