//! State transfer: a server that is too far behind takes over the state of a peer.
//!
//! A transfer is a plain byte stream. The [`Sender`] produces chunks: the durable tree as of one
//! checkpoint, with applied index X, from one read transaction; then the log from X to its end, and
//! the consensus scalars that belong to that end. The [`Receiver`] takes bytes in whatever pieces
//! they arrive, and builds files beside the ones in use. Both need little memory, whatever the size
//! of the state. Sockets and threads are elsewhere.
//!
//! ```text
//! <dataDir>/incoming/tree.redb      being built; the next start or attempt removes leftovers
//! <dataLogDir>/incoming-log/        likewise
//! <dataDir>/installed/tree.redb     `incoming` after its rename: from here on the new state counts
//! ```
//!
//! Invariant: whenever the process or the machine stops, the next start finds either the old state
//! or the new one, and never parts of both. The rename to `installed` decides. The steps after it
//! ([`finish_install`]) can be repeated any number of times, and are the first thing a start does.
//! The two directories may be on two file systems: nothing is renamed from one to the other.
//!
//! The round travels with the log suffix, and the caller of [`Receiver::finish`] decides which
//! server's suffix counts: omnipaxos has its own rules for that (`sync_log`), and a state installed
//! without them loses decided entries.
//!
//! Reading order: `item` (the items of the stream), `chunk` (framing and checksums), `sender`,
//! `source`, `receiver`, `install`.

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

/// Source of the state that a [`Sender`] sends.
pub trait StateSource: Send + Sync {
    /// Returns the durable tree as of its last checkpoint, or `None` if there has never been one.
    /// From this call on the log keeps the entries that follow the checkpoint, until
    /// [`progress`](Self::progress) releases them or the transfer ends.
    ///
    /// # Errors
    /// Any [`StoreError`].
    fn snapshot(&self) -> Result<Option<Snapshot>, StoreError>;

    /// Returns entries from `from` on: at least one, and about a mebibyte of them. All parts but
    /// the last hold decided entries only, which are never overwritten. The last part reaches the
    /// end of the log, and has the scalars of that same moment.
    ///
    /// # Errors
    /// [`TransferError::Trimmed`], [`TransferError::Stopped`], or any error of the log.
    fn entries(&self, from: u64) -> Result<LogPart, TransferError>;

    /// Notes that entries below `from` are no longer needed.
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

/// Error that ends a transfer early. Nothing that was received is used then.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum TransferError {
    /// Error from the store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The peer uses another format version.
    #[error("the peer sends its state in format {found}, this server reads format {supported}: upgrade the older one")]
    UnknownVersion {
        /// Format version of the peer.
        found: u32,
        /// Format version of this server.
        supported: u32,
    },
    /// The peer's ensemble has agreed on a feature level that this server does not know.
    #[error(
        "the peer's state is of feature level {needs}, this server knows levels up to {knows}: start a newer release on \
         this server, with the data it has"
    )]
    Newer {
        /// Feature level of the state, or of a log entry that follows it.
        needs: Level,
        /// Highest feature level that this server knows.
        knows: Level,
    },
    /// The received bytes are not the ones that were sent.
    #[error("the stream is damaged in chunk {chunk}: {what}")]
    Damaged {
        /// Number of the chunk, counted from 0.
        chunk: u64,
        /// Description of the mismatch.
        what: &'static str,
    },
    /// A chunk is missing, or came twice.
    #[error("chunk {found} of the stream came where chunk {expected} belongs")]
    OutOfOrder {
        /// Number of the chunk that was expected.
        expected: u64,
        /// Number of the chunk that arrived.
        found: u64,
    },
    /// The chunks are intact, but their contents do not form a state.
    #[error("the peer's state is inconsistent: {what}")]
    Unexpected {
        /// Description of the mismatch.
        what: &'static str,
    },
    /// The stream ended before the state did.
    #[error("the stream ended early")]
    Incomplete,
    /// An earlier call failed.
    #[error("the transfer failed before")]
    Failed,
    /// An installed state waits for a recovery.
    #[error("an installed state waits for the server to load it")]
    Pending,
    /// The log no longer has entries that are still to be sent.
    #[error("entry {from} is to be sent, but the log begins at {first}")]
    Trimmed {
        /// Index of the next entry to send.
        from: u64,
        /// Index of the first entry in the log.
        first: u64,
    },
    /// The sending server is shutting down.
    #[error("the server stops")]
    Stopped,
    /// The source violated its contract.
    #[error("the state cannot be sent: {0}")]
    Source(&'static str),
}
