//! Keys of ensembles, and this server's own keys, which begin with `oxkeeper.`: ZooKeeper accepts any key
//! that it does not know.

use oxkeeper_state::membership::Role;

use super::{Form, INT_MIN, Key, Kind, fit, int, port, unused};

const NO_ELECTION: &str = "OmniPaxos elects the leader";
const OWN_STREAM: &str = "observers keep a log, and receive it over the links between members";
const NO_STEP_DOWN: &str = "oxkeeper.peerTimeoutMs limits silence; the leader waits for a slow follower";
const ONE_LINK: &str = "two servers have one link, which they restore at once when it breaks";

pub(super) const KEYS: &[Key] = &[
    Key::ensemble(
        "server.*",
        Form::File,
        Kind::Family(|d, id, value| d.add_server(id, value)),
        "This line describes a server: host:port:port[:participant|observer][;[host:]clientPort]. Servers connect to \
         the first port; the second is not used",
    ),
    Key::ensemble(
        "group*",
        Form::File,
        Kind::Family(|d, id, v| d.add_group(id, v)),
        "These voters form a group: server numbers, separated by colons",
    )
    .unserved(|c| c.is_distributed() && !c.ensemble.members.groups.is_empty(), "groups of voters"),
    Key::ensemble(
        "weight*",
        Form::File,
        Kind::Family(|d, id, v| d.add_weight(id, v)),
        "This server has this many votes",
    )
    .unserved(|c| c.is_distributed() && !c.ensemble.members.weights.is_empty(), "weights of votes"),
    Key::ensemble(
        "dynamicConfigFile",
        Form::File,
        Kind::Text(|d, v| {
            d.config.ensemble.dynamic_config_file = Some(v.into());
            Ok(())
        }),
        "This file has the server, group and weight lines",
    ),
    Key::ensemble(
        "standaloneEnabled",
        Form::File,
        Kind::Flag(|d, v| d.config.ensemble.standalone_enabled = v),
        "A single voter runs without peers; with `false` it is an ensemble of one, which other servers may join",
    )
    .default("true"),
    Key::ensemble(
        "reconfigEnabled",
        Form::File,
        Kind::Flag(|d, v| d.config.ensemble.reconfig_enabled = v),
        "Clients with the rights for it may change the members by reconfig",
    )
    .default("false"),
    Key::ensemble(
        "initLimit",
        Form::File,
        int(INT_MIN, |d, v| d.config.ensemble.init_limit_ticks = fit(v)),
        "ZooKeeper gives a follower this time to join and catch up. An ensemble needs the key",
    )
    .unit("ticks")
    .default("0")
    .ignored(NO_STEP_DOWN),
    Key::ensemble(
        "syncLimit",
        Form::File,
        int(INT_MIN, |d, v| d.config.ensemble.sync_limit_ticks = fit(v)),
        "ZooKeeper drops a follower that is this far behind. An ensemble needs the key",
    )
    .unit("ticks")
    .default("0")
    .ignored(NO_STEP_DOWN),
    Key::ensemble(
        "connectToLearnerMasterLimit",
        Form::File,
        int(INT_MIN, |d, v| d.config.ensemble.connect_to_learner_master_limit_ticks = fit(v)),
        "ZooKeeper gives a follower this time to connect to its leader; 0 stands for initLimit",
    )
    .unit("ticks")
    .default("0")
    .ignored(ONE_LINK),
    Key::ensemble(
        "electionAlg",
        Form::File,
        Kind::Text(|_, v| match v.parse() {
            Ok(3) => Ok(()),
            _ => Err("must be 3, the only election algorithm of ZooKeeper 3.9".to_owned()),
        }),
        "ZooKeeper elects a leader by this algorithm; it has only 3",
    )
    .default("3")
    .ignored(NO_ELECTION),
    // ZooKeeper: it also uses the server line if the two differ.
    Key::ensemble(
        "peerType",
        Form::File,
        Kind::Text(|d, v| Role::parse(v).map(|role| d.config.ensemble.role = role)),
        "ZooKeeper warns if this role, participant or observer, is not that of the server line, which counts",
    )
    .default("participant")
    .ignored("the server line says whether a server votes"),
    Key::ensemble(
        "quorumListenOnAllIPs",
        Form::File,
        Kind::Flag(|d, v| d.config.ensemble.listen_on_all_addresses = v),
        "The server accepts peers on every address, not only on the address in its server line",
    )
    .default("false"),
    Key::ensemble(
        "multiAddress.enabled",
        Form::FileOrProperty,
        Kind::Flag(|d, v| d.config.ensemble.multi_address_enabled = v),
        "A server line may have several addresses",
    )
    .default("false")
    .unserved(|c| c.is_distributed() && c.ensemble.members.has_several_addresses(), "several addresses for one server"),
    Key::ensemble(
        "multiAddress.reachabilityCheckEnabled",
        Form::FileOrProperty,
        unused::FLAG,
        "ZooKeeper pings the addresses of a server to pick one",
    )
    .default("true")
    .ignored("every server has one address"),
    Key::ensemble(
        "multiAddress.reachabilityCheckTimeoutMs",
        Form::FileOrProperty,
        unused::INT,
        "ZooKeeper waits this long for the answer to such a ping",
    )
    .unit("ms")
    .default("1000")
    .ignored("every server has one address"),
    Key::ensemble(
        "observerMasterPort",
        Form::File,
        port(|d, v| d.config.ensemble.observer_master_port = Some(fit(v)).filter(|&port| port > 0)),
        "ZooKeeper's followers listen for observers on this port",
    )
    .default("0")
    .ignored(OWN_STREAM),
    Key::ensemble("syncEnabled", Form::File, unused::FLAG, "ZooKeeper's observers keep a log")
        .default("true")
        .ignored(OWN_STREAM),
    Key::ensemble(
        "oraclePath",
        Form::File,
        Kind::Text(|d, v| {
            d.config.ensemble.oracle_path = Some(v.into());
            Ok(())
        }),
        "This file says which one of two servers goes on without the other",
    )
    .unserved(|c| c.ensemble.oracle_path.is_some(), "an oracle for two servers"),
    Key::security(
        "sslQuorum",
        Form::File,
        Kind::Flag(|d, v| d.config.ensemble.ssl_quorum = v),
        "Servers connect to each other with TLS",
    )
    .default("false"),
    Key::security(
        "portUnification",
        Form::File,
        Kind::Flag(|d, v| d.config.ensemble.port_unification = v),
        "The server accepts other servers with TLS and without",
    )
    .default("false"),
    // ZooKeeper: off by default.
    Key::security(
        "sslQuorumReloadCertFiles",
        Form::File,
        Kind::Flag(|d, v| d.config.ensemble.tls.follow_files = v),
        "The server reads the key and trust stores for other servers again when their files change",
    )
    .default("true"),
    Key::security(
        "quorum.auth.enableSasl",
        Form::File,
        Kind::Flag(|d, v| d.config.ensemble.quorum_sasl_enabled = v),
        "Servers authenticate to each other with SASL",
    )
    .default("false")
    .unserved(|c| c.ensemble.quorum_sasl_enabled, "SASL between servers"),
    Key::security(
        "quorum.auth.serverRequireSasl",
        Form::File,
        Kind::Flag(|d, v| d.quorum_server_requires_sasl = v),
        "ZooKeeper refuses followers that do not use SASL",
    )
    .default("false")
    .ignored("servers do not use SASL with each other"),
    Key::security(
        "quorum.auth.learnerRequireSasl",
        Form::File,
        Kind::Flag(|d, v| d.quorum_learner_requires_sasl = v),
        "ZooKeeper refuses leaders that do not use SASL",
    )
    .default("false")
    .ignored("servers do not use SASL with each other"),
    Key::security(
        "quorum.auth.learner.saslLoginContext",
        Form::File,
        unused::TEXT,
        "ZooKeeper's followers use this section of the JAAS file",
    )
    .default("QuorumLearner")
    .ignored("servers do not use SASL with each other"),
    Key::security(
        "quorum.auth.server.saslLoginContext",
        Form::File,
        unused::TEXT,
        "ZooKeeper's leaders use this section of the JAAS file",
    )
    .default("QuorumServer")
    .ignored("servers do not use SASL with each other"),
    Key::security(
        "quorum.auth.kerberos.servicePrincipal",
        Form::File,
        unused::TEXT,
        "ZooKeeper's leaders have this Kerberos principal",
    )
    .default("zkquorum/localhost")
    .ignored("oxkeeper does not support Kerberos"),
    Key::security(
        "quorum.cnxn.threads.size",
        Form::File,
        unused::INT,
        "ZooKeeper authenticates servers on this many threads",
    )
    .default("0")
    .ignored("servers do not use SASL with each other"),
    Key::ensemble(
        "leaderServes",
        Form::Property,
        Kind::Only("no", |d, v| d.config.ensemble.leader_serves = !v),
        "ZooKeeper's leader serves clients, too",
    )
    .default("yes")
    .ignored("every server serves clients")
    .missed("no"),
    Key::ensemble(
        "tcpKeepAlive",
        Form::Property,
        Kind::Flag(|d, v| d.config.ensemble.tcp_keep_alive = v),
        "ZooKeeper sets SO_KEEPALIVE on the links between servers",
    )
    .default("false")
    .ignored("servers give up a silent link after oxkeeper.peerTimeoutMs"),
    Key::ensemble(
        "cnxTimeout",
        Form::Property,
        unused::INT,
        "ZooKeeper waits this long for a connection to another server",
    )
    .unit("ms")
    .default("5000")
    .ignored(ONE_LINK),
    Key::ensemble(
        "quorumCnxnTimeoutMs",
        Form::Property,
        unused::INT,
        "ZooKeeper reads from an election link for this long",
    )
    .unit("ms")
    .default("-1")
    .ignored(ONE_LINK),
    Key::ensemble(
        "electionPortBindRetry",
        Form::Property,
        unused::INT,
        "ZooKeeper tries this often to listen on the election port",
    )
    .default("3")
    .ignored("the election port is not used"),
    Key::ensemble("fastleader.*", Form::Property, unused::FAMILY, "ZooKeeper's election uses these intervals")
        .ignored(NO_ELECTION),
    Key::ensemble("observer.*", Form::Property, unused::FAMILY, "ZooKeeper's observers wait for these times")
        .ignored(OWN_STREAM),
    Key::ensemble(
        "observerMaster.*",
        Form::Property,
        unused::FAMILY,
        "ZooKeeper's followers feed observers with these sizes",
    )
    .ignored(OWN_STREAM),
    Key::ensemble("leader.*", Form::EitherProperty, unused::FAMILY, "ZooKeeper's leader has these tuning keys")
        .ignored(NO_ELECTION),
    Key::ensemble("follower.*", Form::EitherProperty, unused::FAMILY, "ZooKeeper's followers have these tuning keys")
        .ignored(NO_ELECTION),
    Key::ensemble("learner.*", Form::Property, unused::FAMILY, "ZooKeeper's learners have these tuning keys")
        .ignored(NO_ELECTION),
    Key::ensemble(
        "commitProcessor.*",
        Form::Property,
        unused::FAMILY,
        "ZooKeeper's commit processor has these threads and batches",
    )
    .ignored("there is no commit processor"),
    Key::ensemble(
        "leaderConnectDelayDuringRetryMs",
        Form::Property,
        unused::INT,
        "ZooKeeper's followers wait this long before they connect to the leader again",
    )
    .unit("ms")
    .default("100")
    .ignored(ONE_LINK),
    Key::ensemble("forceSnapshotSync", Form::Property, unused::FLAG, "ZooKeeper always sends a follower a snapshot")
        .default("false")
        .ignored("a follower receives what it lacks"),
    Key::ensemble(
        "forward_learner_requests_to_commit_processor_disabled",
        Form::Property,
        unused::FLAG,
        "ZooKeeper does not pass forwarded requests to its commit processor",
    )
    .default("false")
    .ignored("there is no commit processor"),
    Key::ensemble(
        "oxkeeper.heartbeatMs",
        Form::File,
        Kind::Int { min: 20, max: 10_000, set: |d, v| d.config.ensemble.heartbeat_ms = fit(v) },
        "Servers exchange a heartbeat, a round of the election, each time this interval ends; a shorter one replaces \
         a lost leader sooner",
    )
    .unit("ms")
    .default("250"),
    Key::ensemble(
        "oxkeeper.peerTimeoutMs",
        Form::File,
        Kind::Int { min: 40, max: 600_000, set: |d, v| d.config.ensemble.peer_timeout_ms = Some(fit(v)) },
        "A server gives up a link to another one that is silent for this long; at least two heartbeats",
    )
    .unit("ms")
    .derived("5 × oxkeeper.heartbeatMs"),
    Key::ensemble(
        "oxkeeper.diskStallMs",
        Form::File,
        Kind::Int { min: 100, max: 600_000, set: |d, v| d.config.ensemble.disk_stall_ms = fit(v) },
        "A leader whose disk does not answer for this long asks another server to lead; until then it leads slowly",
    )
    .unit("ms")
    .default("5000"),
    Key::ensemble(
        "oxkeeper.peerAddressesOnly",
        Form::File,
        Kind::Flag(|d, v| d.config.ensemble.peer_addresses_only = v),
        "The server accepts peers only from addresses that the server lines name",
    )
    .default("false"),
];
