"""delete, setData, setACL, sync of writes. Source: PrepRequestProcessor, DataTree.setData, DataTree.setACL."""

import wire
from harness import case, equal, table
from wire import ACL, Err

SPECIAL = ("/", "/zookeeper", "/zookeeper/quota", "/zookeeper/config")


@case("delete", "header only")
def delete(scene):
    client, path = scene.client(), scene.base + "/d"
    client.settle()
    client.writes(wire.create(path))
    client.writes(wire.delete(path, 0), b"")
    client.fails(wire.exists(path), Err.NO_NODE, step=0)


@table("delete precedence", [
    *((f"special znode {path}", wire.delete(path), Err.BAD_ARGUMENTS) for path in SPECIAL),
    ("special before version", wire.delete("/zookeeper", 99), Err.BAD_ARGUMENTS),
    ("no slash", wire.delete("abc"), Err.BAD_ARGUMENTS),
    ("empty path", wire.delete(""), Err.BAD_ARGUMENTS),
    ("U+0000", wire.delete("/a\0"), Err.BAD_ARGUMENTS),
    ("null path", wire.delete(None), Err.MARSHALLING),
    ("missing parent", wire.delete("/none/x"), Err.NO_NODE),
    ("permission on the parent before missing znode", wire.delete("/zookeeper/config/x"), Err.NO_AUTH),
    ("missing znode", wire.delete("/none"), Err.NO_NODE),
    ("missing znode before version", wire.delete("/none", 7), Err.NO_NODE),
    ("trailing slash is a missing znode", wire.delete("/zookeeper/"), Err.NO_NODE),
    ("odd path is a missing znode", wire.delete("/zookeeper/."), Err.NO_NODE),
    ("odd parent", wire.delete("/zookeeper//x"), Err.NO_NODE),
])
def delete_precedence(scene, request, err):
    scene.client().refused(request, err)


@case("delete precedence", "version before NotEmpty")
def not_empty(scene):
    client, base = scene.client(), scene.base
    client.ok(wire.create(base + "/p"))
    client.ok(wire.create(base + "/p/x"))
    client.fails(wire.delete(base + "/p", 5), Err.BAD_VERSION)
    client.fails(wire.delete(base + "/p", 0), Err.NOT_EMPTY)
    client.fails(wire.delete(base + "/p"), Err.NOT_EMPTY)


@case("setData", "Stat of the new state")
def set_data(scene):
    client, path = scene.client(), scene.base + "/s"
    client.settle()
    client.writes(wire.create(path, b"zero"))
    old = client.stat(path)
    reply = client.writes(wire.set_data(path, b"fifth"))
    stat = wire.Reader(reply.body).stat()
    assert stat.mtime >= old.mtime
    equal(stat, old._replace(mzxid=reply.zxid, mtime=stat.mtime, version=1, data_length=5), "Stat")
    equal(reply.body, wire.stat_bytes(stat), "body")
    client.ok(wire.get_data(path), wire.buffer(b"fifth") + wire.stat_bytes(stat))
    client.writes(wire.set_data(path, b"x", 1))
    client.refused(wire.set_data(path, b"y", 1), Err.BAD_VERSION)
    equal(client.stat(path).version, 2, "version")


@table("setData", [("null", None, -1), ("empty", b"", 0), ("bytes", b"\xff\0", 2)])
def set_data_value(scene, value, length):
    client, path = scene.client(), scene.base + "/s"
    client.ok(wire.create(path, b"old"))
    client.ok(wire.set_data(path, value))
    equal(client.ok(wire.get_data(path)).body[:4], wire.int32(length), "length of the data")
    equal(client.data(path), value, "data")


@table("setData", [
    ("root", "/"),
    ("/zookeeper", "/zookeeper"),
])
def set_system(scene, path):
    client = scene.client()
    version = client.stat(path).version
    client.ok(wire.set_data(path, b"now"))
    client.ok(wire.set_data(path, b"", version + 1))


@case("setData", "on an ephemeral of another session")
def set_foreign(scene):
    owner, other, path = scene.client(), scene.client(), scene.base + "/e"
    owner.ok(wire.create(path, flags=1))
    stat = wire.Reader(other.ok(wire.set_data(path, b"x")).body).stat()
    equal(stat.ephemeral_owner, owner.session, "ephemeralOwner")


@table("setData precedence", [
    ("path rules before missing", wire.set_data("/none/", b""), Err.BAD_ARGUMENTS),
    ("relative path", wire.set_data("none", b""), Err.BAD_ARGUMENTS),
    ("empty path", wire.set_data("", b""), Err.BAD_ARGUMENTS),
    ("double slash", wire.set_data("/zookeeper//quota", b""), Err.BAD_ARGUMENTS),
    ("dot", wire.set_data("/zookeeper/./quota", b""), Err.BAD_ARGUMENTS),
    ("control character", wire.set_data("/a\x02", b""), Err.BAD_ARGUMENTS),
    # ZooKeeper: these two validate the path, and null is just an invalid path; the others fail on it with -5.
    ("null path", wire.set_data(None, b""), Err.BAD_ARGUMENTS),
    ("missing", wire.set_data("/none", b"", 5), Err.NO_NODE),
    ("permission before version", wire.set_data("/zookeeper/config", b"", 5), Err.NO_AUTH),
])
def set_data_precedence(scene, request, err):
    scene.client().refused(request, err)


@case("setACL", "changes aversion alone")
def set_acl(scene):
    client, path = scene.client(), scene.base + "/a"
    client.settle()
    client.writes(wire.create(path, b"x"))
    old = client.stat(path)
    stat = old._replace(aversion=1)
    entries = [ACL(31, "world", "anyone"), ACL(1, "ip", "10.0.0.0/8")]
    client.writes(wire.set_acl(path, entries, 0), wire.stat_bytes(stat))
    client.ok(wire.get_acl(path), wire.vector(entries, wire.acl_entry) + wire.stat_bytes(stat), step=0)
    client.refused(wire.set_acl(path, wire.OPEN, 0), Err.BAD_VERSION)
    client.ok(wire.set_data(path, b"y", 0))
    client.writes(wire.set_acl(path, wire.OPEN, 1))
    equal(client.stat(path).aversion, 2, "aversion")


@table("setACL precedence", [
    ("path rules before ACL", wire.set_acl("/none/", []), Err.BAD_ARGUMENTS),
    ("null path", wire.set_acl(None, []), Err.BAD_ARGUMENTS),
    ("ACL before missing", wire.set_acl("/none", []), Err.INVALID_ACL),
    ("null ACL before missing", wire.set_acl("/none", None), Err.INVALID_ACL),
    ("missing before version", wire.set_acl("/none", wire.OPEN, 9), Err.NO_NODE),
    ("permission before version", wire.set_acl("/zookeeper/config", wire.OPEN, 9), Err.NO_AUTH),
    ("version counts aversion", wire.set_acl("/zookeeper/quota", wire.OPEN, 9), Err.BAD_VERSION),
])
def set_acl_precedence(scene, request, err):
    scene.client().refused(request, err)


@case("setACL", "on the root")
def set_acl_root(scene):
    client = scene.client()
    version = client.stat("/").aversion
    client.ok(wire.set_acl("/", wire.OPEN, version))
    client.fails(wire.set_acl("", wire.OPEN), Err.BAD_ARGUMENTS)


@case("version", "-1 matches any, other negative numbers do not")
def negative_versions(scene):
    client, path = scene.client(), scene.base + "/v"
    client.ok(wire.create(path))
    client.fails(wire.set_data(path, b"", -2), Err.BAD_VERSION)
    client.fails(wire.delete(path, -2), Err.BAD_VERSION)
    client.ok(wire.delete(path, -1))


@table("zxid", [
    ("reconfig disabled", wire.reconfig(), Err.RECONFIG_DISABLED),
    ("reconfig disabled, before the configuration is read",
     wire.reconfig("nonsense", "nonsense", "nonsense", 77), Err.RECONFIG_DISABLED),
])
def reconfig(scene, request, err):
    scene.client().refused(request, err)


@case("zxid", "reads and watches take none")
def reads_take_none(scene):
    client = scene.client()
    for request in (wire.exists("/"), wire.get_data("/"), wire.get_children("/"), wire.get_acl("/"), wire.sync("/"),
                    wire.add_watch("/", 0), wire.set_watches(0), wire.get_ephemerals("/"), wire.WHO_AM_I,
                    wire.multi_read(wire.get_data("/")), wire.get_all_children_number("/")):
        client.ok(request, step=0)
    client.fails(wire.get_data("/none"), Err.NO_NODE, step=0)


@case("zxid", "is the one in the Stats")
def zxid_in_stats(scene):
    client, path = scene.client(), scene.base + "/z"
    made = client.ok(wire.create(path)).zxid
    changed = client.ok(wire.set_data(path, b"")).zxid
    child = client.ok(wire.create(path + "/c")).zxid
    client.ok(wire.set_acl(path, wire.OPEN))
    stat = client.stat(path)
    equal((stat.czxid, stat.mzxid, stat.pzxid), (made, changed, child), "zxids")


@case("zxid", "closing a session takes one")
def close_takes_one(scene):
    client, other = scene.client(), scene.client()
    before = client.ok(wire.PING).zxid
    reply, rest = other.end_session()
    equal(rest, b"", "bytes after the close reply")
    equal((reply.zxid, reply.err, reply.body), (before + 1, 0, b""), "close reply")
    equal(client.ok(wire.PING).zxid, before + 1, "zxid")
    other.session = 0
