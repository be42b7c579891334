//! The znodes that a run made, and their removal when it ends.

use std::net::SocketAddr;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use oxkeeper_client::{Client, Error, Options};
use oxkeeper_proto::ErrorCode;
use tokio::task::JoinSet;

use super::report::Progress;
use super::request::{ROOT, path};
use super::runtime::runtime;

/// Deletes in flight.
const DELETES_MAX: usize = 512;

/// The znodes that a run made.
#[derive(Debug, Default)]
pub(super) struct Made {
    /// Whether it made `/bench`.
    pub(super) root: bool,
    /// The numbers of the znodes below it.
    pub(super) numbers: Vec<u32>,
}

impl Made {
    /// Removes them, through the first server that answers.
    pub(super) fn remove(&self, servers: &[SocketAddr], options: &Options) -> Result<()> {
        if !self.root && self.numbers.is_empty() {
            return Ok(());
        }
        let paths = self.numbers.iter().map(|number| path(*number)).collect();
        runtime()?.block_on(async {
            let client = connect(servers, options).await?;
            delete_all(&client, paths).await?;
            if self.root {
                delete(client.clone(), ROOT.to_owned()).await.or_else(ignore_others)?;
            }
            Ok(client.close().await?)
        })
    }
}

/// Leaves `/bench` to another client that uses it, too.
fn ignore_others(error: Error) -> Result<(), Error> {
    if let Error::Server(ErrorCode::NotEmpty) = error { Ok(()) } else { Err(error) }
}

/// Removes `/bench` and every znode below it. Returns the number of znodes.
pub(super) fn remove_all(servers: &[SocketAddr], options: &Options) -> Result<u64> {
    runtime()?.block_on(async {
        let client = connect(servers, options).await?;
        let children = match client.get_children(ROOT, false).await {
            Err(Error::Server(ErrorCode::NoNode)) => return Ok(0),
            children => children?,
        };
        let count = children.len() as u64 + 1;
        delete_all(&client, children.into_iter().map(|name| format!("{ROOT}/{name}")).collect()).await?;
        delete(client.clone(), ROOT.to_owned()).await?;
        client.close().await?;
        Ok(count)
    })
}

async fn connect(servers: &[SocketAddr], options: &Options) -> Result<Client> {
    let mut last = None;
    for server in servers {
        match Client::connect(*server, options).await.with_context(|| format!("server {server}")) {
            Ok((client, _events)) => return Ok(client),
            Err(error) => last = Some(error),
        }
    }
    Err(last.context("no server")?)
}

async fn delete_all(client: &Client, paths: Vec<String>) -> Result<()> {
    let mut progress = Progress::new("removing", paths.len() as u64);
    let (mut under_way, mut done) = (JoinSet::new(), 0);
    for path in paths {
        if under_way.len() == DELETES_MAX {
            settle(under_way.join_next().await)?;
            done += 1;
            progress.show(done, Instant::now());
        }
        under_way.spawn(delete(client.clone(), path));
    }
    while let Some(ended) = under_way.join_next().await {
        settle(Some(ended))?;
    }
    Ok(())
}

fn settle(ended: Option<Result<Result<(), Error>, tokio::task::JoinError>>) -> Result<()> {
    match ended {
        Some(Ok(Err(error))) => bail!(error),
        Some(Err(error)) => bail!(error),
        Some(Ok(Ok(()))) | None => Ok(()),
    }
}

async fn delete(client: Client, path: String) -> Result<(), Error> {
    match client.delete(&path, -1).await {
        Err(Error::Server(ErrorCode::NoNode)) => Ok(()),
        deleted => deleted,
    }
}
