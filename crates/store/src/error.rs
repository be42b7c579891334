//! Errors in the interface of this crate.
//!
//! There are three kinds, which are never mixed. [`StoreError`] reports what opening and reading
//! can find (the server refuses to start, or a reader stops). [`AppendError`] and [`SyncError`] are
//! refusals that are temporary. A failed write or `fdatasync` is neither but a panic: crash rather
//! than corrupt.

use std::io;
use std::path::{Path, PathBuf};

use crate::tree::Kind;

/// Reason why the store cannot be opened or read. Each variant names the file and, if there is one,
/// the offset in it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The operating system failed.
    #[error("{path}: cannot {action}: {source}. Check the disk, the permissions and the limits of this process", path = .path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// The action that failed, as a verb.
        action: &'static str,
        /// The error from the operating system.
        source: io::Error,
    },
    /// The disk is full.
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
    /// The file has no bytes at all.
    #[error("{path}: the file is empty. {RESTORE}", path = .path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// The file ends within its contents.
    #[error("{path}: the file is truncated: it has {len} bytes, what starts at offset {offset} needs {needed}. {RESTORE}", path = .path.display())]
    Truncated {
        /// The file.
        path: PathBuf,
        /// Offset at which the cut record starts.
        offset: u64,
        /// Length of the file, bytes.
        len: u64,
        /// Length that the file must have, bytes.
        needed: u64,
    },
    /// The file is from another program, or its first bytes were overwritten.
    #[error("{path}: this is not a file of oxkeeper. Move it away; if it should be one, {RESTORE_LOWER}", path = .path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// The file has a format this program does not know.
    #[error("{path}: format version {found} is unknown, this program reads version {supported}. Use the release that wrote it", path = .path.display())]
    UnknownVersion {
        /// The file.
        path: PathBuf,
        /// Version in the file.
        found: u32,
        /// Version this program writes.
        supported: u32,
    },
    /// Bytes of the file are not those that were written.
    #[error("{path}: damaged at offset {offset}: {what}. {RESTORE}", path = .path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Offset of the damage.
        offset: u64,
        /// Description of the mismatch.
        what: &'static str,
    },
    /// A segment of the log is missing.
    #[error("{path}: this segment of the log is missing. Put it back, or {RESTORE_LOWER}", path = .path.display())]
    MissingSegment {
        /// The missing segment.
        path: PathBuf,
    },
    /// The indices of the log's entries are not contiguous.
    #[error("{path}: entry {found} at offset {offset} where entry {expected} belongs. {RESTORE}", path = .path.display())]
    Gap {
        /// The segment.
        path: PathBuf,
        /// Offset of the entry.
        offset: u64,
        /// Expected index.
        expected: u64,
        /// Index found.
        found: u64,
    },
    /// A record of the tree is not what was written.
    #[error("{path}: the {kind} record {key} is damaged. {RESTORE}", path = .path.display())]
    DamagedRecord {
        /// The tree's file.
        path: PathBuf,
        /// Table of the record.
        kind: Kind,
        /// Key of the record.
        key: u64,
    },
    /// A named value of the tree is not what was written.
    #[error("{path}: the value {key:?} is damaged. {RESTORE}", path = .path.display())]
    DamagedMeta {
        /// The tree's file.
        path: PathBuf,
        /// Name of the value.
        key: String,
    },
    /// Each record of a table is intact, but they are not all the records that were written.
    #[error("{path}: the {table} table lacks records or holds stale ones. {RESTORE}", path = .path.display())]
    DamagedTable {
        /// The tree's file.
        path: PathBuf,
        /// Name of the table.
        table: &'static str,
    },
    /// redb found its own structure damaged.
    #[error("{path}: {source}. {RESTORE}", path = .path.display())]
    Database {
        /// The tree's file.
        path: PathBuf,
        /// The error from redb.
        source: Box<redb::Error>,
    },
    /// The tree must be reopened after a full disk, but a reader still holds the old one.
    #[error("{path}: a reader still holds the tree from before the disk was full. Try again when it is done", path = .path.display())]
    Busy {
        /// The tree's file.
        path: PathBuf,
    },
}

const RESTORE: &str = "Nothing of it was used: restore the directory from a backup, or empty it and let this server copy the state of its ensemble";
const RESTORE_LOWER: &str =
    "restore the directory from a backup, or empty it and let this server copy the state of its ensemble";

/// Reason why a record was not staged. Nothing of it was staged; earlier staged records still are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// The disk is full. Later appends succeed once there is room, without any further action.
    #[error("the disk is full")]
    Full,
    /// The payload exceeds [`RECORD_LEN_MAX`](crate::RECORD_LEN_MAX).
    #[error("a record of {len} bytes is too large for the log")]
    TooLarge {
        /// Length of the payload, bytes.
        len: usize,
    },
    /// The staged records have reached the maximum of one group
    /// ([`STAGED_LEN_MAX`](crate::STAGED_LEN_MAX)): sync, then append again.
    #[error("too much is staged: sync first")]
    SyncFirst,
}

/// Reason why a group was not made durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SyncError {
    /// The disk is full: everything staged since the last sync was dropped and will never reappear.
    #[error("the disk is full: what was staged is dropped")]
    Full,
}

/// Adds the path and the action to an I/O error. A full disk becomes [`StoreError::Full`].
pub fn io_error(path: &Path, action: &'static str) -> impl FnOnce(io::Error) -> StoreError {
    let path = path.to_path_buf();
    move |source| match crate::disk::is_full(&source) {
        true => StoreError::Full { path },
        false => StoreError::Io { path, action, source },
    }
}
