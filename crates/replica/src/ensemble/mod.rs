//! One server of an ensemble: everything that the servers say to each other and agree on, as a pure
//! state machine.
//!
//! Its inputs are frames, link events, commands, times and disk completions; its outputs are
//! frames, entries to apply and requests to the driver. The server gives it sockets, a disk and a
//! clock; the simulator gives it the same three with faults.
//!
//! [`MemberEngine`](crate::engine::MemberEngine) drives it, in this order:
//! 1. link events and frames ([`Replica::link_up`], [`Replica::link_down`], [`Replica::receive`]),
//!    and commands of this server's clients ([`Replica::submit`]);
//! 2. [`Replica::step`]: elections, sessions, packing; then the frames that need no disk leave
//!    ([`Replica::next_frame`]);
//! 3. [`Replica::apply`]: decided entries;
//! 4. [`Replica::begin_persist`], then the disk's work, during which steps 1 to 3 may continue,
//!    then [`Replica::finish_persist`]; after that the frames that waited for the disk leave, and
//!    step 3 runs again.
//!
//! * [`journal`]: the durable log as consensus needs it.
//! * `storage`: OmniPaxos' view of the journal. `consensus`: the driver of OmniPaxos. `ballot`:
//!   ballots as bytes.
//! * `participation`: the ways a server takes part. `joining`: blank servers join.
//! * `apply`: decided entries are applied. `disk`: the work for the disk.
//! * `phantom_voter`: the second OmniPaxos process of a sole voter.
//! * [`frame`]: the messages between servers. `links`: the state of each link and the order of its
//!   frames.
//! * `outstanding`: commands of this server's clients until they are applied here. `leadership`:
//!   the state of a leader. `proposal_queue`: commands on their way into its log.
//! * `founding`: the conditions under which blank servers found an ensemble.
//! * [`configuration`]: the voters, and the index from which they vote. `reconfiguration`: the
//!   change from one configuration to the next.
//! * `catch_up`: servers that do not vote, or missed the end of their configuration.
//!   `leadership_transfer`: a leader hands over.
//! * `upgrading`: the agreed feature level, and entries that are newer than this server.
//! * `contact`: the time at which the majority, or the leader, was last heard.
//! * `digests`: comparison of the servers' states.
//! * `twins`: two processes with one id.
//! * `pins`: the part of the log that is kept for peers that receive a state.
//! * `parts`: the parts of a log that go with a state from server to server.
//! * [`replica`]: all of it together. `check`: the invariants that hold between any two calls to
//!   it.

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

/// Timing of an ensemble's failure detection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// Length of an election round while there is a leader, ms. A leader that is silent for two
    /// rounds is replaced.
    pub heartbeat_ms: u64,
    /// Time after which a silent peer gets a new link, ms.
    pub silence_ms: u64,
    /// Time without a majority after which a server stops serving, ms.
    pub contact_ms: u64,
}

/// Known-bad variants, with which the simulator shows that it would notice them. Every server has
/// all of them off.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bugs {
    /// An Accepted message leaves before the entries are durable.
    pub accepted_before_durable: bool,
    /// The leader counts acceptances before its own log is durable.
    pub no_durability_gate: bool,
    /// New links are not announced to OmniPaxos.
    pub forget_reconnected: bool,
    /// A server that installs a peer's state keeps its own accepted round.
    pub naive_install: bool,
    /// A leader takes commands before its epoch is applied.
    pub early_proposals: bool,
    /// A leader takes commands that are sent to it again as if they were new.
    pub no_duplicate_filter: bool,
    /// A leader's clocks advance while it has no contact with a majority.
    pub lonely_clocks: bool,
    /// A new leader continues with the session clocks it has.
    pub stale_clocks: bool,
    /// An expired session is closed although it has been resumed since.
    pub stale_expiry: bool,
    /// Entries behind the end of a configuration stay in the log of the next one.
    pub uncut_log: bool,
    /// Promises and accepted entries of an earlier configuration count in the next one.
    pub old_promise: bool,
    /// Entries behind the end of their configuration are applied.
    pub late_end: bool,
    /// A server that lost its disk votes again in a configuration in which it has made promises.
    pub lasting_configuration: bool,
    /// A server takes frames of another configuration for those of its own.
    pub foreign_frames: bool,
    /// A leader raises the feature level without regard to what the members know.
    pub hasty_raise: bool,
    /// A leader packs entries of the highest level that it knows, not of the agreed level.
    pub own_level: bool,
    /// A server takes entries that need a level it does not know.
    pub unchecked_entries: bool,
}
