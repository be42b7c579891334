//! One server of an ensemble: everything that servers of an ensemble say to each other and agree on, as a pure machine.
//!
//! Frames, link events, commands, times and disk completions in; frames, entries to apply and wishes out. The server
//! gives it sockets, a disk and a clock; the simulator gives it all three with faults.
//!
//! [`MemberEngine`](crate::engine::MemberEngine) drives it, in this order:
//! 1. link events and frames ([`Replica::link_up`], [`Replica::link_down`], [`Replica::receive`]), commands of own
//!    clients ([`Replica::submit`]);
//! 2. [`Replica::step`]: elections, sessions, packing; then frames that need no disk leave ([`Replica::next_frame`]);
//! 3. [`Replica::apply`]: what is decided;
//! 4. [`Replica::begin_persist`], the disk's work, during which 1 to 3 may go on, and [`Replica::finish_persist`], after which the
//!    frames that waited for the disk leave, and 3 again.
//!
//! * [`journal`]: the durable log as consensus needs it.
//! * `storage`: OmniPaxos' view of it. `consensus`: OmniPaxos, driven by its rules. `ballot`: ballots as bytes.
//! * `participation`: how a server takes part. `joining`: servers that have nothing join.
//! * `apply`: what is decided takes effect. `disk`: what the disk has to do.
//! * `phantom_voter`: the other process where one server votes alone.
//! * [`frame`]: what servers say to each other. `links`: to whom, in which order.
//! * `outstanding`: commands of this server's clients until they are applied here. `leadership`: what a leader does as one.
//!   `proposal_queue`: commands on their way into its log.
//! * `founding`: when servers that have nothing may begin.
//! * [`configuration`]: who votes, from where on. `reconfiguration`: one configuration after the other.
//! * `catch_up`: servers that do not vote, or missed the end of their configuration. `leadership_transfer`: a leader goes.
//! * `upgrading`: which feature level is agreed on, and what is newer than this server.
//! * `contact`: when a majority, or the leader, was last heard.
//! * `twins`: two processes with one id.
//! * `pins`: what the log keeps for peers that are sent a state.
//! * `parts`: what of a log goes with a state from server to server.
//! * [`replica`]: all of it together. `check`: what must hold between any two calls of it.

mod apply;
mod ballot;
mod catch_up;
pub(crate) mod check;
pub mod configuration;
mod consensus;
mod contact;
mod digests;
mod disk;
mod founding;
pub mod frame;
mod joining;
pub mod journal;
mod leadership;
mod leadership_transfer;
mod links;
mod outstanding;
mod participation;
mod parts;
mod phantom_voter;
mod pins;
mod proposal_queue;
mod reconfiguration;
pub mod replica;
mod storage;
mod twins;
mod upgrading;

pub use ballot::ballot_number;
pub use configuration::Configuration;
pub use consensus::SYNC_LEN_MAX;
pub use digests::Mismatch;
pub use frame::BadFrame;
pub use journal::{DiskJob, Journal, JournalFull, JournalOp, MemoryJournal};
pub use pins::{PINNED_LEN_MAX, Pins};
pub use proposal_queue::Packed;
pub use replica::{Replica, ReplicaConfig, Role, Want};
pub use storage::LogEntry;
pub use twins::TwinReport;
pub use upgrading::Outdated;

/// How fast an ensemble notices things.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// A round of the election while a leader is there, ms. A leader that is silent for two is replaced.
    pub heartbeat_ms: u64,
    /// A peer that is silent for so long gets a new link, ms.
    pub silence_ms: u64,
    /// Without a majority for so long a server stops serving, ms.
    pub contact_ms: u64,
}

/// Known-bad variants, with which the simulator shows that it would notice them. All off in every server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bugs {
    /// Accepted leaves before the entries are durable.
    pub accepted_before_durable: bool,
    /// The leader counts acceptances before its own log is durable.
    pub no_durability_gate: bool,
    /// New links are not announced to OmniPaxos.
    pub forget_reconnected: bool,
    /// A server that installs a peer's state keeps its own accepted round.
    pub naive_install: bool,
    /// A leader takes commands before its epoch is applied.
    pub early_proposals: bool,
    /// What is sent again to a new leader is taken as if it were new.
    pub no_duplicate_filter: bool,
    /// A leader's clocks go on while it is in touch with no majority.
    pub lonely_clocks: bool,
    /// A new leader goes on with the session clocks it has.
    pub stale_clocks: bool,
    /// A session that has expired is closed although it was resumed since.
    pub stale_expiry: bool,
    /// What a log has behind the end of its configuration stays in the next one.
    pub uncut_log: bool,
    /// What was promised and accepted in a former configuration counts in the next one.
    pub old_promise: bool,
    /// Entries behind the end of their configuration are applied.
    pub late_end: bool,
    /// A server that lost its disk votes again in the configuration in which it has made promises.
    pub lasting_configuration: bool,
    /// Frames of another configuration are taken for those of one's own.
    pub foreign_frames: bool,
    /// A leader raises the feature level as soon as it knows a higher one itself.
    pub hasty_raise: bool,
    /// A leader packs entries of the highest level that it knows, whatever is agreed on.
    pub own_level: bool,
    /// Entries that need a level which the server does not know are taken.
    pub unchecked_entries: bool,
}
