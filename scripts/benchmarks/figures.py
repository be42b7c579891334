"""The rows of a benchmark, their targets, the samples of every server, and the table made from them.

Samples are plain data: {row's key: {server: [figures or the reason why there are none, one for each turn]}}; figures are
{metric: value}. This module does not depend on what is measured.
"""

import dataclasses
import json
import statistics
import subprocess

NAMES = {"zookeeper": "ZooKeeper", "oxkeeper": "oxkeeper", "bound": "bound"}
LABELS = {
    "ops_per_s": "",
    "per_s": "",
    "p50_us": "p50",
    "p99_us": "p99",
    "server_cpu_us_per_op": "CPU",
    "seconds": "",
    "max_seconds": "longest",
    "bytes": "",
    "peak_bytes": "peak",
    "ratio": "",
    "stale_percent": "stale",
    "kept": "",
    "lost": "sessions lost",
    "disconnects": "disconnects",
    "changes": "changes",
}
# Metrics for which the worst run counts, not the median: they measure what must not happen.
WORST = ("max_seconds", "lost", "disconnects", "changes")
# Key of failures that do not belong to a single row.
WHOLE_TURN = "(whole turn)"


@dataclasses.dataclass(frozen=True)
class Target:
    """Requires `metric` of oxkeeper, optionally divided by that of `against`, to be at most or at least `limit`."""

    metric: str
    op: str  # "≤" or "≥"
    limit: float
    against: str | None = None

    def text(self):
        shown = f"{self.limit:g} × {NAMES[self.against]}" if self.against else amount(self.metric, self.limit)
        return f"{LABELS[self.metric]} {self.op} {shown}".strip()

    def reached(self, figures):
        """Returns whether the target is met, or None if a figure is missing."""
        ours = figures.get("oxkeeper", {}).get(self.metric)
        theirs = figures.get(self.against, {}).get(self.metric) if self.against else 1
        if ours is None or not theirs:
            return None
        return ours / theirs <= self.limit if self.op == "≤" else ours / theirs >= self.limit


@dataclasses.dataclass(frozen=True)
class Row:
    key: str
    label: str
    metrics: tuple
    targets: tuple
    load: tuple = ()  # arguments of `oxkeeper bench`, for the rows that are one load


LOAD = ("ops_per_s", "p50_us", "p99_us", "server_cpu_us_per_op")


def load_row(workload, sessions, in_flight, label, *targets, metrics=LOAD):
    arguments = ("--workload", workload, "--sessions", str(sessions), "--in-flight", str(in_flight))
    return Row(f"{workload} {sessions}x{in_flight}", label, metrics, targets, arguments)


def loads_method(scale):
    """Returns the page's description of the loads."""
    return f"""\
Before the loads {scale.jvm_warmup:g} s of mixed load warm the JVM, and each load has {scale.warmup:g} s of its own before the {scale.duration:g} s measured."""


class Turn:
    """Measures servers of one kind and stores the figures as samples. A `target` has an `address` and `pids`."""

    def __init__(self, kind, oxkeeper, scale, samples):
        self.kind = kind
        self.oxkeeper = oxkeeper
        self.scale = scale
        self.samples = samples
        self.latest = {}

    def file(self, key, figures):
        """Stores the metrics of row `key`, or a string that says why there are none."""
        self.latest[key] = figures if isinstance(figures, dict) else {}
        self.samples.setdefault(key, {}).setdefault(self.kind, []).append(figures)
        shown = figures if isinstance(figures, str) else " · ".join(show(name, value) for name, value in figures.items())
        print(f"{NAMES[self.kind]:10} {key:20} {shown}", flush=True)

    def command(self, target, *arguments):
        pids = [argument for pid in target.pids for argument in ("--pid", str(pid))]
        # The next load reuses the znodes of this one.
        keep = ["--keep"] if "--workload" in arguments else []
        return [self.oxkeeper, "bench", *arguments, *keep, "--server", target.address, *pids, "-o", "json"]

    def bench(self, target, *arguments):
        """Runs `oxkeeper bench` once. Returns its report."""
        done = subprocess.run(self.command(target, *arguments), stdin=subprocess.DEVNULL, capture_output=True, text=True)
        if done.returncode != 0:
            raise RuntimeError(f"failed: {reason(done.stderr)}")
        return json.loads(done.stdout)

    def take(self, key, measure):
        """Stores the result of `measure`, or the reason why it failed."""
        try:
            self.file(key, measure())
        except (RuntimeError, OSError, EOFError) as error:
            self.file(key, str(error))

    def load(self, target, row):
        report = self.bench(target, *row.load, "--duration", str(self.scale.duration), "--warmup", str(self.scale.warmup))
        return {metric: report[metric] for metric in row.metrics}

    def loads(self, target, rows):
        for row in rows:
            self.take(row.key, lambda row=row: self.load(target, row))

    def warm(self, target):
        """Warms up the JVM, whose figures mean nothing before that."""
        self.bench(target, "--workload", "mixed:50", "--warmup", "0", "--duration", str(self.scale.jvm_warmup))

    def ratio(self, key, to, metric):
        over, under = self.latest.get(key, {}).get(metric), self.latest.get(to, {}).get(metric)
        if not over or not under:
            raise RuntimeError(f"failed: {key} or {to} did")
        return over / under


def reason(stderr):
    """Returns the error message of a failed run of `oxkeeper bench`, on one line."""
    words = [line for line in stderr.split("Stack backtrace")[0].splitlines() if not line.startswith("measuring")]
    return " ".join(" ".join(words).split())[:300]


def show(metric, value):
    return f"{LABELS[metric]} {amount(metric, value)}".strip()


def amount(metric, value):
    match metric:
        case "ops_per_s":
            return f"{value / 1e3:.3g} k/s" if value < 1e6 else f"{value / 1e6:.3g} M/s"
        case "per_s":
            return f"{value:.3g}/s"
        case "p50_us" | "p99_us" | "server_cpu_us_per_op":
            return f"{value:.3g} µs" if value < 1000 else f"{value / 1e3:.3g} ms"
        case "seconds" | "max_seconds":
            return f"{value:.2g} s" if value >= 0.1 else f"{value * 1e3:.3g} ms"
        case "bytes" | "peak_bytes":
            return f"{value:.3g} B" if abs(value) < 1000 else f"{value / 1e3:.3g} kB" if abs(value) < 1e6 else f"{value / 1e6:.3g} MB"
        case "kept" | "lost" | "disconnects" | "changes":
            return f"{value:g}"
        case "ratio":
            return f"{value:.2f}"
        case "stale_percent":
            return f"{value:.1f} %"
    raise ValueError(metric)


def medians(taken, metrics):
    """Returns the median of each metric over the runs that succeeded; for the metrics in WORST, the worst."""
    good = [figures for figures in taken if isinstance(figures, dict)]
    return {metric: (max if metric in WORST else statistics.median)(figures[metric] for figures in good) for metric in metrics} if good else {}


def spread(taken, metric):
    """Returns half of the range, in percent of the median."""
    values = [figures[metric] for figures in taken if isinstance(figures, dict)]
    middle = statistics.median(values)
    return (max(values) - min(values)) / 2 / middle * 100 if middle else 0


def cell(taken, metrics):
    failed = [figures for figures in taken if isinstance(figures, str)]
    middle = medians(taken, metrics)
    if not middle:
        return "failed" if failed else ""
    parts = []
    for metric in metrics:
        repeated = len(taken) - len(failed) > 1 and metric not in WORST
        margin = f" ±{spread(taken, metric):.0f} %" if repeated else ""
        parts.append(show(metric, middle[metric]) + margin)
    return " · ".join(parts) + (f" · {len(failed)} of {len(taken)} failed" if failed else "")


def ratios(figures, metrics):
    """Returns oxkeeper ÷ ZooKeeper."""
    ours, theirs = figures.get("oxkeeper"), figures.get("zookeeper")
    if not ours or not theirs:
        return ""
    return " · ".join(f"{LABELS[metric]} {ours[metric] / theirs[metric]:.2f}".strip() for metric in metrics if theirs[metric])


def verdicts(row, figures):
    marks = {True: "reached", False: "**missed**", None: "not measured"}
    return " · ".join(marks[target.reached(figures)] for target in row.targets)


def table(rows, servers, samples, names):
    """Returns the table. `servers` are the columns, in order; `names` fill the placeholders in the labels."""
    head = ["what", *(NAMES[kind] for kind in servers), "oxkeeper ÷ ZooKeeper", "target", "reached"]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for row in rows:
        taken = samples.get(row.key, {})
        figures = {kind: medians(taken.get(kind, []), row.metrics) for kind in servers}
        cells = [cell(taken.get(kind, []), row.metrics) for kind in servers]
        targets = " · ".join(target.text() for target in row.targets)
        line = [row.label.format(**names), *cells, ratios(figures, row.metrics), targets, verdicts(row, figures)]
        lines.append("| " + " | ".join(line) + " |")
    return "\n".join(lines)


def failures(samples):
    """Returns a line for each figure that could not be measured."""
    lines = []
    for key, by_kind in samples.items():
        for kind, taken in by_kind.items():
            lines += [f"- {NAMES[kind]}, {key}: {figures}" for figures in taken if isinstance(figures, str)]
    return lines
