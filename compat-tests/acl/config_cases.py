"""Who may read and change /zookeeper/config, and with it the members: its own ACL, super users, skipACL.

Source: ZooKeeperServer.checkACL, PrepRequestProcessor (reconfig asks for WRITE), DataTree#addConfigNode.
"""

import os
import sys
from pathlib import Path

import harness
import wire
from harness import SERVERS, case, equal, error_name
from wire import ACL, ALL, READ

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "lib"))
from server import Deployment  # noqa: E402

FEATURE = "the configuration"
CONFIG = "/zookeeper/config"
SUPER, BOB = wire.auth("digest", "super:admin"), wire.auth("digest", "bob:pw")
OPEN = [ACL(READ, "world", "anyone")]
BOBS = [ACL(ALL, "digest", "bob:ikIaKsbtGweaHnb/jKn7OHqbunM=")]
# Nothing of this changes anything but a version: znodes of a version that is none, a member that is none.
ASKED = {
    "read": wire.get_data(CONFIG), "acl": wire.get_acl(CONFIG), "write": wire.set_data(CONFIG, b"", 99),
    "create": wire.create(f"{CONFIG}/x"), "admin": wire.set_acl(CONFIG, OPEN, 99), "delete": wire.delete(CONFIG, 99),
    "reconfig": wire.reconfig(leaving="99"),
}
# Nobody deletes it, and a server alone has no members to change.
NEVER = {"delete": "BAD_ARGUMENTS"} if SERVERS > 1 else {"delete": "BAD_ARGUMENTS", "reconfig": "UNIMPLEMENTED"}


def may(scene, identity=None):
    """The error of each thing that somebody may want of it."""
    client = scene.client()
    if identity:
        client.ok(identity, xid=wire.XID_AUTH)
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
    equal(may(scene, BOB), READERS, "bob")
    equal(may(scene, SUPER), OWNERS, "super")


@case(FEATURE, "it may be given to somebody")
def given(scene):
    client = scene.client()
    client.ok(SUPER, xid=wire.XID_AUTH)
    client.ok(wire.set_acl(CONFIG, BOBS))
    scene.settle()
    equal(may(scene), answers(), "anybody")
    equal(may(scene, BOB), OWNERS, "bob")
    equal(may(scene, SUPER), OWNERS, "super")
    client.ok(wire.set_acl(CONFIG, OPEN))
    scene.settle()
    equal(may(scene, BOB), READERS, "bob afterwards")


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
    restart_with("reconfigEnabled=true")
    sys.exit(harness.run(sys.argv[1:]))
