"""Rights of SASL identities. Source: SASLAuthenticationProvider, ZooKeeperServer.isSaslSuperUser, PrepRequestProcessor.fixupACL."""

import time

import wire
from exchange import authenticate
from exchange_cases import identities
from harness import case, equal, eventually, table
from wire import ACL, Err

FEATURE = "rights"


@case(FEATURE, "an ACL names a user")
def named(scene):
    owner, other, path = scene.client(), scene.client(), scene.base + "/p"
    owner.ok(wire.create(path, b"x", acl=[ACL(31, "sasl", "bob")]))
    owner.fails(wire.get_data(path), Err.NO_AUTH)
    authenticate(owner, "bob", "bobpw")
    owner.ok(wire.get_data(path))
    authenticate(other, "eve", "eve's \"pw\"")
    other.fails(wire.get_data(path), Err.NO_AUTH)
    equal(owner.acl(path), [ACL(31, "sasl", "bob")], "ACL")


@case(FEATURE, "the scheme auth is the user, too")
def auth_scheme(scene):
    client, path = scene.client(), scene.base + "/p"
    authenticate(client, "bob", "bobpw")
    client.ok(wire.auth("digest", "u:p"), xid=wire.XID_AUTH)
    client.ok(wire.create(path, acl=[ACL(31, "auth", "")]))
    equal(sorted(entry.scheme for entry in client.acl(path)), ["digest", "sasl"], "schemes")


@table(FEATURE, [("root may do everything", "root", "rootpw"), ("admin may do everything", "admin", "adminpw")])
def super_users(scene, user, password):
    client, path = scene.client(), scene.base + "/p"
    client.ok(wire.create(path, acl=[ACL(0, "world", "anyone")]))
    client.fails(wire.get_data(path), Err.NO_AUTH)
    authenticate(client, user, password)
    client.ok(wire.get_data(path))
    equal(identities(client), [("sasl", user), ("super", "")], "identities")
    client.ok(wire.set_acl(path, [ACL(31, "auth", "")]))
    equal(client.acl(path), [ACL(31, "sasl", user)], "ACL")


@case(FEATURE, "the user super matches every sasl entry and no other")
def user_super(scene):
    client, path = scene.client(), scene.base + "/p"
    client.ok(wire.create(path, acl=[ACL(31, "sasl", "bob")]))
    client.ok(wire.create(path + "2", acl=[ACL(31, "digest", "a:b")]))
    authenticate(client, "super", "super-new")
    client.ok(wire.get_data(path))
    client.fails(wire.get_data(path + "2"), Err.NO_AUTH)


@case(FEATURE, "what letAnySaslUserDoX may do, every sasl user may")
def anybody(scene):
    client, path = scene.client(), scene.base + "/p"
    client.ok(wire.create(path, acl=[ACL(1, "sasl", "anybody")]))
    client.fails(wire.get_data(path), Err.NO_AUTH)
    client.ok(wire.auth("digest", "anybody:x"), xid=wire.XID_AUTH)
    client.fails(wire.get_data(path), Err.NO_AUTH)
    authenticate(client, "bob", "bobpw")
    client.ok(wire.get_data(path))
    client.fails(wire.set_data(path, b""), Err.NO_AUTH)
    client.ok(wire.create(path + "2", acl=[ACL(31, "auth", "")]))
    assert ACL(31, "sasl", "anybody") not in client.acl(path + "2")


@case(FEATURE, "a watch set before counts with the identity gained since")
def watch(scene):
    client, other, path = scene.client(), scene.client(), scene.base + "/p"
    authenticate(other, "bob", "bobpw")
    client.ok(wire.add_watch(path, 0))
    authenticate(client, "bob", "bobpw")
    other.ok(wire.create(path, acl=[ACL(31, "sasl", "bob")]))
    eventually(lambda: client.settle() or time.sleep(0.02), "the event")


@table(FEATURE, [(f"{name} in an ACL".replace("/", " slash "), name, good) for name, good in (
    ("bob", True), ("", True), ("a/b", True), ("a/b/c", True), ("a@B", True), ("a/b@C", True), ("@", True),
    ("a/b/c@D", False), ("a@b/c", False), ("a@b@c", False),
)])
def valid(scene, name, good):
    client, path = scene.client(), scene.base + "/a"
    request = wire.create(path, acl=[ACL(31, "world", "anyone"), ACL(1, "sasl", name)])
    if good:
        client.ok(request)
    else:
        client.fails(request, Err.INVALID_ACL)
