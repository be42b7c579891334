//! Apache ZooKeeper's files: snapshots (plain, gzip, snappy) and transaction logs, read and written.
//!
//! Codecs over `Read` and `Write` that hold one record at a time, and what a data directory of them amounts to: a [`State`].
//! Every length is checked before it is used; what is damaged is an error with file and place.
//!
//! Deliberately absent: our own files (`oxkeeper-store`), what a request does (`oxkeeper-state`), the command line.
//!
//! Reading order: [`error`], `input` (checked fields), `compress`, [`snapshot`], [`write`], [`txn`], [`log`], [`replay`],
//! `loading`, [`loss`] (what is missing), [`dir`] (which files count), [`export`].
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
