package compat.java;

import static compat.harness.Check.eq;
import static compat.java.Znodes.OPEN;
import static compat.java.Znodes.bytes;
import static compat.java.Znodes.create;
import static compat.java.Znodes.stat;

import compat.harness.Case;
import compat.harness.Check;
import compat.harness.Feature;
import compat.harness.Scene;
import java.util.List;
import org.apache.zookeeper.CreateMode;
import org.apache.zookeeper.data.Stat;

/** Container and TTL znodes that the server removes by itself. Source: ContainerManager. */
@Feature("container")
final class Reaping {
    /** The servers under test check once a second. */
    private static final long INTERVAL_MS = 1_000;
    private static final long LIMIT_MS = 15_000;

    @Case("removed after its last child, with events")
    static void container(Scene s) throws Exception {
        create(s.zk(), s.p("/c"), CreateMode.CONTAINER);
        create(s.zk(), s.p("/c/a"));
        s.zk().exists(s.p("/c"), true);
        s.zk().getChildren(s.root(), true);
        Thread.sleep(2 * INTERVAL_MS);
        eq(List.of(), s.zk().seen());
        s.zk().delete(s.p("/c/a"), -1);
        eq("NodeDeleted /c", s.zk().events().nextText(LIMIT_MS));
        eq("NodeChildrenChanged ", s.zk().events().nextText(LIMIT_MS));
        eq(2, stat(s.zk(), s.root()).getCversion());
    }

    @Case("one that never had a child stays")
    static void unused(Scene s) throws Exception {
        create(s.zk(), s.p("/c"), CreateMode.CONTAINER);
        Thread.sleep(3 * INTERVAL_MS);
        Check.that(stat(s.zk(), s.p("/c")) != null, "the container");
    }

    @Case("nested containers go one after the other")
    static void nested(Scene s) throws Exception {
        create(s.zk(), s.p("/c"), CreateMode.CONTAINER);
        create(s.zk(), s.p("/c/d"), CreateMode.CONTAINER);
        create(s.zk(), s.p("/c/d/a"));
        s.zk().delete(s.p("/c/d/a"), -1);
        Check.eventually(LIMIT_MS, "both gone", () -> s.zk().getChildren(s.root(), false).isEmpty());
    }

    @Case(value = "removed once its time is over, not before", feature = "ttl")
    static void ttl(Scene s) throws Exception {
        s.zk().create(s.p("/t"), null, OPEN, CreateMode.PERSISTENT_WITH_TTL, new Stat(), 1_500);
        long made = System.nanoTime();
        s.zk().exists(s.p("/t"), true);
        eq("NodeDeleted /t", s.zk().events().nextText(LIMIT_MS));
        long tookMs = (System.nanoTime() - made) / 1_000_000;
        Check.that(tookMs >= 1_450, "at least 1500 ms, took " + tookMs);
    }

    @Case(value = "a child keeps it", feature = "ttl")
    static void ttlChild(Scene s) throws Exception {
        s.zk().create(s.p("/t"), null, OPEN, CreateMode.PERSISTENT_WITH_TTL, new Stat(), 500);
        create(s.zk(), s.p("/t/a"));
        Thread.sleep(3 * INTERVAL_MS);
        s.zk().delete(s.p("/t/a"), -1);
        Check.eventually(LIMIT_MS, "the znode gone", () -> stat(s.zk(), s.p("/t")) == null);
    }

    @Case(value = "setData gives it its time again", feature = "ttl")
    static void ttlTouched(Scene s) throws Exception {
        s.zk().create(s.p("/t"), null, OPEN, CreateMode.PERSISTENT_WITH_TTL, new Stat(), 2_500);
        for (int i = 0; i < 4; i++) {
            Thread.sleep(1_000);
            s.zk().setData(s.p("/t"), bytes("" + i), i);
        }
        Check.eventually(LIMIT_MS, "the znode gone", () -> stat(s.zk(), s.p("/t")) == null);
    }
}
