package compat.curator;

import static compat.curator.Clients.LIMIT_MS;
import static compat.curator.Clients.bytes;
import static compat.curator.Clients.client;
import static compat.harness.Check.eq;
import static compat.harness.Check.that;

import compat.harness.Case;
import compat.harness.Check;
import compat.harness.Feature;
import compat.harness.Scene;
import java.util.Set;
import java.util.concurrent.TimeUnit;
import org.apache.curator.framework.CuratorFramework;
import org.apache.curator.framework.recipes.nodes.GroupMember;
import org.apache.curator.framework.recipes.nodes.PersistentNode;
import org.apache.curator.framework.recipes.nodes.PersistentTtlNode;
import org.apache.zookeeper.CreateMode;

/** Persistent nodes, which Curator recreates, and group membership. */
@Feature("PersistentNode")
final class Nodes {
    static PersistentNode ephemeral(Scene s, CuratorFramework client) throws Exception {
        PersistentNode node = s.keep(new PersistentNode(client, CreateMode.EPHEMERAL, false, s.p("/node"), bytes("data")));
        node.start();
        that(node.waitForInitialCreate(LIMIT_MS, TimeUnit.MILLISECONDS), "the znode made");
        return node;
    }

    @Case("made, made again when deleted, gone when closed")
    static void keeps(Scene s) throws Exception {
        CuratorFramework other = client(s);
        PersistentNode node = ephemeral(s, client(s));
        eq(bytes("data"), other.getData().forPath(s.p("/node")));
        other.delete().forPath(s.p("/node"));
        Check.eventually(LIMIT_MS, "the znode again", () -> other.checkExists().forPath(s.p("/node")) != null);
        node.close();
        Check.eventually(LIMIT_MS, "the znode gone", () -> other.checkExists().forPath(s.p("/node")) == null);
    }

    @Case("setData through it, and put right after others' writes")
    static void data(Scene s) throws Exception {
        CuratorFramework other = client(s);
        PersistentNode node = ephemeral(s, client(s));
        node.setData(bytes("mine"));
        Check.eventually(LIMIT_MS, "my data", () -> Clients.text(other.getData().forPath(s.p("/node"))).equals("mine"));
        other.delete().forPath(s.p("/node"));
        Check.eventually(LIMIT_MS, "my data again", () -> other.checkExists().forPath(s.p("/node")) != null
                && Clients.text(other.getData().forPath(s.p("/node"))).equals("mine"));
    }

    @Case(value = "touched in time, and reaped after its owner goes", feature = "PersistentTtlNode")
    static void ttl(Scene s) throws Exception {
        CuratorFramework other = client(s);
        CuratorFramework owner = client(s);
        PersistentTtlNode node = s.keep(new PersistentTtlNode(owner, s.p("/node"), 1_500, bytes("data")));
        node.start();
        that(node.waitForInitialCreate(LIMIT_MS, TimeUnit.MILLISECONDS), "the znode made");
        Thread.sleep(4_000);
        that(other.checkExists().forPath(s.p("/node")) != null, "the znode still there");
        node.close();
        Check.eventually(LIMIT_MS, "the znode gone", () -> other.checkExists().forPath(s.p("/node")) == null);
    }

    @Case(value = "members see each other come and go", feature = "GroupMember")
    static void group(Scene s) throws Exception {
        GroupMember a = s.keep(new GroupMember(client(s), s.root(), "a", bytes("1")));
        GroupMember b = s.keep(new GroupMember(client(s), s.root(), "b", bytes("2")));
        a.start();
        b.start();
        Check.eventually(LIMIT_MS, "two members", () -> a.getCurrentMembers().size() == 2 && b.getCurrentMembers().size() == 2);
        eq(Set.of("a", "b"), a.getCurrentMembers().keySet());
        eq(bytes("2"), a.getCurrentMembers().get("b"));
        b.close();
        Check.eventually(LIMIT_MS, "one member", () -> a.getCurrentMembers().keySet().equals(Set.of("a")));
    }
}
