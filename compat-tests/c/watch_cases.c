// Watches: the kind, number and order of events.
#include "harness.h"

#include <stdio.h>
#include <string.h>

static void wget(zhandle_t *handle, const char *path, struct events *events) {
    char data[16];
    int length = sizeof data;
    ok(zoo_wget(handle, path, watcher, events, data, &length, NULL));
}

static void wchildren(zhandle_t *handle, const char *path, struct events *events) {
    struct String_vector names;
    ok(zoo_wget_children(handle, path, watcher, events, &names));
    deallocate_String_vector(&names);
}

static void set(zhandle_t *handle, const char *path) {
    ok(zoo_set(handle, path, "", 0, -1));
}

static void data_watch(void) {
    struct events events = {0};
    int taken = 0;
    create(zh, at("a"), "");
    wget(zh, at("a"), &events);
    set(zh, at("a"));
    set(zh, at("a"));
    expect_event(&events, &taken, ZOO_CHANGED_EVENT, at("a"));
    wget(zh, at("a"), &events);
    ok(zoo_delete(zh, at("a"), -1));
    expect_event(&events, &taken, ZOO_DELETED_EVENT, at("a"));
    sleep_ms(QUIET_MS);
    expect_number(events.count, 2);
}

static void exists_watch(void) {
    struct events events = {0};
    int taken = 0;
    expect_number(zoo_wexists(zh, at("a"), watcher, &events, NULL), ZNONODE);
    create(zh, at("a"), "");
    expect_event(&events, &taken, ZOO_CREATED_EVENT, at("a"));
    ok(zoo_wexists(zh, at("a"), watcher, &events, NULL));
    set(zh, at("a"));
    expect_event(&events, &taken, ZOO_CHANGED_EVENT, at("a"));
    ok(zoo_wexists(zh, at("a"), watcher, &events, NULL));
    ok(zoo_delete(zh, at("a"), -1));
    expect_event(&events, &taken, ZOO_DELETED_EVENT, at("a"));
}

static void child_watch(void) {
    struct events events = {0};
    int taken = 0;
    create(zh, at("p"), "");
    wchildren(zh, at("p"), &events);
    set(zh, at("p"));
    create(zh, at("p/c"), "");
    expect_event(&events, &taken, ZOO_CHILD_EVENT, at("p"));
    wchildren(zh, at("p"), &events);
    set(zh, at("p/c"));
    create(zh, at("p/c/d"), "");
    sleep_ms(QUIET_MS);
    expect_number(events.count, 1);
    ok(zoo_delete(zh, at("p/c/d"), -1));
    ok(zoo_delete(zh, at("p/c"), -1));
    expect_event(&events, &taken, ZOO_CHILD_EVENT, at("p"));
}

static void order_of_writes(void) {
    struct events events = {0};
    int taken = 0;
    char name[16];
    for (int number = 0; number < 50; number++) {
        snprintf(name, sizeof name, "n%d", number);
        expect_number(zoo_wexists(zh, at(name), watcher, &events, NULL), ZNONODE);
    }
    zhandle_t *other = connect_as(NULL, LONG_TIMEOUT_MS, "");
    for (int number = 0; number < 50; number++) {
        snprintf(name, sizeof name, "n%d", number);
        create(other, at(name), "");
    }
    for (int number = 0; number < 50; number++) {
        snprintf(name, sizeof name, "n%d", number);
        expect_event(&events, &taken, ZOO_CREATED_EVENT, at(name));
    }
    zookeeper_close(other);
}

static void no_watch_after_a_failed_read(void) {
    struct events events = {0};
    char data[16];
    int length = sizeof data;
    expect_number(zoo_wget(zh, at("a"), watcher, &events, data, &length, NULL), ZNONODE);
    create(zh, at("a"), "");
    sleep_ms(QUIET_MS);
    expect_number(events.count, 0);
}

static void removed_watch(void) {
    struct events removed = {0}, kept = {0};
    int taken = 0;
    create(zh, at("a"), "");
    wget(zh, at("a"), &removed);
    wchildren(zh, at("a"), &kept);
    ok(zoo_remove_watches(zh, at("a"), ZWATCHTYPE_DATA, watcher, &removed, 0));
    expect_number(zoo_remove_watches(zh, at("a"), ZWATCHTYPE_DATA, watcher, &removed, 0), ZNOWATCHER);
    set(zh, at("a"));
    create(zh, at("a/b"), "");
    expect_event(&kept, &taken, ZOO_CHILD_EVENT, at("a"));
    expect_number(removed.count, 0);
}

static void all_watches_removed(void) {
    struct events events = {0};
    create(zh, at("a"), "");
    wget(zh, at("a"), &events);
    wchildren(zh, at("a"), &events);
    ok(zoo_remove_all_watches(zh, at("a"), ZWATCHTYPE_ANY, 0));
    set(zh, at("a"));
    create(zh, at("a/b"), "");
    sleep_ms(QUIET_MS);
    expect_number(events.count, 0);
}

static void caught_up_after_a_cut(void) {
    struct events changed = {0}, children = {0}, created = {0}, deleted = {0}, never = {0};
    int taken[4] = {0};
    zhandle_t *watching = connect_as(NULL, LONG_TIMEOUT_MS, "");
    create(zh, at("a"), "");
    create(zh, at("p"), "");
    create(zh, at("d"), "");
    wget(watching, at("a"), &changed);
    wchildren(watching, at("p"), &children);
    wget(watching, at("d"), &deleted);
    expect_number(zoo_wexists(watching, at("later"), watcher, &created, NULL), ZNONODE);
    expect_number(zoo_wexists(watching, at("never"), watcher, &never, NULL), ZNONODE);
    control("pause");
    cut_sockets();
    control("resume");
    eventually(zoo_state(zh) == ZOO_CONNECTED_STATE);
    eventually(zoo_set(zh, at("a"), "", 0, -1) == ZOK);
    create(zh, at("p/c"), "");
    create(zh, at("later"), "");
    ok(zoo_delete(zh, at("d"), -1));
    expect_event(&changed, &taken[0], ZOO_CHANGED_EVENT, at("a"));
    expect_event(&children, &taken[1], ZOO_CHILD_EVENT, at("p"));
    expect_event(&created, &taken[2], ZOO_CREATED_EVENT, at("later"));
    expect_event(&deleted, &taken[3], ZOO_DELETED_EVENT, at("d"));
    sleep_ms(QUIET_MS);
    expect_number(never.count, 0);
    zookeeper_close(watching);
}

const struct test_case watch_cases[] = {
    {"watches", "data", data_watch, false},
    {"watches", "exists", exists_watch, false},
    {"watches", "children", child_watch, false},
    {"watches", "events of one client follow the writes", order_of_writes, false},
    {"watches", "failed read leaves none", no_watch_after_a_failed_read, false},
    {"watches", "one removed", removed_watch, false},
    {"watches", "all removed", all_watches_removed, false},
    {"watches", "kept through a cut connection", caught_up_after_a_cut, true},
};
const size_t watch_case_count = ARRAY_LENGTH(watch_cases);
