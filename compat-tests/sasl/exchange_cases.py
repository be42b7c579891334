"""The exchange byte by byte. Source: ZooKeeperServer.processSasl, the JDK's DigestMD5Server."""

import wire
from exchange import authenticate, challenge, fails, response
from harness import case, equal, table
from wire import Err

FEATURE = "exchange"


def identities(client):
    reader = wire.Reader(client.ok(wire.WHO_AM_I).body)
    found = reader.vector(lambda: (reader.ustring(), reader.ustring()))
    reader.end()
    return sorted(identity for identity in found if identity[0] != "ip")


@table(FEATURE, [
    ("a user and a password", "bob", "bobpw", "bob"), ("quotes in a password", "eve", "eve's \"pw\"", "eve"),
    ("Latin-1", "jürgen", "größe", "jürgen"), ("beyond Latin-1", "zoë €", "пароль", "zoë €"),
    ("a service and its host", "svc/host", "svcpw", "svc/host"), ("an empty realm", "svc/host@", "svcpw", "svc/host@"),
    ("another realm", "svc@REALM", "svcpw", "svc@REALM"), ("superPassword", "super", "super-new", "super"),
])
def succeeds(scene, user, password, identity):
    client = scene.client()
    authenticate(client, user, password)
    equal(identities(client), [("sasl", identity)], "identities")


@case(FEATURE, "a first token is passed over")
def first_token(scene):
    client = scene.client()
    token, _ = response(challenge(client, b"what is this"), "bob", "bobpw")
    client.ok(wire.sasl(token))


@case(FEATURE, "another authorization id changes nothing")
def authzid(scene):
    client = scene.client()
    authenticate(client, "bob", "bobpw", authzid="root")
    equal(identities(client), [("sasl", "bob")], "identities")


@table(FEATURE, [
    ("fails with a wrong password", "bob", "wrong", {}), ("fails for nobody", "nobody", "bobpw", {}), ("fails for another section's user", "carol", "carolpw", {}),
    ("fails with the password of the file where there is a superPassword", "super", "super-old", {}),
    ("fails with another realm", "bob", "bobpw", {"realm": b'"x"'}), ("fails without a realm", "bob", "bobpw", {"realm": None}),
    ("fails with another nonce", "bob", "bobpw", {"nonce": b'"x"'}), ("fails without a nonce", "bob", "bobpw", {"nonce": None}),
    ("fails without a cnonce", "bob", "bobpw", {"cnonce": None}), ("fails with another charset", "bob", "bobpw", {"charset": b"UTF-8"}),
    ("fails with another digest-uri", "bob", "bobpw", {"digest_uri": b'"zookeeper/localhost"'}),
    ("fails without a digest-uri", "bob", "bobpw", {"digest_uri": None}), ("fails without a response", "bob", "bobpw", {"response": None}),
    ("fails without a user", "bob", "bobpw", {"username": None}), ("fails with integrity", "bob", "bobpw", {"qop": b"auth-int"}),
    ("fails with an unknown qop", "bob", "bobpw", {"qop": b"x"}), ("fails with another count", "bob", "bobpw", {"nonce_count": b"00000002"}),
    ("fails with a quote without an end", "bob", "bobpw", {"z": b'"x'}), ("fails with something behind a quote", "bob", "bobpw", {"z": b'"x"y'}),
    ("fails with an empty value at the end", "bob", "bobpw", {"z": b""}),
])
def refuses(scene, user, password, replaced):
    client = scene.client()
    token, _ = response(challenge(client), user, password, **replaced)
    fails(client, token)
    again = scene.connection()
    equal(again.handshake(session=client.session, password=client.password).session, client.session, "session survives")


@table(FEATURE, [
    ("does not look at nc", {"nc": b"00000009"}), ("needs no charset, qop, maxbuf", {"charset": None, "qop": None, "maxbuf": None}),
    ("passes over unknown directives", {"z": b"1", "auth_param": b"x"}), ("passes over a cipher", {"cipher": b"x"}),
    ("takes a digest-uri in capitals as it is", {"uri": "ZooKeeper/ZK-SASL-MD5"}),
])
def lenient(scene, replaced):
    client = scene.client()
    token, expected = response(challenge(client), "bob", "bobpw", **replaced)
    client.ok(wire.sasl(token), wire.buffer(expected))


@table(FEATURE, [
    ("ends the connection over a maxbuf that is no number", "bob", "bobpw", {"maxbuf": b"x"}),
    ("ends the connection over a count that is no number", "bob", "bobpw", {"nonce_count": b"x"}),
    ("ends the connection of a user that is no Kerberos name", "a/b/c@d", "badpw", {}),
])
def malformed(scene, user, password, replaced):
    client = scene.client()
    token, _ = response(challenge(client), user, password, **replaced)
    client.send(wire.sasl(token))
    client.is_closed()


@case(FEATURE, "fails twice over a directive that comes twice")
def twice(scene):
    client = scene.client()
    token, _ = response(challenge(client), "bob", "bobpw")
    fails(client, token + b',realm="zk-sasl-md5"')


@case(FEATURE, "fails over an empty response")
def empty(scene):
    client = scene.client()
    challenge(client)
    fails(client, b"")


@case(FEATURE, "fails over a long token")
def long_token(scene):
    client = scene.client()
    fails(client, b"x" * 4097)


@case(FEATURE, "of a connection happens once")
def once(scene):
    client = scene.client()
    authenticate(client, "bob", "bobpw")
    fails(client, b"")


@case(FEATURE, "is each connection's own")
def own(scene):
    client = scene.client()
    authenticate(client, "bob", "bobpw")
    again = scene.connection()
    again.handshake(session=client.session, password=client.password)
    equal(identities(again), [], "identities")
    authenticate(again, "eve", "eve's \"pw\"")
    equal(identities(again), [("sasl", "eve")], "identities")


@case(FEATURE, "is not what an auth packet does")
def packet(scene):
    client = scene.client()
    client.fails(wire.auth("sasl", "bob"), Err.AUTH_FAILED, xid=wire.XID_AUTH)
    client.is_closed()
