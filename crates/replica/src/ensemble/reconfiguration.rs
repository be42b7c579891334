//! Change from one configuration to the next.
//!
//! The entry whose reconfig changes the voters is the last one of its configuration. So is a
//! renewal, which admits voters that have lost their disks: the same voters begin anew. Everything
//! behind it in the log of that configuration is void, decided or not: no server applies it, and
//! the servers whose commands it has send them again. A server that has applied the last entry, at
//! index K - 1, cuts its log at K, forgets what it promised and accepted, and records the next
//! configuration, in one write. Only then does it speak in the next configuration, if it votes
//! there, or else learn.
//!
//! Invariants: all voters of a configuration begin with the same log, all of it decided; until the
//! write, only the applied part of a server's log counts.

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

/// Number of entries that a server may lack and still count as up to date: it will have them in a
/// moment.
const LAG_MAX: u64 = 1_000;

impl Replica {
    /// Resumes where the journal and the state are: there may have been a crash after the end of a
    /// configuration was applied and before the next one was written.
    pub(super) fn recover(&mut self, written: Configuration, state: &State, now_ms: u64) -> Result<(), JournalFull> {
        let mut journal = self.participation.take_journal();
        let id = Configuration::id_of(state);
        let configuration =
            if id > written.id { Configuration::behind(state, self.applied.end()) } else { written.clone() };
        if configuration != written {
            storage::cut(&mut *journal, self.applied.end(), &configuration, self.config.bugs)()?;
        }
        if !configuration.has(self.config.me) && journal.next_index() > self.applied.end() {
            // It will be sent these again.
            journal.write(vec![JournalOp::Truncate(self.applied.end())])?;
        }
        self.enter(configuration, journal, None, now_ms);
        Ok(())
    }

    /// Notes that an entry is applied, which may be the last one of its configuration.
    pub(super) fn note_end(&mut self, shared: &RwLock<Shared>) {
        let shared = shared.read();
        if Configuration::id_of(&shared.state) > self.configuration.id && self.next.is_none() {
            self.next = Some(Configuration::behind(&shared.state, self.applied.end()));
            if !self.config.bugs.late_end {
                self.applied.forget_ahead();
            }
        }
    }

    /// Returns the work that ends the old configuration, all of which is applied and durable.
    pub(super) fn begin_reconfiguration(&mut self, next: &Configuration) -> DiskJob {
        // The others may still need to hear what was decided.
        self.take_outgoing();
        let Some(store) = self.store() else { unreachable!("it has applied something") };
        store.lock().cut(next.base, next, self.config.bugs)
    }

    /// Enters the next configuration: the old one has ended, and nothing of it counts any longer.
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

    /// Rules, as the leader, on the waiting reconfigs before packing. One at a time is enough.
    pub(super) fn judge(&mut self, shared: &RwLock<Shared>) {
        let Some(mut lead) = self.lead.take() else { return };
        let awaited = lead.awaited(self.applied.end());
        // The leader that follows a renewal rules on them.
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

    /// Returns whether a majority of `voters` is linked and has almost everything.
    fn is_quorum(&self, voters: &[ServerId]) -> bool {
        let decided = self.consensus().map_or(0, Consensus::decided);
        let is_here = |&&voter: &&ServerId| {
            let status = self.links.get(&voter).and_then(|link| link.status.filter(|_| link.up));
            let is_synced = |status: Status| !status.is_blank() && status.end + LAG_MAX >= decided;
            voter == self.config.me || status.is_some_and(is_synced)
        };
        voters.iter().filter(is_here).count() > voters.len() / 2
    }

    /// Enters `configuration`. If it has just begun, `leads_first` says whether this server should
    /// lead it.
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

    /// Notes the status of `peer`, on whose link consensus may begin or end.
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
                // Messages from before were addressed to no one.
                self.take_outgoing();
                // The peer now accepts entries itself and need not be sent decided ones.
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

    /// Ends consensus on the link to `peer`.
    pub(super) fn part_from(&mut self, peer: ServerId, now_ms: u64) {
        self.take_outgoing();
        self.links.entry(peer).and_modify(Link::part);
        let process = self.configuration.process_of(peer);
        if let (Some(process), Some(consensus)) = (process, self.consensus_mut()) {
            consensus.disconnected(process, now_ms);
        }
    }
}
