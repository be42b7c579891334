"""The errors of reconfig requests that cannot be done, and their precedence. Source: PrepRequestProcessor.

No case here changes the members.
"""

import wire
from harness import ENDS_WRITES, SERVERS, case, equal, table
from wire import Err, reconfig

SUPER = wire.auth("digest", "super:admin")
NEXT = "server.9=127.0.0.1:39:40;41"


def members(*lines):
    return reconfig(members="\n".join(lines))



ERRORS = [
    ("nothing to do, by nobody", reconfig(), Err.NO_AUTH, False),
    ("the version counts before the members", reconfig("nonsense", "nonsense", None, 77), Err.BAD_VERSION, False),
    ("the members count before the permission", reconfig("server.9=nonsense"), Err.BAD_ARGUMENTS, False),
    ("the majority counts before the permission", members("server.8=127.0.0.1:8:9", "server.9=127.0.0.1:39:40"),
     Err.NEW_CONFIG_NO_QUORUM, False),
    ("permission", reconfig(NEXT), Err.NO_AUTH, False),
    ("version", reconfig(config_id=77), Err.BAD_VERSION, True),
    ("version 1 below any", reconfig(config_id=-2), Err.BAD_VERSION, True),
    # Incremental changes.
    ("joining without a client port", reconfig("server.9=127.0.0.1:39:40:participant"), Err.BAD_ARGUMENTS, True),
    ("joining without a line", reconfig("server.9"), Err.BAD_ARGUMENTS, True),
    ("joining with two lines", reconfig("server.9=a=b"), Err.BAD_ARGUMENTS, True),
    ("joining by a name", reconfig("server.x=127.0.0.1:39:40;41"), Err.MARSHALLING, True),
    ("joining with a port that is none", reconfig("server.9=127.0.0.1:x:40;41"), Err.BAD_ARGUMENTS, True),
    ("joining with a client port that is none", reconfig("server.9=127.0.0.1:39:40;x"), Err.BAD_ARGUMENTS, True),
    ("joining with a port out of range", reconfig("server.9=127.0.0.1:39:70000;41"), Err.MARSHALLING, True),
    ("joining with a client port out of range", reconfig("server.9=127.0.0.1:39:40;70000"), Err.MARSHALLING, True),
    ("joining with one port for two things", reconfig("server.9=127.0.0.1:39:39;41"), Err.BAD_ARGUMENTS, True),
    ("joining with one port", reconfig("server.9=127.0.0.1:39;41"), Err.BAD_ARGUMENTS, True),
    ("joining with an unknown role", reconfig("server.9=127.0.0.1:39:40:voter;41"), Err.BAD_ARGUMENTS, True),
    ("joining with two addresses", reconfig("server.9=127.0.0.1:39:40|127.0.0.2:39:40;41"), Err.BAD_ARGUMENTS, True),
    ("joining at one address", reconfig("server.8=10.1.1.1:8:9;7,server.9=10.1.1.1:9:10;11"), Err.BAD_ARGUMENTS, True),
    ("leaving by a name", reconfig(None, "x"), Err.MARSHALLING, True),
    ("leaving is looked at first", reconfig("nonsense", "x"), Err.MARSHALLING, True),
    ("all leave but one", reconfig(None, "2,3"), Err.BAD_ARGUMENTS, True),
    ("all leave", reconfig(None, " 1 , 2 ,3,,"), Err.BAD_ARGUMENTS, True),
    ("voters become observers", reconfig("server.2=127.0.0.1:8:9:observer;7,server.3=127.0.0.1:9:10:observer;11"),
     Err.BAD_ARGUMENTS, True),
    # Changes that give all members at once.
    ("nobody", members(), Err.BAD_ARGUMENTS, True),
    ("one voter", members("server.1=127.0.0.1:8:9;7"), Err.BAD_ARGUMENTS, True),
    ("only observers", members("server.1=127.0.0.1:8:9:observer;7"), Err.MARSHALLING, True),
    ("one voter and an observer", members("server.1=127.0.0.1:8:9;7", "server.2=127.0.0.1:9:10:observer;6"), Err.MARSHALLING, True),
    ("a key of zoo.cfg", members("clientPort=1"), Err.BAD_ARGUMENTS, True),
    ("a line that is none", members("server.1=x", "server.2=y"), Err.BAD_ARGUMENTS, True),
    ("a name", members("server.x=127.0.0.1:8:9"), Err.MARSHALLING, True),
    ("a version that is none", members("server.1=127.0.0.1:8:9", "server.2=127.0.0.1:9:10", "version=x"), Err.MARSHALLING, True),
    ("an escape that is none", members("server.1=127.0.0.1:8:9", "server.2=\\u00g0"), Err.MARSHALLING, True),
    ("strangers", members("server.8=127.0.0.1:8:9", "server.9=127.0.0.1:9:10"), Err.NEW_CONFIG_NO_QUORUM, True),
    ("more strangers than members", reconfig("8=127.0.0.1:8:9;7,9=127.0.0.1:10:11;12,10=127.0.0.1:13:14;15", "3"),
     Err.NEW_CONFIG_NO_QUORUM, True),
    ("all at once counts before one at a time", reconfig("nonsense", "nonsense", "server.8=127.0.0.1:8:9\nserver.9=127.0.0.1:9:10"),
     Err.NEW_CONFIG_NO_QUORUM, True),
]


@table("reconfig errors", ERRORS)
def refused(scene, request, err, as_super):
    client = scene.client()
    if as_super:
        client.ok(SUPER)
    client.refused(request, err if SERVERS > 1 else Err.UNIMPLEMENTED)


@case("reconfig errors", "a body that ends early takes no zxid", only_alone=ENDS_WRITES)
def malformed(scene):
    client = scene.client()
    client.ok(SUPER)
    request = reconfig(NEXT)
    client.fails(request._replace(body=request.body[:-1]), Err.MARSHALLING)


@case("reconfig errors", "the members are as they were")
def unchanged(scene):
    client = scene.client()
    last = client.data("/zookeeper/config").decode().rpartition("\n")[2]
    # The members are established as version 0, and then get the zxid of the first epoch.
    equal(last, "version=100000000" if SERVERS > 1 else "", "version")
