//! A server of an ensemble: the engine that gives the pure replica its sockets, disk and clock.
//!
//! One thread does it all, as in a standalone server: it reads from peers, writes the log, applies
//! entries and answers. While it waits for the disk, input from peers and clients queues up, and
//! everything that arrived goes into the next entry. It is intended that the thread hears nothing
//! while its disk is stuck: such a leader is replaced.
//!
//! * `engine`: the thread. `operator_log`: its periodic tasks. `watch`: checks that the thread
//!   makes progress.
//! * `config_file`: updates `zoo.cfg` when the members change.
//! * `incarnation`: begins and ends incarnations, one for each recovery from disk. `fetch`: fetches
//!   a peer's state. `states`: sends the own state.

mod config_file;
mod engine;
mod fetch;
mod incarnation;
mod operator_log;
mod outside;
mod states;
mod watch;

pub(crate) use config_file::{ConfigKeeper, compare};
pub(crate) use engine::MemberThread;
pub(crate) use incarnation::{Incarnation, Parts, member_ids};
