//! The second OmniPaxos process of a sole voter: OmniPaxos does not support fewer than two
//! processes.
//!
//! It has no disk, no log and no clock, and accepts what the voter has on disk. This is safe: a
//! majority of two is both of them, so nothing is decided that the voter has not made durable, and
//! no ballot begins that it has not promised. A phantom voter that forgets everything, as this one
//! does all the time, has nothing to report that the voter does not know.

use omnipaxos::messages::sequence_paxos::{Accepted, PaxosMsg, Promise};

use super::storage::LogEntry;

/// Its process id; the voter has the first one.
pub(super) const PROCESS: u64 = 2;

/// Returns whether it answers `message`.
pub(super) fn answers(message: &PaxosMsg<LogEntry>) -> bool {
    matches!(message, PaxosMsg::Prepare(_) | PaxosMsg::AcceptSync(_) | PaxosMsg::AcceptDecide(_))
}

/// Returns its answer once `end` entries, and everything else that came before `message`, are on
/// the voter's disk.
#[expect(clippy::wildcard_enum_match_arm, reason = "of the library's messages those that matter here")]
pub(super) fn answer(message: &PaxosMsg<LogEntry>, end: u64) -> Option<PaxosMsg<LogEntry>> {
    let accepted = |n| Some(PaxosMsg::Accepted(Accepted { n, accepted_idx: end as usize }));
    match message {
        PaxosMsg::Prepare(prepare) => Some(PaxosMsg::Promise(Promise {
            n: prepare.n,
            n_accepted: prepare.n_accepted,
            decided_idx: prepare.decided_idx,
            accepted_idx: prepare.accepted_idx,
            log_sync: None,
        })),
        PaxosMsg::AcceptSync(sync) => accepted(sync.n),
        PaxosMsg::AcceptDecide(accept) => accepted(accept.n),
        _ => None,
    }
}
