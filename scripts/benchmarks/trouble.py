"""The benchmark of an ensemble of three servers under faults, beside one of Apache ZooKeeper.

Owns the ensembles it starts, each with data of its own in a temporary directory, the network between their servers, and the library
that makes their disks slow. Every round starts each ensemble in turn, once for each fault.

Needs root (network namespaces, `tc`) and a C compiler.
"""

import dataclasses
import shutil
import subprocess
import tempfile
import threading
import time
from pathlib import Path

import three
import wire
from alone import START_TIMEOUT_S, server_argv
from connection import Closed, Connection, read_handshake
from ensemble import Ensemble
from figures import WHOLE_TURN, Row, Target, Turn as AnyTurn
from network import ip

KEY = "trouble"
TITLE = "Three servers in trouble"
SERVERS = COLUMNS = ("zookeeper", "oxkeeper")
SLOW_MS = (200, 300, 600, 1000)
# Sessions while disks are slow: closed loop, one request in flight each.
SLOW_SESSIONS = 24
# The disk limits the throughput, and every write counts 24-fold: equally good runs differ by a few percent.
SLOW_SHARE = 0.9
# Delay of a sync while the followers' disks are slow.
FOLLOWERS_MS = 400
# Requests in flight while the network is slow (BULK), or nothing is (BUSY): sessions, requests of each, bytes of each.
BULK, BUSY_MBIT = (256, 1, 50_000), 200
BUSY = (64, 16, 10_000)
# Bandwidth limit of a server, and the writes that it missed.
LINK_MBIT, MISSED_ZNODES, MISSED_SIZE = 100, 3_000, 10_000
# Writes a second while a wiped server rejoins, and the size of each in bytes.
WIPED_RATE, WIPED_SIZE = 2_000, 10_000
SESSIONS, SESSION_TIMEOUT_MS, PING_S = 12, 4_000, 1.0
# More than twice the session timeout.
WITHOUT_QUORUM_S = 10
# Time for clients to find a server again once there is a quorum.
FIND_S = 15
LOST = (OSError, Closed)

ROWS = (
    *(
        Row(f"disk {ms}", f"+{ms} ms a sync, set {SLOW_SESSIONS}×1: writes, changes of leader", ("per_s", "changes"), (Target("per_s", "≥", SLOW_SHARE, "zookeeper"), Target("changes", "≤", 0)))
        for ms in SLOW_MS
    ),
    Row("followers", f"+{FOLLOWERS_MS} ms a sync at both followers, set {SLOW_SESSIONS}×1", ("per_s", "changes"), (Target("per_s", "≥", SLOW_SHARE, "zookeeper"), Target("changes", "≤", 0))),
    Row("bulk", "set of {bulk_kb} kB, {bulk_count}×1, no fault", ("per_s", "changes"), (Target("per_s", "≥", 1, "zookeeper"), Target("changes", "≤", 0))),
    Row("busy", "set of {busy_kb} kB, {busy_count} outstanding, {busy_mb} MB/s at each server", ("per_s", "changes"), (Target("changes", "≤", 0),)),
    Row("narrow", "a follower away for {missed_mb} MB, at {link_mb} MB/s: exec → caught up", ("seconds", "changes"), (Target("seconds", "≤", 1, "zookeeper"), Target("changes", "≤", 0))),
    Row("wiped", "an empty disk of {znodes} znodes, {load_mb} MB/s of writes: exec → caught up", ("seconds",), (Target("seconds", "≤", 1, "zookeeper"),)),
    Row("killed", f"both followers killed for {WITHOUT_QUORUM_S} s: of {SESSIONS} sessions", ("kept",), (Target("kept", "≥", SESSIONS),)),
    Row("in turn", "the leader killed, and the next one, likewise", ("kept",), (Target("kept", "≥", SESSIONS),)),
    Row("stopped", "both followers stopped (SIGSTOP) likewise", ("kept",), (Target("kept", "≥", SESSIONS),)),
    Row("cut", "all three cut off from each other likewise", ("kept",), (Target("kept", "≥", SESSIONS),)),
)


@dataclasses.dataclass(frozen=True)
class Scale:
    """The sizes and durations of a run."""

    rounds: int
    duration: float
    warmup: float
    znodes: int


FULL = Scale(rounds=3, duration=15, warmup=2, znodes=1_000_000)
QUICK = Scale(rounds=1, duration=5, warmup=1, znodes=50_000)


class Troubled(three.Three):
    """A fresh ensemble in network namespaces, with disks that can be slowed down. As a context manager, stops it."""

    def __init__(self, kind, oxkeeper):
        self.directory = Path(tempfile.mkdtemp(prefix=f"bench-{kind}-{KEY}-"))
        library, source = self.directory / "slow_disk.so", Path(__file__).with_name("slow_disk.c")
        subprocess.run(["cc", "-O2", "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True)
        self.ensemble = Ensemble.create(kind, three.COUNT, self.directory / "ensemble", "namespaces", three.ZOO_CFG)
        self.members = self.ensemble.members
        for number, member in self.members.items():
            argv = server_argv(kind, oxkeeper, member.directory / "zoo.cfg")
            self.slow_disk(0, [number])
            preload = ["env", f"LD_PRELOAD={library}", f"SLOW_DISK={self.delay(number)}"]
            member.argv = self.ensemble.network.wrap(number, [*preload, *argv])

    def start(self):
        self.ensemble.start()

    def close(self):
        for number in self.members:
            self.ensemble.kill(number)
        self.ensemble.network.down()
        shutil.rmtree(self.directory, ignore_errors=True)

    def delay(self, number):
        return self.directory / f"delay-{number}"

    def slow_disk(self, ms, numbers=None):
        """Sets the sync delay of these servers, or of all."""
        for number in numbers or self.members:
            delay = self.delay(number)
            delay.with_suffix(".new").write_text(str(ms * 1000))
            delay.with_suffix(".new").rename(delay)

    def narrow(self, mbit, numbers):
        """Limits the bandwidth of these servers in both directions."""
        network = self.ensemble.network
        limit = ["root", "tbf", "rate", f"{mbit}mbit", "burst", "64kb", "latency", "100ms"]
        for number in numbers:
            subprocess.run(["tc", "qdisc", "add", "dev", f"{network.bridge}v{number}", *limit], check=True)
            ip("netns", "exec", network.namespace(number), "tc", "qdisc", "add", "dev", "eth0", *limit)

    def epoch(self):
        """Returns the current epoch."""
        return self.state(self.ensemble.leader(START_TIMEOUT_S))[1] >> 32


class Client(threading.Thread):
    """A session with an ephemeral. It pings, and moves to another server when it loses its connection."""

    def __init__(self, number, members):
        super().__init__(daemon=True)
        self.members, self.home = list(members.values()), number
        self.session, self.password, self.zxid = 0, bytes(16), 0
        self.connection, self.ended, self.lost = None, False, False
        self.resume()
        self.connection.ask(wire.create(f"/session-{number}", flags=wire.Flags.EPHEMERAL))

    def resume(self):
        member = self.members[self.home % len(self.members)]
        self.connection = Connection((member.host, member.port))
        request = wire.connect_body(SESSION_TIMEOUT_MS, self.session, self.password, self.zxid)
        self.connection.send_raw(wire.frame(request))
        answer = read_handshake(self.connection.receive_frame(PING_S))
        self.lost = bool(self.session) and answer.session != self.session
        self.session, self.password = answer.session, answer.password

    def run(self):
        while not self.ended and not self.lost:
            try:
                if self.connection is None:
                    self.resume()
                else:
                    self.connection.ask(wire.exists("/"))
                    self.zxid = self.connection.last_zxid
                time.sleep(PING_S)
            except LOST:
                if self.connection:
                    self.connection.close()
                self.connection, self.home = None, self.home + 1
                time.sleep(0.1)

    def is_kept(self):
        return self.connection is not None and not self.lost


class Turn(AnyTurn):
    """The turn of one ensemble."""

    def run(self):
        for trouble in (self.slow_disks, self.bulk, self.busy, self.narrow, self.wiped, self.without_quorum):
            try:
                with Troubled(self.kind, self.oxkeeper) as ensemble:
                    trouble(ensemble)
            except (RuntimeError, OSError, subprocess.CalledProcessError) as error:
                self.file(WHOLE_TURN, f"failed: {trouble.__name__}: {error}")

    def slow_disks(self, troubled):
        servers = troubled.servers(troubled.members)
        self.bench(servers, "--workload", "mixed:50", "--warmup", "0", "--duration", str(self.scale.warmup))
        for ms in SLOW_MS:
            troubled.slow_disk(ms)
            self.take(f"disk {ms}", lambda: self.sets(troubled, servers, SLOW_SESSIONS, 1))
            troubled.slow_disk(0)
            troubled.ensemble.wait_serving()
        *followers, _ = troubled.followers_first()
        troubled.slow_disk(FOLLOWERS_MS, followers)
        self.take("followers", lambda: self.sets(troubled, servers, SLOW_SESSIONS, 1))

    def bulk(self, troubled):
        self.take("bulk", lambda: self.sets(troubled, troubled.servers(troubled.members), *BULK))

    def busy(self, troubled):
        troubled.narrow(BUSY_MBIT, troubled.members)
        self.take("busy", lambda: self.sets(troubled, troubled.servers(troubled.members), *BUSY))

    def sets(self, troubled, servers, sessions, in_flight, size=100):
        epoch = troubled.epoch()
        load = ("--workload", "set", "--sessions", str(sessions), "--in-flight", str(in_flight), "--size", str(size))
        report = self.bench(servers, *load, "--warmup", str(self.scale.warmup), "--duration", str(self.scale.duration))
        return {"per_s": report["ops_per_s"], "changes": troubled.epoch() - epoch}

    def narrow(self, troubled):
        away, _, leader = troubled.followers_first()
        troubled.ensemble.kill(away)
        others = troubled.servers([number for number in troubled.members if number != away])
        self.bench(others, "fill", "--znodes", str(MISSED_ZNODES), "--size", str(MISSED_SIZE))
        troubled.narrow(LINK_MBIT, [away])
        epoch = troubled.epoch()
        troubled.ensemble.spawn(away)
        self.take("narrow", lambda: {"seconds": troubled.wait_caught_up(away, leader), "changes": troubled.epoch() - epoch})

    def wiped(self, troubled):
        wiped, _, leader = troubled.followers_first()
        others = troubled.servers([number for number in troubled.members if number != wiped])
        self.bench(others, "fill", "--znodes", str(self.scale.znodes))
        troubled.ensemble.wipe(wiped)
        load = ("--workload", "set", "--sessions", "16", "--in-flight", "16", "--size", str(WIPED_SIZE), "--rate", str(WIPED_RATE))
        command = self.command(others, *load, "--warmup", "0", "--duration", "3600")
        load = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        try:
            load.stderr.readline()
            time.sleep(self.scale.warmup)
            troubled.ensemble.spawn(wiped)
            self.take("wiped", lambda: {"seconds": troubled.wait_caught_up(wiped, leader)})
        finally:
            load.kill()
            load.wait()

    def without_quorum(self, troubled):
        ensemble = troubled.ensemble
        for key, trouble, end in (
            ("killed", self.to_followers(troubled, ensemble.kill), ensemble.spawn),
            ("in turn", lambda: [self.kill_leader(ensemble) for _ in range(2)], ensemble.spawn),
            ("stopped", self.to_followers(troubled, ensemble.pause), ensemble.resume),
            ("cut", lambda: self.cut_all(ensemble), lambda _: ensemble.heal()),
        ):
            self.take(key, lambda trouble=trouble, end=end: self.sessions_over(troubled, trouble, end))
            ensemble.wait_serving()

    @staticmethod
    def to_followers(troubled, trouble):
        def begin():
            *followers, _ = troubled.followers_first()
            for number in followers:
                trouble(number)
            return followers

        return begin

    @staticmethod
    def kill_leader(ensemble):
        leader = ensemble.leader(START_TIMEOUT_S)
        ensemble.kill(leader)
        return leader

    @staticmethod
    def cut_all(ensemble):
        ensemble.partition([[number] for number in ensemble.members])
        return [None]

    def sessions_over(self, troubled, trouble, end):
        """Runs sessions through a fault. `trouble` returns the servers that `end` is called with."""
        clients = [Client(number, troubled.members) for number in range(SESSIONS)]
        for client in clients:
            client.start()
        time.sleep(2 * PING_S)
        troubled_servers = trouble()
        time.sleep(WITHOUT_QUORUM_S)
        for number in troubled_servers:
            end(number)
        troubled.ensemble.wait_serving()
        time.sleep(FIND_S)
        for client in clients:
            client.ended = True
        for client in clients:
            client.join()
        return {"kept": sum(client.is_kept() for client in clients)}


def names(scale):
    """Returns the values for the placeholders in the labels."""
    return {
        "missed_mb": f"{MISSED_ZNODES * MISSED_SIZE / 1e6:g}",
        "link_mb": f"{LINK_MBIT / 8:g}",
        "bulk_count": str(BULK[0]),
        "bulk_kb": f"{BULK[2] / 1e3:g}",
        "busy_count": f"{BUSY[0] * BUSY[1]:,}",
        "busy_kb": f"{BUSY[2] / 1e3:g}",
        "busy_mb": f"{BUSY_MBIT / 8:g}",
        "load_mb": f"{WIPED_RATE * WIPED_SIZE / 1e6:g}",
        "znodes": f"{scale.znodes:,}",
    }


INTRO = """\
All three on the same machine, each in a network namespace of its own, and the load with them. `changes` are changes of the leader
while the row was measured. What cannot be done is a failure, and says how long it was waited for."""


def method(scale):
    return f"""\
A disk is slow by a library in front of the C library's `fsync` and `fdatasync` (`scripts/benchmarks/slow_disk.c`), on all three servers at once or on the followers; {scale.duration:g} s are measured.
A narrow server sends and receives through `tc`'s token bucket. Sessions have a timeout of {SESSION_TIMEOUT_MS / 1000:g} s and ping every second; one is
kept if its client resumes it with its id and password."""


def command_lines(scale):
    return f"""\
- both with zoo.cfg: `{"; ".join(three.ZOO_CFG.split())}; dataDir; server.1 to server.3`, and myid
- slow disks: `oxkeeper bench --workload set --sessions {SLOW_SESSIONS} --in-flight 1 --server A,B,C --duration {scale.duration:g} --warmup {scale.warmup:g}`
- bulk: the same with `--sessions {BULK[0]} --in-flight {BULK[1]} --size {BULK[2]}`; busy links: `--sessions {BUSY[0]} --in-flight {BUSY[1]} --size {BUSY[2]}`
- a follower away: `oxkeeper bench fill --znodes {MISSED_ZNODES} --size {MISSED_SIZE}`
- an empty disk: `oxkeeper bench fill --znodes {scale.znodes}`, then `oxkeeper bench --workload set --sessions 16 --in-flight 16 --size {WIPED_SIZE} --rate {WIPED_RATE}`
- all of it: `scripts/bench-compare --trouble`"""
