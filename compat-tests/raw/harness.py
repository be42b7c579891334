"""Registers and runs the raw cases; gives each case its own clients and its own part of the tree.

Owns the list of cases. Invariant: a case leaves no open session behind, because a session that expires
later would take a zxid in the middle of another case.
"""

import itertools
import os
import re
import subprocess
import sys
import time
import traceback
from collections import namedtuple

import wire
from connection import Closed, Connection, Notification, parse_address, read_handshake

# `only_alone` says why an ensemble cannot run this case; None for cases that run against any number of servers.
Case = namedtuple("Case", "feature name function only_alone", defaults=[None])

# ZooKeeper: the leader proposes a request it cannot decode under a used zxid; neither that nor anything after it ever commits.
ENDS_WRITES = "one such request ends all writes of an Apache ZooKeeper ensemble, until there is another leader"

SERVERS = int(os.environ.get("ZK_SERVERS", "1"))
CASES = []
CORNERS = itertools.count(1)
# Two runs against one server do not disturb each other; only the `fresh tree` cases then fail.
RUN = os.urandom(3).hex()


def case(feature, name, only_alone=None):
    """Registers a function taking a Scene as one case."""

    def register(function):
        CASES.append(Case(feature, name, function, only_alone))
        return function

    return register


def table(feature, rows, only_alone=None):
    """Registers one case per row: (name, arguments...); the function takes a Scene and the arguments."""

    def register(function):
        for name, *arguments in rows:
            CASES.append(Case(feature, name, lambda scene, given=arguments: function(scene, *given), only_alone))
        return function

    return register


# --- expectations -----------------------------------------------------------------------------


def equal(got, want, what):
    assert got == want, f"{what}: got {shown(got)}, expected {shown(want)}"


def shown(value):
    return value.hex(" ", -4) if isinstance(value, bytes) else str(value)


def error_name(code):
    return wire.Err(code).name if code in list(wire.Err) else str(code)


def event(kind, path, zxid):
    return Notification(zxid, kind, wire.SYNC_CONNECTED, path)


def new_stat(zxid, time_ms, owner=0, data_length=0):
    """Returns the Stat of a newly created znode."""
    return wire.Stat(zxid, zxid, time_ms, time_ms, 0, 0, 0, owner, data_length, 0, zxid)


def eventually(condition, what, wait_s=8.0):
    """Polls until `condition` holds; for things that a server does in its own time."""
    deadline = time.monotonic() + wait_s
    while not condition():
        assert time.monotonic() < deadline, f"{what}: not within {wait_s} s"
        time.sleep(0.02)


class Client(Connection):
    """A connection that checks replies as they arrive."""

    def ok(self, request, body=None, step=None, xid=None):
        """Sends a request; its reply must be a success with exactly `body`, and its zxid `step` after the last one seen."""
        return self.check(request, 0, body, step, xid)

    def fails(self, request, err, step=None, xid=None):
        """Sends a request; its reply must be a bare header with this error."""
        return self.check(request, err, b"", step, xid)

    def check(self, request, err, body, step, xid):
        before = self.last_zxid
        reply = self.ask(request, xid)
        what = f"{wire.Op(request.op).name}"
        equal(error_name(reply.err), error_name(err), f"error of {what}")
        if body is not None:
            equal(reply.body, body, f"body of {what}")
        if step is not None:
            equal(reply.zxid - before, step, f"zxid advance of {what}")
        return reply

    def writes(self, request, body=None):
        """Sends a write that succeeds: it takes exactly one zxid."""
        return self.ok(request, body, step=1)

    def refused(self, request, err):
        """Sends a write that fails: it takes exactly one zxid nonetheless."""
        return self.fails(request, err, step=1)

    def stat(self, path):
        reader = wire.Reader(self.ok(wire.exists(path)).body)
        stat = reader.stat()
        reader.end()
        return stat

    def data(self, path):
        return wire.Reader(self.ok(wire.get_data(path)).body).buffer()

    def names(self, path):
        reader = wire.Reader(self.ok(wire.get_children(path)).body)
        names = reader.vector(reader.ustring)
        reader.end()
        return sorted(names)

    def acl(self, path):
        reader = wire.Reader(self.ok(wire.get_acl(path)).body)
        return reader.vector(reader.acl)

    def missing(self, path):
        return self.ask(wire.exists(path)).err == wire.Err.NO_NODE

    def quiet(self):
        """Checks that the server has sent nothing more to this connection."""
        equal(self.settle(), [], "events")

    def is_closed(self, wait_s=5.0):
        """Checks that the server closes the connection and sends nothing first."""
        equal(self.receive_until_close(wait_s), b"", "bytes before the end of the stream")

    def is_closed_refusing(self, xid, wait_s=5.0):
        """Checks that the server closes the connection and does not carry out request `xid`, which was sent after closeSession."""
        rest = self.receive_until_close(wait_s)
        # ZooKeeper usually drops the request; if it was read off the socket early enough, the answer is SessionExpired.
        if rest:
            length, got, _, err = wire.REPLY_FRAME.unpack(rest)
            equal((length, got, err), (16, xid, wire.Err.SESSION_EXPIRED), "answer to a request behind closeSession")


class Scene:
    """The clients, connections and znodes that a case works with."""

    def __init__(self, address, ctl):
        self.address, self.ctl_program = address, ctl
        self.clients, self.corner = [], None

    def connection(self, address=None):
        """Opens a TCP connection without a session, to the server or to another of its ports."""
        client = Client(address or self.address)
        self.clients.append(client)
        return client

    def client(self, **request):
        """Opens a connection with a new session."""
        client = self.connection()
        client.handshake(**request)
        client.settle()
        return client

    @property
    def base(self):
        """Returns a fresh znode for this case alone."""
        if self.corner is None:
            maker = Client(self.address)
            maker.handshake()
            self.corner = f"/raw-{RUN}-{next(CORNERS)}"
            maker.ok(wire.create(self.corner))
            maker.end_session()
        return self.corner

    def ctl(self, verb):
        subprocess.run([self.ctl_program, verb], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def settle(self):
        """Waits until the leader, too, has applied what its follower has acknowledged."""
        # ZooKeeper: until a leader has applied a setACL, it checks writes against the previous ACL.
        if SERVERS > 1:
            self.ctl("settle")

    def end(self):
        for client in self.clients:
            end_client(client)


def end_client(client):
    """Closes session and connection, in whatever state the case left them."""
    try:
        if client.session:
            client.send(wire.CLOSE)
            client.receive_until_close(2.0)
    except (OSError, Closed):
        pass
    client.close()


def configuration_pattern():
    """Returns a pattern for an ensemble's configuration: a line for each server, then the version."""
    clients = map(re.escape, os.environ["ZK_CONNECT_ALL"].split(","))
    servers = (rf"server\.{number}=127\.0\.0\.1:\d+:\d+:participant;{client}\n" for number, client in enumerate(clients, start=1))
    return "".join(servers) + "version=0"


def sees_what_was_under_way(scene, rounds=40):
    """Resumes a session on a new connection and sends requests at once: they must see what the old connection had sent."""
    base, seen = scene.base, 0
    for number in range(rounds):
        first, again, path = scene.client(), scene.connection(), f"{base}/{number}"
        connect = wire.frame(wire.connect_body(session=first.session, password=first.password))
        requests = [wire.int32(xid) + wire.int32(ask.op) + ask.body for xid, ask in ((1, wire.sync(path)), (2, wire.exists(path)))]
        first.send(wire.create(path))
        again.send_raw(connect + b"".join(wire.frame(request) for request in requests))
        equal(read_handshake(again.receive_frame()).session, first.session, "session")
        equal(again.receive_reply().err, 0, "sync")
        seen += again.receive_reply().err == 0
        again.session, first.session, again.xid = first.session, 0, 2
    # ZooKeeper reads each connection with its own thread, and on a busy machine the later one is often quicker. A server that
    # does not wait for requests in flight would see hardly any.
    assert seen >= rounds / 2, f"{seen} of {rounds} times"


# --- running ----------------------------------------------------------------------------------


def run(words):
    """Runs the cases whose label contains all `words`; returns the exit status."""
    address = parse_address(os.environ["ZK_CONNECT"])
    ctl = os.environ.get("ZK_CTL", "false")
    failures = 0
    for item in CASES:
        label = f"{item.feature} / {item.name}"
        if not all(word in label for word in words):
            continue
        if SERVERS > 1 and item.only_alone:
            print(f"left out {label} # {item.only_alone}", flush=True)
        else:
            failures += run_case(label, item.function, Scene(address, ctl))
    return 1 if failures else 0


def run_case(label, function, scene):
    """Runs one case and prints its line; returns the number of failures."""
    started = time.monotonic()
    try:
        function(scene)
        print(f"ok {label}", flush=True)
        return 0
    except Exception as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        place = traceback.extract_tb(error.__traceback__)[1:]
        lines = "<".join(str(frame.lineno) for frame in reversed(place) if "cases" in frame.filename)
        print(f"not ok {label} # {reason} (line {lines})", flush=True)
        return 1
    finally:
        scene.end()
        if "RAW_TIMES" in os.environ:
            print(f"{time.monotonic() - started:7.3f} s {label}", file=sys.stderr)
