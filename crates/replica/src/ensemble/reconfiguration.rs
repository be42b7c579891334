//! One configuration after the other.
//!
//! The entry whose reconfig changes who votes is the last one of its configuration. So is a renewal, with which voters that
//! have lost their disks are let in: the same voters begin anew. Whatever stands behind it in the log of that is void, decided or not: nobody applies it, and those whose commands it has send them again. A server that has
//! applied the last entry, at index K - 1, cuts its log at K, forgets what it promised and accepted, and writes down the
//! next configuration, in one write. Only then it speaks in the next one, if it votes there, or else learns.
//!
//! Invariants: whoever votes in a configuration began with the same log, all of it decided; of a server's log no more
//! counts than what is applied, until the write.

use oxkeeper_proto::ServerId;
use oxkeeper_state::State;
use oxkeeper_state::reconfig::{self, Ruling};
use parking_lot::RwLock;

use super::ballot;
use super::catch_up::Learner;
use super::configuration::Configuration;
use super::consensus::Consensus;
use super::frame::Status;
use super::journal::{DiskJob, Journal, JournalFull, JournalOp};
use super::links::Link;
use super::participation::Participation;
use super::replica::Replica;
use super::storage::{self, Store};
use crate::Shared;

/// Entries that a server may lack and still count as one that has everything: it will have them in a moment.
const LAG_MAX: u64 = 1_000;

impl Replica {
    /// Begins where the journal and the state are: a crash may have come after the end of a configuration was applied and
    /// before the next one was written.
    pub(super) fn recover(&mut self, written: Configuration, state: &State, now_ms: u64) -> Result<(), JournalFull> {
        let mut journal = self.participation.take_journal();
        let id = Configuration::id_of(state);
        let configuration =
            if id > written.id { Configuration::behind(state, self.applied.end()) } else { written.clone() };
        if configuration != written {
            storage::cut(&mut *journal, self.applied.end(), &configuration, self.config.bugs)()?;
        }
        if !configuration.has(self.config.me) && journal.next_index() > self.applied.end() {
            // It will be told again.
            journal.write(vec![JournalOp::Truncate(self.applied.end())])?;
        }
        self.enter(configuration, journal, None, now_ms);
        Ok(())
    }

    /// An entry is applied: whether it was the last one of its configuration.
    pub(super) fn note_end(&mut self, shared: &RwLock<Shared>) {
        let shared = shared.read();
        if Configuration::id_of(&shared.state) > self.configuration.id && self.next.is_none() {
            self.next = Some(Configuration::behind(&shared.state, self.applied.end()));
            if !self.config.bugs.late_end {
                self.applied.forget_ahead();
            }
        }
    }

    /// Everything of the old configuration is applied and durable: returns the work that ends it.
    pub(super) fn begin_reconfiguration(&mut self, next: &Configuration) -> DiskJob {
        // The others may still need to hear what was decided.
        self.take_outgoing();
        let Some(store) = self.store() else { unreachable!("it has applied something") };
        store.lock().cut(next.base, next, self.config.bugs)
    }

    /// The old configuration has ended, and nothing of it counts any more.
    pub(super) fn finish_reconfiguration(&mut self) {
        let now_ms = self.contact.now_ms();
        let leader = self.consensus().and_then(Consensus::leading_server).or(self.leader().map(|(leader, _)| leader));
        let Some(next) = self.next.take() else { unreachable!("its end was written") };
        let Some(store) = self.store() else { unreachable!("it has applied something") };
        let journal = store.lock().take_journal();
        let written = self.consensus().map_or(0, |consensus| consensus.written);
        for link in self.links.values_mut() {
            link.part();
            link.asked_ms = None;
            link.forget_unwritten(written);
        }
        self.lead = None;
        self.want = None;
        self.applied.forget_ahead();
        self.target = self.target.filter(|(_, ballot)| ballot::order(*ballot).0 >= next.id);
        let leader = leader.filter(|&leader| next.has(leader)).or(next.voters.first().copied());
        let leads_first = leader == Some(self.config.me);
        self.enter(next, journal, Some(leads_first), now_ms);
    }

    /// Before it packs: the leader rules on the reconfigs that wait. One is enough at a time.
    pub(super) fn judge(&mut self, shared: &RwLock<Shared>) {
        let Some(mut lead) = self.lead.take() else { return };
        let awaited = lead.awaited(self.applied.end());
        // The leader behind a renewal rules on them.
        if awaited.is_none_or(|awaited| awaited.is_reconfig) {
            let mut ruled = awaited.is_some();
            lead.judge(|command| {
                if std::mem::replace(&mut ruled, true) {
                    return self.config.ruling.with(Ruling::IN_PROGRESS);
                }
                let wanted = reconfig::preview(&shared.read().state, command, self.config.ruling);
                let has_quorum = wanted.is_ok_and(|membership| self.is_quorum(&membership.voters()));
                self.config.ruling.with(if has_quorum { Ruling::SYNCED } else { Ruling::default() })
            });
        }
        self.lead = Some(lead);
    }

    /// Whether a majority of `voters` is here and has almost everything.
    fn is_quorum(&self, voters: &[ServerId]) -> bool {
        let decided = self.consensus().map_or(0, Consensus::decided);
        let is_here = |&&voter: &&ServerId| {
            let status = self.links.get(&voter).and_then(|link| link.status.filter(|_| link.up));
            let is_synced = |status: Status| !status.is_blank() && status.end + LAG_MAX >= decided;
            voter == self.config.me || status.is_some_and(is_synced)
        };
        voters.iter().filter(is_here).count() > voters.len() / 2
    }

    /// From now on it is in `configuration`. If that begins now, `leads_first` says whether this server should lead it.
    pub(super) fn enter(
        &mut self,
        configuration: Configuration,
        journal: Box<dyn Journal>,
        leads_first: Option<bool>,
        now_ms: u64,
    ) {
        let (me, pace, bugs) = (self.config.me, self.config.pace, self.config.bugs);
        self.configuration = configuration;
        self.participation = if self.configuration.has(me) {
            let configuration = self.configuration.clone();
            let mut consensus = Consensus::new(me, configuration, journal, self.applied.end(), pace, bugs, now_ms);
            consensus.sync_len_max = self.config.sync_len_max;
            match leads_first {
                Some(true) => consensus.lead_first(),
                Some(false) => consensus.follow_first(now_ms),
                None if consensus.is_alone() => consensus.take_over(),
                None => {}
            }
            Participation::Voter(Box::new(consensus))
        } else {
            let store = Store::new(journal, self.applied.end(), self.configuration.id, bugs);
            Participation::Learner(Box::new(Learner::new(store, now_ms)))
        };
        self.ping(None, now_ms);
        let known: Vec<(ServerId, Status)> = self.statuses().collect();
        known.into_iter().for_each(|(peer, status)| self.note_status(peer, status, now_ms));
    }

    /// `peer` stands like that: consensus begins or ends on its link.
    pub(super) fn note_status(&mut self, peer: ServerId, status: Status, now_ms: u64) {
        let together = status.votes && status.configuration == self.configuration.id && self.consensus().is_some();
        let process = self.configuration.process_of(peer).filter(|_| together);
        let Some(link) = self.links.get_mut(&peer) else { return };
        link.status = Some(status);
        if status.votes {
            self.founding.note_voting(peer);
        }
        match (link.joined, process) {
            (false, Some(process)) => {
                // What was said before was for nobody.
                self.take_outgoing();
                // Nor is it told any more what it accepts itself.
                let link = self.links.entry(peer).or_default();
                (link.joined, link.stream) = (true, None);
                let early = link.early.take();
                if let Some(consensus) = self.consensus_mut() {
                    consensus.reconnected(process, now_ms);
                    early.into_iter().for_each(|message| consensus.receive_heartbeat(process, message));
                }
                self.take_outgoing();
            }
            (true, None) => self.part_from(peer, now_ms),
            (true, Some(_)) | (false, None) => {}
        }
    }

    /// Consensus ends on the link to `peer`.
    pub(super) fn part_from(&mut self, peer: ServerId, now_ms: u64) {
        self.take_outgoing();
        self.links.entry(peer).and_modify(Link::part);
        let process = self.configuration.process_of(peer);
        if let (Some(process), Some(consensus)) = (process, self.consensus_mut()) {
            consensus.disconnected(process, now_ms);
        }
    }
}
