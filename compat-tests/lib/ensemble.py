"""An ensemble of real servers on this machine, and the faults it can suffer; used by scripts/ensemble and the fault runs.

Owns a directory: `ensemble.json`, one sub-directory per server (zoo.cfg, data, server.log, pid), and the network between them.
*Spares* are servers that have a directory but are not members yet; `numbers` lists the members.
Invariant: all state is in that directory, so any process can continue where another stopped. Only processes whose pid files
are in that directory are ever signalled.
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
        self.settings = described["settings"]
        self.spares = described["spares"]
        self.members = {int(number): Member(**member) for number, member in described["members"].items()}

    @classmethod
    def create(cls, kind, count, directory, network_kind="auto", settings=ZOO_CFG, spares=0):
        """Writes the configurations of a fresh ensemble: `settings` plus the lines that make it an ensemble. Starts nothing."""
        directory = Path(directory).resolve()
        directory.mkdir(parents=True, exist_ok=True)
        if any(directory.iterdir()):
            raise RuntimeError(f"{directory} is not empty")
        net = network.create(network_kind, directory, count + spares)
        described = {"kind": kind, "network": network.describe(net), "settings": settings, "members": {}, "spares": []}
        (directory / DESCRIPTION).write_text(json.dumps(described))
        ensemble = cls(directory)
        for number in range(1, count + spares + 1):
            ensemble.furnish(number)
        ensemble.spares = list(range(count + 1, count + spares + 1))
        for number in ensemble.numbers:
            ensemble.configure(number, ensemble.numbers)
        ensemble.save()
        return ensemble

    def furnish(self, number):
        """Creates the directory and an empty disk for one server."""
        directory = self.directory / f"server-{number}"
        (directory / "data").mkdir(parents=True)
        (directory / "data" / "myid").write_text(f"{number}\n")
        host, port = self.network.client_address(number)
        argv = self.network.wrap(number, command_line(self.kind, directory / "zoo.cfg"))
        self.members[number] = Member(str(directory), argv, port, host)

    def save(self):
        members = {number: {"directory": str(it.directory), "argv": it.argv, "port": it.port, "host": it.host} for number, it in self.members.items()}
        described = {"kind": self.kind, "network": network.describe(self.network), "settings": self.settings, "members": members, "spares": self.spares}
        (self.directory / DESCRIPTION).write_text(json.dumps(described, indent=1))

    def configure(self, number, known, role="participant"):
        """Writes a zoo.cfg that names these servers and itself; deletes the old one and every file the server made from it."""
        directory = self.members[number].directory
        for path in directory.glob("zoo.cfg*"):
            path.unlink()
        lines = "".join(f"{self.line(each, role if each == number else 'participant', number)}\n" for each in sorted({*known, number}))
        peer_type = "peerType=observer\n" if role == "observer" else ""
        (directory / "zoo.cfg").write_text(f"{self.settings}dataDir={directory / 'data'}\n{peer_type}{lines}")

    def line(self, number, role="participant", viewer=None):
        """Returns a server's line as `viewer` knows it; without a viewer, as the server itself knows it."""
        host, first, second = self.network.peer_address(viewer or number, number)
        client_host, client_port = self.network.client_address(number)
        return f"server.{number}={host}:{first}:{second}:{role};{client_host}:{client_port}"

    def names_itself(self, number):
        """Returns whether a server's configuration still has a line for that server; without one it does not start."""
        config = self.members[number].directory / "zoo.cfg"
        lines = [line for path in (config, dynamic_file(config)) for line in lines_of(path)]
        return any(line.startswith(f"server.{number}=") for line in lines)

    @property
    def numbers(self):
        return [number for number in self.members if number not in self.spares]

    @property
    def connect(self):
        return ",".join(self.members[number].address for number in self.numbers)

    # --- all servers -----------------------------------------------------------------------------------------------------

    def start(self):
        self.network.up()
        for number in self.numbers:
            self.spawn(number)
        self.wait_serving()

    def stop(self):
        """Ends every server and takes the network down, in any state. Returns what went wrong."""
        for number in self.members:
            self.resume(number)
        complaints = []
        for number in self.members:
            try:
                self.members[number].end(signal.SIGTERM)
            except RuntimeError as error:
                complaints.append(f"server {number}: {error}")
        self.network.down()
        return complaints

    def wait_serving(self, numbers=None, limit_s=START_TIMEOUT_S):
        """Waits until each of the servers leads, follows or observes, and until one member of the ensemble leads."""
        wanted = set(numbers or self.numbers)
        deadline = time.monotonic() + limit_s
        while True:
            modes = self.modes()
            if all(modes[number] in ("leader", "follower", "observer") for number in wanted) and "leader" in modes.values():
                return
            if ended := [number for number in wanted if self.members[number].died()]:
                raise RuntimeError("\n".join(f"server {number} ended:\n{self.members[number].log_tail()}" for number in ended))
            if time.monotonic() > deadline:
                raise RuntimeError(f"not serving within {limit_s:.0f} s: {modes}")
            time.sleep(0.05)

    def modes(self, timeout_s=1.0):
        """Returns the mode each server reports; None for servers that do not answer or do not serve."""
        return {number: self.mode(number, timeout_s) for number in self.members}

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
        """Returns `running`, `paused`, `stopped`, or `died`, which means that the process ended without being asked to."""
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
        """Ends a running server with SIGTERM, then starts it and waits until it serves."""
        self.resume(number)
        self.members[number].end(signal.SIGTERM)
        self.spawn(number)
        self.wait_serving([number], limit_s)

    def spawn(self, number):
        """Starts a server. If it was removed, first writes a configuration that names it again, as an operator would."""
        if not self.names_itself(number):
            self.configure(number, self.numbers)
        self.members[number].spawn()

    def wipe(self, number):
        """Kills a server and deletes everything on its disk except its number."""
        self.kill(number)
        data = self.members[number].directory / "data"
        for path in data.iterdir():
            if path.name != "myid":
                shutil.rmtree(path) if path.is_dir() else path.unlink()

    # --- members ---------------------------------------------------------------------------------------------------------

    def add(self, role, ask):
        """Starts one more server with an empty disk and calls `ask` with its line until `ask` says it joined. Returns its number."""
        if not self.spares:
            self.network.add()
            number = max(self.members) + 1
            self.furnish(number)
            self.spares.append(number)
            self.save()
        number = self.spares[0]
        self.wipe(number)
        self.configure(number, self.numbers, role)
        self.spawn(number)
        self.wait_serving([number])
        ask(self.line(number, role))
        self.spares.remove(number)
        self.save()
        return number

    def remove(self, number, ask):
        """Ends a server once `ask` says that it is no longer a member; keeps its directory for the next server."""
        ask(number)
        self.members[number].end(signal.SIGTERM)
        self.spares.append(number)
        self.save()

    # --- the network -----------------------------------------------------------------------------------------------------

    def partition(self, groups):
        """Lets two servers reach each other iff some group has both: [[1, 2], [2, 3]] is a chain, [[1, 2]] also cuts 3 off."""
        self.network.heal()
        self.network.cut(network.separated(groups, len(self.members)))

    def isolate(self, number):
        self.partition([[other for other in self.numbers if other != number]])

    def heal(self):
        self.network.heal()



def dynamic_file(config):
    """Returns the file with the server lines, if a zoo.cfg names one."""
    named = [line.partition("=")[2] for line in lines_of(config) if line.startswith("dynamicConfigFile=")]
    return Path(named[0]) if named else None


def lines_of(path):
    """Returns the lines of a file, or None if it is missing: a server may replace its files during the read."""
    try:
        return path.read_text().splitlines() if path else []
    except FileNotFoundError:
        return []
