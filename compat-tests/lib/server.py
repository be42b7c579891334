"""Starts and controls the servers under test: Apache ZooKeeper and oxkeeper, alone or three together.

Owns a *deployment*: a directory with one sub-directory per server (zoo.cfg, data, log, pid), `deployment.json` with the
command lines, and `ctl`, the script that a suite is given as $ZK_CTL. Invariant: both kinds of server get the same zoo.cfg and the
same SERVER_JVMFLAGS, so a difference that a suite sees is a difference between the servers. All state is in files, because `ctl`
runs as its own process each time.
"""

import json
import os
import random
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

COMPAT_DIR = Path(__file__).resolve().parent.parent
PROJECT_DIR = COMPAT_DIR.parent

KINDS = ("zookeeper", "oxkeeper")
START_TIMEOUT_S = 60
STOP_TIMEOUT_S = 10
SETTLE_TIMEOUT_S = 10
# Below the kernel's range for outgoing connections: a client that retries while the server is down must not be handed the
# server's own port as its source port.
PORTS = range(20000, 32000)
GIVEN_PORTS = set()

# Session timeouts lie between 2 and 20 ticks, so expiry takes a second and a session outlives a restart.
ZOO_CFG = """\
tickTime=500
initLimit=20
syncLimit=10
maxClientCnxns=0
4lw.commands.whitelist=*
extendedTypesEnabled=true
admin.enableServer=false
"""
# The super user's password is `admin`.
SERVER_JVMFLAGS = (
    "-Dznode.container.checkIntervalMs=1000"
    " -Dzookeeper.DigestAuthenticationProvider.superDigest=super:xQJmxLMiHGwaqBvst5y6rkB6HQs="
)


def split_name(name):
    """Splits a server name: `zookeeper-3` is three Apache ZooKeeper servers; a bare kind is one server."""
    kind, _, count = name.partition("-")
    if kind not in KINDS or (count and not count.isdigit()):
        raise ValueError(f"unknown server {name!r}: expected one of {', '.join(KINDS)}, or KIND-COUNT for an ensemble")
    return kind, int(count or 1)


def oxkeeper_binary():
    """Returns $OXKEEPER (or $OXKEEPER_BIN), or the most recent build in the target directory."""
    if named := os.environ.get("OXKEEPER") or os.environ.get("OXKEEPER_BIN"):
        return Path(named).resolve()
    target_dir = Path(os.environ.get("CARGO_TARGET_DIR", PROJECT_DIR / "target"))
    built = [path for profile in ("release", "debug") if (path := target_dir / profile / "oxkeeper").exists()]
    if not built:
        raise RuntimeError("no oxkeeper binary: build it (cargo build --release -p oxkeeper) or set OXKEEPER_BIN")
    return max(built, key=lambda path: path.stat().st_mtime).resolve()


def command_line(kind, config, flags=""):
    if kind == "oxkeeper":
        return [str(oxkeeper_binary()), "serve", "--config", str(config)]
    jars = COMPAT_DIR / ".work" / "zookeeper" / "lib" / "*"
    # ZooKeeper reads credentials in the JVM's charset, which is ASCII without a locale.
    charset = "-Dfile.encoding=UTF-8"
    quick_start = [charset, "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xmx512m"]
    main_class = "org.apache.zookeeper.server.quorum.QuorumPeerMain"
    return ["java", *quick_start, *SERVER_JVMFLAGS.split(), *flags.split(), "-cp", str(jars), main_class, str(config)]


def free_ports(count):
    """Returns distinct ports that nobody listens on now and that this process has not handed out before: a server that is
    stopped for a moment must find its port free, and its clients must find no other server there."""
    found = []
    for port in random.sample(PORTS, len(PORTS)):
        if port in GIVEN_PORTS:
            continue
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
                found.append(port)
            except OSError:
                continue
        if len(found) == count:
            GIVEN_PORTS.update(found)
            return found
    raise RuntimeError("no free port")


def four_letter_word(port, word, timeout_s=2.0, host="127.0.0.1"):
    """Returns the server's whole answer to a four-letter word; raises OSError when it does not answer."""
    with socket.create_connection((host, port), timeout_s) as connection:
        connection.sendall(word.encode())
        return b"".join(iter(lambda: connection.recv(65536), b"")).decode()


class Member:
    """One server process, identified by its directory."""

    def __init__(self, directory, argv, port, host="127.0.0.1", flags=""):
        self.directory = Path(directory)
        self.argv = argv
        self.port = port
        self.host = host
        self.flags = flags

    @property
    def address(self):
        return f"{self.host}:{self.port}"

    @property
    def pid_file(self):
        return self.directory / "pid"

    def pid(self):
        """Returns the process id, or None if the process was not started or is no longer the one we started."""
        try:
            pid, started = self.pid_file.read_text().split()
        except FileNotFoundError:
            return None
        return int(pid) if process_start_time(pid) == started else None

    def died(self):
        """Returns whether the process was started, was not stopped by us, and is gone."""
        return self.pid_file.exists() and self.pid() is None

    def spawn(self):
        if self.pid() is not None:
            return
        log = open(self.directory / "server.log", "ab")
        process = subprocess.Popen(
            self.argv,
            cwd=self.directory,
            env={**os.environ, "SERVER_JVMFLAGS": f"{SERVER_JVMFLAGS} {self.flags}"},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        self.pid_file.write_text(f"{process.pid} {process_start_time(process.pid)}")

    def wait_ready(self):
        deadline = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline:
            if self.pid() is None:
                raise RuntimeError(f"the server ended while starting:\n{self.log_tail()}")
            try:
                if self.mode():
                    return
            except OSError:
                pass
            time.sleep(0.02)
        raise RuntimeError(f"the server did not serve within {START_TIMEOUT_S} s:\n{self.log_tail()}")

    def mode(self, timeout_s=2.0):
        """Returns `leader`, `follower` or `standalone`; None if it answers but does not serve. Raises OSError without an answer."""
        return self._shown("Mode", timeout_s)

    def zxid(self):
        """Returns the zxid of the last change the server has applied. Raises OSError without an answer."""
        return int(self._shown("Zxid", 2.0) or "0", 16)

    def _shown(self, name, timeout_s):
        """Returns a field of `srvr`; None when it is missing."""
        answer = four_letter_word(self.port, "srvr", timeout_s, self.host)
        return answer.partition(f"{name}: ")[2].partition("\n")[0].strip() or None

    def signal(self, number):
        pid = self.pid()
        if pid is not None:
            os.kill(pid, number)

    def end(self, number):
        """Sends the signal and waits until the process is gone."""
        self.signal(number)
        self.await_end(number)

    def await_end(self, number):
        """Waits for the end of a process that was sent this signal. Kills it if it does not end in time, and raises an error."""
        deadline = time.monotonic() + STOP_TIMEOUT_S
        disobeyed = False
        while (pid := self.pid()) is not None:
            if time.monotonic() > deadline:
                disobeyed = True
                os.kill(pid, signal.SIGKILL)
            time.sleep(0.01)
        self.pid_file.unlink(missing_ok=True)
        if disobeyed:
            raise RuntimeError(f"the server did not end within {STOP_TIMEOUT_S} s of {signal.Signals(number).name}:\n{self.log_tail(5)}")

    def log_tail(self, lines=20):
        log = self.directory / "server.log"
        return "\n".join(log.read_text(errors="replace").splitlines()[-lines:]) if log.exists() else ""


def process_start_time(pid):
    """Returns when the kernel started this process, in clock ticks; None once it has ended, even if it has not been reaped."""
    fields = process_fields(pid)
    if fields is None or fields[0] == "X":
        return None
    # A killed process becomes a zombie before its last thread has closed its sockets.
    return None if fields[0] == "Z" and threads(pid) <= 1 else fields[19]


def threads(pid):
    try:
        return len(list(Path(f"/proc/{pid}/task").iterdir()))
    except FileNotFoundError:
        return 0


def process_state(pid):
    """Returns the kernel's letter for the state of a process, `T` while it is stopped; None once it is gone."""
    fields = process_fields(pid)
    return fields and fields[0]


def process_fields(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None


class Deployment:
    """The servers that a suite runs against, and the actions of $ZK_CTL on them."""

    ACTIONS = ("start", "stop", "restart", "kill9", "pause", "resume", "settle")

    def __init__(self, directory):
        self.directory = Path(directory)
        described = json.loads((self.directory / "deployment.json").read_text())
        self.members = [Member(**member) for member in described]

    @classmethod
    def create(cls, name, directory, port=None, settings="", flags=""):
        """Writes configuration and control script for a fresh deployment, with extra lines for zoo.cfg (each `@PORT@` becomes a
        free port) and extra JVM flags; starts nothing."""
        kind, count = split_name(name)
        directory = Path(directory).resolve()
        client_ports = [port] if port and count == 1 else free_ports(count)
        ensemble = ensemble_lines(count, client_ports)
        members = []
        for number, client_port in enumerate(client_ports, start=1):
            member_dir = directory / f"server-{number}"
            data_dir = member_dir / "data"
            data_dir.mkdir(parents=True)
            config = member_dir / "zoo.cfg"
            own = re.sub("@PORT@", lambda _: str(free_ports(1)[0]), settings)
            config.write_text(f"{ZOO_CFG}{own}dataDir={data_dir}\n" + (ensemble or f"clientPort={client_port}\n"))
            if ensemble:
                (data_dir / "myid").write_text(f"{number}\n")
            members.append({"directory": str(member_dir), "argv": command_line(kind, config, flags), "port": client_port, "flags": flags})
        (directory / "deployment.json").write_text(json.dumps(members, indent=1))
        ctl = directory / "ctl"
        ctl.write_text(f'#!/bin/sh\nexec python3 "{Path(__file__).resolve()}" ctl "{directory}" "$@"\n')
        ctl.chmod(0o755)
        return cls(directory)

    @property
    def ctl(self):
        return self.directory / "ctl"

    def environment(self):
        """Returns the environment that tells a suite about its running servers. In an ensemble the suite uses one follower: all writes
        take the long way, and one session sees at once what another has written, as through a single server."""
        modes = {member.mode(): member for member in self.members}
        chosen = modes.get("follower") or modes.get("standalone")
        if not chosen:
            raise RuntimeError(f"neither a follower nor a single server: {', '.join(map(str, modes))}")
        return {
            "ZK_KIND": "oxkeeper" if "serve" in chosen.argv else "zookeeper",
            "ZK_CONNECT": chosen.address,
            "ZK_CONNECT_ALL": ",".join(member.address for member in self.members),
            "ZK_SERVERS": str(len(self.members)),
            "ZK_CTL": str(self.ctl),
        }

    def start(self):
        for member in self.members:
            member.spawn()
        for member in self.members:
            member.wait_ready()

    def stop(self):
        self.resume()
        self._end_all(signal.SIGTERM)

    def kill9(self):
        self._end_all(signal.SIGKILL)

    def _end_all(self, number):
        """Ends every server at the same time, so that none outlives its leader; if some fail to end properly, raises afterwards."""
        for member in self.members:
            member.signal(number)
        failures = []
        for member in self.members:
            try:
                member.await_end(number)
            except RuntimeError as error:
                failures.append(str(error))
        if failures:
            raise RuntimeError("\n".join(failures))

    def restart(self):
        """Restarts all servers with all of them down in between: a client is cut off once, as by a single server. `faults` restarts
        them one after the other.
        """
        try:
            self.stop()
        finally:
            self.start()

    def pause(self):
        for member in self.members:
            member.signal(signal.SIGSTOP)

    def resume(self):
        for member in self.members:
            member.signal(signal.SIGCONT)

    def settle(self):
        """Waits until every server has applied what any server has applied."""
        wanted = max(member.zxid() for member in self.members)
        deadline = time.monotonic() + SETTLE_TIMEOUT_S
        while any(member.zxid() < wanted for member in self.members):
            if time.monotonic() > deadline:
                raise RuntimeError(f"not every server has applied 0x{wanted:x} within {SETTLE_TIMEOUT_S} s")
            time.sleep(0.005)

    def died(self):
        """Returns the last log lines of servers that ended by themselves; empty when all is well."""
        return [f"{member.directory.name} died:\n{member.log_tail()}" for member in self.members if member.died()]


def ensemble_lines(count, client_ports):
    """Returns the `server.N=` lines that all members share; empty for a single server."""
    if count == 1:
        return ""
    peer_ports = free_ports(2 * count)
    return "".join(
        f"server.{number}=127.0.0.1:{peer_ports.pop()}:{peer_ports.pop()}:participant;127.0.0.1:{client_port}\n"
        for number, client_port in enumerate(client_ports, start=1)
    )


def main(arguments):
    match arguments:
        case ["ctl", directory, action] if action in Deployment.ACTIONS:
            try:
                getattr(Deployment(directory), action)()
            except RuntimeError as error:
                sys.exit(f"{action}: {error}")
        case ["create", name, directory, *port]:
            deployment = Deployment.create(name, directory, int(port[0]) if port else None)
            deployment.start()
            print("\n".join(f"{name}={value}" for name, value in deployment.environment().items()))
        case _:
            sys.exit(f"usage: ctl {'|'.join(Deployment.ACTIONS)}  or  server.py create {'|'.join(KINDS)} DIR [PORT]")


if __name__ == "__main__":
    main(sys.argv[1:])
