package compat.java;

import static compat.harness.Check.code;
import static compat.harness.Check.eq;
import static compat.java.Znodes.OPEN;
import static compat.java.Znodes.bytes;
import static compat.java.Znodes.codes;
import static compat.java.Znodes.create;
import static compat.java.Znodes.createOp;
import static compat.java.Znodes.stat;

import compat.harness.Case;
import compat.harness.Check;
import compat.harness.Feature;
import compat.harness.Scene;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;
import org.apache.zookeeper.CreateMode;
import org.apache.zookeeper.KeeperException;
import org.apache.zookeeper.KeeperException.Code;
import org.apache.zookeeper.Op;
import org.apache.zookeeper.OpResult;
import org.apache.zookeeper.ZooDefs.Ids;
import org.apache.zookeeper.data.Stat;

/** Transactions. Source: PrepRequestProcessor and DataTree (case multi), MultiResponse. */
@Feature("multi")
final class Multis {
    @Case("one result of the right kind for each operation")
    static void results(Scene s) throws Exception {
        create(s.zk(), s.p("/x"));
        List<OpResult> results = s.zk().multi(List.of(createOp(s.p("/a")), Op.setData(s.p("/a"), bytes("new"), 0),
                Op.check(s.p("/a"), 1), Op.delete(s.p("/x"), 0)));
        eq(s.p("/a"), ((OpResult.CreateResult) results.get(0)).getPath());
        eq(stat(s.zk(), s.p("/a")), ((OpResult.SetDataResult) results.get(1)).getStat());
        eq(new OpResult.CheckResult(), results.get(2));
        eq(new OpResult.DeleteResult(), results.get(3));
        eq(null, s.zk().exists(s.p("/x"), false));
    }

    @Case("a plain create's result has no Stat, those of containers and TTL znodes have")
    static void createStat(Scene s) throws Exception {
        List<OpResult> results = s.zk().multi(List.of(createOp(s.p("/a")), Op.create(s.p("/c"), null, OPEN, CreateMode.CONTAINER),
                Op.create(s.p("/t"), null, OPEN, CreateMode.PERSISTENT_WITH_TTL, 100_000)));
        eq(null, ((OpResult.CreateResult) results.get(0)).getStat());
        eq(stat(s.zk(), s.p("/c")), ((OpResult.CreateResult) results.get(1)).getStat());
        eq(stat(s.zk(), s.p("/t")), ((OpResult.CreateResult) results.get(2)).getStat());
    }

    @Case("all operations share one zxid and one time")
    static void oneZxid(Scene s) throws Exception {
        create(s.zk(), s.p("/x"));
        s.zk().multi(List.of(createOp(s.p("/a")), createOp(s.p("/b")), createOp(s.p("/a/c")), Op.setData(s.p("/x"), null, -1)));
        Stat a = stat(s.zk(), s.p("/a"));
        eq(a.getCzxid(), stat(s.zk(), s.p("/b")).getCzxid());
        eq(a.getCzxid(), a.getPzxid());
        eq(a.getCtime(), stat(s.zk(), s.p("/b")).getCtime());
        eq(a.getCzxid(), stat(s.zk(), s.p("/x")).getMzxid());
        eq(a.getCzxid(), stat(s.zk(), s.root()).getPzxid());
    }

    @Case("a failure rolls back; results say where and why")
    static void rollback(Scene s) throws Exception {
        create(s.zk(), s.p("/x"));
        Stat root = stat(s.zk(), s.root());
        KeeperException e = code(Code.BADVERSION, () -> s.zk().multi(List.of(createOp(s.p("/a")), Op.setData(s.p("/x"), bytes("y"), 0),
                Op.delete(s.p("/x"), 7), createOp(s.p("/b")))));
        eq(List.of(Code.OK, Code.OK, Code.BADVERSION, Code.RUNTIMEINCONSISTENCY), codes(e.getResults()));
        eq(root, stat(s.zk(), s.root()));
        eq(bytes("data"), s.zk().getData(s.p("/x"), false, null));
    }

    @Case("every kind of failure")
    static void failures(Scene s) throws Exception {
        create(s.zk(), s.p("/x"));
        create(s.zk(), s.p("/x/y"));
        create(s.zk(), s.p("/e"), CreateMode.EPHEMERAL);
        fails(s, Code.NODEEXISTS, createOp(s.p("/x")));
        fails(s, Code.NONODE, createOp(s.p("/no/a")));
        fails(s, Code.NOCHILDRENFOREPHEMERALS, createOp(s.p("/e/a")));
        fails(s, Code.INVALIDACL, Op.create(s.p("/a"), null, Ids.CREATOR_ALL_ACL, CreateMode.PERSISTENT));
        fails(s, Code.NONODE, Op.delete(s.p("/no"), -1));
        fails(s, Code.NOTEMPTY, Op.delete(s.p("/x"), -1));
        fails(s, Code.BADVERSION, Op.delete(s.p("/x"), 2));
        fails(s, Code.NONODE, Op.setData(s.p("/no"), null, -1));
        fails(s, Code.BADVERSION, Op.setData(s.p("/x"), null, 2));
        fails(s, Code.NONODE, Op.check(s.p("/no"), -1));
        fails(s, Code.BADVERSION, Op.check(s.p("/x"), 2));
        fails(s, Code.BADARGUMENTS, Op.delete("/zookeeper", -1));
    }

    private static void fails(Scene s, Code expected, Op op) throws Exception {
        KeeperException e = code(expected, () -> s.zk().multi(List.of(createOp(s.p("/new")), op)));
        eq(List.of(Code.OK, expected), codes(e.getResults()));
        eq(null, stat(s.zk(), s.p("/new")));
    }

    @Case("later operations see earlier ones")
    static void dependent(Scene s) throws Exception {
        create(s.zk(), s.p("/x"));
        s.zk().multi(List.of(createOp(s.p("/a")), createOp(s.p("/a/b")), Op.setData(s.p("/x"), null, 0), Op.setData(s.p("/x"), null, 1),
                Op.delete(s.p("/a/b"), 0), Op.delete(s.p("/a"), 0), Op.check(s.p("/x"), 2)));
        eq(null, stat(s.zk(), s.p("/a")));
        eq(2, stat(s.zk(), s.p("/x")).getVersion());
    }

    @Case("delete and create again in one multi")
    static void replace(Scene s) throws Exception {
        create(s.zk(), s.p("/a"));
        s.zk().multi(List.of(Op.delete(s.p("/a"), 0), Op.create(s.p("/a"), bytes("new"), OPEN, CreateMode.PERSISTENT)));
        eq(bytes("new"), s.zk().getData(s.p("/a"), false, null));
        eq(3, stat(s.zk(), s.root()).getCversion());
    }

    @Case("sequence numbers advance inside")
    static void sequential(Scene s) throws Exception {
        List<OpResult> results = s.zk().multi(List.of(sequentialOp(s), sequentialOp(s), Op.delete(s.p("/n-0000000000"), 0), sequentialOp(s)));
        eq(s.p("/n-0000000001"), ((OpResult.CreateResult) results.get(1)).getPath());
        eq(s.p("/n-0000000002"), ((OpResult.CreateResult) results.get(3)).getPath());
        eq(4, stat(s.zk(), s.root()).getCversion());
        eq(2, stat(s.zk(), s.root()).getNumChildren());
    }

    @Case("a rolled back multi uses up no sequence number")
    static void sequentialRollback(Scene s) throws Exception {
        code(Code.NONODE, () -> s.zk().multi(List.of(sequentialOp(s), sequentialOp(s), Op.check(s.p("/no"), -1))));
        eq(s.p("/n-0000000000"), create(s.zk(), s.p("/n-"), CreateMode.PERSISTENT_SEQUENTIAL));
    }

    private static Op sequentialOp(Scene s) {
        return Op.create(s.p("/n-"), null, OPEN, CreateMode.PERSISTENT_SEQUENTIAL);
    }

    @Case("ephemeral, container and TTL creates")
    static void modes(Scene s) throws Exception {
        s.zk().multi(List.of(Op.create(s.p("/e"), null, OPEN, CreateMode.EPHEMERAL), Op.create(s.p("/c"), null, OPEN, CreateMode.CONTAINER),
                Op.create(s.p("/t"), null, OPEN, CreateMode.PERSISTENT_WITH_TTL, 100_000)));
        eq(s.zk().getSessionId(), stat(s.zk(), s.p("/e")).getEphemeralOwner());
        eq(0, stat(s.zk(), s.p("/c")).getEphemeralOwner());
        eq(0, stat(s.zk(), s.p("/t")).getEphemeralOwner());
        eq(List.of(s.p("/e")), s.zk().getEphemerals());
    }

    @Case("without operations there are no results")
    static void empty(Scene s) throws Exception {
        eq(List.of(), s.zk().multi(List.of()));
    }

    @Case("a check alone, right and wrong")
    static void checkOnly(Scene s) throws Exception {
        create(s.zk(), s.p("/a"));
        eq(List.of(new OpResult.CheckResult()), s.zk().multi(List.of(Op.check(s.p("/a"), 0))));
        code(Code.BADVERSION, () -> s.zk().multi(List.of(Op.check(s.p("/a"), 1))));
        eq(0, stat(s.zk(), s.p("/a")).getVersion());
    }

    @Case("five hundred operations")
    static void large(Scene s) throws Exception {
        List<Op> ops = new ArrayList<>();
        for (int i = 0; i < 500; i++) {
            ops.add(createOp(s.p("/" + i)));
        }
        s.zk();
        eq(500, s.zk().multi(ops).size());
        eq(500, s.zk().getChildren(s.root(), false).size());
    }

    @Case("async: success and failure are both rc plus results")
    static void async(Scene s) throws Exception {
        create(s.zk(), s.p("/x"));
        CompletableFuture<List<Object>> good = new CompletableFuture<>();
        s.zk().multi(List.of(createOp(s.p("/a"))), (rc, path, ctx, results) -> good.complete(List.of(rc, ctx, results.size())), "good");
        eq(List.of(0, "good", 1), good.get(15, TimeUnit.SECONDS));
        CompletableFuture<List<Object>> bad = new CompletableFuture<>();
        s.zk().multi(List.of(createOp(s.p("/b")), createOp(s.p("/x"))), (rc, path, ctx, results) -> bad.complete(List.of(rc, ctx, codes(results))), "bad");
        eq(List.of(Code.NODEEXISTS.intValue(), "bad", List.of(Code.OK, Code.NODEEXISTS)), bad.get(15, TimeUnit.SECONDS));
    }

    @Case(value = "commit applies all, in order", feature = "transaction")
    static void transaction(Scene s) throws Exception {
        create(s.zk(), s.p("/x"));
        List<OpResult> results = s.zk().transaction().create(s.p("/a"), null, OPEN, CreateMode.PERSISTENT).check(s.p("/x"), 0)
                .setData(s.p("/x"), bytes("y"), 0).delete(s.p("/x"), 1).commit();
        eq(List.of("CreateResult", "CheckResult", "SetDataResult", "DeleteResult"), results.stream().map(r -> r.getClass().getSimpleName()).toList());
        eq(List.of("a"), s.zk().getChildren(s.root(), false));
    }

    @Case(value = "a failing commit applies nothing", feature = "transaction")
    static void transactionFails(Scene s) throws Exception {
        KeeperException e = code(Code.NONODE, () -> s.zk().transaction().create(s.p("/a"), null, OPEN, CreateMode.PERSISTENT)
                .delete(s.p("/no"), -1).commit());
        Check.eq(2, e.getResults().size());
        eq(List.of(), s.zk().getChildren(s.root(), false));
    }
}
