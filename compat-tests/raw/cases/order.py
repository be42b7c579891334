"""Pipelining: validation sees earlier uncommitted writes, and replies keep the order. Source: PrepRequestProcessor, gotcha 52."""

import wire
from connection import Notification
from harness import case, equal, eventually
from wire import Err, Op

FEATURE = "pipelining"


def send_together(client, *requests):
    """Sends all requests in one write; returns their xids."""
    data, xids = b"", []
    for request in requests:
        client.xid += 1
        xids.append(client.xid)
        data += wire.frame(wire.int32(client.xid) + wire.int32(request.op) + request.body)
    client.send_raw(data)
    return xids


@case(FEATURE, "writes see uncommitted effects, reads see the writes before them")
def uncommitted(scene):
    client, path = scene.client(), scene.base + "/x"
    client.settle()
    start = client.last_zxid
    xids = send_together(client, wire.create(path, b"1"), wire.create(path), wire.get_data(path), wire.delete(path, 5),
                         wire.delete(path, 0), wire.get_data(path))
    replies = [client.receive_reply() for _ in xids]
    equal([reply.xid for reply in replies], xids, "order of xids")
    equal([reply.err for reply in replies], [0, Err.NODE_EXISTS, 0, Err.BAD_VERSION, 0, Err.NO_NODE], "errors")
    equal([replies[index].zxid - start for index in (0, 1, 3, 4)], [1, 2, 3, 4], "zxids of the writes")
    equal(replies[2].body[:5], wire.buffer(b"1"), "data")


@case(FEATURE, "1000 writes and reads keep their order")
def many(scene):
    client, path = scene.client(), scene.base
    requests = []
    for number in range(500):
        requests += [wire.set_data(path, str(number), number), wire.get_data(path)]
    xids = send_together(client, *requests)
    for number in range(500):
        wrote, read = client.receive_reply(), client.receive_reply()
        equal((wrote.xid, read.xid), tuple(xids[2 * number : 2 * number + 2]), "xids")
        equal((wrote.err, wire.Reader(read.body).buffer()), (0, str(number).encode()), "version and data")


@case(FEATURE, "sequential creates are numbered in order")
def sequential(scene):
    client, base = scene.client(), scene.base
    send_together(client, *[wire.create(base + "/n-", flags=2)] * 50)
    for number in range(50):
        equal(client.receive_reply().body, wire.ustring(f"{base}/n-{number:010d}"), "path")


@case(FEATURE, "a multi after a pending write")
def multi(scene):
    client, path = scene.client(), scene.base + "/x"
    send_together(client, wire.create(path), wire.multi(wire.check(path, 0), wire.delete(path)), wire.exists(path),
                  wire.multi(wire.create(path), wire.check(path, 7)), wire.exists(path), wire.create(path))
    equal([client.receive_reply().err for _ in range(6)], [0, 0, Err.NO_NODE, 0, Err.NO_NODE, 0], "errors")


@case(FEATURE, "ephemerals of a close pipelined behind their creation are removed")
def close(scene):
    client, other, base = scene.client(), scene.client(), scene.base
    xids = send_together(client, wire.create(base + "/e", flags=1), wire.CLOSE, wire.create(base + "/late"))
    replies = [client.receive_reply() for _ in range(2)]
    equal([(reply.xid, reply.err) for reply in replies], [(xids[0], 0), (xids[1], 0)], "replies")
    client.is_closed_refusing(xids[2])
    client.session = 0
    equal(other.names(base), [], "children")


@case(FEATURE, "auth between requests counts for those after it")
def auth(scene):
    client, path = scene.client(), scene.base + "/x"
    client.ok(wire.create(path, acl=[wire.ACL(31, "digest", "bob:ikIaKsbtGweaHnb/jKn7OHqbunM=")]))
    xids = send_together(client, wire.get_data(path), wire.auth("digest", "bob:pw"), wire.get_data(path))
    # ZooKeeper: the auth reply may overtake others, so replies are matched by xid here.
    replies = {reply.xid: reply.err for reply in (client.receive_reply() for _ in xids)}
    equal([replies[xid] for xid in xids], [Err.NO_AUTH, 0, 0], "errors")


@case(FEATURE, "a request may come byte by byte")
def slow(scene):
    client = scene.client()
    for byte in wire.frame(wire.int32(9) + wire.int32(Op.EXISTS) + wire.exists("/").body):
        client.send_raw(bytes([byte]))
    equal(client.receive_reply().xid, 9, "xid")


@case(FEATURE, "sessions see each other's acknowledged writes at once")
def visible(scene):
    writer, reader, base = scene.client(), scene.client(), scene.base
    for number in range(50):
        writer.ok(wire.create(f"{base}/{number}"))
        reader.ok(wire.exists(f"{base}/{number}"))


@case(FEATURE, "what stands behind reads is carried out although the client has gone: writes and closeSession")
def gone(scene):
    for pairs in (1, 5, 50):
        client, witness, path = scene.client(), scene.client(), f"{scene.base}/{pairs}"
        witness.ok(wire.create(path))
        pair = [wire.set_data(path, b"x"), wire.get_data(path)]
        send_together(client, wire.create(path + "/e", flags=1), *pair * pairs, wire.CLOSE)
        client.half_close()
        client.session = 0
        eventually(lambda: witness.stat(path).version == pairs, "the last write is done")
        # This must happen before the session could expire.
        eventually(lambda: witness.missing(path + "/e"), "the session is closed", 5.0)
        equal(witness.stat(path).version, pairs, "writes done")


@case(FEATURE, "a read between two writes sees the first of them, and its watch the second")
def between(scene):
    client, path = scene.client(), scene.base
    xids = send_together(client, wire.set_data(path, b"1"), wire.get_data(path, True), wire.exists(path), wire.set_data(path, b"2"),
                         wire.get_children(path, True), wire.create(path + "/x"), wire.get_data(path))
    seen = [client.receive() for _ in range(len(xids) + 2)]
    equal([frame.path if isinstance(frame, Notification) else frame.xid for frame in seen],
          [*xids[:3], path, *xids[3:5], path, *xids[5:]], "order of replies and events")
    equal([wire.Reader(seen[at].body).buffer() for at in (1, 8)], [b"1", b"2"], "data")
    equal(wire.Reader(seen[2].body).stat().version, 1, "version")


@case(FEATURE, "300,000 reads are answered although all are sent before any answer is read")
def unread(scene):
    client, path = scene.client(), scene.base
    client.socket.settimeout(60)
    count, many = 300_000, b"".join(wire.frame(wire.int32(xid) + wire.int32(Op.EXISTS) + wire.exists(path).body) for xid in range(1000))
    for _ in range(count // 1000):
        client.send_raw(many)
    for number in range(count):
        assert client.receive_reply(30).xid == number % 1000
