"""Changes a snapshot of Apache ZooKeeper in ways that no client can bring about within a test.

Invariant: checksums and tree digest match the written data. Source: FileSnap, SnapStream.sealStream, DigestCalculator.
"""

import struct
import zlib
from collections import namedtuple

STORED = struct.Struct(">qqqqiiiqq")
Stored = namedtuple("Stored", "czxid mzxid ctime mtime version cversion aversion owner pzxid")
DIGESTED = struct.Struct(">qqqqqiiiq")
# A seal is a checksum of everything before it, and the path "/".
SEAL_PATH = b"\0\0\0\1/"
SEAL_LEN = 8 + len(SEAL_PATH)


def change_stat(path, znode, **fields):
    """Sets fields of the stored Stat of `znode`, whose data must be empty, not null."""
    data = bytearray(path.read_bytes())
    name = struct.pack(">i", len(znode)) + znode.encode()
    # After the znode's path, its data and the number of its ACL.
    at = data.index(name + bytes(4)) + len(name) + 4 + 8
    before = Stored(*STORED.unpack_from(data, at))
    after = before._replace(**fields)
    seals = find_seals(data)
    STORED.pack_into(data, at, *after)
    # After the seal of the tree: a zxid, the digest's version, the digest.
    digest_at = seals[0] + SEAL_LEN + 8 + 4
    (digest,) = struct.unpack_from(">Q", data, digest_at)
    digest += digest_of(znode, after) - digest_of(znode, before)
    struct.pack_into(">Q", data, digest_at, digest % 2**64)
    for seal in seals:
        struct.pack_into(">q", data, seal, zlib.adler32(data[:seal]))
    path.write_bytes(data)


def find_seals(data):
    ends = (at for at in range(8, len(data) - SEAL_LEN + 1) if data[at + 8 : at + SEAL_LEN] == SEAL_PATH)
    return [at for at in ends if struct.unpack_from(">q", data, at)[0] == zlib.adler32(data[:at])]


def digest_of(znode, stat):
    times = (stat.czxid, stat.mzxid, stat.pzxid, stat.ctime, stat.mtime)
    return zlib.crc32(znode.encode() + DIGESTED.pack(*times, stat.version, stat.cversion, stat.aversion, stat.owner))
