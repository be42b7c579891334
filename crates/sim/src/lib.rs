//! Simulates a server or an ensemble and its clients in one thread, under one seed, in virtual
//! time.
//!
//! The parts are those of production: connections, applier, clocks, replica, state, log, durable
//! tree, recovery, state transfer. Only their environment is simulated: network, disk, clocks, and
//! the order in which threads run. Clients speak the wire protocol. Checkers ([`check`]) verify the
//! promises; [`options::Bug`]s and the replica's own [`Bugs`](oxkeeper_replica::ensemble::Bugs)
//! prove that the checkers notice violations.
//!
//! There are two simulations, which share clients, connections, model and checkers. In the
//! simulation of *a standalone server* each step is one turn of one participant, so that its
//! threads interleave in any order and a checkpoint can overlap anything. In the simulation of *an
//! ensemble* ([`ensemble`]) events happen at virtual times, so that servers lose contact and find
//! each other again.
//!
//! Deliberately absent: threads, real time, real files, ACLs and quotas (the state's own tests
//! cover them), four-letter words; backups and restores, which depend on threads and files.
//!
//! Reading order: [`options`], [`world`], [`server`], [`connections`], [`engine`], [`client`],
//! [`request`], [`link`], [`model`], [`check`]; then [`ensemble`].

pub mod check;
pub mod client;
pub mod connections;
pub mod engine;
pub mod ensemble;
pub mod figures;
pub mod host_clock;
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

/// Default number of steps of a run.
pub const STEPS: u64 = 8_000;

/// Returns the command that replays a run.
pub fn replay_command(options: &Options) -> String {
    let steps = if options.steps == STEPS { String::new() } else { format!(" --steps {}", options.steps) };
    format!("oxkeeper sim --servers 1 --seed {}{steps}", options.seed)
}
