"""setWatches and setWatches2 after a reconnect. Source: DataTree.setWatches."""

import wire
from harness import case, equal, event, table
from wire import Err, Event, Op

FEATURE = "setWatches"
CREATED, DELETED, CHANGED, CHILDREN = Event.CREATED, Event.DELETED, Event.DATA_CHANGED, Event.CHILDREN_CHANGED
# ZooKeeper: catch-up events carry no transaction.
NO_ZXID = -1


def set_watches(**lists):
    """Returns both operations, so that each row runs with either."""
    zxid = lists.pop("zxid")
    return wire.set_watches(zxid, **lists), wire.set_watches2(zxid, **lists)


@table(FEATURE, [(f"{name} ({kind})", which, lists, before, expected) for which, kind in ((0, 101), (1, 105)) for
                 name, lists, before, expected in (
    ("data: changed since", ["data"], "changed", CHANGED),
    ("data: unchanged", ["data"], "unchanged", None),
    ("data: gone", ["data"], "gone", DELETED),
    ("exist: there now", ["exist"], "unchanged", CREATED),
    ("exist: there and changed", ["exist"], "changed", CREATED),
    ("exist: still missing", ["exist"], "gone", None),
    ("child: children changed since", ["child"], "children", CHILDREN),
    ("child: unchanged", ["child"], "unchanged", None),
    ("child: data changed only", ["child"], "changed", None),
    ("child: gone", ["child"], "gone", DELETED),
    ("data: children changed only", ["data"], "children", None),
)])
def catch_up(scene, which, lists, before, expected):
    client, path = scene.client(), scene.base + "/w"
    client.ok(wire.create(path))
    seen = client.last_zxid
    change = {"changed": wire.set_data(path, b"x"), "children": wire.create(path + "/c"), "gone": wire.delete(path),
              "unchanged": wire.PING}[before]
    client.ok(change)
    request = set_watches(zxid=seen, **{name: [path] for name in lists})[which]
    client.ok(request, b"", step=0, xid=wire.XID_SET_WATCHES)
    equal(client.take_events(), [event(expected, path, NO_ZXID)] if expected else [], "events before the reply")


@table(FEATURE, [
    ("data is registered", "data", lambda path: wire.set_data(path, b"x"), CHANGED),
    ("child is registered", "child", lambda path: wire.create(path + "/c"), CHILDREN),
    ("persistent is registered", "persistent", lambda path: wire.set_data(path, b"x"), CHANGED),
    ("persistent sees children", "persistent", lambda path: wire.create(path + "/c"), CHILDREN),
    ("recursive is registered", "recursive", lambda path: wire.set_data(path, b"x"), CHANGED),
])
def registers(scene, name, change, expected):
    client, path = scene.client(), scene.base
    client.settle()
    client.ok(wire.set_watches2(client.last_zxid, **{name: [path]}), b"", step=0)
    client.quiet()
    zxid = client.ok(change(path)).zxid
    equal(client.take_events(), [event(expected, path, zxid)], "events")


@case(FEATURE, "exist on a missing znode is registered")
def registers_exist(scene):
    client, path = scene.client(), scene.base + "/w"
    client.ok(wire.set_watches(0, exist=[path]))
    zxid = client.ok(wire.create(path)).zxid
    equal(client.take_events(), [event(CREATED, path, zxid)], "events")


@case(FEATURE, "persistent kinds get no catch-up event")
def no_catch_up(scene):
    client, base = scene.client(), scene.base
    client.ok(wire.set_data(base, b"x"))
    client.ok(wire.set_watches2(0, persistent=[base, base + "/gone"], recursive=[base, base + "/gone"]))
    client.quiet()


@case(FEATURE, "a fired catch-up registers nothing")
def fired(scene):
    client, path = scene.client(), scene.base
    client.ok(wire.create(path + "/c"))
    client.ok(wire.set_data(path, b"1"))
    client.ok(wire.set_watches(0, data=[path], exist=[path], child=[path]))
    equal([item.type for item in client.take_events()], [CHANGED, CREATED, CHILDREN], "events, in the order of the lists")
    client.ok(wire.set_data(path, b"2"))
    client.ok(wire.create(path + "/d"))
    client.quiet()


@case(FEATURE, "paths are handled in order")
def ordered(scene):
    client, base = scene.client(), scene.base
    gone = [f"{base}/g{number}" for number in (3, 1, 2)]
    client.ok(wire.set_watches(0, data=gone, child=gone[::-1]))
    equal(client.take_events(), [event(DELETED, path, NO_ZXID) for path in gone + gone[::-1]], "events")


@case(FEATURE, "catch-up events are not checked against ACLs")
def unchecked(scene):
    client, path = scene.client(), scene.base + "/s"
    client.ok(wire.create(path, acl=[wire.ACL(31, "digest", "nobody:hash")]))
    client.ok(wire.set_watches(0, data=[path], exist=[path]))
    equal([item.type for item in client.take_events()], [CHANGED, CREATED], "events")


@table(FEATURE, [
    ("null data list", wire.set_watches(0, None, ["/"], [])),
    ("null exist list", wire.set_watches(0, [], None, [])),
    ("null child list", wire.set_watches(0, [], [], None)),
    ("null persistent list", wire.set_watches2(0, [], [], [], None, [])),
    ("null recursive list", wire.set_watches2(0, [], [], [], [], None)),
    ("truncated", wire.Request(Op.SET_WATCHES, wire.int64(0))),
    ("missing persistent lists", wire.Request(Op.SET_WATCHES2, wire.set_watches(0).body)),
])
def null_list(scene, request):
    client = scene.client()
    client.fails(request, Err.MARSHALLING, step=0)
    client.ok(wire.PING)


@case(FEATURE, "lists before a null one are processed")
def partly(scene):
    client = scene.client()
    client.fails(wire.set_watches(0, ["/gone"], None, ["/gone"]), Err.MARSHALLING)
    equal(client.take_events(), [event(DELETED, "/gone", NO_ZXID)], "events")


@case(FEATURE, "a null path in a list")
def null_path(scene):
    client = scene.client()
    client.fails(wire.set_watches(0, ["/gone", None, "/gone2"]), Err.MARSHALLING)
    equal(client.take_events(), [event(DELETED, "/gone", NO_ZXID)], "events")


@case(FEATURE, "after resuming on a new connection")
def resumed(scene):
    client, writer, path = scene.client(), scene.client(), scene.base
    client.ok(wire.get_data(path, True))
    client.close()
    writer.ok(wire.set_data(path, b"x"))
    again = scene.connection()
    again.handshake(session=client.session, password=client.password, last_zxid=client.last_zxid)
    again.ok(wire.set_watches(client.last_zxid, data=[path]), b"", xid=wire.XID_SET_WATCHES)
    equal(again.take_events(), [event(CHANGED, path, NO_ZXID)], "events")
