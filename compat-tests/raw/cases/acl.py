"""ACL validation, expansion and enforcement. Source: PrepRequestProcessor.fixupACL, ZooKeeperServer.checkACL."""

import wire
from harness import case, equal, error_name, table
from wire import ACL, Err

BOB, BOB_ID = "bob:pw", "bob:ikIaKsbtGweaHnb/jKn7OHqbunM="
USER1, USER1_ID = "user1:12345", "user1:+owfoSBn/am19roBPzR1/MfCblE="
SUPER, SUPER_ID = "super:admin", "super:xQJmxLMiHGwaqBvst5y6rkB6HQs="

PERMISSIONS = {"READ": wire.READ, "WRITE": wire.WRITE, "CREATE": wire.CREATE, "DELETE": wire.DELETE, "ADMIN": wire.ADMIN}


def authenticate(client, credentials, scheme="digest"):
    return client.ok(wire.auth(scheme, credentials), b"", xid=wire.XID_AUTH)


@table("ACL validity", [(f"{scheme}:{ident}".replace("/", " bits "), scheme, ident, good) for scheme, ident, good in (
    ("world", "anyone", True), ("world", "bar", False), ("world", "", False),
    ("foo", "bar", False), ("", "", False), (None, "anyone", False), ("super", "", False), ("sasl", "bob", False),
    ("x509", "CN=a", False), ("auth", "", False), ("auth", None, False),
    ("digest", "u:h", True), ("digest", "u", False), ("digest", "u:", False), ("digest", ":x", True),
    ("digest", "a:b:c", False), ("digest", "", False),
    ("ip", "127.0.0.1", True), ("ip", "127.0.0.1/8", True), ("ip", "127.0.0.1/0", True), ("ip", "127.0.0.1/32", True),
    ("ip", "127.0.0.1/33", False), ("ip", "127.0.0.1/-1", False), ("ip", "127.0.0.1/x", False), ("ip", "127.0.0", False),
    ("ip", "127.0.0.256", False), ("ip", "localhost", False), ("ip", "", False), ("ip", "1.2.3.4/8/8", False),
    ("ip", "::1", True), ("ip", "fe80::/10", True), ("ip", "2001:db8::1/129", False), ("ip", "0:0:0:0:0:0:0:1", True),
)])
def validity(scene, scheme, ident, good):
    client, path = scene.client(), scene.base + "/a"
    request = wire.create(path, acl=[ACL(31, "world", "anyone"), ACL(1, scheme, ident)])
    if good:
        client.ok(request)
        equal(client.acl(path)[1:], [ACL(1, scheme, ident)], "ACL")
        client.ok(wire.set_acl(path, [ACL(31, scheme, ident)]))
    else:
        client.fails(request, Err.INVALID_ACL)
        client.fails(wire.set_acl(scene.base, [ACL(31, scheme, ident)]), Err.INVALID_ACL)


@table("ACL validity", [(f"{scheme} with a null id", scheme) for scheme in ("world", "digest", "ip")])
def null_id(scene, scheme):
    # ZooKeeper's provider fails on the null, so the request counts as malformed and not as having an invalid ACL.
    client = scene.client()
    client.fails(wire.create(scene.base + "/a", acl=[ACL(31, scheme, None)]), Err.MARSHALLING)


@table("ACL validity", [(f"permission bits {bits} are stored", bits) for bits in (0, 32, -1, 2**31 - 1)])
def bits(scene, value):
    client, path = scene.client(), scene.base + "/a"
    acl = [ACL(31, "world", "anyone"), ACL(value, "world", "anyone")]
    client.ok(wire.create(path, acl=acl))
    equal(client.acl(path), acl, "ACL")


@case("ACL validity", "exact duplicates are dropped, order kept")
def duplicates(scene):
    client, path = scene.client(), scene.base + "/a"
    one, two = ACL(31, "world", "anyone"), ACL(1, "ip", "1.2.3.4")
    client.ok(wire.create(path, acl=[two, one, two, one, two]))
    equal(client.acl(path), [two, one], "ACL")


@case("ACL scheme auth", "one entry per digest identity")
def expansion(scene):
    client, path = scene.client(), scene.base + "/a"
    authenticate(client, BOB)
    authenticate(client, USER1)
    client.ok(wire.create(path, acl=[ACL(wire.ALL, "auth", "ignored")]))
    equal(sorted(client.acl(path)), sorted([ACL(31, "digest", BOB_ID), ACL(31, "digest", USER1_ID)]), "ACL")
    client.ok(wire.set_acl(path, [ACL(wire.ALL, "auth", None), ACL(1, "world", "anyone")]))
    equal(len(client.acl(path)), 3, "entries")


@case("ACL scheme auth", "of a super user is its digest identity")
def expansion_super(scene):
    client, path = scene.client(), scene.base + "/a"
    authenticate(client, SUPER)
    client.ok(wire.create(path, acl=[ACL(wire.ALL, "auth", "")]))
    equal(client.acl(path), [ACL(31, "digest", SUPER_ID)], "ACL")


@case("ACL scheme auth", "needs an identity that authenticates")
def expansion_none(scene):
    client = scene.client()
    authenticate(client, None, "ip")
    client.fails(wire.create(scene.base + "/a", acl=[ACL(31, "auth", "")]), Err.INVALID_ACL)


OPERATIONS = {
    "getData": (lambda path: wire.get_data(path), {"READ"}),
    "exists": (lambda path: wire.exists(path), {"READ"}),
    "getChildren": (lambda path: wire.get_children(path), {"READ"}),
    "getChildren2": (lambda path: wire.get_children2(path), {"READ"}),
    "getAllChildrenNumber": (lambda path: wire.get_all_children_number(path), {"READ"}),
    "getACL": (lambda path: wire.get_acl(path), {"READ", "ADMIN"}),
    "setData": (lambda path: wire.set_data(path, b""), {"WRITE"}),
    "setACL": (lambda path: wire.set_acl(path, wire.OPEN), {"ADMIN"}),
    "create": (lambda path: wire.create(path + "/new"), {"CREATE"}),
    "create2": (lambda path: wire.create2(path + "/new"), {"CREATE"}),
    "createContainer": (lambda path: wire.create_container(path + "/new"), {"CREATE"}),
    "createTTL": (lambda path: wire.create_ttl(path + "/new", 600_000), {"CREATE"}),
    "delete a child": (lambda path: wire.delete(path + "/child"), {"DELETE"}),
    "sync": (lambda path: wire.sync(path), None),
    "addWatch": (lambda path: wire.add_watch(path, 1), None),
}


@table("permission", [(f"{name} with {permission} alone", name, permission)
                      for name in OPERATIONS for permission in PERMISSIONS])
def permission(scene, name, given):
    client, path = scene.client(), scene.base + "/p"
    client.ok(wire.create(path))
    client.ok(wire.create(path + "/child"))
    client.ok(wire.set_acl(path, [ACL(PERMISSIONS[given], "world", "anyone")]))
    scene.settle()
    make, needed = OPERATIONS[name]
    if needed is None or given in needed:
        client.ok(make(path))
    else:
        client.fails(make(path), Err.NO_AUTH)


@case("permission", "a znode's own ACL does not protect it from delete")
def delete_unprotected(scene):
    client, path = scene.client(), scene.base + "/p"
    client.ok(wire.create(path, acl=[ACL(0, "world", "anyone")]))
    client.ok(wire.delete(path))


@case("permission", "no permission before bad version, missing child and existing child")
def order(scene):
    client, path = scene.client(), scene.base + "/p"
    client.ok(wire.create(path))
    client.ok(wire.create(path + "/child"))
    client.ok(wire.set_acl(path, [ACL(0, "world", "anyone")]))
    scene.settle()
    for request in (wire.set_data(path, b"", 9), wire.set_acl(path, wire.OPEN, 9), wire.delete(path + "/none"),
                    wire.delete(path + "/child", 9), wire.create(path + "/child")):
        client.fails(request, Err.NO_AUTH)


@case("permission", "digest identities")
def digest(scene):
    owner, other, path = scene.client(), scene.client(), scene.base + "/p"
    authenticate(owner, BOB)
    owner.ok(wire.create(path, b"x", acl=[ACL(31, "digest", BOB_ID)]))
    owner.ok(wire.get_data(path))
    other.fails(wire.get_data(path), Err.NO_AUTH)
    authenticate(other, "bob:wrong")
    other.fails(wire.get_data(path), Err.NO_AUTH)
    authenticate(other, BOB)
    other.ok(wire.get_data(path))


@table("permission", [(f"ip {ident}".replace("/", " bits "), ident, allowed) for ident, allowed in (
    ("127.0.0.1", True), ("127.0.0.2", False), ("127.0.0.0/8", True), ("10.0.0.0/8", False), ("1.2.3.4/0", True),
    ("127.0.0.3/30", True), ("127.0.0.4/30", False), ("::1", False), ("::/0", False),
)])
def ip(scene, ident, allowed):
    client, path = scene.client(), scene.base + "/p"
    client.ok(wire.create(path, acl=[ACL(31, "ip", ident)]))
    client.check(wire.get_acl(path), 0 if allowed else Err.NO_AUTH, None, None, None)


@case("permission", "the super user passes everything")
def super_user(scene):
    client, path = scene.client(), scene.base + "/p"
    client.ok(wire.create(path, acl=[ACL(0, "world", "anyone")]))
    client.fails(wire.get_data(path), Err.NO_AUTH)
    authenticate(client, SUPER)
    client.ok(wire.get_data(path))
    client.ok(wire.create(path + "/c"))
    client.ok(wire.set_acl(path, wire.OPEN))
    client.ok(wire.set_data("/zookeeper/config", b""))


@case("getACL", "a reader sees digests masked, an administrator as stored")
def masked(scene):
    owner, reader, path = scene.client(), scene.client(), scene.base + "/p"
    authenticate(owner, BOB)
    acl = [ACL(31, "digest", BOB_ID), ACL(1, "world", "anyone"), ACL(2, "ip", "1.2.3.4"), ACL(4, "digest", "u:h")]
    owner.ok(wire.create(path, acl=acl))
    equal(owner.acl(path), acl, "ACL")
    hidden = [ACL(31, "digest", "bob:x"), acl[1], acl[2], ACL(4, "digest", "u:x")]
    stat = wire.stat_bytes(reader.stat(path))
    reader.ok(wire.get_acl(path), wire.vector(hidden, wire.acl_entry) + stat)


# Each line is masked from its first colon on, and keeps its line end.
ENDS = ["\n", "\r", "\r\n", "\u0085", "\u2028", "\u2029"]
MASKED = [
    *((f"u:h{end}", f"u:x{end}") for end in ENDS), *((f"u:h{end}more", f"u:x{end}more") for end in ENDS),
    *((f"u{end}v:h", f"u{end}v:x") for end in ENDS), *((f"{end}:{end}", f"{end}:x{end}") for end in ENDS),
    ("u:h\x0b\x0c\x1c\0 \u00a0h", "u:x"), ("u: ", "u:x"), (":h", ":x"), ("u:h:", "u:x"), ("u:h:::\n", None), ("u:\n", "u:x\n"),
    ("u:x", "u:x"), ("x:x:", "x:x"),
]


@table("getACL", [(f"digest {ascii(ident)}", ident, hidden) for ident, hidden in MASKED])
def masked_lines(scene, ident, hidden):
    client, path = scene.client(), scene.base + "/p"
    authenticate(client, BOB)
    acl = [ACL(31, "digest", BOB_ID), ACL(1, "world", "anyone"), ACL(1, "digest", ident)]
    if hidden is None:
        return client.fails(wire.create(path, acl=acl), Err.INVALID_ACL)
    client.ok(wire.create(path, acl=acl))
    return equal(scene.client().acl(path)[2], ACL(1, "digest", hidden), "what a reader sees")


# `fixed` derives the result of a list of these from ZooKeeper's algorithm; the case tries every pair and triple.
SOME_ENTRIES = [ACL(perms, scheme, ident) for perms in (1, 31) for scheme, ident in (
    (None, None), (None, "anyone"), ("world", "anyone"), ("world", None), ("foo", None), ("auth", None), ("digest", None), ("digest", "u:h"),
    ("ip", "x"),
)]


def fixed(acl):
    """Returns the error of storing `acl` for a caller without identities. Source: ACL.equals, Id.equals, fixupACL."""
    unique = []
    for entry in acl:
        for other in unique:
            if entry.perms == other.perms:
                if entry.scheme is None or (entry.scheme == other.scheme and entry.id is None):
                    return Err.MARSHALLING
                if entry == other:
                    break
        else:
            unique.append(entry)
    for entry in unique:
        if entry.scheme in (None, "foo", "auth"):
            return Err.INVALID_ACL
        if entry.id is None:
            return Err.MARSHALLING
        if entry.id == "x":
            return Err.INVALID_ACL
    return 0


def lists_of(entries):
    """Yields every list of one or two entries, and lists of three whose first and third come from the first half, to limit the number."""
    yield from ([first] for first in entries)
    yield from ([first, second] for first in entries for second in entries)
    half = entries[: len(entries) // 2]
    yield from ([first, second, third] for first in half for second in entries for third in half)


@case("ACL validity", "nulls, duplicates and unknown schemes in every order: create, setACL and multi")
def every_order(scene):
    client, path, other = scene.client(), scene.base, scene.base + "/a"
    client.ok(wire.create(other))
    lists = list(lists_of(SOME_ENTRIES))
    for start in range(0, len(lists), 50):
        asked = []
        for acl in lists[start : start + 50]:
            operation = wire.create(f"{path}/x", acl=acl)
            asked += [(acl, fixed(acl), client.send(request)) for request in (
                wire.set_acl(other, [*acl, ACL(16, "world", "anyone")]), wire.multi(operation, wire.delete(f"{path}/x")),
                operation, wire.delete(f"{path}/x"))]
        for at, (acl, err, _) in enumerate(asked):
            reply = client.receive_reply()
            # In each group of four requests, the third is the create and the fourth undoes it.
            if at % 4 == 1 and err != Err.MARSHALLING:
                codes = [code for _, code, _ in wire.read_multi(reply.body)]
                equal(codes, [err, Err.RUNTIME_INCONSISTENCY] if err else [0, 0], f"results of a multi with {acl}")
            elif at % 4 == 3:
                equal(reply.err, Err.NO_NODE if err else 0, f"error of a delete behind {acl}")
            else:
                equal(error_name(reply.err), error_name(err), f"error of {('setACL', 'multi', 'create')[at % 4]} with {acl}")
