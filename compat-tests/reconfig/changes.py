"""Members that leave, join and change, as clients see it: in replies, events and four-letter words."""

import socket

import wire
from connection import Closed
from errors import SUPER
from files import DIRECTORY, members
from harness import SERVERS, case, equal, event, eventually
from server import free_ports
from wire import Err, Event, reconfig

CONFIG = "/zookeeper/config"
FEATURE = "reconfig"


def superuser(scene):
    client = scene.client()
    client.ok(SUPER)
    return client


def changed(client, request):
    """Asks for a change. The reply must be the new content of /zookeeper/config, made by the reply's zxid. Returns its lines."""
    before = client.last_zxid
    reply = client.ok(request)
    reader = wire.Reader(reply.body)
    data, stat = reader.buffer(), reader.stat()
    reader.end()
    assert reply.zxid > before, "zxid"
    lines = data.decode().split("\n")
    equal(lines[-1], f"version={reply.zxid:x}", "version")
    equal((stat.mzxid, stat.version, stat.aversion, stat.data_length), (reply.zxid, -1, -1, len(data)), "Stat")
    # ZooKeeper: each server lists the members in the order of its own hash table.
    shown = client.data(CONFIG).decode().split("\n")
    equal((sorted(shown[:-1]), shown[-1]), (sorted(lines[:-1]), lines[-1]), "data of the znode")
    return sorted(lines[:-1])


def line_of(lines, number):
    return next((line for line in lines if line.startswith(f"server.{number}=")), None)


@case(FEATURE, "an observer joins and leaves")
def observer(scene):
    if SERVERS == 1:
        return
    client, watcher = superuser(scene), scene.client()
    before, _ = members(client)
    watcher.ok(wire.get_data(CONFIG, True))
    lines = changed(client, reconfig("server.9=127.0.0.1:39:40:observer;41"))
    equal(lines, [*before, "server.9=127.0.0.1:39:40:observer;0.0.0.0:41"], "members")
    eventually(lambda: watcher.settle() or watcher.events, "event")
    equal(members(watcher)[0], lines, "what others read")
    lines = changed(client, reconfig("9=127.0.0.1:49:50:observer;127.0.0.1:51"))
    equal(lines, [*before, "server.9=127.0.0.1:49:50:observer;127.0.0.1:51"], "members")
    equal(changed(client, reconfig(None, "9,77")), before, "members")


@case(FEATURE, "the event tells the zxid")
def told(scene):
    if SERVERS == 1:
        return
    client = superuser(scene)
    client.ok(wire.get_data(CONFIG, True))
    client.send(reconfig("server.9=127.0.0.1:39:40:observer;41"))
    reply = client.receive_reply()
    equal((reply.err, client.take_events()), (0, [event(Event.DATA_CHANGED, CONFIG, reply.zxid)]), "event before reply")
    changed(client, reconfig(None, "9"))


@case(FEATURE, "the version must be the current one")
def version(scene):
    if SERVERS == 1:
        return
    client = superuser(scene)
    _, current = members(client)
    current = int(current, 16)
    client.refused(reconfig("server.9=127.0.0.1:39:40:observer;41", config_id=current + 1), Err.BAD_VERSION)
    changed(client, reconfig("server.9=127.0.0.1:39:40:observer;41", config_id=current))
    client.refused(reconfig(None, "9", config_id=current), Err.BAD_VERSION)
    changed(client, reconfig(None, "9"))


@case(FEATURE, "nothing to do is a change all the same")
def nothing(scene):
    if SERVERS == 1:
        return
    client = superuser(scene)
    before, was = members(client)
    equal(changed(client, reconfig()), before, "members")
    assert members(client)[1] != was
    equal(changed(client, reconfig(members="\n".join(before))), before, "members")
    equal(changed(client, reconfig(members=",".join([*before, "version=7"]))), before, "members")


@case(FEATURE, "what is in the znode does not matter")
def overwritten(scene):
    if SERVERS == 1:
        return
    client = superuser(scene)
    before, _ = members(client)
    client.ok(wire.set_data(CONFIG, b"server.1=nonsense"))
    equal(changed(client, reconfig()), before, "members")


@case(FEATURE, "a voter leaves and comes back")
def voter(scene):
    if SERVERS == 1:
        return
    client, path = superuser(scene), f"{scene.base}/a"
    client.ok(wire.create(path))
    before, _ = members(client)
    gone = next(number for number in (3, 2, 1) if not line_of(before, number).endswith(f";127.0.0.1:{scene.address[1]}"))
    line = line_of(before, gone)
    left = eventually_changed(scene, reconfig(None, str(gone)))
    equal(left, [other for other in before if other != line], "members")
    eventually_answered(scene, wire.set_data(path, b"1"))
    equal(eventually_changed(scene, reconfig(line)), before, "members")
    eventually_answered(scene, wire.set_data(path, b"2"))


def eventually_changed(scene, request):
    reply = eventually_answered(scene, request)
    return sorted(wire.Reader(reply.body).buffer().decode().split("\n")[:-1])


def eventually_answered(scene, request):
    """Returns the reply to `request`. Tries again while servers are not in step yet, which may also cost the connection."""
    replies = []

    def answered():
        try:
            replies.append(superuser(scene).ask(request))
            return replies[-1].err == 0
        except (OSError, Closed):
            return False

    eventually(answered, "success", wait_s=20.0)
    return replies[-1]


@case(FEATURE, "files follow")
def files(scene):
    if SERVERS == 1:
        return
    eventually_answered(scene, wire.sync("/"))
    client = superuser(scene)
    changed(client, reconfig("server.9=127.0.0.1:39:40:observer;41"))
    lines, version = members(client)
    for number in range(1, SERVERS + 1):
        path = DIRECTORY / f"server-{number}" / f"zoo.cfg.dynamic.{version}"
        eventually(path.exists, path.name)
        equal(path.read_text(), "\n".join(lines), "dynamic file")
        configuration = path.with_name("zoo.cfg")
        eventually(lambda: f"dynamicConfigFile={path}\n" in configuration.read_text(), "dynamicConfigFile")
    changed(client, reconfig(None, "9"))


@case(FEATURE, "clients move with their server's line")
def moved(scene):
    """Checks that the new port opens without a restart, that the old one closes, and that a connected client stays connected."""
    if SERVERS == 1:
        return
    client = superuser(scene)
    before, _ = members(client)
    number = next(number for number in (1, 2, 3) if not line_of(before, number).endswith(f";127.0.0.1:{scene.address[1]}"))
    line = line_of(before, number)
    elsewhere, _, old_port = line.rpartition(":")
    old, (new_port,) = (scene.address[0], int(old_port)), free_ports(1)
    stays = at(scene, old)
    changed(client, reconfig(f"{elsewhere}:{new_port}"))
    eventually(lambda: accepts((old[0], new_port)) and not accepts(old), "the port has moved")
    at(scene, (old[0], new_port)).ok(wire.sync("/"))
    stays.ok(wire.sync("/"))
    changed(client, reconfig(line))
    eventually(lambda: accepts(old) and not accepts((old[0], new_port)), "the port is where it was")


def at(scene, address, connect=lambda scene: scene.client()):
    """Returns a client of another server, which ends with the scene."""
    here, scene.address = scene.address, address
    try:
        return connect(scene)
    finally:
        scene.address = here


def accepts(address):
    try:
        socket.create_connection(address, 2.0).close()
        return True
    except OSError:
        return False
