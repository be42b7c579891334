//! Tests of complete configurations. For each, ZooKeeper 3.9.5's `QuorumPeerConfig` has been checked to
//! accept or refuse it likewise; where ours differs, the case says so.

use std::fs;
use std::path::Path;

use oxkeeper_tls::Password;
use proptest::prelude::*;

use oxkeeper_proto::ServerId;

use super::word::Word;
use super::*;

fn read(text: &str, jvm_flags: &str) -> Properties {
    let mut properties = Properties::from_jvm_flags(jvm_flags);
    properties.extend(Properties::from_file_text(text).expect("the text is well formed"));
    properties
}

fn config(text: &str, jvm_flags: &str) -> Config {
    Config::from_properties(&read(text, jvm_flags)).unwrap_or_else(|error| panic!("{text}\n{error}"))
}

fn at(host: Option<&str>, port: u16) -> Option<HostPort> {
    Some(HostPort { host: host.map(str::to_owned), port })
}

/// The samples that Apache ZooKeeper and Debian distribute, with shortened comments.
const APACHE_SAMPLE: &str = "\
# The number of milliseconds of each tick
tickTime=2000
initLimit=10
syncLimit=5
# do not use /tmp for storage, /tmp here is just
# example sakes.
dataDir=/tmp/zookeeper
clientPort=2181
#maxClientCnxns=60
#metricsProvider.exportJvmInfo=true
";
const DEBIAN_SAMPLE: &str = "\
tickTime=2000
initLimit=10
syncLimit=5
dataDir=/var/lib/zookeeper
# Place the dataLogDir to a separate physical disc for better performance
# dataLogDir=/disk2/zookeeper
clientPort=2181
#server.1=zookeeper1:2888:3888
# To avoid seeks ZooKeeper allocates space in the transaction log file in
# blocks of preAllocSize kilobytes.
#preAllocSize=65536
# leaderServes=yes
";
/// The configuration that Kazoo's test harness writes.
const KAZOO: &str = "
tickTime=2000
dataDir=/tmp/kazoo/data
clientPort=20000
secureClientPort=20003
maxClientCnxns=0
admin.serverPort=20004
serverCnxnFactory=org.apache.zookeeper.server.NettyServerCnxnFactory
authProvider.1=org.apache.zookeeper.server.auth.SASLAuthenticationProvider
ssl.keyStore.location=/tmp/kazoo/keystore.jks
ssl.keyStore.password=apassword
ssl.trustStore.location=/tmp/kazoo/truststore.jks
ssl.trustStore.password=apassword
";
/// The properties that Curator's `InstanceSpec` and `QuorumConfigBuilder` produce.
const CURATOR: &str = "\
initLimit=10
syncLimit=5
dataDir=/tmp/1700000000000-0
clientPort=35003
tickTime=2000
maxClientCnxns=60
admin.enableServer=false
";
/// The configuration that the official container image writes; `myid` is 1.
const DOCKER: &str = "\
dataDir=/data
dataLogDir=/datalog
tickTime=2000
initLimit=5
syncLimit=2
autopurge.snapRetainCount=3
autopurge.purgeInterval=0
maxClientCnxns=60
standaloneEnabled=true
admin.enableServer=true
server.1=localhost:2888:3888;2181
";
/// The configuration that the Bitnami image writes.
const BITNAMI: &str = "\
tickTime=2000
initLimit=10
syncLimit=5
dataDir=/bitnami/zookeeper/data
clientPort=2181
maxClientCnxns=60
autopurge.snapRetainCount=3
autopurge.purgeInterval=0
preAllocSize=65536
snapCount=100000
maxCnxns=0
reconfigEnabled=false
quorumListenOnAllIPs=false
4lw.commands.whitelist=srvr, mntr
maxSessionTimeout=40000
admin.serverPort=8080
admin.enableServer=true
";

#[test]
fn samples_and_harnesses_are_served() {
    for (text, data_dir, port) in [
        (APACHE_SAMPLE, "/tmp/zookeeper", 2181),
        (DEBIAN_SAMPLE, "/var/lib/zookeeper", 2181),
        (CURATOR, "/tmp/1700000000000-0", 35003),
        (BITNAMI, "/bitnami/zookeeper/data", 2181),
    ] {
        let config = config(text, "-Xmx1000m");
        assert_eq!(config.client, at(None, port));
        assert_eq!(config.data_dir.to_str(), Some(data_dir));
        assert_eq!(config.data_log_dir, config.data_dir);
        assert_eq!(
            (config.tick_time_ms, config.session_timeout_min_ms, config.session_timeout_max_ms),
            (2000, 4000, 40_000)
        );
        assert_eq!(config.unserved(), [""; 0]);
        assert!(config.warnings.is_empty(), "{:?}", config.warnings);
        assert!(!config.is_distributed());
    }
    assert!(config(BITNAMI, "").words.allows(Word::Mntr));
}

#[test]
fn kazoos_harness_asks_for_tls() {
    let config = config(KAZOO, "");
    assert_eq!(config.limits.max_client_connections_per_address, 0);
    assert_eq!(config.secure_client, at(None, 20003));
    assert_eq!(config.unserved(), [""; 0]);
    let tls = &config.security.client_tls.settings;
    let (keys, trust) = (tls.key_store.as_ref().expect("named"), tls.trust_store.as_ref().expect("named"));
    assert_eq!((keys.key.as_str(), keys.path.as_path()), ("ssl.keyStore", Path::new("/tmp/kazoo/keystore.jks")));
    assert_eq!(keys.password, Password::new("apassword"));
    assert_eq!((trust.key.as_str(), &trust.kind), ("ssl.trustStore", &String::new()));
}

#[test]
fn the_official_image_takes_its_client_port_from_the_server_line() {
    let plain = config(DOCKER, "");
    assert_eq!((plain.client.as_ref(), plain.is_distributed()), (None, false));
    let with_id = plain.with_my_id(Some(1)).expect("the line is consistent");
    assert_eq!(with_id.client, at(Some("0.0.0.0"), 2181));
    assert_eq!(with_id.unserved(), [""; 0]);
    assert_eq!(with_id.server_id(), 0);
}

/// A key, a value, a function that shows the field, and the expected text.
type Shown = (&'static str, &'static str, fn(&Config) -> String, &'static str);

/// All fields that keys set: the key, a value, the field, the expected text.
const SETTERS: &[Shown] = &[
    ("clientPortAddress", "[::1]", |c| format!("{:?}", c.client), "Some(HostPort { host: Some(\"::1\"), port: 1 })"),
    ("clientPortAddress", "", |c| format!("{:?}", c.client), "Some(HostPort { host: Some(\"127.0.0.1\"), port: 1 })"),
    ("clientPortListenBacklog", "7", |c| c.listen_backlog.to_string(), "7"),
    ("clientPortListenBacklog", "-5", |c| c.listen_backlog.to_string(), "-5"),
    ("clientTcpKeepAlive", "TRUE", |c| c.client_tcp_keep_alive.to_string(), "true"),
    ("tickTime", "+500", |c| c.session_timeout_max_ms.to_string(), "10000"),
    ("minSessionTimeout", "1", |c| c.session_timeout_min_ms.to_string(), "1"),
    ("maxSessionTimeout", "6000", |c| c.session_timeout_max_ms.to_string(), "6000"),
    (
        "maxClientCnxns",
        "-5",
        |c| format!("{} {}", c.limits.max_client_connections_per_address, c.limits.connections_per_address_max()),
        "-5 0",
    ),
    ("admin.enableServer", "FALSE", |c| c.admin.enabled.to_string(), "true"),
    ("admin.enableServer", "no", |c| c.admin.enabled.to_string(), "true"),
    ("admin.enableServer", "", |c| c.admin.enabled.to_string(), "true"),
    ("admin.serverAddress", "", |c| c.admin.host.clone(), "127.0.0.1"),
    ("metricsProvider.exportJvmInfo", "yes", |c| c.admin.enabled.to_string(), "true"),
    ("kerberos.removeHostFromPrincipal", "TRUE", |c| c.security.remove_host_from_principal.to_string(), "false"),
    (
        "client.portUnification",
        "true",
        |c| format!("{} {} {}", c.security.client_port_unification, c.security.has_x509, c.warnings.len()),
        "false false 1",
    ),
    ("maxCnxns", "12", |c| c.limits.max_connections.to_string(), "12"),
    ("maxCnxns", "-12", |c| c.limits.max_connections.to_string(), "0"),
    ("jute.maxbuffer.extrasize", "1", |c| c.limits.jute_maxbuffer_extra.to_string(), "1024"),
    ("globalOutstandingLimit", "0x10", |c| format!("{:?}", c.limits.global_outstanding_limit), "Some(16)"),
    ("nio.sessionlessCnxnTimeout", "1", |c| c.limits.sessionless_connection_timeout_ms.to_string(), "1"),
    ("request_throttle_max_requests", "9", |c| c.limits.request_throttle_max_requests.to_string(), "9"),
    ("request_throttle_drop_stale", "false", |c| c.limits.request_throttle_drop_stale.to_string(), "false"),
    ("throttled_op_wait_time", "9", |c| c.limits.throttled_op_wait_time_ms.to_string(), "9"),
    ("largeRequestThreshold", "9", |c| format!("{:?}", c.limits.large_request_threshold), "Some(9)"),
    ("largeRequestMaxBytes", "9", |c| c.limits.large_request_bytes_max.to_string(), "9"),
    ("connection_throttle_tokens", "9", |c| c.limits.connection_tokens.to_string(), "9"),
    ("connection_throttle_fill_count", "9", |c| c.limits.connection_token_fill_count.to_string(), "9"),
    ("connection_throttle_fill_time", "9", |c| c.limits.connection_token_fill_time_ms.to_string(), "9"),
    ("connection_throttle_freeze_time", "9", |c| format!("{:?}", c.limits.connection_freeze_time_ms), "Some(9)"),
    ("connection_throttle_freeze_time", "-1", |c| format!("{:?}", c.limits.connection_freeze_time_ms), "None"),
    ("connection_throttle_drop_increase", "0.5", |c| c.limits.connection_drop_increase.to_string(), "0.5"),
    ("connection_throttle_drop_decrease", "0.5", |c| c.limits.connection_drop_decrease.to_string(), "0.5"),
    ("connection_throttle_decrease_ratio", "0.5", |c| c.limits.connection_decrease_ratio.to_string(), "0.5"),
    ("connection_throttle_weight_enabled", "true", |c| c.limits.connection_weights_enabled.to_string(), "true"),
    ("connection_throttle_global_session_weight", "9", |c| c.limits.connection_weight_global.to_string(), "9"),
    ("connection_throttle_local_session_weight", "0", |c| c.limits.connection_weight_local.to_string(), "1"),
    ("connection_throttle_renew_session_weight", "9", |c| c.limits.connection_weight_renew.to_string(), "9"),
    ("4lw.commands.whitelist", "ruok", |c| c.words.allows(Word::Ruok).to_string(), "true"),
    ("extendedTypesEnabled", "true", |c| c.extended_types_enabled.to_string(), "true"),
    ("enforceQuota", "true", |c| c.enforce_quota.to_string(), "true"),
    ("dataLogDir", "/log", |c| c.data_log_dir.display().to_string(), "/log"),
    ("snapCount", "1", |c| c.storage.snap_count.to_string(), "2"),
    ("snapSizeLimitInKb", "2", |c| c.storage.snap_size_limit_bytes.to_string(), "2048"),
    ("preAllocSize", "100", |c| c.storage.pre_alloc_size_bytes.to_string(), "102400"),
    ("forceSync", "no", |c| c.storage.force_sync.to_string(), "false"),
    ("forceSync", "false", |c| c.storage.force_sync.to_string(), "true"),
    ("flushDelay", "3", |c| c.storage.flush_delay_ms.to_string(), "3"),
    ("maxBatchSize", "3", |c| c.storage.batch_count_max.to_string(), "3"),
    ("digest.enabled", "false", |c| c.storage.digest_enabled.to_string(), "false"),
    ("closeSessionTxn.enabled", "false", |c| c.storage.close_session_txn_enabled.to_string(), "false"),
    ("datadir.autocreate", "false", |c| c.storage.data_dir_autocreate.to_string(), "false"),
    ("skipACL", "yes", |c| c.security.skip_acl.to_string(), "true"),
    ("skipACL", "true", |c| c.security.skip_acl.to_string(), "false"),
    (
        "enforce.auth.enabled",
        "true\nenforce.auth.schemes=ip",
        |c| format!("{} {:?}", c.security.enforce_auth_enabled, c.unserved()),
        "true []",
    ),
    (
        "enforce.auth.enabled",
        "true\nenforce.auth.schemes=ip, \
         sasl\nauthProvider.1=org.apache.zookeeper.server.auth.SASLAuthenticationProvider",
        |c| format!("{} {:?}", c.security.enforce_auth_schemes.join("+"), c.unserved()),
        "ip+sasl []",
    ),
    (
        "sessionRequireClientSASLAuth",
        "true\nauthProvider.1=org.apache.zookeeper.server.auth.SASLAuthenticationProvider\nenforce.auth.schemes=ip",
        |c| format!("{} {:?} {}", c.security.enforce_auth_enabled, c.security.enforce_auth_schemes, c.warnings.len()),
        "true [\"sasl\"] 1",
    ),
    ("authProvider.x", "my.Provider", |c| c.unserved().len().to_string(), "1"),
    (
        "authProvider.ensemble",
        "org.apache.zookeeper.server.auth.EnsembleAuthenticationProvider\nensembleAuthName=a,b",
        |c| format!("{} {:?} {:?}", c.security.has_provider("ensemble"), c.security.ensemble_names, c.unserved()),
        "true Some(\"a,b\") []",
    ),
    ("superUser", "eve\nsuperUser.1=bob\nsuperUsers=no", |c| c.security.sasl_super_users.join("+"), "eve+bob"),
    (
        "audit.enable",
        "true\noxkeeper.audit.file=/a/b",
        |c| format!("{} {:?} {:?}", c.audit.enabled, c.audit.file, c.unserved()),
        "true Some(\"/a/b\") []",
    ),
    ("audit.impl.class", "my.Logger", |c| c.unserved().len().to_string(), "1"),
    ("letAnySaslUserDoX", "x", |c| format!("{:?}", c.security.any_sasl_user), "Some(\"x\")"),
    ("allowSaslFailedClients", "true", |c| c.security.allow_sasl_failed_clients.to_string(), "true"),
    ("sasl.serverconfig", "Zk", |c| c.security.sasl_section.clone(), "Zk"),
    (
        "SASLAuthenticationProvider.superPassword",
        "pw",
        |c| format!("{:?}", c.security.sasl_super_password),
        "Some(\"pw\")",
    ),
    (
        "kerberos.removeHostFromPrincipal",
        "true\nkerberos.removeRealmFromPrincipal=true",
        |c| format!("{} {}", c.security.remove_host_from_principal, c.security.remove_realm_from_principal),
        "true true",
    ),
    ("security.auth_to_local", "RULE:[1:$1]", |c| c.unserved().len().to_string(), "1"),
    ("requireKerberosConfig", "true", |c| c.unserved().len().to_string(), "1"),
    ("datadir.autocreate", "false", |c| c.unserved().len().to_string(), "1"),
    ("enforce.auth.schemes", "digest, ip", |c| c.security.enforce_auth_schemes.join("+"), "digest+ip"),
    ("DigestAuthenticationProvider.enabled", "false", |c| c.security.digest_auth_enabled.to_string(), "false"),
    ("DigestAuthenticationProvider.digestAlg", "SHA3-256", |c| c.unserved().len().to_string(), "1"),
    (
        "DigestAuthenticationProvider.superDigest",
        "super:x",
        |c| format!("{:?}", c.security.super_digest),
        "Some(\"super:x\")",
    ),
    ("localSessionsEnabled", "true", |c| c.local_sessions_enabled.to_string(), "true"),
    ("sslQuorum", "true", |c| c.ensemble.ssl_quorum.to_string(), "true"),
    ("sslQuorumReloadCertFiles", "false", |c| c.ensemble.tls.follow_files.to_string(), "false"),
    ("portUnification", "true", |c| c.ensemble.port_unification.to_string(), "true"),
    ("quorum.auth.enableSasl", "true", |c| c.unserved().len().to_string(), "1"),
    (
        "client.portUnification",
        "true\nssl.keyStore.location=/k.pem",
        |c| c.security.has_provider("x509").to_string(),
        "true",
    ),
    ("client.certReload", "false", |c| c.security.client_tls.follow_files.to_string(), "false"),
    ("ssl.clientAuth", "WANT", |c| format!("{:?}", c.security.client_tls.settings.client_auth), "Want"),
    ("ssl.clientAuth", "maybe", |c| format!("{:?}", c.security.client_tls.settings.client_auth), "Need"),
    ("ssl.crl", "true", |c| c.unserved().len().to_string(), "1"),
    ("ssl.quorum.ocsp", "true", |c| c.unserved().len().to_string(), "1"),
    ("ssl.authProvider", "mine", |c| c.unserved().len().to_string(), "1"),
    ("ssl.keyStore.password", "x", |c| format!("{:?}", c.security.client_tls.settings.key_store), "None"),
    ("netty.server.outstandingHandshake.limit", "0", |c| format!("{:?}", c.security.client_tls.handshakes_max), "None"),
    (
        "netty.server.outstandingHandshake.limit",
        "9",
        |c| format!("{:?}", c.security.client_tls.handshakes_max),
        "Some(9)",
    ),
    ("ssl.handshakeDetectionTimeoutMillis", "7", |c| c.security.client_tls.handshake_timeout_ms.to_string(), "7"),
    ("observerMasterPort", "2191", |c| format!("{:?}", c.ensemble.observer_master_port), "Some(2191)"),
    ("peerType", "Observer", |c| format!("{:?}", c.ensemble.role), "Observer"),
    ("oxkeeper.featureLevelMax", "2", |c| format!("{:?}", c.feature_level_max), "Some(2)"),
    ("oxkeeper.heartbeatMs", "20", |c| c.ensemble.heartbeat_ms.to_string(), "20"),
    ("oxkeeper.diskStallMs", "700", |c| c.ensemble.disk_stall_ms.to_string(), "700"),
    ("oxkeeper.peerTimeoutMs", "500", |c| format!("{:?}", c.ensemble.peer_timeout_ms), "Some(500)"),
    ("oxkeeper.peerAddressesOnly", "TRUE", |c| c.ensemble.peer_addresses_only.to_string(), "true"),
    ("connectToLearnerMasterLimit", "4", |c| c.ensemble.connect_to_learner_master_limit_ticks.to_string(), "4"),
    ("leaderServes", "no", |c| c.ensemble.leader_serves.to_string(), "false"),
    ("tcpKeepAlive", "true", |c| c.ensemble.tcp_keep_alive.to_string(), "true"),
    ("reconfigEnabled", "true", |c| c.ensemble.reconfig_enabled.to_string(), "true"),
    ("quorumListenOnAllIPs", "true", |c| c.ensemble.listen_on_all_addresses.to_string(), "true"),
];

#[test]
fn every_key_sets_its_field() {
    for (key, value, show, expected) in SETTERS {
        let config = config(&format!("dataDir=/d\nclientPort=1\n{key} = {value}\n"), "");
        assert_eq!(show(&config), *expected, "{key}={value}");
    }
}

#[test]
fn jvm_properties_and_the_file() {
    let file = "dataDir=/d\nclientPort=1\n";
    let extra = |line: &str| format!("{file}{line}\n");
    let shown = |text: &str, flags: &str| {
        let c = config(text, flags);
        (
            c.limits.jute_maxbuffer,
            c.storage.snap_count,
            c.tick_time_ms,
            c.containers.check_interval_ms,
            c.read_only_mode,
        )
    };
    let defaults = (1_048_575, 100_000, 3000, 60_000, false);
    assert_eq!(shown(file, ""), defaults);
    let flags = "-Djute.maxbuffer=0x200000 -Dzookeeper.snapCount=7 -Dznode.container.checkIntervalMs=5";
    assert_eq!(shown(file, flags), (2_097_152, 7, 3000, 5, false));
    assert_eq!(shown(file, "-Dreadonlymode.enabled=true"), (1_048_575, 100_000, 3000, 60_000, true));
    // The file takes precedence over -D if the key may be in both, and the last -D over earlier ones.
    assert_eq!(shown(&extra("snapCount=9"), "-Dzookeeper.snapCount=7"), (1_048_575, 9, 3000, 60_000, false));
    assert_eq!(shown(file, "-Dzookeeper.snapCount=7 -Dzookeeper.snapCount=8").1, 8);
    // Ignored properties: bare properties in the file, interpreted keys in -D, missing and superfluous prefixes.
    let deaf = "jute.maxbuffer=1\nreadonlymode.enabled=true\nznode.container.checkIntervalMs=1";
    assert_eq!(
        shown(&extra(deaf), "-DtickTime=1 -Dzookeeper.tickTime=1 -DsnapCount=1 -Dzookeeper.jute.maxbuffer=1"),
        defaults
    );
    // A property that cannot be parsed causes only a warning.
    let broken = config(&extra("snapCount=many\nenforceQuota=yes\ndigest.enabled=yes"), "");
    assert_eq!(
        (broken.storage.snap_count, broken.enforce_quota, broken.storage.digest_enabled),
        (100_000, false, false)
    );
    assert_eq!(broken.warnings.len(), 3, "{:?}", broken.warnings);
    // Values that would be wrong in the file, too.
    let broken = config(file, "-Dzookeeper.multiAddress.enabled=yes");
    assert_eq!((broken.ensemble.multi_address_enabled, broken.warnings.len()), (false, 1));
}

#[test]
fn the_last_line_counts() {
    assert_eq!(config("dataDir=/a\nclientPort=1\nclientPort=2\ndataDir=/b", "").client, at(None, 2));
    let mut properties = read("dataDir=/a\nclientPort=1\nsnapCount=5", "");
    properties.push(Source::CommandLine, "clientPort", "3");
    properties.push(Source::CommandLine, "jute.maxbuffer", "4000");
    let config = Config::from_properties(&properties).expect("legal");
    assert_eq!((config.client, config.limits.jute_maxbuffer), (at(None, 3), 4000));
}

/// Wrong lines: the text before and after them is `dataDir=/d` and `clientPort=1`, so the line is number 2.
const WRONG: &[(&str, &str)] = &[
    ("clientPort=abc", "not a whole number"),
    ("clientPort=", "not a whole number"),
    ("clientPort=0x10", "not a whole number"),
    ("clientPort=70000", "the maximum is 65535"),
    ("clientPort=-1", "the minimum is 0"),
    ("secureClientPort=x", "not a whole number"),
    ("secureClientPortAddress=h", "is set, but secureClientPort is not"),
    ("tickTime=0", "must be greater than 0"),
    ("tickTime=2s", "not a whole number"),
    ("tickTime=3000000000", "the maximum is 2147483647"),
    ("minSessionTimeout=70000", "minSessionTimeout must not be larger than maxSessionTimeout"),
    ("maxSessionTimeout=100", "minSessionTimeout must not be larger than maxSessionTimeout"),
    ("maxClientCnxns=none", "not a whole number"),
    ("metricsProvider.className=org.example.NoSuch", "is not one of ZooKeeper's metrics providers"),
    ("metricsProvider.className=", "is not one of ZooKeeper's metrics providers"),
    ("clientPortListenBacklog=x", "not a whole number"),
    ("localSessionsEnabled=yes", "must be true or false"),
    ("standaloneEnabled=1", "must be true or false"),
    ("syncEnabled=", "must be true or false"),
    ("jvm.pause.monitor=on", "must be true or false"),
    ("jvm.pause.sleep.time.ms=1s", "not a whole number"),
    ("multiAddress.enabled=maybe", "must be true or false"),
    ("electionAlg=0", "must be 3"),
    ("enforce.auth.enabled=true", "enforce.auth.schemes must name the schemes to enforce"),
    ("enforce.auth.schemes=digest,sasl\nenforce.auth.enabled=true", "authentication scheme sasl is not available"),
    ("sessionRequireClientSASLAuth=true", "authentication scheme sasl is not available"),
    ("peerType=leader", "\"leader\" is not a role"),
    ("autopurge.purgeInterval=1h", "not a whole number"),
    ("quorum.auth.serverRequireSasl=true", "needs quorum.auth.enableSasl=true"),
    ("quorum.auth.learnerRequireSasl=true", "needs quorum.auth.enableSasl=true"),
    ("server.x=a:1:2", "\"x\" is not a whole number"),
    ("server.1=a:1", "must have the form"),
    ("server.1=a:1:1", "must be different"),
    ("server.1=a:1:2|b:1:2", "which needs multiAddress.enabled=true"),
    ("server.1=a:1:2:observer", "no participants"),
    ("group.1=1:x", "is not a whole number"),
    ("groups=1", "is not a whole number"),
    ("weight.1=heavy", "is not a whole number"),
];

#[test]
fn each_wrong_line_is_named() {
    for (line, expected) in WRONG {
        let port = if line.starts_with("clientPort=") { "" } else { "clientPort=1\n" };
        let properties = read(&format!("dataDir=/d\n{line}\n{port}"), "");
        let Err(ConfigError::Wrong(problems)) = Config::from_properties(&properties) else {
            panic!("{line}: accepted");
        };
        assert_eq!(problems.len(), 1, "{line}: {problems:?}");
        assert_eq!(problems[0].line, Some(2), "{line}: {problems:?}");
        assert!(problems[0].message.contains(expected), "{line}: {problems:?}");
        let explained = explain(&properties);
        let wrong: Vec<_> = explained.iter().filter(|e| e.verdict == Verdict::Wrong).collect();
        assert_eq!(wrong.len(), 1, "{line}: {explained:?}");
        assert_eq!((wrong[0].line, &wrong[0].reason), (Some(2), &problems[0].message));
    }
}

#[test]
fn what_is_missing_is_named_without_a_line() {
    for (text, expected) in [
        ("clientPort=1", "dataDir is not set: name the directory for the server's data"),
        ("dataDir=/d\nclientPortAddress=h", "line 2: clientPortAddress is set, but clientPort is not"),
        (
            "dataDir=/d\nstandaloneEnabled=false",
            "server.*: standaloneEnabled=false needs at least one server line of a participant",
        ),
        (
            "dataDir=/d\nserver.1=a:1:2\nserver.2=b:1:2\nsyncLimit=2",
            "initLimit must be greater than 0 in an ensemble, as in ZooKeeper",
        ),
    ] {
        let error = Config::from_properties(&read(text, "")).expect_err(text);
        assert_eq!(error.to_string(), expected);
    }
    // The members may be in the other file.
    let split = read("dataDir=/d\nclientPort=1\nstandaloneEnabled=false\ndynamicConfigFile=/d/zoo.cfg.dynamic\n", "");
    assert!(explain(&split).iter().all(|line| line.verdict == Verdict::Used), "{:?}", explain(&split));
    let all = Config::from_properties(&read("tickTime=x\nclientPort=y", "")).expect_err("three mistakes").to_string();
    assert_eq!(all.lines().count(), 3, "{all}");
}

/// Three voters on different hosts, and the keys that an ensemble requires; the server lines are lines 4 to 6.
const ENSEMBLE: &str = "\
dataDir=/d
initLimit=5
syncLimit=2
server.1=[::1]:2888:3888;2181
server.2=b:2889:3888:participant;10.0.0.2:2182
server.200=c:2888:3888
";

#[test]
fn an_ensemble_has_members_and_one_of_them_is_me() {
    let config = config(ENSEMBLE, "");
    assert!(config.is_distributed() && config.ensemble.membership.is_none());
    let second = config.clone().with_my_id(Some(2)).expect("there is such a line");
    assert_eq!((second.client.clone(), second.server_id()), (at(Some("10.0.0.2"), 2182), 2));
    let membership = second.ensemble.membership.expect("an ensemble with an id");
    let member = |id, host: &str, port, client| Member { id, host: host.to_owned(), port, client, votes: true };
    let expected = Membership {
        me: ServerId(2),
        members: vec![
            member(ServerId(1), "::1", 2888, at(Some("0.0.0.0"), 2181)),
            member(ServerId(2), "b", 2889, at(Some("10.0.0.2"), 2182)),
            member(ServerId(200), "c", 2888, None),
        ],
        listen: HostPort { host: Some("b".to_owned()), port: 2889 },
        peer_addresses_only: false,
        reconfig_enabled: false,
        one_voter_enabled: false,
        multi_address_enabled: false,
        heartbeat_ms: 250,
        peer_timeout_ms: 1250,
        disk_stall_ms: 5000,
        tick_ms: 3000,
        text: "server.1=[::1]:2888:3888:participant;0.0.0.0:2181\nserver.2=b:2889:3888:participant;10.0.0.2:2182\n\
               server.200=c:2888:3888:participant\nversion=0"
            .to_owned(),
        version: 0,
    };
    assert_eq!(membership, expected);

    // The third server's line has no client part: clientPort is the port.
    let third = self::config(&format!("{ENSEMBLE}clientPort=7\n"), "").with_my_id(Some(200)).expect("a member");
    assert_eq!(third.client, at(None, 7));
    assert_eq!(
        config.with_my_id(Some(200)).expect("a member").unserved().last().map(String::as_str),
        Some(NO_LISTENER)
    );
}

const NO_LISTENER: &str = "clientPort is not set, and neither is secureClientPort; clients need one of them";

/// Container images write the wildcard into the server's own line.
#[test]
fn a_member_may_listen_on_every_address_by_its_own_line() {
    let text = ENSEMBLE.replace("server.2=b", "server.2=0.0.0.0");
    let second = config(&text, "").with_my_id(Some(2)).expect("a member");
    let membership = second.ensemble.membership.expect("an ensemble with an id");
    assert_eq!(membership.listen, HostPort { host: Some("0.0.0.0".to_owned()), port: 2889 });
}

/// Checks the dialled host and the warnings: `expected` is the host of server 1, in the file of server 2.
#[test]
fn a_wildcard_is_nowhere_to_dial() {
    let check = |one: &str, two: &str, more: &str, expected: &str, warned: &[&str]| {
        let text = ENSEMBLE.replace("[::1]:2888", one).replace("b:2889", two);
        let config = config(&format!("{text}{more}"), "").with_my_id(Some(2)).expect("a member");
        let membership = config.ensemble.membership.expect("an ensemble with an id");
        assert_eq!(membership.host_of(&membership.members[0]), expected, "{one} {two}");
        let warnings: Vec<_> = config.warnings.iter().filter(|warning| warning.starts_with("server.")).collect();
        assert_eq!(warnings.len(), warned.len(), "{warnings:?}");
        assert!(warnings.iter().zip(warned).all(|(warning, part)| warning.contains(part)), "{warnings:?}");
    };
    let reconfig = "reconfigEnabled=true\n";
    check("a:2888", "0.0.0.0:2889", "", "a", &[]);
    check("a:2888", "[::]:2889", reconfig, "a", &["server.2=[::]:2889 is where this server listens"]);
    check("0.0.0.0:2889", "b:2889", "", "0.0.0.0", &["server.1=0.0.0.0:2889 is not an address to connect to"]);
    // A different port means another server on this machine, as when all of them run on one.
    check("0.0.0.0:2888", "0.0.0.0:2889", "", "127.0.0.1", &[]);
    check("[::]:2888", "b:2889", reconfig, "::1", &[]);
}

#[test]
fn an_ensembles_own_keys() {
    let lines = "tickTime=1000\nquorumListenOnAllIPs=true\noxkeeper.heartbeatMs=40\noxkeeper.peerAddressesOnly=true\n";
    let place = |more: &str| {
        let config = config(&format!("{ENSEMBLE}{lines}{more}"), "").with_my_id(Some(1)).expect("a member");
        config.ensemble.membership.expect("an ensemble with an id")
    };
    let membership = place("");
    assert_eq!((membership.listen, membership.peer_addresses_only), (HostPort { host: None, port: 2888 }, true));
    assert_eq!((membership.tick_ms, membership.heartbeat_ms, membership.peer_timeout_ms), (1000, 40, 200));
    assert_eq!(place("oxkeeper.peerTimeoutMs=80\n").peer_timeout_ms, 80);
}

#[test]
fn an_id_that_makes_no_member_is_named() {
    for (id, expected) in [
        (None, "/d/myid is missing; write this server's number into it"),
        (Some(3), "myid is 3, but there is no server.3 line (there are 1, 2, 200)"),
        (Some(0), "myid is 0, but there is no server.0 line (there are 1, 2, 200)"),
        (Some(-1), "myid is -1, but there is no server.-1 line (there are 1, 2, 200)"),
        (Some(256), "myid is 256, but there is no server.256 line (there are 1, 2, 200)"),
    ] {
        assert_eq!(config(ENSEMBLE, "").with_my_id(id).expect_err("no member").to_string(), expected);
    }
    let error = config(&format!("{ENSEMBLE}clientPort=2183\n"), "").with_my_id(Some(2)).expect_err("the ports differ");
    assert!(
        error.to_string().contains("server.2: the line says that clients connect to 10.0.0.2:2182, but"),
        "{error}"
    );
}

/// Helm charts number servers from 0. Session ids of server 255 would begin like the owners of TTL znodes,
/// which hold their ttl.
#[test]
fn ids_go_from_0_to_255_but_not_beside_ttl_znodes() {
    let text = ENSEMBLE.replace("server.1=", "server.0=").replace("server.200=", "server.255=");
    let me = |id, more: &str| config(&format!("{text}{more}"), "").with_my_id(Some(id));
    let place = |config: Config| config.ensemble.membership.map(|membership| membership.me);
    assert_eq!(me(0, "extendedTypesEnabled=true\n").map(place).expect("a member"), Some(ServerId(0)));
    assert_eq!(me(255, "").map(place).expect("a member"), Some(ServerId(255)));
    let error = me(255, "extendedTypesEnabled=true\n").expect_err("too large").to_string();
    assert!(error.starts_with("myid is 255, but with extendedTypesEnabled=true it must be at most 254"), "{error}");
}

/// `clientPortAddress` and the client address of a line: the one that ZooKeeper 3.9.5 uses.
#[test]
fn client_addresses_are_compared_as_addresses() {
    let serves = |configured: &str, line: &str| {
        let text = format!("dataDir=/d\nclientPort=7\n{configured}server.1=a:1:2;{line}\n");
        config(&text, "").with_my_id(Some(1)).map(|config| config.client).ok()
    };
    for (configured, line) in [
        ("localhost", "127.0.0.1:7"),
        ("127.0.0.1", "localhost:7"),
        ("0.0.0.0", "127.0.0.1:7"),
        ("::", "127.0.0.1:7"),
        ("0", "127.0.0.1:7"),
        ("", "127.0.0.1:7"),
        ("[::1]", "[::1]:7"),
        ("0:0:0:0:0:0:0:1", "[::1]:7"),
        ("::ffff:127.0.0.1", "127.0.0.1:7"),
    ] {
        let (host, _) = line.rsplit_once(':').expect("a port");
        let host = host.trim_matches(['[', ']']);
        assert_eq!(serves(&format!("clientPortAddress={configured}\n"), line), Some(at(Some(host), 7)), "{configured}");
    }
    assert_eq!(serves("", "127.0.0.1:7"), Some(at(Some("127.0.0.1"), 7)), "everywhere");
    for (configured, line) in
        [("127.0.0.2", "127.0.0.1:7"), ("127.0.0.1", "7"), ("127.0.0.1", "127.0.0.1:8"), ("0.0.0.0", "127.0.0.1:8")]
    {
        assert_eq!(serves(&format!("clientPortAddress={configured}\n"), line), None, "{configured} and {line}");
    }
}

// ZooKeeper: it accepts all of them; the keys `oxkeeper.…` have no meaning there.
#[test]
fn what_no_ensemble_can_be() {
    let many: String = (11..=23).map(|id| format!("server.{id}=h{id}:1:2\n")).collect();
    let line = |line: &str, expected: &str| (format!("{line}\n"), expected.to_owned());
    for (lines, expected) in [
        (many, "there are 16 servers, but an ensemble has at most 15".to_owned()),
        line("server.256=d:1:2\nserver.7=e:1:2", "line 7: server.256: server id must be 0–255, not 256"),
        line("server.-1=d:1:2", "server.-1: server id must be 0–255, not -1"),
        line("server.4=c:2888:9", "server.4 and server.200 have the same address c:2888"),
        line("server.02=d:1:2", "another line also describes server 2"),
        line(
            "oxkeeper.peerTimeoutMs=499",
            "oxkeeper.peerTimeoutMs must be at least two heartbeats: 500 ms (oxkeeper.heartbeatMs=250)",
        ),
        line("oxkeeper.heartbeatMs=19", "19 is too small: the minimum is 20"),
        line("oxkeeper.heartbeatMs=10001", "10001 is too large: the maximum is 10000"),
        line("oxkeeper.peerAddressesOnly=yes", "must be true or false"),
    ] {
        let error = Config::from_properties(&read(&format!("{ENSEMBLE}{lines}"), "")).expect_err(&lines).to_string();
        assert_eq!(error.lines().count(), 1, "{error}");
        assert!(error.contains(&expected), "{lines}: {error}");
    }
}

#[test]
fn the_largest_ensemble() {
    let lines: String = (1..=MEMBERS_MAX).map(|id| format!("server.{}=h{id}:1:2\n", 240 + id)).collect();
    let config = config(&format!("dataDir=/d\nclientPort=1\ninitLimit=5\nsyncLimit=2\n{lines}"), "");
    let membership = config.with_my_id(Some(255)).expect("a member").ensemble.membership.expect("an ensemble");
    assert_eq!((membership.me.0, membership.members.len()), (255, MEMBERS_MAX));
    assert!(membership.members.is_sorted_by_key(|member| member.id));
}

/// If the number of a copied line is not changed, a server is left out, which would cost the ensemble a vote.
// ZooKeeper: it starts with the last of such lines.
#[test]
fn a_number_is_written_once_or_twice_the_same() {
    let error = Config::from_properties(&read(&format!("{ENSEMBLE}server.2=d:1:2\n"), "")).expect_err("two of them");
    assert_eq!(error.to_string(), "line 5: server.2: line 7 gives server.2 another value");
    config(&format!("{ENSEMBLE}server.200=c:2888:3888\n"), "");
}

#[test]
fn ensembles_of_kinds_that_are_not_served() {
    let asks = |lines: &str, part: &str| {
        let unserved = config(&format!("{ENSEMBLE}{lines}"), "").with_my_id(Some(2)).expect("legal").unserved();
        assert!(unserved.iter().any(|line| line.contains(part)), "{part}: {unserved:?}");
    };
    asks("group.1=1:2\ngroup.2=200\n", "group*: oxkeeper does not support groups of voters");
    asks("weight.1=3\ngroup.1=1:2:200\n", "weight*: oxkeeper does not support weights of votes");
    asks(
        "multiAddress.enabled=true\nserver.4=d:1:2|e:1:2\n",
        "oxkeeper does not support several addresses for one server",
    );
    asks(
        "sslQuorum=true\nssl.quorum.crl=true\n",
        "ssl.quorum.crl: oxkeeper does not support lists of revoked certificates",
    );
    let read_only = config(ENSEMBLE, "-Dreadonlymode.enabled=true").with_my_id(Some(2)).expect("legal");
    assert!(read_only.read_only_mode && read_only.unserved().is_empty(), "{:?}", read_only.unserved());
    let served = config(&format!("{ENSEMBLE}multiAddress.enabled=true\npeerType=participant\n"), "");
    assert_eq!(served.with_my_id(Some(2)).expect("legal").unserved(), [""; 0]);
    let observed = config(&format!("{ENSEMBLE}server.4=d:1:2:observer\n"), "").with_my_id(Some(4)).expect("legal");
    assert!(!observed.unserved().iter().any(|line| line.contains("observers")), "{:?}", observed.unserved());
    let members = observed.ensemble.membership.expect("an ensemble").members;
    assert_eq!(
        members.iter().filter(|member| !member.votes).map(|member| member.id).collect::<Vec<_>>(),
        [ServerId(4)]
    );
}

/// ZooKeeper's guide has both on an observer.
#[test]
fn a_peer_type_is_compared_with_the_line() {
    let warns = |line: &str| {
        let text = format!("{ENSEMBLE}peerType=observer\nserver.4=d:1:2{line}\n");
        let warnings = config(&text, "").with_my_id(Some(4)).expect("legal").warnings;
        warnings
            .iter()
            .any(|warning| warning == "peerType=observer has no effect: server.4 needs :observer behind its ports")
    };
    assert!(warns("") && warns(":participant") && !warns(":observer"));
}

#[test]
fn one_voter_is_an_ensemble_where_standalone_enabled_is_false() {
    let text = "dataDir=/d\nclientPort=1\nstandaloneEnabled=false\ninitLimit=5\nsyncLimit=2\nserver.7=a:1:2\n";
    let one = config(text, "").with_my_id(Some(7)).expect("legal");
    assert_eq!((one.is_distributed(), one.server_id(), one.unserved()), (true, 7, vec![]));
    assert!(one.warnings[0].contains("tolerates no failure"), "{:?}", one.warnings);
    let with_observer = config(&format!("{text}server.8=b:1:2:observer\n"), "").with_my_id(Some(8)).expect("legal");
    assert_eq!(with_observer.unserved(), [""; 0]);
    let members = with_observer.ensemble.membership.expect("an ensemble").members;
    assert_eq!(members.iter().map(|member| member.votes).collect::<Vec<_>>(), [true, false]);
    let alone = config(&text.replace("false", "true"), "").with_my_id(Some(7)).expect("legal");
    assert_eq!((alone.is_distributed(), alone.server_id(), &alone.ensemble.membership), (false, 0, &None));
    assert!(alone.warnings[0].contains("runs standalone"), "{:?}", alone.warnings);
}

#[test]
fn files_are_loaded_with_their_dynamic_part_and_myid() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = |name: &str| dir.path().join(name);
    let dynamic = path("zoo.cfg.dynamic.1f");
    let text = format!("dataDir={}\ndynamicConfigFile={}\n", dir.path().display(), dynamic.display());
    fs::write(path("zoo.cfg"), &text).expect("writable");
    fs::write(&dynamic, "server.7=localhost:2888:3888:participant;0.0.0.0:2185\n").expect("writable");
    fs::write(path("myid"), "7\n").expect("writable");
    let config = Config::load(&path("zoo.cfg"), Properties::default()).expect("complete");
    assert_eq!((config.client, config.ensemble.config_version), (at(Some("0.0.0.0"), 2185), Some(0x1f)));

    fs::write(&dynamic, "server.7=localhost:2888:3888\ntickTime=1\n").expect("writable");
    let error = Config::load(&path("zoo.cfg"), Properties::default()).expect_err("tickTime is static").to_string();
    assert_eq!(
        error,
        format!("{}:2: tickTime is not a key of a dynamic file: move the line to the main file", dynamic.display())
    );

    fs::write(&dynamic, "server.7=localhost:2888:3888\n").expect("writable");
    fs::write(path("zoo.cfg"), format!("{text}server.7=localhost:2888:3888\n")).expect("writable");
    let error = Config::load(&path("zoo.cfg"), Properties::default()).expect_err("in the wrong file").to_string();
    assert!(error.ends_with("zoo.cfg:3: server.7 must be in the file that dynamicConfigFile names"), "{error}");

    let lines = "server.7=localhost:2888:3888\nserver.9=localhost:2889:3889;2182\n";
    fs::write(&dynamic, lines).expect("writable");
    fs::write(path("zoo.cfg"), format!("{text}initLimit=5\nsyncLimit=2\nclientPort=2181\n")).expect("writable");
    let load = |my_id: Option<&str>| {
        match my_id {
            Some(id) => fs::write(path("myid"), id).expect("writable"),
            None => fs::remove_file(path("myid")).expect("it is there"),
        }
        Config::load(&path("zoo.cfg"), Properties::default())
    };
    let membership = load(Some("7")).expect("complete").ensemble.membership.expect("an ensemble");
    let text =
        "server.7=localhost:2888:3888:participant\nserver.9=localhost:2889:3889:participant;0.0.0.0:2182\nversion=1f";
    assert_eq!((membership.me.0, membership.text.as_str(), membership.version), (7, text, 0x1f));
    for (my_id, expected) in [
        (Some("seven"), "/myid: \"seven\" is not a number; write this server's number into the first line"),
        (Some(""), "/myid is empty; write this server's number into it"),
        (Some("8"), "myid is 8, but there is no server.8 line (there are 7, 9)"),
        (None, "/myid is missing; write"),
    ] {
        let error = load(my_id).expect_err("no id of a member").to_string();
        assert!(error.contains(expected), "{error}");
    }

    let error = Config::load(&path("none.cfg"), Properties::default()).expect_err("no such file").to_string();
    assert!(error.contains("cannot read") && error.contains("none.cfg"), "{error}");
}

#[test]
fn without_a_file() {
    let config = Config::default_standalone();
    assert_eq!((config.client.clone(), config.tick_time_ms), (at(Some("127.0.0.1"), 2181), 2000));
    assert_eq!(config.data_dir.to_str(), Some("./oxkeeper-data"));
    assert!(config.warnings.is_empty() && config.unserved().is_empty());
    let mut port = Properties::default();
    port.push(Source::CommandLine, "clientPort", "0");
    assert_eq!(Config::standalone(port).expect("legal").client, at(Some("127.0.0.1"), 0));
}

#[test]
fn every_line_is_explained() {
    let text = "dataDir=/d\nclientPort=1\nclientPort=2\nticktime=2000\nautopurge.purgeInterval=1\njute.maxbuffer=4\n\
                secureClientPort=3\nsnapCount=x\nssl.keyStore.password=secret\nweirdKey=1\nserver.1=a:1:2\n";
    let explained = explain(&read(text, "-Dzookeeper.snapCount=5 -DtickTime=1 -Dother=1"));
    let shown: Vec<_> =
        explained.iter().map(|e| (e.line.unwrap_or(0), e.verdict, e.value.as_str(), e.reason.as_str())).collect();
    let expected = [
        (0, Verdict::Ignored, "5", "overridden by line 8"),
        (0, Verdict::Misplaced, "1", "this key counts only in the file"),
        (0, Verdict::Ignored, "1", "a property of the JVM"),
        (1, Verdict::Used, "/d", "The server keeps its durable tree in this directory, and reads myid from it"),
        (2, Verdict::Ignored, "1", "overridden by line 3"),
        (3, Verdict::Used, "2", "The server listens for clients without TLS on this port"),
        (4, Verdict::Unknown, "2000", "no such key; did you mean tickTime?"),
        (5, Verdict::Ignored, "1", "a server keeps one tree and cuts its log by itself"),
        (6, Verdict::Misplaced, "4", "this key counts only as -Djute.maxbuffer=… in SERVER_JVMFLAGS, not in the file"),
        (7, Verdict::Used, "3", "The server listens for clients with TLS on this port"),
        (8, Verdict::Wrong, "x", "no effect: \"x\" is not a whole number"),
        (9, Verdict::Used, "…", "This password opens the file"),
        (10, Verdict::Unknown, "1", "no such key"),
        (
            11,
            Verdict::Used,
            "a:1:2",
            "This line describes a server: host:port:port[:participant|observer][;[host:]clientPort]. Servers connect to \
             the first port; the second is not used",
        ),
    ];
    assert_eq!(shown, expected);
}

#[test]
fn the_page_of_keys_has_a_row_for_each() {
    let page = keys_markdown();
    let rows: Vec<_> = page.lines().filter(|line| line.starts_with("| `")).collect();
    assert_eq!(rows.len(), keys::all().count());
    let columns = |line: &str| line.replace("\\|", "").matches('|').count();
    assert!(rows.iter().all(|line| matches!(columns(line), 6 | 7)), "{page}");
    let row =
        "| `tickTime` | file | number | `3000` ms | A tick is the unit of session timeouts and of session expiry. |";
    assert!(page.contains(row), "{page}");
    for line in page.lines().filter(|line| !line.starts_with('|')) {
        assert!(line.chars().count() <= 100, "{line}");
    }
}

proptest! {
    #[test]
    fn no_input_panics(text in "\\PC{0,200}", flags in "(-D\\PC{0,20} ?){0,3}") {
        if let Ok(file) = Properties::from_file_text(&text) {
            let mut properties = Properties::from_jvm_flags(&flags);
            properties.extend(file);
            let explained = explain(&properties);
            prop_assert!(explained.len() >= properties.entries().len());
            let _ = Config::from_properties(&properties);
        }
    }

    /// Real keys with random values reach more code than random text does.
    #[test]
    fn no_value_panics(picks in proptest::collection::vec((any::<prop::sample::Index>(), "[0-9a-z:;|.=-]{0,12}"), 0..8)) {
        let names: Vec<_> = keys::all().map(|key| key.name.replace('*', "1")).collect();
        let text: String = picks.iter().map(|(pick, value)| format!("{}={value}\n", pick.get(&names))).collect();
        let properties = Properties::from_file_text(&text).expect("no escapes");
        prop_assert_eq!(explain(&properties).iter().filter(|e| e.line.is_some()).count(), picks.len());
        if let Ok(config) = Config::from_properties(&properties) {
            let _ = (config.unserved(), config.with_my_id(Some(1)));
        }
    }
}
