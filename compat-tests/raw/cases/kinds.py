"""Kinds of znodes by operation and flags, alone and in a multi. Source: pRequest2TxnCreate, Op.create.

The operation decides the kind; the flags decide whether it is valid, ephemeral and sequential. `create` with the flags of a
container makes a persistent znode. In a multi, decoding derives the operation from those flags.
"""

from collections import namedtuple

import wire
from harness import case, equal, eventually, new_stat, table
from wire import Err, Op

FEATURE = "kind of znode"
TTL_MS = 600_000
FLAGS = [*range(-3, 11), 15, 31, 0x100, -(2**31), 2**31 - 1]
SEQUENTIAL, EPHEMERAL, TTL, CONTAINER = (2, 3, 6), (1, 3), (5, 6), 4
CREATES = {"create": Op.CREATE, "create2": Op.CREATE2, "createContainer": Op.CREATE_CONTAINER}

# `kind` is None if the create fails, with `err`; `reply` is the operation that the reply looks like, in a multi and alone.
Outcome = namedtuple("Outcome", "kind err reply", defaults=[None, 0, None])


def alone(op, flags):
    """Returns the outcome of a create, create2 or createContainer outside a multi."""
    if flags not in range(7) or flags in TTL:
        return Outcome(err=Err.BAD_ARGUMENTS)
    if op == Op.CREATE_CONTAINER:
        return Outcome("container", reply=Op.CREATE2)
    return Outcome("ephemeral" if flags in EPHEMERAL else "persistent", reply=op)


def in_multi(op, flags):
    """Returns the outcome in a multi; an error there is that of the whole request."""
    if flags not in range(7) or flags in TTL:
        return Outcome(err=Err.MARSHALLING)
    return alone(Op.CREATE_CONTAINER if flags == CONTAINER else op, flags)


def ttl_alone(flags, ttl_ms):
    """Returns the outcome of a createTTL outside a multi. ZooKeeper: applying one with a negative ttl and no TTL flags breaks it."""
    valid = flags in TTL and 0 < ttl_ms <= 0xFFFFFFFFFF
    return Outcome("TTL", reply=Op.CREATE2) if valid else Outcome(err=Err.BAD_ARGUMENTS)


def ttl_in_multi(flags, ttl_ms):
    """Returns the outcome of a createTTL in a multi: without ttl flags it is a create, whatever its ttl."""
    if flags in TTL or flags not in range(7):
        return ttl_alone(flags, ttl_ms)
    return alone(Op.CREATE_CONTAINER if flags == CONTAINER else Op.CREATE, flags)


def path_of(base, flags):
    return base + ("/n-0000000000" if flags in SEQUENTIAL else "/n-")


def created(client, base, flags, outcome, reply):
    """Checks the znode, and what the reply to its create says about it."""
    path = path_of(base, flags)
    stat = client.stat(path)
    owner = client.session if outcome.kind == "ephemeral" else 0
    equal(stat, new_stat(reply.zxid, stat.ctime, owner), "Stat")
    return wire.ustring(path) + (b"" if outcome.reply == Op.CREATE else wire.stat_bytes(stat))


def check_alone(scene, request, flags, outcome):
    client, base = scene.client(), scene.base
    client.settle()
    if outcome.err:
        return client.refused(request(base + "/n-"), outcome.err)
    reply = client.writes(request(base + "/n-"))
    return equal(reply.body, created(client, base, flags, outcome, reply), "body")


def check_in_multi(scene, request, flags, outcome):
    client, base = scene.client(), scene.base
    client.settle()
    multi = wire.multi(wire.check(base, -1), request(base + "/n-"))
    if outcome.err == Err.MARSHALLING:
        return client.refused(multi, outcome.err)
    reply = client.writes(multi)
    if outcome.err:
        return equal(reply.body, wire.multi_error(0) + wire.multi_error(outcome.err) + wire.MULTI_END, "body")
    result = wire.multi_header(outcome.reply, False, 0) + created(client, base, flags, outcome, reply)
    return equal(reply.body, wire.multi_header(Op.CHECK, False, 0) + result + wire.MULTI_END, "body")


@table(FEATURE, [(f"{name}, flags {flags}", op, flags) for name, op in CREATES.items() for flags in FLAGS])
def of_create(scene, op, flags):
    check_alone(scene, lambda path: wire.create(path, flags=flags, op=op), flags, alone(op, flags))


@table(FEATURE, [(f"{name} in a multi, flags {flags}", op, flags) for name, op in CREATES.items() for flags in FLAGS])
def of_create_in_multi(scene, op, flags):
    check_in_multi(scene, lambda path: wire.create(path, flags=flags, op=op), flags, in_multi(op, flags))


@table(FEATURE, [(f"createTTL, flags {flags}, ttl {ttl_ms}", flags, ttl_ms) for flags in FLAGS for ttl_ms in (TTL_MS, 0)])
def of_create_ttl(scene, flags, ttl_ms):
    check_alone(scene, lambda path: wire.create_ttl(path, ttl_ms, flags=flags), flags, ttl_alone(flags, ttl_ms))


@table(FEATURE, [(f"createTTL in a multi, flags {flags}, ttl {ttl_ms}", flags, ttl_ms) for flags in FLAGS for ttl_ms in (TTL_MS, 0, -1)])
def of_create_ttl_in_multi(scene, flags, ttl_ms):
    check_in_multi(scene, lambda path: wire.create_ttl(path, ttl_ms, flags=flags), flags, ttl_in_multi(flags, ttl_ms))


def every_kind(base):
    """Yields a path, the request that creates a znode there, whether it goes in a multi, and the outcome."""
    for flags in range(7):
        for name, op in CREATES.items():
            for multi, outcome in ((False, alone(op, flags)), (True, in_multi(op, flags))):
                path = f"{base}/{name}-{multi}-{flags}-"
                yield path, wire.create(path, flags=flags, op=op), multi, outcome
        for ttl_ms in (1, TTL_MS):
            for multi, outcome in ((False, ttl_alone(flags, ttl_ms)), (True, ttl_in_multi(flags, ttl_ms))):
                path = f"{base}/ttl-{ttl_ms}-{multi}-{flags}-"
                yield path, wire.create_ttl(path, ttl_ms, flags=flags), multi, outcome


@case(FEATURE, "what is reaped, and what not")
def reaped(scene):
    client, base = scene.client(), scene.base
    short, other, parents = set(), set(), []
    for path, request, multi, outcome in every_kind(base):
        if outcome.err:
            continue
        reply = client.ok(wire.multi(request) if multi else request)
        made = wire.read_multi(reply.body)[0][2] if multi else wire.Reader(reply.body).ustring()
        made = made if isinstance(made, str) else made[0]
        if outcome.kind in ("persistent", "container"):
            parents.append(made)
        goes = outcome.kind == "container" or outcome.kind == "TTL" and "ttl-1-" in path
        (short if goes else other).add(made[len(base) + 1 :])
    scene.settle()
    for made in parents:
        client.ok(wire.create(made + "/child"))
        client.ok(wire.delete(made + "/child"))
    eventually(lambda: not short & set(client.names(base)), "deletion of containers and short-lived znodes")
    look_again(client, base + "/last")
    equal(set(client.names(base)), other, "what stays")


def look_again(client, path):
    """Waits until a complete pass of the reaper over the tree has begun and ended."""
    for number in range(2):
        client.ok(wire.create_container(f"{path}{number}"))
        client.ok(wire.create(f"{path}{number}/child"))
        client.ok(wire.delete(f"{path}{number}/child"))
        eventually(lambda: client.missing(f"{path}{number}"), "deletion of a container")


@table(FEATURE, [(f"a child of a createContainer in the same multi, flags {flags}", flags) for flags in range(5)])
def child_in_multi(scene, flags):
    # ZooKeeper: until a znode is applied, it has the owner that the flags say.
    client, base = scene.client(), scene.base
    path = path_of(base, flags)
    below, ephemeral = wire.create(path + "/x"), flags in EPHEMERAL
    reply = client.ok(wire.multi(wire.create_container(base + "/n-", flags=flags), wire.set_data(path, b"1"), below))
    results = [(kind, err) for kind, err, _ in wire.read_multi(reply.body)]
    if ephemeral:
        equal(results, [(-1, 0), (-1, 0), (-1, Err.NO_CHILDREN_FOR_EPHEMERALS)], "results")
        client.ok(wire.create_container(base + "/n-", flags=flags))
    else:
        equal(results, [(Op.CREATE2, 0), (Op.SET_DATA, 0), (Op.CREATE, 0)], "results")
    client.settle()
    path = path_of(base, flags)
    client.ok(wire.create(path + "/y"))
    equal(client.names(path), ["y"] if ephemeral else ["x", "y"], "children")


@case(FEATURE, "a createContainer with the flags of an ephemeral, deleted and made anew in the same multi")
def anew_in_multi(scene):
    client, path = scene.client(), scene.base + "/c"
    container = wire.create_container(path, flags=1)
    for again in (wire.create(path), wire.create_container(path)):
        reply = client.ok(wire.multi(container, wire.delete(path), again, wire.create(path + "/x")))
        equal([err for _, err, _ in wire.read_multi(reply.body)], [0] * 4, "results")
        client.ok(wire.multi(wire.delete(path + "/x"), wire.delete(path)))


@case(FEATURE, "a createContainer with the flags of an ephemeral outlives its session")
def outlives(scene):
    client, other, path = scene.client(), scene.client(), scene.base + "/c"
    client.ok(wire.create_container(path, flags=1))
    client.ok(wire.get_ephemerals(scene.base), wire.vector([]))
    client.end_session()
    equal(other.stat(path).ephemeral_owner, 0, "ephemeralOwner")
