//! OmniPaxos in one configuration, driven by the rules under which it is safe; see `shared/omnipaxos.md`, where each was paid for.
//!
//! * What tells of a promise or of an acceptance leaves after that is durable; everything else leaves at once.
//! * A Prepare has one Promise. OmniPaxos says both again after a while, which on links that lose nothing only makes
//!   copies; each copy of a Promise would make the leader synchronise the follower's log once more, while entries that
//!   were said in between are on their way.
//! * An acceptance counts only once this server's own log is as durable as the others'.
//! * A peer that needs more entries than one message should have is told to follow until it has almost all of them, and one that
//!   needs entries which are trimmed to fetch the state; OmniPaxos never learns of it.
//! * Rounds of the election have this driver's pace: slow while a leader is there, fast while there is none. A peer whose
//!   link comes up during a round is asked in that round, once: had it no say, a round without the leader's answer would
//!   elect another one.
//! * A peer that has promised more than the leader asked for makes the leader ask for more.

use std::collections::BTreeMap;

use omnipaxos::ballot_leader_election::Ballot;
use omnipaxos::messages::Message;
use omnipaxos::messages::ballot_leader_election::{BLEMessage, HeartbeatMsg, HeartbeatRequest};
use omnipaxos::messages::sequence_paxos::{Accepted, PaxosMessage, PaxosMsg, Prepare, Promise};
use omnipaxos::{ClusterConfig, OmniPaxos, OmniPaxosConfig, ServerConfig};

use super::companion;
use super::configuration::Configuration;
use super::frame::{BadFrame, Frame, Status};
use super::journal::{Journal, JournalFull, Syncing};
use super::links::Link;
use super::storage::{LogEntry, Store};
use super::{Bugs, Pace};

/// Rounds without an answer after which messages are sent again.
const RESEND_ROUNDS: u64 = 8;
/// Messages OmniPaxos makes room for at once.
const BUFFERED_MESSAGES: usize = 64;
/// Longest first round: the others are about to come, and who has been alone for a round stands for election, ms.
const FIRST_ROUND_MS: u64 = 100;
/// Shortest round while there is no leader, ms.
const FAST_ROUND_MS: u64 = 20;
/// A fast round is at least so many times the way there and back.
const FAST_ROUND_RTTS: u64 = 4;
/// Without a leader for longer than this rounds become slow again: there may be none for days, ms.
const FAST_FOR_MS: u64 = 5_000;
/// A peer must have promised more than the leader's ballot for so many rounds before the leader raises it.
const STUCK_ROUNDS: u64 = 4;
/// Bytes of log that are sent to a peer at once; one that needs more is told them a part at a time, or fetches the state.
pub const SYNC_LEN_MAX: u64 = 16 << 20;

/// See the module.
pub(crate) struct Consensus {
    process: u64,
    configuration: Configuration,
    paxos: OmniPaxos<LogEntry, Store>,
    pub(crate) store: Store,
    /// So many entries are decided, as was overheard.
    overheard: u64,
    /// By process: the ballot of the Prepare that it was sent on this link and has not answered.
    asked: Vec<Option<Ballot>>,
    /// Acceptances that wait for this server's own disk.
    held: Vec<(u64, Accepted)>,
    /// Of a sole voter: what its companion answers when everything staged is durable.
    for_companion: Vec<PaxosMsg<LogEntry>>,
    messages: Vec<Message<LogEntry>>,
    /// How often something was staged and persisted; frames wait for these numbers.
    staged: u64,
    pub(crate) written: u64,
    next_round_ms: u64,
    /// The number of the round that is under way.
    round: u32,
    /// By process: whether it has answered in this round.
    answered: Vec<bool>,
    /// Processes that are to be asked in this round, too.
    latecomers: Vec<u64>,
    pace: Pace,
    /// The leader answered in this round, and in the one before.
    leader_answered: bool,
    /// Since when there has been no leader at work, ms.
    unsettled_since_ms: Option<u64>,
    /// Rounds in which a peer's promise was above the ballot that this server leads.
    stuck_rounds: u64,
    pub(crate) sync_len_max: u64,
    bugs: Bugs,
}

impl std::fmt::Debug for Consensus {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "process {}: {:?}", self.process, self.store)
    }
}

/// What came of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Received {
    Handled,
    /// The peer needs more entries than are sent at once.
    IsBehind,
    /// The peer needs entries that are trimmed here.
    NeedsState,
}

impl Consensus {
    /// Server `me` votes in `configuration`. `applied` entries are applied.
    pub(crate) fn new(
        me: u8,
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
            answered: vec![false; processes(&configuration)],
            latecomers: Vec::new(),
            configuration,
            paxos,
            store,
            held: Vec::new(),
            overheard: 0,
            for_companion: Vec::new(),
            messages: Vec::new(),
            staged: 0,
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

    /// The configuration has just begun: without an election this server leads it, unless it cannot be reached. Its first
    /// ballot is above the others' first ones.
    pub(crate) fn lead_first(&mut self) {
        self.paxos = Consensus::build(&self.configuration, self.process, 1, &self.store);
        self.paxos.try_become_leader();
    }

    /// The configuration has just begun, and another server leads it first: that may take a round.
    pub(crate) fn follow_first(&mut self, now_ms: u64) {
        self.next_round_ms = now_ms + self.pace.heartbeat_ms;
    }

    /// Tries to lead, whoever does now.
    pub(crate) fn take_over(&mut self) {
        self.paxos.try_become_leader();
    }

    /// Nobody else votes.
    pub(crate) fn is_alone(&self) -> bool {
        self.configuration.is_sole()
    }

    /// How many servers are enough to decide.
    pub(crate) fn majority(&self) -> usize {
        self.configuration.voters.len() / 2 + 1
    }

    pub(crate) fn promise(&self) -> Ballot {
        self.paxos.get_promise()
    }

    /// The process that leads the promised ballot, once this server has heard its log from it (or is it).
    pub(crate) fn leader(&self) -> Option<u64> {
        self.paxos.get_current_leader().filter(|(_, accepting)| *accepting).map(|(process, _)| process)
    }

    /// The server that leads.
    pub(crate) fn leading_server(&self) -> Option<u8> {
        self.leader().map(|process| self.configuration.server(process))
    }

    pub(crate) fn leads(&self) -> bool {
        self.leader() == Some(self.process)
    }

    /// It tries to lead, but has not heard from a majority.
    pub(crate) fn is_candidate(&self) -> bool {
        self.paxos.get_current_leader() == Some((self.process, false))
    }

    pub(crate) fn decided(&self) -> u64 {
        self.paxos.get_decided_idx() as u64
    }

    /// A new link: before any frame on it, both sides sort out what may have been lost on the old one.
    pub(crate) fn reconnected(&mut self, peer: u64, now_ms: u64) {
        self.held.retain(|(from, _)| *from != peer);
        self.asked[peer as usize - 1] = None;
        if !self.bugs.forget_reconnected {
            self.paxos.reconnected(peer);
        }
        self.latecomers.push(peer);
        self.hurry(now_ms);
    }

    /// A link is gone. Without the leader's, an election may be near.
    pub(crate) fn disconnected(&mut self, peer: u64, now_ms: u64) {
        if self.paxos.get_current_leader().is_some_and(|(leader, _)| leader == peer) {
            self.leader_answered = false;
            self.hurry(now_ms);
        }
    }

    /// Something changed for the better or the worse: the next round need not be waited for long.
    fn hurry(&mut self, now_ms: u64) {
        if !self.leads() {
            self.unsettled_since_ms = Some(now_ms);
            self.next_round_ms = self.next_round_ms.min(now_ms + FAST_ROUND_MS);
        }
    }

    pub(crate) fn receive_heartbeat(&mut self, from: u64, message: BLEMessage) {
        let leader = self.paxos.get_current_leader().map(|(leader, _)| leader);
        if let HeartbeatMsg::Reply(reply) = &message.msg {
            self.leader_answered |= leader == Some(from);
            // OmniPaxos counts answers, not who gave them.
            if reply.round == self.round && std::mem::replace(&mut self.answered[from as usize - 1], true) {
                return;
            }
        }
        self.paxos.handle_incoming(Message::BLE(message));
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "of the library's messages those that matter here")]
    pub(crate) fn receive(&mut self, from: u64, message: PaxosMessage<LogEntry>) -> Result<Received, BadFrame> {
        self.check(&message)?;
        if let Some(from) = self.first_beyond(&message) {
            let is_here = from >= self.store.lock().journal.first_index();
            return Ok(if is_here { Received::IsBehind } else { Received::NeedsState });
        }
        let promise = self.promise();
        let asked = &mut self.asked[from as usize - 1];
        match &message.msg {
            PaxosMsg::Promise(answer) if *asked != Some(answer.n) => return Ok(Received::Handled),
            PaxosMsg::PrepareReq(_) if *asked == Some(promise) => return Ok(Received::Handled),
            PaxosMsg::Promise(_) => *asked = None,
            _ => {}
        }
        match message.msg {
            PaxosMsg::Accepted(accepted) if !self.is_durable(accepted) => self.held.push((from, accepted)),
            _ => self.paxos.handle_incoming(Message::SequencePaxos(message)),
        }
        Ok(Received::Handled)
    }

    /// Process `from` has said in ballot `n` that so many entries are decided, in a frame that is not handled yet. If that is
    /// whom this server follows, in the round in which it has accepted its log, the two logs are the same as far as both go; and
    /// what is decided stays so, whatever stands in the frames in between.
    pub(crate) fn overhear(&mut self, from: u64, n: Ballot, decided: u64) {
        let follows = !self.leads() && self.leader() == Some(from) && self.promise() == n;
        let store = self.store.lock();
        if follows && store.round() == n {
            self.overheard = self.overheard.max(decided.min(store.end()));
        }
    }

    /// So many entries may be applied. A follower need not have them on its own disk, since a majority has (as in ZooKeeper),
    /// if `early` says so.
    pub(crate) fn applicable(&self, early: bool) -> u64 {
        let early = early && !self.leads();
        let store = self.store.lock();
        match early {
            true => store.decided().max(self.overheard).min(store.end()),
            false => store.decided().min(store.durable_end()),
        }
    }

    /// What no member in its right mind sends, and OmniPaxos would trust.
    #[expect(clippy::wildcard_enum_match_arm, reason = "of the library's messages those that matter here")]
    fn check(&self, message: &PaxosMessage<LogEntry>) -> Result<(), BadFrame> {
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
                let start = sync.log_sync.sync_idx;
                if start < decided { Err(BadFrame::Index(start as u64)) } else { known(start) }
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

    /// The first entry that an answer would need, if that is trimmed, or if one message should not have so many of them.
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
        // What is not decided must be sent as entries, however long it is: nothing else brings it.
        from.filter(|&from| from < store.journal.floor(self.sync_len_max).min(self.decided()))
    }

    /// Whether this server's own log has on disk what a follower says it has accepted.
    fn is_durable(&self, accepted: Accepted) -> bool {
        let store = self.store.lock();
        self.bugs.no_durability_gate
            || store.durable_end() >= accepted.accepted_idx as u64
                && (!store.is_staged() || store.durable_round() == accepted.n)
    }

    /// Appends an entry; the caller leads.
    pub(crate) fn append(&mut self, entry: Vec<u8>) {
        let appended = self.paxos.append(LogEntry(entry.into()));
        assert!(appended.is_ok(), "nobody reconfigures");
    }

    /// Bytes of entries that this server has appended as a leader and that are not decided, about.
    pub(crate) fn undecided_len(&self) -> usize {
        self.store.lock().undecided_len()
    }

    pub(crate) fn next_round_ms(&self) -> u64 {
        self.next_round_ms
    }

    /// A round of the election, when it is due.
    pub(crate) fn tick(&mut self, links: &BTreeMap<u8, Link>, now_ms: u64) -> bool {
        if now_ms < self.next_round_ms {
            return false;
        }
        let settled = self.leads() || self.leader().is_some() && self.leader_answered;
        self.unsettled_since_ms = if settled { None } else { self.unsettled_since_ms.or(Some(now_ms)) };
        self.leader_answered = false;
        self.paxos.tick();
        self.raise_ballot(links);
        self.next_round_ms = now_ms + self.round_ms(links, now_ms);
        true
    }

    fn round_ms(&self, links: &BTreeMap<u8, Link>, now_ms: u64) -> u64 {
        let slow_ms = self.pace.heartbeat_ms;
        match self.unsettled_since_ms {
            Some(since_ms) if now_ms < since_ms + FAST_FOR_MS => {
                let rtt_ms = links.values().filter(|link| link.joined).map(|link| link.rtt_ms).max().unwrap_or(0);
                (rtt_ms * FAST_ROUND_RTTS).max(FAST_ROUND_MS).min(slow_ms)
            }
            _ => slow_ms,
        }
    }

    /// A peer that promised a ballot whose candidate then vanished hears nothing of a lower one. One that follows a
    /// higher ballot is not stuck: a majority does, and to raise this one would only depose its leader.
    fn raise_ballot(&mut self, links: &BTreeMap<u8, Link>) {
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
    pub(crate) fn take_outgoing(&mut self, links: &mut BTreeMap<u8, Link>) {
        let mut messages = std::mem::take(&mut self.messages);
        self.paxos.take_outgoing_messages(&mut messages);
        self.ask_latecomers(&mut messages);
        if self.store.lock().is_staged() && self.staged == self.written {
            self.staged += 1;
        }
        for message in messages.drain(..) {
            let to = message.get_receiver();
            if self.is_alone() {
                if let Message::SequencePaxos(PaxosMessage { msg, .. }) = message
                    && companion::answers(&msg)
                {
                    self.for_companion.push(msg);
                }
                continue;
            }
            // Who votes in another configuration, or said nothing yet, gets nothing of this one.
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

    /// In the round that begins with these messages, or that is under way.
    fn ask_latecomers(&mut self, messages: &mut Vec<Message<LogEntry>>) {
        let begun = messages.iter().find_map(|message| match message {
            Message::BLE(BLEMessage { msg: HeartbeatMsg::Request(request), .. }) => Some(request.round),
            Message::BLE(_) | Message::SequencePaxos(_) => None,
        });
        if let Some(round) = begun {
            self.round = round;
            self.answered.fill(false);
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

    /// Makes everything staged durable, then counts the acceptances that waited for it; whether there was anything.
    pub(crate) fn persist(&mut self) -> Result<bool, JournalFull> {
        let mut store = self.store.lock();
        let is_staged = store.is_staged();
        if !is_staged && self.for_companion.is_empty() {
            return Ok(false);
        }
        if is_staged {
            store.persist()?;
        }
        drop(store);
        self.note_written();
        Ok(true)
    }

    /// The first half of [`Consensus::persist`], of a follower, if that would block.
    pub(crate) fn begin_persist(&mut self) -> Result<Option<Syncing>, JournalFull> {
        if self.leads() || self.is_alone() {
            return Ok(None);
        }
        let mut store = self.store.lock();
        let was_staged = store.is_staged();
        let begun = store.begin_persist()?;
        let is_done = was_staged && !store.is_staged();
        drop(store);
        if is_done {
            self.note_written();
        }
        Ok(begun)
    }

    /// The other half: what was begun is durable.
    pub(crate) fn finish_persist(&mut self) {
        self.store.lock().finish_persist();
        self.note_written();
    }

    fn note_written(&mut self) {
        let end = self.store.lock().end();
        self.written = self.staged;
        let held = std::mem::take(&mut self.held).into_iter();
        let mut answers: Vec<_> = held.map(|(from, accepted)| (from, PaxosMsg::Accepted(accepted))).collect();
        let asked = std::mem::take(&mut self.for_companion);
        answers.extend(asked.iter().filter_map(|message| Some((companion::PROCESS, companion::answer(message, end)?))));
        for (from, msg) in answers {
            self.paxos.handle_incoming(Message::SequencePaxos(PaxosMessage { from, to: self.process, msg }));
        }
    }
}

/// How many processes OmniPaxos has: the voters, and the companion of one that is alone.
fn processes(configuration: &Configuration) -> usize {
    configuration.voters.len() + usize::from(configuration.is_sole())
}
