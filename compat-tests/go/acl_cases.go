package main

import "github.com/go-zookeeper/zk"

// Access control and identities.
var aclCases = []testCase{
	{feature: "acl", name: "set and get", run: func(t *scope) {
		create(t.zk, t.path("a"), "")
		acl, stat, err := t.zk.GetACL(t.path("a"))
		check(err)
		equal(acl, openACL)
		equal(stat.Aversion, int32(0))
		acl = append(zk.DigestACL(zk.PermAll, "alice", "secret"), zk.WorldACL(zk.PermRead|zk.PermAdmin)...)
		stat = must(t.zk.SetACL(t.path("a"), acl, 0))
		equal([]int32{stat.Aversion, stat.Version}, []int32{1, 0})
		found, _, err := t.zk.GetACL(t.path("a"))
		check(err)
		equal(found, acl)
		_, err = t.zk.SetACL(t.path("a"), openACL, 0)
		isError(err, zk.ErrBadVersion)
		_, err = t.zk.SetACL(t.path("missing"), openACL, -1)
		isError(err, zk.ErrNoNode)
	}},
	{feature: "acl", name: "each permission guards its operation", run: func(t *scope) {
		must(t.zk.Create(t.path("a"), nil, 0, zk.WorldACL(zk.PermAdmin)))
		_, _, err := t.zk.Get(t.path("a"))
		isError(err, zk.ErrNoAuth)
		_, _, err = t.zk.Exists(t.path("a"))
		isError(err, zk.ErrNoAuth)
		_, _, err = t.zk.Children(t.path("a"))
		isError(err, zk.ErrNoAuth)
		_, err = t.zk.Set(t.path("a"), nil, -1)
		isError(err, zk.ErrNoAuth)
		_, err = t.zk.Create(t.path("a/b"), nil, 0, openACL)
		isError(err, zk.ErrNoAuth)
		must(t.zk.SetACL(t.path("a"), zk.WorldACL(zk.PermCreate|zk.PermRead), -1))
		control("settle")
		must(t.zk.Create(t.path("a/b"), nil, 0, openACL))
		isError(t.zk.Delete(t.path("a/b"), -1), zk.ErrNoAuth)
		_, err = t.zk.SetACL(t.path("a"), openACL, -1)
		isError(err, zk.ErrNoAuth)
	}},
	{feature: "auth", name: "digest opens what it owns", run: func(t *scope) {
		must(t.zk.Create(t.path("a"), []byte("x"), 0, zk.DigestACL(zk.PermAll, "alice", "secret")))
		_, _, err := t.zk.Get(t.path("a"))
		isError(err, zk.ErrNoAuth)
		check(t.zk.AddAuth("digest", []byte("alice:wrong")))
		_, _, err = t.zk.Get(t.path("a"))
		isError(err, zk.ErrNoAuth)
		check(t.zk.AddAuth("digest", []byte("alice:secret")))
		data, _ := get(t.zk, t.path("a"))
		equal(data, "x")
	}},
	{feature: "auth", name: "creator acl", run: func(t *scope) {
		_, err := t.zk.Create(t.path("a"), nil, 0, zk.AuthACL(zk.PermAll))
		isError(err, zk.ErrInvalidACL)
		check(t.zk.AddAuth("digest", []byte("alice:secret")))
		must(t.zk.Create(t.path("a"), nil, 0, zk.AuthACL(zk.PermAll)))
		acl, _, err := t.zk.GetACL(t.path("a"))
		check(err)
		equal(acl, zk.DigestACL(zk.PermAll, "alice", "secret"))
		_, _, err = t.connect(longTimeout).Get(t.path("a"))
		isError(err, zk.ErrNoAuth)
	}},
	{feature: "auth", name: "super user", run: func(t *scope) {
		must(t.zk.Create(t.path("a"), nil, 0, zk.DigestACL(zk.PermAll, "alice", "secret")))
		check(t.zk.AddAuth("digest", []byte("super:admin")))
		must(t.zk.Set(t.path("a"), []byte("x"), -1))
	}},
}
