"""Metrics as Prometheus reads them. Source: PrometheusMetricsProvider, io.prometheus.client.exporter.common.TextFormat."""

import json
import os
import re
import time
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

import wire
from connection import Connection
from families import ADVANCED, BASIC, COUNTERS, ENSEMBLE_GAUGES, GAUGES
from harness import SERVERS, case, equal, eventually
from http_site import ask, own_server
from server import free_ports

# Metrics that dashboards and alerts for ZooKeeper use.
ON_DASHBOARDS = """
    znode_count watch_count ephemerals_count approximate_data_size num_alive_connections outstanding_requests avg_latency max_latency
    min_latency packets_received packets_sent open_file_descriptor_count max_file_descriptor_count uptime global_sessions
    local_sessions fsynctime readlatency updatelatency snapshottime election_time looking_count connection_rejected
    stale_sessions_expired commit_count proposal_count connection_drop_count bytes_received_count response_bytes
    process_cpu_seconds_total process_open_fds process_max_fds process_resident_memory_bytes process_virtual_memory_bytes
    process_start_time_seconds node_changed_watch_count node_created_watch_count node_deleted_watch_count
    node_children_watch_count startup_txns_load_time startup_snap_load_time dbinittime unavailable_time leader_unavailable_time
    quota_count_usage_per_namespace sync_processor_batch_size
""".split()
PROJECT = Path(__file__).resolve().parents[2]
DOCS = PROJECT / "docs"
BOARD = PROJECT / "packaging" / "grafana" / "oxkeeper.json"
PROVIDER = """\
metricsProvider.className=org.apache.zookeeper.metrics.prometheus.PrometheusMetricsProvider
metricsProvider.httpHost=127.0.0.1
metricsProvider.httpPort={}
"""


def families(port):
    """Returns families by name. A counter's name is complete here, although the parser takes `_total` for a suffix."""
    status, headers, body = ask(port, "/metrics")
    equal((status, headers["content-type"]), (200, "text/plain; version=0.0.4; charset=utf-8"), "answer")
    names = [line.split()[2] for line in body.splitlines() if line.startswith("# TYPE ")]
    parsed = list(text_string_to_metric_families(body))
    equal(len(parsed), len(names), "families")
    return dict(zip(names, parsed))


def value(family, suffix="", **labels):
    wanted = [sample for sample in family.samples if sample.name.endswith(suffix) and sample.labels == labels]
    equal(len(wanted), 1, f"samples of {family.name}{suffix} {labels}")
    return wanted[0].value


@case("metrics", "a port of their own, names, types and values", "the same in an ensemble")
def own_port(_):
    [port] = free_ports(1)
    with own_server(PROVIDER.format(port)) as deployment:
        deployment.start()
        client = Connection(("127.0.0.1", deployment.members[0].port))
        client.handshake()
        client.ask(wire.create("/app", b"12345"))
        client.ask(wire.create("/zookeeper/quota/app"))
        client.ask(wire.create("/zookeeper/quota/app/zookeeper_limits", b"count=10,bytes=-1"))
        client.ask(wire.get_data("/app", True))
        # Counts may be updated a moment after the replies that they count.
        eventually(lambda: value(families(port)["readlatency"], "_count") >= 1, "the read is counted")
        found = families(port)
        every_type(found)
        values(found, deployment.members[0])
        equal(ask(port, "/nope")[0], 404, "nothing else is there")
        client.end_session()


def every_type(found):
    types = {"gauge": GAUGES + ENSEMBLE_GAUGES, "counter": COUNTERS, "summary": BASIC + ADVANCED}
    for name, family in found.items():
        if name.startswith(("oxkeeper_", "jvm_")) and name != "jvm_pause_time_ms":
            continue
        [kind] = [kind for kind, names in types.items() if name in names] or ["none"]
        equal(family.type, kind, f"type of {name}")
        quantiles = [sample.labels["quantile"] for sample in family.samples if "quantile" in sample.labels]
        if quantiles and "_per_namespace" not in name:
            equal(quantiles, ["0.5"] if name in BASIC else ["0.5", "0.9", "0.99"], f"quantiles of {name}")
            equal({sample.name for sample in family.samples}, {name, f"{name}_count", f"{name}_sum"}, f"samples of {name}")
    missing = [name for name in ON_DASHBOARDS if name not in found]
    equal(missing, [], "missing")


def values(found, member):
    for name, want in (("znode_count", 8), ("watch_count", 1), ("num_alive_connections", 1), ("global_sessions", 1), ("looking_count", 0)):
        equal(value(found[name]), want, name)
    equal(value(found["quota_count_limit_per_namespace"], key="app"), 10, "limit of the quota")
    began = value(found["process_start_time_seconds"])
    assert abs(time.time() - began) < 60, f"the process began {time.time() - began} s ago"
    assert value(found["fsynctime"], "_count") >= 2, "writes are synced"
    assert value(found["updatelatency"], "_count") >= 2, "writes are counted"
    assert value(found["packets_received"]) >= 5, "packets are counted"


@case("metrics", "every name of ZooKeeper's is here, or left out for a reason", "the same in an ensemble")
def every_name(_):
    recorded = {*GAUGES, *ENSEMBLE_GAUGES, *COUNTERS, *BASIC, *ADVANCED}
    found = set().union(*(names_of(count) for count in ("", "-3")))
    left_out = left_out_names() if os.environ["ZK_KIND"] == "oxkeeper" else set()
    equal(sorted(left_out - recorded), [], "left out, and not there")
    equal(sorted(found & left_out), [], "left out, and here")
    equal(sorted(recorded - left_out - found), [], "missing")
    equal(sorted(found - recorded), [], "known nowhere")


def names_of(count):
    """Returns the names that all servers of a deployment show together, without those of oxkeeper and of the JVM."""
    with own_server(PROVIDER.format("@PORT@"), os.environ["ZK_KIND"] + count) as deployment:
        deployment.start()
        client = Connection(("127.0.0.1", deployment.members[0].port))
        client.handshake()
        for path, data in (("/app", b""), ("/zookeeper/quota/app", b""), ("/zookeeper/quota/app/zookeeper_limits", b"count=10,bytes=-1")):
            client.ask(wire.create(path, data))
        client.end_session()
        ports = [int(re.search(r"httpPort=(\d+)", (Path(member.directory) / "zoo.cfg").read_text())[1]) for member in deployment.members]
        shown = set().union(*(families(port) for port in ports))
        return {name for name in shown if name == "jvm_pause_time_ms" or not name.startswith(("oxkeeper_", "jvm_"))}


def left_out_names():
    """Returns the names in the table of docs/metrics.md."""
    table = (DOCS / "metrics.md").read_text().partition("## Left out")[2]
    return {name for row in re.findall(r"^\| (`.*?) \|", table, re.M) for name in re.findall(r"`(\w+)`", row)}


@case("metrics", "the board for Grafana asks for nothing that is not there", "the same in an ensemble")
def board(_):
    asked = board_names(json.loads(BOARD.read_text()))
    assert len(asked) > 40, f"only {len(asked)} names"
    equal(sorted(name for name in asked if name in left_out_names()), [], "left out")
    if os.environ["ZK_KIND"] == "zookeeper":
        return
    shown = set()
    for count in ("", "-3"):
        with own_server(PROVIDER.format("@PORT@"), "oxkeeper" + count) as deployment:
            deployment.start()
            for member in deployment.members:
                port = re.search(r"httpPort=(\d+)", (Path(member.directory) / "zoo.cfg").read_text())[1]
                found = families(int(port))
                shown |= {*found, *(sample.name for family in found.values() for sample in family.samples)}
    equal(sorted(asked - shown), [], "not there")


def board_names(value):
    """Returns the metrics in all expressions of a board."""
    if isinstance(value, list):
        return set().union(*map(board_names, value))
    if not isinstance(value, dict):
        return set()
    found = set().union(*map(board_names, value.values()))
    for text in (value.get("expr"), value.get("definition")):
        if text:
            # PromQL without its other syntax: only metric names remain, and functions, which are followed by a parenthesis.
            bare = re.sub(r'\{[^}]*\}|"[^"]*"|\[[^\]]*\]|\b(by|on|group_right)\s*\([^)]*\)|, instance\b', "", text)
            found |= set(re.findall(r"\b[a-z_][a-z0-9_]*\b(?!\s*\()", bare))
    return found
