//! Metrics: what is counted outside the threads that own connections, and every metric by its name.
//!
//! Owns the list of metrics. Each has the reference's name and kind, and a meaning that is true here; those of the
//! reference that describe machinery which does not exist here are left out, each with its reason in the tests below.
//! `srst` begins counters and summaries anew, and of the gauges latencies, packets and response sizes. Values that many
//! requests change are counted by the thread that sees them, without atomics; the rest under a lock taken a few times
//! for a log entry, not for a request.
//!
//! Source: `ServerMetrics`, `ZooKeeperServer#registerMetrics`, `ServerStats#reset`, `QuotaMetricsUtils`.

use std::collections::BTreeMap;

use oxkeeper_replica::stats::{Distribution, ServerStats, Tally};
use oxkeeper_replica::watches::Fired;
use oxkeeper_state::State;
use oxkeeper_state::quota::{self, Track};

use crate::role::{Place, Role};
use crate::words::metrics::{Metric, Number, Percentiles, Summary, Value};

/// What the engine counts.
#[derive(Clone, Debug, Default)]
pub(crate) struct EngineStats {
    /// Commands found waiting, whenever there were any.
    pub(crate) taken: Tally,
    /// Commands in each log entry that was made durable and applied.
    pub(crate) applied: Tally,
    /// Time to write and sync a log entry, µs.
    pub(crate) sync_us: Tally,
    /// The same in ms, with percentiles.
    pub(crate) sync_ms: Distribution,
    /// Sessions that expired.
    pub(crate) sessions_expired: u64,
    /// Length of each log entry this server proposed to its peers, bytes.
    pub(crate) proposals: Tally,
    /// Of the last one.
    pub(crate) last_proposal_len: u64,
    /// Writes that took longer than `oxkeeper.slowRequestMs`.
    pub(crate) slow_requests: u64,
    /// Whole states sent to peers.
    pub(crate) states_sent: u64,
}

impl EngineStats {
    /// A log entry is on disk.
    pub(crate) fn synced(&mut self, took_us: u64) {
        self.sync_us.record(took_us);
        self.sync_ms.record(took_us / 1000);
    }

    /// A log entry was proposed to peers.
    #[cfg_attr(not(test), expect(dead_code, reason = "the engine of ensembles calls it"))]
    pub(crate) fn proposed(&mut self, len: usize) {
        self.last_proposal_len = len as u64;
        self.proposals.record(self.last_proposal_len);
    }

    /// Last, least and greatest length of a proposal.
    // ZooKeeper: -1 while there was none.
    pub(crate) fn proposal_sizes(&self) -> [i64; 3] {
        match self.proposals.count {
            0 => [-1; 3],
            _ => [self.last_proposal_len, self.proposals.min(), self.proposals.max].map(signed),
        }
    }
}

/// What checkpoints count.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct CheckpointStats {
    /// Time each took, ms.
    pub(crate) took_ms: Tally,
    /// Those that failed.
    pub(crate) failed: u64,
}

/// What recovery took, once.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct StartupStats {
    /// To load the durable tree, ms.
    pub(crate) load_ms: Tally,
    /// To replay the log behind it, ms.
    pub(crate) replay_ms: Tally,
    /// Commands replayed.
    pub(crate) replayed: Tally,
    /// All of it, ms.
    pub(crate) whole_ms: Tally,
}

impl StartupStats {
    /// Data was recovered.
    pub(crate) fn recovered(load_ms: u64, replay_ms: u64, replayed: u64) -> StartupStats {
        let once = |value| {
            let mut tally = Tally::default();
            tally.record(value);
            tally
        };
        StartupStats {
            load_ms: once(load_ms),
            replay_ms: once(replay_ms),
            replayed: once(replayed),
            whole_ms: once(load_ms + replay_ms),
        }
    }
}

/// Limits and usage of the counted subtrees below one top-level znode.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct NamespaceQuota {
    count_limit: i64,
    bytes_limit: i64,
    count_usage: i64,
    bytes_usage: i64,
}

/// Quotas by top-level znode.
pub(crate) type Quotas = BTreeMap<String, NamespaceQuota>;

/// Adds up the quotas of each top-level znode.
pub(crate) fn quotas(state: &State) -> Quotas {
    let mut quotas = Quotas::new();
    let track = |path: String| state.tree().lookup(&path).map(|slot| Track::parse(state.tree().znode(slot).data()));
    for prefix in state.quotas().prefixes() {
        let Some(namespace) = prefix.split('/').nth(1) else { continue };
        let quota = quotas.entry(namespace.to_owned()).or_default();
        // ZooKeeper: unlimited is -1, and added up like that.
        if let Some(limits) = track(quota::limits_path(prefix)) {
            let limit = |hard: i64, soft: i64| if hard > -1 { hard } else { soft };
            quota.count_limit += limit(limits.count_hard(), limits.count());
            quota.bytes_limit += limit(limits.bytes_hard(), limits.bytes());
        }
        if let Some(usage) = track(quota::stats_path(prefix)) {
            quota.count_usage += usage.count();
            quota.bytes_usage += usage.bytes();
        }
    }
    quotas
}

/// Everything the metrics show, at one moment.
#[derive(Debug, Default)]
pub(crate) struct Figures {
    /// Of all threads that own connections.
    pub(crate) stats: ServerStats,
    /// Four-letter words: they count as packets received.
    pub(crate) words: u64,
    pub(crate) connections: usize,
    pub(crate) outstanding: u64,
    pub(crate) uptime_ms: u64,
    /// As the reference counts, which counts the root twice.
    pub(crate) znodes: usize,
    pub(crate) watches: usize,
    pub(crate) ephemerals: usize,
    pub(crate) data_size: u64,
    pub(crate) sessions: usize,
    /// Sessions that only this server knows.
    pub(crate) local_sessions: usize,
    pub(crate) open_files: i64,
    pub(crate) open_files_max: i64,
    /// The chance of a session of being refused for no other reason.
    pub(crate) drop_probability: f64,
    /// Connections refused because there were too many.
    pub(crate) rejected: u64,
    pub(crate) fired: Fired,
    pub(crate) engine: EngineStats,
    pub(crate) checkpoints: CheckpointStats,
    pub(crate) startup: StartupStats,
    pub(crate) quotas: Quotas,
    pub(crate) place: Place,
    /// Servers that vote.
    pub(crate) quorum_size: usize,
}

/// As signed as Java's.
fn signed(value: u64) -> i64 {
    value as i64
}

/// A tally as a word shows it.
pub(crate) fn summary(tally: &Tally) -> Summary {
    Summary { min: signed(tally.min()), max: signed(tally.max), count: signed(tally.count), sum: signed(tally.sum) }
}

impl Figures {
    /// Packets received, four-letter words among them.
    pub(crate) fn received(&self) -> i64 {
        signed(self.stats.received + self.words)
    }

    /// Every metric.
    pub(crate) fn metrics(&self) -> Vec<Metric> {
        let mut metrics = self.gauges();
        metrics.extend(self.ensemble_gauges());
        metrics.extend(self.quota_gauges());
        metrics.extend(self.counters());
        metrics.extend(self.summaries());
        metrics
    }

    fn gauges(&self) -> Vec<Metric> {
        let latency = summary(&self.stats.latency());
        let sizes = &self.stats.responses;
        // ZooKeeper: -1 while there was none.
        let size = |size: u64| if sizes.tally.count == 0 { -1 } else { signed(size) };
        let real = |name, value| Metric::new(name, Value::Gauge(Number::Real(value)));
        vec![
            Metric::gauge("ephemerals_count", self.ephemerals as i64),
            Metric::gauge("num_alive_connections", self.connections as i64),
            real("avg_latency", latency.average()),
            Metric::gauge("outstanding_requests", signed(self.outstanding)),
            Metric::gauge("znode_count", self.znodes as i64),
            Metric::gauge("global_sessions", self.sessions as i64),
            Metric::gauge("last_client_response_size", size(sizes.last())),
            Metric::gauge("packets_sent", signed(self.stats.sent)),
            Metric::gauge("packets_received", self.received()),
            Metric::gauge("max_client_response_size", size(sizes.tally.max)),
            real("connection_drop_probability", self.drop_probability),
            Metric::gauge("watch_count", self.watches as i64),
            // ZooKeeper: counts TLS handshakes only; here it is every authentication that failed.
            Metric::gauge("auth_failed_count", signed(self.stats.auth_failed)),
            Metric::gauge("min_latency", latency.min),
            Metric::gauge("max_file_descriptor_count", self.open_files_max),
            Metric::gauge("approximate_data_size", signed(self.data_size)),
            Metric::gauge("open_file_descriptor_count", self.open_files),
            // Those of read-only mode; every other session is global.
            Metric::gauge("local_sessions", self.local_sessions as i64),
            Metric::gauge("uptime", signed(self.uptime_ms)),
            Metric::gauge("max_latency", latency.max),
            Metric::gauge("min_client_response_size", size(sizes.tally.min())),
        ]
    }

    /// What only a member of an ensemble has, and what only its leader has.
    fn ensemble_gauges(&self) -> Vec<Metric> {
        let quorum_size = Metric::gauge("quorum_size", self.quorum_size as i64);
        match self.place.role {
            Role::Leader => [vec![quorum_size], self.leader_gauges()].concat(),
            Role::Follower => vec![quorum_size],
            Role::Alone | Role::NotServing | Role::ReadOnly => Vec::new(),
        }
    }

    fn leader_gauges(&self) -> Vec<Metric> {
        let place = &self.place;
        let [last, min, max] = self.engine.proposal_sizes();
        vec![
            Metric::gauge("learners", place.followers as i64),
            Metric::gauge("synced_followers", place.synced_followers as i64),
            // Everybody votes.
            Metric::gauge("synced_non_voting_followers", 0),
            Metric::gauge("synced_observers", 0),
            // A sync waits in the log like a write.
            Metric::gauge("pending_syncs", 0),
            Metric::gauge("leader_uptime", signed(self.uptime_ms.saturating_sub(place.since_ms))),
            Metric::gauge("last_proposal_size", last),
            Metric::gauge("min_proposal_size", min),
            Metric::gauge("max_proposal_size", max),
        ]
    }

    fn quota_gauges(&self) -> impl Iterator<Item = Metric> {
        self.quotas.iter().flat_map(|(namespace, quota)| {
            let gauge = |name, value| Metric::gauge(name, value).labelled(namespace.clone());
            [
                gauge("quota_count_limit_per_namespace", quota.count_limit),
                gauge("quota_bytes_limit_per_namespace", quota.bytes_limit),
                gauge("quota_count_usage_per_namespace", quota.count_usage),
                gauge("quota_bytes_usage_per_namespace", quota.bytes_usage),
            ]
        })
    }

    fn counters(&self) -> impl Iterator<Item = Metric> {
        let stats = &self.stats;
        // ZooKeeper: a four-letter word has four bytes and nothing in front.
        let words_len = 4 * self.words;
        let counters = [
            ("watch_bytes", stats.event_bytes),
            ("connection_rejected", self.rejected + stats.rationed),
            ("sessionless_connections_expired", stats.silent),
            ("connection_drop_count", stats.dropped),
            ("bytes_received_count", stats.received_bytes + words_len),
            ("request_throttle_wait_count", stats.held_back),
            ("throttled_ops", stats.throttled),
            ("stale_requests_dropped", stats.stale_dropped),
            ("large_requests_rejected", stats.large_rejected),
            ("response_bytes", stats.reply_bytes),
            ("connection_revalidate_count", stats.resumes),
            // ZooKeeper: proposals and commits are counted by leaders only. A server alone leads itself.
            ("commit_count", self.engine.applied.sum),
            ("proposal_count", self.engine.taken.sum),
            ("snapshot_error_count", self.checkpoints.failed),
            // In the reference a snapshot, here the durable tree: what a peer gets that is too far behind, or new.
            ("snap_count", self.engine.states_sent),
            ("looking_count", self.place.outages.count),
            ("connection_request_count", stats.connects),
            ("stale_sessions_expired", self.engine.sessions_expired),
            ("sync_processor_request_queued", self.engine.taken.sum),
        ];
        counters.into_iter().map(|(name, value)| Metric::counter(name, signed(value)))
    }

    fn summaries(&self) -> impl Iterator<Item = Metric> {
        let in_ms =
            |us: Summary| Summary { min: us.min / 1000, max: us.max / 1000, count: us.count, sum: us.sum / 1000 };
        let basic = [
            ("connection_token_deficit", summary(&self.stats.token_deficit)),
            ("node_created_watch_count", summary(&self.fired.created)),
            ("node_deleted_watch_count", summary(&self.fired.deleted)),
            ("startup_txns_load_time", summary(&self.startup.replay_ms)),
            ("sync_processor_queue_size", summary(&self.engine.taken)),
            // The reference rounds every value down to ms and then adds up; this the other way round.
            ("fsynctime", in_ms(summary(&self.engine.sync_us))),
            ("snapshottime", summary(&self.checkpoints.took_ms)),
            ("unavailable_time", summary(&self.place.outages.took_ms)),
            ("leader_unavailable_time", summary(&self.place.outages.took_until_leading_ms)),
            ("startup_txns_loaded", summary(&self.startup.replayed)),
            ("dbinittime", summary(&self.startup.whole_ms)),
            ("sync_processor_batch_size", summary(&self.engine.applied)),
            ("node_children_watch_count", summary(&self.fired.children_changed)),
            ("node_changed_watch_count", summary(&self.fired.data_changed)),
            ("startup_snap_load_time", summary(&self.startup.load_ms)),
        ];
        let advanced = [
            ("updatelatency", &self.stats.updates),
            ("readlatency", &self.stats.reads),
            ("request_throttle_queue_time_ms", &self.stats.throttled_ms),
            ("sync_processor_queue_flush_time_ms", &self.engine.sync_ms),
        ];
        let basic = basic.into_iter().map(|(name, value)| Metric::new(name, Value::Summary(value)));
        basic.chain(advanced.into_iter().map(|(name, values)| Metric::new(name, distribution(values))))
    }
}

fn distribution(values: &Distribution) -> Value {
    let [p50, p95, p99, p999] = [500, 950, 990, 999].map(|per_mille| signed(values.percentile(per_mille)));
    Value::Distribution(summary(&values.tally), Percentiles { p50, p95, p99, p999 })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a server alone of the reference also prints, and why it is absent here.
    const ABSENT: &[(&str, &str)] = &[
        (
            "there is no TLS yet",
            "non_mtls_remote_conn_count non_mtls_local_conn_count outstanding_tls_handshake
            tls_handshake_exceeded unsuccessful_handshake cnxn_closed_without_zk_server_running",
        ),
        (
            "servers do not authenticate to each other yet, and nobody only observes",
            "ensemble_auth_fail ensemble_auth_skip ensemble_auth_success observer_sync_time om_commit_process_time_ms
            om_proposal_process_time_ms",
        ),
        (
            "entries are agreed on, not proposed and committed one by one; a server that lacks some is sent just those",
            "diff_count inflight_diff_count inflight_snap_count follower_sync_time learner_proposal_received_count
            learner_commit_received_count commit_propagation_latency proposal_ack_creation_latency proposal_latency
            quorum_ack_latency",
        ),
        (
            "an election is a part of the time a server does not serve, and that is told",
            "election_time quit_leading_due_to_disloyal_voter",
        ),
        (
            "a follower proposes commands itself, and a session that goes on is one of them",
            "revalidate_count learner_request_processor_queue_size skip_learner_request_to_next_processor_count",
        ),
        (
            "no requests pass from processor to processor",
            "prep_processor_request_queued prep_processor_queue_size
            prep_processor_queue_time_ms prep_process_time proposal_process_time close_session_prep_time
            outstanding_changes_queued outstanding_changes_removed request_commit_queued
            requests_not_forwarded_to_commit_processor session_queues_drained write_commit_proc_req_queued
            read_commit_proc_req_queued commit_commit_proc_req_queued write_commit_proc_issued
            read_commit_proc_issued reads_issued_from_session_queue reads_after_write_in_session_queue
            requests_in_session_queue pending_session_queue_size commit_process_time
            time_waiting_empty_pool_in_commit_processor_read_ms write_batch_time_in_commit_processor
            concurrent_request_processing_in_commit_processor read_commitproc_time_ms write_commitproc_time_ms
            local_write_committed_time_ms server_write_committed_time_ms read_final_proc_time_ms
            write_final_proc_time_ms",
        ),
        (
            "a command is timed as a whole, its entry when it is synced; nothing between is worth a clock per command",
            "sync_process_time sync_processor_queue_time_ms sync_processor_queue_and_flush_time_ms
            propagation_latency",
        ),
        ("a request whose client is gone is not looked at", "stale_requests stale_replies"),
        (
            "responses are not cached",
            "response_packet_cache_hits response_packet_cache_misses
            response_packet_get_children_cache_hits response_packet_get_children_cache_misses",
        ),
        (
            "watches of a connection that ended are gone at once",
            "dead_watchers_queued dead_watchers_cleared
            dead_watchers_cleaner_latency add_dead_watcher_stall_time",
        ),
        (
            "there is no HTTP server for administrators yet",
            "insecure_admin_count restore_error_count
            restore_rate_limited_count restore_time snapshot_rate_limited_count",
        ),
        ("there is no Java machine and no Netty", "jvm_pause_time_ms netty_queued_buffer_capacity"),
        ("closing a socket never waits", "socket_closing_time"),
        (
            "what should not be ends the process, so it would always be 0",
            "unrecoverable_error_count
            digest_mismatches_count",
        ),
        ("every request would pay for a look-up by name", "read_per_namespace write_per_namespace"),
    ];

    /// The names a server alone of the reference prints, recorded.
    fn recorded() -> Vec<&'static str> {
        names(include_str!("words/golden/busy.mntr"))
    }

    fn names(recorded: &'static str) -> Vec<&'static str> {
        recorded.lines().filter_map(|line| line.strip_prefix("zk_")?.split('\t').next()).collect()
    }

    /// What a member of an ensemble prints that a server alone does not.
    fn added(role: Role) -> Vec<String> {
        let member = Figures { place: Place { role, ..Place::default() }, ..Figures::default() };
        let alone = printed(&Figures::default());
        let names = printed(&member).into_iter().map(|(name, _)| name);
        let mut added: Vec<_> = names.filter(|name| alone.iter().all(|(alone, _)| alone != name)).collect();
        added.sort();
        added
    }

    #[test]
    fn a_member_of_an_ensemble_adds_what_the_references_adds() {
        // The word itself prints the state. Each link has one queue for everything, and a limit in bytes.
        let is_told = |name: &&str| *name != "peer_state" && !name.contains("learner_handler_qp");
        let recorded = |text| names(text).into_iter().filter(is_told).collect::<Vec<_>>();
        assert_eq!(added(Role::Leader), recorded(include_str!("words/golden/leader.mntr-names")));
        assert_eq!(added(Role::Follower), recorded(include_str!("words/golden/follower.mntr-names")));
    }

    #[test]
    fn a_leader_tells_its_followers_and_proposals() {
        let place = Place { role: Role::Leader, since_ms: 400, followers: 2, synced_followers: 1, ..Place::default() };
        let mut figures = Figures { place, uptime_ms: 1000, quorum_size: 3, ..Figures::default() };
        let shown = |figures: &Figures| {
            let names = ["quorum_size", "learners", "synced_followers", "leader_uptime"];
            let sizes = ["last_proposal_size", "min_proposal_size", "max_proposal_size"];
            (names.map(|name| value(figures, name)).join(" "), sizes.map(|name| value(figures, name)).join(" "))
        };
        assert_eq!(shown(&figures), ("3 2 1 600".to_owned(), "-1 -1 -1".to_owned()));
        [48, 96, 94].into_iter().for_each(|len| figures.engine.proposed(len));
        assert_eq!(shown(&figures).1, "94 48 96");
    }

    fn printed(figures: &Figures) -> Vec<(String, String)> {
        figures.metrics().iter().flat_map(Metric::lines).collect()
    }

    fn value(figures: &Figures, name: &str) -> String {
        let lines = printed(figures);
        let found = lines.iter().find(|(found, _)| found == name);
        found.unwrap_or_else(|| panic!("{name} is printed")).1.clone()
    }

    #[test]
    fn every_name_is_the_references_and_of_its_kind() {
        let recorded = recorded();
        for (name, _) in printed(&Figures::default()) {
            assert!(recorded.contains(&name.as_str()), "the reference prints {name}");
        }
    }

    #[test]
    fn every_name_of_the_reference_is_here_or_absent_for_a_reason() {
        let here = printed(&Figures::default());
        let absent: Vec<&str> = ABSENT.iter().flat_map(|(_, names)| names.split_whitespace()).collect();
        let is_absent = |recorded: &str| {
            absent.iter().any(|name| {
                let part = recorded.strip_suffix(name).map(|part| part.trim_end_matches('_'));
                // A part of a summary, or a part and the label of a labelled one.
                part.is_some_and(|part| {
                    let parts = ["avg", "min", "max", "cnt", "sum", "p50", "p95", "p99", "p999"];
                    part.is_empty() || parts.contains(&part.split('_').next().unwrap_or_default())
                })
            })
        };
        for name in recorded() {
            let is_here = here.iter().any(|(here, _)| here == name) || ["version", "server_state"].contains(&name);
            assert!(is_here != is_absent(name), "{name}: here {is_here}, absent {}", is_absent(name));
        }
        for name in absent {
            assert!(recorded().iter().any(|recorded| recorded.ends_with(name)), "the reference has {name}");
        }
    }

    #[test]
    fn sizes_are_unknown_before_the_first_response() {
        for name in ["last_client_response_size", "min_client_response_size", "max_client_response_size"] {
            assert_eq!(value(&Figures::default(), name), "-1");
        }
    }

    #[test]
    fn time_to_sync_adds_up_before_it_is_rounded() {
        let mut figures = Figures::default();
        for took_us in [600, 700, 900, 1900] {
            figures.engine.synced(took_us);
        }
        let shown = ["cnt", "sum", "min", "max"].map(|part| value(&figures, &format!("{part}_fsynctime")));
        assert_eq!(shown, ["4", "4", "0", "1"]);
        assert_eq!(value(&figures, "p50_sync_processor_queue_flush_time_ms"), "0");
        assert_eq!(value(&figures, "p99_sync_processor_queue_flush_time_ms"), "1");
    }

    #[test]
    fn latency_is_that_of_reads_and_updates() {
        let mut figures = Figures::default();
        for latency_ms in [0, 0, 1] {
            figures.stats.reads.record(latency_ms);
        }
        figures.stats.updates.record(12);
        let shown = ["avg_latency", "max_latency", "cnt_readlatency", "sum_updatelatency", "p50_updatelatency"];
        assert_eq!(shown.map(|name| value(&figures, name)), ["3.25", "12", "3", "12", "12"]);
    }

    #[test]
    fn words_count_as_packets_and_bytes() {
        let figures = Figures { words: 3, ..Figures::default() };
        assert_eq!(["packets_received", "bytes_received_count"].map(|name| value(&figures, name)), ["3", "12"]);
    }

    #[test]
    fn quotas_are_added_up_for_each_top_level_znode() {
        let quota = NamespaceQuota { count_limit: 10, bytes_limit: -1, count_usage: 3, bytes_usage: 7 };
        let figures = Figures { quotas: [("q".to_owned(), quota)].into(), ..Figures::default() };
        assert_eq!(value(&figures, "q_quota_count_limit_per_namespace"), "10");
        assert_eq!(value(&figures, "q_quota_bytes_limit_per_namespace"), "-1");
        assert_eq!(value(&figures, "q_quota_bytes_usage_per_namespace"), "7");
    }
}
