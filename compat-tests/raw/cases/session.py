"""Sessions: take-over, expiry, close. Source: SessionTrackerImpl, ExpiryQueue, ZooKeeperServer.processConnectRequest."""

import time

import wire
from connection import Closed
from harness import case, equal, eventually, sees_what_was_under_way
from wire import Event

FEATURE = "session"
TICK_S = 0.5
TIMEOUT_MS = 1000
# Expiry comes between the timeout and one tick later, plus delays of a busy machine. The bound detects a session that never ends.
LATE_S = TICK_S + 15


def expected_death(started):
    """Checks that a session of TIMEOUT_MS, last renewed after `started`, ended just now, in due time."""
    elapsed = time.monotonic() - started
    assert elapsed >= TIMEOUT_MS / 1000, f"expired after {elapsed:.3f} s already"
    assert elapsed <= TIMEOUT_MS / 1000 + LATE_S, f"expired only after {elapsed:.3f} s"


@case(FEATURE, "resuming closes the older connection")
def take_over(scene):
    client = scene.client()
    again = scene.connection()
    equal(again.handshake(session=client.session, password=client.password).session, client.session, "session")
    client.is_closed()
    again.ok(wire.PING)


@case(FEATURE, "even with a wrong password")
def take_over_wrong(scene):
    client = scene.client()
    thief = scene.connection()
    equal(thief.handshake(session=client.session, password=bytes(16)).session, 0, "session")
    client.is_closed()
    again = scene.connection()
    equal(again.handshake(session=client.session, password=client.password).session, client.session, "session")


@case(FEATURE, "one that comes back sees what it had under way")
def under_way(scene):
    sees_what_was_under_way(scene)


@case(FEATURE, "ephemerals survive a lost connection")
def ephemeral_survives(scene):
    client, other, path = scene.client(), scene.client(), scene.base + "/e"
    client.ok(wire.create(path, flags=1))
    client.close()
    equal(other.stat(path).ephemeral_owner, client.session, "ephemeralOwner")
    again = scene.connection()
    again.handshake(session=client.session, password=client.password)
    equal(again.stat(path).ephemeral_owner, client.session, "ephemeralOwner")


@case(FEATURE, "a silent one expires in due time: ephemeral gone, events, connection closed without a frame")
def expiry(scene):
    silent, other, base = scene.client(timeout_ms=TIMEOUT_MS), scene.client(), scene.base
    other.ok(wire.add_watch(base, wire.PERSISTENT_WATCH))
    started = time.monotonic()
    silent.ok(wire.create(base + "/e", flags=1))
    other.settle()
    event = other.receive(8.0)
    expected_death(started)
    equal((event.type, event.path), (Event.CHILDREN_CHANGED, base), "event")
    silent.is_closed()
    assert other.missing(base + "/e")
    equal(other.stat(base).pzxid, event.zxid, "pzxid of the parent")
    late = scene.connection()
    equal(late.handshake(session=silent.session, password=silent.password).session, 0, "session afterwards")
    silent.session = 0


@case(FEATURE, "one whose connection is lost expires in due time")
def expiry_disconnected(scene):
    gone, other, path = scene.client(timeout_ms=TIMEOUT_MS), scene.client(), scene.base + "/e"
    started = time.monotonic()
    gone.ok(wire.create(path, flags=1))
    other.ok(wire.exists(path, True))
    gone.close()
    equal(other.receive(8.0).type, Event.DELETED, "event")
    expected_death(started)
    gone.session = 0


@case(FEATURE, "any request keeps it alive: pings, reads, failures")
def kept_alive(scene):
    client, path = scene.client(timeout_ms=TIMEOUT_MS), scene.base + "/e"
    client.ok(wire.create(path, flags=1))
    for request in (wire.PING, wire.exists("/none"), wire.get_data("/"), wire.set_data("/none", b""), wire.sync("/")):
        time.sleep(0.6)
        client.ask(request)
    equal(client.stat(path).ephemeral_owner, client.session, "ephemeralOwner")


@case(FEATURE, "pings keep it alive while answers wait to be read")
def kept_alive_unread(scene):
    client, path, count = scene.client(timeout_ms=TIMEOUT_MS), scene.base, 60
    client.ok(wire.set_data(path, bytes(900_000)))
    # The replies are larger than what the buffers of two sockets hold.
    xids = [client.send(wire.get_data(path)) for _ in range(count)]
    pings = 15
    for _ in range(pings):
        time.sleep(0.3)
        client.send(wire.PING, wire.XID_PING)
    equal([client.receive_reply().xid for _ in range(count + pings)], xids + [wire.XID_PING] * pings, "answers")


@case(FEATURE, "resuming with a longer timeout counts from then on")
def longer(scene):
    client, path = scene.client(timeout_ms=TIMEOUT_MS), scene.base + "/e"
    client.ok(wire.create(path, flags=1))
    # ZooKeeper: twice a tick a follower reports active sessions to the leader, with their timeouts at that moment. The report with
    # the old timeout must not come after the session has resumed.
    time.sleep(0.4)
    again = scene.connection()
    again.handshake(session=client.session, password=client.password, timeout_ms=8000)
    time.sleep(2.2)
    equal(again.stat(path).ephemeral_owner, client.session, "ephemeralOwner")


@case(FEATURE, "auth does not keep it alive")
def auth_does_not(scene):
    client = scene.client(timeout_ms=TIMEOUT_MS)
    ended = False
    for _ in range(12):
        time.sleep(0.3)
        try:
            client.ask(wire.auth("digest", "bob:pw"), xid=wire.XID_AUTH)
        except (OSError, Closed):
            ended = True
            break
    assert ended, "alive after 3.6 s of auth packets"
    client.session = 0


@case(FEATURE, "close removes ephemerals before it answers")
def close(scene):
    client, other, path = scene.client(), scene.client(), scene.base + "/e"
    client.ok(wire.create(path, flags=1))
    client.end_session()
    client.session = 0
    assert other.missing(path)


@case(FEATURE, "requests after close are not carried out")
def after_close(scene):
    client, path = scene.client(), scene.base + "/late"
    client.send(wire.CLOSE)
    late = client.send(wire.create(path))
    equal(client.receive_reply().err, 0, "close reply")
    client.is_closed_refusing(late)
    client.session = 0
    assert scene.client().missing(path)


@case(FEATURE, "ephemerals of a deleted znode's owner: only its own remain listed")
def deleted_by_other(scene):
    owner, other, path = scene.client(), scene.client(), scene.base + "/e"
    owner.ok(wire.create(path, flags=1))
    other.ok(wire.delete(path))
    other.ok(wire.create(path))
    owner.end_session()
    owner.session = 0
    equal(other.stat(path).ephemeral_owner, 0, "ephemeralOwner")


@case(FEATURE, "200 of them at once")
def many(scene):
    clients, base = [scene.client() for _ in range(200)], scene.base
    equal(len({client.session for client in clients}), 200, "distinct ids")
    for number, client in enumerate(clients):
        client.ok(wire.create(f"{base}/{number}", flags=1))
    watcher = scene.client()
    equal(len(watcher.names(base)), 200, "children")
    for client in clients:
        client.end_session()
        client.session = 0
    eventually(lambda: watcher.names(base) == [], "ephemerals to vanish")
