// The cases of the Go client (github.com/go-zookeeper/zk) and their runner; ../README.md describes the interface.
//
// A case gets a scope: connections that are closed when it ends, and a znode of its own. A failed expectation panics, which
// ends the case but not the suite. Cases run in parallel, except those that disturb the whole server.
package main

import (
	"fmt"
	"os"
	"os/exec"
	"reflect"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-zookeeper/zk"
)

const (
	sideBySide = 8
	caseLimit  = 45 * time.Second
	// The longest session timeout that the server grants, because a session must survive a restart.
	longTimeout = 10 * time.Second
	patience    = 15 * time.Second
	// Time in which an unexpected event would arrive.
	quiet = 300 * time.Millisecond
)

type testCase struct {
	feature, name string
	run           func(*scope)
	alone         bool
}

var cases = append(append(append(operationCases, aclCases...), watchCases...), sessionCases...)

var openACL = zk.WorldACL(zk.PermAll)

func server() string { return os.Getenv("ZK_CONNECT") }

// control runs an action of $ZK_CTL.
func control(action string) {
	if output, err := exec.Command(os.Getenv("ZK_CTL"), action).CombinedOutput(); err != nil {
		panic(string(output))
	}
}

type scope struct {
	root        string
	zk          *zk.Conn
	mutex       sync.Mutex
	connections []*zk.Conn
}

var scopes atomic.Int64

func newScope() *scope {
	t := &scope{root: fmt.Sprintf("/go-%d-%d", os.Getpid(), scopes.Add(1))}
	t.zk = t.connect(longTimeout)
	create(t.zk, t.root, "")
	return t
}

// path returns the path of a case's znode of this name.
func (t *scope) path(name string) string { return t.root + "/" + name }

func (t *scope) connect(timeout time.Duration) *zk.Conn {
	connection, _ := t.connectWithEvents(timeout)
	return connection
}

// connectWithEvents returns once the session exists; the channel then gets all later events.
func (t *scope) connectWithEvents(timeout time.Duration) (*zk.Conn, <-chan zk.Event) {
	connection, events, err := zk.Connect(strings.Split(server(), ","), timeout, zk.WithLogger(silent{}))
	check(err)
	t.mutex.Lock()
	t.connections = append(t.connections, connection)
	t.mutex.Unlock()
	awaitState(events, zk.StateHasSession)
	return connection, events
}

func (t *scope) close() {
	for _, connection := range t.connections {
		connection.Close()
	}
}

type silent struct{}

func (silent) Printf(string, ...any) {}

// awaitState reads session events up to the wanted state. Returns the states seen, including that one.
func awaitState(events <-chan zk.Event, wanted zk.State) []zk.State {
	var states []zk.State
	limit := time.After(patience)
	for {
		select {
		case event := <-events:
			states = append(states, event.State)
			if event.State == wanted {
				return states
			}
		case <-limit:
			panic(fmt.Sprintf("no state %v, but %v", wanted, states))
		}
	}
}

func check(err error) {
	if err != nil {
		panic(err)
	}
}

func must[T any](value T, err error) T {
	check(err)
	return value
}

func equal(actual, expected any) {
	if !reflect.DeepEqual(actual, expected) {
		panic(fmt.Sprintf("%#v instead of %#v", actual, expected))
	}
}

func isError(actual, expected error) {
	if actual != expected {
		panic(fmt.Sprintf("error %v instead of %v", actual, expected))
	}
}

func eventually(what string, condition func() bool) {
	deadline := time.Now().Add(patience)
	for !condition() {
		if time.Now().After(deadline) {
			panic("did not happen: " + what)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func create(connection *zk.Conn, path, data string) string {
	return must(connection.Create(path, []byte(data), 0, openACL))
}

func get(connection *zk.Conn, path string) (string, *zk.Stat) {
	data, stat, err := connection.Get(path)
	check(err)
	return string(data), stat
}

func exists(connection *zk.Conn, path string) bool {
	found, _, err := connection.Exists(path)
	check(err)
	return found
}

// execute runs the case. Returns nil, or the reason why it failed.
func (c testCase) execute() any {
	done := make(chan any, 1)
	go func() {
		defer func() {
			failure := recover()
			if failure != nil {
				failure = fmt.Sprint(failure, place())
			}
			done <- failure
		}()
		t := newScope()
		defer t.close()
		c.run(t)
	}()
	select {
	case failure := <-done:
		return failure
	case <-time.After(caseLimit):
		return "no result after " + caseLimit.String()
	}
}

// place returns the line of the case at which the panic being recovered happened.
func place() string {
	var callers [32]uintptr
	frames := runtime.CallersFrames(callers[:runtime.Callers(0, callers[:])])
	for {
		frame, more := frames.Next()
		if strings.Contains(frame.File, "_cases.go") {
			return fmt.Sprintf(" (%s:%d)", frame.File[strings.LastIndex(frame.File, "/")+1:], frame.Line)
		}
		if !more {
			return ""
		}
	}
}

var failed atomic.Bool

func (c testCase) report() {
	if failure := c.execute(); failure != nil {
		failed.Store(true)
		fmt.Printf("not ok %s / %s # %s\n", c.feature, c.name, strings.Join(strings.Fields(fmt.Sprint(failure)), " "))
		return
	}
	fmt.Printf("ok %s / %s\n", c.feature, c.name)
}

// selected returns whether the arguments, which are parts of names, select this case.
func (c testCase) selected() bool {
	for _, part := range os.Args[1:] {
		if strings.Contains(c.feature+"/"+c.name, part) {
			return true
		}
	}
	return len(os.Args) == 1
}

func main() {
	var running sync.WaitGroup
	slots := make(chan struct{}, sideBySide)
	for _, c := range cases {
		if c.alone || !c.selected() {
			continue
		}
		running.Add(1)
		slots <- struct{}{}
		go func(c testCase) {
			defer func() { <-slots; running.Done() }()
			c.report()
		}(c)
	}
	running.Wait()
	for _, c := range cases {
		if c.alone && c.selected() {
			c.report()
		}
	}
	if failed.Load() {
		os.Exit(1)
	}
}
