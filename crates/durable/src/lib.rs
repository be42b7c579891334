//! A server's data directory: the files of its durable tree and its log, and the transfer of states
//! between servers.
//!
//! Builds on the storage of `oxkeeper-store` and the state of `oxkeeper-state`; used by the server
//! and the simulator. Deliberately absent: threads, sockets, metrics.
//!
//! * [`recovery`]: rebuilds a running state from the files.
//! * [`checkpoint`]: which parts of a state are written to the durable tree, and under which names.
//! * [`journal`]: the log behind the interface that a replica needs.
//! * [`transfer`]: sends a state to a peer. [`own_log`]: which parts of the receiver's own log
//!   survive a transfer.
//! * [`offline`]: writes or reads the data directory of a server that is not running.

pub mod checkpoint;
pub mod journal;
pub mod layout;
pub mod offline;
pub mod own_log;
pub mod recovery;
pub mod transfer;

pub use journal::LogJournal;
pub use layout::StoreOptions;
pub use recovery::RecoveryError;
