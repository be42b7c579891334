"""Changes to zoo.cfg on a server that may change its members. Source: QuorumPeerConfig, QuorumPeer#setQuorumVerifier."""

import os
from pathlib import Path

from harness import SERVERS, case, equal, eventually

# The suite's servers by number: their zoo.cfg files are below the directory of `ctl`.
DIRECTORY = Path(os.environ.get("ZK_CTL", ".")).parent


def configuration(number):
    return DIRECTORY / f"server-{number}" / "zoo.cfg"


def properties(path):
    """Reads the properties of a file; ignores the finer points of the syntax."""
    lines = (line.partition("=") for line in path.read_text().splitlines() if "=" in line)
    return {key: value for key, _, value in lines}


def members(client):
    """Returns the sorted lines of the servers, and the version."""
    *lines, version = client.data("/zookeeper/config").decode().split("\n")
    return sorted(lines), version.partition("=")[2]


def beside(path):
    return sorted(other.name for other in path.parent.iterdir() if other.name.startswith("zoo.cfg"))


@case("reconfig files", "the members move into a file of their own")
def split(scene):
    if SERVERS == 1:
        equal(beside(configuration(1)), ["zoo.cfg"], "files of a server alone")
        return
    lines, version = members(scene.client())
    for number in range(1, SERVERS + 1):
        path = configuration(number)
        dynamic = path.with_name(f"zoo.cfg.dynamic.{version}")
        eventually(lambda: "dynamicConfigFile" in path.read_text(), "zoo.cfg names its dynamic file")
        before, now = properties(path.with_name("zoo.cfg.bak")), properties(path)
        equal(now.pop("dynamicConfigFile"), str(dynamic), "dynamicConfigFile")
        equal(now, {key: value for key, value in before.items() if not key.startswith("server.")}, "everything else")
        equal(dynamic.read_text(), "\n".join(lines), "dynamic file")
        equal(beside(path), ["zoo.cfg", "zoo.cfg.bak", dynamic.name], "files")


@case("reconfig files", "a restart reads them, and changes nothing")
def restart(scene):
    if SERVERS == 1:
        return
    before = [{path.name: path.read_text() for path in configuration(number).parent.glob("zoo.cfg*")} for number in range(1, SERVERS + 1)]
    was = members(scene.client())
    scene.ctl("restart")
    eventually(lambda: members(scene.client()) == was, "the members are as they were")
    after = [{path.name: path.read_text() for path in configuration(number).parent.glob("zoo.cfg*")} for number in range(1, SERVERS + 1)]
    equal(after, before, "files")
