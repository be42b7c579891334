//! One server of an ensemble. The parent module describes how it is driven.
//!
//! Invariants: an entry is applied once, in order, after it is decided (a leader also waits for its own disk); a client's
//! command is answered where it came from, when it is applied there; a server with nothing on disk
//! takes part in nothing until it either founds the ensemble with all others or has installed the
//! leader's state. The same holds for a server that holds only an imported state: it founds the
//! ensemble with all others that hold the same state.

use std::collections::BTreeMap;

use omnipaxos::ballot_leader_election::Ballot;
use oxkeeper_proto::{OpCode, ServerId, SessionId};
use oxkeeper_state::command::{BallotId, Epoch};
use oxkeeper_state::membership::MEMBERS_MAX;
use oxkeeper_state::reconfig::Ruling;
use oxkeeper_state::{Command, Identities, Level, Settings};
use parking_lot::RwLock;

use super::apply::Applied;
use super::ballot;
use super::check::Seen;
use super::configuration::Configuration;
use super::consensus::{Consensus, Received};
use super::contact::Contact;
use super::digests::{Digests, Mismatch};
use super::disk::Writing;
use super::founding::Founding;
use super::frame::{self, BadFrame, Frame, Roster, Status};
use super::journal::{Journal, JournalFull, JournalOp, scalar};
use super::leadership::{Leadership, Packing};
use super::links::{Link, Place};
use super::outstanding::Outstanding;
use super::participation::{Participation, Uninitialized};
pub use super::parts::{LogPart, LogTail, OwnLog, compare_rounds, greater_ballot};
use super::pins::{PINNED_LEN_MAX, Pins};
use super::proposal_queue::Packed;
use super::storage::{self, Store};
use super::twins::Twins;
use super::upgrading::Outdated;
use super::{Bugs, Pace};
use crate::Shared;
use crate::delivery::Proposals;

/// Sessions named in one frame, which is urgent: it should fit into one piece on the wire.
const TOUCHES_MAX: usize = 8_000;
/// Interval at which a blank server reports its status and asks to join, ms.
const BLANK_PING_MS: u64 = 50;

/// Configuration of a server of an ensemble.
#[derive(Clone, Debug)]
pub struct ReplicaConfig {
    /// This server's id.
    pub me: ServerId,
    /// Ids of the founders of the ensemble, in order; without this server if it only learns.
    pub members: Vec<ServerId>,
    /// The members as configured, for clients to read.
    pub membership: String,
    /// Version of `membership`, or `VERSION_WANTED`.
    pub membership_version: i64,
    /// Timing of its failure detection.
    pub pace: Pace,
    /// Bytes of commands in one entry, unless one command alone is longer.
    pub entry_len_max: usize,
    /// Settings for the leader's own commands.
    pub settings: Settings,
    /// Whether a majority of blank servers may found the ensemble.
    pub initialize: bool,
    /// Number of entries in the durable tree, all of them decided.
    pub checkpointed: u64,
    /// Number of applied entries.
    pub applied: u64,
    /// Current Unix time, ms.
    pub wall_ms: u64,
    /// Seed for values that must differ from any other ensemble's.
    pub seed: u64,
    /// Bytes of log that a peer gets as entries; a peer that needs more fetches the state.
    pub sync_len_max: u64,
    /// Ruling that this server, as a leader, gives on every reconfig.
    pub ruling: Ruling,
    /// The highest feature level that this server knows.
    pub knows: Level,
    /// Limit above which this server does not let the agreed level be raised.
    pub raises_to: Level,
    /// Known-bad variants; none outside the simulator.
    pub bugs: Bugs,
}

/// Role of a server in its ensemble.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The server has nothing and waits to join, or to found the ensemble.
    Uninitialized,
    /// The server knows of no leader.
    Looking,
    /// The server follows this leader.
    Following(ServerId),
    /// The server does not vote, and learns from this server.
    Observing(ServerId),
    /// The server leads.
    Leading,
}

/// Action that a replica asks of its driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Want {
    /// End the replica, and restart it with a peer's state.
    Install {
        /// Peer to take the state from; any other will do if its state has enough entries.
        from: ServerId,
        /// Number of entries that the state must have.
        at: u64,
    },
}

/// See the module.
#[derive(Debug)]
pub struct Replica {
    pub(super) config: ReplicaConfig,
    /// Links by server.
    pub(super) links: BTreeMap<ServerId, Link>,
    pub(super) participation: Participation,
    /// The current configuration; the default one while the server is blank.
    pub(super) configuration: Configuration,
    /// The next configuration, if the last applied entry has ended the current one; nothing is
    /// applied until it has begun.
    pub(super) next: Option<Configuration>,
    pub(super) outstanding: Outstanding,
    /// Set on the leader only.
    pub(super) lead: Option<Leadership>,
    /// Server to which commands go, and the ballot it leads.
    pub(super) target: Option<(ServerId, Ballot)>,
    pub(super) applied: Applied,
    /// Contact with a majority, or with the leader.
    pub(super) contact: Contact,
    pub(super) serving: bool,
    pub(super) founding: Founding,
    /// Sessions that followers have heard from.
    touched: Vec<SessionId>,
    next_touch_ms: u64,
    pub(super) want: Option<Want>,
    pub(super) writing: Option<Writing>,
    pub(super) digests: Digests,
    /// Set if this server must end because the others are newer.
    pub(super) outdated: Option<Outdated>,
    pub(super) twins: Twins,
    pub(super) seen: Seen,
}

impl Replica {
    /// Starts the replica over `journal`. `state` is the recovered one.
    ///
    /// # Errors
    /// Returns an error if the disk is full.
    pub fn start(
        config: ReplicaConfig,
        mut journal: Box<dyn Journal>,
        state: &oxkeeper_state::State,
        now_ms: u64,
    ) -> Result<Replica, JournalFull> {
        let known = storage::number(&*journal, scalar::BOOT).unwrap_or(0);
        // A server that lost its disk does not know its earlier start numbers; the wall clock is
        // later than all of them.
        let boot = config.wall_ms.max(known + 1).max(state.last_admitted(config.me).unwrap_or_default().0 + 1);
        let owner = vec![config.me.0];
        journal.write(vec![
            JournalOp::Scalar(scalar::BOOT, boot.to_be_bytes().to_vec()),
            JournalOp::Scalar(scalar::OWNER, owner),
        ])?;
        let configuration = Configuration::of(&*journal);
        let mut replica = Replica {
            links: BTreeMap::new(),
            participation: Participation::Uninitialized(Uninitialized { journal, next_ping_ms: now_ms }),
            configuration: Configuration::default(),
            next: None,
            outstanding: Outstanding::new(boot),
            lead: None,
            target: None,
            applied: Applied::new(config.applied, state.epoch_ballot()),
            contact: Contact::new(config.pace.contact_ms, now_ms),
            serving: false,
            founding: Founding::new(&config, state.ensemble()),
            touched: Vec::new(),
            next_touch_ms: now_ms,
            want: None,
            writing: None,
            digests: Digests::default(),
            outdated: None,
            twins: Twins::default(),
            seen: Seen::default(),
            config,
        };
        replica.digests.note(replica.applied.end(), state.digest());
        if let Some(configuration) = configuration {
            replica.recover(configuration, state, now_ms)?;
        }
        Ok(replica)
    }

    /// Returns this server's id and start number, by which its commands are numbered.
    pub fn origin(&self) -> (ServerId, u64) {
        (self.config.me, self.outstanding.boot)
    }

    /// Returns the configuration, with the voters.
    pub fn configuration(&self) -> &Configuration {
        &self.configuration
    }

    pub(super) fn consensus(&self) -> Option<&Consensus> {
        self.participation.consensus()
    }

    pub(super) fn consensus_mut(&mut self) -> Option<&mut Consensus> {
        self.participation.consensus_mut()
    }

    pub(super) fn store(&self) -> Option<&Store> {
        self.participation.store()
    }

    /// Handles a new link to `peer`; the old one, if there was one, has ended. Consensus begins on
    /// it once the peer has reported that it votes in this server's configuration.
    pub fn link_up(&mut self, peer: ServerId, now_ms: u64) {
        self.link_down(peer, now_ms);
        self.links.entry(peer).or_default().begin(now_ms);
        self.ping(Some(peer), now_ms);
        if let Some(lead) = self.lead.as_ref().filter(|lead| lead.is_open()) {
            let ready = Frame::Ready(ballot::to_id(lead.ballot()));
            self.say(peer, &ready);
        }
    }

    /// Handles the end of the link to `peer`.
    pub fn link_down(&mut self, peer: ServerId, now_ms: u64) {
        let Some(link) = self.links.get(&peer).filter(|link| link.up) else { return };
        if link.joined {
            self.part_from(peer, now_ms);
        }
        self.links.entry(peer).or_default().end();
        if self.target.is_some_and(|(target, _)| target == peer) {
            self.target = None;
        }
        self.lead.iter_mut().for_each(|lead| lead.forget_joining_via(peer));
        self.unfollow(peer);
    }

    pub(super) fn take_outgoing(&mut self) {
        if let Participation::Voter(consensus) = &mut self.participation {
            consensus.take_outgoing(&mut self.links);
        }
    }

    pub(super) fn say(&mut self, peer: ServerId, frame: &Frame) {
        if let Some(link) = self.links.get_mut(&peer) {
            let mut bytes = Vec::new();
            frame.encode(&mut bytes);
            link.push(0, bytes);
        }
    }

    /// Notes that a part of a frame has come from `peer`: it is alive, however long the frame
    /// takes.
    pub fn stirred(&mut self, peer: ServerId, now_ms: u64) {
        if let Some(link) = self.links.get_mut(&peer).filter(|link| link.up) {
            link.heard_ms = Some(now_ms);
        }
    }

    /// Notes that bytes leave again on the link to `peer`, which was full: the link is alive,
    /// whatever the peer's process does.
    pub fn drained(&mut self, peer: ServerId, now_ms: u64) {
        if let Some(link) = self.links.get_mut(&peer).filter(|link| link.up) {
            link.drained_ms = Some(now_ms);
        }
    }

    /// Handles a frame from `peer`. *Errors*: the frame is invalid; the link must end.
    pub fn receive(&mut self, peer: ServerId, bytes: &[u8], now_ms: u64) -> Result<(), BadFrame> {
        let Some(link) = self.links.get_mut(&peer).filter(|link| link.up) else { return Ok(()) };
        link.heard_ms = Some(now_ms);
        let Configuration { id, voters, .. } = &self.configuration;
        let process = |server| self.configuration.process_of(server).unwrap_or_default();
        let (from, to) = (process(peer), process(self.config.me));
        let both_vote = from > 0 && to > 0;
        let is_early = !link.joined && both_vote && Frame::is_heartbeat(bytes);
        // Messages of another configuration mean nothing in this one.
        let counts = link.joined || is_early || self.config.bugs.foreign_frames && both_vote;
        if Frame::is_of_consensus(bytes) && !counts || Frame::is_foreign_heartbeat(bytes, *id) {
            return Ok(());
        }
        let knows = if self.config.bugs.unchecked_entries { Level(u32::MAX) } else { self.config.knows };
        let roster = Roster { configuration: *id, from, to, processes: voters.len() as u64, knows };
        let frame = Frame::decode(bytes, roster).inspect_err(|problem| self.note_refused(peer, bytes, problem))?;
        let Some(link) = self.links.get_mut(&peer) else { return Ok(()) };
        match frame {
            Frame::Heartbeat { message, .. } if is_early => link.early = Some(message),
            Frame::Heartbeat { message, .. } => {
                if let Some(consensus) = self.consensus_mut() {
                    consensus.receive_heartbeat(from, message);
                }
            }
            Frame::Consensus(message) => {
                let received = self.consensus_mut().map(|consensus| consensus.receive(from, message));
                match received.transpose()? {
                    Some(Received::NeedsState) => self.say(peer, &Frame::NeedState),
                    Some(Received::IsBehind(decided)) => self.say(peer, &Frame::Behind(decided)),
                    Some(Received::Handled) | None => {}
                }
            }
            Frame::Ping { urgent, status, sent_ms } => {
                // A pulse whose place has not been told in order yet does not count: the pulse has
                // overtaken the ping that reports the place, and frames of the earlier place in
                // front of that ping.
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
                // A leader of an earlier configuration must enter this one first.
                if ballot.config_id >= self.configuration.id {
                    self.aim(peer, ballot);
                }
            }
            Frame::Forward { boot, first, commands } => {
                if let Some(lead) = &mut self.lead {
                    self.touched.append(&mut lead.take(peer, boot, first, commands)?);
                }
            }
            Frame::Touches(mut sessions) => self.touched.append(&mut sessions),
            Frame::NeedState => self.want_state_of(peer),
            Frame::Join => self.ask_for_blank(peer),
            Frame::JoinFor { blank, link } => self.admit_blank(blank, peer, link),
            Frame::JoinAt(at) => self.note_admitted(peer, at, now_ms),
            Frame::JoinAtFor { blank, link, at } => self.answer_blank(blank, link, at),
            Frame::Follow(from) => self.begin_stream(peer, from),
            Frame::Lacks(from) => self.bring_along(peer, from),
            Frame::Decided { first, entries } => self.learn(peer, first, entries, now_ms),
            Frame::Learned(end) => self.go_on_with_stream(peer, end),
            Frame::TakeOver => self.take_over(peer),
            Frame::Digest { applied, digest } => self.digests.said(peer, applied, digest),
            Frame::Twin => self.note_accusation(peer),
            Frame::Behind(decided) => self.fall_behind(peer, decided, now_ms),
        }
        Ok(())
    }

    /// Sends commands to `peer` from now on: it leads `ballot` and takes commands.
    pub(super) fn aim(&mut self, peer: ServerId, ballot: Ballot) {
        if self.target.is_none_or(|(_, known)| ballot::order(known) <= ballot::order(ballot)) {
            self.target = Some((peer, ballot));
            self.outstanding.rewind();
        }
    }

    /// Takes commands of this server's clients and leaves `proposals` empty.
    pub fn submit(&mut self, proposals: &mut Proposals) {
        self.outstanding.push(proposals);
    }

    /// Returns the bytes of this server's clients' commands that are not applied yet.
    pub fn waiting_len(&self) -> usize {
        self.outstanding.len()
    }

    /// Notes that this server's clients are gone: no client waits for an answer any longer.
    pub fn orphan(&mut self) {
        self.outstanding.orphan();
    }

    /// Takes a command of the leader itself; a server that does not lead drops it.
    pub fn submit_own(&mut self, session: SessionId, op: OpCode, body: &[u8]) {
        let settings = self.config.settings;
        if let Some(lead) = &mut self.lead {
            let identities = Identities::default();
            lead.take_own(&Command { session, xid: 0, op, settings, identities, body, from: None });
        }
    }

    /// Takes the end of a session that has expired by the leader's clocks; a server that does not
    /// lead drops it.
    pub fn submit_expiry(&mut self, session: SessionId, state: &oxkeeper_state::State) {
        let known = state.expiry(session);
        let body = if self.config.bugs.stale_expiry { &[][..] } else { &known };
        self.submit_own(session, OpCode::CloseSession, body);
    }

    /// Acts on the time and on everything received. `wall_ms` is Unix time.
    pub fn step(&mut self, shared: &RwLock<Shared>, now_ms: u64, wall_ms: i64) {
        self.contact.advance(now_ms);
        match &mut self.participation {
            Participation::Voter(consensus) => {
                let due = consensus.tick(&self.links, now_ms);
                due.then(|| self.ping(None, now_ms));
            }
            Participation::Learner(learner) => {
                let due = learner.is_due(now_ms, self.config.pace.heartbeat_ms);
                due.then(|| self.ping(None, now_ms));
            }
            Participation::Uninitialized(blank) => {
                if now_ms >= blank.next_ping_ms {
                    blank.next_ping_ms = now_ms + BLANK_PING_MS;
                    self.ping(None, now_ms);
                    self.ask_to_join();
                }
                self.found_if_due(now_ms);
            }
        }
        self.vote_again(now_ms);
        self.catch_up(now_ms);
        self.contact.note_heard(self.last_heard_ms(now_ms));
        self.note_leadership();
        self.settle_touches(shared, now_ms);
        self.forward();
        self.leave(now_ms);
        self.propose_level(shared, wall_ms);
        self.pack(shared, wall_ms);
        self.note_serving(now_ms);
        self.take_outgoing();
        self.feed();
        self.debug_check();
    }

    pub(super) fn ping(&mut self, to: Option<ServerId>, now_ms: u64) {
        let status = self.status(now_ms);
        let place = Some(Place::of(&status));
        // A server that has voted founds nothing any longer: candidates may have its promises.
        let founders = if self.participation.is_blank() { status.founders } else { 0 };
        let encoded = |frame: Frame| {
            let mut bytes = Vec::new();
            frame.encode(&mut bytes);
            bytes
        };
        let said = self.digests.to_say().filter(|_| !self.participation.is_blank());
        let digests: Vec<_> = said.map(|(applied, digest)| encoded(Frame::Digest { applied, digest })).collect();
        for (peer, link) in self.links.iter_mut().filter(|(peer, link)| link.up && to.is_none_or(|to| to == **peer)) {
            let urgent = std::mem::replace(&mut link.told, place) == place;
            let founders = if self.founding.has_seen_voting(*peer) { founders } else { status.founders };
            link.push(0, encoded(Frame::Ping { urgent, status: Status { founders, ..status }, sent_ms: now_ms }));
            digests.iter().for_each(|frame| link.push(0, frame.clone()));
        }
    }

    /// Returns the peers whose state differs from this server's, as found since the last call.
    pub fn take_mismatches(&mut self) -> Vec<Mismatch> {
        self.digests.take_news()
    }

    /// Returns whether this server's state differs from that of a majority: then it must stop.
    pub fn is_wrong(&self) -> bool {
        self.digests.is_minority(&self.configuration.voters)
    }

    /// Returns whether this server's state may be wrong: it differs from the leader's, and no
    /// majority shows which one is right.
    pub fn is_doubtful(&self) -> bool {
        let (me, voters) = (self.config.me, &self.configuration.voters);
        self.leader().is_some_and(|(leader, _)| self.digests.is_doubtful(leader, me, voters))
    }

    fn status(&self, now_ms: u64) -> Status {
        let Configuration { id: configuration, base, .. } = self.configuration;
        let (origin, founders) = (self.founding.origin(), self.founding.founders());
        let status = Status {
            configuration,
            base,
            origin,
            founders,
            boot: self.outstanding.boot,
            decided: self.applied.end(),
            end: self.applied.end(),
            knows: self.highest_allowed_level(),
            ..Status::default()
        };
        match &self.participation {
            Participation::Voter(consensus) => Status {
                votes: true,
                promise: consensus.promise(),
                accepting: consensus.leader().is_some(),
                // Followers serve for as long as their leader has a majority.
                leading: consensus.leads() && self.contact.is_recent(now_ms),
                decided: consensus.decided(),
                end: consensus.store.lock().end(),
                ..status
            },
            Participation::Learner(learner) => Status { end: learner.store.lock().end(), ..status },
            Participation::Uninitialized(_) => Status { initialize: self.config.initialize, ..status },
        }
    }

    /// Returns the statuses of the peers that are linked and have reported one.
    pub(super) fn statuses(&self) -> impl Iterator<Item = (ServerId, Status)> {
        self.links.iter().filter_map(|(&peer, link)| link.status.map(|status| (peer, status)))
    }

    fn found_if_due(&mut self, now_ms: u64) {
        let statuses: Vec<_> = self.statuses().collect();
        if !self.founding.is_due(&self.config, &statuses) {
            return;
        }
        let configuration = Configuration::first(self.config.members.clone());
        let scalars = vec![
            JournalOp::Scalar(scalar::MEMBERS, configuration.voters.iter().map(|voter| voter.0).collect()),
            JournalOp::Scalar(scalar::CONFIGURATION, configuration.encode()),
        ];
        if self.participation.with_journal(|journal| journal.write(scalars)).is_ok() {
            let journal = self.participation.take_journal();
            self.enter(configuration, journal, None, now_ms);
        }
    }

    /// Returns the peers that are blank but hold another imported state than this server, or none.
    /// For a server that holds at most an imported state.
    pub fn peers_with_other_import(&self) -> Vec<ServerId> {
        self.founding.peers_with_other_import(self.statuses())
    }

    /// Returns the time at which a leader last heard a majority, or any other server its leader.
    fn last_heard_ms(&self, now_ms: u64) -> Option<u64> {
        let heard = |link: &Link| link.heard_ms.filter(|_| link.up);
        match self.consensus().filter(|consensus| consensus.leads()) {
            Some(consensus) if consensus.is_alone() => Some(now_ms),
            Some(consensus) => {
                // A peer that follows another leader by now, or takes no part, does not count.
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
        }
    }

    /// Returns the leader that this server follows, as that server reports it, and its ballot.
    pub(super) fn leader(&self) -> Option<(ServerId, Ballot)> {
        let mut leading = self.statuses().filter(|(_, status)| status.leading);
        match &self.participation {
            Participation::Voter(consensus) => {
                let (leader, promise) = (consensus.leading_server()?, consensus.promise());
                let said = |(peer, status): &(ServerId, Status)| *peer == leader && status.promise == promise;
                leading.find(said).map(|_| (leader, promise))
            }
            Participation::Learner(_) => {
                let ballots = leading.map(|(peer, status)| (peer, status.promise));
                ballots.max_by_key(|(_, promise)| ballot::order(*promise))
            }
            Participation::Uninitialized(_) => None,
        }
    }

    fn note_leadership(&mut self) {
        let leading = self.consensus().filter(|consensus| consensus.leads()).map(Consensus::promise);
        if self.lead.as_ref().map(Leadership::ballot) != leading {
            self.lead = leading.map(Leadership::new);
        }
    }

    /// Updates the session clocks: a leader applies what followers have heard, a follower reports
    /// what it has heard itself.
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

    /// Sends the clients' commands to the current leader.
    fn forward(&mut self) {
        let Some((target, _)) = self.target else { return };
        let (me, boot) = self.origin();
        while let Some((first, commands)) = self.outstanding.next_unsent() {
            if target == me {
                if let Some(lead) = &mut self.lead {
                    let taken = lead.take(me, boot, first, commands.to_vec());
                    self.touched.append(&mut taken.expect("own clients' commands were encoded here"));
                }
            } else if let Some(link) = self.links.get_mut(&target) {
                let mut bytes = Vec::with_capacity(commands.len() + 32);
                frame::encode_forward(boot, first, commands, &mut bytes);
                link.push(0, bytes);
            }
        }
    }

    /// Packs waiting commands into the log; for the leader.
    fn pack(&mut self, shared: &RwLock<Shared>, wall_ms: i64) {
        self.judge(shared);
        let (Participation::Voter(consensus), Some(lead)) = (&mut self.participation, &mut self.lead) else { return };
        // Commands that wait while the disk works go into the next entry.
        if !consensus.leads() || self.next.is_some() || lead.leaving.is_some() || self.writing.is_some() {
            return;
        }
        let config = &self.config;
        let epoch = |ballot| {
            let mut entry = Vec::new();
            let (config_version, config_text) = (config.membership_version, config.membership.as_bytes());
            let ensemble = config.seed.max(1);
            Epoch { ballot, time_ms: wall_ms, ensemble, config_version, config: config_text }.encode(&mut entry);
            entry
        };
        let packing = Packing {
            applied: self.applied.end(),
            wall_ms,
            entry_len_max: config.entry_len_max,
            configuration: &self.configuration,
            bugs: config.bugs,
            epoch: &epoch,
        };
        lead.pack(consensus, &packing);
    }

    fn note_serving(&mut self, now_ms: u64) {
        let current = match self.consensus() {
            Some(consensus) => consensus.leader().map(|_| consensus.promise()),
            None => self.leader().map(|(_, ballot)| ballot),
        };
        if !self.contact.is_recent(now_ms) || self.is_doubtful() || self.is_wrong() || self.is_catching_up() {
            self.serving = false;
        } else if current.is_some_and(|ballot| self.applied.epoch() == Some(ballot::to_id(ballot))) {
            self.serving = true;
        }
    }

    /// Returns whether this server tries to lead, but has not heard from a majority.
    pub fn is_candidate(&self) -> bool {
        self.consensus().is_some_and(Consensus::is_candidate)
    }

    /// Returns whether this server serves clients.
    pub fn is_serving(&self) -> bool {
        self.serving
    }

    /// Returns how long this server has been out of contact with a majority, ms; at most since it
    /// started.
    pub fn alone_ms(&self, now_ms: u64) -> u64 {
        self.contact.silent_for_ms(now_ms)
    }

    /// Returns this server's role in its ensemble.
    pub fn role(&self) -> Role {
        match &self.participation {
            Participation::Voter(consensus) if consensus.leads() => Role::Leading,
            Participation::Voter(consensus) => consensus.leading_server().map_or(Role::Looking, Role::Following),
            Participation::Learner(_) => self.leader().map_or(Role::Looking, |(leader, _)| Role::Observing(leader)),
            Participation::Uninitialized(_) => Role::Uninitialized,
        }
    }

    /// Returns whether this server leads, its own epoch is applied, and it has contact with a
    /// majority: then it reaps znodes.
    pub fn leads_now(&self, now_ms: u64) -> bool {
        self.ruled_until_ms(now_ms).is_some() && self.contact.is_recent(now_ms)
    }

    /// Returns the time at which a leader whose own epoch is applied last had contact with a
    /// majority, ms: its clocks may advance up to then. After that time another server may lead,
    /// and no client may be heard.
    pub fn ruled_until_ms(&self, now_ms: u64) -> Option<u64> {
        let leads = self.lead.as_ref().is_some_and(Leadership::is_open);
        let until_ms = if self.config.bugs.lonely_clocks { Some(now_ms) } else { self.contact.heard_ms() };
        until_ms.filter(|_| leads)
    }

    /// Returns the number of entries that this server knows to be decided, and the bytes of its
    /// undecided entries.
    pub fn decided(&self) -> (u64, usize) {
        self.consensus().map_or((self.applied.end(), 0), |consensus| (consensus.decided(), consensus.undecided_len()))
    }

    /// Returns, on a leader, the linked peers and whether each is in step: it accepts what this
    /// server proposes, or learns decided entries.
    pub fn learners(&self) -> impl Iterator<Item = (ServerId, bool)> {
        let promise = self.consensus().map(Consensus::promise);
        self.links.iter().filter(|(_, link)| link.up).filter_map(move |(&peer, link)| {
            let status = link.status?;
            let accepts = link.joined && status.accepting && Some(status.promise) == promise;
            // A voter that only learns has not caught up yet.
            let is_told = link.stream.is_some() && !self.configuration.has(peer);
            Some((peer, accepts || is_told))
        })
    }

    /// Returns the peers whose link is up.
    pub fn linked(&self) -> Vec<ServerId> {
        self.links.iter().filter(|(_, link)| link.up).map(|(&peer, _)| peer).collect()
    }

    /// Returns the next frame for `peer` that may leave now.
    pub fn next_frame(&mut self, peer: ServerId) -> Option<Vec<u8>> {
        let written = self.consensus().map_or(0, |consensus| consensus.written);
        let frame = self.links.get_mut(&peer)?.pop(written)?;
        self.debug_check_leaving(&frame);
        Some(frame)
    }

    /// Takes the action that this replica asks of its driver; each is returned once.
    pub fn take_want(&mut self) -> Option<Want> {
        // A server that leads by now has all that a majority has.
        self.want.take().filter(|_| !self.leads_all())
    }

    /// Returns the peers whose links have been silent for too long and should be replaced.
    pub fn silent(&self, now_ms: u64) -> Vec<ServerId> {
        let since_ms = now_ms.saturating_sub(self.config.pace.silence_ms);
        let silent = |(&peer, link): (&ServerId, &Link)| link.is_silent_since(since_ms).then_some(peer);
        self.links.iter().filter_map(silent).collect()
    }

    /// Returns the time at which [`Replica::step`] has work if nothing arrives before, ms.
    pub fn next_step_ms(&self) -> u64 {
        let is_due = self.may_feed() || self.may_go_on();
        let next_ms = if is_due { 0 } else { self.participation.next_step_ms() };
        next_ms.min(self.next_touch_ms)
    }

    /// Returns whether the last turn has left work for the next one. Only for a sole voter, since
    /// no other server's frames wake it.
    fn may_go_on(&self) -> bool {
        let leads_alone = |consensus: &&Consensus| consensus.is_alone() && consensus.leads();
        let Some(consensus) = self.consensus().filter(|consensus| leads_alone(consensus) && self.writing.is_none())
        else {
            return false;
        };
        match &self.lead {
            Some(lead) if lead.ballot() == consensus.promise() => {
                lead.has_work() || lead.is_open() && (!self.serving || self.outstanding.has_unsent())
            }
            Some(_) | None => true,
        }
    }

    /// Returns the number of applied entries.
    pub fn applied(&self) -> u64 {
        self.applied.end()
    }

    /// Takes the counts of what this server, as the leader, has packed since the last call.
    pub fn take_packed(&mut self) -> Packed {
        self.lead.as_mut().map(Leadership::take_packed).unwrap_or_default()
    }

    /// Calls `work` with the journal, for trimming and for sending the state.
    pub fn with_journal<T>(&mut self, work: impl FnOnce(&mut dyn Journal) -> T) -> T {
        self.participation.with_journal(work)
    }

    /// Returns about `len_max` bytes of entries from `from` on; `None` if they are trimmed.
    ///
    /// The promise and the accepted entries go with them, durable here or not: the peer makes them
    /// durable before it reports them, and the leader itself could have told it as much.
    pub fn log_part(&self, from: u64, len_max: usize) -> Option<LogPart> {
        let store = self.store()?.lock();
        if from < store.journal.first_index() || self.next.is_some() {
            return None;
        }
        // Decided entries behind that may be void.
        let decided = self.applied.end();
        let entries = store.entries_of(from, decided, len_max);
        let next = from + entries.len() as u64;
        let mut part = LogPart { entries: entries.into_iter().map(|entry| entry.0).collect(), last: None };
        if next >= decided {
            let bytes = |ballot: Option<Ballot>| ballot.map(|it| ballot::to_id(it).0.to_vec()).unwrap_or_default();
            let (promise, round, end) = match &self.participation {
                Participation::Voter(_) => (bytes(store.promised()), bytes(store.accepted()), store.end()),
                Participation::Learner(_) | Participation::Uninitialized(_) => {
                    let heard = self.round_heard();
                    (heard.clone(), heard, decided)
                }
            };
            part.entries.extend(store.entries(next, end).into_iter().map(|entry| entry.0));
            part.last = Some(LogTail { promise, round, configuration: self.configuration.encode(), decided, end });
        }
        Some(part)
    }

    /// Returns the round in which a voter would have accepted the entries that a server without a
    /// vote has applied: that of the last epoch, since its leader appended everything from there
    /// on. A voter that installs this state without a round would claim to have accepted nothing,
    /// and a leader would offer it decided entries again.
    fn round_heard(&self) -> Vec<u8> {
        let of_this = |id: &BallotId| ballot::from_id(*id).config_id == self.configuration.id;
        self.applied.epoch().filter(of_this).map(|id| id.0.to_vec()).unwrap_or_default()
    }

    /// Forgets entries below `index`, all of which are in the durable tree.
    pub fn trim(&mut self, index: u64) {
        if self.is_candidate() {
            return;
        }
        let applied = self.applied.end();
        if let Some(store) = self.store() {
            store.lock().journal.trim(index.min(applied));
        }
    }

    /// Trims like `trim`, but keeps what peers need that receive a state, or have received one and
    /// are not in step yet.
    pub fn trim_for(&mut self, index: u64, pins: &Pins) {
        let now_ms = self.contact.now_ms();
        let in_step: Vec<ServerId> =
            self.learners().filter(|&(_, is_in_step)| is_in_step).map(|(peer, _)| peer).collect();
        let (sending, kept) = pins.lowest(now_ms, &in_step);
        let floor = self.with_journal(|journal| journal.floor(PINNED_LEN_MAX));
        self.trim(index.min(sending).min(kept.max(floor)));
    }

    /// Stages the decided index for the next write; worthwhile when nothing else is written.
    pub fn stage_decided(&mut self) {
        if let Some(store) = self.store() {
            store.lock().stage_decided();
        }
    }
}
