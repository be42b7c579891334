package main

import (
	"net"
	"sync"
	"time"

	"github.com/go-zookeeper/zk"
)

// sockets holds the connections that a client opened, so that a case can cut them.
type sockets struct {
	mutex sync.Mutex
	open  []net.Conn
}

func (s *sockets) dial(network, address string, timeout time.Duration) (net.Conn, error) {
	socket, err := net.DialTimeout(network, address, timeout)
	s.mutex.Lock()
	defer s.mutex.Unlock()
	if err == nil {
		s.open = append(s.open, socket)
	}
	return socket, err
}

func (s *sockets) cut() {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	s.open[len(s.open)-1].Close()
}

func (t *scope) connectToCut(timeout time.Duration) (*zk.Conn, <-chan zk.Event, *sockets) {
	opened := &sockets{}
	connection, events, err := zk.Connect([]string{server()}, timeout, zk.WithLogger(silent{}), zk.WithDialer(opened.dial))
	check(err)
	t.connections = append(t.connections, connection)
	awaitState(events, zk.StateHasSession)
	return connection, events, opened
}

// afterwards repeats a read until the client has reconnected.
func afterwards(connection *zk.Conn, path string) (string, *zk.Stat) {
	var data []byte
	var stat *zk.Stat
	eventually("reading again", func() (ok bool) {
		var err error
		data, stat, err = connection.Get(path)
		return err == nil
	})
	return string(data), stat
}

// keptThrough checks the guarantees that every client relies on when its server restarts.
func keptThrough(t *scope, disturb func()) {
	connection, events, opened := t.connectToCut(longTimeout)
	session := connection.SessionID()
	create(connection, t.path("a"), "kept")
	stat := must(connection.Set(t.path("a"), []byte("kept twice"), 0))
	must(connection.Create(t.path("e"), nil, zk.FlagEphemeral, openACL))
	create(connection, t.path("p"), "")
	must(connection.Create(t.path("p/n-"), nil, zk.FlagSequence, openACL))
	data, missing := getW(connection, t.path("a")), existsW(connection, t.path("later"))
	disturb()
	// ZooKeeper: during startup it occasionally accepts a connection and never reads from it; this client then waits for a long time.
	unheard := time.AfterFunc(2*time.Second, opened.cut)
	states := awaitState(events, zk.StateHasSession)
	unheard.Stop()
	for _, state := range states {
		equal(state == zk.StateExpired, false)
	}
	equal(connection.SessionID(), session)
	found, now := afterwards(connection, t.path("a"))
	equal(found, "kept twice")
	equal(now, stat)
	_, owner := get(connection, t.path("e"))
	equal(owner.EphemeralOwner, session)
	equal(must(connection.Create(t.path("p/n-"), nil, zk.FlagSequence, openACL)), t.path("p/n-0000000001"))
	other := t.connect(longTimeout)
	must(other.Set(t.path("a"), nil, 1))
	create(other, t.path("later"), "")
	equal(next(data), "EventNodeDataChanged "+t.path("a"))
	equal(next(missing), "EventNodeCreated "+t.path("later"))
	connection.Close()
	equal(exists(other, t.path("e")), false)
}

var sessionCases = []testCase{
	{feature: "sessions", name: "states of a life", run: func(t *scope) {
		connection, events, err := zk.Connect([]string{server()}, longTimeout, zk.WithLogger(silent{}))
		check(err)
		equal(awaitState(events, zk.StateHasSession), []zk.State{zk.StateConnecting, zk.StateConnected, zk.StateHasSession})
		equal(connection.SessionID() != 0, true)
		connection.Close()
		awaitState(events, zk.StateDisconnected)
	}},
	{feature: "sessions", name: "dropped socket resumes the session", run: func(t *scope) {
		connection, events, opened := t.connectToCut(longTimeout)
		session := connection.SessionID()
		must(connection.Create(t.path("e"), nil, zk.FlagEphemeral, openACL))
		opened.cut()
		equal(awaitState(events, zk.StateHasSession), []zk.State{zk.StateDisconnected, zk.StateConnecting, zk.StateConnected, zk.StateHasSession})
		equal(connection.SessionID(), session)
		_, stat := afterwards(connection, t.path("e"))
		equal(stat.EphemeralOwner, session)
	}},
	{feature: "sessions", name: "watches are caught up after a dropped socket", run: func(t *scope) {
		connection, events, opened := t.connectToCut(longTimeout)
		create(t.zk, t.path("a"), "")
		create(t.zk, t.path("p"), "")
		create(t.zk, t.path("same"), "")
		changed, children := getW(connection, t.path("a")), childrenW(connection, t.path("p"))
		missing, same := existsW(connection, t.path("later")), getW(connection, t.path("same"))
		control := existsW(connection, t.path("never"))
		opened.cut()
		must(t.zk.Set(t.path("a"), nil, -1))
		create(t.zk, t.path("p/c"), "")
		create(t.zk, t.path("later"), "")
		awaitState(events, zk.StateHasSession)
		equal(next(changed), "EventNodeDataChanged "+t.path("a"))
		equal(next(children), "EventNodeChildrenChanged "+t.path("p"))
		equal(next(missing), "EventNodeCreated "+t.path("later"))
		silentFor(control)
		must(t.zk.Set(t.path("same"), nil, -1))
		equal(next(same), "EventNodeDataChanged "+t.path("same"))
	}},
	{feature: "sessions", name: "identity survives a dropped socket", run: func(t *scope) {
		connection, events, opened := t.connectToCut(longTimeout)
		must(connection.Create(t.path("a"), []byte("x"), 0, zk.DigestACL(zk.PermAll, "alice", "secret")))
		check(connection.AddAuth("digest", []byte("alice:secret")))
		opened.cut()
		awaitState(events, zk.StateHasSession)
		data, _ := afterwards(connection, t.path("a"))
		equal(data, "x")
	}},
	{feature: "sessions", name: "kept by pings", run: func(t *scope) {
		connection := t.connect(time.Second)
		session := connection.SessionID()
		must(connection.Create(t.path("e"), nil, zk.FlagEphemeral, openACL))
		time.Sleep(3 * time.Second)
		equal(exists(t.zk, t.path("e")), true)
		equal(connection.SessionID(), session)
	}},
	{feature: "restart", name: "everything is kept", alone: true, run: func(t *scope) {
		keptThrough(t, func() { control("restart") })
	}},
	{feature: "restart", name: "everything is kept after kill -9", alone: true, run: func(t *scope) {
		keptThrough(t, func() { control("kill9"); control("start") })
	}},
	{feature: "restart", name: "lock is held through it", alone: true, run: func(t *scope) {
		check(zk.NewLock(t.zk, t.path("lock"), openACL).Lock())
		control("restart")
		children := func() (names []string) {
			eventually("reading again", func() bool {
				var err error
				names, _, err = t.zk.Children(t.path("lock"))
				return err == nil
			})
			return names
		}
		equal(len(children()), 1)
	}},
}
