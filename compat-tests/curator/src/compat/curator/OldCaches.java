package compat.curator;

import static compat.curator.Clients.LIMIT_MS;
import static compat.curator.Clients.bytes;
import static compat.curator.Clients.client;
import static compat.curator.Clients.create;
import static compat.harness.Check.eq;

import compat.harness.Case;
import compat.harness.Check;
import compat.harness.Feature;
import compat.harness.Scene;
import java.util.List;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import org.apache.curator.framework.CuratorFramework;
import org.apache.curator.framework.recipes.cache.ChildData;
import org.apache.curator.framework.recipes.cache.NodeCache;
import org.apache.curator.framework.recipes.cache.PathChildrenCache;
import org.apache.curator.framework.recipes.cache.TreeCache;

/** The caches built on one-shot watches, which are deprecated but widely used. */
@SuppressWarnings("deprecation")
@Feature("TreeCache")
final class OldCaches {
    private static String next(LinkedBlockingQueue<String> heard) throws InterruptedException {
        return heard.poll(LIMIT_MS, TimeUnit.MILLISECONDS);
    }

    /** Records an event, unless it is about the connection, because such an event may come at any time. */
    private static void hear(LinkedBlockingQueue<String> heard, Scene s, Enum<?> type, ChildData data) {
        if (!type.name().startsWith("CONNECTION_")) {
            heard.add(type + (data == null ? "" : " " + data.getPath().substring(s.root().length())));
        }
    }

    @Case("tells of the whole subtree")
    static void tree(Scene s) throws Exception {
        CuratorFramework client = client(s);
        create(client, s.p("/a"), "1");
        LinkedBlockingQueue<String> heard = new LinkedBlockingQueue<>();
        TreeCache cache = s.keep(new TreeCache(client(s), s.root()));
        cache.getListenable().addListener((c, event) -> hear(heard, s, event.getType(), event.getData()));
        cache.start();
        eq(List.of("NODE_ADDED ", "NODE_ADDED /a", "INITIALIZED"), List.of(next(heard), next(heard), next(heard)));
        create(client, s.p("/a/b"), "2");
        eq("NODE_ADDED /a/b", next(heard));
        client.setData().forPath(s.p("/a"), bytes("3"));
        eq("NODE_UPDATED /a", next(heard));
        client.delete().forPath(s.p("/a/b"));
        eq("NODE_REMOVED /a/b", next(heard));
        eq(bytes("3"), cache.getCurrentData(s.p("/a")).getData());
        eq(java.util.Set.of("a"), cache.getCurrentChildren(s.root()).keySet());
    }

    @Case(value = "tells of children", feature = "PathChildrenCache")
    static void children(Scene s) throws Exception {
        CuratorFramework client = client(s);
        create(client, s.p("/a"), "1");
        LinkedBlockingQueue<String> heard = new LinkedBlockingQueue<>();
        PathChildrenCache cache = s.keep(new PathChildrenCache(client(s), s.root(), true));
        cache.getListenable().addListener((c, event) -> hear(heard, s, event.getType(), event.getData()));
        cache.start(PathChildrenCache.StartMode.POST_INITIALIZED_EVENT);
        eq(List.of("CHILD_ADDED /a", "INITIALIZED"), List.of(next(heard), next(heard)));
        create(client, s.p("/b"), "2");
        eq("CHILD_ADDED /b", next(heard));
        client.setData().forPath(s.p("/b"), bytes("3"));
        eq("CHILD_UPDATED /b", next(heard));
        client.delete().forPath(s.p("/a"));
        eq("CHILD_REMOVED /a", next(heard));
        eq(List.of(s.p("/b")), cache.getCurrentData().stream().map(data -> data.getPath()).toList());
    }

    @Case(value = "follows one znode through creation, change and deletion", feature = "NodeCache")
    static void node(Scene s) throws Exception {
        CuratorFramework client = client(s);
        NodeCache cache = s.keep(new NodeCache(client(s), s.p("/a")));
        cache.start(true);
        eq(null, cache.getCurrentData());
        create(client, s.p("/a"), "1");
        shows(cache, "1");
        client.setData().forPath(s.p("/a"), bytes("2"));
        shows(cache, "2");
        client.delete().forPath(s.p("/a"));
        Check.eventually(LIMIT_MS, "no data", () -> cache.getCurrentData() == null);
        create(client, s.p("/a"), "3");
        shows(cache, "3");
    }

    private static void shows(NodeCache cache, String expected) throws Exception {
        Check.eventually(LIMIT_MS, expected, () -> cache.getCurrentData() != null && Clients.text(cache.getCurrentData().getData()).equals(expected));
    }
}
