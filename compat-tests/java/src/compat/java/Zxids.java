package compat.java;

import static compat.harness.Check.code;
import static compat.harness.Check.eq;
import static compat.java.Znodes.OPEN;
import static compat.java.Znodes.create;
import static compat.java.Znodes.createOp;

import compat.harness.Alone;
import compat.harness.Case;
import compat.harness.Check;
import compat.harness.Feature;
import compat.harness.Scene;
import compat.harness.Zk;
import java.util.List;
import org.apache.zookeeper.CreateMode;
import org.apache.zookeeper.KeeperException.Code;
import org.apache.zookeeper.Op;
import org.apache.zookeeper.ZooDefs.OpCode;
import org.apache.zookeeper.proto.ExistsRequest;
import org.apache.zookeeper.proto.ExistsResponse;

/** The number of zxids that each operation takes. Source: PrepRequestProcessor.pRequestHelper. */
@Feature("zxid")
final class Zxids {
    /** Sessions and znodes of earlier cases may expire meanwhile and take a zxid, which can only increase the count. */
    private static final int TRIES = 8;

    private static long last(Zk zk) throws Exception {
        return zk.rawHeader(OpCode.exists, new ExistsRequest("/", false), new ExistsResponse()).getZxid();
    }

    private static void takes(long expected, Zk zk, Check.Action action) throws Exception {
        long taken = -1;
        for (int i = 0; i < TRIES && taken != expected; i++) {
            long before = last(zk);
            action.run();
            taken = last(zk) - before;
        }
        eq("zxids taken", expected, taken);
    }

    @Alone
    @Case("a write takes one")
    static void write(Scene s) throws Exception {
        Zk zk = s.zk();
        takes(1, zk, () -> create(zk, s.p("/n-"), CreateMode.PERSISTENT_SEQUENTIAL));
        takes(1, zk, () -> zk.setData(s.root(), null, -1));
        takes(1, zk, () -> zk.setACL(s.root(), OPEN, -1));
        takes(1, zk, () -> create(zk, s.p("/e-"), CreateMode.EPHEMERAL_SEQUENTIAL));
        takes(2, zk, () -> zk.delete(create(zk, s.p("/d")), -1));
    }

    @Alone
    @Case("a write that fails takes one, too")
    static void failedWrite(Scene s) throws Exception {
        Zk zk = s.zk();
        takes(1, zk, () -> code(Code.NODEEXISTS, () -> create(zk, s.root())));
        takes(1, zk, () -> code(Code.NONODE, () -> zk.delete(s.p("/no"), -1)));
        takes(1, zk, () -> code(Code.BADVERSION, () -> zk.setData(s.root(), null, 1_000)));
        takes(1, zk, () -> code(Code.BADARGUMENTS, () -> zk.delete("/zookeeper", -1)));
    }

    @Alone
    @Case("a multi takes one, whole or failed")
    static void multi(Scene s) throws Exception {
        Zk zk = s.zk();
        takes(1, zk, () -> zk.multi(List.of(Op.setData(s.root(), null, -1), Op.setData(s.root(), null, -1), Op.check(s.root(), -1))));
        takes(1, zk, () -> code(Code.NODEEXISTS, () -> zk.multi(List.of(createOp(s.p("/m")), createOp(s.root())))));
    }

    @Alone
    @Case("reads, sync and watches take none")
    static void read(Scene s) throws Exception {
        Zk zk = s.zk();
        takes(0, zk, () -> {
            zk.getData(s.root(), true, null);
            zk.getChildren(s.root(), true);
            zk.sync("/");
            zk.getACL(s.root(), null);
            zk.getAllChildrenNumber(s.root());
            zk.getEphemerals();
            zk.multi(List.of(Op.getData(s.root())));
            code(Code.NONODE, () -> zk.getData(s.p("/no"), false, null));
        });
    }

    @Alone
    @Case("opening a session takes one, closing it one, with all its ephemerals")
    static void session(Scene s) throws Exception {
        Zk zk = s.zk();
        takes(2, zk, () -> s.connect().close());
        takes(5, zk, () -> {
            Zk other = s.connect();
            for (int i = 0; i < 3; i++) {
                create(other, s.p("/e-"), CreateMode.EPHEMERAL_SEQUENTIAL);
            }
            other.close();
        });
    }

    @Alone
    @Case("resuming a session takes none")
    static void resume(Scene s) throws Exception {
        Zk zk = s.zk();
        takes(0, zk, () -> {
            zk.cutConnection();
            zk.awaitConnected();
        });
    }

    @Alone
    @Case("czxid is the zxid of the reply")
    static void replyZxid(Scene s) throws Exception {
        Zk zk = s.zk();
        Check.eventually(10_000, "czxid to be the last zxid", () -> {
            String path = create(zk, s.p("/n-"), CreateMode.PERSISTENT_SEQUENTIAL);
            return zk.exists(path, false).getCzxid() == last(zk);
        });
    }
}
