package compat.java;

import static compat.harness.Check.eq;
import static compat.java.Znodes.OPEN;
import static compat.java.Znodes.bytes;
import static compat.java.Znodes.create;
import static compat.java.Znodes.stat;

import compat.harness.Case;
import compat.harness.Feature;
import compat.harness.Scene;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import org.apache.zookeeper.AddWatchMode;
import org.apache.zookeeper.CreateMode;
import org.apache.zookeeper.KeeperException.Code;
import org.apache.zookeeper.Watcher.WatcherType;
import org.apache.zookeeper.ZooDefs.OpCode;
import org.apache.zookeeper.data.Stat;
import org.apache.zookeeper.proto.RemoveWatchesRequest;

/** The callback of each asynchronous operation: rc, path, ctx and result, for success and for failure. */
@Feature("async")
final class Async {
    /** The reports of callbacks, in order. */
    private static final class Log {
        private final List<List<Object>> lines = new ArrayList<>();

        synchronized void add(int rc, Object... rest) {
            List<Object> line = new ArrayList<>();
            line.add(Code.get(rc));
            line.addAll(Arrays.asList(rest));
            lines.add(line);
        }

        /** Checks the lines so far. The scene's connection is fenced first. */
        synchronized List<List<Object>> lines() {
            return List.copyOf(lines);
        }
    }

    private static void expect(Scene s, Log log, Object[]... expected) throws Exception {
        s.zk().fence();
        eq(Arrays.stream(expected).map(Arrays::asList).toList(), log.lines());
    }

    private static Object[] line(Object... fields) {
        return fields;
    }

    @Case("create")
    static void createPlain(Scene s) throws Exception {
        Log log = new Log();
        String a = s.p("/a");
        s.zk();
        for (int i = 0; i < 2; i++) {
            s.zk().create(a, null, OPEN, CreateMode.PERSISTENT, (int rc, String path, Object ctx, String name) -> log.add(rc, path, ctx, name), "c");
        }
        s.zk().create(s.p("/s"), null, OPEN, CreateMode.EPHEMERAL_SEQUENTIAL, (int rc, String path, Object ctx, String name) -> log.add(rc, path, ctx, name), null);
        expect(s, log, line(Code.OK, a, "c", a), line(Code.NODEEXISTS, a, "c", null), line(Code.OK, s.p("/s"), null, s.p("/s0000000001")));
    }

    @Case("create with Stat, also container and TTL")
    static void createStat(Scene s) throws Exception {
        List<Stat> stats = new ArrayList<>();
        s.zk().create(s.p("/a"), null, OPEN, CreateMode.PERSISTENT, (int rc, String path, Object ctx, String name, Stat stat) -> stats.add(stat), null);
        s.zk().create(s.p("/c"), null, OPEN, CreateMode.CONTAINER, (int rc, String path, Object ctx, String name, Stat stat) -> stats.add(stat), null);
        s.zk().create(s.p("/t"), null, OPEN, CreateMode.PERSISTENT_WITH_TTL,
                (int rc, String path, Object ctx, String name, Stat stat) -> stats.add(stat), null, 100_000);
        s.zk().create(s.p("/a"), null, OPEN, CreateMode.PERSISTENT, (int rc, String path, Object ctx, String name, Stat stat) -> stats.add(stat), null);
        s.zk().fence();
        eq(Arrays.asList(stat(s.zk(), s.p("/a")), stat(s.zk(), s.p("/c")), stat(s.zk(), s.p("/t")), null), stats);
    }

    @Case("delete")
    static void delete(Scene s) throws Exception {
        Log log = new Log();
        String a = create(s.zk(), s.p("/a"));
        s.zk().delete(a, 5, (rc, path, ctx) -> log.add(rc, path, ctx), 1);
        s.zk().delete(a, 0, (rc, path, ctx) -> log.add(rc, path, ctx), 2);
        s.zk().delete(a, 0, (rc, path, ctx) -> log.add(rc, path, ctx), 3);
        expect(s, log, line(Code.BADVERSION, a, 1), line(Code.OK, a, 2), line(Code.NONODE, a, 3));
    }

    @Case("exists, getData, setData")
    static void data(Scene s) throws Exception {
        Log log = new Log();
        String a = create(s.zk(), s.p("/a"));
        Stat first = stat(s.zk(), a);
        String no = s.p("/no");
        s.zk().exists(a, false, (rc, path, ctx, stat) -> log.add(rc, path, ctx, stat), "x");
        s.zk().exists(no, false, (rc, path, ctx, stat) -> log.add(rc, path, ctx, stat), "x");
        s.zk().getData(a, false, (int rc, String path, Object ctx, byte[] bytes, Stat stat) -> log.add(rc, path, ctx, bytes, stat), "g");
        s.zk().getData(no, false, (int rc, String path, Object ctx, byte[] bytes, Stat stat) -> log.add(rc, path, ctx, bytes), "g");
        s.zk().setData(a, bytes("new"), 3, (rc, path, ctx, stat) -> log.add(rc, path, ctx, stat), "s");
        expect(s, log, line(Code.OK, a, "x", first), line(Code.NONODE, no, "x", null), line(Code.OK, a, "g", bytes("data"), first),
                line(Code.NONODE, no, "g", null), line(Code.BADVERSION, a, "s", null));
        Log second = new Log();
        s.zk().setData(a, bytes("new"), 0, (rc, path, ctx, stat) -> second.add(rc, path, ctx, stat.getVersion()), "s");
        expect(s, second, line(Code.OK, a, "s", 1));
    }

    @Case("getChildren with and without Stat, getAllChildrenNumber")
    static void children(Scene s) throws Exception {
        Log log = new Log();
        create(s.zk(), s.p("/a"));
        Stat root = stat(s.zk(), s.root());
        s.zk().getChildren(s.root(), false, (int rc, String path, Object ctx, List<String> names) -> log.add(rc, path, ctx, names), "c");
        s.zk().getChildren(s.root(), false, (int rc, String path, Object ctx, List<String> names, Stat stat) -> log.add(rc, path, ctx, names, stat), "c");
        s.zk().getChildren(s.p("/no"), false, (int rc, String path, Object ctx, List<String> names) -> log.add(rc, path, ctx, names), "c");
        s.zk().getAllChildrenNumber(s.root(), (rc, path, ctx, number) -> log.add(rc, path, ctx, number), "n");
        expect(s, log, line(Code.OK, s.root(), "c", List.of("a")), line(Code.OK, s.root(), "c", List.of("a"), root),
                line(Code.NONODE, s.p("/no"), "c", null), line(Code.OK, s.root(), "n", 1));
    }

    @Case("getACL and setACL")
    static void acls(Scene s) throws Exception {
        Log log = new Log();
        String a = create(s.zk(), s.p("/a"));
        s.zk().setACL(a, OPEN, 0, (rc, path, ctx, stat) -> log.add(rc, path, ctx, stat.getAversion()), "s");
        s.zk().setACL(a, OPEN, 0, (rc, path, ctx, stat) -> log.add(rc, path, ctx, stat), "s");
        s.zk().getACL(a, new Stat(), (rc, path, ctx, acl, stat) -> log.add(rc, path, ctx, acl, stat.getAversion()), "g");
        expect(s, log, line(Code.OK, a, "s", 1), line(Code.BADVERSION, a, "s", null), line(Code.OK, a, "g", OPEN, 1));
    }

    @Case("getEphemerals")
    static void ephemerals(Scene s) throws Exception {
        Log log = new Log();
        String e = create(s.zk(), s.p("/e"), CreateMode.EPHEMERAL);
        s.zk().getEphemerals((rc, ctx, paths) -> log.add(rc, ctx, paths), 1);
        s.zk().getEphemerals(s.p("/x"), (rc, ctx, paths) -> log.add(rc, ctx, paths), 2);
        expect(s, log, line(Code.OK, 1, List.of(e)), line(Code.OK, 2, List.of()));
    }

    @Case("addWatch, removeWatches, removeAllWatches")
    static void watches(Scene s) throws Exception {
        Log log = new Log();
        s.zk().addWatch(s.root(), event -> { }, AddWatchMode.PERSISTENT, (rc, path, ctx) -> log.add(rc, path, ctx), "a");
        s.zk().fence();
        s.zk().removeAllWatches(s.root(), WatcherType.Any, false, (rc, path, ctx) -> log.add(rc, path, ctx), "r");
        s.zk().fence();
        expect(s, log, line(Code.OK, s.root(), "a"), line(Code.OK, s.root(), "r"));
    }

    @Case("removeWatches of one watcher, locally whatever the server says")
    static void removeOne(Scene s) throws Exception {
        Log log = new Log();
        var watcher = s.events();
        s.zk().exists(s.p("/a"), watcher);
        for (int i = 0; i < 2; i++) {
            s.zk().removeWatches(s.p("/a"), watcher, WatcherType.Data, i == 1, (rc, path, ctx) -> log.add(rc, path, ctx), "r");
            s.zk().fence();
            if (i == 0) {
                s.zk().exists(s.p("/a"), watcher);
                s.zk().raw(OpCode.removeWatches, new RemoveWatchesRequest(s.p("/a"), WatcherType.Data.getIntValue()), null);
            }
        }
        expect(s, log, line(Code.OK, s.p("/a"), "r"), line(Code.OK, s.p("/a"), "r"));
        eq(List.of("DataWatchRemoved /a", "DataWatchRemoved /a"), watcher.take());
    }

    @Case("transaction commit and getConfig")
    static void others(Scene s) throws Exception {
        Log log = new Log();
        s.zk().transaction().create(s.p("/a"), null, OPEN, CreateMode.PERSISTENT).commit((rc, path, ctx, results) -> log.add(rc, ctx, results.size()), "t");
        s.zk().getConfig(false, (int rc, String path, Object ctx, byte[] data, Stat stat) -> log.add(rc, path, ctx, stat.getAversion()), "c");
        expect(s, log, line(Code.OK, "t", 1), line(Code.OK, "/zookeeper/config", "c", -1));
    }

    @Case("replies come in the order of the requests")
    static void order(Scene s) throws Exception {
        List<Integer> order = new ArrayList<>();
        List<Integer> expected = new ArrayList<>();
        create(s.zk(), s.p("/a"));
        for (int i = 0; i < 300; i++) {
            int mine = i;
            expected.add(i);
            if (i % 3 == 0) {
                s.zk().setData(s.p("/a"), bytes("" + i), -1, (rc, path, ctx, stat) -> order.add(mine), null);
            } else if (i % 3 == 1) {
                s.zk().getData(s.p("/a"), false, (int rc, String path, Object ctx, byte[] data, Stat stat) -> order.add(mine), null);
            } else {
                s.zk().delete(s.p("/no"), -1, (rc, path, ctx) -> order.add(mine), null);
            }
        }
        s.zk().fence();
        eq(expected, order);
    }
}
