//! The data that the words report, as plain values.
//!
//! This module owns the list of queries that a word may make. Only words that need an answer make a
//! query, so an expensive one (connections, watches, sessions) costs the others nothing. Source:
//! `ServerStats`, `ServerCnxn#dumpConnectionInfo`, `ZooKeeperServer#dumpConf`, `ExpiryQueue#dump`.

use std::net::SocketAddr;

use oxkeeper_proto::ServerId;

use super::metrics::{Metric, Summary};
use crate::COMPATIBLE_VERSION;
use crate::telemetry::role::Role;

/// Queries that a word may make. Most are labelled with the words that use them.
pub(crate) trait Facts {
    /// Returns the role that clients see now.
    fn role(&self) -> Role;
    /// Returns the output of [`full_version`].
    fn version(&self) -> String;
    /// Environment, for `envi`.
    fn environment(&self) -> Environment;
    /// Trace mask, for `gtmk`.
    fn trace_mask(&self) -> i64;
    /// Summary of the server, for `srvr` and `stat`.
    fn server(&self) -> ServerFacts;
    /// Configuration, for `conf`.
    fn configuration(&self) -> ConfigurationFacts;
    /// Directories, for `conf` and `dirs`.
    fn directories(&self) -> Directories;
    /// `mntr`: every metric.
    fn metrics(&self) -> Vec<Metric>;
    /// `mntr` on an ensemble: `leading - broadcast`.
    fn peer_state(&self) -> Option<String>;
    /// `mntr` on an observer: the server that it learns from.
    fn observer_master(&self) -> Option<ServerId>;
    /// `cons`, `stat`: every connection, this one included.
    fn connections(&self) -> Vec<ConnectionFacts>;
    /// Sessions, for `dump`.
    fn sessions(&self) -> SessionFacts;
    /// `dump`: session id and its znodes.
    fn ephemerals(&self) -> Vec<(i64, Vec<String>)>;
    /// `dump`: the time at which connections without traffic are closed.
    fn connection_expiry(&self) -> Vec<ExpiryBucket<(SocketAddr, i64)>>;
    /// `wchs`: data and exists watches only.
    fn watch_summary(&self) -> WatchSummary;
    /// `wchc`: session id and the paths it watches.
    fn watches_by_session(&self) -> Vec<(i64, Vec<String>)>;
    /// `wchp`: path and the sessions that watch it.
    fn watches_by_path(&self) -> Vec<(String, Vec<i64>)>;
    /// `hash`: zxid and digest of the tree after it, oldest first.
    fn digests(&self) -> Vec<(i64, u64)>;
}

/// Summary of the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ServerFacts {
    /// Latency of requests, ms.
    pub(crate) latency_ms: Summary,
    /// Frames and words received.
    pub(crate) packets_received: i64,
    /// Frames sent.
    pub(crate) packets_sent: i64,
    /// Open connections, this one included.
    pub(crate) connections: usize,
    /// Requests in progress.
    pub(crate) outstanding: i64,
    /// Zxid of the last write applied.
    pub(crate) zxid: i64,
    /// ZooKeeper: the root is counted twice, so an empty server has 5.
    pub(crate) znode_count: usize,
    /// On a leader: sizes of proposals in bytes, -1 if there was none.
    pub(crate) proposal_sizes: Option<ProposalSizes>,
    /// The agreed feature level; 0 before the first write.
    pub(crate) level: u32,
}

/// Sizes of proposals in bytes; -1 if there was none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ProposalSizes {
    /// The last proposal.
    pub(crate) last: i64,
    /// The shortest proposal.
    pub(crate) min: i64,
    /// The longest proposal.
    pub(crate) max: i64,
}

/// Data for `conf`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ConfigurationFacts {
    /// Port of the plain listener; -1 if there is none.
    pub(crate) client_port: i32,
    /// Port of the TLS listener; -1 if there is none.
    pub(crate) secure_client_port: i32,
    /// Absolute path, with the `version-2` that ZooKeeper appends, or its equivalent here.
    pub(crate) data_dir: String,
    /// Absolute path, as above.
    pub(crate) data_log_dir: String,
    /// Length of a tick, ms.
    pub(crate) tick_time_ms: i32,
    /// Limit per IP address; 0 is unlimited.
    pub(crate) max_client_connections_per_address: i64,
    /// Minimum session timeout, ms.
    pub(crate) session_timeout_min_ms: i32,
    /// Maximum session timeout, ms.
    pub(crate) session_timeout_max_ms: i32,
    /// -1: the system's default.
    pub(crate) listen_backlog: i64,
    /// 0 on a standalone server.
    pub(crate) server_id: i64,
    /// The agreed feature level; 0 before the first write.
    pub(crate) level: u32,
    /// `None` on a standalone server.
    pub(crate) ensemble: Option<EnsembleFacts>,
}

/// Data that `conf` adds on a member of an ensemble.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct EnsembleFacts {
    /// Limit in ticks.
    pub(crate) init_limit: i32,
    /// Limit in ticks.
    pub(crate) sync_limit: i32,
    /// Port of each address of this server.
    pub(crate) election_ports: Vec<u16>,
    /// Port of each address of this server.
    pub(crate) quorum_ports: Vec<u16>,
    /// This server is an observer.
    pub(crate) is_observer: bool,
    /// Content of `/zookeeper/config`; not reported in read-only mode.
    pub(crate) membership: Option<String>,
}

/// Directory sizes in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Directories {
    /// Size of the durable tree's directory.
    pub(crate) data_bytes: u64,
    /// Size of the log's directory.
    pub(crate) log_bytes: u64,
}

/// One connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ConnectionFacts {
    /// The client's end.
    pub(crate) remote: SocketAddr,
    /// The connection uses TLS.
    pub(crate) secure: bool,
    /// NIO interest set: 1 read, 4 write, 5 both, 0 nothing.
    pub(crate) interest: u8,
    /// Requests without a reply.
    pub(crate) outstanding: i64,
    /// Frames received.
    pub(crate) packets_received: i64,
    /// Frames sent.
    pub(crate) packets_sent: i64,
    /// `None` before the handshake, and for connections that send a word.
    pub(crate) session: Option<ConnectionSession>,
}

/// The session of a connection, and its statistics since the last `crst`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ConnectionSession {
    /// Never 0.
    pub(crate) session_id: i64,
    /// Name from [`last_operation`]; `NA` before the first reply.
    pub(crate) last_operation: &'static str,
    /// Time of connection, Unix ms.
    pub(crate) established_ms: i64,
    /// Negotiated timeout, ms.
    pub(crate) timeout_ms: i32,
    /// xid of the last request that had one; -1 if there was none.
    pub(crate) last_cxid: i64,
    /// zxid of the last reply; -1 if there was none.
    pub(crate) last_zxid: i64,
    /// Time of the last reply, on a separate clock; 0 if there was none.
    pub(crate) last_response_ms: i64,
    /// Latency of the last reply.
    pub(crate) last_latency_ms: i64,
    /// Latency of all replies.
    pub(crate) latency_ms: Summary,
}

/// Items that expire at the same time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ExpiryBucket<T> {
    /// Expiry, Unix ms.
    pub(crate) at_ms: i64,
    /// The items.
    pub(crate) members: Vec<T>,
}

/// Sessions known to this server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SessionFacts {
    /// Local sessions; only if they are enabled.
    pub(crate) local: Option<Vec<ExpiryBucket<i64>>>,
    /// Sessions of the whole ensemble.
    pub(crate) global: GlobalSessions,
}

/// Sessions of the whole ensemble.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum GlobalSessions {
    /// On a leader or standalone server: this server's clock expires the sessions.
    Expiring(Vec<ExpiryBucket<i64>>),
    /// On a follower or observer: session id and timeout in ms.
    Known(Vec<(i64, i32)>),
}

/// Summary of data and exists watches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct WatchSummary {
    /// Connections with a watch.
    pub(crate) connections: usize,
    /// Watched paths.
    pub(crate) paths: usize,
    /// Pairs of connection and path.
    pub(crate) watches: usize,
}

/// Environment of the server.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Environment {
    /// `None` if unknown, as for the other fields.
    pub(crate) host_name: Option<String>,
    /// Directory for temporary files.
    pub(crate) temporary_dir: Option<String>,
    /// `Linux`
    pub(crate) os_name: Option<String>,
    /// `amd64`
    pub(crate) os_arch: Option<String>,
    /// Kernel release.
    pub(crate) os_version: Option<String>,
    /// User of the process.
    pub(crate) user_name: Option<String>,
    /// Home directory.
    pub(crate) user_home: Option<String>,
    /// Working directory.
    pub(crate) user_dir: Option<String>,
    /// Free memory.
    pub(crate) memory_free_mb: u64,
    /// Maximum memory of the process.
    pub(crate) memory_max_mb: u64,
    /// Current memory of the process.
    pub(crate) memory_total_mb: u64,
}

impl Environment {
    /// Returns all entries in order. Keys specific to a JVM are included because scripts look for
    /// them; they have no value.
    // Source: `Environment#list`.
    pub(crate) fn entries(&self, version: &str) -> Vec<(&'static str, String)> {
        let known = |value: &Option<String>| value.clone().unwrap_or_else(|| "<NA>".to_owned());
        let memory = |mb: u64| format!("{mb}MB");
        let mut entries = vec![("zookeeper.version", version.to_owned()), ("host.name", known(&self.host_name))];
        let jvm = ["java.version", "java.vendor", "java.home", "java.class.path", "java.library.path"];
        entries.extend(jvm.map(|key| (key, known(&None))));
        entries.extend([
            ("java.io.tmpdir", known(&self.temporary_dir)),
            ("java.compiler", known(&None)),
            ("os.name", known(&self.os_name)),
            ("os.arch", known(&self.os_arch)),
            ("os.version", known(&self.os_version)),
            ("user.name", known(&self.user_name)),
            ("user.home", known(&self.user_home)),
            ("user.dir", known(&self.user_dir)),
            ("os.memory.free", memory(self.memory_free_mb)),
            ("os.memory.max", memory(self.memory_max_mb)),
            ("os.memory.total", memory(self.memory_total_mb)),
        ]);
        entries
    }
}

/// Returns the version line of `srvr`, `envi` and `mntr`: ZooKeeper's version, then this server's
/// name, then the date.
///
/// ZooKeeper's format is `<version>-<revision>, built on <yyyy-MM-dd HH:mm> UTC`. Clients and
/// monitoring read the digits up to the first other character (Kazoo `([\d\.]*)`; Datadog and
/// Telegraf do the same), so the name of this server takes the place of the revision, followed by
/// `own` and `revision`.
pub(crate) fn full_version(own: &str, revision: Option<&str>, built: &str) -> String {
    let revision = revision.map(|revision| format!("-{revision}")).unwrap_or_default();
    format!("{COMPATIBLE_VERSION}-oxkeeper-{own}{revision}, built on {built} UTC")
}

/// Returns the name of an operation in `cons`, by its wire code, or `NA` for codes that are not
/// recorded.
pub(crate) fn last_operation(code: i32) -> &'static str {
    match code {
        -11 => "CLOS",
        -10 => "SESS",
        1 | 15 | 19 | 21 => "CREA", // ZooKeeper: the same for create, create2, createContainer and createTTL
        2 | 20 => "DELE",
        3 => "EXIS",
        4 => "GETD",
        5 => "SETD",
        6 => "GETA",
        7 => "SETA",
        8 | 12 => "GETC",
        9 => "SYNC",
        11 => "PING",
        13 => "CHEC",
        14 => "MULT",
        16 => "RECO",
        17 => "CHKW",
        18 => "REMW",
        22 => "MLTR",
        101 => "SETW",
        103 => "GETE",
        104 => "GETACN",
        105 => "STW2",
        106 => "ADDW",
        107 => "HOMI",
        _ => "NA",
    }
}
