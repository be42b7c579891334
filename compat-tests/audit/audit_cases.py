"""The audit log's lines for each operation. Source: AuditHelper, DataTree.deleteNodes.

The cases compare lines without the time and the logger's name. They name sessions by their number in the case, and sort the users of
a line, because ZooKeeper's order is undefined. They skip lines about containers and TTL znodes that a server deletes by itself, which
ZooKeeper does not write.
"""

import os
import re
import sys
import time
from pathlib import Path

import harness
import wire
from harness import SERVERS, Client, case, end_client, equal
from wire import ACL, Flags

FEATURE = "audit"
LINE = re.compile(r"(?P<level>INFO|ERROR) .*?(?P<fields>(?:session|user)=.*)")
LOGS = [directory / "audit.log" for directory in sorted(Path(os.environ["ZK_CTL"]).parent.glob("server-*"))]
PORT = os.environ["ZK_CONNECT"].rpartition(":")[2]
ENDED = "ephemeralZNodeDeletionOnSessionCloseOrExpire"


def own_log():
    """Returns the log of the server that the suite talks to."""
    wanted = re.compile(rf"(clientPort=|;127\.0\.0\.1:){PORT}$", re.M)
    if SERVERS == 1:
        return LOGS[0]
    for number, log in enumerate(LOGS, start=1):
        for line in (log.parent / "zoo.cfg").read_text().splitlines():
            if line.startswith(f"server.{number}=") and wanted.search(line):
                return log
    raise AssertionError("no server has this port")


def fields(text):
    return dict(field.split("=", 1) for field in text.split("\t"))


def told(log, since, sessions):
    """Returns the lines after `since` bytes as readable text: level and fields."""
    lines = []
    for line in log.read_bytes()[since:].decode().splitlines():
        match = LINE.search(line)
        assert match, f"no line of the audit log: {line!r}"
        given = fields(match["fields"])
        if given.get("session") == "0x0":
            continue
        if given.get("session"):
            given["session"] = sessions.get(given["session"], given["session"])
        users = sorted(given.get("user", "").split(","))
        given["user"] = ",".join("SERVER" if user == os.environ.get("ZK_USER", os.popen("id -un").read().strip()) else user for user in users)
        equal(match["level"], "ERROR" if given["result"] == "failure" else "INFO", f"level of {line!r}")
        lines.append(" ".join(f"{name}={value}" for name, value in given.items()))
    return lines


class Book:
    """Reads what the log says about a case."""

    def __init__(self, scene):
        self.scene, self.sessions, self.base = scene, {}, scene.base
        # Lines about the preparations must be written before they can be skipped.
        time.sleep(0.2)
        self.starts = {log: log.stat().st_size for log in LOGS}

    def client(self, name="S"):
        client = self.scene.client()
        self.sessions[f"0x{client.session:x}"] = name
        return client

    def says(self, *expected, log=None, wait_s=10.0):
        """Checks that the log says exactly this, in this order."""
        log, wanted = log or own_log(), [line.replace("@", self.base) for line in expected]
        deadline = time.monotonic() + wait_s
        while len(lines := told(log, self.starts[log], self.sessions)) < len(wanted) and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(0.05)
        equal(told(log, self.starts[log], self.sessions), wanted, "audit log")


ME = "session=S user=127.0.0.1 ip=127.0.0.1"


def create_line(path, mode, result="success", who=ME):
    return f"{who} operation=create znode=@{path} znode_type={mode} result={result}"


def line(operation, path, result="success", who=ME):
    return f"{who} operation={operation} znode=@{path} result={result}"


@case(FEATURE, "creates of every kind")
def creates(scene):
    book = Book(scene)
    client, base = book.client(), book.base
    client.ok(wire.create(base + "/p"))
    client.ok(wire.create2(base + "/q", flags=Flags.EPHEMERAL))
    client.ok(wire.create(base + "/s-", flags=Flags.PERSISTENT_SEQUENTIAL))
    client.ok(wire.create(base + "/t-", flags=Flags.EPHEMERAL_SEQUENTIAL))
    client.ok(wire.create_container(base + "/c"))
    client.ok(wire.create_ttl(base + "/l", 600_000))
    client.ok(wire.delete(base + "/q"))
    client.ok(wire.delete(base + "/t-0000000003"))
    book.says(
        create_line("/p", "persistent"), create_line("/q", "ephemeral"), create_line("/s-0000000002", "persistent_sequential"),
        create_line("/t-0000000003", "ephemeral_sequential"), create_line("/c", "container"), create_line("/l", "persistent_with_ttl"),
        line("delete", "/q"), line("delete", "/t-0000000003"),
    )


@case(FEATURE, "changes of data and ACLs")
def changes(scene):
    book = Book(scene)
    client, path = book.client(), book.base + "/p"
    client.ok(wire.create(path))
    client.ok(wire.set_data(path, b"secret"))
    client.ok(wire.set_acl(path, [ACL(31, "world", "anyone"), ACL(9, "ip", "1.2.3.4/8"), ACL(0, "digest", "a:b")]))
    client.ok(wire.delete(path))
    acl = "acl=world:anyone:cdrwaip:1.2.3.4/8:drdigest:a:b:"
    book.says(
        create_line("/p", "persistent"), line("setData", "/p"), f"{ME} operation=setAcl znode=@/p {acl} result=success",
        line("delete", "/p"),
    )


@case(FEATURE, "failures, with what was asked for")
def failures(scene):
    book = Book(scene)
    client, base = book.client(), book.base
    client.ok(wire.create(base + "/p"))
    client.ok(wire.create(base + "/p/c", acl=[ACL(0, "world", "anyone")]))
    failing = (
        wire.create(base + "/p", flags=Flags.EPHEMERAL), wire.create(base + "/none/x-", flags=Flags.PERSISTENT_SEQUENTIAL),
        wire.create(base + "/x", acl=[ACL(31, "foo", "bar")]), wire.create(base + "/p/c/x"), wire.create(base + "/y/"),
        wire.set_data(base + "/p", b"", 7), wire.set_data(base + "/p/c", b""), wire.set_acl(base + "/p", [ACL(1, "world", "anyone")], 7),
        wire.delete(base + "/p"), wire.delete(base + "/none"), wire.create_ttl(base + "/t", -5), wire.reconfig(),
    )
    for request in failing:
        assert client.ask(request).err, request
    bad = "failure"
    book.says(
        create_line("/p", "persistent"), create_line("/p/c", "persistent"),
        create_line("/p", "ephemeral", bad), create_line("/none/x-", "persistent_sequential", bad), create_line("/x", "persistent", bad),
        create_line("/p/c/x", "persistent", bad), create_line("/y/", "persistent", bad), line("setData", "/p", bad),
        line("setData", "/p/c", bad), f"{ME} operation=setAcl znode=@/p acl=world:anyone:r result=failure", line("delete", "/p", bad),
        line("delete", "/none", bad), create_line("/t", "persistent_with_ttl", bad), f"{ME} operation=reconfig result=failure",
    )


@case(FEATURE, "nothing of reads, and of what cannot be told", harness.ENDS_WRITES)
def silence(scene):
    book = Book(scene)
    client, base = book.client(), book.base
    for request in (wire.get_data(base), wire.exists(base), wire.get_children(base), wire.get_acl(base), wire.sync(base), wire.PING,
                    wire.WHO_AM_I, wire.add_watch(base, 0), wire.create(base + "/f", flags=9), wire.Request(wire.Op.SET_ACL, b"")):
        client.ask(request)
    client.ok(wire.create(base + "/last"))
    book.says(create_line("/last", "persistent"))


@case(FEATURE, "what stands in front of the defect of a body", harness.ENDS_WRITES)
def defects(scene):
    book = Book(scene)
    client, base = book.client(), book.base
    for op in (wire.Op.CREATE, wire.Op.CREATE2, wire.Op.CREATE_TTL, wire.Op.DELETE, wire.Op.SET_DATA):
        client.ask(wire.Request(op, b""))
        client.ask(wire.Request(op, wire.ustring(base + "/x")))
    create, bad = f"{ME} operation=create znode_type=persistent result=failure", "failure"
    twice = [create, create_line("/x", "persistent", bad)] * 3
    book.says(*twice, *[line for name in ("delete", "setData") for line in (
        f"{ME} operation={name} result=failure", f"{ME} operation={name} znode=@/x result=failure")])


@case(FEATURE, "a line for each operation of a transaction")
def transaction(scene):
    book = Book(scene)
    client, base = book.client(), book.base
    client.ok(wire.create(base + "/old"))
    client.ok(wire.multi(*[
        wire.create(base + "/a"), wire.create2(base + "/e", flags=Flags.EPHEMERAL), wire.create(base + "/s-", flags=Flags.PERSISTENT_SEQUENTIAL),
        wire.create_ttl(base + "/t", 600_000), wire.check(base + "/a", 0), wire.set_data(base + "/a", b"x"), wire.delete(base + "/e"),
        wire.delete(base + "/old"),
    ]))
    client.ok(wire.multi(*[wire.check(base + "/a", 1)]))
    client.ok(wire.multi(*[]))
    book.says(
        create_line("/old", "persistent"), create_line("/a", "persistent"), create_line("/e", "ephemeral"), line("create", "/s-0000000003"),
        line("create", "/t"), line("setData", "/a"), line("delete", "/e"), line("delete", "/old"),
    )


@case(FEATURE, "one line of a transaction that failed")
def failed_transaction(scene):
    book = Book(scene)
    client, base = book.client(), book.base
    client.ok(wire.multi(*[wire.create(base + "/a"), wire.delete(base + "/none"), wire.create(base + "/b")]))
    client.ok(wire.multi(*[wire.check(base + "/none", 0)]))
    book.says(*[f"{ME} operation=multiOperation result=failure"] * 2)


@case(FEATURE, "everybody a client has proved to be")
def users(scene):
    book = Book(scene)
    client, base = book.client(), book.base
    for credentials in ("bob:pw", "super:admin", "eve:pw", "bob:other"):
        client.ok(wire.auth("digest", credentials), xid=wire.XID_AUTH)
    client.ok(wire.create(base + "/a"))
    book.says(create_line("/a", "persistent", who="session=S user=127.0.0.1,bob,bob,eve,super ip=127.0.0.1"))


@case(FEATURE, "ephemerals that end with their session, on every server")
def ephemerals(scene):
    book = Book(scene)
    client, base = book.client(), book.base
    for name in ("/a", "/b"):
        client.ok(wire.create(base + name, flags=Flags.EPHEMERAL))
    end_client(client)
    ended = [f"session=S user=SERVER operation={ENDED} znode=@{name} result=success" for name in ("/a", "/b")]
    mine = [create_line("/a", "ephemeral"), create_line("/b", "ephemeral")]
    for log in LOGS:
        wanted = ended if log != own_log() else mine + ended
        deadline = time.monotonic() + 10
        while len(told(log, book.starts[log], book.sessions)) < len(wanted) and time.monotonic() < deadline:
            time.sleep(0.01)
        equal(sorted(told(log, book.starts[log], book.sessions)), sorted(line.replace("@", base) for line in wanted), log.parent.name)


@case(FEATURE, "ephemerals of a session that expires")
def expiry(scene):
    book = Book(scene)
    client, base = scene.connection(), book.base
    client.handshake(timeout_ms=1000)
    book.sessions[f"0x{client.session:x}"] = "S"
    client.ok(wire.create(base + "/a", flags=Flags.EPHEMERAL))
    client.close()
    client.session = 0
    book.says(create_line("/a", "ephemeral"), f"session=S user=SERVER operation={ENDED} znode=@/a result=success")


@case(FEATURE, "the server's own start and stop")
def start_and_stop(scene):
    def own(log):
        return [line for line in told(log, 0, {}) if "operation=server" in line]

    started, stopped = "user=SERVER operation=serverStart result=success", "user=SERVER operation=serverStop result=invoked"
    scene.ctl("stop")
    for log in LOGS:
        equal(own(log), [started, stopped], log.parent.name)
    scene.ctl("start")
    for log in LOGS:
        # ZooKeeper's logging library begins a new file.
        equal(own(log)[-1], started, log.parent.name)


if __name__ == "__main__":
    sys.exit(harness.run(sys.argv[1:]))
