"""An ensemble of real servers on this machine, and all that can befall it: what scripts/ensemble and the fault runs use.

Owns a directory: `ensemble.json`, one sub-directory per server (zoo.cfg, data, server.log, pid), and the network between them.
Invariant: all state is in that directory, so that any process can go on where another stopped; only processes whose pid files
are there are ever signalled.
"""

import json
import shutil
import signal
import time
from pathlib import Path

import network
from server import START_TIMEOUT_S, ZOO_CFG, Member, command_line, process_state

DESCRIPTION = "ensemble.json"


class Ensemble:
    def __init__(self, directory):
        self.directory = Path(directory).resolve()
        described = json.loads((self.directory / DESCRIPTION).read_text())
        self.kind = described["kind"]
        self.network = network.network(described["network"])
        self.members = {int(number): Member(**member) for number, member in described["members"].items()}

    @classmethod
    def create(cls, kind, count, directory, network_kind="auto", settings=ZOO_CFG):
        """Writes the configurations of a fresh ensemble, `settings` and what makes it one; starts nothing."""
        directory = Path(directory).resolve()
        directory.mkdir(parents=True, exist_ok=True)
        if any(directory.iterdir()):
            raise RuntimeError(f"{directory} is not empty")
        net = network.create(network_kind, directory, count)
        members = {}
        for number in range(1, count + 1):
            member_dir = directory / f"server-{number}"
            (member_dir / "data").mkdir(parents=True)
            (member_dir / "data" / "myid").write_text(f"{number}\n")
            config = member_dir / "zoo.cfg"
            config.write_text(f"{settings}dataDir={member_dir / 'data'}\n{server_lines(net, number, count)}")
            host, port = net.client_address(number)
            argv = net.wrap(number, command_line(kind, config))
            members[number] = {"directory": str(member_dir), "argv": argv, "port": port, "host": host}
        described = {"kind": kind, "network": network.describe(net), "members": members}
        (directory / DESCRIPTION).write_text(json.dumps(described, indent=1))
        return cls(directory)

    @property
    def numbers(self):
        return list(self.members)

    @property
    def connect(self):
        return ",".join(member.address for member in self.members.values())

    # --- all of it -------------------------------------------------------------------------------------------------------

    def start(self):
        self.network.up()
        for member in self.members.values():
            member.spawn()
        self.wait_serving()

    def stop(self):
        """Ends every server and takes the network down, whatever state they are in. Returns what went wrong."""
        for number in self.numbers:
            self.resume(number)
        complaints = []
        for number in self.numbers:
            try:
                self.members[number].end(signal.SIGTERM)
            except RuntimeError as error:
                complaints.append(f"server {number}: {error}")
        self.network.down()
        return complaints

    def wait_serving(self, numbers=None, limit_s=START_TIMEOUT_S):
        """Until each of the servers leads or follows, and one of all leads."""
        wanted = set(numbers or self.numbers)
        deadline = time.monotonic() + limit_s
        while True:
            modes = self.modes()
            if all(modes[number] in ("leader", "follower") for number in wanted) and "leader" in modes.values():
                return
            if ended := [number for number in wanted if self.members[number].died()]:
                raise RuntimeError("\n".join(f"server {number} ended:\n{self.members[number].log_tail()}" for number in ended))
            if time.monotonic() > deadline:
                raise RuntimeError(f"not serving within {limit_s:.0f} s: {modes}")
            time.sleep(0.05)

    def modes(self, timeout_s=1.0):
        """What each server says it is; None for those that say nothing or do not serve."""
        return {number: self.mode(number, timeout_s) for number in self.numbers}

    def mode(self, number, timeout_s=1.0):
        member = self.members[number]
        if self.state(number) != "running":
            return None
        try:
            return member.mode(timeout_s)
        except OSError:
            return None

    def leader(self, limit_s=START_TIMEOUT_S):
        deadline = time.monotonic() + limit_s
        while time.monotonic() < deadline:
            if leading := [number for number, mode in self.modes().items() if mode == "leader"]:
                return leading[0]
            time.sleep(0.05)
        raise RuntimeError(f"no leader within {limit_s:.0f} s")

    # --- one server ------------------------------------------------------------------------------------------------------

    def state(self, number):
        """`running`, `paused`, `stopped`, or `died`: gone without having been asked to."""
        member = self.members[number]
        pid = member.pid()
        if pid is None:
            return "died" if member.died() else "stopped"
        return "paused" if process_state(pid) == "T" else "running"

    def kill(self, number):
        self.members[number].end(signal.SIGKILL)

    def pause(self, number):
        self.members[number].signal(signal.SIGSTOP)

    def resume(self, number):
        self.members[number].signal(signal.SIGCONT)

    def restart(self, number, limit_s=START_TIMEOUT_S):
        """SIGTERM if it runs, then a start; waits until it serves."""
        self.resume(number)
        self.members[number].end(signal.SIGTERM)
        self.spawn(number)
        self.wait_serving([number], limit_s)

    def spawn(self, number):
        self.members[number].spawn()

    def wipe(self, number):
        """Kills it and takes everything off its disk but its number."""
        self.kill(number)
        data = self.members[number].directory / "data"
        for path in data.iterdir():
            if path.name != "myid":
                shutil.rmtree(path) if path.is_dir() else path.unlink()

    # --- the network -----------------------------------------------------------------------------------------------------

    def partition(self, groups):
        """Two servers hear each other iff some group has both: [[1, 2], [2, 3]] is a chain, [[1, 2]] also cuts 3 off."""
        self.network.heal()
        self.network.cut(network.separated(groups, len(self.members)))

    def isolate(self, number):
        self.partition([[other for other in self.numbers if other != number]])

    def heal(self):
        self.network.heal()


def server_lines(net, viewer, count):
    lines = []
    for number in range(1, count + 1):
        host, first, second = net.peer_address(viewer, number)
        client_host, client_port = net.client_address(number)
        lines.append(f"server.{number}={host}:{first}:{second}:participant;{client_host}:{client_port}\n")
    return "".join(lines)
