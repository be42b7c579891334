package compat.curator;

import static compat.curator.Clients.LIMIT_MS;
import static compat.curator.Clients.bytes;
import static compat.curator.Clients.client;
import static compat.curator.Clients.create;
import static compat.harness.Check.eq;
import static compat.harness.Check.that;

import compat.harness.Case;
import compat.harness.Check;
import compat.harness.Feature;
import compat.harness.Scene;
import java.util.Set;
import java.util.TreeSet;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import org.apache.curator.framework.CuratorFramework;
import org.apache.curator.framework.recipes.cache.ChildData;
import org.apache.curator.framework.recipes.cache.CuratorCache;
import org.apache.curator.framework.recipes.cache.CuratorCacheListener;

/** CuratorCache, built on recursive persistent watches. */
@Feature("CuratorCache")
final class Caches {
    /** A started cache and the events that its listener received. */
    record Cached(CuratorCache cache, LinkedBlockingQueue<String> heard) {
        static Cached start(Scene s, CuratorFramework client, CuratorCache.Options... options) throws Exception {
            CuratorCache cache = s.keep(CuratorCache.build(client, s.root(), options));
            LinkedBlockingQueue<String> heard = new LinkedBlockingQueue<>();
            CountDownLatch ready = new CountDownLatch(1);
            cache.listenable().addListener(CuratorCacheListener.builder().forInitialized(ready::countDown).build());
            cache.listenable().addListener((type, before, after) -> heard.add(type + " " + shown(s, after == null ? before : after)));
            cache.start();
            that(ready.await(LIMIT_MS, TimeUnit.MILLISECONDS), "the cache initialised");
            return new Cached(cache, heard);
        }

        String next() throws InterruptedException {
            return heard.poll(LIMIT_MS, TimeUnit.MILLISECONDS);
        }

        Set<String> paths(Scene s) {
            Set<String> paths = new TreeSet<>();
            cache.stream().forEach(data -> paths.add(shown(s, data)));
            return paths;
        }
    }

    private static String shown(Scene s, ChildData data) {
        return data.getPath().substring(s.root().length()) + "=" + Clients.text(data.getData());
    }

    @Case("starts with what is there")
    static void initial(Scene s) throws Exception {
        CuratorFramework client = client(s);
        create(client, s.root(), "r");
        create(client, s.p("/a"), "1");
        create(client, s.p("/a/b"), "2");
        Cached cached = Cached.start(s, client);
        eq(Set.of("=r", "/a=1", "/a/b=2"), cached.paths(s));
        eq(2, cached.cache.get(s.p("/a/b")).map(data -> data.getStat().getDataLength() + 1).orElse(0));
    }

    @Case("tells of another client's changes, in order")
    static void changes(Scene s) throws Exception {
        CuratorFramework other = client(s);
        create(other, s.root(), "r");
        Cached cached = Cached.start(s, client(s));
        eq("NODE_CREATED =r", cached.next());
        create(other, s.p("/a"), "1");
        eq("NODE_CREATED /a=1", cached.next());
        create(other, s.p("/a/b"), "2");
        eq("NODE_CREATED /a/b=2", cached.next());
        other.setData().forPath(s.p("/a"), bytes("3"));
        eq("NODE_CHANGED /a=3", cached.next());
        other.delete().forPath(s.p("/a/b"));
        eq("NODE_DELETED /a/b=2", cached.next());
        other.delete().forPath(s.p("/a"));
        eq("NODE_DELETED /a=3", cached.next());
        eq(Set.of("=r"), cached.paths(s));
    }

    @Case("a root that comes later")
    static void lateRoot(Scene s) throws Exception {
        CuratorFramework client = client(s);
        Cached cached = Cached.start(s, client);
        eq(Set.of(), cached.paths(s));
        create(client, s.p("/a"), "1");
        Check.eventually(LIMIT_MS, () -> cached.paths(s).toString(), () -> cached.paths(s).size() == 2);
    }

    @Case("a single znode")
    static void single(Scene s) throws Exception {
        CuratorFramework client = client(s);
        create(client, s.p("/a"), "1");
        client.setData().forPath(s.root(), bytes("r"));
        Cached cached = Cached.start(s, client, CuratorCache.Options.SINGLE_NODE_CACHE);
        eq("NODE_CREATED =r", cached.next());
        create(client, s.p("/b"), "2");
        client.setData().forPath(s.root(), bytes("new"));
        eq("NODE_CHANGED =new", cached.next());
        eq(Set.of("=new"), cached.paths(s));
    }

    @Case("converges after a burst of changes")
    static void burst(Scene s) throws Exception {
        CuratorFramework client = client(s);
        create(client, s.root(), "r");
        Cached cached = Cached.start(s, client(s));
        for (int i = 0; i < 100; i++) {
            create(client, s.p("/" + i), "1");
            client.setData().forPath(s.p("/" + i), bytes("2"));
            if (i % 2 == 0) {
                client.delete().forPath(s.p("/" + i));
            }
        }
        Set<String> expected = new TreeSet<>(Set.of("=r"));
        for (int i = 1; i < 100; i += 2) {
            expected.add("/" + i + "=2");
        }
        Check.eventually(LIMIT_MS, () -> cached.paths(s).toString(), () -> cached.paths(s).equals(expected));
    }

    @Case("resyncs after its connection was cut")
    static void reconnect(Scene s) throws Exception {
        var proxy = s.proxy();
        CuratorFramework other = client(s);
        create(other, s.p("/gone"), "1");
        other.setData().forPath(s.root(), bytes("r"));
        Cached cached = Cached.start(s, client(s, Clients.builder(s).connectString(proxy.address())));
        proxy.cut();
        other.delete().forPath(s.p("/gone"));
        create(other, s.p("/new/deep"), "2");
        other.setData().forPath(s.p("/new"), bytes("3"));
        proxy.restore();
        Set<String> expected = Set.of("=r", "/new=3", "/new/deep=2");
        Check.eventually(LIMIT_MS, () -> cached.paths(s).toString(), () -> cached.paths(s).equals(expected));
    }
}
