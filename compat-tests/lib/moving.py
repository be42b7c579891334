"""Moves data between Apache ZooKeeper and oxkeeper for `migration`: servers in one directory, `oxkeeper import` and `export`, and a
client that reads a whole tree."""

import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "raw"))

import wire  # noqa: E402
from connection import Connection  # noqa: E402
from server import Deployment, free_ports, oxkeeper_binary  # noqa: E402

# Each server writes these znodes itself.
OWN = ("/zookeeper/config",)


class Refused(Exception):
    """Raised when a request fails that should have succeeded."""


class Client(Connection):
    """A session of the super user, who may read every znode."""

    def __init__(self, port, **request):
        super().__init__(("127.0.0.1", port))
        self.answer = self.handshake(**{"timeout_ms": 10_000, **request})
        if self.answer.session:
            self.ask(wire.auth("digest", b"super:admin"), wire.XID_AUTH)

    def do(self, request):
        reply = self.ask(request)
        if reply.err:
            raise Refused(f"{request}: error {reply.err}")
        return wire.Reader(reply.body)

    def stat(self, path):
        return self.do(wire.exists(path)).stat()

    def tree(self):
        """Returns every znode as a map: path -> data, ACL, Stat."""
        found, paths = {}, ["/"]
        for path in paths:
            reader = self.do(wire.get_data(path))
            data, stat = reader.buffer(), reader.stat()
            reader = self.do(wire.get_acl(path))
            found[path] = (data, tuple(reader.vector(reader.acl)), tuple(stat))
            reader = self.do(wire.get_children(path))
            for name in reader.vector(reader.ustring):
                paths.append(f"{path.rstrip('/')}/{name}")
        return {path: value for path, value in found.items() if path not in OWN}


def oxkeeper(*arguments, fails=False):
    """Runs the command and returns its output."""
    done = subprocess.run([oxkeeper_binary(), *map(str, arguments)], capture_output=True, text=True, timeout=60)
    if (done.returncode != 0) != fails:
        raise Refused(f"oxkeeper {' '.join(map(str, arguments))}: exit code {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout + done.stderr


class Servers:
    """Deployments in one directory, and client processes; all end together."""

    def __init__(self, directory):
        self.directory = Path(directory)
        self.all = []
        self.clients = []

    def create(self, kind, flags=(), settings="", port=None):
        deployment = Deployment.create(kind, self.directory / f"{len(self.all)}-{kind}", port, settings)
        for member in deployment.members:
            if kind.startswith("zookeeper"):
                member.argv[1:1] = [f"-Dzookeeper.{flag}" for flag in flags]
            else:
                (port,) = free_ports(1)
                text = config(member).read_text()
                admin = f"admin.serverAddress=127.0.0.1\nadmin.serverPort={port}"
                config(member).write_text(text.replace("admin.enableServer=false", admin))
        self.all.append(deployment)
        return deployment

    def end(self):
        for process in self.clients:
            process.kill()
        for deployment in self.all:
            deployment.kill9()


def data_dir(member):
    return member.directory / "data"


def config(member):
    return member.directory / "zoo.cfg"


def compare(got, expected, what, ignore=()):
    """Compares in both directions, except the `ignore` paths: znodes that may be reaped meanwhile, and their parents."""
    for path in sorted(set(got) | set(expected)):
        if path not in ignore and got.get(path) != expected.get(path):
            raise AssertionError(f"{what}: {path}\n  got      {got.get(path)}\n  expected {expected.get(path)}")


def files(member, kind):
    """Returns the snapshots or logs of Apache ZooKeeper, oldest first."""
    return sorted((data_dir(member) / "version-2").glob(f"{kind}.*"), key=snapshot_zxid)


def snapshot_zxid(path):
    return int(path.name.split(".")[1], 16)


def eventually(condition, what):
    """Waits for a condition that must become true, however slow the machine is."""
    deadline = time.monotonic() + 60
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"{what}: not within a minute")
        time.sleep(0.05)
