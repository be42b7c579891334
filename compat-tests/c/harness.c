#include "harness.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum {
    SIDE_BY_SIDE = 8,
    CASE_LIMIT_S = 45,
    FIRST_FD = 3,
    LAST_FD = 256,
};

zhandle_t *zh;
char root[PATH_SIZE];

// Pipe for failure messages to the parent, which prints them on one line.
static int failure_pipe = STDOUT_FILENO;

void fail_at(const char *file, int line, const char *format, ...) {
    const char *base = strrchr(file, '/');
    va_list arguments;
    va_start(arguments, format);
    vdprintf(failure_pipe, format, arguments);
    va_end(arguments);
    dprintf(failure_pipe, " (%s:%d)", base ? base + 1 : file, line);
    _exit(1);
}

void sleep_ms(int milliseconds) {
    usleep(milliseconds * 1000);
}

int64_t now_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return now.tv_sec * 1000LL + now.tv_nsec / 1000000;
}

const char *at(const char *name) {
    static char paths[16][PATH_SIZE];
    static int next;
    char *path = paths[next++ % 16];
    snprintf(path, PATH_SIZE, "%s/%s", root, name);
    return path;
}

zhandle_t *connect_as(const clientid_t *id, int timeout_ms, const char *suffix) {
    char hosts[PATH_SIZE * 2];
    snprintf(hosts, sizeof hosts, "%s%s", getenv("ZK_CONNECT"), suffix);
    zhandle_t *handle = zookeeper_init(hosts, NULL, timeout_ms, id, NULL, 0);
    if (!handle) fail("zookeeper_init");
    eventually(zoo_state(handle) == ZOO_CONNECTED_STATE);
    return handle;
}

void control(const char *action) {
    char command[1024];
    snprintf(command, sizeof command, "'%s' %s", getenv("ZK_CTL"), action);
    expect_number(system(command), 0);
}

void cut_sockets(void) {
    int server_port = atoi(strrchr(getenv("ZK_CONNECT"), ':') + 1);
    for (int fd = FIRST_FD; fd < LAST_FD; fd++) {
        struct sockaddr_in peer;
        socklen_t length = sizeof peer;
        if (getpeername(fd, (struct sockaddr *)&peer, &length) == 0 && ntohs(peer.sin_port) == server_port) {
            shutdown(fd, SHUT_RDWR);
        }
    }
}

void create(zhandle_t *handle, const char *path, const char *data) {
    ok(zoo_create(handle, path, data, strlen(data), &ZOO_OPEN_ACL_UNSAFE, ZOO_PERSISTENT, NULL, 0));
}

void create_ephemeral(zhandle_t *handle, const char *path) {
    ok(zoo_create(handle, path, "", 0, &ZOO_OPEN_ACL_UNSAFE, ZOO_EPHEMERAL, NULL, 0));
}

const char *text_of(zhandle_t *handle, const char *path) {
    static char data[4096];
    int length = sizeof data - 1;
    ok(zoo_get(handle, path, 0, data, &length, NULL));
    data[length < 0 ? 0 : length] = '\0';
    return data;
}

struct Stat stat_of(zhandle_t *handle, const char *path) {
    struct Stat stat;
    ok(zoo_exists(handle, path, 0, &stat));
    return stat;
}

bool same_stat(struct Stat one, struct Stat other) {
    return one.czxid == other.czxid && one.mzxid == other.mzxid && one.pzxid == other.pzxid && one.ctime == other.ctime &&
           one.mtime == other.mtime && one.version == other.version && one.cversion == other.cversion && one.aversion == other.aversion &&
           one.ephemeralOwner == other.ephemeralOwner && one.dataLength == other.dataLength && one.numChildren == other.numChildren;
}

void watcher(zhandle_t *handle, int type, int state, const char *path, void *context) {
    (void)handle, (void)state;
    struct events *events = context;
    if (type == ZOO_SESSION_EVENT || events->count == 256) return;
    events->types[events->count] = type;
    snprintf(events->paths[events->count], PATH_SIZE, "%s", path);
    __sync_synchronize();
    events->count++;
}

void expect_event(struct events *events, int *taken, int type, const char *path) {
    eventually(events->count > *taken);
    expect_number(events->types[*taken], type);
    expect_text(events->paths[*taken], path);
    (*taken)++;
}

static void run_case(const struct test_case *test) {
    alarm(CASE_LIMIT_S);
    zoo_set_debug_level(0);
    zh = connect_as(NULL, LONG_TIMEOUT_MS, "");
    snprintf(root, sizeof root, "/c-%d", getpid());
    create(zh, root, "");
    test->run();
    zookeeper_close(zh);
    _exit(0);
}

struct running {
    const struct test_case *test;
    pid_t pid;
    int pipe;
};

static struct running start(const struct test_case *test) {
    int ends[2];
    if (pipe(ends) != 0) exit(2);
    pid_t pid = fork();
    if (pid == 0) {
        close(ends[0]);
        failure_pipe = ends[1];
        run_case(test);
    }
    close(ends[1]);
    return (struct running){test, pid, ends[0]};
}

// Prints the line of a case that ended. Returns whether it passed.
static bool report(const struct running *running, int status) {
    char reason[1024] = "";
    ssize_t length = read(running->pipe, reason, sizeof reason - 1);
    close(running->pipe);
    if (length > 0) reason[length] = '\0';
    for (char *at = reason; *at; at++) {
        if (*at == '\n') *at = ' ';
    }
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0) {
        printf("ok %s / %s\n", running->test->feature, running->test->name);
        return true;
    }
    if (WIFSIGNALED(status)) {
        snprintf(reason, sizeof reason, WTERMSIG(status) == SIGALRM ? "no result after %d s" : "ended by signal %d",
                 WTERMSIG(status) == SIGALRM ? CASE_LIMIT_S : WTERMSIG(status));
    }
    printf("not ok %s / %s # %s\n", running->test->feature, running->test->name, reason);
    return false;
}

static struct running slots[SIDE_BY_SIDE];

// Waits until one of the running cases has ended. Returns whether it passed.
static bool finish_one(void) {
    int status;
    pid_t pid = wait(&status);
    for (size_t slot = 0; slot < SIDE_BY_SIDE; slot++) {
        if (slots[slot].pid == pid) {
            bool passed = report(&slots[slot], status);
            fflush(stdout);
            slots[slot].pid = 0;
            return passed;
        }
    }
    return true;
}

static bool any_running(void) {
    for (size_t slot = 0; slot < SIDE_BY_SIDE; slot++) {
        if (slots[slot].pid) return true;
    }
    return false;
}

static struct running *free_slot(bool *all_passed) {
    for (;;) {
        for (size_t slot = 0; slot < SIDE_BY_SIDE; slot++) {
            if (!slots[slot].pid) return &slots[slot];
        }
        *all_passed &= finish_one();
    }
}

// Runs the cases that may run in parallel, or, one at a time, those that may not.
static bool run_all(const struct test_case *cases, size_t count, bool alone, const char *part) {
    bool all_passed = true;
    for (size_t index = 0; index < count; index++) {
        if (cases[index].alone != alone || !strstr(cases[index].feature, part)) continue;
        *free_slot(&all_passed) = start(&cases[index]);
        while (alone && any_running()) all_passed &= finish_one();
    }
    while (any_running()) all_passed &= finish_one();
    return all_passed;
}

// `--hold PATH TIMEOUT_MS FD`: holds a session until this process is killed. Writes its id to FD once its ephemeral PATH exists.
static void hold(char **arguments) {
    alarm(CASE_LIMIT_S);
    zoo_set_debug_level(0);
    zhandle_t *handle = connect_as(NULL, atoi(arguments[1]), "");
    create_ephemeral(handle, arguments[0]);
    clientid_t id = *zoo_client_id(handle);
    if (write(atoi(arguments[2]), &id, sizeof id) != sizeof id) _exit(2);
    for (;;) pause();
}

int main(int count, char **arguments) {
    if (count == 5 && strcmp(arguments[1], "--hold") == 0) hold(arguments + 2);
    const char *part = count > 1 ? arguments[1] : "";
    bool all_passed = true;
    for (int alone = 0; alone <= 1; alone++) {
        all_passed &= run_all(operation_cases, operation_case_count, alone, part);
        all_passed &= run_all(watch_cases, watch_case_count, alone, part);
        all_passed &= run_all(session_cases, session_case_count, alone, part);
    }
    return all_passed ? 0 : 1;
}
