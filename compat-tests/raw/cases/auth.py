"""auth and sasl packets, whoAmI. Source: ZooKeeperServer.processPacket, processSasl, AuthUtil."""

import base64
import hashlib

import wire
from connection import four_letter
from harness import case, equal, table
from wire import ACL, Err

FEATURE = "auth"


@table(FEATURE, [
    ("digest", "digest", "bob:pw", wire.XID_AUTH), ("digest with an ordinary xid", "digest", "bob:pw", 17),
    ("digest without a colon", "digest", "bob", wire.XID_AUTH), ("digest, empty", "digest", "", wire.XID_AUTH),
    ("ip", "ip", None, wire.XID_AUTH), ("ip with data", "ip", "1.2.3.4", wire.XID_AUTH),
])
def accepted(scene, scheme, credentials, xid):
    client = scene.client()
    reply = client.ok(wire.auth(scheme, credentials), b"", xid=xid)
    equal(reply.zxid, 0, "zxid")
    client.ok(wire.PING)


@table(FEATURE, [
    ("unknown scheme", "foo", "bar"), ("scheme world", "world", "anyone"), ("scheme auth", "auth", ""),
    ("scheme super", "super", ""), ("empty scheme", "", ""), ("null scheme", None, "x"), ("digest, null buffer", "digest", None),
])
def refused(scene, scheme, credentials):
    client = scene.client()
    reply = client.fails(wire.auth(scheme, credentials), Err.AUTH_FAILED, xid=wire.XID_AUTH)
    equal(reply.zxid, 0, "zxid")
    client.is_closed()
    again = scene.connection()
    equal(again.handshake(session=client.session, password=client.password).session, client.session, "session survives")


@table(FEATURE, [
    ("empty body", b""), ("type only", wire.int32(0)), ("truncated scheme", wire.int32(0) + wire.int32(9) + b"dig"),
    ("no buffer", wire.int32(0) + wire.ustring("digest")),
])
def undecodable(scene, body):
    client = scene.client()
    client.send(wire.Request(wire.Op.AUTH, body), wire.XID_AUTH)
    client.is_closed()


@case(FEATURE, "the type field is ignored")
def kind(scene):
    scene.client().ok(wire.auth("digest", "bob:pw", kind=77), b"")


@case(FEATURE, "takes effect for later requests of this connection only")
def effect(scene):
    client, path = scene.client(), scene.base + "/a"
    client.ok(wire.create(path, acl=[ACL(31, "digest", "bob:ikIaKsbtGweaHnb/jKn7OHqbunM=")]))
    client.fails(wire.get_data(path), Err.NO_AUTH)
    client.ok(wire.auth("digest", "bob:pw"), xid=wire.XID_AUTH)
    client.ok(wire.get_data(path))
    again = scene.connection()
    again.handshake(session=client.session, password=client.password)
    again.fails(wire.get_data(path), Err.NO_AUTH)


# --- ensemble: names the ensemble a client looks for. The servers' names are in ../settings. Source: EnsembleAuthenticationProvider.


def ensemble_counts(scene):
    lines = dict(line.split("\t", 1) for line in four_letter(scene.address, "mntr").decode().splitlines() if "\t" in line)
    return [int(lines[f"zk_ensemble_auth_{kind}"]) for kind in ("success", "fail", "skip")]


def counted(scene, before):
    return [now - then for now, then in zip(ensemble_counts(scene), before)]


@table("ensemble", [("the first name", "rook", 0), ("the second name", "crow", 0), ("no name", "", 2), ("a null name", None, 2)])
def named(scene, name, count):
    client, before = scene.client(), ensemble_counts(scene)
    reply = client.ok(wire.auth("ensemble", name), b"", xid=wire.XID_AUTH)
    equal(reply.zxid, 0, "zxid")
    equal(counted(scene, before), [int(count == at) for at in range(3)], "counts")
    equal(identities(client), [("ip", "127.0.0.1")], "it is no identity")


@table("ensemble", [
    ("another name", "jay"), ("a blank in front", " crow"), ("a blank behind", "rook "), ("another case", "Rook"),
    ("both names", "rook, crow"), ("a comma", ","), ("a blank", " "), ("no text", b"\xff\xfe"),
])
def misnamed(scene, name):
    client, before = scene.client(), ensemble_counts(scene)
    client.send(wire.auth("ensemble", name), wire.XID_AUTH)
    client.send(wire.PING)
    client.is_closed()
    equal(counted(scene, before), [0, 1, 0], "counts")
    again = scene.connection()
    equal(again.handshake(session=client.session, password=client.password).session, client.session, "session survives")


@case("ensemble", "srst forgets the counts")
def forgotten(scene):
    client = scene.client()
    for name in ("rook", ""):
        client.ok(wire.auth("ensemble", name), xid=wire.XID_AUTH)
    four_letter(scene.address, "srst")
    equal(ensemble_counts(scene), [0, 0, 0], "counts")


@table("ensemble", [("a name", ("ensemble", "rook")), ("null", ("ensemble", None)), ("auth stands for nobody", ("auth", ""))])
def no_acl(scene, entry):
    client = scene.client()
    client.ok(wire.auth("ensemble", "rook"), xid=wire.XID_AUTH)
    client.fails(wire.create(scene.base + "/a", acl=[ACL(31, *entry)]), Err.INVALID_ACL)


def identities(client):
    reader = wire.Reader(client.ok(wire.WHO_AM_I, step=0).body)
    found = reader.vector(lambda: (reader.ustring(), reader.ustring()))
    reader.end()
    return sorted(found)


@case("whoAmI", "ip alone at first")
def only_ip(scene):
    client = scene.client()
    client.ok(wire.WHO_AM_I, wire.int32(1) + wire.ustring("ip") + wire.ustring("127.0.0.1"), step=0)


@case("whoAmI", "digest shows the user name")
def digest(scene):
    client = scene.client()
    for credentials in ("bob:pw", "eve:pw", "bob:pw"):
        client.ok(wire.auth("digest", credentials), xid=wire.XID_AUTH)
    equal(identities(client), [("digest", "bob"), ("digest", "eve"), ("ip", "127.0.0.1")], "identities")


# ZooKeeper reads credentials as Java reads UTF-8, which turns each CESU-8 surrogate into one U+FFFD.
CREDENTIALS = [
    (b"b\xc3\xbcbe:pw", "b\u00fcbe"), (b"b\xffb:pw", "b\ufffdb"), (b"\xed\xa0\xbd\xed\xb8\x80:pw", "\ufffd\ufffd"),
    (b"\xed\xa0:pw", "\ufffd"), (b"\xed\xb0\x80", "\ufffd"), (b"a\xe2\x82:x", "a\ufffd"), (b"\xc0\x80:y", "\ufffd\ufffd"),
    (b"\xf4\x90\x80\x80:y", "\ufffd" * 4), (b"\xe0\x80\x80:y", "\ufffd" * 3), (b"u\n:x", "u\n"), (b"u\0:x", "u\0"),
    (b"u:\xed\xa0\xbd", "u"), (b":x", ""), (b"::", ""), (b"a:b:c", "a"),
]


@table("whoAmI", [(f"digest of the bytes {credentials}", credentials, name) for credentials, name in CREDENTIALS])
def odd_credentials(scene, credentials, name):
    client, path = scene.client(), scene.base + "/a"
    client.ok(wire.auth("digest", credentials), xid=wire.XID_AUTH)
    client.ok(wire.create(path, acl=[ACL(31, "auth", "")]))
    equal(identities(client), [("digest", name), ("ip", "127.0.0.1")], "identities")
    replaced = {b"\xed\xa0\xbd\xed\xb8\x80:pw": "\ufffd\ufffd:pw", b"\xed\xa0:pw": "\ufffd:pw", b"\xed\xb0\x80": "\ufffd", b"u:\xed\xa0\xbd": "u:\ufffd"}
    text = replaced.get(credentials) or credentials.decode(errors="replace")
    digest = base64.b64encode(hashlib.sha1(text.encode()).digest()).decode()
    equal(client.acl(path), [ACL(31, "digest", f"{name}:{digest}")], "ACL")


@case("whoAmI", "super has no name")
def super_user(scene):
    client = scene.client()
    client.ok(wire.auth("digest", "super:admin"), xid=wire.XID_AUTH)
    equal(identities(client), [("digest", "super"), ("ip", "127.0.0.1"), ("super", "")], "identities")


@case("whoAmI", "the same user with two passwords is two identities")
def two_passwords(scene):
    client = scene.client()
    for credentials in ("bob:1", "bob:2"):
        client.ok(wire.auth("digest", credentials), xid=wire.XID_AUTH)
    equal(identities(client), [("digest", "bob"), ("digest", "bob"), ("ip", "127.0.0.1")], "identities")


@table("sasl", [("empty token", b""), ("token", b"abc")])
def sasl(scene, token):
    client = scene.client()
    reply = client.ok(wire.sasl(token), wire.int32(-1))
    equal(reply.zxid, 0, "zxid")
    client.ok(wire.PING)


@case("sasl", "a null token costs the connection")
def sasl_null(scene):
    client = scene.client()
    client.send(wire.sasl(None))
    client.is_closed()
