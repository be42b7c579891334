"""The ZooKeeper client protocol as bytes: Jute primitives, request builders, reply readers.

Owns the encoding that the raw suite, the differential test and the golden recorder use.
Invariant: builders encode exactly what they are given, legal or not. Nothing is validated here,
because sending odd input is the point.
Source: zookeeper.jute, ZooDefs, MultiOperationRecord and MultiResponse of Apache ZooKeeper 3.9.
"""

import struct
from collections import namedtuple
from enum import IntEnum


class Op(IntEnum):
    """Request types (RequestHeader.type and MultiHeader.type)."""

    NOTIFICATION = 0
    CREATE = 1
    DELETE = 2
    EXISTS = 3
    GET_DATA = 4
    SET_DATA = 5
    GET_ACL = 6
    SET_ACL = 7
    GET_CHILDREN = 8
    SYNC = 9
    PING = 11
    GET_CHILDREN2 = 12
    CHECK = 13
    MULTI = 14
    CREATE2 = 15
    RECONFIG = 16
    CHECK_WATCHES = 17
    REMOVE_WATCHES = 18
    CREATE_CONTAINER = 19
    DELETE_CONTAINER = 20
    CREATE_TTL = 21
    MULTI_READ = 22
    AUTH = 100
    SET_WATCHES = 101
    SASL = 102
    GET_EPHEMERALS = 103
    GET_ALL_CHILDREN_NUMBER = 104
    SET_WATCHES2 = 105
    ADD_WATCH = 106
    WHO_AM_I = 107
    CREATE_SESSION = -10
    CLOSE_SESSION = -11
    ERROR = -1


class Err(IntEnum):
    """Error codes that a server can send."""

    OK = 0
    RUNTIME_INCONSISTENCY = -2
    MARSHALLING = -5
    UNIMPLEMENTED = -6
    BAD_ARGUMENTS = -8
    NEW_CONFIG_NO_QUORUM = -13
    RECONFIG_IN_PROGRESS = -14
    NO_NODE = -101
    NO_AUTH = -102
    BAD_VERSION = -103
    NO_CHILDREN_FOR_EPHEMERALS = -108
    NODE_EXISTS = -110
    NOT_EMPTY = -111
    SESSION_EXPIRED = -112
    INVALID_ACL = -114
    AUTH_FAILED = -115
    EPHEMERAL_ON_LOCAL_SESSION = -120
    NO_WATCHER = -121
    RECONFIG_DISABLED = -123
    SESSION_CLOSED_REQUIRE_SASL_AUTH = -124


class Flags(IntEnum):
    """CreateRequest.flags."""

    PERSISTENT = 0
    EPHEMERAL = 1
    PERSISTENT_SEQUENTIAL = 2
    EPHEMERAL_SEQUENTIAL = 3
    CONTAINER = 4
    TTL = 5
    TTL_SEQUENTIAL = 6


class Event(IntEnum):
    """WatcherEvent.type."""

    CREATED = 1
    DELETED = 2
    DATA_CHANGED = 3
    CHILDREN_CHANGED = 4


class Watcher(IntEnum):
    """Watcher types of checkWatches and removeWatches."""

    CHILDREN = 1
    DATA = 2
    ANY = 3
    PERSISTENT = 4
    RECURSIVE = 5


READ, WRITE, CREATE, DELETE, ADMIN, ALL = 1, 2, 4, 8, 16, 31
PERSISTENT_WATCH, RECURSIVE_WATCH = 0, 1
SYNC_CONNECTED = 3

XID_NOTIFICATION, XID_PING, XID_AUTH, XID_SET_WATCHES = -1, -2, -4, -8

ACL = namedtuple("ACL", "perms scheme id")
OPEN = (ACL(ALL, "world", "anyone"),)

Request = namedtuple("Request", "op body")
Stat = namedtuple(
    "Stat",
    "czxid mzxid ctime mtime version cversion aversion ephemeral_owner data_length num_children pzxid",
)
STAT = struct.Struct(">qqqqiiiqiiq")
HEADER = struct.Struct(">iqi")
REPLY_FRAME = struct.Struct(">iiqi")


# --- primitives -------------------------------------------------------------------------------


def int32(value):
    return struct.pack(">i", value)


def int64(value):
    return struct.pack(">q", value)


def boolean(value):
    return b"\x01" if value else b"\x00"


def buffer(value):
    """Encodes a length and the bytes; None is length -1. Text is sent as UTF-8."""
    if value is None:
        return int32(-1)
    raw = value.encode() if isinstance(value, str) else bytes(value)
    return int32(len(raw)) + raw


ustring = buffer


def vector(items, encode=ustring):
    """Encodes a count and the elements; None is count -1."""
    if items is None:
        return int32(-1)
    return int32(len(items)) + b"".join(encode(item) for item in items)


def acl_entry(acl):
    return int32(acl[0]) + ustring(acl[1]) + ustring(acl[2])


def frame(body):
    return int32(len(body)) + body


# --- requests ---------------------------------------------------------------------------------


def connect_body(timeout_ms=10_000, session=0, password=bytes(16), last_zxid=0, read_only=False, version=0):
    """Encodes a ConnectRequest. `read_only=None` omits the trailing byte, as Go and Node clients do."""
    body = int32(version) + int64(last_zxid) + int32(timeout_ms) + int64(session) + buffer(password)
    return body if read_only is None else body + boolean(read_only)


def create(path, data=b"", acl=OPEN, flags=0, op=Op.CREATE):
    return Request(op, ustring(path) + buffer(data) + vector(acl, acl_entry) + int32(flags))


def create2(path, data=b"", acl=OPEN, flags=0):
    return create(path, data, acl, flags, Op.CREATE2)


def create_container(path, data=b"", acl=OPEN, flags=Flags.CONTAINER):
    return create(path, data, acl, flags, Op.CREATE_CONTAINER)


def create_ttl(path, ttl_ms, data=b"", acl=OPEN, flags=Flags.TTL):
    return Request(Op.CREATE_TTL, create(path, data, acl, flags).body + int64(ttl_ms))


def delete(path, version=-1):
    return Request(Op.DELETE, ustring(path) + int32(version))


def exists(path, watch=False):
    return Request(Op.EXISTS, ustring(path) + boolean(watch))


def get_data(path, watch=False):
    return Request(Op.GET_DATA, ustring(path) + boolean(watch))


def set_data(path, data, version=-1):
    return Request(Op.SET_DATA, ustring(path) + buffer(data) + int32(version))


def get_acl(path):
    return Request(Op.GET_ACL, ustring(path))


def set_acl(path, acl, version=-1):
    return Request(Op.SET_ACL, ustring(path) + vector(acl, acl_entry) + int32(version))


def get_children(path, watch=False):
    return Request(Op.GET_CHILDREN, ustring(path) + boolean(watch))


def get_children2(path, watch=False):
    return Request(Op.GET_CHILDREN2, ustring(path) + boolean(watch))


def sync(path):
    return Request(Op.SYNC, ustring(path))


def check(path, version):
    return Request(Op.CHECK, ustring(path) + int32(version))


def reconfig(joining=None, leaving=None, members=None, config_id=-1):
    return Request(Op.RECONFIG, ustring(joining) + ustring(leaving) + ustring(members) + int64(config_id))


def check_watches(path, kind):
    return Request(Op.CHECK_WATCHES, ustring(path) + int32(kind))


def remove_watches(path, kind):
    return Request(Op.REMOVE_WATCHES, ustring(path) + int32(kind))


def add_watch(path, mode):
    return Request(Op.ADD_WATCH, ustring(path) + int32(mode))


def set_watches(zxid, data=(), exist=(), child=()):
    return Request(Op.SET_WATCHES, int64(zxid) + vector(data) + vector(exist) + vector(child))


def set_watches2(zxid, data=(), exist=(), child=(), persistent=(), recursive=()):
    body = set_watches(zxid, data, exist, child).body + vector(persistent) + vector(recursive)
    return Request(Op.SET_WATCHES2, body)


def get_ephemerals(prefix):
    return Request(Op.GET_EPHEMERALS, ustring(prefix))


def get_all_children_number(path):
    return Request(Op.GET_ALL_CHILDREN_NUMBER, ustring(path))


def auth(scheme, credentials, kind=0):
    return Request(Op.AUTH, int32(kind) + ustring(scheme) + buffer(credentials))


def sasl(token):
    return Request(Op.SASL, buffer(token))


def multi(*operations, op=Op.MULTI):
    body = b"".join(multi_header(sub.op, False) + sub.body for sub in operations)
    return Request(op, body + MULTI_END)


def multi_read(*operations):
    return multi(*operations, op=Op.MULTI_READ)


def multi_header(kind, done, err=-1):
    return int32(kind) + boolean(done) + int32(err)


PING = Request(Op.PING, b"")
WHO_AM_I = Request(Op.WHO_AM_I, b"")
CLOSE = Request(Op.CLOSE_SESSION, b"")
MULTI_END = multi_header(-1, True)


# --- reply bodies, as a server must write them ------------------------------------------------


def multi_error(code):
    """Encodes one failed entry of a multi response: the code twice, in header and ErrorResponse."""
    return multi_header(-1, False, code) + int32(code)


def watcher_event(kind, path):
    return int32(kind) + int32(SYNC_CONNECTED) + ustring(path)


def stat_bytes(stat):
    return STAT.pack(*stat)


# --- reading ----------------------------------------------------------------------------------


class Reader:
    """Reads Jute primitives from a reply body; fails when bytes run out."""

    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, count):
        piece = self.data[self.at : self.at + count]
        if len(piece) != count:
            raise ValueError(f"reply ends after {len(self.data)} bytes, {count} wanted at {self.at}")
        self.at += count
        return piece

    def int32(self):
        return struct.unpack(">i", self.take(4))[0]

    def int64(self):
        return struct.unpack(">q", self.take(8))[0]

    def boolean(self):
        return self.take(1) != b"\x00"

    def buffer(self):
        length = self.int32()
        return None if length < 0 else self.take(length)

    def ustring(self):
        raw = self.buffer()
        return None if raw is None else raw.decode()

    def vector(self, read):
        count = self.int32()
        return None if count < 0 else [read() for _ in range(count)]

    def stat(self):
        return Stat(*STAT.unpack(self.take(STAT.size)))

    def acl(self):
        return ACL(self.int32(), self.ustring(), self.ustring())

    def multi_header(self):
        return self.int32(), self.boolean(), self.int32()

    def end(self):
        if self.at != len(self.data):
            raise ValueError(f"{len(self.data) - self.at} bytes left over in a reply")


def read_multi(data):
    """Decodes a multi response into a list of (type, err, value) without the end marker."""
    reader, results = Reader(data), []
    while True:
        kind, done, err = reader.multi_header()
        if done:
            if (kind, err) != (-1, -1):
                raise ValueError(f"odd end marker {kind} {err}")
            reader.end()
            return results
        results.append((kind, err, read_multi_value(reader, kind)))


def read_multi_value(reader, kind):
    readers = {
        Op.CREATE: reader.ustring,
        Op.CREATE2: lambda: (reader.ustring(), reader.stat()),
        Op.SET_DATA: reader.stat,
        Op.GET_DATA: lambda: (reader.buffer(), reader.stat()),
        Op.GET_CHILDREN: lambda: reader.vector(reader.ustring),
        Op.DELETE: lambda: None,
        Op.CHECK: lambda: None,
        Op.ERROR: reader.int32,
    }
    return readers[kind]()
