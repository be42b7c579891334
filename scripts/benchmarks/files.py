"""The benchmark of import, export, dump, backup and restore, beside the start of Apache ZooKeeper.

Owns a data directory for each of two trees. Apache ZooKeeper writes it once per run; it is never changed, each turn works on a copy.
ZooKeeper has no import; the closest equivalent is starting from the same files.
"""

import atexit
import dataclasses
import functools
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from alone import JVM_FLAGS, Server, reads, server_argv
from figures import WHOLE_TURN, Row, Turn as AnyTurn
from server import COMPAT_DIR, free_ports

sys.path.append(str(COMPAT_DIR / "raw"))

import wire  # noqa: E402
from connection import Connection  # noqa: E402

KEY = "files"
TITLE = "Data on its way in and out"
SERVERS = COLUMNS = ("zookeeper", "oxkeeper")
METRICS = ("seconds", "peak_bytes")
# Requests in flight while a tree is created.
WINDOW = 500
DATA = b"x" * 100

KINDS = {"plain": "{znodes} znodes", "varied": "{varied} ephemerals, {acls} ACLs"}
STEPS = {
    "start": "exec → serving: ZooKeeper's files; ours, imported from them",
    "import": "`import`",
    "export": "`export`",
    "dump": "`dump` of the snapshot; `SnapshotFormatter`",
    "backup": "`backup` of the running server, verified; of ZooKeeper's by the same program. Peak: the server's",
    "restore": "`restore`",
}
ROWS = tuple(
    Row(f"{kind} {step}", f"{shown}: {label}", METRICS, ())
    for kind, shown in KINDS.items()
    for step, label in STEPS.items()
)


@dataclasses.dataclass(frozen=True)
class Scale:
    """The sizes and durations of a run."""

    rounds: int
    znodes: int
    varied: int
    owners: int
    acls: int


FULL = Scale(rounds=3, znodes=1_000_000, varied=100_000, owners=1_000, acls=10_000)
QUICK = Scale(rounds=1, znodes=50_000, varied=5_000, owners=100, acls=500)


class Copy(Server):
    """A server with a copy of a data directory, and with the HTTP admin server."""

    def __init__(self, kind, oxkeeper, source=None):
        super().__init__(kind, oxkeeper)
        self.admin_port = free_ports(1)[0]
        self.config = self.directory / "zoo.cfg"
        admin = f"admin.serverAddress=127.0.0.1\nadmin.serverPort={self.admin_port}"
        self.config.write_text(self.config.read_text().replace("admin.enableServer=false", admin))
        self.data = self.directory / "data"
        if source:
            shutil.copytree(source, self.data)

    def __enter__(self):
        """Returns the server without starting it; the turn starts it."""
        return self


@functools.cache
def data_of(kind, oxkeeper, scale):
    """Returns the data directory that Apache ZooKeeper leaves behind when it is killed with a tree of this kind."""
    with Copy("zookeeper", oxkeeper) as server:
        server.start()
        print(f"{'':10} {kind} tree …", flush=True)
        done = subprocess.run([oxkeeper, "bench", "fill", "--znodes", str(scale.znodes if kind == "plain" else 1), "--server", server.address], capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"failed: {done.stderr[-300:]}")
        if kind == "varied":
            vary(server.port, scale)
        server.end(signal.SIGKILL)
        kept = Path(tempfile.mkdtemp(prefix=f"bench-{kind}-"))
        atexit.register(shutil.rmtree, kept, ignore_errors=True)
        shutil.copytree(server.data, kept / "data")
        return kept / "data"


def vary(port, scale):
    """Creates ephemerals of many sessions, each with an ACL that few others have."""
    each = scale.varied // scale.owners
    for owner in range(scale.owners):
        connection = Connection(("127.0.0.1", port))
        connection.handshake(timeout_ms=40_000)
        for number in range(owner * each, (owner + 1) * each):
            acl = (wire.ACL(wire.ALL, "digest", f"user{number % scale.acls}:h"), wire.ACL(wire.READ, "world", "anyone"))
            connection.send(wire.create(f"/bench/ephemeral-{number:07}", DATA, acl, wire.Flags.EPHEMERAL))
        for _ in range(each):
            if reply := connection.receive_reply().err:
                raise RuntimeError(f"failed: create: error {reply}")
        # The session stays open: its client disconnects without closing it.
        connection.close()


def run_command(argv):
    """Runs a process that must succeed, and discards its output. Returns its duration in seconds and its peak memory."""
    with tempfile.TemporaryFile() as errors:
        begun, peak = time.monotonic(), 0
        process = subprocess.Popen([str(word) for word in argv], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=errors)
        # Not `ru_maxrss`: that includes the RSS of this process at the fork.
        while process.poll() is None:
            peak = peak_of(process.pid) or peak
            time.sleep(0.005)
        took = time.monotonic() - begun
        errors.seek(0)
        if process.returncode:
            raise RuntimeError(f"failed: {argv[1]}: {errors.read()[-300:]}")
    return {"seconds": took, "peak_bytes": peak}


def peak_of(pid):
    """Returns the peak RSS of a process so far, in bytes, or None once it has ended."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith("VmHWM:")), None)


def newest_snapshot(data):
    return max((data / "version-2").glob("snapshot.*"), key=lambda path: int(path.name.split(".")[1], 16))


class Turn(AnyTurn):
    """The turn of one kind of server, on both trees."""

    def run(self):
        for tree in KINDS:
            try:
                source = data_of(tree, self.oxkeeper, self.scale)
                with Copy(self.kind, self.oxkeeper, source if self.kind == "zookeeper" else None) as server:
                    self.theirs(tree, server) if self.kind == "zookeeper" else self.ours(tree, server, source)
            except (RuntimeError, OSError) as error:
                self.file(WHOLE_TURN, str(error))

    def theirs(self, tree, server):
        self.take(f"{tree} start", lambda: self.start(server))
        self.take(f"{tree} backup", lambda: self.backup(server))
        server.end(signal.SIGKILL)
        # Both formatters read the snapshot that the server wrote when it started.
        jars = server_argv("zookeeper", self.oxkeeper, server.config)[: 2 + len(JVM_FLAGS) + 1]
        formatter = [*jars, "org.apache.zookeeper.server.SnapshotFormatter", newest_snapshot(server.data)]
        self.take(f"{tree} dump", lambda: run_command(formatter))

    def ours(self, tree, server, source):
        command = functools.partial(self.on_config, server.config)
        self.take(f"{tree} import", lambda: command("import", source))
        self.take(f"{tree} start", lambda: self.start(server))
        self.take(f"{tree} backup", lambda: self.backup(server))
        server.end(signal.SIGTERM)
        out = server.directory / "out"
        self.take(f"{tree} export", lambda: command("export", "--out", out))
        self.take(f"{tree} dump", lambda: run_command([self.oxkeeper, "dump", newest_snapshot(out)]))
        restored = server.directory / "restored"
        (backup,) = (server.directory / "backups").glob("snapshot.*")
        self.take(f"{tree} restore", lambda: run_command([self.oxkeeper, "restore", backup, "--data-dir", restored]))

    def on_config(self, config, name, *arguments):
        return run_command([self.oxkeeper, name, *arguments, "--config", config])

    def start(self, server):
        seconds = server.start(reads)
        return {"seconds": seconds, "peak_bytes": peak_of(server.process.pid)}

    def backup(self, server):
        arguments = ["--server", f"127.0.0.1:{server.admin_port}", "--out", server.directory / "backups", "--auth", "digest a:b"]
        seconds = run_command([self.oxkeeper, "backup", *arguments])["seconds"]
        return {"seconds": seconds, "peak_bytes": peak_of(server.process.pid)}


def names(scale):
    """Returns the values for the placeholders in the labels."""
    return {"znodes": f"{scale.znodes:,}", "varied": f"{scale.varied:,}", "acls": f"{scale.acls:,}"}


INTRO = """\
What comes from Apache ZooKeeper and goes back to it, and the files of both. *Peak* is the greatest RSS of the process. Nothing of
ZooKeeper imports: the nearest is that it starts from the same files (its latest snapshot and the log behind it), as left by `kill -9`."""


def method(scale):
    return f"""\
Each turn works on a fresh copy of the files, which are in the page cache. 1st tree: {scale.znodes:,} znodes of 100 B in one parent. 2nd: {scale.varied:,}
ephemerals of 100 B, of {scale.owners:,} sessions, with {scale.acls:,} different ACLs."""


def command_lines(scale):
    return f"""\
- ZooKeeper: `java {" ".join(JVM_FLAGS)} -cp 'lib/*' org.apache.zookeeper.server.quorum.QuorumPeerMain zoo.cfg`; `… org.apache.zookeeper.server.SnapshotFormatter snapshot.ZXID`
- `oxkeeper import DIR --config zoo.cfg`, `oxkeeper export --config zoo.cfg --out DIR`, `oxkeeper dump snapshot.ZXID`, \
`oxkeeper backup --server 127.0.0.1:PORT --out DIR --auth 'digest a:b'`, `oxkeeper restore snapshot.ZXID --data-dir DIR`
- the first tree: `oxkeeper bench fill --znodes {scale.znodes}`
- all of it: `scripts/bench-compare --files`"""
