"""Servers that accept every kind of identity, and clients with one: by password, by SASL, by certificate, or none."""

import exchange
import wire
from certificates import Maker
from secure import CLIENT, DIRECTORY, SECURE_PORT, context, restart, stores

__all__ = ["CLIENT", "digest", "over_tls", "plain_client", "sasl", "serve"]


def serve(settings=""):
    """Restarts the suite's servers with TLS and these settings; a client certificate is accepted but not required."""
    maker = Maker(DIRECTORY)
    maker.authority("ca")
    for name in ("server", "client", "super"):
        maker.certificate(name)
    maker.certificate("another", subject="/CN=another")
    restart(stores("server.pem", "ca.pem") + "ssl.clientAuth=want\n" + settings)


# Each of these returns a function from a Scene to a client of it, with a session.


def plain_client(scene):
    return scene.client()


def digest(credentials):
    def connect(scene):
        client = scene.client()
        client.ok(wire.auth("digest", credentials), b"", xid=wire.XID_AUTH)
        return client

    return connect


def sasl(user, password):
    def connect(scene):
        client = scene.client()
        exchange.authenticate(client, user, password)
        return client

    return connect


def over_tls(certificate=None):
    """Connects with a certificate, or without one."""

    def connect(scene):
        client = scene.connection(("127.0.0.1", SECURE_PORT))
        client.socket = context(certificate).wrap_socket(client.socket, server_hostname="localhost")
        client.handshake()
        return client

    return connect
