package compat.curator;

import static compat.curator.Clients.LIMIT_MS;
import static compat.curator.Clients.bytes;
import static compat.curator.Clients.client;
import static compat.harness.Check.code;
import static compat.harness.Check.eq;
import static compat.harness.Check.that;

import compat.harness.Case;
import compat.harness.Check;
import compat.harness.Feature;
import compat.harness.Scene;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;
import org.apache.curator.framework.CuratorFramework;
import org.apache.curator.framework.api.CuratorEvent;
import org.apache.zookeeper.CreateMode;
import org.apache.zookeeper.KeeperException.Code;
import org.apache.zookeeper.ZooDefs.Ids;
import org.apache.zookeeper.data.Stat;

/** The fluent operations of CuratorFramework. */
@Feature("framework")
final class Framework {
    @Case("create, read, write, delete")
    static void basics(Scene s) throws Exception {
        CuratorFramework client = client(s);
        eq(s.root(), client.create().forPath(s.root(), bytes("1")));
        eq(bytes("1"), client.getData().forPath(s.root()));
        eq(1, client.setData().forPath(s.root(), bytes("2")).getVersion());
        Stat stat = new Stat();
        eq(bytes("2"), client.getData().storingStatIn(stat).forPath(s.root()));
        eq(stat, client.checkExists().forPath(s.root()));
        code(Code.BADVERSION, () -> client.setData().withVersion(7).forPath(s.root(), bytes("3")));
        client.delete().withVersion(1).forPath(s.root());
        eq(null, client.checkExists().forPath(s.root()));
    }

    @Case("creatingParentsIfNeeded")
    static void parents(Scene s) throws Exception {
        CuratorFramework client = client(s);
        code(Code.NONODE, () -> client.create().forPath(s.p("/a/b/c")));
        client.create().creatingParentsIfNeeded().forPath(s.p("/a/b/c"), bytes("x"));
        eq(List.of("b"), client.getChildren().forPath(s.p("/a")));
        eq(List.of("c"), client.getChildren().forPath(s.p("/a/b")));
    }

    @Case("creatingParentContainersIfNeeded: the parents go with their last child")
    static void containers(Scene s) throws Exception {
        CuratorFramework client = client(s);
        client.create().creatingParentContainersIfNeeded().forPath(s.p("/a/b"), bytes("x"));
        client.delete().forPath(s.p("/a/b"));
        Check.eventually(LIMIT_MS, "the containers gone", () -> client.checkExists().forPath(s.root()) == null);
    }

    @Case("creatingParentContainersIfNeeded while the reaper removes them")
    static void containersRace(Scene s) throws Exception {
        CuratorFramework client = client(s);
        long end = System.currentTimeMillis() + 3_000;
        while (System.currentTimeMillis() < end) {
            client.create().creatingParentContainersIfNeeded().forPath(s.p("/a/b"), bytes("x"));
            client.delete().forPath(s.p("/a/b"));
        }
    }

    @Case("exists and createContainers make parents, too")
    static void existsParents(Scene s) throws Exception {
        CuratorFramework client = client(s);
        eq(null, client.checkExists().creatingParentsIfNeeded().forPath(s.p("/a/b")));
        that(client.checkExists().forPath(s.p("/a")) != null, "the parent");
        client.createContainers(s.p("/c/d"));
        that(client.checkExists().forPath(s.p("/c/d")) != null, "the container");
    }

    @Case("every mode, with Stat")
    static void modes(Scene s) throws Exception {
        CuratorFramework client = client(s);
        client.create().forPath(s.root());
        for (CreateMode mode : CreateMode.values()) {
            var builder = mode.isTTL() ? client.create().withTtl(100_000) : client.create();
            Stat stat = new Stat();
            String path = builder.storingStatIn(stat).withMode(mode).forPath(s.p("/" + mode + "-"), bytes("x"));
            eq(mode.isSequential(), path.matches(".*-\\d{10}"));
            eq(stat, client.checkExists().forPath(path));
            eq(mode.isEphemeral(), stat.getEphemeralOwner() != 0);
        }
    }

    @Case("orSetData")
    static void orSetData(Scene s) throws Exception {
        CuratorFramework client = client(s);
        client.create().orSetData().forPath(s.root(), bytes("1"));
        client.create().orSetData().forPath(s.root(), bytes("2"));
        eq(bytes("2"), client.getData().forPath(s.root()));
        client.create().orSetData(1).forPath(s.root(), bytes("3"));
        code(Code.BADVERSION, () -> client.create().orSetData(1).forPath(s.root(), bytes("4")));
    }

    @Case("idempotent create, set and delete")
    static void idempotent(Scene s) throws Exception {
        CuratorFramework client = client(s);
        client.create().idempotent().forPath(s.root(), bytes("1"));
        client.create().idempotent().forPath(s.root(), bytes("1"));
        code(Code.NODEEXISTS, () -> client.create().idempotent().forPath(s.root(), bytes("other")));
        client.setData().idempotent().withVersion(0).forPath(s.root(), bytes("2"));
        client.setData().idempotent().withVersion(0).forPath(s.root(), bytes("2"));
        client.delete().idempotent().withVersion(1).forPath(s.root());
        client.delete().idempotent().withVersion(1).forPath(s.root());
    }

    @Case("deletingChildrenIfNeeded, quietly, guaranteed")
    static void delete(Scene s) throws Exception {
        CuratorFramework client = client(s);
        Clients.create(client, s.p("/a/b/c"), "x");
        Clients.create(client, s.p("/a/d"), "x");
        code(Code.NOTEMPTY, () -> client.delete().forPath(s.root()));
        client.delete().guaranteed().deletingChildrenIfNeeded().forPath(s.root());
        eq(null, client.checkExists().forPath(s.root()));
        client.delete().quietly().forPath(s.root());
        code(Code.NONODE, () -> client.delete().guaranteed().forPath(s.root()));
    }

    @Case("in the background: create, delete, failure")
    static void background(Scene s) throws Exception {
        CuratorFramework client = client(s);
        CompletableFuture<CuratorEvent> made = new CompletableFuture<>();
        client.create().inBackground((c, event) -> made.complete(event), "ctx").forPath(s.root(), bytes("x"));
        CuratorEvent event = made.get(LIMIT_MS, TimeUnit.MILLISECONDS);
        eq(List.of(0, s.root(), "ctx"), List.of(event.getResultCode(), event.getName(), event.getContext()));
        CompletableFuture<Integer> again = new CompletableFuture<>();
        client.create().inBackground((c, e) -> again.complete(e.getResultCode())).forPath(s.root(), bytes("x"));
        eq(Code.NODEEXISTS.intValue(), again.get(LIMIT_MS, TimeUnit.MILLISECONDS));
        CompletableFuture<Integer> gone = new CompletableFuture<>();
        client.delete().inBackground((c, e) -> gone.complete(e.getResultCode())).forPath(s.root());
        eq(0, gone.get(LIMIT_MS, TimeUnit.MILLISECONDS));
    }

    @Case("compressed data")
    static void compressed(Scene s) throws Exception {
        CuratorFramework client = client(s);
        byte[] data = new byte[100_000];
        client.create().compressed().forPath(s.root(), data);
        eq(data, client.getData().decompressed().forPath(s.root()));
        that(client.checkExists().forPath(s.root()).getDataLength() < 10_000, "less data in the znode");
    }

    @Case("a namespace is a prefix for everything")
    static void namespace(Scene s) throws Exception {
        CuratorFramework plain = client(s);
        CuratorFramework inside = client(s, Clients.builder(s).namespace(s.root().substring(1)));
        eq("/a", inside.create().forPath("/a", bytes("x")));
        eq(bytes("x"), plain.getData().forPath(s.p("/a")));
        eq(List.of("a"), inside.getChildren().forPath("/"));
        plain.create().forPath(s.p("/b"));
        that(inside.checkExists().forPath("/b") != null, "the znode seen from inside");
        eq(bytes("x"), plain.usingNamespace(s.root().substring(1)).getData().forPath("/a"));
    }

    @Case("authorization and ACLs")
    static void acl(Scene s) throws Exception {
        CuratorFramework ann = client(s, Clients.builder(s).authorization("digest", bytes("ann:pw")));
        ann.create().withACL(Ids.CREATOR_ALL_ACL).forPath(s.root(), bytes("x"));
        CuratorFramework other = client(s);
        code(Code.NOAUTH, () -> other.getData().forPath(s.root()));
        ann.setACL().withVersion(0).withACL(Ids.OPEN_ACL_UNSAFE).forPath(s.root());
        eq(bytes("x"), other.getData().forPath(s.root()));
        eq(Ids.OPEN_ACL_UNSAFE, other.getACL().forPath(s.root()));
    }

    @Case("sync and the configuration znode")
    static void sync(Scene s) throws Exception {
        CuratorFramework client = client(s);
        client.sync().forPath("/");
        that(client.getConfig().forEnsemble() != null, "data");
    }

    @Case("a watcher set while reading fires once")
    static void watched(Scene s) throws Exception {
        CuratorFramework client = client(s);
        var events = s.events();
        client.create().forPath(s.root());
        client.getChildren().usingWatcher(events).forPath(s.root());
        client.checkExists().usingWatcher(events).forPath(s.p("/a"));
        client.create().forPath(s.p("/a"));
        eq("NodeCreated /a", events.nextText(LIMIT_MS));
        eq("NodeChildrenChanged ", events.nextText(LIMIT_MS));
    }
}
