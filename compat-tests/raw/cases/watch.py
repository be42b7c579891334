"""Watches: registration, the changes that fire them, and the order of events. Source: WatchManager, DataTree, NIOServerCnxn.process."""

import wire
from harness import case, equal, event, table
from wire import ACL, Err, Event, PERSISTENT_WATCH, RECURSIVE_WATCH

FEATURE = "watch"
CREATED, DELETED, CHANGED, CHILDREN = Event.CREATED, Event.DELETED, Event.DATA_CHANGED, Event.CHILDREN_CHANGED

WATCHES = {
    "getData": lambda path: wire.get_data(path, True),
    "exists": lambda path: wire.exists(path, True),
    "getChildren": lambda path: wire.get_children(path, True),
    "getChildren2": lambda path: wire.get_children2(path, True),
    "persistent": lambda path: wire.add_watch(path, PERSISTENT_WATCH),
    "recursive": lambda path: wire.add_watch(path, RECURSIVE_WATCH),
}
CHANGES = {
    "setData": lambda path: wire.set_data(path, b"new"),
    "delete": wire.delete,
    "child created": lambda path: wire.create(path + "/child"),
    "setACL": lambda path: wire.set_acl(path, wire.OPEN),
    "grandchild created": lambda path: wire.create(path + "/old/child"),
    "child changed": lambda path: wire.set_data(path + "/old", b"new"),
    "failed setData": lambda path: wire.set_data(path, b"new", 99),
    "checked": lambda path: wire.multi(wire.check(path, 0)),
}
# Events that each watch on P sees for each change; `<` is P, `old` and `child` are below it.
SEEN = {
    ("getData", "setData"): [(CHANGED, "")],
    ("exists", "setData"): [(CHANGED, "")],
    ("persistent", "setData"): [(CHANGED, "")],
    ("recursive", "setData"): [(CHANGED, "")],
    ("getData", "delete"): [(DELETED, "")],
    ("exists", "delete"): [(DELETED, "")],
    ("getChildren", "delete"): [(DELETED, "")],
    ("getChildren2", "delete"): [(DELETED, "")],
    ("persistent", "delete"): [(DELETED, "")],
    ("recursive", "delete"): [(DELETED, "")],
    ("getChildren", "child created"): [(CHILDREN, "")],
    ("getChildren2", "child created"): [(CHILDREN, "")],
    ("persistent", "child created"): [(CHILDREN, "")],
    ("recursive", "child created"): [(CREATED, "/child")],
    ("recursive", "grandchild created"): [(CREATED, "/old/child")],
    ("recursive", "child changed"): [(CHANGED, "/old")],
}


@table(FEATURE, [(f"{watch}: {change}", watch, change) for watch in WATCHES for change in CHANGES])
def fires(scene, watch, change):
    watcher, writer, path = scene.client(), scene.client(), scene.base + "/w"
    writer.ok(wire.create(path))
    if change != "delete":
        writer.ok(wire.create(path + "/old"))
    watcher.ok(WATCHES[watch](path))
    zxid = writer.ask(CHANGES[change](path)).zxid
    want = [event(kind, path + below, zxid) for kind, below in SEEN.get((watch, change), [])]
    equal(watcher.settle(), want, "events")


@table(FEATURE, [("one-shot " + watch, watch, change) for watch, change in (
    ("getData", "setData"), ("exists", "setData"), ("getChildren", "child created"), ("getChildren2", "child created"))])
def one_shot(scene, watch, change):
    client, path = scene.client(), scene.base
    client.ok(WATCHES[watch](path))
    client.ok(CHANGES[change](path))
    equal(len(client.settle()), 1, "events of the first change")
    client.ok(wire.set_data(path, b"again"))
    client.ok(wire.create(path + "/again"))
    client.quiet()


@table(FEATURE, [("persistent stays", PERSISTENT_WATCH), ("recursive stays", RECURSIVE_WATCH)])
def stays(scene, mode):
    client, path = scene.client(), scene.base + "/w"
    client.ok(wire.add_watch(path, mode))
    zxids = [client.ok(request).zxid for request in (
        wire.create(path), wire.set_data(path, b"1"), wire.set_data(path, b"2"), wire.delete(path), wire.create(path))]
    kinds = (CREATED, CHANGED, CHANGED, DELETED, CREATED)
    equal(client.take_events(), [event(kind, path, zxid) for kind, zxid in zip(kinds, zxids)], "events")


@case(FEATURE, "exists on a missing znode leaves a watch")
def exists_missing(scene):
    client, path = scene.client(), scene.base + "/w"
    client.fails(wire.exists(path, True), Err.NO_NODE)
    zxid = client.ok(wire.create(path)).zxid
    equal(client.take_events(), [event(CREATED, path, zxid)], "events")


@table(FEATURE, [(f"{name} on a missing znode leaves none", name) for name in ("getData", "getChildren", "getChildren2")])
def read_missing(scene, name):
    client, path = scene.client(), scene.base + "/w"
    client.fails(WATCHES[name](path), Err.NO_NODE)
    client.ok(wire.create(path))
    client.ok(wire.create(path + "/x"))
    client.ok(wire.set_data(path, b""))
    client.quiet()


@case(FEATURE, "addWatch answers four zero bytes")
def add_watch_body(scene):
    client = scene.client()
    client.ok(wire.add_watch("/none", PERSISTENT_WATCH), wire.int32(0), step=0)
    client.ok(wire.add_watch("/none", RECURSIVE_WATCH), wire.int32(0), step=0)


@table(FEATURE, [(f"addWatch mode {mode}", mode) for mode in (-1, 2, 7)])
def add_watch_mode(scene, mode):
    scene.client().fails(wire.add_watch("/", mode), Err.MARSHALLING, step=0)


@case(FEATURE, "event before reply")
def before_reply(scene):
    client, path = scene.client(), scene.base
    client.ok(wire.get_data(path, True))
    xid = client.send(wire.set_data(path, b"1"))
    first, second = client.receive(), client.receive()
    equal(first, event(CHANGED, path, second.zxid), "first message")
    equal((second.xid, second.err), (xid, 0), "second message")


@case(FEATURE, "registering reply before the event")
def reply_before_event(scene):
    client, path = scene.client(), scene.base
    sent = [client.send(request) for request in (wire.get_data(path, True), wire.set_data(path, b"1"), wire.get_data(path))]
    kinds = [getattr(message, "xid", "event") for message in (client.receive() for _ in range(4))]
    equal(kinds, [sent[0], "event", sent[1], sent[2]], "messages")


@case(FEATURE, "registered twice fires once")
def twice(scene):
    client, path = scene.client(), scene.base
    for _ in range(2):
        for name in WATCHES:
            if name != "persistent":
                client.ok(WATCHES[name](path))
    zxid = client.ok(wire.set_data(path, b"1")).zxid
    equal(client.take_events(), [event(CHANGED, path, zxid)], "events")
    zxid = client.ok(wire.create(path + "/c")).zxid
    equal(client.take_events(), [event(CREATED, path + "/c", zxid), event(CHILDREN, path, zxid)], "events of the child")


@case(FEATURE, "data and child watch: one NodeDeleted")
def deleted_once(scene):
    client, path = scene.client(), scene.base + "/w"
    client.ok(wire.create(path))
    client.ok(wire.get_data(path, True))
    client.ok(wire.get_children(path, True))
    zxid = client.ok(wire.delete(path)).zxid
    equal(client.take_events(), [event(DELETED, path, zxid)], "events")
    client.ok(wire.create(path))
    client.ok(wire.create(path + "/x"))
    client.quiet()


@case(FEATURE, "persistent on a deleted znode: one NodeDeleted")
def persistent_deleted(scene):
    client, path = scene.client(), scene.base + "/w"
    client.ok(wire.create(path))
    for mode in (PERSISTENT_WATCH, RECURSIVE_WATCH):
        client.ok(wire.add_watch(path, mode))
    zxid = client.ok(wire.delete(path)).zxid
    equal(client.take_events(), [event(DELETED, path, zxid)], "events")


@case(FEATURE, "create: the znode's event, then the parent's")
def create_order(scene):
    client, base = scene.client(), scene.base
    client.fails(wire.exists(base + "/c", True), Err.NO_NODE)
    client.ok(wire.get_children(base, True))
    zxid = client.ok(wire.create(base + "/c")).zxid
    equal(client.take_events(), [event(CREATED, base + "/c", zxid), event(CHILDREN, base, zxid)], "events")


@case(FEATURE, "delete: the znode's event, then the parent's")
def delete_order(scene):
    client, base = scene.client(), scene.base
    client.ok(wire.create(base + "/c"))
    client.ok(wire.get_children(base, True))
    client.ok(wire.exists(base + "/c", True))
    zxid = client.ok(wire.delete(base + "/c")).zxid
    equal(client.take_events(), [event(DELETED, base + "/c", zxid), event(CHILDREN, base, zxid)], "events")


@case(FEATURE, "one event although several ancestors are watched")
def ancestors(scene):
    client, base = scene.client(), scene.base
    client.ok(wire.create(base + "/a"))
    for path in (base, base + "/a", base + "/a/b"):
        client.ok(wire.add_watch(path, RECURSIVE_WATCH))
    zxid = client.ok(wire.create(base + "/a/b")).zxid
    equal(client.take_events(), [event(CREATED, base + "/a/b", zxid)], "events")


@case(FEATURE, "recursive watches whole components")
def components(scene):
    client, base = scene.client(), scene.base
    client.ok(wire.add_watch(base + "/a", RECURSIVE_WATCH))
    client.ok(wire.create(base + "/ab"))
    client.quiet()


@case(FEATURE, "recursive on the root sees everything")
def recursive_root(scene):
    client, other, path = scene.client(), scene.client(), scene.base + "/x"
    client.ok(wire.add_watch("/", RECURSIVE_WATCH))
    zxids = [other.ok(request).zxid for request in (
        wire.create(path), wire.set_data("/", b""), wire.create("/zookeeper/quota/x"), wire.delete("/zookeeper/quota/x"))]
    equal(client.settle(), [
        event(CREATED, path, zxids[0]), event(CHANGED, "/", zxids[1]), event(CREATED, "/zookeeper/quota/x", zxids[2]),
        event(DELETED, "/zookeeper/quota/x", zxids[3])], "events")
    client.ok(wire.remove_watches("/", wire.Watcher.ANY))


@case(FEATURE, "children of the root")
def root_children(scene):
    client, name = scene.client(), scene.base + "-sibling"
    client.ok(wire.get_children("/", True))
    zxid = client.ok(wire.create(name)).zxid
    equal(client.take_events(), [event(CHILDREN, "/", zxid)], "events")


@table(FEATURE, [("a path with a trailing slash never fires", "/w/"), ("a relative path never fires", "w")])
def odd_path(scene, tail):
    client, base = scene.client(), scene.base
    client.fails(wire.exists(base + tail, True), Err.NO_NODE)
    client.ok(wire.add_watch(base + tail, PERSISTENT_WATCH))
    client.ok(wire.create(base + "/w"))
    client.ok(wire.create(base + "/w/x"))
    client.quiet()


@case(FEATURE, "every watcher is told")
def several(scene):
    watchers, writer, path = [scene.client() for _ in range(5)], scene.client(), scene.base
    for watcher in watchers:
        watcher.ok(wire.get_data(path, True))
    zxid = writer.ok(wire.set_data(path, b"")).zxid
    for watcher in watchers:
        equal(watcher.settle(), [event(CHANGED, path, zxid)], "events")


@case(FEATURE, "closing a session: its ephemerals' events reach others and itself")
def close_events(scene):
    owner, other, base = scene.client(), scene.client(), scene.base
    owner.ok(wire.create(base + "/e", flags=1))
    owner.ok(wire.exists(base + "/e", True))
    other.ok(wire.exists(base + "/e", True))
    other.ok(wire.get_children(base, True))
    owner.send(wire.CLOSE)
    first, reply = owner.receive(), owner.receive()
    equal(first, event(DELETED, base + "/e", reply.zxid), "the owner's event")
    equal((reply.err, reply.body), (0, b""), "close reply")
    owner.is_closed()
    equal(other.settle(), [event(DELETED, base + "/e", reply.zxid), event(CHILDREN, base, reply.zxid)], "events")
    owner.session = 0


@case(FEATURE, "several ephemerals of one session go under one zxid")
def close_zxid(scene):
    owner, other, base = scene.client(), scene.client(), scene.base
    paths = {f"{base}/e{number}" for number in range(5)}
    for path in paths:
        owner.ok(wire.create(path, flags=1))
    other.ok(wire.add_watch(base, RECURSIVE_WATCH))
    reply, _ = owner.end_session()
    owner.session = 0
    events = other.settle()
    equal({(item.type, item.path, item.zxid) for item in events}, {(DELETED, path, reply.zxid) for path in paths}, "events")
    equal(len(events), len(paths), "number of events")
    stat = other.stat(base)
    equal((stat.num_children, stat.pzxid, stat.cversion), (0, reply.zxid, 10), "the parent's Stat")


@case(FEATURE, "a watch dies with its connection")
def dies(scene):
    client, path = scene.client(), scene.base
    client.ok(wire.add_watch(path, PERSISTENT_WATCH))
    again = scene.connection()
    again.handshake(session=client.session, password=client.password)
    again.ok(wire.set_data(path, b""))
    again.quiet()


SECRET = [ACL(wire.ALL, "digest", "nobody:hash")]


@case("watch permission", "an unreadable znode's creation is not told")
def unreadable_created(scene):
    client, base = scene.client(), scene.base
    client.fails(wire.exists(base + "/s", True), Err.NO_NODE)
    client.ok(wire.add_watch(base, RECURSIVE_WATCH))
    client.ok(wire.create(base + "/s", acl=SECRET))
    client.ok(wire.create(base + "/t"))
    equal([item.path for item in client.take_events()], [base + "/t"], "paths of events")
    client.ok(wire.delete(base + "/s"))
    client.quiet()


@case("watch permission", "the parent's event needs READ on the parent")
def parent_permission(scene):
    client, path = scene.client(), scene.base + "/p"
    client.ok(wire.create(path))
    client.ok(wire.add_watch(path, PERSISTENT_WATCH))
    client.ok(wire.set_acl(path, [ACL(wire.CREATE | wire.ADMIN | wire.WRITE, "world", "anyone")]))
    client.ok(wire.create(path + "/c"))
    client.ok(wire.set_data(path, b""))
    client.quiet()
    client.ok(wire.set_acl(path, wire.OPEN))
    zxid = client.ok(wire.set_data(path, b"")).zxid
    equal(client.take_events(), [event(CHANGED, path, zxid)], "events")


@case("watch permission", "a one-shot watch is used up silently")
def used_up(scene):
    client, path = scene.client(), scene.base + "/p"
    client.ok(wire.create(path))
    client.ok(wire.get_data(path, True))
    client.ok(wire.set_acl(path, [ACL(wire.ADMIN | wire.WRITE, "world", "anyone")]))
    client.ok(wire.set_data(path, b"1"))
    client.ok(wire.set_acl(path, wire.OPEN))
    client.ok(wire.set_data(path, b"2"))
    client.quiet()


@case("watch permission", "the right identity is told")
def identity(scene):
    client, path = scene.client(), scene.base + "/p"
    client.ok(wire.auth("digest", "bob:pw"), xid=wire.XID_AUTH)
    client.fails(wire.exists(path, True), Err.NO_NODE)
    zxid = client.ok(wire.create(path, acl=[ACL(wire.ALL, "auth", "")])).zxid
    equal(client.take_events(), [event(CREATED, path, zxid)], "events")


@case("watch permission", "exists on an unreadable znode sets no watch")
def exists_denied(scene):
    client, path = scene.client(), scene.base + "/p"
    client.ok(wire.create(path, acl=[ACL(wire.ADMIN | wire.WRITE, "world", "anyone")]))
    client.fails(wire.exists(path, True), Err.NO_AUTH)
    client.ok(wire.set_acl(path, wire.OPEN))
    client.ok(wire.set_data(path, b""))
    client.quiet()
