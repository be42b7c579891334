package compat.java;

import static compat.harness.Check.eq;
import static compat.java.Acls.acl;
import static compat.java.Acls.acls;
import static compat.java.Znodes.bytes;
import static compat.java.Znodes.codes;
import static compat.java.Znodes.create;
import static compat.java.Znodes.createOp;
import static compat.java.Znodes.stat;

import compat.harness.Case;
import compat.harness.Check;
import compat.harness.Feature;
import compat.harness.Scene;
import java.util.List;
import java.util.Set;
import org.apache.zookeeper.CreateMode;
import org.apache.zookeeper.KeeperException.Code;
import org.apache.zookeeper.Op;
import org.apache.zookeeper.OpResult;
import org.apache.zookeeper.ZooDefs.Perms;

/** multi with getData and getChildren. Source: FinalRequestProcessor (case multiRead). */
@Feature("multi read")
final class MultiReads {
    @Case("data, Stat and children")
    static void reads(Scene s) throws Exception {
        create(s.zk(), s.p("/a"));
        create(s.zk(), s.p("/b"));
        List<OpResult> results = s.zk().multi(List.of(Op.getData(s.p("/a")), Op.getChildren(s.root())));
        OpResult.GetDataResult data = (OpResult.GetDataResult) results.get(0);
        eq(bytes("data"), data.getData());
        eq(stat(s.zk(), s.p("/a")), data.getStat());
        eq(Set.of("a", "b"), Set.copyOf(((OpResult.GetChildrenResult) results.get(1)).getChildren()));
    }

    @Case("each operation fails by itself")
    static void independent(Scene s) throws Exception {
        create(s.zk(), s.p("/a"));
        s.zk().create(s.p("/secret"), null, acls(acl(Perms.WRITE, "world", "anyone")), CreateMode.PERSISTENT);
        List<OpResult> results = s.zk().multi(List.of(Op.getData(s.p("/no")), Op.getData(s.p("/a")), Op.getChildren(s.p("/secret")), Op.getChildren(s.p("/no"))));
        eq(List.of(Code.NONODE, Code.OK, Code.NOAUTH, Code.NONODE), codes(results));
    }

    @Case("the client refuses to mix reads and writes")
    static void mixed(Scene s) throws Exception {
        s.zk();
        Check.fails(IllegalArgumentException.class, () -> s.zk().multi(List.of(createOp(s.p("/a")), Op.getData(s.root()))));
        eq(List.of(), s.zk().getChildren(s.root(), false));
    }
}
