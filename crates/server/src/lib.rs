//! Sockets, threads and files: the effects of a server around its pure core.
//!
//! All writes go through one *engine* thread ([`engine`]). A few threads own connections and answer
//! reads where they arrive ([`io`]). One thread writes checkpoints ([`storage`]). The threads pass
//! work to each other through mailboxes and share the state under one lock.
//!
//! Not here: the semantics of operations and the order of replies (`oxkeeper-state`,
//! `oxkeeper-replica`), the contents of the data directory (`oxkeeper-durable`), the command line
//! (`oxkeeper`).
//!
//! * `handoff`: how threads pass work to each other, and sleep. `telemetry`: what they count and
//!   log: roles, counters, the audit log, the watchdog.
//! * `auth`: the users of SASL. `net`: sockets and TLS. `peers`: links to other servers.
//!   `storage`: checkpoints, backups, restores.
//! * `engine`: the thread of all writes; `engine/member` for a server of an ensemble.
//! * `io`: client connections and their threads. `observe`: four-letter words, HTTP, metrics.
//!   `start`: puts a server together, and stops it.
//!
//! A module imports only from modules above it in this list; `tests/arrows.rs` checks this:

mod clock;
mod ended;
pub mod java;
mod memory;
mod thread;

mod handoff;
mod telemetry;

mod auth;
mod net;
mod peers;
mod storage;

mod engine;
mod io;
mod observe;
mod start;

pub use auth::{SaslError, client_account};
pub use ended::Reason;
pub use io::listening::ListenError;
pub use start::error::StartError;
pub use start::prepare::check;
pub use start::server::{Server, StartOptions};
pub use storage::restore;

/// The ZooKeeper version whose behaviour this server implements.
pub const COMPATIBLE_VERSION: &str = "3.9.5";
