//! One server of an ensemble. See the module above for how it is driven.
//!
//! Invariants: an entry is applied once, in order, after it is decided and durable here; a client's command is answered
//! where it came from, when it is applied there; a server without anything on disk takes part in nothing until it
//! either founds the ensemble with all others or has installed the leader's state. So does one that holds no more than an
//! imported state: it founds the ensemble with all others that hold the same.

use std::collections::BTreeMap;

use omnipaxos::ballot_leader_election::Ballot;
use oxkeeper_proto::{DecodeError, OpCode, SessionId};
use oxkeeper_state::command::{BallotId, Entry, Epoch};
use oxkeeper_state::membership::MEMBERS_MAX;
use oxkeeper_state::reconfig::Ruling;
use oxkeeper_state::{Command, Identities, Settings};
use parking_lot::{Mutex, RwLock, RwLockWriteGuard};

use super::ballot;
use super::configuration::Configuration;
use super::consensus::{Consensus, Received};
use super::frame::{self, BadFrame, Frame, Roster, Status};
use super::hand_over::Leaving;
use super::intake::{Intake, Packed};
use super::journal::{Journal, JournalFull, JournalOp, Syncing, scalar};
use super::learning::Learner;
use super::links::{Link, Place};
pub use super::parts::{LogPart, LogTail, OwnLog, compare_rounds, greater_ballot};
use super::pins::{PINNED_LEN_MAX, Pins};
use super::storage::{self, READ_ENTRIES, Store};
use super::twins::Twins;
use super::window::Window;
use super::{Bugs, Pace};
use crate::delivery::Proposals;
use crate::{Shared, Writer};

/// Commands applied under one exclusive lock: readers wait no longer than these take, about 0.2 ms.
const APPLY_MAX: usize = 256;
/// Bytes of entries that are not decided yet before the leader packs no more of them.
const UNDECIDED_LEN_MAX: usize = 32 << 20;
/// Sessions named in one frame, which is urgent: it should fit into a piece on the wire.
const TOUCHES_MAX: usize = 8_000;
/// How often a blank server says how it stands, and asks to join, ms.
const BLANK_PING_MS: u64 = 50;

/// What an ensemble's server needs to know.
#[derive(Clone, Debug)]
pub struct ReplicaConfig {
    /// This server's id.
    pub me: u8,
    /// The ids of those who found the ensemble, in order; without this server if it only learns.
    pub members: Vec<u8>,
    /// The members as the configuration has them, for clients to read.
    pub membership: String,
    /// The version of that, or `VERSION_WANTED`.
    pub membership_version: i64,
    /// How fast it notices things.
    pub pace: Pace,
    /// Bytes of commands in one entry, unless one command alone has more.
    pub entry_len_max: usize,
    /// Switches of the leader's own commands.
    pub settings: Settings,
    /// A majority of blank servers may found the ensemble.
    pub initialize: bool,
    /// Entries that the durable tree holds: all of them are decided.
    pub checkpointed: u64,
    /// Entries that are applied.
    pub applied: u64,
    /// Unix time now, ms.
    pub wall_ms: u64,
    /// For what must be unlike any other ensemble's.
    pub seed: u64,
    /// Bytes of log that a peer is sent as entries; one that needs more fetches the state.
    pub sync_len_max: u64,
    /// What this server, as a leader, says of every reconfig.
    pub ruling: Ruling,
    /// None, but in the simulator.
    pub bugs: Bugs,
}

/// What a server is to its ensemble.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It has nothing and waits to join, or to found the ensemble.
    Blank,
    /// It knows of no leader.
    Looking,
    /// It follows this server.
    Following(u8),
    /// It does not vote, and is told by this server.
    Observing(u8),
    /// It leads.
    Leading,
}

/// What a replica cannot do itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Want {
    /// To be ended, and started anew with a peer's state.
    Install {
        /// Whose state; or that of any other, if it has enough.
        from: u8,
        /// So many entries must be in it.
        at: u64,
    },
}

/// Where entries are applied to, and who is told.
pub struct Applying<'a> {
    /// The state and what goes with it.
    pub shared: &'a RwLock<Shared>,
    /// Held while an entry is applied, of which the state may be unlocked in between.
    pub entry: &'a Mutex<()>,
    /// Applies.
    pub writer: &'a mut Writer,
    /// Takes the writer's outboxes before it unlocks the state.
    pub deliver: &'a mut dyn FnMut(&mut Writer, RwLockWriteGuard<'_, Shared>),
    /// Is told of each entry, while the state is still locked.
    pub applied: &'a mut dyn FnMut(&[u8]),
    /// Monotonic, ms.
    pub now_ms: u64,
    /// What this server follows may be applied before it is on this server's disk.
    pub early: bool,
}

/// Of the leader only.
#[derive(Debug)]
pub(super) struct Lead {
    ballot: Ballot,
    /// Its epoch is applied: commands are taken.
    pub(super) intake: Option<Intake>,
    /// Commands of its own, for the next entry.
    own: Vec<u8>,
    /// Blank servers that asked to join.
    joining: Vec<Joining>,
    /// Behind this entry it packs nothing until it is applied: it may end the configuration.
    pub(super) awaits: Option<u64>,
    /// It wants another server to lead.
    pub(super) leaving: Option<Leaving>,
}

/// A blank server that wants to join.
#[derive(Debug)]
struct Joining {
    blank: u8,
    /// Who asked: it itself, or a server that it has a link to.
    via: u8,
    /// Which of the links of `via`.
    link: u64,
    /// From this index on it may.
    safe_from: Option<u64>,
}

/// How this server takes part.
#[derive(Debug)]
pub(super) enum Standing {
    Blank { journal: Box<dyn Journal>, next_ping_ms: u64 },
    Voter(Box<Consensus>),
    Learner(Box<Learner>),
}

impl std::fmt::Debug for dyn Journal {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "journal {}..{}", self.first_index(), self.next_index())
    }
}

/// See the module.
#[derive(Debug)]
pub struct Replica {
    pub(super) config: ReplicaConfig,
    /// By server.
    pub(super) links: BTreeMap<u8, Link>,
    /// `None` only while it changes.
    pub(super) standing: Option<Standing>,
    /// Nobody's while it is blank.
    pub(super) configuration: Configuration,
    /// The last entry applied has ended the configuration; nothing is applied until this one has begun.
    pub(super) next: Option<Configuration>,
    window: Window,
    pub(super) lead: Option<Lead>,
    /// It leads a ballot whose epoch is not in the log yet.
    wants_epoch: bool,
    /// To whom commands go, and the ballot it leads.
    pub(super) target: Option<(u8, Ballot)>,
    pub(super) applied: u64,
    /// The ballot of the last epoch applied.
    epoch: Option<BallotId>,
    /// When this server last was in touch with a majority, ms.
    contact_ms: Option<u64>,
    /// Of that, a pause of this server's own is not counted.
    forgave_pause: bool,
    /// When [`Replica::step`] last ran, ms.
    pub(super) stepped_ms: u64,
    started_ms: u64,
    serving: bool,
    /// The ensemble's id in the state it began with; 0 for none.
    origin: u64,
    /// Sessions that followers have heard of.
    touched: Vec<SessionId>,
    next_touch_ms: u64,
    pub(super) want: Option<Want>,
    pub(super) twins: Twins,
    /// Entries read ahead from the journal, from `applied` on.
    pub(super) ahead: std::collections::VecDeque<storage::LogEntry>,
}

impl Replica {
    /// Starts, for the next time in the life of `journal`. `state` is the one recovered.
    ///
    /// # Errors
    /// The disk is full.
    pub fn start(
        config: ReplicaConfig,
        mut journal: Box<dyn Journal>,
        state: &oxkeeper_state::State,
        now_ms: u64,
    ) -> Result<Replica, JournalFull> {
        let known = storage::number(&*journal, scalar::BOOT).unwrap_or(0);
        // A server that lost its disk does not know how often it was started; the wall's clock is later than all that.
        let boot = config.wall_ms.max(known + 1).max(state.last_admitted(config.me).unwrap_or_default().0 + 1);
        journal.write(&[JournalOp::Scalar(scalar::BOOT, boot.to_be_bytes().to_vec())])?;
        let configuration = Configuration::of(&*journal);
        let mut replica = Replica {
            links: BTreeMap::new(),
            standing: Some(Standing::Blank { journal, next_ping_ms: now_ms }),
            configuration: Configuration::default(),
            next: None,
            window: Window::new(boot),
            lead: None,
            wants_epoch: false,
            target: None,
            applied: config.applied,
            epoch: state.epoch_ballot(),
            contact_ms: None,
            forgave_pause: false,
            stepped_ms: now_ms,
            started_ms: now_ms,
            serving: false,
            origin: state.ensemble(),
            touched: Vec::new(),
            next_touch_ms: now_ms,
            want: None,
            twins: Twins::default(),
            ahead: std::collections::VecDeque::new(),
            config,
        };
        if let Some(configuration) = configuration {
            replica.recover(configuration, state, now_ms)?;
        }
        Ok(replica)
    }

    /// What its commands are numbered by.
    pub fn origin(&self) -> (u8, u64) {
        (self.config.me, self.window.boot)
    }

    /// Who votes.
    pub fn configuration(&self) -> &Configuration {
        &self.configuration
    }

    pub(super) fn consensus(&self) -> Option<&Consensus> {
        match &self.standing {
            Some(Standing::Voter(consensus)) => Some(consensus),
            Some(Standing::Blank { .. } | Standing::Learner(_)) | None => None,
        }
    }

    pub(super) fn consensus_mut(&mut self) -> Option<&mut Consensus> {
        match &mut self.standing {
            Some(Standing::Voter(consensus)) => Some(consensus),
            Some(Standing::Blank { .. } | Standing::Learner(_)) | None => None,
        }
    }

    pub(super) fn store(&self) -> Option<&Store> {
        match &self.standing {
            Some(Standing::Voter(consensus)) => Some(&consensus.store),
            Some(Standing::Learner(learner)) => Some(&learner.store),
            Some(Standing::Blank { .. }) | None => None,
        }
    }

    fn is_blank(&self) -> bool {
        matches!(self.standing, Some(Standing::Blank { .. }))
    }

    /// A new link to `peer`; the old one, if there was one, has ended. Consensus begins on it when the peer has said that
    /// it votes where this server does.
    pub fn link_up(&mut self, peer: u8, now_ms: u64) {
        self.link_down(peer, now_ms);
        self.links.entry(peer).or_default().begin(now_ms);
        self.ping(Some(peer), now_ms);
        if let Some(Lead { ballot, intake: Some(_), .. }) = &self.lead {
            let ready = Frame::Ready(ballot::to_id(*ballot));
            self.say(peer, &ready);
        }
    }

    /// The link to `peer` has ended.
    pub fn link_down(&mut self, peer: u8, now_ms: u64) {
        let Some(link) = self.links.get(&peer).filter(|link| link.up) else { return };
        if link.joined {
            self.part_from(peer, now_ms);
        }
        self.links.entry(peer).or_default().end();
        if self.target.is_some_and(|(target, _)| target == peer) {
            self.target = None;
        }
        // Whoever comes over the next link may have had something meanwhile.
        self.lead.iter_mut().for_each(|lead| lead.joining.retain(|joining| joining.via != peer));
        self.unfollow(peer);
    }

    pub(super) fn take_outgoing(&mut self) {
        if let Some(Standing::Voter(consensus)) = &mut self.standing {
            consensus.take_outgoing(&mut self.links);
        }
    }

    pub(super) fn say(&mut self, peer: u8, frame: &Frame) {
        if let Some(link) = self.links.get_mut(&peer) {
            let mut bytes = Vec::new();
            frame.encode(&mut bytes);
            link.push(0, bytes);
        }
    }

    /// A part of a frame has come from `peer`: it lives, however long the frame takes.
    pub fn stirred(&mut self, peer: u8, now_ms: u64) {
        if let Some(link) = self.links.get_mut(&peer).filter(|link| link.up) {
            link.heard_ms = Some(now_ms);
        }
    }

    /// The link to `peer` was full, and bytes leave again: the link is alive, whatever the peer's process does.
    pub fn drained(&mut self, peer: u8, now_ms: u64) {
        if let Some(link) = self.links.get_mut(&peer).filter(|link| link.up) {
            link.drained_ms = Some(now_ms);
        }
    }

    /// A frame from `peer`. *Errors*: it is none; the link must end.
    pub fn receive(&mut self, peer: u8, bytes: &[u8], now_ms: u64) -> Result<(), BadFrame> {
        let Some(link) = self.links.get_mut(&peer).filter(|link| link.up) else { return Ok(()) };
        link.heard_ms = Some(now_ms);
        let Configuration { id, voters, .. } = &self.configuration;
        let process = |server| self.configuration.process_of(server).unwrap_or_default();
        let (from, to) = (process(peer), process(self.config.me));
        // What was said in another configuration says nothing in this one.
        let counts = link.joined || self.config.bugs.foreign_frames && from > 0 && to > 0;
        if Frame::is_of_consensus(bytes) && !counts || Frame::is_foreign_heartbeat(bytes, *id) {
            return Ok(());
        }
        match Frame::decode(bytes, Roster { configuration: *id, from, to, processes: voters.len() as u64 })? {
            Frame::Heartbeat { message, .. } => {
                if let Some(consensus) = self.consensus_mut() {
                    consensus.receive_heartbeat(from, message);
                }
            }
            Frame::Consensus(message) => {
                let received = self.consensus_mut().map(|consensus| consensus.receive(from, message));
                match received.transpose()? {
                    Some(Received::NeedsState) => self.say(peer, &Frame::NeedState),
                    Some(Received::IsBehind) => self.say(peer, &Frame::Behind),
                    Some(Received::Handled) | None => {}
                }
            }
            Frame::Ping { urgent, status, sent_ms } => {
                // What a pulse says of a place that was not told in order yet is not for now: it has overtaken the ping that
                // says so, and frames of the former place in front of that.
                let is_known = link.status.is_some_and(|known| Place::of(&known) == Place::of(&status));
                self.note_boot(peer, status.boot);
                if !urgent || is_known {
                    self.note_status(peer, status, now_ms);
                }
                self.say(peer, &Frame::Pong(sent_ms));
            }
            Frame::Pong(sent_ms) => link.rtt_ms = now_ms.saturating_sub(sent_ms),
            Frame::Ready(ballot) => {
                let ballot = ballot::from_id(ballot);
                // Whoever led before has to come here first.
                if ballot.config_id >= self.configuration.id {
                    self.aim(peer, ballot);
                }
            }
            Frame::Forward { boot, first, commands } => {
                if let Some(Lead { intake: Some(intake), .. }) = &mut self.lead {
                    intake.take(peer, boot, first, commands)?;
                }
            }
            Frame::Touches(mut sessions) => self.touched.append(&mut sessions),
            Frame::NeedState => self.want_state_of(peer),
            Frame::Join => self.ask_for_blank(peer),
            Frame::JoinFor { blank, link } => self.admit_blank(blank, peer, link),
            Frame::JoinAt(at) if self.is_blank() => self.want = Some(Want::Install { from: peer, at }),
            Frame::JoinAt(_) => {}
            Frame::JoinAtFor { blank, link, at } => self.answer_blank(blank, link, at),
            Frame::Follow(from) => self.begin_stream(peer, from),
            Frame::Lacks(from) => self.bring_along(peer, from),
            Frame::Decided { first, entries } => self.learn(peer, first, entries, now_ms),
            Frame::Learned(end) => self.go_on_with_stream(peer, end),
            Frame::TakeOver => self.take_over(peer),
            Frame::Twin => self.note_accusation(peer),
            Frame::Behind => self.fall_behind(peer, now_ms),
        }
        Ok(())
    }

    /// `peer` leads `ballot` and takes commands.
    fn aim(&mut self, peer: u8, ballot: Ballot) {
        if self.target.is_none_or(|(_, known)| ballot::order(known) <= ballot::order(ballot)) {
            self.target = Some((peer, ballot));
            self.window.rewind();
        }
    }

    /// `peer` is blank. Who does not lead passes the question on, and later the answer: over the same link only, since what
    /// was true for a server that had nothing then may not be true for one that has lost everything once more.
    fn ask_for_blank(&mut self, peer: u8) {
        let link = self.links.get(&peer).map_or(0, |link| link.number);
        match self.leader() {
            Some((leader, _)) if leader != self.config.me => self.say(leader, &Frame::JoinFor { blank: peer, link }),
            Some(_) | None => self.admit_blank(peer, peer, link),
        }
    }

    fn answer_blank(&mut self, blank: u8, link: u64, at: u64) {
        if self.links.get(&blank).is_some_and(|known| known.up && known.number == link) {
            self.say(blank, &Frame::JoinAt(at));
        }
    }

    /// A server that lost everything may have acknowledged what only one other server has. What is decided from now on,
    /// it took no part in: a state that has it has everything that was acknowledged. `via` has a link to it.
    fn admit_blank(&mut self, blank: u8, via: u8, link: u64) {
        let Some(lead) = self.lead.as_mut().filter(|lead| lead.intake.is_some()) else { return };
        if lead.joining.iter().all(|joining| joining.blank != blank) {
            lead.joining.push(Joining { blank, via, link, safe_from: None });
        }
    }

    /// Takes commands of own clients; `proposals` is empty afterwards.
    pub fn submit(&mut self, proposals: &mut Proposals) {
        self.window.push(proposals);
    }

    /// Bytes of own clients' commands that are not applied yet.
    pub fn waiting_len(&self) -> usize {
        self.window.len()
    }

    /// Own clients are gone: nobody waits for answers any more.
    pub fn orphan(&mut self) {
        self.window.orphan();
    }

    /// Takes a command of the leader itself; dropped by a server that does not lead.
    pub fn submit_own(&mut self, session: SessionId, op: OpCode, body: &[u8]) {
        let settings = self.config.settings;
        if let Some(lead) = &mut self.lead {
            let identities = Identities::default();
            Command { session, xid: 0, op, settings, identities, body, from: None }.encode(&mut lead.own);
        }
    }

    /// What time and everything received bring about. `wall_ms` is Unix time.
    pub fn step(&mut self, shared: &RwLock<Shared>, now_ms: u64, wall_ms: i64) {
        self.forgive_pause(now_ms);
        match &mut self.standing {
            Some(Standing::Voter(consensus)) => {
                let due = consensus.tick(&self.links, now_ms);
                due.then(|| self.ping(None, now_ms));
            }
            Some(Standing::Learner(learner)) => {
                let due = learner.is_due(now_ms, self.config.pace.heartbeat_ms);
                due.then(|| self.ping(None, now_ms));
            }
            Some(Standing::Blank { next_ping_ms, .. }) => {
                if now_ms >= *next_ping_ms {
                    *next_ping_ms = now_ms + BLANK_PING_MS;
                    self.ping(None, now_ms);
                    self.ask_to_join();
                }
                self.found_if_new(now_ms);
            }
            None => {}
        }
        self.catch_up(now_ms);
        self.note_contact(now_ms);
        self.note_leadership();
        self.settle_touches(shared, now_ms);
        self.forward();
        self.leave(now_ms);
        self.pack(shared, wall_ms);
        self.note_serving(now_ms);
        self.take_outgoing();
        self.feed();
    }

    pub(super) fn ping(&mut self, to: Option<u8>, now_ms: u64) {
        let status = self.status(now_ms);
        let place = Some(Place::of(&status));
        for (_, link) in self.links.iter_mut().filter(|(peer, link)| link.up && to.is_none_or(|to| to == **peer)) {
            let urgent = std::mem::replace(&mut link.told, place) == place;
            let mut bytes = Vec::new();
            Frame::Ping { urgent, status, sent_ms: now_ms }.encode(&mut bytes);
            link.push(0, bytes);
        }
    }

    fn status(&self, now_ms: u64) -> Status {
        let Configuration { id: configuration, base, .. } = self.configuration;
        let (origin, founders) = (self.origin, founders_of(&self.config.members));
        let status = Status {
            configuration,
            base,
            origin,
            founders,
            boot: self.window.boot,
            decided: self.applied,
            end: self.applied,
            ..Status::default()
        };
        match &self.standing {
            Some(Standing::Voter(consensus)) => Status {
                votes: true,
                promise: consensus.promise(),
                accepting: consensus.leader().is_some(),
                // Followers serve for as long as their leader has a majority.
                leading: consensus.leads() && self.is_in_contact(now_ms),
                decided: consensus.decided(),
                end: consensus.store.lock().end(),
                ..status
            },
            Some(Standing::Learner(learner)) => Status { end: learner.store.lock().end(), ..status },
            Some(Standing::Blank { .. }) | None => Status { initialize: self.config.initialize, ..status },
        }
    }

    /// How the others stand, as far as they are linked.
    pub(super) fn statuses(&self) -> impl Iterator<Item = (u8, Status)> {
        self.links.iter().filter_map(|(&peer, link)| link.status.map(|status| (peer, status)))
    }

    /// A blank server, of an ensemble that is there: the leader, or a voter that may know one which has joined since this
    /// server was configured. Whoever answers is fetched from; a voter has its vote to give with it, a server without one only what
    /// it heard (`round_heard`).
    fn ask_to_join(&mut self) {
        let others = self.statuses().filter(|(_, status)| status.votes);
        let asked = others.max_by_key(|(_, status)| (status.leading, status.configuration, status.decided));
        if let Some((peer, _)) = asked {
            self.say(peer, &Frame::Join);
        }
    }

    /// A blank server: with everyone else as blank, or without a single entry, there is nothing to lose. Those that hold an
    /// imported state count as each other's like if it is the same state.
    fn found_if_new(&mut self, now_ms: u64) {
        let (me, members) = (self.config.me, &self.config.members);
        if !members.contains(&me) {
            return;
        }
        let servers = members.len();
        let (origin, begin, founders) = (self.origin, self.config.applied, founders_of(members));
        // Others would found, or have founded, something else.
        let new = |status: &Status| {
            let is_like = (status.founders, status.origin) == (founders, origin);
            is_like && (status.is_blank() || status.configuration == 1 && status.end == begin)
        };
        let count = |is: &dyn Fn(&Status) -> bool| {
            1 + self.statuses().filter(|(peer, status)| members.contains(peer) && is(status)).count()
        };
        let all = count(&new) == servers;
        let eager = count(&|status| new(status) && (status.initialize || !status.is_blank()));
        // One that is empty takes over what the others hold; one that holds something else must not lose it.
        let yields = |status: &Status| status.is_blank() && status.origin == 0;
        let old = count(&|status| !(new(status) || yields(status))) > 1;
        if all || !old && self.config.initialize && eager > servers / 2 {
            self.found(now_ms);
        }
    }

    /// Of a server that holds no more than an imported state, if that: which of its peers are blank, but hold another one, or none.
    pub fn unlike(&self) -> Vec<u8> {
        let unlike = |(_, status): &(u8, Status)| status.is_blank() && status.origin != self.origin;
        self.statuses().filter(unlike).map(|(peer, _)| peer).collect()
    }

    fn found(&mut self, now_ms: u64) {
        let configuration = Configuration::first(self.config.members.clone());
        let scalars = [
            JournalOp::Scalar(scalar::MEMBERS, configuration.voters.clone()),
            JournalOp::Scalar(scalar::CONFIGURATION, configuration.encode()),
        ];
        if let Some(Standing::Blank { journal, .. }) = &mut self.standing
            && journal.write(&scalars).is_ok()
            && let Some(Standing::Blank { journal, .. }) = self.standing.take()
        {
            self.enter(configuration, journal, None, now_ms);
        }
    }

    fn is_in_contact(&self, now_ms: u64) -> bool {
        self.contact_ms.is_some_and(|contact_ms| now_ms <= contact_ms + self.config.pace.contact_ms)
    }

    fn note_contact(&mut self, now_ms: u64) {
        let heard = |link: &Link| link.heard_ms.filter(|_| link.up);
        let contact_ms = match self.consensus().filter(|consensus| consensus.leads()) {
            Some(consensus) if consensus.is_alone() => Some(now_ms),
            Some(consensus) => {
                // Who follows another leader by now, or takes no part, does not count.
                let promise = consensus.promise();
                let counts = |link: &&Link| link.joined && link.status.is_some_and(|status| status.promise <= promise);
                let following = self.links.values().filter(counts);
                let mut times = [0; MEMBERS_MAX];
                times.iter_mut().zip(following.filter_map(heard)).for_each(|(time, heard_ms)| *time = heard_ms);
                times.sort_unstable_by(|a, b| b.cmp(a));
                Some(times[consensus.majority() - 2]).filter(|&at_ms| at_ms > 0)
            }
            None => {
                let leader = self.leader().and_then(|(leader, _)| self.links.get(&leader));
                leader.and_then(heard)
            }
        };
        let contact_ms = contact_ms.map(|at_ms| at_ms.min(now_ms));
        if contact_ms > self.contact_ms {
            (self.contact_ms, self.forgave_pause) = (contact_ms, false);
        }
    }

    /// What was not heard while this server itself stood still is no silence of the others. That is believed once, until
    /// they are heard again: a leader without anybody must step back however slow its disk is.
    fn forgive_pause(&mut self, now_ms: u64) {
        let gap_ms = now_ms.saturating_sub(std::mem::replace(&mut self.stepped_ms, now_ms));
        if gap_ms > self.config.pace.contact_ms / 2 && !self.forgave_pause {
            self.contact_ms = self.contact_ms.map(|at_ms| at_ms + gap_ms);
            self.forgave_pause = true;
        }
    }

    /// The server that says that it leads whom this server follows, and the ballot.
    pub(super) fn leader(&self) -> Option<(u8, Ballot)> {
        let mut leading = self.statuses().filter(|(_, status)| status.leading);
        match &self.standing {
            Some(Standing::Voter(consensus)) => {
                let (leader, promise) = (consensus.leading_server()?, consensus.promise());
                let said = |(peer, status): &(u8, Status)| *peer == leader && status.promise == promise;
                leading.find(said).map(|_| (leader, promise))
            }
            Some(Standing::Learner(_)) => {
                let ballots = leading.map(|(peer, status)| (peer, status.promise));
                ballots.max_by_key(|(_, promise)| ballot::order(*promise))
            }
            Some(Standing::Blank { .. }) | None => None,
        }
    }

    fn note_leadership(&mut self) {
        let leading = self.consensus().filter(|consensus| consensus.leads()).map(Consensus::promise);
        if self.lead.as_ref().map(|lead| lead.ballot) != leading {
            self.lead = leading.map(|ballot| Lead {
                ballot,
                intake: None,
                own: Vec::new(),
                joining: Vec::new(),
                awaits: None,
                leaving: None,
            });
            self.wants_epoch = leading.is_some();
        }
    }

    /// Session clocks: at the leader what followers have heard, at a follower what it has heard itself.
    pub fn settle_touches(&mut self, shared: &RwLock<Shared>, now_ms: u64) {
        if !self.touched.is_empty() {
            let touched = std::mem::take(&mut self.touched);
            let shared = shared.read();
            let mut sessions = shared.sessions.lock();
            touched.into_iter().for_each(|session| sessions.clocks.touch(session, now_ms));
        }
        if now_ms < self.next_touch_ms {
            return;
        }
        let shared = shared.read();
        let mut sessions = shared.sessions.lock();
        self.next_touch_ms = now_ms + sessions.clocks.interval_ms();
        if let Some((target, _)) = self.target.filter(|(target, _)| *target != self.config.me) {
            let heard = sessions.take_touched();
            drop(sessions);
            drop(shared);
            for sessions in heard.chunks(TOUCHES_MAX) {
                self.say(target, &Frame::Touches(sessions.to_vec()));
            }
        }
    }

    /// Sends what clients want to whoever leads.
    fn forward(&mut self) {
        let Some((target, _)) = self.target else { return };
        let (me, boot) = self.origin();
        while let Some((first, commands)) = self.window.next_unsent() {
            if target == me {
                if let Some(Lead { intake: Some(intake), .. }) = &mut self.lead {
                    let taken = intake.take(me, boot, first, commands.to_vec());
                    taken.expect("own clients' commands were encoded here");
                }
            } else if let Some(link) = self.links.get_mut(&target) {
                let mut bytes = Vec::with_capacity(commands.len() + 32);
                frame::encode_forward(boot, first, commands, &mut bytes);
                link.push(0, bytes);
            }
        }
    }

    /// The leader: into the log with what waits.
    fn pack(&mut self, shared: &RwLock<Shared>, wall_ms: i64) {
        self.judge(shared);
        let (Some(Standing::Voter(consensus)), Some(lead)) = (&mut self.standing, &mut self.lead) else { return };
        if !consensus.leads() || self.next.is_some() || lead.leaving.is_some() {
            return;
        }
        let ballot = ballot::to_id(lead.ballot);
        if std::mem::take(&mut self.wants_epoch) {
            let mut entry = Vec::new();
            let (config_version, config) = (self.config.membership_version, self.config.membership.as_bytes());
            let ensemble = self.config.seed.max(1);
            Epoch { ballot, time_ms: wall_ms, ensemble, config_version, config }.encode(&mut entry);
            consensus.append(entry);
            if self.config.bugs.hasty_intake {
                lead.intake = Some(Intake::default());
            }
        }
        let Some(intake) = &mut lead.intake else { return };
        if !lead.own.is_empty() {
            intake.take_own(std::mem::take(&mut lead.own));
        }
        if lead.joining.iter().any(|joining| joining.safe_from.is_none()) {
            // An entry without a command: it says only that it was decided.
            consensus.append(intake_marker(ballot, wall_ms));
            let index = consensus.store.lock().end();
            lead.joining.iter_mut().for_each(|joining| joining.safe_from = joining.safe_from.or(Some(index)));
        }
        lead.awaits = lead.awaits.filter(|&end| self.applied < end);
        if lead.awaits.is_some() {
            return;
        }
        while !intake.is_empty() && consensus.undecided_len() < UNDECIDED_LEN_MAX {
            let (entry, reconfigs) = intake.pack(ballot, wall_ms, self.config.entry_len_max);
            consensus.append(entry);
            if reconfigs {
                lead.awaits = Some(consensus.store.lock().end());
                return;
            }
        }
    }

    fn note_serving(&mut self, now_ms: u64) {
        let current = match self.consensus() {
            Some(consensus) => consensus.leader().map(|_| consensus.promise()),
            None => self.leader().map(|(_, ballot)| ballot),
        };
        if !self.is_in_contact(now_ms) || self.is_catching_up() {
            self.serving = false;
        } else if current.is_some_and(|ballot| self.epoch == Some(ballot::to_id(ballot))) {
            self.serving = true;
        }
    }

    /// Whether clients are served.
    pub fn is_serving(&self) -> bool {
        self.serving
    }

    /// How long it has been out of touch with a majority, ms: at most since it started.
    pub fn alone_ms(&self, now_ms: u64) -> u64 {
        now_ms.saturating_sub(self.contact_ms.unwrap_or(self.started_ms))
    }

    /// What this server is to its ensemble.
    pub fn role(&self) -> Role {
        match &self.standing {
            Some(Standing::Voter(consensus)) if consensus.leads() => Role::Leading,
            Some(Standing::Voter(consensus)) => consensus.leading_server().map_or(Role::Looking, Role::Following),
            Some(Standing::Learner(_)) => self.leader().map_or(Role::Looking, |(leader, _)| Role::Observing(leader)),
            Some(Standing::Blank { .. }) | None => Role::Blank,
        }
    }

    /// Whether it leads and its own epoch is applied: then sessions expire and znodes are reaped by it.
    pub fn rules(&self) -> bool {
        self.lead.as_ref().is_some_and(|lead| lead.intake.is_some())
    }

    /// Entries that are decided, as far as this server knows, and the bytes of those it has that are not.
    pub fn decided(&self) -> (u64, usize) {
        self.consensus().map_or((self.applied, 0), |consensus| (consensus.decided(), consensus.undecided_len()))
    }

    /// On a leader: the peers linked to it, and whether each is in step: it accepts what this server proposes, or is told
    /// what is decided.
    pub fn learners(&self) -> impl Iterator<Item = (u8, bool)> {
        let promise = self.consensus().map(Consensus::promise);
        self.links.iter().filter(|(_, link)| link.up).filter_map(move |(&peer, link)| {
            let status = link.status?;
            let accepts = link.joined && status.accepting && Some(status.promise) == promise;
            // A voter that is only told has not caught up yet.
            let is_told = link.stream.is_some() && !self.configuration.has(peer);
            Some((peer, accepts || is_told))
        })
    }

    /// Peers whose link is up.
    pub fn linked(&self) -> Vec<u8> {
        self.links.iter().filter(|(_, link)| link.up).map(|(&peer, _)| peer).collect()
    }

    /// The next frame for `peer` that may leave now.
    pub fn next_frame(&mut self, peer: u8) -> Option<Vec<u8>> {
        let written = self.consensus().map_or(0, |consensus| consensus.written);
        self.links.get_mut(&peer)?.pop(written)
    }

    /// Whether [`Replica::persist`] has something to do.
    pub fn is_staged(&self) -> bool {
        self.next.is_some() || self.store().is_some_and(|store| store.lock().is_staged())
    }

    /// The first half of [`Replica::persist`], of a follower, if that would block: then whoever runs what it returns lets go of
    /// the replica meanwhile. Until [`Replica::finish_persist`] it may only overhear and apply. *Errors*: as [`Replica::persist`].
    pub fn begin_persist(&mut self) -> Result<Option<Syncing>, JournalFull> {
        match &mut self.standing {
            Some(Standing::Voter(consensus)) if self.next.is_none() => consensus.begin_persist(),
            Some(_) | None => Ok(None),
        }
    }

    /// The other half: what was begun is durable.
    pub fn finish_persist(&mut self) {
        if let Some(Standing::Voter(consensus)) = &mut self.standing {
            consensus.finish_persist();
            consensus.take_outgoing(&mut self.links);
        }
    }

    /// A frame from `peer` that waits for [`Replica::receive`] until this server's disk has answered. All before it have been
    /// received or overheard.
    pub fn overhear(&mut self, peer: u8, bytes: &[u8]) {
        if self.links.get(&peer).is_none_or(|link| !link.joined) {
            return;
        }
        let Configuration { id, voters, .. } = &self.configuration;
        let process = |server| self.configuration.process_of(server).unwrap_or_default();
        let (from, to) = (process(peer), process(self.config.me));
        let decided = Frame::decided(bytes, Roster { configuration: *id, from, to, processes: voters.len() as u64 });
        if let (Some((n, decided)), Some(Standing::Voter(consensus))) = (decided, &mut self.standing) {
            consensus.overhear(from, n, decided);
        }
    }

    /// Makes durable what must be; true if anything was. *Errors*: the disk is full; the replica must be started anew
    /// from what is on disk.
    pub fn persist(&mut self) -> Result<bool, JournalFull> {
        if let Some(next) = self.next.clone() {
            self.succeed(next)?;
            return Ok(true);
        }
        match &mut self.standing {
            Some(Standing::Voter(consensus)) => {
                let mut written = false;
                // What the companion of a sole voter says, brings about more to write.
                while consensus.persist()? {
                    written = true;
                    // What was counted only now may be news for the others.
                    consensus.take_outgoing(&mut self.links);
                }
                Ok(written)
            }
            Some(Standing::Learner(learner)) => {
                let mut store = learner.store.lock();
                let staged = store.is_staged();
                store.persist()?;
                drop(store);
                self.vote_again();
                Ok(staged)
            }
            Some(Standing::Blank { .. }) | None => Ok(false),
        }
    }

    /// Applies what is decided and durable. *Errors*: an entry that is none: the log is damaged.
    pub fn apply(&mut self, applying: &mut Applying<'_>) -> Result<(), DecodeError> {
        let before = self.applied;
        while let Some(entry) = self.next_applicable(applying.early) {
            self.apply_entry(&entry.0, applying)?;
            self.applied += 1;
            self.note_end(applying.shared);
        }
        if self.applied > before
            && let Some(store) = self.store()
        {
            store.lock().note_applied(self.applied);
        }
        Ok(())
    }

    fn applicable(&self, early: bool) -> u64 {
        match &self.standing {
            Some(Standing::Voter(consensus)) => consensus.applicable(early),
            Some(Standing::Learner(learner)) => {
                let store = learner.store.lock();
                store.decided().min(store.durable_end())
            }
            Some(Standing::Blank { .. }) | None => 0,
        }
    }

    /// Whether something is applied that this server's disk does not have.
    pub fn is_ahead_of_disk(&self) -> bool {
        self.store().is_some_and(|store| store.lock().durable_end() < self.applied)
    }

    fn next_applicable(&mut self, early: bool) -> Option<storage::LogEntry> {
        if self.next.is_some() && !self.config.bugs.late_end {
            return None;
        }
        if let Some(entry) = self.ahead.pop_front() {
            return Some(entry);
        }
        let applied = self.applied;
        let end = self.applicable(early).min(applied + READ_ENTRIES);
        if applied >= end {
            return None;
        }
        let entries = self.store()?.lock().entries(applied, end);
        self.ahead = entries.into();
        self.ahead.pop_front()
    }

    fn apply_entry(&mut self, bytes: &[u8], applying: &mut Applying<'_>) -> Result<(), DecodeError> {
        let _entry = applying.entry.lock();
        let mut batch = match Entry::decode(bytes)? {
            Entry::Epoch(epoch) => {
                let mut shared = applying.shared.write();
                applying.writer.begin_epoch(&mut shared, &epoch);
                self.begin_epoch(epoch.ballot, &mut shared, applying.now_ms);
                (applying.applied)(bytes);
                (applying.deliver)(applying.writer, shared);
                return Ok(());
            }
            Entry::Batch(batch) => batch,
        };
        loop {
            let mut shared = applying.shared.write();
            let (writer, window) = (&mut *applying.writer, &mut self.window);
            let last = writer.apply(&mut shared, &mut batch, window, APPLY_MAX, applying.now_ms)? < APPLY_MAX;
            if last {
                (applying.applied)(bytes);
            }
            (applying.deliver)(applying.writer, shared);
            if last {
                break;
            }
        }
        self.settle_joining();
        Ok(())
    }

    /// The leader is the one its clocks and its intake wait for.
    fn begin_epoch(&mut self, id: BallotId, shared: &mut Shared, now_ms: u64) {
        self.epoch = Some(id);
        let ballot = ballot::from_id(id);
        let Some(lead) = self.lead.as_mut().filter(|lead| lead.ballot == ballot) else { return };
        if !self.config.bugs.hasty_intake {
            let mut intake = Intake::open(&shared.state);
            intake.takes_all = self.config.bugs.no_duplicate_filter;
            lead.intake = Some(intake);
        }
        if !self.config.bugs.stale_clocks {
            shared.sessions.get_mut().clocks.restart(now_ms);
        }
        self.aim(self.config.me, ballot);
        for peer in self.linked() {
            self.say(peer, &Frame::Ready(id));
        }
        self.ping(None, now_ms);
    }

    fn settle_joining(&mut self) {
        let applied = self.applied + 1;
        let Some(lead) = &mut self.lead else { return };
        if lead.joining.is_empty() {
            return;
        }
        let all = std::mem::take(&mut lead.joining).into_iter();
        let (safe, waiting): (Vec<_>, Vec<_>) =
            all.partition(|joining| joining.safe_from.is_some_and(|index| index <= applied));
        lead.joining = waiting;
        for Joining { blank, via, link, safe_from } in safe {
            let at = safe_from.unwrap_or_default();
            match via == blank {
                true => self.answer_blank(blank, link, at),
                false => self.say(via, &Frame::JoinAtFor { blank, link, at }),
            }
        }
    }

    /// What it cannot do itself; asked for once.
    pub fn take_want(&mut self) -> Option<Want> {
        // Whoever leads by now has all that a majority has.
        self.want.take().filter(|_| !self.leads_all())
    }

    /// Peers whose links are silent for too long: they should get new ones.
    pub fn silent(&self, now_ms: u64) -> Vec<u8> {
        let since_ms = now_ms.saturating_sub(self.config.pace.silence_ms);
        let silent = |(&peer, link): (&u8, &Link)| link.is_silent_since(since_ms).then_some(peer);
        self.links.iter().filter_map(silent).collect()
    }

    /// When [`Replica::step`] has something to do, if nothing arrives before, ms.
    pub fn next_step_ms(&self) -> u64 {
        let next_ms = match &self.standing {
            _ if self.may_feed() || self.may_go_on() => 0,
            Some(Standing::Voter(consensus)) => consensus.next_round_ms(),
            Some(Standing::Learner(learner)) => learner.next_ping_ms,
            Some(Standing::Blank { next_ping_ms, .. }) => *next_ping_ms,
            None => 0,
        };
        next_ms.min(self.next_touch_ms)
    }

    /// Of a sole voter, whom nobody's frames wake: what the last turn has brought about is work for the next one.
    fn may_go_on(&self) -> bool {
        let Some(consensus) = self.consensus().filter(|consensus| consensus.is_alone() && consensus.leads()) else {
            return false;
        };
        match &self.lead {
            Some(lead) if lead.ballot == consensus.promise() => match &lead.intake {
                Some(intake) => !self.serving || !intake.is_empty() || self.window.has_unsent(),
                None => self.wants_epoch,
            },
            Some(_) | None => true,
        }
    }

    /// Entries applied.
    pub fn applied(&self) -> u64 {
        self.applied
    }

    /// What this server, as the leader, has packed since this was last asked.
    pub fn take_packed(&mut self) -> Packed {
        let intake = self.lead.as_mut().and_then(|lead| lead.intake.as_mut());
        intake.map(|intake| std::mem::take(&mut intake.packed)).unwrap_or_default()
    }

    /// With the journal; for trimming and for sending the state.
    pub fn with_journal<T>(&mut self, work: impl FnOnce(&mut dyn Journal) -> T) -> T {
        match &mut self.standing {
            Some(Standing::Voter(consensus)) => work(&mut *consensus.store.lock().journal),
            Some(Standing::Learner(learner)) => work(&mut *learner.store.lock().journal),
            Some(Standing::Blank { journal, .. }) => work(&mut **journal),
            None => unreachable!("it has one or the other"),
        }
    }

    /// Entries from `from` on, about `len_max` bytes of them; `None` if they are trimmed. Nothing may be staged.
    pub fn log_part(&self, from: u64, len_max: usize) -> Option<LogPart> {
        let store = self.store()?.lock();
        if from < store.journal.first_index() || store.is_staged() || self.next.is_some() {
            return None;
        }
        // What is decided behind that may be void.
        let decided = self.applied;
        let entries = store.entries_of(from, decided, len_max);
        let next = from + entries.len() as u64;
        let mut part = LogPart { entries: entries.into_iter().map(|entry| entry.0).collect(), last: None };
        if next >= decided {
            let scalar = |key| store.journal.scalar(key).unwrap_or_default();
            let (promise, round, end) = match &self.standing {
                Some(Standing::Voter(_)) => (scalar(scalar::PROMISE), scalar(scalar::ROUND), store.end()),
                Some(Standing::Learner(_) | Standing::Blank { .. }) | None => {
                    let heard = self.round_heard();
                    (heard.clone(), heard, decided)
                }
            };
            part.entries.extend(store.entries(next, end).into_iter().map(|entry| entry.0));
            part.last = Some(LogTail { promise, round, configuration: self.configuration.encode(), decided, end });
        }
        Some(part)
    }

    /// The round in which a voter would have accepted what a server without a vote has applied: that of the last epoch,
    /// since everything from there on was appended by the leader of it. A voter that installs this state without a round
    /// would claim to have accepted nothing, and a leader would offer it entries again that are decided.
    fn round_heard(&self) -> Vec<u8> {
        let of_this = |id: &BallotId| ballot::from_id(*id).config_id == self.configuration.id;
        self.epoch.filter(of_this).map(|id| id.0.to_vec()).unwrap_or_default()
    }

    /// Forgets entries below `index`, of which all are in the durable tree.
    pub fn trim(&mut self, index: u64) {
        if self.consensus().is_some_and(Consensus::is_candidate) {
            return;
        }
        // What was overheard and never handled, because its link ended, OmniPaxos does not know to be decided: it may be offered
        // these entries again.
        let decided = self.consensus().map_or(self.applied, Consensus::decided);
        if let Some(store) = self.store() {
            store.lock().journal.trim(index.min(self.applied).min(decided));
        }
    }

    /// The same, but keeps what others need who are sent a state, or were and are not in step yet.
    pub fn trim_for(&mut self, index: u64, pins: &Pins) {
        let now_ms = self.stepped_ms;
        let in_step: Vec<u8> = self.learners().filter(|&(_, is_in_step)| is_in_step).map(|(peer, _)| peer).collect();
        let (sending, kept) = pins.lowest(now_ms, &in_step);
        let floor = self.with_journal(|journal| journal.floor(PINNED_LEN_MAX));
        self.trim(index.min(sending).min(kept.max(floor)));
    }

    /// Writes down how far everything is decided; worthwhile when nothing else is written.
    pub fn persist_decided(&mut self) -> Result<(), JournalFull> {
        self.store().map_or(Ok(()), |store| store.lock().persist_decided())
    }
}

/// Stands for a set of servers; FNV-1a.
fn founders_of(members: &[u8]) -> u64 {
    members.iter().fold(0xcbf2_9ce4_8422_2325, |hash, &member| (hash ^ u64::from(member)).wrapping_mul(0x100_0000_01b3))
}

fn intake_marker(ballot: BallotId, wall_ms: i64) -> Vec<u8> {
    let mut entry = Vec::new();
    oxkeeper_state::command::begin_agreed(ballot, wall_ms, &mut entry);
    entry
}
