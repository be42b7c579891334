//! Compares every word with the answers of Apache ZooKeeper 3.9.5; see `golden/README.md`.

use std::net::SocketAddr;

use proptest::prelude::*;

use oxkeeper_proto::ServerId;

use super::answer::Answer;
use super::metrics::{Metric, Number, Percentiles, Summary, Value};
use super::*;
use crate::telemetry::role::Role;
use oxkeeper_config::{Whitelist, Word};

const VERSION: &str = "3.9.5-293c895a8d966a3ecb92872be4a1daf87d725da2, built on 2026-02-11 20:18 UTC";
const SESSION_A: i64 = 0x1000022d2b90000;
const SESSION_B: i64 = 0x1000022d2b90001;

/// A server with fixed values.
#[derive(Clone)]
struct Fixture {
    role: Role,
    server: ServerFacts,
    configuration: ConfigurationFacts,
    metrics: Vec<Metric>,
    peer_state: Option<String>,
    directory_bytes: u64,
    connections: Vec<ConnectionFacts>,
    sessions: SessionFacts,
    ephemerals: Vec<(i64, Vec<String>)>,
    connection_expiry: Vec<ExpiryBucket<(SocketAddr, i64)>>,
    watch_summary: WatchSummary,
    watches_by_session: Vec<(i64, Vec<String>)>,
    watches_by_path: Vec<(String, Vec<i64>)>,
    digests: Vec<(i64, u64)>,
}

impl Facts for Fixture {
    fn role(&self) -> Role {
        self.role
    }
    fn version(&self) -> String {
        VERSION.to_owned()
    }
    fn environment(&self) -> Environment {
        Environment { host_name: Some("localhost".to_owned()), memory_free_mb: 374, ..Environment::default() }
    }
    fn trace_mask(&self) -> i64 {
        306
    }
    fn server(&self) -> ServerFacts {
        self.server.clone()
    }
    fn configuration(&self) -> ConfigurationFacts {
        self.configuration.clone()
    }
    fn directories(&self) -> Directories {
        Directories { data_bytes: self.directory_bytes, log_bytes: self.directory_bytes }
    }
    fn metrics(&self) -> Vec<Metric> {
        self.metrics.clone()
    }
    fn observer_master(&self) -> Option<ServerId> {
        None
    }

    fn peer_state(&self) -> Option<String> {
        self.peer_state.clone()
    }
    fn connections(&self) -> Vec<ConnectionFacts> {
        self.connections.clone()
    }
    fn sessions(&self) -> SessionFacts {
        self.sessions.clone()
    }
    fn ephemerals(&self) -> Vec<(i64, Vec<String>)> {
        self.ephemerals.clone()
    }
    fn connection_expiry(&self) -> Vec<ExpiryBucket<(SocketAddr, i64)>> {
        self.connection_expiry.clone()
    }
    fn watch_summary(&self) -> WatchSummary {
        self.watch_summary
    }
    fn watches_by_session(&self) -> Vec<(i64, Vec<String>)> {
        self.watches_by_session.clone()
    }
    fn watches_by_path(&self) -> Vec<(String, Vec<i64>)> {
        self.watches_by_path.clone()
    }
    fn digests(&self) -> Vec<(i64, u64)> {
        self.digests.clone()
    }
}

fn local(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

fn word_connection(port: u16) -> ConnectionFacts {
    let (interest, outstanding, packets_received, packets_sent, session) = (0, 0, 1, 0, None);
    ConnectionFacts {
        remote: local(port),
        secure: false,
        interest,
        outstanding,
        packets_received,
        packets_sent,
        session,
    }
}

fn client_connection(port: u16, packets: i64, session: ConnectionSession) -> ConnectionFacts {
    ConnectionFacts {
        secure: false,
        interest: 1,
        packets_received: packets,
        packets_sent: packets,
        session: Some(session),
        ..word_connection(port)
    }
}

/// The server of the `empty` recordings.
fn empty() -> Fixture {
    Fixture {
        role: Role::Standalone,
        server: ServerFacts {
            latency_ms: Summary::default(),
            packets_received: 11,
            packets_sent: 11,
            connections: 1,
            outstanding: 0,
            zxid: 0,
            level: 0,
            znode_count: 5,
            proposal_sizes: None,
        },
        configuration: ConfigurationFacts {
            client_port: 22181,
            secure_client_port: -1,
            data_dir: "/var/lib/zookeeper/version-2".to_owned(),
            data_log_dir: "/var/lib/zookeeper/version-2".to_owned(),
            tick_time_ms: 2000,
            max_client_connections_per_address: 60,
            session_timeout_min_ms: 4000,
            session_timeout_max_ms: 40_000,
            listen_backlog: -1,
            server_id: 0,
            level: 0,
            ensemble: None,
        },
        metrics: Vec::new(),
        peer_state: None,
        directory_bytes: 67_109_358,
        connections: vec![word_connection(35562)],
        sessions: SessionFacts { local: None, global: GlobalSessions::Expiring(Vec::new()) },
        ephemerals: Vec::new(),
        connection_expiry: vec![ExpiryBucket { at_ms: 1_795_418_426_000, members: vec![(local(35582), 0)] }],
        watch_summary: WatchSummary::default(),
        watches_by_session: Vec::new(),
        watches_by_path: Vec::new(),
        digests: Vec::new(),
    }
}

/// The server of the `busy` recordings.
fn busy() -> Fixture {
    let latency = |min, max, count, sum| Summary { min, max, count, sum };
    let session_a = ConnectionSession {
        session_id: SESSION_A,
        last_operation: last_operation(4),
        established_ms: 1_795_418_411_708,
        timeout_ms: 10_000,
        last_cxid: 4,
        last_zxid: 5,
        last_response_ms: 2_285_230,
        last_latency_ms: 1,
        latency_ms: latency(0, 12, 5, 24),
    };
    let session_b = ConnectionSession {
        session_id: SESSION_B,
        last_operation: last_operation(1),
        established_ms: 1_795_418_411_720,
        timeout_ms: 20_000,
        last_cxid: 0x108,
        last_zxid: 0x109,
        last_response_ms: 2_285_533,
        last_latency_ms: 1,
        latency_ms: latency(0, 2, 265, 122),
    };
    let at = |at_ms, id| ExpiryBucket { at_ms, members: vec![id] };
    Fixture {
        server: ServerFacts {
            latency_ms: latency(0, 12, 270, 146),
            packets_received: 296,
            packets_sent: 298,
            connections: 3,
            zxid: 0x109,
            level: 0,
            znode_count: 268,
            ..empty().server
        },
        connections: vec![
            client_connection(35664, 5, session_a),
            client_connection(35674, 265, session_b),
            word_connection(35694),
        ],
        sessions: SessionFacts {
            local: None,
            // The later bucket comes first here: the text must be ordered by time.
            global: GlobalSessions::Expiring(vec![at(1_795_418_432_000, SESSION_B), at(1_795_418_422_500, SESSION_A)]),
        },
        ephemerals: vec![(SESSION_A, vec!["/eph2".to_owned(), "/eph1".to_owned()])],
        connection_expiry: vec![
            ExpiryBucket { at_ms: 1_795_418_426_000, members: vec![(local(35664), SESSION_A), (local(35718), 0)] },
            ExpiryBucket { at_ms: 1_795_418_436_000, members: vec![(local(35674), SESSION_B)] },
        ],
        watch_summary: WatchSummary { connections: 2, paths: 2, watches: 3 },
        watches_by_session: vec![
            (SESSION_A, vec!["/n".to_owned()]),
            (SESSION_B, vec!["/none".to_owned(), "/n".to_owned()]),
        ],
        watches_by_path: vec![("/none".to_owned(), vec![SESSION_B]), ("/n".to_owned(), vec![SESSION_B, SESSION_A])],
        digests: vec![(0x80, 283_897_421_425), (0x100, 555_001_940_545)],
        ..empty()
    }
}

fn say(word: Word, facts: &Fixture) -> String {
    answer(word, Whitelist::parse("*", false), &[], facts).text
}

#[track_caller]
fn check(word: Word, facts: &Fixture, golden: &str) {
    assert_eq!(say(word, facts), golden, "{}", word.name());
}

#[test]
fn an_empty_server() {
    let facts = empty();
    check(Word::Srvr, &facts, include_str!("golden/empty.srvr"));
    check(Word::Cons, &facts, include_str!("golden/empty.cons"));
    check(Word::Dump, &facts, include_str!("golden/empty.dump"));
    check(Word::Wchs, &facts, include_str!("golden/empty.wchs"));
    check(Word::Wchc, &facts, include_str!("golden/empty.wchc"));
    check(Word::Hash, &facts, "");
    check(Word::Ruok, &facts, "imok");
    check(Word::Isro, &facts, "rw");
    check(Word::Gtmk, &facts, "306");
}

#[test]
fn a_busy_server() {
    let facts = busy();
    check(Word::Conf, &facts, include_str!("golden/busy.conf"));
    check(Word::Cons, &facts, include_str!("golden/busy.cons"));
    check(Word::Dirs, &facts, include_str!("golden/busy.dirs"));
    check(Word::Dump, &facts, include_str!("golden/busy.dump"));
    check(Word::Hash, &facts, include_str!("golden/busy.hash"));
    check(Word::Srvr, &facts, include_str!("golden/busy.srvr"));
    check(Word::Wchc, &facts, include_str!("golden/busy.wchc"));
    check(Word::Wchp, &facts, include_str!("golden/busy.wchp"));
    check(Word::Wchs, &facts, include_str!("golden/busy.wchs"));
}

#[test]
fn stat_is_srvr_with_clients() {
    let mut facts = busy();
    facts.connections[2] = word_connection(35796);
    facts.server.packets_received += 1;
    facts.server.packets_sent += 1;
    check(Word::Stat, &facts, include_str!("golden/busy.stat"));
    let mut facts = empty();
    let recorded = include_str!("golden/empty.stat");
    let port = recorded.split("127.0.0.1:").nth(1).and_then(|rest| rest.split('[').next());
    facts.connections = vec![word_connection(port.and_then(|port| port.parse().ok()).expect("one client"))];
    let count = |label: &str| recorded.lines().find_map(|line| line.strip_prefix(label)).and_then(|n| n.parse().ok());
    facts.server.packets_received = count("Received: ").expect("a number");
    facts.server.packets_sent = count("Sent: ").expect("a number");
    check(Word::Stat, &facts, recorded);
}

#[test]
fn a_connection_whose_statistics_were_reset() {
    let mut facts = busy();
    for connection in &mut facts.connections[..2] {
        (connection.packets_received, connection.packets_sent) = (0, 0);
        let session = connection.session.as_mut().expect("the first two are clients");
        *session = ConnectionSession {
            last_operation: last_operation(0),
            last_cxid: -1,
            last_zxid: -1,
            last_response_ms: 0,
            last_latency_ms: 0,
            latency_ms: Summary::default(),
            ..session.clone()
        };
    }
    facts.connections[2] = word_connection(35876);
    check(Word::Cons, &facts, include_str!("golden/after.cons"));
}

/// Rebuilds the recorded metrics from minimum, maximum, count and sum; averages are recomputed.
fn recorded_metrics(recorded: &str) -> Vec<Metric> {
    let lines: Vec<_> = recorded.lines().skip(2).map(|line| line[3..].split_once('\t').expect("a tab")).collect();
    let number = |name: String| lines.iter().find(|(n, _)| *n == name).and_then(|(_, value)| value.parse::<i64>().ok());
    let mut metrics = Vec::new();
    for (name, value) in &lines {
        let (part, rest) = name.split_once('_').unwrap_or((name, ""));
        let of = |part: &str| number(format!("{part}_{rest}"));
        match (part, of("cnt"), of("p50")) {
            ("avg", Some(count), p50) => {
                let all = |parts: [&str; 3]| parts.map(|part| of(part).expect("all parts are there"));
                let [min, max, sum] = all(["min", "max", "sum"]);
                let summary = Summary { min, max, count, sum };
                let value = match p50 {
                    Some(p50) => {
                        let [p95, p99, p999] = all(["p95", "p99", "p999"]);
                        Value::Distribution(summary, Percentiles { p50, p95, p99, p999 })
                    }
                    None => Value::Summary(summary),
                };
                let metric = Metric::new(rest.to_owned(), value);
                metrics.push(match rest.strip_suffix("_per_namespace").and_then(|rest| rest.rsplit_once('_')) {
                    Some((label, kind)) => Metric::new(format!("{kind}_per_namespace"), metric.value).labelled(label),
                    None => metric,
                });
            }
            ("min" | "max" | "cnt" | "sum" | "p50" | "p95" | "p99" | "p999", Some(_), _) => {}
            _ => {
                let is_gauge = metrics.len() < 24; // the recording has 24 gauges, and they come first
                let value = match (value.parse(), is_gauge) {
                    (Ok(value), true) => Value::Gauge(Number::Int(value)),
                    (Ok(value), false) => Value::Counter(value),
                    (Err(_), _) => Value::Gauge(Number::Real(value.parse().expect("a number"))),
                };
                metrics.push(Metric::new((*name).to_owned(), value));
            }
        }
    }
    metrics
}

#[test]
fn mntr_prints_what_zookeeper_printed() {
    let recorded = include_str!("golden/busy.mntr");
    let mut facts = busy();
    facts.metrics = recorded_metrics(recorded);
    assert!(facts.metrics.len() > 140, "{} metrics", facts.metrics.len());
    check(Word::Mntr, &facts, recorded);
    // In any input order, gauges come first and labelled distributions last.
    facts.metrics.reverse();
    let said = say(Word::Mntr, &facts);
    assert!(said.find("zk_watch_count") < said.find("zk_bytes_received_count"));
    let sorted = |text: &str| {
        let mut lines: Vec<_> = text.lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    assert_eq!(sorted(&said), sorted(recorded));
    facts.peer_state = Some("following - broadcast".to_owned());
    assert!(say(Word::Mntr, &facts).contains("\nzk_peer_state\tfollowing - broadcast\n"));
}

#[test]
fn envi_has_the_keys_scripts_look_for() {
    let said = say(Word::Envi, &busy());
    let keys: Vec<_> = said.lines().map(|line| line.split('=').next().unwrap_or_default()).collect();
    assert_eq!(keys, include_str!("golden/busy.envi-keys").lines().collect::<Vec<_>>());
    assert!(said.contains("\nhost.name=localhost\njava.version=<NA>\n"), "{said}");
    assert!(said.contains("\nos.memory.free=374MB\n"), "{said}");
}

#[test]
fn a_server_that_does_not_serve() {
    let facts = Fixture { role: Role::NotServing, ..busy() };
    let refusal = "This ZooKeeper instance is not currently serving requests\n";
    for word in Word::all() {
        let said = answer(word, Whitelist::parse("*", false), &7i64.to_be_bytes(), &facts);
        let expected = match word {
            Word::Ruok => "imok",
            Word::Isro => "null",
            Word::Gtmk => "306",
            Word::Stmk => "7",
            Word::TelnetClose => "",
            Word::Hash => refusal.trim_end(),
            Word::Envi => {
                assert!(said.text.starts_with("Environment:\n"));
                continue;
            }
            Word::Conf | Word::Cons | Word::Crst | Word::Dirs | Word::Dump | Word::Mntr | Word::Srst | Word::Srvr => {
                refusal
            }
            Word::Stat | Word::Wchc | Word::Wchp | Word::Wchs => refusal,
        };
        assert_eq!(said.text, expected, "{}", word.name());
        assert_eq!(said.effect.is_some(), word == Word::Stmk, "{}", word.name());
    }
}

#[test]
fn words_off_the_whitelist_are_refused() {
    for word in Word::all().filter(|&word| word != Word::Srvr) {
        let said = answer(word, Whitelist::default(), &[0; 8], &busy());
        assert_eq!(said.text, format!("{} is not executed because it is not in the whitelist.\n", word.name()));
        assert_eq!(said.effect, None);
    }
}

#[test]
fn some_words_change_something() {
    let all = Whitelist::parse("*", false);
    let say = |word, argument: &[u8]| answer(word, all, argument, &busy());
    let cases = [
        (Word::Crst, &[][..], "Connection stats reset.\n", Some(Effect::ResetConnections)),
        (Word::Srst, &[], "Server stats reset.\n", Some(Effect::ResetServer)),
        (Word::Stmk, &[0, 0, 0, 0, 0, 0, 1, 0x32], "306", Some(Effect::SetTraceMask(306))),
        (Word::Stmk, &[0xff; 9], "-1", Some(Effect::SetTraceMask(-1))),
        (Word::Stmk, &[0, 0], "", None),
        (Word::Gtmk, &[], "306", None),
    ];
    for (word, argument, text, effect) in cases {
        assert_eq!(say(word, argument), Answer { text: text.to_owned(), effect }, "{} {argument:?}", word.name());
    }
}

#[test]
fn an_ensemble() {
    let mut leader = busy();
    leader.role = Role::Leader;
    leader.server = ServerFacts {
        latency_ms: Summary { min: 9, max: 9, count: 1, sum: 9 },
        packets_received: 3,
        packets_sent: 2,
        connections: 2,
        zxid: 0x1_0000_0003,
        level: 0,
        znode_count: 6,
        proposal_sizes: Some(ProposalSizes { last: 48, min: 48, max: 87 }),
        ..leader.server
    };
    check(Word::Srvr, &leader, include_str!("golden/leader.srvr"));

    let (a, b) = (0x100002b2daf0000, 0x200002b2db80000);
    let mut follower = busy();
    follower.sessions.global = GlobalSessions::Known(vec![(b, 20_000), (a, 10_000)]);
    follower.ephemerals = vec![(a, vec!["/e".to_owned()])];
    let members = vec![(local(51042), a), (local(51084), 0)];
    follower.connection_expiry = vec![ExpiryBucket { at_ms: 1_795_418_976_000, members }];
    check(Word::Dump, &follower, include_str!("golden/follower.dump"));

    let mut observer = busy();
    observer.directory_bytes = 67_110_204;
    let membership = include_str!("golden/observer.conf").split_once("membership: \n").expect("the last part").1;
    observer.configuration = ConfigurationFacts {
        client_port: 22803,
        server_id: 3,
        ensemble: Some(EnsembleFacts {
            init_limit: 10,
            sync_limit: 5,
            election_ports: vec![22823],
            quorum_ports: vec![22813],
            is_observer: true,
            membership: Some(membership.to_owned()),
        }),
        ..observer.configuration
    };
    check(Word::Conf, &observer, include_str!("golden/observer.conf"));
}

/// From the source of 3.9.5, not recorded.
#[test]
fn rare_states() {
    let mut facts = busy();
    facts.sessions.local = Some(Vec::new());
    facts.sessions.global = GlobalSessions::Expiring(Vec::new());
    let dump =
        "SessionTracker dump:\nLocal Session Sets (0)/(0):\nGlobal Session Sets (0)/(0):\nephemeral nodes dump:\n";
    assert!(say(Word::Dump, &facts).starts_with(dump));

    facts.server.proposal_sizes = Some(ProposalSizes { last: -1, min: -1, max: -1 });
    facts.role = Role::Follower; // it keeps the sizes of its time as a leader to itself
    assert!(say(Word::Srvr, &facts).ends_with("Mode: follower\nNode count: 268\n"));
    facts.server.level = 3;
    assert!(say(Word::Srvr, &facts).ends_with("Node count: 268\nFeature level: 3\n"));
    assert!(say(Word::Stat, &facts).ends_with("Node count: 268\n"), "it has ZooKeeper's lines only");

    let addresses = EnsembleFacts {
        init_limit: 10,
        sync_limit: 5,
        election_ports: vec![3888, 3889],
        quorum_ports: vec![2888, 2889],
        is_observer: false,
        membership: None,
    };
    facts.configuration.ensemble = Some(addresses);
    assert!(say(Word::Conf, &facts).ends_with("\nelectionPort=3888|3889\nquorumPort=2888|2889\npeerType=0\n"));
    facts.configuration.level = 3;
    assert!(say(Word::Conf, &facts).ends_with("\npeerType=0\nfeatureLevel=3\n"));

    facts.role = Role::ReadOnly;
    assert!(say(Word::Srvr, &facts).contains(" UTC\nREAD-ONLY mode; serving only read-only clients\nLatency"));
    assert_eq!(say(Word::Isro, &facts), "ro");
}

#[test]
fn the_version_is_honest_and_parses() {
    let version = full_version("0.1.0", Some("abc1234"), "2026-11-23 07:00");
    assert_eq!(version, "3.9.5-oxkeeper-0.1.0-abc1234, built on 2026-11-23 07:00 UTC");
    assert_eq!(full_version("0.1.0", None, "2026-11-23 07:00"), "3.9.5-oxkeeper-0.1.0, built on 2026-11-23 07:00 UTC");
    // Kazoo: ([\d\.]*).* and then int() of each part.
    let digits: String = version.chars().take_while(|c| c.is_ascii_digit() || *c == '.').collect();
    let parts: Vec<u32> = digits.split('.').map(|part| part.parse().expect("a number")).collect();
    assert_eq!(parts, [3, 9, 5]);
}

proptest! {
    #[test]
    fn any_session_is_told_on_one_line(id in any::<i64>(), cxid in any::<i64>(), zxid in any::<i64>(), ms in any::<i64>()) {
        let mut facts = busy();
        let session = facts.connections[0].session.as_mut().expect("a client");
        session.session_id = id;
        (session.last_cxid, session.last_zxid, session.established_ms) = (cxid, zxid, ms);
        let said = say(Word::Cons, &facts);
        let sid = format!(",sid=0x{id:x},lop=");
        prop_assert_eq!(said.lines().count(), 4);
        prop_assert!(said.contains(&sid));
        prop_assert_eq!(said.contains(",lcxid=0x4,"), cxid == 4);
    }
}
