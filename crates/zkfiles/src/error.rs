//! Errors of ZooKeeper's files.

use std::io;
use std::path::{Path, PathBuf};

use oxkeeper_proto::DecodeError;
use thiserror::Error;

/// Defects in the bytes of a file. Offsets are positions in the uncompressed content.
#[derive(Debug, Error)]
pub enum Problem {
    /// The system cannot read the file, or its compression is damaged.
    #[error("cannot be read at byte {offset}: {source}")]
    Unreadable {
        /// Position in bytes.
        offset: u64,
        /// The system's error.
        source: io::Error,
    },
    /// The file ends too early.
    #[error("ends at byte {offset}, inside {what}: the file was cut short")]
    Truncated {
        /// Position in bytes.
        offset: u64,
        /// The part of the file that is incomplete.
        what: &'static str,
    },
    /// The first bytes are not those of the expected kind of file.
    #[error("is not a {wanted}: it begins with {found:#010x}")]
    Foreign {
        /// The expected kind of file.
        wanted: &'static str,
        /// First four bytes of the file.
        found: u32,
    },
    /// The version of the format is not supported.
    #[error("is a {what} of version {found}; this release reads version {supported}")]
    Version {
        /// The kind of file.
        what: &'static str,
        /// Its version.
        found: i32,
        /// The supported version.
        supported: i32,
    },
    /// A checksum does not match.
    #[error("is damaged: the checksum at byte {offset} is {found:#x}, its content has {computed:#x}")]
    Checksum {
        /// Position of the checksum.
        offset: u64,
        /// The checksum in the file.
        found: i64,
        /// The checksum of the content.
        computed: u32,
    },
    /// A value that cannot be right.
    #[error("makes no sense at byte {offset}: {what}")]
    Nonsense {
        /// Position in bytes.
        offset: u64,
        /// Description of the value.
        what: String,
    },
    /// The type of a transaction is unknown.
    #[error(
        "has transaction {zxid:#x} of unknown type {op} at byte {offset}: it was written by a release of ZooKeeper newer than 3.9"
    )]
    UnknownTransaction {
        /// Position in bytes.
        offset: u64,
        /// Zxid of the transaction.
        zxid: i64,
        /// Type of the transaction.
        op: i32,
    },
    /// A transaction cannot be decoded.
    #[error("has transaction {zxid:#x} of type {op} at byte {offset} that cannot be decoded: {source}")]
    Transaction {
        /// Position in bytes.
        offset: u64,
        /// Zxid of the transaction; 0 if not even that can be read.
        zxid: i64,
        /// Type of the transaction.
        op: i32,
        /// The reason.
        source: DecodeError,
    },
}

/// Errors of a file or a directory.
#[derive(Debug, Error)]
pub enum FileError {
    /// The content of a file is defective.
    #[error("{path} {problem}")]
    Content {
        /// The file.
        path: PathBuf,
        /// The defect.
        problem: Problem,
    },
    /// The system refuses an operation on a file.
    #[error("cannot {what} {path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// The operation.
        what: &'static str,
        /// The system's error.
        source: io::Error,
    },
    /// The directory has no files of ZooKeeper.
    #[error("{path} holds no files of Apache ZooKeeper: neither it nor its version-2 has a snapshot.* or a log.*")]
    Empty {
        /// The directory.
        path: PathBuf,
    },
    /// There are logs, but no snapshot.
    #[error(
        "{path} holds transaction logs, but no snapshot to begin with: what was before them is missing. Apache ZooKeeper 3.5 and later writes a snapshot at its first start: is dataDir right, and is --data-log-dir the dataLogDir? (If it was started with snapshot.trust.empty=true, say so in zoo.cfg or SERVER_JVMFLAGS, or with --trust-empty-snapshot)"
    )]
    NoSnapshot {
        /// The directory.
        path: PathBuf,
    },
    /// No snapshot is usable.
    #[error("no snapshot of {path} can be used: {}", problems.join("; "))]
    NoSoundSnapshot {
        /// The directory.
        path: PathBuf,
        /// The defect of each snapshot.
        problems: Vec<String>,
    },
}

impl Problem {
    /// Adds the file's path.
    pub fn of(self, path: &Path) -> FileError {
        FileError::Content { path: path.to_path_buf(), problem: self }
    }
}

/// Makes the error of an operation that the system refused, for `map_err`.
pub fn io_error(path: &Path, what: &'static str) -> impl Fn(io::Error) -> FileError {
    move |source| FileError::Io { path: path.to_path_buf(), what, source }
}
