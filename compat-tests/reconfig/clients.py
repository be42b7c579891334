"""reconfig through Kazoo and Apache's shell. The cases with the Java client are in src/."""

import logging
import os
import subprocess
from pathlib import Path

from harness import SERVERS, case, equal, eventually
from kazoo.client import KazooClient
from kazoo.exceptions import BadArgumentsError, BadVersionError, NewConfigNoQuorumError, NoAuthError, UnimplementedError

logging.disable(logging.CRITICAL)
FEATURE = "reconfig clients"
OBSERVER = "server.9=127.0.0.1:39:40:observer;127.0.0.1:41"
JARS = Path(__file__).resolve().parent.parent / ".work" / "java" / "lib" / "*"


def connected(**named):
    client = KazooClient(hosts=os.environ["ZK_CONNECT"], timeout=10.0, **named)
    client.start(timeout=20)
    return client


def raises(expected, **arguments):
    client = connected()
    try:
        client.reconfig(**{"joining": None, "leaving": None, "new_members": None, **arguments})
    except Exception as error:
        equal(type(error), UnimplementedError if SERVERS == 1 else expected, "error")
    else:
        raise AssertionError("success")
    finally:
        client.stop()
        client.close()


@case(FEATURE, "Kazoo adds and removes an observer")
def kazoo(scene):
    if SERVERS == 1:
        raises(None, joining=OBSERVER)
        return
    client = connected(auth_data=[("digest", "super:admin")])
    try:
        events = []
        client.get("/zookeeper/config", watch=events.append)
        data, stat = client.reconfig(joining=OBSERVER, leaving=None, new_members=None)
        assert f"{OBSERVER}\n".encode() in data, data
        eventually(lambda: events, "the event")
        equal((events[0].type, events[0].path), ("CHANGED", "/zookeeper/config"), "event")
        data, _ = client.reconfig(joining=None, leaving="9", new_members=None, from_config=stat.mzxid)
        assert b"server.9=" not in data, data
    finally:
        client.stop()
        client.close()


@case(FEATURE, "Kazoo is told why not")
def kazoo_refused(scene):
    raises(NoAuthError, joining=OBSERVER)
    raises(BadArgumentsError, joining="some thing")
    raises(BadVersionError, joining=OBSERVER, from_config=7)
    raises(NewConfigNoQuorumError, new_members="server.7=127.0.0.1:8:9,server.8=127.0.0.1:9:10")


def shell(*commands):
    """Returns what Apache's shell prints for these lines."""
    program = ["java", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-cp", str(JARS), "org.apache.zookeeper.ZooKeeperMain"]
    lines = "\n".join(["addauth digest super:admin", *commands, "quit", ""])
    done = subprocess.run([*program, "-server", os.environ["ZK_CONNECT"]], input=lines, capture_output=True, text=True, timeout=60)
    return done.stdout + done.stderr


@case(FEATURE, "zkCli adds, shows and removes an observer")
def zkcli(scene):
    said = shell(f"reconfig -add {OBSERVER}", "config -c", "reconfig -remove 9", "config")
    if SERVERS == 1:
        assert "KeeperErrorCode = Unimplemented" in said, said
        return
    equal(said.count("Committed new configuration:"), 2, f"changes in {said}")
    equal(said.count(f"{OBSERVER}\n"), 1, f"observers in {said}")
    shown = next(line for line in said.splitlines() if "127.0.0.1:41" in line and OBSERVER not in line)
    equal(sorted(shown.partition(" ")[2].split(",")), sorted([*os.environ["ZK_CONNECT_ALL"].split(","), "127.0.0.1:41"]), "config -c")
