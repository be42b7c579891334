"""Permissions: every operation, under each single permission of an ACL, by callers whom the ACL names and whom it does not.

replies.txt holds the expected answers, which `record` records from Apache ZooKeeper. For each caller and operation it has the answers
under no permission, under each single one and under all: an error code, or 0 and a checksum of the reply without zxids and times.
Source: ZooKeeperServer.checkACL, PrepRequestProcessor, FinalRequestProcessor.
"""

import os
import sys
import zlib
from collections import namedtuple
from pathlib import Path

import callers
import harness
import wire
from callers import CLIENT, digest, over_tls, plain_client, sasl
from harness import SERVERS
from wire import ACL, Flags, Op

RECORDED = Path(__file__).resolve().parent / "replies.txt"
PERMISSIONS = {"none": 0, "read": 1, "write": 2, "create": 4, "delete": 8, "admin": 16, "all": 31}
DIGEST_BOB = "bob:ikIaKsbtGweaHnb/jKn7OHqbunM="
MINUTES = 600_000

# `connect` makes the caller's client; the ACL has one entry of `scheme` and `ident`. `owner` creates the znode: the scheme auth needs a
# client with an identity.
Caller = namedtuple("Caller", "connect scheme ident owner", defaults=[plain_client])

CALLERS = {
    "anybody, world": Caller(plain_client, "world", "anyone"),
    "the address, ip": Caller(plain_client, "ip", "127.0.0.1"),
    "the network, ip": Caller(plain_client, "ip", "127.0.0.0/8"),
    "another address, ip": Caller(plain_client, "ip", "127.0.0.2"),
    "nobody, digest": Caller(plain_client, "digest", DIGEST_BOB),
    "the user, digest": Caller(digest("bob:pw"), "digest", DIGEST_BOB),
    "a wrong password, digest": Caller(digest("bob:wrong"), "digest", DIGEST_BOB),
    "a SASL user of that name, digest": Caller(sasl("bob", "bobpw"), "digest", DIGEST_BOB),
    "nobody, sasl": Caller(plain_client, "sasl", "bob"),
    "the user, sasl": Caller(sasl("bob", "bobpw"), "sasl", "bob"),
    "another user, sasl": Caller(sasl("eve", "evepw"), "sasl", "bob"),
    "a digest user of that name, sasl": Caller(digest("bob:pw"), "sasl", "bob"),
    "a subject of that name, sasl": Caller(over_tls("client"), "sasl", CLIENT),
    "nobody, x509": Caller(plain_client, "x509", CLIENT),
    "nobody over TLS, x509": Caller(over_tls(), "x509", CLIENT),
    "the subject, x509": Caller(over_tls("client"), "x509", CLIENT),
    "another subject, x509": Caller(over_tls("another"), "x509", CLIENT),
    "a SASL user of that name, x509": Caller(sasl("CN=bob", "bobpw"), "x509", "CN=bob"),
    "nobody, auth": Caller(plain_client, "auth", "", digest("bob:pw")),
    "its maker, auth": Caller(digest("bob:pw"), "auth", "", digest("bob:pw")),
    "its maker by certificate, auth": Caller(over_tls("client"), "auth", "", over_tls("client")),
    "the super user, digest": Caller(digest("super:admin"), "digest", DIGEST_BOB),
    "the super user by certificate, x509": Caller(over_tls("super"), "x509", CLIENT),
}

Operation = namedtuple("Operation", "request read")


def nothing(_):
    return None


def acl_and_stat(reader):
    return reader.vector(reader.acl), plain(reader.stat())


def names(reader):
    return sorted(reader.vector(reader.ustring))


def results(reader):
    found, reader.at = wire.read_multi(reader.data[reader.at:]), len(reader.data)
    return [(kind, err, sorted(value) if kind == Op.GET_CHILDREN and not err else settled(value)) for kind, err, value in found]


def settled(value):
    """Returns a result without the parts that differ from run to run."""
    if isinstance(value, wire.Stat):
        return plain(value)
    return tuple(map(settled, value)) if type(value) is tuple else value


def plain(stat):
    """Returns a Stat without zxids, times and the session id."""
    return stat._replace(czxid=0, mzxid=0, pzxid=0, ctime=0, mtime=0, ephemeral_owner=int(stat.ephemeral_owner != 0))


def a_stat(reader):
    return plain(reader.stat())


def path_and_stat(reader):
    return reader.ustring(), plain(reader.stat())


def operations(path, acl):
    """Returns all operations in the order of the requests: the last one deletes the znode. `acl` is the znode's ACL."""
    child = path + "/child"
    create_many = {
        "create": (wire.create(path + "/new-1"), wire.Reader.ustring), "create2": (wire.create2(path + "/new-2"), path_and_stat),
        "create, ephemeral": (wire.create2(path + "/new-3", flags=Flags.EPHEMERAL), path_and_stat),
        "create, sequential": (wire.create(path + "/s-", flags=Flags.PERSISTENT_SEQUENTIAL), wire.Reader.ustring),
        "createContainer": (wire.create_container(path + "/new-4"), path_and_stat),
        "createTTL": (wire.create_ttl(path + "/new-5", MINUTES), path_and_stat),
        "create what is there": (wire.create(child), nothing), "create with a wrong ACL": (wire.create(path + "/new-6", acl=[ACL(1, "x", "")]), nothing),
    }
    reads = {
        "exists": (wire.exists(path), a_stat), "exists, of what is not there": (wire.exists(path + "/none"), a_stat),
        "getData": (wire.get_data(path), lambda reader: (reader.buffer(), plain(reader.stat()))),
        "getACL": (wire.get_acl(path), acl_and_stat), "getChildren": (wire.get_children(path), names),
        "getChildren2": (wire.get_children2(path), lambda reader: (names(reader), plain(reader.stat()))),
        "getAllChildrenNumber": (wire.get_all_children_number(path), wire.Reader.int32),
        "getEphemerals": (wire.get_ephemerals(path), names), "sync": (wire.sync(path), wire.Reader.ustring),
        "multiRead": (wire.multi_read(wire.get_data(path), wire.get_children(path), wire.get_data(child)), results),
        "addWatch": (wire.add_watch(path, wire.RECURSIVE_WATCH), wire.Reader.int32),
        "checkWatches": (wire.check_watches(path, wire.Watcher.ANY), nothing),
        "getData with a watch": (wire.get_data(path, True), lambda reader: (reader.buffer(), plain(reader.stat()))),
        "checkWatches, behind getData": (wire.check_watches(path, wire.Watcher.DATA), nothing),
        "getChildren with a watch": (wire.get_children(path, True), names),
        "checkWatches, behind getChildren": (wire.check_watches(path, wire.Watcher.CHILDREN), nothing),
        "setWatches": (wire.set_watches(1 << 62, [path], [path + "/none"], [path]), nothing),
        "removeWatches": (wire.remove_watches(path, wire.Watcher.ANY), nothing),
        "ping": (wire.PING, nothing), "whoAmI": (wire.WHO_AM_I, lambda reader: sorted(reader.vector(lambda: (reader.ustring(), reader.ustring())))),
    }
    writes = {
        "setData": (wire.set_data(path, b"y"), a_stat), "setData of another version": (wire.set_data(path, b"y", 99), nothing),
        "setACL": (wire.set_acl(path, acl), a_stat), "setACL of another version": (wire.set_acl(path, acl, 99), nothing),
        "setACL to a wrong one": (wire.set_acl(path, [ACL(1, "x", "")]), nothing),
        "multi, create": (wire.multi(wire.create(path + "/new-7")), results), "multi, create2": (wire.multi(wire.create2(path + "/new-8")), results),
        "multi, createTTL": (wire.multi(wire.create_ttl(path + "/new-9", MINUTES)), results),
        "multi, createContainer": (wire.multi(wire.create_container(path + "/new-10")), results),
        "multi, setData": (wire.multi(wire.set_data(path, b"z")), results), "multi, check": (wire.multi(wire.check(path, -1)), results),
        "multi, delete": (wire.multi(wire.delete(path + "/child-2")), results),
        "multi, of several": (wire.multi(wire.check(path, -1), wire.set_data(path, b"z"), wire.create(path + "/new-11"), wire.delete(path + "/child-3")), results),
        "multi, of a znode of its own": (wire.multi(wire.create(path + "-x", acl=acl), wire.set_data(path + "-x", b""), wire.delete(path + "-x")), results),
        "delete of a child": (wire.delete(child), nothing), "delete of what is not there": (wire.delete(path + "/none"), nothing),
        "delete while there are children": (wire.delete(path), nothing), "reconfig": (wire.reconfig(leaving="9"), nothing),
    }
    return {name: Operation(*both) for name, both in {**reads, **create_many, **writes}.items()}


def answer(client, operation):
    """Returns an error, or 0 and a checksum of the answer."""
    reply = client.ask(operation.request, wire.XID_PING if operation.request is wire.PING else None)
    if reply.err:
        assert not reply.body, f"a body with error {reply.err}: {reply.body!r}"
        return str(reply.err)
    reader = wire.Reader(reply.body)
    told = operation.read(reader)
    reader.end()
    return f"0:{zlib.crc32(repr(told).replace(PREFIX, '@').encode()):08x}"


PREFIX = "/rights"


def answers(scene, caller, permission):
    """Returns the answers that a caller gets under one permission, by operation, and the events it has seen."""
    owner = caller.owner(scene)
    path, acl = PREFIX + "/p", [ACL(PERMISSIONS[permission], caller.scheme, caller.ident)]
    owner.ok(wire.create(path, b"x"))
    for name in ("/child", "/child-2", "/child-3"):
        owner.ok(wire.create(path + name))
    owner.ok(wire.set_acl(path, acl))
    scene.settle()
    client = caller.connect(scene)
    client.take_events()
    found = {name: answer(client, operation) for name, operation in operations(path, acl).items()}
    client.settle()
    # Changes by another client: does the caller see events, although it may not read?
    client.ok(wire.add_watch(path, wire.RECURSIVE_WATCH))
    client.ok(wire.add_watch(path + "-x", wire.PERSISTENT_WATCH))
    scene.super.ok(wire.set_data(path, b"secret"))
    scene.super.ok(wire.create(path + "/told", acl=acl))
    scene.super.ok(wire.set_data(path + "/told", b"secret"))
    scene.super.ok(wire.delete(path + "/told"))
    scene.super.ok(wire.create(path + "-x", acl=acl))
    scene.super.ok(wire.delete(path + "-x"))
    scene.settle()
    client.ok(wire.sync("/"))
    events = [(event.type, event.state, event.path.replace(PREFIX, "@")) for event in client.settle()]
    found["events of others"] = f"{len(events)}:{zlib.crc32(repr(events).encode()):08x}"
    for name in sorted(scene.super.names(path)):
        scene.super.ok(wire.delete(f"{path}/{name}"))
    # The parent of the znode is open: its own ACL does not protect it.
    found["delete"] = answer(client, Operation(wire.delete(path), nothing))
    for each in (owner, client):
        harness.end_client(each)
    return found


@harness.case("rights", "are enumerated")
def enumerated(scene):
    scene.super = digest("super:admin")(scene)
    scene.super.ok(wire.create(PREFIX))
    expected = {} if RECORD else dict(line.split(": ", 1) for line in RECORDED.read_text().splitlines() if not line.startswith("#"))
    for name, caller in CALLERS.items():
        columns = {permission: answers(scene, caller, permission) for permission in PERMISSIONS}
        for operation in columns["none"]:
            row = " ".join(columns[permission][operation] for permission in PERMISSIONS)
            label = f"{name} / {operation}"
            if RECORD:
                expected[label] = row
            elif SERVERS > 1 and operation == "reconfig":
                print(f"left out {label} # what an ensemble answers is in the suite reconfig", flush=True)
            else:
                differing = [f"{permission}: {got} instead of {wanted}" for permission, got, wanted in
                             zip(PERMISSIONS, row.split(), expected.pop(label, "nothing " * 7).split()) if got != wanted]
                WRONG.extend(f"{label}, {difference}" for difference in differing)
                print(f"{'not ok' if differing else 'ok'} {name} / {operation}" + (f" # {'; '.join(differing)}" if differing else ""), flush=True)
    if RECORD:
        lines = [f"{label}: {row}\n" for label, row in expected.items()]
        Path(RECORD).write_text(f"# By `record`, from Apache ZooKeeper. Under: {', '.join(PERMISSIONS)}.\n" + "".join(lines))
    left = [label for label in expected if not label.endswith(" / reconfig")]
    assert RECORD or not left, f"recorded, and not asked: {left[:3]}"
    assert not WRONG, f"{len(WRONG)} answers differ"


RECORD = os.environ.get("ACL_RECORD")
WRONG = []

if __name__ == "__main__":
    callers.serve()
    sys.exit(harness.run(sys.argv[1:]))
