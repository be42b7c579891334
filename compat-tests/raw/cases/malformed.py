"""Malformed input. Source: NIOServerCnxn, ZooKeeperServer.processPacket."""

import wire
from harness import ENDS_WRITES, case, equal, table
from wire import Err, Op

FEATURE = "malformed"
FRAME_MAX = 0xFFFFF


@table(FEATURE, [
    ("negative length", wire.int32(-1)), ("smallest negative length", wire.int32(-(2**31))),
    ("length above the limit", wire.int32(FRAME_MAX + 1)), ("huge length", wire.int32(2**31 - 1)),
    ("empty frame", wire.frame(b"")), ("header of 4 bytes", wire.frame(wire.int32(1))),
    ("header of 7 bytes", wire.frame(bytes(7))),
])
def closes(scene, data):
    client = scene.client()
    client.send_raw(data)
    client.is_closed()
    again = scene.connection()
    equal(again.handshake(session=client.session, password=client.password).session, client.session, "session survives")


@table(FEATURE, [(f"opcode {op}", op) for op in (0, -1, 10, 13, 23, 99, 108, 1000, -2, -12, 2**31 - 1)])
def unknown_opcode(scene, op):
    client = scene.client()
    client.send(wire.Request(op, wire.check("/", 0).body), 5)
    reply = client.receive_reply()
    equal((reply.xid, reply.zxid, reply.err, reply.body), (5, -1, Err.UNIMPLEMENTED, b""), "reply")
    client.is_closed()


TRUNCATED = {
    Op.EXISTS: wire.ustring("/"), Op.GET_DATA: wire.ustring("/"), Op.GET_CHILDREN: wire.ustring("/"),
    Op.GET_CHILDREN2: wire.ustring("/"), Op.GET_ACL: wire.int32(9) + b"/", Op.SYNC: wire.int32(9) + b"/",
    Op.ADD_WATCH: wire.ustring("/"), Op.CHECK_WATCHES: wire.ustring("/"), Op.REMOVE_WATCHES: wire.ustring("/"),
    Op.GET_EPHEMERALS: wire.int32(1), Op.GET_ALL_CHILDREN_NUMBER: b"", Op.MULTI_READ: wire.int32(4),
    Op.SET_WATCHES: wire.int64(0), Op.SET_WATCHES2: wire.int64(0),
}


@table(FEATURE, [(f"{op.name} truncated", op, body) for op, body in TRUNCATED.items()])
def truncated_read(scene, op, body):
    client = scene.client()
    reply = client.ask(wire.Request(op, body))
    equal((reply.err, reply.zxid), (Err.MARSHALLING, client.last_zxid), "error")
    client.ok(wire.PING, step=0)


# ZooKeeper decodes the body before it assigns a zxid, so these take none (a multi takes one).
@table(FEATURE, [(f"{request.op.name} truncated", request) for request in (
    wire.create("/n"), wire.create2("/n"), wire.create_container("/n"), wire.create_ttl("/n", 5), wire.delete("/n"),
    wire.set_data("/n", b""), wire.set_acl("/n", wire.OPEN), wire.reconfig())],
    only_alone=ENDS_WRITES)
def truncated_write(scene, request):
    client = scene.client()
    client.fails(wire.Request(request.op, request.body[:-1]), Err.MARSHALLING, step=0)
    client.fails(wire.Request(request.op, b""), Err.MARSHALLING, step=0)
    client.ok(wire.PING)


@table(FEATURE, [(f"{request.op.name} with trailing bytes", request) for request in (
    wire.exists("/"), wire.get_data("/"), wire.set_data("/", b""), wire.get_acl("/"), wire.sync("/"), wire.set_watches(0),
    wire.PING, wire.WHO_AM_I)])
def trailing(scene, request):
    scene.client().ok(wire.Request(request.op, request.body + b"\xff more"))


@table(FEATURE, [
    ("path length -2", wire.Request(Op.EXISTS, wire.int32(-2) + b"\0")),
    ("path length beyond the frame", wire.Request(Op.EXISTS, wire.int32(1000) + b"/\0")),
    ("path length 2^31-1", wire.Request(Op.EXISTS, wire.int32(2**31 - 1) + b"/\0")),
])
def lengths(scene, request):
    client = scene.client()
    client.fails(request, Err.MARSHALLING, step=0)
    client.ok(wire.PING)


@case(FEATURE, "vector counts: other negatives are empty, huge ones are refused")
def counts(scene):
    client = scene.client()
    client.ok(wire.Request(Op.SET_WATCHES, wire.int64(0) + wire.int32(-7) * 3))
    client.fails(wire.Request(Op.SET_WATCHES, wire.int64(0) + wire.int32(2**31 - 1) + wire.int32(0) * 2), Err.MARSHALLING)
    client.ok(wire.PING)


@case(FEATURE, "the largest frame is accepted")
def largest(scene):
    client = scene.client()
    body = wire.exists("/").body
    client.ok(wire.Request(Op.EXISTS, body + bytes(FRAME_MAX - 8 - len(body))))


@table(FEATURE, [("create", wire.create), ("delete", lambda path: wire.delete(path)), ("exists", wire.exists)])
def bad_utf8(scene, make):
    """Checks that bytes that are not UTF-8 cost neither the connection nor the server."""
    client = scene.client()
    reply = client.ask(make(b"/none/\xff\xfe"))
    assert reply.err != 0
    client.ok(wire.PING)


@case(FEATURE, "a body sent with ping, closeSession and whoAmI is ignored")
def bodies(scene):
    client = scene.client()
    client.ok(wire.Request(Op.WHO_AM_I, b"x" * 100))
    client.ok(wire.Request(Op.CLOSE_SESSION, b"x" * 100), b"")
    client.is_closed()
    client.session = 0


@case(FEATURE, "half a frame, then the end of the stream")
def half(scene):
    client, other = scene.client(), scene.client()
    client.send_raw(wire.frame(wire.int32(1) + wire.int32(Op.DELETE) + wire.delete("/x").body)[:-3])
    client.close()
    other.ok(wire.PING)
    scene.connection().handshake(session=client.session, password=client.password)
