"""exists, getData, getACL, getChildren, getChildren2, sync, counts, ephemerals. Source: FinalRequestProcessor."""

import wire
from harness import case, equal, table
from wire import Err, Op

FEATURE = "read"
BY_PATH = {
    "exists": wire.exists,
    "getData": wire.get_data,
    "getChildren": wire.get_children,
    "getChildren2": wire.get_children2,
    "getACL": wire.get_acl,
    "getAllChildrenNumber": wire.get_all_children_number,
}


@table(FEATURE, [(f"{name} of {label}", ask, path) for name, ask in BY_PATH.items() for label, path in (
    ("a missing znode", "/none"), ("a relative path", "zookeeper"), ("a trailing slash", "/zookeeper/"),
    ("a double slash", "//zookeeper"), ("a dot", "/zookeeper/."), ("a control character", "/\x01"),
)])
def missing(scene, ask, path):
    scene.client().fails(ask(path), Err.NO_NODE, step=0)


@table(FEATURE, [(f"{name} of a null path", ask) for name, ask in BY_PATH.items()])
def null_path(scene, ask):
    scene.client().fails(ask(None), Err.MARSHALLING, step=0)


@table(FEATURE, [(f"{name} of the empty path is the root", ask)
                 for name, ask in BY_PATH.items() if name != "getAllChildrenNumber"])
def empty_path(scene, ask):
    client = scene.client()
    equal(client.ok(ask("")).body, client.ok(ask("/")).body, "body")


@case(FEATURE, "U+0000: exists refuses, the others miss")
def null_character(scene):
    client = scene.client()
    for name, ask in BY_PATH.items():
        client.fails(ask("/a\0"), Err.BAD_ARGUMENTS if name == "exists" else Err.NO_NODE, step=0)


@case(FEATURE, "getChildren and getChildren2")
def children(scene):
    client, base = scene.client(), scene.base
    client.ok(wire.get_children(base), wire.int32(0))
    client.ok(wire.get_children2(base), wire.int32(0) + wire.stat_bytes(client.stat(base)))
    client.ok(wire.create(base + "/one"))
    client.ok(wire.get_children(base), wire.vector(["one"]))
    client.ok(wire.get_children2(base), wire.vector(["one"]) + wire.stat_bytes(client.stat(base)))
    client.ok(wire.create(base + "/two"))
    client.ok(wire.create(base + "/two/deeper"))
    equal(client.names(base), ["one", "two"], "children")
    reader = wire.Reader(client.ok(wire.get_children2(base)).body)
    equal(sorted(reader.vector(reader.ustring)), ["one", "two"], "children")
    equal(reader.stat(), client.stat(base), "Stat")
    reader.end()


@case(FEATURE, "children of an ephemeral are an empty vector")
def leaf(scene):
    client, base = scene.client(), scene.base
    client.ok(wire.create(base + "/e", flags=1))
    client.ok(wire.get_children(base + "/e"), wire.int32(0))


@case(FEATURE, "getAllChildrenNumber counts descendants")
def all_children(scene):
    client, base = scene.client(), scene.base
    for path in ("/a", "/a/b", "/a/b/c", "/ab"):
        client.ok(wire.create(base + path))
    client.ok(wire.get_all_children_number(base), wire.int32(4))
    client.ok(wire.get_all_children_number(base + "/a"), wire.int32(2))
    client.ok(wire.get_all_children_number(base + "/ab"), wire.int32(0))


@table(FEATURE, [
    ("sync echoes any path", "/whatever"), ("sync echoes null", None), ("sync echoes the empty path", ""),
    ("sync echoes a relative path", "a//b"), ("sync echoes non-ASCII", "/\u65e5"),
])
def sync(scene, path):
    scene.client().ok(wire.sync(path), wire.ustring(path), step=0)


@case(FEATURE, "sync, then another session's write is visible")
def sync_sees(scene):
    writer, reader, path = scene.client(), scene.client(), scene.base + "/s"
    for number in range(20):
        writer.ok(wire.create(f"{path}{number}"))
        reader.ok(wire.sync("/"))
        reader.ok(wire.exists(f"{path}{number}"))


def ephemerals(client, prefix):
    reader = wire.Reader(client.ok(wire.get_ephemerals(prefix)).body)
    found = reader.vector(reader.ustring)
    reader.end()
    return sorted(found)


@case(FEATURE, "getEphemerals filters by plain string prefix")
def get_ephemerals(scene):
    client, other, base = scene.client(), scene.client(), scene.base
    client.ok(wire.get_ephemerals("/"), wire.int32(0))
    paths = [base + "/a", base + "/ab", base + "/b"]
    for path in paths:
        client.ok(wire.create(path, flags=1))
    client.ok(wire.create(base + "/persistent"))
    other.ok(wire.create(base + "/other", flags=1))
    for everything in ("/", "", None, " ", base):
        equal(ephemerals(client, everything), paths, f"with prefix {everything!r}")
    equal(ephemerals(client, base + "/a"), paths[:2], "with prefix /a")
    equal(ephemerals(client, base + "/none"), [], "with prefix /none")
    client.ok(wire.delete(paths[0]))
    equal(ephemerals(client, "/"), paths[1:], "after a delete")


# Java's trim removes characters up to U+0020, and no other Unicode blank.
TRIMMED = ["\0", "\x01", "\t\n\x0b\x0c\r", "\x1c\x1f", " / ", "\x01/\x02", "  "]
KEPT = ["\x7f", "\x85", "\u00a0", "\u1680", "\u2000", "\u2028", "\u2029", "\u202f", "\u205f", "\u3000", "\ufeff", "\u00a0/", "/\u3000"]


@table(FEATURE, [(f"getEphemerals with prefix {ascii(prefix)}", prefix, prefix in TRIMMED) for prefix in TRIMMED + KEPT])
def blank_prefix(scene, prefix, everything):
    client, path = scene.client(), scene.base + "/a"
    client.ok(wire.create(path, flags=1))
    equal(ephemerals(client, prefix), [path] if everything else [], "ephemerals")


@case(FEATURE, "ping answers xid -2 whatever was sent")
def ping(scene):
    client = scene.client()
    for xid in (wire.XID_PING, 5, 0, -77):
        client.send(wire.PING, xid)
        reply = client.receive_reply()
        equal((reply.xid, reply.zxid, reply.err, reply.body), (-2, client.last_zxid, 0, b""), "reply")


@table("xid", [(f"{xid} is echoed", xid) for xid in (0, 1, 2**31 - 1, -(2**31), -1000, -4, -8, -2, -3)])
def xid(scene, value):
    client = scene.client()
    client.ok(wire.exists("/"), xid=value)
    client.fails(wire.exists("/none"), Err.NO_NODE, xid=value)
    client.ok(wire.set_data("/zookeeper/quota", b""), xid=value)
    equal(client.ok(wire.set_watches(0), b"", xid=value).xid, value, "xid of setWatches")


@case("xid", "the same xid twice")
def repeated(scene):
    client = scene.client()
    for _ in range(3):
        client.ok(wire.exists("/"), xid=7)


@case(FEATURE, "watch flag: any non-zero byte is true")
def boolean(scene):
    client, path = scene.client(), scene.base
    client.ok(wire.Request(Op.GET_DATA, wire.ustring(path) + b"\x7f"))
    client.ok(wire.set_data(path, b""))
    equal(len(client.take_events()), 1, "events")
