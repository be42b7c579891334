"""A suite's servers with a TLS port, and connections to it; shared by suites that use certificates.

Owns the port, and a directory inside the deployment, which its users fill with keys (certificates.py).
"""

import os
import socket
import ssl
import tempfile
from pathlib import Path

from cases import eventually
from certificates import PASSWORD
from server import Deployment, free_ports

DEPLOYMENT = Path(os.environ["ZK_CTL"]).parent
DIRECTORY = Path(tempfile.mkdtemp(prefix="compat-tls-", dir=DEPLOYMENT))
PORT = int(os.environ["ZK_CONNECT"].rpartition(":")[2])
# The TLS port of the server that listens on PORT.
[SECURE_PORT] = free_ports(1)
# The identity of a client that shows the certificate `client`.
CLIENT = "CN=client,OU=one+OU=two,O=Example\\, Inc.,C=DE"
ANSWER_S = 10

COMMON = """\
serverCnxnFactory=org.apache.zookeeper.server.NettyServerCnxnFactory
client.certReload=true
ssl.enabledProtocols=TLSv1.2,TLSv1.3
X509AuthenticationProvider.superUser=CN=super
"""


def stores(keys, trust):
    """Returns the lines of zoo.cfg. The key in a PEM file has no password, and then Java's reader must not be given one."""
    files = {"keyStore": keys, "trustStore": trust}
    locations = "".join(f"ssl.{store}.location={DIRECTORY}/{file}\n" for store, file in files.items())
    return locations + "".join(f"ssl.{store}.password={PASSWORD}\n" for store, file in files.items() if not file.endswith(".pem"))


def restart(settings):
    """Restarts the servers with these settings added to those given. Every member of an ensemble must know the scheme x509."""
    deployment = Deployment(DEPLOYMENT)
    for member in deployment.members:
        config = member.directory / "zoo.cfg"
        given = member.directory / "zoo.cfg.given"
        if not given.exists():
            given.write_text(config.read_text())
        [port] = [SECURE_PORT] if member.port == PORT else free_ports(1)
        config.write_text(given.read_text() + f"secureClientPort={port}\n" + COMMON + settings)
    deployment.stop()
    deployment.start()
    # Apache ZooKeeper opens this port a moment after it starts to serve.
    eventually(is_open)


def is_open():
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", SECURE_PORT)) == 0


def context(who=None, least=ssl.TLSVersion.TLSv1_2, most=ssl.TLSVersion.TLSv1_3):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version, context.maximum_version = least, most
    context.load_verify_locations(DIRECTORY / "ca.pem")
    if who:
        pair = [DIRECTORY / f"{who}.pem"] if who != "listed" else [DIRECTORY / "listed.pem", DIRECTORY / "listed.key.pem"]
        context.load_cert_chain(*pair)
    return context


def dial(who=None, port=SECURE_PORT, name="localhost", **versions):
    """Opens a connection over TLS, with the certificate of `who` or none."""
    plain = socket.create_connection(("127.0.0.1", port), timeout=ANSWER_S)
    return context(who, **versions).wrap_socket(plain, server_hostname=name)
