//! Visibility: the time until an acknowledged write can be read from the other servers.
//!
//! Each server has one session. One session writes; when its answer comes, all the others read at once, and again until
//! they see the write. The servers write in turn. ZooKeeper promises this only to clients that call `sync`, but many do
//! not.

use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use serde::Serialize;

use super::args::LoadArgs;
use super::interrupt::Interrupt;
use super::lost::loss;
use super::made::Made;
use super::pool::{NAP, Pool};
use super::report::{self, Cost, Progress};
use super::request::{self, Op, Requests};
use super::setup;
use crate::usage_error::UsageError;

/// The znode that is written and read; no concurrent load writes it.
const WRITTEN: u32 = request::ZNODES_MAX - 1;

#[derive(Serialize)]
struct VisibilityReport {
    workload: &'static str,
    servers: usize,
    /// Share of the first reads at another server that did not show the write yet.
    stale_percent: f64,
    #[serde(flatten)]
    cost: Cost,
}

/// Measurement of one write.
struct Round {
    /// Time from its answer until the last server has shown it.
    took: Duration,
    stale: u64,
}

/// `bench --workload visibility`. An operation is one write and the reads after it.
pub(super) fn measure(args: &LoadArgs, interrupt: &Interrupt, made: &mut Made) -> Result<()> {
    let target = &args.target;
    let (servers, probe) = (target.addresses()?, target.probe()?);
    let reason = "--server needs two servers or more: one server always shows the writes it acknowledged";
    ensure!(servers.len() > 1, UsageError(reason.to_owned()));
    setup::prepare_one(&servers, &target.options()?, WRITTEN, args.size, made)?;
    let mut pool = Pool::open(&servers, servers.len() as u32, &target.options()?)?;
    let requests = Requests::new(args.size);
    let mut progress = Progress::new("visibility", (args.warmup + args.duration).as_millis() as u64);
    let start = Instant::now();
    let (mut times, mut stale, mut writer) = (report::histogram(), 0, 0);
    let mut next = || {
        writer = (writer + 1) % servers.len();
        writer
    };
    while start.elapsed() < args.warmup && !interrupt.came() {
        round(&mut pool, &requests, next())?;
        progress.show(start.elapsed().as_millis() as u64, Instant::now());
    }
    let (before, begun) = (probe.cpu()?, Instant::now());
    let measured = (|| {
        while begun.elapsed() < args.duration && !interrupt.came() {
            let told = round(&mut pool, &requests, next())?;
            report::record(&mut times, told.took);
            stale += told.stale;
            progress.show(start.elapsed().as_millis() as u64, Instant::now());
        }
        Ok(())
    })();
    let lost = loss(measured)?;
    let (cpu, time) = (probe.cpu()?.since(before), begun.elapsed());
    drop(progress);
    if lost.is_none() {
        pool.close()?;
    }
    let reads = times.len() * (servers.len() as u64 - 1);
    let cost = Cost::new(times.len(), time, cpu, &times, &probe).until(lost.as_ref());
    let stale_percent = stale as f64 * 100.0 / reads.max(1) as f64;
    report::print(
        &VisibilityReport { workload: "visibility", servers: servers.len(), stale_percent, cost },
        target.output,
    )?;
    lost.map_or(Ok(()), |lost| bail!(report::ended_early(&lost, time, args.duration)))
}

/// Runs one round: `writer` writes, the others read until they see it.
fn round(pool: &mut Pool, requests: &Requests, writer: usize) -> Result<Round> {
    pool.links()[writer].push(requests, Op::Set, WRITTEN);
    pool.flush()?;
    let mut written = None;
    while written.is_none() {
        pool.turn(NAP, |index, link, frame, now| {
            ensure!(index == writer, "a reply to nothing");
            link.check(requests, Op::Set, WRITTEN, frame)?;
            written = Some((now, request::mzxid(Op::Set, frame)?));
            Ok(())
        })?;
    }
    let Some((answered, zxid)) = written else { unreachable!("the loop ends with it") };
    let readers = pool.links().iter_mut().enumerate().filter(|(index, _)| *index != writer);
    readers.for_each(|(_, link)| link.push(requests, Op::Get, WRITTEN));
    pool.flush()?;
    let mut left = pool.links().len() - 1;
    let mut was_stale = vec![false; pool.links().len()];
    let mut last = answered;
    while left > 0 {
        pool.turn(NAP, |index, link, frame, now| {
            link.check(requests, Op::Get, WRITTEN, frame)?;
            if request::mzxid(Op::Get, frame)? >= zxid {
                left -= 1;
                last = now;
            } else {
                was_stale[index] = true;
                link.push(requests, Op::Get, WRITTEN);
            }
            Ok(())
        })?;
    }
    Ok(Round { took: last - answered, stale: was_stale.iter().filter(|stale| **stale).count() as u64 })
}
