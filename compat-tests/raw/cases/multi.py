"""multi and multiRead. Source: MultiOperationRecord, MultiResponse, PrepRequestProcessor case multi."""

import wire
from harness import ENDS_WRITES, case, equal, event, new_stat, table
from wire import ACL, Err, Flags, Op

FEATURE = "multi"


def failed(index, code, count):
    """Returns the body of a failed transaction of `count` operations, refused at `index`."""
    codes = [0] * index + [code] + [Err.RUNTIME_INCONSISTENCY] * (count - index - 1)
    return b"".join(wire.multi_error(code) for code in codes) + wire.MULTI_END


def result(kind, body=b""):
    return wire.multi_header(kind, False, 0) + body


@case(FEATURE, "every kind of operation")
def everything(scene):
    client, path = scene.client(), scene.base + "/m"
    client.settle()
    reply = client.ok(wire.multi(
        wire.create(path, b"m"), wire.create2(path + "/b"), wire.check(path, 0), wire.set_data(path, b"nn", 0),
        wire.delete(path + "/b", 0), wire.create_container(path + "/c"), wire.create_ttl(path + "/t", 600_000),
    ), step=1)
    results = wire.read_multi(reply.body)
    equal([(kind, err) for kind, err, _ in results], [(1, 0), (15, 0), (13, 0), (5, 0), (2, 0), (15, 0), (15, 0)], "results")
    stat = client.stat(path)
    fresh = new_stat(reply.zxid, stat.ctime)
    equal(results[0][2], path, "create")
    equal(results[1][2], (path + "/b", fresh), "create2")
    equal(results[3][2], fresh._replace(version=1, data_length=2, cversion=1, num_children=1), "setData")
    equal(results[5][2], (path + "/c", fresh), "container")
    equal(results[6][2], (path + "/t", fresh), "TTL")
    equal(stat, fresh._replace(version=1, data_length=2, cversion=4, num_children=2), "Stat afterwards")


@case(FEATURE, "exact bytes of a success")
def success_bytes(scene):
    client, path = scene.client(), scene.base + "/m"
    client.ok(
        wire.multi(wire.create(path), wire.check(path, 0), wire.delete(path)),
        result(Op.CREATE, wire.ustring(path)) + result(Op.CHECK) + result(Op.DELETE) + wire.MULTI_END,
        step=None)
    assert client.missing(path)


@table(FEATURE, [
    ("fails at the first", [wire.delete("/none"), wire.create("{}/x"), wire.check("/", -1)], 0, Err.NO_NODE),
    ("fails in the middle", [wire.create("{}/x"), wire.check("{}", 99), wire.delete("{}/x")], 1, Err.BAD_VERSION),
    ("fails at the last", [wire.create("{}/x"), wire.create("{}")], 1, Err.NODE_EXISTS),
    ("fails alone", [wire.check("/none", 0)], 0, Err.NO_NODE),
    ("create errors", [wire.create("{}/x"), wire.create("{}/y", acl=[])], 1, Err.INVALID_ACL),
    ("path rules", [wire.create("{}/x"), wire.create("{}/y/")], 1, Err.NO_NODE),
    ("check path rules", [wire.create("{}/x"), wire.check("/y/", 0)], 1, Err.BAD_ARGUMENTS),
    ("setData path rules", [wire.set_data("{}/", b"")], 0, Err.BAD_ARGUMENTS),
    ("delete of a special znode", [wire.delete("/zookeeper")], 0, Err.BAD_ARGUMENTS),
    ("permission", [wire.create("{}/x"), wire.set_data("/zookeeper/config", b"")], 1, Err.NO_AUTH),
    ("not empty within", [wire.create("{}/x"), wire.create("{}/x/y"), wire.delete("{}/x")], 2, Err.NOT_EMPTY),
    ("deleted within", [wire.create("{}/x"), wire.delete("{}/x"), wire.set_data("{}/x", b"")], 2, Err.NO_NODE),
    ("version within", [wire.set_data("{}", b"1", 0), wire.set_data("{}", b"2", 0)], 1, Err.BAD_VERSION),
    ("child of an ephemeral within", [wire.create("{}/e", flags=1), wire.create("{}/e/x")], 1, Err.NO_CHILDREN_FOR_EPHEMERALS),
    ("TTL 0", [wire.create("{}/x"), wire.create_ttl("{}/t", 0)], 1, Err.BAD_ARGUMENTS),
])
def failure(scene, operations, index, code):
    client, base = scene.client(), scene.base
    watcher = scene.client()
    watcher.ok(wire.add_watch(base, wire.RECURSIVE_WATCH))
    before = client.stat(base)
    client.settle()
    client.ok(wire.multi(*(placed(operation, base) for operation in operations)), failed(index, code, len(operations)), step=1)
    equal(client.stat(base), before, "the parent afterwards")
    equal(client.names(base), [], "children afterwards")
    watcher.quiet()


def placed(request, base):
    """Returns the request with `{}` in its path replaced by `base`."""
    reader = wire.Reader(request.body)
    path = reader.ustring().replace("{}", base)
    return wire.Request(request.op, wire.ustring(path) + request.body[reader.at:])


@case(FEATURE, "empty takes a zxid")
def empty(scene):
    scene.client().ok(wire.multi(), wire.MULTI_END, step=1)


@table(FEATURE, [
    ("a read", [wire.get_data("/")]),
    ("a write, then a read", [wire.check("/", -1), wire.get_children("/")]),
    ("setACL", [wire.set_acl("/", wire.OPEN)]),
    ("exists", [wire.exists("/")]),
    ("sync", [wire.sync("/")]),
    ("deleteContainer", [wire.Request(Op.DELETE_CONTAINER, wire.ustring("/none"))]),
    ("an unknown operation", [wire.Request(99, b"")]),
    ("flags 9", [wire.create("/none/x", flags=9)]),
    ("TTL flags in a CreateRequest", [wire.create("/none/x", flags=5)]),
    ("a truncated operation", [wire.Request(Op.CHECK, wire.ustring("/"))]),
])
def undecodable(scene, operations):
    client = scene.client()
    client.refused(wire.multi(*operations), Err.MARSHALLING)
    client.ok(wire.PING)


@case(FEATURE, "a null ACL vector", only_alone=ENDS_WRITES)
def null_acl(scene):
    # ZooKeeper: decoding fails here with a null pointer exception, not an I/O error, and then no zxid is taken.
    client = scene.client()
    client.fails(wire.multi(wire.create("/none/x", acl=None)), Err.MARSHALLING, step=0)


@case(FEATURE, "no end marker")
def no_end(scene):
    body = wire.multi(wire.check("/", -1)).body[: -len(wire.MULTI_END)]
    scene.client().refused(wire.Request(Op.MULTI, body), Err.MARSHALLING)


@case(FEATURE, "bytes after the end marker are ignored")
def trailing(scene):
    body = wire.multi(wire.check("/", -1)).body + b"more"
    scene.client().ok(wire.Request(Op.MULTI, body), result(Op.CHECK) + wire.MULTI_END)


@case(FEATURE, "the err of a request's header is ignored")
def header_err(scene):
    body = wire.multi_header(Op.CHECK, False, 77) + wire.check("/", -1).body + wire.MULTI_END
    scene.client().ok(wire.Request(Op.MULTI, body), result(Op.CHECK) + wire.MULTI_END)


@case(FEATURE, "sequence numbers advance within")
def sequence(scene):
    client, base = scene.client(), scene.base
    names = [f"{base}/n-{number:010d}" for number in range(3)]
    client.ok(
        wire.multi(wire.create(base + "/n-", flags=2), wire.create(base + "/n-", flags=2), wire.delete(names[0]),
                   wire.create(base + "/n-", flags=3)),
        result(1, wire.ustring(names[0])) + result(1, wire.ustring(names[1])) + result(2)
        + result(1, wire.ustring(names[2])) + wire.MULTI_END)
    stat = client.stat(base)
    equal((stat.cversion, stat.num_children), (4, 2), "cversion and numChildren")
    equal(client.stat(names[2]).ephemeral_owner, client.session, "ephemeralOwner")


@case(FEATURE, "a failed one does not advance the sequence")
def sequence_rolled_back(scene):
    client, base = scene.client(), scene.base
    client.ok(wire.multi(wire.create(base + "/n-", flags=2), wire.check(base, 99)))
    client.ok(wire.create(base + "/n-", flags=2), wire.ustring(base + "/n-0000000000"))


@case(FEATURE, "flags decide the kind, not the header")
def normalised(scene):
    client, base = scene.client(), scene.base
    for name, operation in (
        ("c", lambda path: wire.create(path, flags=Flags.CONTAINER)),
        ("d", lambda path: wire.create2(path, flags=Flags.CONTAINER)),
        ("t", lambda path: wire.Request(Op.CREATE_TTL, wire.create_ttl(path, 600_000).body)),
    ):
        path = f"{base}/{name}"
        reply = client.ok(wire.multi(operation(path)))
        stat = client.stat(path)
        equal(reply.body, result(15, wire.ustring(path) + wire.stat_bytes(stat)) + wire.MULTI_END, "body")
        equal(stat.ephemeral_owner, 0, "ephemeralOwner")


@case(FEATURE, "events come per operation, in order, before the reply")
def events(scene):
    client, base = scene.client(), scene.base
    client.ok(wire.add_watch(base, wire.RECURSIVE_WATCH))
    client.ok(wire.add_watch(base, wire.PERSISTENT_WATCH))
    zxid = client.ok(wire.multi(
        wire.create(base + "/a"), wire.set_data(base + "/a", b"1"), wire.set_data(base, b"2"), wire.delete(base + "/a"),
    )).zxid
    equal(client.take_events(), [
        event(1, base + "/a", zxid), event(4, base, zxid), event(3, base + "/a", zxid), event(3, base, zxid),
        event(2, base + "/a", zxid), event(4, base, zxid),
    ], "events")


@case(FEATURE, "check needs READ")
def check_permission(scene):
    client, path = scene.client(), scene.base + "/closed"
    client.ok(wire.create(path, acl=[ACL(wire.WRITE, "world", "anyone")]))
    client.ok(wire.multi(wire.check(path, -1)), failed(0, Err.NO_AUTH, 1))


@case("multiRead", "results are independent")
def multi_read(scene):
    client, base = scene.client(), scene.base
    client.ok(wire.create(base + "/a", None))
    client.ok(wire.create(base + "/closed", acl=[ACL(wire.WRITE, "world", "anyone")]))
    stat = client.stat(base + "/a")
    client.ok(
        wire.multi_read(wire.get_data("/none"), wire.get_data(base + "/a"), wire.get_children(base + "/a"),
                        wire.get_children("/none"), wire.get_data(base + "/closed"), wire.get_data("/a/")),
        wire.multi_error(Err.NO_NODE) + result(Op.GET_DATA, wire.buffer(None) + wire.stat_bytes(stat))
        + result(Op.GET_CHILDREN, wire.int32(0)) + wire.multi_error(Err.NO_NODE) + wire.multi_error(Err.NO_AUTH)
        + wire.multi_error(Err.NO_NODE) + wire.MULTI_END, step=0)


@case("multiRead", "empty")
def empty_read(scene):
    scene.client().ok(wire.multi_read(), wire.MULTI_END, step=0)


@case("multiRead", "watch flags are ignored")
def read_watches(scene):
    client, base = scene.client(), scene.base
    client.ok(wire.multi_read(wire.get_data(base, True), wire.get_children(base, True)))
    client.ok(wire.set_data(base, b""))
    client.ok(wire.create(base + "/x"))
    client.quiet()


@table("multiRead", [
    ("with a write", [wire.create("/none")]),
    ("with a read, then a write", [wire.get_data("/"), wire.create("/none")]),
    ("with exists", [wire.exists("/")]),
])
def bad_read(scene, operations):
    client = scene.client()
    reply = client.ask(wire.multi_read(*operations))
    equal(reply.err, Err.MARSHALLING, "error")
    client.fails(wire.exists("/none"), Err.NO_NODE)
