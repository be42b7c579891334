"""The order in which sets are listed, which is that of Java's hash sets. Source: DataNode, DataTree.getEphemerals, ServerCnxn.authInfo."""

import base64
import hashlib
import itertools
import random

import wire
from connection import four_letter
from harness import case, equal, table
from java_set import JavaSet, hash_code
from wire import ACL, Err

FEATURE = "listing"

# All strings made of the same number of these have the same hash code.
TWINS = ("Aa", "BB")


def children(client, path):
    reader = wire.Reader(client.ok(wire.get_children(path)).body)
    return reader.vector(reader.ustring)


def ephemerals(client, prefix="/"):
    reader = wire.Reader(client.ok(wire.get_ephemerals(prefix)).body)
    return reader.vector(reader.ustring)


class Directory:
    """The children of a znode, on the server and as a Java set."""

    def __init__(self, client, path):
        self.client, self.path, self.names = client, path, JavaSet(buckets=8)

    def create(self, names):
        for some in batches(names, 200):
            for name in some:
                self.client.send(wire.create(f"{self.path}/{name}"))
            for name in some:
                equal(self.client.receive_reply().err, 0, f"error of create {name}")
                self.names.add(name)

    def delete(self, names):
        for name in names:
            self.client.ok(wire.delete(f"{self.path}/{name}"))
            self.names.remove(name)

    def is_listed(self):
        equal(children(self.client, self.path), list(self.names), "children")


def batches(items, size):
    items = list(items)
    return [items[at : at + size] for at in range(0, len(items), size)]


def random_names(count, alphabet="abcdefghijklmnopqrstuvwxyz0123456789-_."):
    chance = random.Random(count)
    return list(dict.fromkeys("x" + "".join(chance.choices(alphabet, k=chance.randint(1, 20))) for _ in range(count)))


@table(FEATURE, [
    ("sequence numbers", [f"n-{number:010}" for number in range(40)]),
    ("plain numbers", [str(number) for number in range(1, 130)]),
    ("brokers of which the last came first", [str(number) for number in range(12, 0, -1)]),
    ("random names", random_names(200)),
    ("1,500 random names", random_names(1500)),
    ("3,000 sequence numbers", [f"lock-{number:010}" for number in range(3000)]),
    ("letters beyond ASCII", random_names(100, "aäöüßéñжд中文字符한글")),
    ("long names", [str(number) * 60 for number in range(30)]),
    ("names of one hash code", ["".join(parts) for parts in itertools.product(TWINS, repeat=3)]),
    ("names of two hash codes", ["".join(parts) + end for end in "xy" for parts in itertools.product(TWINS, repeat=3)]),
])
def children_of(scene, names):
    directory = Directory(scene.client(), scene.base)
    for some in batches(names, 7 if len(names) < 300 else 700):
        directory.create(some)
        directory.is_listed()


@case(FEATURE, "a table that has grown does not shrink")
def deletions(scene):
    directory = Directory(scene.client(), scene.base)
    names = random_names(100)
    directory.create(names)
    for some in batches(names[:95], 10):
        directory.delete(some)
        directory.is_listed()
    directory.create(names[:3])
    directory.is_listed()
    directory.delete(list(directory.names))
    directory.create(["Aa", "BB", *names[:5]])
    directory.is_listed()


@case(FEATURE, "who comes again comes last in its bucket")
def again(scene):
    directory = Directory(scene.client(), scene.base)
    directory.create(["Aa", "BB"])
    directory.delete(["Aa"])
    directory.create(["Aa"])
    directory.is_listed()
    equal(list(directory.names), ["BB", "Aa"], "the order meant")


@case(FEATURE, "a znode that comes again begins with a small table")
def fresh_table(scene):
    client, path = scene.client(), scene.base + "/d"
    few = random_names(5)
    for count in (100, 5):
        client.ok(wire.create(path))
        directory = Directory(client, path)
        directory.create(random_names(count))
        directory.is_listed()
        directory.delete(list(directory.names))
        client.ok(wire.delete(path))
    client.ok(wire.create(path))
    directory = Directory(client, path)
    directory.create(few)
    directory.is_listed()


@case(FEATURE, "a transaction's creations come in its order")
def transaction(scene):
    client, base = scene.client(), scene.base
    names = ["BBBB", "AaBB", "BBAa", "AaAa"]
    client.ok(wire.multi(*[wire.create(f"{base}/{name}") for name in names]))
    equal(children(client, base), names, "children")


@case(FEATURE, "a transaction that fails leaves table and order as they were")
def failed_transaction(scene):
    directory = Directory(scene.client(), scene.base)
    directory.create(["Aa", "BB", "x1", "x2"])
    more = [wire.create(f"{scene.base}/y{number}") for number in range(30)]
    directory.client.ask(wire.multi(wire.delete(scene.base + "/Aa"), wire.create(scene.base + "/Aa"), *more,
                                    wire.check(scene.base, 77)))
    directory.is_listed()
    directory.create(["x3"])
    directory.is_listed()


@case(FEATURE, "multiRead lists as getChildren")
def multi_read(scene):
    directory = Directory(scene.client(), scene.base)
    directory.create(random_names(30))
    reader = wire.Reader(directory.client.ok(wire.multi_read(wire.get_children(scene.base))).body)
    reader.multi_header()
    equal(reader.vector(reader.ustring), list(directory.names), "children")


@case(FEATURE, "getEphemerals lists a clone of the set of paths")
def own_ephemerals(scene):
    client, paths = scene.client(), JavaSet()
    for name in random_names(60):
        client.ok(wire.create(f"{scene.base}/{name}", flags=1))
        paths.add(f"{scene.base}/{name}")
        equal(ephemerals(client), list(paths.clone()), "ephemerals")
    some = scene.base + "/xa"
    equal(ephemerals(client, some), [path for path in paths.clone() if path.startswith(some)], "of one prefix")


@case(FEATURE, "ephemerals of a session that ends go in the order of getEphemerals")
def end_of_session(scene):
    client, watcher, base = scene.client(), scene.client(), scene.base
    names = random_names(40)
    for name in names:
        client.ok(wire.create(f"{base}/{name}", flags=1))
        watcher.ok(wire.exists(f"{base}/{name}", watch=True))
    expected = ephemerals(client)
    client.end_session()
    client.session = 0
    watcher.ok(wire.sync(base))
    equal([event.path for event in watcher.settle()], expected, "events")


@case(FEATURE, "identities come in the order of a hash table, in whoAmI and in ACLs")
def identities(scene):
    client = scene.client()
    users = [f"user{number}" for number in range(8)]
    known = [("ip", own_address(client))]
    for user in users:
        client.ok(wire.auth("digest", f"{user}:pw"))
        digest = base64.b64encode(hashlib.sha1(f"{user}:pw".encode()).digest()).decode()
        known.append(("digest", f"{user}:{digest}"))
        known.sort(key=identity_bucket)
        reader = wire.Reader(client.ok(wire.WHO_AM_I).body)
        who = reader.vector(lambda: (reader.ustring(), reader.ustring()))
        equal(who, [(scheme, name.split(":")[0]) for scheme, name in known], "whoAmI")
    client.ok(wire.create(scene.base + "/a", acl=[ACL(31, "auth", "")]))
    digests = [ACL(31, scheme, name) for scheme, name in known if scheme == "digest"]
    equal(client.acl(scene.base + "/a"), digests, "ACL")


def identity_bucket(identity):
    code = 17
    for text in identity:
        code = (37 * code + hash_code(text)) & 0xFFFFFFFF
    return (code ^ code >> 16) & 15


def own_address(client):
    reader = wire.Reader(client.ok(wire.WHO_AM_I).body)
    return next(name for scheme, name in reader.vector(lambda: (reader.ustring(), reader.ustring())) if scheme == "ip")


@case(FEATURE, "dump lists a session's set of ephemerals")
def dump(scene):
    client, paths = scene.client(), JavaSet()
    for name in random_names(50):
        client.ok(wire.create(f"{scene.base}/{name}", flags=1))
        paths.add(f"{scene.base}/{name}")
    text = four_letter(scene.address, "dump").decode().partition("Sessions with Ephemerals")[2]
    equal(lines_below(text, f"0x{client.session & (1 << 64) - 1:x}:"), list(paths), "ephemerals")


@case(FEATURE, "wchc and wchp list hash maps of paths")
def watches(scene):
    client = scene.client()
    # ZooKeeper has one map for all paths, and other cases have made it larger than a few paths would.
    paths = [f"{scene.base}/{name}" for name in sorted(random_names(1000))]
    for path in paths:
        client.fails(wire.exists(path, watch=True), Err.NO_NODE)
    equal(lines_below(four_letter(scene.address, "wchc").decode(), f"0x{client.session & (1 << 64) - 1:x}"), list(JavaSet(paths)), "wchc")
    shown = [line for line in four_letter(scene.address, "wchp").decode().splitlines() if line.startswith(scene.base)]
    equal(shown, list(JavaSet(paths)), "wchp")


def lines_below(text, title):
    """Returns the indented lines below a line."""
    lines = text.splitlines()
    return [line.strip() for line in itertools.takewhile(lambda line: line.startswith("\t"), lines[lines.index(title) + 1 :])]
