"""One DIGEST-MD5 exchange over a raw connection: the client's side of RFC 2831, with every part replaceable by a wrong one."""

import re
from hashlib import md5

import wire
from harness import equal
from wire import Err

CHALLENGE = re.compile(rb'realm="zk-sasl-md5",nonce="([A-Za-z0-9+/]{40})",charset=utf-8,algorithm=md5-sess')
NO_TOKEN = wire.int32(-1)


def latin1(text):
    """Encodes in Latin-1 if that can hold the text, and otherwise in UTF-8."""
    try:
        return text.encode("latin-1")
    except UnicodeEncodeError:
        return text.encode()


def value(user, password, nonce, cnonce, method, uri, authzid=None):
    a1 = md5(b":".join([latin1(user), b"zk-sasl-md5", latin1(password)])).digest()
    a1 += b":" + nonce + b":" + cnonce + (b":" + authzid if authzid is not None else b"")
    a2 = f"{method}:{uri}".encode()
    parts = [md5(a1).hexdigest().encode(), nonce, b"00000001", cnonce, b"auth", md5(a2).hexdigest().encode()]
    return md5(b":".join(parts)).hexdigest().encode()


def challenge(client, token=b""):
    """Asks for a challenge; returns its nonce."""
    reply = client.ok(wire.sasl(token))
    equal(reply.zxid, 0, "zxid")
    found = CHALLENGE.fullmatch(wire.Reader(reply.body).buffer())
    assert found, f"challenge {reply.body!r}"
    return found[1]


def response(offered, user, password, authzid=None, uri="zookeeper/zk-sasl-md5", **replaced):
    """Returns the client's token and the expected answer. `replaced` holds directives that differ; None omits one."""
    cnonce = b"the client's"
    raw = None if authzid is None else authzid.encode()
    directives = {
        "charset": b"utf-8", "username": b'"' + user.encode() + b'"', "realm": b'"zk-sasl-md5"', "nonce": b'"' + offered + b'"',
        "nc": b"00000001", "cnonce": b'"' + cnonce + b'"', "digest_uri": f'"{uri}"'.encode(), "maxbuf": b"65536",
        "response": value(user, password, offered, cnonce, "AUTHENTICATE", uri, raw), "qop": b"auth",
        "authzid": None if raw is None else b'"' + raw + b'"', **replaced,
    }
    given = {key.replace("_", "-").encode(): text for key, text in directives.items() if text is not None}
    token = b",".join(key + b"=" + text for key, text in given.items())
    return token, b"rspauth=" + value(user, password, offered, cnonce, "", uri, raw)


def authenticate(client, user, password, **how):
    """Performs a whole exchange that succeeds."""
    token, expected = response(challenge(client), user, password, **how)
    reply = client.ok(wire.sasl(token), wire.buffer(expected))
    equal(reply.zxid, 0, "zxid")


def fails(client, token, err=Err.AUTH_FAILED):
    """Sends a token that ends the exchange and the connection, after an answer with a null token."""
    xid = client.send(wire.sasl(token))
    reply = client.receive_reply()
    equal((reply.xid, reply.zxid, reply.err, reply.body), (xid, 0, err, NO_TOKEN), "answer")
    client.is_closed()
