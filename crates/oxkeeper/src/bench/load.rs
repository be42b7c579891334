//! The loads: throughput and latency of requests over many pipelined sessions, and the fill.

use std::time::Instant;

use anyhow::Result;
use serde::Serialize;

use super::args::{FillArgs, LoadArgs};
use super::interrupt::Interrupt;
use super::lanes::{self, Load, Source};
use super::pool::Pool;
use super::report::{self, Cost, Progress, Servers};
use super::setup;

#[derive(Serialize)]
struct LoadReport {
    workload: String,
    servers: Servers,
    sessions: u32,
    in_flight: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    rate: Option<u32>,
    size: usize,
    znodes: u32,
    #[serde(flatten)]
    cost: Cost,
}

/// `bench --workload get|set|create-delete|mixed:N`.
pub(super) fn measure(args: &LoadArgs) -> Result<()> {
    let target = &args.target;
    let (servers, probe) = (target.addresses()?, target.probe()?);
    setup::prepare(&servers, &target.options()?, args.znodes, args.size)?;
    let mut pool = Pool::open(&servers, args.sessions, &target.options()?)?;
    let source = Source::Endless { workload: args.workload, znodes: args.znodes };
    let mut load = Load::new(source, args.sessions, args.in_flight, args.size);
    load.schedule(args.rate);

    let mut progress = Progress::new(&args.workload.to_string(), (args.warmup + args.duration).as_millis() as u64);
    let start = Instant::now();
    load.run_until(&mut pool, start + args.warmup, |now| {
        progress.show((now - start).as_millis() as u64, now);
        true
    })?;
    let interrupt = Interrupt::arm()?;
    progress.say("measuring; Ctrl-C ends it early");
    load.forget();
    let (before, begun) = (probe.cpu()?, Instant::now());
    load.run_until(&mut pool, begun + args.duration, |now| {
        progress.show((now - start).as_millis() as u64, now);
        !interrupt.came()
    })?;
    let (cpu, time) = (probe.cpu()?.since(before), begun.elapsed());
    let cost = Cost::new(load.times.len(), time, cpu, &load.times, &probe)?;
    drop(progress);

    load.drain(&mut pool)?;
    pool.close()?;
    let (sessions, in_flight, rate, size, znodes) = (args.sessions, args.in_flight, args.rate, args.size, args.znodes);
    let (workload, servers) = (args.workload.to_string(), Servers::of(&servers, sessions));
    let report = LoadReport { workload, servers, sessions, in_flight, rate, size, znodes, cost };
    report::print(&report, target.output)
}

#[derive(Serialize)]
struct FillReport {
    znodes: u32,
    size: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    rss_bytes_per_znode: Option<f64>,
    #[serde(flatten)]
    cost: Cost,
}

/// `bench fill`.
pub(super) fn fill(args: &FillArgs) -> Result<()> {
    let target = &args.target;
    let (servers, probe) = (target.addresses()?, target.probe()?);
    setup::create_root(servers[0], &target.options()?, 0)?;
    let (before, rss_before, begun) = (probe.cpu()?, probe.resident()?, Instant::now());
    let times =
        lanes::create_znodes(&servers, &target.options()?, args.znodes, args.size, args.sessions, args.in_flight)?;
    let (cpu, time) = (probe.cpu()?.since(before), begun.elapsed());
    let grown = probe.resident()?.zip(rss_before).map(|(after, before)| after as f64 - before as f64);
    report::print(
        &FillReport {
            znodes: args.znodes,
            size: args.size,
            rss_bytes_per_znode: grown.map(|bytes| bytes / f64::from(args.znodes)),
            cost: Cost::new(times.len(), time, cpu, &times, &probe)?,
        },
        target.output,
    )
}
