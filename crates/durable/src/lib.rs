//! A server's data directory: the durable tree and the log of one server, as files, and the states that travel between servers.
//!
//! Uses what `oxkeeper-store` writes and what `oxkeeper-state` means; the server and the simulator use this. Deliberately
//! absent: threads, sockets, metrics.
//!
//! * [`recovery`]: from the files to a running state.
//! * [`checkpoint`]: what of a state is written into the durable tree, and under which names.
//! * [`journal`]: the log as a replica needs it.
//! * [`transfer`]: a peer's state on its way. [`own_log`]: what of the own log survives it.
//! * [`offline`]: a directory at rest, written whole or read.

pub mod checkpoint;
pub mod journal;
pub mod offline;
pub mod own_log;
pub mod recovery;
pub mod transfer;

pub use journal::LogJournal;
pub use recovery::{RecoveryError, StoreOptions};
