"""Java's hash set, as far as the order of iteration goes. Source: `java.util.HashMap`."""

import itertools


class JavaSet:
    """A set of strings. Does not model trees, which replace a bucket of nine or more members in a table of 64 buckets or more."""

    def __init__(self, members=(), buckets=16):
        self.table = [[] for _ in range(buckets)]
        self.size = 0
        for member in members:
            self.add(member)

    def add(self, member):
        bucket = self.bucket(member)
        if member in bucket:
            return
        bucket.append(member)
        if len(bucket) > 8:
            assert len(self.table) < 64, "a bucket has become a tree"
            self.grow()
        self.size += 1
        if self.size > len(self.table) * 3 // 4:
            self.grow()

    def remove(self, member):
        self.bucket(member).remove(member)
        self.size -= 1

    def clone(self):
        """Copies the set as `HashSet.clone` does, which makes the table as large as the members need."""
        return JavaSet(self, tables_for(self.size / 0.75 + 1.0))

    def __iter__(self):
        return itertools.chain.from_iterable(self.table)

    def bucket(self, member):
        code = hash_code(member)
        return self.table[(code ^ code >> 16) & (len(self.table) - 1)]

    def grow(self):
        members = list(self)
        self.table = [[] for _ in range(2 * len(self.table))]
        for member in members:
            self.bucket(member).append(member)


def tables_for(wanted):
    return 1 << max(int(wanted) - 1, 0).bit_length()


def hash_code(text):
    """Computes `String.hashCode` over UTF-16 code units."""
    code, units = 0, text.encode("utf-16-be", "surrogatepass")
    for at in range(0, len(units), 2):
        code = (31 * code + int.from_bytes(units[at : at + 2])) & 0xFFFFFFFF
    return code
