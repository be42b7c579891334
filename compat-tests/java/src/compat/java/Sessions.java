package compat.java;

import static compat.harness.Check.code;
import static compat.harness.Check.eq;
import static compat.java.Znodes.OPEN;
import static compat.java.Znodes.create;
import static compat.java.Znodes.stat;

import compat.harness.Case;
import compat.harness.Check;
import compat.harness.Feature;
import compat.harness.Scene;
import compat.harness.Zk;
import java.util.List;
import org.apache.zookeeper.CreateMode;
import org.apache.zookeeper.KeeperException.Code;
import org.apache.zookeeper.Watcher.Event.KeeperState;
import org.apache.zookeeper.ZooKeeper.States;

/** Session ids, passwords, timeouts and ends. Source: ZooKeeperServer.processConnectRequest, SessionTrackerImpl, ExpiryQueue. */
@Feature("session")
final class Sessions {
    /** A timeout below the minimum of every server here, which raises it to the minimum. */
    private static final int SHORTEST_MS = 500;
    private static final int LIMIT_MS = 15_000;

    @Case("ids differ, passwords have 16 bytes")
    static void identity(Scene s) throws Exception {
        Zk one = s.connect();
        Zk two = s.connect();
        Check.that(one.getSessionId() != two.getSessionId() && one.getSessionId() != 0, "two ids that are not 0");
        eq(16, one.getSessionPasswd().length);
        Check.that(!java.util.Arrays.equals(one.getSessionPasswd(), two.getSessionPasswd()), "two passwords");
    }

    @Case("timeouts are clamped to 2 and 20 ticks, between them granted")
    static void timeouts(Scene s) throws Exception {
        int min = s.connect(SHORTEST_MS).getSessionTimeout();
        int max = s.connect(1_000_000_000).getSessionTimeout();
        eq(10 * min, max);
        eq(min, s.connect(min - 1).getSessionTimeout());
        eq(min + 1, s.connect(min + 1).getSessionTimeout());
        eq(max, s.connect(max + 1).getSessionTimeout());
    }

    @Case("resumed with id and password: same session, ephemerals stay")
    static void resume(Scene s) throws Exception {
        s.zk();
        Zk first = s.connect();
        create(first, s.p("/e"), CreateMode.EPHEMERAL);
        first.abandon();
        Zk second = s.resume(first.getSessionId(), first.getSessionPasswd()).awaitConnected();
        eq(first.getSessionId(), second.getSessionId());
        eq(first.getSessionPasswd(), second.getSessionPasswd());
        eq(List.of(s.p("/e")), second.getEphemerals());
        create(second, s.p("/e2"), CreateMode.EPHEMERAL);
        second.close();
        eq(List.of(), s.zk().getChildren(s.root(), false));
    }

    @Case("resuming makes no new session and uses no transaction of its own")
    static void resumeStat(Scene s) throws Exception {
        s.zk();
        Zk first = s.connect();
        create(first, s.p("/e"), CreateMode.EPHEMERAL);
        var before = stat(s.zk(), s.p("/e"));
        first.abandon();
        s.resume(first.getSessionId(), first.getSessionPasswd()).awaitConnected();
        eq(before, stat(s.zk(), s.p("/e")));
    }

    @Case("the watches of a resumed session's former client are gone")
    static void resumeWatches(Scene s) throws Exception {
        create(s.zk(), s.p("/a"));
        Zk first = s.connect();
        first.getData(s.p("/a"), true, null);
        first.abandon();
        Zk second = s.resume(first.getSessionId(), first.getSessionPasswd()).awaitConnected();
        s.zk().setData(s.p("/a"), null, -1);
        eq(List.of(), second.seen());
    }

    @Case("a wrong password is refused with Expired; the session lives on")
    static void wrongPassword(Scene s) throws Exception {
        s.zk();
        Zk owner = s.connect();
        create(owner, s.p("/e"), CreateMode.EPHEMERAL);
        owner.abandon();
        Zk thief = s.resume(owner.getSessionId(), new byte[16]);
        thief.events().awaitState(KeeperState.Expired, LIMIT_MS);
        code(Code.SESSIONEXPIRED, () -> thief.exists("/", false));
        Check.that(stat(s.zk(), s.p("/e")) != null, "the ephemeral znode");
        s.resume(owner.getSessionId(), owner.getSessionPasswd()).awaitConnected();
    }

    @Case("an unknown session is refused with Expired")
    static void unknown(Scene s) throws Exception {
        Zk zk = s.resume(0x7712345678L, new byte[16]);
        zk.events().awaitState(KeeperState.Expired, LIMIT_MS);
        eq(States.CLOSED, zk.getState());
    }

    @Case("a second connection takes the session over")
    static void takeover(Scene s) throws Exception {
        s.zk();
        Zk first = s.connect();
        create(first, s.p("/e"), CreateMode.EPHEMERAL);
        Zk second = s.resume(first.getSessionId(), first.getSessionPasswd());
        first.events().awaitState(KeeperState.Disconnected, LIMIT_MS);
        first.abandon();
        second.events().awaitState(KeeperState.SyncConnected, LIMIT_MS);
        eq(first.getSessionId(), second.getSessionId());
    }

    @Case("a take-over with a wrong password cuts the owner off, who comes back")
    static void failedTakeover(Scene s) throws Exception {
        Zk owner = s.connect();
        owner.events().forgetStates();
        Zk thief = s.resume(owner.getSessionId(), new byte[16]);
        thief.events().awaitState(KeeperState.Expired, LIMIT_MS);
        owner.events().awaitState(KeeperState.SyncConnected, LIMIT_MS);
        eq(List.of(KeeperState.Disconnected, KeeperState.SyncConnected), owner.events().states());
        owner.exists("/", false);
    }

    @Case("a closed session cannot be resumed")
    static void closed(Scene s) throws Exception {
        Zk first = s.connect();
        first.close();
        Zk second = s.resume(first.getSessionId(), first.getSessionPasswd());
        second.events().awaitState(KeeperState.Expired, LIMIT_MS);
    }

    @Case("close through a second connection ends the session for both")
    static void closedByOther(Scene s) throws Exception {
        s.zk();
        Zk first = s.connect();
        create(first, s.p("/e"), CreateMode.EPHEMERAL);
        first.abandon();
        s.resume(first.getSessionId(), first.getSessionPasswd()).awaitConnected().close();
        eq(null, stat(s.zk(), s.p("/e")));
        s.resume(first.getSessionId(), first.getSessionPasswd()).events().awaitState(KeeperState.Expired, LIMIT_MS);
    }

    @Case("the client's states: connected, and closed by itself")
    static void states(Scene s) throws Exception {
        Zk zk = s.connect();
        eq(States.CONNECTED, zk.getState());
        zk.close(LIMIT_MS);
        eq(List.of(KeeperState.SyncConnected, KeeperState.Closed), zk.events().states());
    }

    @Case("a client that may be read-only gets a full session")
    static void readOnlyClient(Scene s) throws Exception {
        var events = s.events();
        var zk = s.keep(new org.apache.zookeeper.ZooKeeper(s.servers(), Scene.SESSION_MS, events, true));
        events.awaitState(KeeperState.SyncConnected, LIMIT_MS);
        eq(States.CONNECTED, zk.getState());
        s.zk();
        zk.create(s.p("/a"), null, OPEN, CreateMode.PERSISTENT);
    }

    @Case(value = "an abandoned session ends after its timeout, not before", feature = "expiry")
    static void expires(Scene s) throws Exception {
        s.zk();
        Zk zk = s.connect(SHORTEST_MS);
        int timeoutMs = zk.getSessionTimeout();
        create(zk, s.p("/e"), CreateMode.EPHEMERAL);
        s.zk().exists(s.p("/e"), true);
        zk.exists("/", false);
        long abandoned = System.nanoTime();
        zk.abandon();
        eq("NodeDeleted /e", s.zk().events().nextText(LIMIT_MS));
        long tookMs = (System.nanoTime() - abandoned) / 1_000_000;
        Check.that(tookMs >= timeoutMs - 20, "at least " + timeoutMs + " ms, took " + tookMs);
        Check.that(tookMs <= timeoutMs * 3L, "not three times " + timeoutMs + " ms, took " + tookMs);
        s.resume(zk.getSessionId(), zk.getSessionPasswd()).events().awaitState(KeeperState.Expired, LIMIT_MS);
    }

    @Case(value = "all ephemerals of an expired session go in one transaction", feature = "expiry")
    static void expiresTogether(Scene s) throws Exception {
        create(s.zk(), s.p("/p"));
        create(s.zk(), s.p("/q"));
        Zk zk = s.connect(SHORTEST_MS);
        create(zk, s.p("/p/e"), CreateMode.EPHEMERAL);
        create(zk, s.p("/q/e"), CreateMode.EPHEMERAL);
        zk.abandon();
        Check.eventually(LIMIT_MS, "/p empty", () -> s.zk().getChildren(s.p("/p"), false).isEmpty());
        eq(List.of(), s.zk().getChildren(s.p("/q"), false));
        eq(stat(s.zk(), s.p("/p")).getPzxid(), stat(s.zk(), s.p("/q")).getPzxid());
        eq(2, stat(s.zk(), s.p("/q")).getCversion());
    }

    @Case(value = "pings keep an idle session alive", feature = "expiry")
    static void idle(Scene s) throws Exception {
        s.zk();
        Zk zk = s.connect(2_000);
        create(zk, s.p("/e"), CreateMode.EPHEMERAL);
        zk.events().forgetStates();
        Thread.sleep(3L * zk.getSessionTimeout());
        eq(List.of(), zk.events().states());
        Check.that(stat(s.zk(), s.p("/e")) != null, "the ephemeral znode");
    }

    @Case(value = "a client that comes back too late hears Expired", feature = "expiry")
    static void tooLate(Scene s) throws Exception {
        var proxy = s.proxy();
        s.zk();
        Zk zk = s.connectThrough(proxy, SHORTEST_MS);
        create(zk, s.p("/e"), CreateMode.EPHEMERAL);
        proxy.cut();
        Check.eventually(LIMIT_MS, "the ephemeral gone", () -> stat(s.zk(), s.p("/e")) == null);
        proxy.restore();
        zk.events().awaitState(KeeperState.Expired, LIMIT_MS);
        code(Code.SESSIONEXPIRED, () -> zk.exists("/", false));
        eq(List.of(KeeperState.SyncConnected, KeeperState.Disconnected, KeeperState.Expired), zk.events().states());
    }
}
