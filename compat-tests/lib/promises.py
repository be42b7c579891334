"""Checks the servers' promises against the record of a fault run and against every server's tree afterwards.

A `Judge` outlives the rounds: each round it takes the full dumps read from all servers, judges what happened since the last round,
and keeps the state they agree on as the next starting point. Invariant: it never reports behaviour that ZooKeeper's contract
permits: an operation of unknown outcome may take effect in a later round, or never.
"""

import collections
import time

import linearizable
from linearizable import OK, READ, UNKNOWN, Op
from workload import COUNTER, REGISTERS, Record

CONVERGE_LIMIT_S = 10.0
SERVERS_OWN = "/zookeeper"

Dump = collections.namedtuple("Dump", "znodes start end")


def dump(client):
    """Returns every znode that one server holds, with data and Stat, read behind a sync."""
    start = time.monotonic()
    client.sync("/")
    znodes, level = {}, ["/"]
    while level:
        asked = [(path, client.get_async(path), client.get_children_async(path)) for path in level if path != SERVERS_OWN]
        level = []
        for path, data, children in asked:
            znodes[path] = data.get(timeout=30)
            level += [f"{path.rstrip('/')}/{child}" for child in children.get(timeout=30)]
    return Dump(znodes, start, time.monotonic())


def agreed_dumps(clients):
    """Returns one dump per server, and their differences. Waits a while for them to become equal: late operations may still arrive."""
    deadline = time.monotonic() + CONVERGE_LIMIT_S
    while True:
        dumps = {number: dump(client) for number, client in clients.items()}
        found = list(differences({number: taken.znodes for number, taken in dumps.items()}))
        if not found or time.monotonic() > deadline:
            return dumps, found
        time.sleep(0.3)


def differences(trees):
    first = min(trees)
    for number, tree in trees.items():
        for path in sorted(trees[first].keys() | tree.keys()):
            if trees[first].get(path) != tree.get(path):
                yield f"{path} differs: server {first} has {trees[first].get(path)}, server {number} has {tree.get(path)}"


def disorder(acknowledged, noun):
    """Yields acknowledged operations that share a number, and those that began after a higher number had been handed out."""
    by_number = {}
    for op in acknowledged:
        if (other := by_number.setdefault(op.number, op)) is not op:
            yield f"{noun} 0x{op.number:x} twice: {other.what}; {op.what}"
    ended = sorted(acknowledged, key=lambda op: op.end)
    at, highest = 0, None
    for op in sorted(acknowledged, key=lambda op: op.start):
        while at < len(ended) and ended[at].end < op.start:
            highest = ended[at] if highest is None or ended[at].number > highest.number else highest
            at += 1
        if highest and highest.number > op.number:
            yield f"{noun} 0x{op.number:x} ({op.what}) began after 0x{highest.number:x} ({highest.what}) was acknowledged"


class Judge:
    def __init__(self, record, workers):
        self.record, self.workers = record, workers
        self.start_states = {path: ("initial", 0) for path in REGISTERS} | {COUNTER: ("0", 0)}
        self.facts = {}  # (path, version) -> (value, mzxid), as seen by any client
        self.writes = collections.defaultdict(set)  # path -> zxids of known writes
        self.homeless = []

    def judge(self, dumps, differing):
        """Returns all violations since the last call."""
        tree = dumps[min(dumps)].znodes
        found = self.record.violations + [f"servers do not converge: {text}" for text in differing[:5]]
        found += [*disorder(self.record.writes, "zxid"), *disorder(self.record.sequence, "sequence number")]
        for path in self.start_states:
            found += self.register(path, dumps)
        found += [*self.sessions_see(dumps), *self.counter(tree), *self.znodes(tree), *self.sessions(tree)]
        self.forget()
        return found

    def forget(self):
        """Drops what was judged, except the last write, which is needed to check the order across rounds."""
        self.record.violations = []
        for log in (self.record.writes, self.record.sequence):
            log[:] = sorted(log, key=lambda op: op.number)[-1:]
        for worker in self.workers:
            worker.plain_reads.clear()

    def register(self, path, dumps):
        """Checks a register's history plus a read of it from every server; carries open operations into the next round."""
        history = self.record.registers[path]
        for number, taken in dumps.items():
            if path in taken.znodes:
                data, stat = taken.znodes[path]
                history.append(Op(f"server {number}", READ, taken.start, taken.end, OK, data.decode(), stat.version))
            else:
                yield f"{path} is gone on server {number}"
        if complaint := linearizable.check(history, self.start_states[path]):
            yield f"{path} is not linearizable: {complaint}"
        if history:
            self.start_states[path] = (history[-1].value, history[-1].version)
        seen = {op.value for op in history if op.outcome == OK and op.kind == READ}
        self.record.registers[path] = [op for op in history if op.outcome == UNKNOWN and op.value not in seen]

    def sessions_see(self, dumps):
        """Checks that plain reads see one value and one zxid per version, and nothing older than what the session knew."""
        reads = [(path, version, value, mzxid) for worker in self.workers for path, _, mzxid, version, value in worker.plain_reads]
        for taken in dumps.values():
            present = ((path, taken.znodes.get(path)) for path in self.start_states)
            reads += [(path, znode[1].version, znode[0].decode(), znode[1].mzxid) for path, znode in present if znode]
        for path, version, value, mzxid in reads:
            fact = self.facts.setdefault((path, version), (value, mzxid))
            if fact != (value, mzxid):
                yield f"{path} version {version} was {fact} to one reader and {(value, mzxid)} to another"
            self.writes[path].add(mzxid)
        zxids = {path: sorted(known) for path, known in self.writes.items()}
        for worker in self.workers:
            yield from worker.stale_reads(zxids)

    def counter(self, tree):
        if COUNTER in tree:
            count = int(tree[COUNTER][0].split()[0])
            low, high = self.record.increments, self.record.increments + self.record.open_increments
            if not low <= count <= high:
                yield f"the counter is {count}: {low} increments were acknowledged, {high - low} are unknown"

    def znodes(self, tree):
        """Checks that acknowledged creates exist, acknowledged deletes are gone, transactions are whole, and nothing exists twice."""
        for path, expected in self.record.znodes.items():
            data = tree[path][0].decode() if path in tree else None
            if expected is not Record.MAYBE and data != expected:
                yield f"{path} should be {expected!r} and is {data!r}"
        for paths in self.record.pairs:
            if len({path in tree for path in paths}) > 1:
                yield f"half of a transaction: {[path for path in paths if path in tree]} of {paths}"
        ids = collections.Counter()
        for path, (data, _) in tree.items():
            if path.startswith("/seq/"):
                ids[data.decode()] += 1
                if path not in self.record.znodes and data.decode() not in self.record.open_ids:
                    yield f"{path} ({data!r}): nobody's, or a create done a second time"
        yield from (f"created {count} times: sequential {value}" for value, count in ids.items() if count > 1)

    def sessions(self, tree):
        """Checks that every client kept its session, and every session its ephemeral znode."""
        for worker in self.workers:
            session = worker.client.client_id and worker.client.client_id[0]
            if worker.sessions_lost or session != worker.session:
                self.homeless.append(worker)
                yield f"{worker.name} lost its session 0x{worker.session:x}"
            elif worker.ephemeral not in tree:
                self.homeless.append(worker)
                yield f"{worker.name} kept its session and lost its ephemeral"
            elif tree[worker.ephemeral][1].ephemeralOwner != session:
                yield f"{worker.ephemeral} is owned by 0x{tree[worker.ephemeral][1].ephemeralOwner:x}, not by 0x{session:x}"

    def renew_sessions(self):
        """Gives a new session to workers that lost a session or ephemeral, so that the next round reports only its own losses."""
        for worker in self.homeless:
            worker.sessions_lost = 0
            worker.new_session()
        self.homeless = []

    def clean(self, client, tree):
        """Removes what this round's creates left, so that rounds stay short. The removed znodes must never come back."""
        gone = [path for path in tree if path.startswith(("/seq/", "/plain/", "/multi/"))]
        for asked in [client.delete_async(path) for path in gone]:
            asked.get(timeout=30)
        for path in gone:
            self.record.open_ids.discard(tree[path][0].decode())
        self.record.znodes.update({path: None for path in gone})
        self.record.pairs = [paths for paths in self.record.pairs if paths[0] not in tree]
