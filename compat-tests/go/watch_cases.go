package main

import (
	"fmt"
	"time"

	"github.com/go-zookeeper/zk"
)

// next returns the event that a watch delivers.
func next(watch <-chan zk.Event) string {
	select {
	case event := <-watch:
		return fmt.Sprint(event.Type, " ", event.Path)
	case <-time.After(patience):
		panic("no event")
	}
}

func silentFor(watch <-chan zk.Event) {
	select {
	case event := <-watch:
		panic(fmt.Sprint("event ", event))
	case <-time.After(quiet):
	}
}

func getW(connection *zk.Conn, path string) <-chan zk.Event {
	_, _, watch, err := connection.GetW(path)
	check(err)
	return watch
}

func existsW(connection *zk.Conn, path string) <-chan zk.Event {
	_, _, watch, err := connection.ExistsW(path)
	check(err)
	return watch
}

func childrenW(connection *zk.Conn, path string) <-chan zk.Event {
	_, _, watch, err := connection.ChildrenW(path)
	check(err)
	return watch
}

var watchCases = []testCase{
	{feature: "watches", name: "GetW", run: func(t *scope) {
		create(t.zk, t.path("a"), "")
		watch := getW(t.zk, t.path("a"))
		must(t.zk.Set(t.path("a"), nil, -1))
		equal(next(watch), "EventNodeDataChanged "+t.path("a"))
		watch = getW(t.zk, t.path("a"))
		check(t.zk.Delete(t.path("a"), -1))
		equal(next(watch), "EventNodeDeleted "+t.path("a"))
		_, _, _, err := t.zk.GetW(t.path("a"))
		isError(err, zk.ErrNoNode)
	}},
	{feature: "watches", name: "ExistsW", run: func(t *scope) {
		found, _, watch, err := t.zk.ExistsW(t.path("a"))
		check(err)
		equal(found, false)
		create(t.zk, t.path("a"), "")
		equal(next(watch), "EventNodeCreated "+t.path("a"))
		watch = existsW(t.zk, t.path("a"))
		must(t.zk.Set(t.path("a"), nil, -1))
		equal(next(watch), "EventNodeDataChanged "+t.path("a"))
		watch = existsW(t.zk, t.path("a"))
		check(t.zk.Delete(t.path("a"), -1))
		equal(next(watch), "EventNodeDeleted "+t.path("a"))
	}},
	{feature: "watches", name: "ChildrenW", run: func(t *scope) {
		create(t.zk, t.path("p"), "")
		watch := childrenW(t.zk, t.path("p"))
		must(t.zk.Set(t.path("p"), nil, -1))
		create(t.zk, t.path("p/c"), "")
		equal(next(watch), "EventNodeChildrenChanged "+t.path("p"))
		watch = childrenW(t.zk, t.path("p"))
		must(t.zk.Set(t.path("p/c"), nil, -1))
		create(t.zk, t.path("p/c/d"), "")
		silentFor(watch)
		check(t.zk.Delete(t.path("p/c/d"), -1))
		check(t.zk.Delete(t.path("p/c"), -1))
		equal(next(watch), "EventNodeChildrenChanged "+t.path("p"))
		watch = childrenW(t.zk, t.path("p"))
		check(t.zk.Delete(t.path("p"), -1))
		equal(next(watch), "EventNodeDeleted "+t.path("p"))
	}},
	{feature: "watches", name: "another client's change", run: func(t *scope) {
		create(t.zk, t.path("a"), "")
		data, children := getW(t.zk, t.path("a")), childrenW(t.zk, t.path("a"))
		other := t.connect(longTimeout)
		create(other, t.path("a/b"), "")
		equal(next(children), "EventNodeChildrenChanged "+t.path("a"))
		silentFor(data)
		must(other.Set(t.path("a"), nil, -1))
		equal(next(data), "EventNodeDataChanged "+t.path("a"))
	}},
	{feature: "watches", name: "event comes before the new data", run: func(t *scope) {
		create(t.zk, t.path("a"), "0")
		other := t.connect(longTimeout)
		for number := 0; number < 30; number++ {
			watch := getW(t.zk, t.path("a"))
			go other.Set(t.path("a"), []byte(fmt.Sprint(number+1)), -1)
			for {
				data, _ := get(t.zk, t.path("a"))
				if data != fmt.Sprint(number) {
					break
				}
			}
			select {
			case <-watch:
			default:
				panic("new data read before its event")
			}
		}
	}},
	{feature: "watches", name: "failed transaction fires nothing", run: func(t *scope) {
		create(t.zk, t.path("a"), "")
		watch := getW(t.zk, t.path("a"))
		_, err := t.zk.Multi(&zk.SetDataRequest{Path: t.path("a"), Version: -1}, &zk.CheckVersionRequest{Path: t.path("a"), Version: 9})
		isError(err, zk.ErrBadVersion)
		silentFor(watch)
	}},
}
