//! The replicated state machine, on which all servers agree. Commands go in, effects come out;
//! there is no clock, no randomness, no I/O.
//!
//! [`State::apply`] is the only way to change anything, and is a deterministic function of the
//! state and the command. It computes versions, sequence numbers, zxids, error codes and quotas
//! identically on every server.
//!
//! Deliberately absent: connections, watches and session clocks (`oxkeeper-replica`), files
//! (`oxkeeper-store`).
//!
//! Reading order: [`command`], [`znode`], [`tree`], [`acl`], [`session`], [`quota`], [`apply`],
//! [`read`], [`checkpoint`], [`digest`], [`import`], [`level`]; and the parts for an ensemble:
//! `agreement`, [`membership`], [`reconfig`].

pub mod acl;
mod address;
mod agreement;
pub mod apply;
pub mod checkpoint;
pub mod command;
pub mod digest;
mod dirty;
pub mod hash_order;
pub mod import;
pub mod level;
pub mod membership;
pub mod next_version;
pub mod properties;
pub mod quota;
pub mod read;
pub mod reconfig;
pub mod record;
pub mod session;
pub mod settings;
mod state;
pub mod time;
pub mod tree;
mod unapplied;
mod usage;
mod write;
mod x500;
pub mod znode;

pub use acl::{AclList, Caller, Identities};
pub use apply::{Change, ChangeKind, ChangeSink};
pub use command::{BadEntry, BallotId, Batch, Command, Entry, Epoch, Number, Raise, Renewal};
pub use digest::Digest;
pub use dirty::Captured;
pub use level::Level;
pub use membership::Membership;
pub use settings::Settings;
pub use state::{Expendable, State};
