package compat.java;

import static compat.harness.Check.eq;
import static compat.java.Znodes.OPEN;
import static compat.java.Znodes.bytes;
import static compat.java.Znodes.create;
import static compat.java.Znodes.stat;

import compat.harness.Case;
import compat.harness.Feature;
import compat.harness.Scene;
import org.apache.zookeeper.CreateMode;
import org.apache.zookeeper.StatsTrack;
import org.apache.zookeeper.data.Stat;

/** Quota accounting, with the znodes that zkCli's setquota creates. Source: DataTree.updateQuotaStat, SetQuotaCommand. */
@Feature("quota")
final class Quotas {
    private static String quotaPath(Scene s) {
        return "/zookeeper/quota" + s.root();
    }

    /** Sets the limits of the scene's root, as zkCli does: limits first, then stats. */
    static void limit(Scene s, String limits) throws Exception {
        s.zk().create(quotaPath(s), null, OPEN, CreateMode.PERSISTENT);
        s.zk().create(quotaPath(s) + "/zookeeper_limits", bytes(limits), OPEN, CreateMode.PERSISTENT);
        s.zk().create(quotaPath(s) + "/zookeeper_stats", bytes("count=0,bytes=0"), OPEN, CreateMode.PERSISTENT);
    }

    static void usage(Scene s, long count, long bytes) throws Exception {
        StatsTrack track = new StatsTrack(s.zk().getData(quotaPath(s) + "/zookeeper_stats", false, null));
        eq("usage", count + " znodes, " + bytes + " bytes", track.getCount() + " znodes, " + track.getBytes() + " bytes");
    }

    @Case("making the stats znode counts what is there")
    static void initial(Scene s) throws Exception {
        create(s.zk(), s.p("/a"));
        create(s.zk(), s.p("/a/b"));
        limit(s, "count=100,bytes=1000");
        usage(s, 3, 8);
    }

    @Case("create, setData and delete adjust it")
    static void adjusted(Scene s) throws Exception {
        limit(s, "count=100,bytes=1000");
        usage(s, 1, 0);
        create(s.zk(), s.p("/a"));
        usage(s, 2, 4);
        s.zk().setData(s.p("/a"), bytes("longer data"), -1);
        usage(s, 2, 11);
        s.zk().setData(s.p("/a"), null, -1);
        usage(s, 2, 0);
        s.zk().setData(s.root(), bytes("xy"), -1);
        usage(s, 2, 2);
        s.zk().delete(s.p("/a"), -1);
        usage(s, 1, 2);
    }

    @Case("ephemerals count while they live")
    static void ephemerals(Scene s) throws Exception {
        limit(s, "count=100,bytes=1000");
        var other = s.connect();
        create(other, s.p("/e"), CreateMode.EPHEMERAL);
        usage(s, 2, 4);
        other.close();
        usage(s, 1, 0);
    }

    @Case("accounting changes neither version nor mzxid of the stats znode")
    static void invisible(Scene s) throws Exception {
        limit(s, "count=100,bytes=1000");
        Stat before = stat(s.zk(), quotaPath(s) + "/zookeeper_stats");
        create(s.zk(), s.p("/a"));
        Stat after = stat(s.zk(), quotaPath(s) + "/zookeeper_stats");
        after.setDataLength(before.getDataLength());
        eq(before, after);
    }

    @Case("accounting fires no watch")
    static void silent(Scene s) throws Exception {
        limit(s, "count=100,bytes=1000");
        s.zk().getData(quotaPath(s) + "/zookeeper_stats", true, null);
        create(s.zk(), s.p("/a"));
        eq(java.util.List.of(), s.zk().seen());
    }

    @Case("limits are not enforced by default")
    static void unenforced(Scene s) throws Exception {
        limit(s, "count=1,bytes=1=;byteHardLimit=1;countHardLimit=1");
        create(s.zk(), s.p("/a"));
        create(s.zk(), s.p("/b"));
        usage(s, 3, 8);
    }

    @Case("without its limits znode a quota counts no more")
    static void removed(Scene s) throws Exception {
        limit(s, "count=100,bytes=1000");
        create(s.zk(), s.p("/a"));
        s.zk().delete(quotaPath(s) + "/zookeeper_limits", -1);
        create(s.zk(), s.p("/b"));
        usage(s, 2, 4);
    }

    @Case("the text of the stats znode")
    static void text(Scene s) throws Exception {
        limit(s, "count=100,bytes=1000");
        create(s.zk(), s.p("/a"));
        eq("count=2,bytes=4", new String(s.zk().getData(quotaPath(s) + "/zookeeper_stats", false, null)));
    }
}
