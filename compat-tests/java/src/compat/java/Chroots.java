package compat.java;

import static compat.harness.Check.code;
import static compat.harness.Check.eq;
import static compat.java.Znodes.bytes;
import static compat.java.Znodes.create;
import static compat.java.Znodes.createOp;
import static compat.java.Znodes.stat;

import compat.harness.Case;
import compat.harness.Feature;
import compat.harness.Scene;
import compat.harness.Zk;
import java.util.List;
import org.apache.zookeeper.AddWatchMode;
import org.apache.zookeeper.CreateMode;
import org.apache.zookeeper.KeeperException.Code;
import org.apache.zookeeper.OpResult;

/** A connection string with a path. The server sees only full paths; the client strips the prefix. Source: ClientCnxn, ZooKeeper. */
@Feature("chroot")
final class Chroots {
    private static Zk inside(Scene s) throws Exception {
        s.zk();
        return s.connectChroot(s.root());
    }

    @Case("paths are relative to it")
    static void paths(Scene s) throws Exception {
        Zk zk = inside(s);
        eq("/a", create(zk, "/a"));
        eq("/s0000000001", create(zk, "/s", CreateMode.PERSISTENT_SEQUENTIAL));
        eq(bytes("data"), s.zk().getData(s.p("/a"), false, null));
        eq(2, zk.getChildren("/", false).size());
        eq(stat(s.zk(), s.root()), stat(zk, "/"));
    }

    @Case("events are relative to it")
    static void events(Scene s) throws Exception {
        Zk zk = inside(s);
        zk.exists("/a", true);
        zk.getChildren("/", true);
        create(s.zk(), s.p("/a"));
        eq(List.of("NodeCreated /a", "NodeChildrenChanged /"), zk.seen());
    }

    @Case("recursive watches see its subtree")
    static void recursive(Scene s) throws Exception {
        Zk zk = inside(s);
        zk.addWatch("/", AddWatchMode.PERSISTENT_RECURSIVE);
        create(s.zk(), s.p("/a"));
        create(zk, "/a/b");
        eq(List.of("NodeCreated /a", "NodeCreated /a/b"), zk.seen());
    }

    @Case("multi results carry the server's path")
    static void multi(Scene s) throws Exception {
        Zk zk = inside(s);
        eq(s.p("/a"), ((OpResult.CreateResult) zk.multi(List.of(createOp("/a"))).get(0)).getPath());
        eq(List.of("a"), s.zk().getChildren(s.root(), false));
    }

    @Case("a chroot that does not exist: NoNode")
    static void missing(Scene s) throws Exception {
        s.zk();
        Zk zk = s.connectChroot(s.p("/no"));
        code(Code.NONODE, () -> create(zk, "/a"));
        code(Code.NONODE, () -> zk.getChildren("/", false));
        create(s.zk(), s.p("/no"));
        create(zk, "/a");
    }

    @Case("deleting it through itself is refused: the client asks for the root")
    static void deleted(Scene s) throws Exception {
        Zk zk = inside(s);
        code(Code.BADARGUMENTS, () -> zk.delete("/", -1));
    }
}
