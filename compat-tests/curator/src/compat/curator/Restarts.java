package compat.curator;

import static compat.curator.Clients.LIMIT_MS;
import static compat.curator.Clients.bytes;
import static compat.curator.Clients.client;
import static compat.curator.Clients.create;
import static compat.curator.Clients.elsewhere;
import static compat.curator.Clients.text;
import static compat.harness.Check.eq;
import static compat.harness.Check.that;

import compat.harness.Case;
import compat.harness.Check;
import compat.harness.Feature;
import compat.harness.Scene;
import compat.harness.Wave;
import java.util.List;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import org.apache.curator.framework.CuratorFramework;
import org.apache.curator.framework.recipes.atomic.DistributedAtomicLong;
import org.apache.curator.framework.recipes.leader.LeaderLatch;
import org.apache.curator.framework.recipes.locks.InterProcessMutex;
import org.apache.curator.framework.recipes.nodes.PersistentNode;
import org.apache.curator.framework.recipes.queue.SimpleDistributedQueue;
import org.apache.curator.framework.state.ConnectionState;

/** Recipes across a restart of the server, which sessions survive. */
@Feature("restart")
final class Restarts {
    private static final String KILL = "kill9 start";

    @Case("the client reports SUSPENDED and RECONNECTED, never LOST")
    @Wave("restart")
    static void states(Scene s) throws Exception {
        CuratorFramework client = client(s);
        List<ConnectionState> states = Clients.states(client);
        long session = client.getZookeeperClient().getZooKeeper().getSessionId();
        s.wave();
        Check.eventually(LIMIT_MS, states::toString, () -> states.contains(ConnectionState.RECONNECTED));
        eq(List.of(ConnectionState.SUSPENDED, ConnectionState.RECONNECTED), List.copyOf(states));
        eq(session, client.getZookeeperClient().getZooKeeper().getSessionId());
    }

    @Case("a mutex stays held")
    @Wave("restart")
    static void mutex(Scene s) throws Exception {
        mutexHeld(s);
    }

    @Case(value = "a mutex stays held", feature = "kill -9")
    @Wave(KILL)
    static void mutexKilled(Scene s) throws Exception {
        mutexHeld(s);
    }

    private static void mutexHeld(Scene s) throws Exception {
        InterProcessMutex mine = new InterProcessMutex(client(s), s.root());
        InterProcessMutex theirs = new InterProcessMutex(client(s), s.root());
        mine.acquire();
        s.wave();
        eq(1, mine.getParticipantNodes().size());
        eq(false, elsewhere(() -> Locks.tryLock(theirs, 500)));
        mine.release();
        eq(true, elsewhere(() -> Locks.tryLock(theirs, LIMIT_MS)));
    }

    @Case("a waiting mutex gets its turn after it")
    @Wave("restart")
    static void waiter(Scene s) throws Exception {
        InterProcessMutex holder = new InterProcessMutex(client(s), s.root());
        InterProcessMutex waiting = new InterProcessMutex(client(s), s.root());
        holder.acquire();
        var turn = new java.util.concurrent.FutureTask<>(() -> Locks.tryLock(waiting, 2 * LIMIT_MS));
        Thread thread = new Thread(turn);
        thread.setDaemon(true);
        thread.start();
        Check.eventually(LIMIT_MS, "the waiter queued", () -> holder.getParticipantNodes().size() == 2);
        s.wave();
        holder.release();
        that(turn.get(LIMIT_MS, TimeUnit.MILLISECONDS), "the waiter's turn");
    }

    @Case("a leader latch leads again")
    @Wave("restart")
    static void latch(Scene s) throws Exception {
        LeaderLatch latch = Leaders.latch(s, client(s), "a");
        Leaders.awaitLeadership(latch);
        s.wave();
        Check.eventually(LIMIT_MS, "leadership", () -> latch.hasLeadership() && latch.getParticipants().size() == 1);
    }

    @Case("of two leader latches one leads afterwards")
    @Wave(KILL)
    static void latches(Scene s) throws Exception {
        LeaderLatch one = Leaders.latch(s, client(s), "a");
        Leaders.awaitLeadership(one);
        LeaderLatch two = Leaders.latch(s, client(s), "b");
        Check.eventually(LIMIT_MS, "two participants", () -> two.getParticipants().size() == 2);
        s.wave();
        Check.eventually(LIMIT_MS, "one leader of two", () -> two.getParticipants().size() == 2 && one.hasLeadership() != two.hasLeadership());
    }

    @Case("a cache goes on, with every change after it")
    @Wave("restart")
    static void cache(Scene s) throws Exception {
        cacheGoesOn(s);
    }

    @Case(value = "a cache goes on, with every change after it", feature = "kill -9")
    @Wave(KILL)
    static void cacheKilled(Scene s) throws Exception {
        cacheGoesOn(s);
    }

    private static void cacheGoesOn(Scene s) throws Exception {
        CuratorFramework other = client(s);
        create(other, s.p("/a"), "1");
        create(other, s.p("/b"), "1");
        other.setData().forPath(s.root(), bytes("r"));
        Caches.Cached cached = Caches.Cached.start(s, client(s));
        s.wave();
        other.setData().forPath(s.p("/a"), bytes("2"));
        other.delete().forPath(s.p("/b"));
        create(other, s.p("/c"), "3");
        var expected = java.util.Set.of("=r", "/a=2", "/c=3");
        Check.eventually(LIMIT_MS, () -> cached.paths(s).toString(), () -> cached.paths(s).equals(expected));
    }

    @Case("persistent nodes stay")
    @Wave("restart")
    static void node(Scene s) throws Exception {
        CuratorFramework other = client(s);
        PersistentNode node = Nodes.ephemeral(s, client(s));
        long czxid = other.checkExists().forPath(s.p("/node")).getCzxid();
        s.wave();
        eq(czxid, other.checkExists().forPath(s.p("/node")).getCzxid());
        eq(s.p("/node"), node.getActualPath());
    }

    @Case("a queue keeps its items")
    @Wave(KILL)
    static void queue(Scene s) throws Exception {
        SimpleDistributedQueue queue = new SimpleDistributedQueue(client(s), s.root());
        for (int i = 0; i < 5; i++) {
            queue.offer(bytes("item" + i));
        }
        s.wave();
        for (int i = 0; i < 5; i++) {
            eq("item" + i, text(queue.poll()));
        }
    }

    @Case(value = "a counter loses no increment that succeeded", feature = "kill -9")
    @Wave(KILL)
    static void counter(Scene s) throws Exception {
        DistributedAtomicLong counter = Counters.atomicLong(s, client(s));
        AtomicInteger succeeded = new AtomicInteger();
        AtomicInteger failed = new AtomicInteger();
        Thread counting = new Thread(() -> {
            while (!Thread.currentThread().isInterrupted() && succeeded.get() + failed.get() < 20_000) {
                try {
                    succeeded.addAndGet(counter.increment().succeeded() ? 1 : 0);
                } catch (Exception e) {
                    failed.incrementAndGet();
                }
            }
        });
        counting.setDaemon(true);
        counting.start();
        Check.eventually(LIMIT_MS, "some increments", () -> succeeded.get() > 50);
        s.wave();
        int before = succeeded.get();
        Check.eventually(LIMIT_MS, "increments after the restart", () -> succeeded.get() > before + 20);
        counting.interrupt();
        counting.join(LIMIT_MS);
        long value = Counters.atomicLong(s, client(s)).get().postValue();
        // The value may be higher, because Curator repeats an increment whose reply was lost.
        that(value >= succeeded.get(), "at least " + succeeded + ", got " + value);
    }
}
