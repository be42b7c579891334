//! OmniPaxos in one configuration, driven by the rules under which it is safe.
//! docs/omnipaxos-notes.md gives the reason and the proof of each rule.
//!
//! * A message that reports a promise or an acceptance leaves after that is durable; every other
//!   message leaves at once.
//! * Each Prepare gets one Promise. OmniPaxos resends both after a while, which on lossless links
//!   only makes copies; each copy of a Promise would make the leader synchronise the follower's log
//!   once more, while entries sent in between are on their way.
//! * An acceptance counts only once this server's own log is as durable as the sender's.
//! * A peer that needs more entries than fit one message is told to learn until it has almost all
//!   of them, and one that needs trimmed entries is told to fetch the state; OmniPaxos never sees
//!   either case.
//! * This driver sets the pace of the election rounds: slow while there is a leader, fast while
//!   there is none. A peer whose link comes up during a round is asked in that round, once: if the
//!   leader were left out, a round without its answer would elect another leader.
//! * If a peer has promised more than the leader asked for, the leader raises its ballot.

use std::collections::BTreeMap;

use omnipaxos::ballot_leader_election::Ballot;
use omnipaxos::messages::Message;
use omnipaxos::messages::ballot_leader_election::{BLEMessage, HeartbeatMsg, HeartbeatRequest};
use omnipaxos::messages::sequence_paxos::{Accepted, PaxosMessage, PaxosMsg, Prepare, Promise};
use omnipaxos::{ClusterConfig, OmniPaxos, OmniPaxosConfig, ServerConfig};
use oxkeeper_proto::ServerId;

use super::configuration::Configuration;
use super::frame::{BadFrame, Frame, Status};
use super::journal::{DiskJob, Journal};
use super::links::Link;
use super::phantom_voter;
use super::storage::{LogEntry, Store};
use super::{Bugs, Pace};

/// Rounds without an answer after which OmniPaxos resends messages.
const RESEND_ROUNDS: u64 = 8;
/// Initial capacity of OmniPaxos' message buffer.
const BUFFERED_MESSAGES: usize = 64;
/// Longest first round, ms: the others are about to come, and a server that is alone for a round
/// stands for election.
const FIRST_ROUND_MS: u64 = 100;
/// Shortest round while there is no leader, ms.
const FAST_ROUND_MS: u64 = 20;
/// Least length of a fast round, in round-trip times.
const FAST_ROUND_RTTS: u64 = 4;
/// Time without a leader after which rounds become slow again, ms: there may be none for days.
const FAST_FOR_MS: u64 = 5_000;
/// Rounds for which a peer's promise must exceed the leader's ballot before the leader raises it.
const STUCK_ROUNDS: u64 = 4;
/// Bytes of log sent to a peer at once. A peer that needs more gets them a part at a time, or
/// fetches the state.
pub const SYNC_LEN_MAX: u64 = 16 << 20;

/// See the module.
pub(crate) struct Consensus {
    process: u64,
    configuration: Configuration,
    paxos: OmniPaxos<LogEntry, Store>,
    pub(crate) store: Store,
    /// The ballot of the Prepare that each process was sent on this link and has not answered.
    asked: Vec<Option<Ballot>>,
    /// Acceptances that wait for this server's own disk.
    held: Vec<(u64, Accepted)>,
    /// Messages that a sole voter's phantom voter answers once everything staged is durable.
    for_phantom: Vec<PaxosMsg<LogEntry>>,
    messages: Vec<Message<LogEntry>>,
    /// Numbers of the last write that was staged, given to the disk, and written; frames wait for
    /// these numbers.
    pub(crate) staged: u64,
    pub(crate) begun: u64,
    pub(crate) written: u64,
    next_round_ms: u64,
    /// Number of the current round.
    round: u32,
    /// Each process's last answer in this round. OmniPaxos gets them when the round ends: it counts
    /// answers, not their senders, and answers from before there was a new leader would elect
    /// another one.
    answers: Vec<Option<BLEMessage>>,
    /// Processes to ask in this round, late or once more.
    latecomers: Vec<u64>,
    /// The last ballot whose process has answered with it, or was asked once more.
    heard_of: Ballot,
    pace: Pace,
    /// The leader has answered in this round.
    leader_answered: bool,
    /// Time since which there has been no active leader, ms.
    unsettled_since_ms: Option<u64>,
    /// Rounds in which a peer's promise exceeded the ballot that this server leads.
    stuck_rounds: u64,
    pub(crate) sync_len_max: u64,
    bugs: Bugs,
}

impl std::fmt::Debug for Consensus {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "process {}: {:?}", self.process, self.store)
    }
}

/// Outcome of a received message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Received {
    Handled,
    /// The peer needs more entries than are sent at once; this server has decided this many.
    IsBehind(u64),
    /// The peer needs entries that are trimmed here.
    NeedsState,
}

impl Consensus {
    /// Creates the consensus of server `me`, which votes in `configuration` and has applied
    /// `applied` entries.
    pub(crate) fn new(
        me: ServerId,
        configuration: Configuration,
        journal: Box<dyn Journal>,
        applied: u64,
        pace: Pace,
        bugs: Bugs,
        now_ms: u64,
    ) -> Consensus {
        let store = Store::new(journal, applied, configuration.id, bugs);
        let process = configuration.process_of(me).expect("it votes");
        let paxos = Consensus::build(&configuration, process, 0, &store);
        Consensus {
            process,
            asked: vec![None; processes(&configuration)],
            answers: vec![None; processes(&configuration)],
            latecomers: Vec::new(),
            heard_of: Ballot::default(),
            configuration,
            paxos,
            store,
            held: Vec::new(),
            for_phantom: Vec::new(),
            messages: Vec::new(),
            staged: 0,
            begun: 0,
            written: 0,
            next_round_ms: now_ms + FIRST_ROUND_MS,
            round: 0,
            pace,
            leader_answered: false,
            unsettled_since_ms: Some(now_ms),
            stuck_rounds: 0,
            sync_len_max: SYNC_LEN_MAX,
            bugs,
        }
    }

    fn build(configuration: &Configuration, process: u64, priority: u32, store: &Store) -> OmniPaxos<LogEntry, Store> {
        let config = OmniPaxosConfig {
            cluster_config: ClusterConfig {
                configuration_id: configuration.id,
                nodes: (1..=processes(configuration) as u64).collect(),
                flexible_quorum: None,
            },
            server_config: ServerConfig {
                pid: process,
                election_tick_timeout: 1,
                resend_message_tick_timeout: RESEND_ROUNDS,
                flush_batch_tick_timeout: RESEND_ROUNDS,
                batch_size: 1,
                buffer_size: BUFFERED_MESSAGES,
                leader_priority: priority,
            },
        };
        config.build(store.clone()).expect("two or more dense process ids")
    }

    /// Makes this server lead a configuration that has just begun, without an election, unless it
    /// cannot be reached. Its first ballot is above the others' first ones.
    pub(crate) fn lead_first(&mut self) {
        self.paxos = Consensus::build(&self.configuration, self.process, 1, &self.store);
        self.paxos.try_become_leader();
    }

    /// Lets another server lead a configuration that has just begun, which may take a round.
    pub(crate) fn follow_first(&mut self, now_ms: u64) {
        self.next_round_ms = now_ms + self.pace.heartbeat_ms;
    }

    /// Tries to lead, even if another server leads.
    pub(crate) fn take_over(&mut self) {
        self.paxos.try_become_leader();
    }

    /// Returns whether this server is the only voter.
    pub(crate) fn is_alone(&self) -> bool {
        self.configuration.is_sole()
    }

    /// Returns the number of voters that make a majority.
    pub(crate) fn majority(&self) -> usize {
        self.configuration.voters.len() / 2 + 1
    }

    pub(crate) fn promise(&self) -> Ballot {
        self.paxos.get_promise()
    }

    /// Returns the process that leads the promised ballot, once this server is synchronised with it
    /// (or is it).
    pub(crate) fn leader(&self) -> Option<u64> {
        self.paxos.get_current_leader().filter(|(_, accepting)| *accepting).map(|(process, _)| process)
    }

    /// Returns the server that leads.
    pub(crate) fn leading_server(&self) -> Option<ServerId> {
        self.leader().map(|process| self.configuration.server(process))
    }

    pub(crate) fn leads(&self) -> bool {
        self.leader() == Some(self.process)
    }

    /// Returns whether this server tries to lead, but has not heard from a majority.
    pub(crate) fn is_candidate(&self) -> bool {
        self.paxos.get_current_leader() == Some((self.process, false))
    }

    pub(crate) fn decided(&self) -> u64 {
        self.paxos.get_decided_idx() as u64
    }

    /// Handles a new link: before any frame on it, both sides sort out what the old one may have
    /// lost.
    pub(crate) fn reconnected(&mut self, peer: u64, now_ms: u64) {
        self.held.retain(|(from, _)| *from != peer);
        self.asked[peer as usize - 1] = None;
        if !self.bugs.forget_reconnected {
            self.paxos.reconnected(peer);
        }
        self.latecomers.push(peer);
        self.hurry(now_ms);
    }

    /// Handles the loss of a link. If it was the leader's, an election may be near.
    pub(crate) fn disconnected(&mut self, peer: u64, now_ms: u64) {
        if self.paxos.get_current_leader().is_some_and(|(leader, _)| leader == peer) {
            self.leader_answered = false;
            self.hurry(now_ms);
        }
    }

    /// Brings the next round forward, because the situation has changed.
    fn hurry(&mut self, now_ms: u64) {
        if !self.leads() {
            self.unsettled_since_ms = Some(now_ms);
            self.next_round_ms = self.next_round_ms.min(now_ms + FAST_ROUND_MS);
        }
    }

    pub(crate) fn receive_heartbeat(&mut self, from: u64, message: BLEMessage) {
        let leader = self.paxos.get_current_leader().map(|(leader, _)| leader);
        match &message.msg {
            HeartbeatMsg::Reply(reply) => {
                self.leader_answered |= leader == Some(from);
                if reply.round == self.round {
                    self.answers[from as usize - 1] = Some(message);
                }
            }
            HeartbeatMsg::Request(_) => self.paxos.handle_incoming(Message::BLE(message)),
        }
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "of the library's messages those that matter here")]
    pub(crate) fn receive(&mut self, from: u64, message: PaxosMessage<LogEntry>) -> Result<Received, BadFrame> {
        // A Promise that answers a Prepare from before this server fell behind does not fit its
        // current log.
        if let PaxosMsg::Promise(answer) = &message.msg
            && self.asked[from as usize - 1] != Some(answer.n)
        {
            return Ok(Received::Handled);
        }
        self.validate(&message)?;
        if let Some(from) = self.first_beyond(&message) {
            let is_here = from >= self.store.lock().journal.first_index();
            return Ok(if is_here { Received::IsBehind(self.decided()) } else { Received::NeedsState });
        }
        let promise = self.promise();
        let asked = &mut self.asked[from as usize - 1];
        match &message.msg {
            PaxosMsg::PrepareReq(_) if *asked == Some(promise) => return Ok(Received::Handled),
            PaxosMsg::Promise(_) => *asked = None,
            _ => {}
        }
        match message.msg {
            // An acceptance of an earlier ballot counts for nothing, and may be of a log that this
            // server never has.
            PaxosMsg::Accepted(accepted) if accepted.n == promise && !self.is_durable(accepted) => {
                self.held.push((from, accepted));
            }
            _ => self.paxos.handle_incoming(Message::SequencePaxos(message)),
        }
        Ok(Received::Handled)
    }

    /// Returns how many entries may be applied. If `early` is set, a follower need not have them on
    /// its own disk, since a majority has (as in ZooKeeper).
    pub(crate) fn applicable(&self, early: bool) -> u64 {
        let early = early && !self.leads();
        let store = self.store.lock();
        let ready = if early { store.end() } else { store.durable_end() };
        store.decided().min(ready)
    }

    /// Rejects messages that no correct member sends and that OmniPaxos would trust.
    #[expect(clippy::wildcard_enum_match_arm, reason = "of the library's messages those that matter here")]
    fn validate(&self, message: &PaxosMessage<LogEntry>) -> Result<(), BadFrame> {
        let store = self.store.lock();
        let (decided, end) = (self.decided() as usize, store.end() as usize);
        let promised = |ballot: Ballot| ballot == self.promise();
        let known = |index: usize| if index <= end { Ok(()) } else { Err(BadFrame::Index(index as u64)) };
        match &message.msg {
            PaxosMsg::Promise(Promise { decided_idx, accepted_idx, .. })
            | PaxosMsg::Prepare(Prepare { decided_idx, accepted_idx, .. })
                if decided_idx > accepted_idx =>
            {
                Err(BadFrame::Index(*decided_idx as u64))
            }
            PaxosMsg::AcceptSync(sync) if promised(sync.n) && !self.leads() && self.leader().is_none() => {
                let (start, count) = (sync.log_sync.sync_idx, sync.log_sync.suffix.len());
                match sync.decided_idx > start + count {
                    _ if start < decided => Err(BadFrame::Index(start as u64)),
                    // A leader sends everything it has.
                    true => Err(BadFrame::Index(sync.decided_idx as u64)),
                    false => known(start),
                }
            }
            PaxosMsg::Promise(promise) if promised(promise.n) && self.is_candidate() => match &promise.log_sync {
                Some(sync) if sync.sync_idx < decided => Err(BadFrame::Index(sync.sync_idx as u64)),
                Some(sync) => known(sync.sync_idx),
                None => Ok(()),
            },
            PaxosMsg::Accepted(accepted) if promised(accepted.n) => known(accepted.accepted_idx),
            _ => Ok(()),
        }
    }

    /// Returns the first entry that an answer would need, if it is trimmed or if too many entries
    /// follow it for one message.
    #[expect(clippy::wildcard_enum_match_arm, reason = "of the library's messages those that matter here")]
    fn first_beyond(&self, message: &PaxosMessage<LogEntry>) -> Option<u64> {
        let store = self.store.lock();
        let from = match &message.msg {
            PaxosMsg::Promise(promise) if promise.n == self.promise() => Some(promise.decided_idx as u64),
            PaxosMsg::Prepare(Prepare { n, decided_idx, n_accepted, accepted_idx }) if *n >= self.promise() => {
                let (round, decided, accepted) = (store.round(), *decided_idx as u64, *accepted_idx as u64);
                let is_longer = round == *n_accepted && store.end() > accepted;
                if round > *n_accepted { Some(decided) } else { Some(accepted).filter(|_| is_longer) }
            }
            _ => None,
        };
        // Undecided entries can only be sent as entries, so they are sent however long they are.
        from.filter(|&from| from < store.journal.floor(self.sync_len_max).min(self.decided()))
    }

    /// Returns whether this server's own log has on disk what a follower reports as accepted.
    fn is_durable(&self, accepted: Accepted) -> bool {
        let store = self.store.lock();
        self.bugs.no_durability_gate
            || store.durable_end() >= accepted.accepted_idx as u64
                && (store.is_durable() || store.durable_round() == accepted.n)
    }

    /// Appends an entry; the caller leads.
    pub(crate) fn append(&mut self, entry: Vec<u8>) {
        let appended = self.paxos.append(LogEntry(entry.into()));
        assert!(appended.is_ok(), "nobody reconfigures");
    }

    /// Returns the approximate bytes of undecided entries that this server has appended as a
    /// leader.
    pub(crate) fn undecided_len(&self) -> usize {
        self.store.lock().undecided_len()
    }

    pub(crate) fn next_round_ms(&self) -> u64 {
        self.next_round_ms
    }

    /// Runs a round of the election if it is due, and returns whether it did.
    pub(crate) fn tick(&mut self, links: &BTreeMap<ServerId, Link>, now_ms: u64) -> bool {
        if now_ms < self.next_round_ms {
            return false;
        }
        if let Some(candidate) = self.unheard_of(links) {
            self.latecomers.push(candidate);
            self.next_round_ms = now_ms + self.fast_round_ms(links);
            return false;
        }
        let settled = self.leads() || self.leader().is_some() && self.leader_answered;
        self.unsettled_since_ms = if settled { None } else { self.unsettled_since_ms.or(Some(now_ms)) };
        self.leader_answered = false;
        for answer in self.answers.iter_mut().filter_map(Option::take) {
            self.paxos.handle_incoming(Message::BLE(answer));
        }
        self.paxos.tick();
        self.raise_ballot(links);
        self.next_round_ms = now_ms + self.round_ms(links, now_ms);
        true
    }

    /// Returns the process that leads, or is about to, if its answer in this round is missing or
    /// out of date. Reports each ballot once.
    fn unheard_of(&mut self, links: &BTreeMap<ServerId, Link>) -> Option<u64> {
        let promise = self.promise();
        if promise <= self.heard_of || promise.pid == self.process || self.is_alone() {
            return None;
        }
        let answer = self.answers[promise.pid as usize - 1].as_ref();
        let is_joined = links.get(&self.configuration.server(promise.pid)).is_some_and(|link| link.joined);
        let is_up_to_date =
            |answer: &BLEMessage| matches!(&answer.msg, HeartbeatMsg::Reply(reply) if reply.ballot >= promise);
        let is_unheard_of = is_joined && !answer.is_some_and(is_up_to_date);
        if is_joined {
            self.heard_of = promise;
        }
        is_unheard_of.then_some(promise.pid)
    }

    fn round_ms(&self, links: &BTreeMap<ServerId, Link>, now_ms: u64) -> u64 {
        let slow_ms = self.pace.heartbeat_ms;
        match self.unsettled_since_ms {
            Some(since_ms) if now_ms < since_ms + FAST_FOR_MS => self.fast_round_ms(links),
            _ => slow_ms,
        }
    }

    fn fast_round_ms(&self, links: &BTreeMap<ServerId, Link>) -> u64 {
        let rtt_ms = links.values().filter(|link| link.joined).map(|link| link.rtt_ms).max().unwrap_or(0);
        (rtt_ms * FAST_ROUND_RTTS).max(FAST_ROUND_MS).min(self.pace.heartbeat_ms)
    }

    /// Raises this leader's ballot if a peer is stuck on a higher one: a peer that promised a
    /// ballot whose candidate then vanished ignores lower ones. A peer that follows a higher ballot
    /// is not stuck: a majority follows it, and raising this one would only depose its leader.
    fn raise_ballot(&mut self, links: &BTreeMap<ServerId, Link>) {
        let promise = self.promise();
        let stuck = |status: Status| !status.accepting && status.promise > promise;
        if !(self.leads() && links.values().filter(|link| link.joined).filter_map(|link| link.status).any(stuck)) {
            self.stuck_rounds = 0;
            return;
        }
        self.stuck_rounds += 1;
        if self.stuck_rounds >= STUCK_ROUNDS {
            self.paxos.try_become_leader();
        }
    }

    /// Moves OmniPaxos' messages to the links.
    pub(crate) fn take_outgoing(&mut self, links: &mut BTreeMap<ServerId, Link>) {
        let mut messages = std::mem::take(&mut self.messages);
        self.paxos.take_outgoing_messages(&mut messages);
        self.ask_latecomers(&mut messages);
        if self.store.lock().is_staged() && self.staged == self.begun {
            self.staged += 1;
        }
        for message in messages.drain(..) {
            let to = message.get_receiver();
            if self.is_alone() {
                if let Message::SequencePaxos(PaxosMessage { msg, .. }) = message
                    && phantom_voter::answers(&msg)
                {
                    self.for_phantom.push(msg);
                }
                continue;
            }
            // Servers that vote in another configuration, or have said nothing yet, get nothing of
            // this one.
            let Some(link) = links.get_mut(&self.configuration.server(to)).filter(|link| link.joined) else { continue };
            if let Message::SequencePaxos(PaxosMessage { msg: PaxosMsg::Prepare(Prepare { n, .. }), .. }) = &message {
                self.asked[to as usize - 1] = Some(*n);
            }
            let needs_write = if self.tells_of_disk(&message) { self.staged } else { 0 };
            let mut frame = Vec::new();
            let configuration = self.configuration.id;
            match message {
                Message::BLE(message) => Frame::Heartbeat { configuration, message }.encode(&mut frame),
                Message::SequencePaxos(message) => Frame::Consensus(message).encode(&mut frame),
            }
            link.push(needs_write, frame);
        }
        self.messages = messages;
    }

    /// Asks latecomers in the round that begins with these messages, or in the current one.
    fn ask_latecomers(&mut self, messages: &mut Vec<Message<LogEntry>>) {
        let begun = messages.iter().find_map(|message| match message {
            Message::BLE(BLEMessage { msg: HeartbeatMsg::Request(request), .. }) => Some(request.round),
            Message::BLE(_) | Message::SequencePaxos(_) => None,
        });
        if let Some(round) = begun {
            self.round = round;
            self.answers.fill(None);
            self.latecomers.clear();
        }
        let (from, request) = (self.process, HeartbeatRequest { round: self.round });
        let ask = |to| Message::BLE(BLEMessage { from, to, msg: HeartbeatMsg::Request(request.clone()) });
        messages.extend(self.latecomers.drain(..).map(ask));
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "of the library's messages those that matter here")]
    fn tells_of_disk(&self, message: &Message<LogEntry>) -> bool {
        let Message::SequencePaxos(PaxosMessage { msg, .. }) = message else { return false };
        match msg {
            PaxosMsg::Accepted(_) => !self.bugs.accepted_before_durable,
            PaxosMsg::Prepare(_) | PaxosMsg::Promise(_) => true,
            _ => false,
        }
    }

    /// Returns the work that makes everything staged durable, if there is any and no other work is
    /// under way.
    pub(crate) fn begin_persist(&mut self) -> Option<DiskJob> {
        let work = self.store.lock().begin()?;
        self.begun = self.staged;
        Some(work)
    }

    /// Notes that the work begun is durable, and counts the acceptances that waited for it.
    pub(crate) fn finish_persist(&mut self) {
        self.store.lock().finish();
        self.written = self.begun;
        self.note_written();
    }

    /// Lets the phantom voter answer once everything is durable, and returns whether it did; the
    /// answer may lead to more writes.
    pub(crate) fn settle_phantom(&mut self) -> bool {
        let settles = !self.for_phantom.is_empty() && self.store.lock().is_durable();
        if settles {
            self.note_written();
        }
        settles
    }

    /// Panics with the invariant that is broken.
    pub(crate) fn check(&self, configuration: &Configuration) {
        let store = self.store.lock();
        assert!(self.configuration == *configuration, "invariant: consensus is in {:?}", self.configuration);
        let (staged, begun, written) = (self.staged, self.begun, self.written);
        assert!((written..=written + 1).contains(&begun), "invariant: write {begun} is begun, {written} is done");
        assert!((begun..=begun + 1).contains(&staged), "invariant: write {staged} is staged, {begun} is begun");
        let (promise, round, id) = (store.promise(), store.round(), configuration.id);
        assert!(promise == self.promise(), "invariant: {:?} is promised, {promise:?} is stored", self.promise());
        assert!(round <= promise, "invariant: accepted in {round:?} above the promise {promise:?}");
        let is_of_this = |ballot: Ballot| ballot == Ballot::default() || ballot.config_id == id;
        assert!(is_of_this(promise) && is_of_this(round), "invariant: {promise:?}, {round:?} in configuration {id}");
        let decided = (self.decided(), store.decided());
        assert!(
            decided.0 == decided.1,
            "invariant: {} entries are decided, {} are stored as such",
            decided.0,
            decided.1
        );
        let is_own = promise.pid == self.process && round == promise;
        assert!(!self.leads() || is_own, "invariant: it leads, promised is {promise:?}, accepted {round:?}");
        assert!(self.held.is_empty() || !store.is_durable(), "invariant: acceptances wait for no write");
        let is_asked = |ballot: &Ballot| *ballot <= promise;
        assert!(self.asked.iter().flatten().all(is_asked), "invariant: others were asked for more than {promise:?}");
    }

    fn note_written(&mut self) {
        let promise = self.promise();
        // An acceptance of an earlier ballot counts for nothing.
        let held = std::mem::take(&mut self.held).into_iter().filter(|(_, accepted)| accepted.n == promise);
        let (durable, waiting): (Vec<_>, Vec<_>) = held.partition(|(_, accepted)| self.is_durable(*accepted));
        self.held = waiting;
        let mut answers: Vec<_> =
            durable.into_iter().map(|(from, accepted)| (from, PaxosMsg::Accepted(accepted))).collect();
        answers.extend(self.answers_of_phantom());
        for (from, msg) in answers {
            self.paxos.handle_incoming(Message::SequencePaxos(PaxosMessage { from, to: self.process, msg }));
        }
    }

    /// Returns the phantom voter's answers. It has what this server's disk has.
    fn answers_of_phantom(&mut self) -> Vec<(u64, PaxosMsg<LogEntry>)> {
        let store = self.store.lock();
        if !store.is_durable() {
            return Vec::new();
        }
        let (end, asked) = (store.end(), std::mem::take(&mut self.for_phantom));
        asked
            .iter()
            .filter_map(|message| Some((phantom_voter::PROCESS, phantom_voter::answer(message, end)?)))
            .collect()
    }
}

/// Returns the number of OmniPaxos processes: the voters, plus the phantom voter of a sole one.
fn processes(configuration: &Configuration) -> usize {
    configuration.voters.len() + usize::from(configuration.is_sole())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ensemble::MemoryJournal;
    use crate::ensemble::check::tests::assert_found;

    fn consensus() -> Consensus {
        let pace = Pace { heartbeat_ms: 100, silence_ms: 1_000, contact_ms: 600 };
        let journal = Box::new(MemoryJournal::default());
        let configuration = Configuration::first([1, 2, 3].map(ServerId).into());
        Consensus::new(ServerId(1), configuration, journal, 0, pace, Bugs::default(), 0)
    }

    #[test]
    fn what_is_wrong_in_consensus_is_found() {
        assert_found(
            consensus,
            |consensus| consensus.check(&Configuration::first([1, 2, 3].map(ServerId).into())),
            &[
                ("consensus is in Configuration", |it| it.configuration.id = 2),
                ("write 2 is staged, 0 is begun", |it| it.staged = 2),
                ("write 2 is begun, 0 is done", |it| it.begun = 2),
                ("acceptances wait for no write", |it| {
                    it.held.push((2, Accepted { n: Ballot::default(), accepted_idx: 1 }));
                }),
                ("others were asked for more", |it| {
                    it.asked[1] = Some(Ballot { config_id: 1, n: 9, priority: 0, pid: 1 });
                }),
            ],
        );
    }
}
