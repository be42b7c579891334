package compat.curator;

import static compat.curator.Clients.LIMIT_MS;
import static compat.curator.Clients.bytes;
import static compat.curator.Clients.client;
import static compat.harness.Check.eq;

import compat.harness.Case;
import compat.harness.Events;
import compat.harness.Feature;
import compat.harness.Scene;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import org.apache.curator.framework.CuratorFramework;
import org.apache.curator.framework.recipes.watch.PersistentWatcher;
import org.apache.zookeeper.AddWatchMode;

/** watchers() and PersistentWatcher. */
@Feature("PersistentWatcher")
final class WatcherSets {
    @Case("recursive: events of the subtree, across reads and writes")
    static void recursive(Scene s) throws Exception {
        exercise(s, true);
    }

    @Case("plain: events of the znode")
    static void plain(Scene s) throws Exception {
        exercise(s, false);
    }

    private static void exercise(Scene s, boolean recursive) throws Exception {
        CuratorFramework client = client(s);
        Events events = s.events();
        CountDownLatch set = new CountDownLatch(1);
        PersistentWatcher watcher = s.keep(new PersistentWatcher(client, s.root(), recursive));
        watcher.getListenable().addListener(events);
        watcher.getResetListenable().addListener(set::countDown);
        watcher.start();
        eq(true, set.await(LIMIT_MS, TimeUnit.MILLISECONDS));
        client.create().forPath(s.root(), bytes("1"));
        client.create().forPath(s.p("/a"), bytes("1"));
        client.setData().forPath(s.root(), bytes("2"));
        eq("NodeCreated ", events.nextText(LIMIT_MS));
        eq(recursive ? "NodeCreated /a" : "NodeChildrenChanged ", events.nextText(LIMIT_MS));
        eq("NodeDataChanged ", events.nextText(LIMIT_MS));
    }

    @Case(value = "add and remove by watcher", feature = "watchers")
    static void addRemove(Scene s) throws Exception {
        CuratorFramework client = client(s);
        Events events = s.events();
        client.watchers().add().withMode(AddWatchMode.PERSISTENT).usingWatcher(events).forPath(s.root());
        client.create().forPath(s.root());
        eq("NodeCreated ", events.nextText(LIMIT_MS));
        client.watchers().remove(events).forPath(s.root());
        eq("PersistentWatchRemoved ", events.nextText(LIMIT_MS));
        client.setData().forPath(s.root(), bytes("2"));
        client.sync().forPath("/");
        eq(java.util.List.of(), events.take());
    }
}
