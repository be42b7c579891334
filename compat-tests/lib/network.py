"""The network between the servers of an ensemble, and the ways to cut it.

There are three kinds. `namespaces`: each server has its own network namespace, joined by a bridge that only this machine can reach;
a cut pair keeps its connections and hears nothing more, as with a broken cable. Needs root and the kernel's permission. `proxy`: all
servers are on 127.0.0.1, and each ordered pair of servers talks through proxy.py, which stops passing bytes on. Works everywhere.
`plain`: all servers are on 127.0.0.1, and nothing can be cut.

Invariant: a network describes itself in plain data (`describe`, `network`), because every command of scripts/ensemble is its own
process. Clients reach every server at all times; only the links between servers are cut.
"""

import itertools
import json
import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

from server import Member, free_ports

# No device has this hardware address: packets sent to it arrive nowhere.
NOBODY = "02:00:00:00:00:fe"
# RFC 2544 set this range aside for testing; routers drop it.
TEST_NETWORK = "198.18"


def ip(*arguments):
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"ip {' '.join(arguments)}: {done.stderr.strip()}")
    return done.stdout


def separated(groups, count):
    """Returns the pairs of servers that share no group. `[{1, 2}, {2, 3}]` separates only 1 from 3."""
    pairs = itertools.combinations(range(1, count + 1), 2)
    return [pair for pair in pairs if not any(set(pair) <= set(group) for group in groups)]


class Plain:
    KIND = "plain"

    def __init__(self, ports):
        self.ports = ports  # per server: client port, first and second peer port

    @classmethod
    def create(cls, _directory, count):
        ports = free_ports(3 * count)
        return cls([ports[3 * index : 3 * index + 3] for index in range(count)])

    def describe(self):
        return {"ports": self.ports}

    def add(self):
        """Makes room for one more server, with the next number."""
        taken = {port for ports in self.ports for port in ports}
        fresh = free_ports(3)
        while taken.intersection(fresh):
            fresh = free_ports(3)
        self.ports.append(fresh)

    def client_address(self, number):
        return "127.0.0.1", self.ports[number - 1][0]

    def peer_address(self, _viewer, number):
        """Returns the host and both peer ports of a server, as its peer `viewer` is told."""
        return "127.0.0.1", *self.ports[number - 1][1:]

    def wrap(self, _number, argv):
        return argv

    def up(self):
        pass

    def down(self):
        pass

    def cut(self, pairs):
        raise RuntimeError("this ensemble was started on a plain network, which cannot be cut: start it with --network auto")

    def heal(self):
        pass

    def cuts(self):
        return []


class Namespaces:
    """One namespace per server, named after the bridge. Servers have the addresses BASE.1, BASE.2, …; this machine has BASE.254."""

    KIND = "namespaces"

    def __init__(self, bridge, base, count):
        self.bridge, self.base, self.count = bridge, base, count

    @classmethod
    def possible(cls):
        if os.geteuid() != 0 or not shutil.which("ip"):
            return False
        try:
            trial = cls(f"oxt{os.getpid() % 0xFFFF:04x}", None, 1)
            ip("netns", "add", trial.namespace(1))
            try:
                ip("-n", trial.namespace(1), "link", "add", "veth-a", "type", "veth", "peer", "name", "veth-b")
                ip("-n", trial.namespace(1), "link", "add", "bridge-a", "type", "bridge")
            finally:
                ip("netns", "del", trial.namespace(1))
        except RuntimeError:
            return False
        return True

    @classmethod
    def create(cls, _directory, count):
        used = ip("-4", "-o", "addr")
        while (base := f"{TEST_NETWORK}.{random.randrange(256)}") + "." in used:
            pass
        return cls(f"ox{random.randrange(1 << 24):06x}", base, count)

    def describe(self):
        return {"bridge": self.bridge, "base": self.base, "count": self.count}

    def namespace(self, number):
        return f"{self.bridge}-{number}"

    def address(self, number):
        return f"{self.base}.{number}"

    def client_address(self, number):
        return self.address(number), 2181

    def peer_address(self, _viewer, number):
        return self.address(number), 2888, 3888

    def wrap(self, number, argv):
        # Becomes the server without a fork: its process id is the server's.
        return ["ip", "netns", "exec", self.namespace(number), *argv]

    def up(self):
        ip("link", "add", self.bridge, "type", "bridge")
        ip("addr", "add", f"{self.address(254)}/24", "dev", self.bridge)
        ip("link", "set", self.bridge, "up")
        for number in range(1, self.count + 1):
            self.plug(number)

    def plug(self, number):
        inside, outside = self.namespace(number), f"{self.bridge}v{number}"
        ip("netns", "add", inside)
        ip("link", "add", outside, "type", "veth", "peer", "name", "eth0", "netns", inside)
        ip("link", "set", outside, "master", self.bridge, "up")
        ip("-n", inside, "addr", "add", f"{self.address(number)}/24", "dev", "eth0")
        ip("-n", inside, "link", "set", "eth0", "up")
        ip("-n", inside, "link", "set", "lo", "up")

    def add(self):
        """Makes room for one more server, with the next number, while the network is up."""
        self.count += 1
        self.plug(self.count)

    def down(self):
        """Removes whatever exists of the network, cables first: the kernel is slow to remove those of a namespace."""
        links, there = ip("-o", "link"), ip("netns", "list").split()
        for number in range(1, self.count + 1):
            if f" {self.bridge}v{number}@" in links:
                ip("link", "del", f"{self.bridge}v{number}")
            if self.namespace(number) in there:
                ip("netns", "del", self.namespace(number))
        if f" {self.bridge}:" in links:
            ip("link", "del", self.bridge)

    def cut(self, pairs):
        for one, other in pairs:
            for here, there in ((one, other), (other, one)):
                arguments = [self.address(there), "lladdr", NOBODY, "dev", "eth0", "nud", "permanent"]
                ip("-n", self.namespace(here), "neigh", "replace", *arguments)

    def heal(self):
        for one, other in self.cuts():
            for here, there in ((one, other), (other, one)):
                ip("-n", self.namespace(here), "neigh", "del", self.address(there), "dev", "eth0")

    def cuts(self):
        found = []
        if self.namespace(1) not in ip("netns", "list").split():
            return found
        for here, there in itertools.combinations(range(1, self.count + 1), 2):
            if f"{self.address(there)} lladdr {NOBODY}" in ip("-n", self.namespace(here), "neigh", "show", "dev", "eth0"):
                found.append((here, there))
        return found


class Proxy(Plain):
    """A network of proxied links. `links` has, per ordered pair, the proxy's port, the port behind it, and the pair. The proxy reads the
    cuts from a file.
    """

    KIND = "proxy"

    def __init__(self, directory, ports, links):
        super().__init__(ports)
        self.directory, self.links = Path(directory), links
        program = [sys.executable, str(Path(__file__).resolve().parent / "proxy.py"), str(directory)]
        self.process = Member(self.directory, program, None)

    @classmethod
    def create(cls, directory, count):
        ports = Plain.create(directory, count).ports
        ordered = list(itertools.permutations(range(1, count + 1), 2))
        fresh = free_ports(2 * len(ordered) + 3 * count)
        fresh = [port for port in fresh if not any(port in taken for taken in ports)]
        links = [
            {"pair": [viewer, number], "listen": fresh.pop(), "to": ports[number - 1][which]}
            for viewer, number in ordered
            for which in (1, 2)
        ]
        directory = Path(directory) / "proxy"
        directory.mkdir()
        (directory / "links.json").write_text(json.dumps(links))
        (directory / "cuts.json").write_text("[]")
        return cls(directory, ports, links)

    def describe(self):
        return {"directory": str(self.directory), "ports": self.ports, "links": self.links}

    def add(self):
        raise RuntimeError("servers come and go past the proxy's links: start it with --network plain, or namespaces as root")

    def peer_address(self, viewer, number):
        if viewer == number:
            return super().peer_address(viewer, number)
        return "127.0.0.1", *(link["listen"] for link in self.links if link["pair"] == [viewer, number])

    def up(self):
        self.process.spawn()

    def down(self):
        self.process.end(15)

    def cut(self, pairs):
        self._write(sorted({*self.cuts(), *pairs}))

    def heal(self):
        self._write([])

    def cuts(self):
        return [tuple(pair) for pair in json.loads((self.directory / "cuts.json").read_text())]

    def _write(self, pairs):
        """Replaces the whole file and waits until the proxy says that it applies it."""
        text = json.dumps(pairs)
        (self.directory / "cuts.new").write_text(text)
        (self.directory / "cuts.new").rename(self.directory / "cuts.json")
        applied = self.directory / "applied.json"
        while not applied.exists() or applied.read_text() != text:
            if self.process.pid() is None:
                raise RuntimeError(f"the proxy ended:\n{self.process.log_tail()}")


KINDS = {kind.KIND: kind for kind in (Plain, Namespaces, Proxy)}


def create(kind, directory, count):
    """Returns a network that is not up yet. `auto` chooses namespaces where they are possible, and the proxy otherwise."""
    if kind == "auto":
        kind = "namespaces" if Namespaces.possible() else "proxy"
    if kind == "namespaces" and not Namespaces.possible():
        raise RuntimeError("no network namespaces here: they need root, iproute2, and a kernel that permits them; try --network proxy")
    return KINDS[kind].create(directory, count)


def network(described):
    return KINDS[described["kind"]](**{name: value for name, value in described.items() if name != "kind"})


def describe(some_network):
    return {"kind": some_network.KIND, **some_network.describe()}
