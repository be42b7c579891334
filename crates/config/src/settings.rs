//! The meaning of the configuration: typed, complete, with units in the names.
//!
//! Owns no defaults: these are in the rows of [`super::keys`]. Invariant: a [`Config`] has passed every check
//! of ZooKeeper's own start (`QuorumPeerConfig#parseProperties`).

use std::collections::BTreeMap;
use std::path::PathBuf;

use oxkeeper_state::membership::{HostPort, Members, Role};

use oxkeeper_tls::TlsSettings;

use super::membership::Membership;
use super::word::Whitelist;

/// The complete configuration of a server.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Config {
    /// Unit of session expiry and of ensemble limits.
    pub tick_time_ms: i32,
    /// Minimal session timeout of a client.
    pub session_timeout_min_ms: i32,
    /// Maximal session timeout of a client.
    pub session_timeout_max_ms: i32,
    /// Address of the plain listener; `None` if not configured.
    pub client: Option<HostPort>,
    /// Address of the TLS listener; `None` if not configured.
    pub secure_client: Option<HostPort>,
    /// Maximal number of connections not yet accepted; 0 or less: the server's default.
    pub listen_backlog: i32,
    /// Whether client sockets have SO_KEEPALIVE.
    pub client_tcp_keep_alive: bool,
    /// Directory of the durable tree and of `myid`.
    pub data_dir: PathBuf,
    /// Directory of the log.
    pub data_log_dir: PathBuf,
    /// Four-letter words that the server answers.
    pub words: Whitelist,
    /// `readonlymode.enabled`.
    pub read_only_mode: bool,
    /// Whether clients may create TTL znodes.
    pub extended_types_enabled: bool,
    /// Whether quotas refuse writes instead of only warning.
    pub enforce_quota: bool,
    /// Whether there are local sessions, which only the connected server knows.
    pub local_sessions_enabled: bool,
    /// Whether local sessions become global before their first ephemeral.
    pub local_sessions_upgrading_enabled: bool,
    /// Limits on one client, or on all together.
    pub limits: Limits,
    /// Settings of the log and the durable tree.
    pub storage: Storage,
    /// Settings of the removal of empty containers and of TTL znodes.
    pub containers: Containers,
    /// Settings of identities and ACLs.
    pub security: Security,
    /// Settings of the audit log.
    pub audit: AuditConfig,
    /// Settings of the admin server.
    pub admin: Admin,
    /// Separate address for metrics; `None`: the admin server serves them.
    pub metrics_port: Option<HostPort>,
    /// Settings of the ensemble.
    pub ensemble: Ensemble,
    /// Duration above which a write is logged; 0: none is logged.
    pub slow_request_ms: u32,
    /// Maximum to which the agreed feature level is raised.
    pub feature_level_max: Option<u32>,
    /// `oxkeeper.log`: the log filter.
    pub log: Option<String>,
    /// The file of this configuration; `None` without one.
    pub file: Option<PathBuf>,
    /// The text of the file, which administrators may ask for; empty without one.
    pub initial: Option<String>,
    /// The properties that ZooKeeper's JVM would have.
    pub system_properties: BTreeMap<String, String>,
    /// Warnings to log at start, in order.
    pub warnings: Vec<String>,
}

/// Limits on what clients may use.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Limits {
    /// Maximal number of connections of one IP address; 0 or less: unlimited.
    pub max_client_connections_per_address: i32,
    /// Maximal number of connections; 0: unlimited.
    pub max_connections: u32,
    /// Maximal length of a client's request frame, in bytes without the length prefix.
    pub jute_maxbuffer: u32,
    /// Addition to `jute_maxbuffer` for data that servers read from disk and from each other.
    pub jute_maxbuffer_extra: u32,
    /// Number of requests in process or queued above which no more are read from busy connections. `None`:
    /// only the bytes of waiting requests are limited.
    pub global_outstanding_limit: Option<u32>,
    /// Time after which a connection without a completed handshake is closed.
    pub sessionless_connection_timeout_ms: u32,
    /// Number of requests in process at which new ones wait; 0: they never wait.
    pub request_throttle_max_requests: u32,
    /// Whether a throttled request is dropped if its connection is closed.
    pub request_throttle_drop_stale: bool,
    /// Waiting time above which an operation is refused with -127; 0: never.
    pub throttled_op_wait_time_ms: u32,
    /// Length above which requests count against the next limit; `None`: off.
    pub large_request_threshold: Option<u32>,
    /// Maximal bytes of all large requests in flight.
    pub large_request_bytes_max: u32,
    /// Capacity of the token bucket for new connections; 0: no such limit.
    pub connection_tokens: u32,
    /// Tokens added in each interval.
    pub connection_token_fill_count: u32,
    /// Interval between two additions of tokens.
    pub connection_token_fill_time_ms: u32,
    /// Interval between two changes of the probability of refusing a session; `None`: no session is refused at random.
    pub connection_freeze_time_ms: Option<u32>,
    /// Increase of that probability while no tokens are left.
    pub connection_drop_increase: f64,
    /// Decrease of that probability while tokens are left.
    pub connection_drop_decrease: f64,
    /// Share of the tokens that may be spent for the probability to decrease.
    pub connection_decrease_ratio: f64,
    /// Whether sessions take tokens according to the next three weights; otherwise one each.
    pub connection_weights_enabled: bool,
    /// Tokens of a new session.
    pub connection_weight_global: u32,
    /// Tokens of a new local session.
    pub connection_weight_local: u32,
    /// Tokens of a resumed session.
    pub connection_weight_renew: u32,
}

/// Settings of the log and the durable tree.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Storage {
    /// Number of transactions after which a checkpoint is due.
    pub snap_count: u32,
    /// Length of the log after which a checkpoint is due.
    pub snap_size_limit_bytes: u64,
    /// Bytes by which the log grows at a time.
    pub pre_alloc_size_bytes: u64,
    /// Whether writes are synced before they are answered. If not, a power failure may lose acknowledged writes.
    pub force_sync: bool,
    /// Time for which group commit waits for more writes; 0: it does not wait.
    pub flush_delay_ms: u32,
    /// Maximal number of writes in one group commit.
    pub batch_count_max: u32,
    /// Whether the tree has a digest.
    pub digest_enabled: bool,
    /// Whether a `closeSession` transaction lists the znodes that it removes.
    pub close_session_txn_enabled: bool,
    /// Whether a missing data directory is created.
    pub data_dir_autocreate: bool,
}

/// Settings of the reaper of containers and TTL znodes.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Containers {
    /// Interval between two rounds.
    pub check_interval_ms: u32,
    /// Maximal number of removals in a minute.
    pub removals_per_minute_max: u32,
    /// Age at which a container that never had a child is removed; 0: never.
    pub never_used_max_ms: u64,
}

/// Settings of the audit log.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct AuditConfig {
    /// Whether the audit log is written.
    pub enabled: bool,
    /// File of the audit log; `None`: standard error.
    pub file: Option<PathBuf>,
    /// Whether the configuration names a custom Java class to write it.
    pub has_foreign_class: bool,
}

/// Settings of identities and access control.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Security {
    /// Whether ACLs are ignored.
    pub skip_acl: bool,
    /// `super:<digest>`: the identity that has all permissions.
    pub super_digest: Option<String>,
    /// Whether clients may authenticate with the `digest` scheme.
    pub digest_auth_enabled: bool,
    /// The JVM's name of the digest in ACL ids (`SHA1`, `SHA-256`, …).
    pub digest_algorithm: String,
    /// Whether connections without an identity of one of the schemes below are refused.
    pub enforce_auth_enabled: bool,
    /// Schemes that are sufficient.
    pub enforce_auth_schemes: Vec<String>,
    /// `authProvider.<suffix>`: suffixes and Java classes.
    pub auth_providers: Vec<(String, String)>,
    /// `ensembleAuthName`: names that clients may use for this ensemble.
    pub ensemble_names: Option<String>,
    /// Whether scheme `sasl` is enforced by the older key.
    pub require_client_sasl: bool,
    /// `java.security.auth.login.config`: the file with the SASL users.
    pub jaas_file: Option<String>,
    /// Section of that file for clients.
    pub sasl_section: String,
    /// Password of SASL user `super`, which overrides the file's.
    pub sasl_super_password: Option<String>,
    /// SASL users that have all permissions.
    pub sasl_super_users: Vec<String>,
    /// SASL user whose ACL entries apply to all SASL users.
    pub any_sasl_user: Option<String>,
    /// Whether a connection may continue after SASL has failed.
    pub allow_sasl_failed_clients: bool,
    /// Whether a SASL user `name/host@realm` becomes `name@realm`.
    pub remove_host_from_principal: bool,
    /// Whether a SASL user `name@realm` becomes `name`.
    pub remove_realm_from_principal: bool,
    /// Rules that map Kerberos names to users.
    pub auth_to_local: String,
    /// Whether the server starts only with Kerberos.
    pub require_kerberos_config: bool,
    /// Whether the plain client port also accepts TLS.
    pub client_port_unification: bool,
    /// Whether clients may use TLS, so that certificates are identities.
    pub has_x509: bool,
    /// TLS settings for clients, used if TLS is configured.
    pub client_tls: Tls,
}

/// Settings of the admin server: commands, metrics and health checks over HTTP.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Admin {
    /// Whether the admin server is enabled.
    pub enabled: bool,
    /// Whether some `admin.` key is set, so that the admin server is wanted.
    pub named: bool,
    /// Address to listen on.
    pub host: String,
    /// Port; `None`: the default port, if it is free.
    pub port: Option<u16>,
    /// Path of the commands.
    pub command_url: String,
    /// Time of silence after which a client's connection is closed.
    pub idle_timeout_ms: u32,
    /// Whether the command `snapshot` is enabled.
    pub snapshot_enabled: bool,
    /// Whether the command `restore` is enabled.
    pub restore_enabled: bool,
    /// Minimal time between two snapshots, or two restores.
    pub rate_limiter_interval_ms: u32,
    /// Whether the port also accepts HTTPS.
    pub port_unification: bool,
    /// Whether the port accepts only HTTPS.
    pub force_https: bool,
    /// Whether HTTPS clients must have a certificate.
    pub need_client_auth: bool,
}

/// Settings of the ensemble.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Ensemble {
    /// The lines `server.N`, `group.N`, `weight.N`.
    pub members: Members,
    /// Version of the dynamic file with these lines; `None` if they are in zoo.cfg.
    pub config_version: Option<i64>,
    /// `dynamicConfigFile`.
    pub dynamic_config_file: Option<PathBuf>,
    /// Content of `myid`.
    pub my_id: Option<i64>,
    /// The ensemble in the form the engine needs; `None` for a standalone server, and until `my_id` is known.
    pub membership: Option<Membership>,
    /// Whether a single voter runs as a standalone server.
    pub standalone_enabled: bool,
    /// Whether `reconfig` is allowed.
    pub reconfig_enabled: bool,
    /// Time limit for joining and catching up.
    pub init_limit_ticks: i32,
    /// Limit on the lag of a follower.
    pub sync_limit_ticks: i32,
    /// Time in which an observer finds a server to follow; 0: `init_limit_ticks`.
    pub connect_to_learner_master_limit_ticks: i32,
    /// `peerType` of this server; its own server line takes precedence.
    pub role: Role,
    /// Whether the server listens for peers on all addresses.
    pub listen_on_all_addresses: bool,
    /// Whether a server may have several addresses.
    pub multi_address_enabled: bool,
    /// Whether links between servers use TLS.
    pub ssl_quorum: bool,
    /// Whether peers accept plain and TLS links on one port.
    pub port_unification: bool,
    /// TLS settings for links, used if TLS is configured.
    pub tls: Tls,
    /// Whether links between servers authenticate with SASL.
    pub quorum_sasl_enabled: bool,
    /// Duration of an election round.
    pub heartbeat_ms: u32,
    /// Time of silence after which a link is closed; `None`: some heartbeats.
    pub peer_timeout_ms: Option<u32>,
    /// Time without an answer from the disk after which a leader hands over, ms.
    pub disk_stall_ms: u32,
    /// Whether peers are accepted only from addresses of members.
    pub peer_addresses_only: bool,
    /// Port on which observers may follow a follower.
    pub observer_master_port: Option<u16>,
    /// File that decides which of two servers continues.
    pub oracle_path: Option<PathBuf>,
    /// Whether the leader also serves clients.
    pub leader_serves: bool,
    /// Whether links between servers have SO_KEEPALIVE.
    pub tcp_keep_alive: bool,
}

/// TLS settings of one kind of connections: `ssl.*`, or `ssl.quorum.*`.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Tls {
    /// Stores, versions and ciphers.
    pub settings: TlsSettings,
    /// Whether the accepting side compares the names in the peer's certificate with the peer's address.
    pub check_client_names: bool,
    /// Time limit for a handshake.
    pub handshake_timeout_ms: u32,
    /// Maximal number of handshakes in progress; further ones are refused; `None`: no limit.
    pub handshakes_max: Option<u32>,
    /// Whether the stores are read again when their files change.
    pub follow_files: bool,
    /// Name of the provider that maps certificates to identities.
    pub auth_provider: String,
    /// Subject of the certificate that has all permissions.
    pub super_user: Option<String>,
    /// Whether certificate revocation lists are to be checked.
    pub revocation_lists: bool,
    /// Whether OCSP is to be used.
    pub ocsp: bool,
    /// Java class that provides the keys.
    pub supplier_class: Option<String>,
}

impl Limits {
    /// Returns the maximal number of connections of one IP address; 0: unlimited.
    pub fn connections_per_address_max(&self) -> u32 {
        u32::try_from(self.max_client_connections_per_address).unwrap_or(0)
    }
}

impl Tls {
    /// Sets the names that the settings have in messages, and removes stores without a file.
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
    /// Returns whether clients may use `scheme`. All schemes except `ensemble` are identities and may be used in ACLs.
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

/// Class that accepts names of ensembles as scheme `ensemble`.
pub(super) const ENSEMBLE_PROVIDER: &str = "org.apache.zookeeper.server.auth.EnsembleAuthenticationProvider";

/// Class that makes `sasl` a scheme of ACLs.
pub(super) const SASL_PROVIDER: &str = "org.apache.zookeeper.server.auth.SASLAuthenticationProvider";

impl Config {
    /// Returns whether this server is a member of an ensemble, which may have only one voter.
    pub fn is_distributed(&self) -> bool {
        self.ensemble.members.asks_for_ensemble(self.ensemble.standalone_enabled)
    }

    /// Returns the server id that `conf` shows: `myid` in an ensemble, 0 for a standalone server.
    // ZooKeeper: session ids of a standalone server nevertheless have 1 in their top byte.
    pub fn server_id(&self) -> i64 {
        if self.is_distributed() { self.ensemble.my_id.unwrap_or(0) } else { 0 }
    }
}
