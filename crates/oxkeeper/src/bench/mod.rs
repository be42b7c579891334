//! `oxkeeper bench`: a load generator for any server of the ZooKeeper protocol, and the lower bound to hold one against.
//!
//! Every reply is checked (order, error code, data, stat) and a wrong one fails the run. The generator shares the
//! machine with the server it measures, so its hot loop is one thread over epoll with pre-encoded requests, one read
//! and one write per burst; it reports its own CPU time beside the server's. It leaves its znodes below `/bench`.
//!
//! Reading order: [`request`] (what is sent and how answers are checked), [`link`] and [`pool`] (sockets), [`lanes`] and [`load`]
//! (closed and open loop), [`sessions`], [`fanout`], [`visibility`], [`pause`] (the other measurements), [`bound`] (the lower bound),
//! [`process`] and [`report`] (figures).
//!
//! Several servers are an ensemble: sessions are spread over them in turn, in the order given.

mod args;
mod bound;
mod fanout;
mod interrupt;
mod lanes;
mod link;
mod load;
mod pause;
mod pool;
mod process;
mod report;
mod request;
mod sessions;
mod setup;
mod visibility;

use anyhow::{Result, bail};

pub(crate) use self::args::BenchArgs;
use self::args::{LoadArgs, Mode, Workload};

/// Runs the measurement and prints its report.
///
/// *Errors*: a server that cannot be reached, falls silent, or gives one wrong answer.
pub(crate) fn run(args: BenchArgs) -> Result<()> {
    process::raise_file_limit();
    if let Some(kind) = args.serve_bound {
        return bound::serve(kind, args.listen, &args.data_dir, args.load.size);
    }
    match args.mode {
        Some(Mode::Fill(args)) => load::fill(&args),
        Some(Mode::Sessions(args)) => sessions::hold_sessions(&args),
        Some(Mode::Watches(args)) => sessions::hold_watches(&args),
        Some(Mode::Pause(args)) => pause::run(&args),
        None => run_load(&args.load),
    }
}

fn run_load(args: &LoadArgs) -> Result<()> {
    match args.workload {
        Workload::Connect | Workload::WatchFanout | Workload::Visibility if args.rate.is_some() => {
            bail!("--rate goes with get, set, set-get, create-delete and mixed")
        }
        Workload::Connect => sessions::measure_connect(args),
        Workload::WatchFanout => fanout::measure(args),
        Workload::Visibility => visibility::measure(args),
        Workload::Get | Workload::Set | Workload::SetGet | Workload::CreateDelete | Workload::Mixed { .. } => {
            load::measure(args)
        }
    }
}
