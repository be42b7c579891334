//! Assembles a server: recovered state, engine, checkpoints, threads that own connections,
//! listener.

use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use oxkeeper_durable::layout::KNOWS;
use oxkeeper_durable::own_log::{members_of, owner_of};
use oxkeeper_durable::recovery::{self, Recovered, Replay};
use oxkeeper_durable::{LogJournal, StoreOptions};
use oxkeeper_proto::ServerId;
use oxkeeper_replica::audit::Audit;
use oxkeeper_replica::auth::{AuthConfig, DigestAlgorithm, EnsembleNames, IDENTITIES_LEN_MAX, Sasl};
use oxkeeper_replica::engine::{StandaloneEngine, StandaloneOptions};
use oxkeeper_replica::ensemble::Journal;
use oxkeeper_replica::{Applier, Clocks, ConnectionConfig, LocalSessions, Serving, SessionTable, Shared};
use oxkeeper_state::{Level, Settings, State};
use oxkeeper_store::{Disk, RECORD_LEN_MAX, RealDisk};
use parking_lot::{Mutex, RwLock};
use tokio::runtime;
use tokio::task::LocalSet;
use tracing::{info, warn};

use super::error::StartError;
use crate::clock::Clock;
use crate::ended::{Ended, Reason};
use crate::engine::incarnation::OnDisk;
use crate::engine::mailbox::{Mailbox, Order, Proposing};
use crate::engine::member::{self, ConfigKeeper, Incarnation, MemberThread, Parts};
use crate::engine::restorer::Restorer;
use crate::engine::standalone::{APPLY_MAX, ENTRY_LEN_MAX, Engine, FullDisk, Surroundings, reaping};
use crate::io::admission::Admission;
use crate::io::listening::{Listeners, Listening};
use crate::io::thread::{Io, IoShared};
use crate::net::tls::ClientTls;
use crate::observe::admin::{self, AdminServer, Site};
use crate::observe::facts::Inspector;
use crate::peers::PeerTls;
use crate::start::limits;
use crate::start::prepare::{self, Keys};
use crate::storage::checkpoint::{Checkpoints, SharedCheckpoints};
use crate::storage::restore::Dirs;
use crate::telemetry::audit::{AuditLog, Auditing};
use crate::telemetry::counters::{EngineStats, StartupStats};
use crate::telemetry::role::RoleCell;
use crate::telemetry::slow::SlowLog;
use crate::telemetry::watchdog::Watchdog;
use crate::thread::spawn;
use oxkeeper_config::Config;
use oxkeeper_config::Word;

/// ZooKeeper: the id of a standalone server, which forms the top byte of its session ids.
const STANDALONE_ID: ServerId = ServerId(1);
/// Maximum frame length regardless of `jute.maxbuffer`, bytes: a write with its identities must fit
/// into one log entry.
const FRAME_LEN_MAX: usize = RECORD_LEN_MAX - 2 * IDENTITIES_LEN_MAX;
/// ZooKeeper: read-only mode does not begin earlier, even with a short tick.
const READ_ONLY_AFTER_MIN_MS: u64 = 2000;
/// Maximum number of threads that own connections.
const IO_THREADS_MAX: usize = 64;
/// Time a stop waits for clients to have no request pending, ms. Clients that always have one are
/// not waited for any longer.
const DRAIN_MS: u64 = 1_000;
/// Time a stop then waits for the replies to what was read, ms.
const LEAVE_MS: u64 = 1_000;
/// Time a stop waits for clients that have received everything to close, ms.
const PARTING_MS: u64 = 100;
/// Interval between checks of these conditions.
const WAIT_POLL: Duration = Duration::from_millis(1);

/// Options that are not in the configuration file.
#[derive(Clone, Copy, Debug, Default)]
pub struct StartOptions {
    /// Keeps nothing on disk.
    pub in_memory: bool,
    /// Number of threads that own connections; 0 chooses it from the number of cores.
    pub io_threads: usize,
}

/// A running server. Dropping it does not stop it; [`Server::stop`] does.
#[derive(Debug)]
pub struct Server {
    listening: Arc<Listening>,
    proposing: Arc<Proposing>,
    mailboxes: Vec<Arc<Mailbox>>,
    checkpoints: Option<SharedCheckpoints>,
    admission: Arc<Admission>,
    watchdog: Arc<Watchdog>,
    role: Arc<RoleCell>,
    /// All servers of the ensemble, from the configuration; empty for a standalone server.
    members: Vec<ServerId>,
    /// On a standalone server, returns what it had on disk.
    engine: JoinHandle<Option<OnDisk>>,
    ended: Arc<Ended>,
    others: Vec<JoinHandle<()>>,
    site: Arc<Site>,
    /// Ends after everything else, since it reports the stop.
    admin: Option<AdminServer>,
    auditing: Option<Auditing>,
}

/// Authentication, auditing, and TLS for clients and peers.
type Guards = (Option<Arc<Sasl>>, Option<Arc<AuditLog>>, Option<Arc<ClientTls>>, Option<Arc<PeerTls>>);

/// The state and its storage.
struct Durable {
    state: State,
    /// `None`: all data is in memory only.
    incarnation: Option<Incarnation>,
    checkpoints: Option<SharedCheckpoints>,
    stats: StartupStats,
}

impl Server {
    /// Recovers the data, binds the ports and starts serving. Returns once clients are accepted.
    ///
    /// # Errors
    /// Any [`StartError`].
    pub fn start(config: Config, options: StartOptions) -> Result<Server, StartError> {
        Server::start_on(config, options, Arc::new(RealDisk))
    }

    /// Like [`Server::start`], with the data on `disk`. Tests pass one that fills up and crashes.
    ///
    /// # Errors
    /// Any [`StartError`].
    pub fn start_on(config: Config, options: StartOptions, disk: Arc<dyn Disk>) -> Result<Server, StartError> {
        prepare::refuse(&config)?;
        let clock = Clock::start();
        let auditing = Auditing::start(&config, clock, || crate::auth::server_user(&config.security))
            .map_err(StartError::Audit)?;
        let log = auditing.as_ref().map(Auditing::log);
        match Server::prepare(config, options, &disk, clock, log.clone()) {
            Ok(server) => {
                log.inspect(|log| log.server("serverStart", "success"));
                Ok(Server { auditing, ..server })
            }
            Err(problem) => {
                auditing.into_iter().for_each(Auditing::failed);
                Err(problem)
            }
        }
    }

    fn prepare(
        config: Config,
        options: StartOptions,
        disk: &Arc<dyn Disk>,
        clock: Clock,
        audit: Option<Arc<AuditLog>>,
    ) -> Result<Server, StartError> {
        let Keys { sasl, clients: tls, peers: peer_tls, admin: admin_tls } = Keys::load(&config)?;
        let site = Arc::new(Site::new(&config));
        let admin = AdminServer::start(admin::bind(&config)?, site.clone(), admin_tls)?;
        let durable = open(&config, options, disk, seed(clock))?;
        let listeners = Listeners::bind(&config)?;
        let threads = if options.io_threads == 0 { io_threads() } else { options.io_threads.min(IO_THREADS_MAX) };
        let (security, admin) = ((sasl, audit, tls, peer_tls), (site, admin));
        assemble(config, security, clock, disk.clone(), durable, listeners, threads, admin)
    }

    /// Returns the current address for clients: the plain one if there is one.
    pub fn address(&self) -> SocketAddr {
        self.listening.address()
    }

    /// Returns the HTTP address for administrators, if enabled.
    pub fn admin_address(&self) -> Option<SocketAddr> {
        self.admin.as_ref().and_then(AdminServer::address)
    }

    /// Returns the address for metrics, if they have a port of their own.
    pub fn metrics_address(&self) -> Option<SocketAddr> {
        self.admin.as_ref().and_then(AdminServer::metrics_address)
    }

    /// Returns the address for clients with TLS.
    pub fn secure_address(&self) -> Option<SocketAddr> {
        self.listening.secure_address()
    }

    /// Waits until clients are served, including writes. A standalone server serves them from its
    /// start.
    pub async fn serving(&self) {
        self.role.serving().await;
    }

    /// Returns the reason why a member of an ensemble does not serve clients yet.
    pub fn waits_for(&self) -> Option<String> {
        let ids: Vec<String> = self.members.iter().map(ServerId::to_string).collect();
        (!ids.is_empty()).then(|| format!("a majority of the servers {}", ids.join(", ")))
    }

    /// Waits until this server must end by itself, which mostly never happens.
    pub async fn wait_for_end(&self) {
        self.ended.wait().await;
    }

    /// Returns the reason why this server must end by itself, if any.
    pub fn ended(&self) -> Option<Reason> {
        self.ended.reason().cloned()
    }

    /// Returns the threads that made no progress for longer than `patience` without an excuse, for
    /// a watchdog.
    pub fn stalled(&self, patience: Duration) -> Vec<String> {
        self.watchdog.stalled(u64::try_from(patience.as_millis()).unwrap_or(u64::MAX))
    }

    /// Stops the server: accepts no new clients; ends each connection at a point where it awaits no
    /// reply, or after [`DRAIN_MS`]; makes all proposals durable and answers them; then writes a
    /// checkpoint if the log has grown.
    pub fn stop(self) {
        self.site.stop();
        self.listening.stop();
        self.see_off();
        self.proposing.stop();
        let mut on_disk = self.engine.join().ok().flatten();
        self.mailboxes.iter().for_each(|mailbox| mailbox.order(Order::Stop));
        if let Some(checkpoints) = &self.checkpoints {
            checkpoints.stop();
        }
        let checkpointing = on_disk.as_mut().and_then(|on_disk| on_disk.checkpointing.take());
        for thread in self.others.into_iter().chain(checkpointing) {
            let _ = thread.join();
        }
        self.auditing.into_iter().for_each(Auditing::stop);
    }
}

impl Server {
    /// Ends each client's connection at a point where it loses nothing, if there is one in time.
    fn see_off(&self) {
        let admission = &self.admission;
        let order = |order: fn() -> Order| self.mailboxes.iter().for_each(|mailbox| mailbox.order(order()));
        order(|| Order::Drain);
        wait(DRAIN_MS, || admission.all_parting());
        if !admission.all_parting() {
            order(|| Order::Leave);
            wait(LEAVE_MS, || admission.all_parting());
        }
        wait(PARTING_MS, || admission.is_empty());
    }
}

/// Waits until `holds` returns true, for at most `limit_ms`.
fn wait(limit_ms: u64, holds: impl Fn() -> bool) {
    let until = Instant::now() + Duration::from_millis(limit_ms);
    while !holds() && Instant::now() < until {
        thread::sleep(WAIT_POLL);
    }
}

fn open(config: &Config, options: StartOptions, disk: &Arc<dyn Disk>, seed: u64) -> Result<Durable, StartError> {
    if options.in_memory {
        warn!("keeping everything in memory; it is lost when this process ends");
        let (state, stats) = (State::new(seed), StartupStats::default());
        return Ok(Durable { state, incarnation: None, checkpoints: None, stats });
    }
    let replay = if config.is_distributed() { Replay::DECIDED } else { Replay::All };
    let (dirs, store) = ((&config.data_dir, &config.data_log_dir), StoreOptions::default());
    let recovered = recovery::recover_with(disk, dirs.0, dirs.1, seed, &store, replay)?;
    check_kind(config, &recovered)?;
    warn_of_copy(config, &recovered);
    member::compare(config, recovered.state.membership());
    let stats = StartupStats::of(&recovered);
    let Recovered { state, log, tree, applied, checkpointed, tail_len, locks, last_checkpoint, .. } = recovered;
    let checkpoints = Arc::new(Checkpoints::new(applied, checkpointed, tail_len));
    checkpoints.stats.lock().last = last_checkpoint;
    let checkpoints = Some(checkpoints);
    Ok(Durable {
        state,
        incarnation: Some(Incarnation { log, tree, applied, checkpointed, locks }),
        checkpoints,
        stats,
    })
}

/// Warns about data that another server wrote: it brings that server's promises and acceptances, and
/// lacks this one's. It is safe only if all members start with the same copy, which is how an
/// operator recovers from lost disks.
fn warn_of_copy(config: &Config, recovered: &Recovered) {
    if let (Some(membership), Some(owner)) = (&config.ensemble.membership, owner_of(&recovered.log))
        && owner != membership.me
    {
        warn!(
            "server {owner} wrote the data in {}, and this is server {}. Unless all servers start with the same copy, stop this one \
             and correct its myid, or empty its data directory, which the other servers then fill",
            config.data_dir.display(),
            membership.me
        );
    }
}

/// Returns an error if the data is from a standalone server and this is a member of an ensemble, or
/// the reverse, or if it is from another ensemble.
fn check_kind(config: &Config, recovered: &Recovered) -> Result<(), StartError> {
    let founded = members_of(&recovered.log);
    let dedicated = recovered.state.ensemble() != 0;
    let refuse = |reason: String| Err(StartError::OtherData { dir: config.data_dir.display().to_string(), reason });
    match (&config.ensemble.membership, founded) {
        (None, Some(members)) => refuse(format!(
            "it belongs to a member of the ensemble of servers {members:?}. Add their server lines to the configuration; \
             for an ensemble of one, set standaloneEnabled=false as well"
        )),
        // A standalone server would change data that the others have under the same ensemble.
        (None, None) if dedicated => refuse(
            "it was imported for an ensemble. Import it again with a configuration that has no server lines"
                .to_owned(),
        ),
        (Some(_), None) if !dedicated && (recovered.applied > 0 || recovered.log.next_index() > 0) => refuse(
            "a standalone server wrote it. To make an ensemble of it: `oxkeeper backup`, then `oxkeeper restore` of that \
             backup on every server of the ensemble"
                .to_owned(),
        ),
        // If members can change, the state has the current ones.
        (Some(membership), Some(_)) if membership.reconfig_enabled || recovered.state.voter_changes() > 0 => Ok(()),
        (Some(membership), Some(members)) if *members != *member::member_ids(membership) => {
            let wanted = member::member_ids(membership);
            refuse(format!("it belongs to the ensemble of servers {members:?}, but the configuration names {wanted:?}"))
        }
        (None, None) | (Some(_), _) => Ok(()),
    }
}

#[expect(clippy::too_many_arguments, reason = "what was prepared, one by one")]
fn assemble(
    config: Config,
    (sasl, audit, tls, peer_tls): Guards,
    clock: Clock,
    disk: Arc<dyn Disk>,
    durable: Durable,
    listeners: Listeners,
    threads: usize,
    (site, admin): (Arc<Site>, Option<AdminServer>),
) -> Result<Server, StartError> {
    let settings = settings(&config);
    let membership = config.ensemble.membership.clone();
    let renew = renewal(&config, clock, settings);
    let shared = Arc::new(RwLock::new(renew(durable.state)));
    let proposing = Arc::new(Proposing::default());
    let mailboxes: Vec<Arc<Mailbox>> = (0..threads).map(|_| Arc::default()).collect();
    let limits = &config.limits;
    let listening = Arc::new(Listening::new(&config, &listeners, mailboxes[0].clone()));
    let admission = Arc::new(Admission::new(limits.connections_per_address_max(), limits.max_connections));
    let stats = Arc::new(Mutex::new(EngineStats::default()));
    let watchdog = Arc::new(Watchdog::new(clock, threads));
    let load = Arc::new(limits::load(&config, clock.now_ms(), seed(clock)));
    let role = match &membership {
        Some(_) => RoleCell::looking(clock.now_ms()),
        None => RoleCell::standalone(),
    };
    let role = Arc::new(role);
    let members = membership.as_ref().map(|it| member::member_ids(it).to_vec()).unwrap_or_default();
    let words = Inspector {
        whitelist: config.words,
        config: config.clone(),
        state: shared.clone(),
        mailboxes: mailboxes.clone(),
        admission: admission.clone(),
        load: load.clone(),
        engine: stats.clone(),
        role: role.clone(),
        checkpoints: durable.checkpoints.clone(),
        startup: Mutex::new(durable.stats),
        clock,
        answered: 0.into(),
        trace_mask: Inspector::initial_trace_mask(),
        listening: listening.clone(),
        tls: tls.clone(),
        certificates: [
            tls.as_ref().map(|tls| ("clients", tls.live.clone())),
            peer_tls.as_ref().map(|tls| ("servers", tls.live.clone())),
            admin.as_ref().and_then(AdminServer::tls).map(|tls| ("administrators", tls.live.clone())),
        ]
        .into_iter()
        .flatten()
        .collect(),
        admin: Mutex::default(),
        windows: Mutex::default(),
    };
    let words = Arc::new(words);
    let io = Arc::new(IoShared {
        state: shared.clone(),
        config: connection_config(&config, settings, sasl),
        proposing: proposing.clone(),
        mailboxes: mailboxes.clone(),
        admission: admission.clone(),
        words: words.clone(),
        tls,
        clock,
        watchdog: watchdog.clone(),
        load,
        // Without a limit on requests, only the engine's pace throttles clients, and no requests
        // are dropped for that.
        drop_stale: config.limits.request_throttle_max_requests > 0 && config.limits.request_throttle_drop_stale,
        sessionless_timeout_ms: u64::from(config.limits.sessionless_connection_timeout_ms),
    });
    let auth_rules = io.config.auth.clone();
    // This precedes the lookup of the members' address for this server. Clients wait until a thread
    // serves them.
    listening.open(listeners);
    let ended = Arc::new(Ended::default());
    let mut others = Vec::new();
    let mut restorer = None;
    let engine = match (membership, durable.incarnation, &durable.checkpoints) {
        (Some(membership), Some(incarnation), Some(checkpoints)) => {
            let parts = Parts {
                shared,
                proposing: proposing.clone(),
                mailboxes: mailboxes.clone(),
                checkpoints: checkpoints.clone(),
                clock,
                watchdog: watchdog.clone(),
                containers: config.containers.clone(),
                settings,
                stats,
                role: role.clone(),
                membership,
                follow_clients: Box::new({
                    let listening = listening.clone();
                    move |place| listening.follow(place)
                }),
                config_file: ConfigKeeper::new(&config),
                disk,
                data_dir: config.data_dir.clone(),
                data_log_dir: config.data_log_dir.clone(),
                seed: seed(clock),
                read_only_after_ms: read_only_after_ms(&config),
                tls: peer_tls,
                slow_after_ms: slow_after_ms(&config),
                audit: audit.clone(),
                ended: ended.clone(),
                level_max: level_max(&config),
                renew,
            };
            let thread =
                MemberThread::start(parts, incarnation).map_err(|(_, problem)| StartError::Ensemble(problem))?;
            spawn("engine", move || {
                thread.run();
                None
            })?
        }
        (_, incarnation, checkpoints) => {
            let (data_dir, data_log_dir) = (config.data_dir.clone(), config.data_log_dir.clone());
            let dirs = Dirs { disk, data_dir, data_log_dir, seed: seed(clock) };
            let (log, on_disk) = match (incarnation, checkpoints) {
                (Some(Incarnation { log, tree, locks, .. }), Some(checkpoints)) => {
                    let checkpointing = Some(checkpoints.start(&shared, Arc::new(tree), clock)?);
                    restorer = Some(Arc::new(Restorer::new(dirs.clone(), shared.clone(), proposing.clone())));
                    (Some(log), Some(OnDisk { dirs, checkpointing, renew, _locks: locks }))
                }
                (_, _) => (None, None),
            };
            let mut applier = Applier::new(threads);
            applier.slow_after_ms = slow_after_ms(&config);
            applier.audit = audit.as_ref().map(|_| Audit::default());
            let options = StandaloneOptions {
                reaping: reaping(&config.containers),
                settings,
                entry_len_max: ENTRY_LEN_MAX,
                apply_max: APPLY_MAX,
                raises_to: KNOWS.min(level_max(&config)),
            };
            let entry = checkpoints.as_ref().map(|it| it.between_entries().clone()).unwrap_or_default();
            let (applied, level) = (
                checkpoints.as_ref().map_or(0, |checkpoints| checkpoints.applied_count()),
                shared.read().state.level(),
            );
            let journal = log.map(|log| Box::new(LogJournal::standalone(log)) as Box<dyn Journal>);
            let engine = Engine {
                engine: StandaloneEngine::new(journal, applier, options, entry, (applied, level), clock.now_ms()),
                on_disk,
                slow: SlowLog::default(),
                surroundings: Surroundings {
                    shared,
                    proposing: proposing.clone(),
                    mailboxes: mailboxes.clone(),
                    checkpoints: checkpoints.clone(),
                    clock,
                    watchdog: watchdog.clone(),
                    stats,
                    audit,
                    ended: ended.clone(),
                    full: FullDisk::default(),
                },
            };
            spawn("engine", move || engine.run())?
        }
    };
    for thread in 0..threads {
        let io = io.clone();
        others.push(spawn(&format!("io-{thread}"), move || run_io(thread as u16, io))?);
    }
    let secure_address = listening.secure_address();
    let address = listening.address();
    let rules = admin::Rules { settings, auth: auth_rules };
    site.run(words, rules, restorer, watchdog.clone(), tick_ms(&config));
    if let Some(address) = secure_address {
        info!(%address, "listening for clients with TLS");
    }
    info!(%address, threads, "listening for clients");
    Ok(Server {
        listening,
        proposing,
        mailboxes,
        checkpoints: durable.checkpoints,
        admission,
        watchdog,
        role,
        members,
        engine,
        ended,
        others,
        site,
        admin,
        auditing: None,
    })
}

/// Returns one thread per core, up to 8. They share the cores with the engine, which mostly waits
/// for the disk.
fn io_threads() -> usize {
    thread::available_parallelism().map_or(1, usize::from).min(8)
}

fn tick_ms(config: &Config) -> u64 {
    u64::try_from(config.tick_time_ms).unwrap_or(1).max(1)
}

/// Returns a function that builds the shared part from a recovered state. A member of an ensemble
/// does not serve until it is in contact with the ensemble.
fn renewal(config: &Config, clock: Clock, settings: Settings) -> Box<dyn Fn(State) -> Shared + Send> {
    let tick_ms = tick_ms(config);
    let member = config.ensemble.membership.as_ref().map(|membership| membership.me);
    Box::new(move |state| {
        let now_ms = clock.now_ms();
        let clocks = Clocks::new(tick_ms, now_ms);
        let sessions = SessionTable::new(member.unwrap_or(STANDALONE_ID), clock.wall_ms(), &state, clocks);
        let serving = if member.is_some() { Serving::No } else { Serving::Yes };
        Shared { serving, ..Shared::new(state, settings, sessions, now_ms) }
    })
}

/// Returns the time without a quorum after which a member serves reads, ms, or `None` for never.
fn read_only_after_ms(config: &Config) -> Option<u64> {
    config.read_only_mode.then(|| u64::try_from(config.tick_time_ms).unwrap_or(0).max(READ_ONLY_AFTER_MIN_MS))
}

fn slow_after_ms(config: &Config) -> Option<u64> {
    Some(u64::from(config.slow_request_ms)).filter(|&after_ms| after_ms > 0)
}

fn level_max(config: &Config) -> Level {
    config.feature_level_max.map_or(KNOWS, Level)
}

/// Returns a seed that differs from that of any other process.
fn seed(clock: Clock) -> u64 {
    clock.wall_ms() as u64 ^ (u64::from(std::process::id()) << 32)
}

fn settings(config: &Config) -> Settings {
    let switches = [
        (config.extended_types_enabled, Settings::EXTENDED_TYPES),
        (config.enforce_quota, Settings::ENFORCE_QUOTA),
        (config.security.skip_acl, Settings::SKIP_ACL),
        (!config.security.digest_auth_enabled, Settings::NO_DIGEST),
        (config.security.has_provider("sasl"), Settings::SASL),
        (config.security.has_provider("x509"), Settings::X509),
        (config.ensemble.reconfig_enabled, Settings::RECONFIG),
    ];
    let on = switches.into_iter().filter(|(on, _)| *on);
    on.fold(Settings::default(), |settings, (_, switch)| settings.with(switch))
}

/// ZooKeeper: a standalone server has no local sessions, regardless of the configuration.
fn local_sessions(config: &Config) -> LocalSessions {
    match (config.is_distributed() && config.local_sessions_enabled, config.local_sessions_upgrading_enabled) {
        (false, _) => LocalSessions::Off,
        (true, false) => LocalSessions::Fixed,
        (true, true) => LocalSessions::Upgrading,
    }
}

fn connection_config(config: &Config, settings: Settings, sasl: Option<Arc<Sasl>>) -> ConnectionConfig {
    let security = &config.security;
    let enforced = if security.enforce_auth_enabled { security.enforce_auth_schemes.clone() } else { Vec::new() };
    let wanted = config.limits.jute_maxbuffer as usize;
    if wanted > FRAME_LEN_MAX {
        warn!(
            wanted,
            granted = FRAME_LEN_MAX,
            "jute.maxbuffer is too large for a log entry; using the largest possible value"
        );
    }
    ConnectionConfig {
        frame_len_max: wanted.min(FRAME_LEN_MAX),
        session_timeout_min_ms: config.session_timeout_min_ms,
        session_timeout_max_ms: config.session_timeout_max_ms,
        settings,
        auth: AuthConfig {
            super_digest: security.super_digest.clone(),
            digest: DigestAlgorithm::from_name(&security.digest_algorithm).unwrap_or_default(),
            enforced_schemes: enforced,
            sasl,
            ensemble: security.has_provider("ensemble").then(|| EnsembleNames::new(security.ensemble_names.as_deref())),
        },
        is_word: |bytes| Word::from_bytes(bytes).is_some(),
        distributed: config.is_distributed(),
        local_sessions: local_sessions(config),
    }
}

/// Runs a thread that owns connections. The first one also accepts clients.
fn run_io(thread: u16, shared: Arc<IoShared>) {
    let runtime = runtime::Builder::new_current_thread().enable_io().enable_time().build();
    let runtime = runtime.expect("the system has an event queue left");
    let io = Io::new(thread, shared);
    LocalSet::new().block_on(&runtime, async move { io.run().await });
}
