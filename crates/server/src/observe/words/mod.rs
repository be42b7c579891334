//! The four-letter words: what a client gets that sends one instead of a handshake.
//!
//! Pure: [`answer`] turns a word and [`Facts`] into text; sockets, counters and resets are the caller's.
//! The caller's part: read exactly the first four bytes; if [`Word::from_bytes`] knows them, read no further (but
//! [`Word::argument_len`] bytes that are already there), count one received packet, write the text, close. Answer also
//! after the client has shut down its side.
//! Source: `S/server/command/*.java`, `NIOServerCnxn#checkFourLetterWord`.

mod answer;
mod facts;
pub(crate) mod metrics;
#[cfg(test)]
mod tests;

pub(crate) use answer::{Effect, answer};
pub(crate) use facts::{
    ConfigurationFacts, ConnectionFacts, ConnectionSession, Directories, EnsembleFacts, Environment, ExpiryBucket,
    Facts, GlobalSessions, ProposalSizes, ServerFacts, SessionFacts, WatchSummary, full_version, last_operation,
};
