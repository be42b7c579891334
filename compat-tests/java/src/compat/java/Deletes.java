package compat.java;

import static compat.harness.Check.code;
import static compat.harness.Check.eq;
import static compat.java.Znodes.bytes;
import static compat.java.Znodes.create;
import static compat.java.Znodes.stat;

import compat.harness.Case;
import compat.harness.Check;
import compat.harness.Feature;
import compat.harness.Scene;
import org.apache.zookeeper.CreateMode;
import org.apache.zookeeper.KeeperException.Code;
import org.apache.zookeeper.data.Stat;

/** delete. Source: PrepRequestProcessor (case delete), DataTree.isSpecialPath. */
@Feature("delete")
final class Deletes {
    @Case("any version")
    static void anyVersion(Scene s) throws Exception {
        create(s.zk(), s.p("/a"));
        s.zk().setData(s.p("/a"), bytes("b"), -1);
        s.zk().delete(s.p("/a"), -1);
        eq(null, stat(s.zk(), s.p("/a")));
    }

    @Case("the right version")
    static void rightVersion(Scene s) throws Exception {
        create(s.zk(), s.p("/a"));
        s.zk().setData(s.p("/a"), bytes("b"), 0);
        s.zk().delete(s.p("/a"), 1);
        eq(null, stat(s.zk(), s.p("/a")));
    }

    @Case("BadVersion keeps the znode")
    static void badVersion(Scene s) throws Exception {
        create(s.zk(), s.p("/a"));
        eq(s.p("/a"), code(Code.BADVERSION, () -> s.zk().delete(s.p("/a"), 3)).getPath());
        eq(0, stat(s.zk(), s.p("/a")).getVersion());
    }

    @Case("NoNode, also without a parent")
    static void noNode(Scene s) throws Exception {
        create(s.zk(), s.root() + "/x");
        code(Code.NONODE, () -> s.zk().delete(s.p("/no"), -1));
        code(Code.NONODE, () -> s.zk().delete(s.p("/no/a"), -1));
    }

    @Case("NotEmpty")
    static void notEmpty(Scene s) throws Exception {
        create(s.zk(), s.p("/a"));
        create(s.zk(), s.p("/a/b"));
        code(Code.NOTEMPTY, () -> s.zk().delete(s.p("/a"), -1));
    }

    @Case("BadVersion comes before NotEmpty")
    static void precedence(Scene s) throws Exception {
        create(s.zk(), s.p("/a"));
        create(s.zk(), s.p("/a/b"));
        code(Code.BADVERSION, () -> s.zk().delete(s.p("/a"), 1));
    }

    @Case("the system znodes cannot be deleted")
    static void special(Scene s) throws Exception {
        for (String path : new String[] {"/", "/zookeeper", "/zookeeper/quota", "/zookeeper/config"}) {
            code(Code.BADARGUMENTS, () -> s.zk().delete(path, -1));
        }
    }

    @Case("the parent's cversion and pzxid move on")
    static void parentStat(Scene s) throws Exception {
        create(s.zk(), s.p("/a"));
        Stat before = stat(s.zk(), s.root());
        s.zk().delete(s.p("/a"), -1);
        Stat after = stat(s.zk(), s.root());
        eq("cversion", before.getCversion() + 1, after.getCversion());
        eq("numChildren", 0, after.getNumChildren());
        eq("mzxid", before.getMzxid(), after.getMzxid());
        Check.that(after.getPzxid() > before.getPzxid(), "pzxid to move on");
    }

    @Case("a re-created znode starts anew")
    static void recreate(Scene s) throws Exception {
        create(s.zk(), s.p("/a"));
        Stat first = s.zk().setData(s.p("/a"), bytes("b"), -1);
        s.zk().delete(s.p("/a"), -1);
        create(s.zk(), s.p("/a"));
        Stat second = stat(s.zk(), s.p("/a"));
        Check.that(second.getCzxid() > first.getMzxid(), "a later czxid");
        eq(0, second.getVersion());
    }

    @Case("another session may delete an ephemeral znode")
    static void foreignEphemeral(Scene s) throws Exception {
        create(s.zk(), s.p("/e"), CreateMode.EPHEMERAL);
        s.connect().delete(s.p("/e"), 0);
        eq(null, s.zk().exists(s.p("/e"), false));
        create(s.zk(), s.p("/e"), CreateMode.EPHEMERAL);
    }
}
