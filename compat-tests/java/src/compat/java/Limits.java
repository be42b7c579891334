package compat.java;

import static compat.harness.Check.code;
import static compat.harness.Check.eq;
import static compat.java.Znodes.OPEN;
import static compat.java.Znodes.create;
import static compat.java.Znodes.stat;

import compat.harness.Case;
import compat.harness.Check;
import compat.harness.Feature;
import compat.harness.Scene;
import compat.harness.Zk;
import java.util.List;
import org.apache.zookeeper.CreateMode;
import org.apache.zookeeper.KeeperException.Code;
import org.apache.zookeeper.data.Stat;

/** Sizes: the longest request, long names, deep paths. Source: NIOServerCnxn.readLength (jute.maxbuffer). */
@Feature("limits")
final class Limits {
    private static final int FRAME_MAX = 0xfffff;

    /** A setData request consists of a header of two ints, the path and the data with their lengths, and the version. */
    private static int largestData(String path) {
        return FRAME_MAX - (8 + 4 + path.length() + 4 + 4);
    }

    @Case("data of a million bytes comes back")
    static void large(Scene s) throws Exception {
        byte[] data = new byte[1_000_000];
        new java.util.Random(1).nextBytes(data);
        s.zk().create(s.p("/a"), data, OPEN, CreateMode.PERSISTENT);
        eq(data, s.zk().getData(s.p("/a"), false, null));
    }

    @Case("the longest request is accepted")
    static void longest(Scene s) throws Exception {
        create(s.zk(), s.p("/a"));
        Stat stat = s.zk().setData(s.p("/a"), new byte[largestData(s.p("/a"))], -1);
        eq(largestData(s.p("/a")), stat.getDataLength());
    }

    @Case("one byte more costs the connection, not the session")
    static void tooLong(Scene s) throws Exception {
        create(s.zk(), s.p("/e"), CreateMode.EPHEMERAL);
        long id = s.zk().getSessionId();
        s.zk().events().forgetStates();
        code(Code.CONNECTIONLOSS, () -> s.zk().setData(s.p("/e"), new byte[largestData(s.p("/e")) + 1], -1));
        s.zk().awaitConnected();
        eq(id, s.zk().getSessionId());
        eq(0, stat(s.zk(), s.p("/e")).getVersion());
    }

    @Case("a name of 10,000 characters")
    static void longName(Scene s) throws Exception {
        String name = "n".repeat(10_000);
        create(s.zk(), s.p("/" + name));
        eq(List.of(name), s.zk().getChildren(s.root(), false));
    }

    @Case("a path of 200 levels")
    static void deep(Scene s) throws Exception {
        Zk zk = s.zk();
        StringBuilder path = new StringBuilder(s.root());
        for (int i = 0; i < 200; i++) {
            zk.create(path.append("/d").toString(), null, OPEN, CreateMode.PERSISTENT, (int rc, String p, Object ctx, String name) -> { }, null);
        }
        zk.fence();
        Check.that(stat(zk, path.toString()) != null, "the deepest znode");
        eq(200, zk.getAllChildrenNumber(s.root()));
    }

    @Case("twenty thousand children listed in one reply")
    static void wide(Scene s) throws Exception {
        s.zk();
        for (int i = 0; i < 20_000; i++) {
            s.zk().create(s.p("/" + i), null, OPEN, CreateMode.PERSISTENT, (int rc, String p, Object ctx, String name) -> { }, null);
        }
        s.zk().fence();
        eq(20_000, s.zk().getChildren(s.root(), false).size());
    }
}
