//! What must be there before a load: the parent, and the znodes it reads and writes. Uses the general client; nothing
//! here is measured.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result};
use oxkeeper_client::calls::open_acl;
use oxkeeper_client::{Client, Error, Options};
use oxkeeper_proto::ErrorCode;
use oxkeeper_proto::op::CreateMode;

use super::load;
use super::request::{ROOT, path};

/// Sessions and window of a fill that only prepares.
const SESSIONS: u32 = 8;
const IN_FLIGHT: u32 = 32;

/// A runtime for the general client, on this thread.
pub(super) fn runtime() -> Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build().context("tokio runtime")
}

/// Makes the parent exist. Returns whether znode `number` does.
pub(super) fn create_root(server: SocketAddr, timeout: Duration, number: u32) -> Result<bool> {
    runtime()?.block_on(async {
        let options = Options { timeout, ..Options::default() };
        let (client, _events) = Client::connect(server, &options).await.with_context(|| format!("server {server}"))?;
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
pub(super) fn prepare(server: SocketAddr, timeout: Duration, znodes: u32, size: usize) -> Result<()> {
    if !create_root(server, timeout, znodes - 1)? {
        load::create_znodes(server, timeout, znodes, size, SESSIONS, IN_FLIGHT)?;
    }
    Ok(())
}
