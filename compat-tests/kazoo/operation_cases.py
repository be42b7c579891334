"""Single operations and transactions: their results, every Stat field, every error."""

import time

from kazoo.exceptions import (
    BadArgumentsError,
    BadVersionError,
    ConnectionLoss,
    InvalidACLError,
    NoChildrenForEphemeralsError,
    NodeExistsError,
    NoNodeError,
    NotEmptyError,
    ReconfigDisabledError,
    RolledBackError,
    RuntimeInconsistency,
)
from kazoo.security import ACL, Id

from cases import case, equal, eventually, raises
from scope import CONNECT
from server import four_letter_word


@case("operations")
def create_and_get(t):
    equal(t.zk.create("/a", b"data"), "/a")
    data, stat = t.zk.get("/a")
    equal(data, b"data")
    equal((stat.version, stat.cversion, stat.aversion), (0, 0, 0))
    equal((stat.dataLength, stat.numChildren, stat.ephemeralOwner), (4, 0, 0))
    assert stat.czxid == stat.mzxid == stat.pzxid == stat.creation_transaction_id > 0
    assert stat.ctime == stat.mtime and abs(stat.ctime / 1000 - time.time()) < 60


@case("operations")
def create_with_stat(t):
    path, stat = t.zk.create("/a", b"data", include_data=True)
    equal((path, stat), ("/a", t.zk.exists("/a")))
    path, stat = t.zk.create("/s-", b"xy", sequence=True, ephemeral=True, include_data=True)
    equal(path, "/s-0000000001")
    equal((stat.dataLength, stat.owner_session_id), (2, t.zk.client_id[0]))


@case("operations")
def create_default_data_is_empty(t):
    t.zk.create("/a")
    data, stat = t.zk.get("/a")
    equal((data, stat.data_length), (b"", 0))


@case("operations")
def create_existing(t):
    t.zk.create("/a")
    raises(NodeExistsError, t.zk.create, "/a")
    raises(NodeExistsError, t.zk.create, "/a", ephemeral=True)


@case("operations")
def create_without_parent(t):
    raises(NoNodeError, t.zk.create, "/a/b")


@case("operations")
def create_under_ephemeral(t):
    t.zk.create("/e", ephemeral=True)
    raises(NoChildrenForEphemeralsError, t.zk.create, "/e/child")


@case("operations")
def create_with_makepath(t):
    equal(t.zk.create("/a/b/c", b"deep", makepath=True), "/a/b/c")
    equal([t.zk.get(path)[0] for path in ("/a", "/a/b", "/a/b/c")], [b"", b"", b"deep"])


@case("operations")
def create_with_control_character(t):
    raises(BadArgumentsError, t.zk.create, "/a\x01b")
    raises(BadArgumentsError, t.zk.create, "/\x7fb")


@case("operations")
def create_with_empty_acl(t):
    raises(InvalidACLError, t.zk.create, "/a", acl=[ACL(31, Id("no-such-scheme", "x"))])
    raises(InvalidACLError, t.zk.create, "/a", acl=[ACL(31, Id("auth", ""))])
    equal(t.zk.exists("/a"), None)


@case("operations")
def unicode_path_and_binary_data(t):
    binary = bytes(range(256))
    t.zk.create("/žłuť-漢字-ß", binary)
    equal(t.zk.get("/žłuť-漢字-ß")[0], binary)
    equal(t.zk.get_children("/"), ["žłuť-漢字-ß"])


@case("operations")
def exists(t):
    equal(t.zk.exists("/a"), None)
    t.zk.create("/a", b"1")
    equal(t.zk.exists("/a"), t.zk.get("/a")[1])


@case("operations")
def get_missing(t):
    raises(NoNodeError, t.zk.get, "/missing")
    raises(NoNodeError, t.zk.get_children, "/missing")
    raises(NoNodeError, t.zk.get_acls, "/missing")


@case("operations")
def set_data(t):
    t.zk.create("/a", b"one")
    before = t.zk.exists("/a")
    stat = t.zk.set("/a", b"three")
    equal((stat.version, stat.cversion, stat.aversion, stat.dataLength), (1, 0, 0, 5))
    equal((stat.czxid, stat.ctime, stat.pzxid), (before.czxid, before.ctime, before.pzxid))
    assert stat.mzxid > stat.czxid and stat.mtime >= stat.ctime
    equal(t.zk.get("/a"), (b"three", stat))


@case("operations")
def set_with_version(t):
    t.zk.create("/a")
    equal(t.zk.set("/a", b"x", version=0).version, 1)
    raises(BadVersionError, t.zk.set, "/a", b"y", version=0)
    raises(BadVersionError, t.zk.set, "/a", b"y", version=7)
    equal(t.zk.set("/a", b"z", version=-1).version, 2)
    equal(t.zk.get("/a")[0], b"z")


@case("operations")
def set_missing(t):
    raises(NoNodeError, t.zk.set, "/missing", b"")
    raises(NoNodeError, t.zk.set, "/missing", b"", version=3)


@case("operations")
def set_of_same_data_counts(t):
    t.zk.create("/a", b"same")
    equal([t.zk.set("/a", b"same").version for _ in range(3)], [1, 2, 3])


@case("operations")
def delete(t):
    t.zk.create("/a")
    equal(t.zk.delete("/a"), True)
    equal(t.zk.exists("/a"), None)
    raises(NoNodeError, t.zk.delete, "/a")


@case("operations")
def delete_with_version(t):
    t.zk.create("/a")
    t.zk.set("/a", b"1")
    raises(BadVersionError, t.zk.delete, "/a", version=0)
    t.zk.delete("/a", version=1)


@case("operations")
def delete_with_children(t):
    t.zk.create("/a/b", makepath=True)
    raises(NotEmptyError, t.zk.delete, "/a")
    raises(BadVersionError, t.zk.delete, "/a", version=9)
    t.zk.delete("/a", recursive=True)
    equal(t.zk.exists("/a"), None)


@case("operations")
def children(t):
    names = [f"n{number}" for number in range(20)]
    for name in names:
        t.zk.create(f"/{name}", name.encode())
    equal(sorted(t.zk.get_children("/")), sorted(names))
    equal(t.zk.get_children("/n1"), [])
    found, stat = t.zk.get_children("/", include_data=True)
    equal((sorted(found), stat.numChildren, stat.cversion, stat.version), (sorted(names), 20, 20, 0))


@case("operations")
def parent_stat_follows_children(t):
    t.zk.create("/p")
    created = t.zk.exists("/p")
    t.zk.create("/p/a")
    t.zk.create("/p/b")
    t.zk.set("/p/a", b"not a change of the parent")
    child = t.zk.exists("/p/b")
    stat = t.zk.exists("/p")
    equal((stat.cversion, stat.numChildren, stat.pzxid, stat.mzxid), (2, 2, child.czxid, created.mzxid))
    t.zk.delete("/p/a")
    stat = t.zk.exists("/p")
    equal((stat.cversion, stat.numChildren, stat.version), (3, 1, 0))
    assert stat.pzxid > child.czxid


@case("operations")
def transaction_ids_grow(t):
    zxids = [t.zk.create(f"/n{number}", include_data=True)[1].czxid for number in range(10)]
    zxids.append(t.zk.set("/n0", b"").mzxid)
    equal(zxids, sorted(set(zxids)))
    assert t.zk.last_zxid >= zxids[-1]


@case("operations")
def ensure_path(t):
    t.zk.ensure_path("/a/b/c")
    t.zk.create("/a/b/c/d")
    t.zk.ensure_path("/a/b/c")
    equal((t.zk.get_children("/a/b"), t.zk.get_children("/a/b/c")), (["c"], ["d"]))


@case("operations")
def sync(t):
    other = t.client()
    t.zk.create("/a", b"1")
    equal(other.sync("/a"), "/a")
    equal(other.get("/a")[0], b"1")
    other.sync("/missing")


@case("operations")
def large_data(t):
    data = bytes(1000) * 1000
    t.zk.create("/big", data)
    equal(t.zk.get("/big")[0], data)


@case("operations")
def data_over_the_limit_costs_the_connection(t):
    raises(ConnectionLoss, t.zk.create, "/too-big", bytes(1100 * 1024))
    eventually(lambda: t.zk.connected)
    equal(t.zk.retry(t.zk.exists, "/too-big"), None)


@case("operations")
def pipelined_requests_are_answered_in_order(t):
    t.zk.create("/a", b"-1")
    answers = []
    pending = []
    for number in range(200):
        write = t.zk.set_async("/a", str(number).encode())
        read = t.zk.get_async("/a")
        write.rawlink(lambda result, n=number: answers.append(("set", n, result.get().version)))
        read.rawlink(lambda result, n=number: answers.append(("get", n, result.get()[0])))
        pending += [write, read]
    for result in pending:
        result.get(timeout=20)
    eventually(lambda: len(answers) == 400)
    expected = []
    for number in range(200):
        expected += [("set", number, number + 1), ("get", number, str(number).encode())]
    equal(answers, expected)


@case("operations")
def pipelined_writes_see_each_other(t):
    create = t.zk.create_async("/a")
    again = t.zk.create_async("/a")
    wrong = t.zk.delete_async("/a", version=5)
    right = t.zk.delete_async("/a", version=0)
    gone = t.zk.get_async("/a")
    equal(create.get(timeout=10), "/a")
    raises(NodeExistsError, again.get)
    raises(BadVersionError, wrong.get)
    equal(right.get(timeout=10), True)
    raises(NoNodeError, gone.get)


@case("operations")
def reconfig_is_disabled(t):
    raises(ReconfigDisabledError, t.zk.reconfig, joining=None, leaving="2", new_members=None)


@case("sequential")
def names_count_up(t):
    equal([t.zk.create("/n-", sequence=True) for _ in range(3)], [f"/n-{number:010d}" for number in range(3)])


@case("sequential")
def counter_belongs_to_the_parent(t):
    equal(t.zk.create("/a-", sequence=True), "/a-0000000000")
    t.zk.create("/plain")
    equal(t.zk.create("/b-", sequence=True), "/b-0000000002")
    t.zk.delete("/b-0000000002")
    t.zk.delete("/a-0000000000")
    equal(t.zk.create("/a-", sequence=True), "/a-0000000003")
    t.zk.ensure_path("/p")
    equal(t.zk.create("/p/", sequence=True), "/p/0000000000")


@case("sequential")
def two_clients_never_share_a_name(t):
    other = t.client()
    pending = [client.create_async("/n-", sequence=True) for _ in range(100) for client in (t.zk, other)]
    names = [result.get(timeout=20) for result in pending]
    equal(sorted(names), [f"/n-{number:010d}" for number in range(200)])


@case("transactions")
def commit(t):
    t.zk.create("/old", b"1")
    t.zk.create("/gone")
    transaction = t.zk.transaction()
    transaction.create("/new", b"n")
    transaction.set_data("/old", b"2", version=0)
    transaction.check("/old", version=1)
    transaction.delete("/gone")
    created, changed, checked, deleted = transaction.commit()
    equal((created, checked, deleted), ("/new", True, True))
    equal((changed.version, t.zk.get("/old")), (1, (b"2", changed)))
    equal((t.zk.get("/new")[0], t.zk.exists("/gone")), (b"n", None))


@case("transactions")
def all_operations_share_one_zxid(t):
    t.zk.create("/old")
    with t.zk.transaction() as transaction:
        transaction.create("/a")
        transaction.create("/b")
        transaction.set_data("/old", b"x")
    a, b, old = (t.zk.exists(path) for path in ("/a", "/b", "/old"))
    equal(a.czxid, b.czxid)
    equal(a.czxid, old.mzxid)


@case("transactions")
def failure_undoes_everything(t):
    t.zk.create("/old", b"1")
    transaction = t.zk.transaction()
    transaction.create("/new")
    transaction.set_data("/old", b"2")
    transaction.check("/old", version=9)
    transaction.delete("/old")
    results = transaction.commit()
    equal([type(result) for result in results], [RolledBackError, RolledBackError, BadVersionError, RuntimeInconsistency])
    equal((t.zk.exists("/new"), t.zk.get("/old")[0]), (None, b"1"))


@case("transactions")
def first_and_only_failure(t):
    transaction = t.zk.transaction()
    transaction.delete("/missing")
    equal([type(result) for result in transaction.commit()], [NoNodeError])
    transaction = t.zk.transaction()
    transaction.create("/a/b")
    transaction.create("/c")
    equal([type(result) for result in transaction.commit()], [NoNodeError, RuntimeInconsistency])


@case("transactions")
def later_operations_see_earlier_ones(t):
    transaction = t.zk.transaction()
    transaction.create("/p")
    transaction.create("/p/c-", sequence=True)
    transaction.create("/p/e", ephemeral=True)
    transaction.set_data("/p", b"x", version=0)
    transaction.delete("/p/e")
    results = transaction.commit()
    equal(results[:3], ["/p", "/p/c-0000000000", "/p/e"])
    equal((results[3].version, results[4]), (1, True))
    equal(t.zk.get_children("/p"), ["c-0000000000"])


@case("transactions")
def empty_transaction(t):
    equal(t.zk.transaction().commit(), [])


@case("transactions")
def failed_transaction_takes_no_sequence_number(t):
    transaction = t.zk.transaction()
    transaction.create("/n-", sequence=True)
    transaction.check("/missing", version=0)
    transaction.commit()
    equal(t.zk.create("/n-", sequence=True), "/n-0000000000")


@case("chroot")
def paths_are_relative(t):
    whole = t.client(root="")
    t.zk.create("/a", b"x")
    equal(whole.get(f"{t.root}/a")[0], b"x")
    equal(t.zk.create("/s-", sequence=True), "/s-0000000001")
    equal(sorted(t.zk.get_children("/")), ["a", "s-0000000001"])
    t.zk.set("/", b"root of this client")
    equal(whole.get(t.root)[0], b"root of this client")


@case("chroot")
def changed_on_a_running_client(t):
    t.zk.create("/sub")
    t.zk.chroot = f"{t.root}/sub"
    t.zk.create("/leaf")
    t.zk.chroot = t.root
    equal(t.zk.get_children("/sub"), ["leaf"])


@case("chroot")
def must_exist(t):
    deep = t.client(root=f"{t.root}/x/y")
    raises(NoNodeError, deep.create, "/a")
    t.zk.ensure_path("/x/y")
    deep.create("/a")
    equal(t.zk.get_children("/x/y"), ["a"])


@case("chroot")
def event_paths_are_relative(t):
    events = []
    t.zk.exists("/a", watch=events.append)
    t.client(root="").create(f"{t.root}/a")
    eventually(lambda: events)
    equal([(event.type, event.path) for event in events], [("CREATED", "/a")])


def whole_answer(word):
    """Returns the whole answer to a word; Kazoo's own `command` reads only what one recv returns."""
    return four_letter_word(int(CONNECT.rpartition(":")[2]), word)


@case("four-letter words")
def commands(t):
    equal(t.zk.command(b"ruok"), "imok")
    equal(t.zk.command(b"isro"), "rw")
    assert "Mode: " in t.zk.command(b"srvr")
    assert "clientPort=" in t.zk.command(b"conf")
    assert "zk_znode_count\t" in t.zk.command(b"mntr")


@case("four-letter words")
def dump_shows_sessions_and_ephemerals(t):
    t.zk.create("/e", ephemeral=True)
    dump = whole_answer("dump")
    assert f"0x{t.zk.client_id[0]:x}" in dump and f"{t.root}/e" in dump, dump


@case("four-letter words")
def watches_are_listed(t):
    t.zk.create("/watched")
    t.zk.get("/watched", watch=print)
    session = f"0x{t.zk.client_id[0]:x}"
    assert f"{t.root}/watched\n\t{session}\n" in whole_answer("wchp")
    assert f"{session}\n\t{t.root}/watched\n" in whole_answer("wchc")
    assert "Total watches:" in whole_answer("wchs")


@case("four-letter words")
def child_watches_are_not_listed(t):
    t.zk.create("/watched")
    t.zk.get_children("/watched", watch=print)
    assert f"{t.root}/watched\n" not in whole_answer("wchp")
    assert f"{t.root}/watched\n" not in whole_answer("wchc")


@case("four-letter words")
def server_version(t):
    version = t.zk.server_version()
    assert version >= (3, 9), version


@case("four-letter words")
def not_connected_client_refuses(t):
    raises(ConnectionLoss, t.client(start=False).command)


@case("four-letter words")
def cons_shows_the_session(t):
    t.zk.get_children("/")
    [line] = [line for line in whole_answer("cons").splitlines() if f"sid=0x{t.zk.client_id[0]:x}," in line]
    assert ",to=10000," in line and "lop=GETC," in line, line
