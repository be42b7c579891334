"""Containers and TTL znodes that the server deletes. Source: ContainerManager. The check runs every second."""

import time

import wire
from harness import case, equal, eventually
from wire import Event

FEATURE = "container and TTL"


@case(FEATURE, "a container goes once its last child is gone, with events; a never used one stays")
def container(scene):
    client, base = scene.client(), scene.base
    client.ok(wire.create_container(base + "/used"))
    client.ok(wire.create_container(base + "/unused"))
    client.ok(wire.create(base + "/used/c"))
    client.ok(wire.add_watch(base + "/used", wire.PERSISTENT_WATCH))
    time.sleep(1.3)
    client.stat(base + "/used")
    client.ok(wire.delete(base + "/used/c"))
    client.settle()
    eventually(lambda: client.missing(base + "/used"), "the container's deletion")
    events = client.take_events()
    equal([(item.type, item.path) for item in events], [(Event.DELETED, base + "/used")], "events")
    stat = client.stat(base)
    equal((stat.pzxid, stat.num_children), (events[0].zxid, 1), "pzxid and numChildren of the parent")


@case(FEATURE, "a TTL znode goes after its time; children and setData keep it")
def ttl(scene):
    client, base = scene.client(), scene.base
    started = time.monotonic()
    for name in ("plain", "touched", "parent"):
        client.ok(wire.create_ttl(f"{base}/{name}", 1200))
    client.ok(wire.create(base + "/parent/child"))
    time.sleep(0.9)
    client.ok(wire.set_data(base + "/touched", b""))
    touched = time.monotonic()
    eventually(lambda: client.missing(base + "/plain"), "deletion of the plain one")
    assert time.monotonic() - started >= 1.15, "gone before its time"
    eventually(lambda: client.missing(base + "/touched"), "deletion of the touched one")
    assert time.monotonic() - touched >= 1.15, "touched one gone before its time"
    equal(client.names(base), ["parent"], "children left")
    client.ok(wire.delete(base + "/parent/child"))
    eventually(lambda: client.missing(base + "/parent"), "deletion of the parent")
