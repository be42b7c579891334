"""Cases of `migration`: clients that stay while the server at their address changes from Apache ZooKeeper to oxkeeper, and back."""

import logging
import subprocess
import sys

import wire
from moving import Client, config, data_dir, eventually, oxkeeper
from server import COMPAT_DIR

WORK = COMPAT_DIR / ".work"
sys.path.insert(0, str(WORK / "kazoo"))


class Clients:
    """One server at a time on one port, and clients that only notice a lost connection."""

    def __init__(self, servers, kind):
        self.servers, self.kind = servers, kind

    def cases(self):
        yield "clients hold locks and ephemerals on Apache ZooKeeper", self.begin
        yield "on oxkeeper on the same address, Kazoo goes on with its session, lock and ephemeral", self.kazoo_goes_on
        yield "and so does Curator", self.curator_goes_on
        yield "a client of ClickHouse's handshake does not, by its own design; it would be let in", self.clickhouse
        yield "back on Apache ZooKeeper, Kazoo and Curator go on again, and release", self.back

    def begin(self):
        self.server = self.servers.create(self.kind)
        self.server.start()
        self.port = self.server.members[0].port
        client = Client(self.port)
        client.do(wire.create("/kazoo"))
        client.do(wire.create("/curator"))
        self.kazoo = Kazoo(self.port)
        self.curator = Curator(self.port)
        self.servers.clients.append(self.curator.process)
        self.clickhouse_before = ClickHouse(self.port)
        self.clickhouse_before.do(wire.create("/is_active", b"replica", flags=wire.Flags.EPHEMERAL))
        # Apache ZooKeeper also gives this client a second session, and keeps the first.
        again = ClickHouse(self.port, self.clickhouse_before.last_zxid)
        assert again.answer.session not in (0, self.clickhouse_before.answer.session), again.answer
        assert again.ask(wire.create("/is_active")).err == wire.Err.NODE_EXISTS
        again.end_session()
        # The client uses the timeout that the server grants.
        assert self.clickhouse_before.answer.timeout_ms == 10_000, self.clickhouse_before.answer
        self.kazoo.check()
        self.curator.check()
        self.replace_with("oxkeeper", "import")

    def replace_with(self, kind, how):
        """Ends the server and starts another one on its data and its port."""
        former, (member,) = self.server, self.server.members
        former.stop()
        self.server = self.servers.create(kind, port=self.port)
        (new,) = self.server.members
        if how == "import":
            oxkeeper("import", data_dir(member), "--config", config(new))
        else:
            oxkeeper("export", "--config", config(member), "--out", data_dir(new))
        self.server.start()

    def kazoo_goes_on(self):
        self.kazoo.check()

    def curator_goes_on(self):
        self.curator.check()

    def clickhouse(self):
        """Source: ClickHouse's src/Common/ZooKeeper/ZooKeeperImpl.cpp, sendHandshake: "We don't support session restore"."""
        before = self.clickhouse_before
        again = ClickHouse(self.port, before.last_zxid)
        assert again.answer.session not in (0, before.answer.session), again.answer
        observer = Client(self.port)
        owner = observer.do(wire.exists("/is_active")).stat().ephemeral_owner
        assert owner == before.answer.session, hex(owner)
        # A client that asks for the old session gets it.
        resumed = Client(self.port, session=before.answer.session, password=before.answer.password)
        assert resumed.answer.session == before.answer.session, resumed.answer
        resumed.close()
        # No client does: the session ends after its timeout, and the client waiting for that continues.
        def is_gone():
            again.settle()
            return observer.ask(wire.exists("/is_active")).err == wire.Err.NO_NODE

        eventually(is_gone, "the old session ends")
        again.do(wire.create("/is_active", b"replica", flags=wire.Flags.EPHEMERAL))

    def back(self):
        self.replace_with(self.kind, "export")
        for holder in (self.kazoo, self.curator):
            holder.check()
            holder.release()
        observer = Client(self.port)
        for path in ("/kazoo/ephemeral", "/curator/ephemeral"):
            assert observer.ask(wire.exists(path)).err == wire.Err.NO_NODE, path


class ClickHouse(Client):
    """A client that connects as ClickHouse does: no session, an empty password, the newest zxid it saw, and read-only allowed."""

    def __init__(self, port, last_zxid=0):
        super().__init__(port, session=0, password=bytes(16), last_zxid=last_zxid, read_only=True)


class Kazoo:
    """A client with a lock and an ephemeral znode below `/kazoo`."""

    def __init__(self, port):
        subprocess.run([COMPAT_DIR / "kazoo" / "install"], check=True, stdout=subprocess.DEVNULL)
        from kazoo.client import KazooClient, KazooState

        logging.getLogger("kazoo").addHandler(logging.NullHandler())
        self.port, self.lost = port, []
        retry = {"max_tries": -1, "delay": 0.1, "max_delay": 0.5}
        self.client = KazooClient(f"127.0.0.1:{port}", timeout=10, connection_retry=retry, command_retry=retry)
        self.client.add_listener(lambda state: self.lost.append(state) if state == KazooState.LOST else None)
        self.client.start(timeout=60)
        self.session = self.client.client_id[0]
        self.lock = self.client.Lock("/kazoo/lock", "holder")
        self.lock.acquire(timeout=60)
        self.client.create("/kazoo/ephemeral", b"e", ephemeral=True)
        self.node = self.lock.node

    def check(self):
        eventually(lambda: self.client.connected, "Kazoo connects")
        self.client.retry(self.client.get, "/")
        assert not self.lost and self.client.client_id[0] == self.session, (self.lost, self.client.client_id)
        check_owned(self.port, "/kazoo", self.session)
        # No other client gets the lock.
        children = self.client.retry(self.client.get_children, "/kazoo/lock")
        assert children == [self.node] and self.lock.is_acquired, children

    def release(self):
        self.lock.release()
        self.client.stop()
        self.client.close()


class Curator:
    """A process that holds Curator's mutex and an ephemeral znode below `/curator`."""

    def __init__(self, port):
        subprocess.run([COMPAT_DIR / "java" / "install"], check=True, stdout=subprocess.DEVNULL)
        java = ["java", "-Xmx256m", "-XX:TieredStopAtLevel=1", "-cp", str(WORK / "java" / "lib" / "*")]
        source = str(COMPAT_DIR / "curator" / "Holder.java")
        self.port = port
        self.process = subprocess.Popen(
            [*java, source, f"127.0.0.1:{port}", "/curator"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        lost, holds, session = self.process.stdout.readline().split()
        assert (lost, holds) == ("false", "true"), (lost, holds)
        self.session = int(session, 16)

    def ask(self, command):
        print(command, file=self.process.stdin, flush=True)
        lost, holds, session = self.process.stdout.readline().split()
        return lost == "true", holds == "true", int(session, 16)

    def check(self):
        answer = self.ask("check")
        assert answer == (False, True, self.session), (answer, hex(self.session))
        check_owned(self.port, "/curator", self.session)

    def release(self):
        answer = self.ask("release")
        assert answer == (False, False, self.session), answer
        self.process.communicate(timeout=60)


def check_owned(port, path, session):
    """Checks that the session owns the ephemeral znode and the lock's znode."""
    observer = Client(port)
    reader = observer.do(wire.get_children(f"{path}/lock"))
    (lock,) = reader.vector(reader.ustring)
    for znode in (f"{path}/ephemeral", f"{path}/lock/{lock}"):
        owner = observer.do(wire.exists(znode)).stat().ephemeral_owner
        assert owner == session, (znode, hex(owner), hex(session))
    observer.end_session()
