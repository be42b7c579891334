//! What must be there before a load: the parent, and the znodes it reads and writes. Uses the general client; nothing
//! here is measured.

use std::net::SocketAddr;

use anyhow::{Context, Result, ensure};
use oxkeeper_client::calls::open_acl;
use oxkeeper_client::{Client, Error, Options};
use oxkeeper_proto::ErrorCode;
use oxkeeper_proto::op::CreateMode;

use super::lanes;
use super::request::{ROOT, data, path};

/// Sessions and window of a fill that only prepares.
const SESSIONS: u32 = 8;
const IN_FLIGHT: u32 = 32;

/// A runtime for the general client, on this thread.
pub(super) fn runtime() -> Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build().context("tokio runtime")
}

/// Makes the parent exist. Returns whether znode `number` does.
pub(super) fn create_root(server: SocketAddr, options: &Options, number: u32) -> Result<bool> {
    runtime()?.block_on(async {
        let (client, _events) = Client::connect(server, options).await.with_context(|| format!("server {server}"))?;
        match client.create(ROOT, b"", &open_acl(), CreateMode::Persistent).await {
            Ok(_) | Err(Error::Server(ErrorCode::NodeExists)) => {}
            Err(error) => return Err(error).context(ROOT),
        }
        let there = client.exists(&path(number), false).await?.is_some();
        client.close().await?;
        Ok(there)
    })
}

/// Makes `/bench` and its first `znodes` znodes exist. A fill goes upwards, so the last one being there vouches for all;
/// where it does not, the first reply says NoNode.
pub(super) fn prepare(servers: &[SocketAddr], options: &Options, znodes: u32, size: usize) -> Result<()> {
    if !create_root(servers[0], options, znodes - 1)? {
        lanes::create_znodes(servers, options, znodes, size, SESSIONS, IN_FLIGHT)?;
    }
    // One server shows its own writes; another may be behind.
    if servers.len() > 1 { runtime()?.block_on(bring_up_to_date(servers, options, znodes - 1)) } else { Ok(()) }
}

/// Makes `/bench` and znode `number` exist, at every server.
pub(super) fn prepare_one(servers: &[SocketAddr], options: &Options, number: u32, size: usize) -> Result<()> {
    let is_there = create_root(servers[0], options, number)?;
    runtime()?.block_on(async {
        if !is_there {
            let (client, _events) = Client::connect(servers[0], options).await?;
            client.create(&path(number), &data(size), &open_acl(), CreateMode::Persistent).await?;
            client.close().await?;
        }
        bring_up_to_date(servers, options, number).await
    })
}

/// Waits until every server has what the others were told, and checks that by znode `number`.
async fn bring_up_to_date(servers: &[SocketAddr], options: &Options, number: u32) -> Result<()> {
    for server in servers {
        let (client, _events) = Client::connect(*server, options).await.with_context(|| format!("server {server}"))?;
        client.sync(ROOT).await.with_context(|| format!("sync at {server}"))?;
        ensure!(client.exists(&path(number), false).await?.is_some(), "after a sync {server} lacks {}", path(number));
        client.close().await?;
    }
    Ok(())
}
