package compat.java;

import static compat.harness.Check.code;
import static compat.harness.Check.eq;
import static compat.java.Acls.acl;
import static compat.java.Acls.acls;
import static compat.java.Acls.digest;
import static compat.java.Znodes.bytes;
import static compat.java.Znodes.create;

import compat.harness.Case;
import compat.harness.Feature;
import compat.harness.Scene;
import compat.harness.Zk;
import java.util.List;
import org.apache.zookeeper.AddWatchMode;
import org.apache.zookeeper.CreateMode;
import org.apache.zookeeper.KeeperException.Code;
import org.apache.zookeeper.ZooDefs.Perms;
import org.apache.zookeeper.data.ACL;

/** Events are delivered only to clients with read permission. Source: NIOServerCnxn.process, ServerWatcher. */
@Feature("watch acl")
final class WatchAcls {
    private static List<ACL> secret() throws Exception {
        return acls(digest(Perms.ALL, "ann:pw"), acl(Perms.ALL & ~Perms.READ, "world", "anyone"));
    }

    @Case("a recursive watcher hears nothing of znodes it cannot read")
    static void recursive(Scene s) throws Exception {
        s.zk().addWatch(s.root(), AddWatchMode.PERSISTENT_RECURSIVE);
        Zk ann = Acls.authenticated(s, "ann:pw");
        ann.addWatch(s.root(), AddWatchMode.PERSISTENT_RECURSIVE);
        ann.create(s.p("/secret"), null, secret(), CreateMode.PERSISTENT);
        ann.setData(s.p("/secret"), null, -1);
        ann.delete(s.p("/secret"), -1);
        create(ann, s.p("/open"));
        eq(List.of("NodeCreated /open"), s.zk().seen());
        eq(List.of("NodeCreated /secret", "NodeDataChanged /secret", "NodeDeleted /secret", "NodeCreated /open"), ann.seen());
    }

    @Case("an exists watch is used up by the creation of an unreadable znode")
    static void existsConsumed(Scene s) throws Exception {
        s.zk().exists(s.p("/a"), true);
        s.zk().create(s.p("/a"), null, secret(), CreateMode.PERSISTENT);
        s.zk().delete(s.p("/a"), -1);
        create(s.zk(), s.p("/a"));
        eq(List.of(), s.zk().seen());
    }

    @Case("a child watch looks at the parent's ACL")
    static void parent(Scene s) throws Exception {
        s.zk().getChildren(s.root(), true);
        s.zk().create(s.p("/a"), null, secret(), CreateMode.PERSISTENT);
        eq(List.of("NodeChildrenChanged "), s.zk().seen());
    }

    @Case("the ACL at the time of the change decides")
    static void current(Scene s) throws Exception {
        create(s.zk(), s.p("/a"));
        s.zk().getData(s.p("/a"), true, null);
        s.zk().setACL(s.p("/a"), secret(), -1);
        s.zk().setData(s.p("/a"), bytes("x"), -1);
        eq(List.of(), s.zk().seen());
    }

    @Case("no watch is left where reading was refused")
    static void refused(Scene s) throws Exception {
        s.zk().create(s.p("/a"), null, secret(), CreateMode.PERSISTENT);
        code(Code.NOAUTH, () -> s.zk().exists(s.p("/a"), true));
        code(Code.NOAUTH, () -> s.zk().getData(s.p("/a"), true, null));
        s.zk().setACL(s.p("/a"), Znodes.OPEN, -1);
        s.zk().setData(s.p("/a"), null, -1);
        eq(List.of(), s.zk().seen());
    }

    @Case("super hears everything")
    static void superUser(Scene s) throws Exception {
        Zk root = Acls.authenticated(s, "super:admin");
        s.zk();
        root.addWatch(s.root(), AddWatchMode.PERSISTENT_RECURSIVE);
        s.zk().create(s.p("/a"), null, secret(), CreateMode.PERSISTENT);
        eq(List.of("NodeCreated /a"), root.seen());
    }
}
