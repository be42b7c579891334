//! The command line of `oxkeeper bench`.

use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::builder::ArgPredicate;
use clap::{Args, Subcommand, ValueEnum};
use oxkeeper_client::Options;

use super::process::Probe;
use super::{bound, request};
use crate::tls::TlsArgs;

/// `oxkeeper bench`.
#[derive(Debug, Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "\
Examples:
  oxkeeper bench --workload set --sessions 8 --in-flight 4
  oxkeeper bench --check --server zoo1:2181,zoo2:2181,zoo3:2181
  oxkeeper bench fill --znodes 100000"
)]
pub(crate) struct BenchArgs {
    #[command(subcommand)]
    pub(super) mode: Option<Mode>,
    #[command(flatten)]
    pub(super) load: LoadArgs,
    /// Run the lower bound: a server that decodes nothing and answers fixed bytes, to writes after append and fdatasync
    #[arg(long, value_name = "KIND")]
    pub(super) serve_bound: Option<bound::Kind>,
    /// Address of the bound server
    #[arg(long, default_value = "127.0.0.1:2181", requires = "serve_bound")]
    pub(super) listen: SocketAddr,
    /// Directory of the bound server's log
    #[arg(long, default_value = ".", requires = "serve_bound")]
    pub(super) data_dir: PathBuf,
}

#[derive(Debug, Subcommand)]
pub(super) enum Mode {
    /// Creates znodes below /bench, pipelined over several sessions, and leaves them there
    Fill(FillArgs),
    /// Opens idle sessions, keeps them alive, and reports the server's memory for each
    Sessions(SessionsArgs),
    /// Leaves watches on znodes that no load writes, and reports the server's memory for each
    Watches(WatchesArgs),
    /// Stops the server's process for a while, as a virtual machine is, and counts the sessions that survive
    Pause(PauseArgs),
    /// Removes /bench and the znodes below it
    Clean(CleanArgs),
}

/// The options of every measurement.
#[derive(Clone, Debug, Args)]
pub(super) struct Target {
    /// The server, HOST:PORT; or an ensemble's servers, comma-separated: session 1 on the first, 2 on the second, …
    #[arg(long, default_value = "127.0.0.1:2181", value_delimiter = ',')]
    pub(super) server: Vec<String>,
    /// Process of the server, for CPU time and memory; repeat for an ensemble, whose sum is reported
    #[arg(long)]
    pub(super) pid: Vec<u32>,
    /// Session timeout to ask for, in ms
    #[arg(long, default_value_t = 30_000)]
    pub(super) session_timeout_ms: u32,
    /// Format of the result
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    pub(super) output: Output,
    #[command(flatten)]
    pub(super) tls: TlsArgs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Output {
    Table,
    Json,
}

#[derive(Clone, Debug, Args)]
pub(super) struct LoadArgs {
    #[command(flatten)]
    pub(super) target: Target,
    /// get, set, set-get, create-delete, mixed:PERCENT-GET, connect, watch-fanout, visibility
    #[arg(long, default_value = "get", default_value_if("check", ArgPredicate::IsPresent, "mixed:50"))]
    pub(super) workload: Workload,
    /// Sessions; for connect: opened in each round
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=50_000))]
    pub(super) sessions: u32,
    /// Requests in flight per session; for connect: handshakes in flight
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(super) in_flight: u32,
    /// Requests per second in all, sent on schedule and timed from their schedule (open loop)
    #[arg(long, default_value_if("check", ArgPredicate::IsPresent, "1000"))]
    pub(super) rate: Option<u32>,
    /// Bytes of data per znode
    #[arg(long, default_value_t = 100)]
    pub(super) size: usize,
    /// Znodes read and written, chosen at random
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=i64::from(request::ZNODES_MAX)))]
    pub(super) znodes: u32,
    /// Seconds measured
    #[arg(long, default_value = "5", value_parser = seconds)]
    pub(super) duration: Duration,
    /// Seconds before that
    #[arg(long, default_value = "2", value_parser = seconds)]
    pub(super) warmup: Duration,
    /// End with PASS or FAIL: whether the server carries mixed:50 at 1000 requests a second, or --workload at --rate. It
    /// must answer 95 % of the rate, 99 % of the requests within 100 ms, and each within 500 ms
    #[arg(long)]
    pub(super) check: bool,
    /// Keep the znodes below /bench that this run makes
    #[arg(long)]
    pub(super) keep: bool,
}

#[derive(Clone, Debug, Args)]
#[command(after_help = "\
Examples:
  oxkeeper bench fill
  oxkeeper bench fill --znodes 100000 --size 1000 --server zoo1:2181")]
pub(super) struct FillArgs {
    #[command(flatten)]
    pub(super) target: Target,
    /// Number of znodes
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u32).range(1..=i64::from(request::ZNODES_MAX)))]
    pub(super) znodes: u32,
    /// Bytes of data per znode
    #[arg(long, default_value_t = 100)]
    pub(super) size: usize,
    /// Sessions
    #[arg(long, default_value_t = 16)]
    pub(super) sessions: u32,
    /// Requests in flight per session
    #[arg(long, default_value_t = 64)]
    pub(super) in_flight: u32,
}

#[derive(Clone, Debug, Args)]
#[command(after_help = "\
Examples:
  oxkeeper bench sessions --count 10000
  oxkeeper bench sessions --count 1000 --hold 60 --pid 4711")]
pub(super) struct SessionsArgs {
    #[command(flatten)]
    pub(super) target: Target,
    /// Number of sessions
    #[arg(long, default_value_t = 10_000)]
    pub(super) count: u32,
    /// Seconds to keep them after the report
    #[arg(long, default_value = "0", value_parser = seconds)]
    pub(super) hold: Duration,
}

#[derive(Clone, Debug, Args)]
#[command(after_help = "\
Examples:
  oxkeeper bench watches --count 100000
  oxkeeper bench watches --count 1000 --sessions 10 --pid 4711")]
pub(super) struct WatchesArgs {
    #[command(flatten)]
    pub(super) target: Target,
    /// Number of watches, spread over the sessions
    #[arg(long, default_value_t = 100_000)]
    pub(super) count: u32,
    /// Sessions that hold them
    #[arg(long, default_value_t = 1000)]
    pub(super) sessions: u32,
    /// Number of the first znode watched: above --znodes of the loads, so that none fires
    #[arg(long, default_value_t = 1000)]
    pub(super) first: u32,
    /// Seconds to keep them after the report
    #[arg(long, default_value = "0", value_parser = seconds)]
    pub(super) hold: Duration,
}

#[derive(Clone, Debug, Args)]
#[command(after_help = "\
Examples:
  oxkeeper bench pause --pid 4711
  oxkeeper bench pause --pid 4711 --sessions 100 --pause 20")]
pub(super) struct PauseArgs {
    #[command(flatten)]
    pub(super) target: Target,
    /// Live sessions
    #[arg(long, default_value_t = 30)]
    pub(super) sessions: u32,
    /// Seconds between SIGSTOP and SIGCONT
    #[arg(long, default_value = "8", value_parser = seconds)]
    pub(super) pause: Duration,
}

#[derive(Clone, Debug, Args)]
#[command(after_help = "\
Examples:
  oxkeeper bench clean
  oxkeeper bench clean --server zoo1:2181,zoo2:2181")]
pub(super) struct CleanArgs {
    #[command(flatten)]
    pub(super) target: Target,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Workload {
    Get,
    Set,
    CreateDelete,
    SetGet,
    Mixed { get_percent: u8 },
    Connect,
    WatchFanout,
    Visibility,
}

impl FromStr for Workload {
    type Err = String;

    fn from_str(text: &str) -> Result<Workload, String> {
        let percent = |text: &str| text.parse().ok().filter(|percent| *percent <= 100);
        match text {
            "get" => Ok(Workload::Get),
            "set" => Ok(Workload::Set),
            "create-delete" => Ok(Workload::CreateDelete),
            "set-get" => Ok(Workload::SetGet),
            "connect" => Ok(Workload::Connect),
            "watch-fanout" => Ok(Workload::WatchFanout),
            "visibility" => Ok(Workload::Visibility),
            _ => match text.strip_prefix("mixed:").and_then(percent) {
                Some(get_percent) => Ok(Workload::Mixed { get_percent }),
                None => {
                    Err("expected get, set, set-get, create-delete, mixed:0 to mixed:100, connect, watch-fanout or visibility"
                        .into())
                }
            },
        }
    }
}

impl std::fmt::Display for Workload {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Workload::Get => f.write_str("get"),
            Workload::Set => f.write_str("set"),
            Workload::CreateDelete => f.write_str("create-delete"),
            Workload::SetGet => f.write_str("set-get"),
            Workload::Mixed { get_percent } => write!(f, "mixed:{get_percent}"),
            Workload::Connect => f.write_str("connect"),
            Workload::WatchFanout => f.write_str("watch-fanout"),
            Workload::Visibility => f.write_str("visibility"),
        }
    }
}

impl Target {
    /// The servers, in the order given: one at least.
    pub(super) fn addresses(&self) -> Result<Vec<SocketAddr>> {
        self.server.iter().map(|server| address(server)).collect()
    }

    pub(super) fn probe(&self) -> Result<Probe> {
        Probe::new(&self.pid)
    }

    /// Returns the options of every connection. *Errors*: a key or trust store that cannot be used.
    pub(super) fn options(&self) -> Result<Options> {
        let timeout = Duration::from_millis(self.session_timeout_ms.into());
        Ok(Options { timeout, tls: self.tls.load()?, ..Options::default() })
    }
}

fn address(server: &str) -> Result<SocketAddr> {
    let mut found = server.to_socket_addrs().with_context(|| format!("cannot resolve {server}"))?;
    found.next().with_context(|| format!("{server} has no address"))
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "expected seconds".to_string())?;
    Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())
}
