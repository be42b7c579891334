//! One server of an ensemble. See the module above for how it is driven.
//!
//! Invariants: an entry is applied once, in order, after it is decided and durable here; a client's command is answered
//! where it came from, when it is applied there; a server without anything on disk takes part in nothing until it
//! either founds the ensemble with all others or has installed the leader's state. So does one that holds no more than an
//! imported state: it founds the ensemble with all others that hold the same.

use omnipaxos::ballot_leader_election::Ballot;
use oxkeeper_proto::{DecodeError, OpCode, SessionId};
use oxkeeper_state::command::{BallotId, Entry, Epoch};
use oxkeeper_state::membership::MEMBERS_MAX;
use oxkeeper_state::{Command, Identities, Settings};
use parking_lot::{Mutex, RwLock, RwLockWriteGuard};

use super::ballot;
use super::consensus::{Consensus, Received};
use super::frame::{self, BadFrame, Frame, Status};
use super::intake::Intake;
use super::journal::{Journal, JournalFull, JournalOp, scalar};
use super::links::Link;
pub use super::parts::{LogPart, LogTail, OwnLog, compare_rounds, greater_ballot};
use super::storage;
use super::window::Window;
use super::{Bugs, Pace};
use crate::delivery::Proposals;
use crate::{Shared, Writer};

/// Commands applied under one exclusive lock: readers wait no longer than these take, about 0.2 ms.
const APPLY_MAX: usize = 256;
/// Bytes of entries that are not decided yet before the leader packs no more of them.
const UNDECIDED_LEN_MAX: usize = 32 << 20;
/// Entries read from the journal at once to be applied.
const READ_ENTRIES: u64 = 256;
/// Sessions named in one frame.
const TOUCHES_MAX: usize = 64 << 10;
/// How often a blank server says how it stands, and asks to join, ms.
const BLANK_PING_MS: u64 = 50;

/// What an ensemble's server needs to know.
#[derive(Clone, Debug)]
pub struct ReplicaConfig {
    /// This server's id.
    pub me: u8,
    /// All servers' ids, in order.
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
    /// It leads.
    Leading,
}

/// What a replica cannot do itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Want {
    /// To be ended, and started anew with this peer's state.
    Install {
        /// Whose state.
        from: u8,
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
}

/// Of the leader only.
#[derive(Debug)]
struct Lead {
    ballot: Ballot,
    /// Its epoch is applied: commands are taken.
    intake: Option<Intake>,
    /// Commands of its own, for the next entry.
    own: Vec<u8>,
    /// Blank servers that asked to join, and from which index on that is safe.
    joining: Vec<(u8, Option<u64>)>,
}

/// Whether this server takes part.
#[derive(Debug)]
enum Standing {
    Blank { journal: Box<dyn Journal>, next_ping_ms: u64 },
    Member(Box<Consensus>),
}

impl std::fmt::Debug for dyn Journal {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "journal {}..{}", self.first_index(), self.next_index())
    }
}

/// See the module.
#[derive(Debug)]
pub struct Replica {
    config: ReplicaConfig,
    /// By process, which is the place in `config.members`.
    links: Vec<Link>,
    /// `None` only while it changes.
    standing: Option<Standing>,
    window: Window,
    lead: Option<Lead>,
    /// It leads a ballot whose epoch is not in the log yet.
    wants_epoch: bool,
    /// To whom commands go, and the ballot it leads.
    target: Option<(u8, Ballot)>,
    applied: u64,
    /// The ballot of the last epoch applied.
    epoch: Option<BallotId>,
    /// When this server last was in touch with a majority, ms.
    contact_ms: Option<u64>,
    /// Of that, a pause of this server's own is not counted.
    forgave_pause: bool,
    /// When [`Replica::step`] last ran, ms.
    stepped_ms: u64,
    started_ms: u64,
    serving: bool,
    /// The ensemble's id in the state it began with; 0 for none.
    origin: u64,
    /// Sessions that followers have heard of.
    touched: Vec<SessionId>,
    next_touch_ms: u64,
    want: Option<Want>,
    /// Entries read ahead from the journal, from `applied` on.
    ahead: std::collections::VecDeque<storage::LogEntry>,
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
        let blank = journal.scalar(scalar::MEMBERS).is_none();
        let mut replica = Replica {
            links: config.members.iter().map(|_| Link::default()).collect(),
            standing: Some(Standing::Blank { journal, next_ping_ms: now_ms }),
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
            ahead: std::collections::VecDeque::new(),
            config,
        };
        if !blank {
            replica.take_part(now_ms);
        }
        Ok(replica)
    }

    /// What its commands are numbered by.
    pub fn origin(&self) -> (u8, u64) {
        (self.config.me, self.window.boot)
    }

    /// The members a journal was founded with, if it was.
    pub fn members_of(journal: &dyn Journal) -> Option<Vec<u8>> {
        journal.scalar(scalar::MEMBERS)
    }

    fn take_part(&mut self, now_ms: u64) {
        let Some(Standing::Blank { journal, .. }) = self.standing.take() else { unreachable!("only once") };
        let ReplicaConfig { me, members, pace, checkpointed, bugs, .. } = &self.config;
        let process = process_of(members, *me).expect("a member");
        let processes = members.len() as u64;
        let mut consensus = Consensus::new(process, processes, journal, *checkpointed, *pace, *bugs, now_ms);
        consensus.sync_len_max = self.config.sync_len_max;
        for (peer, link) in (1..).zip(&self.links) {
            if link.up {
                consensus.reconnected(peer, now_ms);
            }
        }
        self.standing = Some(Standing::Member(Box::new(consensus)));
    }

    fn consensus(&self) -> Option<&Consensus> {
        match &self.standing {
            Some(Standing::Member(consensus)) => Some(consensus),
            Some(Standing::Blank { .. }) | None => None,
        }
    }

    fn consensus_mut(&mut self) -> Option<&mut Consensus> {
        match &mut self.standing {
            Some(Standing::Member(consensus)) => Some(consensus),
            Some(Standing::Blank { .. }) | None => None,
        }
    }

    fn link(&mut self, peer: u8) -> Option<&mut Link> {
        let process = process_of(&self.config.members, peer)?;
        self.links.get_mut(process as usize - 1)
    }

    /// A new link to `peer`; the old one, if there was one, has ended.
    pub fn link_up(&mut self, peer: u8, now_ms: u64) {
        let Some(process) = process_of(&self.config.members, peer) else { return };
        // What was said before was for the old link.
        self.take_outgoing();
        self.links[process as usize - 1].begin(now_ms);
        if let Some(consensus) = self.consensus_mut() {
            consensus.reconnected(process, now_ms);
        }
        self.take_outgoing();
        self.ping(Some(peer), now_ms);
        if let Some(Lead { ballot, intake: Some(_), .. }) = &self.lead {
            let ready = Frame::Ready(ballot::to_id(*ballot));
            self.say(peer, &ready);
        }
    }

    /// The link to `peer` has ended.
    pub fn link_down(&mut self, peer: u8, now_ms: u64) {
        let Some(process) = process_of(&self.config.members, peer) else { return };
        self.take_outgoing();
        self.links[process as usize - 1].end();
        if let Some(consensus) = self.consensus_mut() {
            consensus.disconnected(process, now_ms);
        }
        if self.target.is_some_and(|(target, _)| target == peer) {
            self.target = None;
        }
    }

    fn take_outgoing(&mut self) {
        if let Some(Standing::Member(consensus)) = &mut self.standing {
            consensus.take_outgoing(&mut self.links);
        }
    }

    fn say(&mut self, peer: u8, frame: &Frame) {
        if let Some(link) = self.link(peer) {
            let mut bytes = Vec::new();
            frame.encode(&mut bytes);
            link.push(0, bytes);
        }
    }

    /// A frame from `peer`. *Errors*: it is none; the link must end.
    pub fn receive(&mut self, peer: u8, bytes: &[u8], now_ms: u64) -> Result<(), BadFrame> {
        let members = &self.config.members;
        let (Some(from), Some(me)) = (process_of(members, peer), process_of(members, self.config.me)) else {
            return Ok(());
        };
        let frame = Frame::decode(bytes, from, me, members.len() as u64)?;
        let link = &mut self.links[from as usize - 1];
        link.heard_ms = Some(now_ms);
        match frame {
            Frame::Consensus(message) => {
                let received = self.consensus_mut().map(|consensus| consensus.receive(from, message));
                if received.transpose()? == Some(Received::NeedsState) {
                    self.say(peer, &Frame::NeedState);
                }
            }
            Frame::Ping { status, sent_ms } => {
                link.status = Some(status);
                self.say(peer, &Frame::Pong(sent_ms));
            }
            Frame::Pong(sent_ms) => link.rtt_ms = now_ms.saturating_sub(sent_ms),
            Frame::Ready(ballot) => self.aim(peer, ballot::from_id(ballot)),
            Frame::Forward { boot, first, commands } => {
                if let Some(Lead { intake: Some(intake), .. }) = &mut self.lead {
                    intake.take(peer, boot, first, commands)?;
                }
            }
            Frame::Touches(mut sessions) => self.touched.append(&mut sessions),
            Frame::NeedState if self.lead.is_none() => self.want = Some(Want::Install { from: peer }),
            Frame::NeedState => {}
            Frame::Join => self.admit_blank(peer),
            Frame::JoinAt(_) if self.consensus().is_none() => self.want = Some(Want::Install { from: peer }),
            Frame::JoinAt(_) => {}
        }
        Ok(())
    }

    /// `peer` leads `ballot` and takes commands.
    fn aim(&mut self, peer: u8, ballot: Ballot) {
        if self.target.is_none_or(|(_, known)| known <= ballot) {
            self.target = Some((peer, ballot));
            self.window.rewind();
        }
    }

    /// A server that lost everything may have acknowledged what only one other server has. What is decided from now on,
    /// it took no part in: a state that has it has everything that was acknowledged.
    fn admit_blank(&mut self, peer: u8) {
        let Some(lead) = self.lead.as_mut().filter(|lead| lead.intake.is_some()) else { return };
        if lead.joining.iter().all(|(joining, _)| *joining != peer) {
            lead.joining.push((peer, None));
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
            Some(Standing::Member(consensus)) => {
                if consensus.tick(&self.links, now_ms) {
                    self.ping(None, now_ms);
                }
                self.note_contact(now_ms);
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
        self.note_leadership();
        self.settle_touches(shared, now_ms);
        self.forward();
        self.pack(wall_ms);
        self.note_serving(now_ms);
        self.take_outgoing();
    }

    fn ping(&mut self, to: Option<u8>, now_ms: u64) {
        let status = self.status(now_ms);
        let me = self.config.me;
        for (&peer, link) in self.config.members.iter().zip(&mut self.links) {
            if peer != me && link.up && to.is_none_or(|to| to == peer) {
                let mut bytes = Vec::new();
                Frame::Ping { status, sent_ms: now_ms }.encode(&mut bytes);
                link.push(0, bytes);
            }
        }
    }

    fn status(&self, now_ms: u64) -> Status {
        match self.consensus() {
            Some(consensus) => {
                let status = consensus.status();
                // Followers serve for as long as their leader has a majority.
                Status { leading: status.leading && self.is_in_contact(now_ms), origin: self.origin, ..status }
            }
            None => Status {
                promise: Ballot::default(),
                accepting: false,
                leading: false,
                blank: true,
                initialize: self.config.initialize,
                decided: 0,
                end: 0,
                origin: self.origin,
            },
        }
    }

    /// How the others stand, as far as they are linked.
    fn statuses(&self) -> impl Iterator<Item = (u8, Status)> {
        let linked = self.config.members.iter().zip(&self.links).filter(|(_, link)| link.up);
        linked.filter_map(|(&peer, link)| link.status.map(|status| (peer, status)))
    }

    /// A blank server, of an ensemble that is there.
    fn ask_to_join(&mut self) {
        let leader = self.statuses().find(|(_, status)| status.leading);
        if let Some((leader, _)) = leader {
            self.say(leader, &Frame::Join);
        }
    }

    /// A blank server: with everyone else as blank, or without a single entry, there is nothing to lose. Those that hold an
    /// imported state count as each other's like if it is the same state.
    fn found_if_new(&mut self, now_ms: u64) {
        let servers = self.config.members.len();
        let (origin, begin) = (self.origin, self.config.applied);
        let new = |status: &Status| status.origin == origin && (status.blank || status.end == begin);
        let count = |is: &dyn Fn(&Status) -> bool| 1 + self.statuses().filter(|(_, status)| is(status)).count();
        let all = count(&new) == servers;
        let eager = count(&|status| new(status) && (status.initialize || !status.blank));
        // One that is empty takes over what the others hold; one that holds something else must not lose it.
        let old = count(&|status| !new(status) && !(status.blank && status.origin == 0)) > 1;
        if all || !old && self.config.initialize && eager > servers / 2 {
            self.found(now_ms);
        }
    }

    /// Of a server that holds no more than an imported state, if that: which of its peers are blank, but hold another one, or none.
    pub fn unlike(&self) -> Vec<u8> {
        let unlike = |(_, status): &(u8, Status)| status.blank && status.origin != self.origin;
        self.statuses().filter(unlike).map(|(peer, _)| peer).collect()
    }

    fn found(&mut self, now_ms: u64) {
        let members = self.config.members.clone();
        if let Some(Standing::Blank { journal, .. }) = &mut self.standing
            && journal.write(&[JournalOp::Scalar(scalar::MEMBERS, members)]).is_ok()
        {
            self.take_part(now_ms);
        }
    }

    fn is_in_contact(&self, now_ms: u64) -> bool {
        self.contact_ms.is_some_and(|contact_ms| now_ms <= contact_ms + self.config.pace.contact_ms)
    }

    fn note_contact(&mut self, now_ms: u64) {
        let Some(consensus) = self.consensus() else { return };
        let Some(leader) = consensus.leader() else { return };
        let heard = |link: &Link| link.heard_ms.filter(|_| link.up);
        let contact_ms = if consensus.leads() {
            // Who follows another leader by now, or takes no part, does not count.
            let promise = consensus.promise();
            let counts = |status: Status| !status.blank && status.promise <= promise;
            let following = self.links.iter().filter(|link| link.status.is_none_or(counts));
            let mut times = [0; MEMBERS_MAX];
            times.iter_mut().zip(following.filter_map(heard)).for_each(|(time, heard_ms)| *time = heard_ms);
            times.sort_unstable_by(|a, b| b.cmp(a));
            Some(times[consensus.majority() - 2]).filter(|&at_ms| at_ms > 0)
        } else {
            let link = &self.links[leader as usize - 1];
            let promise = consensus.promise();
            let leads = link.status.is_some_and(|status| status.leading && status.promise == promise);
            heard(link).filter(|_| leads)
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

    fn note_leadership(&mut self) {
        let leading = self.consensus().filter(|consensus| consensus.leads()).map(Consensus::promise);
        if self.lead.as_ref().map(|lead| lead.ballot) != leading {
            self.lead = leading.map(|ballot| Lead { ballot, intake: None, own: Vec::new(), joining: Vec::new() });
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
            } else if let Some(process) = process_of(&self.config.members, target) {
                let mut bytes = Vec::with_capacity(commands.len() + 32);
                frame::encode_forward(boot, first, commands, &mut bytes);
                self.links[process as usize - 1].push(0, bytes);
            }
        }
    }

    /// The leader: into the log with what waits.
    fn pack(&mut self, wall_ms: i64) {
        let (Some(Standing::Member(consensus)), Some(lead)) = (&mut self.standing, &mut self.lead) else { return };
        if !consensus.leads() {
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
        if lead.joining.iter().any(|(_, index)| index.is_none()) {
            // An entry without a command: it says only that it was decided.
            consensus.append(intake_marker(ballot, wall_ms));
            let index = consensus.store.lock().end();
            lead.joining.iter_mut().for_each(|(_, known)| *known = known.or(Some(index)));
        }
        while !intake.is_empty() && consensus.undecided_len() < UNDECIDED_LEN_MAX {
            consensus.append(intake.pack(ballot, wall_ms, self.config.entry_len_max));
        }
    }

    fn note_serving(&mut self, now_ms: u64) {
        let current = |consensus: &Consensus| {
            consensus.leader().is_some() && self.epoch == Some(ballot::to_id(consensus.promise()))
        };
        if !self.is_in_contact(now_ms) {
            self.serving = false;
        } else if self.consensus().is_some_and(current) {
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
        let Some(consensus) = self.consensus() else { return Role::Blank };
        match consensus.leader() {
            Some(_) if consensus.leads() => Role::Leading,
            Some(leader) => Role::Following(self.config.members[leader as usize - 1]),
            None => Role::Looking,
        }
    }

    /// Whether it leads and its own epoch is applied: then sessions expire and znodes are reaped by it.
    pub fn rules(&self) -> bool {
        self.lead.as_ref().is_some_and(|lead| lead.intake.is_some())
    }

    /// Followers: those whose link is up, and those that have everything that is decided.
    pub fn followers(&self) -> (usize, usize) {
        let decided = self.consensus().map_or(0, Consensus::decided);
        let statuses = || self.links.iter().filter(|link| link.up).filter_map(|link| link.status);
        (
            statuses().filter(|status| status.accepting).count(),
            statuses().filter(|status| status.decided >= decided).count(),
        )
    }

    /// Peers whose link is up.
    pub fn linked(&self) -> Vec<u8> {
        self.config.members.iter().zip(&self.links).filter(|(_, link)| link.up).map(|(&peer, _)| peer).collect()
    }

    /// The next frame for `peer` that may leave now.
    pub fn next_frame(&mut self, peer: u8) -> Option<Vec<u8>> {
        let written = self.consensus().map_or(0, |consensus| consensus.written);
        self.link(peer)?.pop(written)
    }

    /// Whether [`Replica::persist`] has something to do.
    pub fn is_staged(&self) -> bool {
        self.consensus().is_some_and(|consensus| consensus.store.lock().is_staged())
    }

    /// Makes durable what must be; true if anything was. *Errors*: the disk is full; the replica must be started anew
    /// from what is on disk.
    pub fn persist(&mut self) -> Result<bool, JournalFull> {
        let Some(Standing::Member(consensus)) = &mut self.standing else { return Ok(false) };
        let written = consensus.persist()?;
        // What was counted only now may be news for the others.
        consensus.take_outgoing(&mut self.links);
        Ok(written)
    }

    /// Applies what is decided and durable. *Errors*: an entry that is none: the log is damaged.
    pub fn apply(&mut self, applying: &mut Applying<'_>) -> Result<(), DecodeError> {
        while let Some(entry) = self.next_applicable() {
            self.apply_entry(&entry.0, applying)?;
            self.applied += 1;
        }
        Ok(())
    }

    fn next_applicable(&mut self) -> Option<storage::LogEntry> {
        if let Some(entry) = self.ahead.pop_front() {
            return Some(entry);
        }
        let applied = self.applied;
        let consensus = self.consensus()?;
        let decided = consensus.decided();
        if applied >= decided {
            return None;
        }
        let store = consensus.store.lock();
        let end = decided.min(store.durable_end()).min(applied + READ_ENTRIES);
        if applied >= end {
            return None;
        }
        let entries = store.entries(applied, end);
        drop(store);
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
            let mut intake = Intake::open(&self.config.members, &shared.state);
            intake.takes_all = self.config.bugs.no_duplicate_filter;
            lead.intake = Some(intake);
        }
        if !self.config.bugs.stale_clocks {
            shared.sessions.get_mut().clocks.restart(now_ms);
        }
        self.aim(self.config.me, ballot);
        for peer in self.config.members.clone() {
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
        let (safe, waiting) =
            std::mem::take(&mut lead.joining).into_iter().partition(|(_, index)| index.is_some_and(|at| at <= applied));
        lead.joining = waiting;
        let safe: Vec<(u8, Option<u64>)> = safe;
        for (peer, index) in safe {
            self.say(peer, &Frame::JoinAt(index.unwrap_or_default()));
        }
    }

    /// What it cannot do itself; asked for once.
    pub fn take_want(&mut self) -> Option<Want> {
        // Whoever leads by now has all that a majority has.
        self.want.take().filter(|_| self.lead.is_none())
    }

    /// Peers whose links are silent for too long: they should get new ones.
    pub fn silent(&self, now_ms: u64) -> Vec<u8> {
        let since_ms = now_ms.saturating_sub(self.config.pace.silence_ms);
        let silent = |(&peer, link): (&u8, &Link)| (link.up && !link.heard_since(since_ms)).then_some(peer);
        self.config.members.iter().zip(&self.links).filter_map(silent).collect()
    }

    /// When [`Replica::step`] has something to do, if nothing arrives before, ms.
    pub fn next_step_ms(&self) -> u64 {
        let next_ms = match &self.standing {
            Some(Standing::Member(consensus)) => consensus.next_round_ms(),
            Some(Standing::Blank { next_ping_ms, .. }) => *next_ping_ms,
            None => 0,
        };
        next_ms.min(self.next_touch_ms)
    }

    /// Entries applied.
    pub fn applied(&self) -> u64 {
        self.applied
    }

    /// With the journal; for trimming and for sending the state.
    pub fn with_journal<T>(&mut self, work: impl FnOnce(&mut dyn Journal) -> T) -> T {
        match &mut self.standing {
            Some(Standing::Member(consensus)) => work(&mut *consensus.store.lock().journal),
            Some(Standing::Blank { journal, .. }) => work(&mut **journal),
            None => unreachable!("it has one or the other"),
        }
    }

    /// Entries from `from` on, about `len_max` bytes of them; `None` if they are trimmed. Nothing may be staged.
    pub fn log_part(&self, from: u64, len_max: usize) -> Option<LogPart> {
        let consensus = self.consensus()?;
        let store = consensus.store.lock();
        if from < store.journal.first_index() || store.is_staged() {
            return None;
        }
        let (decided, end) = (consensus.decided().min(store.end()), store.end());
        let mut part = LogPart::default();
        let (mut next, mut len) = (from, 0);
        while next < decided && len < len_max {
            let entries = store.entries(next, (next + READ_ENTRIES).min(decided));
            next += entries.len() as u64;
            len += entries.iter().map(|entry| entry.0.len()).sum::<usize>();
            part.entries.extend(entries.into_iter().map(|entry| entry.0));
        }
        if next >= decided {
            part.entries.extend(store.entries(next, end).into_iter().map(|entry| entry.0));
            let scalar = |key| store.journal.scalar(key).unwrap_or_default();
            let (promise, round) = (scalar(scalar::PROMISE), scalar(scalar::ROUND));
            part.last = Some(LogTail { promise, round, decided, end });
        }
        Some(part)
    }

    /// Forgets entries below `index`, of which all are in the durable tree.
    pub fn trim(&mut self, index: u64) {
        let Some(consensus) = self.consensus().filter(|consensus| !consensus.is_candidate()) else { return };
        let decided = consensus.decided();
        consensus.store.lock().journal.trim(index.min(decided));
    }

    /// Writes down how far everything is decided; worthwhile when nothing else is written.
    pub fn persist_decided(&mut self) -> Result<(), JournalFull> {
        self.consensus_mut().map_or(Ok(()), |consensus| consensus.store.lock().persist_decided())
    }
}

/// A server's place among the members, from 1 on: OmniPaxos wants its process ids without gaps.
fn process_of(members: &[u8], server: u8) -> Option<u64> {
    members.iter().position(|&member| member == server).map(|position| position as u64 + 1)
}

fn intake_marker(ballot: BallotId, wall_ms: i64) -> Vec<u8> {
    let mut entry = Vec::new();
    oxkeeper_state::command::begin_agreed(ballot, wall_ms, &mut entry);
    entry
}
