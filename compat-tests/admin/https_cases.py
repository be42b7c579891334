"""HTTPS for administrators. Source: JettyAdminServer, UnifiedConnectionFactory."""

import contextlib
import functools
import http.client
import json
import ssl
import sys
from pathlib import Path

from harness import case, equal
from http_site import DEPLOYMENT, ask, own_server
from server import free_ports

sys.path.append(str(Path(__file__).resolve().parent.parent / "tls"))
from certificates import Maker  # noqa: E402

STORES = DEPLOYMENT / "stores"


@functools.cache
def make_stores():
    maker = Maker(STORES)
    for authority in ("ca", "other-ca"):
        maker.authority(authority)
    maker.certificate("server")
    maker.certificate("client")
    maker.certificate("foreign", "other-ca")


@contextlib.contextmanager
def served(settings):
    make_stores()
    [port] = free_ports(1)
    stores = f"ssl.quorum.keyStore.location={STORES}/server.pem\nssl.quorum.trustStore.location={STORES}/ca.pem\n"
    common = f"admin.enableServer=true\nadmin.serverAddress=127.0.0.1\nadmin.serverPort={port}\n"
    with own_server(common + stores + settings) as deployment:
        deployment.start()
        yield port


def ask_securely(port, path, own=None):
    """Returns status, headers and body of the answer; `own` is the certificate to show."""
    trusting = ssl.create_default_context(cafile=STORES / "ca.pem")
    if own:
        trusting.load_cert_chain(STORES / f"{own}.pem")
    connection = http.client.HTTPSConnection("localhost", port, timeout=10, context=trusting)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read().decode()
    finally:
        connection.close()


def refused(question, *arguments):
    try:
        answer = question(*arguments)
    except (OSError, http.client.HTTPException):
        return
    raise AssertionError(f"was answered: {answer}")


@case("https", "beside plain HTTP")
def unified(_):
    with served("admin.portUnification=true\n") as port:
        equal(ask(port, "/commands/ruok")[0], 200, "status without TLS")
        status, headers, body = ask_securely(port, "/commands/ruok")
        equal((status, json.loads(body)), (200, {"command": "ruok", "error": None}), "answer with TLS")
        equal(headers.get("strict-transport-security"), "max-age=86400; includeSubDomains", "header")


@case("https", "nothing but HTTPS, with certificates on both sides")
def forced(_):
    with served("admin.forceHttps=true\nadmin.needClientAuth=true\n") as port:
        equal(ask_securely(port, "/commands/ruok", "client")[0], 200, "status")
        refused(ask, port, "/commands/ruok")
        refused(ask_securely, port, "/commands/ruok")
        refused(ask_securely, port, "/commands/ruok", "foreign")
        equal(ask_securely(port, "/commands/ruok", "client")[0], 200, "status after those")
