//! Sessions: the cost of opening one, and of keeping an idle one.

use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use oxkeeper_proto::op::XID_PING;
use serde::Serialize;

use super::args::{LoadArgs, SessionsArgs, Target, WatchesArgs};
use super::interrupt::Interrupt;
use super::lost::loss;
use super::pool::{HANDSHAKES_IN_FLIGHT, Pool};
use super::process::Cpu;
use super::report::{self, Cost, Progress, Servers};
use super::request::{self, Op, Requests};
use crate::usage_error::UsageError;

/// Time for a server to settle before its memory is read.
const SETTLE: Duration = Duration::from_secs(1);
/// Time between the pings of two batches of idle sessions.
const TICK: Duration = Duration::from_millis(100);

#[derive(Serialize)]
struct ConnectReport {
    workload: &'static str,
    servers: Servers,
    sessions: u32,
    in_flight: u32,
    #[serde(flatten)]
    cost: Cost,
}

/// `bench --workload connect`: times rounds of `--sessions` handshakes, then closes the sessions, which is not measured.
pub(super) fn measure_connect(args: &LoadArgs, interrupt: &Interrupt) -> Result<()> {
    let (servers, probe) = (args.target.addresses()?, args.target.probe()?);
    let (mut times, mut cpu, mut time) = (report::histogram(), None, Duration::ZERO);
    let mut progress = Progress::new("connect", (args.warmup + args.duration).as_millis() as u64);
    let start = Instant::now();
    let options = args.target.options()?;
    let mut lost = None;
    while time < args.duration && !interrupt.came() {
        let warm = start.elapsed() >= args.warmup;
        let (before, begun) = (probe.cpu()?, Instant::now());
        let mut pool = Pool::new()?;
        let grown = pool.grow(&servers, args.sessions, &options, args.in_flight as usize, |took| {
            if warm {
                report::record(&mut times, took);
            }
        });
        if warm {
            time += begun.elapsed();
            let used = probe.cpu()?.since(before);
            cpu = Some(cpu.map_or(used, |earlier: Cpu| earlier.plus(used)));
        }
        lost = loss(grown.and_then(|()| pool.close()))?;
        if lost.is_some() {
            break;
        }
        progress.show((start.elapsed().min(args.warmup) + time).as_millis() as u64, Instant::now());
    }
    drop(progress);
    if let Some(lost) = lost.take_if(|_| times.is_empty()) {
        bail!(lost);
    }
    ensure!(!times.is_empty(), "interrupted before anything was measured");
    let cost = Cost::new(times.len(), time, cpu.unwrap_or_default(), &times, &probe).until(lost.as_ref());
    let (workload, sessions, in_flight) = ("connect", args.sessions, args.in_flight);
    let servers = Servers::of(&servers, sessions);
    report::print(&ConnectReport { workload, servers, sessions, in_flight, cost }, args.target.output)?;
    lost.map_or(Ok(()), |lost| bail!(report::ended_early(&lost, time, args.duration)))
}

#[derive(Serialize)]
struct HoldReport {
    sessions: u32,
    watches: u32,
    seconds: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    server_rss_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rss_bytes_per_session: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rss_bytes_per_watch: Option<f64>,
}

/// `bench sessions`.
pub(super) fn hold_sessions(args: &SessionsArgs) -> Result<()> {
    hold(&args.target, args.count, 0, 0, args.hold)
}

/// `bench watches`.
pub(super) fn hold_watches(args: &WatchesArgs) -> Result<()> {
    hold(&args.target, args.sessions, args.count, args.first, args.hold)
}

/// Opens sessions, leaves watches, reports the growth of the server's memory, and keeps them for `time`.
fn hold(target: &Target, sessions: u32, watches: u32, first: u32, time: Duration) -> Result<()> {
    ensure!(
        first.saturating_add(watches) <= request::ZNODES_MAX,
        UsageError(format!("--first and --count reach beyond the last znode, {}", request::ZNODES_MAX))
    );
    let (servers, probe, begun) = (target.addresses()?, target.probe()?, Instant::now());
    let empty = probe.resident();
    let mut progress = Progress::new("opening", u64::from(sessions));
    let (mut pool, mut opened) = (Pool::new()?, 0);
    pool.grow(&servers, sessions, &target.options()?, HANDSHAKES_IN_FLIGHT, |_| {
        opened += 1;
        progress.show(opened, Instant::now());
    })?;
    drop(progress);
    let mut idle = Idle { pool, pinged: 0 };
    idle.settle()?;
    let opened = probe.resident();
    watch(&mut idle.pool, watches, first)?;
    idle.settle()?;
    let watched = probe.resident();
    let per = |before: Option<u64>, after: Option<u64>, count: u32| {
        let grown = after? as f64 - before? as f64;
        (count > 0).then(|| grown / f64::from(count))
    };
    let report = HoldReport {
        sessions,
        watches,
        seconds: begun.elapsed().as_secs_f64(),
        server_rss_bytes: watched,
        rss_bytes_per_session: per(empty, opened, sessions),
        rss_bytes_per_watch: per(opened, watched, watches),
    };
    report::print(&report, target.output)?;
    idle.keep_alive(time)?;
    idle.pool.close()
}

/// Leaves `watches` one-shot watches, spread over the pool's sessions.
fn watch(pool: &mut Pool, watches: u32, first: u32) -> Result<()> {
    let requests = Requests::new(0);
    let sessions = pool.links().len() as u32;
    // A session is answered in the order of its requests, so the number of its answers determines the next znode.
    let mut answered = vec![0; sessions as usize];
    pool.rest();
    for number in 0..watches {
        let link = &mut pool.links()[(number % sessions) as usize];
        link.push(&requests, Op::ExistsWatching, first + number);
        link.flush()?;
    }
    let mut left = watches;
    while left > 0 {
        pool.turn(TICK, |index, link, frame, _| {
            let number = answered[index] * sessions + index as u32;
            answered[index] += 1;
            left -= 1;
            link.check(&requests, Op::ExistsWatching, first + number, frame)
        })?;
    }
    Ok(())
}

/// Idle sessions.
struct Idle {
    pool: Pool,
    /// Index of the next link to ping.
    pinged: usize,
}

impl Idle {
    fn settle(&mut self) -> Result<()> {
        self.keep_alive(SETTLE)
    }

    /// Pings each session three times within its timeout, evenly, for `time`. Returns once every ping is answered.
    fn keep_alive(&mut self, time: Duration) -> Result<()> {
        let end = Instant::now() + time;
        let ticks = (self.pool.session_timeout() / 3).as_millis() / TICK.as_millis();
        let batch = self.pool.links().len().div_ceil(ticks.max(1) as usize);
        while Instant::now() < end {
            let mut left = batch;
            for _ in 0..batch {
                let count = self.pool.links().len();
                let link = &mut self.pool.links()[self.pinged % count];
                link.push_ping();
                link.flush()?;
                self.pinged += 1;
            }
            let next = Instant::now() + TICK;
            loop {
                let rest = next.saturating_duration_since(Instant::now());
                if left == 0 && rest.is_zero() {
                    break;
                }
                self.pool.turn(rest.max(Duration::from_millis(1)), |_, link, frame, _| {
                    if !request::is_notification(frame) {
                        link.check_bare(Some(XID_PING), frame)?;
                        left -= 1;
                    }
                    Ok(())
                })?;
            }
        }
        Ok(())
    }
}
