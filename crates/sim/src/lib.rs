//! A server or an ensemble and its clients in one thread, under one seed, in virtual time.
//!
//! The parts are those of production: connections, applier, clocks, replica, state, log, durable tree, recovery, state
//! transfer. Only what is around them is simulated: network, disk, clocks, the order of threads' turns. Clients speak
//! bytes. Checkers ([`check`]) say what was promised; [`options::Bug`]s and the replica's own
//! [`Bugs`](oxkeeper_replica::ensemble::Bugs) prove that they notice.
//!
//! Two simulations share clients, connections, model and checkers. Of *a standalone server* every step is a turn of somebody,
//! so that its threads interleave in any way and a checkpoint meets everything. Of *an ensemble* ([`ensemble`]) things
//! happen at their times, so that servers lose touch and find each other again.
//!
//! Deliberately absent: threads, real time, real files, ACLs and quotas (the state's own tests have them), four-letter
//! words; backups and restores, which live in threads and files.
//!
//! Reading order: [`options`], [`world`], [`server`], [`connections`], [`engine`], [`client`], [`request`],
//! [`link`], [`model`], [`check`]; then [`ensemble`].

pub mod check;
pub mod client;
pub mod connections;
pub mod engine;
pub mod ensemble;
pub mod figures;
pub mod liar;
pub mod link;
pub mod model;
pub mod options;
pub mod random;
pub mod request;
pub mod server;
pub mod world;

pub use options::{Bug, Options};
pub use world::{Report, run};

/// Steps of a run when nothing else is said.
pub const STEPS: u64 = 8_000;

/// The command that replays a run.
pub fn replay_command(options: &Options) -> String {
    let steps = if options.steps == STEPS { String::new() } else { format!(" --steps {}", options.steps) };
    format!("oxkeeper sim --servers 1 --seed {}{steps}", options.seed)
}
