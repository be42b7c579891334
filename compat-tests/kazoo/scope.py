"""The environment of one Kazoo case: clients under a root of its own, closed when the case ends."""

import itertools
import os
import socket
import subprocess

from kazoo.client import KazooClient
from kazoo.retry import KazooRetry

CONNECT = os.environ["ZK_CONNECT"]
# The longest timeout the server grants: a session must outlive a restart.
TIMEOUT_S = 10.0

_numbers = itertools.count()


class Scope:
    """A case's clients: `zk` is the first one; `client()` makes more. All see only this case's znodes, unless told otherwise."""

    def __init__(self, name):
        self.root = f"/{name}-{os.getpid()}-{next(_numbers)}"
        self.clients = []
        with_root = self.client(root="")
        with_root.create(self.root)
        self.zk = self.client()

    # Kazoo waits for the answer to its handshake for the session's timeout divided by the number of servers it knows. A starting Apache
    # ZooKeeper now and then accepts a connection and never reads from it. Hence the list has the same server three times.
    def client(self, root=None, start=True, copies=3, reconnect_s=0.02, **named):
        named.setdefault("timeout", TIMEOUT_S)
        retry = KazooRetry(max_tries=-1, delay=reconnect_s, backoff=1.5, max_delay=max(reconnect_s, 0.3))
        hosts = ",".join([CONNECT] * copies) + (self.root if root is None else root)
        client = KazooClient(hosts=hosts, connection_retry=retry, **named)
        self.clients.append(client)
        if start:
            client.start(timeout=20)
        return client

    def close(self):
        for client in self.clients:
            client.stop()
            client.close()


def with_scope(function):
    scope = Scope(function.__name__)
    try:
        function(scope)
    finally:
        scope.close()


def control(action):
    done = subprocess.run([os.environ["ZK_CTL"], action], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def drop_socket(client):
    """Cuts the client's connection without a goodbye from either side."""
    client._connection._socket.shutdown(socket.SHUT_RDWR)
