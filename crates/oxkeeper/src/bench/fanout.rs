//! Watch fan-out: the time from sending one change to the last notification of many.

use std::time::Instant;

use anyhow::{Result, bail, ensure};
use serde::Serialize;

use super::args::LoadArgs;
use super::interrupt::Interrupt;
use super::lost::loss;
use super::made::Made;
use super::pool::{NAP, Pool};
use super::report::{self, Cost, Progress, Servers};
use super::request::{self, Op, Requests};
use super::setup;

/// The watched znode.
const WATCHED: u32 = 0;

#[derive(Serialize)]
struct FanoutReport {
    workload: &'static str,
    servers: Servers,
    sessions: u32,
    rounds: u64,
    #[serde(flatten)]
    cost: Cost,
}

/// `bench --workload watch-fanout`. An operation is one notification; its CPU time includes that of leaving the watch
/// again. A time is that of a round, until the last notification.
pub(super) fn measure(args: &LoadArgs, interrupt: &Interrupt, made: &mut Made) -> Result<()> {
    let target = &args.target;
    let (servers, probe) = (target.addresses()?, target.probe()?);
    setup::prepare(&servers, &target.options()?, WATCHED + 1, args.size, interrupt, made)?;
    // The last session changes the znode that the others watch.
    let mut pool = Pool::open(&servers, args.sessions + 1, &target.options()?)?;
    let requests = Requests::new(args.size);
    let mut progress = Progress::new("watch-fanout", (args.warmup + args.duration).as_millis() as u64);
    let start = Instant::now();
    let mut times = report::histogram();
    while start.elapsed() < args.warmup && !interrupt.came() {
        round(&mut pool, &requests)?;
        progress.show(start.elapsed().as_millis() as u64, Instant::now());
    }
    let (before, begun) = (probe.cpu()?, Instant::now());
    let measured = (|| {
        while begun.elapsed() < args.duration && !interrupt.came() {
            report::record(&mut times, round(&mut pool, &requests)?);
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
    let cost = Cost::new(times.len() * u64::from(args.sessions), time, cpu, &times, &probe).until(lost.as_ref());
    let placed = Servers::of(&servers, args.sessions + 1);
    let (workload, sessions, rounds) = ("watch-fanout", args.sessions, times.len());
    report::print(&FanoutReport { workload, servers: placed, sessions, rounds, cost }, target.output)?;
    lost.map_or(Ok(()), |lost| bail!(report::ended_early(&lost, time, args.duration)))
}

/// Runs one round: every session watches, one session changes the znode, every watcher is notified once. Returns the time
/// from the change to the last notification.
fn round(pool: &mut Pool, requests: &Requests) -> Result<std::time::Duration> {
    let setter = pool.links().len() - 1;
    let watchers = &mut pool.links()[..setter];
    watchers.iter_mut().for_each(|link| link.push(requests, Op::GetWatching, WATCHED));
    pool.flush()?;
    let mut left = setter;
    while left > 0 {
        pool.turn(NAP, |_, link, frame, _| {
            left -= 1;
            link.check(requests, Op::GetWatching, WATCHED, frame)
        })?;
    }

    let mut told = vec![false; setter];
    let (mut told_count, mut answered) = (0, false);
    let begun = Instant::now();
    let mut last = begun;
    pool.links()[setter].push(requests, Op::Set, WATCHED);
    pool.flush()?;
    while told_count < setter || !answered {
        pool.turn(NAP, |index, link, frame, now| {
            if !request::is_notification(frame) {
                ensure!(index == setter && !answered, "a reply to nothing");
                answered = true;
                return link.check(requests, Op::Set, WATCHED, frame);
            }
            request::check_changed(frame, WATCHED)?;
            ensure!(index < setter && !told[index], "a notification to a session that did not watch");
            told[index] = true;
            told_count += 1;
            last = now;
            Ok(())
        })?;
    }
    Ok(last - begun)
}
