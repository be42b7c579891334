package compat.curator;

import static compat.curator.Clients.LIMIT_MS;
import static compat.curator.Clients.client;
import static compat.curator.Clients.create;
import static compat.curator.Clients.endSession;
import static compat.harness.Check.eq;
import static compat.harness.Check.that;

import compat.harness.Case;
import compat.harness.Check;
import compat.harness.Feature;
import compat.harness.Scene;
import java.util.List;
import java.util.concurrent.TimeUnit;
import org.apache.curator.framework.CuratorFramework;
import org.apache.curator.framework.recipes.leader.LeaderLatch;
import org.apache.curator.framework.recipes.locks.InterProcessMutex;
import org.apache.curator.framework.state.ConnectionState;

/** Curator's reaction to a session that the server has ended. */
@Feature("lost session")
final class LostSessions {
    @Case("the client reports it and goes on with a new one")
    static void states(Scene s) throws Exception {
        CuratorFramework client = client(s);
        List<ConnectionState> states = Clients.states(client);
        long before = client.getZookeeperClient().getZooKeeper().getSessionId();
        endSession(s, client);
        Check.eventually(LIMIT_MS, states::toString, () -> states.contains(ConnectionState.RECONNECTED));
        eq(List.of(ConnectionState.SUSPENDED, ConnectionState.LOST, ConnectionState.RECONNECTED), List.copyOf(states));
        that(client.getZookeeperClient().getZooKeeper().getSessionId() != before, "another session");
        client.create().forPath(s.root());
    }

    @Case("its mutex is free for others")
    static void mutex(Scene s) throws Exception {
        CuratorFramework holder = client(s);
        new InterProcessMutex(holder, s.root()).acquire();
        endSession(s, holder);
        InterProcessMutex other = new InterProcessMutex(client(s), s.root());
        eq(true, other.acquire(LIMIT_MS, TimeUnit.MILLISECONDS));
    }

    @Case("a waiting mutex still gets its turn")
    static void waitingMutex(Scene s) throws Exception {
        InterProcessMutex holder = new InterProcessMutex(client(s), s.root());
        holder.acquire();
        CuratorFramework waiting = client(s);
        InterProcessMutex waiter = new InterProcessMutex(waiting, s.root());
        var turn = new java.util.concurrent.FutureTask<>(() -> waiter.acquire(LIMIT_MS, TimeUnit.MILLISECONDS));
        Thread thread = new Thread(turn);
        thread.setDaemon(true);
        thread.start();
        Check.eventually(LIMIT_MS, "the waiter queued", () -> holder.getParticipantNodes().size() == 2);
        waiting.getZookeeperClient().getZooKeeper().getTestable().closeSocket();
        holder.release();
        eq(true, turn.get(LIMIT_MS, TimeUnit.MILLISECONDS));
    }

    @Case("a persistent node is made again")
    static void node(Scene s) throws Exception {
        CuratorFramework owner = client(s);
        Nodes.ephemeral(s, owner);
        CuratorFramework other = client(s);
        long before = other.checkExists().forPath(s.p("/node")).getEphemeralOwner();
        endSession(s, owner);
        Check.eventually(LIMIT_MS, "the znode of the new session", () -> {
            var stat = other.checkExists().forPath(s.p("/node"));
            return stat != null && stat.getEphemeralOwner() != before;
        });
    }

    @Case("leadership passes on, and the former leader stands again")
    static void latch(Scene s) throws Exception {
        CuratorFramework leading = client(s);
        LeaderLatch first = Leaders.latch(s, leading, "a");
        Leaders.awaitLeadership(first);
        LeaderLatch second = Leaders.latch(s, client(s), "b");
        Check.eventually(LIMIT_MS, "two participants", () -> second.getParticipants().size() == 2);
        endSession(s, leading);
        Leaders.awaitLeadership(second);
        second.close();
        Leaders.awaitLeadership(first);
    }

    @Case("a cache resyncs and goes on")
    static void cache(Scene s) throws Exception {
        CuratorFramework client = client(s);
        CuratorFramework other = client(s);
        create(other, s.p("/a"), "1");
        Caches.Cached cached = Caches.Cached.start(s, client);
        endSession(s, client);
        create(other, s.p("/b"), "2");
        Check.eventually(LIMIT_MS, () -> cached.paths(s).toString(), () -> cached.cache().get(s.p("/b")).isPresent());
        other.delete().forPath(s.p("/a"));
        Check.eventually(LIMIT_MS, () -> cached.paths(s).toString(), () -> cached.cache().get(s.p("/a")).isEmpty());
    }
}
