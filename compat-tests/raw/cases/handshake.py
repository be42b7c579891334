"""ConnectRequest and ConnectResponse. Source: ProtocolManager, ZooKeeperServer.processConnectRequest."""

import struct

import wire
from harness import case, equal, table

FEATURE = "handshake"
REFUSED = struct.pack(">iiqi", 0, 0, 0, 16) + bytes(16)
TICK_MS = 500


@table(FEATURE, [
    ("45 bytes in, 37 out", False, 45, 37),
    ("44 bytes in, 36 out (no readOnly)", None, 44, 36),
    ("readOnly wanted, server is read-write", True, 45, 37),
])
def lengths(scene, read_only, sent, received):
    connection = scene.connection()
    request = wire.connect_body(read_only=read_only, timeout_ms=8000)
    equal(len(request), sent, "request length")
    connection.send_raw(wire.frame(request))
    answer = connection.receive_frame()
    equal(len(answer), received, "response length")
    equal(answer[:8], struct.pack(">ii", 0, 8000), "version and timeout")
    equal(answer[16:20], wire.int32(16), "password length")
    equal(answer[36:], b"" if read_only is None else b"\0", "readOnly")
    connection.session = struct.unpack(">q", answer[8:16])[0]
    assert connection.session != 0
    assert answer[20:36] != bytes(16), "password is all zero"


@table(FEATURE, [
    ("timeout below the minimum", 1, 2 * TICK_MS),
    ("timeout zero", 0, 2 * TICK_MS),
    ("timeout negative", -5, 2 * TICK_MS),
    ("timeout in range", 4321, 4321),
    ("timeout at the minimum", 2 * TICK_MS, 2 * TICK_MS),
    ("timeout at the maximum", 20 * TICK_MS, 20 * TICK_MS),
    ("timeout above the maximum", 1_000_000_000, 20 * TICK_MS),
])
def timeout(scene, wanted, granted):
    equal(scene.client(timeout_ms=wanted).timeout_ms, granted, "timeout")


@case(FEATURE, "a new session ignores password and version")
def ignored(scene):
    answer = scene.connection().handshake(password=b"0123456789abcdef", version=99)
    equal(answer.version, 0, "version")
    assert answer.session and answer.password != b"0123456789abcdef"
    scene.client(password=None)
    scene.client(password=b"")


@case(FEATURE, "session ids and passwords differ")
def distinct(scene):
    one, other = scene.client(), scene.client()
    assert one.session != other.session and one.password != other.password


@case(FEATURE, "a new session takes one zxid, resuming takes none")
def zxids(scene):
    client = scene.client()
    before = client.last_zxid
    other = scene.client()
    equal(client.ok(wire.PING).zxid, before + 1, "zxid after a new session")
    again = scene.connection()
    again.handshake(session=other.session, password=other.password)
    equal(client.ok(wire.PING).zxid, before + 1, "zxid after resuming")


@table(FEATURE, [
    ("resume, 45 bytes", False, b"\0"),
    ("resume, 44 bytes", None, b""),
])
def resume(scene, read_only, tail):
    first = scene.client()
    first.close()
    again = scene.connection()
    again.send_raw(wire.frame(wire.connect_body(
        session=first.session, password=first.password, read_only=read_only, timeout_ms=6000)))
    want = wire.int32(0) + wire.int32(6000) + wire.int64(first.session) + wire.buffer(first.password) + tail
    equal(again.receive_frame(), want, "answer")
    again.session = first.session
    again.ok(wire.PING)


@table(FEATURE, [
    ("wrong password", False, lambda known: (known.session, b"x" * 16)),
    ("wrong password, 44 bytes", None, lambda known: (known.session, b"x" * 16)),
    ("null password", False, lambda known: (known.session, None)),
    ("short password", False, lambda known: (known.session, known.password[:8])),
    ("unknown session", False, lambda known: (known.session + 0x77777, known.password)),
])
def refused(scene, read_only, credentials):
    known = scene.client()
    session, password = credentials(known)
    late = scene.connection()
    late.send_raw(wire.frame(wire.connect_body(session=session, password=password, read_only=read_only)))
    equal(late.receive_frame(), REFUSED + (b"" if read_only is None else b"\0"), "answer")
    late.is_closed()


@case(FEATURE, "a closed session is refused")
def closed(scene):
    gone = scene.client()
    gone.end_session()
    late = scene.connection()
    answer = late.handshake(session=gone.session, password=gone.password)
    equal((answer.timeout_ms, answer.session, answer.password), (0, 0, bytes(16)), "answer")
    late.is_closed()
    gone.session = 0


@case(FEATURE, "the timeout is negotiated anew when resuming")
def renegotiated(scene):
    first = scene.client(timeout_ms=9000)
    again = scene.connection()
    equal(again.handshake(session=first.session, password=first.password, timeout_ms=3000).timeout_ms, 3000, "timeout")


@case(FEATURE, "a client from the future is closed silently")
def future(scene):
    ahead = scene.connection()
    ahead.send_raw(wire.frame(wire.connect_body(last_zxid=1 << 60)))
    ahead.is_closed()


@case(FEATURE, "lastZxidSeen equal to the server's is accepted")
def present(scene):
    client = scene.client()
    assert scene.client(last_zxid=client.last_zxid).session


@case(FEATURE, "requests may follow the connect request at once")
def early(scene):
    client = scene.connection()
    ask = wire.int32(1) + wire.int32(wire.Op.EXISTS) + wire.exists("/").body
    client.send_raw(wire.frame(wire.connect_body()) + wire.frame(ask))
    client.session = struct.unpack(">q", client.receive_frame()[8:16])[0]
    equal(client.receive_reply().xid, 1, "xid")


@case(FEATURE, "the connect request may come byte by byte")
def slow(scene):
    client = scene.connection()
    for byte in wire.frame(wire.connect_body()):
        client.send_raw(bytes([byte]))
    client.session = struct.unpack(">q", client.receive_frame()[8:16])[0]
    assert client.session


@case(FEATURE, "trailing bytes after readOnly are ignored")
def trailing(scene):
    client = scene.connection()
    client.send_raw(wire.frame(wire.connect_body() + b"more"))
    answer = client.receive_frame()
    equal(len(answer), 37, "length of the answer")
    client.session = struct.unpack(">q", answer[8:16])[0]


@table(FEATURE, [
    ("request too short", wire.frame(wire.connect_body()[:30])),
    ("empty frame", wire.frame(b"")),
    ("negative length", wire.int32(-2)),
    ("length above the limit", wire.int32(0x100000)),
    ("password longer than the frame", wire.frame(wire.connect_body()[:24] + wire.int32(1000))),
    ("negative password length", wire.frame(wire.connect_body()[:24] + wire.int32(-2) + b"\0")),
])
def malformed(scene, data):
    connection = scene.connection()
    connection.send_raw(data)
    connection.is_closed()
