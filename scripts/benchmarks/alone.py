"""The benchmark of a single server beside Apache ZooKeeper and the lower bound.

Owns the servers it starts, each with data of its own in a temporary directory. Every round starts each server in turn, twice:
empty for the loads, and with a large tree to measure the tree's effects.
"""

import dataclasses
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
import time
from pathlib import Path

from figures import WHOLE_TURN, Row, Target, load_row, loads_method, Turn as AnyTurn
from server import COMPAT_DIR, free_ports

KEY = "alone"
TITLE = "One server"
SERVERS = ("zookeeper", "oxkeeper", "bound")
COLUMNS = ("zookeeper", "bound", "oxkeeper")
START_TIMEOUT_S = 120
# ZooKeeper: a handshake that arrives at the wrong moment during startup is never answered.
ATTEMPT_TIMEOUT_S = 0.2
STOP_TIMEOUT_S = 30
# Default JVM flags of zkServer.sh.
JVM_FLAGS = ["-Xmx1000m"]
ZOO_CFG = "tickTime=2000\nmaxClientCnxns=0\nadmin.enableServer=false\n4lw.commands.whitelist=srvr\n"
# Writes a second while a checkpoint is taken: far below the limit of either server, enough to make ZooKeeper take a snapshot.
CHECKPOINT_RATE = 10_000

ROWS = (
    Row("start", "exec → first session", ("seconds",), (Target("seconds", "≤", 0.02),)),
    Row("idle", "idle memory (RSS)", ("bytes",), (Target("bytes", "≤", 10e6),)),
    Row("znode", "memory per znode, {znodes} × 100 B", ("bytes",), (Target("bytes", "≤", 300),)),
    Row("session", "memory per idle session, {sessions}", ("bytes",), (Target("bytes", "≤", 5000),)),
    Row("restart", "kill -9, exec → serving a read, {znodes} znodes", ("seconds",), (Target("seconds", "≤", 0.6),)),
    load_row("get", 1, 1, "get 1×1", Target("server_cpu_us_per_op", "≤", 0.5, "zookeeper"), Target("p50_us", "≤", 1.2, "bound")),
    load_row("get", 64, 1, "get 64×1", Target("ops_per_s", "≥", 2, "zookeeper"), Target("server_cpu_us_per_op", "≤", 1.5, "bound")),
    load_row("get", 16, 16, "get 16×16", Target("ops_per_s", "≥", 4, "zookeeper"), Target("server_cpu_us_per_op", "≤", 2.5)),
    load_row("set", 1, 1, "set 1×1", Target("p50_us", "≤", 0.8, "zookeeper"), Target("server_cpu_us_per_op", "≤", 0.5, "zookeeper")),
    load_row("set", 16, 1, "set 16×1", Target("ops_per_s", "≥", 1.2, "zookeeper"), Target("server_cpu_us_per_op", "≤", 0.5, "zookeeper")),
    load_row("set", 16, 16, "set 16×16", Target("ops_per_s", "≥", 2.5, "zookeeper"), Target("server_cpu_us_per_op", "≤", 5)),
    load_row("set", 64, 64, "set 64×64", Target("ops_per_s", "≥", 4, "zookeeper"), Target("p99_us", "≤", 0.3, "zookeeper")),
    load_row("create-delete", 16, 16, "create + delete 16×16", Target("ops_per_s", "≥", 2.5, "zookeeper")),
    load_row("mixed:90", 64, 16, "90 % get, 10 % set, 64×16", Target("ops_per_s", "≥", 4, "zookeeper")),
    load_row("mixed:50", 16, 16, "50 % get, 50 % set, 16×16", Target("ops_per_s", "≥", 4, "zookeeper")),
    load_row("set", 1, 256, "set 1×256"),
    load_row("set-get", 1, 512, "set, then get of the same znode, 1×512: both", Target("ops_per_s", "≥", 4, "zookeeper")),
    Row("pairs", "sets of the latter ÷ the former", ("ratio",), (Target("ratio", "≥", 0.7),)),
    load_row(
        "watch-fanout", 2000, 1, "one change watched by 2,000 sessions → all told", Target("p50_us", "≤", 0.25, "zookeeper"),
        metrics=("p50_us", "p99_us", "server_cpu_us_per_op"),
    ),
    load_row(
        "connect", 2000, 16, "new sessions", Target("server_cpu_us_per_op", "≤", 0.35, "zookeeper"),
        metrics=("ops_per_s", "server_cpu_us_per_op"),
    ),
    Row("full get", "get 16×16 with {znodes} znodes, {sessions} sessions, {watches} watches ÷ empty", ("ratio",), (Target("ratio", "≥", 0.9),)),
    Row("full set", "set 16×16 likewise ÷ empty", ("ratio",), (Target("ratio", "≥", 0.9),)),
    Row("steady", "set, open loop, {rate}/s over 1,000 znodes", ("p50_us", "p99_us"), ()),
    Row("checkpoint", "set, open loop, {rate}/s over {znodes} znodes, while they are checkpointed", ("p50_us", "p99_us"), ()),
    Row("moved", "p99 of the latter ÷ the former", ("ratio",), (Target("ratio", "≤", 2),)),
    Row("pause", "SIGSTOP 8 s, session timeout 4 s: sessions kept of 30", ("kept",), (Target("kept", "≥", 30),)),
)


@dataclasses.dataclass(frozen=True)
class Scale:
    """The sizes and durations of a run."""

    rounds: int
    duration: float
    warmup: float
    jvm_warmup: float
    checkpoint: float
    znodes: int
    sessions: int
    watches: int


FULL = Scale(rounds=3, duration=4, warmup=1.5, jvm_warmup=8, checkpoint=15, znodes=1_000_000, sessions=10_000, watches=100_000)
QUICK = Scale(rounds=1, duration=1.5, warmup=0.5, jvm_warmup=4, checkpoint=5, znodes=100_000, sessions=1_000, watches=10_000)


def server_argv(kind, oxkeeper, config):
    """Returns the command line of a real server."""
    jars = COMPAT_DIR / ".work" / "zookeeper" / "lib" / "*"
    java = ["java", *JVM_FLAGS, "-cp", str(jars), "org.apache.zookeeper.server.quorum.QuorumPeerMain", str(config)]
    return {"zookeeper": java, "oxkeeper": [oxkeeper, "serve", "--config", str(config)]}[kind]


class Server:
    """A server process with data of its own. As a context manager, ends it."""

    def __init__(self, kind, oxkeeper, bound_kind="get"):
        self.kind = kind
        self.port = free_ports(1)[0]
        self.directory = Path(tempfile.mkdtemp(prefix=f"bench-{kind}-"))
        config = self.directory / "zoo.cfg"
        config.write_text(f"{ZOO_CFG}dataDir={self.directory}/data\nclientPort={self.port}\n")
        bound = [oxkeeper, "bench", "--serve-bound", bound_kind, "--listen", self.address, "--data-dir", str(self.directory)]
        self.argv = bound if kind == "bound" else server_argv(kind, oxkeeper, config)
        self.process = None

    @property
    def address(self):
        return f"127.0.0.1:{self.port}"

    @property
    def pids(self):
        return [self.process.pid]

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
        self.end(signal.SIGKILL)
        shutil.rmtree(self.directory, ignore_errors=True)

    def start(self, probe=None):
        """Starts the process. Returns the time from exec until `probe` (by default a first session) succeeded."""
        log = open(self.directory / "server.log", "ab")
        begun = time.monotonic()
        self.process = subprocess.Popen(self.argv, cwd=self.directory, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
        while time.monotonic() - begun < START_TIMEOUT_S:
            try:
                with self.session() as connection:
                    if probe is None or probe(connection):
                        return time.monotonic() - begun
            except (OSError, EOFError):
                pass
            if self.process.poll() is not None:
                raise RuntimeError(f"{self.kind} ended while starting: {self.last_words()}")
            time.sleep(0.0005)
        raise RuntimeError(f"{self.kind} did not serve within {START_TIMEOUT_S} s: {self.last_words()}")

    def session(self):
        """Returns a connection whose handshake has succeeded."""
        connection = socket.create_connection(("127.0.0.1", self.port), timeout=ATTEMPT_TIMEOUT_S)
        try:
            connection.sendall(struct.pack(">iiqiqi16sb", 45, 0, 0, 30_000, 0, 16, bytes(16), 0))
            if struct.unpack_from(">i", receive(connection), 4)[0] <= 0:
                raise EOFError("no session")
        except BaseException:
            connection.close()
            raise
        return connection

    def end(self, number):
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.send_signal(number)
            try:
                self.process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()

    def resident(self):
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return 1024 * int(next(line for line in status.splitlines() if line.startswith("VmRSS:")).split()[1])

    def last_words(self):
        return " | ".join((self.directory / "server.log").read_text(errors="replace").splitlines()[-5:])


def receive(connection):
    """Returns the body of one frame."""
    length = struct.unpack(">i", receive_exactly(connection, 4))[0]
    return receive_exactly(connection, length)


def receive_exactly(connection, length):
    received = b""
    while len(received) < length:
        part = connection.recv(length - len(received))
        if not part:
            raise EOFError("closed")
        received += part
    return received


def reads(connection):
    """Returns whether the server answers a read of the first znode."""
    path = b"/bench/0000000"
    connection.sendall(struct.pack(f">iiii{len(path)}s?", 13 + len(path), 1, 4, len(path), path, False))
    return struct.unpack_from(">iqi", receive(connection))[2] == 0


class Turn(AnyTurn):
    """One server's turn."""

    def run_bound(self):
        for kind in ("get", "set"):
            with Server("bound", self.oxkeeper, kind) as server:
                self.loads(server, [row for row in ROWS if row.load[1:2] == (kind,)])

    def run(self):
        if self.kind == "bound":
            return self.run_bound()
        for half in (self.on_empty, self.on_full):
            try:
                half()
            except (RuntimeError, OSError) as error:
                self.file(WHOLE_TURN, str(error))

    def on_empty(self):
        with Server(self.kind, self.oxkeeper) as server:
            self.file("start", {"seconds": server.start_s})
            time.sleep(2)
            self.file("idle", {"bytes": server.resident()})
            self.take("session", lambda: {"bytes": self.bench(server, "sessions", "--count", str(self.scale.sessions))["rss_bytes_per_session"]})
            self.warm(server)
            self.loads(server, [row for row in ROWS if row.load])
            self.take("pairs", lambda: {"ratio": self.ratio("set-get 1x512", "set 1x256", "ops_per_s") / 2})
            self.take("steady", lambda: self.steady(server, 1000))
            pause = ("pause", "--session-timeout-ms", "4000", "--sessions", "30", "--pause", "8")
            self.take("pause", lambda: {"kept": self.bench(server, *pause)["kept"]})

    def on_full(self):
        with Server(self.kind, self.oxkeeper) as server:
            znodes = str(self.scale.znodes)
            self.take("znode", lambda: {"bytes": self.bench(server, "fill", "--znodes", znodes)["rss_bytes_per_znode"]})
            self.warm(server)
            self.take("checkpoint", lambda: self.steady(server, self.scale.znodes))
            self.take("moved", lambda: {"ratio": self.ratio("checkpoint", "steady", "p99_us")})
            self.with_everything(server)
            server.end(signal.SIGKILL)
            self.take("restart", lambda: {"seconds": server.start(reads)})

    def steady(self, server, znodes):
        """Writes at a fixed rate over all znodes, long enough for checkpoints to happen meanwhile."""
        fixed = ("--workload", "set", "--sessions", "16", "--in-flight", "64", "--rate", str(CHECKPOINT_RATE), "--znodes", str(znodes))
        report = self.bench(server, *fixed, "--duration", str(self.scale.checkpoint), "--warmup", str(self.scale.warmup))
        return {"p50_us": report["p50_us"], "p99_us": report["p99_us"]}

    def with_everything(self, server):
        """Measures throughput while sessions and watches are held, relative to that of the empty server."""
        held = ("watches", "--sessions", str(self.scale.sessions), "--count", str(self.scale.watches), "--hold", "3600")
        holder = subprocess.Popen(self.command(server, *held), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        try:
            if not holder.stdout.readline():
                raise RuntimeError("failed: the sessions and watches could not be held")
            for row in ROWS:
                if row.key in ("get 16x16", "set 16x16"):
                    full = f"full {row.load[1]}"
                    self.take(full, lambda row=row: self.against_empty(server, row))
            if holder.poll() is not None:
                raise RuntimeError("failed: the sessions and watches did not last")
        except RuntimeError as error:
            self.file("full get", str(error))
            self.file("full set", str(error))
        finally:
            holder.kill()
            holder.wait()

    def against_empty(self, server, row):
        full, empty = self.load(server, row)["ops_per_s"], self.latest.get(row.key, {}).get("ops_per_s")
        if not empty:
            raise RuntimeError("failed: the run on the empty server did")
        return {"ratio": full / empty}


def names(scale):
    """Returns the values for the placeholders in the labels."""
    return {"znodes": f"{scale.znodes:,}", "sessions": f"{scale.sessions:,}", "watches": f"{scale.watches:,}", "rate": f"{CHECKPOINT_RATE:,}"}


INTRO = """\
CPU is the server's CPU time per operation (for a fan-out: per session told, the leaving of its watch included), the steadiest
figure on a shared machine. *Bound* is a server that decodes nothing and answers fixed bytes, for writes after one append and
`fdatasync` for all that waits: what the kernel, the disk and the load cost."""


def method(scale):
    return f"""\
{loads_method(scale)}
A large tree may cost a server time that it does not show at once: the rows "÷ empty" and the checkpoint rows run on the tree of
{scale.znodes:,} znodes. Memory per znode and per session is growth of RSS; a JVM's includes heap it took and may not need."""


def command_lines(scale):
    return f"""\
- ZooKeeper: `java {" ".join(JVM_FLAGS)} -cp 'lib/*' org.apache.zookeeper.server.quorum.QuorumPeerMain zoo.cfg`
- oxkeeper: `oxkeeper serve --config zoo.cfg`
- both with zoo.cfg: `{"; ".join(ZOO_CFG.split())}; dataDir; clientPort`
- bound: `oxkeeper bench --serve-bound get|set`
- loads: `oxkeeper bench --workload get|set|set-get|create-delete|mixed:50|mixed:90|watch-fanout|connect --sessions S --in-flight W \
--duration {scale.duration:g} --warmup {scale.warmup:g} --pid PID`, open loop with `--rate {CHECKPOINT_RATE}`
- the rest: `oxkeeper bench fill --znodes {scale.znodes}`, `oxkeeper bench sessions --count {scale.sessions}`, \
`oxkeeper bench watches --sessions {scale.sessions} --count {scale.watches} --hold 3600`, `oxkeeper bench pause --session-timeout-ms 4000`
- all of it: `scripts/bench-compare`"""
