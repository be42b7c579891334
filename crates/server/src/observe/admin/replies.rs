//! The replies to commands, member by member.
//!
//! This module owns the names of the members. Invariant: the replies reveal nothing that clients or
//! peers do not know already, except their identities. Source: `Commands`, `ServerStats`,
//! `ServerCnxn#getConnectionInfo`, `ZooKeeperServerConf`, `MultipleAddresses`.

use oxkeeper_proto::Zxid;
use oxkeeper_state::hash_order::{Buckets, hash_code, hash_code_of_long};
use oxkeeper_state::membership::{HostPort, Members, PeerAddress, Role as MemberRole, Server as MemberServer};

use super::json::Json;
use crate::java;
use crate::observe::facts::Asked;
use crate::observe::words::metrics::{Number, Value};
use crate::observe::words::{self, ConnectionFacts, Facts, GlobalSessions, ProposalSizes};
use crate::telemetry::role::Role;

/// Members of a reply, in order.
pub(super) type Fields = Vec<(String, Json)>;

/// Returns members with fixed names.
fn fields<const N: usize>(members: [(&str, Json); N]) -> Fields {
    members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

pub(super) fn configuration(asked: &Asked<'_>) -> Fields {
    let conf = asked.configuration();
    fields([
        ("client_port", conf.client_port.into()),
        ("data_dir", conf.data_dir.into()),
        ("data_log_dir", conf.data_log_dir.into()),
        ("tick_time", conf.tick_time_ms.into()),
        ("max_client_cnxns", conf.max_client_connections_per_address.into()),
        ("min_session_timeout", conf.session_timeout_min_ms.into()),
        ("max_session_timeout", conf.session_timeout_max_ms.into()),
        ("server_id", conf.server_id.into()),
        ("client_port_listen_backlog", conf.listen_backlog.into()),
    ])
}

pub(super) fn connections(asked: &Asked<'_>) -> Fields {
    connection_lists(asked, full)
}

fn connection_lists(asked: &Asked<'_>, show: fn(&ConnectionFacts) -> Json) -> Fields {
    let connections = asked.connections();
    // ZooKeeper: decides by the port; a port for both counts as plain.
    let list = |secure| Json::List(connections.iter().filter(|it| it.secure == secure).map(show).collect());
    fields([("connections", list(false)), ("secure_connections", list(true))])
}

fn brief(connection: &ConnectionFacts) -> Json {
    Json::Object(brief_fields(connection))
}

fn brief_fields(connection: &ConnectionFacts) -> Fields {
    fields([
        ("remote_socket_address", java::socket_address(connection.remote).into()),
        ("interest_ops", i64::from(connection.interest).into()),
        ("outstanding_requests", connection.outstanding.into()),
        ("packets_received", connection.packets_received.into()),
        ("packets_sent", connection.packets_sent.into()),
    ])
}

fn full(connection: &ConnectionFacts) -> Json {
    let mut members = brief_fields(connection);
    if let Some(session) = &connection.session {
        let latency = session.latency_ms;
        members.extend(fields([
            ("session_id", session.session_id.into()),
            ("last_operation", session.last_operation.into()),
            ("established", session.established_ms.into()),
            ("session_timeout", session.timeout_ms.into()),
            ("last_cxid", session.last_cxid.into()),
            ("last_zxid", session.last_zxid.into()),
            ("last_response_time", session.last_response_ms.into()),
            ("last_latency", session.last_latency_ms.into()),
            ("min_latency", latency.min.into()),
            ("avg_latency", latency.sum.checked_div(latency.count).unwrap_or(0).into()),
            ("max_latency", latency.max.into()),
        ]));
    }
    Json::Object(members)
}

pub(super) fn directories(asked: &Asked<'_>) -> Fields {
    let sizes = asked.directories();
    fields([("datadir_size", bytes(sizes.data_bytes)), ("logdir_size", bytes(sizes.log_bytes))])
}

fn bytes(count: u64) -> Json {
    Json::Int(i64::try_from(count).unwrap_or(i64::MAX))
}

// ZooKeeper: reports only sessions that this server's own clock expires; a follower has no
// deadlines.
pub(super) fn dump(asked: &Asked<'_>) -> Fields {
    let sessions = asked.sessions();
    let global = match sessions.global {
        GlobalSessions::Expiring(buckets) => buckets,
        GlobalSessions::Known(_) => Vec::new(),
    };
    let buckets = sessions.local.unwrap_or_default().into_iter().chain(global);
    let expiry = buckets.map(|bucket| (bucket.at_ms.to_string(), longs(bucket.members)));
    fields([
        ("expiry_time_to_session_ids", Json::object(expiry)),
        ("session_id_to_ephemeral_paths", paths_by_session(asked.ephemerals())),
    ])
}

/// ZooKeeper: a `HashMap` of copied sets.
fn paths_by_session(mut by_session: Vec<(i64, Vec<String>)>) -> Json {
    Buckets::DEFAULT.grown_for(by_session.len()).arrange(&mut by_session, |&(session, _)| hash_code_of_long(session));
    Json::object(by_session.into_iter().map(|(session, mut paths)| {
        Buckets::of_copy(paths.len()).arrange(&mut paths, |path| hash_code(path.as_bytes()));
        (session.to_string(), Json::list(paths))
    }))
}

/// ZooKeeper: a `HashSet` of session ids.
fn longs(mut sessions: Vec<i64>) -> Json {
    Buckets::DEFAULT.grown_for(sessions.len()).arrange(&mut sessions, |&session| hash_code_of_long(session));
    Json::list(sessions)
}

pub(super) fn environment(asked: &Asked<'_>) -> Fields {
    let entries = Facts::environment(asked).entries(&asked.version());
    entries.into_iter().map(|(key, value)| (key.to_owned(), Json::Text(value))).collect()
}

pub(super) fn trace_mask(asked: &Asked<'_>) -> Fields {
    fields([("tracemask", Facts::trace_mask(asked).into())])
}

pub(super) fn digests(asked: &Asked<'_>) -> Fields {
    let digest = |(zxid, digest): (i64, u64)| {
        Json::Object(fields([
            ("zxid", zxid.into()),
            ("digest_version", 2.into()),
            ("digest", digest.cast_signed().into()),
        ]))
    };
    fields([("digests", Json::List(Facts::digests(asked).into_iter().map(digest).collect()))])
}

// ZooKeeper: a member of an ensemble does not keep it.
pub(super) fn initial_configuration(asked: &Asked<'_>) -> Fields {
    let config = &asked.service.config;
    let text = config.initial.clone().filter(|_| !config.is_distributed());
    fields([("initial_configuration", text.map_or(Json::Null, Json::Text))])
}

pub(super) fn read_only(asked: &Asked<'_>) -> Fields {
    fields([("read_only", (asked.role() == Role::ReadOnly).into())])
}

/// Returns the last checkpoint in place of ZooKeeper's last snapshot.
pub(super) fn last_snapshot(asked: &Asked<'_>) -> Fields {
    let last = asked.service.checkpoints.as_ref().and_then(|checkpoints| checkpoints.stats.lock().last);
    let (zxid, timestamp) = last.unwrap_or((Zxid(-1), -1));
    fields([("zxid", format!("{:x}", zxid.0).into()), ("timestamp", timestamp.into())])
}

pub(super) async fn leader(asked: &Asked<'_>) -> Fields {
    if asked.service.config.ensemble.membership.is_none() || asked.place.role == Role::ReadOnly {
        return fields([("error", "server is not initialized".into())]);
    }
    let leader = asked.place.leader;
    let members = members(asked);
    let server = leader.and_then(|id| members.servers.get(&i64::from(id.0)));
    let address = match server.and_then(|server| server.addresses.first()) {
        Some(address) => address_of(address).await,
        None => String::new(),
    };
    fields([
        ("is_leader", (asked.place.role == Role::Leader).into()),
        ("leader_id", leader.map_or(-1, |id| i64::from(id.0)).into()),
        ("leader_ip", address.into()),
    ])
}

/// Resolves a name to an address; returns the name itself if that fails.
async fn address_of(address: &PeerAddress) -> String {
    let found = tokio::net::lookup_host((address.host.as_str(), address.quorum_port)).await;
    let first = found.ok().and_then(|mut found| found.next());
    first.map_or_else(|| address.host.clone(), |found| found.ip().to_string())
}

pub(super) fn monitor(asked: &Asked<'_>) -> Fields {
    let mut members = fields([("version", asked.version().into())]);
    if asked.role() != Role::NotServing {
        members.push(("server_state".to_owned(), asked.role().name().into()));
    }
    members.extend(asked.peer_state().map(|state| ("peer_state".to_owned(), Json::Text(state))));
    members.extend(asked.observer_master().map(|id| ("observer_master_id".to_owned(), i64::from(id.0).into())));
    for metric in Facts::metrics(asked) {
        members.extend(metric.lines().into_iter().map(|(name, line)| (name, number(&metric.value, &line))));
    }
    members
}

/// Converts a metric's printed value to a number of its own kind.
fn number(value: &Value, line: &str) -> Json {
    match value {
        Value::Gauge(Number::Real(value)) => Json::Real(*value),
        Value::Gauge(Number::Int(_)) | Value::Counter(_) | Value::Summary(_) | Value::Distribution(..) => {
            match line.parse() {
                Ok(whole) => Json::Int(whole),
                Err(_) => Json::Real(line.parse().unwrap_or(f64::NAN)),
            }
        }
    }
}

/// Returns the observers of a leader. ZooKeeper: also reports the bytes that each connection has
/// sent and received; a follower that is the master of observers, which none is here, reports its
/// own.
pub(super) fn observers(asked: &Asked<'_>) -> Fields {
    let observers = &asked.place.learners.observers;
    let shown = observers.iter().map(|&id| Json::Object(fields([("sid", i64::from(id.0).into())])));
    fields([("synced_observers", (observers.len() as i64).into()), ("observers", Json::List(shown.collect()))])
}

pub(super) fn server_stats(asked: &Asked<'_>) -> Fields {
    let server = asked.server();
    let sizes = response_sizes(asked);
    let mut members = fields([
        ("version", asked.version().into()),
        ("read_only", (asked.role() == Role::ReadOnly).into()),
        ("server_stats", stats_object(asked, &server, &sizes)),
        ("client_response", sizes),
    ]);
    if let Some(proposals) = server.proposal_sizes.filter(|_| asked.place.role == Role::Leader) {
        members.push(("proposal_stats".to_owned(), buffer_stats(proposals)));
    }
    members.push(("node_count".to_owned(), (server.znode_count as i64).into()));
    members
}

fn stats_object(asked: &Asked<'_>, server: &words::ServerFacts, sizes: &Json) -> Json {
    let directories = asked.directories();
    let [local, remote] = asked.report.stats.plain;
    let slow_syncs = i64::try_from(asked.service.engine.lock().slow_syncs).unwrap_or(i64::MAX);
    Json::Object(fields([
        ("packets_sent", server.packets_sent.into()),
        ("packets_received", server.packets_received.into()),
        ("fsync_threshold_exceed_count", slow_syncs.into()),
        ("client_response_stats", sizes.clone()),
        ("uptime", (asked.service.clock.now_ms() as i64).into()),
        ("data_dir_size", bytes(directories.data_bytes)),
        ("log_dir_size", bytes(directories.log_bytes)),
        ("provider_null", false.into()),
        ("last_processed_zxid", server.zxid.into()),
        ("outstanding_requests", server.outstanding.into()),
        ("server_state", asked.role().name().into()),
        ("avg_latency", server.latency_ms.average().into()),
        ("max_latency", server.latency_ms.max.into()),
        ("min_latency", server.latency_ms.min.into()),
        ("num_alive_client_connections", (server.connections as i64).into()),
        ("auth_failed_count", (asked.report.stats.auth_failed as i64).into()),
        ("non_mtlsremote_conn_count", (remote as i64).into()),
        ("non_mtlslocal_conn_count", (local as i64).into()),
    ]))
}

fn response_sizes(asked: &Asked<'_>) -> Json {
    let [last, min, max] = asked.report.stats.responses.shown();
    buffer_stats(ProposalSizes { last, min, max })
}

/// Returns sizes in the form of a reply. Source: `BufferStats`.
fn buffer_stats(sizes: ProposalSizes) -> Json {
    Json::Object(fields([
        ("last_buffer_size", sizes.last.into()),
        ("min_buffer_size", sizes.min.into()),
        ("max_buffer_size", sizes.max.into()),
    ]))
}

pub(super) fn stats(asked: &Asked<'_>) -> Fields {
    [server_stats(asked), connection_lists(asked, brief)].concat()
}

/// Returns what the JVM would have as properties: those of its command line, and keys that are
/// passed on to it.
pub(super) fn system_properties(asked: &Asked<'_>) -> Fields {
    let properties = asked.service.config.system_properties.iter();
    properties.map(|(name, value)| (name.clone(), Json::text(value))).collect()
}

pub(super) fn voting_view(asked: &Asked<'_>) -> Fields {
    let is_member = asked.service.config.ensemble.membership.is_some();
    let members = members(asked);
    let voters = members.servers.iter().filter(|(_, server)| is_member && server.role == MemberRole::Participant);
    fields([("current_config", Json::object(voters.map(|(id, server)| (id.to_string(), member(server)))))])
}

/// Returns the agreed members or, before there are any, the configured ones.
fn members(asked: &Asked<'_>) -> Members {
    let shared = asked.service.state.read();
    let agreed = shared.state.membership();
    let agreed = (!agreed.is_empty()).then(|| agreed.members().clone());
    agreed.unwrap_or_else(|| asked.service.config.ensemble.members.clone())
}

fn member(server: &MemberServer) -> Json {
    let all = |port: fn(&PeerAddress) -> u16| Json::list(server.addresses.iter().map(|address| shown(address, port)));
    let client = server.client.as_ref().map_or_else(String::new, client_address);
    Json::Object(fields([
        ("server_addresses", all(|address| address.quorum_port)),
        ("election_addresses", all(|address| address.election_port)),
        ("client_address", client.into()),
        ("learner_type", "participant".into()),
    ]))
}

fn shown(address: &PeerAddress, port: fn(&PeerAddress) -> u16) -> String {
    HostPort { host: Some(address.host.clone()), port: port(address) }.to_string()
}

fn client_address(address: &HostPort) -> String {
    HostPort { host: Some(address.host.clone().unwrap_or_else(|| "0.0.0.0".to_owned())), port: address.port }
        .to_string()
}

pub(super) fn watches(asked: &Asked<'_>) -> Fields {
    fields([("session_id_to_watched_paths", paths_by_session(asked.watches_by_session()))])
}

pub(super) fn watches_by_path(asked: &Asked<'_>) -> Fields {
    let by_path = Facts::watches_by_path(asked).into_iter().map(|(path, sessions)| (path, longs(sessions)));
    fields([("path_to_session_ids", Json::object(by_path))])
}

pub(super) fn watch_summary(asked: &Asked<'_>) -> Fields {
    let summary = Facts::watch_summary(asked);
    fields([
        ("num_connections", (summary.connections as i64).into()),
        ("num_paths", (summary.paths as i64).into()),
        ("num_total_watches", (summary.watches as i64).into()),
    ])
}

// Source: `Commands.ZabStateCommand`.
pub(super) fn zab_state(asked: &Asked<'_>) -> Fields {
    let Some(membership) = &asked.service.config.ensemble.membership else {
        return fields([("voting", false.into()), ("zabstate", "".into())]);
    };
    let members = members(asked);
    let Some(me) = members.servers.get(&i64::from(membership.me.0)) else { return Fields::new() };
    let zxid = asked.service.state.read().state.zxid().0;
    let state = if asked.place.role == Role::NotServing { "election" } else { "broadcast" };
    let client = HostPort {
        port: asked.service.listening.plain_port().unwrap_or_default(),
        ..me.client.clone().unwrap_or(HostPort { host: None, port: 0 })
    };
    fields([
        ("myid", i64::from(membership.me.0).into()),
        ("is_leader", (asked.place.role == Role::Leader).into()),
        ("quorum_address", addresses(me, |address| address.quorum_port)),
        ("election_address", addresses(me, |address| address.election_port)),
        ("client_address", client_address(&client).into()),
        ("voting", (me.role == MemberRole::Participant).into()),
        ("last_zxid", format!("0x{zxid:x}").into()),
        ("zab_epoch", (zxid >> 32).into()),
        ("zab_counter", (zxid & 0xffff_ffff).into()),
        ("zabstate", state.into()),
    ])
}

/// Returns addresses with every property of ZooKeeper's object. The addresses are not probed here
/// for reachability.
fn addresses(me: &MemberServer, port: fn(&PeerAddress) -> u16) -> Json {
    let all: Vec<String> = me.addresses.iter().map(|address| shown(address, port)).collect();
    let one = all.first().cloned().unwrap_or_default();
    let wildcards = me.addresses.iter().map(|address| format!("0.0.0.0:{}", port(address)));
    Json::Object(fields([
        ("empty", all.is_empty().into()),
        ("all_addresses", Json::list(all.clone())),
        ("wildcard_addresses", Json::list(wildcards)),
        ("all_ports", Json::list(me.addresses.iter().map(|address| i64::from(port(address))))),
        ("all_host_strings", Json::list(me.addresses.iter().map(|address| address.host.clone()))),
        ("reachable_address", one.clone().into()),
        ("all_reachable_addresses", Json::list(all.clone())),
        ("all_reachable_addresses_or_all", Json::list(all)),
        ("reachable_or_one", one.clone().into()),
        ("one", one.into()),
    ]))
}
