"""Cases of `migration`: directories in the state that crashes, purges, lost files and forgotten options leave behind. Apache ZooKeeper
itself is also started from each of them."""

import json
import shutil
import subprocess
import threading
import zlib

import wire
from connection import Connection
from moving import Client, Refused, compare, config, data_dir, eventually, files, oxkeeper
from server import free_ports

# Number of znodes each thread creates in a round: a snapshot takes longer with more of them.
CREATES = 2000
THREADS = 6
ROUNDS_MAX = 5


class Files:
    """Checks what `import` produces from a directory, and what it refuses."""

    def __init__(self, servers, kind):
        self.servers, self.kind = servers, kind
        self.targets = 0

    def cases(self):
        yield "a new directory, which has no digest", self.new
        yield "ACLs that stand only in the log, behind Apache ZooKeeper's own purge", self.fuzzy_acls
        yield "missing and emptied logs: refused as Apache ZooKeeper refuses them, or taken with a report", self.incomplete
        yield "missing logs that Apache ZooKeeper does not miss", self.unnoticed
        yield "a forgotten --data-log-dir", self.forgotten
        yield "logs alone, with and without snapshot.trust.empty", self.trust_empty
        yield "ephemerals of server 255 end with their session", self.server_255
        yield "a znode whose ACL is nowhere", self.acl_nowhere
        yield "times from the future stay where they are", self.future

    def target(self):
        self.targets += 1
        return self.servers.directory / f"target-{self.targets}"

    def imported(self, source, *options):
        """Imports into one of our servers and starts it. Returns the output of the import, and a client."""
        target = self.servers.create("oxkeeper")
        said = oxkeeper("import", source, "--config", config(target.members[0]), *options)
        target.start()
        return said, Client(target.members[0].port)

    def new(self):
        source = self.servers.create(self.kind)
        source.start()
        source.stop()
        said = oxkeeper("import", data_dir(source.members[0]), "--data-dir", self.target())
        assert "no tree digest to compare with" in said and "note" not in said, said

    def fuzzy_acls(self):
        source = self.servers.create(self.kind, ["snapCount=1000"])
        source.start()
        (member,) = source.members
        Client(member.port).do(wire.create("/acls"))
        purge_log = self.servers.directory / "purge.log"
        for rounds in range(1, ROUNDS_MAX + 1):
            create_with_new_acls(member.port, rounds - 1)
            source.kill9()
            purge(member, purge_log)
            snapshots = files(member, "snapshot")
            if any(map(lacks_acls, snapshots)):
                break
            source.start()
        else:
            raise AssertionError("no snapshot was taken while znodes were created")
        # Import from each of them, newest first.
        for snapshot in reversed(snapshots):
            said, client = self.imported(data_dir(member))
            assert "ACLs that are neither" not in said and "the tree digest matches that of" in said, said
            check_acls(client, rounds)
            snapshot.unlink()
            if len(files(member, "snapshot")) == 1:
                break

    def incomplete(self):
        source = self.written()
        for what, change, loss in (
            ("a log is missing", lambda log: log.unlink(), "transactions are missing"),
            ("a log is cut short", lambda log: log.write_bytes(log.read_bytes()[:2000]), "transactions are missing"),
            ("a log is empty", lambda log: log.write_bytes(b""), "is empty"),
            ("a log has no records", lambda log: log.write_bytes(log.read_bytes()[:16]), "transactions are missing"),
        ):
            copy = self.copy_of(source)
            (member,) = copy.members
            change(files(member, "log")[1])
            starts = started(copy)
            assert not starts, f"{what}: Apache ZooKeeper starts"
            self.refused_and_accepted(member, what, loss)

    def unnoticed(self):
        """ZooKeeper serves only part of the znodes; in the first and the last of these cases it does so silently."""
        source = self.written(snapshots=3)

        def first(member):
            files(member, "log")[0].unlink()
            for snapshot in files(member, "snapshot")[1:]:
                snapshot.unlink()

        def newer(member):
            for log in files(member, "log")[1:]:
                log.unlink()

        def every(member):
            for log in files(member, "log"):
                log.unlink()

        for change, loss in ((first, "transactions are missing"), (newer, "the transaction logs end"), (every, "not one transaction log")):
            copy = self.copy_of(source)
            (member,) = copy.members
            change(member)
            self.refused_and_accepted(member, change.__name__, loss)
            assert started(copy), f"{change.__name__} missing: Apache ZooKeeper does not start"

    def refused_and_accepted(self, member, what, loss):
        target = self.target()
        said = oxkeeper("import", data_dir(member), "--data-dir", target, fails=True)
        assert loss in said and "--accept-loss" in said and not list(target.glob("*.redb")), f"{what}: {said}"
        said = oxkeeper("import", data_dir(member), "--data-dir", target, "--accept-loss")
        assert "lost (--accept-loss)" in said and loss in said and "INCOMPLETE" in said, f"{what}: {said}"

    def written(self, snapshots=1):
        """Returns a killed server with several logs but only its first snapshots."""
        source = self.servers.create(self.kind, ["snapCount=60"])
        source.start()
        (member,) = source.members
        client = Client(member.port)
        client.do(wire.create("/written"))
        for number in range(250):
            client.do(wire.create(f"/written/{number}"))
        source.kill9()
        for snapshot in files(member, "snapshot")[snapshots:]:
            snapshot.unlink()
        assert len(files(member, "log")) > 3, files(member, "log")
        return source

    def copy_of(self, source):
        copy = self.servers.create(self.kind)
        shutil.copytree(data_dir(source.members[0]), data_dir(copy.members[0]), dirs_exist_ok=True)
        return copy

    def forgotten(self):
        logs = self.servers.directory / "logs-elsewhere"
        source = self.servers.create(self.kind, ["snapCount=60"], f"dataLogDir={logs}\n")
        source.start()
        (member,) = source.members
        client = Client(member.port)
        for number in range(250):
            client.do(wire.create(f"/{number}"))
        before = client.tree()
        source.kill9()
        said = oxkeeper("import", data_dir(member), "--data-dir", self.target(), fails=True)
        assert "--data-log-dir" in said, said
        said = oxkeeper("import", logs, "--data-dir", self.target(), fails=True)
        assert "no snapshot" in said and "--data-log-dir" in said, said
        said, client = self.imported(data_dir(member), "--data-log-dir", logs)
        assert "the tree digest matches that of" in said, said
        compare(client.tree(), before, "with its log")
        oxkeeper("import", "--config", config(member))

    def trust_empty(self):
        source = self.written(snapshots=0)
        copy = self.servers.create(self.kind, ["snapshot.trust.empty=true"])
        shutil.copytree(data_dir(source.members[0]), data_dir(copy.members[0]), dirs_exist_ok=True)
        assert not started(source), "Apache ZooKeeper starts without a snapshot"
        copy.start()
        there = Client(copy.members[0].port).tree()
        copy.stop()
        said = oxkeeper("import", data_dir(source.members[0]), "--data-dir", self.target(), fails=True)
        assert "snapshot.trust.empty" in said, said
        target = self.servers.create("oxkeeper", settings="snapshot.trust.empty=true\n")
        said = oxkeeper("import", data_dir(source.members[0]), "--config", config(target.members[0]))
        assert "no snapshot: starting from nothing" in said and "the tree digest matches that of" in said, said
        target.start()
        compare(Client(target.members[0].port).tree(), there, "from logs alone")

    def server_255(self):
        """Session ids of server 255 look like owners of TTL znodes until the machine has been up for five hours."""
        source = self.servers.create(self.kind)
        (member,) = source.members
        peer, election = free_ports(2)
        text = config(member).read_text().replace("extendedTypesEnabled=true\n", "")
        ensemble = f"standaloneEnabled=false\nserver.255=127.0.0.1:{peer}:{election}:participant;127.0.0.1:{member.port}\n"
        config(member).write_text(text.replace(f"clientPort={member.port}\n", ensemble))
        (data_dir(member) / "myid").write_text("255\n")
        source.start()
        holder = Client(member.port)
        assert holder.session >> 56 & 0xFF == 0xFF, hex(holder.session)
        holder.do(wire.create("/lock", b"l", flags=wire.Flags.EPHEMERAL))
        source.kill9()
        said, client = self.imported(data_dir(member))
        again = Client(client.socket.getpeername()[1], session=holder.session, password=holder.password)
        if "as a server 255 gives them" in said:
            assert not again.answer.session, "the session was ended, and goes on"
        else:
            assert client.do(wire.exists("/lock")).stat().ephemeral_owner == holder.session, said
            assert client.ask(wire.create("/lock/below")).err == wire.Err.NO_CHILDREN_FOR_EPHEMERALS
            again.end_session()
        assert client.ask(wire.exists("/lock")).err == wire.Err.NO_NODE, "the lock is held for ever"


    def acl_nowhere(self):
        """ZooKeeper starts, and answers MarshallingError to every request that needs the ACL, even the super user's setACL."""
        source = self.crafted(("/nowhere", 57, 1))
        source.start()
        requests = [wire.get_data("/nowhere"), wire.set_data("/nowhere", b"x"), wire.get_acl("/nowhere"), wire.set_acl("/nowhere", wire.OPEN)]
        there = Client(source.members[0].port)
        assert [there.ask(request).err for request in requests] == 4 * [wire.Err.MARSHALLING]
        source.stop()
        # ZooKeeper wrote another snapshot when it started, and the list is still missing.
        said, client = self.imported(data_dir(source.members[0]))
        assert "1 znodes have ACLs that are neither" in said and "/nowhere (ACL 57)" in said, said
        anybody = Connection(client.socket.getpeername())
        anybody.handshake()
        assert [anybody.ask(request).err for request in requests] == 4 * [wire.Err.NO_AUTH]
        client.do(wire.set_acl("/nowhere", wire.OPEN))
        assert wire.Reader(anybody.ask(wire.get_data("/nowhere")).body).buffer() == b"x"

    def future(self):
        in_2099 = 4_075_000_000_000
        source = self.crafted(("/future", -1, in_2099))
        (file,) = files(source.members[0], "snapshot")
        restored = self.servers.create("oxkeeper")
        oxkeeper("restore", file, "--config", config(restored.members[0]))
        for deployment in (restored, source):
            deployment.start()
        _, imported = self.imported(data_dir(source.members[0]), "--data-log-dir", data_dir(source.members[0]))
        for client in (Client(source.members[0].port), Client(restored.members[0].port), imported):
            assert client.do(wire.exists("/future")).stat().mtime == in_2099
            client.do(wire.create("/now"))
            client.do(wire.create_ttl("/short", 1000))
            stat = client.do(wire.exists("/now")).stat()
            assert stat.ctime < in_2099, stat
            eventually(lambda: client.ask(wire.exists("/short")).err == wire.Err.NO_NODE, "the znode's time ends")

    def crafted(self, znode):
        """Returns a deployment with a snapshot of one znode, given by its path, the number of its ACL, and its time."""
        source = self.servers.create(self.kind)
        directory = data_dir(source.members[0]) / "version-2"
        directory.mkdir()
        (directory / "snapshot.5").write_bytes(snapshot_of(znode))
        return source


def snapshot_of(znode):
    """Returns a snapshot in the format of releases before 3.6, without digest. Source: `FileSnap.serialize`."""
    own = [("", -1, 0), ("/zookeeper", -1, 0), ("/zookeeper/quota", -1, 0), ("/zookeeper/config", -1, 0)]
    header = wire.int32(0x5A4B534E) + wire.int32(2) + wire.int64(-1)
    content = header + wire.int32(0) + wire.int32(0) + b"".join(map(stored, [*own, znode])) + wire.ustring("/")
    return content + wire.int64(zlib.adler32(content)) + wire.ustring("/")


def stored(znode):
    path, acl, time_ms = znode
    stat = [wire.int64(0)] * 2 + [wire.int64(time_ms)] * 2 + [wire.int32(0)] * 3 + [wire.int64(0)] * 2
    return wire.ustring(path) + wire.buffer(b"x") + wire.int64(acl) + b"".join(stat)


def started(deployment):
    """Starts Apache ZooKeeper, returns whether it serves, and ends it."""
    try:
        deployment.start()
        return True
    except RuntimeError as error:
        if "ended while starting" not in str(error):
            raise
        return False
    finally:
        deployment.kill9()


def acl_of(thread, number):
    return (wire.ACL(wire.ALL, "world", "anyone"), wire.ACL(wire.READ, "ip", f"10.{thread}.{number >> 8}.{number & 255}"))


def pipelined(client, requests):
    """Returns the replies in order; keeps a few hundred requests in flight."""
    sent = 0
    for request in requests:
        client.send(request)
        sent += 1
        if sent > 200:
            yield client.receive_reply()
            sent -= 1
    for _ in range(sent):
        yield client.receive_reply()


def create_with_new_acls(port, round_):
    """Creates znodes from several clients at once."""

    def create(thread):
        requests = (wire.create(f"/acls/{thread}-{number}", b"x", acl_of(thread, number)) for number in numbers(round_))
        for reply in pipelined(Client(port), requests):
            assert not reply.err, reply

    threads = [threading.Thread(target=create, args=(thread,)) for thread in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def numbers(round_):
    return range(round_ * CREATES, (round_ + 1) * CREATES)


def check_acls(client, rounds):
    expected = [(thread, number) for thread in range(THREADS) for number in range(rounds * CREATES)]
    replies = pipelined(client, (wire.get_acl(f"/acls/{thread}-{number}") for thread, number in expected))
    for (thread, number), reply in zip(expected, replies, strict=True):
        reader = wire.Reader(reply.body)
        assert not reply.err and tuple(reader.vector(reader.acl)) == acl_of(thread, number), f"/acls/{thread}-{number}: {reply}"


def lacks_acls(snapshot):
    """Returns whether the snapshot is whole and has znodes that refer to ACLs missing from it."""
    try:
        lines = oxkeeper("dump", "--json", snapshot).splitlines()
    except Refused as refused:
        # The server was killed while it wrote this snapshot.
        assert "cut short" in str(refused), refused
        return False
    return any(line["acl"] is None for line in map(json.loads, lines) if line["kind"] == "znode")


def purge(member, log):
    """Runs PurgeTxnLog, as operators do when a disk is full."""
    jars = member.argv[member.argv.index("-cp") + 1]
    directory = data_dir(member)
    with log.open("w") as output:
        main_class = "org.apache.zookeeper.server.PurgeTxnLog"
        subprocess.run(["java", "-cp", jars, main_class, directory, directory, "-n", "3"], check=True, stdout=output, stderr=output)
