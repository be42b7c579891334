//! Sessions that survive a server which stands still for longer than the session timeout.
//!
//! Each client behaves as real ones do: it pings, gives up a silent connection, and tries to resume its session until it
//! succeeds or learns that the session has expired.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use oxkeeper_client::{Client, Error, Options, Session};
use rustix::process::{Pid, Signal, kill_process};
use serde::Serialize;

use super::args::PauseArgs;
use super::report;
use super::runtime::runtime;
use crate::usage_error::UsageError;

/// Time between attempts to reconnect.
const RETRY: Duration = Duration::from_millis(100);

#[derive(Serialize)]
struct PauseReport {
    sessions: u32,
    session_timeout_ms: u128,
    pause_seconds: f64,
    kept: usize,
}

/// `bench pause`.
pub(super) fn run(args: &PauseArgs) -> Result<()> {
    let target = &args.target;
    ensure!(!target.pid.is_empty(), UsageError("--pid is missing: the process to stop".to_owned()));
    target.probe()?;
    let pids =
        target.pid.iter().map(|pid| Pid::from_raw(*pid as i32).context("--pid 0")).collect::<Result<Vec<_>>>()?;
    let servers = target.addresses()?;
    let options = target.options()?;
    let kept = runtime()?.block_on(async {
        let mut clients = Vec::new();
        let mut timeout = options.timeout;
        for server in servers.iter().cycle().take(args.sessions as usize) {
            let (client, _events) = Client::connect(*server, &options).await.context("before the pause")?;
            timeout = client.session().timeout;
            clients.push((*server, client));
        }
        // Every session lives through one timeout before the pause, and through two after it.
        let end = Instant::now() + timeout + args.pause + 2 * timeout;
        let lives =
            clients.into_iter().map(|(server, client)| tokio::spawn(live(server, options.clone(), client, end)));
        let lives: Vec<_> = lives.collect();
        tokio::time::sleep(timeout).await;
        stop_for(&pids, args.pause).await?;
        let mut kept = 0;
        for life in lives {
            kept += usize::from(life.await?);
        }
        anyhow::Ok((kept, timeout))
    })?;
    let (kept, timeout) = kept;
    let (session_timeout_ms, pause_seconds) = (timeout.as_millis(), args.pause.as_secs_f64());
    report::print(&PauseReport { sessions: args.sessions, session_timeout_ms, pause_seconds, kept }, target.output)
}

async fn stop_for(pids: &[Pid], pause: Duration) -> Result<()> {
    for pid in pids {
        kill_process(*pid, Signal::STOP).context("SIGSTOP")?;
    }
    tokio::time::sleep(pause).await;
    for pid in pids {
        kill_process(*pid, Signal::CONT).context("SIGCONT")?;
    }
    Ok(())
}

/// Keeps one session alive until `end`. Returns whether the server still knows it then.
async fn live(server: SocketAddr, options: Options, client: Client, end: Instant) -> bool {
    let session = client.session().clone();
    let mut client = Some(client);
    loop {
        let alive = match &client {
            Some(client) => client.ping().await.is_ok(),
            None => match resume(server, &options, &session).await {
                Ok(resumed) => {
                    client = Some(resumed);
                    continue;
                }
                Err(Error::SessionExpired) => return false,
                Err(_) => false,
            },
        };
        if alive && Instant::now() >= end {
            return true;
        }
        if !alive && Instant::now() >= end + session.timeout {
            return false;
        }
        if !alive {
            client = None;
        }
        tokio::time::sleep(if alive { session.timeout / 4 } else { RETRY }).await;
    }
}

async fn resume(server: SocketAddr, options: &Options, session: &Session) -> Result<Client, Error> {
    Client::resume(server, options, session).await.map(|(client, _events)| client)
}
