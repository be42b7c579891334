//! Sockets, threads, files: what a server does to the world around its pure core.
//!
//! One *engine* thread through which every write goes ([`engine`]); a few threads that own connections and answer reads
//! where they arrive ([`io`]); one thread for checkpoints ([`storage`]). They hand things to each other through
//! mailboxes and share the state under one lock.
//!
//! Deliberately absent: what an operation does, and in which order replies leave (`oxkeeper-state`,
//! `oxkeeper-replica`); what is in the data directory (`oxkeeper-durable`); the command line (`oxkeeper`).
//!
//! A folder imports only from those above it in this list, and `tests/arrows.rs` checks that it does:

mod clock;
mod ended;
pub mod java;
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

/// The version of ZooKeeper whose behaviour this server has.
pub const COMPATIBLE_VERSION: &str = "3.9.5";
