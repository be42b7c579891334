//! Why a file is not what it should be.

use std::io;
use std::path::{Path, PathBuf};

use oxkeeper_proto::DecodeError;
use thiserror::Error;

/// What is wrong with the bytes of a file. Offsets are those of the uncompressed content.
#[derive(Debug, Error)]
pub enum Problem {
    /// The system cannot read it, or its compression is damaged.
    #[error("cannot be read at byte {offset}: {source}")]
    Unreadable {
        /// Where.
        offset: u64,
        /// Why.
        source: io::Error,
    },
    /// It ends too early.
    #[error("ends at byte {offset}, inside {what}: the file was cut short")]
    Truncated {
        /// Where.
        offset: u64,
        /// What is there.
        what: &'static str,
    },
    /// It begins with something else.
    #[error("is not a {wanted}: it begins with {found:#010x}")]
    Foreign {
        /// What it should be.
        wanted: &'static str,
        /// Its first four bytes.
        found: u32,
    },
    /// A format this release does not know.
    #[error("is a {what} of version {found}; this release reads version {supported}")]
    Version {
        /// What it is.
        what: &'static str,
        /// Its version.
        found: i32,
        /// The one it should be.
        supported: i32,
    },
    /// A checksum does not hold.
    #[error("is damaged: the checksum at byte {offset} is {found:#x}, its content has {computed:#x}")]
    Checksum {
        /// Where the checksum stands.
        offset: u64,
        /// What it says.
        found: i64,
        /// What it should say.
        computed: u32,
    },
    /// Sound bytes that make no sense.
    #[error("makes no sense at byte {offset}: {what}")]
    Nonsense {
        /// Where.
        offset: u64,
        /// What.
        what: String,
    },
    /// A transaction of a kind this release does not know.
    #[error(
        "has transaction {zxid:#x} of unknown type {op} at byte {offset}: it was written by a release of ZooKeeper newer than 3.9"
    )]
    UnknownTransaction {
        /// Where.
        offset: u64,
        /// Which.
        zxid: i64,
        /// Its type.
        op: i32,
    },
    /// A transaction that cannot be decoded.
    #[error("has transaction {zxid:#x} of type {op} at byte {offset} that cannot be decoded: {source}")]
    Transaction {
        /// Where.
        offset: u64,
        /// Which; 0 if not even that can be read.
        zxid: i64,
        /// Its type.
        op: i32,
        /// What is wrong with it.
        source: DecodeError,
    },
}

/// What is wrong with a file or a directory.
#[derive(Debug, Error)]
pub enum FileError {
    /// Its content.
    #[error("{path} {problem}")]
    Content {
        /// Which file.
        path: PathBuf,
        /// What.
        problem: Problem,
    },
    /// The system refuses it.
    #[error("cannot {what} {path}: {source}")]
    Io {
        /// Which file.
        path: PathBuf,
        /// What was tried.
        what: &'static str,
        /// Why not.
        source: io::Error,
    },
    /// The directory has none of ZooKeeper's files.
    #[error("{path} holds no files of Apache ZooKeeper: neither it nor its version-2 has a snapshot.* or a log.*")]
    Empty {
        /// Which.
        path: PathBuf,
    },
    /// A log without a snapshot.
    #[error(
        "{path} holds transaction logs, but no snapshot to begin with: what was before them is missing. Apache ZooKeeper 3.5 and later writes a snapshot at its first start: is dataDir right, and is --data-log-dir the dataLogDir? (If it was started with snapshot.trust.empty=true, say so in zoo.cfg or SERVER_JVMFLAGS, or with --trust-empty-snapshot)"
    )]
    NoSnapshot {
        /// Which.
        path: PathBuf,
    },
    /// No snapshot can be used.
    #[error("no snapshot of {path} can be used: {}", problems.join("; "))]
    NoSoundSnapshot {
        /// Which directory.
        path: PathBuf,
        /// What is wrong with each.
        problems: Vec<String>,
    },
}

impl Problem {
    /// Of this file.
    pub fn of(self, path: &Path) -> FileError {
        FileError::Content { path: path.to_path_buf(), problem: self }
    }
}

/// For `map_err`: the system refused to do this to the file.
pub fn io_error(path: &Path, what: &'static str) -> impl Fn(io::Error) -> FileError {
    move |source| FileError::Io { path: path.to_path_buf(), what, source }
}
