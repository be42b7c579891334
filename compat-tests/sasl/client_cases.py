"""Real clients with their own JAAS file, or with Kazoo's `sasl_options`."""

import os
import subprocess
from pathlib import Path

import lock
from harness import case, equal, eventually

from kazoo.client import KazooClient
from kazoo.exceptions import NoAuthError
from kazoo.protocol.states import KeeperState
from kazoo.security import ACL, Id

HERE = Path(__file__).resolve().parent
JAVA = HERE.parent / ".work" / "java" / "lib" / "*"


def kazoo(user, password):
    options = {"mechanism": "DIGEST-MD5", "username": user, "password": password}
    return KazooClient(hosts=os.environ["ZK_CONNECT"], sasl_options=options)


@case("Kazoo", "authenticates, and is the only one to read its znode")
def reads(scene):
    bob, eve = kazoo("bob", "bobpw"), kazoo("eve", "eve's \"pw\"")
    path = scene.base + "/kazoo"
    try:
        bob.start()
        eve.start()
        bob.create(path, b"x", acl=[ACL(31, Id("sasl", "bob"))])
        equal(bob.get(path)[0], b"x", "data")
        eve.sync(path)
        try:
            eve.get(path)
            raise AssertionError("eve may read it")
        except NoAuthError:
            pass
    finally:
        for client in (bob, eve):
            client.stop()
            client.close()


@case("Kazoo", "is told that the password is wrong")
def wrong(scene):
    client = kazoo("bob", "wrong")
    try:
        client.start(timeout=5)
        # Kazoo says that it is connected until SASL is over. After a lost connection it would say CONNECTING.
        eventually(lambda: client.client_state == KeeperState.CLOSED, "the end")
    finally:
        client.stop()
        client.close()


def zkcli(section, *command):
    """Returns the output of one command of Apache ZooKeeper's shell, standard error included."""
    flags = [
        "-Dzookeeper.fips-mode=false", f"-Djava.security.auth.login.config={HERE / 'client.jaas'}",
        f"-Dzookeeper.sasl.clientconfig={section}", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xmx256m",
    ]
    main = ["org.apache.zookeeper.ZooKeeperMain", "-server", os.environ["ZK_CONNECT"], "-timeout", "5000"]
    done = subprocess.run(["java", *flags, "-cp", str(JAVA), *main, *command], capture_output=True, text=True, timeout=60)
    return done.stdout + done.stderr


@case("zkCli", "authenticates with the section Client")
def shell(scene):
    output = zkcli("Client", "whoami")
    assert "sasl: bob" in output and "state:SaslAuthenticated" in output, output


@case("Curator", "holds a lock while the servers restart")
def lock_outlives_a_restart(scene):
    flags = ["-Dzookeeper.fips-mode=false", f"-Djava.security.auth.login.config={HERE / 'client.jaas'}"]
    found = lock.outlives_a_restart(os.environ["ZK_CONNECT"], flags, lambda: scene.ctl("restart"))
    equal(found, ("ip:127.0.0.1 sasl:bob", lock.HELD), "what it says")


@case("zkCli", "is told that the password is wrong")
def shell_wrong(scene):
    output = zkcli("Wrong", "whoami")
    assert "state:AuthFailed" in output and "sasl" not in output, output
