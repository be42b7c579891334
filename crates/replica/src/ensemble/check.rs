//! Assertions of every invariant, for builds with debug assertions and for the simulator: OmniPaxos
//! asserts next to nothing, so the code around it must.
//!
//! Each type has a `check` of its own beside its fields; this module checks invariants between
//! them, and between one moment and a later one. All of them hold between any two calls of a
//! [`Replica`].

use super::Bugs;
use super::ballot;
use super::configuration::Configuration;
use super::consensus::Consensus;
use super::frame;
use super::journal::scalar;
use super::links::Link;
use super::participation::Participation;
use super::replica::Replica;

/// Values at the last check, which never decrease.
#[derive(Clone, Debug, Default)]
pub(super) struct Seen {
    applied: u64,
    decided: u64,
    configuration: u32,
    /// The promise in that configuration.
    promise: (u32, omnipaxos::ballot_leader_election::Ballot),
    epoch: (u32, omnipaxos::ballot_leader_election::Ballot),
}

impl Replica {
    /// Asserts every invariant of this server.
    ///
    /// # Panics
    /// Panics with the invariant that is broken.
    pub fn check(&mut self) {
        self.check_standing();
        self.check_log();
        self.check_links();
        self.check_lead();
        self.check_service();
        self.outstanding.check();
        self.check_course();
    }

    /// Asserts the same in builds with debug assertions. Known-bad variants are left for the
    /// simulator to find.
    pub(super) fn debug_check(&mut self) {
        if cfg!(debug_assertions) && self.config.bugs == Bugs::default() {
            self.check();
        }
    }

    fn check_standing(&self) {
        let Configuration { id, base, voters } = &self.configuration;
        assert!(voters.is_sorted_by(|a, b| a < b), "invariant: voters {voters:?} are not in order");
        assert!(
            *base <= self.applied.end(),
            "invariant: configuration {id} begins at {base}, {} are applied",
            self.applied.end()
        );
        match &self.participation {
            Participation::Uninitialized(_) => assert!(*id == 0, "invariant: a blank server is in configuration {id}"),
            Participation::Voter(consensus) => {
                assert!(
                    *id > 0 && self.configuration.has(self.config.me),
                    "invariant: it votes, and is no voter of {id}"
                );
                consensus.check(&self.configuration);
            }
            Participation::Learner(_) => assert!(*id > 0, "invariant: a learner is in no configuration"),
        }
        if let Some(next) = &self.next {
            assert!(next.id > *id, "invariant: configuration {} comes behind {id}", next.id);
            assert!(next.base == self.applied.end(), "invariant: {next:?} begins, {} are applied", self.applied.end());
            assert!(
                self.applied.ahead_end() == self.applied.end(),
                "invariant: entries behind the end of a configuration are to be applied"
            );
        }
    }

    fn check_log(&self) {
        let Some(store) = self.store() else { return };
        let store = store.lock();
        store.check();
        let (applied, end) = (self.applied.end(), store.end());
        let decided = store.decided();
        assert!(applied <= decided, "invariant: {applied} entries are applied, {decided} are decided");
        assert!(decided <= end, "invariant: {decided} entries are decided, {end} are accepted");
        let ahead = self.applied.ahead_end();
        assert!(ahead <= decided, "invariant: {ahead} entries are to be applied, {decided} are decided");
        let first = store.journal.first_index();
        assert!(first <= applied, "invariant: the log begins at {first}, {applied} entries are applied");
        let counted = store.applied();
        assert!((applied..=decided).contains(&counted), "invariant: {counted} entries count, {applied} are applied");
        let durable = store.durable_end();
        // A follower may apply what a majority has before its own disk has it.
        let leads = self.consensus().is_some_and(Consensus::leads);
        assert!(!leads || applied <= durable, "invariant: {applied} entries are applied, {durable} are durable");
        let written = store.journal.scalar(scalar::CONFIGURATION).and_then(|bytes| Configuration::decode(&bytes));
        // A journal of the first release has none; and the next one may be written before that is
        // known.
        let is_written =
            written.is_none_or(|written| written == self.configuration || Some(&written) == self.next.as_ref());
        assert!(is_written, "invariant: the log is in another configuration than {:?}", self.configuration);
    }

    fn check_links(&self) {
        let staged = self.consensus().map_or(0, |consensus| consensus.staged);
        for (&peer, link) in &self.links {
            assert!(peer != self.config.me, "invariant: a link to itself");
            link.check(peer, staged);
            let is_voter = self.consensus().is_some() && self.configuration.has(peer);
            assert!(!link.joined || is_voter, "invariant: consensus speaks to {peer}, which does not vote");
            let is_in = |link: &Link| {
                link.status.is_some_and(|status| status.votes && status.configuration == self.configuration.id)
            };
            assert!(
                !link.joined || is_in(link),
                "invariant: consensus speaks to {peer}, which is not in its configuration"
            );
        }
        if let Some((target, ballot)) = self.target {
            let is_up = target == self.config.me || self.links.get(&target).is_some_and(|link| link.up);
            assert!(is_up, "invariant: commands go to {target}, to which there is no link");
            let (former, id) = (ballot.config_id, self.configuration.id);
            assert!(former >= id, "invariant: commands go to a leader of configuration {former} in {id}");
        }
    }

    fn check_lead(&self) {
        let Some(lead) = &self.lead else { return };
        let Some(consensus) = self.consensus() else { panic!("invariant: it leads without a vote") };
        let end = consensus.store.lock().end();
        let is_up = |peer| self.links.get(&peer).is_some_and(|link| link.up);
        lead.check(consensus.promise(), end, self.applied.epoch().map(ballot::from_id), is_up);
    }

    fn check_service(&self) {
        self.contact.check();
        assert!(!self.serving || self.applied.epoch().is_some(), "invariant: it serves without an epoch");
        if let (Some(epoch), Some(consensus)) = (self.applied.epoch().map(ballot::from_id), self.consensus()) {
            let round = consensus.store.lock().round();
            let is_accepted = epoch.config_id != self.configuration.id || epoch <= round;
            assert!(is_accepted, "invariant: {epoch:?} is applied, what is accepted is of {round:?}");
        }
    }

    /// Compares with the values of the last check.
    fn check_course(&mut self) {
        let promise = self.consensus().map(|consensus| ballot::order(consensus.promise())).unwrap_or_default();
        let now = Seen {
            applied: self.applied.end(),
            decided: self.consensus().map_or(0, Consensus::decided),
            configuration: self.configuration.id,
            promise,
            epoch: self.applied.epoch().map(|epoch| ballot::order(ballot::from_id(epoch))).unwrap_or_default(),
        };
        let seen = std::mem::replace(&mut self.seen, now.clone());
        assert!(now.applied >= seen.applied, "invariant: {} entries were applied, now {}", seen.applied, now.applied);
        assert!(now.epoch >= seen.epoch, "invariant: behind epoch {:?} comes {:?}", seen.epoch, now.epoch);
        let (former, id) = (seen.configuration, now.configuration);
        assert!(id >= former, "invariant: behind configuration {former} comes {id}");
        if id == former && self.consensus().is_some() {
            assert!(now.decided >= seen.decided, "invariant: {} were decided, now {}", seen.decided, now.decided);
            assert!(now.promise >= seen.promise, "invariant: promised {:?}, now {:?}", seen.promise, now.promise);
        }
    }

    /// Asserts that this server's disk has what a frame reports: a voter's promise, or what it has
    /// accepted.
    pub(super) fn debug_check_leaving(&self, bytes: &[u8]) {
        if cfg!(debug_assertions) && self.config.bugs == Bugs::default() {
            self.check_leaving(bytes);
        }
    }

    fn check_leaving(&self, bytes: &[u8]) {
        let Some((told, accepted)) = frame::told_of_disk(bytes) else { return };
        let Some(consensus) = self.consensus().filter(|_| told.config_id == self.configuration.id) else { return };
        let store = consensus.store.lock();
        let read = |key| store.journal.scalar(key).and_then(|bytes| ballot::from_bytes(&bytes)).unwrap_or_default();
        let (promise, round, end) = (read(scalar::PROMISE), read(scalar::ROUND), store.journal.next_index());
        assert!(promise >= told, "invariant: {told:?} is promised to others, {promise:?} is durable");
        let Some(accepted) = accepted else { return };
        let is_there = round > told || round == told && end >= accepted;
        assert!(is_there, "invariant: {accepted} entries are accepted in {told:?}, durable are {end} in {round:?}");
    }
}

#[cfg(test)]
pub(crate) mod tests;
