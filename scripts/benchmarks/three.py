"""The benchmark of an ensemble of three servers, all on this machine, beside one of Apache ZooKeeper.

Owns the ensembles it starts, each with data of its own in a temporary directory. Every round starts each ensemble in turn, twice:
for the loads and the kills of the leader, and for a follower that was down. Loads go to all three servers, followers first, so a
load of one session uses a follower.
"""

import dataclasses
import json
import signal
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path

from alone import ATTEMPT_TIMEOUT_S, JVM_FLAGS, START_TIMEOUT_S, server_argv
from ensemble import Ensemble
from figures import WHOLE_TURN, Row, Target, load_row, loads_method, reason, Turn as AnyTurn
from server import COMPAT_DIR, four_letter_word

KEY = "three"
TITLE = "Three servers"
SERVERS = COLUMNS = ("zookeeper", "oxkeeper")
COUNT = 3
# The limits of Apache ZooKeeper's sample configuration.
ZOO_CFG = "tickTime=2000\ninitLimit=10\nsyncLimit=5\nmaxClientCnxns=0\nadmin.enableServer=false\n4lw.commands.whitelist=srvr\n"
MIXED_RATE = 15_000
# Background writes a second while the visibility of a write is measured: either ensemble handles them with ease.
VISIBLE_RATE = 2_000
# Writes a second while a follower catches up: far below the limit of either ensemble.
CATCH_UP_RATE = 5_000
CATCH_UP_LIMIT_S = 300
WORD_TIMEOUT_S = 2.0
# Interval between checks of a server that is starting.
LOOK_S = 0.002

LOAD_TARGETS = (Target("ops_per_s", "≥", 4, "zookeeper"), Target("server_cpu_us_per_op", "≤", 0.2, "zookeeper"))
SET_11 = load_row("set", 1, 1, "set 1×1, the session at a follower", Target("p50_us", "≤", 0.6, "zookeeper"), Target("server_cpu_us_per_op", "≤", 0.25, "zookeeper"))
SET_11_LEADER = dataclasses.replace(SET_11, key="set 1x1 leader", label="set 1×1, the session at the leader", targets=())
OPEN_LOOP = dataclasses.replace(
    load_row("mixed:90", 16, 64, "90 % get, open loop, {mixed_rate}/s", Target("p99_us", "≤", 10_000), metrics=("p50_us", "p99_us", "server_cpu_us_per_op")),
    key="mixed:90 open loop",
)
# Rows that are one load on all servers. The rate of an open loop is among its arguments.
LOADS = (
    load_row("get", 64, 1, "get 64×1", Target("ops_per_s", "≥", 3, "zookeeper")),
    load_row("get", 16, 16, "get 16×16", Target("ops_per_s", "≥", 3, "zookeeper")),
    load_row("get", 64, 64, "get 64×64", Target("ops_per_s", "≥", 3, "zookeeper")),
    SET_11,
    load_row("set", 16, 16, "set 16×16", *LOAD_TARGETS),
    load_row("set", 64, 16, "set 64×16", *LOAD_TARGETS),
    load_row("set", 64, 64, "set 64×64", *LOAD_TARGETS),
    load_row("mixed:90", 16, 16, "90 % get, 10 % set, 16×16", Target("ops_per_s", "≥", 4, "zookeeper")),
    load_row("mixed:90", 64, 16, "90 % get, 10 % set, 64×16", Target("ops_per_s", "≥", 4, "zookeeper")),
    dataclasses.replace(OPEN_LOOP, load=(*OPEN_LOOP.load, "--rate", str(MIXED_RATE))),
    load_row("connect", 2000, 16, "new sessions", Target("server_cpu_us_per_op", "≤", 0.25, "zookeeper"), metrics=("ops_per_s", "server_cpu_us_per_op")),
)
AFTER_SET_11 = LOADS.index(SET_11) + 1
VISIBLE = Row(
    "visible", "a write answered at one server → seen at the others", ("p50_us", "p99_us", "stale_percent"),
    (Target("p50_us", "≤", 1, "zookeeper"), Target("p99_us", "≤", 1, "zookeeper")), ("--workload", "visibility"),
)
VISIBLE_LOADED = dataclasses.replace(VISIBLE, key="visible, loaded", label="likewise, while others write {visible_rate}/s")
ROWS = (
    Row("start", "exec → all three serving", ("seconds",), (Target("seconds", "≤", 0.3),)),
    Row("idle", "idle memory (RSS), each", ("bytes",), (Target("bytes", "≤", 12e6),)),
    *LOADS[:AFTER_SET_11],
    SET_11_LEADER,
    *LOADS[AFTER_SET_11:],
    VISIBLE,
    VISIBLE_LOADED,
    Row(
        "kill", "kill -9 of the leader → writes go on, sessions at survivors", ("seconds", "max_seconds", "lost", "disconnects"),
        (Target("seconds", "≤", 0.3), Target("lost", "≤", 0), Target("disconnects", "≤", 0)),
    ),
    Row("kill own", "likewise, the session at the leader killed", ("seconds", "max_seconds"), ()),
    Row("catch-up", "a follower down for {missed} creates: exec → caught up", ("seconds",), (Target("seconds", "≤", 1, "zookeeper"),)),
    Row("meanwhile", "set, open loop, {catch_up_rate}/s at the other two, meanwhile", ("p50_us", "p99_us"), ()),
    Row("afterwards", "the same load afterwards", ("p50_us", "p99_us"), ()),
    Row("moved", "p99 of the former ÷ the latter", ("ratio",), (Target("ratio", "≤", 2),)),
)


@dataclasses.dataclass(frozen=True)
class Scale:
    """The sizes and durations of a run."""

    rounds: int
    duration: float
    warmup: float
    jvm_warmup: float
    kills: int
    missed: int
    afterwards: float


FULL = Scale(rounds=3, duration=4, warmup=1.5, jvm_warmup=8, kills=5, missed=1_000_000, afterwards=10)
QUICK = Scale(rounds=1, duration=1, warmup=0.5, jvm_warmup=4, kills=2, missed=50_000, afterwards=3)


def load_failover():
    """Loads compat-tests/failover as a module."""
    loader = SourceFileLoader("failover", str(COMPAT_DIR / "failover"))
    module = module_from_spec(spec_from_loader(loader.name, loader))
    sys.modules[loader.name] = module
    loader.exec_module(module)
    return module


failover = load_failover()


@dataclasses.dataclass(frozen=True)
class Servers:
    """Some servers of an ensemble, as a target of `oxkeeper bench`."""

    address: str
    pids: list


class Three:
    """A fresh ensemble. As a context manager, stops it."""

    def __init__(self, kind, oxkeeper):
        self.directory = Path(tempfile.mkdtemp(prefix=f"bench-{kind}-{COUNT}-"))
        self.ensemble = Ensemble.create(kind, COUNT, self.directory, "plain", ZOO_CFG)
        self.members = self.ensemble.members
        for member in self.members.values():
            # Not the flags of the tests, which make the start faster and everything else slower.
            member.argv = server_argv(kind, oxkeeper, member.directory / "zoo.cfg")

    def __enter__(self):
        try:
            self.start_s = self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        for number in self.members:
            self.ensemble.kill(number)
        shutil.rmtree(self.directory, ignore_errors=True)

    def start(self):
        """Starts all servers. Returns the time from exec until each server has reported that it leads or follows."""
        begun = time.monotonic()
        for member in self.members.values():
            member.spawn()
        waiting = list(self.members)
        while waiting:
            if self.ensemble.mode(waiting[0], ATTEMPT_TIMEOUT_S) in ("leader", "follower"):
                waiting.pop(0)
            elif self.members[waiting[0]].died():
                raise RuntimeError(f"server {waiting[0]} ended while starting: {self.last_words(waiting[0])}")
            elif time.monotonic() - begun > START_TIMEOUT_S:
                raise RuntimeError(f"server {waiting[0]} did not serve within {START_TIMEOUT_S} s: {self.last_words(waiting[0])}")
            else:
                time.sleep(LOOK_S)
        return time.monotonic() - begun

    def last_words(self, number):
        return " | ".join(self.members[number].log_tail(5).splitlines())

    def servers(self, numbers):
        members = [self.members[number] for number in numbers]
        return Servers(",".join(member.address for member in members), [member.pid() for member in members])

    def followers_first(self):
        leader = self.ensemble.leader()
        return [*(number for number in self.members if number != leader), leader]

    def all(self):
        return self.servers(self.followers_first())

    def resident(self):
        """Returns the RSS of one server, on average."""
        statuses = [Path(f"/proc/{pid}/status").read_text() for pid in self.all().pids]
        lines = [next(line for line in status.splitlines() if line.startswith("VmRSS:")) for status in statuses]
        return statistics.mean(1024 * int(line.split()[1]) for line in lines)

    def state(self, number):
        """Returns the mode of a server, and the last zxid that it has applied."""
        member = self.members[number]
        answer = four_letter_word(member.port, "srvr", WORD_TIMEOUT_S, member.host)
        words = dict(line.split(": ", 1) for line in answer.splitlines() if ": " in line)
        return words.get("Mode"), int(words.get("Zxid", "0x0"), 16)

    def wait_caught_up(self, number, leader):
        """Waits until the server serves and has applied everything that the leader had applied by then. Returns the time taken.

        A target that moves with the leader would be a race: under load a follower is always a few milliseconds behind.
        """
        begun, goal = time.monotonic(), None
        while time.monotonic() - begun < CATCH_UP_LIMIT_S:
            try:
                mode, zxid = self.state(number)
            except OSError:
                mode, zxid = None, 0
            if mode == "follower" and goal is None:
                goal = self.state(leader)[1]
            if mode == "follower" and zxid >= goal:
                return time.monotonic() - begun
            if self.members[number].died():
                raise RuntimeError(f"failed: server {number} ended: {self.last_words(number)}")
            time.sleep(LOOK_S)
        raise RuntimeError(f"failed: server {number} had not caught up after {CATCH_UP_LIMIT_S} s")


class Turn(AnyTurn):
    """The turn of one ensemble."""

    def run(self):
        for half in (self.on_empty, self.on_missed):
            try:
                half()
            except (RuntimeError, OSError) as error:
                self.file(WHOLE_TURN, str(error))

    def on_empty(self):
        with Three(self.kind, self.oxkeeper) as three:
            self.file("start", {"seconds": three.start_s})
            time.sleep(2)
            self.file("idle", {"bytes": three.resident()})
            self.warm(three.all())
            self.loads(three.all(), LOADS)
            at_leader = three.servers(three.followers_first()[::-1])
            self.take(SET_11_LEADER.key, lambda: self.load(at_leader, SET_11_LEADER))
            self.take(VISIBLE.key, lambda: self.load(three.all(), VISIBLE))
            self.take(VISIBLE_LOADED.key, lambda: self.visible_under_load(three.all()))
            self.kills(three)

    def visible_under_load(self, servers):
        others = ("--workload", "set", "--sessions", "16", "--in-flight", "1", "--rate", str(VISIBLE_RATE), "--warmup", "0", "--duration", "3600")
        load = subprocess.Popen(self.command(servers, *others), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        try:
            if not (said := load.stderr.readline()).startswith("measuring"):
                raise RuntimeError(f"failed: {reason(said + load.communicate()[1])}")
            return self.load(servers, VISIBLE_LOADED)
        finally:
            load.kill()
            load.wait()

    def kills(self, three):
        """Kills the leader a few times under load from the writers of compat-tests/failover."""
        writers, surviving, own, disconnects = [], [], [], 0
        try:
            writers += [failover.Writer(number, three.members) for number in three.members]
            for writer in writers:
                writer.start()
            for _ in range(self.scale.kills):
                of_survivors, of_victim, broken = failover.kill_once(three.ensemble, writers)
                surviving, own, disconnects = surviving + of_survivors, own + of_victim, disconnects + broken
        except (RuntimeError, OSError) as error:
            self.file("kill", f"failed: {error}")
            return
        finally:
            for writer in writers:
                writer.ended = True
        lost = sum(bool(writer.lost) for writer in writers)
        self.file("kill", {**longest(surviving), "lost": lost, "disconnects": disconnects})
        self.file("kill own", longest(own))

    def on_missed(self):
        with Three(self.kind, self.oxkeeper) as three:
            self.warm(three.all())
            away, *others = three.followers_first()
            three.ensemble.kill(away)
            survivors = three.servers(others)
            self.bench(survivors, "fill", "--znodes", str(self.scale.missed))
            self.take("catch-up", lambda: self.catch_up(three, away, survivors))
            self.take("afterwards", lambda: self.afterwards(survivors))
            self.take("moved", lambda: {"ratio": self.ratio("meanwhile", "afterwards", "p99_us")})

    def catch_up(self, three, away, survivors):
        """Restarts the server under load, and stores the load's figures up to the moment it has caught up."""
        load = subprocess.Popen(
            self.command(survivors, *self.fixed_rate(), "--duration", "3600"), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        try:
            if not (said := load.stderr.readline()).startswith("measuring"):
                raise RuntimeError(f"failed: {reason(said + load.communicate()[1])}")
            three.ensemble.spawn(away)
            took_s = three.wait_caught_up(away, three.ensemble.leader())
            load.send_signal(signal.SIGINT)
            report, complaint = load.communicate()
        finally:
            load.kill()
            load.wait()
        self.take("meanwhile", lambda: open_loop_figures(report, complaint))
        return {"seconds": took_s}

    def afterwards(self, survivors):
        report = self.bench(survivors, *self.fixed_rate(), "--duration", str(self.scale.afterwards))
        return {"p50_us": report["p50_us"], "p99_us": report["p99_us"]}

    def fixed_rate(self):
        load = ("--workload", "set", "--sessions", "16", "--in-flight", "64", "--rate", str(CATCH_UP_RATE))
        return (*load, "--znodes", str(self.scale.missed), "--warmup", str(self.scale.warmup))


def open_loop_figures(report, complaint):
    if not report:
        raise RuntimeError(f"failed: {reason(complaint)}")
    return {metric: json.loads(report)[metric] for metric in ("p50_us", "p99_us")}


def longest(gaps):
    return {"seconds": statistics.median(gaps), "max_seconds": max(gaps)}


def names(scale):
    """Returns the values for the placeholders in the labels."""
    return {"visible_rate": f"{VISIBLE_RATE:,}", "missed": f"{scale.missed:,}", "mixed_rate": f"{MIXED_RATE:,}", "catch_up_rate": f"{CATCH_UP_RATE:,}"}


INTRO = """\
All three on the same machine, and the load with them. Sessions are spread over the servers in turn, followers first, so a single
session is at a follower unless the row says otherwise. CPU is that of the three servers together, per operation."""


def method(scale):
    return f"""\
{loads_method(scale)}
A write is seen at the others when a read of each, sent when the write was answered and again until then, shows it; `stale` are those first reads that do not. Each
server is written to in turn. ZooKeeper promises that only to who calls `sync`.
Writes go on after a kill when a session that has one write outstanding has it acknowledged: the row shows the median and the longest
such gap of {scale.kills} kills a round, each seen by two sessions at survivors and by one at the leader that dies, which turns to a
survivor at once; `disconnects` counts connections that survivors broke. The follower that is away misses the creation of {scale.missed:,}
znodes. It has caught up when it serves and has applied all that the leader had applied by the time it served; writes go on meanwhile."""


def command_lines(scale):
    return f"""\
- ZooKeeper: `java {" ".join(JVM_FLAGS)} -cp 'lib/*' org.apache.zookeeper.server.quorum.QuorumPeerMain zoo.cfg`
- oxkeeper: `oxkeeper serve --config zoo.cfg`
- both with zoo.cfg: `{"; ".join(ZOO_CFG.split())}; dataDir; server.1 to server.3`, and myid
- loads: `oxkeeper bench --server A,B,C --pid A --pid B --pid C --workload get|set|mixed:90|connect|visibility --sessions S --in-flight W \
--duration {scale.duration:g} --warmup {scale.warmup:g}`, open loop with `--rate`
- a follower away: `oxkeeper bench fill --znodes {scale.missed}`, then `oxkeeper bench --workload set --sessions 16 --in-flight 64 \
--rate {CATCH_UP_RATE} --znodes {scale.missed}`
- kills: the writers of `compat-tests/failover`
- all of it: `scripts/bench-compare --ensemble`"""
