//! Creates what a load needs: the parent, and the znodes that it reads and writes. Uses the general client; nothing
//! here is measured.

use std::net::SocketAddr;

use anyhow::{Context, Result, bail, ensure};
use oxkeeper_client::calls::open_acl;
use oxkeeper_client::{Client, Error, Options};
use oxkeeper_proto::ErrorCode;
use oxkeeper_proto::op::CreateMode;

use super::interrupt::Interrupt;
use super::lanes::Fill;
use super::made::Made;
use super::request::{ROOT, data, path};
use super::runtime::runtime;

/// Sessions and window of a fill that only prepares.
const SESSIONS: u32 = 8;
const IN_FLIGHT: u32 = 32;

/// Makes the parent exist. Returns whether znode `number` does.
pub(super) fn create_root(server: SocketAddr, options: &Options, number: u32, made: &mut Made) -> Result<bool> {
    runtime()?.block_on(async {
        let (client, _events) = Client::connect(server, options).await.with_context(|| format!("server {server}"))?;
        match client.create(ROOT, b"", &open_acl(), CreateMode::Persistent).await {
            Ok(_) => made.root = true,
            Err(Error::Server(ErrorCode::NodeExists)) => {}
            Err(error) => return Err(error).context(ROOT),
        }
        let there = client.exists(&path(number), false).await?.is_some();
        client.close().await?;
        Ok(there)
    })
}

/// Makes `/bench` and its first `znodes` znodes exist. A fill goes upwards, so the last znode vouches for all; if others
/// are missing, the first reply says NoNode.
pub(super) fn prepare(
    servers: &[SocketAddr],
    options: &Options,
    znodes: u32,
    size: usize,
    interrupt: &Interrupt,
    made: &mut Made,
) -> Result<()> {
    if !create_root(servers[0], options, znodes - 1, made)? {
        let fill = Fill { servers, options, znodes, size, sessions: SESSIONS, in_flight: IN_FLIGHT };
        let filled = fill.run(interrupt)?;
        made.numbers.extend(filled.created);
        if let Some(lost) = filled.lost {
            bail!(lost);
        }
        ensure!(!interrupt.came(), "interrupted before anything was measured");
    }
    // A server shows its own writes; others may be behind.
    if servers.len() > 1 { runtime()?.block_on(bring_up_to_date(servers, options, znodes - 1)) } else { Ok(()) }
}

/// Makes `/bench` and znode `number` exist, at every server.
pub(super) fn prepare_one(
    servers: &[SocketAddr],
    options: &Options,
    number: u32,
    size: usize,
    made: &mut Made,
) -> Result<()> {
    let is_there = create_root(servers[0], options, number, made)?;
    runtime()?.block_on(async {
        if !is_there {
            let (client, _events) = Client::connect(servers[0], options).await?;
            client.create(&path(number), &data(size), &open_acl(), CreateMode::Persistent).await?;
            made.numbers.push(number);
            client.close().await?;
        }
        bring_up_to_date(servers, options, number).await
    })
}

/// Waits until every server has the writes that the others acknowledged, and checks that by znode `number`.
async fn bring_up_to_date(servers: &[SocketAddr], options: &Options, number: u32) -> Result<()> {
    for server in servers {
        let (client, _events) = Client::connect(*server, options).await.with_context(|| format!("server {server}"))?;
        client.sync(ROOT).await.with_context(|| format!("sync at {server}"))?;
        ensure!(client.exists(&path(number), false).await?.is_some(), "after a sync {server} lacks {}", path(number));
        client.close().await?;
    }
    Ok(())
}
