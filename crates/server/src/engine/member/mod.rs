//! A server of an ensemble: the engine that gives the pure replica its sockets, its disk and its clock.
//!
//! One thread does it all, as a standalone server has one: it reads its peers, writes the log, applies, answers. While it
//! waits for the disk, peers and clients queue; everything that came in the meantime is the next entry. That it hears
//! nothing while its disk stands still is wanted: such a leader is replaced.
//!
//! * `engine`: the thread. `housekeeping`: what it does once in a while. `watch`: looks whether it moves.
//! * `config_file`: `zoo.cfg`, when the members change.
//! * `incarnation`: what one recovery from disk begins, and what ends it. `fetch`: fetching a peer's state. `states`: sending it.

mod config_file;
mod engine;
mod fetch;
mod housekeeping;
mod incarnation;
mod outside;
mod states;
mod watch;

pub(crate) use config_file::{ConfigKeeper, compare};
pub(crate) use engine::Ensemble;
pub(crate) use incarnation::{Incarnation, Parts, member_ids};
