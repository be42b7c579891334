"""A client process that tests can stop or kill: session_holder.py HOSTS TIMEOUT_S PATH.

Creates PATH as an ephemeral and prints every state its client passes through, with the session's id and password.
"""

import sys
import threading

from kazoo.client import KazooClient

hosts, timeout_s, path = sys.argv[1:]
client = KazooClient(hosts=hosts, timeout=float(timeout_s))


def tell(state):
    session, password = client.client_id or (0, b"\0" * 16)
    print(state, session, password.hex(), flush=True)


client.add_listener(tell)
client.start()
client.create(path, ephemeral=True)
tell("HOLDS")
threading.Event().wait()
