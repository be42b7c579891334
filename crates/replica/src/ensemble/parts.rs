//! Parts of a log that leave their server with a state, or survive the installation of one.

use std::cmp::Ordering;
use std::sync::Arc;

use super::ballot;
use super::configuration::Configuration;

/// A part of the log, for a peer that receives the state.
#[derive(Clone, Debug, Default)]
pub struct LogPart {
    /// Entries from the requested index on.
    pub entries: Vec<Arc<[u8]>>,
    /// The tail, if this part reaches the end of the log.
    pub last: Option<LogTail>,
}

/// State that goes with the end of the log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogTail {
    /// The promised ballot.
    pub promise: Vec<u8>,
    /// Ballot of the accepted entries.
    pub round: Vec<u8>,
    /// The configuration of both ballots.
    pub configuration: Vec<u8>,
    /// Index below which everything is decided.
    pub decided: u64,
    /// One past the newest entry.
    pub end: u64,
}

/// The part of the log that a server keeps when it installs another server's state.
#[derive(Clone, Debug, Default)]
pub struct OwnLog {
    /// The promised ballot; empty for none.
    pub promise: Vec<u8>,
    /// Ballot of the accepted entries; empty for none.
    pub round: Vec<u8>,
    /// One past the newest entry.
    pub end: u64,
    /// The `boot` scalar.
    pub boot: Vec<u8>,
    /// The `members` scalar.
    pub members: Vec<u8>,
    /// The `configuration` scalar; empty for a blank server.
    pub configuration: Vec<u8>,
    /// Index of the first of `entries`.
    pub first: u64,
    /// Entries that are not known to be decided.
    pub entries: Vec<Arc<[u8]>>,
}

impl OwnLog {
    /// Returns the id of its configuration; 0 for a blank server.
    pub fn configuration_id(&self) -> u32 {
        Configuration::decode(&self.configuration).map_or(0, |configuration| configuration.id)
    }

    /// Returns its entries from `index` on.
    pub fn suffix(&self, index: u64) -> Vec<Arc<[u8]>> {
        let skipped = index.saturating_sub(self.first) as usize;
        self.entries.iter().skip(skipped).cloned().collect()
    }
}

/// Orders logs by precedence for a new leader: the later configuration wins, then the later round,
/// then the longer log.
pub fn compare_rounds(a: (&[u8], u64), b: (&[u8], u64)) -> Ordering {
    let round = |bytes| ballot::order(ballot::from_bytes(bytes).unwrap_or_default());
    (round(a.0), a.1).cmp(&(round(b.0), b.1))
}

/// Returns the later of two ballots, either of which may be none.
pub fn greater_ballot(a: &[u8], b: &[u8]) -> Vec<u8> {
    if compare_rounds((a, 0), (b, 0)).is_ge() { a.to_vec() } else { b.to_vec() }
}
