"""Watches of single operations, and the watch recipes: the events, their number and their order."""

import time

from kazoo.recipe.cache import TreeCache, TreeEvent
from kazoo.recipe.watchers import PatientChildrenWatch

from cases import case, equal, eventually, raises
from kazoo.exceptions import NoNodeError
from scope import drop_socket

# Long enough for an unwanted event to arrive.
QUIET_S = 0.3


def seen(events):
    return [(event.type, event.path) for event in events]


@case("watches")
def data_watch_fires_once(t):
    events = []
    t.zk.create("/a")
    t.zk.get("/a", watch=events.append)
    t.zk.set("/a", b"1")
    t.zk.set("/a", b"2")
    eventually(lambda: events)
    time.sleep(QUIET_S)
    equal(seen(events), [("CHANGED", "/a")])
    equal(events[0].state, "CONNECTED")


@case("watches")
def data_watch_on_delete(t):
    events = []
    t.zk.create("/a")
    t.zk.get("/a", watch=events.append)
    t.zk.delete("/a")
    eventually(lambda: events)
    equal(seen(events), [("DELETED", "/a")])


@case("watches")
def exists_watch_on_create_change_and_delete(t):
    events = []
    equal(t.zk.exists("/a", watch=events.append), None)
    t.zk.create("/a")
    eventually(lambda: len(events) == 1)
    t.zk.exists("/a", watch=events.append)
    t.zk.set("/a", b"x")
    eventually(lambda: len(events) == 2)
    t.zk.exists("/a", watch=events.append)
    t.zk.delete("/a")
    eventually(lambda: len(events) == 3)
    equal(seen(events), [("CREATED", "/a"), ("CHANGED", "/a"), ("DELETED", "/a")])


@case("watches")
def failed_get_leaves_no_watch(t):
    events = []
    raises(NoNodeError, t.zk.get, "/a", watch=events.append)
    raises(NoNodeError, t.zk.get_children, "/a", watch=events.append)
    t.zk.create("/a")
    time.sleep(QUIET_S)
    equal(events, [])


@case("watches")
def child_watch(t):
    events = []
    t.zk.create("/p")
    t.zk.get_children("/p", watch=events.append)
    t.zk.set("/p", b"not for child watches")
    t.zk.create("/p/c")
    eventually(lambda: len(events) == 1)
    t.zk.get_children("/p", watch=events.append)
    t.zk.set("/p/c", b"nor this")
    t.zk.delete("/p/c")
    eventually(lambda: len(events) == 2)
    t.zk.get_children("/p", watch=events.append)
    t.zk.delete("/p")
    eventually(lambda: len(events) == 3)
    equal(seen(events), [("CHILD", "/p"), ("CHILD", "/p"), ("DELETED", "/p")])


@case("watches")
def grandchildren_do_not_fire(t):
    events = []
    t.zk.create("/p/c", makepath=True)
    t.zk.get_children("/p", watch=events.append)
    t.zk.create("/p/c/d")
    time.sleep(QUIET_S)
    equal(events, [])


@case("watches")
def events_of_one_client_follow_the_writes(t):
    events = []
    other = t.client()
    for number in range(50):
        t.zk.exists(f"/n{number}", watch=events.append)
    for number in range(50):
        other.create(f"/n{number}")
    eventually(lambda: len(events) == 50)
    equal(seen(events), [("CREATED", f"/n{number}") for number in range(50)])


@case("watches")
def transaction_fires_in_operation_order(t):
    events = []
    t.zk.create("/a")
    t.zk.create("/b")
    t.zk.get("/a", watch=events.append)
    t.zk.get("/b", watch=events.append)
    t.zk.exists("/c", watch=events.append)
    transaction = t.client().transaction()
    transaction.create("/c")
    transaction.delete("/b")
    transaction.set_data("/a", b"x")
    transaction.commit()
    eventually(lambda: len(events) == 3)
    equal(seen(events), [("CREATED", "/c"), ("DELETED", "/b"), ("CHANGED", "/a")])


@case("watches")
def failed_transaction_fires_nothing(t):
    events = []
    t.zk.create("/a")
    t.zk.get("/a", watch=events.append)
    transaction = t.zk.transaction()
    transaction.set_data("/a", b"x")
    transaction.check("/a", version=9)
    transaction.commit()
    time.sleep(QUIET_S)
    equal(events, [])


@case("watches")
def closing_session_fires_deletes(t):
    events = []
    other = t.client()
    other.create("/e1", ephemeral=True)
    other.create("/e2", ephemeral=True)
    t.zk.get("/e1", watch=events.append)
    t.zk.exists("/e2", watch=events.append)
    t.zk.get_children("/", watch=events.append)
    other.stop()
    eventually(lambda: len(events) == 3)
    equal(sorted(seen(events)), [("CHILD", "/"), ("DELETED", "/e1"), ("DELETED", "/e2")])


@case("DataWatch")
def follows_create_change_and_delete(t):
    calls = []

    @t.zk.DataWatch("/a")
    def changed(data, stat, event):
        calls.append((data, stat and stat.version, event and event.type))

    equal(calls, [(None, None, None)])
    for step in (lambda: t.zk.create("/a", b"0"), lambda: t.zk.set("/a", b"1"), lambda: t.zk.delete("/a"), lambda: t.zk.create("/a", b"2")):
        count = len(calls)
        step()
        eventually(lambda: len(calls) > count)
    equal(calls[1:], [(b"0", 0, "CREATED"), (b"1", 1, "CHANGED"), (None, None, "DELETED"), (b"2", 0, "CREATED")])


@case("DataWatch")
def stops_when_told(t):
    calls = []
    t.zk.create("/a", b"0")

    @t.zk.DataWatch("/a")
    def changed(data, stat):
        calls.append(data)
        return len(calls) < 2

    t.zk.set("/a", b"1")
    eventually(lambda: len(calls) == 2)
    t.zk.set("/a", b"2")
    time.sleep(QUIET_S)
    equal(calls, [b"0", b"1"])


@case("DataWatch")
def catches_up_after_a_dropped_connection(t):
    calls = []
    t.zk.create("/a", b"0")
    t.zk.DataWatch("/a", lambda data, stat: calls.append(data))
    drop_socket(t.zk)
    t.client().set("/a", b"1")
    eventually(lambda: calls[-1] == b"1")
    eventually(lambda: t.zk.connected)
    t.zk.retry(t.zk.set, "/a", b"2")
    eventually(lambda: calls[-1] == b"2")


@case("ChildrenWatch")
def follows_children(t):
    calls = []
    t.zk.create("/p")

    @t.zk.ChildrenWatch("/p", send_event=True)
    def changed(children, event):
        calls.append((sorted(children), event and event.type))

    equal(calls, [([], None)])
    for step in (lambda: t.zk.create("/p/a"), lambda: t.zk.create("/p/b"), lambda: t.zk.delete("/p/a")):
        count = len(calls)
        step()
        eventually(lambda: len(calls) > count)
    equal(calls[1:], [(["a"], "CHILD"), (["a", "b"], "CHILD"), (["b"], "CHILD")])


@case("ChildrenWatch")
def stops_when_its_node_is_deleted(t):
    calls = []
    t.zk.create("/p")
    t.zk.ChildrenWatch("/p", calls.append)
    t.zk.delete("/p")
    time.sleep(QUIET_S)
    t.zk.create("/p")
    t.zk.create("/p/c")
    time.sleep(QUIET_S)
    equal(calls, [[]])


@case("ChildrenWatch")
def resumes_after_a_dropped_connection(t):
    calls = []
    t.zk.create("/p")
    t.zk.ChildrenWatch("/p", lambda children: calls.append(sorted(children)))
    drop_socket(t.zk)
    t.client().create("/p/a")
    eventually(lambda: calls[-1] == ["a"])


@case("PatientChildrenWatch")
def waits_for_a_quiet_time(t):
    t.zk.create("/p")
    result = PatientChildrenWatch(t.zk, "/p", time_boundary=0.5).start()
    for number in range(4):
        t.zk.create(f"/p/{number}")
        time.sleep(0.1)
    children, asynchronous = result.get(timeout=10)
    equal(sorted(children), ["0", "1", "2", "3"])
    assert not asynchronous.ready()
    t.zk.create("/p/late")
    asynchronous.get(timeout=10)


def tree_events(cache):
    events = []
    names = {getattr(TreeEvent, name): name for name in dir(TreeEvent) if name.isupper()}

    @cache.listen
    def heard(event):
        path = getattr(event.event_data, "path", None)
        events.append((names[event.event_type], path))

    return events


@case("TreeCache")
def holds_the_subtree(t):
    t.zk.create("/r/a/b", b"deep", makepath=True)
    t.zk.create("/r/c", b"c")
    cache = TreeCache(t.zk, "/r")
    events = tree_events(cache)
    cache.start()
    eventually(lambda: ("INITIALIZED", None) in events)
    equal(sorted(cache.get_children("/r")), ["a", "c"])
    equal(cache.get_data("/r/a/b").data, b"deep")
    equal(cache.get_data("/r/a/b").stat, t.zk.exists("/r/a/b"))
    equal((cache.get_data("/r/missing"), cache.get_children("/r/c")), (None, frozenset()))
    cache.close()


@case("TreeCache")
def follows_changes(t):
    cache = TreeCache(t.zk, "/r")
    events = tree_events(cache)
    cache.start()
    eventually(lambda: ("INITIALIZED", None) in events)
    del events[:]
    other = t.client()
    steps = [
        (lambda: other.create("/r/a", b"1"), ("NODE_ADDED", "/r/a")),
        (lambda: other.create("/r/a/b", b"2"), ("NODE_ADDED", "/r/a/b")),
        (lambda: other.set("/r/a/b", b"3"), ("NODE_UPDATED", "/r/a/b")),
        (lambda: other.delete("/r/a/b"), ("NODE_REMOVED", "/r/a/b")),
        (lambda: other.delete("/r/a"), ("NODE_REMOVED", "/r/a")),
    ]
    for act, expected in steps:
        act()
        eventually(lambda: expected in events)
    equal(events, [expected for _, expected in steps])
    cache.close()


@case("TreeCache")
def recovers_after_a_dropped_connection(t):
    cache = TreeCache(t.zk, "/r")
    events = tree_events(cache)
    cache.start()
    eventually(lambda: ("INITIALIZED", None) in events)
    drop_socket(t.zk)
    other = t.client()
    other.create("/r/a", b"1")
    eventually(lambda: cache.get_data("/r/a"))
    eventually(lambda: ("CONNECTION_RECONNECTED", None) in events)
    equal(cache.get_data("/r/a").data, b"1")
    cache.close()
