package compat.java;

import static compat.harness.Check.code;
import static compat.harness.Check.eq;
import static compat.java.Znodes.create;

import compat.harness.Case;
import compat.harness.Events;
import compat.harness.Feature;
import compat.harness.Scene;
import java.util.List;
import org.apache.zookeeper.AddWatchMode;
import org.apache.zookeeper.KeeperException.Code;
import org.apache.zookeeper.Watcher.WatcherType;
import org.apache.zookeeper.ZooDefs.OpCode;
import org.apache.zookeeper.proto.CheckWatchesRequest;
import org.apache.zookeeper.proto.RemoveWatchesRequest;

/** removeWatches and removeAllWatches of all types. Source: DataTree (containsWatcher, removeWatch). */
@Feature("removeWatches")
final class RemoveWatches {
    @Case("Data: the watcher hears DataWatchRemoved and nothing more")
    static void data(Scene s) throws Exception {
        create(s.zk(), s.p("/a"));
        Events watcher = s.events();
        s.zk().getData(s.p("/a"), watcher, null);
        s.zk().removeWatches(s.p("/a"), watcher, WatcherType.Data, false);
        s.zk().setData(s.p("/a"), null, -1);
        s.zk().fence();
        eq(List.of("DataWatchRemoved /a"), watcher.take());
    }

    @Case("Data covers exists watches, also of missing znodes")
    static void exists(Scene s) throws Exception {
        Events watcher = s.events();
        s.zk().exists(s.p("/a"), watcher);
        s.zk().removeWatches(s.p("/a"), watcher, WatcherType.Data, false);
        create(s.zk(), s.p("/a"));
        s.zk().fence();
        eq(List.of("DataWatchRemoved /a"), watcher.take());
    }

    @Case("Children leaves the data watch")
    static void children(Scene s) throws Exception {
        create(s.zk(), s.p("/a"));
        Events watcher = s.events();
        s.zk().getData(s.p("/a"), watcher, null);
        s.zk().getChildren(s.p("/a"), watcher);
        s.zk().removeWatches(s.p("/a"), watcher, WatcherType.Children, false);
        create(s.zk(), s.p("/a/b"));
        s.zk().setData(s.p("/a"), null, -1);
        s.zk().fence();
        eq(List.of("ChildWatchRemoved /a", "NodeDataChanged /a"), watcher.take());
    }

    @Case("Any removes all kinds")
    static void any(Scene s) throws Exception {
        create(s.zk(), s.p("/a"));
        Events watcher = s.events();
        s.zk().getData(s.p("/a"), watcher, null);
        s.zk().getChildren(s.p("/a"), watcher);
        s.zk().removeWatches(s.p("/a"), watcher, WatcherType.Any, false);
        s.zk().delete(s.p("/a"), -1);
        s.zk().fence();
        eq(java.util.Set.of("DataWatchRemoved /a", "ChildWatchRemoved /a"), java.util.Set.copyOf(watcher.take()));
    }

    @Case("one of two watchers: the other still hears")
    static void oneOfTwo(Scene s) throws Exception {
        create(s.zk(), s.p("/a"));
        Events leaving = s.events();
        Events staying = s.events();
        s.zk().getData(s.p("/a"), leaving, null);
        s.zk().getData(s.p("/a"), staying, null);
        s.zk().removeWatches(s.p("/a"), leaving, WatcherType.Data, false);
        s.zk().setData(s.p("/a"), null, -1);
        s.zk().fence();
        eq(List.of("DataWatchRemoved /a"), leaving.take());
        eq(List.of("NodeDataChanged /a"), staying.take());
    }

    @Case("all watchers of a type")
    static void allOfType(Scene s) throws Exception {
        create(s.zk(), s.p("/a"));
        Events one = s.events();
        Events two = s.events();
        s.zk().getData(s.p("/a"), one, null);
        s.zk().exists(s.p("/a"), two);
        s.zk().removeAllWatches(s.p("/a"), WatcherType.Data, false);
        s.zk().setData(s.p("/a"), null, -1);
        s.zk().fence();
        eq(List.of("DataWatchRemoved /a"), one.take());
        eq(List.of("DataWatchRemoved /a"), two.take());
    }

    @Case("Persistent leaves one-shot watches")
    static void persistent(Scene s) throws Exception {
        create(s.zk(), s.p("/a"));
        Events watcher = s.events();
        Events once = s.events();
        s.zk().addWatch(s.p("/a"), watcher, AddWatchMode.PERSISTENT);
        s.zk().getData(s.p("/a"), once, null);
        s.zk().removeAllWatches(s.p("/a"), WatcherType.Persistent, false);
        s.zk().setData(s.p("/a"), null, -1);
        s.zk().fence();
        eq(List.of("PersistentWatchRemoved /a"), watcher.take());
        eq(List.of("NodeDataChanged /a"), once.take());
    }

    @Case("PersistentRecursive leaves the persistent one")
    static void recursive(Scene s) throws Exception {
        create(s.zk(), s.p("/a"));
        Events deep = s.events();
        Events plain = s.events();
        s.zk().addWatch(s.p("/a"), deep, AddWatchMode.PERSISTENT_RECURSIVE);
        s.zk().addWatch(s.p("/a"), plain, AddWatchMode.PERSISTENT);
        s.zk().removeWatches(s.p("/a"), deep, WatcherType.PersistentRecursive, false);
        create(s.zk(), s.p("/a/b"));
        s.zk().fence();
        eq(List.of("PersistentWatchRemoved /a"), deep.take());
        eq(List.of("NodeChildrenChanged /a"), plain.take());
    }

    @Case("Any removes persistent watches as well")
    static void anyPersistent(Scene s) throws Exception {
        create(s.zk(), s.p("/a"));
        Events watcher = s.events();
        s.zk().addWatch(s.p("/a"), watcher, AddWatchMode.PERSISTENT_RECURSIVE);
        s.zk().removeAllWatches(s.p("/a"), WatcherType.Any, false);
        s.zk().setData(s.p("/a"), null, -1);
        s.zk().fence();
        eq(List.of("PersistentWatchRemoved /a"), watcher.take());
    }

    @Case("NoWatcher when there is none of that type")
    static void noWatcher(Scene s) throws Exception {
        create(s.zk(), s.p("/a"));
        s.zk().getData(s.p("/a"), true, null);
        code(Code.NOWATCHER, () -> s.zk().removeAllWatches(s.p("/a"), WatcherType.Children, false));
        code(Code.NOWATCHER, () -> s.zk().removeAllWatches(s.p("/a"), WatcherType.Persistent, false));
        code(Code.NOWATCHER, () -> s.zk().removeAllWatches(s.p("/b"), WatcherType.Any, false));
        code(Code.NOWATCHER, () -> s.zk().removeWatches(s.p("/a"), s.events(), WatcherType.Data, false));
    }

    @Case("the server's own answer to checkWatches and removeWatches")
    static void server(Scene s) throws Exception {
        create(s.zk(), s.p("/a"));
        s.zk().getData(s.p("/a"), true, null);
        s.zk().addWatch(s.p("/p"), AddWatchMode.PERSISTENT);
        for (WatcherType type : WatcherType.values()) {
            boolean onA = type == WatcherType.Data || type == WatcherType.Any;
            boolean onP = type == WatcherType.Persistent || type == WatcherType.Any;
            eq(type + " at /a", onA ? Code.OK : Code.NOWATCHER, check(s, "/a", type.getIntValue()));
            eq(type + " at /p", onP ? Code.OK : Code.NOWATCHER, check(s, "/p", type.getIntValue()));
        }
        eq(Code.OK, remove(s, "/a", WatcherType.Any.getIntValue()));
        eq(Code.NOWATCHER, remove(s, "/a", WatcherType.Any.getIntValue()));
    }

    @Case("an unknown type is a marshalling error")
    static void unknownType(Scene s) throws Exception {
        eq(Code.MARSHALLINGERROR, check(s, "/a", 9));
        eq(Code.MARSHALLINGERROR, remove(s, "/a", 0));
    }

    private static Code check(Scene s, String path, int type) throws Exception {
        s.zk();
        return s.zk().raw(OpCode.checkWatches, new CheckWatchesRequest(s.p(path), type), null);
    }

    private static Code remove(Scene s, String path, int type) throws Exception {
        s.zk();
        return s.zk().raw(OpCode.removeWatches, new RemoveWatchesRequest(s.p(path), type), null);
    }

    @Case("local removal works while the server does not answer for it")
    static void local(Scene s) throws Exception {
        Events watcher = s.events();
        create(s.zk(), s.p("/a"));
        s.zk().getData(s.p("/a"), watcher, null);
        eq(Code.OK, remove(s, "/a", WatcherType.Data.getIntValue()));
        s.zk().removeWatches(s.p("/a"), watcher, WatcherType.Data, true);
        s.zk().fence();
        eq(List.of("DataWatchRemoved /a"), watcher.take());
    }

    @Case("a removed watch can be set again")
    static void again(Scene s) throws Exception {
        create(s.zk(), s.p("/a"));
        s.zk().getData(s.p("/a"), true, null);
        s.zk().removeAllWatches(s.p("/a"), WatcherType.Data, false);
        s.zk().getData(s.p("/a"), true, null);
        s.zk().setData(s.p("/a"), null, -1);
        eq(List.of("DataWatchRemoved /a", "NodeDataChanged /a"), s.zk().seen());
    }
}
