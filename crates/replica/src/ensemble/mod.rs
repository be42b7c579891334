//! One server of an ensemble: everything that servers of an ensemble say to each other and agree on, as a pure machine.
//!
//! Frames, link events, commands, times and disk completions in; frames, entries to apply and wishes out. The server
//! gives it sockets, a disk and a clock; the simulator gives it all three with faults.
//!
//! One iteration of its driver, in this order:
//! 1. link events and frames ([`Replica::link_up`], [`Replica::link_down`], [`Replica::receive`]), commands of own
//!    clients ([`Replica::submit`]);
//! 2. [`Replica::step`]: elections, sessions, packing; then frames that need no disk leave ([`Replica::next_frame`]);
//! 3. [`Replica::apply`]: what is decided;
//! 4. [`Replica::persist`], after which the frames that waited for the disk leave, and 3 again. A follower may do that in
//!    two halves ([`Replica::begin_persist`]), between which frames are only overheard ([`Replica::overhear`]), and 3.
//!
//! * [`journal`]: the durable log as consensus needs it.
//! * `storage`: OmniPaxos' view of it. `consensus`: OmniPaxos, driven by its rules. `ballot`: ballots as bytes.
//! * `companion`: the other process where one server votes alone.
//! * [`frame`]: what servers say to each other. `links`: to whom, in which order.
//! * `window`: commands of this server's clients until they are applied here. `intake`: commands on their way into the
//!   log, at the leader.
//! * [`configuration`]: who votes, from where on. `succession`: one configuration after the other.
//! * `learning`: servers that do not vote, or missed the end of their configuration. `hand_over`: a leader goes.
//! * `twins`: two processes with one id.
//! * `pins`: what the log keeps for peers that are sent a state.
//! * `parts`: what of a log goes with a state from server to server.
//! * [`replica`]: all of it together.

mod ballot;
mod companion;
pub mod configuration;
mod consensus;
pub mod frame;
mod hand_over;
mod intake;
pub mod journal;
mod learning;
mod links;
mod parts;
mod pins;
pub mod replica;
mod storage;
mod succession;
mod twins;
mod window;

pub use ballot::ballot_number;
pub use configuration::Configuration;
pub use consensus::SYNC_LEN_MAX;
pub use frame::BadFrame;
pub use intake::Packed;
pub use journal::{Journal, JournalFull, JournalOp, MemoryJournal, Syncing};
pub use pins::{PINNED_LEN_MAX, Pins};
pub use replica::{Applying, Replica, ReplicaConfig, Role, Want};
pub use twins::TwinReport;

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
    pub hasty_intake: bool,
    /// What is sent again to a new leader is taken as if it were new.
    pub no_duplicate_filter: bool,
    /// A new leader goes on with the session clocks it has.
    pub stale_clocks: bool,
    /// What a log has behind the end of its configuration stays in the next one.
    pub uncut_log: bool,
    /// What was promised and accepted in a former configuration counts in the next one.
    pub old_promise: bool,
    /// Entries behind the end of their configuration are applied.
    pub late_end: bool,
    /// Frames of another configuration are taken for those of one's own.
    pub foreign_frames: bool,
}
