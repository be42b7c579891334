"""One raw client connection: frames out, frames in, in the order they arrive.

Owns the socket. Invariant: nothing is reordered or hidden. Events that arrive before an awaited reply
are kept in `events`, so a test can assert "event before reply" by looking at that list.
"""

import socket
import struct
import time
from collections import namedtuple

import wire

Reply = namedtuple("Reply", "xid zxid err body")
Notification = namedtuple("Notification", "zxid type state path")
Handshake = namedtuple("Handshake", "version timeout_ms session password read_only")

ANSWER_WAIT_S = 10.0


class Closed(Exception):
    """The server closed the connection."""


def parse_address(text):
    host, _, port = text.rpartition(":")
    return host, int(port)


class Connection:
    """A TCP connection; `handshake` turns it into a session."""

    def __init__(self, address, tap=None):
        self.socket = socket.create_connection(address, timeout=ANSWER_WAIT_S)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.input = b""
        self.events = []
        self.xid = 0
        self.last_zxid = 0
        self.session, self.password, self.timeout_ms = 0, bytes(16), 0
        self.tap = tap or (lambda direction, data: None)

    # --- bytes -------------------------------------------------------------------------------

    def send_raw(self, data):
        self.tap("c2s", data)
        self.socket.sendall(data)

    def receive_raw(self, count, wait_s):
        """Returns exactly `count` bytes. Raises Closed at end of stream, TimeoutError when nothing arrives."""
        deadline = time.monotonic() + wait_s
        while len(self.input) < count:
            if not self.receive_some(deadline):
                raise Closed(f"closed with {len(self.input)} unread bytes")
        taken, self.input = self.input[:count], self.input[count:]
        return taken

    def receive_some(self, deadline):
        """Appends what the socket has to `input`; returns False at the end of the stream."""
        self.socket.settimeout(max(0.001, deadline - time.monotonic()))
        try:
            piece = self.socket.recv(1 << 16)
        except ConnectionError:
            piece = b""
        self.input += piece
        return bool(piece)

    def receive_frame(self, wait_s=ANSWER_WAIT_S):
        prefix = self.receive_raw(4, wait_s)
        body = self.receive_raw(struct.unpack(">i", prefix)[0], wait_s)
        self.tap("s2c", prefix + body)
        return body

    def receive_until_close(self, wait_s=ANSWER_WAIT_S):
        """Returns all bytes up to the end of the stream."""
        deadline = time.monotonic() + wait_s
        while self.receive_some(deadline):
            pass
        taken, self.input = self.input, b""
        return taken

    def half_close(self):
        """Shuts down the sending side."""
        self.socket.shutdown(socket.SHUT_WR)

    def close(self):
        """Drops the connection without closing the session."""
        self.socket.close()

    # --- handshake ---------------------------------------------------------------------------

    def handshake(self, **request):
        """Sends a ConnectRequest and returns the server's answer."""
        self.send_raw(wire.frame(wire.connect_body(**request)))
        answer = read_handshake(self.receive_frame())
        self.session, self.password, self.timeout_ms = answer.session, answer.password, answer.timeout_ms
        return answer

    # --- requests ----------------------------------------------------------------------------

    def send(self, request, xid=None):
        """Sends one request; returns its xid."""
        if xid is None:
            self.xid += 1
            xid = self.xid
        self.send_raw(wire.frame(wire.int32(xid) + wire.int32(request.op) + request.body))
        return xid

    def receive(self, wait_s=ANSWER_WAIT_S):
        """Returns the next frame: a Reply or a Notification."""
        body = self.receive_frame(wait_s)
        xid, zxid, err = wire.HEADER.unpack(body[:16])
        if xid == wire.XID_NOTIFICATION:
            return read_notification(zxid, body[16:])
        if zxid > 0:
            self.last_zxid = zxid
        return Reply(xid, zxid, err, body[16:])

    def receive_reply(self, wait_s=ANSWER_WAIT_S):
        """Returns the next reply; keeps events that arrive before it in `events`."""
        while True:
            message = self.receive(wait_s)
            if isinstance(message, Reply):
                return message
            self.events.append(message)

    def ask(self, request, xid=None):
        """Sends a request and waits for its reply."""
        sent = self.send(request, xid)
        reply = self.receive_reply()
        expected = wire.XID_PING if request.op == wire.Op.PING else sent
        if reply.xid != expected:
            raise AssertionError(f"reply xid {reply.xid}, expected {expected}")
        return reply

    def take_events(self):
        """Returns the events received so far, oldest first, and forgets them."""
        taken, self.events = self.events, []
        return taken

    def settle(self):
        """Sends a ping after everything sent so far: afterwards all events caused until now have arrived."""
        self.ask(wire.PING, wire.XID_PING)
        return self.take_events()

    def end_session(self):
        """Sends closeSession and waits for the end of the stream."""
        reply = self.ask(wire.CLOSE)
        rest = self.receive_until_close()
        self.close()
        return reply, rest


def read_handshake(body):
    reader = wire.Reader(body)
    fields = [reader.int32(), reader.int32(), reader.int64(), reader.buffer()]
    read_only = reader.boolean() if reader.at < len(body) else None
    reader.end()
    return Handshake(*fields, read_only)


def read_notification(zxid, body):
    reader = wire.Reader(body)
    event = Notification(zxid, reader.int32(), reader.int32(), reader.ustring())
    reader.end()
    return event


def four_letter(address, word, wait_s=ANSWER_WAIT_S):
    """Sends a four-letter word on a new connection; returns all bytes of the answer."""
    connection = Connection(address)
    try:
        connection.send_raw(word if isinstance(word, bytes) else word.encode())
        return connection.receive_until_close(wait_s)
    finally:
        connection.close()
