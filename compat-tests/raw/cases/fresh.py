"""The tree of a newly set up server. Source: DataTree, ZKDatabase.initConfigInZKDatabase."""

import re
import time

import wire
from harness import SERVERS, case, configuration_pattern, equal, table
from connection import four_letter

FEATURE = "fresh tree"


@table(FEATURE, [
    ("root", "/", dict(cversion=-1, num_children=1)),
    ("root by its empty alias", "", dict(cversion=-1, num_children=1)),
    ("/zookeeper", "/zookeeper", dict(cversion=-2, num_children=2)),
    ("/zookeeper/quota", "/zookeeper/quota", {}),
])
def stat(scene, path, fields):
    want = wire.Stat(*[0] * 11)._replace(**fields)
    scene.client().ok(wire.exists(path), wire.stat_bytes(want), step=0)


@case(FEATURE, "/zookeeper/config")
def configuration(scene):
    client = scene.client()
    stat = client.stat("/zookeeper/config")
    if SERVERS == 1:
        equal((stat, client.data("/zookeeper/config")), (wire.Stat(*[0] * 11)._replace(aversion=-1), b""), "Stat and data")
        return
    data = client.data("/zookeeper/config")
    assert re.fullmatch(configuration_pattern(), data.decode()), data
    # ZooKeeper: each server writes this znode at startup, with its own clock and outside the log.
    assert 0 < stat.mtime <= time.time() * 1000, stat.mtime
    want = dict(mtime=stat.mtime, version=-1, aversion=-1, data_length=len(data))
    equal(stat, wire.Stat(*[0] * 11)._replace(**want), "Stat")


@case(FEATURE, "children")
def children(scene):
    client = scene.client()
    client.ok(wire.get_children("/"), wire.vector(["zookeeper"]))
    equal(client.names("/zookeeper"), ["config", "quota"], "children of /zookeeper")


@case(FEATURE, "getAllChildrenNumber leaves the root out")
def count(scene):
    client = scene.client()
    client.ok(wire.get_all_children_number("/"), wire.int32(3))
    client.ok(wire.get_all_children_number("/zookeeper"), wire.int32(2))


@case(FEATURE, "srvr counts the root twice")
def node_count(scene):
    assert b"\nNode count: 5\n" in four_letter(scene.address, "srvr")


@table(FEATURE, [
    ("ACL of the root", "/", wire.OPEN),
    ("ACL of /zookeeper", "/zookeeper", wire.OPEN),
    ("ACL of /zookeeper/quota", "/zookeeper/quota", wire.OPEN),
    ("ACL of /zookeeper/config", "/zookeeper/config", [wire.ACL(wire.READ, "world", "anyone")]),
])
def acl(scene, path, want):
    client = scene.client()
    client.ok(wire.get_acl(path), wire.vector(want, wire.acl_entry) + wire.stat_bytes(client.stat(path)))


@table(FEATURE, [("data of " + path, path) for path in ("/", "/zookeeper", "/zookeeper/quota")])
def data(scene, path):
    client = scene.client()
    client.ok(wire.get_data(path), wire.buffer(b"") + wire.stat_bytes(client.stat(path)))
