"""Restores of a snapshot into a running server. Source: Commands.RestoreCommand, ZooKeeperServer#restoreFromSnapshot."""

import json
import os

import wire
from connection import Closed, Connection, parse_address
from harness import case, equal
from http_site import admin_port, ask, own_server
from server import free_ports
from wire import ACL, Flags

MEMBER = "a member of Apache ZooKeeper restores itself alone, and differs from the others from then on"
SUPER = {"authorization": "digest super:admin"}
SETTINGS = "admin.enableServer=true\nadmin.serverAddress=127.0.0.1\nadmin.serverPort={port}\n"
AT_ONCE = "admin.rateLimiterIntervalInMS=0\n"


class Restoring:
    """A separate server of this kind or of `kind`, and its HTTP side."""

    def __init__(self, settings=AT_ONCE, kind=None):
        [port] = free_ports(1)
        self.context = own_server(SETTINGS.format(port=port) + settings, kind)

    def __enter__(self):
        self.deployment = self.context.__enter__()
        self.deployment.start()
        member = self.deployment.members[0]
        self.address = parse_address(member.address)
        self.port = admin_port(member.directory / "zoo.cfg")
        return self

    def __exit__(self, *problem):
        return self.context.__exit__(*problem)

    def session(self, **request):
        client = Connection(self.address)
        client.handshake(**{"timeout_ms": 9_000, **request})
        return client

    def snapshot(self):
        """Returns the bytes of a snapshot, and the last zxid in it."""
        status, headers, body = ask(self.port, "/commands/snapshot?streaming=true", decode=False, **SUPER)
        equal((status, headers["content-type"], int(headers["snapshot_size"])), (200, "application/octet-stream", len(body)), "snapshot")
        return body, int(headers["last_zxid"], 16)

    def restore(self, content, **headers):
        status, told, body = ask(self.port, "/commands/restore", "POST", content, **(headers or SUPER))
        equal(told["content-type"], "application/json", "content type")
        return status, body

    def restored(self, content, zxid):
        body = f'{{\n  "last_zxid" : {zxid},\n  "command" : "restore",\n  "error" : null\n}}'
        equal(self.restore(content), (200, body), "restore")

    def metric(self, name):
        return json.loads(ask(self.port, "/commands/monitor")[2])[name]


def resumed(site, client):
    """Returns the session that a handshake for the session of `client` gives: 0 if it is over."""
    # ZooKeeper: zxids go back to the snapshot's, and a client that says it has seen a later one is refused.
    return site.session(session=client.session, password=client.password)


def seen(client, path):
    """Returns everything that a server tells about a znode."""
    return [(reply.err, reply.body) for reply in map(client.ask, (wire.get_data(path), wire.get_acl(path), wire.get_children(path)))]


@case("restore", "the tree is as it was", MEMBER)
def tree(_):
    with Restoring() as site:
        client = site.session()
        client.ask(wire.auth("digest", "alice:pw"), xid=wire.XID_AUTH)
        client.ask(wire.create("/a", b"then"))
        client.ask(wire.create("/a/s-", flags=Flags.PERSISTENT_SEQUENTIAL))
        client.ask(wire.create("/a/deep", acl=[ACL(31, "digest", "alice:V55/p2T0OpjQ+low3NVAH4aLvm0="), ACL(1, "world", "anyone")]))
        client.ask(wire.set_data("/a", b"then, too"))
        client.ask(wire.create_ttl("/a/ttl", 3_600_000))
        client.ask(wire.create_container("/a/container"))
        client.ask(wire.create("/a/container/child"))
        paths = ("/a", "/a/s-0000000000", "/a/deep", "/a/ttl", "/a/container", "/a/container/child", "/")
        before = [seen(client, path) for path in paths]
        content, zxid = site.snapshot()
        client.ask(wire.set_data("/a", b"now"))
        client.ask(wire.delete("/a/deep"))
        client.ask(wire.create("/a/s-", flags=Flags.PERSISTENT_SEQUENTIAL))
        client.ask(wire.create("/b"))
        client.close()
        site.restored(content, zxid)
        client = site.session()
        client.ask(wire.auth("digest", "alice:pw"), xid=wire.XID_AUTH)
        for path, want in zip(paths, before, strict=True):
            equal(seen(client, path), want, path)
        equal(client.ask(wire.exists("/b")).err, -101, "what came later")
        reply = client.ask(wire.create("/a/s-", flags=Flags.PERSISTENT_SEQUENTIAL))
        equal((reply.err, reply.body), (0, wire.buffer(b"/a/s-0000000004")), "the next number")
        client.end_session()


@case("restore", "sessions and their ephemerals are those of the snapshot", MEMBER)
def sessions(_):
    with Restoring() as site:
        kept, ended = site.session(), site.session()
        kept.ask(wire.create("/kept", flags=Flags.EPHEMERAL))
        ended.ask(wire.create("/ended", flags=Flags.EPHEMERAL))
        content, zxid = site.snapshot()
        ended.end_session()
        young = site.session()
        young.ask(wire.create("/young", flags=Flags.EPHEMERAL))
        site.restored(content, zxid)
        again = [resumed(site, client) for client in (kept, ended, young)]
        equal([client.session for client in again], [kept.session, ended.session, 0], "sessions")
        for path, err in (("/kept", 0), ("/ended", 0), ("/young", -101)):
            equal(again[0].ask(wire.exists(path)).err, err, path)
        new = site.session()
        assert new.session not in (kept.session, ended.session, young.session), "an id is given once"
        for client in (*again[:2], new):
            client.end_session()
        last = site.session()
        equal([last.ask(wire.exists(path)).err for path in ("/kept", "/ended")], [-101, -101], "sessions end as others do")
        last.end_session()


@case("restore", "watches of before hear nothing of it", MEMBER)
def watches(_):
    with Restoring() as site:
        client = site.session()
        content, zxid = site.snapshot()
        client.ask(wire.create("/a", b"now"))
        client.ask(wire.get_data("/a", True))
        client.ask(wire.get_children("/", True))
        site.restored(content, zxid)
        heard = []
        try:
            heard.append(client.receive(0.5))
        except (Closed, TimeoutError):
            pass
        equal(heard, [], "told")


@case("restore", "again and again, an older one and a newer one", MEMBER)
def repeated(_):
    with Restoring() as site:
        empty, first = site.snapshot()
        client = site.session()
        client.ask(wire.create("/a", b"x"))
        client.close()
        full, second = site.snapshot()
        for content, zxid, err in ((empty, first, -101), (full, second, 0), (full, second, 0), (empty, first, -101)):
            site.restored(content, zxid)
            client = site.session()
            equal(client.ask(wire.exists("/a")).err, err, "as it was")
            client.close()
        equal((site.metric("cnt_restore_time"), site.metric("restore_error_count")), (4, 0), "counted")


@case("restore", "a snapshot of the other server", MEMBER)
def foreign(_):
    kind = os.environ["ZK_KIND"]
    other = "zookeeper" if kind == "oxkeeper" else "oxkeeper"
    with Restoring(kind=other) as origin:
        client = origin.session()
        client.ask(wire.create("/a", b"x"))
        client.ask(wire.create("/a/e", flags=Flags.EPHEMERAL))
        before = seen(client, "/a")
        content, zxid = origin.snapshot()
        client.close()
    with Restoring() as site:
        site.restored(content, zxid)
        again = resumed(site, client)
        equal(again.session, client.session, "session")
        equal(seen(again, "/a"), before, "as it was there")
        equal(again.ask(wire.create("/a/b")).err, 0, "a write")
        again.end_session()
        last = site.session()
        equal(last.ask(wire.exists("/a/e")).err, -101, "the ephemeral")
        last.end_session()


@case("restore", "what is no whole snapshot changes nothing", MEMBER)
def damaged(_):
    with Restoring() as site:
        client = site.session()
        client.ask(wire.create("/a", b"x" * 200))
        content, _ = site.snapshot()
        client.ask(wire.set_data("/a", b"now"))
        flipped = bytearray(content)
        flipped[content.index(b"x" * 200) + 7] ^= 1
        odd = [b"", b"garbage", content[:20], content[: len(content) // 2], content[:-70], bytes(flipped)]
        for number, sent in enumerate(odd):
            status, body = site.restore(sent)
            answer = json.loads(body)
            equal((status, list(answer), answer["command"]), (500, ["command", "error"], "restore"), f"number {number}")
        equal(site.metric("restore_error_count"), len(odd), "counted")
        equal(client.ask(wire.get_data("/a")).body[:7], wire.buffer(b"now"), "data")
        client.end_session()


@case("restore", "only if it is enabled, and not too often", MEMBER)
def limits(_):
    with Restoring(AT_ONCE + "admin.restore.enabled=false\n") as site:
        equal(site.restore(b"")[0], 503, "disabled")
    with Restoring("") as site:
        content, zxid = site.snapshot()
        site.restored(content, zxid)
        equal((site.restore(content)[0], site.restore(content)[0]), (429, 429), "again")
        equal(site.metric("restore_rate_limited_count"), 2, "counted")


@case("restore", "the root says who may", MEMBER)
def root(_):
    with Restoring() as site:
        client = site.session()
        client.ask(wire.auth("digest", "alice:pw"), xid=wire.XID_AUTH)
        content, zxid = site.snapshot()
        client.ask(wire.set_acl("/", [ACL(31, "digest", "alice:V55/p2T0OpjQ+low3NVAH4aLvm0="), ACL(1, "world", "anyone")]))
        client.close()
        for text, want, error in (("digest bob:pw", 403, "Not authorized"), ("foo", 401, "Not authenticated")):
            status, body = site.restore(content, authorization=text)
            equal((status, json.loads(body)), (want, {"command": "restore", "error": error}), text)
        equal(site.restore(content, authorization="digest alice:pw")[0], 200, "alice")
        equal(site.restore(content, authorization="digest bob:pw")[0], 200, "bob, whom the restored root lets")
