//! Parts of a log that leave their server: with a state that is sent, and what survives one that is installed.

use std::cmp::Ordering;
use std::sync::Arc;

use super::ballot;
use super::configuration::Configuration;

/// A part of the log, for a peer that is sent the state.
#[derive(Clone, Debug, Default)]
pub struct LogPart {
    /// From the index asked for on.
    pub entries: Vec<Arc<[u8]>>,
    /// It reaches the log's end.
    pub last: Option<LogTail>,
}

/// What goes with the log's end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogTail {
    /// Ballot promised.
    pub promise: Vec<u8>,
    /// Ballot of the accepted entries.
    pub round: Vec<u8>,
    /// The configuration of both.
    pub configuration: Vec<u8>,
    /// Everything below is decided.
    pub decided: u64,
    /// One past the newest entry.
    pub end: u64,
}

/// What a server has of the log before it installs another one's state.
#[derive(Clone, Debug, Default)]
pub struct OwnLog {
    /// Ballot promised; empty for none.
    pub promise: Vec<u8>,
    /// Ballot of the accepted entries; empty for none.
    pub round: Vec<u8>,
    /// One past the newest entry.
    pub end: u64,
    /// The scalar of that name.
    pub boot: Vec<u8>,
    /// The scalar of that name.
    pub members: Vec<u8>,
    /// The scalar of that name; empty of a blank server.
    pub configuration: Vec<u8>,
    /// Index of the first of `entries`.
    pub first: u64,
    /// What is not known to be decided.
    pub entries: Vec<Arc<[u8]>>,
}

impl OwnLog {
    /// The id of its configuration; 0 of a blank server.
    pub fn configuration_id(&self) -> u32 {
        Configuration::decode(&self.configuration).map_or(0, |configuration| configuration.id)
    }

    /// Its entries from `index` on.
    pub fn suffix(&self, index: u64) -> Vec<Arc<[u8]>> {
        let skipped = index.saturating_sub(self.first) as usize;
        self.entries.iter().skip(skipped).cloned().collect()
    }
}

/// Which log a new leader would take over: that of the later configuration, of the same one that of the later round, of
/// the same round the longer one.
pub fn compare_rounds(a: (&[u8], u64), b: (&[u8], u64)) -> Ordering {
    let round = |bytes| ballot::order(ballot::from_bytes(bytes).unwrap_or_default());
    (round(a.0), a.1).cmp(&(round(b.0), b.1))
}

/// The later of two ballots, either of which may be none.
pub fn greater_ballot(a: &[u8], b: &[u8]) -> Vec<u8> {
    if compare_rounds((a, 0), (b, 0)).is_ge() { a.to_vec() } else { b.to_vec() }
}
