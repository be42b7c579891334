//! Servers that are told what is decided, because they do not vote, or because they lack more than is sent to a voter at once,
//! or because they missed the end of the configuration that they vote in.
//!
//! A learner follows the leader, or whoever is ahead of it: it names an index, and gets every entry from there on that its
//! source has applied, a part at a time. It promises and accepts nothing, so nothing it has counts for anybody else.
//!
//! A voter whose peers are in a later configuration asks for what it lacks of its own. It keeps its log and its vote until
//! all of that is there, and gives both up in one write: had it given up before, entries that only it and a server that has
//! gone since had accepted would be lost. Who lacks more than a frame holds fetches the state, which is kept beside the own
//! one until it is whole.
//!
//! A voter that lacks much gives up its part in consensus, not its promise nor what it has accepted, and learns until it has what
//! its peers said was decided; then it votes again, as if it had started anew. It takes a mebibyte at a time, so neither side needs
//! room for more, and heartbeats wait for nothing.
//!
//! Invariant: entries that are told are applied where they come from, so none of them is behind the end of its
//! configuration.

use omnipaxos::ballot_leader_election::Ballot;
use oxkeeper_proto::ServerId;
use oxkeeper_state::Level;
use oxkeeper_state::command::Entry;

use super::ballot;
use super::consensus::Consensus;
use super::frame::{Frame, Status};
use super::links::{Link, Stream};
use super::participation::Participation;
use super::replica::{Replica, Want};
use super::storage::{LogEntry, Store};

/// Bytes of entries told at once.
const PART_LEN: usize = 1 << 20;
/// Bytes of entries that a voter is brought along by; one that lacks more fetches the state. One write of the log.
const BRING_LEN_MAX: usize = 8 << 20;
/// A voter that sees a later configuration has so long to come there by itself, ms.
const GRACE_MS: u64 = 100;
/// A voter that learns for now votes again after this time without news: its source cannot tell it more, ms. On a slow network a
/// part takes long, but not so long.
const STALL_MS: u64 = 20_000;
/// It asks again after this time, ms.
const ASK_AGAIN_MS: u64 = 500;

/// A server that does not vote.
#[derive(Debug)]
pub(super) struct Learner {
    pub(super) store: Store,
    /// Who tells it.
    source: Option<ServerId>,
    pub(super) next_ping_ms: u64,
    /// It is a voter, and will be again; when it was last told something new, ms.
    returns: Option<u64>,
    /// It lacks decided entries up to there at least.
    lacks_until: u64,
    /// It has what it lacked, takes no more, and votes again once that is durable and applied.
    is_complete: bool,
}

impl Learner {
    pub(super) fn new(store: Store, now_ms: u64) -> Learner {
        Learner { store, source: None, next_ping_ms: now_ms, returns: None, lacks_until: 0, is_complete: false }
    }

    /// Whether it only learns for now, and votes otherwise.
    pub(super) fn returns(&self) -> bool {
        self.returns.is_some()
    }

    /// Returns how many entries it need not be told. Of the log that it had as a voter, only decided entries count.
    fn known(&self) -> u64 {
        let store = self.store.lock();
        if self.returns() { store.decided() } else { store.end() }
    }

    /// Whether it is time to say how it stands.
    pub(super) fn is_due(&mut self, now_ms: u64, heartbeat_ms: u64) -> bool {
        let due = now_ms >= self.next_ping_ms;
        if due {
            self.next_ping_ms = now_ms + heartbeat_ms;
        }
        due
    }
}

impl Replica {
    /// Looks whom to follow, or whom to ask.
    pub(super) fn catch_up(&mut self, now_ms: u64) {
        match &self.participation {
            Participation::Learner(_) => self.follow(),
            Participation::Voter(_) => self.ask_for_the_end(now_ms),
            Participation::Uninitialized(_) => {}
        }
    }

    fn follow(&mut self) {
        let leader = self.leader().map(|(leader, _)| leader);
        let Participation::Learner(learner) = &self.participation else { return };
        let end = learner.known();
        let ahead = self.statuses().filter(|(_, status)| !status.is_blank() && status.decided > end);
        let source = leader.or(ahead.max_by_key(|(_, status)| (status.configuration, status.decided)).map(|it| it.0));
        let Participation::Learner(learner) = &mut self.participation else { return };
        if source.is_some() && source != learner.source {
            learner.source = source;
            source.into_iter().for_each(|source| self.say(source, &Frame::Follow(end)));
        }
    }

    /// Nothing comes from `peer` any more.
    pub(super) fn unfollow(&mut self, peer: ServerId) {
        if let Participation::Learner(learner) = &mut self.participation
            && learner.source == Some(peer)
        {
            learner.source = None;
        }
    }

    /// Whether this server learns, and from `peer`.
    pub(super) fn is_told_by(&self, peer: ServerId) -> bool {
        matches!(&self.participation, Participation::Learner(learner) if learner.source == Some(peer))
    }

    /// A voter whose peers are in a later configuration.
    fn ask_for_the_end(&mut self, now_ms: u64) {
        let (id, applied) = (self.configuration.id, self.applied.end());
        let later = self.statuses().filter(|(_, status)| status.configuration > id && status.base > applied);
        let latest = later.max_by_key(|(peer, status)| (status.leading, status.configuration, *peer));
        let Some((peer, link)) = latest.and_then(|(peer, _)| Some((peer, self.links.get_mut(&peer)?))) else { return };
        let ask_ms = *link.asked_ms.get_or_insert(now_ms + GRACE_MS);
        if now_ms >= ask_ms {
            link.asked_ms = Some(now_ms + ASK_AGAIN_MS);
            self.say(peer, &Frame::Lacks(applied));
        }
    }

    /// `peer` lacks a state that only a transfer brings.
    pub(super) fn want_state_of(&mut self, peer: ServerId) {
        if self.participation.is_blank() {
            // It must be let in first.
            return;
        }
        let configuration = self.links.get(&peer).and_then(|link| link.status).map_or(0, |status| status.configuration);
        if configuration >= self.configuration.id {
            self.want = Some(Want::Install { from: peer, at: self.applied.end() });
        }
    }

    /// Whether this server leads, and nobody is further: then it has all that a majority has.
    pub(super) fn leads_all(&self) -> bool {
        let later = |(_, status): (ServerId, Status)| status.configuration > self.configuration.id;
        self.lead.is_some() && !self.statuses().any(later)
    }

    /// `peer` is told everything from now on.
    pub(super) fn begin_stream(&mut self, peer: ServerId, from: u64) {
        if let Some(link) = self.links.get_mut(&peer) {
            link.stream = Some(Stream { next: from, waits: false });
        }
    }

    /// `peer` has what it was told.
    pub(super) fn go_on_with_stream(&mut self, peer: ServerId, end: u64) {
        if let Some(stream) = self.links.get_mut(&peer).and_then(|link| link.stream.as_mut())
            && stream.next == end
        {
            stream.waits = false;
        }
    }

    /// Whether somebody can be told something.
    pub(super) fn may_feed(&self) -> bool {
        self.store().is_some() && self.links.values().any(|link| is_hungry(link, self.applied.end()))
    }

    /// Tells those who follow this server.
    pub(super) fn feed(&mut self) {
        let applied = self.applied.end();
        let hungry = self.links.iter().filter(|(_, link)| is_hungry(link, applied));
        for peer in hungry.map(|(&peer, _)| peer).collect::<Vec<_>>() {
            let stream = self.links.get_mut(&peer).and_then(|link| link.stream.take());
            let Some(Stream { next, .. }) = stream else { continue };
            match self.part(next, applied, PART_LEN) {
                Some(entries) => {
                    let next = next + entries.len() as u64;
                    self.begin_stream(peer, next);
                    self.links.entry(peer).and_modify(|link| link.stream = Some(Stream { next, waits: true }));
                    self.say(peer, &Frame::Decided { first: next - entries.len() as u64, entries });
                }
                None => self.say(peer, &Frame::NeedState),
            }
        }
    }

    /// `peer` has `from` entries, and votes in a configuration that has ended.
    pub(super) fn bring_along(&mut self, peer: ServerId, from: u64) {
        let base = self.configuration.base;
        if from >= base || self.applied.end() < base {
            return;
        }
        match self.part(from, base, BRING_LEN_MAX).filter(|entries| from + entries.len() as u64 == base) {
            Some(first_entries) => self.say(peer, &Frame::Decided { first: from, entries: first_entries }),
            None => self.say(peer, &Frame::NeedState),
        }
    }

    /// Entries from `from` on, below `end`, until they have `len_max` bytes; `None` if they are trimmed.
    fn part(&self, from: u64, end: u64, len_max: usize) -> Option<Vec<LogEntry>> {
        let store = self.store()?.lock();
        if from < store.journal.first_index() {
            return None;
        }
        Some(store.entries_of(from, end, len_max))
    }

    /// Entries that are decided, as `peer` says, from `first` on.
    pub(super) fn learn(&mut self, peer: ServerId, first: u64, mut entries: Vec<LogEntry>, now_ms: u64) {
        let end = first + entries.len() as u64;
        match &mut self.participation {
            Participation::Learner(learner) if learner.returns() => {
                if learner.is_complete {
                    return;
                }
                let epoch = last_epoch(&entries, self.configuration.id, self.config.knows);
                let mut store = learner.store.lock();
                let before = store.decided();
                store.catch_up(first, entries, epoch);
                let is_new = store.decided() > before;
                drop(store);
                learner.returns = learner.returns.map(|since_ms| if is_new { now_ms } else { since_ms });
                if learner.source == Some(peer) {
                    self.say(peer, &Frame::Learned(end));
                }
            }
            Participation::Learner(learner) => {
                let mut store = learner.store.lock();
                let own_end = store.end();
                if first <= own_end && end > own_end {
                    store.learn(own_end, entries.split_off((own_end - first) as usize));
                }
                drop(store);
                if learner.source == Some(peer) {
                    self.say(peer, &Frame::Learned(end));
                }
            }
            Participation::Voter(_) => self.give_up_the_vote(peer, first, entries, now_ms),
            Participation::Uninitialized(_) => {}
        }
    }

    /// `peer` has `decided` entries, so much that this voter lacks that it is told a part at a time.
    pub(super) fn fall_behind(&mut self, peer: ServerId, decided: u64, now_ms: u64) {
        // As with a state: whoever leads by now has all that a majority has.
        let is_joined = self.links.get(&peer).is_some_and(|link| link.joined);
        if !is_joined || self.next.is_some() || self.leads_all() || self.consensus().is_none_or(Consensus::is_alone) {
            return;
        }
        self.take_outgoing();
        let Participation::Voter(consensus) = &self.participation else { return };
        let (store, written) = (consensus.store.clone(), consensus.written);
        store.lock().note_decided_by(self.applied.end());
        self.stop_voting(written);
        let learner = Learner { returns: Some(now_ms), lacks_until: decided, ..Learner::new(store, now_ms) };
        self.participation = Participation::Learner(Box::new(learner));
        self.ping(None, now_ms);
        self.follow();
    }

    /// Ends consensus on every link. Frames that wait for more than the journal's first `written` writes are forgotten.
    fn stop_voting(&mut self, written: u64) {
        self.applied.forget_ahead();
        self.lead = None;
        for link in self.links.values_mut() {
            link.part();
            link.forget_unwritten(written);
        }
    }

    /// Whether this server is a voter that only learns for now.
    pub(super) fn is_catching_up(&self) -> bool {
        matches!(&self.participation, Participation::Learner(learner) if learner.returns())
    }

    /// A voter that has all that its peers said is decided, or is told nothing any more, votes again.
    pub(super) fn vote_again(&mut self, now_ms: u64) {
        let Participation::Learner(learner) = &self.participation else { return };
        let Some(since_ms) = learner.returns.filter(|_| self.next.is_none()) else { return };
        let decided = learner.store.lock().decided();
        // How the others stood when it fell behind is old news.
        let said = |status: Status| status.configuration >= self.configuration.id && status.decided > decided;
        let lacks = decided < learner.lacks_until || self.statuses().any(|(_, status)| said(status));
        let is_settled = self.writing.is_none() && self.is_durable() && self.applied.end() >= decided;
        let Participation::Learner(learner) = &mut self.participation else { return };
        learner.is_complete |= !lacks || now_ms >= since_ms + STALL_MS;
        if learner.is_complete && is_settled {
            let journal = learner.store.lock().take_journal();
            self.applied.forget_ahead();
            self.enter(self.configuration.clone(), journal, None, now_ms);
        }
    }

    /// Everything up to the end of this server's configuration is here: it takes no part in that any more.
    fn give_up_the_vote(&mut self, peer: ServerId, first: u64, mut entries: Vec<LogEntry>, now_ms: u64) {
        let end = first + entries.len() as u64;
        let status = self.links.get(&peer).and_then(|link| link.status);
        let brings_the_end = status.is_some_and(|it| it.configuration > self.configuration.id && it.base <= end);
        if !brings_the_end || first > self.applied.end() || end <= self.applied.end() || self.next.is_some() {
            return;
        }
        self.take_outgoing();
        let Participation::Voter(consensus) = &self.participation else { return };
        let (store, written) = (consensus.store.clone(), consensus.written);
        let mut inner = store.lock();
        inner.learn(self.applied.end(), entries.split_off((self.applied.end() - first) as usize));
        // All of it counts, whichever entries are the ends of configurations.
        inner.note_applied(end);
        drop(inner);
        self.stop_voting(written);
        self.target = self.target.filter(|(_, ballot)| ballot::order(*ballot).0 > self.configuration.id);
        self.participation = Participation::Learner(Box::new(Learner::new(store, now_ms)));
    }
}

/// The ballot of the last epoch among entries, of this configuration.
fn last_epoch(entries: &[LogEntry], configuration: u32, knows: Level) -> Option<Ballot> {
    let epochs = entries.iter().rev().filter_map(|entry| match Entry::decode(&entry.0, knows) {
        Ok(Entry::Epoch(epoch)) => Some(ballot::from_id(epoch.ballot)),
        Ok(Entry::Batch(_) | Entry::Raise(_) | Entry::Renewal(_)) | Err(_) => None,
    });
    epochs.into_iter().find(|ballot| ballot.config_id == configuration)
}

fn is_hungry(link: &Link, applied: u64) -> bool {
    link.up && link.stream.is_some_and(|stream| !stream.waits && stream.next < applied)
}
