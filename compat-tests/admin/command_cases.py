"""The answers of each command. Source: Commands, JettyAdminServer, JsonOutputter."""

import json
import re
import socket
import time

import wire
from harness import SERVERS, case, equal, eventually
from http_site import MAIN, SITES, ask, own_server
from java_set import JavaSet, tables_for
from server import free_ports
from wire import ACL, Flags

NUMBER, TEXT = "a number", "a text"
BUFFER = {"last_buffer_size": NUMBER, "min_buffer_size": NUMBER, "max_buffer_size": NUMBER}
NO_SESSION = ("remote_socket_address", "interest_ops", "outstanding_requests", "packets_received", "packets_sent")
OPTIONS = "GET, HEAD, POST, TRACE, OPTIONS".split(", ")


def fits(got, want, at):
    """Checks a value against `want`, which holds values, kinds of values, lists of one kind, or members in any order."""
    if isinstance(want, dict):
        equal(sorted(got), sorted(want), f"members of {at}")
        for name, value in want.items():
            fits(got[name], value, f"{at}.{name}")
    elif isinstance(want, list):
        assert isinstance(got, list), f"{at}: {got!r} is no list"
        for item in got:
            fits(item, want[0], f"{at}[]")
    elif want is NUMBER:
        assert isinstance(got, (int, float)) and not isinstance(got, bool), f"{at}: {got!r} is no number"
    elif want is TEXT:
        assert isinstance(got, str), f"{at}: {got!r} is no text"
    else:
        equal(got, want, at)
        equal(type(got), type(want), f"type of {at}")


def tells(site, name, want, primary=None):
    got = site.command(name)
    equal(list(got)[-2:], ["command", "error"], "last members")
    fits(got, {**want, "command": primary or name, "error": None}, name)
    return got


@case("list", "every command, as links")
def links(_):
    names = """configuration connection_stat_reset connections dirs dump environment get_trace_mask hash initial_configuration
        is_read_only last_snapshot leader monitor observer_connection_stat_reset observers restore ruok server_stats
        set_trace_mask snapshot stat_reset stats system_properties voting_view watch_summary watches watches_by_path zabstate"""
    page = "".join(f'<a href="/commands/{name}">{name}</a>\n<br/>\n' for name in names.split())
    for path in ("/commands", "/commands/"):
        status, headers, body = MAIN.ask(path)
        equal((status, body), (200, page), path)
        equal(headers.get("content-type", "text/html").split(";")[0], "text/html", "content type")


@case("list", "other names of commands")
def aliases(_):
    names = {
        "configuration": "conf config", "connection_stat_reset": "crst", "connections": "cons", "environment": "env envi",
        "get_trace_mask": "gtmk", "initial_configuration": "icfg", "is_read_only": "isro", "last_snapshot": "lsnp",
        "leader": "lead", "monitor": "mntr", "observer_connection_stat_reset": "orst", "observers": "obsr",
        "server_stats": "srvr", "set_trace_mask": "stmk", "stat_reset": "srst", "stats": "stat",
        "system_properties": "sysp", "watch_summary": "wchs", "watches": "wchc", "watches_by_path": "wchp",
    }
    for name, others in names.items():
        for other in others.split():
            equal(MAIN.command(other)["command"], name, other)
    # A refused client is told the command's name as it was requested.
    for name in ("snap", "rest"):
        equal(refused(name, None), (401, {"command": name, "error": "Auth info is missing for the command"}), name)


@case("tells", "configuration")
def configuration(_):
    conf = dict(line.split("=", 1) for line in MAIN.word("conf").splitlines() if "=" in line)
    want = {
        "client_port": int(conf["clientPort"]), "data_dir": conf["dataDir"], "data_log_dir": conf["dataLogDir"], "tick_time": 500,
        "max_client_cnxns": 0, "min_session_timeout": 1000, "max_session_timeout": 10000, "server_id": int(conf["serverId"]),
        "client_port_listen_backlog": -1,
    }
    got = tells(MAIN, "configuration", want)
    equal(list(got)[:-2], list(want), "order of members")


@case("tells", "connections")
def connections(_):
    client = MAIN.session()
    client.ask(wire.create(f"/admin-{time.monotonic_ns()}", b"x"))
    address = "{}:{}".format(*client.socket.getsockname()[:2])
    want = {"connections": [dict], "secure_connections": []}
    got = MAIN.command("connections")
    equal(list(got), [*want, "command", "error"], "members")
    equal(got["secure_connections"], [], "secure connections")
    mine = [one for one in got["connections"] if one["remote_socket_address"] == address]
    equal(len(mine), 1, "this connection")
    fits(mine[0], {
        "remote_socket_address": address, "interest_ops": 1, "outstanding_requests": 0, "packets_received": 2, "packets_sent": 2,
        "session_id": client.session, "last_operation": "CREA", "established": NUMBER, "session_timeout": 8000, "last_cxid": NUMBER,
        "last_zxid": client.last_zxid, "last_response_time": NUMBER, "last_latency": NUMBER, "min_latency": NUMBER,
        "avg_latency": NUMBER, "max_latency": NUMBER,
    }, "connection")
    brief = [one for one in MAIN.command("stats")["connections"] if one["remote_socket_address"] == address]
    equal(list(brief[0]), list(NO_SESSION), "members in stats")
    equal(list(mine[0])[:5], list(NO_SESSION), "first members")
    client.end_session()


@case("tells", "dump")
def dump(_):
    client = MAIN.session()
    path = f"/admin-{time.monotonic_ns()}"
    client.ask(wire.create(path, flags=Flags.EPHEMERAL))
    for site in SITES:
        mine = lambda: site.command("dump")["session_id_to_ephemeral_paths"].get(str(client.session))  # noqa: E731, B023
        eventually(lambda: mine() == [path], "the ephemeral is told")
        got = site.command("dump")
        equal(list(got), ["expiry_time_to_session_ids", "session_id_to_ephemeral_paths", "command", "error"], "members")
        expiring = [session for sessions in got["expiry_time_to_session_ids"].values() for session in sessions]
        equal(client.session in expiring, site.mode in ("leader", "standalone"), f"told when it expires by a {site.mode}")
    client.end_session()


@case("tells", "environment")
def environment(_):
    lines = MAIN.word("envi").splitlines()[1:]
    got = MAIN.command("environment")
    equal(list(got), [line.split("=", 1)[0] for line in lines] + ["command", "error"], "members")
    steady = [line.split("=", 1) for line in lines if "memory" not in line]
    equal([got[name] for name, _ in steady], [value for _, value in steady], "values")


@case("tells", "trace mask")
def trace_mask(_):
    equal(MAIN.command("get_trace_mask"), {"tracemask": 306, "command": "get_trace_mask", "error": None}, "at first")
    path = "set_trace_mask?traceMask="
    equal(MAIN.command(f"{path}310"), {"tracemask": 310, "command": "set_trace_mask", "error": None}, "set")
    equal(MAIN.command("get_trace_mask")["tracemask"], 310, "then")
    equal(MAIN.word("gtmk"), "310", "as the word tells")
    MAIN.command(f"{path}306")
    missing = "setTraceMask requires long traceMask argument"
    equal(list(MAIN.command("set_trace_mask").items()), [("error", missing), ("command", "set_trace_mask")], "without")
    equal(MAIN.command(f"{path}abc")["error"], f"{missing}, got abc", "no number")


@case("tells", "little")
def little(_):
    tells(MAIN, "hash", {"digests": [{"zxid": NUMBER, "digest_version": NUMBER, "digest": NUMBER}]})
    tells(MAIN, "dirs", {"datadir_size": NUMBER, "logdir_size": NUMBER})
    tells(MAIN, "is_read_only", {"read_only": False})
    tells(MAIN, "ruok", {})
    tells(MAIN, "observer_connection_stat_reset", {})
    tells(MAIN, "observers", {"synced_observers": 0, "observers": [dict]})
    got = tells(MAIN, "last_snapshot", {"zxid": TEXT, "timestamp": NUMBER})
    int(got["zxid"], 16)
    text = MAIN.command("initial_configuration")["initial_configuration"]
    if SERVERS > 1:
        equal(text, None, "of a member")
    else:
        assert text.startswith("tickTime=500\n") and f"admin.serverPort={MAIN.port}\n" in text, text


@case("tells", "system properties")
def system_properties(_):
    got = MAIN.command("system_properties")
    names = list(got)[:-2]
    equal(names, sorted(names), "order")
    want = {"zookeeper.4lw.commands.whitelist": "*", "zookeeper.admin.serverPort": str(MAIN.port), "znode.container.checkIntervalMs": "1000"}
    equal({name: got.get(name) for name in want}, want, "properties")


@case("tells", "server_stats and stats")
def stats(_):
    want = {
        "version": TEXT, "read_only": False, "client_response": BUFFER, "node_count": NUMBER,
        "server_stats": {
            "packets_sent": NUMBER, "packets_received": NUMBER, "fsync_threshold_exceed_count": NUMBER, "client_response_stats": BUFFER,
            "uptime": NUMBER, "data_dir_size": NUMBER, "log_dir_size": NUMBER, "provider_null": False, "last_processed_zxid": NUMBER,
            "outstanding_requests": NUMBER, "server_state": TEXT, "avg_latency": NUMBER, "max_latency": NUMBER, "min_latency": NUMBER,
            "num_alive_client_connections": NUMBER, "auth_failed_count": NUMBER, "non_mtlsremote_conn_count": NUMBER,
            "non_mtlslocal_conn_count": NUMBER,
        },
    }
    for site in SITES:
        leads = {"proposal_stats": BUFFER} if site.mode == "leader" else {}
        got = tells(site, "server_stats", {**want, **leads})
        equal(got["server_stats"]["server_state"], site.mode, "state")
        equal(type(got["server_stats"]["avg_latency"]), float, "type of avg_latency")
        connections = {"connections": [dict], "secure_connections": [dict]}
        order = ["version", "read_only", "server_stats", "client_response", *leads, "node_count", *connections, "command", "error"]
        equal(list(site.command("stats")), order, "order of members")
    equal(f"Zookeeper version: {got['version']}", SITES[-1].word("srvr").splitlines()[0], "version")


@case("tells", "who leads")
def leader(_):
    if SERVERS == 1:
        equal(list(MAIN.command("leader").items()), [("error", "server is not initialized"), ("command", "leader")], "alone")
        equal(MAIN.command("voting_view")["current_config"], {}, "voters")
        return tells(MAIN, "zabstate", {"voting": False, "zabstate": ""})
    leads = next(site.number for site in SITES if site.mode == "leader")
    view = None
    for site in SITES:
        tells(site, "leader", {"is_leader": site.number == leads, "leader_id": leads, "leader_ip": "127.0.0.1"})
        seen = site.command("voting_view")["current_config"]
        equal(view or seen, seen, "voters as all see them")
        view = seen
    for number, member in view.items():
        client = "127.0.0.1:{}".format(SITES[int(number) - 1].client[1])
        fits(member, {"server_addresses": [TEXT], "election_addresses": [TEXT], "client_address": client, "learner_type": "participant"}, number)
    for site in SITES:
        zab_state(site, view[str(site.number)], leads)


def zab_state(site, member, leads):
    def address(name):
        [one] = member[name]
        port = int(one.split(":")[1])
        return {
            "empty": False, "all_addresses": [one], "wildcard_addresses": [f"0.0.0.0:{port}"], "all_ports": [port],
            "all_host_strings": ["127.0.0.1"], "reachable_address": one, "all_reachable_addresses": [one],
            "all_reachable_addresses_or_all": [one], "reachable_or_one": one, "one": one,
        }

    got = tells(site, "zabstate", {
        "myid": site.number, "is_leader": site.number == leads, "quorum_address": address("server_addresses"),
        "election_address": address("election_addresses"), "client_address": member["client_address"], "voting": True,
        "last_zxid": TEXT, "zab_epoch": NUMBER, "zab_counter": NUMBER, "zabstate": "broadcast",
    })
    equal(int(got["last_zxid"], 16), got["zab_epoch"] << 32 | got["zab_counter"], "zxid")


@case("tells", "watches")
def watches(_):
    client = MAIN.session()
    path = f"/admin-{time.monotonic_ns()}"
    client.ask(wire.create(path))
    before = MAIN.command("watch_summary")
    client.ask(wire.get_data(path, True))
    client.ask(wire.get_children(path, True))
    tells(MAIN, "watches", {"session_id_to_watched_paths": {str(client.session): [path]}})
    tells(MAIN, "watches_by_path", {"path_to_session_ids": {path: [client.session]}})
    equal(list(before), ["num_connections", "num_paths", "num_total_watches", "command", "error"], "members")
    equal([MAIN.command("watch_summary")[name] for name in list(before)[:3]], [1, 1, 1], "summary")
    client.end_session()


@case("tells", "monitor, as mntr")
def monitor(_):
    client = MAIN.session()
    client.ask(wire.create(f"/admin-{time.monotonic_ns()}"))
    client.ask(wire.get_data("/"))
    for site in SITES:
        lines = [line.split("\t") for line in site.word("mntr").splitlines()]
        got = site.command("monitor")
        equal(sorted(got), sorted([name.removeprefix("zk_") for name, _ in lines] + ["command", "error"]), "members")
        for name, text in lines:
            value = got[name.removeprefix("zk_")]
            is_text = name in ("zk_version", "zk_server_state", "zk_peer_state")
            kind = str if is_text else float if "." in text else int
            equal(type(value), kind, f"type of {name}, {text}")
        equal(list(got)[:2], ["version", "server_state"], "first members")
    client.end_session()


@case("changes", "resets")
def resets(_):
    client = MAIN.session()
    for _ in range(5):
        client.ask(wire.get_data("/"))
    tells(MAIN, "stat_reset", {})
    # The server sends the reply before it has finished counting the request.
    counted = lambda: MAIN.command("server_stats")["server_stats"]["packets_received"]  # noqa: E731
    eventually(lambda: counted() == 0, "packets are counted anew")
    mine = lambda: next(one for one in MAIN.command("connections")["connections"] if one["session_id"] == client.session)  # noqa: E731
    equal(mine()["packets_received"] >= 5, True, "a connection's own count stays")
    tells(MAIN, "connection_stat_reset", {})
    eventually(lambda: mine()["packets_received"] == 0, "connections count anew")
    equal((mine()["last_operation"], mine()["last_cxid"]), ("NA", -1), "last operation")
    client.end_session()


@case("errors", "no such command")
def unknown(_):
    for path, name in (("nope", "nope"), ("srvr/", "srvr/"), ("a%20b", "a b"), ("RUOK", "RUOK")):
        for method in ("GET", "POST"):
            status, headers, body = MAIN.ask(f"/commands/{path}", method)
            equal((status, headers["content-type"].split(";")[0]), (200, "application/json"), path)
            equal(list(json.loads(body).items()), [("command", name), ("error", f"Unknown command: {name}")], path)


@case("errors", "no such page")
def no_page(_):
    for path in ("/", "/commandsx", "/command"):
        equal(MAIN.ask(path)[0], 404, path)


@case("errors", "methods")
def methods(_):
    status, headers, body = MAIN.ask("/commands/ruok", "HEAD")
    equal((status, body, headers["content-type"]), (200, "", "application/json"), "HEAD")
    for method, want in (("PUT", 405), ("DELETE", 405), ("TRACE", 403), ("OPTIONS", 200)):
        equal(MAIN.ask("/commands/ruok", method)[0], want, method)
    allowed = MAIN.ask("/commands/ruok", "OPTIONS")[1]["allow"].split(", ")
    equal(set(allowed) - {"TRACE"}, set(OPTIONS) - {"TRACE"}, "allowed")


def refused(path, header, method="GET"):
    headers = {"authorization": header} if header else {}
    status, _, body = MAIN.ask(f"/commands/{path}", method, b"" if method == "POST" else None, **headers)
    return status, json.loads(body)


@case("authorisation", "what the header must say")
def header(_):
    missing, wrong = "Auth info is missing for the command", "Not authenticated"
    for command, method in (("snapshot", "GET"), ("restore", "POST")):
        for text, problem in ((None, missing), ("digest", wrong), ("digest a b", wrong), ("foo bar", wrong), ("world anyone", wrong), ("x509", wrong)):
            equal(refused(command, text, method), (401, {"command": command, "error": problem}), f"{command} with {text!r}")


@case("authorisation", "the root says who may")
def root(_):
    client = MAIN.session()
    client.ask(wire.auth("digest", "alice:pw"), xid=wire.XID_AUTH)
    reply = client.ask(wire.set_acl("/", [ACL(31, "digest", "alice:V55/p2T0OpjQ+low3NVAH4aLvm0="), ACL(1, "world", "anyone")]))
    equal(reply.err, 0, "setACL")
    try:
        for text in ("digest bob:pw", "ip"):
            forbidden = lambda: refused("snapshot?streaming=false", text)  # noqa: E731, B023
            eventually(lambda: forbidden() == (403, {"command": "snapshot", "error": "Not authorized"}), f"{text} is refused")
    finally:
        client.ask(wire.auth("digest", "super:admin"), xid=wire.XID_AUTH)
        client.ask(wire.set_acl("/", wire.OPEN))
        client.end_session()


@case("layout", "as Jackson prints")
def layout(_):
    for name in ("server_stats", "connections", "observers", "voting_view", "dump", "nope", "zabstate", "leader"):
        body = MAIN.ask(f"/commands/{name}")[2]
        equal(body, printed(json.loads(body, parse_float=Plain), 0), name)


class Plain(str):
    """A number in its original spelling."""


def printed(value, depth):
    if isinstance(value, dict):
        inner = ",\n".join(f'{"  " * (depth + 1)}{json.dumps(name)} : {printed(item, depth + 1)}' for name, item in value.items())
        return f"{{\n{inner}\n{'  ' * depth}}}" if value else "{ }"
    if isinstance(value, list):
        return f"[ {', '.join(printed(item, depth) for item in value)} ]" if value else "[ ]"
    return value if isinstance(value, Plain) else json.dumps(value, ensure_ascii=False)


@case("ports", "a port that is taken ends a server alone", "an ensemble's member goes on")
def taken(_):
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        settings = f"admin.enableServer=true\nadmin.serverAddress=127.0.0.1\nadmin.serverPort={port}\n"
        with own_server(settings) as deployment:
            member = deployment.members[0]
            member.spawn()
            eventually(member.died, "it ends", 20)
            assert re.search("Unable to start AdminServer|admin.serverPort", member.log_tail(80)), member.log_tail()
            member.pid_file.unlink()


@case("ports", "another place for the commands")
def another_place(_):
    [port] = free_ports(1)
    settings = f"admin.enableServer=true\nadmin.serverAddress=127.0.0.1\nadmin.serverPort={port}\nadmin.commandURL=/zk\n"
    with own_server(settings) as deployment:
        deployment.start()
        equal(ask(port, "/commands/ruok")[0], 404, "the usual place")
        status, _, body = ask(port, "/zk/ruok")
        equal((status, json.loads(body)["error"]), (200, None), "the other place")
        assert '<a href="/zk/ruok">ruok</a>' in ask(port, "/zk")[2]


@case("tells", "dump and watches list copies of hash sets")
def listings(_):
    client = MAIN.session()
    # ZooKeeper lists paths of one hash bucket in insertion order; oxkeeper sorts watches.
    paths = sorted(f"/l{number * 7919 % 1000}" for number in range(60))
    for path in paths:
        equal(client.ask(wire.create(path, flags=1)).err, 0, f"create {path}")
        equal(client.ask(wire.exists(path, True)).err, 0, f"exists {path}")
    session = str(client.session)
    equal(MAIN.command("dump")["session_id_to_ephemeral_paths"][session], copied(JavaSet(paths)), "dump")
    equal(MAIN.command("watches")["session_id_to_watched_paths"][session], copied(JavaSet(paths)), "watches")
    client.end_session()


def copied(members):
    """Copies a set as `new HashSet<>(collection)` does."""
    return list(JavaSet(members, max(16, tables_for(int(members.size / 0.75) + 1))))
