"""Ensembles of one voter: `standaloneEnabled=false`, as operators use it to start with one server and add others."""

import os
import signal
import tempfile
from pathlib import Path

import wire
from changes import FEATURE, at, changed, superuser
from connection import Closed
from files import members, properties
from harness import SERVERS, case, equal, eventually
from server import ZOO_CFG, Member, command_line, free_ports
from wire import Err, reconfig

CONFIG = f"{ZOO_CFG}standaloneEnabled=false\nreconfigEnabled=true\n"


class House:
    """Servers of the scene's kind, each with the configuration that an operator would write."""

    def __init__(self, directory):
        self.directory = Path(directory)
        self.ports = {number: free_ports(3) for number in (1, 2)}
        self.members = {}

    def line(self, number, role="participant"):
        quorum, election, client = self.ports[number]
        return f"server.{number}=127.0.0.1:{quorum}:{election}:{role};127.0.0.1:{client}"

    def start(self, number, lines):
        directory = self.directory / f"server-{number}"
        data = directory / "data"
        data.mkdir(parents=True)
        (data / "myid").write_text(f"{number}\n")
        config = directory / "zoo.cfg"
        config.write_text(f"{CONFIG}dataDir={data}\n" + "".join(f"{line}\n" for line in lines))
        argv = command_line(os.environ["ZK_KIND"], config)
        self.members[number] = Member(directory, argv, self.ports[number][2])
        self.members[number].spawn()
        self.members[number].wait_ready()

    def restart(self, number):
        self.members[number].end(signal.SIGKILL)
        self.members[number].spawn()
        self.members[number].wait_ready()

    def client(self, scene, number):
        """Returns a super user's client once the server accepts one: it may be between two leaders."""
        found = []

        def connected():
            try:
                found.append(at(scene, ("127.0.0.1", self.ports[number][2]), superuser))
                return True
            except (OSError, Closed):
                return False

        eventually(connected, f"a client of server {number}", wait_s=20.0)
        return found[-1]

    def has_mode(self, number, mode):
        def has():
            try:
                return self.members[number].mode() == mode
            except OSError:
                return False

        eventually(has, f"server {number} is {mode}", wait_s=20.0)

    def end(self):
        for member in self.members.values():
            member.end(signal.SIGKILL)


@case(FEATURE, "an ensemble of one grows, and shrinks to the other")
def one_voter(scene):
    if SERVERS > 1:
        return
    with tempfile.TemporaryDirectory() as directory:
        house = House(directory)
        try:
            grow_and_shrink(scene, house)
        finally:
            house.end()


def grow_and_shrink(scene, house):
    house.start(1, [house.line(1)])
    house.has_mode(1, "leader")
    client = house.client(scene, 1)
    client.ok(wire.create("/a"))
    equal(members(client)[0], [house.line(1)], "members")
    client.refused(reconfig(None, "1"), Err.BAD_ARGUMENTS)
    house.restart(1)
    house.has_mode(1, "leader")
    house.start(2, [house.line(1), house.line(2, "observer")])
    # Server 2 is not a member yet.
    house.has_mode(2, "follower")
    client = house.client(scene, 1)
    equal(changed(client, reconfig(house.line(2))), [house.line(1), house.line(2)], "members")
    house.has_mode(2, "follower")
    client.ok(wire.set_data("/a", b"by both"))
    # The server that founded the ensemble leaves it.
    equal(changed(client, reconfig(None, "1")), [house.line(2)], "members")
    house.members[1].end(signal.SIGKILL)
    house.has_mode(2, "leader")
    client = house.client(scene, 2)
    equal(client.data("/a"), b"by both", "data")
    client.ok(wire.set_data("/a", b"by the other"))
    equal(members(client)[0], [house.line(2)], "members")
    path = house.directory / "server-2" / "zoo.cfg"
    eventually(lambda: members(client)[1] in properties(path).get("dynamicConfigFile", ""), "its file names the last members")
    house.restart(2)
    house.has_mode(2, "leader")
    equal(house.client(scene, 2).data("/a"), b"by the other", "data")
