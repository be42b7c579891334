//! `oxkeeper bench`: a load generator for any server of the ZooKeeper protocol, and a lower bound to compare it with.
//!
//! Every reply is checked (order, error code, data, stat), and a wrong one fails the run. The generator shares the
//! machine with the server it measures, so its hot loop is one thread over epoll with pre-encoded requests, one read
//! and one write per burst; it reports its own CPU time beside the server's. A load removes the znodes that it made
//! below `/bench`.
//!
//! Reading order: [`args`], [`request`] (requests and the checks of replies), [`link`] and [`pool`] (sockets), [`lanes`] and
//! [`load`] (closed and open loop), [`setup`] and [`made`] (the znodes), [`sessions`], [`fanout`], [`visibility`], [`pause`]
//! (the other measurements), [`verdict`], [`bound`] (the lower bound), [`process`] and [`report`] (figures), [`lost`] and
//! [`interrupt`] (early ends).
//!
//! Several servers are an ensemble: sessions are spread over them in turn, in the order given.

mod args;
mod bound;
mod fanout;
mod interrupt;
mod lanes;
mod link;
mod load;
mod lost;
mod made;
mod pause;
mod pool;
mod process;
mod report;
mod request;
mod runtime;
mod sessions;
mod setup;
mod verdict;
mod visibility;

use std::process::ExitCode;

use anyhow::{Context, Result, bail};

pub(crate) use self::args::BenchArgs;
use self::args::{LoadArgs, Mode, Workload};
use self::interrupt::Interrupt;
use self::made::Made;
use crate::usage_error::UsageError;

/// Runs the measurement and prints its report.
///
/// *Errors*: a server that cannot be reached, is lost, or gives one wrong answer.
pub(crate) fn run(args: BenchArgs) -> Result<ExitCode> {
    process::raise_file_limit();
    if let Some(kind) = args.serve_bound {
        bound::serve(kind, args.listen, &args.data_dir, args.load.size)?;
        return Ok(ExitCode::SUCCESS);
    }
    match args.mode {
        Some(Mode::Fill(args)) => load::fill(&args, &Interrupt::arm()?)?,
        Some(Mode::Sessions(args)) => sessions::hold_sessions(&args)?,
        Some(Mode::Watches(args)) => sessions::hold_watches(&args)?,
        Some(Mode::Pause(args)) => pause::run(&args)?,
        Some(Mode::Clean(args)) => {
            let removed = made::remove_all(&args.target.addresses()?, &args.target.options()?)?;
            say!("removed {} znodes", report::grouped(&removed.to_string()));
        }
        None => return run_load(&args.load),
    }
    Ok(ExitCode::SUCCESS)
}

/// Runs a load, and removes the znodes that it made however it ended.
fn run_load(args: &LoadArgs) -> Result<ExitCode> {
    let is_loop = !matches!(args.workload, Workload::Connect | Workload::WatchFanout | Workload::Visibility);
    if !is_loop && (args.rate.is_some() || args.check) {
        let reason = "--rate and --check go with get, set, set-get, create-delete and mixed";
        bail!(UsageError(reason.to_owned()));
    }
    let (interrupt, mut made) = (Interrupt::arm()?, Made::default());
    let measured = match args.workload {
        Workload::Connect => sessions::measure_connect(args, &interrupt).map(|()| ExitCode::SUCCESS),
        Workload::WatchFanout => fanout::measure(args, &interrupt, &mut made).map(|()| ExitCode::SUCCESS),
        Workload::Visibility => visibility::measure(args, &interrupt, &mut made).map(|()| ExitCode::SUCCESS),
        Workload::Get | Workload::Set | Workload::SetGet | Workload::CreateDelete | Workload::Mixed { .. } => {
            load::measure(args, &interrupt, &mut made)
        }
    };
    if args.keep {
        return measured;
    }
    let removed = made.remove(&args.target.addresses()?, &args.target.options()?);
    if let Err(error) = removed.context("the znodes below /bench that this run made are still there") {
        if measured.is_ok() {
            return Err(error);
        }
        eprintln!("oxkeeper: {error:#}");
    }
    measured
}
