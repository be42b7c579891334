// The harness of the C client's cases.
//
// A case is a function that runs in a process of its own. A failed expectation prints the reason and ends that process; an alarm
// ends a case that hangs. `root` is the case's own znode; `zh` is its first session, and connect_as opens further sessions.
#ifndef HARNESS_H
#define HARNESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <zookeeper/zookeeper.h>

#define ARRAY_LENGTH(array) (sizeof(array) / sizeof *(array))

struct test_case {
    const char *feature, *name;
    void (*run)(void);
    bool alone; // disturbs the whole server
};

extern const struct test_case operation_cases[], watch_cases[], session_cases[];
extern const size_t operation_case_count, watch_case_count, session_case_count;

enum {
    LONG_TIMEOUT_MS = 10000, // the longest timeout that the server grants: a session must survive a restart
    PATIENCE_MS = 15000,
    QUIET_MS = 300, // time in which an unexpected event would arrive
    PATH_SIZE = 256,
};

extern zhandle_t *zh;
extern char root[PATH_SIZE];

// Ends the case as failed. The macro adds the line.
void fail_at(const char *file, int line, const char *format, ...) __attribute__((noreturn, format(printf, 3, 4)));
#define fail(...) fail_at(__FILE__, __LINE__, __VA_ARGS__)

#define expect(condition)                                                                                                                    \
    do {                                                                                                                                     \
        if (!(condition)) fail("not so: %s", #condition);                                                                                    \
    } while (0)

#define expect_number(actual, expected)                                                                                                      \
    do {                                                                                                                                     \
        long long actual_ = (actual), expected_ = (expected);                                                                                \
        if (actual_ != expected_) fail("%s is %lld instead of %lld", #actual, actual_, expected_);                                          \
    } while (0)

#define expect_text(actual, expected)                                                                                                        \
    do {                                                                                                                                     \
        const char *actual_ = (actual), *expected_ = (expected);                                                                             \
        if (strcmp(actual_, expected_) != 0) fail("%s is '%s' instead of '%s'", #actual, actual_, expected_);                               \
    } while (0)

#define ok(call) expect_number(call, ZOK)

// Waits for the condition, up to PATIENCE_MS.
#define eventually(condition)                                                                                                                \
    do {                                                                                                                                     \
        for (int waited_ms_ = 0; !(condition); waited_ms_ += 10) {                                                                           \
            if (waited_ms_ > PATIENCE_MS) fail("did not happen: %s", #condition);                                                            \
            sleep_ms(10);                                                                                                                    \
        }                                                                                                                                    \
    } while (0)

void sleep_ms(int milliseconds);
int64_t now_ms(void);

// Returns the path of the case's znode of this name; valid until the 16th later call.
const char *at(const char *name);

// Connects a new session, or resumes the session of `id`. `suffix` is a chroot or empty.
zhandle_t *connect_as(const clientid_t *id, int timeout_ms, const char *suffix);

// Runs an action of $ZK_CTL.
void control(const char *action);

// Cuts the process's connections to the server; neither side closes the session.
void cut_sockets(void);

void create(zhandle_t *handle, const char *path, const char *data);
// Creates an ephemeral.
void create_ephemeral(zhandle_t *handle, const char *path);
// Returns the znode's data as text, in a static buffer; "" if there is none.
const char *text_of(zhandle_t *handle, const char *path);
struct Stat stat_of(zhandle_t *handle, const char *path);
bool same_stat(struct Stat one, struct Stat other);

// The events that a watcher has seen, in order. `watcher` is the function; its context is one of these.
struct events {
    volatile int count;
    int types[256];
    char paths[256][PATH_SIZE];
};
void watcher(zhandle_t *handle, int type, int state, const char *path, void *context);
// Waits for the next event, which must be this one. `taken` counts the events taken so far.
void expect_event(struct events *events, int *taken, int type, const char *path);

#endif
