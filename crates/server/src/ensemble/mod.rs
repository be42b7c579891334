//! A server of an ensemble: the engine that gives the pure replica its sockets, its disk and its clock.
//!
//! One thread does it all, as a server alone has one: it reads its peers, writes the log, applies, answers. While it
//! waits for the disk, peers and clients queue; everything that came in the meantime is the next entry. That it hears
//! nothing while its disk stands still is wanted: such a leader is replaced.
//!
//! * `engine`: the thread. `house`: what it does once in a while. `watch`: looks whether it moves.
//! * `config_file`: `zoo.cfg`, when the members change.
//! * [`journal`]: the durable log as consensus wants it.
//! * `life`: what one recovery from disk begins, and what ends it. [`install`]: fetching a peer's state, and what of the
//!   own log survives that. `source`: sending it.

mod config_file;
mod engine;
mod house;
pub mod install;
pub mod journal;
mod life;
mod outside;
mod source;
mod watch;

pub(crate) use config_file::{ConfigKeeper, compare};
pub(crate) use engine::Ensemble;
pub use journal::LogJournal;
pub(crate) use life::{Life, Parts, REPLAY, member_ids};

/// The members a log belongs to, if it is that of an ensemble's member.
pub(crate) fn members_of(log: &oxkeeper_store::Log) -> Option<Vec<u8>> {
    log.scalar(oxkeeper_replica::ensemble::journal::scalar::MEMBERS)
}
