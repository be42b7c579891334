package compat.java;

import static compat.harness.Check.code;
import static compat.harness.Check.eq;
import static compat.java.Znodes.bytes;
import static compat.java.Znodes.create;
import static compat.java.Znodes.createOp;

import compat.harness.Case;
import compat.harness.Events;
import compat.harness.Feature;
import compat.harness.Scene;
import compat.harness.Zk;
import java.util.List;
import org.apache.zookeeper.CreateMode;
import org.apache.zookeeper.KeeperException.Code;
import org.apache.zookeeper.Op;

/** One-shot watches. Source: DataTree (createNode, deleteNode, setData), WatchManager.triggerWatch. */
@Feature("watch")
final class Watches {
    @Case("getData: NodeDataChanged, once")
    static void dataChanged(Scene s) throws Exception {
        create(s.zk(), s.p("/a"));
        s.zk().getData(s.p("/a"), true, null);
        s.zk().setData(s.p("/a"), bytes("1"), -1);
        s.zk().setData(s.p("/a"), bytes("2"), -1);
        eq(List.of("NodeDataChanged /a"), s.zk().seen());
    }

    @Case("getData: NodeDeleted, once")
    static void dataDeleted(Scene s) throws Exception {
        create(s.zk(), s.p("/a"));
        s.zk().getData(s.p("/a"), true, null);
        s.zk().delete(s.p("/a"), -1);
        create(s.zk(), s.p("/a"));
        s.zk().delete(s.p("/a"), -1);
        eq(List.of("NodeDeleted /a"), s.zk().seen());
    }

    @Case("getData on a missing znode leaves no watch")
    static void dataMissing(Scene s) throws Exception {
        code(Code.NONODE, () -> s.zk().getData(s.p("/a"), true, null));
        code(Code.NONODE, () -> s.zk().getChildren(s.p("/a"), true));
        create(s.zk(), s.p("/a"));
        s.zk().delete(s.p("/a"), -1);
        eq(List.of(), s.zk().seen());
    }

    @Case("exists on a missing znode: NodeCreated, once")
    static void created(Scene s) throws Exception {
        s.zk().exists(s.p("/a"), true);
        create(s.zk(), s.p("/a"));
        s.zk().setData(s.p("/a"), null, -1);
        eq(List.of("NodeCreated /a"), s.zk().seen());
    }

    @Case("exists on a znode: NodeDataChanged or NodeDeleted")
    static void existing(Scene s) throws Exception {
        create(s.zk(), s.p("/a"));
        s.zk().exists(s.p("/a"), true);
        s.zk().setData(s.p("/a"), null, -1);
        s.zk().exists(s.p("/a"), true);
        s.zk().delete(s.p("/a"), -1);
        eq(List.of("NodeDataChanged /a", "NodeDeleted /a"), s.zk().seen());
    }

    @Case("exists where the parent is missing, too")
    static void deepMissing(Scene s) throws Exception {
        s.zk().exists(s.p("/a/b"), true);
        create(s.zk(), s.p("/a"));
        eq(List.of(), s.zk().seen());
        create(s.zk(), s.p("/a/b"));
        eq(List.of("NodeCreated /a/b"), s.zk().seen());
    }

    @Case("getChildren: NodeChildrenChanged for a create and for a delete, once each")
    static void children(Scene s) throws Exception {
        create(s.zk(), s.p("/p"));
        s.zk().getChildren(s.p("/p"), true);
        create(s.zk(), s.p("/p/a"));
        create(s.zk(), s.p("/p/b"));
        eq(List.of("NodeChildrenChanged /p"), s.zk().seen());
        s.zk().getChildren(s.p("/p"), true, null);
        s.zk().delete(s.p("/p/a"), -1);
        s.zk().delete(s.p("/p/b"), -1);
        eq(List.of("NodeChildrenChanged /p"), s.zk().seen());
    }

    @Case("getChildren: data, ACL and grandchildren are not children")
    static void notChildren(Scene s) throws Exception {
        create(s.zk(), s.p("/p"));
        create(s.zk(), s.p("/p/a"));
        s.zk().getChildren(s.p("/p"), true);
        s.zk().setData(s.p("/p"), null, -1);
        s.zk().setData(s.p("/p/a"), null, -1);
        s.zk().setACL(s.p("/p"), Znodes.OPEN, -1);
        create(s.zk(), s.p("/p/a/b"));
        eq(List.of(), s.zk().seen());
        create(s.zk(), s.p("/p/c"));
        eq(List.of("NodeChildrenChanged /p"), s.zk().seen());
    }

    @Case("getChildren: NodeDeleted of the znode itself")
    static void childrenDeleted(Scene s) throws Exception {
        create(s.zk(), s.p("/p"));
        s.zk().getChildren(s.p("/p"), true);
        s.zk().delete(s.p("/p"), -1);
        eq(List.of("NodeDeleted /p"), s.zk().seen());
    }

    @Case("data and child watch on one znode: one NodeDeleted for each watcher")
    static void bothDeleted(Scene s) throws Exception {
        create(s.zk(), s.p("/p"));
        Events data = s.events();
        Events children = s.events();
        s.zk().getData(s.p("/p"), data, null);
        s.zk().getChildren(s.p("/p"), children);
        s.zk().exists(s.p("/p"), true);
        s.zk().getChildren(s.p("/p"), true);
        s.zk().delete(s.p("/p"), -1);
        eq(List.of("NodeDeleted /p"), s.zk().seen());
        eq(List.of("NodeDeleted /p"), data.take());
        eq(List.of("NodeDeleted /p"), children.take());
    }

    @Case("the same watcher twice hears once; two watchers hear both")
    static void registeredTwice(Scene s) throws Exception {
        create(s.zk(), s.p("/a"));
        Events one = s.events();
        Events two = s.events();
        s.zk().getData(s.p("/a"), one, null);
        s.zk().exists(s.p("/a"), one);
        s.zk().getData(s.p("/a"), two, null);
        s.zk().setData(s.p("/a"), null, -1);
        s.zk().fence();
        eq(List.of("NodeDataChanged /a"), one.take());
        eq(List.of("NodeDataChanged /a"), two.take());
    }

    @Case("setACL and failed writes fire nothing")
    static void nothing(Scene s) throws Exception {
        create(s.zk(), s.p("/a"));
        s.zk().getData(s.p("/a"), true, null);
        s.zk().getChildren(s.root(), true);
        s.zk().setACL(s.p("/a"), Znodes.OPEN, -1);
        code(Code.BADVERSION, () -> s.zk().setData(s.p("/a"), null, 9));
        code(Code.NODEEXISTS, () -> create(s.zk(), s.p("/a")));
        code(Code.BADVERSION, () -> s.zk().multi(List.of(createOp(s.p("/b")), Op.setData(s.p("/a"), null, 9))));
        eq(List.of(), s.zk().seen());
    }

    @Case("writing the same data fires as well")
    static void sameData(Scene s) throws Exception {
        create(s.zk(), s.p("/a"));
        s.zk().getData(s.p("/a"), true, null);
        s.zk().setData(s.p("/a"), bytes("data"), -1);
        eq(List.of("NodeDataChanged /a"), s.zk().seen());
    }

    @Case("other sessions' changes are seen, in order")
    static void otherSession(Scene s) throws Exception {
        create(s.zk(), s.p("/a"));
        Zk other = s.connect();
        s.zk().getData(s.p("/a"), true, null);
        s.zk().exists(s.p("/b"), true);
        s.zk().getChildren(s.root(), true);
        create(other, s.p("/b"));
        other.setData(s.p("/a"), null, -1);
        eq(List.of("NodeCreated /b", "NodeChildrenChanged ", "NodeDataChanged /a"), s.zk().seen());
        eq(List.of(), other.seen());
    }

    @Case("every watching session is told")
    static void manySessions(Scene s) throws Exception {
        create(s.zk(), s.p("/a"));
        List<Zk> watchers = new java.util.ArrayList<>();
        for (int i = 0; i < 10; i++) {
            Zk zk = s.connect();
            zk.getData(s.p("/a"), true, null);
            watchers.add(zk);
        }
        s.zk().setData(s.p("/a"), null, -1);
        for (Zk zk : watchers) {
            eq(List.of("NodeDataChanged /a"), zk.seen());
        }
    }

    @Case("closing a session deletes its ephemerals: NodeDeleted and NodeChildrenChanged")
    static void ephemeralClosed(Scene s) throws Exception {
        s.zk();
        Zk other = s.connect();
        create(other, s.p("/e"), CreateMode.EPHEMERAL);
        s.zk().exists(s.p("/e"), true);
        s.zk().getChildren(s.root(), true);
        other.close();
        eq(List.of("NodeDeleted /e", "NodeChildrenChanged "), s.zk().seen());
    }

    @Case("a sequential create fires for its final name")
    static void sequential(Scene s) throws Exception {
        s.zk().exists(s.p("/a-0000000000"), true);
        s.zk().exists(s.p("/a-"), true);
        create(s.zk(), s.p("/a-"), CreateMode.PERSISTENT_SEQUENTIAL);
        eq(List.of("NodeCreated /a-0000000000"), s.zk().seen());
    }

    @Case("the event carries the zxid of its transaction")
    static void zxid(Scene s) throws Exception {
        create(s.zk(), s.p("/a"));
        s.zk().getData(s.p("/a"), true, null);
        long mzxid = s.zk().setData(s.p("/a"), null, -1).getMzxid();
        s.zk().exists(s.p("/b"), true);
        create(s.zk(), s.p("/b"));
        long czxid = s.zk().exists(s.p("/b"), true).getCzxid();
        s.zk().delete(s.p("/b"), -1);
        long pzxid = s.zk().exists(s.root(), false).getPzxid();
        s.zk().fence();
        eq(List.of(mzxid, czxid, pzxid), s.zk().events().takeEvents().stream().map(e -> e.getZxid()).toList());
    }
}
