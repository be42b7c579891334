package compat.java;

import static compat.harness.Check.code;
import static compat.harness.Check.eq;
import static compat.java.Znodes.create;
import static compat.java.Znodes.stat;

import compat.harness.Case;
import compat.harness.Feature;
import compat.harness.Scene;
import compat.harness.Zk;
import java.util.List;
import org.apache.zookeeper.CreateMode;
import org.apache.zookeeper.KeeperException.Code;
import org.apache.zookeeper.data.Stat;

/** Znodes that are deleted with their session. Source: PrepRequestProcessor (case closeSession), DataTree.killSession. */
@Feature("ephemeral")
final class Ephemerals {
    @Case("gone once close has returned")
    static void close(Scene s) throws Exception {
        s.zk();
        Zk zk = s.connect();
        create(zk, s.p("/e"), CreateMode.EPHEMERAL);
        zk.close();
        eq(null, stat(s.zk(), s.p("/e")));
    }

    @Case("all of a session go in one transaction")
    static void together(Scene s) throws Exception {
        create(s.zk(), s.p("/p"));
        Zk zk = s.connect();
        for (int i = 0; i < 20; i++) {
            create(zk, s.p("/p/e-"), CreateMode.EPHEMERAL_SEQUENTIAL);
        }
        create(zk, s.p("/e"), CreateMode.EPHEMERAL);
        zk.close();
        Stat parent = stat(s.zk(), s.p("/p"));
        eq(0, parent.getNumChildren());
        eq(40, parent.getCversion());
        eq(parent.getPzxid(), stat(s.zk(), s.root()).getPzxid());
    }

    @Case("a deleted one can be made again by another session, and stays")
    static void remade(Scene s) throws Exception {
        s.zk();
        Zk first = s.connect();
        create(first, s.p("/e"), CreateMode.EPHEMERAL);
        first.delete(s.p("/e"), -1);
        create(s.zk(), s.p("/e"), CreateMode.EPHEMERAL);
        first.close();
        eq(s.zk().getSessionId(), stat(s.zk(), s.p("/e")).getEphemeralOwner());
    }

    @Case("NodeExists while another session holds it, then free")
    static void handedOver(Scene s) throws Exception {
        s.zk();
        Zk first = s.connect();
        create(first, s.p("/lock"), CreateMode.EPHEMERAL);
        code(Code.NODEEXISTS, () -> create(s.zk(), s.p("/lock"), CreateMode.EPHEMERAL));
        first.close();
        create(s.zk(), s.p("/lock"), CreateMode.EPHEMERAL);
    }

    @Case("a persistent parent with ephemeral children is NotEmpty")
    static void parent(Scene s) throws Exception {
        create(s.zk(), s.p("/p"));
        Zk zk = s.connect();
        create(zk, s.p("/p/e"), CreateMode.EPHEMERAL);
        code(Code.NOTEMPTY, () -> s.zk().delete(s.p("/p"), -1));
        zk.close();
        s.zk().delete(s.p("/p"), -1);
    }

    @Case("a lost connection alone does not remove it")
    static void connectionLost(Scene s) throws Exception {
        create(s.zk(), s.p("/e"), CreateMode.EPHEMERAL);
        Stat before = stat(s.zk(), s.p("/e"));
        s.zk().cutConnection();
        s.zk().awaitConnected();
        eq(before, stat(s.zk(), s.p("/e")));
        eq(List.of(s.p("/e")), s.zk().getEphemerals());
    }
}
