"""create, create2, createContainer, createTTL. Source: PrepRequestProcessor.pRequest2TxnCreate, PathUtils."""

import time

import wire
from harness import case, equal, event, new_stat, table
from wire import ACL, Err, Flags

FEATURE = "create"
BAD_ACL = [ACL(31, "foo", "bar")]
TTL_MAX = 0xFFFFFFFFFF


@case(FEATURE, "answers the path")
def plain(scene):
    client = scene.client()
    client.settle()
    path = scene.base + "/a"
    client.settle()
    client.writes(wire.create(path, b"x"), wire.ustring(path))


@table(FEATURE, [
    ("persistent", wire.create2, Flags.PERSISTENT, False),
    ("ephemeral", wire.create2, Flags.EPHEMERAL, True),
    ("container", wire.create_container, Flags.CONTAINER, False),
    ("container whatever the flags", wire.create_container, Flags.PERSISTENT, False),
    ("TTL", lambda path, data, flags: wire.create_ttl(path, 600_000, data, flags=flags), Flags.TTL, False),
])
def stat(scene, make, flags, owned):
    client = scene.client()
    path = scene.base + "/n"
    before_ms = time.time() * 1000
    reply = client.ok(make(path, b"abc", flags=flags))
    reader = wire.Reader(reply.body)
    equal(reader.ustring(), path, "path")
    stat = reader.stat()
    reader.end()
    equal(stat, new_stat(reply.zxid, stat.ctime, client.session if owned else 0, 3), "Stat")
    assert before_ms - 2 <= stat.ctime <= time.time() * 1000 + 2, "ctime is not now"
    client.ok(wire.exists(path), wire.stat_bytes(stat))


@table(FEATURE, [
    ("persistent sequential", lambda path: wire.create(path, flags=2)),
    ("ephemeral sequential", lambda path: wire.create(path, flags=3)),
    ("create2 persistent sequential", lambda path: wire.create2(path, flags=2)),
    ("create2 ephemeral sequential", lambda path: wire.create2(path, flags=3)),
    ("TTL sequential", lambda path: wire.create_ttl(path, 600_000, flags=6)),
])
def sequential(scene, make):
    client = scene.client()
    for number in range(2):
        name = f"{scene.base}/n-{number:010d}"
        equal(wire.Reader(client.ok(make(scene.base + "/n-")).body).ustring(), name, "path")
        equal(client.stat(name).version, 0, "version")


@case(FEATURE, "the counter counts every creation and no deletion")
def counter(scene):
    client, base = scene.client(), scene.base
    client.ok(wire.create(base + "/a"))
    client.ok(wire.create(base + "/b-", flags=2), wire.ustring(base + "/b-0000000001"))
    client.ok(wire.delete(base + "/a"))
    client.ok(wire.create(base + "/c-", flags=2), wire.ustring(base + "/c-0000000002"))
    client.fails(wire.create(base + "/c-0000000002"), Err.NODE_EXISTS)
    client.ok(wire.create(base + "/", flags=2), wire.ustring(base + "/0000000003"))
    stat = client.stat(base)
    equal((stat.cversion, stat.num_children), (5, 3), "cversion and numChildren")


@case(FEATURE, "a sequential name that exists")
def taken(scene):
    client, base = scene.client(), scene.base
    client.ok(wire.create(base + "/n-0000000001"))
    client.fails(wire.create(base + "/n-", flags=2), Err.NODE_EXISTS)


@case(FEATURE, "the parent's Stat")
def parent(scene):
    client, base = scene.client(), scene.base
    old = client.stat(base)
    made = client.ok(wire.create(base + "/a")).zxid
    equal(client.stat(base), old._replace(cversion=1, num_children=1, pzxid=made), "parent after create")
    client.ok(wire.create(base + "/a/grandchild"))
    equal(client.stat(base), old._replace(cversion=1, num_children=1, pzxid=made), "parent after grandchild")
    client.ok(wire.delete(base + "/a/grandchild"))
    gone = client.ok(wire.delete(base + "/a")).zxid
    equal(client.stat(base), old._replace(cversion=2, num_children=0, pzxid=gone), "parent after delete")


@table(FEATURE, [
    ("null data is kept", None, wire.int32(-1), 0),
    ("empty data is kept", b"", wire.int32(0), 0),
    ("data", b"\0\xff", wire.int32(2) + b"\0\xff", 2),
])
def data(scene, value, encoded, length):
    client, path = scene.client(), scene.base + "/d"
    client.ok(wire.create(path, value))
    stat = client.stat(path)
    equal(stat.data_length, length, "dataLength")
    client.ok(wire.get_data(path), encoded + wire.stat_bytes(stat))


# The rows follow the server's order of checks: in each, everything checked before is right and something checked after is wrong.
@table("create precedence", [
    ("flags before path", wire.create("/none/x/", acl=[], flags=9), Err.BAD_ARGUMENTS),
    ("flags -1", wire.create("/none/x", flags=-1), Err.BAD_ARGUMENTS),
    ("flags 7", wire.create("/none/x", flags=7), Err.BAD_ARGUMENTS),
    ("null path before ACL", wire.create(None, acl=[]), Err.MARSHALLING),
    ("path without slash before ACL", wire.create("abc", acl=[]), Err.BAD_ARGUMENTS),
    ("empty path before ACL", wire.create("", acl=[]), Err.BAD_ARGUMENTS),
    ("U+0000 before ACL", wire.create("/a\0b", acl=[]), Err.BAD_ARGUMENTS),
    ("ACL before missing parent", wire.create("/none/x", acl=BAD_ACL), Err.INVALID_ACL),
    ("ACL before bad path tail", wire.create("/zookeeper/", acl=BAD_ACL), Err.INVALID_ACL),
    ("ACL before NodeExists", wire.create("/zookeeper", acl=[]), Err.INVALID_ACL),
    ("missing parent before path rules", wire.create("/none/x\x01"), Err.NO_NODE),
    ("missing parent, odd parent string", wire.create("/zookeeper//x"), Err.NO_NODE),
    ("parent is itself with a slash", wire.create("/zookeeper/quota//"), Err.NO_NODE),
    ("permission before path rules", wire.create("/zookeeper/config/x\x01"), Err.NO_AUTH),
    ("permission before ephemeral parent", wire.create("/zookeeper/config/x", flags=1), Err.NO_AUTH),
    ("path rules before NodeExists", wire.create("/zookeeper/"), Err.BAD_ARGUMENTS),
    ("NodeExists", wire.create("/zookeeper"), Err.NODE_EXISTS),
    ("NodeExists for the root", wire.create("/"), Err.NODE_EXISTS),
    ("create2 NodeExists", wire.create2("/zookeeper"), Err.NODE_EXISTS),
    ("container NodeExists", wire.create_container("/zookeeper"), Err.NODE_EXISTS),
    ("TTL 0 before ACL", wire.create_ttl("/none/x", 0, acl=[]), Err.BAD_ARGUMENTS),
    ("TTL -1", wire.create_ttl("/none/x", -1), Err.BAD_ARGUMENTS),
    ("TTL above the maximum", wire.create_ttl("/none/x", TTL_MAX + 1), Err.BAD_ARGUMENTS),
    ("TTL at the maximum reaches the parent check", wire.create_ttl("/none/x", TTL_MAX), Err.NO_NODE),
    ("TTL op with persistent flags and a ttl", wire.create_ttl("/none/x", 5, flags=0), Err.BAD_ARGUMENTS),
    ("TTL op with ephemeral flags and a ttl", wire.create_ttl("/none/x", 5, flags=1), Err.BAD_ARGUMENTS),
    ("TTL flags under op create", wire.create("/none/x", flags=5), Err.BAD_ARGUMENTS),
    ("TTL flags under op create2", wire.create2("/none/x", flags=6), Err.BAD_ARGUMENTS),
])
def precedence(scene, request, err):
    scene.client().refused(request, err)


@case("create precedence", "NodeExists before ephemeral parent")
def exists_before_ephemeral(scene):
    client, base = scene.client(), scene.base
    client.ok(wire.create(base + "/e", flags=1))
    client.fails(wire.create(base + "/e/x"), Err.NO_CHILDREN_FOR_EPHEMERALS)
    client.fails(wire.create(base + "/e/x", acl=[]), Err.INVALID_ACL)
    client.fails(wire.create(base + "/e/x\x01"), Err.BAD_ARGUMENTS)
    client.fails(wire.create(base + "/e", flags=1), Err.NODE_EXISTS)


@table("create precedence", [("container parent", wire.create_container), ("TTL parent", lambda p: wire.create_ttl(p, 600_000))])
def may_have_children(scene, make):
    client, base = scene.client(), scene.base
    client.ok(make(base + "/p"))
    client.ok(wire.create(base + "/p/x"))
    client.ok(wire.create(base + "/p/e", flags=1))


GOOD_NAMES = ["a", "...", ".a", "a.", "..a", " ", "a b", "\u00e9\u65e5\u672c", "a:b", "\u00a0", "\ud7ff", "\uf900", "\uffef", "~"]
BAD_NAMES = [
    ".", "..", "\x01", "\x1f", "a\x7f", "a\x80", "a\x9f", "\ue000", "\uf8ff", "\ufff0", "\uffff", "\U0001f600",
]


@table("path rules", [(f"create {ascii(name)}", name) for name in GOOD_NAMES])
def good_name(scene, name):
    client, path = scene.client(), f"{scene.base}/{name}"
    client.ok(wire.create(path), wire.ustring(path))
    equal(client.names(scene.base), [name], "children")
    client.ok(wire.delete(path))


@table("path rules", [(f"create {ascii(name)} is refused", name) for name in BAD_NAMES])
def bad_name(scene, name):
    client = scene.client()
    client.fails(wire.create(f"{scene.base}/{name}"), Err.BAD_ARGUMENTS)


@case("path rules", "a sequential suffix can repair a name")
def repaired(scene):
    client, base = scene.client(), scene.base
    client.ok(wire.create(base + "/", flags=2), wire.ustring(base + "/0000000000"))
    client.ok(wire.create(base + "/..", flags=2), wire.ustring(base + "/..0000000001"))
    client.fails(wire.create(base + "/\x01", flags=2), Err.BAD_ARGUMENTS)


@case("path rules", "malformed UTF-8 becomes U+FFFD, which is refused")
def not_utf8(scene):
    client = scene.client()
    client.fails(wire.create(scene.base.encode() + b"/\xff"), Err.BAD_ARGUMENTS)


@case(FEATURE, "failed creates change nothing")
def nothing(scene):
    client, base = scene.client(), scene.base
    client.ok(wire.create(base + "/e", flags=1))
    before = client.stat(base)
    watcher = scene.client()
    watcher.ok(wire.add_watch(base, wire.RECURSIVE_WATCH))
    for request in (wire.create(base + "/e"), wire.create(base + "/e/x"), wire.create(base + "/f", acl=[])):
        client.ask(request)
    equal(client.stat(base), before, "parent")
    watcher.quiet()


@case(FEATURE, "data just below the frame limit")
def large(scene):
    client, path = scene.client(), scene.base + "/large"
    empty = len(wire.create(path).body) + 8
    data = bytes(0xFFFFF - empty)
    client.ok(wire.create(path, data))
    equal(client.stat(path).data_length, len(data), "dataLength")
    equal(client.data(path), data, "data")
    client.ok(wire.delete(path))


@case(FEATURE, "op create with container flags makes a znode")
def container_flag(scene):
    client, path = scene.client(), scene.base + "/c"
    client.ok(wire.create(path, flags=Flags.CONTAINER), wire.ustring(path))
    equal(client.stat(path).ephemeral_owner, 0, "ephemeralOwner")


@case(FEATURE, "events of a sequential create name the final path")
def event_path(scene):
    client, base = scene.client(), scene.base
    client.ok(wire.add_watch(base, wire.RECURSIVE_WATCH))
    reply = client.ok(wire.create(base + "/n-", flags=2))
    equal(client.take_events(), [event(1, base + "/n-0000000000", reply.zxid)], "events")
