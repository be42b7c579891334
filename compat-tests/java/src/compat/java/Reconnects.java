package compat.java;

import static compat.harness.Check.code;
import static compat.harness.Check.eq;
import static compat.java.Znodes.bytes;
import static compat.java.Znodes.create;

import compat.harness.Case;
import compat.harness.Feature;
import compat.harness.Proxy;
import compat.harness.Scene;
import compat.harness.Zk;
import java.util.List;
import java.util.Set;
import org.apache.zookeeper.AddWatchMode;
import org.apache.zookeeper.KeeperException.Code;
import org.apache.zookeeper.Watcher.Event.KeeperState;
import org.apache.zookeeper.Watcher.WatcherType;

/** Watches and requests across a lost connection. Source: DataTree.setWatches, ClientCnxn.primeConnection. */
@Feature("reconnect")
final class Reconnects {
    /** A client that connects through a relay, which the case cuts and restores. */
    private record Away(Proxy proxy, Zk zk) {
        static Away connect(Scene s) throws Exception {
            s.zk();
            Proxy proxy = s.proxy();
            return new Away(proxy, s.connectThrough(proxy, Scene.SESSION_MS));
        }

        void cut() throws Exception {
            zk.fence();
            zk.events().forgetStates();
            proxy.cut();
            zk.events().awaitState(KeeperState.Disconnected, Zk.CONNECT_LIMIT_MS);
        }

        Zk back() throws Exception {
            proxy.restore();
            return zk.awaitConnected();
        }
    }

    @Case("Disconnected, then SyncConnected, with the same session")
    static void states(Scene s) throws Exception {
        Away away = Away.connect(s);
        long id = away.zk.getSessionId();
        away.cut();
        away.back();
        eq(List.of(KeeperState.Disconnected, KeeperState.SyncConnected), away.zk.events().states());
        eq(id, away.zk.getSessionId());
    }

    @Case("requests while away fail with ConnectionLoss")
    static void connectionLoss(Scene s) throws Exception {
        Away away = Away.connect(s);
        away.cut();
        code(Code.CONNECTIONLOSS, () -> away.zk.exists("/", false));
        away.back().exists("/", false);
    }

    @Case("missed changes are told on return: changed, deleted, created, children")
    static void missed(Scene s) throws Exception {
        Away away = Away.connect(s);
        for (String name : List.of("/changed", "/deleted", "/parent", "/parent2")) {
            create(s.zk(), s.p(name));
        }
        create(s.zk(), s.p("/parent2/x"));
        away.zk.sync("/");
        away.zk.getData(s.p("/changed"), true, null);
        away.zk.exists(s.p("/deleted"), true);
        away.zk.exists(s.p("/created"), true);
        away.zk.getChildren(s.p("/parent"), true);
        away.zk.getChildren(s.p("/parent2"), true);
        away.cut();
        s.zk().setData(s.p("/changed"), bytes("x"), -1);
        s.zk().delete(s.p("/deleted"), -1);
        create(s.zk(), s.p("/created"));
        create(s.zk(), s.p("/parent/a"));
        s.zk().delete(s.p("/parent2/x"), -1);
        eq(Set.of("NodeDataChanged /changed", "NodeDeleted /deleted", "NodeCreated /created", "NodeChildrenChanged /parent",
                "NodeChildrenChanged /parent2"), Set.copyOf(away.back().seen()));
    }

    @Case("a missed deletion is told to data and child watchers")
    static void missedDeletion(Scene s) throws Exception {
        Away away = Away.connect(s);
        create(s.zk(), s.p("/a"));
        create(s.zk(), s.p("/b"));
        away.zk.sync("/");
        away.zk.getData(s.p("/a"), true, null);
        away.zk.getChildren(s.p("/b"), true);
        away.cut();
        s.zk().delete(s.p("/a"), -1);
        s.zk().delete(s.p("/b"), -1);
        eq(Set.of("NodeDeleted /a", "NodeDeleted /b"), Set.copyOf(away.back().seen()));
    }

    @Case("deleted and made again reads as NodeDataChanged")
    static void recreated(Scene s) throws Exception {
        Away away = Away.connect(s);
        create(s.zk(), s.p("/a"));
        away.zk.sync("/");
        away.zk.getData(s.p("/a"), true, null);
        away.cut();
        s.zk().delete(s.p("/a"), -1);
        create(s.zk(), s.p("/a"));
        eq(List.of("NodeDataChanged /a"), away.back().seen());
    }

    @Case("catch-up events have no zxid")
    static void catchUpZxid(Scene s) throws Exception {
        Away away = Away.connect(s);
        create(s.zk(), s.p("/a"));
        away.zk.sync("/");
        away.zk.getData(s.p("/a"), true, null);
        away.cut();
        s.zk().setData(s.p("/a"), null, -1);
        away.back().fence();
        eq(List.of(-1L), away.zk.events().takeEvents().stream().map(e -> e.getZxid()).toList());
    }

    @Case("watches that nothing happened to are kept, and fire once")
    static void kept(Scene s) throws Exception {
        Away away = Away.connect(s);
        create(s.zk(), s.p("/a"));
        away.zk.sync("/");
        away.zk.getData(s.p("/a"), true, null);
        away.zk.exists(s.p("/b"), true);
        away.zk.getChildren(s.p("/a"), true);
        away.cut();
        create(s.zk(), s.p("/unrelated"));
        away.back();
        eq(List.of(), away.zk.seen());
        s.zk().setData(s.p("/a"), null, -1);
        create(s.zk(), s.p("/b"));
        create(s.zk(), s.p("/a/c"));
        s.zk().setData(s.p("/a"), null, -1);
        eq(List.of("NodeDataChanged /a", "NodeCreated /b", "NodeChildrenChanged /a"), away.zk.seen());
    }

    @Case("persistent watches come back without catch-up")
    static void persistent(Scene s) throws Exception {
        Away away = Away.connect(s);
        create(s.zk(), s.p("/a"));
        away.zk.addWatch(s.p("/a"), AddWatchMode.PERSISTENT_RECURSIVE);
        away.zk.addWatch(s.p("/b"), AddWatchMode.PERSISTENT);
        away.cut();
        s.zk().setData(s.p("/a"), null, -1);
        create(s.zk(), s.p("/b"));
        eq(List.of(), away.back().seen());
        create(s.zk(), s.p("/a/x"));
        create(s.zk(), s.p("/b/x"));
        eq(List.of("NodeCreated /a/x", "NodeChildrenChanged /b"), away.zk.seen());
    }

    @Case("removing watches while away works locally only")
    static void removeWhileAway(Scene s) throws Exception {
        Away away = Away.connect(s);
        away.zk.exists(s.p("/a"), true);
        away.zk.exists(s.p("/b"), true);
        away.cut();
        code(Code.CONNECTIONLOSS, () -> away.zk.removeAllWatches(s.p("/a"), WatcherType.Data, false));
        away.zk.removeAllWatches(s.p("/b"), WatcherType.Data, true);
        eq("DataWatchRemoved /b", away.zk.events().nextText(Zk.CONNECT_LIMIT_MS));
        away.back();
        create(s.zk(), s.p("/a"));
        create(s.zk(), s.p("/b"));
        eq(List.of("NodeCreated /a"), away.zk.seen());
    }

    @Case("thousands of watches are restored")
    static void many(Scene s) throws Exception {
        Away away = Away.connect(s);
        int watches = 3000;
        String padding = "x".repeat(60);
        for (int i = 0; i < watches; i++) {
            away.zk.exists(s.p("/" + padding + i), true, (rc, path, ctx, stat) -> { }, null);
        }
        away.cut();
        away.back();
        for (int i = 0; i < watches; i += 500) {
            create(s.zk(), s.p("/" + padding + i));
        }
        eq(watches / 500, away.zk.seen().size());
    }
}
