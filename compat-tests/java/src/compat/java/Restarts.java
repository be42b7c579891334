package compat.java;

import static compat.harness.Check.code;
import static compat.harness.Check.eq;
import static compat.java.Acls.acl;
import static compat.java.Acls.acls;
import static compat.java.Acls.digest;
import static compat.java.Znodes.OPEN;
import static compat.java.Znodes.bytes;
import static compat.java.Znodes.create;
import static compat.java.Znodes.createOp;
import static compat.java.Znodes.stat;

import compat.harness.Case;
import compat.harness.Check;
import compat.harness.Feature;
import compat.harness.Scene;
import compat.harness.Wave;
import compat.harness.Zk;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.Set;
import java.util.TreeSet;
import org.apache.zookeeper.AddWatchMode;
import org.apache.zookeeper.CreateMode;
import org.apache.zookeeper.KeeperException.Code;
import org.apache.zookeeper.Op;
import org.apache.zookeeper.Watcher.Event.KeeperState;
import org.apache.zookeeper.ZooDefs.Perms;
import org.apache.zookeeper.data.ACL;
import org.apache.zookeeper.data.Stat;

/** The state of the server after a stop and after a kill. Source: FileTxnSnapLog, ZooKeeperServer.loadData. */
@Feature("restart")
final class Restarts {
    private static final String KILL = "kill9 start";

    /** Waits for the wave, then until this client is connected again. */
    private static Zk across(Scene s, Zk zk) throws Exception {
        zk.fence();
        zk.events().forgetStates();
        s.wave();
        return zk.awaitConnected();
    }

    @Case("Stats, data and ACLs survive")
    @Wave("restart")
    static void tree(Scene s) throws Exception {
        treeSurvives(s);
    }

    @Case(value = "Stats, data and ACLs survive", feature = "kill -9")
    @Wave(KILL)
    static void treeKilled(Scene s) throws Exception {
        treeSurvives(s);
    }

    private static void treeSurvives(Scene s) throws Exception {
        Zk zk = s.zk();
        List<ACL> list = acls(acl(Perms.ALL, "world", "anyone"), digest(Perms.READ, "ann:pw"));
        zk.create(s.p("/acl"), null, list, CreateMode.PERSISTENT);
        zk.create(s.p("/empty"), new byte[0], OPEN, CreateMode.PERSISTENT);
        create(zk, s.p("/c"), CreateMode.CONTAINER);
        zk.create(s.p("/t"), bytes("t"), OPEN, CreateMode.PERSISTENT_WITH_TTL, new Stat(), 86_400_000);
        create(zk, s.p("/changed"));
        zk.setData(s.p("/changed"), bytes("new"), 0);
        zk.setACL(s.p("/changed"), list, 0);
        zk.multi(List.of(createOp(s.p("/m")), createOp(s.p("/m/a")), Op.delete(s.p("/m/a"), 0)));
        List<String> paths = List.of("", "/acl", "/empty", "/c", "/t", "/changed", "/m");
        List<Stat> before = stats(s, paths);
        across(s, zk);
        eq(before, stats(s, paths));
        eq(list, zk.getACL(s.p("/acl"), null));
        eq(list, zk.getACL(s.p("/changed"), null));
        eq(null, zk.getData(s.p("/acl"), false, null));
        eq(new byte[0], zk.getData(s.p("/empty"), false, null));
        eq(bytes("new"), zk.getData(s.p("/changed"), false, null));
        eq(Set.of("acl", "empty", "c", "t", "changed", "m"), Set.copyOf(zk.getChildren(s.root(), false)));
    }

    private static List<Stat> stats(Scene s, List<String> paths) throws Exception {
        List<Stat> stats = new ArrayList<>();
        for (String path : paths) {
            stats.add(stat(s.zk(), s.p(path)));
        }
        return stats;
    }

    @Case("sequence counters go on")
    @Wave("restart")
    static void sequence(Scene s) throws Exception {
        create(s.zk(), s.p("/n-"), CreateMode.PERSISTENT_SEQUENTIAL);
        s.zk().delete(create(s.zk(), s.p("/n-"), CreateMode.PERSISTENT_SEQUENTIAL), -1);
        across(s, s.zk());
        eq(s.p("/n-0000000002"), create(s.zk(), s.p("/n-"), CreateMode.PERSISTENT_SEQUENTIAL));
    }

    @Case("zxids go on")
    @Wave("restart")
    static void zxids(Scene s) throws Exception {
        create(s.zk(), s.p("/a"));
        long before = stat(s.zk(), s.p("/a")).getCzxid();
        across(s, s.zk());
        create(s.zk(), s.p("/b"));
        Check.that(stat(s.zk(), s.p("/b")).getCzxid() > before, "a later czxid");
    }

    @Case("sessions and their ephemerals survive")
    @Wave("restart")
    static void session(Scene s) throws Exception {
        sessionSurvives(s);
    }

    @Case(value = "sessions and their ephemerals survive", feature = "kill -9")
    @Wave(KILL)
    static void sessionKilled(Scene s) throws Exception {
        sessionSurvives(s);
    }

    private static void sessionSurvives(Scene s) throws Exception {
        create(s.zk(), s.p("/e"), CreateMode.EPHEMERAL);
        long id = s.zk().getSessionId();
        Stat before = stat(s.zk(), s.p("/e"));
        across(s, s.zk());
        eq(List.of(KeeperState.Disconnected, KeeperState.SyncConnected), s.zk().events().states());
        eq(id, s.zk().getSessionId());
        eq(before, stat(s.zk(), s.p("/e")));
        eq(List.of(s.p("/e")), s.zk().getEphemerals());
        Zk other = s.connect();
        s.zk().close();
        eq(null, stat(other, s.p("/e")));
    }

    @Case("the ephemerals of a closed session stay gone")
    @Wave(KILL)
    static void closedSession(Scene s) throws Exception {
        s.zk();
        Zk gone = s.connect();
        create(gone, s.p("/e"), CreateMode.EPHEMERAL);
        gone.close();
        across(s, s.zk());
        eq(List.of(), s.zk().getChildren(s.root(), false));
        s.resume(gone.getSessionId(), gone.getSessionPasswd()).events().awaitState(KeeperState.Expired, Zk.CONNECT_LIMIT_MS);
    }

    @Case("an abandoned session expires after the restart")
    @Wave("restart")
    static void abandoned(Scene s) throws Exception {
        s.zk();
        Zk gone = s.connect(500);
        create(gone, s.p("/e"), CreateMode.EPHEMERAL);
        gone.abandon();
        across(s, s.zk());
        Check.eventually(15_000, "the ephemeral gone", () -> s.zk().getChildren(s.root(), false).isEmpty());
    }

    @Case("one-shot watches are registered again")
    @Wave("restart")
    static void watches(Scene s) throws Exception {
        create(s.zk(), s.p("/a"));
        s.zk().getData(s.p("/a"), true, null);
        s.zk().exists(s.p("/b"), true);
        s.zk().getChildren(s.root(), true);
        across(s, s.zk());
        eq(List.of(), s.zk().seen());
        Zk other = s.connect();
        other.setData(s.p("/a"), null, -1);
        create(other, s.p("/b"));
        eq(List.of("NodeDataChanged /a", "NodeCreated /b", "NodeChildrenChanged "), s.zk().seen());
    }

    @Case("persistent watches are registered again")
    @Wave(KILL)
    static void persistentWatches(Scene s) throws Exception {
        s.zk().addWatch(s.root(), AddWatchMode.PERSISTENT_RECURSIVE);
        s.zk().addWatch(s.p("/p"), AddWatchMode.PERSISTENT);
        across(s, s.zk());
        create(s.zk(), s.p("/p"));
        create(s.zk(), s.p("/p/a"));
        eq(List.of("NodeCreated /p", "NodeCreated /p/a", "NodeChildrenChanged /p"), s.zk().seen());
    }

    @Case("identities are presented again")
    @Wave("restart")
    static void identities(Scene s) throws Exception {
        s.zk();
        Zk ann = Acls.authenticated(s, "ann:pw");
        ann.create(s.p("/a"), bytes("x"), acls(digest(Perms.ALL, "ann:pw")), CreateMode.PERSISTENT);
        across(s, ann);
        eq(bytes("x"), ann.getData(s.p("/a"), false, null));
        Zk other = s.connect();
        code(Code.NOAUTH, () -> other.getData(s.p("/a"), false, null));
    }

    @Case("quota usage goes on being counted")
    @Wave("restart")
    static void quota(Scene s) throws Exception {
        Quotas.limit(s, "count=10,bytes=1000");
        create(s.zk(), s.p("/a"));
        across(s, s.zk());
        create(s.zk(), s.p("/b"));
        Quotas.usage(s, 3, 8);
    }

    @Case(value = "answered writes are there, unanswered ones entirely or not at all", feature = "kill -9")
    @Wave(KILL)
    static void acknowledged(Scene s) throws Exception {
        Set<String> answered = Collections.synchronizedSet(new TreeSet<>());
        s.zk();
        Zk writer = s.connect();
        Thread load = new Thread(() -> {
            for (int i = 0; i < 200_000 && !Thread.currentThread().isInterrupted(); i++) {
                String name = "w" + i;
                writer.multi(List.of(createOp(s.p("/" + name)), createOp(s.p("/" + name + "-twin"))), (rc, path, ctx, results) -> {
                    if (rc == 0) {
                        answered.add(name);
                    }
                }, null);
                pause(i);
            }
        });
        load.setDaemon(true);
        load.start();
        Check.eventually(10_000, "some writes", () -> answered.size() > 200);
        s.wave();
        load.interrupt();
        load.join();
        writer.events().awaitState(KeeperState.Disconnected, Zk.CONNECT_LIMIT_MS);
        Zk reader = s.connect();
        Set<String> found = new TreeSet<>(reader.getChildren(s.root(), false));
        Set<String> lost = new TreeSet<>(answered);
        lost.removeAll(found);
        eq("lost", Set.of(), lost);
        eq("torn", 0, found.stream().filter(name -> !name.endsWith("-twin") && !found.contains(name + "-twin")).count());
    }

    /** Keeps the load at some thousand writes a second, on the machine that also runs the server. */
    private static void pause(int sent) {
        try {
            if (sent % 8 == 0) {
                Thread.sleep(2);
            }
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
        }
    }

    @Case(value = "a request while the server is down fails with ConnectionLoss, the next after it succeeds", feature = "restart")
    @Wave("stop start")
    static void stopped(Scene s) throws Exception {
        Zk zk = s.zk();
        create(zk, s.p("/a"));
        zk.events().forgetStates();
        List<Integer> codes = Collections.synchronizedList(new ArrayList<>());
        Thread asking = new Thread(() -> {
            while (!Thread.currentThread().isInterrupted() && !codes.contains(Code.CONNECTIONLOSS.intValue())) {
                zk.exists(s.p("/a"), false, (rc, path, ctx, stat) -> codes.add(rc), null);
                pause(0);
            }
        });
        asking.setDaemon(true);
        asking.start();
        s.wave();
        zk.awaitConnected();
        asking.interrupt();
        eq(Set.of(Code.OK.intValue(), Code.CONNECTIONLOSS.intValue()), Set.copyOf(codes));
        Check.that(stat(zk, s.p("/a")) != null, "the znode");
    }

    @Case(value = "a short pause delays replies and costs nothing else", feature = "pause")
    @Wave("pause wait resume")
    static void paused(Scene s) throws Exception {
        Zk zk = s.zk();
        create(zk, s.p("/e"), CreateMode.EPHEMERAL);
        zk.getData(s.p("/e"), true, null);
        zk.fence();
        zk.events().forgetStates();
        s.wave();
        zk.setData(s.p("/e"), null, 0);
        eq(List.of("NodeDataChanged /e"), zk.seen());
        eq(List.of(), zk.events().states());
    }
}
