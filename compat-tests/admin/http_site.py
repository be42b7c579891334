"""The HTTP side of the servers under test."""

import contextlib
import http.client
import json
import os
import re
import shutil
import tempfile
from pathlib import Path

from connection import Connection, four_letter, parse_address
from server import Deployment

CONNECT = os.environ["ZK_CONNECT"]
ALL = os.environ["ZK_CONNECT_ALL"].split(",")
DEPLOYMENT = Path(os.environ["ZK_CTL"]).resolve().parent


def admin_port(config):
    """Returns the admin port in the server's zoo.cfg."""
    return int(re.findall(r"^admin\.serverPort=(\d+)$", Path(config).read_text(), re.M)[-1])


class Site:
    """The HTTP side of one server, identified by its number."""

    def __init__(self, number):
        self.number = number
        self.port = admin_port(DEPLOYMENT / f"server-{number}" / "zoo.cfg")
        self.client = parse_address(ALL[number - 1])

    def word(self, word):
        answer = four_letter(self.client, word)
        return answer.decode() if isinstance(answer, bytes) else answer

    @property
    def mode(self):
        return re.search(r"^Mode: (.*)$", self.word("srvr"), re.M)[1]

    def ask(self, path, method="GET", body=None, **headers):
        return ask(self.port, path, method, body, **headers)

    def command(self, name):
        """Returns the members of a command's reply."""
        status, _, body = self.ask(f"/commands/{name}")
        assert status == 200, f"{name}: {status} {body[:200]}"
        return json.loads(body)

    def session(self):
        client = Connection(self.client)
        client.handshake(timeout_ms=8_000)
        return client


def ask(port, path, method="GET", body=None, decode=True, **headers):
    """Returns status, headers and body of the answer; the body is text unless `decode` is false."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request(method, path, body, {name.capitalize(): value for name, value in headers.items()})
        answer = connection.getresponse()
        content = answer.read()
        named = {name.lower(): value for name, value in answer.getheaders()}
        return answer.status, named, content.decode() if decode else content
    finally:
        connection.close()


#: The server that suites talk to, and all servers.
MAIN = Site(ALL.index(CONNECT) + 1)
SITES = [Site(number) for number in range(1, len(ALL) + 1)]


@contextlib.contextmanager
def own_server(settings, kind=None):
    """Runs a server with these settings, of the kind under test unless another is given."""
    directory = tempfile.mkdtemp(prefix="compat-admin-")
    deployment = Deployment.create(kind or os.environ["ZK_KIND"], directory, settings=settings)
    try:
        yield deployment
    finally:
        deployment.stop()
        shutil.rmtree(directory, ignore_errors=True)
