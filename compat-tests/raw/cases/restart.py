"""State that survives a restart: everything acknowledged, and sessions. Source: ZooKeeperServer.loadData."""

import time

import wire
from connection import Closed
from harness import Client, case, equal, event
from wire import ACL, Event

FEATURE = "restart"


def write_everything(client, base):
    """Writes one of each kind of state; returns the Stats to find again."""
    client.ok(wire.create(base + "/null", None))
    client.ok(wire.create(base + "/data", b"1"))
    client.ok(wire.set_data(base + "/data", b"22"))
    client.ok(wire.set_acl(base + "/data", [ACL(31, "world", "anyone"), ACL(1, "digest", "u:h")]))
    client.ok(wire.create(base + "/n-", flags=2))
    client.ok(wire.create(base + "/n-", flags=2))
    client.ok(wire.delete(base + "/n-0000000002"))
    client.ok(wire.create(base + "/e", flags=1))
    client.ok(wire.create_container(base + "/c"))
    # Ephemeral only until it is applied: after that, and when the log is replayed, it may have children.
    client.ok(wire.create_container(base + "/c/f", flags=1))
    client.ok(wire.create(base + "/c/f/x"))
    client.ok(wire.create_ttl(base + "/t", 600_000))
    client.ok(wire.multi(wire.create(base + "/m", b"m"), wire.set_data(base, b"top")))
    return {path: client.stat(path) for path in (base, *(f"{base}/{name}" for name in client.names(base)))}


def resume(scene, client):
    again = scene.connection()
    answer = again.handshake(session=client.session, password=client.password, last_zxid=client.last_zxid)
    equal((answer.session, answer.password), (client.session, client.password), "session")
    return again


def survives(scene, *verbs):
    client, base = scene.client(), scene.base
    stats = write_everything(client, base)
    for verb in verbs:
        scene.ctl(verb)
    again = resume(scene, client)
    equal({path: again.stat(path) for path in stats}, stats, "Stats")
    equal(again.names(base), sorted(path[len(base) + 1 :] for path in stats if path != base), "children")
    equal(again.names(base + "/c/f"), ["x"], "children of a container")
    equal(again.data(base + "/null"), None, "null data")
    equal(again.acl(base + "/data"), [ACL(31, "world", "anyone"), ACL(1, "digest", "u:h")], "ACL")
    assert again.ok(wire.create(base + "/n-", flags=2), wire.ustring(base + "/n-0000000008")).zxid > client.last_zxid
    again.end_session()
    other = scene.client()
    assert other.missing(base + "/e"), "the ephemeral outlived its session"


@case(FEATURE, "tree, sessions, ephemerals and counters survive a restart")
def after_restart(scene):
    survives(scene, "restart")


@case(FEATURE, "and kill -9")
def after_kill(scene):
    survives(scene, "kill9", "start")


@case(FEATURE, "acknowledged writes of a pipelining client survive kill -9")
def pipelined(scene):
    client, base = scene.client(), scene.base
    for _ in range(2000):
        client.send(wire.create(base + "/n-", flags=2))
    acknowledged = [wire.Reader(client.receive_reply().body).ustring() for _ in range(500)]
    scene.ctl("kill9")
    scene.ctl("start")
    again = resume(scene, client)
    names = set(again.names(base))
    lost = [path for path in acknowledged if path[len(base) + 1 :] not in names]
    equal(lost, [], "lost writes")
    stat = again.stat(base)
    equal((len(names), stat.cversion), (stat.num_children, stat.num_children), "children and cversion")


@case(FEATURE, "connections are closed, watches gone, setWatches restores them")
def watches(scene):
    client, path = scene.client(), scene.base
    client.ok(wire.get_data(path, True))
    scene.ctl("restart")
    client.is_closed()
    again = resume(scene, client)
    again.ok(wire.set_watches(client.last_zxid, data=[path]))
    again.quiet()
    zxid = again.ok(wire.set_data(path, b"x")).zxid
    equal(again.take_events(), [event(Event.DATA_CHANGED, path, zxid)], "events")


@case(FEATURE, "a closed session stays closed, an expired one's ephemeral stays gone")
def closed(scene):
    client, path = scene.client(), scene.base + "/e"
    client.ok(wire.create(path, flags=1))
    client.end_session()
    scene.ctl("restart")
    late = scene.connection()
    equal(late.handshake(session=client.session, password=client.password).session, 0, "session")
    client.session = 0
    assert scene.client().missing(path)


@case(FEATURE, "a session nobody resumes expires after its full timeout anew")
def abandoned(scene):
    client, path = scene.client(timeout_ms=3000), scene.base + "/e"
    client.ok(wire.create(path, flags=1))
    time.sleep(1.0)
    started = time.monotonic()
    scene.ctl("restart")
    other = scene.client()
    other.ok(wire.exists(path, True))
    equal(other.receive(12.0).type, Event.DELETED, "event")
    elapsed = time.monotonic() - started
    assert elapsed >= 3.0, f"expired {elapsed:.3f} s after the restart began"
    client.session = 0


@case(FEATURE, "refuses connections while stopped")
def stopped(scene):
    scene.ctl("stop")
    try:
        Client(scene.address).handshake()
        refused = False
    except (OSError, Closed):
        refused = True
    finally:
        scene.ctl("start")
    assert refused, "a handshake succeeded while the server was stopped"
    scene.client()


@case(FEATURE, "a short pause costs nothing")
def paused(scene):
    client, path = scene.client(), scene.base
    client.ok(wire.get_data(path, True))
    scene.ctl("pause")
    try:
        xid = client.send(wire.set_data(path, b"x"))
        time.sleep(0.3)
    finally:
        scene.ctl("resume")
    equal(client.receive_reply().xid, xid, "xid")
    equal(len(client.take_events()), 1, "events")
