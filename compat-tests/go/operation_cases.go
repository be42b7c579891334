package main

import (
	"bytes"
	"fmt"
	"sort"
	"strings"
	"time"

	"github.com/go-zookeeper/zk"
)

// Operations, transactions, locks and four-letter words.
var operationCases = []testCase{
	{feature: "operations", name: "create and get", run: func(t *scope) {
		equal(create(t.zk, t.path("a"), "data"), t.path("a"))
		data, stat := get(t.zk, t.path("a"))
		equal(data, "data")
		equal([]int32{stat.Version, stat.Cversion, stat.Aversion, stat.DataLength, stat.NumChildren}, []int32{0, 0, 0, 4, 0})
		equal([]int64{stat.Mzxid, stat.Pzxid, stat.Mtime, stat.EphemeralOwner}, []int64{stat.Czxid, stat.Czxid, stat.Ctime, 0})
		if age := time.Since(time.UnixMilli(stat.Ctime)); age.Abs() > time.Minute {
			panic(fmt.Sprint("created ", age, " ago"))
		}
	}},
	{feature: "operations", name: "create errors", run: func(t *scope) {
		create(t.zk, t.path("a"), "")
		must(t.zk.Create(t.path("e"), nil, zk.FlagEphemeral, openACL))
		for path, expected := range map[string]error{
			t.path("a"): zk.ErrNodeExists, t.path("missing/b"): zk.ErrNoNode,
			t.path("e/child"): zk.ErrNoChildrenForEphemerals,
		} {
			_, err := t.zk.Create(path, nil, 0, openACL)
			isError(err, expected)
		}
		_, err := t.zk.Create(t.path("b"), nil, 0, nil)
		isError(err, zk.ErrInvalidACL)
	}},
	{feature: "operations", name: "nil data is empty data here", run: func(t *scope) {
		must(t.zk.Create(t.path("nil"), nil, 0, openACL))
		must(t.zk.Create(t.path("empty"), []byte{}, 0, openACL))
		none, _, err := t.zk.Get(t.path("nil"))
		check(err)
		empty, _, err := t.zk.Get(t.path("empty"))
		check(err)
		equal([]int{len(none), len(empty)}, []int{0, 0})
		equal([]bool{none == nil, empty == nil}, []bool{true, false})
	}},
	{feature: "operations", name: "set", run: func(t *scope) {
		create(t.zk, t.path("a"), "one")
		_, before := get(t.zk, t.path("a"))
		stat := must(t.zk.Set(t.path("a"), []byte("three"), 0))
		equal([]int32{stat.Version, stat.DataLength}, []int32{1, 5})
		equal([]int64{stat.Czxid, stat.Ctime, stat.Pzxid}, []int64{before.Czxid, before.Ctime, before.Pzxid})
		equal(stat.Mzxid > before.Mzxid, true)
		_, err := t.zk.Set(t.path("a"), nil, 0)
		isError(err, zk.ErrBadVersion)
		_, err = t.zk.Set(t.path("missing"), nil, -1)
		isError(err, zk.ErrNoNode)
		data, now := get(t.zk, t.path("a"))
		equal(data, "three")
		equal(now, stat)
	}},
	{feature: "operations", name: "delete", run: func(t *scope) {
		create(t.zk, t.path("a"), "")
		create(t.zk, t.path("a/b"), "")
		isError(t.zk.Delete(t.path("a"), -1), zk.ErrNotEmpty)
		isError(t.zk.Delete(t.path("a/b"), 3), zk.ErrBadVersion)
		check(t.zk.Delete(t.path("a/b"), 0))
		check(t.zk.Delete(t.path("a"), -1))
		isError(t.zk.Delete(t.path("a"), -1), zk.ErrNoNode)
	}},
	{feature: "operations", name: "exists", run: func(t *scope) {
		equal(exists(t.zk, t.path("a")), false)
		create(t.zk, t.path("a"), "x")
		found, stat, err := t.zk.Exists(t.path("a"))
		check(err)
		_, expected := get(t.zk, t.path("a"))
		equal(found, true)
		equal(stat, expected)
	}},
	{feature: "operations", name: "children", run: func(t *scope) {
		for _, name := range []string{"c", "a", "b"} {
			create(t.zk, t.path(name), "")
		}
		children, stat, err := t.zk.Children(t.root)
		check(err)
		sort.Strings(children)
		equal(children, []string{"a", "b", "c"})
		equal([]int32{stat.NumChildren, stat.Cversion, stat.Version}, []int32{3, 3, 0})
		check(t.zk.Delete(t.path("a"), -1))
		_, stat, err = t.zk.Children(t.root)
		check(err)
		equal([]int32{stat.NumChildren, stat.Cversion}, []int32{2, 4})
		_, _, err = t.zk.Children(t.path("missing"))
		isError(err, zk.ErrNoNode)
	}},
	{feature: "operations", name: "sync", run: func(t *scope) {
		other := t.connect(longTimeout)
		create(t.zk, t.path("a"), "x")
		equal(must(other.Sync(t.path("a"))), t.path("a"))
		equal(exists(other, t.path("a")), true)
	}},
	{feature: "operations", name: "large data", run: func(t *scope) {
		data := bytes.Repeat([]byte("0123456789"), 100_000)
		must(t.zk.Create(t.path("big"), data, 0, openACL))
		found, _ := get(t.zk, t.path("big"))
		equal(found, string(data))
	}},
	{feature: "operations", name: "many at once", run: func(t *scope) {
		done := make(chan error)
		for number := 0; number < 200; number++ {
			path := t.path(fmt.Sprint("n", number))
			go func() {
				_, err := t.zk.Create(path, []byte(path), 0, openACL)
				if err == nil {
					var data []byte
					if data, _, err = t.zk.Get(path); err == nil && string(data) != path {
						err = fmt.Errorf("%s holds %s", path, data)
					}
				}
				done <- err
			}()
		}
		for number := 0; number < 200; number++ {
			check(<-done)
		}
		children, _, err := t.zk.Children(t.root)
		check(err)
		equal(len(children), 200)
	}},
	{feature: "operations", name: "reconfig is disabled", run: func(t *scope) {
		_, err := t.zk.IncrementalReconfig(nil, []string{"2"}, -1)
		isError(err, zk.ErrReconfigDisabled)
	}},
	{feature: "create modes", name: "sequential", run: func(t *scope) {
		for number := 0; number < 3; number++ {
			path := must(t.zk.Create(t.path("n-"), nil, zk.FlagSequence, openACL))
			equal(path, t.path(fmt.Sprintf("n-%010d", number)))
		}
		create(t.zk, t.path("plain"), "")
		equal(must(t.zk.Create(t.path("m-"), nil, zk.FlagEphemeralSequential, openACL)), t.path("m-0000000004"))
	}},
	{feature: "create modes", name: "ephemeral", run: func(t *scope) {
		other := t.connect(longTimeout)
		must(other.Create(t.path("e"), nil, zk.FlagEphemeral, openACL))
		_, stat := get(t.zk, t.path("e"))
		equal(stat.EphemeralOwner, other.SessionID())
		other.Close()
		equal(exists(t.zk, t.path("e")), false)
	}},
	{feature: "create modes", name: "protected ephemeral sequential", run: func(t *scope) {
		path := must(t.zk.CreateProtectedEphemeralSequential(t.path("lock-"), []byte("x"), openACL))
		equal(strings.HasPrefix(path, t.path("_c_")), true)
		equal(strings.HasSuffix(path, "-lock-0000000000"), true)
		_, stat := get(t.zk, path)
		equal(stat.EphemeralOwner, t.zk.SessionID())
	}},
	{feature: "create modes", name: "container goes after its last child", run: func(t *scope) {
		equal(must(t.zk.CreateContainer(t.path("c"), []byte("x"), zk.FlagContainer, openACL)), t.path("c"))
		data, stat := get(t.zk, t.path("c"))
		equal(data, "x")
		equal(stat.EphemeralOwner, int64(0))
		time.Sleep(2 * time.Second) // Two container checks: a container that never had a child stays.
		create(t.zk, t.path("c/child"), "")
		check(t.zk.Delete(t.path("c/child"), -1))
		eventually("the container is reaped", func() bool { return !exists(t.zk, t.path("c")) })
	}},
	{feature: "create modes", name: "ttl goes after its time", run: func(t *scope) {
		created := time.Now()
		must(t.zk.CreateTTL(t.path("ttl"), []byte("x"), zk.FlagTTL, openACL, 1500*time.Millisecond))
		name := must(t.zk.CreateTTL(t.path("s-"), nil, zk.FlagPersistentSequentialWithTTL, openACL, time.Hour))
		equal(name, t.path("s-0000000001"))
		equal(exists(t.zk, t.path("ttl")), true)
		eventually("the node is reaped", func() bool { return !exists(t.zk, t.path("ttl")) })
		if lived := time.Since(created); lived < 1400*time.Millisecond {
			panic(fmt.Sprint("reaped after ", lived))
		}
		equal(exists(t.zk, name), true)
	}},
	{feature: "transactions", name: "commit", run: func(t *scope) {
		create(t.zk, t.path("old"), "1")
		create(t.zk, t.path("gone"), "")
		results := must(t.zk.Multi(
			&zk.CreateRequest{Path: t.path("new"), Data: []byte("n"), Acl: openACL},
			&zk.SetDataRequest{Path: t.path("old"), Data: []byte("2"), Version: 0},
			&zk.CheckVersionRequest{Path: t.path("old"), Version: 1},
			&zk.DeleteRequest{Path: t.path("gone"), Version: -1},
		))
		equal(len(results), 4)
		equal(results[0].String, t.path("new"))
		data, stat := get(t.zk, t.path("old"))
		equal(data, "2")
		equal(results[1].Stat, stat)
		_, created := get(t.zk, t.path("new"))
		equal(created.Czxid, stat.Mzxid)
		equal(exists(t.zk, t.path("gone")), false)
	}},
	{feature: "transactions", name: "failure undoes everything", run: func(t *scope) {
		create(t.zk, t.path("old"), "1")
		results, err := t.zk.Multi(
			&zk.CreateRequest{Path: t.path("new"), Acl: openACL},
			&zk.CheckVersionRequest{Path: t.path("old"), Version: 9},
			&zk.DeleteRequest{Path: t.path("old"), Version: -1},
		)
		isError(err, zk.ErrBadVersion)
		equal(len(results), 3)
		isError(results[0].Error, nil)
		isError(results[1].Error, zk.ErrBadVersion)
		equal(results[2].Error.Error(), "unknown error: -2")
		equal(exists(t.zk, t.path("new")), false)
		equal(exists(t.zk, t.path("old")), true)
	}},
	{feature: "transactions", name: "sequential names and own effects", run: func(t *scope) {
		results := must(t.zk.Multi(
			&zk.CreateRequest{Path: t.path("p"), Acl: openACL},
			&zk.CreateRequest{Path: t.path("p/n-"), Acl: openACL, Flags: zk.FlagSequence},
			&zk.CreateRequest{Path: t.path("p/n-"), Acl: openACL, Flags: zk.FlagEphemeralSequential},
		))
		equal(results[1].String, t.path("p/n-0000000000"))
		equal(results[2].String, t.path("p/n-0000000001"))
	}},
	{feature: "lock", name: "one holder at a time", run: func(t *scope) {
		done, inside := make(chan any), make(chan struct{}, 1)
		for number := 0; number < 4; number++ {
			connection := t.connect(longTimeout)
			go func() {
				defer func() { done <- recover() }()
				for number := 0; number < 3; number++ {
					lock := zk.NewLock(connection, t.path("lock"), openACL)
					check(lock.Lock())
					select {
					case inside <- struct{}{}:
					default:
						panic("two holders")
					}
					time.Sleep(5 * time.Millisecond)
					<-inside
					check(lock.Unlock())
				}
			}()
		}
		for number := 0; number < 4; number++ {
			equal(<-done, nil)
		}
	}},
	{feature: "lock", name: "misuse", run: func(t *scope) {
		lock := zk.NewLock(t.zk, t.path("lock"), openACL)
		isError(lock.Unlock(), zk.ErrNotLocked)
		check(lock.LockWithData([]byte("mine")))
		isError(lock.Lock(), zk.ErrDeadlock)
		children, _, err := t.zk.Children(t.path("lock"))
		check(err)
		data, _ := get(t.zk, t.path("lock/"+children[0]))
		equal(data, "mine")
		check(lock.Unlock())
	}},
	{feature: "lock", name: "closing the holder frees it", run: func(t *scope) {
		holder := t.connect(longTimeout)
		check(zk.NewLock(holder, t.path("lock"), openACL).Lock())
		locked := make(chan error, 1)
		go func() { locked <- zk.NewLock(t.zk, t.path("lock"), openACL).Lock() }()
		select {
		case <-locked:
			panic("two holders")
		case <-time.After(quiet):
		}
		holder.Close()
		check(<-locked)
	}},
	{feature: "four-letter words", name: "ruok", run: func(t *scope) {
		equal(zk.FLWRuok([]string{server()}, patience), []bool{true})
	}},
	{feature: "four-letter words", name: "cons", run: func(t *scope) {
		exists(t.zk, t.root)
		// A server may count a reply only after its client has received it.
		for deadline := time.Now().Add(patience); ; time.Sleep(quiet / 10) {
			clients, _ := zk.FLWCons([]string{server()}, patience)
			for _, client := range clients[0].Clients {
				if client.SessionID == t.zk.SessionID() {
					counted := []bool{client.Received >= 3, client.Sent >= 3, client.Lzxid > 0}
					if !(counted[0] && counted[1] && counted[2]) && time.Now().Before(deadline) {
						break
					}
					equal(client.LastOperation, "EXIS")
					equal(client.Timeout, int32(longTimeout.Milliseconds()))
					equal(counted, []bool{true, true, true})
					return
				}
			}
			if time.Now().After(deadline) {
				panic("own session not listed")
			}
		}
	}},
}
