"""The work that the clients of a fault run do, and the record of it.

A `Worker` is one Kazoo client in its own thread, with one request at a time, on znodes that all workers share: registers written and
compared-and-set, a counter, sequential and plain creates, deletes, transactions, plain reads, and reads behind a sync. Its
ephemeral znode marks its session. Invariant: the `Record` holds exactly what a worker was told. An error that leaves the outcome
open counts as unknown; an error that the request cannot have is a violation at once.
"""

import bisect
import collections
import random
import threading
import time

from kazoo.client import KazooClient
from kazoo.exceptions import BadVersionError, KazooException, NoNodeError
from kazoo.exceptions import ConnectionClosedError, ConnectionLoss, OperationTimeoutError, SessionExpiredError
from kazoo.handlers.threading import KazooTimeoutError
from kazoo.protocol.states import KazooState
from kazoo.retry import KazooRetry

from linearizable import CAS, FAIL, OK, READ, UNKNOWN, WRITE, Op

# The longest timeout that servers with a tickTime of 500 ms grant.
SESSION_TIMEOUT_S = 10.0
# An answer must arrive within this time: a client that has lost its connection is told so long before.
ANSWER_LIMIT_S = 40.0
THINK_S = 0.02
REGISTERS = [f"/reg/r{number}" for number in range(5)]
COUNTER = "/reg/counter"
PARENTS = ("/reg", "/seq", "/plain", "/multi", "/eph")
OPEN_OUTCOME = (ConnectionLoss, ConnectionClosedError, OperationTimeoutError, SessionExpiredError)


def connect(hosts, **named):
    retry = KazooRetry(max_tries=-1, delay=0.02, backoff=1.5, max_delay=0.3)
    client = KazooClient(hosts=hosts, timeout=SESSION_TIMEOUT_S, connection_retry=retry, **named)
    client.start(timeout=60)
    return client


def prepare(client):
    for path in PARENTS:
        client.ensure_path(path)
    for path in REGISTERS:
        client.create(path, b"initial")
    client.create(COUNTER, b"0")


Acknowledged = collections.namedtuple("Acknowledged", "start end number what")


class Record:
    """`registers`: operations by path. `writes`: every acknowledged write with its zxid; `sequence`: with its sequence number.

    `znodes` says whether each path must exist (its data), must not (None), or may (MAYBE: as often as that is unclear);
    `open_ids` holds the data of sequential creates whose outcome is unknown.
    """

    MAYBE = object()

    def __init__(self):
        self.registers = collections.defaultdict(list)
        self.writes = []
        self.sequence = []
        self.znodes = {}
        self.open_ids = set()
        self.pairs = []  # transactions: the two paths each creates
        self.increments = self.open_increments = 0
        self.violations = []
        self.lock = threading.Lock()

    def violation(self, text):
        with self.lock:
            self.violations.append(text)

    def incremented(self, outcome):
        with self.lock:
            self.increments += outcome == OK
            self.open_increments += outcome == UNKNOWN


class Gate:
    """Lets all workers work, or none; closing it waits for the requests in flight."""

    def __init__(self):
        self.condition = threading.Condition()
        self.open, self.busy = False, 0

    def set(self, is_open):
        with self.condition:
            self.open = is_open
            self.condition.notify_all()
            if not is_open and not self.condition.wait_for(lambda: self.busy == 0, 2 * ANSWER_LIMIT_S):
                raise RuntimeError(f"{self.busy} clients still wait for an answer after {2 * ANSWER_LIMIT_S:.0f} s")

    def __enter__(self):
        with self.condition:
            self.condition.wait_for(lambda: self.open)
            self.busy += 1

    def __exit__(self, *_):
        with self.condition:
            self.busy -= 1
            self.condition.notify_all()


class Worker(threading.Thread):
    def __init__(self, number, hosts, seed, record, gate):
        super().__init__(daemon=True, name=f"client-{number}")
        self.rng = random.Random(f"{seed}-{number}")
        self.record, self.gate = record, gate
        self.client = connect(hosts)
        self.client.add_listener(self.state_changed)
        self.ephemeral = f"/eph/{self.name}"
        self.session, self.sessions_lost, self.disconnects = None, 0, 0
        self.known = {}  # version of each register, as last seen
        self.seen_zxid = 0  # the highest zxid of anything this session saw or did
        self.plain_reads = []
        self.mine = []
        self.counted = 0
        self.ended = False
        self.new_session()

    def state_changed(self, state):
        self.disconnects += state == KazooState.SUSPENDED
        self.sessions_lost += state == KazooState.LOST

    def new_session(self):
        """Marks the current session with its ephemeral znode; first deletes what an earlier session left there."""
        if not self.client.client_id:
            raise RuntimeError(f"{self.name} gets no session any more")
        self.session = self.client.client_id[0]
        try:
            self.client.retry(self.client.delete, self.ephemeral)
        except NoNodeError:
            pass
        self.client.retry(self.client.create, self.ephemeral, self.name.encode(), ephemeral=True)

    def run(self):
        actions = {
            self.write: 24, self.cas: 22, self.synced_read: 20, self.plain_read: 12, self.increment: 6,
            self.create_sequential: 8, self.create_plain: 4, self.delete_plain: 2, self.create_pair: 2,
        }  # fmt: skip
        while not self.ended:
            with self.gate:
                if self.ended:
                    return
                (action,) = self.rng.choices(list(actions), actions.values())
                try:
                    action()
                except Exception as error:  # noqa: BLE001: if a worker died silently, the run would pass
                    self.record.violation(f"{self.name}: {action.__name__}: unexpected {error!r}")
            time.sleep(self.rng.uniform(0, THINK_S))

    def unique(self):
        self.counted += 1
        return f"{self.name}-{self.counted}"

    def ask(self, function, *arguments, **named):
        """Returns the outcome, the result or the definite error, and the start and end times."""
        start = time.monotonic()
        try:
            result, outcome = function(*arguments, **named).get(timeout=ANSWER_LIMIT_S), OK
        except OPEN_OUTCOME as error:
            result, outcome = error, UNKNOWN
        except KazooTimeoutError as error:
            self.record.violation(f"{self.name}: no answer and no lost connection within {ANSWER_LIMIT_S:.0f} s")
            result, outcome = error, UNKNOWN
        except KazooException as error:
            result, outcome = error, FAIL
        return outcome, result, start, time.monotonic()

    def saw(self, *zxids):
        self.seen_zxid = max(self.seen_zxid, *zxids)

    def unexpected(self, what, result):
        self.record.violation(f"{self.name}: {what}: {result!r}")

    # --- registers -------------------------------------------------------------------------------------------------------

    def write(self):
        self.set(self.rng.choice(REGISTERS), self.unique(), None)

    def cas(self):
        path = self.rng.choice(REGISTERS)
        if path in self.known:
            self.set(path, self.unique(), self.known[path])

    def set(self, path, value, expected):
        condition = -1 if expected is None else expected
        outcome, result, start, end = self.ask(self.client.set_async, path, value.encode(), version=condition)
        if outcome == FAIL and not (isinstance(result, BadVersionError) and expected is not None):
            self.unexpected(f"set {path}", result)
        kind = WRITE if expected is None else CAS
        version = result.version if outcome == OK else None
        self.record.registers[path].append(Op(self.name, kind, start, end, outcome, value, version, expected))
        if outcome == OK:
            self.known[path] = version
            self.saw(result.mzxid)
            self.record.writes.append(Acknowledged(start, end, result.mzxid, f"{self.name}: set {path} {value}"))
        else:
            self.known.pop(path, None)
        return outcome

    def synced_read(self):
        """Reads a register behind a sync. The read is linearizable: it sees everything decided before the sync began."""
        path = self.rng.choice(REGISTERS)
        outcome, _, start, _ = self.ask(self.client.sync_async, "/")
        if outcome != OK:
            return
        outcome, result, _, end = self.ask(self.client.get_async, path)
        if outcome == OK:
            self.has_read(path, start, end, result)
        elif outcome == FAIL:
            self.unexpected(f"get {path}", result)

    def plain_read(self):
        """Reads a register without a sync. The read is not linearizable, yet never older than what this session has seen."""
        path = self.rng.choice([*REGISTERS, COUNTER])
        seen = self.seen_zxid
        outcome, result, _, _ = self.ask(self.client.get_async, path)
        if outcome != OK:
            return outcome == FAIL and self.unexpected(f"get {path}", result)
        data, stat = result
        self.plain_reads.append((path, seen, stat.mzxid, stat.version, data.decode()))
        self.known[path] = stat.version
        self.saw(stat.mzxid)
        return data

    def has_read(self, path, start, end, result):
        data, stat = result
        self.record.registers[path].append(Op(self.name, READ, start, end, OK, data.decode(), stat.version))
        self.known[path] = stat.version
        self.saw(stat.mzxid)

    def increment(self):
        outcome, result, _, _ = self.ask(self.client.get_async, COUNTER)
        if outcome != OK:
            return outcome == FAIL and self.unexpected(f"get {COUNTER}", result)
        data, stat = result
        count = int(data.split()[0]) + 1
        self.record.incremented(self.set(COUNTER, f"{count} {self.unique()}", stat.version))

    # --- znodes ----------------------------------------------------------------------------------------------------------

    def create_sequential(self):
        value = self.unique()
        self.record.open_ids.add(value)
        outcome, result, start, end = self.ask(
            self.client.create_async, "/seq/q-", value.encode(), sequence=True, include_data=True
        )
        if outcome == FAIL:
            self.unexpected("create /seq/q-", result)
        if outcome == OK:
            path, stat = result
            self.created(path, value, start, end, stat)
            self.record.open_ids.discard(value)
            self.record.sequence.append(Acknowledged(start, end, int(path[-10:]), f"{self.name}: created {path} {value}"))

    def create_plain(self):
        value = self.unique()
        path = f"/plain/{value}"
        self.record.znodes[path] = Record.MAYBE
        outcome, result, start, end = self.ask(self.client.create_async, path, value.encode(), include_data=True)
        if outcome == FAIL:
            self.unexpected(f"create {path}, a name used once", result)
        if outcome == OK:
            self.created(path, value, start, end, result[1])
            self.mine.append(path)

    def created(self, path, value, start, end, stat):
        if self.record.znodes.get(path, Record.MAYBE) is not Record.MAYBE:
            self.record.violation(f"{self.name}: {path} was created twice")
        self.record.znodes[path] = value
        self.saw(stat.czxid)
        self.record.writes.append(Acknowledged(start, end, stat.czxid, f"{self.name}: create {path}"))

    def delete_plain(self):
        if not self.mine:
            return
        path = self.mine.pop(self.rng.randrange(len(self.mine)))
        if self.record.znodes.get(path) is None:
            return  # removed between two rounds
        self.record.znodes[path] = Record.MAYBE
        outcome, result, _, _ = self.ask(self.client.delete_async, path)
        if outcome == FAIL:
            self.unexpected(f"delete {path}, acknowledged and not deleted", result)
        if outcome == OK:
            self.record.znodes[path] = None

    def create_pair(self):
        value = self.unique()
        paths = [f"/multi/{half}-{value}" for half in "ab"]
        self.record.pairs.append(paths)
        for path in paths:
            self.record.znodes[path] = Record.MAYBE
        transaction = self.client.transaction()
        for path in paths:
            transaction.create(path, value.encode())
        outcome, result, _, _ = self.ask(transaction.commit_async)
        if outcome == OK and any(isinstance(part, Exception) for part in result):
            self.unexpected(f"create {paths} in one transaction", result)
        elif outcome == OK:
            self.record.znodes.update({path: value for path in paths})

    # --- reads a session may see -----------------------------------------------------------------------------------------

    def stale_reads(self, writes_by_path):
        """Yields plain reads older than what the session had seen before. `writes_by_path`: known zxids, sorted."""
        for path, seen, mzxid, _, value in self.plain_reads:
            zxids = writes_by_path.get(path, [])
            newest = bisect.bisect_right(zxids, seen) - 1
            if newest >= 0 and zxids[newest] > mzxid:
                yield f"{self.name} had seen zxid 0x{seen:x} and then read {path} as of 0x{mzxid:x} ({value}), missing 0x{zxids[newest]:x}"

    def close(self):
        self.ended = True
        self.client.stop()
        self.client.close()


