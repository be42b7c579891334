"""Four-letter words: the format of each answer, with patterns for numbers that vary. Source: org.apache.zookeeper.server.command."""

import re
import socket

import wire
from connection import four_letter
from harness import SERVERS, case, configuration_pattern, equal, table

FEATURE = "four-letter word"
VERSION = r"\d+\.\d+\.\d+\S*-\S+, built on \d{4}-\d\d-\d\d \d\d:\d\d UTC"
# An ensemble's cases talk to a follower.
MODE = "standalone" if SERVERS == 1 else "follower"
DATE = r"\w{3} \w{3} \d\d \d\d:\d\d:\d\d UTC \d{4}"
BRIEF = r" /[\d.]+:\d+\[\d+\]\(queued=\d+,recved=\d+,sent=\d+\)\n"
FULL = (
    r" /[\d.]+:\d+\[\d+\]\(queued=\d+,recved=\d+,sent=\d+,sid=0x[0-9a-f]+,lop=\w+,est=\d+,to=\d+,"
    r"(lcxid=0x[0-9a-f]+,)?lzxid=0x[0-9a-f]+,lresp=\d+,llat=\d+,minlat=\d+,avglat=\d+,maxlat=\d+\)\n"
)
COUNTERS = (
    r"Latency min/avg/max: \d+/\d+\.\d+/\d+\nReceived: \d+\nSent: \d+\nConnections: \d+\nOutstanding: \d+\n"
    rf"Zxid: 0x[0-9a-f]+\nMode: {MODE}\nNode count: \d+\n"
)
# A member of an ensemble adds these. A follower does not know when sessions expire, and prints SESSIONS instead.
QUORUM = (
    r"initLimit=20\nsyncLimit=10\nelectionAlg=3\nelectionPort=\d+\nquorumPort=\d+\npeerType=0\n(featureLevel=\d+\n)?"
    f"membership: \n{configuration_pattern()}" if SERVERS > 1 else ""
)
EXPIRIES = f"Session Sets \\(\\d+\\)/\\(\\d+\\):\n(\\d+ expire at {DATE}:\n(\t0x[0-9a-f]+\n)*)*"
SESSIONS = EXPIRIES if SERVERS == 1 else r"Global Sessions\(\d+\):\n(0x[0-9a-f]+\t\d+ms\n)*"
PATTERNS = {
    "ruok": "imok",
    "isro": "rw",
    "gtmk": r"\d+",
    # The last line is specific to oxkeeper.
    "srvr": f"Zookeeper version: {VERSION}\n" + COUNTERS + r"(Feature level: \d+\n)?",
    "stat": f"Zookeeper version: {VERSION}\nClients:\n({BRIEF})+\n" + COUNTERS,
    "cons": f"({FULL}|{BRIEF})+\n",
    "conf": r"clientPort=\d+\nsecureClientPort=-1\ndataDir=\S+\ndataDirSize=\d+\ndataLogDir=\S+\ndataLogSize=\d+\n"
    r"tickTime=500\nmaxClientCnxns=0\nminSessionTimeout=1000\nmaxSessionTimeout=10000\n"
    rf"clientPortListenBacklog=-1\nserverId=\d+\n{QUORUM}(featureLevel=\d+\n)?",
    "dirs": r"datadir_size: \d+\nlogdir_size: \d+\n",
    "wchs": r"\d+ connections watching \d+ paths\nTotal watches:\d+\n",
    "crst": "Connection stats reset.\n",
    "srst": "Server stats reset.\n",
    "hash": r"([0-9a-f]+: -?\d+\n)*",
    "envi": f"Environment:\nzookeeper.version={VERSION}\n(\\S+=.*\n)+",
    "mntr": f"zk_version\t{VERSION}\nzk_server_state\t{MODE}\n(zk_\\S+\t\\S+.*\n)+",
    "dump": f"SessionTracker dump:\n{SESSIONS}"
    r"ephemeral nodes dump:\nSessions with Ephemerals \(\d+\):\n(0x[0-9a-f]+:\n(\t/.*\n)+)*"
    f"Connections dump:\nConnections Sets \\(\\d+\\)/\\(\\d+\\):\n(\\d+ expire at {DATE}:\n"
    r"(\tip: /[\d.]+:\d+ sessionId: 0x[0-9a-f]+\n)*)*",
}


@table(FEATURE, [(word, word, pattern) for word, pattern in PATTERNS.items()])
def answer(scene, word, pattern):
    client = scene.client()
    client.ok(wire.create(scene.base + "/e", flags=1))
    client.ok(wire.get_data("/", True))
    text = four_letter(scene.address, word).decode()
    assert re.fullmatch(pattern, text), f"unexpected answer {text[:3000]!r}"


@case(FEATURE, "stmk reads eight more bytes")
def set_mask(scene):
    equal(four_letter(scene.address, b"stmk" + (306).to_bytes(8, "big")), b"306", "answer")
    equal(four_letter(scene.address, "gtmk"), b"306", "mask")


@table(FEATURE, [("newline after it", b"ruok\n"), ("text after it", b"ruok and more"), ("carriage return", b"ruok\r\n")])
def rest_ignored(scene, data):
    equal(four_letter(scene.address, data), b"imok", "answer")


@case(FEATURE, "byte by byte")
def slow(scene):
    connection = scene.connection()
    for byte in b"ruok":
        connection.send_raw(bytes([byte]))
    equal(connection.receive_until_close(), b"imok", "answer")


@case(FEATURE, "answers after the client has half-closed")
def half_closed(scene):
    connection = scene.connection()
    connection.send_raw(b"srvr")
    connection.socket.shutdown(socket.SHUT_WR)
    assert connection.receive_until_close().startswith(b"Zookeeper version: ")


@table(FEATURE, [(f"{word!r} is no word", word.encode()) for word in ("xxxx", "RUOK", "Stat")])
def unknown(scene, data):
    connection = scene.connection()
    connection.send_raw(data)
    connection.is_closed()


@case(FEATURE, "after the handshake it is a frame length")
def too_late(scene):
    client = scene.client()
    client.send_raw(b"ruok")
    client.is_closed()


@case(FEATURE, "wchs, wchc, wchp show data watches")
def watches(scene):
    one, other, base = scene.client(), scene.client(), scene.base
    one.ok(wire.get_data(base, True))
    other.ok(wire.get_data(base, True))
    one.ok(wire.get_data("/zookeeper", True))
    sids = [f"0x{client.session & 2**64 - 1:x}" for client in (one, other)]
    equal(four_letter(scene.address, "wchs"), b"2 connections watching 2 paths\nTotal watches:3\n", "wchs")
    by_connection = blocks(four_letter(scene.address, "wchc").decode())
    equal(by_connection, {sids[0]: sorted([base, "/zookeeper"]), sids[1]: [base]}, "wchc")
    by_path = blocks(four_letter(scene.address, "wchp").decode())
    equal(by_path, {base: sorted(sids), "/zookeeper": [sids[0]]}, "wchp")


def blocks(text):
    """Parses header lines with tab-indented lines below them; the answer must end in an empty line."""
    assert text.endswith("\n\n"), f"no empty line at the end of {text!r}"
    found, header = {}, None
    for line in text[:-1].splitlines():
        if line.startswith("\t"):
            found[header].append(line[1:])
        else:
            header = line
            found[header] = []
    return {header: sorted(lines) for header, lines in found.items()}


@case(FEATURE, "dump lists sessions, ephemerals and connections")
def dump(scene):
    client, path = scene.client(), scene.base + "/e"
    client.ok(wire.create(path, flags=1))
    text = four_letter(scene.address, "dump").decode()
    sid = f"0x{client.session & 2**64 - 1:x}"
    host, port = client.socket.getsockname()
    session = f"\n\t{sid}\n" if SERVERS == 1 else f"\n{sid}\t{client.timeout_ms}ms\n"
    assert session in text and f"\n{sid}:\n\t{path}\n" in text, text
    assert f"\tip: /{host}:{port} sessionId: {sid}\n" in text, text


@case(FEATURE, "cons describes this connection")
def cons(scene):
    client = scene.client(timeout_ms=7000)
    client.ok(wire.create(scene.base + "/e"), xid=0x4D2)
    host, port = client.socket.getsockname()
    line = next(line for line in four_letter(scene.address, "cons").decode().splitlines() if f":{port}[" in line)
    sid = f"0x{client.session & 2**64 - 1:x}"
    assert line.startswith(f" /{host}:{port}[1](queued=0,recved=3,sent=3,sid={sid},lop=CREA,est="), line
    assert f",to=7000,lcxid=0x4d2,lzxid=0x{client.last_zxid:x},lresp=" in line, line


LAST_OPERATIONS = [
    ("PING", wire.PING), ("EXIS", wire.exists("/")), ("GETD", wire.get_data("/")), ("GETC", wire.get_children("/")),
    ("GETC", wire.get_children2("/")), ("GETA", wire.get_acl("/")), ("SETD", wire.set_data("/zookeeper/quota", b"")),
    ("GETACN", wire.get_all_children_number("/")), ("SYNC", wire.sync("/")), ("MULT", wire.multi()),
    ("MLTR", wire.multi_read()), ("SETW", wire.set_watches(0)), ("STW2", wire.set_watches2(0)),
    ("ADDW", wire.add_watch("/none", 0)), ("CHKW", wire.check_watches("/none", 3)),
    ("REMW", wire.remove_watches("/none", 3)), ("GETE", wire.get_ephemerals("/")), ("HOMI", wire.WHO_AM_I),
]


@case(FEATURE, "cons names the last operation")
def last_operation(scene):
    client = scene.client()
    port = client.socket.getsockname()[1]
    for code, request in LAST_OPERATIONS:
        client.ok(request)
        text = four_letter(scene.address, "cons").decode()
        line = next(line for line in text.splitlines() if f":{port}[" in line)
        assert f",lop={code}," in line, f"expected {code}: {line}"


@case(FEATURE, "crst resets connections, srst the server")
def resets(scene):
    client = scene.client()
    for _ in range(20):
        client.ok(wire.PING)
    four_letter(scene.address, "crst")
    port = client.socket.getsockname()[1]
    line = next(line for line in four_letter(scene.address, "cons").decode().splitlines() if f":{port}[" in line)
    assert "recved=0,sent=0," in line and ",lop=NA," in line, line
    four_letter(scene.address, "srst")
    received = re.search(r"\nReceived: (\d+)\n", four_letter(scene.address, "srvr").decode())
    assert int(received[1]) <= 3, received[0]


@case(FEATURE, "srvr: zxid and node count follow")
def follows(scene):
    client, base = scene.client(), scene.base

    def shown():
        text = four_letter(scene.address, "srvr").decode()
        return re.search(r"Zxid: (0x[0-9a-f]+)\n", text)[1], int(re.search(r"Node count: (\d+)\n", text)[1])

    _, before = shown()
    zxid = client.ok(wire.create(base + "/a")).zxid
    equal(shown(), (f"0x{zxid:x}", before + 1), "Zxid and Node count")


MONITORED = """avg_latency max_latency min_latency packets_received packets_sent num_alive_connections
outstanding_requests uptime znode_count watch_count ephemerals_count approximate_data_size global_sessions
local_sessions open_file_descriptor_count max_file_descriptor_count connection_drop_probability
last_client_response_size max_client_response_size min_client_response_size auth_failed_count
connection_request_count connection_rejected connection_drop_count stale_sessions_expired bytes_received_count
cnt_fsynctime sum_fsynctime cnt_readlatency p99_readlatency cnt_updatelatency p99_updatelatency
cnt_snapshottime""".split()


def monitored(scene):
    lines = four_letter(scene.address, "mntr").decode().splitlines()
    return dict(line.split("\t", 1) for line in lines)


@case(FEATURE, "mntr has the figures dashboards use")
def monitor_keys(scene):
    missing = [key for key in MONITORED if "zk_" + key not in monitored(scene)]
    equal(missing, [], "missing keys")


@case(FEATURE, "mntr counts znodes, ephemerals, watches, sessions, bytes")
def monitor_counts(scene):
    client, base = scene.client(), scene.base
    keys = ("zk_znode_count", "zk_ephemerals_count", "zk_watch_count", "zk_global_sessions", "zk_approximate_data_size")
    before = [int(monitored(scene)[key]) for key in keys]
    client.ok(wire.create(base + "/e", b"12345", flags=1))
    client.ok(wire.add_watch(base, wire.PERSISTENT_WATCH))
    scene.client()
    after = [int(monitored(scene)[key]) for key in keys]
    equal([new - old for old, new in zip(before, after)], [1, 1, 2, 1, len(base + "/e") + 5], "differences")


@case(FEATURE, "envi has the keys operators read")
def environment(scene):
    lines = four_letter(scene.address, "envi").decode().splitlines()[1:]
    keys = [line.partition("=")[0] for line in lines]
    for key in ("zookeeper.version", "host.name", "os.name", "os.arch", "os.version", "user.name", "user.home", "user.dir"):
        assert key in keys, f"{key} is not among {keys}"
