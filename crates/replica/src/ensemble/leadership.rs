//! State of a leader, from its election until another server leads: it takes commands, lets blank
//! servers join, and packs both into entries of the log.
//!
//! Invariants: commands are taken once the leader's own epoch is applied; behind an entry that ends
//! the configuration, or may, nothing is packed until that entry is applied.

use omnipaxos::ballot_leader_election::Ballot;
use oxkeeper_proto::{ServerId, SessionId};
use oxkeeper_state::command::{BallotId, Renewal, begin_agreed_at};
use oxkeeper_state::reconfig::Ruling;
use oxkeeper_state::{Command, Level, State};

use super::Bugs;
use super::ballot;
use super::configuration::Configuration;
use super::consensus::Consensus;
use super::frame::BadFrame;
use super::leadership_transfer::Leaving;
use super::proposal_queue::{Packed, ProposalQueue};

/// Bytes of undecided entries at which the leader stops packing.
const UNDECIDED_LEN_MAX: usize = 32 << 20;

/// See the module.
#[derive(Debug)]
pub(super) struct Leadership {
    ballot: Ballot,
    /// Whether its epoch is not in the log yet.
    wants_epoch: bool,
    /// The highest feature level that is agreed on or proposed; known once its epoch is applied.
    raised: Level,
    /// Queue of commands; set once its epoch is applied.
    queue: Option<ProposalQueue>,
    /// The leader's own commands, for the next entry.
    own: Vec<u8>,
    /// Blank servers that have asked to join.
    joining: Vec<Joining>,
    /// The entry behind which nothing is packed until it is applied.
    awaits: Option<Awaited>,
    /// The transfer in progress, if the leader wants another server to lead.
    pub(super) leaving: Option<Leaving>,
}

/// An entry that ends the configuration, or may.
#[derive(Clone, Copy, Debug)]
pub(super) struct Awaited {
    /// One past the index of the entry.
    pub(super) end: u64,
    /// Whether it may contain a reconfig; otherwise it is a renewal.
    pub(super) is_reconfig: bool,
}

/// A blank server that wants to join.
#[derive(Debug)]
pub(super) struct Joining {
    pub(super) blank: ServerId,
    /// The server that asked: the blank server itself, or one that has a link to it.
    pub(super) via: ServerId,
    /// Number of the link of `via`.
    pub(super) link: u64,
    /// Index from which on it may join.
    pub(super) safe_from: Option<u64>,
}

/// Input for packing.
pub(super) struct Packing<'a> {
    pub(super) applied: u64,
    pub(super) wall_ms: i64,
    pub(super) entry_len_max: usize,
    pub(super) configuration: &'a Configuration,
    pub(super) bugs: Bugs,
    /// Encodes the epoch as a log entry.
    pub(super) epoch: &'a dyn Fn(BallotId) -> Vec<u8>,
}

impl Leadership {
    /// Begins a leadership, with its epoch as the first entry.
    pub(super) fn new(ballot: Ballot) -> Leadership {
        Leadership {
            ballot,
            wants_epoch: true,
            raised: Level::NONE,
            queue: None,
            own: Vec::new(),
            joining: Vec::new(),
            awaits: None,
            leaving: None,
        }
    }

    pub(super) fn ballot(&self) -> Ballot {
        self.ballot
    }

    /// Opens the queue for commands, now that the epoch is applied to `state`.
    pub(super) fn open(&mut self, state: &State, knows: Level, bugs: Bugs) {
        self.raised = state.level();
        if bugs.early_proposals {
            return;
        }
        let mut queue = ProposalQueue::open(state);
        queue.takes_all = bugs.no_duplicate_filter;
        if bugs.own_level {
            queue.level = knows;
        }
        self.queue = Some(queue);
    }

    /// Returns whether it takes commands.
    pub(super) fn is_open(&self) -> bool {
        self.queue.is_some()
    }

    /// Takes commands of a member, and returns the sessions whose clients have come back.
    ///
    /// # Errors
    /// Returns an error if they are not valid commands; none is taken.
    pub(super) fn take(
        &mut self,
        server: ServerId,
        boot: u64,
        first: u64,
        commands: Vec<u8>,
    ) -> Result<Vec<SessionId>, BadFrame> {
        let Some(queue) = &mut self.queue else { return Ok(Vec::new()) };
        queue.take(server, boot, first, commands)?;
        Ok(std::mem::take(&mut queue.resumed))
    }

    /// Takes a command of the leader itself.
    pub(super) fn take_own(&mut self, command: &Command<'_>) {
        command.encode(&mut self.own);
    }

    /// Takes the counts of what was packed since the last call.
    pub(super) fn take_packed(&mut self) -> Packed {
        self.queue.as_mut().map(|queue| std::mem::take(&mut queue.packed)).unwrap_or_default()
    }

    /// Returns whether commands wait, or the epoch does.
    pub(super) fn has_work(&self) -> bool {
        self.queue.as_ref().map_or(self.wants_epoch, |queue| !queue.is_empty())
    }

    /// Notes that a blank server wants to join.
    pub(super) fn ask_to_join(&mut self, blank: ServerId, via: ServerId, link: u64) {
        if self.is_open() && self.joining.iter().all(|joining| joining.blank != blank) {
            self.joining.push(Joining { blank, via, link, safe_from: None });
        }
    }

    /// Forgets the requests to join through `peer`, whose link has ended: a server that asks over
    /// the next link may have had data meanwhile.
    pub(super) fn forget_joining_via(&mut self, peer: ServerId) {
        self.joining.retain(|joining| joining.via != peer);
    }

    /// Takes the servers that may join now that `applied` entries are applied; `may` says which of
    /// them may join at all.
    pub(super) fn take_joined(&mut self, applied: u64, may: impl Fn(ServerId) -> bool) -> Vec<Joining> {
        let all = std::mem::take(&mut self.joining).into_iter();
        let (safe, waiting): (Vec<_>, Vec<_>) =
            all.partition(|joining| joining.safe_from.is_some_and(|index| index <= applied));
        self.joining = waiting;
        safe.into_iter().filter(|joining| may(joining.blank)).collect()
    }

    /// Returns the entry behind which nothing is packed, if it is not applied yet.
    pub(super) fn awaited(&self, applied: u64) -> Option<Awaited> {
        self.awaits.filter(|awaited| applied < awaited.end)
    }

    /// Rules on the waiting reconfigs.
    pub(super) fn judge(&mut self, rule: impl FnMut(&Command<'_>) -> Ruling) {
        if let Some(queue) = &mut self.queue {
            queue.judge(rule);
        }
    }

    /// Returns the highest level that is agreed on or proposed.
    pub(super) fn raised(&self) -> Level {
        self.raised
    }

    /// Notes that this leader has proposed `level`.
    pub(super) fn propose(&mut self, level: Level) {
        self.raised = level;
    }

    /// Notes that an entry has raised the level: entries packed from now on may use it.
    pub(super) fn note_level(&mut self, level: Level) {
        self.queue.iter_mut().for_each(|queue| queue.level = level);
    }

    /// Packs waiting commands and requests into entries of the log.
    pub(super) fn pack(&mut self, consensus: &mut Consensus, packing: &Packing<'_>) {
        if std::mem::take(&mut self.wants_epoch) {
            consensus.append((packing.epoch)(ballot::to_id(self.ballot)));
            if packing.bugs.early_proposals {
                self.queue = Some(ProposalQueue::default());
            }
        }
        let Some(queue) = &mut self.queue else { return };
        if !self.own.is_empty() {
            queue.take_own(std::mem::take(&mut self.own));
        }
        self.awaits = self.awaited(packing.applied);
        if self.awaits.is_none() {
            self.pack_joining(consensus, packing);
        }
        if self.awaits.is_none() {
            self.pack_commands(consensus, packing);
        }
    }

    /// Packs an entry for the servers that want to join. A server that lost everything may have
    /// acknowledged what only one other server has, and promised what only a candidate knows. It
    /// took no part in what is decided from now on: a state that has such an entry has everything
    /// that was acknowledged. If the server votes, the entry ends the configuration: in the next
    /// one it has promised nothing yet.
    fn pack_joining(&mut self, consensus: &mut Consensus, packing: &Packing<'_>) {
        let Some(queue) = &self.queue else { return };
        let (ballot, time_ms, level) = (ballot::to_id(self.ballot), packing.wall_ms, queue.level);
        let votes = |blank: ServerId| packing.configuration.has(blank) && !packing.bugs.lasting_configuration;
        // Voters wait until every member knows renewals.
        let may_renew = level >= Renewal::NEEDS || packing.bugs.own_level;
        let is_new = |joining: &&mut Joining| joining.safe_from.is_none() && (may_renew || !votes(joining.blank));
        let new: Vec<&mut Joining> = self.joining.iter_mut().filter(is_new).collect();
        if new.is_empty() {
            return;
        }
        let servers = new.iter().map(|joining| joining.blank).filter(|&blank| votes(blank)).collect();
        let renewal = Renewal { ballot, time_ms, servers };
        let mut entry = Vec::new();
        match renewal.servers.is_empty() {
            // An entry without commands only shows that it was decided.
            true => begin_agreed_at(level, ballot, time_ms, &mut entry),
            false => renewal.encode(&mut entry),
        }
        consensus.append(entry);
        let end = consensus.store.lock().end();
        new.into_iter().for_each(|joining| joining.safe_from = Some(end));
        if !renewal.servers.is_empty() {
            self.awaits = Some(Awaited { end, is_reconfig: false });
        }
    }

    fn pack_commands(&mut self, consensus: &mut Consensus, packing: &Packing<'_>) {
        let Some(queue) = &mut self.queue else { return };
        let ballot = ballot::to_id(self.ballot);
        while !queue.is_empty() && consensus.undecided_len() < UNDECIDED_LEN_MAX {
            let (entry, reconfigs) = queue.pack(ballot, packing.wall_ms, packing.entry_len_max);
            consensus.append(entry);
            if reconfigs {
                self.awaits = Some(Awaited { end: consensus.store.lock().end(), is_reconfig: true });
                return;
            }
        }
    }

    /// Asserts every invariant. The server has promised `promise`, has a log of `end` entries and
    /// has applied `epoch`.
    pub(super) fn check(&self, promise: Ballot, end: u64, epoch: Option<Ballot>, is_up: impl Fn(ServerId) -> bool) {
        let Leadership { ballot, queue, joining, awaits, .. } = self;
        assert!(*ballot <= promise, "invariant: it leads {ballot:?}, and has promised {promise:?}");
        assert!(awaits.is_none_or(|awaited| awaited.end <= end), "invariant: it awaits {awaits:?} of {end} entries");
        if let Some(queue) = queue {
            assert!(epoch == Some(*ballot), "invariant: it takes commands for {ballot:?} in {epoch:?}");
            queue.check();
        }
        for (place, Joining { blank, via, safe_from, .. }) in joining.iter().enumerate() {
            let is_known = joining[..place].iter().any(|other| other.blank == *blank);
            assert!(!is_known, "invariant: {blank} joins twice");
            assert!(safe_from.is_none_or(|index| index <= end), "invariant: {blank} joins at {safe_from:?}");
            assert!(is_up(*via), "invariant: {blank} joins over no link");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ensemble::check::tests::assert_found;

    const BALLOT: Ballot = Ballot { config_id: 1, n: 2, priority: 0, pid: 1 };
    const LATER: Ballot = Ballot { config_id: 1, n: 3, priority: 0, pid: 2 };

    fn joining(blank: u8, via: u8) -> Joining {
        Joining { blank: ServerId(blank), via: ServerId(via), link: 1, safe_from: None }
    }

    fn leadership() -> Leadership {
        let mut leadership = Leadership::new(BALLOT);
        leadership.open(&State::new(1), Level::KNOWN, Bugs::default());
        leadership.ask_to_join(ServerId(8), ServerId(8), 1);
        leadership
    }

    #[test]
    fn what_is_wrong_in_a_leadership_is_found() {
        assert_found(
            leadership,
            |leadership| leadership.check(BALLOT, 3, Some(BALLOT), |peer| peer < ServerId(9)),
            &[
                ("it leads Ballot", |it| it.ballot = LATER),
                ("of 3 entries", |it| it.awaits = Some(Awaited { end: 9, is_reconfig: false })),
                ("8 joins twice", |it| it.joining.push(joining(8, 7))),
                ("7 joins at Some(8)", |it| it.joining.push(Joining { safe_from: Some(8), ..joining(7, 7) })),
                ("7 joins over no link", |it| it.joining.push(joining(7, 9))),
            ],
        );
    }

    #[test]
    fn commands_are_taken_in_the_leaders_own_epoch_only() {
        let wrong = std::panic::catch_unwind(|| leadership().check(BALLOT, 3, Some(LATER), |_| true));
        let said = *wrong.expect_err("it is found").downcast::<String>().expect("it is said");
        assert!(said.contains("it takes commands for Ballot"), "{said}");
    }

    #[test]
    fn who_asks_twice_joins_once_and_over_a_link_that_lasts() {
        let mut leadership = leadership();
        leadership.ask_to_join(ServerId(8), ServerId(7), 2);
        leadership.forget_joining_via(ServerId(7));
        assert_eq!(leadership.joining.len(), 1);
        leadership.forget_joining_via(ServerId(8));
        assert_eq!(leadership.joining.len(), 0);
    }
}
