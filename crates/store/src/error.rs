//! Errors at the seam of this crate.
//!
//! Three kinds, never mixed: [`StoreError`] is what opening and reading can find (the server refuses to
//! start, or a reader stops); [`AppendError`] and [`SyncError`] are refusals that pass by themselves; a
//! failed write or `fdatasync` is neither but a panic: crash rather than corrupt.

use std::io;
use std::path::{Path, PathBuf};

use crate::tree::Kind;

/// Why the store cannot be opened or read. Each names the file and, where there is one, the place in it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The operating system failed.
    #[error("{path}: cannot {action}: {source}. Check the disk, the permissions and the limits of this process", path = .path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What was tried, as a verb.
        action: &'static str,
        /// What the operating system said.
        source: io::Error,
    },
    /// There is no room.
    #[error("{path}: the disk is full. Free some space on it; nothing was lost", path = .path.display())]
    Full {
        /// The file that could not grow.
        path: PathBuf,
    },
    /// Another server uses the directory.
    #[error("{path}: another server runs on this directory. Stop it, or give this one a directory of its own", path = .path.display())]
    Locked {
        /// The lock file.
        path: PathBuf,
    },
    /// A file has no bytes at all.
    #[error("{path}: the file is empty. {RESTORE}", path = .path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// A file ends before what it holds does.
    #[error("{path}: the file is truncated: it has {len} bytes, what starts at offset {offset} needs {needed}. {RESTORE}", path = .path.display())]
    Truncated {
        /// The file.
        path: PathBuf,
        /// Where the cut record starts.
        offset: u64,
        /// Bytes there are.
        len: u64,
        /// Bytes there must be.
        needed: u64,
    },
    /// A file of another program, or one whose first bytes were overwritten.
    #[error("{path}: this is not a file of oxkeeper. Move it away; if it should be one, {RESTORE_LOWER}", path = .path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// A file in a format this program does not know.
    #[error("{path}: format version {found} is unknown, this program reads version {supported}. Use the release that wrote it", path = .path.display())]
    UnknownVersion {
        /// The file.
        path: PathBuf,
        /// The version in the file.
        found: u32,
        /// The version this program writes.
        supported: u32,
    },
    /// Bytes that are not what was written.
    #[error("{path}: damaged at offset {offset}: {what}. {RESTORE}", path = .path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where.
        offset: u64,
        /// What does not fit.
        what: &'static str,
    },
    /// A segment of the log is gone.
    #[error("{path}: this segment of the log is missing. Put it back, or {RESTORE_LOWER}", path = .path.display())]
    MissingSegment {
        /// The segment that should be there.
        path: PathBuf,
    },
    /// Entries of the log do not follow each other.
    #[error("{path}: entry {found} at offset {offset} where entry {expected} belongs. {RESTORE}", path = .path.display())]
    Gap {
        /// The segment.
        path: PathBuf,
        /// Where.
        offset: u64,
        /// Index that had to come.
        expected: u64,
        /// Index that came.
        found: u64,
    },
    /// A record of the tree is not what was written.
    #[error("{path}: the {kind} record {key} is damaged. {RESTORE}", path = .path.display())]
    DamagedRecord {
        /// The tree's file.
        path: PathBuf,
        /// Which table.
        kind: Kind,
        /// Which record.
        key: u64,
    },
    /// A named value of the tree is not what was written.
    #[error("{path}: the value {key:?} is damaged. {RESTORE}", path = .path.display())]
    DamagedMeta {
        /// The tree's file.
        path: PathBuf,
        /// Which value.
        key: String,
    },
    /// The records of a table are sound one by one but not all of those that were written.
    #[error("{path}: the {table} table lacks records or holds stale ones. {RESTORE}", path = .path.display())]
    DamagedTable {
        /// The tree's file.
        path: PathBuf,
        /// Which table.
        table: &'static str,
    },
    /// redb found its own structure damaged.
    #[error("{path}: {source}. {RESTORE}", path = .path.display())]
    Database {
        /// The tree's file.
        path: PathBuf,
        /// What redb said.
        source: Box<redb::Error>,
    },
    /// The tree must be reopened after a full disk, and a reader still holds the old one.
    #[error("{path}: a reader still holds the tree from before the disk was full. Try again when it is done", path = .path.display())]
    Busy {
        /// The tree's file.
        path: PathBuf,
    },
}

const RESTORE: &str = "Nothing of it was used: restore the directory from a backup, or empty it and let this server copy the state of its ensemble";
const RESTORE_LOWER: &str =
    "restore the directory from a backup, or empty it and let this server copy the state of its ensemble";

/// Why a record was not staged. Nothing of it was; what was staged before still is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// There is no room on the disk. Later appends succeed by themselves once there is.
    #[error("the disk is full")]
    Full,
    /// The payload exceeds [`RECORD_LEN_MAX`](crate::RECORD_LEN_MAX).
    #[error("a record of {len} bytes is too large for the log")]
    TooLarge {
        /// Bytes of the payload.
        len: usize,
    },
    /// As much is staged as one group may hold ([`STAGED_LEN_MAX`](crate::STAGED_LEN_MAX)): sync, then append again.
    #[error("too much is staged: sync first")]
    SyncFirst,
}

/// Why a group was not made durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SyncError {
    /// There is no room on the disk: everything staged since the last sync was dropped, and never comes back.
    #[error("the disk is full: what was staged is dropped")]
    Full,
}

/// Adds the path and the action to an I/O error; a full disk becomes [`StoreError::Full`].
pub fn io_error(path: &Path, action: &'static str) -> impl FnOnce(io::Error) -> StoreError {
    let path = path.to_path_buf();
    move |source| match crate::disk::is_full(&source) {
        true => StoreError::Full { path },
        false => StoreError::Io { path, action, source },
    }
}
