//! Sockets, threads, files: what a server does to the world around its pure core.
//!
//! One *engine* thread through which every write goes ([`engine`]); a few threads that own connections and answer reads
//! where they arrive ([`io`]); one thread for checkpoints ([`checkpoint`]). They hand things to each other through
//! [`mailbox`]es and share the state under one lock.
//!
//! Deliberately absent: what an operation does, and in which order replies leave (`oxkeeper-state`,
//! `oxkeeper-replica`); what is in the data directory (`oxkeeper-durable`); the command line (`oxkeeper`).
//!
//! Reading order: [`serve`], [`prepare`], [`io`], [`client`], [`engine`], [`checkpoint`], [`restore`], [`alone`], [`config`],
//! [`words`].

mod admin;
mod admission;
mod alone;
mod audit;
mod auth;
mod backup;
mod checkpoint;
mod client;
mod clock;
pub mod config;
mod ended;
mod engine;
mod ensemble;
mod handoff;
mod io;
mod limits;
mod listening;
mod mailbox;
mod metrics;
mod mover;
mod peers;
mod prepare;
mod pulse;
mod report;
pub mod restore;
mod role;
mod serve;
mod slow;
mod socket_queue;
mod tls;
pub mod words;
mod words_service;

pub use auth::{SaslError, client_account};
pub use ended::Reason;
pub use prepare::check;
pub use serve::{Server, StartError, StartOptions};
