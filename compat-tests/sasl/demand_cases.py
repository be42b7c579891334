"""Servers that require authentication, or tolerate its failure. Source: AuthenticationHelper, ServerCnxnFactory.configureSaslLogin."""

import contextlib
from base64 import b64encode
from hashlib import sha256
import os
import shutil
import tempfile
from pathlib import Path

import wire
from exchange import NO_TOKEN, authenticate, challenge, fails, response
from exchange_cases import identities
from harness import Scene, case, equal, table
from server import Deployment
from wire import ACL, Err

HERE = Path(__file__).resolve().parent
ALONE = "the same in an ensemble"
SASL = "authProvider.1=org.apache.zookeeper.server.auth.SASLAuthenticationProvider\n"
REQUIRED = Err.SESSION_CLOSED_REQUIRE_SASL_AUTH


@contextlib.contextmanager
def server(settings, jaas=HERE / "server.jaas", flags=""):
    """Runs a server of the kind under test with these settings, as a scene."""
    directory = tempfile.mkdtemp(prefix="compat-sasl-")
    flags += f" -Djava.security.auth.login.config={jaas}" if jaas else ""
    deployment = Deployment.create(os.environ["ZK_KIND"], directory, settings=settings, flags=flags)
    try:
        deployment.start()
        scene = Scene(("127.0.0.1", deployment.members[0].port), "false")
        try:
            yield scene
        finally:
            scene.end()
    finally:
        deployment.stop()
        shutil.rmtree(directory, ignore_errors=True)


def demanded(client, request=wire.PING):
    """Checks that the request is answered -124, and that the connection ends."""
    xid = client.send(request)
    reply = client.receive_reply()
    equal((reply.xid, reply.zxid, reply.err, reply.body), (xid, 0, REQUIRED, b""), "answer")
    client.is_closed()


def opened(scene):
    client = scene.connection()
    client.handshake()
    return client


def only_the_right_password_reads(scene, path):
    client = opened(scene)
    fails(client, response(challenge(client), "bob", "wrong")[0], REQUIRED)
    client = opened(scene)
    authenticate(client, "bob", "bobpw")
    client.ok(wire.get_data(path))


@case("demands", "sessionRequireClientSASLAuth", ALONE)
def required(_):
    with server(SASL + "sessionRequireClientSASLAuth=true\nallowSaslFailedClients=true\n") as scene:
        for request in (wire.PING, wire.get_data("/"), wire.create("/x"), wire.CLOSE, wire.WHO_AM_I, wire.Request(77, b"")):
            demanded(opened(scene), request)
        client = opened(scene)
        client.ok(wire.auth("digest", "bob:pw"), xid=wire.XID_AUTH)
        demanded(client)
        only_the_right_password_reads(scene, "/")


@case("demands", "enforce.auth.schemes with two schemes", ALONE)
def enforced(_):
    with server(SASL + "enforce.auth.enabled=true\nenforce.auth.schemes=digest, sasl\n") as scene:
        demanded(opened(scene))
        client = opened(scene)
        client.ok(wire.auth("ip", ""), xid=wire.XID_AUTH)
        demanded(client)
        client = opened(scene)
        client.ok(wire.auth("digest", "bob:pw"), xid=wire.XID_AUTH)
        client.ok(wire.create("/x"))
        only_the_right_password_reads(scene, "/x")


@case("demands", "enforce.auth.schemes with ip is satisfied by everybody", ALONE)
def enforced_ip(_):
    with server("enforce.auth.enabled=true\nenforce.auth.schemes=ip\n", jaas=None) as scene:
        opened(scene).ok(wire.get_data("/"))


@case("demands", "nothing of a client whose SASL fails, with allowSaslFailedClients", ALONE)
def failed(_):
    with server(SASL + "allowSaslFailedClients=true\nDigestAuthenticationProvider.digestAlg=SHA-256\n") as scene:
        client = opened(scene)
        client.ok(wire.sasl(response(challenge(client), "bob", "wrong")[0]), NO_TOKEN)
        client.ok(wire.sasl(b""), NO_TOKEN)
        equal(identities(client), [], "identities")
        client.ok(wire.auth("digest", "bob:pw"), xid=wire.XID_AUTH)
        client.ok(wire.create("/d", acl=[ACL(31, "auth", "")]))
        equal(client.acl("/d"), [ACL(31, "digest", "bob:" + b64encode(sha256(b"bob:pw").digest()).decode())], "ACL")


@case("demands", "an authProvider for ACLs", ALONE)
def no_provider(_):
    with server("") as scene:
        client = opened(scene)
        authenticate(client, "bob", "bobpw")
        equal(identities(client), [("sasl", "")], "identities")
        client.fails(wire.create("/x", acl=[ACL(31, "sasl", "bob")]), Err.INVALID_ACL)
        client.fails(wire.create("/x", acl=[ACL(31, "auth", "")]), Err.INVALID_ACL)


@case("demands", "another section, and names without host and realm", ALONE)
def section(_):
    removed = "kerberos.removeHostFromPrincipal=true\nkerberos.removeRealmFromPrincipal=true\n"
    with server(SASL + removed, flags="-Dzookeeper.sasl.serverconfig=Other") as scene:
        client = opened(scene)
        authenticate(client, "carol", "carolpw")
        equal(identities(client), [("sasl", "carol")], "identities")
    with server(SASL + removed) as scene:
        client = opened(scene)
        authenticate(client, "svc/host@", "svcpw")
        equal(identities(client), [("sasl", "svc")], "identities")


@case("demands", "nothing where the file has no such section", ALONE)
def no_section(_):
    with server(SASL, flags="-Dzookeeper.sasl.serverconfig=Nothing") as scene:
        opened(scene).ok(wire.sasl(b""), NO_TOKEN)


@table("does not start with", [
    ("a JAAS file that is not there", "", "/nowhere/server.jaas", None),
    ("a JAAS file that is none", "", HERE / "main.py", None),
    ("a Kerberos section without a keytab", "", None, "com.sun.security.auth.module.Krb5LoginModule required useKeyTab=true"),
    ("a login module that does not exist", "", None, "no.such.Module required"),
    ("sessionRequireClientSASLAuth and no provider", "sessionRequireClientSASLAuth=true\n", HERE / "server.jaas", None),
    ("an enforced scheme that is not there", "enforce.auth.enabled=true\nenforce.auth.schemes=digest,x\n", None, None),
    ("enforce.auth.enabled and no scheme", "enforce.auth.enabled=true\n", None, None),
    ("a digest that is not there", "DigestAuthenticationProvider.digestAlg=SHA-0\n", None, None),
], ALONE)
def refused(_, settings, jaas, module):
    with tempfile.NamedTemporaryFile("w", suffix=".jaas") as file:
        if module:
            file.write(f"Server {{ {module}; }};\n")
            file.flush()
        try:
            with server(settings, jaas=file.name if module else jaas):
                pass
        except RuntimeError as error:
            assert "ended while starting" in str(error), error
        else:
            raise AssertionError("it started")
