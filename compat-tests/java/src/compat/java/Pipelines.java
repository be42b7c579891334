package compat.java;

import static compat.harness.Check.eq;
import static compat.java.Znodes.OPEN;
import static compat.java.Znodes.bytes;
import static compat.java.Znodes.create;
import static compat.java.Znodes.stat;

import compat.harness.Case;
import compat.harness.Feature;
import compat.harness.Scene;
import compat.harness.Zk;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashSet;
import java.util.List;
import java.util.Set;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import org.apache.zookeeper.CreateMode;
import org.apache.zookeeper.KeeperException.Code;
import org.apache.zookeeper.data.Stat;

/** Many requests in flight. Source: PrepRequestProcessor (outstandingChanges), CommitProcessor. */
@Feature("pipelining")
final class Pipelines {
    @Case("validation sees writes that are not yet answered")
    static void uncommitted(Scene s) throws Exception {
        List<Code> codes = new ArrayList<>();
        String a = s.p("/a");
        s.zk();
        s.zk().create(a, null, OPEN, CreateMode.PERSISTENT, (int rc, String path, Object ctx, String name) -> codes.add(Code.get(rc)), null);
        s.zk().create(a, null, OPEN, CreateMode.PERSISTENT, (int rc, String path, Object ctx, String name) -> codes.add(Code.get(rc)), null);
        s.zk().getData(a, false, (int rc, String path, Object ctx, byte[] data, Stat stat) -> codes.add(Code.get(rc)), null);
        s.zk().delete(a, 5, (rc, path, ctx) -> codes.add(Code.get(rc)), null);
        s.zk().delete(a, 0, (rc, path, ctx) -> codes.add(Code.get(rc)), null);
        s.zk().exists(a, false, (rc, path, ctx, stat) -> codes.add(Code.get(rc)), null);
        s.zk().fence();
        eq(List.of(Code.OK, Code.NODEEXISTS, Code.OK, Code.BADVERSION, Code.OK, Code.NONODE), codes);
    }

    @Case("a read sees the connection's own writes before it and none after it")
    static void readOwnWrites(Scene s) throws Exception {
        List<byte[]> seen = new ArrayList<>();
        List<byte[]> expected = new ArrayList<>();
        create(s.zk(), s.p("/a"));
        for (int i = 0; i < 200; i++) {
            expected.add(bytes("" + i));
            s.zk().setData(s.p("/a"), bytes("" + i), i, (rc, path, ctx, stat) -> { }, null);
            s.zk().getData(s.p("/a"), false, (int rc, String path, Object ctx, byte[] data, Stat stat) -> seen.add(data), null);
        }
        s.zk().fence();
        eq(expected, seen);
    }

    @Case("versions and mzxids rise one by one")
    static void versions(Scene s) throws Exception {
        List<Stat> stats = new ArrayList<>();
        create(s.zk(), s.p("/a"));
        for (int i = 0; i < 200; i++) {
            s.zk().setData(s.p("/a"), null, -1, (rc, path, ctx, stat) -> stats.add(stat), null);
        }
        s.zk().fence();
        for (int i = 0; i < 200; i++) {
            eq(i + 1, stats.get(i).getVersion());
            eq(true, i == 0 || stats.get(i).getMzxid() > stats.get(i - 1).getMzxid());
        }
    }

    @Case("sequential creates of several sessions get distinct, dense numbers")
    static void sequences(Scene s) throws Exception {
        s.zk();
        int sessions = 4;
        int each = 100;
        Set<String> names = java.util.Collections.synchronizedSet(new HashSet<>());
        List<Zk> clients = new ArrayList<>();
        for (int i = 0; i < sessions; i++) {
            clients.add(s.connect());
        }
        for (int i = 0; i < each; i++) {
            for (Zk zk : clients) {
                zk.create(s.p("/n-"), null, OPEN, CreateMode.PERSISTENT_SEQUENTIAL, (int rc, String path, Object ctx, String name) -> names.add(name), null);
            }
        }
        for (Zk zk : clients) {
            zk.fence();
        }
        Set<String> expected = new HashSet<>();
        for (int i = 0; i < sessions * each; i++) {
            expected.add(String.format("%s%010d", s.p("/n-"), i));
        }
        eq(expected, Set.copyOf(names));
    }

    @Case("compare-and-set by several sessions loses no update")
    static void compareAndSet(Scene s) throws Exception {
        s.zk().create(s.p("/a"), bytes("0"), OPEN, CreateMode.PERSISTENT);
        List<Thread> threads = new ArrayList<>();
        CountDownLatch done = new CountDownLatch(3);
        for (int i = 0; i < 3; i++) {
            Zk zk = s.connect();
            Thread thread = new Thread(() -> {
                try {
                    for (int added = 0; added < 30;) {
                        added += increment(zk, s.p("/a"));
                    }
                    done.countDown();
                } catch (Exception e) {
                    // The latch is not counted down, so the case fails.
                    return;
                }
            });
            thread.setDaemon(true);
            thread.start();
            threads.add(thread);
        }
        eq(true, done.await(30, TimeUnit.SECONDS));
        eq(bytes("90"), s.zk().getData(s.p("/a"), false, null));
        eq(90, stat(s.zk(), s.p("/a")).getVersion());
    }

    private static int increment(Zk zk, String path) throws Exception {
        Stat stat = new Stat();
        int value = Integer.parseInt(new String(zk.getData(path, false, stat)));
        try {
            zk.setData(path, bytes("" + (value + 1)), stat.getVersion());
            return 1;
        } catch (org.apache.zookeeper.KeeperException.BadVersionException e) {
            return 0;
        }
    }

    @Case("requests before close are carried out and answered")
    static void close(Scene s) throws Exception {
        s.zk();
        Zk zk = s.connect();
        List<Integer> codes = new ArrayList<>();
        for (int i = 0; i < 50; i++) {
            zk.create(s.p("/n-"), null, OPEN, CreateMode.PERSISTENT_SEQUENTIAL, (int rc, String path, Object ctx, String name) -> codes.add(rc), null);
        }
        zk.close(15_000);
        eq(new ArrayList<>(java.util.Collections.nCopies(50, 0)), codes);
        eq(50, s.zk().getChildren(s.root(), false).size());
    }

    @Case("ephemerals still in flight when close follows are gone after it")
    static void closeEphemerals(Scene s) throws Exception {
        s.zk();
        Zk zk = s.connect();
        for (int i = 0; i < 50; i++) {
            zk.create(s.p("/e-"), null, OPEN, CreateMode.EPHEMERAL_SEQUENTIAL, (int rc, String path, Object ctx, String name) -> { }, null);
        }
        zk.close();
        eq(List.of(), s.zk().getChildren(s.root(), false));
        eq(100, stat(s.zk(), s.root()).getCversion());
    }

    @Case("a thousand reads and writes of large data in flight")
    static void large(Scene s) throws Exception {
        byte[] data = new byte[10_000];
        Arrays.fill(data, (byte) 'x');
        create(s.zk(), s.p("/a"));
        List<Integer> sizes = new ArrayList<>();
        for (int i = 0; i < 500; i++) {
            s.zk().setData(s.p("/a"), data, -1, (rc, path, ctx, stat) -> sizes.add(stat.getDataLength()), null);
            s.zk().getData(s.p("/a"), false, (int rc, String path, Object ctx, byte[] read, Stat stat) -> sizes.add(read.length), null);
        }
        s.zk().fence();
        eq(java.util.Collections.nCopies(1000, data.length), sizes);
    }
}
