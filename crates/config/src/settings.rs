//! What the configuration means: typed, complete, with units in the names.
//!
//! Owns no defaults: they stand in the rows of [`super::keys`]. Invariant: a [`Config`] that exists has passed every
//! check of ZooKeeper's own start (`QuorumPeerConfig#parseProperties`).

use std::collections::BTreeMap;
use std::path::PathBuf;

use oxkeeper_state::membership::{HostPort, Members, Role};

use oxkeeper_tls::TlsSettings;

use super::membership::Membership;
use super::word::Whitelist;

/// Everything the server is told at start.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Config {
    /// The unit of session expiry and of ensemble limits.
    pub tick_time_ms: i32,
    /// Least session timeout a client is given.
    pub session_timeout_min_ms: i32,
    /// Greatest session timeout a client is given.
    pub session_timeout_max_ms: i32,
    /// Plain listener. `None`: not configured.
    pub client: Option<HostPort>,
    /// TLS listener. `None`: not configured.
    pub secure_client: Option<HostPort>,
    /// Connections not yet accepted; 0 or less: as many as usual.
    pub listen_backlog: i32,
    /// SO_KEEPALIVE on client sockets.
    pub client_tcp_keep_alive: bool,
    /// The durable tree, and `myid`.
    pub data_dir: PathBuf,
    /// The log.
    pub data_log_dir: PathBuf,
    /// Four-letter words that are answered.
    pub words: Whitelist,
    /// `readonlymode.enabled`.
    pub read_only_mode: bool,
    /// TTL znodes may be created.
    pub extended_types_enabled: bool,
    /// Quotas refuse writes instead of only warning.
    pub enforce_quota: bool,
    /// Sessions that only the connected server knows.
    pub local_sessions_enabled: bool,
    /// They become the ensemble's before their first ephemeral.
    pub local_sessions_upgrading_enabled: bool,
    /// What one client, or all together, may use.
    pub limits: Limits,
    /// The log and the durable tree.
    pub storage: Storage,
    /// Removal of empty containers and of TTL znodes.
    pub containers: Containers,
    /// Identities and ACLs.
    pub security: Security,
    /// Who changed what.
    pub audit: AuditConfig,
    /// HTTP for administrators.
    pub admin: Admin,
    /// A port of its own for metrics; `None`: they are served where administrators are.
    pub metrics_port: Option<HostPort>,
    /// Peers.
    pub ensemble: Ensemble,
    /// A write that takes longer is logged; 0: none is.
    pub slow_request_ms: u32,
    /// The agreed feature level is not raised beyond it.
    pub feature_level_max: Option<u32>,
    /// `oxkeeper.log`: what is logged.
    pub log: Option<String>,
    /// The file all of this was read from; `None` without one.
    pub file: Option<PathBuf>,
    /// The text of the file, as administrators may ask for it; empty without one.
    pub initial: Option<String>,
    /// What ZooKeeper's JVM would have as properties.
    pub system_properties: BTreeMap<String, String>,
    /// What deserves a line in the log at start, in order.
    pub warnings: Vec<String>,
}

/// Limits on what clients may use.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Limits {
    /// Connections of one IP address; 0 or less: unlimited.
    pub max_client_connections_per_address: i32,
    /// Connections in all; 0: unlimited.
    pub max_connections: u32,
    /// Longest request frame a client may send, in bytes without the length prefix.
    pub jute_maxbuffer: u32,
    /// Added to `jute_maxbuffer` for what servers read from disk and from each other.
    pub jute_maxbuffer_extra: u32,
    /// Requests in process or queued beyond which no more are read from busy connections.
    /// `None`: what waits is limited by its bytes alone.
    pub global_outstanding_limit: Option<u32>,
    /// A connection that has not finished its handshake by then is closed.
    pub sessionless_connection_timeout_ms: u32,
    /// New requests wait while so many are in process; 0: never.
    pub request_throttle_max_requests: u32,
    /// A throttled request whose connection is gone is dropped.
    pub request_throttle_drop_stale: bool,
    /// An operation that waited longer than this is refused with -127; 0: never.
    pub throttled_op_wait_time_ms: u32,
    /// Requests longer than this count against the next limit; `None`: off.
    pub large_request_threshold: Option<u32>,
    /// Large requests in flight, together.
    pub large_request_bytes_max: u32,
    /// New connections a token bucket lets in; 0: no such limit.
    pub connection_tokens: u32,
    /// Tokens added each time.
    pub connection_token_fill_count: u32,
    /// How often tokens are added.
    pub connection_token_fill_time_ms: u32,
    /// How often the chance of refusing a session changes; `None`: no session is refused by chance.
    pub connection_freeze_time_ms: Option<u32>,
    /// What that chance grows by while no tokens are left.
    pub connection_drop_increase: f64,
    /// What it falls by while tokens are left.
    pub connection_drop_decrease: f64,
    /// Share of the tokens that may be spent for it to fall.
    pub connection_decrease_ratio: f64,
    /// Sessions take tokens by the next three; else one each.
    pub connection_weights_enabled: bool,
    /// Tokens of a new session.
    pub connection_weight_global: u32,
    /// Tokens of a new local session.
    pub connection_weight_local: u32,
    /// Tokens of a session that goes on.
    pub connection_weight_renew: u32,
}

/// How writes reach the disk.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Storage {
    /// A checkpoint is due after so many transactions.
    pub snap_count: u32,
    /// A checkpoint is due after so much log.
    pub snap_size_limit_bytes: u64,
    /// The log grows by this much at a time.
    pub pre_alloc_size_bytes: u64,
    /// Writes are synced before they are answered. Off: a power failure may lose acknowledged writes.
    pub force_sync: bool,
    /// Group commit waits so long for more writes; 0: not at all.
    pub flush_delay_ms: u32,
    /// Group commit takes at most so many writes at once.
    pub batch_count_max: u32,
    /// The tree carries a digest.
    pub digest_enabled: bool,
    /// A `closeSession` transaction lists the znodes it removes.
    pub close_session_txn_enabled: bool,
    /// A missing data directory is created.
    pub data_dir_autocreate: bool,
}

/// The reaper of containers and TTL znodes.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Containers {
    /// Time between two rounds.
    pub check_interval_ms: u32,
    /// Removals a minute.
    pub removals_per_minute_max: u32,
    /// A container that never had a child is removed at this age; 0: never.
    pub never_used_max_ms: u64,
}

/// The audit log.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct AuditConfig {
    /// It is written.
    pub enabled: bool,
    /// Where to; `None`: standard error.
    pub file: Option<PathBuf>,
    /// A Java class of somebody's own is to write it.
    pub has_foreign_class: bool,
}

/// Identities and access control.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Security {
    /// ACLs are not looked at.
    pub skip_acl: bool,
    /// `super:<digest>`: who may do everything.
    pub super_digest: Option<String>,
    /// Clients may authenticate with the `digest` scheme.
    pub digest_auth_enabled: bool,
    /// The JVM's name of the digest in ACL ids (`SHA1`, `SHA-256`, …).
    pub digest_algorithm: String,
    /// Connections without an identity of one of the schemes below are refused.
    pub enforce_auth_enabled: bool,
    /// Schemes that satisfy it.
    pub enforce_auth_schemes: Vec<String>,
    /// `authProvider.<suffix>`: suffix and Java class.
    pub auth_providers: Vec<(String, String)>,
    /// `ensembleAuthName`: names that clients may know this ensemble by.
    pub ensemble_names: Option<String>,
    /// The older form of enforcing scheme `sasl`.
    pub require_client_sasl: bool,
    /// `java.security.auth.login.config`: who may authenticate with SASL.
    pub jaas_file: Option<String>,
    /// The section of that file that concerns clients.
    pub sasl_section: String,
    /// Password of SASL user `super`, instead of the file's.
    pub sasl_super_password: Option<String>,
    /// SASL users who may do everything.
    pub sasl_super_users: Vec<String>,
    /// An ACL entry of this SASL user is every SASL user's.
    pub any_sasl_user: Option<String>,
    /// Connections go on after SASL has failed.
    pub allow_sasl_failed_clients: bool,
    /// A SASL user `name/host@realm` is `name@realm`.
    pub remove_host_from_principal: bool,
    /// A SASL user `name@realm` is `name`.
    pub remove_realm_from_principal: bool,
    /// Rules that turn Kerberos names into users.
    pub auth_to_local: String,
    /// Start only with Kerberos.
    pub require_kerberos_config: bool,
    /// A plain client port that also takes TLS.
    pub client_port_unification: bool,
    /// Clients may come with TLS, and certificates are identities.
    pub has_x509: bool,
    /// TLS for clients, if it is asked for.
    pub client_tls: Tls,
}

/// HTTP for administrators: commands, metrics, health.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Admin {
    /// Is there such a server?
    pub enabled: bool,
    /// Some `admin.` key is set: somebody wants this server.
    pub named: bool,
    /// Where it listens.
    pub host: String,
    /// `None`: the usual port, if nobody else has it.
    pub port: Option<u16>,
    /// Where the commands are.
    pub command_url: String,
    /// A client that is silent for so long is closed.
    pub idle_timeout_ms: u32,
    /// The command `snapshot` is served.
    pub snapshot_enabled: bool,
    /// The command `restore` is served.
    pub restore_enabled: bool,
    /// Time between two snapshots, or two restores.
    pub rate_limiter_interval_ms: u32,
    /// HTTPS on the same port.
    pub port_unification: bool,
    /// HTTPS only.
    pub force_https: bool,
    /// HTTPS clients must have a certificate.
    pub need_client_auth: bool,
}

/// This server's place among its peers.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Ensemble {
    /// The lines `server.N`, `group.N`, `weight.N`.
    pub members: Members,
    /// Version of the dynamic file these lines came from; `None` if they stand in zoo.cfg.
    pub config_version: Option<i64>,
    /// `dynamicConfigFile`.
    pub dynamic_config_file: Option<PathBuf>,
    /// Content of `myid`.
    pub my_id: Option<i64>,
    /// The ensemble as the engine takes it; `None` alone, and until `my_id` is known.
    pub membership: Option<Membership>,
    /// A single voter runs without peers.
    pub standalone_enabled: bool,
    /// `reconfig` is allowed.
    pub reconfig_enabled: bool,
    /// Time to join and catch up.
    pub init_limit_ticks: i32,
    /// How far a follower may fall behind.
    pub sync_limit_ticks: i32,
    /// Time an observer takes to find a server that feeds it; 0: `init_limit_ticks`.
    pub connect_to_learner_master_limit_ticks: i32,
    /// `peerType` of this server. Its own line counts.
    pub role: Role,
    /// Peers are listened to on every address.
    pub listen_on_all_addresses: bool,
    /// A server may have several addresses.
    pub multi_address_enabled: bool,
    /// Links between servers use TLS.
    pub ssl_quorum: bool,
    /// Peers accept plain and TLS links on one port.
    pub port_unification: bool,
    /// TLS for links, if it is asked for.
    pub tls: Tls,
    /// Links between servers authenticate with SASL.
    pub quorum_sasl_enabled: bool,
    /// A round of the election.
    pub heartbeat_ms: u32,
    /// Silence after which a link is given up; `None`: some heartbeats.
    pub peer_timeout_ms: Option<u32>,
    /// A leader whose disk does not answer for so long hands over, ms.
    pub disk_stall_ms: u32,
    /// Peers are accepted only from addresses of members.
    pub peer_addresses_only: bool,
    /// Observers may follow a follower, on this port.
    pub observer_master_port: Option<u16>,
    /// Two servers and a file that says who survives.
    pub oracle_path: Option<PathBuf>,
    /// The leader also serves clients.
    pub leader_serves: bool,
    /// SO_KEEPALIVE on links between servers.
    pub tcp_keep_alive: bool,
}

/// TLS on one kind of connections: `ssl.*`, or `ssl.quorum.*`.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Tls {
    /// Stores, versions, ciphers.
    pub settings: TlsSettings,
    /// The side that accepts compares the names in certificates with where the other side is.
    pub check_client_names: bool,
    /// A handshake takes no longer.
    pub handshake_timeout_ms: u32,
    /// Handshakes under way beyond which new ones are refused; `None`: no such limit.
    pub handshakes_max: Option<u32>,
    /// Stores are read again when their files change.
    pub follow_files: bool,
    /// Who turns certificates into identities.
    pub auth_provider: String,
    /// Subject of a certificate whose owner may do everything.
    pub super_user: Option<String>,
    /// Lists of revoked certificates are asked for.
    pub revocation_lists: bool,
    /// OCSP is asked for.
    pub ocsp: bool,
    /// A Java class that makes the keys.
    pub supplier_class: Option<String>,
}

impl Limits {
    /// Connections of one IP address; 0: unlimited.
    pub fn connections_per_address_max(&self) -> u32 {
        u32::try_from(self.max_client_connections_per_address).unwrap_or(0)
    }
}

impl Tls {
    /// Gives the settings the names they have in messages, and drops stores without a file.
    pub(super) fn finish(&mut self, prefix: &str) {
        let settings = &mut self.settings;
        prefix.clone_into(&mut settings.prefix);
        for (name, store) in [("keyStore", &mut settings.key_store), ("trustStore", &mut settings.trust_store)] {
            if let Some(found) = store {
                found.key = format!("{prefix}{name}");
                *store = Some(std::mem::take(found)).filter(|store| !store.path.as_os_str().is_empty());
            }
        }
    }
}

impl Security {
    /// Whether clients may come with `scheme`. All but `ensemble` are identities, and stand in ACLs.
    pub fn has_provider(&self, scheme: &str) -> bool {
        let registered = |provider| self.auth_providers.iter().any(|(_, class)| class == provider);
        match scheme {
            "ip" => true,
            "digest" => self.digest_auth_enabled,
            "sasl" => registered(SASL_PROVIDER),
            "ensemble" => registered(ENSEMBLE_PROVIDER),
            "x509" => self.has_x509,
            _ => false,
        }
    }
}

/// Takes names of ensembles as scheme `ensemble`.
pub(super) const ENSEMBLE_PROVIDER: &str = "org.apache.zookeeper.server.auth.EnsembleAuthenticationProvider";

/// Makes scheme `sasl` one of ACLs.
pub(super) const SASL_PROVIDER: &str = "org.apache.zookeeper.server.auth.SASLAuthenticationProvider";

impl Config {
    /// Is this server a member of an ensemble, which may have one voter?
    pub fn is_distributed(&self) -> bool {
        self.ensemble.members.asks_for_ensemble(self.ensemble.standalone_enabled)
    }

    /// The number `conf` shows: `myid` in an ensemble, 0 standalone.
    // ZooKeeper: session ids of a standalone server have 1 in their top byte all the same.
    pub fn server_id(&self) -> i64 {
        if self.is_distributed() { self.ensemble.my_id.unwrap_or(0) } else { 0 }
    }
}
