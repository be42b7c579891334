//! The text of the answer to each word.
//!
//! This module owns every byte of the answers. Invariant: a word that is not whitelisted queries no
//! fact. Source: the class of each word in `S/server/command`, named at its function.

use std::fmt::{self, Write as _};

use super::facts::{
    ConfigurationFacts, ConnectionFacts, EnsembleFacts, Environment, ExpiryBucket, Facts, GlobalSessions,
};
use crate::java;
use crate::telemetry::role::Role;
use oxkeeper_config::{Whitelist, Word};

/// The answer to a word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    /// Text to write before closing; may be empty.
    pub(crate) text: String,
    /// Change to make before writing.
    pub(crate) effect: Option<Effect>,
}

/// A change made by a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Effect {
    /// `crst`: resets the statistics of every connection.
    ResetConnections,
    /// `srst`: resets latencies, packet counts, proposal sizes and all metrics other than gauges.
    ResetServer,
    /// `stmk`: sets the trace mask.
    SetTraceMask(i64),
}

/// ZooKeeper's text for a server that cannot serve.
const NOT_SERVING: &str = "This ZooKeeper instance is not currently serving requests";

/// Answers a word. `argument` holds the bytes available after it; only `stmk` uses them.
pub(crate) fn answer(word: Word, whitelist: Whitelist, argument: &[u8], facts: &dyn Facts) -> Answer {
    if !whitelist.allows(word) {
        return text(format!("{} is not executed because it is not in the whitelist.\n", word.name()));
    }
    let mut out = String::new();
    let effect = write_answer(word, argument, facts, &mut out).expect("a String takes all");
    Answer { text: out, effect }
}

fn text(text: String) -> Answer {
    Answer { text, effect: None }
}

fn write_answer(
    word: Word,
    argument: &[u8],
    facts: &dyn Facts,
    out: &mut String,
) -> Result<Option<Effect>, fmt::Error> {
    let serving = facts.role() != Role::NotServing;
    match word {
        // These words work in any state.
        Word::Ruok => out.write_str("imok")?,
        Word::Envi => envi(&facts.version(), &facts.environment(), out)?,
        Word::Gtmk => write!(out, "{}", facts.trace_mask())?,
        Word::Stmk => return stmk(argument, out),
        Word::Isro => out.write_str(match facts.role() {
            Role::NotServing => "null",
            Role::ReadOnly => "ro",
            Role::Standalone | Role::Leader | Role::Follower | Role::Observer => "rw",
        })?,
        // ZooKeeper: has no effect, even if whitelisted.
        Word::TelnetClose => {}
        // ZooKeeper: the only one of these without a newline.
        Word::Hash if !serving => out.write_str(NOT_SERVING)?,
        _ if !serving => writeln!(out, "{NOT_SERVING}")?,
        Word::Conf => conf(facts, out)?,
        Word::Cons => connections(&facts.connections(), Detail::Full, out)?,
        Word::Crst => {
            writeln!(out, "Connection stats reset.")?;
            return Ok(Some(Effect::ResetConnections));
        }
        Word::Dirs => {
            let sizes = facts.directories();
            writeln!(out, "datadir_size: {}\nlogdir_size: {}", sizes.data_bytes, sizes.log_bytes)?;
        }
        Word::Dump => dump(facts, out)?,
        Word::Hash => {
            for (zxid, digest) in facts.digests() {
                // ZooKeeper: a signed long, so the upper half of the digests is negative.
                writeln!(out, "{zxid:x}: {}", digest.cast_signed())?;
            }
        }
        Word::Mntr => mntr(facts, out)?,
        Word::Srst => {
            writeln!(out, "Server stats reset.")?;
            return Ok(Some(Effect::ResetServer));
        }
        Word::Srvr => server(facts, None, out)?,
        Word::Stat => server(facts, Some(&facts.connections()), out)?,
        Word::Wchc => watches_by_session(facts, out)?,
        Word::Wchp => watches_by_path(facts, out)?,
        Word::Wchs => {
            let sum = facts.watch_summary();
            writeln!(out, "{} connections watching {} paths", sum.connections, sum.paths)?;
            writeln!(out, "Total watches:{}", sum.watches)?;
        }
    }
    Ok(None)
}

/// `SetTraceMaskCommand`. The mask must come in the same packet; without it, the answer is empty.
fn stmk(argument: &[u8], out: &mut String) -> Result<Option<Effect>, fmt::Error> {
    let Some(mask) = argument.first_chunk::<8>() else {
        return Ok(None);
    };
    let mask = i64::from_be_bytes(*mask);
    write!(out, "{mask}")?;
    Ok(Some(Effect::SetTraceMask(mask)))
}

/// `EnvCommand`.
fn envi(version: &str, environment: &Environment, out: &mut String) -> fmt::Result {
    writeln!(out, "Environment:")?;
    environment.entries(version).into_iter().try_for_each(|(key, value)| writeln!(out, "{key}={value}"))
}

/// `ZooKeeperServer#dumpConf`, `QuorumZooKeeperServer#dumpConf`, `ReadOnlyZooKeeperServer#dumpConf`.
fn conf(facts: &dyn Facts, out: &mut String) -> fmt::Result {
    let ConfigurationFacts {
        client_port,
        secure_client_port,
        data_dir,
        data_log_dir,
        tick_time_ms,
        max_client_connections_per_address,
        session_timeout_min_ms,
        session_timeout_max_ms,
        listen_backlog,
        server_id,
        level,
        ensemble,
    } = facts.configuration();
    let sizes = facts.directories();
    writeln!(out, "clientPort={client_port}\nsecureClientPort={secure_client_port}")?;
    writeln!(out, "dataDir={data_dir}\ndataDirSize={}", sizes.data_bytes)?;
    writeln!(out, "dataLogDir={data_log_dir}\ndataLogSize={}", sizes.log_bytes)?;
    writeln!(out, "tickTime={tick_time_ms}\nmaxClientCnxns={max_client_connections_per_address}")?;
    writeln!(out, "minSessionTimeout={session_timeout_min_ms}\nmaxSessionTimeout={session_timeout_max_ms}")?;
    writeln!(out, "clientPortListenBacklog={listen_backlog}\nserverId={server_id}")?;
    match ensemble {
        Some(ensemble) => conf_of_ensemble(&ensemble, level, out),
        None => conf_of_level(level, out),
    }
}

/// Our own line. It precedes the membership, whose text has no terminator.
fn conf_of_level(level: u32, out: &mut String) -> fmt::Result {
    if level > 0 { writeln!(out, "featureLevel={level}") } else { Ok(()) }
}

fn conf_of_ensemble(ensemble: &EnsembleFacts, level: u32, out: &mut String) -> fmt::Result {
    let joined = |ports: &[u16]| ports.iter().map(u16::to_string).collect::<Vec<_>>().join("|");
    writeln!(out, "initLimit={}\nsyncLimit={}\nelectionAlg=3", ensemble.init_limit, ensemble.sync_limit)?;
    writeln!(out, "electionPort={}", joined(&ensemble.election_ports))?;
    writeln!(out, "quorumPort={}", joined(&ensemble.quorum_ports))?;
    writeln!(out, "peerType={}", u8::from(ensemble.is_observer))?;
    conf_of_level(level, out)?;
    match &ensemble.membership {
        Some(membership) => write!(out, "membership: \n{membership}"),
        None => Ok(()),
    }
}

/// `StatCommand`, `ServerStats#toString`.
fn server(facts: &dyn Facts, clients: Option<&[ConnectionFacts]>, out: &mut String) -> fmt::Result {
    writeln!(out, "Zookeeper version: {}", facts.version())?;
    let role = facts.role();
    if role == Role::ReadOnly {
        writeln!(out, "READ-ONLY mode; serving only read-only clients")?;
    }
    if let Some(clients) = clients {
        writeln!(out, "Clients:")?;
        connections(clients, Detail::Brief, out)?;
    }
    let server = facts.server();
    let (min, max) = (server.latency_ms.min, server.latency_ms.max);
    writeln!(out, "Latency min/avg/max: {min}/{}/{max}", java::double(server.latency_ms.average()))?;
    writeln!(out, "Received: {}\nSent: {}", server.packets_received, server.packets_sent)?;
    writeln!(out, "Connections: {}\nOutstanding: {}", server.connections, server.outstanding)?;
    writeln!(out, "Zxid: 0x{:x}\nMode: {}", server.zxid, role.name())?;
    writeln!(out, "Node count: {}", server.znode_count)?;
    if let Some(sizes) = server.proposal_sizes.filter(|_| role == Role::Leader) {
        writeln!(out, "Proposal sizes last/min/max: {}/{}/{}", sizes.last, sizes.min, sizes.max)?;
    }
    // Our own line, at the end of `srvr`, where clients that know ZooKeeper's lines do not read on.
    match clients {
        None if server.level > 0 => writeln!(out, "Feature level: {}", server.level),
        None | Some(_) => Ok(()),
    }
}

/// Level of detail for a connection.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Detail {
    Brief,
    Full,
}

/// `ConsCommand`: one line per connection, then an empty one.
fn connections(connections: &[ConnectionFacts], detail: Detail, out: &mut String) -> fmt::Result {
    for connection in connections {
        connection_line(connection, detail, out)?;
    }
    writeln!(out)
}

/// `ServerCnxn#dumpConnectionInfo`.
fn connection_line(connection: &ConnectionFacts, detail: Detail, out: &mut String) -> fmt::Result {
    let remote = java::socket_address(connection.remote);
    let (queued, received, sent) = (connection.outstanding, connection.packets_received, connection.packets_sent);
    write!(out, " /{remote}[{:x}](queued={queued},recved={received},sent={sent}", connection.interest)?;
    if let Some(session) = connection.session.as_ref().filter(|_| detail == Detail::Full) {
        write!(out, ",sid=0x{:x},lop={}", session.session_id, session.last_operation)?;
        write!(out, ",est={},to={}", session.established_ms, session.timeout_ms)?;
        if session.last_cxid >= 0 {
            write!(out, ",lcxid=0x{:x}", session.last_cxid)?;
        }
        let latency = session.latency_ms;
        let average = latency.sum.checked_div(latency.count).unwrap_or(0);
        write!(out, ",lzxid=0x{:x},lresp={}", session.last_zxid, session.last_response_ms)?;
        write!(out, ",llat={},minlat={}", session.last_latency_ms, latency.min)?;
        write!(out, ",avglat={average},maxlat={}", latency.max)?;
    }
    writeln!(out, ")")
}

/// `DumpCommand`, `ExpiryQueue#dump`, `DataTree#dumpEphemerals`.
fn dump(facts: &dyn Facts, out: &mut String) -> fmt::Result {
    writeln!(out, "SessionTracker dump:")?;
    let sessions = facts.sessions();
    let hex = |id: &i64| format!("0x{id:x}");
    let is_split = sessions.local.is_some();
    if let Some(local) = sessions.local {
        write!(out, "Local Session ")?;
        expiry_buckets(local, hex, out)?;
    }
    match sessions.global {
        GlobalSessions::Expiring(buckets) => {
            write!(out, "{}Session ", if is_split { "Global " } else { "" })?;
            expiry_buckets(buckets, hex, out)?;
        }
        GlobalSessions::Known(mut known) => {
            known.sort_unstable();
            writeln!(out, "Global Sessions({}):", known.len())?;
            for (id, timeout_ms) in known {
                writeln!(out, "0x{id:x}\t{timeout_ms}ms")?;
            }
        }
    }
    let ephemerals = facts.ephemerals();
    writeln!(out, "ephemeral nodes dump:\nSessions with Ephemerals ({}):", ephemerals.len())?;
    for (id, paths) in ephemerals {
        writeln!(out, "0x{id:x}:")?;
        for path in paths {
            writeln!(out, "\t{path}")?;
        }
    }
    write!(out, "Connections dump:\nConnections ")?;
    let connection = |(remote, id): &_| format!("ip: /{} sessionId: 0x{id:x}", java::socket_address(*remote));
    expiry_buckets(facts.connection_expiry(), connection, out)
}

fn expiry_buckets<T>(mut buckets: Vec<ExpiryBucket<T>>, show: impl Fn(&T) -> String, out: &mut String) -> fmt::Result {
    buckets.sort_by_key(|bucket| bucket.at_ms);
    let total: usize = buckets.iter().map(|bucket| bucket.members.len()).sum();
    writeln!(out, "Sets ({})/({total}):", buckets.len())?;
    for bucket in buckets {
        writeln!(out, "{} expire at {}:", bucket.members.len(), java::date(bucket.at_ms))?;
        for member in &bucket.members {
            writeln!(out, "\t{}", show(member))?;
        }
    }
    Ok(())
}

/// `MonitorCommand`.
fn mntr(facts: &dyn Facts, out: &mut String) -> fmt::Result {
    writeln!(out, "zk_version\t{}\nzk_server_state\t{}", facts.version(), facts.role().name())?;
    if let Some(state) = facts.peer_state() {
        writeln!(out, "zk_peer_state\t{state}")?;
    }
    if let Some(master) = facts.observer_master() {
        writeln!(out, "zk_observer_master_id\t{master}")?;
    }
    let mut metrics = facts.metrics();
    metrics.sort_by_key(super::metrics::Metric::rank);
    for (name, value) in metrics.iter().flat_map(super::metrics::Metric::lines) {
        writeln!(out, "zk_{name}\t{value}")?;
    }
    Ok(())
}

/// `WatchManager#dumpWatches`.
fn watches_by_session(facts: &dyn Facts, out: &mut String) -> fmt::Result {
    for (id, paths) in facts.watches_by_session() {
        writeln!(out, "0x{id:x}")?;
        for path in paths {
            writeln!(out, "\t{path}")?;
        }
    }
    writeln!(out)
}

/// `WatchManager#dumpWatches`.
fn watches_by_path(facts: &dyn Facts, out: &mut String) -> fmt::Result {
    for (path, ids) in facts.watches_by_path() {
        writeln!(out, "{path}")?;
        for id in ids {
            writeln!(out, "\t0x{id:x}")?;
        }
    }
    writeln!(out)
}
