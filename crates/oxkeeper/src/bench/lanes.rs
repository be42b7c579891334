//! Closed and open loops over many pipelined sessions.
//!
//! In a closed loop every session keeps its window full: the next request replaces each answered one. In an open loop
//! requests are due on a schedule and timed from when they were due, even if the window made them wait: a server that
//! stalls is charged for every request that its stall delayed (no coordinated omission).

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use hdrhistogram::Histogram;
use oxkeeper_client::Options;

use super::args::Workload;
use super::interrupt::Interrupt;
use super::link::Link;
use super::lost::{Lost, loss};
use super::pool::{NAP, Pool};
use super::report::{self, Progress};
use super::request::{self, Op, Requests, ZNODES_MAX};

/// Number of names that one session of create-delete cycles through. Each is deleted right after its creation, so few
/// suffice.
const NAMES_PER_SESSION: u32 = 64;
/// A fill, which creates the first `znodes` znodes.
pub(super) struct Fill<'a> {
    pub(super) servers: &'a [SocketAddr],
    pub(super) options: &'a Options,
    pub(super) znodes: u32,
    pub(super) size: usize,
    pub(super) sessions: u32,
    pub(super) in_flight: u32,
}

/// The results of a fill that may have ended early.
pub(super) struct Filled {
    /// The time that each request took.
    pub(super) times: Histogram<u64>,
    /// The znodes that did not exist before.
    pub(super) created: Vec<u32>,
    /// The loss that ended it early.
    pub(super) lost: Option<Lost>,
}

impl Fill<'_> {
    /// Creates the znodes that are not there, until SIGINT comes.
    pub(super) fn run(&self, interrupt: &Interrupt) -> Result<Filled> {
        let mut pool = Pool::open(self.servers, self.sessions, self.options)?;
        let mut load = Load::new(Source::Fill { next: 0, end: self.znodes }, self.sessions, self.in_flight, self.size);
        let mut progress = Progress::new("fill", u64::from(self.znodes));
        let lost = loss(load.fill(&mut pool, &mut progress, interrupt))?;
        if lost.is_none() {
            pool.close()?;
        }
        Ok(Filled { times: load.times, created: load.created, lost })
    }
}

/// The source of requests.
pub(super) enum Source {
    /// Requests until the time is over.
    Endless { workload: Workload, znodes: u32 },
    /// One request for each znode.
    Fill { next: u32, end: u32 },
    /// No more requests, except the deletion of the last znode that each lane created.
    Dry { create_delete: bool },
}

/// A request without its answer.
struct Sent {
    op: Op,
    number: u32,
    /// The time when it was sent, or should have been.
    at: Instant,
}

/// The requests of one link.
#[derive(Default)]
struct Lane {
    /// Requests in flight, at most the window.
    waiting: VecDeque<Sent>,
    /// Requests issued so far. create-delete and set-get alternate by its parity.
    issued: u32,
    /// The znode of the last set of set-get.
    pair: u32,
    /// The time when the next one is due, in an open loop.
    due: Option<Instant>,
}

pub(super) struct Load {
    requests: Requests,
    source: Source,
    lanes: Vec<Lane>,
    in_flight: usize,
    /// Time between a lane's requests, in an open loop.
    interval: Option<Duration>,
    random: Random,
    /// Requests without an answer, over all lanes.
    pub(super) waiting: usize,
    /// Znodes that [`Op::Ensure`] created.
    created: Vec<u32>,
    pub(super) times: Histogram<u64>,
}

impl Load {
    pub(super) fn new(source: Source, sessions: u32, in_flight: u32, size: usize) -> Load {
        Load {
            requests: Requests::new(size),
            source,
            lanes: (0..sessions).map(|_| Lane::default()).collect(),
            in_flight: in_flight as usize,
            interval: None,
            random: Random(0x9e37_79b9_7f4a_7c15),
            waiting: 0,
            created: Vec::new(),
            times: report::histogram(),
        }
    }

    /// Switches to an open loop at `rate` requests a second in all; the lanes take turns.
    pub(super) fn schedule(&mut self, rate: Option<u32>) {
        let Some(rate) = rate.filter(|rate| *rate > 0) else { return };
        let step = Duration::from_secs(1) / rate;
        let start = Instant::now();
        self.interval = Some(Duration::from_secs_f64(self.lanes.len() as f64 / f64::from(rate)));
        for (index, lane) in self.lanes.iter_mut().enumerate() {
            lane.due = Some(start + step * index as u32);
        }
    }

    /// Drops the times taken so far.
    pub(super) fn forget(&mut self) {
        self.times.reset();
    }

    /// Runs until `end`, or until `go_on`, which is asked at every turn, returns false.
    pub(super) fn run_until(
        &mut self,
        pool: &mut Pool,
        end: Instant,
        mut go_on: impl FnMut(Instant) -> bool,
    ) -> Result<()> {
        if self.interval.is_none() && self.waiting == 0 {
            self.begin(pool)?;
        }
        loop {
            let now = Instant::now();
            if now >= end || !go_on(now) {
                return Ok(());
            }
            let due = if self.interval.is_some() { self.pump(pool, now)? } else { None };
            let wake = due.unwrap_or(end).min(end).saturating_duration_since(now).min(NAP);
            pool.turn(wake, |index, link, frame, now| self.answered(index, link, frame, now))?;
        }
    }

    /// Fills every window.
    fn begin(&mut self, pool: &mut Pool) -> Result<()> {
        pool.rest();
        let now = Instant::now();
        for (index, link) in pool.links().iter_mut().enumerate() {
            for _ in 0..self.in_flight {
                self.issue(index, link, now);
            }
            link.flush()?;
        }
        Ok(())
    }

    /// Sends the requests that are due. Returns the time when the next one is due that a window has room for.
    fn pump(&mut self, pool: &mut Pool, now: Instant) -> Result<Option<Instant>> {
        let mut next = None;
        let interval = self.interval.context("open loop")?;
        for (index, link) in pool.links().iter_mut().enumerate() {
            while self.lanes[index].waiting.len() < self.in_flight {
                let due = self.lanes[index].due.context("open loop")?;
                if due > now {
                    next = Some(next.map_or(due, |next: Instant| next.min(due)));
                    break;
                }
                self.issue(index, link, due);
                self.lanes[index].due = Some(due + interval);
            }
            link.flush()?;
        }
        Ok(next)
    }

    /// Issues one more request, if there is one, timed from `at`.
    fn issue(&mut self, index: usize, link: &mut Link, at: Instant) {
        let Some((op, number)) = self.next(index) else { return };
        link.push(&self.requests, op, number);
        self.lanes[index].waiting.push_back(Sent { op, number, at });
        self.waiting += 1;
    }

    fn next(&mut self, index: usize) -> Option<(Op, u32)> {
        match &mut self.source {
            Source::Dry { create_delete } => {
                let lane = &mut self.lanes[index];
                if !*create_delete || lane.issued.is_multiple_of(2) {
                    return None;
                }
                let name = create_delete_name(index, lane.issued);
                lane.issued = lane.issued.wrapping_add(1);
                Some((Op::Delete, name))
            }
            Source::Fill { next, end } => {
                let number = *next;
                *next = (number + 1).min(*end);
                (number < *end).then_some((Op::Ensure, number))
            }
            Source::Endless { workload: Workload::CreateDelete, .. } => {
                let lane = &mut self.lanes[index];
                let name = create_delete_name(index, lane.issued);
                let op = if lane.issued.is_multiple_of(2) { Op::Create } else { Op::Delete };
                lane.issued = lane.issued.wrapping_add(1);
                Some((op, name))
            }
            Source::Endless { workload: Workload::SetGet, znodes } => {
                let lane = &mut self.lanes[index];
                let is_set = lane.issued.is_multiple_of(2);
                lane.issued = lane.issued.wrapping_add(1);
                if is_set {
                    lane.pair = self.random.below(*znodes);
                }
                Some((if is_set { Op::Set } else { Op::Get }, lane.pair))
            }
            Source::Endless { workload, znodes } => {
                let get_percent = match workload {
                    Workload::Get => 100,
                    Workload::Mixed { get_percent } => u32::from(*get_percent),
                    Workload::Set
                    | Workload::SetGet
                    | Workload::CreateDelete
                    | Workload::Connect
                    | Workload::WatchFanout
                    | Workload::Visibility => 0,
                };
                let number = self.random.below(*znodes);
                Some((if self.random.below(100) < get_percent { Op::Get } else { Op::Set }, number))
            }
        }
    }

    fn answered(&mut self, index: usize, link: &mut Link, frame: &[u8], now: Instant) -> Result<()> {
        let sent = self.lanes[index].waiting.pop_front().context("an answer to nothing")?;
        self.waiting -= 1;
        link.check(&self.requests, sent.op, sent.number, frame)?;
        if sent.op == Op::Ensure && request::succeeded(frame) {
            self.created.push(sent.number);
        }
        report::record(&mut self.times, now.saturating_duration_since(sent.at));
        if self.interval.is_none() {
            self.issue(index, link, now);
        }
        Ok(())
    }

    /// Fills until every znode is there or SIGINT comes.
    fn fill(&mut self, pool: &mut Pool, progress: &mut Progress, interrupt: &Interrupt) -> Result<()> {
        self.begin(pool)?;
        while self.waiting > 0 {
            if interrupt.came() {
                self.source = Source::Dry { create_delete: false };
            }
            pool.turn(NAP, |index, link, frame, now| self.answered(index, link, frame, now))?;
            progress.show(self.times.len(), Instant::now());
        }
        Ok(())
    }

    /// Returns the znodes of create-delete that remain unless [`Load::drain`] deletes them.
    pub(super) fn leftovers(&self) -> Vec<u32> {
        let create_delete = match self.source {
            Source::Endless { workload, .. } => workload == Workload::CreateDelete,
            Source::Dry { create_delete } => create_delete,
            Source::Fill { .. } => false,
        };
        if !create_delete {
            return Vec::new();
        }
        let mut numbers: Vec<_> =
            self.lanes.iter().flat_map(|lane| lane.waiting.iter().map(|sent| sent.number)).collect();
        let lanes = self.lanes.iter().enumerate().filter(|(_, lane)| !lane.issued.is_multiple_of(2));
        numbers.extend(lanes.map(|(index, lane)| create_delete_name(index, lane.issued)));
        numbers.dedup();
        numbers
    }

    /// Waits for the last answers and checks them. Deletes the last znode of each lane of create-delete.
    pub(super) fn drain(&mut self, pool: &mut Pool) -> Result<()> {
        let create_delete = matches!(self.source, Source::Endless { workload: Workload::CreateDelete, .. });
        self.source = Source::Dry { create_delete };
        if create_delete {
            let now = Instant::now();
            for (index, link) in pool.links().iter_mut().enumerate() {
                self.issue(index, link, now);
                link.flush()?;
            }
        }
        while self.waiting > 0 {
            pool.turn(NAP, |index, link, frame, now| self.answered(index, link, frame, now))?;
        }
        Ok(())
    }
}

/// Returns the znode of a lane's request number `issued`: the same for a create and the delete after it.
fn create_delete_name(index: usize, issued: u32) -> u32 {
    ZNODES_MAX + index as u32 * NAMES_PER_SESSION + issued / 2 % NAMES_PER_SESSION
}

/// xorshift64: a load needs spread, not secrets.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u32) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (((self.0 >> 32) * u64::from(bound)) >> 32) as u32
    }
}
