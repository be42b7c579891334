//! State transfer: a server that is too far behind takes over the state of a peer.
//!
//! A pure byte stream. The [`Sender`] is asked for chunks: the durable tree as of one checkpoint, applied index X, from
//! one read transaction; then the log from X to its end, and the scalars of consensus that go with that end. The
//! [`Receiver`] is given bytes, in whatever pieces they arrive, and builds files beside the ones in use. Both need
//! little memory, whatever the size of the state. Sockets and threads are elsewhere.
//!
//! ```text
//! <dataDir>/incoming/tree.redb      being built; a leftover is removed by the next start or attempt
//! <dataLogDir>/incoming-log/        likewise
//! <dataDir>/installed/tree.redb     `incoming` under its new name: from here on the new state counts
//! ```
//!
//! Invariant: whenever the process or the machine stops, the next start has either the old state or the new one, and
//! never parts of both. The rename to `installed` decides; what comes behind it ([`finish_install`]) can be done again
//! and again, and is the first thing a start does. The two directories may lie on two file systems: nothing is renamed
//! from one to the other.
//!
//! Why the round travels with the suffix of the log, and which server's suffix counts: omnipaxos keeps its own rules
//! (`sync_log`); a state installed without them loses decided entries. So the caller decides, in [`Receiver::finish`].
//!
//! Reading order: `item` (what is sent), `chunk` (how it is cut up and checked), `sender`, `source`, `receiver`, `install`.

mod chunk;
mod install;
mod item;
mod receiver;
mod sender;
mod source;

use std::sync::Arc;

use oxkeeper_state::Level;
use oxkeeper_store::{Snapshot, StoreError};
use thiserror::Error;

pub use chunk::CHUNK_LEN_MAX;
pub use install::{INCOMING, INCOMING_LOG, INSTALLED, begin_install, commit_install, finish_install, remove_leftovers};
pub use oxkeeper_replica::ensemble::replica::{LogPart, LogTail as Tail};
pub use receiver::{Installed, InstalledScalars, Progress, Receiver};
pub use sender::Sender;
pub use source::RunningServer;

/// Where a [`Sender`] gets the state from.
pub trait StateSource: Send + Sync {
    /// The durable tree as of its last checkpoint; `None` when there never was one. From this call on the log keeps its
    /// entries behind it, until [`progress`](Self::progress) says otherwise or the transfer ends.
    ///
    /// # Errors
    /// Any [`StoreError`].
    fn snapshot(&self) -> Result<Option<Snapshot>, StoreError>;

    /// Entries from `from` on: at least one, and about a mebibyte of them. All parts but the last have decided entries
    /// only, which are never taken back; the last one has everything up to the log's end, with the scalars of that same
    /// moment.
    ///
    /// # Errors
    /// [`TransferError::Trimmed`], [`TransferError::Stopped`], any about the log.
    fn entries(&self, from: u64) -> Result<LogPart, TransferError>;

    /// Entries below `from` will not be asked for any more.
    fn progress(&self, from: u64) {
        let _ = from;
    }
}

impl<S: StateSource + ?Sized> StateSource for Arc<S> {
    fn snapshot(&self) -> Result<Option<Snapshot>, StoreError> {
        (**self).snapshot()
    }

    fn entries(&self, from: u64) -> Result<LogPart, TransferError> {
        (**self).entries(from)
    }

    fn progress(&self, from: u64) {
        (**self).progress(from);
    }
}

impl<S: StateSource + ?Sized> StateSource for &S {
    fn snapshot(&self) -> Result<Option<Snapshot>, StoreError> {
        (**self).snapshot()
    }

    fn entries(&self, from: u64) -> Result<LogPart, TransferError> {
        (**self).entries(from)
    }

    fn progress(&self, from: u64) {
        (**self).progress(from);
    }
}

/// Why a transfer ended early. Nothing of it is used then.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum TransferError {
    /// The store says why.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The peer is another release.
    #[error("the peer sends its state in format {found}, this server reads format {supported}: upgrade the older one")]
    UnknownVersion {
        /// The peer's.
        found: u32,
        /// Ours.
        supported: u32,
    },
    /// The peer's ensemble has agreed on more than this server knows.
    #[error(
        "the peer's state is of feature level {needs}, this server knows levels up to {knows}: start a newer release on \
         this server, with the data it has"
    )]
    Newer {
        /// The level of the state, or of an entry behind it.
        needs: Level,
        /// The highest level known here.
        knows: Level,
    },
    /// Bytes are not what was sent.
    #[error("the stream is damaged in chunk {chunk}: {what}")]
    Damaged {
        /// Which, counted from 0.
        chunk: u64,
        /// What does not fit.
        what: &'static str,
    },
    /// A chunk is missing, or came twice.
    #[error("chunk {found} of the stream came where chunk {expected} belongs")]
    OutOfOrder {
        /// The one that had to come.
        expected: u64,
        /// The one that came.
        found: u64,
    },
    /// The chunks are sound, but what is in them makes no state.
    #[error("the peer's state does not fit together: {what}")]
    Unexpected {
        /// What does not fit.
        what: &'static str,
    },
    /// The stream ended before the state did.
    #[error("the stream ended early")]
    Incomplete,
    /// A former call failed.
    #[error("the transfer failed before")]
    Failed,
    /// A state is installed and waits for a recovery.
    #[error("an installed state waits for the server to load it")]
    Pending,
    /// The log has lost entries that are still to be sent.
    #[error("entry {from} is to be sent, but the log begins at {first}")]
    Trimmed {
        /// The next one to be sent.
        from: u64,
        /// The first one there is.
        first: u64,
    },
    /// The sending server stops.
    #[error("the server stops")]
    Stopped,
    /// The source broke its promises.
    #[error("the state cannot be sent: {0}")]
    Source(&'static str),
}
