//! Apache ZooKeeper's files: snapshots (plain, gzip, snappy) and transaction logs, read and written.
//!
//! Codecs over `Read` and `Write` that hold one record at a time, and a loader that makes a [`State`] from a
//! data directory. Every length is checked before it is used; damage is an error that names file and
//! position.
//!
//! Deliberately absent: our own files (`oxkeeper-store`), the effect of requests (`oxkeeper-state`), the command line.
//!
//! Reading order: [`error`], `input` (checked fields), `compress`, [`snapshot`], [`mod@write`], [`txn`], [`log`],
//! [`replay`], `loading`, [`loss`] (missing parts), [`dir`] (the files that count), [`export`].
//!
//! [`State`]: oxkeeper_state::State

mod compress;
pub mod dir;
pub mod error;
pub mod export;
mod input;
mod loading;
pub mod log;
pub mod loss;
pub mod replay;
pub mod snapshot;
pub mod txn;
pub mod write;

pub use compress::{Compression, open};
pub use error::{FileError, Problem};
pub use loss::Loss;
