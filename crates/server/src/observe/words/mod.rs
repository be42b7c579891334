//! The four-letter words that a client may send instead of a handshake.
//!
//! Pure: [`answer()`] turns a word and [`Facts`] into text; the caller handles sockets, counters and
//! resets. The caller must read exactly the first four bytes; if [`Word::from_bytes`](oxkeeper_config::Word::from_bytes) knows them,
//! read no further (except for [`Word::argument_len`](oxkeeper_config::Word::argument_len) bytes that have already arrived), count one
//! received packet, write the text, and close. The caller must answer even if the client has shut
//! down its side. Source: `S/server/command/*.java`, `NIOServerCnxn#checkFourLetterWord`.

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
