"""checkWatches and removeWatches: every watch kind against every type. Source: DataTree.containsWatcher, removeWatch."""

import wire
from harness import case, equal, table
from wire import Err, Watcher

WATCHES = {
    "data": lambda path: wire.get_data(path, True),
    "exists": lambda path: wire.exists(path, True),
    "child": lambda path: wire.get_children(path, True),
    "persistent": lambda path: wire.add_watch(path, wire.PERSISTENT_WATCH),
    "recursive": lambda path: wire.add_watch(path, wire.RECURSIVE_WATCH),
}
MATCHES = {
    "data": {Watcher.DATA, Watcher.ANY},
    "exists": {Watcher.DATA, Watcher.ANY},
    "child": {Watcher.CHILDREN, Watcher.ANY},
    "persistent": {Watcher.PERSISTENT, Watcher.ANY},
    "recursive": {Watcher.RECURSIVE, Watcher.ANY},
}
# Number of events that each kind of watcher gets from a data change plus a new child.
TOLD = {"data": 1, "exists": 1, "child": 1, "persistent": 2, "recursive": 2}


@table("checkWatches", [(f"{watch} by {kind.name}", watch, kind) for watch in WATCHES for kind in Watcher])
def check(scene, watch, kind):
    client, path = scene.client(), scene.base
    client.ok(WATCHES[watch](path))
    if kind in MATCHES[watch]:
        client.ok(wire.check_watches(path, kind), b"", step=0)
    else:
        client.fails(wire.check_watches(path, kind), Err.NO_WATCHER, step=0)
    client.quiet()


@table("removeWatches", [(f"{watch} by {kind.name}", watch, kind) for watch in WATCHES for kind in Watcher])
def remove(scene, watch, kind):
    client, path = scene.client(), scene.base
    client.ok(WATCHES[watch](path))
    if kind in MATCHES[watch]:
        client.ok(wire.remove_watches(path, kind), b"", step=0)
        client.fails(wire.remove_watches(path, kind), Err.NO_WATCHER, step=0)
    else:
        client.fails(wire.remove_watches(path, kind), Err.NO_WATCHER, step=0)
    client.quiet()
    client.ok(wire.set_data(path, b""))
    client.ok(wire.create(path + "/c"))
    equal(len(client.settle()), 0 if kind in MATCHES[watch] else TOLD[watch], "events afterwards")


@table("removeWatches", [(f"all kinds set, one removed: {kind.name}", kind) for kind in Watcher])
def mixed(scene, kind):
    client, path = scene.client(), scene.base
    for watch in WATCHES.values():
        client.ok(watch(path))
    client.ok(wire.remove_watches(path, kind))
    for other in Watcher:
        gone = kind == Watcher.ANY or other == kind
        if gone:
            client.fails(wire.check_watches(path, other), Err.NO_WATCHER)
        else:
            client.ok(wire.check_watches(path, other))


@table("removeWatches", [(f"type {kind} is malformed", kind) for kind in (-1, 0, 6, 9)])
def bad_type(scene, kind):
    client = scene.client()
    client.fails(wire.remove_watches("/", kind), Err.MARSHALLING, step=0)
    client.fails(wire.check_watches("/", kind), Err.MARSHALLING, step=0)


@case("removeWatches", "only at the exact path, only one's own")
def exact(scene):
    client, other, path = scene.client(), scene.client(), scene.base
    client.ok(wire.add_watch(path, wire.RECURSIVE_WATCH))
    for asked in (path + "/", path + "/child", "/"):
        client.fails(wire.remove_watches(asked, Watcher.ANY), Err.NO_WATCHER)
    other.fails(wire.remove_watches(path, Watcher.ANY), Err.NO_WATCHER)
    client.ok(wire.remove_watches(path, Watcher.ANY))


@case("removeWatches", "a watch that fired is gone")
def fired(scene):
    client, path = scene.client(), scene.base
    client.ok(wire.get_data(path, True))
    client.ok(wire.set_data(path, b""))
    client.fails(wire.remove_watches(path, Watcher.DATA), Err.NO_WATCHER)


@case("removeWatches", "a watch on a znode that does not exist")
def missing(scene):
    client, path = scene.client(), scene.base + "/none"
    client.fails(wire.exists(path, True), Err.NO_NODE)
    client.ok(wire.check_watches(path, Watcher.DATA))
    client.ok(wire.remove_watches(path, Watcher.DATA))
    client.ok(wire.create(path))
    client.quiet()
