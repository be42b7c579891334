"""Permissions to read and change /zookeeper/config, and with it the members: its own ACL, super users, skipACL.

Source: ZooKeeperServer.checkACL, PrepRequestProcessor (reconfig asks for WRITE), DataTree#addConfigNode.
"""

import os
import sys
from pathlib import Path

import callers
import harness
import wire
from callers import CLIENT, digest, over_tls, plain_client
from harness import SERVERS, case, equal, error_name
from server import Deployment
from wire import ACL, ALL, READ

FEATURE = "the configuration"
CONFIG = "/zookeeper/config"
OPEN = [ACL(READ, "world", "anyone")]
SUPERS = {"super": digest("super:admin"), "super by certificate": over_tls("super")}
OTHERS = {"bob": digest("bob:pw"), "a subject": over_tls("client")}
GIVEN = {"bob": ACL(ALL, "digest", "bob:ikIaKsbtGweaHnb/jKn7OHqbunM="), "a subject": ACL(ALL, "x509", CLIENT)}
# These requests change nothing but a version: the znode versions and the member they name do not exist.
ASKED = {
    "read": wire.get_data(CONFIG), "acl": wire.get_acl(CONFIG), "write": wire.set_data(CONFIG, b"", 99),
    "create": wire.create(f"{CONFIG}/x"), "admin": wire.set_acl(CONFIG, OPEN, 99), "delete": wire.delete(CONFIG, 99),
    "reconfig": wire.reconfig(leaving="99"),
}
# No client can delete it, and a single server has no members to change.
NEVER = {"delete": "BAD_ARGUMENTS"} if SERVERS > 1 else {"delete": "BAD_ARGUMENTS", "reconfig": "UNIMPLEMENTED"}


def may(scene, connect=plain_client):
    """Returns the error for each request on the znode."""
    client = connect(scene)
    found = {what: error_name(client.ask(request).err) for what, request in ASKED.items()}
    if found["create"] == "OK":
        client.ok(wire.delete(f"{CONFIG}/x"))
    return found


def answers(**what):
    return {name: what.get(name, "NO_AUTH") for name in ASKED} | NEVER


READERS = answers(read="OK", acl="OK")
OWNERS = answers(read="OK", acl="OK", write="BAD_VERSION", create="OK", admin="BAD_VERSION", reconfig="OK")


@case(FEATURE, "everybody reads it, and only a super user changes anything")
def as_made(scene):
    equal(scene.client().acl(CONFIG), OPEN, "ACL")
    equal(may(scene), READERS, "anybody")
    for who, connect in OTHERS.items():
        equal(may(scene, connect), READERS, who)
    for who, connect in SUPERS.items():
        equal(may(scene, connect), OWNERS, who)


@case(FEATURE, "it may be given to somebody")
def given(scene):
    client = SUPERS["super"](scene)
    for owner, acl in GIVEN.items():
        client.ok(wire.set_acl(CONFIG, [acl]))
        scene.settle()
        equal(may(scene), answers(), "anybody")
        for who, connect in OTHERS.items():
            equal(may(scene, connect), OWNERS if who == owner else answers(), f"{who}, under the ACL of {owner}")
        for who, connect in SUPERS.items():
            equal(may(scene, connect), OWNERS, who)
    client.ok(wire.set_acl(CONFIG, OPEN))
    scene.settle()
    for who, connect in OTHERS.items():
        equal(may(scene, connect), READERS, f"{who} afterwards")


@case(FEATURE, "without ACLs everybody may do everything")
def skipped(scene):
    restart_with("skipACL=yes")
    equal(may(scene), OWNERS, "anybody")


def restart_with(line):
    deployment = Deployment(Path(os.environ["ZK_CTL"]).parent)
    for member in deployment.members:
        config = member.directory / "zoo.cfg"
        config.write_text(f"{config.read_text()}{line}\n")
    deployment.restart()


if __name__ == "__main__":
    callers.serve("reconfigEnabled=true\n")
    sys.exit(harness.run(sys.argv[1:]))
