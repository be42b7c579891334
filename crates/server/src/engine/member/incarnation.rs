//! Incarnations of a member. An incarnation holds everything that belongs to one recovery from
//! disk. This module begins and ends them. A new one begins when a peer's state replaces this
//! server's own, or after the disk was full.
//!
//! Invariant: a new incarnation begins only after all writes to the files of the old one have
//! ended.

use std::collections::BTreeSet;
use std::io;
use std::panic::resume_unwind;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64};
use std::sync::mpsc::Receiver as Questions;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use oxkeeper_durable::layout::KNOWS;
use oxkeeper_durable::own_log::{is_current, kept, own_log};
use oxkeeper_durable::recovery::{self, Replay};
use oxkeeper_durable::transfer::{Receiver, Tail, TransferError};
use oxkeeper_durable::{LogJournal, RecoveryError, StoreOptions};
use oxkeeper_proto::ServerId;
use oxkeeper_replica::audit::Audit;
use oxkeeper_replica::engine::{MemberEngine, MemberOptions};
use oxkeeper_replica::ensemble::{Bugs, JournalFull, Pace, Replica, ReplicaConfig, Role, SYNC_LEN_MAX};
use oxkeeper_replica::{Applier, Shared};
use oxkeeper_state::reconfig::Ruling;
use oxkeeper_state::{BallotId, Level, Settings, State};
use oxkeeper_store::{DirLock, Disk, Log, LogOptions, RECORD_LEN_MAX, StoreError, Tree};
use parking_lot::{Mutex, RwLock};
use tracing::{error, info, warn};

use super::config_file::ConfigKeeper;
use super::engine::MemberThread;
use super::fetch::fetch;
use super::operator_log::{BLANK_LOG_INTERVAL_MS, LONELY_LOG_AFTER_MS};
use super::states::{Asked, States};
use super::watch::{Watch, Watched};
use crate::clock::Clock;
use crate::ended::{Ended, Reason};
use crate::engine::mailbox::{Mailbox, Proposing};
use crate::engine::standalone::reaping;
use crate::memory;
use crate::peers::{Connector, Member, PeerTls, Peers, PeersConfig};
use crate::storage::checkpoint::Checkpoints;
use crate::telemetry::audit::AuditLog;
use crate::telemetry::counters::EngineStats;
use crate::telemetry::role::{self, RoleCell};
use crate::telemetry::slow::SlowLog;
use crate::telemetry::watchdog::Watchdog;
use crate::thread::{STOP_POLL, give_way};
use oxkeeper_config::{Containers, HostPort, Membership, members_of};

/// ZooKeeper: a file of this name in the data directory says that an empty server may count as a
/// new one.
pub(super) const INITIALIZE: &str = "initialize";
/// Maximum bytes of commands in one log entry. A single longer command gets an entry of its own.
const ENTRY_LEN_MAX: usize = RECORD_LEN_MAX / 2;
/// Pause after a failed fetch of the state, and between attempts while the disk is full.
const RETRY_PAUSE: Duration = Duration::from_secs(1);
/// Number of heartbeats of silence after which a server has lost contact with its peers, unless
/// `tickTime` is longer.
const CONTACT_HEARTBEATS: u64 = 5;

/// Parts that live as long as the process.
pub(crate) struct Parts {
    pub(crate) shared: Arc<RwLock<Shared>>,
    pub(crate) proposing: Arc<Proposing>,
    pub(crate) mailboxes: Vec<Arc<Mailbox>>,
    pub(crate) checkpoints: Arc<Checkpoints>,
    pub(crate) clock: Clock,
    pub(crate) watchdog: Arc<Watchdog>,
    pub(crate) containers: Containers,
    pub(crate) settings: Settings,
    pub(crate) stats: Arc<Mutex<EngineStats>>,
    pub(crate) role: Arc<RoleCell>,
    pub(crate) membership: Membership,
    /// Moves the client port when the members change its address.
    pub(crate) follow_clients: Box<dyn Fn(&HostPort) + Send>,
    pub(crate) config_file: Option<ConfigKeeper>,
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) data_dir: PathBuf,
    pub(crate) data_log_dir: PathBuf,
    pub(crate) seed: u64,
    /// Time without a quorum after which reads are served, ms; `None` if never.
    pub(crate) read_only_after_ms: Option<u64>,
    /// `None`: links between servers use no TLS.
    pub(crate) tls: Option<Arc<PeerTls>>,
    /// Duration from which a write is logged as slow, ms.
    pub(crate) slow_after_ms: Option<u64>,
    pub(crate) audit: Option<Arc<AuditLog>>,
    /// Receives the reason if the process must end.
    pub(crate) ended: Arc<Ended>,
    /// Maximum feature level to which the agreed level is raised.
    pub(crate) level_max: Level,
    /// Builds the shared part that comes with a new state.
    pub(crate) renew: Box<dyn Fn(oxkeeper_state::State) -> Shared + Send>,
}

/// Result of one recovery, valid until a peer's state replaces it.
pub(crate) struct Incarnation {
    pub(crate) log: Log,
    pub(crate) tree: Tree,
    pub(crate) applied: u64,
    pub(crate) checkpointed: u64,
    pub(crate) locks: Vec<DirLock>,
}
/// Data of a running incarnation.
pub(super) struct Running {
    pub(super) engine: MemberEngine,
    pub(super) peers: Peers,
    pub(super) questions: Questions<Asked>,
    pub(super) ensemble_id: Arc<AtomicU64>,
    pub(super) level: Arc<AtomicU32>,
    pub(super) checkpointing: JoinHandle<()>,
    pub(super) watch: Watch,
    pub(super) next_look_ms: u64,
    /// The file that permits founding an ensemble exists.
    pub(super) initialize: bool,
    /// Last role written to the log.
    pub(super) told_role: Role,
    pub(super) next_blank_log_ms: u64,
    pub(super) next_lonely_log_ms: u64,
    pub(super) next_twin_log_ms: u64,
    pub(super) slow: SlowLog,
    pub(super) stop_by: Option<Instant>,
    pub(super) agreed: Agreed,
    /// On a leader: the peers that were in step at the last check.
    pub(super) in_step: BTreeSet<ServerId>,
    pub(super) _locks: Vec<DirLock>,
}

/// The members as of the last applied entry, for callers that must not lock the state in each turn.
#[derive(Clone, Debug, Default)]
pub(super) struct Agreed {
    pub(super) version: i64,
    /// Epoch of the current leader. A new leader may know server hosts that were unknown before.
    pub(super) epoch: Option<BallotId>,
    pub(super) voters: Vec<ServerId>,
    pub(super) observers: Vec<ServerId>,
}

impl Agreed {
    pub(super) fn of(state: &State) -> Agreed {
        let membership = state.membership();
        Agreed {
            version: membership.version(),
            epoch: state.epoch_ballot(),
            voters: membership.voters(),
            observers: membership.observers(),
        }
    }
}

impl Running {
    pub(super) fn start(parts: &Parts, incarnation: Incarnation) -> io::Result<Running> {
        let Incarnation { log, tree, applied, checkpointed, locks } = incarnation;
        let now_ms = parts.clock.now_ms();
        let config = replica_config(parts, applied, checkpointed);
        let (initialize, contact_ms) = (config.initialize, config.pace.contact_ms);
        let shared = parts.shared.read();
        let replica = Replica::start(config, Box::new(LogJournal::new(log)), &shared.state, now_ms);
        let replica = replica.map_err(|JournalFull| io::Error::from(io::ErrorKind::StorageFull))?;
        let (me, boot) = replica.origin();
        shared.sessions.lock().start(me, boot);
        let ensemble_id = Arc::new(AtomicU64::new(shared.state.ensemble()));
        let level = Arc::new(AtomicU32::new(shared.state.level().0));
        drop(shared);
        let mut applier = Applier::new(parts.mailboxes.len());
        applier.slow_after_ms = parts.slow_after_ms;
        applier.audit = parts.audit.as_ref().map(|_| Audit::default());
        let (tree, entry) = (Arc::new(tree), parts.checkpoints.between_entries().clone());
        let (states, questions) = States::new(tree.clone());
        let peers = start_peers(parts, &states, (ensemble_id.clone(), level.clone()))?;
        *states.waker.lock() = Some(peers.waker());
        parts.proposing.wake_by(peers.waker());
        let watch = start_watch(parts, contact_ms)?;
        Ok(Running {
            engine: MemberEngine::new(replica, applier, member_options(parts), entry, states.pins.clone(), now_ms),
            peers,
            questions,
            ensemble_id,
            level,
            checkpointing: parts.checkpoints.start(&parts.shared, tree, parts.clock)?,
            watch,
            next_look_ms: 0,
            initialize,
            told_role: Role::Looking,
            next_blank_log_ms: now_ms + BLANK_LOG_INTERVAL_MS,
            next_lonely_log_ms: now_ms + LONELY_LOG_AFTER_MS,
            next_twin_log_ms: now_ms,
            slow: SlowLog::default(),
            stop_by: None,
            agreed: Agreed::of(&parts.shared.read().state),
            in_step: BTreeSet::new(),
            _locks: locks,
        })
    }

    /// Ends the incarnation. Nothing writes to its files afterwards.
    pub(super) fn end(self, parts: &Parts) {
        // Its threads may be waiting for an answer that will never come.
        drop(self.questions);
        drop(self.peers);
        parts.checkpoints.stop();
        let _ = self.checkpointing.join();
    }
}
impl MemberThread {
    /// Replaces this server's state with a peer's state of at least `at` entries. Returns `None` if
    /// the server is to stop.
    pub(super) fn install(mut self, peer: ServerId, at: u64) -> Option<MemberThread> {
        info!(peer = peer.0, "too far behind for the peers' logs; fetching a snapshot of the state");
        self.stop_serving();
        let (mut newer, connector) = (None, self.running.peers.connector());
        let is_fetched = connector.sources(peer).into_iter().any(|source| {
            let fetched = fetch_from(source, at, &connector, &self.parts);
            if let Err(problem) = &fetched {
                warn!(peer = source.0, "cannot fetch the state: {problem}. The state on this server is unchanged");
            }
            if let Err(TransferError::Newer { needs, knows }) = fetched {
                newer = Some(Reason::State { needs, knows });
            }
            fetched.is_ok()
        });
        if let Some(reason) = newer.filter(|_| !is_fetched) {
            self.give_up(reason);
            return None;
        }
        self.start_anew(!is_fetched)
    }

    /// Ends the process because an operator must act before this server can participate.
    pub(super) fn give_up(mut self, reason: Reason) {
        self.stop_serving();
        self.parts.ended.tell(reason);
        self.running.end(&self.parts);
    }

    /// Leaves the ensemble for a while.
    fn stop_serving(&mut self) {
        let now_ms = self.parts.clock.now_ms();
        self.drive(|engine, parts, outside| engine.stop_serving(&parts.shared, now_ms, outside));
        self.parts.watchdog.engine_is_excused();
        self.parts.role.set(role::Role::NotServing, now_ms);
    }

    /// Handles a full disk: discards unwritten data, as a crash would, and stays out of the
    /// ensemble until there is space. Returns `None` if the server is to stop.
    pub(super) fn wait_for_room(mut self) -> Option<MemberThread> {
        error!("the disk is full; leaving the ensemble until there is room. Free some space");
        self.stop_serving();
        self.start_anew(true)
    }

    /// Starts a new incarnation from the data on disk, as a restart of the process would. `pause`
    /// adds a delay first, for the case that the cause of the last end may also end this one.
    /// Returns `None` if the server is to stop.
    fn start_anew(self, pause: bool) -> Option<MemberThread> {
        let MemberThread { mut parts, running } = self;
        running.end(&parts);
        if pause {
            parts.pause();
        }
        while !parts.proposing.is_to_stop() {
            match next_incarnation(&parts) {
                Ok(incarnation) => match MemberThread::start(parts, incarnation) {
                    Ok(ensemble) => return Some(ensemble),
                    Err((returned, problem)) => {
                        warn!(%problem, "cannot recover yet; trying again");
                        parts = *returned;
                    }
                },
                Err(RecoveryError::Store(problem @ StoreError::Full { .. })) => {
                    warn!(%problem, "cannot recover yet; trying again");
                }
                Err(problem) => {
                    parts.ended.tell(Reason::Data(problem.to_string()));
                    return None;
                }
            }
            parts.pause();
        }
        None
    }
}

impl Parts {
    /// Pauses before another attempt; returns early if the server is to stop.
    fn pause(&self) {
        let until = Instant::now() + RETRY_PAUSE;
        while Instant::now() < until && !self.proposing.is_to_stop() {
            std::thread::sleep(STOP_POLL);
        }
    }
}

/// Places the state of `peer`, of at least `at` entries, where the next recovery finds it.
fn fetch_from(peer: ServerId, at: u64, connector: &Connector, parts: &Parts) -> Result<(), TransferError> {
    let Parts { disk, data_dir, data_log_dir, proposing, membership, .. } = parts;
    let members = member_ids(membership);
    let stream = connector.connect_for_state(peer);
    let mut stream = stream.map_err(|problem| {
        warn!(peer = peer.0, %problem, "cannot connect to fetch the state");
        TransferError::Source("the peer does not answer")
    })?;
    let installed = politely(move || {
        let mut receiver = Receiver::new(disk, data_dir, data_log_dir, &StoreOptions::default())?;
        fetch(&mut stream, &mut receiver, &|| proposing.is_to_stop())?;
        let log =
            Log::open(disk.clone(), &data_log_dir.join(oxkeeper_durable::layout::LOG_DIR), &LogOptions::default())?;
        if !receiver.tail().is_some_and(|tail| is_current(&log, tail)) {
            return Err(TransferError::Source("the peer has missed a change of the members"));
        }
        if receiver.tail().is_some_and(|tail| tail.decided < at) {
            return Err(TransferError::Source("the peer is behind, too"));
        }
        receiver.finish(|tail: &Tail| kept(&own_log(&log, &members, tail.decided), tail, false))
    })?;
    info!(applied = installed.applied, end = installed.end, "fetched the state");
    Ok(())
}

/// Runs `work` on a low-priority thread: this server serves nobody in the meantime, but other
/// servers on this machine may.
fn politely<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    thread::scope(|scope| {
        let thread = scope.spawn(|| {
            give_way();
            work()
        });
        thread.join().unwrap_or_else(|panic| resume_unwind(panic))
    })
}

/// Recovers from disk and replaces the served state with the recovered one.
fn next_incarnation(parts: &Parts) -> Result<Incarnation, RecoveryError> {
    let Parts { disk, data_dir, data_log_dir, seed, .. } = parts;
    let options = StoreOptions::default();
    let recover = || recovery::recover_with(disk, data_dir, data_log_dir, *seed, &options, Replay::DECIDED);
    let recovery::Recovered { state, log, tree, applied, checkpointed, tail_len, locks, .. } = politely(recover)?;
    let renewed = (parts.renew)(state);
    let former = std::mem::replace(&mut *parts.shared.write(), renewed);
    drop(former);
    memory::give_back();
    parts.checkpoints.restart(applied, checkpointed, tail_len);
    Ok(Incarnation { log, tree, applied, checkpointed, locks })
}

fn member_options(parts: &Parts) -> MemberOptions {
    MemberOptions {
        reaping: reaping(&parts.containers),
        read_only_after_ms: parts.read_only_after_ms,
        disk_stall_ms: u64::from(parts.membership.disk_stall_ms),
    }
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
        ruling: ruling(membership),
        knows: KNOWS,
        raises_to: KNOWS.min(parts.level_max),
        bugs: Bugs::default(),
    }
}

/// Returns the rules that this server applies to every reconfig.
fn ruling(membership: &Membership) -> Ruling {
    let switches = [
        (membership.one_voter_enabled, Ruling::ONE_VOTER),
        (membership.multi_address_enabled, Ruling::SEVERAL_ADDRESSES),
    ];
    let on = switches.into_iter().filter(|(is_on, _)| *is_on);
    on.fold(Ruling::default(), |ruling, (_, switch)| ruling.with(switch))
}

pub(crate) fn member_ids(membership: &Membership) -> Vec<ServerId> {
    membership.members.iter().filter(|member| member.votes).map(|member| member.id).collect()
}

/// Returns whether the agreed members take precedence over the configuration.
// ZooKeeper: without `reconfigEnabled`, each server trusts its own file.
fn is_followed(parts: &Parts, agreed: &oxkeeper_state::Membership) -> bool {
    !agreed.is_empty() && (parts.membership.reconfig_enabled || agreed.version() > 0)
}

/// Moves the client port to the address in this server's line.
pub(super) fn follow_own_line(parts: &Parts) {
    let shared = parts.shared.read();
    let agreed = shared.state.membership();
    let own = agreed.server(parts.membership.me).filter(|_| is_followed(parts, agreed));
    if let Some(client) = own.and_then(|own| own.client.as_ref()) {
        (parts.follow_clients)(client);
    }
}

/// Returns the servers to link: the agreed members or, without those, the configured ones, plus
/// this server. The bool says whether the others know that this server is a member.
pub(super) fn linked_members(parts: &Parts) -> (Vec<Member>, bool) {
    let link = |member: &oxkeeper_config::Member| {
        let host = parts.membership.host_of(member).into_owned();
        Member { id: member.id, host, port: member.port }
    };
    let configured = &parts.membership.members;
    let shared = parts.shared.read();
    let agreed = members_of(shared.state.membership());
    let me = parts.membership.me;
    if !is_followed(parts, shared.state.membership()) {
        return (configured.iter().map(link).collect(), !parts.membership.reconfig_enabled);
    }
    let is_member = agreed.iter().any(|member| member.id == me);
    let own = configured.iter().filter(|member| member.id == me && !is_member);
    (agreed.iter().chain(own).map(link).collect(), is_member)
}

fn start_peers(
    parts: &Parts,
    states: &States,
    (ensemble, level): (Arc<AtomicU64>, Arc<AtomicU32>),
) -> std::io::Result<Peers> {
    let membership = &parts.membership;
    let (members, agreed) = linked_members(parts);
    let start = |listen: &HostPort| {
        let config = PeersConfig {
            restrict: membership.peer_addresses_only,
            open: membership.reconfig_enabled,
            ensemble: ensemble.clone(),
            level: level.clone(),
            tls: parts.tls.clone(),
            ..PeersConfig::new(membership.me, members.clone(), listen.clone())
        };
        let states = states.clone();
        Peers::start(config, Arc::new(move |stream, peer| states.send(stream, peer)))
    };
    // The members' address for this server comes first; the file may still name an old one.
    let own = members.iter().find(|member| member.id == membership.me);
    let known = own.map(|own| own.place(&membership.listen)).filter(|known| *known != membership.listen);
    let mut peers = match known.map(|known| start(&known)) {
        Some(Ok(peers)) => peers,
        Some(Err(_)) | None => start(&membership.listen).map_err(|problem| {
            let (me, file) = (membership.me, parts.data_dir.join("myid"));
            io::Error::new(problem.kind(), format!("{problem}; this is server {me} by {}", file.display()))
        })?,
    };
    peers.set_members(members, agreed);
    Ok(peers)
}

fn start_watch(parts: &Parts, patience_ms: u64) -> io::Result<Watch> {
    let (shared, mailboxes, role) = (parts.shared.clone(), parts.mailboxes.clone(), parts.role.clone());
    Watch::start(Watched { shared, mailboxes, role, clock: parts.clock, patience_ms })
}
