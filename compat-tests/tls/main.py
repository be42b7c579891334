"""Clients with TLS: certificates as identities, accepted and refused clients, both kinds of port, stores of every type.

The suite restarts its server with its own settings: a TLS port, and TLS beside plain on the ordinary port.
"""

import logging
import os
import re
import socket
import ssl
import subprocess
import sys
import threading
from pathlib import Path

import lock
import wire
from cases import case, equal, eventually, run_all
from certificates import PASSWORD, Maker
from connection import Closed, Connection
from kazoo.client import KazooClient
from secure import ANSWER_S, CLIENT, DEPLOYMENT, DIRECTORY, PORT, SECURE_PORT, context, dial, restart, stores
from server import Deployment, oxkeeper_binary

HERE = Path(__file__).resolve().parent
BIN = HERE.parent.parent / "bin"

# --- clients -------------------------------------------------------------------------------------------------------------


class Raw(Connection):
    """A raw client over TLS with a session."""

    def __init__(self, who=None, port=SECURE_PORT, **versions):
        super().__init__(("127.0.0.1", port))
        self.socket = context(who, **versions).wrap_socket(self.socket, server_hostname="localhost")
        self.handshake()

    def identities(self):
        reader = wire.Reader(self.ask(wire.WHO_AM_I).body)
        return sorted(reader.vector(lambda: (reader.ustring(), reader.ustring())))

    def data(self, path):
        """Returns the data, or the error."""
        reply = self.ask(wire.get_data(path))
        return wire.Reader(reply.body).buffer() if reply.err == 0 else reply.err


def kazoo(who, port=SECURE_PORT):
    files = {"keyfile": str(DIRECTORY / f"{who}.key.pem"), "certfile": str(DIRECTORY / f"{who}.crt.pem")}
    client = KazooClient(f"127.0.0.1:{port}", use_ssl=True, ca=str(DIRECTORY / "ca.pem"), verify_certs=True, **files)
    client.start(timeout=ANSWER_S)
    return client


def word(port, word, who=None):
    """Returns the whole answer to a four-letter word, over TLS if `who` is given."""
    connection = dial(who, port) if who else socket.create_connection(("127.0.0.1", port), timeout=ANSWER_S)
    with connection:
        connection.sendall(word.encode())
        return b"".join(iter(lambda: connection.recv(65536), b"")).decode()


def refused(**how):
    """Checks that the client gets no session, in whatever way TLS or TCP reports that."""
    try:
        Raw(**how)
    except (ssl.SSLError, ConnectionError, Closed):
        return
    raise AssertionError("it was let in")


NO_AUTH, INVALID_ACL = -102, -114
IP = ("ip", "127.0.0.1")


def x509_acl(subject):
    return [wire.ACL(wire.ALL, "x509", subject)]


# --- a key store and a trust store made by keytool; every client needs a certificate -----------------------------------------


@case("ports")
def four_letter_words_are_answered_over_tls():
    equal(word(SECURE_PORT, "ruok", "client"), "imok")
    conf = word(SECURE_PORT, "conf", "client").splitlines()
    equal(conf[:2], [f"clientPort={PORT}", f"secureClientPort={SECURE_PORT}"])


@case("ports")
def one_port_takes_both():
    equal(word(PORT, "ruok"), "imok")
    equal(word(PORT, "ruok", "client"), "imok")
    equal(Raw("client", PORT).identities(), [IP, ("x509", CLIENT)])


@case("ports")
def plain_bytes_are_no_tls():
    with socket.create_connection(("127.0.0.1", SECURE_PORT), timeout=ANSWER_S) as connection:
        connection.sendall(wire.frame(wire.connect_body()))
        try:
            answer = connection.recv(4096)
        except ConnectionError:
            answer = b""
        assert len(answer) < 20, answer  # at most an alert


@case("ports")
def a_handshake_in_small_pieces():
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    session = context("client").wrap_bio(to_client, to_server, server_hostname="localhost")
    with socket.create_connection(("127.0.0.1", SECURE_PORT), timeout=ANSWER_S) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while True:
            try:
                session.do_handshake()
                break
            except ssl.SSLWantReadError:
                for byte in to_server.read():
                    connection.sendall(bytes([byte]))
                to_client.write(connection.recv(4096))
        session.write(b"ruok")
        for byte in to_server.read():
            connection.sendall(bytes([byte]))
        to_client.write(connection.recv(4096))
        equal(session.read(4), b"imok")


@case("versions")
def tls_1_2():
    client = Raw("client", most=ssl.TLSVersion.TLSv1_2)
    equal(client.socket.version(), "TLSv1.2")
    equal(client.identities(), [IP, ("x509", CLIENT)])


@case("versions")
def tls_1_3():
    client = Raw("client", least=ssl.TLSVersion.TLSv1_3)
    equal(client.socket.version(), "TLSv1.3")
    equal(client.identities(), [IP, ("x509", CLIENT)])


@case("who is let in")
def nobody_without_a_certificate():
    refused()


@case("who is let in")
def nobody_with_a_certificate_of_another_authority():
    refused(who="foreign")


@case("who is let in")
def nobody_whose_certificate_has_expired():
    refused(who="expired")


@case("who is let in")
def who_has_a_certificate_of_version_1():
    for most in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        equal(Raw("old", most=most).identities(), [IP, ("x509", "CN=old")])
    refused(who="old-foreign")


@case("who is let in")
def who_is_in_the_trust_store_and_nobody_on_their_word():
    equal(Raw("listed").identities(), [IP, ("x509", "CN=listed")])
    refused(who="forged")


@case("who is let in")
def others_are_served_after_those_were_refused():
    for who in (None, "foreign", "expired", "old-foreign", "forged"):
        refused(who=who)
    equal(Raw("client").identities(), [IP, ("x509", CLIENT)])


@case("acl")
def the_subject_is_an_identity():
    client = Raw("client")
    equal(client.ask(wire.create("/mine", b"x", x509_acl(CLIENT))).err, 0)
    equal(client.data("/mine"), b"x")
    equal(Raw("server").data("/mine"), NO_AUTH)
    plain = Connection(("127.0.0.1", PORT))
    plain.handshake()
    equal(plain.ask(wire.get_data("/mine")).err, NO_AUTH)
    equal(Raw("super").data("/mine"), b"x")


@case("acl")
def auth_stands_for_the_subject():
    client = Raw("client")
    equal(client.ask(wire.create("/auth", b"x", [wire.ACL(wire.ALL, "auth", "")])).err, 0)
    reader = wire.Reader(client.ask(wire.get_acl("/auth")).body)
    equal(reader.vector(reader.acl), [wire.ACL(wire.ALL, "x509", CLIENT)])


@case("acl")
def a_certificate_may_be_claimed_by_who_has_shown_it():
    client = Raw("client")
    equal(client.ask(wire.auth("x509", ""), wire.XID_AUTH).err, 0)
    equal(client.identities(), [IP, ("x509", CLIENT)])
    plain = Connection(("127.0.0.1", PORT))
    plain.handshake()
    equal(plain.ask(wire.auth("x509", CLIENT), wire.XID_AUTH).err, wire.Err.AUTH_FAILED)
    equal(plain.receive_until_close(), b"")


@case("acl")
def subjects_are_spelled_in_one_way_only():
    client = Raw("client")
    spelled_otherwise = CLIENT.replace("CN=client", "cn=client")
    equal(client.ask(wire.create("/otherwise", b"x", x509_acl(spelled_otherwise))).err, 0)
    equal(client.data("/otherwise"), NO_AUTH)


@case("acl")
def what_is_no_subject_is_refused():
    client = Raw("client")
    wrong = ["CN", "X=a", "CN=a,", "CN=a,,O=b", "=a", "anyone", "CN=#zz"]
    equal([client.ask(wire.create("/wrong", b"", x509_acl(subject))).err for subject in wrong], [INVALID_ACL] * len(wrong))
    right = ["", " CN = a , O=b", "CN=a;O=b", "2.5.4.3=a", "OID.2.5.4.3=a", 'CN="a,b"', "CN=a+OU=b", "CN=#0c0161", "CN=a=b", "CN=", "T=x"]
    paths = [f"/right-{number}" for number in range(len(right))]
    equal([client.ask(wire.create(path, b"", x509_acl(subject))).err for path, subject in zip(paths, right)], [0] * len(right))


@case("kazoo")
def reads_writes_watches_and_long_data():
    client = kazoo("client")
    try:
        seen = threading.Event()
        client.create("/kazoo", b"x" * 1_000_000)
        equal(len(client.get("/kazoo", watch=lambda _event: seen.set())[0]), 1_000_000)
        client.set("/kazoo", b"y")
        assert seen.wait(ANSWER_S)
        answers = [client.get_async("/kazoo") for _ in range(2000)]
        equal({answer.get(timeout=ANSWER_S)[0] for answer in answers}, {b"y"})
    finally:
        client.stop()
        client.close()


@case("kazoo")
def a_session_goes_on_over_another_connection():
    client = kazoo("client")
    try:
        client.create("/kazoo-ephemeral", ephemeral=True)
        session = client.client_id
        client._connection._socket.shutdown(socket.SHUT_RDWR)
        assert eventually(lambda: client.retry(client.exists, "/kazoo-ephemeral"))
        equal(client.client_id, session)
    finally:
        client.stop()
        client.close()


@case("java")
def key_and_trust_stores_of_every_type():
    jars = HERE.parent / ".work" / "java"
    quick_start = ["-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xmx256m"]
    stores = ["client.jks:trust.jks", "client.p12:trust.p12", "client.locked.pem:ca.pem"]
    command = ["java", *quick_start, "-cp", f"{jars}/classes:{jars}/lib/*", "compat.tls.Tls", f"127.0.0.1:{SECURE_PORT}", DIRECTORY, PASSWORD]
    done = subprocess.run([*command, *stores], stdin=subprocess.DEVNULL, capture_output=True, text=True)
    expected = "".join(f"{pair} ip:127.0.0.1 x509:{CLIENT} hello\n" for pair in stores)
    assert (done.returncode, done.stdout) == (0, expected), f"exit code {done.returncode}, {done.stdout!r}, {done.stderr[-500:]!r}"


@case("curator", alone=True)
def a_lock_outlives_a_restart():
    flags = [f"-D{key}={value}" for key, value in client_properties().items()]
    deployment = Deployment(DEPLOYMENT)
    equal(lock.outlives_a_restart(f"127.0.0.1:{SECURE_PORT}", flags, deployment.restart), (f"ip:127.0.0.1 x509:{CLIENT}", lock.HELD))


# --- oxkeeper's own client ------------------------------------------------------------------------------------------------------


def client_properties(keys="client.jks", trust="trust.jks"):
    secure = {"zookeeper.client.secure": "true", "zookeeper.clientCnxnSocket": "org.apache.zookeeper.ClientCnxnSocketNetty"}
    files = {"keyStore": keys, "trustStore": trust}
    named = {f"zookeeper.ssl.{store}.{what}": value for store, file in files.items() for what, value in (("location", DIRECTORY / file), ("password", PASSWORD))}
    return secure | named


def own(*arguments, properties=None):
    """Runs one of our commands, or a script in bin/; returns exit code, output, errors."""
    flags = " ".join(f"'-D{key}={value}'" for key, value in (properties or {}).items())
    environment = {**os.environ, "OXKEEPER": str(oxkeeper_binary()), "CLIENT_JVMFLAGS": flags, "ZOOCFGDIR": str(DIRECTORY)}
    done = subprocess.run(arguments, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=30)
    return done.returncode, done.stdout, done.stderr


def shell(*arguments, properties=None):
    return own(BIN / "zkCli.sh", "-q", "-server", f"localhost:{SECURE_PORT}", *arguments, properties=properties)


@case("shell")
def properties_of_the_java_client_count():
    code, out, err = shell("whoami", properties=client_properties())
    equal((code, [line for line in out.splitlines() if CLIENT in line] != [], err), (0, True, ""))
    file = DIRECTORY / "client.properties"
    file.write_text("".join(f"{key}={value}\n" for key, value in client_properties("client.p12", "trust.p12").items()))
    equal(shell("-client-configuration", str(file), "whoami"), (0, out, ""))


@case("shell")
def why_there_is_no_connection():
    code, out, err = shell("-waitforconnection", "-timeout", "2000", "ls", "/", properties=client_properties("foreign.pem"))
    equal((code, out, f"TLS with localhost:{SECURE_PORT}: received fatal alert: " in err), (1, "", True))
    code, out, err = shell("ls", "/", properties=client_properties("foreign.pem", "other-ca.pem"))
    equal((code, out, "TLS with localhost" in err and "UnknownIssuer" in err), (1, "", True))


@case("shell")
def a_four_letter_word():
    word = [oxkeeper_binary(), "word", "ruok", "-s", f"localhost:{SECURE_PORT}"]
    equal(own(*word, properties=client_properties()), (0, "imok", ""))
    code, out, err = own(*word, "--tls", "--tls-trust-store", DIRECTORY / "ca.pem", properties=client_properties())
    equal((code, out, err.startswith("oxkeeper: TLS: ")), (1, "", True))


@case("shell")
def the_status_of_a_server_with_tls_only():
    (DIRECTORY / "zoo.cfg").write_text(f"dataDir={DIRECTORY}\nsecureClientPort={SECURE_PORT}\n")
    (DIRECTORY / "myid").write_text("1\n")
    looking = "Client port not found in static config file. Looking in dynamic config file.\nClient port not found in the server configs\n"
    looking += "Client port not found. Looking for secureClientPort in the static config.\n"
    found = f"{looking}Client port found: {SECURE_PORT}. Client address: localhost. Client SSL: true.\n"
    status = [BIN / "zkServer.sh", "status"]
    code, out, err = own(*status, properties=client_properties())
    equal((code, re.sub("Mode: .*", "Mode:", out)), (0, f"{found}Mode:\n"))
    code, out, err = own(*status)
    equal((code, out.startswith(found), out.endswith("\nError contacting service. It is probably not running.\n")), (1, True, True))


# --- afterwards: stores of other types; certificates are optional --------------------------------------------------------------


@case("other settings", alone=True)
def a_certificate_is_optional():
    restart(stores("old-server.pem", "trust.p12") + "ssl.clientAuth=want\n")
    equal(Raw().identities(), [IP])
    equal(Raw("client").identities(), [IP, ("x509", CLIENT)])
    refused(who="foreign")


@case("other settings", alone=True)
def the_server_has_a_certificate_of_version_1():
    for most in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        equal(dict(pair for [pair] in dial("client", most=most).getpeercert()["subject"]), {"commonName": "localhost"})


@case("other settings", alone=True)
def a_plain_port_is_plain():
    equal(word(PORT, "ruok"), "imok")
    try:
        dial("client", PORT)
    except (ssl.SSLError, ConnectionError):
        return
    raise AssertionError("there was a handshake")


@case("other settings", alone=True)
def new_certificates_are_shown_without_a_restart():
    before = Raw("client")
    maker = Maker(DIRECTORY)
    maker.certificate("renewed", subject="/CN=renewed")
    os.replace(DIRECTORY / "renewed.pem", DIRECTORY / "old-server.pem")

    def subject():
        return dict(pair for [pair] in dial("client").getpeercert()["subject"])["commonName"]

    eventually(lambda: subject() == "renewed")
    equal(before.ask(wire.PING, wire.XID_PING).err, 0)
    equal(Raw("client").identities(), [IP, ("x509", CLIENT)])


Maker(DIRECTORY).make()
restart(stores("server.jks", "trust.jks") + "client.portUnification=true\n")
logging.disable(logging.CRITICAL)
run_all(lambda function: function())
