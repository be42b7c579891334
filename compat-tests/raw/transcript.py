"""Plays a sequence against one server and records what a client sees, in a form that two servers can share.

Owns the sessions of a sequence and the normal form. Invariant: the normal form keeps everything that ZooKeeper
fixes and drops what it leaves open: zxids become ranks within the transcript, times become the zxid they belong
to, and session ids become the order of their creation.
"""

import time

import wire
from connection import Connection, Notification
from sequences import QUOTAS, SUPER, Step, quota, request
from wire import Err, Op

# The replies of these operations are names.
NAMES = (Op.GET_CHILDREN, Op.GET_EPHEMERALS)

# After these operations a connection may have watches.
WATCHING = ("exists", "getData", "getChildren", "getChildren2", "addWatch", "setWatches", "setWatches2", "resume", "burst")


class Zxid(int):
    """A zxid in a transcript that is not ranked yet."""


class Player:
    """One run of one sequence against one server."""

    def __init__(self, address, observer, parent, acl_pause_s=0):
        self.acl_pause_s, self.address, self.observer, self.parent = acl_pause_s, address, observer, parent
        self.connections, self.lost, self.ordinals = {}, {}, {}
        self.times, self.watching = {}, set()
        self.zxids = [self.observer.ask(wire.create(parent, b"parent")).zxid]

    def play(self, steps):
        """Returns the transcript: one entry per step, then the tree."""
        try:
            entries = [self.play_step(step) for step in steps]
            entries.append({f"stray events of session {slot}": self.events(self.connections[slot].take_events())
                            for slot in self.fence(self.connections)})
            entries.append(self.tree())
            return ranked(entries)
        finally:
            self.end()

    # --- sessions ----------------------------------------------------------------------------

    def open_session(self, **credentials):
        connection = Connection(self.address)
        answer = connection.handshake(**credentials)
        self.ordinals.setdefault(answer.session, len(self.ordinals))
        return connection

    def connection(self, slot):
        """Returns the slot's connection: the current one, a resumed one, or one with a new session."""
        if slot not in self.connections:
            self.connections[slot] = self.open_session(**self.lost.pop(slot, {}))
        return self.connections[slot]

    def lose(self, slot):
        """Forgets the slot's connection but not its session."""
        connection = self.connections.pop(slot)
        self.lost[slot] = dict(session=connection.session, password=connection.password)
        return connection

    def end(self):
        """Removes the sequence's znodes and sessions."""
        for slot in list(self.lost):
            self.connection(slot)
        for connection in self.connections.values():
            connection.send(wire.CLOSE)
        for connection in self.connections.values():
            connection.receive_reply()
            connection.close()
        ask_all(self.observer, [wire.delete(path) for path in reversed(self.everything())])

    # --- steps -------------------------------------------------------------------------------

    def play_step(self, step):
        if step.name == "resume" and step.session in self.connections:
            self.lose(step.session).close()
        connection = self.connection(step.session)
        entry = {"reply": self.act(step, connection)}
        if early := connection.take_events():
            entry["events before the reply"] = self.events(early)
        self.watching |= {step.session} & (set(self.connections) if step.name in WATCHING else set())
        for slot in self.fence(self.watching):
            later = self.connections[slot].take_events()
            if later:
                entry[f"events of session {slot}"] = self.events(later)
        return entry

    def act(self, step, connection):
        if step.name == "drop":
            self.lose(step.session).close()
            return "dropped"
        if step.name == "steal":
            return self.steal(step.session)
        if step.name == "close":
            del self.connections[step.session]
            reply, rest = connection.end_session()
            return self.header(reply), rest.hex()
        if step.name == "burst":
            requests = [request(Step(step.session, *part), self.parent, self.zxids) for part in step.arguments]
            return self.burst(requests, connection)
        if step.name == "quota":
            return self.burst(quota(self.parent, *step.arguments), connection)
        sent = request(step, self.parent, self.zxids)
        reply = connection.ask(sent)
        if step.name == "setACL":
            time.sleep(self.acl_pause_s)
        if reply.zxid > 0:
            self.zxids.append(reply.zxid)
        if reply.err == Err.AUTH_FAILED:
            rest = self.lose(step.session).receive_until_close()
            return self.header(reply), rest.hex()
        return self.header(reply), self.body(sent.op, reply)

    def burst(self, requests, connection):
        """Sends requests in one piece and returns replies and events in order of arrival."""
        xids = [connection.send(sent) for sent in requests]
        messages, answered = [], 0
        while answered < len(requests):
            message = connection.receive()
            if isinstance(message, Notification):
                messages += self.events([message])
                continue
            if message.xid != xids[answered]:
                raise AssertionError(f"reply xid {message.xid}, expected {xids[answered]}")
            messages.append((self.header(message), self.body(requests[answered].op, message)))
            answered += 1
        return messages

    def steal(self, slot):
        """Moves the session to a new connection while the old one is open."""
        old = self.lose(slot)
        self.connection(slot)
        rest = old.receive_until_close()
        old.close()
        return "stolen", rest.hex()

    def fence(self, slots):
        """Pings these slots' connections, so that all their events so far have arrived; returns the open ones."""
        slots = sorted(set(slots) & set(self.connections))
        for slot in slots:
            self.connections[slot].send(wire.PING, wire.XID_PING)
        for slot in slots:
            if self.connections[slot].receive_reply().xid != wire.XID_PING:
                raise AssertionError("a reply nobody asked for")
        return slots

    # --- normal form -------------------------------------------------------------------------

    def header(self, reply):
        return Zxid(reply.zxid), error_name(reply.err)

    def events(self, events):
        return [(item.type, item.state, item.path, Zxid(item.zxid)) for item in events]

    def body(self, op, reply):
        if reply.err or not reply.body:
            return reply.body.hex()
        reader = wire.Reader(reply.body)
        value = self.value(op, reader)
        reader.end()
        return value

    def value(self, op, reader):
        if op in NAMES:
            return reader.vector(reader.ustring)
        if op in (Op.MULTI, Op.MULTI_READ):
            return self.multi(reader)
        readers = {
            Op.CREATE: lambda: reader.ustring(),
            Op.CREATE2: lambda: (reader.ustring(), self.stat(reader)),
            Op.CREATE_CONTAINER: lambda: (reader.ustring(), self.stat(reader)),
            Op.CREATE_TTL: lambda: (reader.ustring(), self.stat(reader)),
            Op.EXISTS: lambda: self.stat(reader),
            Op.SET_DATA: lambda: self.stat(reader),
            Op.SET_ACL: lambda: self.stat(reader),
            Op.GET_DATA: lambda: (reader.buffer(), self.stat(reader)),
            Op.GET_ACL: lambda: (reader.vector(reader.acl), self.stat(reader)),
            Op.GET_CHILDREN2: lambda: (reader.vector(reader.ustring), self.stat(reader)),
            Op.WHO_AM_I: lambda: reader.vector(lambda: (reader.ustring(), reader.ustring())),
        }
        return readers.get(op, lambda: reader.take(len(reader.data)).hex())()

    def multi(self, reader):
        results = []
        while True:
            kind, done, err = reader.multi_header()
            if done:
                return [*results, (kind, err)]
            value = {
                Op.CREATE: lambda: reader.ustring(),
                Op.CREATE2: lambda: (reader.ustring(), self.stat(reader)),
                Op.CREATE_CONTAINER: lambda: (reader.ustring(), self.stat(reader)),
                Op.CREATE_TTL: lambda: (reader.ustring(), self.stat(reader)),
                Op.SET_DATA: lambda: self.stat(reader),
                Op.GET_DATA: lambda: (reader.buffer(), self.stat(reader)),
                Op.GET_CHILDREN: lambda: reader.vector(reader.ustring),
                Op.ERROR: lambda: error_name(reader.int32()),
            }.get(kind, lambda: None)()
            results.append((kind, error_name(err), value))

    def stat(self, reader):
        stat = reader.stat()
        return stat._replace(
            czxid=Zxid(stat.czxid), mzxid=Zxid(stat.mzxid), pzxid=Zxid(stat.pzxid),
            ctime=self.time(stat.czxid, stat.ctime), mtime=self.time(stat.mzxid, stat.mtime),
            ephemeral_owner=stat.ephemeral_owner and f"session {self.ordinals.get(stat.ephemeral_owner)}",
        )

    def time(self, zxid, time_ms):
        """Returns a normalised time: each transaction must show the same time everywhere."""
        known = self.times.setdefault(zxid, time_ms)
        return "time of its zxid" if known == time_ms else f"{time_ms - known} ms off"

    def everything(self):
        """Returns the paths of everything below the parent, and of its quota znodes."""
        return [path for root in (self.parent, QUOTAS + self.parent) for path in descendants(self.observer, root)]

    def tree(self):
        """Returns everything below the parent, and its quota znodes, as the super user sees them."""
        asked = [make(path) for path in self.everything() for make in (wire.get_data, wire.get_acl)]
        replies = ask_all(self.observer, asked)
        return {"tree": [(wire.Reader(sent.body).ustring(), error_name(reply.err), self.body(sent.op, reply))
                         for sent, reply in zip(asked, replies)]}


def observer(address):
    """Opens a super user's session for setup, inspection and cleanup."""
    connection = Connection(address)
    connection.handshake()
    connection.ask(wire.auth(*SUPER))
    return connection


def error_name(code):
    return wire.Err(code).name if code in list(wire.Err) else code


def ask_all(connection, requests):
    """Sends all requests, then reads all replies."""
    for request in requests:
        connection.send(request)
    return [connection.receive_reply() for _ in requests]


def descendants(connection, root):
    """Returns the path and all paths below it, parents first, siblings sorted; nothing if it does not exist."""
    found, level = [], [root]
    while level:
        replies = ask_all(connection, [wire.get_children(path) for path in level])
        found += [path for path, reply in zip(level, replies) if not reply.err]
        level = [f"{path}/{name}" for path, reply in zip(level, replies) if not reply.err for name in names(reply)]
    return found


def names(reply):
    reader = wire.Reader(reply.body)
    return sorted(reader.vector(reader.ustring))


def ranked(entries):
    """Returns the transcript with each zxid replaced by its rank; 0 and -1 stay as they are."""
    ranks = {zxid: rank for rank, zxid in enumerate(sorted(set(zxids_of(entries))), 1)}
    return replaced(entries, ranks)


def zxids_of(value):
    if isinstance(value, Zxid):
        return [int(value)] if value > 0 else []
    if isinstance(value, dict):
        value = value.values()
    return [zxid for item in value for zxid in zxids_of(item)] if not isinstance(value, (str, bytes, int, type(None))) else []


def replaced(value, ranks):
    if isinstance(value, Zxid):
        return f"z{ranks[value]}" if value > 0 else int(value)
    if isinstance(value, dict):
        return {key: replaced(item, ranks) for key, item in value.items()}
    if isinstance(value, wire.Stat):
        return wire.Stat(*(replaced(item, ranks) for item in value))
    if isinstance(value, (list, tuple)):
        return [replaced(item, ranks) for item in value]
    return value
