//! Simulates an ensemble: several servers, their clients, their disks and the networks between
//! them, in one thread under one seed.
//!
//! Each server is the production replica on the production store and recovery; connections, applier
//! and clocks are production's, too. Checkers see what clients see, and what any server applies.
//!
//! Reading order: [`options`], [`scenario`], [`host_clock`](crate::host_clock), `world` (time and clients), `faults`,
//! [`server`], `engine`, `recovering`, `checkpoints`, `install`, `upgrades`, `observers`,
//! [`peer_network`], [`trace`]; then [`check`](crate::check).

mod checkpoints;
mod engine;
mod faults;
mod install;
mod observers;
pub mod options;
pub mod peer_network;
mod recovering;
pub mod scenario;
pub mod server;
pub mod trace;
mod upgrades;
mod world;

use crate::figures::{self, Count};

pub use options::Options;
pub use scenario::Scenario;
pub use world::run;

/// Default virtual time of a run before its faults stop, ms.
pub const RUN_MS: u64 = 3_000;

/// Returns the command that replays a run of a scenario.
pub fn replay_command(options: &Options, scenario: Scenario) -> String {
    let Options { seed, servers, run_ms, .. } = options;
    let scenario =
        if scenario == Scenario::Everything { String::new() } else { format!(" --scenario {}", scenario.name()) };
    let minutes = if *run_ms == RUN_MS { String::new() } else { format!(" --minutes {}", run_ms / 60_000) };
    format!("oxkeeper sim --servers {servers} --seed {seed}{scenario}{minutes}")
}

/// Results of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Simulation events processed.
    pub steps: u64,
    /// Log entries applied.
    pub entries: u64,
    /// Entries decided by a server that was the only voter.
    pub alone: u64,
    /// Commands that took a zxid.
    pub commands: u64,
    /// Leaderships that began.
    pub epochs: u64,
    /// Leaderships that began before the faults stopped.
    pub unsettled_epochs: u64,
    /// Replies checked.
    pub replies: u64,
    /// Events checked.
    pub events: u64,
    /// Frames sent between servers.
    pub frames: u64,
    /// Times a server started.
    pub starts: u64,
    /// Times a server crashed.
    pub crashes: u64,
    /// Times a server met a feature level that only a newer release knows.
    pub outdated: u64,
    /// Disks lost.
    pub wipes: u64,
    /// States requested.
    pub installs: u64,
    /// States installed.
    pub installed: u64,
    /// Reconfigurations requested.
    pub reconfigs: u64,
    /// Changes of the voters.
    pub configurations: u64,
    /// Leadership transfers begun.
    pub leadership_transfers: u64,
    /// Checkpoints committed.
    pub checkpoints: u64,
    /// Sessions that existed.
    pub sessions: u64,
    /// Sessions that expired.
    pub expired: u64,
    /// Local sessions, which only one server knew.
    pub local: u64,
    /// Local sessions upgraded to sessions of the ensemble.
    pub upgraded: u64,
    /// Local sessions that expired.
    pub local_expired: u64,
    /// Replies from servers in read-only mode.
    pub read_only_replies: u64,
    /// Virtual time, ms.
    pub virtual_ms: u64,
    /// Digest of the final tree.
    pub digest: u64,
}

impl Report {
    /// Returns a sentence which states that `seeds` seeds kept every promise, and what the runs
    /// did.
    pub fn verdict(&self, seeds: u64) -> String {
        format!(
            "{}, no promise broken; {} entries, {} crashes, {} leaderships, {} replies and {} events checked, \
             {} simulated seconds",
            figures::seeds(seeds),
            Count(self.entries),
            Count(self.crashes),
            Count(self.epochs),
            Count(self.replies),
            Count(self.events),
            Count(self.virtual_ms / 1_000),
        )
    }

    /// Adds the results of another run.
    pub fn add(&mut self, other: &Report) {
        self.steps += other.steps;
        self.entries += other.entries;
        self.alone += other.alone;
        self.commands += other.commands;
        self.epochs += other.epochs;
        self.unsettled_epochs += other.unsettled_epochs;
        self.replies += other.replies;
        self.events += other.events;
        self.frames += other.frames;
        self.starts += other.starts;
        self.crashes += other.crashes;
        self.outdated += other.outdated;
        self.wipes += other.wipes;
        self.installs += other.installs;
        self.installed += other.installed;
        self.reconfigs += other.reconfigs;
        self.configurations += other.configurations;
        self.leadership_transfers += other.leadership_transfers;
        self.checkpoints += other.checkpoints;
        self.sessions += other.sessions;
        self.expired += other.expired;
        self.local += other.local;
        self.upgraded += other.upgraded;
        self.local_expired += other.local_expired;
        self.read_only_replies += other.read_only_replies;
        self.virtual_ms += other.virtual_ms;
        self.digest ^= other.digest;
    }
}

impl std::fmt::Display for Report {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        figures::write_all(
            formatter,
            &[
                ("steps", self.steps),
                ("entries applied", self.entries),
                ("entries decided by one server alone", self.alone),
                ("commands", self.commands),
                ("leaderships", self.epochs),
                ("leaderships before the faults stopped", self.unsettled_epochs),
                ("replies checked", self.replies),
                ("events checked", self.events),
                ("read-only replies", self.read_only_replies),
                ("frames between servers", self.frames),
                ("starts", self.starts),
                ("crashes", self.crashes),
                ("stops before a newer release's entries", self.outdated),
                ("disks lost", self.wipes),
                ("states requested", self.installs),
                ("states installed", self.installed),
                ("reconfigurations requested", self.reconfigs),
                ("configurations", self.configurations),
                ("hand-overs", self.leadership_transfers),
                ("checkpoints", self.checkpoints),
                ("sessions", self.sessions),
                ("sessions expired", self.expired),
                ("local sessions", self.local),
                ("local sessions upgraded", self.upgraded),
                ("local sessions expired", self.local_expired),
                ("ms of virtual time", self.virtual_ms),
            ],
        )?;
        write!(formatter, ", tree digest {:016x}", self.digest)
    }
}
