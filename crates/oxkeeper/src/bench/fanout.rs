//! One change, watched by many: from sending the change to the last notification.

use std::time::Instant;

use anyhow::{Result, ensure};
use serde::Serialize;

use super::args::LoadArgs;
use super::pool::{NAP, Pool};
use super::report::{self, Cost, Progress, Servers};
use super::request::{self, Op, Requests};
use super::setup;

/// The znode that is watched.
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

/// `bench --workload watch-fanout`. An operation is one notification, its CPU time includes leaving the watch again;
/// a time is that of a round: all told.
pub(super) fn measure(args: &LoadArgs) -> Result<()> {
    let target = &args.target;
    let (servers, probe) = (target.addresses()?, target.probe()?);
    setup::prepare(&servers, &target.options()?, WATCHED + 1, args.size)?;
    // The last session changes what the others watch.
    let mut pool = Pool::open(&servers, args.sessions + 1, &target.options()?)?;
    let requests = Requests::new(args.size);
    let mut progress = Progress::new("watch-fanout", (args.warmup + args.duration).as_millis() as u64);
    let start = Instant::now();
    let mut times = report::histogram();
    while start.elapsed() < args.warmup {
        round(&mut pool, &requests)?;
        progress.show(start.elapsed().as_millis() as u64, Instant::now());
    }
    let (before, begun) = (probe.cpu()?, Instant::now());
    while begun.elapsed() < args.duration {
        report::record(&mut times, round(&mut pool, &requests)?);
        progress.show(start.elapsed().as_millis() as u64, Instant::now());
    }
    let (cpu, time) = (probe.cpu()?.since(before), begun.elapsed());
    drop(progress);
    pool.close()?;
    let cost = Cost::new(times.len() * u64::from(args.sessions), time, cpu, &times, &probe)?;
    let placed = Servers::of(&servers, args.sessions + 1);
    let (workload, sessions, rounds) = ("watch-fanout", args.sessions, times.len());
    report::print(&FanoutReport { workload, servers: placed, sessions, rounds, cost }, target.output)
}

/// Every session watches, one changes, all are told once. Returns how long the last part took.
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
