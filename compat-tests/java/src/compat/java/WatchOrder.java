package compat.java;

import static compat.harness.Check.eq;
import static compat.java.Znodes.OPEN;
import static compat.java.Znodes.bytes;
import static compat.java.Znodes.create;
import static compat.java.Znodes.createOp;

import compat.harness.Case;
import compat.harness.Feature;
import compat.harness.Scene;
import compat.harness.Zk;
import java.util.ArrayList;
import java.util.List;
import org.apache.zookeeper.AddWatchMode;
import org.apache.zookeeper.CreateMode;
import org.apache.zookeeper.Op;
import org.apache.zookeeper.data.Stat;

/** The order of events among themselves and relative to replies: the application gets both from one queue. */
@Feature("watch order")
final class WatchOrder {
    @Case("an event comes before the reply of the write that caused it")
    static void beforeReply(Scene s) throws Exception {
        List<String> order = new ArrayList<>();
        create(s.zk(), s.p("/a"));
        for (int i = 0; i < 20; i++) {
            s.zk().getData(s.p("/a"), event -> order.add("event"), (int rc, String p, Object c, byte[] d, Stat st) -> order.add("read"), null);
            s.zk().setData(s.p("/a"), null, -1, (rc, path, ctx, stat) -> order.add("written"), null);
        }
        s.zk().fence();
        List<String> expected = new ArrayList<>();
        for (int i = 0; i < 20; i++) {
            expected.addAll(List.of("read", "event", "written"));
        }
        eq(expected, order);
    }

    @Case("the event comes before any read of the new state")
    static void beforeNewState(Scene s) throws Exception {
        create(s.zk(), s.p("/a"));
        Zk writer = s.connect();
        for (int round = 0; round < 30; round++) {
            List<String> order = new ArrayList<>();
            String fresh = "" + round;
            s.zk().getData(s.p("/a"), event -> order.add("event"), null);
            writer.setData(s.p("/a"), bytes(fresh), -1, (rc, path, ctx, stat) -> { }, null);
            for (int i = 0; i < 20; i++) {
                s.zk().getData(s.p("/a"), false, (int rc, String p, Object c, byte[] data, Stat st) -> order.add(new String(data)), null);
            }
            writer.fence();
            s.zk().fence();
            int event = order.indexOf("event");
            int news = order.indexOf(fresh);
            eq("event seen in " + order, true, event >= 0);
            eq("event first in " + order, true, news < 0 || event < news);
        }
    }

    @Case("create: NodeCreated before the parent's NodeChildrenChanged")
    static void create2(Scene s) throws Exception {
        s.zk().getChildren(s.root(), true);
        s.zk().exists(s.p("/a"), true);
        create(s.zk(), s.p("/a"));
        eq(List.of("NodeCreated /a", "NodeChildrenChanged "), s.zk().seen());
    }

    @Case("delete: NodeDeleted before the parent's NodeChildrenChanged")
    static void delete(Scene s) throws Exception {
        create(s.zk(), s.p("/a"));
        s.zk().getChildren(s.root(), true);
        s.zk().getData(s.p("/a"), true, null);
        s.zk().delete(s.p("/a"), -1);
        eq(List.of("NodeDeleted /a", "NodeChildrenChanged "), s.zk().seen());
    }

    @Case("multi: in the order of its operations")
    static void multi(Scene s) throws Exception {
        create(s.zk(), s.p("/x"));
        s.zk().exists(s.p("/a"), true);
        s.zk().exists(s.p("/b"), true);
        s.zk().getData(s.p("/x"), true, null);
        s.zk().getChildren(s.p("/x"), true);
        s.zk().multi(List.of(createOp(s.p("/b")), createOp(s.p("/x/c")), Op.setData(s.p("/x"), null, -1), createOp(s.p("/a")), Op.delete(s.p("/x/c"), -1)));
        eq(List.of("NodeCreated /b", "NodeChildrenChanged /x", "NodeDataChanged /x", "NodeCreated /a"), s.zk().seen());
    }

    @Case("multi: a znode created and deleted inside fires both")
    static void createDelete(Scene s) throws Exception {
        s.zk().addWatch(s.root(), AddWatchMode.PERSISTENT_RECURSIVE);
        s.zk().multi(List.of(createOp(s.p("/a")), Op.delete(s.p("/a"), -1)));
        eq(List.of("NodeCreated /a", "NodeDeleted /a"), s.zk().seen());
    }

    @Case("multi: all its events carry its zxid")
    static void multiZxid(Scene s) throws Exception {
        s.zk().addWatch(s.root(), AddWatchMode.PERSISTENT_RECURSIVE);
        s.zk().multi(List.of(createOp(s.p("/a")), createOp(s.p("/b"))));
        long zxid = s.zk().exists(s.p("/a"), false).getCzxid();
        s.zk().fence();
        eq(List.of(zxid, zxid), s.zk().events().takeEvents().stream().map(e -> e.getZxid()).toList());
    }

    @Case("a burst of changes arrives completely and in order")
    static void burst(Scene s) throws Exception {
        List<String> expected = new ArrayList<>();
        s.zk().addWatch(s.root(), AddWatchMode.PERSISTENT_RECURSIVE);
        Zk writer = s.connect();
        for (int i = 0; i < 200; i++) {
            writer.create(s.p("/" + i), null, OPEN, CreateMode.PERSISTENT, (int rc, String path, Object ctx, String name) -> { }, null);
            writer.setData(s.p("/" + i), null, -1, (rc, path, ctx, stat) -> { }, null);
            expected.addAll(List.of("NodeCreated /" + i, "NodeDataChanged /" + i));
        }
        writer.fence();
        eq(expected, s.zk().seen());
    }

    @Case("a closing session hears of its own ephemerals before it ends")
    static void ownClose(Scene s) throws Exception {
        s.zk();
        Zk zk = s.connect();
        create(zk, s.p("/e"), CreateMode.EPHEMERAL);
        zk.exists(s.p("/e"), true);
        zk.close(15_000);
        eq(List.of("NodeDeleted /e"), zk.events().take());
    }
}
