"""Random short sequences of client operations for the differential test.

Owns the choice of operations and arguments. A step is plain data, so that a failing sequence can be printed,
shortened and run again. Paths are relative to the sequence's parent znode. Invariant: nothing in a sequence
depends on time or on the rest of the tree, so two correct servers must answer alike.
"""

from collections import namedtuple

import wire
from wire import ACL, Flags, Op

Step = namedtuple("Step", "session name arguments")

SESSIONS = 3
STEPS_MIN, STEPS_MAX = 6, 24

PATHS = ["", "/a", "/b", "/a/x", "/a/y", "/b/x", "/a/x/z", "/e"]
# Sequences delete nothing below a container: the server may remove a container that has lost its children at any time.
CONTAINER, IN_CONTAINER = "/k", "/k/x"
ODD_PATHS = ["/a/", "//a", "/.", "/a/..", "/a/./x", "/\x01", "/a\x7fb", "/\ufff0", "/none/x", "/none", "/a\0"]
DATA = [None, b"", b"x", b"some longer data"]
VERSIONS = [-1, -1, -1, 0, 0, 1, 2, 5, -2]
TTL_MS = 3_600_000
# Quotas count these znodes and everything below them.
QUOTA_PATHS = ["", "/a", "/a", "/b"]
SUPER = ("digest", "super:admin")


def user(session):
    """Returns the one user that a session authenticates as, so that the order of its identities does not matter."""
    return "digest", f"user{session}:password"


def sequence(random):
    """Returns a list of steps. With quotas it has no bursts: what a limit refuses depends on what ZooKeeper has applied by then."""
    choice = Choice(random, random.choice([("burst",), ("quota", "quotaChange")]))
    return [choice.step() for _ in range(random.randint(STEPS_MIN, STEPS_MAX))]


class Choice:
    """Chooses steps; remembers which znodes probably exist, so that most operations find one."""

    def __init__(self, random, without):
        self.random = random
        self.names = [name for name in WEIGHTS if name not in without]
        self.likely = [""]
        self.session, self.watched = 0, {session: [""] for session in range(SESSIONS)}

    def step(self):
        self.session = self.random.randrange(SESSIONS)
        name = self.random.choices(self.names, [WEIGHTS[name] for name in self.names])[0]
        return Step(self.session, name, self.arguments(name))

    def arguments(self, name):
        return CHOICES[name](self)

    def path(self):
        roll = self.random.random()
        if roll < 0.05:
            return self.random.choice(ODD_PATHS)
        return self.random.choice(self.likely if roll < 0.75 else [*PATHS, CONTAINER, IN_CONTAINER])

    def deletable_path(self):
        path = self.path()
        return "/b" if path == IN_CONTAINER else path

    def new_path(self):
        """Returns a path; in most cases its parent probably exists."""
        fits = [path for path in [*PATHS, IN_CONTAINER] if path.rpartition("/")[0] in self.likely and path]
        path = self.random.choice(fits) if self.random.random() < 0.85 else self.path()
        self.expect(path)
        return path

    def expect(self, path):
        if path not in self.likely and path not in ODD_PATHS:
            self.likely.append(path)

    def data(self):
        return self.random.choice(DATA)

    def version(self):
        return self.random.choice(VERSIONS)

    def watch(self):
        return self.random.random() < 0.5

    def acl(self, open_share=0.8):
        return some_acl(self.random, open_share)


# --- arguments --------------------------------------------------------------------------------


def some_acl(random, open_share):
    if random.random() < open_share:
        return wire.OPEN
    return random.choice([
        [],
        [ACL(random.randrange(32), "world", "anyone")],
        [ACL(wire.ALL, "auth", ""), ACL(random.randrange(32), "world", "anyone")],
        [ACL(wire.ALL, "auth", None)],
        [ACL(wire.READ | wire.WRITE, "world", "anyone")],
        [ACL(wire.READ, "world", "anyone"), ACL(wire.READ, "world", "anyone"), ACL(wire.ALL, "digest", "u:h")],
        [ACL(wire.ALL, "ip", "127.0.0.0/8")],
        [ACL(wire.ALL, "ip", "10.0.0.1")],
        [ACL(wire.ALL, "world", "nobody")],
        [ACL(wire.ALL, "none", "x")],
    ])


def create_arguments(choice):
    path = choice.new_path()
    kinds = [Flags.PERSISTENT] * 5
    # The root numbers the parent's own siblings, and its counter differs between the servers.
    if path:
        kinds += [Flags.PERSISTENT_SEQUENTIAL] * 2
    if path and path != IN_CONTAINER:
        kinds += [Flags.EPHEMERAL] * 2 + [Flags.EPHEMERAL_SEQUENTIAL]
    roll = choice.random.random()
    if roll < 0.03:
        kinds = [-1, 5, 6, 9]
    elif roll < 0.1:
        kinds = [Flags.CONTAINER]
    return path, choice.data(), choice.acl(), choice.random.choice(kinds)


def create_ttl_arguments(choice):
    path = choice.new_path()
    flags = choice.random.choice([Flags.TTL] * 4 + [Flags.TTL_SEQUENTIAL if path else Flags.TTL, Flags.PERSISTENT])
    ttl_ms = choice.random.choice([TTL_MS] * 8 + [0, -1]) if flags else TTL_MS
    return path, ttl_ms, choice.data(), choice.acl(), flags


def create_container_arguments(choice):
    path = choice.random.choice([CONTAINER] * 8 + ["/none/k", "/a/"])
    choice.expect(path)
    # No ephemeral flags: until a container created with them is applied, it is an ephemeral.
    return path, choice.data(), choice.acl(), choice.random.choice([Flags.CONTAINER] * 4 + [Flags.PERSISTENT, Flags.PERSISTENT_SEQUENTIAL])


def path_list(choice):
    return [choice.path() for _ in range(choice.random.randrange(4))]


def set_watches_arguments(choice):
    """Returns how many replies ago the last zxid was seen, and the lists."""
    return choice.random.randrange(6), path_list(choice), path_list(choice), path_list(choice)


def resume_arguments(choice):
    """Returns what a returning client asks for: most entries of the lists are paths it watched."""
    watched = choice.watched[choice.session]
    lists = ([choice.random.choice(watched) for _ in range(choice.random.randrange(3))] for _ in range(5))
    return choice.random.randrange(6), *lists


def quota_arguments(choice):
    """Returns a znode, and its quota limits."""
    counts, sizes = choice.random.choice([-1, 1, 2, 4]), choice.random.choice([-1, 3, 10, 30])
    hard = choice.random.choice(["", "", f"=;countHardLimit={counts}", f"=;byteHardLimit={sizes};countHardLimit=3"])
    limits = choice.random.choice([f"count={counts},bytes={sizes}{hard}"] * 9 + ["count=,bytes"])
    return choice.random.choice(QUOTA_PATHS), limits.encode()


def quota_change_arguments(choice):
    path, limits = quota_arguments(choice)
    return path, choice.random.choice(["setData", "setData", "delete", "getData", "stats", "stats", "delete stats"]), limits


def multi_arguments(choice):
    names = choice.random.choices(["create", "create2", "createContainer", "createTTL", "delete", "setData", "check"], k=choice.random.randrange(5))
    return [(name, without_container(name, choice.arguments(name))) for name in names]


def without_container(name, arguments):
    """Replaces the container flags: in a multi such a create makes a container, which may be removed at any time."""
    *others, flags = arguments
    return (*others, Flags.PERSISTENT) if name in ("create", "create2") and flags == Flags.CONTAINER else arguments


def multi_read_arguments(choice):
    return [(choice.random.choice(["getData", "getChildren"]), (choice.path(), choice.watch()))
            for _ in range(choice.random.randrange(4))]


def read_arguments(choice):
    path, watch = choice.path(), choice.watch()
    if watch:
        choice.watched[choice.session].append(path)
    return path, watch


def path_argument(choice):
    return (choice.path(),)


def watcher_arguments(choice):
    path = choice.random.choice(choice.watched[choice.session]) if choice.random.random() < 0.8 else choice.path()
    return path, choice.random.choice([1, 2, 3, 3, 4, 4, 5, 5, 6])


def add_watch_arguments(choice):
    path = choice.path()
    choice.watched[choice.session].append(path)
    return path, choice.random.choice([0] * 4 + [1] * 4 + [2])


# No setACL: a leader of Apache ZooKeeper checks against the old ACL until it has applied the change (docs/compatibility.md).
BURST = {
    "create": 5, "create2": 2, "delete": 4, "setData": 5, "exists": 2, "getData": 3, "getChildren2": 2, "getACL": 1,
    "addWatch": 1, "removeWatches": 1, "multi": 2, "multiRead": 1, "sync": 1,
}


def burst_arguments(choice):
    """Returns requests to send without waiting for each other's replies."""
    names = choice.random.choices(list(BURST), list(BURST.values()), k=choice.random.randint(2, 6))
    return [(name, choice.arguments(name)) for name in names]


def nothing(_):
    return ()


CHOICES = {
    "create": create_arguments,
    "create2": create_arguments,
    "createContainer": create_container_arguments,
    "createTTL": create_ttl_arguments,
    "delete": lambda choice: (choice.deletable_path(), choice.version()),
    "setData": lambda choice: (choice.path(), choice.data(), choice.version()),
    "setACL": lambda choice: (choice.path(), choice.acl(0.3), choice.version()),
    "check": lambda choice: (choice.path(), choice.version()),
    "exists": read_arguments,
    "getData": read_arguments,
    "getChildren": read_arguments,
    "getChildren2": read_arguments,
    "getACL": path_argument,
    "getAllChildrenNumber": path_argument,
    "getEphemerals": path_argument,
    "sync": path_argument,
    "addWatch": add_watch_arguments,
    "checkWatches": watcher_arguments,
    "removeWatches": watcher_arguments,
    "setWatches": set_watches_arguments,
    "setWatches2": lambda choice: (*set_watches_arguments(choice), path_list(choice), path_list(choice)),
    "resume": resume_arguments,
    "quota": quota_arguments,
    "quotaChange": quota_change_arguments,
    "multi": multi_arguments,
    "multiRead": multi_read_arguments,
    "auth": lambda choice: (choice.random.choice(["user", "user", "user", "super", "bad", "ip"]),),
    "whoAmI": nothing,
    "burst": burst_arguments,
    "close": nothing,
    "drop": nothing,
    "steal": nothing,
}
WEIGHTS = {
    "create": 14, "create2": 8, "createContainer": 2, "createTTL": 3, "delete": 10, "setData": 10, "setACL": 4,
    "exists": 5, "getData": 6, "getChildren": 4, "getChildren2": 4, "getACL": 3, "getAllChildrenNumber": 1,
    "getEphemerals": 1, "sync": 1, "addWatch": 5, "checkWatches": 2, "removeWatches": 3, "setWatches": 2,
    "setWatches2": 2, "multi": 6, "multiRead": 2, "auth": 3, "whoAmI": 1, "burst": 12, "close": 2, "drop": 1, "steal": 1,
    "resume": 2, "quota": 4, "quotaChange": 4,
}


# --- from steps to requests -------------------------------------------------------------------

BUILDERS = {
    "create": wire.create,
    "create2": wire.create2,
    "createContainer": wire.create_container,
    "createTTL": wire.create_ttl,
    "delete": wire.delete,
    "setData": wire.set_data,
    "setACL": wire.set_acl,
    "check": wire.check,
    "exists": wire.exists,
    "getData": wire.get_data,
    "getChildren": wire.get_children,
    "getChildren2": wire.get_children2,
    "getACL": wire.get_acl,
    "getAllChildrenNumber": wire.get_all_children_number,
    "getEphemerals": wire.get_ephemerals,
    "sync": wire.sync,
    "addWatch": wire.add_watch,
    "checkWatches": wire.check_watches,
    "removeWatches": wire.remove_watches,
}
AUTH = {"super": SUPER, "bad": ("none", "x"), "ip": ("ip", None)}


def request(step, parent, zxids):
    """Returns the request of a step below `parent`; `zxids` are those of the replies so far, oldest first."""
    name, arguments = step.name, step.arguments
    if name in ("multi", "multiRead"):
        operations = [BUILDERS[sub](parent + path, *rest) for sub, (path, *rest) in arguments]
        return wire.multi(*operations, op=Op.MULTI if name == "multi" else Op.MULTI_READ)
    if name in ("setWatches", "setWatches2"):
        back, *lists = arguments
        since = zxids[max(0, len(zxids) - 1 - back)]
        build = wire.set_watches if name == "setWatches" else wire.set_watches2
        return build(since, *([parent + path for path in paths] for paths in lists))
    if name == "resume":
        return request(Step(step.session, "setWatches2", arguments), parent, zxids)
    if name == "quotaChange":
        return quota_change(parent, *arguments)
    if name == "auth":
        return wire.auth(*AUTH.get(arguments[0], user(step.session)))
    if name == "whoAmI":
        return wire.WHO_AM_I
    path, *rest = arguments
    return BUILDERS[name](parent + path, *rest)


# --- quotas -----------------------------------------------------------------------------------

QUOTAS = "/zookeeper/quota"
LIMITS, STATS = "zookeeper_limits", "zookeeper_stats"


def quota(parent, path, limits):
    """Returns the requests that put a quota on a znode: creates of every znode on the way, even of existing ones, and of the quota."""
    names = (parent + path)[1:].split("/")
    way = [f"{QUOTAS}/{'/'.join(names[:count])}" for count in range(1, len(names) + 1)]
    return [*(wire.create(znode) for znode in way), wire.create(f"{way[-1]}/{LIMITS}", limits), wire.create(f"{way[-1]}/{STATS}", b"count=0,bytes=0")]


def quota_change(parent, path, name, limits):
    znode = f"{QUOTAS}{parent}{path}"
    match name:
        case "setData":
            return wire.set_data(f"{znode}/{LIMITS}", limits)
        case "stats":
            return wire.get_data(f"{znode}/{STATS}")
        case "delete stats":
            return wire.delete(f"{znode}/{STATS}")
        case "delete":
            return wire.delete(f"{znode}/{LIMITS}")
        case _:
            return wire.get_data(f"{znode}/{LIMITS}")
