//! Keys of several servers, and this server's own, which begin with `oxkeeper.`: ZooKeeper takes any key it does not know.

use oxkeeper_state::membership::Role;

use super::{Form, INT_MIN, Key, Kind, fit, int, port, unused};

const NO_ELECTION: &str = "leader election is OmniPaxos's";
const OWN_STREAM: &str = "observers keep a log, and are told over the links between members";
const NO_STEP_DOWN: &str = "oxkeeper.peerTimeoutMs bounds silence; who is slow is waited for";
const ONE_LINK: &str = "two servers have one link, which is made anew at once when it breaks";

pub(super) const KEYS: &[Key] = &[
    Key::new(
        "server.*",
        Form::File,
        Kind::Family(|d, id, value| d.add_server(id, value)),
        "A server: host:port:port[:participant|observer][;[host:]port]; the second port is not used",
    ),
    Key::new("group*", Form::File, Kind::Family(|d, id, v| d.add_group(id, v)), "A group of voters: id:id:…")
        .unserved(|c| c.is_distributed() && !c.ensemble.members.groups.is_empty(), "groups of voters"),
    Key::new("weight*", Form::File, Kind::Family(|d, id, v| d.add_weight(id, v)), "Votes of a server")
        .unserved(|c| c.is_distributed() && !c.ensemble.members.weights.is_empty(), "votes of different weight"),
    Key::new(
        "dynamicConfigFile",
        Form::File,
        Kind::Text(|d, v| {
            d.config.ensemble.dynamic_config_file = Some(v.into());
            Ok(())
        }),
        "File with the server, group and weight lines",
    ),
    Key::new(
        "standaloneEnabled",
        Form::File,
        Kind::Flag(|d, v| d.config.ensemble.standalone_enabled = v),
        "A single voter runs without peers; with `false` it is an ensemble of one, which others may join",
    )
    .default("true"),
    Key::new(
        "reconfigEnabled",
        Form::File,
        Kind::Flag(|d, v| d.config.ensemble.reconfig_enabled = v),
        "The members may be changed by reconfig",
    )
    .default("false"),
    Key::new(
        "initLimit",
        Form::File,
        int(INT_MIN, |d, v| d.config.ensemble.init_limit_ticks = fit(v)),
        "Time to join and catch up; required in an ensemble",
    )
    .unit("ticks")
    .default("0")
    .ignored(NO_STEP_DOWN),
    Key::new(
        "syncLimit",
        Form::File,
        int(INT_MIN, |d, v| d.config.ensemble.sync_limit_ticks = fit(v)),
        "How far a follower may fall behind; required in an ensemble",
    )
    .unit("ticks")
    .default("0")
    .ignored(NO_STEP_DOWN),
    Key::new(
        "connectToLearnerMasterLimit",
        Form::File,
        int(INT_MIN, |d, v| d.config.ensemble.connect_to_learner_master_limit_ticks = fit(v)),
        "Time to find a server to follow; 0 means initLimit",
    )
    .unit("ticks")
    .default("0")
    .ignored(ONE_LINK),
    Key::new(
        "electionAlg",
        Form::File,
        Kind::Text(|_, v| match v.parse() {
            Ok(3) => Ok(()),
            _ => Err("Invalid electionAlg value. Only 3 is supported.".to_owned()),
        }),
        "Only 3 is legal",
    )
    .default("3")
    .ignored(NO_ELECTION),
    // ZooKeeper: believes the server line where the two differ. Who writes `observer` does not mean a vote.
    Key::new(
        "peerType",
        Form::File,
        Kind::Text(|d, v| Role::parse(v).map(|role| d.config.ensemble.role = role)),
        "participant or observer",
    )
    .default("participant"),
    Key::new(
        "quorumListenOnAllIPs",
        Form::File,
        Kind::Flag(|d, v| d.config.ensemble.listen_on_all_addresses = v),
        "Peers are accepted on every address, not only on that of the server line",
    )
    .default("false"),
    Key::new(
        "multiAddress.enabled",
        Form::FileOrProperty,
        Kind::Flag(|d, v| d.config.ensemble.multi_address_enabled = v),
        "A server may have several addresses",
    )
    .default("false")
    .unserved(|c| c.is_distributed() && c.ensemble.members.has_several_addresses(), "several addresses of one server"),
    Key::new("multiAddress.reachabilityCheckEnabled", Form::FileOrProperty, unused::FLAG, "Addresses are pinged")
        .default("true")
        .ignored("every server has one address"),
    Key::new("multiAddress.reachabilityCheckTimeoutMs", Form::FileOrProperty, unused::INT, "How long they are pinged")
        .unit("ms")
        .default("1000")
        .ignored("every server has one address"),
    Key::new(
        "observerMasterPort",
        Form::File,
        port(|d, v| d.config.ensemble.observer_master_port = Some(fit(v)).filter(|&port| port > 0)),
        "Observers may follow a follower, on this port",
    )
    .default("0")
    .ignored(OWN_STREAM),
    Key::new("syncEnabled", Form::File, unused::FLAG, "Observers keep a log").default("true").ignored(OWN_STREAM),
    Key::new(
        "oraclePath",
        Form::File,
        Kind::Text(|d, v| {
            d.config.ensemble.oracle_path = Some(v.into());
            Ok(())
        }),
        "A file that says which of two servers survives",
    )
    .unserved(|c| c.ensemble.oracle_path.is_some(), "an oracle for two servers"),
    Key::new(
        "sslQuorum",
        Form::File,
        Kind::Flag(|d, v| d.config.ensemble.ssl_quorum = v),
        "Links between servers use TLS",
    )
    .default("false"),
    Key::new(
        "portUnification",
        Form::File,
        Kind::Flag(|d, v| d.config.ensemble.port_unification = v),
        "Links of other servers are accepted with TLS and without",
    )
    .default("false"),
    // ZooKeeper: off unless asked for.
    Key::new(
        "sslQuorumReloadCertFiles",
        Form::File,
        Kind::Flag(|d, v| d.config.ensemble.tls.follow_files = v),
        "Key and trust stores for other servers are read again when their files change",
    )
    .default("true"),
    Key::new(
        "quorum.auth.enableSasl",
        Form::File,
        Kind::Flag(|d, v| d.config.ensemble.quorum_sasl_enabled = v),
        "Servers authenticate to each other with SASL",
    )
    .default("false")
    .unserved(|c| c.ensemble.quorum_sasl_enabled, "SASL between servers"),
    Key::new(
        "quorum.auth.serverRequireSasl",
        Form::File,
        Kind::Flag(|d, v| d.quorum_server_requires_sasl = v),
        "Servers refuse peers without SASL",
    )
    .default("false")
    .ignored("there is no SASL between servers"),
    Key::new(
        "quorum.auth.learnerRequireSasl",
        Form::File,
        Kind::Flag(|d, v| d.quorum_learner_requires_sasl = v),
        "Servers refuse leaders without SASL",
    )
    .default("false")
    .ignored("there is no SASL between servers"),
    Key::new("quorum.auth.learner.saslLoginContext", Form::File, unused::TEXT, "JAAS section of a follower")
        .default("QuorumLearner")
        .ignored("there is no SASL between servers"),
    Key::new("quorum.auth.server.saslLoginContext", Form::File, unused::TEXT, "JAAS section of a leader")
        .default("QuorumServer")
        .ignored("there is no SASL between servers"),
    Key::new("quorum.auth.kerberos.servicePrincipal", Form::File, unused::TEXT, "Kerberos principal of a leader")
        .default("zkquorum/localhost")
        .ignored("there is no Kerberos"),
    Key::new("quorum.cnxn.threads.size", Form::File, unused::INT, "Threads that authenticate peers")
        .default("0")
        .ignored("there is no SASL between servers"),
    Key::new(
        "leaderServes",
        Form::Property,
        Kind::Only("no", |d, v| d.config.ensemble.leader_serves = !v),
        "The leader also serves clients",
    )
    .default("yes")
    .ignored("every server serves clients"),
    Key::new(
        "tcpKeepAlive",
        Form::Property,
        Kind::Flag(|d, v| d.config.ensemble.tcp_keep_alive = v),
        "SO_KEEPALIVE on links between servers",
    )
    .default("false")
    .ignored("a silent link is given up after oxkeeper.peerTimeoutMs"),
    Key::new("cnxTimeout", Form::Property, unused::INT, "Time to connect to a peer")
        .unit("ms")
        .default("5000")
        .ignored(ONE_LINK),
    Key::new("quorumCnxnTimeoutMs", Form::Property, unused::INT, "Read timeout of election links")
        .unit("ms")
        .default("-1")
        .ignored(ONE_LINK),
    Key::new("electionPortBindRetry", Form::Property, unused::INT, "Attempts to listen on the election port")
        .default("3")
        .ignored("the election port is not used"),
    Key::new("fastleader.*", Form::Property, unused::FAMILY, "Intervals of votes").ignored(NO_ELECTION),
    Key::new("observer.*", Form::Property, unused::FAMILY, "Delays of observers").ignored(OWN_STREAM),
    Key::new("observerMaster.*", Form::Property, unused::FAMILY, "Sizes of followers that feed observers")
        .ignored(OWN_STREAM),
    Key::new("leader.*", Form::EitherProperty, unused::FAMILY, "Tuning of ZooKeeper's leader").ignored(NO_ELECTION),
    Key::new("follower.*", Form::EitherProperty, unused::FAMILY, "Tuning of ZooKeeper's follower").ignored(NO_ELECTION),
    Key::new("learner.*", Form::Property, unused::FAMILY, "Tuning of ZooKeeper's learner").ignored(NO_ELECTION),
    Key::new("commitProcessor.*", Form::Property, unused::FAMILY, "Threads and batches of ZooKeeper's pipeline")
        .ignored("there is no commit processor"),
    Key::new("leaderConnectDelayDuringRetryMs", Form::Property, unused::INT, "Pause between two attempts to connect")
        .unit("ms")
        .default("100")
        .ignored(ONE_LINK),
    Key::new("forceSnapshotSync", Form::Property, unused::FLAG, "Followers always get a snapshot")
        .default("false")
        .ignored("a follower gets what it lacks"),
    Key::new(
        "forward_learner_requests_to_commit_processor_disabled",
        Form::Property,
        unused::FLAG,
        "A shortcut of ZooKeeper's pipeline",
    )
    .default("false")
    .ignored("there is no commit processor"),
    Key::new(
        "oxkeeper.heartbeatMs",
        Form::File,
        Kind::Int { min: 20, max: 10_000, set: |d, v| d.config.ensemble.heartbeat_ms = fit(v) },
        "A round of the election: the less, the sooner a leader that is gone is replaced",
    )
    .unit("ms")
    .default("250"),
    Key::new(
        "oxkeeper.peerTimeoutMs",
        Form::File,
        Kind::Int { min: 40, max: 600_000, set: |d, v| d.config.ensemble.peer_timeout_ms = Some(fit(v)) },
        "Silence after which a link between servers is given up; at least two heartbeats",
    )
    .unit("ms")
    .derived("5 × oxkeeper.heartbeatMs"),
    Key::new(
        "oxkeeper.diskStallMs",
        Form::File,
        Kind::Int { min: 100, max: 600_000, set: |d, v| d.config.ensemble.disk_stall_ms = fit(v) },
        "A leader whose disk does not answer for so long asks another server to lead; below that it leads slowly",
    )
    .unit("ms")
    .default("5000"),
    Key::new(
        "oxkeeper.peerAddressesOnly",
        Form::File,
        Kind::Flag(|d, v| d.config.ensemble.peer_addresses_only = v),
        "Peers are accepted only from addresses that the server lines name",
    )
    .default("false"),
];
