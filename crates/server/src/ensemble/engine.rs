//! The engine's thread of an ensemble's server.
//!
//! Invariant: what the replica hands out for a peer leaves in that order; an entry is applied after it is on this
//! server's disk; clients are served only while the replica says so.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::Receiver as Questions;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use oxkeeper_proto::{OpCode, SessionId};
use oxkeeper_replica::ensemble::journal::scalar;
use oxkeeper_replica::ensemble::{Applying, Bugs, JournalFull, Pace, Replica, ReplicaConfig, Role, SYNC_LEN_MAX, Want};
use oxkeeper_replica::{Proposals, Serving, Shared, Writer};
use oxkeeper_state::Settings;
use oxkeeper_store::{DirLock, Disk, Log, LogOptions, RECORD_LEN_MAX, StoreError, Tree};
use parking_lot::{Mutex, RwLock};
use tracing::{error, info, warn};

use super::install::{fetch, kept, own_log};
use super::journal::LogJournal;
use super::source::{Asked, Pins, States};
use super::watch::{Watch, Watched};
use crate::checkpoint::Checkpoints;
use crate::clock::Clock;
use crate::config::{Containers, Membership};
use crate::engine::{deliver, expendable};
use crate::mailbox::{Mailbox, Order, Proposing};
use crate::metrics::EngineStats;
use crate::peers::{Member, PeerEvent, Peers, PeersConfig};
use crate::recovery::{self, RecoveryError, Replay, StoreOptions};
use crate::role::{self, RoleCell};
use crate::serve::spawn;
use crate::transfer::{Receiver, Tail, TransferError};

/// ZooKeeper's: a file of this name in the data directory says that an empty server may count as a new one.
const INITIALIZE: &str = "initialize";
/// Entries that are not decided may be taken back: they are not applied.
pub(crate) const REPLAY: Replay = Replay::Decided { scalar: scalar::DECIDED };
/// Bytes of commands in one log entry, unless one command alone has more.
const ENTRY_LEN_MAX: usize = RECORD_LEN_MAX / 2;
/// Bytes of log entries given to a peer that is sent the state at once.
const PART_LEN: usize = 1 << 20;
/// Pause after a state could not be fetched, and between attempts while the disk is full.
const RETRY_PAUSE: Duration = Duration::from_secs(1);
/// How often it is looked whether this server is to stop while it does something else.
const STOP_POLL: Duration = Duration::from_millis(50);
/// How often an empty server says what it waits for, ms.
const BLANK_LOG_INTERVAL_MS: u64 = 10_000;
/// How long a stop waits for own clients' last commands.
const STOP_PATIENCE: Duration = Duration::from_millis(500);
/// A server whose peers are silent for so many heartbeats has lost touch, if `tickTime` is not longer.
const CONTACT_HEARTBEATS: u64 = 5;

/// What stays for as long as the process runs.
pub(crate) struct Parts {
    pub(crate) shared: Arc<RwLock<Shared>>,
    pub(crate) proposing: Arc<Proposing>,
    pub(crate) mailboxes: Vec<Arc<Mailbox>>,
    pub(crate) checkpoints: Arc<Checkpoints>,
    pub(crate) clock: Clock,
    pub(crate) containers: Containers,
    pub(crate) settings: Settings,
    pub(crate) stats: Arc<Mutex<EngineStats>>,
    pub(crate) role: Arc<RoleCell>,
    pub(crate) membership: Membership,
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) data_dir: PathBuf,
    pub(crate) data_log_dir: PathBuf,
    pub(crate) seed: u64,
    /// Reads are served after so long without a quorum, ms, if at all.
    pub(crate) read_only_after_ms: Option<u64>,
    /// Makes the part of what is shared that a new state brings with it.
    pub(crate) renew: Box<dyn Fn(oxkeeper_state::State) -> Shared + Send>,
}

/// What one recovery gave, until a peer's state replaces it.
pub(crate) struct Life {
    pub(crate) log: Log,
    pub(crate) tree: Tree,
    pub(crate) applied: u64,
    pub(crate) checkpointed: u64,
    pub(crate) locks: Vec<DirLock>,
}

/// The thread's state.
pub(crate) struct Ensemble {
    parts: Parts,
    running: Running,
}

/// What a life has while it lasts.
struct Running {
    replica: Replica,
    peers: Peers,
    questions: Questions<Asked>,
    pins: Arc<Pins>,
    ensemble_id: Arc<AtomicU64>,
    writer: Writer,
    checkpointing: JoinHandle<()>,
    watch: Watch,
    next_tick_ms: u64,
    next_reap_ms: u64,
    applied_last_tick: u64,
    /// The file that lets it found an ensemble is there.
    initialize: bool,
    /// As the log has told.
    told_role: Role,
    next_blank_log_ms: u64,
    stop_by: Option<Instant>,
    _locks: Vec<DirLock>,
}

impl Running {
    fn start(parts: &Parts, life: Life) -> io::Result<Running> {
        let Life { log, tree, applied, checkpointed, locks } = life;
        let now_ms = parts.clock.now_ms();
        let config = replica_config(parts, applied, checkpointed);
        let (initialize, contact_ms) = (config.initialize, config.pace.contact_ms);
        let shared = parts.shared.read();
        let replica = Replica::start(config, Box::new(LogJournal::new(log)), &shared.state, now_ms);
        let replica = replica.map_err(|JournalFull| io::Error::from(io::ErrorKind::StorageFull))?;
        let (me, boot) = replica.origin();
        shared.sessions.lock().start(me, boot);
        let ensemble_id = Arc::new(AtomicU64::new(shared.state.ensemble()));
        drop(shared);
        let mut writer = Writer::new(parts.mailboxes.len());
        writer.me = Some((me, boot));
        let tree = Arc::new(tree);
        let (states, questions) = States::new(tree.clone());
        let peers = start_peers(parts, &states, ensemble_id.clone())?;
        *states.waker.lock() = Some(peers.waker());
        parts.proposing.wake_by(peers.waker());
        let watch = start_watch(parts, contact_ms)?;
        Ok(Running {
            replica,
            peers,
            questions,
            pins: states.pins.clone(),
            ensemble_id,
            writer,
            checkpointing: start_checkpoints(parts, tree)?,
            watch,
            next_tick_ms: 0,
            next_reap_ms: now_ms + u64::from(parts.containers.check_interval_ms),
            applied_last_tick: 0,
            initialize,
            told_role: Role::Looking,
            next_blank_log_ms: now_ms + BLANK_LOG_INTERVAL_MS,
            stop_by: None,
            _locks: locks,
        })
    }

    /// Ends: afterwards nothing writes to its files any more.
    fn end(self, parts: &Parts) {
        // Its threads may wait for an answer, which now never comes.
        drop(self.questions);
        drop(self.peers);
        parts.checkpoints.stop();
        let _ = self.checkpointing.join();
    }
}

/// Why a life ends.
enum End {
    Stopped,
    /// This peer's state is needed.
    Install(u8),
    DiskFull,
}

impl Ensemble {
    /// Binds the peers' port. *Errors*: that, or a full disk; the parts come back.
    pub(crate) fn start(parts: Parts, life: Life) -> Result<Ensemble, (Box<Parts>, io::Error)> {
        match Running::start(&parts, life) {
            Ok(running) => Ok(Ensemble { parts, running }),
            Err(problem) => Err((Box::new(parts), problem)),
        }
    }

    /// Runs until it is told to stop.
    pub(crate) fn run(mut self) {
        loop {
            let next = match self.live() {
                End::Stopped => return self.end(),
                End::Install(peer) => self.install(peer),
                End::DiskFull => self.wait_for_room(),
            };
            match next {
                Some(next) => self = next,
                None => return,
            }
        }
    }

    fn live(&mut self) -> End {
        let mut proposals = Proposals::default();
        loop {
            self.running.peers.wait(self.idle_time());
            self.running.watch.moved(self.parts.clock.now_ms());
            self.listen();
            let stop = self.parts.proposing.take_waiting(&mut proposals);
            self.running.replica.submit(&mut proposals);
            self.parts.proposing.note_unapplied(self.running.replica.waiting_len());
            if let Err(JournalFull) = self.turn() {
                return End::DiskFull;
            }
            // Now nothing is staged: what the log has, the disk has.
            self.answer_questions();
            if let Some(Want::Install { from }) = self.running.replica.take_want() {
                return End::Install(from);
            }
            if stop && self.may_stop() {
                return End::Stopped;
            }
        }
    }

    fn idle_time(&self) -> Duration {
        let next_ms = self.running.replica.next_step_ms().min(self.running.next_tick_ms);
        Duration::from_millis(next_ms.saturating_sub(self.parts.clock.now_ms()))
    }

    /// Own clients' commands are finished, as long as that does not take too long.
    fn may_stop(&mut self) -> bool {
        let by = *self.running.stop_by.get_or_insert_with(|| Instant::now() + STOP_PATIENCE);
        self.running.replica.waiting_len() == 0 || Instant::now() >= by
    }

    /// Takes what peers sent.
    fn listen(&mut self) {
        let (parts, Running { peers, replica, .. }) = (&self.parts, &mut self.running);
        let now_ms = parts.clock.now_ms();
        let mut refused: Vec<(u8, String)> = Vec::new();
        peers.poll(&mut |event| match event {
            PeerEvent::LinkUp(peer) => {
                refused.retain(|(known, _)| *known != peer);
                replica.link_up(peer, now_ms);
            }
            PeerEvent::LinkDown { peer, .. } => {
                refused.retain(|(known, _)| *known != peer);
                replica.link_down(peer, now_ms);
            }
            PeerEvent::Frame(peer, frame) => {
                if refused.iter().all(|(known, _)| *known != peer)
                    && let Err(problem) = replica.receive(peer, frame, now_ms)
                {
                    refused.push((peer, problem.to_string()));
                }
            }
        });
        for (peer, problem) in refused {
            self.running.peers.kill(peer, &problem);
        }
    }

    /// Gives out parts of the log, all of which is on disk by now.
    fn answer_questions(&mut self) {
        while let Ok((from, answer)) = self.running.questions.try_recv() {
            let part = self.running.replica.log_part(from, PART_LEN);
            self.parts.stats.lock().states_sent += u64::from(part.as_ref().is_some_and(|part| part.last.is_some()));
            let _ = answer.send(part);
        }
    }

    fn turn(&mut self) -> Result<(), JournalFull> {
        self.tick();
        let clock = self.parts.clock;
        self.running.replica.step(&self.parts.shared, clock.now_ms(), clock.wall_ms());
        self.send();
        self.apply();
        let start = Instant::now();
        if self.running.replica.persist()? {
            self.parts.stats.lock().synced(start.elapsed().as_micros() as u64);
        }
        self.send();
        self.apply();
        self.show_role();
        self.running.replica.with_journal(|journal| journal.prepare());
        Ok(())
    }

    fn send(&mut self) {
        let mut sent = false;
        for member in &self.parts.membership.members {
            while let Some(frame) = self.running.replica.next_frame(member.id) {
                self.running.peers.send(member.id, &frame);
                sent = true;
            }
        }
        if sent {
            self.running.peers.flush();
        }
    }

    fn apply(&mut self) {
        let (parts, Running { replica, writer, .. }) = (&self.parts, &mut self.running);
        let checkpoints = &parts.checkpoints;
        let mut applying = Applying {
            shared: &parts.shared,
            entry: checkpoints.between_entries(),
            writer,
            deliver: &mut |writer, locked| deliver(writer, &parts.mailboxes, locked),
            applied: &mut |entry| checkpoints.applied(entry.len() as u64),
            now_ms: parts.clock.now_ms(),
        };
        let applied = replica.apply(&mut applying);
        applied.unwrap_or_else(|problem| panic!("log entry {} is none: {problem}", replica.applied()));
        parts.proposing.note_unapplied(replica.waiting_len());
        self.note_ensemble();
    }

    /// From its first entry on the ensemble has an id, without which another one's members would be let in.
    fn note_ensemble(&self) {
        let id = &self.running.ensemble_id;
        if id.load(Ordering::Relaxed) == 0 {
            id.store(self.parts.shared.read().state.ensemble(), Ordering::Release);
        }
    }

    /// What time alone brings about.
    fn tick(&mut self) {
        let now_ms = self.parts.clock.now_ms();
        if now_ms < self.running.next_tick_ms {
            return;
        }
        let interval_ms = self.parts.shared.read().sessions.lock().clocks.interval_ms();
        self.running.next_tick_ms = now_ms + interval_ms;
        for peer in self.running.replica.silent(now_ms) {
            self.running.peers.kill(peer, "it is silent");
        }
        if self.running.replica.rules() {
            self.expire(now_ms);
            if now_ms >= self.running.next_reap_ms {
                self.running.next_reap_ms = now_ms + u64::from(self.parts.containers.check_interval_ms);
                self.reap();
            }
        }
        self.expire_local(now_ms);
        self.shorten_log();
        self.use_up_initialize();
        self.complain_if_blank(now_ms);
    }

    fn expire(&mut self, now_ms: u64) {
        let shared = self.parts.shared.read();
        let expired = shared.sessions.lock().clocks.tick(now_ms);
        for &session in &expired {
            info!(%session, ephemerals = shared.state.ephemerals_of(session), "session expired");
        }
        drop(shared);
        self.parts.stats.lock().sessions_expired += expired.len() as u64;
        for session in expired {
            self.running.replica.submit_own(session, OpCode::CloseSession, &[]);
        }
    }

    /// Sessions that only this server knows.
    fn expire_local(&mut self, now_ms: u64) {
        let expired = self.parts.shared.read().sessions.lock().expire_local(now_ms);
        self.parts.stats.lock().sessions_expired += expired.len() as u64;
        for (session, holder) in expired {
            info!(%session, "session of read-only mode expired");
            if let Some(holder) = holder {
                self.parts.mailboxes[usize::from(holder.thread)].order(Order::Supersede(holder));
            }
        }
    }

    fn reap(&mut self) {
        let expendable = expendable(&self.parts.containers, &self.parts.shared.read().state, self.parts.clock);
        for znode in expendable {
            info!(path = znode.path, "reaping a container or TTL znode");
            self.running.replica.submit_own(SessionId::NONE, OpCode::DeleteContainer, &znode.encode());
        }
    }

    /// Once a tick: what a checkpoint holds leaves the log; a tick without a write is time for one.
    fn shorten_log(&mut self) {
        let applied = self.running.replica.applied();
        if std::mem::replace(&mut self.running.applied_last_tick, applied) == applied {
            self.parts.checkpoints.idle();
            // A full disk is met by the next write.
            let _ = self.running.replica.persist_decided();
        }
        if let Some(through) = self.parts.checkpoints.trimmable() {
            self.running.replica.trim((through + 1).min(self.running.pins.lowest()));
        }
    }

    /// The permission to found an ensemble is for once: with the disk that it is lost on, it must not be there again.
    fn use_up_initialize(&mut self) {
        if self.running.initialize && self.running.replica.role() != Role::Blank {
            let removed = std::fs::remove_file(self.parts.data_dir.join(INITIALIZE));
            removed.unwrap_or_else(|problem| warn!(%problem, "the file `{INITIALIZE}` stays; remove it"));
            self.running.initialize = false;
        }
    }

    /// It may wait for ever: an operator must know what for.
    fn complain_if_blank(&mut self, now_ms: u64) {
        if self.running.replica.role() == Role::Blank && now_ms >= self.running.next_blank_log_ms {
            self.running.next_blank_log_ms = now_ms + BLANK_LOG_INTERVAL_MS;
            let linked = self.running.replica.linked();
            warn!(
                ?linked,
                "this server is empty: it waits for a leader to join, or for all members to found an ensemble"
            );
        }
    }

    /// The log tells of each new leader.
    fn tell_role(&mut self) {
        let role = self.running.replica.role();
        if role != self.running.told_role && matches!(role, Role::Leading | Role::Following(_)) {
            self.running.told_role = role;
            match role {
                Role::Following(leader) => info!(leader, "following"),
                Role::Leading | Role::Looking | Role::Blank => info!("leading"),
            }
        }
    }

    fn show_role(&mut self) {
        let now_ms = self.parts.clock.now_ms();
        self.tell_role();
        let serving = self.whom_to_serve(now_ms);
        let place = match serving {
            Serving::Yes if self.running.replica.role() == Role::Leading => role::Role::Leader,
            Serving::Yes => role::Role::Follower,
            Serving::ReadOnly => role::Role::ReadOnly,
            Serving::No => role::Role::NotServing,
        };
        self.serve(serving);
        self.parts.role.set(place, now_ms);
        if place == role::Role::Leader {
            let (followers, synced) = self.running.replica.followers();
            self.parts.role.set_followers(followers, synced);
        }
    }

    fn whom_to_serve(&self, now_ms: u64) -> Serving {
        let replica = &self.running.replica;
        let is_long = |after_ms| replica.alone_ms(now_ms) >= after_ms;
        match self.parts.read_only_after_ms {
            _ if replica.is_serving() => Serving::Yes,
            // An empty server has nothing to read.
            Some(after_ms) if is_long(after_ms) && replica.role() != Role::Blank => Serving::ReadOnly,
            Some(_) | None => Serving::No,
        }
    }

    /// Clients of the former kind are closed: they come back if they are of the new one.
    fn serve(&mut self, serving: Serving) {
        let former = self.parts.shared.read().serving;
        if former == serving {
            return;
        }
        self.parts.shared.write().serve(serving, self.parts.clock.now_ms());
        match serving {
            Serving::Yes => info!(role = ?self.running.replica.role(), "serving"),
            Serving::ReadOnly => warn!("out of touch with the ensemble for long: only read-only clients are served"),
            Serving::No => warn!("out of touch with the ensemble: clients are closed until that changes"),
        }
        if former == Serving::Yes {
            self.running.replica.orphan();
        }
        let local = former == Serving::ReadOnly;
        if former != Serving::No {
            self.parts.mailboxes.iter().for_each(|mailbox| mailbox.order(Order::EndSessions { local }));
        }
    }

    fn end(mut self) {
        // A full disk changes nothing any more.
        let _ = self.running.replica.persist_decided();
        self.running.end(&self.parts);
    }

    /// Puts a peer's state in the place of this server's own. `None` if it is to stop.
    fn install(mut self, peer: u8) -> Option<Ensemble> {
        info!(peer, "this server lacks entries that its peers have no more: fetching the state");
        self.stop_serving();
        let fetched = self.fetch(peer);
        if let Err(problem) = &fetched {
            warn!(peer, "the state could not be fetched: {problem}; the own one is as it was");
        }
        self.start_anew(fetched.is_err())
    }

    /// It leaves the ensemble for a while.
    fn stop_serving(&mut self) {
        self.serve(Serving::No);
        self.parts.role.set(role::Role::NotServing, self.parts.clock.now_ms());
    }

    fn fetch(&mut self, peer: u8) -> Result<(), TransferError> {
        let parts = &self.parts;
        let options = StoreOptions::default();
        let mut receiver = Receiver::new(&parts.disk, &parts.data_dir, &parts.data_log_dir, &options)?;
        let stream = self.running.peers.connector().connect_for_state(peer);
        let mut stream = stream.map_err(|problem| {
            warn!(peer, %problem, "no connection");
            TransferError::Source("the peer does not answer")
        })?;
        fetch(&mut stream, &mut receiver, &|| parts.proposing.is_to_stop())?;
        let members = member_ids(&parts.membership);
        let log = Log::open(parts.disk.clone(), &parts.data_log_dir.join(recovery::LOG_DIR), &LogOptions::default())?;
        let decide = |tail: &Tail| kept(&own_log(&log, &members, tail.decided), tail, false);
        let installed = receiver.finish(decide)?;
        info!(applied = installed.applied, end = installed.end, "the state is here");
        Ok(())
    }

    /// The disk is full: what was not written yet is forgotten, as a crash would have it, and the server stays out of
    /// the ensemble until there is room. `None` if it is to stop.
    fn wait_for_room(mut self) -> Option<Ensemble> {
        error!("the disk is full: this server leaves the ensemble until there is room again");
        self.stop_serving();
        self.start_anew(true)
    }

    /// A new life from what is on disk, as if the process had been started again; after a pause, if what ended the
    /// former one may end this one, too. `None` if it is to stop.
    fn start_anew(self, pause: bool) -> Option<Ensemble> {
        let Ensemble { mut parts, running } = self;
        running.end(&parts);
        if pause {
            parts.pause();
        }
        while !parts.proposing.is_to_stop() {
            match relive(&parts) {
                Ok(life) => match Ensemble::start(parts, life) {
                    Ok(ensemble) => return Some(ensemble),
                    Err((returned, problem)) => {
                        warn!(%problem, "this server cannot go on yet");
                        parts = *returned;
                    }
                },
                Err(RecoveryError::Store(problem @ StoreError::Full { .. })) => {
                    warn!(%problem, "this server cannot go on yet");
                }
                // What is on disk cannot be used: an operator must see it.
                Err(problem) => panic!("the data cannot be used any more: {problem}"),
            }
            parts.pause();
        }
        None
    }
}

impl Parts {
    /// Before something is tried again; shorter if this server is to stop.
    fn pause(&self) {
        let until = Instant::now() + RETRY_PAUSE;
        while Instant::now() < until && !self.proposing.is_to_stop() {
            std::thread::sleep(STOP_POLL);
        }
    }
}

/// Recovers from disk, and puts the recovered state in the place of the one that is served.
fn relive(parts: &Parts) -> Result<Life, RecoveryError> {
    let Parts { disk, data_dir, data_log_dir, seed, .. } = parts;
    let recovered = recovery::recover_with(disk, data_dir, data_log_dir, *seed, &StoreOptions::default(), REPLAY)?;
    let recovery::Recovered { state, log, tree, applied, checkpointed, tail_len, locks, .. } = recovered;
    *parts.shared.write() = (parts.renew)(state);
    parts.checkpoints.restart(applied, checkpointed, tail_len);
    Ok(Life { log, tree, applied, checkpointed, locks })
}

fn replica_config(parts: &Parts, applied: u64, checkpointed: u64) -> ReplicaConfig {
    let membership = &parts.membership;
    let heartbeat_ms = u64::from(membership.heartbeat_ms);
    ReplicaConfig {
        me: membership.me,
        members: member_ids(membership),
        membership: membership.text.clone(),
        membership_version: membership.version,
        pace: Pace {
            heartbeat_ms,
            silence_ms: u64::from(membership.peer_timeout_ms),
            contact_ms: u64::from(membership.tick_ms).max(CONTACT_HEARTBEATS * heartbeat_ms),
        },
        entry_len_max: ENTRY_LEN_MAX,
        settings: parts.settings,
        initialize: parts.data_dir.join(INITIALIZE).exists(),
        checkpointed,
        applied,
        wall_ms: u64::try_from(parts.clock.wall_ms()).unwrap_or(0),
        seed: parts.seed,
        sync_len_max: SYNC_LEN_MAX,
        bugs: Bugs::default(),
    }
}

pub(crate) fn member_ids(membership: &Membership) -> Vec<u8> {
    membership.members.iter().map(|member| member.id).collect()
}

fn start_peers(parts: &Parts, states: &States, ensemble: Arc<AtomicU64>) -> std::io::Result<Peers> {
    let membership = &parts.membership;
    let member =
        |member: &crate::config::Member| Member { id: member.id, host: member.host.clone(), port: member.port };
    let members = membership.members.iter().map(member).collect();
    let config = PeersConfig {
        restrict: membership.peer_addresses_only,
        ensemble,
        ..PeersConfig::new(membership.me, members, membership.listen.clone())
    };
    let states = states.clone();
    Peers::start(config, Arc::new(move |stream, peer| states.send(stream, peer)))
}

fn start_watch(parts: &Parts, patience_ms: u64) -> io::Result<Watch> {
    let (shared, mailboxes, role) = (parts.shared.clone(), parts.mailboxes.clone(), parts.role.clone());
    Watch::start(Watched { shared, mailboxes, role, clock: parts.clock, patience_ms })
}

fn start_checkpoints(parts: &Parts, tree: Arc<Tree>) -> std::io::Result<JoinHandle<()>> {
    let (checkpoints, shared, clock) = (parts.checkpoints.clone(), parts.shared.clone(), parts.clock);
    spawn("checkpoint", move || checkpoints.run(&shared, &tree, clock))
}
