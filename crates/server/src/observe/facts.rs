//! Answers four-letter words: gathers the data they may ask for, and performs the changes some of
//! them make.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use oxkeeper_proto::ServerId;
use oxkeeper_replica::ensemble::ballot_number;
use oxkeeper_replica::watches::Fired;
use oxkeeper_replica::{Clocks, Load, Shared};
use oxkeeper_state::hash_order::{Buckets, hash_code};
use oxkeeper_tls::LiveTls;
use parking_lot::{Mutex, RwLock};
use tokio::sync::oneshot;

use crate::clock::Clock;
use crate::engine::mailbox::{Mailbox, Order};
use crate::io::admission::Admission;
use crate::io::listening::Listening;
use crate::io::thread::FourLetterWords;
use crate::net::tls::ClientTls;
use crate::observe::metrics::family::Family;
use crate::observe::metrics::windows::Windows;
use crate::observe::metrics::{self, Figures, summary};
use crate::observe::words::metrics::Metric;
use crate::observe::words::{
    self, ConfigurationFacts, ConnectionFacts, ConnectionSession, Directories, Effect, EnsembleFacts, Environment,
    ExpiryBucket, Facts, GlobalSessions, ProposalSizes, ServerFacts, SessionFacts, WatchSummary,
};
use crate::storage::checkpoint::SharedCheckpoints;
use crate::telemetry::counters::{AdminStats, CheckpointStats, EngineStats, StartupStats};
use crate::telemetry::report::{ConnectionReport, ThreadReport};
use crate::telemetry::role::{Place, Role, RoleCell};
use oxkeeper_config::{Config, Whitelist, Word};

/// Initial trace mask. Nothing here uses it; clients may set and read it.
const TRACE_MASK: i64 = 306;

/// The data sources of the words.
#[derive(Debug)]
pub(crate) struct Inspector {
    pub(crate) config: Config,
    pub(crate) whitelist: Whitelist,
    pub(crate) state: Arc<RwLock<Shared>>,
    pub(crate) mailboxes: Vec<Arc<Mailbox>>,
    pub(crate) admission: Arc<Admission>,
    pub(crate) load: Arc<Load>,
    pub(crate) engine: Arc<Mutex<EngineStats>>,
    pub(crate) role: Arc<RoleCell>,
    /// `None`: all data is in memory only.
    pub(crate) checkpoints: Option<SharedCheckpoints>,
    pub(crate) startup: Mutex<StartupStats>,
    pub(crate) clock: Clock,
    /// Number of words answered. They count as packets received.
    pub(crate) answered: AtomicU64,
    pub(crate) trace_mask: AtomicI64,
    /// Counters of requests from administrators.
    pub(crate) admin: Mutex<AdminStats>,
    /// Recent percentiles.
    pub(crate) windows: Mutex<Windows>,
    pub(crate) listening: Arc<Listening>,
    /// `None`: clients connect without TLS.
    pub(crate) tls: Option<Arc<ClientTls>>,
    /// The TLS certificates, by the kind of connection.
    pub(crate) certificates: Vec<(&'static str, Arc<LiveTls>)>,
}

impl FourLetterWords for Inspector {
    fn answer<'a>(&'a self, word: [u8; 4], argument: &'a [u8]) -> Pin<Box<dyn Future<Output = String> + 'a>> {
        Box::pin(async move {
            let Some(word) = Word::from_bytes(word) else { return String::new() };
            self.answered.fetch_add(1, Ordering::Relaxed);
            let answer = words::answer(word, self.whitelist, argument, &self.ask().await);
            if let Some(effect) = answer.effect {
                self.carry_out(effect);
            }
            answer.text
        })
    }
}

impl Inspector {
    fn expiries(&self) -> Vec<(&'static str, i64)> {
        let expiry = |(to, live): &(&'static str, Arc<LiveTls>)| Some((*to, live.own()?.not_after_s));
        self.certificates.iter().filter_map(expiry).collect()
    }

    /// Returns the trace mask before any change.
    pub(crate) fn initial_trace_mask() -> AtomicI64 {
        AtomicI64::new(TRACE_MASK)
    }

    /// Gathers all data for one answer.
    pub(crate) async fn ask(&self) -> Asked<'_> {
        let report = self.gather().await;
        Asked { service: self, report, place: self.role.place() }
    }

    /// Returns this server's role for its clients. A standalone server serves nobody during a
    /// restore.
    pub(crate) fn role_now(&self) -> Role {
        let role = self.role.place().role;
        let is_out = role == Role::Standalone && self.state.read().serving == oxkeeper_replica::Serving::No;
        if is_out { Role::NotServing } else { role }
    }

    /// Performs the change that a word or a command makes.
    pub(crate) fn carry_out(&self, effect: Effect) {
        match effect {
            Effect::ResetConnections => self.reset(true),
            Effect::ResetServer => self.reset_server(),
            Effect::SetTraceMask(mask) => self.trace_mask.store(mask, Ordering::Relaxed),
        }
    }

    /// Resets counters and summaries, but not those of connections.
    fn reset_server(&self) {
        self.answered.store(0, Ordering::Relaxed);
        self.reset(false);
        self.admission.forget_rejected();
        self.role.forget_outages();
        if let Some(tls) = &self.tls {
            tls.reset_figures();
        }
        self.engine.lock().reset();
        *self.startup.lock() = StartupStats::default();
        *self.admin.lock() = AdminStats::default();
        self.windows.lock().forget();
        if let Some(checkpoints) = &self.checkpoints {
            checkpoints.stats.lock().reset();
        }
        self.state.read().watches.lock().fired = Fired::default();
    }

    fn reset(&self, connections: bool) {
        self.mailboxes.iter().for_each(|mailbox| mailbox.order(Order::ResetStats { connections }));
    }

    async fn gather(&self) -> ThreadReport {
        let mut whole = ThreadReport::default();
        for mailbox in &self.mailboxes {
            let (answer, answered) = oneshot::channel();
            mailbox.order(Order::Report(answer));
            // A thread that has stopped has no connections.
            whole.merge(answered.await.unwrap_or_default());
        }
        whole
    }
}

/// The data for one word or command.
pub(crate) struct Asked<'a> {
    pub(crate) service: &'a Inspector,
    pub(crate) report: ThreadReport,
    /// Read once, since the role may change between two facts of one answer.
    pub(crate) place: Place,
}

impl Asked<'_> {
    fn received(&self) -> i64 {
        (self.report.stats.received + self.service.answered.load(Ordering::Relaxed)) as i64
    }
}

impl Facts for Asked<'_> {
    fn role(&self) -> Role {
        self.service.role_now()
    }

    fn version(&self) -> String {
        words::full_version(RELEASE.0, None, RELEASE.1)
    }

    fn environment(&self) -> Environment {
        environment()
    }

    fn trace_mask(&self) -> i64 {
        self.service.trace_mask.load(Ordering::Relaxed)
    }

    fn server(&self) -> ServerFacts {
        // Locked once: a second shared lock would wait behind a writer that waits for the first
        // one.
        let shared = self.service.state.read();
        ServerFacts {
            latency_ms: summary(&self.report.stats.latency()),
            packets_received: self.received(),
            packets_sent: self.report.stats.sent as i64,
            connections: self.report.connections.len(),
            outstanding: self.report.outstanding as i64,
            zxid: shared.state.zxid().0,
            znode_count: znode_count(&shared),
            proposal_sizes: Some(proposal_sizes(&self.service.engine.lock())),
            level: shared.state.level().0,
        }
    }

    fn configuration(&self) -> ConfigurationFacts {
        let config = &self.service.config;
        let shared = self.service.state.read();
        ConfigurationFacts {
            client_port: self.service.listening.plain_port().map_or(-1, i32::from),
            secure_client_port: self.service.listening.secure_address().map_or(-1, |address| i32::from(address.port())),
            data_dir: absolute(&config.data_dir),
            data_log_dir: absolute(&config.data_log_dir),
            tick_time_ms: config.tick_time_ms,
            max_client_connections_per_address: i64::from(config.limits.max_client_connections_per_address),
            session_timeout_min_ms: config.session_timeout_min_ms,
            session_timeout_max_ms: config.session_timeout_max_ms,
            listen_backlog: config.listen_backlog.into(),
            server_id: config.server_id(),
            level: shared.state.level().0,
            ensemble: ensemble_facts(config, self.place.role, agreed_members(&shared)),
        }
    }

    fn directories(&self) -> Directories {
        let config = &self.service.config;
        let (data, log) = (dir_len(&config.data_dir), dir_len(&config.data_log_dir));
        Directories { data_bytes: data, log_bytes: log }
    }

    fn metrics(&self) -> Vec<Metric> {
        self.figures().metrics()
    }

    fn peer_state(&self) -> Option<String> {
        let state = match self.place.role {
            // ZooKeeper: a server in read-only mode does not report a state.
            Role::Standalone | Role::ReadOnly => return None,
            Role::Leader => "leading - broadcast",
            Role::Follower => "following - broadcast",
            Role::Observer => "observing - broadcast",
            Role::NotServing => "looking",
        };
        Some(state.to_owned())
    }

    fn observer_master(&self) -> Option<ServerId> {
        self.place.leader.filter(|_| self.place.role == Role::Observer)
    }

    fn connections(&self) -> Vec<ConnectionFacts> {
        // ZooKeeper: unordered, since it is a set of objects hashed by identity.
        let mut connections: Vec<_> = self.report.connections.iter().collect();
        connections.sort_by_key(|connection| (connection.established_ms, connection.peer));
        connections.into_iter().map(connection_facts).collect()
    }

    fn sessions(&self) -> SessionFacts {
        let shared = self.service.state.read();
        let sessions = shared.sessions.lock();
        let offset_ms = self.service.clock.wall_ms() - self.service.clock.now_ms() as i64;
        let bucket = |(at_ms, sessions): (u64, Vec<oxkeeper_proto::SessionId>)| ExpiryBucket {
            at_ms: at_ms as i64 + offset_ms,
            members: sessions.into_iter().map(|session| session.0).collect(),
        };
        let buckets = |clocks: &Clocks| clocks.deadlines().into_iter().map(bucket).collect();
        // Sessions in read-only mode are always local.
        let split = self.service.config.local_sessions_enabled && self.place.role != Role::Standalone;
        let local = (split || self.place.role == Role::ReadOnly).then(|| buckets(&sessions.local));
        let global = match self.place.role {
            Role::Follower | Role::Observer | Role::ReadOnly => GlobalSessions::Known(known_sessions(&shared)),
            Role::Standalone | Role::Leader | Role::NotServing => GlobalSessions::Expiring(buckets(&sessions.clocks)),
        };
        SessionFacts { local, global }
    }

    fn ephemerals(&self) -> Vec<(i64, Vec<String>)> {
        let ephemerals = self.service.state.read().state.ephemerals();
        ephemerals.into_iter().map(|(session, paths)| (session.0, paths)).collect()
    }

    fn connection_expiry(&self) -> Vec<ExpiryBucket<(SocketAddr, i64)>> {
        let mut buckets: BTreeMap<i64, Vec<(SocketAddr, i64)>> = BTreeMap::new();
        for connection in &self.report.connections {
            let last_ms = connection.stats.last.map_or(0, |last| last.at_ms as i64);
            let offset_ms = self.service.clock.wall_ms() - self.service.clock.now_ms() as i64;
            let at_ms = last_ms + offset_ms + i64::from(connection.timeout_ms);
            let second = (at_ms / 1000 + 1) * 1000;
            buckets.entry(second).or_default().push((connection.peer, connection.session.0));
        }
        // ZooKeeper: each bucket is a set of objects hashed by identity.
        buckets.values_mut().for_each(|members| members.sort_unstable());
        buckets.into_iter().map(|(at_ms, members)| ExpiryBucket { at_ms, members }).collect()
    }

    fn watch_summary(&self) -> WatchSummary {
        let counts = self.service.state.read().watches.lock().counts();
        WatchSummary { connections: counts.data_connections, paths: counts.data_paths, watches: counts.data }
    }

    /// Returns the watched paths by session. ZooKeeper: sessions are unordered; the paths of each
    /// are the keys of a `HashMap`.
    fn watches_by_session(&self) -> Vec<(i64, Vec<String>)> {
        let mut by_session: BTreeMap<i64, Vec<String>> = BTreeMap::new();
        for (path, sessions) in self.watches_by_path() {
            sessions.into_iter().for_each(|session| by_session.entry(session).or_default().push(path.clone()));
        }
        for paths in by_session.values_mut() {
            Buckets::DEFAULT.grown_for(paths.len()).arrange(paths, |path| hash_code(path.as_bytes()));
        }
        by_session.into_iter().collect()
    }

    /// Returns the sessions by watched path. ZooKeeper: paths are the keys of a `HashMap`; the
    /// sessions of each are unordered.
    fn watches_by_path(&self) -> Vec<(String, Vec<i64>)> {
        let shared = self.service.state.read();
        let watches = shared.watches.lock();
        let path = |(path, sessions): (&str, Vec<oxkeeper_proto::SessionId>)| {
            let mut sessions: Vec<i64> = sessions.into_iter().map(|session| session.0).collect();
            sessions.sort_unstable();
            (path.to_owned(), sessions)
        };
        let mut by_path: Vec<_> = watches.data_watches().map(path).collect();
        by_path.sort_unstable();
        Buckets::DEFAULT.grown_for(by_path.len()).arrange(&mut by_path, |(path, _)| hash_code(path.as_bytes()));
        by_path
    }

    fn digests(&self) -> Vec<(i64, u64)> {
        self.service.state.read().state.digest_history().collect()
    }
}

fn proposal_sizes(stats: &EngineStats) -> ProposalSizes {
    let [last, min, max] = stats.proposal_sizes();
    ProposalSizes { last, min, max }
}

/// Returns the lines that `conf` adds on a member of an ensemble.
fn ensemble_facts(config: &Config, role: Role, agreed: Option<String>) -> Option<EnsembleFacts> {
    let ensemble = &config.ensemble;
    let membership = ensemble.membership.as_ref()?;
    let me = &ensemble.members.servers[&i64::from(membership.me.0)];
    Some(EnsembleFacts {
        init_limit: ensemble.init_limit_ticks,
        sync_limit: ensemble.sync_limit_ticks,
        election_ports: me.addresses.iter().map(|address| address.election_port).collect(),
        quorum_ports: me.addresses.iter().map(|address| address.quorum_port).collect(),
        is_observer: role == Role::Observer,
        membership: (role != Role::ReadOnly).then(|| agreed.unwrap_or_else(|| membership.text.clone())),
    })
}

/// Returns the agreed members. There are none before the ensemble has served for the first time.
fn agreed_members(shared: &Shared) -> Option<String> {
    let membership = shared.state.membership();
    (!membership.is_empty()).then(|| membership.to_string())
}

fn voters(config: &Config, shared: &Shared) -> usize {
    match shared.state.membership() {
        agreed if agreed.is_empty() => config.ensemble.membership.as_ref().map_or(0, |ensemble| ensemble.members.len()),
        agreed => agreed.voters().len(),
    }
}

/// Returns every session with its timeout. Only the leader knows the deadlines.
fn known_sessions(shared: &Shared) -> Vec<(i64, i32)> {
    shared.state.sessions().iter().map(|(id, session)| (id.0, session.timeout_ms)).collect()
}

fn connection_facts(connection: &ConnectionReport) -> ConnectionFacts {
    let stats = &connection.stats;
    let session = (connection.session.0 != 0).then(|| ConnectionSession {
        session_id: connection.session.0,
        last_operation: stats.last.map_or("NA", |last| words::last_operation(last.answered.op.wire())),
        established_ms: connection.established_ms,
        timeout_ms: connection.timeout_ms,
        last_cxid: stats.last.map_or(-1, |last| i64::from(last.answered.xid)),
        last_zxid: stats.last.map_or(-1, |last| last.answered.zxid),
        last_response_ms: stats.last.map_or(0, |last| last.at_ms as i64),
        last_latency_ms: stats.last.map_or(0, |last| last.latency_ms as i64),
        latency_ms: summary(&stats.latency),
    });
    ConnectionFacts {
        remote: connection.peer,
        secure: connection.secure,
        // A connection that sent a word is no longer read.
        interest: u8::from(session.is_some()),
        outstanding: i64::from(connection.outstanding),
        packets_received: stats.received as i64,
        packets_sent: stats.sent as i64,
        session,
    }
}

impl Asked<'_> {
    /// Returns every metric, for exporters.
    pub(crate) fn families(&self) -> Vec<Family> {
        self.figures().families(&mut self.service.windows.lock())
    }

    /// Returns the values of all metrics. Locks the state for a few counts and, per quota, two
    /// lookups.
    pub(crate) fn figures(&self) -> Figures {
        let service = self.service;
        let (open_files, open_files_max) = (open_files(), open_files_max());
        let shared = service.state.read();
        let local_sessions = shared.sessions.lock().local.len();
        let watches = shared.watches.lock();
        Figures {
            stats: self.report.stats.clone(),
            words: service.answered.load(Ordering::Relaxed),
            connections: self.report.connections.len(),
            outstanding: self.report.outstanding,
            uptime_ms: service.clock.now_ms(),
            znodes: znode_count(&shared),
            watches: watches.counts().total,
            ephemerals: shared.state.ephemerals_count(),
            data_size: shared.state.tree().size(),
            sessions: shared.state.sessions().len(),
            local_sessions,
            open_files,
            open_files_max,
            drop_probability: service.load.drop_probability(),
            rejected: service.admission.rejected(),
            fired: watches.fired.clone(),
            tls: service.tls.as_ref().map(|tls| tls.figures()).unwrap_or_default(),
            expiries: service.expiries(),
            engine: service.engine.lock().clone(),
            checkpoints: service
                .checkpoints
                .as_ref()
                .map_or_else(CheckpointStats::default, |all| all.stats.lock().clone()),
            startup: service.startup.lock().clone(),
            admin: service.admin.lock().clone(),
            quotas: metrics::quotas(&shared.state),
            place: self.place.clone(),
            outages: service.role.outages(),
            applied: service.checkpoints.as_ref().map_or(0, |all| all.applied_count()),
            checkpointed: service.checkpoints.as_ref().map_or(0, |all| all.committed_count()),
            behind_len: service.checkpoints.as_ref().map_or(0, |all| all.behind_len()),
            ballot: shared.state.epoch_ballot().map_or(0, |id| u64::from(ballot_number(id))),
            level: shared.state.level(),
            quorum_size: voters(&service.config, &shared),
        }
    }
}

/// ZooKeeper: the root counts twice.
fn znode_count(shared: &Shared) -> usize {
    shared.state.tree().len() + 1
}

/// Version and its release date, which the words print as the build time. A binary can be rebuilt
/// and copied and, without a build script, knows neither the time nor the place; so all servers of
/// a version report the same.
const RELEASE: (&str, &str) = ("0.1.0", "2026-11-23 00:00");

fn absolute(path: &Path) -> String {
    std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf()).display().to_string()
}

/// Returns the total length of all files below `dir`, bytes.
fn dir_len(dir: &Path) -> u64 {
    let mut len = 0;
    let mut dirs: Vec<PathBuf> = vec![dir.to_path_buf()];
    while let Some(dir) = dirs.pop() {
        for entry in dir.read_dir().into_iter().flatten().flatten() {
            match entry.metadata() {
                Ok(metadata) if metadata.is_dir() => dirs.push(entry.path()),
                Ok(metadata) => len += metadata.len(),
                Err(_) => {}
            }
        }
    }
    len
}

fn open_files() -> i64 {
    Path::new("/proc/self/fd").read_dir().map_or(-1, |entries| entries.count() as i64)
}

fn open_files_max() -> i64 {
    proc_value("/proc/self/limits", "Max open files").unwrap_or(-1)
}

/// Returns the first number after `label` in a file of `/proc`.
fn proc_value(path: &str, label: &str) -> Option<i64> {
    let text = std::fs::read_to_string(path).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(label))?;
    line.split_whitespace().find_map(|word| word.parse().ok())
}

pub(crate) fn environment() -> Environment {
    let read = |path: &str| std::fs::read_to_string(path).ok().map(|text| text.trim().to_owned());
    let memory_mb = |label| proc_value("/proc/meminfo", label).unwrap_or(0) as u64 / 1024;
    Environment {
        host_name: read("/proc/sys/kernel/hostname"),
        temporary_dir: Some(std::env::temp_dir().display().to_string()),
        os_name: read("/proc/sys/kernel/ostype"),
        os_arch: Some(std::env::consts::ARCH.replace("x86_64", "amd64")),
        os_version: read("/proc/sys/kernel/osrelease"),
        user_name: std::env::var("USER").ok(),
        user_home: std::env::var("HOME").ok(),
        user_dir: std::env::current_dir().ok().map(|dir| dir.display().to_string()),
        memory_free_mb: memory_mb("MemAvailable:"),
        memory_max_mb: memory_mb("MemTotal:"),
        memory_total_mb: proc_value("/proc/self/status", "VmRSS:").unwrap_or(0) as u64 / 1024,
    }
}

#[cfg(test)]
mod tests {
    use oxkeeper_proto::SessionId;
    use oxkeeper_replica::SessionTable;
    use oxkeeper_state::{Settings, State};

    use super::*;
    use oxkeeper_config::Properties;

    /// Configuration of member 3 of the ensemble whose `conf` was recorded.
    const MEMBER: &str = "\
tickTime=500
initLimit=20
syncLimit=10
maxClientCnxns=0
4lw.commands.whitelist=*
dataDir=/none
server.1=127.0.0.1:24596:20375:participant;127.0.0.1:27543
server.2=127.0.0.1:20817:24336:participant;127.0.0.1:28304
server.3=127.0.0.1:21494:28324:participant;127.0.0.1:30520
";

    /// Returns the inspector of a member with one session and no connection.
    fn member(role: Role) -> Inspector {
        let properties = Properties::from_file_text(MEMBER).expect("well formed");
        let config = Config::from_properties(&properties).and_then(|config| config.with_my_id(Some(3))).expect("legal");
        let clock = Clock::start();
        let state = State::new(1);
        let mut sessions = SessionTable::new(ServerId(3), clock.wall_ms(), &state, Clocks::new(500, 0));
        sessions.clocks.open(SessionId(0x7), 4000, 0);
        let shared = Shared::new(state, Settings::default(), sessions, 0);
        let cell = RoleCell::looking(0);
        cell.set(role, 10);
        Inspector {
            whitelist: config.words,
            state: Arc::new(RwLock::new(shared)),
            mailboxes: Vec::new(),
            admission: Arc::new(Admission::new(0, 0)),
            load: Arc::default(),
            engine: Arc::default(),
            role: Arc::new(cell),
            checkpoints: None,
            startup: Mutex::default(),
            clock,
            answered: 0.into(),
            trace_mask: Inspector::initial_trace_mask(),
            listening: Arc::new(Listening::pretended(&config, 30520)),
            tls: None,
            certificates: Vec::new(),
            admin: Mutex::default(),
            windows: Mutex::default(),
            config,
        }
    }

    fn say(member: &Inspector, word: &[u8; 4]) -> String {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        runtime.block_on(member.answer(*word, &[]))
    }

    #[test]
    fn a_member_tells_its_place() {
        for (role, mode, peer_state) in [
            (Role::Leader, "leader", "leading - broadcast"),
            (Role::Follower, "follower", "following - broadcast"),
            (Role::Observer, "observer", "observing - broadcast"),
        ] {
            let member = member(role);
            let srvr = say(&member, b"srvr");
            let proposals = if role == Role::Leader { "Proposal sizes last/min/max: -1/-1/-1\n" } else { "" };
            assert!(srvr.ends_with(&format!("\nMode: {mode}\nNode count: 5\n{proposals}")), "{srvr}");
            let states = format!("zk_server_state\t{mode}\nzk_peer_state\t{peer_state}\nzk_");
            let mntr = say(&member, b"mntr");
            assert!(mntr.contains(&states), "{mntr}");
            assert!(mntr.contains("\nzk_quorum_size\t3\n"), "{mntr}");
            assert_eq!(mntr.contains("\nzk_synced_followers\t0\n"), role == Role::Leader, "{mntr}");
            assert_eq!(say(&member, b"isro"), "rw");
        }
    }

    #[test]
    fn only_a_leader_tells_when_sessions_expire() {
        let dump = say(&member(Role::Leader), b"dump");
        assert!(dump.starts_with("SessionTracker dump:\nSession Sets (1)/(1):\n1 expire at "), "{dump}");
        let follower = member(Role::Follower);
        let dump = say(&follower, b"dump");
        assert!(dump.starts_with("SessionTracker dump:\nGlobal Sessions(0):\nephemeral nodes dump:\n"), "{dump}");
    }

    #[test]
    fn a_member_tells_its_configuration_as_the_reference_does() {
        // Directories and their sizes differ.
        let told = |text: &str| {
            let same = |line: &&str| !line.starts_with("dataDir") && !line.starts_with("dataLog");
            text.split('\n').filter(same).map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(told(&say(&member(Role::Follower), b"conf")), told(include_str!("words/golden/member.conf")));
    }

    /// Recorded from 3.9.5 with local sessions enabled, which read-only mode requires there.
    #[test]
    fn a_member_in_read_only_mode_says_so() {
        let member = member(Role::ReadOnly);
        member.state.read().sessions.lock().local.open(SessionId(0x9), 4000, 0);
        let srvr = say(&member, b"srvr");
        assert!(srvr.contains(" UTC\nREAD-ONLY mode; serving only read-only clients\nLatency"), "{srvr}");
        assert!(srvr.ends_with("\nMode: read-only\nNode count: 5\n"), "{srvr}");
        assert_eq!(say(&member, b"isro"), "ro");
        let mntr = say(&member, b"mntr");
        assert!(mntr.contains("zk_server_state\tread-only\nzk_ephemerals_count\t"), "{mntr}");
        assert!(mntr.contains("\nzk_local_sessions\t1\n") && !mntr.contains("quorum_size"), "{mntr}");
        let dump = say(&member, b"dump");
        assert!(dump.starts_with("SessionTracker dump:\nLocal Session Sets (1)/(1):\n1 expire at "), "{dump}");
        assert!(dump.contains("\n\t0x9\nGlobal Sessions(0):\n"), "{dump}");
        assert!(say(&member, b"conf").ends_with("\npeerType=0\n"));
    }

    #[test]
    fn a_member_without_a_quorum_says_so() {
        let member = member(Role::NotServing);
        for word in [b"srvr", b"stat", b"mntr", b"conf", b"cons", b"dump", b"crst", b"srst", b"wchs", b"wchc", b"dirs"]
        {
            assert_eq!(say(&member, word), "This ZooKeeper instance is not currently serving requests\n");
        }
        assert_eq!((say(&member, b"ruok"), say(&member, b"isro")), ("imok".to_owned(), "null".to_owned()));
        assert!(say(&member, b"envi").starts_with("Environment:\n"));
    }

    #[test]
    fn srst_forgets_outages() {
        let member = member(Role::Leader);
        let count = |member| {
            say(member, b"mntr").lines().find_map(|line| line.strip_prefix("zk_looking_count\t")?.parse().ok())
        };
        assert_eq!(count(&member), Some(1));
        assert_eq!(say(&member, b"srst"), "Server stats reset.\n");
        assert_eq!(count(&member), Some(0));
    }

    #[test]
    fn a_new_version_has_a_new_date() {
        assert_eq!(RELEASE.0, env!("CARGO_PKG_VERSION"), "set RELEASE when the version changes");
    }
}
