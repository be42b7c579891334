package compat.java;

import static compat.harness.Check.code;
import static compat.harness.Check.eq;
import static compat.java.Znodes.OPEN;
import static compat.java.Znodes.create;
import static compat.java.Znodes.stat;

import compat.harness.Alone;
import compat.harness.Case;
import compat.harness.Feature;
import compat.harness.Scene;
import java.util.ArrayList;
import java.util.List;
import java.util.Set;
import java.util.TreeSet;
import org.apache.zookeeper.CreateMode;
import org.apache.zookeeper.KeeperException.Code;
import org.apache.zookeeper.data.Stat;

/** getChildren, getAllChildrenNumber, getEphemerals. Source: FinalRequestProcessor, DataTree. */
@Feature("getChildren")
final class Children {
    @Case("names, in no order")
    static void names(Scene s) throws Exception {
        for (String name : List.of("b", "a", "c")) {
            create(s.zk(), s.p("/" + name));
        }
        eq(Set.of("a", "b", "c"), Set.copyOf(s.zk().getChildren(s.root(), false)));
    }

    @Case("a leaf and an ephemeral znode have none")
    static void leaf(Scene s) throws Exception {
        eq(List.of(), s.zk().getChildren(s.root(), false));
        create(s.zk(), s.p("/e"), CreateMode.EPHEMERAL);
        eq(List.of(), s.zk().getChildren(s.p("/e"), false));
    }

    @Case("with Stat")
    static void withStat(Scene s) throws Exception {
        create(s.zk(), s.p("/a"));
        Stat read = new Stat();
        eq(List.of("a"), s.zk().getChildren(s.root(), false, read));
        eq(stat(s.zk(), s.root()), read);
        eq(1, read.getNumChildren());
    }

    @Case("only direct children")
    static void direct(Scene s) throws Exception {
        create(s.zk(), s.p("/a"));
        create(s.zk(), s.p("/a/b"));
        eq(List.of("a"), s.zk().getChildren(s.root(), false));
    }

    @Case("NoNode")
    static void noNode(Scene s) throws Exception {
        code(Code.NONODE, () -> s.zk().getChildren(s.p("/no"), false));
        code(Code.NONODE, () -> s.zk().getChildren(s.p("/no"), false, new Stat()));
    }

    @Case("a thousand children")
    static void many(Scene s) throws Exception {
        Set<String> expected = new TreeSet<>();
        for (int i = 0; i < 1000; i++) {
            s.zk().create(s.p("/child-"), null, OPEN, CreateMode.PERSISTENT_SEQUENTIAL, (rc, path, ctx, name) -> { }, null);
            expected.add(String.format("child-%010d", i));
        }
        s.zk().fence();
        eq(expected, new TreeSet<>(s.zk().getChildren(s.root(), false)));
        eq(1000, stat(s.zk(), s.root()).getCversion());
    }

    @Case(value = "counts all descendants", feature = "getAllChildrenNumber")
    static void allChildren(Scene s) throws Exception {
        eq(0, s.zk().getAllChildrenNumber(s.root()));
        create(s.zk(), s.p("/a"));
        create(s.zk(), s.p("/a/b"));
        create(s.zk(), s.p("/a/b/c"), CreateMode.EPHEMERAL);
        create(s.zk(), s.p("/ab"));
        eq(4, s.zk().getAllChildrenNumber(s.root()));
        eq(2, s.zk().getAllChildrenNumber(s.p("/a")));
    }

    @Case(value = "NoNode", feature = "getAllChildrenNumber")
    static void allChildrenNoNode(Scene s) throws Exception {
        code(Code.NONODE, () -> s.zk().getAllChildrenNumber(s.p("/no")));
    }

    @Alone
    @Case(value = "of the root counts every znode but the root itself", feature = "getAllChildrenNumber")
    static void allChildrenOfRoot(Scene s) throws Exception {
        create(s.zk(), s.p("/a"));
        int others = s.zk().getAllChildrenNumber("/zookeeper") - 2;
        int suites = 0;
        for (String top : s.zk().getChildren("/", false)) {
            suites += top.equals("zookeeper") ? 0 : 1 + s.zk().getAllChildrenNumber("/" + top);
        }
        eq(3 + others + suites, s.zk().getAllChildrenNumber("/"));
    }

    @Case(value = "those of the own session only", feature = "getEphemerals")
    static void ephemerals(Scene s) throws Exception {
        create(s.zk(), s.p("/p"));
        create(s.zk(), s.p("/p/e1"), CreateMode.EPHEMERAL);
        create(s.zk(), s.p("/p/e2"), CreateMode.EPHEMERAL);
        var other = s.connect();
        create(other, s.p("/p/e3"), CreateMode.EPHEMERAL);
        eq(List.of(s.p("/p/e1"), s.p("/p/e2")), sorted(s.zk().getEphemerals()));
        eq(List.of(s.p("/p/e3")), other.getEphemerals());
        eq(List.of(s.p("/p/e3")), other.getEphemerals("/"));
    }

    @Case(value = "the filter is a plain prefix", feature = "getEphemerals")
    static void ephemeralsPrefix(Scene s) throws Exception {
        for (String name : List.of("/a", "/ab", "/b")) {
            create(s.zk(), s.p(name), CreateMode.EPHEMERAL);
        }
        eq(List.of(s.p("/a"), s.p("/ab")), sorted(s.zk().getEphemerals(s.p("/a"))));
        eq(List.of(), s.zk().getEphemerals(s.p("/no")));
    }

    private static List<String> sorted(List<String> names) {
        List<String> copy = new ArrayList<>(names);
        copy.sort(null);
        return copy;
    }
}
