"""Sessions: znodes that live and die with them, and state that survives lost sockets and server restarts."""

import os
import queue
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

from kazoo.client import KazooClient, KazooState
from kazoo.exceptions import ConnectionClosedError, NoNodeError

from cases import case, equal, eventually, raises
from scope import CONNECT, control, drop_socket
from server import four_letter_word

SHORT_S = 1.5


def states_of(client):
    states = []
    client.add_listener(states.append)
    return states


class Holder:
    """A session in its own process (session_holder.py)."""

    def __init__(self, t, path, timeout_s):
        script = Path(__file__).with_name("session_holder.py")
        arguments = [sys.executable, script, CONNECT + t.root, str(timeout_s), path]
        self.process = subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        self.lines = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()
        self.states = []
        self.session, self.password = self.await_state("HOLDS")

    def _read(self):
        for line in self.process.stdout:
            self.lines.put(line.split())

    def await_state(self, wanted, limit_s=20):
        """Reads states until the wanted one arrives. Then returns the session's id and password."""
        while True:
            state, session, password = self.lines.get(timeout=limit_s)
            self.states.append(state)
            if state == wanted:
                return int(session), bytes.fromhex(password)

    def signal(self, number):
        os.kill(self.process.pid, number)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()


@case("ephemerals")
def gone_when_the_client_closes(t):
    other = t.client()
    other.create("/e", b"x", ephemeral=True)
    equal(t.zk.exists("/e").ephemeralOwner, other.client_id[0])
    other.stop()
    equal(t.zk.exists("/e"), None)


@case("ephemerals")
def gone_when_the_session_expires(t):
    with Holder(t, "/e", SHORT_S) as holder:
        equal(t.zk.exists("/e").ephemeralOwner, holder.session)
        gone = threading.Event()
        t.zk.exists("/e", watch=lambda event: gone.set())
        holder.signal(signal.SIGKILL)
        killed = time.monotonic()
        assert gone.wait(15)
        lived_s = time.monotonic() - killed
    # The server heard from it within a third of the timeout before the kill; expiry is late by up to a tick, never early.
    assert lived_s > SHORT_S * 0.6, lived_s
    equal(t.zk.exists("/e"), None)


@case("ephemerals")
def kept_while_the_client_pings(t):
    with Holder(t, "/e", SHORT_S):
        time.sleep(3 * SHORT_S)
        assert t.zk.exists("/e")


@case("ephemerals")
def another_client_may_delete_them(t):
    t.client().create("/e", ephemeral=True)
    t.zk.delete("/e")
    t.zk.create("/e", b"mine")


@case("sessions")
def states_of_a_life(t):
    client = t.client(start=False)
    states = states_of(client)
    client.start()
    drop_socket(client)
    eventually(lambda: states.count(KazooState.CONNECTED) == 2)
    client.stop()
    equal(states, [KazooState.CONNECTED, KazooState.SUSPENDED, KazooState.CONNECTED, KazooState.LOST])
    raises(ConnectionClosedError, client.get, "/")


@case("sessions")
def timeout_is_negotiated(t):
    port = int(CONNECT.rpartition(":")[2])
    for asked_s, granted_ms in ((0.1, 1000), (4.0, 4000), (600.0, 10000)):
        client = t.client(timeout=asked_s)
        session = f"sid=0x{client.client_id[0]:x},"
        [line] = [line for line in four_letter_word(port, "cons").splitlines() if session in line]
        assert f",to={granted_ms}," in line, line


@case("sessions")
def dropped_socket_resumes_the_session(t):
    session, states = t.zk.client_id, states_of(t.zk)
    t.zk.create("/e", ephemeral=True)
    for _ in range(3):
        states.clear()
        drop_socket(t.zk)
        eventually(lambda: states == [KazooState.SUSPENDED, KazooState.CONNECTED])
        equal(t.zk.client_id, session)
        equal(t.zk.retry(t.zk.exists, "/e").ephemeralOwner, session[0])


@case("sessions")
def another_client_takes_over_by_id_and_password(t):
    with Holder(t, "/e", SHORT_S) as holder:
        holder.signal(signal.SIGKILL)
        heir = t.client(client_id=(holder.session, holder.password), timeout=SHORT_S)
        equal(heir.client_id, (holder.session, holder.password))
        time.sleep(2 * SHORT_S)
        equal(t.zk.exists("/e").ephemeralOwner, holder.session)
        heir.stop()
        equal(t.zk.exists("/e"), None)


@case("sessions")
def wrong_password_gets_a_new_session(t):
    t.zk.create("/e", ephemeral=True)
    session, _ = t.zk.client_id
    states = []
    intruder = t.client(client_id=(session, b"0123456789abcdef"), start=False)
    intruder.add_listener(states.append)
    intruder.start()
    assert intruder.client_id[0] != session
    intruder.stop()
    eventually(lambda: t.zk.connected)
    equal(t.zk.retry(t.zk.exists, "/e").ephemeralOwner, session)


@case("sessions")
def unknown_session_gets_a_new_one(t):
    client = t.client(client_id=(0x1234567812345678, b"0123456789abcdef"))
    assert client.client_id[0] not in (0, 0x1234567812345678)


@case("sessions")
def closed_by_another_is_lost_here(t):
    client = t.client(copies=1, reconnect_s=1.0)
    states = states_of(client)
    client.create("/e", ephemeral=True)
    session = client.client_id
    takeover = KazooClient(hosts=CONNECT, client_id=session)
    takeover.start()
    takeover.stop()
    takeover.close()
    eventually(lambda: KazooState.LOST in states and states[-1] == KazooState.CONNECTED)
    assert client.client_id[0] != session[0]
    equal(t.zk.exists("/e"), None)


@case("sessions")
def expired_client_starts_anew(t):
    with Holder(t, "/e", SHORT_S) as holder:
        holder.signal(signal.SIGSTOP)
        eventually(lambda: t.zk.exists("/e") is None)
        holder.signal(signal.SIGCONT)
        holder.await_state(KazooState.LOST)
        new_session, _ = holder.await_state(KazooState.CONNECTED)
        assert new_session != holder.session
        assert holder.states.index(KazooState.SUSPENDED) < holder.states.index(KazooState.LOST)


def kept_through(t, disturb):
    """Checks what every client relies on when its server restarts: session, ephemerals, data, Stats, counters, locks."""
    t.zk.create("/data", b"kept")
    stat = t.zk.set("/data", b"kept twice")
    t.zk.create("/e", ephemeral=True)
    t.zk.create("/p/n-", sequence=True, makepath=True)
    lock = t.zk.Lock("/lock", "holder")
    lock.acquire()
    calls = []
    t.zk.DataWatch("/data", lambda data, stat: calls.append(data))
    session, states = t.zk.client_id, states_of(t.zk)
    disturb()
    eventually(lambda: states and t.zk.connected, 30)
    equal((t.zk.client_id, KazooState.LOST in states), (session, False))
    equal(t.zk.retry(t.zk.get, "/data"), (b"kept twice", stat))
    equal(t.zk.retry(t.zk.exists, "/e").ephemeralOwner, session[0])
    equal(t.zk.create("/p/n-", sequence=True), "/p/n-0000000001")
    other = t.client()
    equal(lock.contenders(), ["holder"])
    equal(other.Lock("/lock").acquire(blocking=False), False)
    later = other.set("/data", b"after")
    assert later.mzxid > stat.mzxid and later.version == stat.version + 1
    eventually(lambda: calls[-1] == b"after")
    t.zk.stop()
    equal(other.exists("/e"), None)


@case("restart", alone=True)
def everything_is_kept(t):
    kept_through(t, lambda: control("restart"))


@case("restart", alone=True)
def everything_is_kept_after_kill_9(t):
    def kill_and_start():
        control("kill9")
        control("start")

    kept_through(t, kill_and_start)


@case("restart", alone=True)
def acknowledged_writes_survive_kill_9(t):
    t.zk.create("/n")
    done = 0
    pending = [t.zk.set_async("/n", str(number).encode()) for number in range(300)]
    for result in pending:
        result.get(timeout=20)
        done += 1
        if done == 150:
            break
    control("kill9")
    acknowledged = sum(result.ready() and result.successful() for result in pending)
    control("start")
    eventually(lambda: t.zk.connected, 30)
    data, stat = t.zk.retry(t.zk.get, "/n")
    assert stat.version >= acknowledged >= 150, (stat.version, acknowledged)
    equal(int(data), stat.version - 1)


@case("restart", alone=True)
def session_of_a_dead_client_expires_after_the_restart(t):
    with Holder(t, "/e", 5.0) as holder:
        try:
            control("stop")
            holder.signal(signal.SIGKILL)
        finally:
            control("start")
        eventually(lambda: t.zk.connected, 30)
        assert t.zk.retry(t.zk.exists, "/e"), "expired before its timeout"
        eventually(lambda: t.zk.exists("/e") is None)


@case("restart", alone=True)
def deleted_stays_deleted(t):
    t.zk.create("/a")
    t.zk.delete("/a")
    control("restart")
    eventually(lambda: t.zk.connected, 30)
    raises(NoNodeError, t.zk.retry, t.zk.get, "/a")


@case("restart", alone=True)
def lock_waiter_gets_its_turn_after_the_restart(t):
    holder = t.client()
    lock = holder.Lock("/lock")
    lock.acquire()
    acquired = threading.Event()
    threading.Thread(target=lambda: (t.zk.Lock("/lock").acquire(), acquired.set()), daemon=True).start()
    eventually(lambda: len(holder.get_children("/lock")) == 2)
    control("restart")
    eventually(lambda: holder.connected and t.zk.connected, 30)
    assert not acquired.wait(0.3)
    lock.release()
    assert acquired.wait(10)


@case("restart", alone=True)
def stopped_server_refuses_connections(t):
    host, _, port = CONNECT.split(",")[0].rpartition(":")
    try:
        control("stop")
        raises(ConnectionRefusedError, socket.create_connection, (host, int(port)), 1)
    finally:
        control("start")
    eventually(lambda: t.zk.connected, 30)
