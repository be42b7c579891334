// Sessions: resumed by id, refused, expired, and kept through cut connections and server restarts.
#include "harness.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { SHORT_TIMEOUT_MS = 1500 };

static void negotiated_timeout(void) {
    const int asked[] = {100, 4000, 600000}, granted[] = {1000, 4000, LONG_TIMEOUT_MS};
    for (int index = 0; index < 3; index++) {
        zhandle_t *handle = connect_as(NULL, asked[index], "");
        expect_number(zoo_recv_timeout(handle), granted[index]);
        zookeeper_close(handle);
    }
}

// Starts a process whose session creates the ephemeral, then kills it, so that the session is not closed. Returns the session.
static clientid_t orphaned_session(const char *path, int timeout_ms) {
    int ends[2];
    clientid_t id;
    expect_number(pipe(ends), 0);
    // A child of a multi-threaded process may only exec, so the program starts itself again, as the holder.
    pid_t pid = fork();
    if (pid == 0) {
        char timeout[16], fd[16];
        snprintf(timeout, sizeof timeout, "%d", timeout_ms);
        snprintf(fd, sizeof fd, "%d", ends[1]);
        execl("/proc/self/exe", "holder", "--hold", path, timeout, fd, NULL);
        _exit(2);
    }
    expect_number(read(ends[0], &id, sizeof id), sizeof id);
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    return id;
}

static void resumed_by_id(void) {
    clientid_t id = orphaned_session(at("e"), SHORT_TIMEOUT_MS);
    zhandle_t *heir = connect_as(&id, SHORT_TIMEOUT_MS, "");
    expect_number(zoo_client_id(heir)->client_id, id.client_id);
    expect(memcmp(zoo_client_id(heir)->passwd, id.passwd, sizeof id.passwd) == 0);
    sleep_ms(2 * SHORT_TIMEOUT_MS);
    expect_number(stat_of(zh, at("e")).ephemeralOwner, id.client_id);
    // The client takes the first frame that it receives for the reply; here that may be the reply to its last ping.
    zookeeper_close(heir);
    eventually(zoo_exists(zh, at("e"), 0, NULL) == ZNONODE);
}

static void expires_alone(void) {
    int64_t begin_ms = now_ms();
    struct events events = {0};
    int taken = 0;
    clientid_t id = orphaned_session(at("e"), SHORT_TIMEOUT_MS);
    ok(zoo_wexists(zh, at("e"), watcher, &events, NULL));
    expect_event(&events, &taken, ZOO_DELETED_EVENT, at("e"));
    expect(now_ms() - begin_ms >= SHORT_TIMEOUT_MS);
    zhandle_t *late = zookeeper_init(getenv("ZK_CONNECT"), NULL, LONG_TIMEOUT_MS, &id, NULL, 0);
    eventually(zoo_state(late) == ZOO_EXPIRED_SESSION_STATE);
    expect_number(is_unrecoverable(late), ZINVALIDSTATE);
    zookeeper_close(late);
}

static void wrong_password(void) {
    create_ephemeral(zh, at("e"));
    clientid_t id = *zoo_client_id(zh);
    memset(id.passwd, 'x', sizeof id.passwd);
    zhandle_t *intruder = zookeeper_init(getenv("ZK_CONNECT"), NULL, LONG_TIMEOUT_MS, &id, NULL, 0);
    eventually(zoo_state(intruder) == ZOO_EXPIRED_SESSION_STATE);
    zookeeper_close(intruder);
    eventually(zoo_exists(zh, at("e"), 0, NULL) == ZOK);
}

static void resumed_after_a_cut(void) {
    int64_t session = zoo_client_id(zh)->client_id;
    create_ephemeral(zh, at("e"));
    cut_sockets();
    eventually(zoo_exists(zh, at("e"), 0, NULL) == ZOK);
    expect_number(zoo_client_id(zh)->client_id, session);
    expect_number(stat_of(zh, at("e")).ephemeralOwner, session);
}

static void kept_by_pings(void) {
    zhandle_t *idle = connect_as(NULL, 1000, "");
    create_ephemeral(idle, at("e"));
    sleep_ms(3000);
    ok(zoo_exists(zh, at("e"), 0, NULL));
    zookeeper_close(idle);
}

static void kept_through(const char *first_action, const char *second_action) {
    struct events events = {0};
    int taken = 0;
    int64_t session = zoo_client_id(zh)->client_id;
    struct Stat stat;
    char data[16], created[PATH_SIZE];
    int length = sizeof data;
    create(zh, at("a"), "kept");
    ok(zoo_set2(zh, at("a"), "twice", 5, 0, &stat));
    create_ephemeral(zh, at("e"));
    create(zh, at("p"), "");
    ok(zoo_create(zh, at("p/n-"), "", 0, &ZOO_OPEN_ACL_UNSAFE, ZOO_PERSISTENT_SEQUENTIAL, NULL, 0));
    ok(zoo_wget(zh, at("a"), watcher, &events, data, &length, NULL));
    control(first_action);
    if (second_action) control(second_action);
    eventually(zoo_exists(zh, at("a"), 0, NULL) == ZOK);
    expect_number(zoo_client_id(zh)->client_id, session);
    expect(same_stat(stat, stat_of(zh, at("a"))));
    expect_text(text_of(zh, at("a")), "twice");
    expect_number(stat_of(zh, at("e")).ephemeralOwner, session);
    ok(zoo_create(zh, at("p/n-"), "", 0, &ZOO_OPEN_ACL_UNSAFE, ZOO_PERSISTENT_SEQUENTIAL, created, sizeof created));
    expect_text(created, at("p/n-0000000001"));
    zhandle_t *other = connect_as(NULL, LONG_TIMEOUT_MS, "");
    ok(zoo_set(other, at("a"), "", 0, 1));
    expect_event(&events, &taken, ZOO_CHANGED_EVENT, at("a"));
    zookeeper_close(zh);
    expect_number(zoo_exists(other, at("e"), 0, NULL), ZNONODE);
    zh = other;
}

static void kept_through_restart(void) {
    kept_through("restart", NULL);
}

static void kept_through_kill9(void) {
    kept_through("kill9", "start");
}

const struct test_case session_cases[] = {
    {"sessions", "timeout is negotiated", negotiated_timeout, false},
    {"sessions", "resumed by id and password", resumed_by_id, false},
    {"sessions", "expire when nobody resumes them", expires_alone, false},
    {"sessions", "wrong password is refused", wrong_password, false},
    {"sessions", "resumed after a cut connection", resumed_after_a_cut, false},
    {"sessions", "kept by pings", kept_by_pings, false},
    {"restart", "everything is kept", kept_through_restart, true},
    {"restart", "everything is kept after kill -9", kept_through_kill9, true},
};
const size_t session_case_count = ARRAY_LENGTH(session_cases);
