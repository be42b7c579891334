package compat.java;

import static compat.harness.Check.eq;
import static compat.java.Znodes.create;

import compat.harness.Case;
import compat.harness.Events;
import compat.harness.Feature;
import compat.harness.Scene;
import compat.harness.Zk;
import java.util.List;
import org.apache.zookeeper.AddWatchMode;
import org.apache.zookeeper.CreateMode;

/** addWatch in both modes. Source: DataTree.addWatch, WatchManager, PathParentIterator. */
@Feature("addWatch")
final class PersistentWatches {
    @Case("persistent: all events of the znode, again and again")
    static void persistent(Scene s) throws Exception {
        s.zk().addWatch(s.p("/a"), AddWatchMode.PERSISTENT);
        exercise(s);
        eq(List.of("NodeCreated /a", "NodeDataChanged /a", "NodeChildrenChanged /a", "NodeChildrenChanged /a", "NodeDeleted /a",
                "NodeCreated /a", "NodeDeleted /a"), s.zk().seen());
    }

    @Case("recursive: all events of the subtree, never NodeChildrenChanged")
    static void recursive(Scene s) throws Exception {
        s.zk().addWatch(s.p("/a"), AddWatchMode.PERSISTENT_RECURSIVE);
        exercise(s);
        eq(List.of("NodeCreated /a", "NodeDataChanged /a", "NodeCreated /a/b", "NodeDataChanged /a/b", "NodeCreated /a/b/c",
                "NodeDeleted /a/b/c", "NodeDeleted /a/b", "NodeDeleted /a", "NodeCreated /a", "NodeDeleted /a"), s.zk().seen());
    }

    private static void exercise(Scene s) throws Exception {
        Zk zk = s.zk();
        create(zk, s.p("/a"));
        zk.setData(s.p("/a"), null, -1);
        create(zk, s.p("/a/b"));
        zk.setData(s.p("/a/b"), null, -1);
        create(zk, s.p("/a/b/c"), CreateMode.EPHEMERAL);
        zk.delete(s.p("/a/b/c"), -1);
        zk.delete(s.p("/a/b"), -1);
        zk.delete(s.p("/a"), -1);
        create(zk, s.p("/ab"));
        create(zk, s.p("/a"));
        zk.delete(s.p("/a"), -1);
    }

    @Case("recursive on the root sees everything below the case's root, too")
    static void root(Scene s) throws Exception {
        Events events = s.events();
        s.zk().addWatch("/", events, AddWatchMode.PERSISTENT_RECURSIVE);
        create(s.zk(), s.p("/a"));
        s.zk().fence();
        eq(true, events.take().contains("NodeCreated /a"));
    }

    @Case("without a watcher of its own it tells the default one")
    static void defaultWatcher(Scene s) throws Exception {
        Events own = s.events();
        s.zk().addWatch(s.p("/a"), own, AddWatchMode.PERSISTENT);
        s.zk().addWatch(s.p("/a"), AddWatchMode.PERSISTENT);
        create(s.zk(), s.p("/a"));
        eq(List.of("NodeCreated /a"), s.zk().seen());
        eq(List.of("NodeCreated /a"), own.take());
    }

    @Case("nested recursive watches: one event for each watcher")
    static void nested(Scene s) throws Exception {
        Events outer = s.events();
        Events inner = s.events();
        s.zk().addWatch(s.root(), outer, AddWatchMode.PERSISTENT_RECURSIVE);
        s.zk().addWatch(s.p("/a"), inner, AddWatchMode.PERSISTENT_RECURSIVE);
        create(s.zk(), s.p("/a"));
        create(s.zk(), s.p("/a/b"));
        s.zk().fence();
        eq(List.of("NodeCreated /a", "NodeCreated /a/b"), outer.take());
        eq(List.of("NodeCreated /a", "NodeCreated /a/b"), inner.take());
    }

    @Case("one-shot and persistent watches live side by side")
    static void withOneShot(Scene s) throws Exception {
        Events once = s.events();
        Events always = s.events();
        create(s.zk(), s.p("/a"));
        s.zk().addWatch(s.p("/a"), always, AddWatchMode.PERSISTENT);
        s.zk().getData(s.p("/a"), once, null);
        s.zk().setData(s.p("/a"), null, -1);
        s.zk().setData(s.p("/a"), null, -1);
        s.zk().fence();
        eq(List.of("NodeDataChanged /a"), once.take());
        eq(List.of("NodeDataChanged /a", "NodeDataChanged /a"), always.take());
    }

    @Case("both modes on one znode")
    static void bothModes(Scene s) throws Exception {
        Events plain = s.events();
        Events deep = s.events();
        create(s.zk(), s.p("/a"));
        s.zk().addWatch(s.p("/a"), plain, AddWatchMode.PERSISTENT);
        s.zk().addWatch(s.p("/a"), deep, AddWatchMode.PERSISTENT_RECURSIVE);
        create(s.zk(), s.p("/a/b"));
        s.zk().setData(s.p("/a"), null, -1);
        s.zk().fence();
        eq(List.of("NodeChildrenChanged /a", "NodeDataChanged /a"), plain.take());
        eq(List.of("NodeCreated /a/b", "NodeDataChanged /a"), deep.take());
    }

    @Case("a recursive watch hears of other sessions' ephemerals going")
    static void ephemerals(Scene s) throws Exception {
        s.zk().addWatch(s.root(), AddWatchMode.PERSISTENT_RECURSIVE);
        Zk other = s.connect();
        create(other, s.p("/e"), CreateMode.EPHEMERAL);
        other.close();
        eq(List.of("NodeCreated /e", "NodeDeleted /e"), s.zk().seen());
    }
}
