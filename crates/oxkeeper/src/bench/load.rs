//! The loads: throughput and latency of requests over many pipelined sessions, and the fill.

use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Result, bail};
use serde::Serialize;

use super::args::{FillArgs, LoadArgs, Output};
use super::interrupt::Interrupt;
use super::lanes::{Fill, Load, Source};
use super::lost::loss;
use super::made::Made;
use super::pool::Pool;
use super::report::{self, Cost, Progress, Servers, grouped};
use super::{setup, verdict};

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
    /// Requests that a loss left without an answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    unanswered: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    check: Option<&'static str>,
}

/// `bench --workload get|set|set-get|create-delete|mixed:N`.
pub(super) fn measure(args: &LoadArgs, interrupt: &Interrupt, made: &mut Made) -> Result<ExitCode> {
    let target = &args.target;
    let (servers, probe) = (target.addresses()?, target.probe()?);
    setup::prepare(&servers, &target.options()?, args.znodes, args.size, interrupt, made)?;
    let mut pool = Pool::open(&servers, args.sessions, &target.options()?)?;
    let source = Source::Endless { workload: args.workload, znodes: args.znodes };
    let mut load = Load::new(source, args.sessions, args.in_flight, args.size);
    load.schedule(args.rate);

    let mut progress = Progress::new(&args.workload.to_string(), (args.warmup + args.duration).as_millis() as u64);
    let start = Instant::now();
    let warmed = load.run_until(&mut pool, start + args.warmup, |now| {
        progress.show((now - start).as_millis() as u64, now);
        !interrupt.came()
    });
    if warmed.is_err() || interrupt.came() {
        made.numbers.extend(load.leftovers());
        warmed?;
        bail!("interrupted before anything was measured");
    }
    progress.say("measuring; Ctrl-C ends it early");
    load.forget();
    let (before, begun) = (probe.cpu()?, Instant::now());
    let measured = load.run_until(&mut pool, begun + args.duration, |now| {
        progress.show((now - start).as_millis() as u64, now);
        !interrupt.came()
    });
    made.numbers.extend(load.leftovers());
    let lost = loss(measured)?;
    let (cpu, time) = (probe.cpu()?.since(before), begun.elapsed());
    let cost = Cost::new(load.times.len(), time, cpu, &load.times, &probe).until(lost.as_ref());
    drop(progress);

    let unanswered = lost.is_some().then_some(load.waiting);
    if lost.is_none() {
        load.drain(&mut pool)?;
        pool.close()?;
    }
    let (sessions, in_flight, rate, size, znodes) = (args.sessions, args.in_flight, args.rate, args.size, args.znodes);
    let (workload, servers) = (args.workload.to_string(), Servers::of(&servers, sessions));
    let verdict = args.check.then(|| verdict::judge(&workload, rate.unwrap_or_default(), &cost, lost.is_none()));
    let check = verdict.as_ref().map(|verdict| if verdict.passed { "PASS" } else { "FAIL" });
    let report = LoadReport { workload, servers, sessions, in_flight, rate, size, znodes, cost, unanswered, check };
    report::print(&report, target.output)?;
    if let Some(verdict) = &verdict {
        match target.output {
            Output::Table => say!("{}", verdict.sentence),
            Output::Json => eprintln!("{}", verdict.sentence),
        }
    }
    if let Some(lost) = lost {
        bail!(report::ended_early(&lost, time, args.duration));
    }
    Ok(if verdict.is_none_or(|verdict| verdict.passed) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
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
pub(super) fn fill(args: &FillArgs, interrupt: &Interrupt) -> Result<()> {
    let target = &args.target;
    let (servers, probe, options) = (target.addresses()?, target.probe()?, target.options()?);
    setup::create_root(servers[0], &options, 0, &mut Made::default())?;
    let (before, rss_before, begun) = (probe.cpu()?, probe.resident(), Instant::now());
    let (znodes, size, sessions, in_flight) = (args.znodes, args.size, args.sessions, args.in_flight);
    let fill = Fill { servers: &servers, options: &options, znodes, size, sessions, in_flight };
    let filled = fill.run(interrupt)?;
    let (cpu, time) = (probe.cpu()?.since(before), begun.elapsed());
    let grown = probe.resident().zip(rss_before).map(|(after, before)| after as f64 - before as f64);
    let done = filled.times.len();
    report::print(
        &FillReport {
            znodes: u32::try_from(done).unwrap_or(u32::MAX),
            size,
            rss_bytes_per_znode: grown.map(|bytes| bytes / done.max(1) as f64),
            cost: Cost::new(done, time, cpu, &filled.times, &probe).until(filled.lost.as_ref()),
        },
        target.output,
    )?;
    if target.output == Output::Table {
        eprintln!("the znodes stay below /bench; `oxkeeper bench clean` removes them");
    }
    if let Some(lost) = filled.lost {
        bail!("{lost}; {} of {} znodes are there", grouped(&done.to_string()), grouped(&znodes.to_string()));
    }
    Ok(())
}
