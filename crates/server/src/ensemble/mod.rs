//! A server of an ensemble: the engine that gives the pure replica its sockets, its disk and its clock.
//!
//! One thread does it all, as a server alone has one: it reads its peers, writes the log, applies, answers. While it
//! waits for the disk, peers and clients queue; everything that came in the meantime is the next entry. That it hears
//! nothing while its disk stands still is wanted: such a leader is replaced.
//!
//! * [`journal`]: the durable log as consensus wants it. * `engine`: the thread. * `source`: the state, as peers that
//!   lack it are sent it. * `watch`: looks whether the engine's thread moves. * [`install`]: fetching it, and what of the own log survives that.

mod engine;
pub mod install;
pub mod journal;
mod source;
mod watch;

pub(crate) use engine::{Ensemble, Life, Parts, REPLAY, member_ids};
pub use journal::LogJournal;
