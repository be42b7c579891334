//! Ballots as bytes: in frames, in scalars, and in log entries, where they are opaque.

use bytes::BufMut;
use omnipaxos::ballot_leader_election::Ballot;
use oxkeeper_state::command::BallotId;

/// Bytes of a ballot: configuration, number, priority (u32 each), process id (u64).
pub(crate) const BALLOT_LEN: usize = 20;

pub(crate) fn to_id(ballot: Ballot) -> BallotId {
    let mut id = [0; BALLOT_LEN];
    let mut out = id.as_mut_slice();
    out.put_u32(ballot.config_id);
    out.put_u32(ballot.n);
    out.put_u32(ballot.priority);
    out.put_u64(ballot.pid);
    BallotId(id)
}

pub(crate) fn from_id(id: BallotId) -> Ballot {
    let word = |at: usize| u32::from_be_bytes([id.0[at], id.0[at + 1], id.0[at + 2], id.0[at + 3]]);
    let pid = u64::from(word(12)) << 32 | u64::from(word(16));
    Ballot { config_id: word(0), n: word(4), priority: word(8), pid }
}

/// Returns the number of a ballot, which grows with each leader.
pub fn ballot_number(id: BallotId) -> u32 {
    from_id(id).n
}

/// Decodes a scalar; `None` if it is not a ballot.
pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Ballot> {
    bytes.try_into().ok().map(|id| from_id(BallotId(id)))
}

/// Returns a sort key with the configuration first: ballots themselves do not compare it, and their
/// numbers begin anew in each configuration.
pub(crate) fn order(ballot: Ballot) -> (u32, Ballot) {
    (ballot.config_id, ballot)
}
