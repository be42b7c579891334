"""Local sessions, which only one server knows. Source: UpgradeableSessionTracker, QuorumZooKeeperServer#checkUpgradeSession.

A single server has no other kind of session: there the same requests show ordinary sessions. The servers' configuration says whether
a local session may become a global one; the cases read it there.
"""

import os
import sys
from pathlib import Path

import harness
import wire
from connection import parse_address
from harness import SERVERS, Client, case, equal, eventually, sees_what_was_under_way, table
from server import four_letter_word
from wire import Err, Flags

LOCAL = SERVERS > 1
ALL = [parse_address(address) for address in os.environ["ZK_CONNECT_ALL"].split(",")]
UPGRADING = "localSessionsUpgradingEnabled=true" in (Path(os.environ["ZK_CTL"]).parent / "server-1" / "zoo.cfg").read_text()
FEATURE = "local sessions"


def ephemeral(path, data=b""):
    return wire.create(path, data, flags=Flags.EPHEMERAL)


def at_another(scene, session=0, password=bytes(16)):
    """Returns a client of another server, and that server's answer to a handshake with this session."""
    other = Client(next(address for address in ALL if address != scene.address))
    scene.clients.append(other)
    return other, other.handshake(session=session, password=password, timeout_ms=10_000)


def resumed(scene, client):
    """Returns whether the client's server still knows the session. Asks on a new connection, which then has the session."""
    again = scene.connection()
    answer = again.handshake(session=client.session, password=client.password, timeout_ms=10_000)
    return answer.session == client.session and answer.timeout_ms > 0


def owner(client, path):
    return client.stat(path).ephemeral_owner


def figures(address):
    lines = (line.split("\t") for line in four_letter_word(address[1], "mntr").splitlines())
    return {line[0]: line[1] for line in lines if len(line) == 2}


@case(FEATURE, "begin, end and live without a zxid")
def without_zxid(scene):
    path, writer = f"{scene.base}/a", scene.client()
    writer.writes(wire.create(path))
    client = scene.client()
    writer.ok(wire.set_data(path, b""), step=1 if LOCAL else 2)
    equal(client.ok(wire.CLOSE, b"").zxid, writer.last_zxid + (0 if LOCAL else 1), "zxid of closeSession")
    writer.ok(wire.set_data(path, b""), step=1 if LOCAL else 2)
    assert client.is_closed() is None


@case(FEATURE, "are unknown to other servers")
def unknown_elsewhere(scene):
    if not LOCAL:
        return
    client = scene.client()
    _, answer = at_another(scene, client.session, client.password)
    equal((answer.session, answer.timeout_ms, answer.password), (0, 0, bytes(16)), "answer of another server")
    client.ok(wire.exists("/"))
    assert resumed(scene, client)


@case(FEATURE, "go on at their server")
def resume(scene):
    client = scene.client()
    assert resumed(scene, client)
    client.is_closed()


@case(FEATURE, "see what they had under way when they come back")
def under_way(scene):
    sees_what_was_under_way(scene)


@case(FEATURE, "do not go on with another password")
def password(scene):
    client = scene.client()
    again = scene.connection()
    answer = again.handshake(session=client.session, password=bytes(16), timeout_ms=10_000)
    equal((answer.session, answer.timeout_ms), (0, 0), "answer")
    again.is_closed()
    assert resumed(scene, client)


@case(FEATURE, "write like others")
def writes(scene):
    path, client = f"{scene.base}/a", scene.client()
    client.writes(wire.create(path))
    client.writes(wire.set_data(path, b"1"))
    client.refused(wire.set_data(path, b"1", 7), Err.BAD_VERSION)
    client.refused(wire.create(path), Err.NODE_EXISTS)
    client.writes(wire.set_acl(path, wire.OPEN))
    client.writes(wire.create_container(f"{path}/c"))
    client.writes(wire.create_ttl(f"{path}/t", 100_000))
    client.writes(wire.create(f"{path}/s-", flags=Flags.PERSISTENT_SEQUENTIAL))
    client.writes(wire.multi(wire.create(f"{path}/m"), wire.check(path, 1), wire.delete(f"{path}/m")))
    client.ok(wire.sync(path))
    client.writes(wire.delete(f"{path}/c"))
    if LOCAL:
        _, answer = at_another(scene, client.session, client.password)
        equal(answer.session, 0, "session at another server")


@case(FEATURE, "watch like others")
def watches(scene):
    path, client, writer = f"{scene.base}/a", scene.client(), scene.client()
    writer.writes(wire.create(path))
    client.ok(wire.get_data(path, True))
    reply = writer.writes(wire.set_data(path, b"1"))
    eventually(lambda: client.settle() or client.events, "event")
    equal(writer.last_zxid, reply.zxid, "zxid")


@case(FEATURE, "expire at their server")
def expire(scene):
    path, watcher = f"{scene.base}/a", scene.client()
    client = scene.client(timeout_ms=1000)
    before = watcher.ok(wire.create(path)).zxid
    client.is_closed(wait_s=6.0)
    assert not resumed(scene, client)
    watcher.ok(wire.set_data(path, b""), step=1 if LOCAL else 2)
    assert watcher.last_zxid > before


@table(FEATURE, [
    ("create", lambda path: ephemeral(path)),
    ("create of a sequence", lambda path: wire.create(path, flags=Flags.EPHEMERAL_SEQUENTIAL)),
    ("create2", lambda path: wire.create2(path, flags=Flags.EPHEMERAL)),
    ("multi", lambda path: wire.multi(wire.create(f"{path}-p"), ephemeral(path))),
])
def first_ephemeral(scene, request):
    path, client = f"{scene.base}/e", scene.client()
    if LOCAL and not UPGRADING:
        return
    client.ok(request(path), step=2 if LOCAL else 1)
    name = next(name for name in client.names(scene.base) if not name.endswith("-p"))
    equal(owner(client, f"{scene.base}/{name}"), client.session, "ephemeralOwner")
    # From now on it is an ordinary global session.
    client.writes(ephemeral(f"{path}-2"))
    if LOCAL:
        other, answer = at_another(scene, client.session, client.password)
        equal(answer.session, client.session, "session at another server")
        client = other
    writer = scene.client()
    writer.ok(wire.create(f"{path}-3"))
    client.ok(wire.CLOSE, b"", step=None)
    scene.settle()
    assert writer.missing(f"{path}-2")


@case(FEATURE, "an ephemeral that cannot be makes them everybody's, too")
def failed_ephemeral(scene):
    path, client = f"{scene.base}/e", scene.client()
    if LOCAL and not UPGRADING:
        return
    client.writes(wire.create(path))
    client.fails(ephemeral(path), Err.NODE_EXISTS, step=2 if LOCAL else 1)
    client.refused(ephemeral(path), Err.NODE_EXISTS)


@case(FEATURE, "ephemerals behind each other")
def pipelined(scene):
    path, client = f"{scene.base}/e", scene.client()
    if LOCAL and not UPGRADING:
        return
    client.ok(wire.exists(scene.base))
    before = client.last_zxid
    xids = [client.send(ephemeral(f"{path}-{number}")) for number in range(5)]
    replies = [client.receive_reply() for _ in xids]
    equal([reply.xid for reply in replies], xids, "order")
    equal([reply.err for reply in replies], [0] * 5, "errors")
    equal(replies[-1].zxid - before, 6 if LOCAL else 5, "zxids")


@case(FEATURE, "ephemerals are refused where they stay local")
def refused(scene):
    if not LOCAL or UPGRADING:
        return
    path, client = f"{scene.base}/e", scene.client()
    client.refused(ephemeral(path), Err.EPHEMERAL_ON_LOCAL_SESSION)
    client.refused(wire.create2(path, flags=Flags.EPHEMERAL), Err.EPHEMERAL_ON_LOCAL_SESSION)
    client.refused(wire.create("/nowhere/e", flags=Flags.EPHEMERAL), Err.EPHEMERAL_ON_LOCAL_SESSION)
    assert client.missing(path)
    client.writes(wire.create(path))


@case(FEATURE, "ephemerals in a multi are refused where they stay local")
def refused_multi(scene):
    if not LOCAL or UPGRADING:
        return
    path, client = f"{scene.base}/e", scene.client()
    reply = client.ok(wire.multi(wire.create(path), ephemeral(f"{path}-2"), wire.delete(path)), step=1)
    # ZooKeeper: here the error comes from the leader, which does not know the session.
    codes = [code for _, code, _ in wire.read_multi(reply.body)]
    equal(codes, [0, Err.SESSION_EXPIRED, Err.RUNTIME_INCONSISTENCY], "results")
    assert client.missing(path)


@case(FEATURE, "createContainer with the flags of an ephemeral is for everybody's sessions only")
def container_with_flags(scene):
    path, client = f"{scene.base}/c", scene.client()
    for flags in (Flags.EPHEMERAL, Flags.EPHEMERAL_SEQUENTIAL):
        container = wire.create_container(path, flags=flags)
        if LOCAL:
            # ZooKeeper does not upgrade a session for this request, and the leader does not know the session.
            client.fails(container, Err.SESSION_EXPIRED)
            reply = client.ok(wire.multi(wire.check(scene.base, -1), container))
            equal([code for _, code, _ in wire.read_multi(reply.body)], [0, Err.SESSION_EXPIRED], "results")
        else:
            client.ok(container)
    if LOCAL:
        equal(client.names(scene.base), [], "children")
        _, answer = at_another(scene, client.session, client.password)
        equal(answer.session, 0, "session at another server")


@case(FEATURE, "createTTL with the flags of an ephemeral makes one in a multi")
def ttl_with_flags(scene):
    path, client = f"{scene.base}/t", scene.client()
    reply = client.ok(wire.multi(wire.create_ttl(path, 5, flags=Flags.EPHEMERAL)))
    refused = LOCAL and not UPGRADING
    equal([code for _, code, _ in wire.read_multi(reply.body)], [Err.SESSION_EXPIRED if refused else 0], "results")
    if not refused:
        equal(owner(client, path), client.session, "ephemeralOwner")


@case(FEATURE, "mntr and dump count them apart")
def counted(scene):
    before = figures(scene.address)
    clients = [scene.client() for _ in range(3)]
    eventually(lambda: int(figures(scene.address)["zk_local_sessions" if LOCAL else "zk_global_sessions"])
               == int(before["zk_local_sessions" if LOCAL else "zk_global_sessions"]) + 3, "three more")
    if LOCAL:
        equal(figures(scene.address)["zk_global_sessions"], before["zk_global_sessions"], "zk_global_sessions")
    dump = four_letter_word(scene.address[1], "dump")
    parts = [line for line in dump.splitlines() if line.startswith(("Local ", "Global ", "Session Sets"))]
    names = ["Local Session Sets", "Global Sessions"] if LOCAL else ["Session Sets"]
    equal([part.partition("(")[0].strip() for part in parts], names, "headings")
    for client in clients:
        assert f"0x{client.session:x}" in dump, dump


if __name__ == "__main__":
    sys.exit(harness.run(sys.argv[1:]))
