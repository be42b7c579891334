// Operations, transactions, access control.
#include "harness.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int create_mode(const char *path, int mode, char *created) {
    return zoo_create(zh, path, "x", 1, &ZOO_OPEN_ACL_UNSAFE, mode, created, created ? PATH_SIZE : 0);
}

static void create_and_get(void) {
    char created[PATH_SIZE];
    ok(create_mode(at("a"), ZOO_PERSISTENT, created));
    expect_text(created, at("a"));
    char data[16];
    int length = sizeof data;
    struct Stat stat;
    ok(zoo_get(zh, at("a"), 0, data, &length, &stat));
    expect(length == 1 && data[0] == 'x');
    expect(stat.version == 0 && stat.cversion == 0 && stat.aversion == 0);
    expect(stat.dataLength == 1 && stat.numChildren == 0 && stat.ephemeralOwner == 0);
    expect(stat.czxid == stat.mzxid && stat.czxid == stat.pzxid && stat.ctime == stat.mtime);
    expect(llabs(stat.ctime - now_ms()) < 60000);
    expect(same_stat(stat, stat_of(zh, at("a"))));
}

static void create_with_stat(void) {
    char created[PATH_SIZE];
    struct Stat stat;
    ok(zoo_create2(zh, at("s-"), "xy", 2, &ZOO_OPEN_ACL_UNSAFE, ZOO_EPHEMERAL_SEQUENTIAL, created, sizeof created, &stat));
    expect_text(created, at("s-0000000000"));
    expect_number(stat.ephemeralOwner, zoo_client_id(zh)->client_id);
    expect(same_stat(stat, stat_of(zh, created)));
}

static void null_data_is_not_empty_data(void) {
    char data[16];
    int length = sizeof data;
    ok(zoo_create(zh, at("null"), NULL, -1, &ZOO_OPEN_ACL_UNSAFE, 0, NULL, 0));
    create(zh, at("empty"), "");
    ok(zoo_get(zh, at("null"), 0, data, &length, NULL));
    expect_number(length, -1);
    length = sizeof data;
    ok(zoo_get(zh, at("empty"), 0, data, &length, NULL));
    expect_number(length, 0);
    expect_number(stat_of(zh, at("null")).dataLength, 0);
}

static void create_errors(void) {
    create(zh, at("a"), "");
    create_ephemeral(zh, at("e"));
    expect_number(create_mode(at("a"), ZOO_PERSISTENT, NULL), ZNODEEXISTS);
    expect_number(create_mode(at("missing/b"), ZOO_PERSISTENT, NULL), ZNONODE);
    expect_number(create_mode(at("e/child"), ZOO_PERSISTENT, NULL), ZNOCHILDRENFOREPHEMERALS);
    struct ACL_vector none = {0, NULL};
    expect_number(zoo_create(zh, at("b"), "", 0, &none, 0, NULL, 0), ZINVALIDACL);
}

static void set(void) {
    create(zh, at("a"), "one");
    struct Stat before = stat_of(zh, at("a")), stat;
    ok(zoo_set2(zh, at("a"), "three", 5, 0, &stat));
    expect(stat.version == 1 && stat.dataLength == 5 && stat.mzxid > before.mzxid);
    expect(stat.czxid == before.czxid && stat.pzxid == before.pzxid && stat.ctime == before.ctime);
    expect(same_stat(stat, stat_of(zh, at("a"))));
    expect_text(text_of(zh, at("a")), "three");
    expect_number(zoo_set(zh, at("a"), "", 0, 0), ZBADVERSION);
    expect_number(zoo_set(zh, at("missing"), "", 0, -1), ZNONODE);
    ok(zoo_set(zh, at("a"), "", 0, -1));
    expect_number(stat_of(zh, at("a")).version, 2);
}

static void delete(void) {
    create(zh, at("a"), "");
    create(zh, at("a/b"), "");
    expect_number(zoo_delete(zh, at("a"), -1), ZNOTEMPTY);
    expect_number(zoo_delete(zh, at("a/b"), 3), ZBADVERSION);
    ok(zoo_delete(zh, at("a/b"), 0));
    ok(zoo_delete(zh, at("a"), -1));
    expect_number(zoo_delete(zh, at("a"), -1), ZNONODE);
    expect_number(zoo_exists(zh, at("a"), 0, NULL), ZNONODE);
}

static void children(void) {
    create(zh, at("b"), "");
    create(zh, at("a"), "");
    struct String_vector names;
    struct Stat stat;
    ok(zoo_get_children2(zh, root, 0, &names, &stat));
    expect(names.count == 2 && stat.numChildren == 2 && stat.cversion == 2 && stat.version == 0);
    expect(strcmp(names.data[0], names.data[1]) != 0);
    deallocate_String_vector(&names);
    ok(zoo_get_children(zh, at("a"), 0, &names));
    expect_number(names.count, 0);
    deallocate_String_vector(&names);
    ok(zoo_delete(zh, at("a"), -1));
    expect_number(stat_of(zh, root).cversion, 3);
    expect_number(zoo_get_children(zh, at("missing"), 0, &names), ZNONODE);
}

static void large_data(void) {
    enum { SIZE = 1000000 };
    char *data = malloc(SIZE), *found = malloc(SIZE + 1);
    memset(data, 'x', SIZE);
    ok(zoo_create(zh, at("big"), data, SIZE, &ZOO_OPEN_ACL_UNSAFE, 0, NULL, 0));
    int length = SIZE + 1;
    ok(zoo_get(zh, at("big"), 0, found, &length, NULL));
    expect(length == SIZE && memcmp(data, found, SIZE) == 0);
}

static volatile int synced_rc = 1;

static void synced(int rc, const char *path, const void *expected) {
    synced_rc = rc == ZOK && strcmp(path, expected) != 0 ? ZAPIERROR : rc;
}

static void sync(void) {
    zhandle_t *other = connect_as(NULL, LONG_TIMEOUT_MS, "");
    create(zh, at("a"), "x");
    ok(zoo_async(other, at("a"), synced, at("a")));
    eventually(synced_rc != 1);
    ok(synced_rc);
    expect_text(text_of(other, at("a")), "x");
    zookeeper_close(other);
}

static void configuration(void) {
    char data[2048];
    int length = sizeof data, servers = atoi(getenv("ZK_SERVERS")), lines = 0;
    struct Stat stat;
    ok(zoo_getconfig(zh, 0, data, &length, &stat));
    expect_number(stat.aversion, -1);
    if (servers == 1) {
        expect(length <= 0);
    } else {
        for (int index = 0; index < length; index++) lines += data[index] == '\n';
        expect_number(lines, servers);
        expect(strncmp(data, "server.1=127.0.0.1:", 19) == 0 && strncmp(data + length - 9, "version=0", 9) == 0);
    }
    length = sizeof data;
    expect_number(zoo_reconfig(zh, NULL, "2", NULL, -1, data, &length, &stat), ZRECONFIGDISABLED);
}

static void sequential(void) {
    char created[PATH_SIZE], expected[PATH_SIZE];
    for (int number = 0; number < 3; number++) {
        ok(create_mode(at("n-"), ZOO_PERSISTENT_SEQUENTIAL, created));
        snprintf(expected, sizeof expected, "%s%010d", at("n-"), number);
        expect_text(created, expected);
    }
    create(zh, at("plain"), "");
    ok(create_mode(at("e-"), ZOO_EPHEMERAL_SEQUENTIAL, created));
    expect_text(created, at("e-0000000004"));
}

static void ephemeral(void) {
    zhandle_t *other = connect_as(NULL, LONG_TIMEOUT_MS, "");
    create_ephemeral(other, at("e"));
    expect_number(stat_of(zh, at("e")).ephemeralOwner, zoo_client_id(other)->client_id);
    zookeeper_close(other);
    expect_number(zoo_exists(zh, at("e"), 0, NULL), ZNONODE);
}

static void container(void) {
    ok(create_mode(at("c"), ZOO_CONTAINER, NULL));
    expect_number(stat_of(zh, at("c")).ephemeralOwner, 0);
    create(zh, at("c/child"), "");
    ok(zoo_delete(zh, at("c/child"), -1));
    eventually(zoo_exists(zh, at("c"), 0, NULL) == ZNONODE);
}

static void ttl(void) {
    char created[PATH_SIZE];
    int64_t begin_ms = now_ms();
    ok(zoo_create_ttl(zh, at("t"), "", 0, &ZOO_OPEN_ACL_UNSAFE, ZOO_PERSISTENT_WITH_TTL, 1500, NULL, 0));
    ok(zoo_create_ttl(zh, at("s-"), "", 0, &ZOO_OPEN_ACL_UNSAFE, ZOO_PERSISTENT_SEQUENTIAL_WITH_TTL, 3600000, created, sizeof created));
    expect_text(created, at("s-0000000001"));
    eventually(zoo_exists(zh, at("t"), 0, NULL) == ZNONODE);
    expect(now_ms() - begin_ms > 1400);
    ok(zoo_exists(zh, created, 0, NULL));
}

// Replies to pipelined requests, in the order of arrival: even numbers are writes, odd ones reads.
enum { PIPELINED = 200 };
static volatile int answers;
static int order[PIPELINED * 2], versions[PIPELINED * 2];

static void wrote(int rc, const struct Stat *stat, const void *number) {
    order[answers] = rc == ZOK ? (int)(intptr_t)number : -1;
    versions[answers] = rc == ZOK ? stat->version : -1;
    answers++;
}

static void read_back(int rc, const char *data, int length, const struct Stat *stat, const void *number) {
    (void)data, (void)length;
    wrote(rc, stat, number);
}

static void pipelined(void) {
    create(zh, at("a"), "");
    for (intptr_t number = 0; number < PIPELINED; number++) {
        char data[16];
        int length = snprintf(data, sizeof data, "%d", (int)number);
        ok(zoo_aset(zh, at("a"), data, length, -1, wrote, (void *)(number * 2)));
        ok(zoo_aget(zh, at("a"), 0, read_back, (void *)(number * 2 + 1)));
    }
    eventually(answers == PIPELINED * 2);
    for (int index = 0; index < PIPELINED * 2; index++) {
        expect_number(order[index], index);
        expect_number(versions[index], index / 2 + 1);
    }
}

static void multi_commits(void) {
    create(zh, at("old"), "1");
    create(zh, at("gone"), "");
    char created[PATH_SIZE], sequential_name[PATH_SIZE];
    struct Stat stat;
    zoo_op_t ops[5];
    zoo_op_result_t results[5];
    zoo_create_op_init(&ops[0], at("new"), "n", 1, &ZOO_OPEN_ACL_UNSAFE, 0, created, sizeof created);
    zoo_create_op_init(&ops[1], at("s-"), "", 0, &ZOO_OPEN_ACL_UNSAFE, ZOO_EPHEMERAL_SEQUENTIAL, sequential_name, sizeof sequential_name);
    zoo_set_op_init(&ops[2], at("old"), "2", 1, 0, &stat);
    zoo_check_op_init(&ops[3], at("old"), 1);
    zoo_delete_op_init(&ops[4], at("gone"), 0);
    ok(zoo_multi(zh, 5, ops, results));
    for (int index = 0; index < 5; index++) expect_number(results[index].err, ZOK);
    expect_text(created, at("new"));
    expect_text(sequential_name, at("s-0000000003"));
    expect(same_stat(stat, stat_of(zh, at("old"))));
    expect_number(stat_of(zh, at("new")).czxid, stat.mzxid);
    expect_number(zoo_exists(zh, at("gone"), 0, NULL), ZNONODE);
}

static void multi_fails(void) {
    create(zh, at("old"), "1");
    zoo_op_t ops[3];
    zoo_op_result_t results[3];
    zoo_create_op_init(&ops[0], at("new"), "n", 1, &ZOO_OPEN_ACL_UNSAFE, 0, NULL, 0);
    zoo_check_op_init(&ops[1], at("old"), 9);
    zoo_delete_op_init(&ops[2], at("old"), -1);
    expect_number(zoo_multi(zh, 3, ops, results), ZBADVERSION);
    expect_number(results[0].err, ZOK);
    expect_number(results[1].err, ZBADVERSION);
    expect_number(results[2].err, ZRUNTIMEINCONSISTENCY);
    expect_number(zoo_exists(zh, at("new"), 0, NULL), ZNONODE);
    ok(zoo_exists(zh, at("old"), 0, NULL));
}

static void multi_sees_itself(void) {
    zoo_op_t ops[3];
    zoo_op_result_t results[3];
    zoo_create_op_init(&ops[0], at("p"), "", 0, &ZOO_OPEN_ACL_UNSAFE, 0, NULL, 0);
    zoo_create_op_init(&ops[1], at("p/c"), "", 0, &ZOO_OPEN_ACL_UNSAFE, 0, NULL, 0);
    zoo_delete_op_init(&ops[2], at("p"), -1);
    expect_number(zoo_multi(zh, 3, ops, results), ZNOTEMPTY);
    ok(zoo_multi(zh, 2, ops, results));
    ok(zoo_exists(zh, at("p/c"), 0, NULL));
}

static void acl(void) {
    struct ACL entries[] = {
        {ZOO_PERM_READ | ZOO_PERM_ADMIN, {"world", "anyone"}},
        {ZOO_PERM_ALL, {"digest", "alice:CeChSyLUmm43y0VlPrVKpFlA1VY="}},
    };
    struct ACL_vector vector = {2, entries}, found;
    struct Stat stat;
    create(zh, at("a"), "");
    ok(zoo_set_acl(zh, at("a"), 0, &vector));
    control("settle");
    ok(zoo_get_acl(zh, at("a"), &found, &stat));
    expect(found.count == 2 && stat.aversion == 1 && stat.version == 0);
    expect_number(found.data[0].perms, 17);
    expect_text(found.data[1].id.id, entries[1].id.id);
    deallocate_ACL_vector(&found);
    expect_number(zoo_set_acl(zh, at("a"), 0, &vector), ZBADVERSION);
    expect_number(zoo_set(zh, at("a"), "", 0, -1), ZNOAUTH);
    expect_number(create_mode(at("a/b"), 0, NULL), ZNOAUTH);
    expect_number(zoo_get_acl(zh, at("missing"), &found, &stat), ZNONODE);
}

static volatile int auth_rc = 1;

static void authenticated(int rc, const void *context) {
    (void)context;
    auth_rc = rc;
}

static int add_auth(zhandle_t *handle, const char *scheme, const char *credentials) {
    auth_rc = 1;
    ok(zoo_add_auth(handle, scheme, credentials, strlen(credentials), authenticated, NULL));
    eventually(auth_rc != 1);
    return auth_rc;
}

static void digest(void) {
    expect_number(zoo_create(zh, at("a"), "", 0, &ZOO_CREATOR_ALL_ACL, 0, NULL, 0), ZINVALIDACL);
    zhandle_t *owner = connect_as(NULL, LONG_TIMEOUT_MS, "");
    ok(add_auth(owner, "digest", "alice:secret"));
    ok(zoo_create(owner, at("a"), "x", 1, &ZOO_CREATOR_ALL_ACL, 0, NULL, 0));
    char data[16];
    int length = sizeof data;
    expect_number(zoo_get(zh, at("a"), 0, data, &length, NULL), ZNOAUTH);
    ok(add_auth(zh, "digest", "alice:wrong"));
    expect_number(zoo_get(zh, at("a"), 0, data, &length, NULL), ZNOAUTH);
    ok(add_auth(zh, "digest", "alice:secret"));
    expect_text(text_of(zh, at("a")), "x");
    zookeeper_close(owner);
}

static void super(void) {
    struct ACL nobody = {ZOO_PERM_ALL, {"digest", "nobody:x"}};
    struct ACL_vector vector = {1, &nobody};
    ok(zoo_create(zh, at("a"), "", 0, &vector, 0, NULL, 0));
    expect_number(zoo_set(zh, at("a"), "", 0, -1), ZNOAUTH);
    ok(add_auth(zh, "digest", "super:admin"));
    ok(zoo_set(zh, at("a"), "x", 1, -1));
}

static void unknown_scheme(void) {
    zhandle_t *other = connect_as(NULL, LONG_TIMEOUT_MS, "");
    expect_number(add_auth(other, "no-such-scheme", "x"), ZAUTHFAILED);
    eventually(zoo_state(other) == ZOO_AUTH_FAILED_STATE);
    zookeeper_close(other);
}

static void chroot_paths(void) {
    zhandle_t *inside = connect_as(NULL, LONG_TIMEOUT_MS, root);
    char created[PATH_SIZE];
    ok(zoo_create(inside, "/s-", "x", 1, &ZOO_OPEN_ACL_UNSAFE, ZOO_PERSISTENT_SEQUENTIAL, created, sizeof created));
    expect_text(created, "/s-0000000000");
    expect_text(text_of(zh, at("s-0000000000")), "x");
    struct events events = {0};
    int taken = 0;
    ok(zoo_wexists(inside, "/s-0000000000", watcher, &events, NULL));
    ok(zoo_delete(zh, at("s-0000000000"), -1));
    expect_event(&events, &taken, ZOO_DELETED_EVENT, "/s-0000000000");
    zookeeper_close(inside);
}

const struct test_case operation_cases[] = {
    {"operations", "create and get", create_and_get, false},
    {"operations", "create with stat", create_with_stat, false},
    {"operations", "null data is not empty data", null_data_is_not_empty_data, false},
    {"operations", "create errors", create_errors, false},
    {"operations", "set", set, false},
    {"operations", "delete", delete, false},
    {"operations", "children", children, false},
    {"operations", "large data", large_data, false},
    {"operations", "sync", sync, false},
    {"operations", "configuration", configuration, false},
    {"operations", "pipelined answers come in order", pipelined, false},
    {"create modes", "sequential", sequential, false},
    {"create modes", "ephemeral", ephemeral, false},
    {"create modes", "container", container, false},
    {"create modes", "ttl", ttl, false},
    {"transactions", "commit", multi_commits, false},
    {"transactions", "failure undoes everything", multi_fails, false},
    {"transactions", "later operations see earlier ones", multi_sees_itself, false},
    {"acl", "set and get", acl, false},
    {"auth", "digest opens what it owns", digest, false},
    {"auth", "super user", super, false},
    {"auth", "unknown scheme fails the client", unknown_scheme, false},
    {"chroot", "paths are relative", chroot_paths, false},
};
const size_t operation_case_count = ARRAY_LENGTH(operation_cases);
