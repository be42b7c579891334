//! Servers that are sent decided entries, because they do not vote, or lack more than is sent to a
//! voter at once, or missed the end of the configuration that they vote in.
//!
//! A learner follows the leader, or a server that is ahead of it: it names an index, and gets every
//! entry from there on that its source has applied, a part at a time. It promises and accepts
//! nothing, so its log counts for no other server.
//!
//! A voter whose peers are in a later configuration asks for the entries it lacks of its own
//! configuration. It keeps its log and its vote until all of them are there, and gives both up in
//! one write: if it gave them up earlier, entries that only it and a server that has left since had
//! accepted would be lost. A voter that lacks more than a frame holds fetches the state, which is
//! kept beside its own until it is whole.
//!
//! A voter that lacks much gives up its part in consensus, but neither its promise nor its accepted
//! entries, and learns until it has the entries that its peers reported as decided; then it votes
//! again, as if it had restarted. It takes a mebibyte at a time, so neither side needs room for
//! more, and heartbeats are not delayed.
//!
//! Invariant: entries sent this way are applied at their source, so none of them is behind the end
//! of its configuration.

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

/// Bytes of entries sent at once.
const PART_LEN: usize = 1 << 20;
/// Bytes of entries sent to a voter that missed the end of its configuration, as one write of the
/// log; a voter that lacks more fetches the state.
const BRING_LEN_MAX: usize = 8 << 20;
/// Time that a voter which sees a later configuration has to get there by itself, ms.
const GRACE_MS: u64 = 100;
/// Time without news after which a voter that learns for now votes again, ms: its source cannot
/// send it more. On a slow network a part takes long, but not this long.
const STALL_MS: u64 = 20_000;
/// Time after which a voter asks again, ms.
const ASK_AGAIN_MS: u64 = 500;

/// A server that does not vote.
#[derive(Debug)]
pub(super) struct Learner {
    pub(super) store: Store,
    /// The server that sends it entries.
    source: Option<ServerId>,
    pub(super) next_ping_ms: u64,
    /// Set if it is a voter, and will be again: the time at which it last received something new,
    /// ms.
    returns: Option<u64>,
    /// Index up to which it lacks decided entries, at least.
    lacks_until: u64,
    /// Whether it has everything it lacked: then it takes no more, and votes again once that is
    /// durable and applied.
    is_complete: bool,
}

impl Learner {
    pub(super) fn new(store: Store, now_ms: u64) -> Learner {
        Learner { store, source: None, next_ping_ms: now_ms, returns: None, lacks_until: 0, is_complete: false }
    }

    /// Returns whether it only learns for now, and is a voter otherwise.
    pub(super) fn returns(&self) -> bool {
        self.returns.is_some()
    }

    /// Returns how many entries it need not be sent. Of a voter's log, only decided entries count.
    fn known(&self) -> u64 {
        let store = self.store.lock();
        if self.returns() { store.decided() } else { store.end() }
    }

    /// Returns whether it is time to report its status.
    pub(super) fn is_due(&mut self, now_ms: u64, heartbeat_ms: u64) -> bool {
        let due = now_ms >= self.next_ping_ms;
        if due {
            self.next_ping_ms = now_ms + heartbeat_ms;
        }
        due
    }
}

impl Replica {
    /// Chooses a server to follow, or to ask.
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

    /// Stops following `peer`, from which nothing comes any longer.
    pub(super) fn unfollow(&mut self, peer: ServerId) {
        if let Participation::Learner(learner) = &mut self.participation
            && learner.source == Some(peer)
        {
            learner.source = None;
        }
    }

    /// Returns whether this server learns from `peer`.
    pub(super) fn is_told_by(&self, peer: ServerId) -> bool {
        matches!(&self.participation, Participation::Learner(learner) if learner.source == Some(peer))
    }

    /// Asks a peer that is in a later configuration for the rest of this voter's configuration.
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

    /// Requests the state of `peer`: this server lacks what only a state transfer brings.
    pub(super) fn want_state_of(&mut self, peer: ServerId) {
        if self.participation.is_blank() {
            // A blank server must be admitted first.
            return;
        }
        let configuration = self.links.get(&peer).and_then(|link| link.status).map_or(0, |status| status.configuration);
        if configuration >= self.configuration.id {
            self.want = Some(Want::Install { from: peer, at: self.applied.end() });
        }
    }

    /// Returns whether this server leads and no peer is in a later configuration: then it has all
    /// that a majority has.
    pub(super) fn leads_all(&self) -> bool {
        let later = |(_, status): (ServerId, Status)| status.configuration > self.configuration.id;
        self.lead.is_some() && !self.statuses().any(later)
    }

    /// Begins to send decided entries to `peer`, from `from` on.
    pub(super) fn begin_stream(&mut self, peer: ServerId, from: u64) {
        if let Some(link) = self.links.get_mut(&peer) {
            link.stream = Some(Stream { next: from, waits: false });
        }
    }

    /// Continues the stream to `peer`, which has everything up to `end`.
    pub(super) fn go_on_with_stream(&mut self, peer: ServerId, end: u64) {
        if let Some(stream) = self.links.get_mut(&peer).and_then(|link| link.stream.as_mut())
            && stream.next == end
        {
            stream.waits = false;
        }
    }

    /// Returns whether there is something to send to a follower of this server.
    pub(super) fn may_feed(&self) -> bool {
        self.store().is_some() && self.links.values().any(|link| is_hungry(link, self.applied.end()))
    }

    /// Sends decided entries to the servers that follow this one.
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

    /// Sends `peer` the rest of its configuration, which has ended; it votes there and has `from`
    /// entries.
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

    /// Returns entries from `from` up to `end`, until they have `len_max` bytes; `None` if they are
    /// trimmed.
    fn part(&self, from: u64, end: u64, len_max: usize) -> Option<Vec<LogEntry>> {
        let store = self.store()?.lock();
        if from < store.journal.first_index() {
            return None;
        }
        Some(store.entries_of(from, end, len_max))
    }

    /// Takes entries from `first` on that `peer` reports as decided.
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

    /// Makes this voter learn for now: `peer` has `decided` entries, so many more than this server
    /// that it sends them a part at a time.
    pub(super) fn fall_behind(&mut self, peer: ServerId, decided: u64, now_ms: u64) {
        // As with a state transfer: a server that leads by now has all that a majority has.
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

    /// Ends consensus on every link. Drops frames that wait for later writes than the journal's
    /// first `written` ones.
    fn stop_voting(&mut self, written: u64) {
        self.applied.forget_ahead();
        self.lead = None;
        for link in self.links.values_mut() {
            link.part();
            link.forget_unwritten(written);
        }
    }

    /// Returns whether this server is a voter that only learns for now.
    pub(super) fn is_catching_up(&self) -> bool {
        matches!(&self.participation, Participation::Learner(learner) if learner.returns())
    }

    /// Makes a voter that learns vote again, once it has everything its peers reported as decided,
    /// or receives nothing any longer.
    pub(super) fn vote_again(&mut self, now_ms: u64) {
        let Participation::Learner(learner) = &self.participation else { return };
        let Some(since_ms) = learner.returns.filter(|_| self.next.is_none()) else { return };
        let decided = learner.store.lock().decided();
        // The peers' statuses at the time it fell behind are out of date.
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

    /// Takes the entries up to the end of this server's configuration, and gives up its vote there.
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
        // All of it counts, whichever entries end configurations.
        inner.note_applied(end);
        drop(inner);
        self.stop_voting(written);
        self.target = self.target.filter(|(_, ballot)| ballot::order(*ballot).0 > self.configuration.id);
        self.participation = Participation::Learner(Box::new(Learner::new(store, now_ms)));
    }
}

/// Returns the ballot of the last epoch of this configuration among the entries.
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
