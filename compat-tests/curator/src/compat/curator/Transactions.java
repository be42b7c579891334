package compat.curator;

import static compat.curator.Clients.bytes;
import static compat.curator.Clients.client;
import static compat.harness.Check.code;
import static compat.harness.Check.eq;

import compat.harness.Case;
import compat.harness.Feature;
import compat.harness.Scene;
import java.util.List;
import org.apache.curator.framework.CuratorFramework;
import org.apache.curator.framework.api.transaction.CuratorTransactionResult;
import org.apache.curator.framework.api.transaction.OperationType;
import org.apache.zookeeper.CreateMode;
import org.apache.zookeeper.KeeperException.Code;

/** CuratorFramework.transaction(). */
@Feature("transaction")
final class Transactions {
    @Case("all operations, with their results")
    static void all(Scene s) throws Exception {
        CuratorFramework client = client(s);
        client.create().forPath(s.root());
        var op = client.transactionOp();
        List<CuratorTransactionResult> results = client.transaction().forOperations(
                op.create().withMode(CreateMode.PERSISTENT_SEQUENTIAL).forPath(s.p("/n-"), bytes("1")),
                op.create().forPath(s.p("/a"), bytes("2")), op.check().withVersion(0).forPath(s.p("/a")),
                op.setData().withVersion(0).forPath(s.p("/a"), bytes("3")), op.delete().forPath(s.p("/n-0000000000")));
        eq(List.of(OperationType.CREATE, OperationType.CREATE, OperationType.CHECK, OperationType.SET_DATA, OperationType.DELETE),
                results.stream().map(CuratorTransactionResult::getType).toList());
        eq(s.p("/n-0000000000"), results.get(0).getResultPath());
        eq(1, results.get(3).getResultStat().getVersion());
        eq(List.of("a"), client.getChildren().forPath(s.root()));
    }

    @Case("one failure undoes all")
    static void undone(Scene s) throws Exception {
        CuratorFramework client = client(s);
        client.create().forPath(s.root());
        var op = client.transactionOp();
        code(Code.BADVERSION, () -> client.transaction().forOperations(op.create().forPath(s.p("/a")),
                op.check().withVersion(5).forPath(s.root())));
        eq(List.of(), client.getChildren().forPath(s.root()));
    }

    @Case("in a namespace")
    static void namespace(Scene s) throws Exception {
        CuratorFramework client = client(s, Clients.builder(s).namespace(s.root().substring(1)));
        client.create().forPath("/p");
        var op = client.transactionOp();
        var results = client.transaction().forOperations(op.create().forPath("/p/a"), op.create().withTtl(100_000)
                .withMode(CreateMode.PERSISTENT_WITH_TTL).forPath("/p/t"));
        eq("/p/a", results.get(0).getResultPath());
        eq(2, client.getChildren().forPath("/p").size());
    }
}
