"""Access control and identities."""

import re

from kazoo.exceptions import AuthFailedError, BadVersionError, InvalidACLError, NoAuthError, NoNodeError
from kazoo.security import (
    ACL,
    CREATOR_ALL_ACL,
    OPEN_ACL_UNSAFE,
    READ_ACL_UNSAFE,
    Id,
    make_acl,
    make_digest_acl,
    make_digest_acl_credential,
)

from cases import case, equal, eventually, raises
from scope import control, drop_socket


def alice(**permissions):
    return make_digest_acl("alice", "secret", **permissions)


@case("acl")
def default_is_open(t):
    t.zk.create("/a")
    acls, stat = t.zk.get_acls("/a")
    equal((acls, stat.aversion), (OPEN_ACL_UNSAFE, 0))


@case("acl")
def set_and_get(t):
    t.zk.create("/a", b"data")
    acls = [make_acl("world", "anyone", read=True, admin=True), alice(all=True), make_acl("ip", "127.0.0.1", write=True)]
    stat = t.zk.set_acls("/a", acls)
    equal((stat.aversion, stat.version, stat.cversion), (1, 0, 0))
    equal(t.zk.get_acls("/a"), (acls, stat))


@case("acl")
def set_with_version(t):
    t.zk.create("/a")
    equal(t.zk.set_acls("/a", OPEN_ACL_UNSAFE, version=0).aversion, 1)
    raises(BadVersionError, t.zk.set_acls, "/a", OPEN_ACL_UNSAFE, version=0)
    raises(NoNodeError, t.zk.set_acls, "/missing", OPEN_ACL_UNSAFE)


@case("acl")
def each_permission_guards_its_operation(t):
    t.zk.create("/a", b"x", acl=[alice(all=True), make_acl("world", "anyone", admin=True)])
    for operation in (
        lambda: t.zk.get("/a"),
        lambda: t.zk.exists("/a"),
        lambda: t.zk.get_children("/a"),
        lambda: t.zk.set("/a", b""),
        lambda: t.zk.create("/a/b"),
    ):
        raises(NoAuthError, operation)
    t.zk.set_acls("/a", READ_ACL_UNSAFE)
    control("settle")
    equal(t.zk.get("/a")[0], b"x")
    equal(t.zk.get_children("/a"), [])
    raises(NoAuthError, t.zk.set_acls, "/a", OPEN_ACL_UNSAFE)


@case("acl")
def delete_is_guarded_by_the_parent(t):
    t.zk.create("/p", acl=[make_acl("world", "anyone", read=True, create=True)])
    t.zk.create("/p/c")
    raises(NoAuthError, t.zk.delete, "/p/c")
    raises(NoAuthError, t.zk.delete, "/p/missing")
    t.zk.create("/q")
    t.zk.create("/q/c", acl=[alice(all=True)])
    t.zk.delete("/q/c")


@case("acl")
def missing_node_before_missing_permission(t):
    raises(NoNodeError, t.zk.get, "/missing")
    t.zk.create("/a", acl=[alice(all=True)])
    raises(NoNodeError, t.zk.get, "/a/missing")
    raises(NoAuthError, t.zk.create, "/a/b")
    raises(NoNodeError, t.zk.create, "/a/b/c")


@case("acl")
def no_auth_inside_a_transaction_undoes_it(t):
    t.zk.create("/a", acl=READ_ACL_UNSAFE)
    transaction = t.zk.transaction()
    transaction.create("/b")
    transaction.set_data("/a", b"x")
    equal([type(result).__name__ for result in transaction.commit()], ["RolledBackError", "NoAuthError"])
    equal(t.zk.exists("/b"), None)


@case("acl")
def ip_address(t):
    t.zk.create("/mine", b"x", acl=[make_acl("ip", "127.0.0.1", all=True)])
    t.zk.create("/network", b"x", acl=[make_acl("ip", "127.0.0.0/8", all=True)])
    t.zk.create("/other", b"x", acl=[make_acl("ip", "10.1.2.3", all=True)])
    equal((t.zk.get("/mine")[0], t.zk.get("/network")[0]), (b"x", b"x"))
    raises(NoAuthError, t.zk.get, "/other")
    raises(InvalidACLError, t.zk.create, "/bad", acl=[make_acl("ip", "no address", all=True)])


@case("auth")
def digest_opens_what_it_owns(t):
    t.zk.create("/a", b"x", acl=[alice(all=True)])
    raises(NoAuthError, t.zk.get, "/a")
    t.zk.add_auth("digest", "alice:secret")
    equal(t.zk.get("/a")[0], b"x")
    t.zk.set("/a", b"y")


@case("auth")
def wrong_password_is_another_identity(t):
    t.zk.create("/a", acl=[alice(all=True)])
    t.zk.add_auth("digest", "alice:wrong")
    raises(NoAuthError, t.zk.get, "/a")
    t.zk.add_auth("digest", "alice:secret")
    equal(t.zk.get("/a")[0], b"")


@case("auth")
def creator_acl_expands_to_every_identity(t):
    t.zk.add_auth("digest", "alice:secret")
    t.zk.add_auth("digest", "bob:geheim")
    t.zk.create("/a", acl=CREATOR_ALL_ACL)
    acls, _ = t.zk.get_acls("/a")
    expected = [ACL(31, Id("digest", make_digest_acl_credential(*who))) for who in (("alice", "secret"), ("bob", "geheim"))]
    equal(sorted(acls), sorted(expected))
    bob = t.client(auth_data=[("digest", "bob:geheim")])
    equal(bob.get("/a")[0], b"")
    raises(NoAuthError, t.client().get, "/a")


@case("auth")
def creator_acl_needs_an_identity(t):
    raises(InvalidACLError, t.zk.create, "/a", acl=CREATOR_ALL_ACL)


@case("auth")
def default_acl_of_the_client(t):
    client = t.client(default_acl=[alice(all=True)], auth_data=[("digest", "alice:secret")])
    client.create("/a/b", makepath=True)
    raises(NoAuthError, t.zk.get, "/a")
    raises(NoAuthError, t.zk.get, "/a/b")
    equal(client.get_children("/a"), ["b"])


@case("auth")
def identity_survives_a_reconnect(t):
    t.zk.create("/a", b"x", acl=[alice(all=True)])
    t.zk.add_auth("digest", "alice:secret")
    drop_socket(t.zk)
    equal(t.zk.retry(t.zk.get, "/a")[0], b"x")
    eventually(lambda: t.zk.connected)


@case("auth")
def password_hashes_are_hidden_from_others(t):
    t.zk.create("/a", acl=[alice(all=True), make_acl("world", "anyone", read=True)])
    acls, _ = t.zk.get_acls("/a")
    equal([acl.id for acl in acls], [Id("digest", "alice:x"), Id("world", "anyone")])
    t.zk.add_auth("digest", "alice:secret")
    acls, _ = t.zk.get_acls("/a")
    assert re.fullmatch(r"alice:.{28}", acls[0].id.id), acls


@case("auth")
def super_user_may_everything(t):
    t.zk.create("/a", acl=[alice(all=True)])
    root = t.client(auth_data=[("digest", "super:admin")])
    root.set("/a", b"x")
    root.set_acls("/a", READ_ACL_UNSAFE)
    equal(t.zk.get("/a")[0], b"x")


@case("auth")
def unknown_scheme_fails_the_client(t):
    client = t.client()
    raises(AuthFailedError, client.add_auth, "no-such-scheme", "alice:secret")
    eventually(lambda: not client.connected)
