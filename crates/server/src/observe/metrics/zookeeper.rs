//! The metrics that ZooKeeper also has, with the same name and kind, and a meaning that is correct
//! here; and one that `mntr` shows in addition, the expiry of the certificate.
//!
//! Metrics of mechanisms that do not exist here are left out; docs/metrics.md gives the reason for
//! each. `srst` resets counters and summaries and, among the gauges, latencies, packets and
//! response sizes. Source: `ServerMetrics`, `ZooKeeperServer#registerMetrics`.

use oxkeeper_replica::stats::Distribution;

use super::family::{self, Family};
use super::figures::{Figures, summary};
use super::windows::Windows;
use super::{own, process};
use crate::observe::words::metrics::{Metric, Number, Percentiles, Summary, Value};
use crate::telemetry::counters::signed;
use crate::telemetry::role::Role;

impl Figures {
    /// Returns all metrics that ZooKeeper also has.
    pub(crate) fn metrics(&self) -> Vec<Metric> {
        let mut metrics = self.gauges();
        metrics.extend(self.ensemble_gauges());
        metrics.extend(self.quota_gauges());
        // ZooKeeper does not have this one: expiry of the client certificate, Unix time.
        let expiry = |at_s| {
            Metric::gauge("tls_certificate_expiry_timestamp_seconds", at_s)
                .help("When the certificate for clients expires, Unix time")
        };
        metrics.extend(self.tls.expires_s.map(expiry));
        metrics.extend(self.counters());
        metrics.extend(self.summaries().into_iter().map(Row::metric));
        metrics
    }

    /// Returns all metrics: ZooKeeper's, our own, and those of the process.
    pub(crate) fn families(&self, windows: &mut Windows) -> Vec<Family> {
        let mut metrics = self.metrics();
        for row in self.summaries() {
            let recent = windows.percentiles(row.name, row.values, [500, 900, 990], self.uptime_ms);
            metrics.iter_mut().filter(|metric| metric.name == row.name).for_each(|metric| metric.recent = recent);
        }
        let mut families = family::group(metrics);
        families.extend(own::families(self));
        families.extend(process::families(self.open_files, self.open_files_max));
        families
    }

    fn gauges(&self) -> Vec<Metric> {
        let latency = summary(&self.stats.latency());
        let [last_size, min_size, max_size] = self.stats.responses.shown();
        let [local, remote] = self.stats.plain;
        let int = |name, help, value: i64| Metric::gauge(name, value).help(help);
        let real = |name, help, value| Metric::new(name, Value::Gauge(Number::Real(value))).help(help);
        vec![
            int("ephemerals_count", "Ephemeral znodes", self.ephemerals as i64),
            int("num_alive_connections", "Connections of clients", self.connections as i64),
            real("avg_latency", "Average time to answer a request since the last reset, ms", latency.average()),
            int("outstanding_requests", "Requests that wait for an answer", signed(self.outstanding)),
            int("znode_count", "Znodes; the root counts twice, as in ZooKeeper", self.znodes as i64),
            int("global_sessions", "Sessions of the whole ensemble", self.sessions as i64),
            int("last_client_response_size", "Bytes of the last response; -1 before the first", last_size),
            int("packets_sent", "Replies and notifications sent since the last reset", signed(self.stats.sent)),
            int("packets_received", "Requests received since the last reset", self.received()),
            int("max_client_response_size", "Bytes of the longest response; -1 before the first", max_size),
            real("connection_drop_probability", "Chance that a new connection is dropped", self.drop_probability),
            int("watch_count", "Watches that are set", self.watches as i64),
            // ZooKeeper: counts only TLS handshakes; here, every failed authentication counts.
            int("auth_failed_count", "Authentications that failed", signed(self.stats.auth_failed + self.tls.failed)),
            int("non_mtls_local_conn_count", "Connections without TLS from this machine so far", signed(local)),
            int("non_mtls_remote_conn_count", "Connections without TLS from other machines so far", signed(remote)),
            int("outstanding_tls_handshake", "Handshakes of TLS under way", signed(self.tls.handshakes)),
            int("min_latency", "Least time to answer a request since the last reset, ms", latency.min),
            int("max_file_descriptor_count", "Most files the process may have open", self.open_files_max),
            int("approximate_data_size", "Bytes of all paths and data", signed(self.data_size)),
            int("open_file_descriptor_count", "Files the process has open", self.open_files),
            // Sessions in read-only mode and local sessions.
            int("local_sessions", "Sessions that only this server knows", self.local_sessions as i64),
            int("uptime", "Time since the server was started, ms", signed(self.uptime_ms)),
            int("max_latency", "Greatest time to answer a request since the last reset, ms", latency.max),
            int("min_client_response_size", "Bytes of the shortest response; -1 before the first", min_size),
        ]
    }

    /// Returns the gauges of a member of an ensemble, and those of its leader.
    fn ensemble_gauges(&self) -> Vec<Metric> {
        let quorum_size = Metric::gauge("quorum_size", self.quorum_size as i64).help("Servers that vote");
        match self.place.role {
            Role::Leader => [vec![quorum_size], self.leader_gauges()].concat(),
            Role::Follower | Role::Observer => vec![quorum_size],
            Role::Standalone | Role::NotServing | Role::ReadOnly => Vec::new(),
        }
    }

    fn leader_gauges(&self) -> Vec<Metric> {
        let place = &self.place;
        let [last, min, max] = self.engine.proposal_sizes();
        let (uptime_ms, learners) = (signed(self.uptime_ms.saturating_sub(place.since_ms)), &place.learners);
        let int = |name, help, value: i64| Metric::gauge(name, value).help(help);
        vec![
            int("learners", "Servers linked to this leader", learners.linked as i64),
            int("synced_followers", "Followers in step with this leader", learners.followers as i64),
            int("synced_non_voting_followers", "Those of them without a vote", learners.non_voting as i64),
            int("synced_observers", "Observers in step with this leader", learners.observers.len() as i64),
            // A sync waits in the log like a write.
            int("pending_syncs", "Syncs that wait; they wait as writes do", 0),
            int("leader_uptime", "Time since this server leads, ms", uptime_ms),
            int("last_proposal_size", "Bytes of the last proposal; -1 before the first", last),
            int("min_proposal_size", "Bytes of the shortest proposal; -1 before the first", min),
            int("max_proposal_size", "Bytes of the longest proposal; -1 before the first", max),
        ]
    }

    fn quota_gauges(&self) -> impl Iterator<Item = Metric> {
        self.quotas.iter().flat_map(|(namespace, quota)| {
            let gauge = |name, help, value| Metric::gauge(name, value).help(help).labelled(namespace.clone());
            [
                gauge("quota_count_limit_per_namespace", "Znodes that quotas allow", quota.count_limit),
                gauge("quota_bytes_limit_per_namespace", "Bytes that quotas allow", quota.bytes_limit),
                gauge("quota_count_usage_per_namespace", "Znodes that quotas count", quota.count_usage),
                gauge("quota_bytes_usage_per_namespace", "Bytes that quotas count", quota.bytes_usage),
            ]
        })
    }

    fn counters(&self) -> impl Iterator<Item = Metric> {
        let (stats, engine) = (&self.stats, &self.engine);
        // ZooKeeper: a four-letter word has four bytes and no length prefix.
        let words_len = 4 * self.words;
        let counters = [
            ("watch_bytes", "Bytes of notifications", stats.event_bytes),
            ("connection_rejected", "Connections refused because there were too many", self.rejected + stats.rationed),
            ("cnxn_closed_without_zk_server_running", "Clients that came while nobody was served", stats.unserved),
            ("sessionless_connections_expired", "Connections closed that began no session in time", stats.silent),
            ("connection_drop_count", "Clients that were gone without closing their session", stats.dropped),
            (
                "tls_handshake_exceeded",
                "Connections refused because too many handshakes were under way",
                self.tls.exceeded,
            ),
            ("unsuccessful_handshake", "Handshakes of TLS that failed", self.tls.failed),
            ("bytes_received_count", "Bytes of requests", stats.received_bytes + words_len),
            (
                "request_throttle_wait_count",
                "Times a client had to wait because too much was proposed",
                stats.held_back,
            ),
            ("throttled_ops", "Requests refused because they had waited too long", stats.throttled),
            ("stale_requests_dropped", "Requests dropped because their client was gone", stats.stale_dropped),
            ("ensemble_auth_success", "Clients that look for this ensemble", stats.ensemble_met),
            ("ensemble_auth_fail", "Clients that look for another ensemble", stats.ensemble_failed),
            ("ensemble_auth_skip", "Clients to which any ensemble would do", stats.ensemble_skipped),
            ("large_requests_rejected", "Requests refused because too many large ones waited", stats.large_rejected),
            ("response_bytes", "Bytes of replies", stats.reply_bytes),
            ("connection_revalidate_count", "Handshakes of sessions that went on", stats.resumes),
            ("commit_count", "Writes that were committed, on a leader", engine.committed),
            ("proposal_count", "Writes that were proposed, on a leader", engine.proposed),
            ("snapshot_error_count", "Checkpoints that failed", self.checkpoints.failed),
            ("snapshot_rate_limited_count", "Snapshots refused as too frequent", self.admin.snapshots_limited),
            ("restore_rate_limited_count", "Restores refused as too frequent", self.admin.restores_limited),
            ("restore_error_count", "Restores that failed", self.admin.restores_failed),
            // ZooKeeper: a snapshot. Here: the durable tree sent to a peer that is new or too far
            // behind.
            ("snap_count", "Whole states sent to peers", engine.states_sent),
            ("diff_count", "Peers that came into step with this leader by entries it sent them", engine.joined),
            ("learner_commit_received_count", "Writes that were committed by another leader", engine.learned),
            (
                "quit_leading_due_to_disloyal_voter",
                "Times this server ceased to lead: the voters follow another one, or are out of reach",
                self.outages.quit_leading,
            ),
            (
                "insecure_admin_count",
                "Connections of administrators without TLS, where both are spoken",
                self.admin.insecure,
            ),
            ("unrecoverable_error_count", "Always 0: such an error ends the process", 0),
            (
                "digest_mismatches_count",
                "Times this server's state was found to differ from a peer's, and restored snapshots whose tree is not the one whose digest stands in them",
                engine.digest_mismatches + self.admin.digest_mismatches,
            ),
            ("looking_count", "Times this server began to look for a leader", self.outages.count),
            ("connection_request_count", "Handshakes asked for", stats.connects),
            ("stale_sessions_expired", "Sessions that expired", engine.sessions_expired),
            ("sync_processor_request_queued", "Writes that were handed to the log", engine.taken.tally.sum),
        ];
        counters.into_iter().map(|(name, help, value)| Metric::counter(name, signed(value)).help(help))
    }

    fn summaries(&self) -> Vec<Row<'_>> {
        let (engine, startup, fired) = (&self.engine, &self.startup, &self.fired);
        let us = summary(&engine.sync_us);
        // ZooKeeper: rounds every value down to ms before adding up; here, the sum is rounded.
        let sync_ms = Summary { min: us.min / 1000, max: us.max / 1000, count: us.count, sum: us.sum / 1000 };
        vec![
            Row::basic(
                "connection_token_deficit",
                "Tokens that new connections found missing",
                &self.stats.token_deficit,
            ),
            Row::basic("node_created_watch_count", "Watches fired by a creation that fired any", &fired.created),
            Row::basic("node_deleted_watch_count", "Watches fired by a deletion that fired any", &fired.deleted),
            Row::basic("startup_txns_load_time", "Time to replay the log at start, ms", &startup.replay_ms),
            Row::basic("sync_processor_queue_size", "Writes found waiting for the log", &engine.taken),
            Row { sums: sync_ms, ..Row::basic("fsynctime", "Time to write and sync the log, ms", &engine.sync_ms) },
            Row::basic("snapshottime", "Time of a checkpoint, ms", &self.checkpoints.took_ms),
            Row::basic("restore_time", "Time of a restore, ms", &self.admin.restores_ms),
            Row::basic("unavailable_time", "Time until this server served again, ms", &self.outages.took_ms),
            Row::basic(
                "leader_unavailable_time",
                "Time until this server served again as the leader, ms",
                &self.outages.took_until_leading_ms,
            ),
            Row::basic("election_time", "Time without a leader, ms", &self.outages.elections_ms),
            Row::basic(
                "follower_sync_time",
                "Time from knowing a leader to serving as its follower, ms",
                &self.outages.follower_syncs_ms,
            ),
            Row::basic(
                "observer_sync_time",
                "Time from knowing a leader to serving as its observer, ms",
                &self.outages.observer_syncs_ms,
            ),
            Row::basic("startup_txns_loaded", "Writes replayed at start", &startup.replayed),
            Row::basic("dbinittime", "Time to load everything at start, ms", &startup.whole_ms),
            Row::basic("sync_processor_batch_size", "Writes that share a sync", &engine.applied),
            Row::basic(
                "node_children_watch_count",
                "Watches fired by a change of children that fired any",
                &fired.children_changed,
            ),
            Row::basic(
                "node_changed_watch_count",
                "Watches fired by a change of data that fired any",
                &fired.data_changed,
            ),
            Row::basic("startup_snap_load_time", "Time to load the durable tree at start, ms", &startup.load_ms),
            Row::advanced(
                "propagation_latency",
                "Age of a log entry when it is applied here, by the wall clocks, ms",
                &engine.ages_ms,
            ),
            Row::advanced(
                "commit_propagation_latency",
                "Age of another leader's log entry when this server knows that it is committed, ms",
                &engine.ages_learned_ms,
            ),
            Row::advanced(
                "quorum_ack_latency",
                "Age of a log entry when this leader knows that a majority has it, ms",
                &engine.ages_led_ms,
            ),
            Row::advanced("updatelatency", "Time to answer a write, ms", &self.stats.updates),
            Row::advanced("readlatency", "Time to answer a read, ms", &self.stats.reads),
            Row::advanced(
                "request_throttle_queue_time_ms",
                "Time a request waited to be let in, ms",
                &self.stats.throttled_ms,
            ),
            Row::advanced("sync_processor_queue_flush_time_ms", "Time to write and sync the log, ms", &engine.sync_ms),
        ]
    }
}

/// A summary before it is printed.
struct Row<'a> {
    name: &'static str,
    help: &'static str,
    values: &'a Distribution,
    /// Totals, usually those of `values`.
    sums: Summary,
    /// `mntr` includes percentiles.
    advanced: bool,
}

impl<'a> Row<'a> {
    fn basic(name: &'static str, help: &'static str, values: &'a Distribution) -> Row<'a> {
        Row { name, help, values, sums: summary(&values.tally), advanced: false }
    }

    fn advanced(name: &'static str, help: &'static str, values: &'a Distribution) -> Row<'a> {
        Row { advanced: true, ..Row::basic(name, help, values) }
    }

    fn metric(self) -> Metric {
        let value = if self.advanced {
            let [p50, p95, p99, p999] = [500, 950, 990, 999].map(|per_mille| signed(self.values.percentile(per_mille)));
            Value::Distribution(self.sums, Percentiles { p50, p95, p99, p999 })
        } else {
            Value::Summary(self.sums)
        };
        Metric::new(self.name, value).help(self.help)
    }
}

#[cfg(test)]
mod tests {
    use oxkeeper_proto::ServerId;

    use oxkeeper_replica::ensemble::Packed;

    use super::*;
    use crate::observe::metrics::quota::NamespaceQuota;
    use crate::telemetry::role::Learners;
    use crate::telemetry::role::Place;

    /// Returns ZooKeeper's metrics that are left out here, from the page with the reason for each.
    fn absent() -> Vec<&'static str> {
        let page = include_str!("../../../../../docs/metrics.md");
        let (_, table) = page.split_once("## Left out").expect("the page has that part");
        let rows = table.lines().filter_map(|line| line.strip_prefix("| `"));
        let names = |row: &'static str| row.split('|').next().into_iter().flat_map(|names| names.split_whitespace());
        rows.flat_map(names).map(|name| name.trim_matches('`')).collect()
    }

    /// Returns the recorded metric names of a standalone ZooKeeper server.
    fn recorded() -> Vec<&'static str> {
        names(include_str!("../words/golden/busy.mntr"))
    }

    fn names(recorded: &'static str) -> Vec<&'static str> {
        recorded.lines().filter_map(|line| line.strip_prefix("zk_")?.split('\t').next()).collect()
    }

    /// Returns the metrics that a member of an ensemble adds to those of a standalone server.
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
        // `mntr` itself prints the state. Each link has a single queue, with a limit in bytes.
        let is_told = |name: &&str| *name != "peer_state" && !name.contains("learner_handler_qp");
        let recorded = |text| names(text).into_iter().filter(is_told).collect::<Vec<_>>();
        assert_eq!(added(Role::Leader), recorded(include_str!("../words/golden/leader.mntr-names")));
        assert_eq!(added(Role::Follower), recorded(include_str!("../words/golden/follower.mntr-names")));
    }

    #[test]
    fn a_leader_tells_its_followers_and_proposals() {
        let learners = Learners { linked: 4, followers: 2, non_voting: 1, observers: vec![ServerId(4)] };
        let place = Place { role: Role::Leader, since_ms: 400, learners, ..Place::default() };
        let mut figures = Figures { place, uptime_ms: 1000, quorum_size: 3, ..Figures::default() };
        let shown = |figures: &Figures| {
            let names = [
                "quorum_size",
                "learners",
                "synced_followers",
                "synced_non_voting_followers",
                "synced_observers",
                "leader_uptime",
            ];
            let sizes = ["last_proposal_size", "min_proposal_size", "max_proposal_size"];
            (names.map(|name| value(figures, name)).join(" "), sizes.map(|name| value(figures, name)).join(" "))
        };
        assert_eq!(shown(&figures), ("3 4 2 1 1 600".to_owned(), "-1 -1 -1".to_owned()));
        for len in [48, 96, 94] {
            let mut packed = Packed { last_len: len, commands: 2, ..Packed::default() };
            packed.lens.record(len);
            figures.engine.proposed(&packed);
        }
        figures.engine.proposed(&Packed::default());
        assert_eq!(value(&figures, "proposal_count"), "6");
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
    fn every_metric_says_what_it_is() {
        let place = Place { role: Role::Leader, ..Place::default() };
        let figures =
            Figures { place, quotas: [("q".to_owned(), NamespaceQuota::default())].into(), ..Figures::default() };
        let families = figures.families(&mut Windows::default());
        let mut names: Vec<&str> = families.iter().map(|family| family.name.as_ref()).collect();
        for family in &families {
            assert!(family.help.len() > 4 && !family.samples.is_empty(), "{}", family.name);
        }
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count, "no name stands twice");
    }

    #[test]
    fn every_name_of_the_reference_is_here_or_absent_for_a_reason() {
        let here = printed(&Figures::default());
        let absent = absent();
        let is_absent = |recorded: &str| {
            absent.iter().any(|name| {
                let part = recorded.strip_suffix(name).map(|part| part.trim_end_matches('_'));
                // A component of a summary, or a component plus the label of a labelled one.
                part.is_some_and(|part| {
                    let parts = ["", "avg", "min", "max", "cnt", "sum", "p50", "p95", "p99", "p999"];
                    let labelled = name.ends_with("_per_namespace");
                    parts.contains(&if labelled { part.split('_').next().unwrap_or_default() } else { part })
                })
            })
        };
        for name in recorded() {
            let is_here = here.iter().any(|(here, _)| here == name) || ["version", "server_state"].contains(&name);
            assert!(is_here != is_absent(name), "{name}: here {is_here}, absent {}", is_absent(name));
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
