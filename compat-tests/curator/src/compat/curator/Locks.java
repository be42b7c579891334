package compat.curator;

import static compat.curator.Clients.LIMIT_MS;
import static compat.curator.Clients.client;
import static compat.curator.Clients.elsewhere;
import static compat.harness.Check.eq;
import static compat.harness.Check.that;

import compat.harness.Case;
import compat.harness.Check;
import compat.harness.Feature;
import compat.harness.Scene;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.atomic.AtomicInteger;
import org.apache.curator.framework.CuratorFramework;
import org.apache.curator.framework.recipes.locks.InterProcessLock;
import org.apache.curator.framework.recipes.locks.InterProcessMultiLock;
import org.apache.curator.framework.recipes.locks.InterProcessMutex;
import org.apache.curator.framework.recipes.locks.InterProcessReadWriteLock;
import org.apache.curator.framework.recipes.locks.InterProcessSemaphoreMutex;
import org.apache.curator.framework.recipes.locks.Revoker;

/** Mutexes, read-write locks, multi-locks. */
@Feature("InterProcessMutex")
final class Locks {
    private static final int REFUSED_MS = 300;

    static boolean tryLock(InterProcessLock lock, int limitMs) throws Exception {
        return lock.acquire(limitMs, TimeUnit.MILLISECONDS);
    }

    @Case("one holder at a time, reentrant, handed over on release")
    static void mutex(Scene s) throws Exception {
        InterProcessMutex mine = new InterProcessMutex(client(s), s.root());
        InterProcessMutex theirs = new InterProcessMutex(client(s), s.root());
        mine.acquire();
        mine.acquire();
        eq(false, elsewhere(() -> tryLock(theirs, REFUSED_MS)));
        mine.release();
        eq(false, elsewhere(() -> tryLock(theirs, REFUSED_MS)));
        mine.release();
        eq(true, elsewhere(() -> tryLock(theirs, LIMIT_MS)));
        eq(1, theirs.getParticipantNodes().size());
    }

    @Case("a waiter gets it when the holder closes its client")
    static void holderGone(Scene s) throws Exception {
        CuratorFramework holder = client(s);
        InterProcessMutex mine = new InterProcessMutex(holder, s.root());
        InterProcessMutex theirs = new InterProcessMutex(client(s), s.root());
        mine.acquire();
        eq(false, elsewhere(() -> tryLock(theirs, REFUSED_MS)));
        holder.close();
        eq(true, elsewhere(() -> tryLock(theirs, LIMIT_MS)));
    }

    @Case("many clients never hold it together")
    static void contention(Scene s) throws Exception {
        AtomicInteger inside = new AtomicInteger();
        AtomicInteger turns = new AtomicInteger();
        AtomicBoolean overlapped = new AtomicBoolean();
        List<Thread> threads = new ArrayList<>();
        for (int i = 0; i < 4; i++) {
            InterProcessMutex mutex = new InterProcessMutex(client(s), s.root());
            Thread thread = new Thread(() -> {
                try {
                    for (int turn = 0; turn < 15; turn++) {
                        mutex.acquire();
                        overlapped.compareAndSet(false, inside.incrementAndGet() != 1);
                        inside.decrementAndGet();
                        turns.incrementAndGet();
                        mutex.release();
                    }
                } catch (Exception e) {
                    // The sum then lacks this thread's turns.
                    return;
                }
            });
            thread.setDaemon(true);
            thread.start();
            threads.add(thread);
        }
        for (Thread thread : threads) {
            thread.join(LIMIT_MS);
        }
        eq(false, overlapped.get());
        eq(60, turns.get());
    }

    @Case("waiters get it in order of arrival")
    static void fair(Scene s) throws Exception {
        CuratorFramework client = client(s);
        InterProcessMutex holder = new InterProcessMutex(client, s.root());
        holder.acquire();
        List<Integer> order = java.util.Collections.synchronizedList(new ArrayList<>());
        for (int i = 0; i < 4; i++) {
            int mine = i;
            InterProcessMutex mutex = new InterProcessMutex(client(s), s.root());
            Thread thread = new Thread(() -> {
                try {
                    mutex.acquire();
                    order.add(mine);
                    mutex.release();
                } catch (Exception e) {
                    order.add(-1);
                }
            });
            thread.setDaemon(true);
            thread.start();
            int expected = i + 2;
            Check.eventually(LIMIT_MS, "waiter " + i + " queued", () -> holder.getParticipantNodes().size() == expected);
        }
        holder.release();
        Check.eventually(LIMIT_MS, order::toString, () -> order.size() == 4);
        eq(List.of(0, 1, 2, 3), order);
    }

    @Case("revocation asks the holder")
    static void revocation(Scene s) throws Exception {
        CuratorFramework client = client(s);
        InterProcessMutex mutex = new InterProcessMutex(client, s.root());
        AtomicBoolean asked = new AtomicBoolean();
        mutex.makeRevocable(lock -> asked.set(true));
        mutex.acquire();
        Revoker.attemptRevoke(client(s), mutex.getParticipantNodes().iterator().next());
        Check.eventually(LIMIT_MS, "the holder asked", asked::get);
    }

    @Case(value = "not reentrant, releasable by any thread", feature = "InterProcessSemaphoreMutex")
    static void semaphoreMutex(Scene s) throws Exception {
        InterProcessSemaphoreMutex mutex = new InterProcessSemaphoreMutex(client(s), s.root());
        mutex.acquire();
        eq(false, tryLock(mutex, REFUSED_MS));
        elsewhere(() -> {
            mutex.release();
            return null;
        });
        eq(true, tryLock(mutex, LIMIT_MS));
    }

    @Case(value = "readers share, a writer excludes", feature = "InterProcessReadWriteLock")
    static void readWrite(Scene s) throws Exception {
        InterProcessReadWriteLock one = new InterProcessReadWriteLock(client(s), s.root());
        InterProcessReadWriteLock two = new InterProcessReadWriteLock(client(s), s.root());
        one.readLock().acquire();
        eq(true, elsewhere(() -> {
            boolean got = tryLock(two.readLock(), LIMIT_MS);
            two.readLock().release();
            return got;
        }));
        eq(false, elsewhere(() -> tryLock(two.writeLock(), REFUSED_MS)));
        one.readLock().release();
        one.writeLock().acquire();
        eq(false, elsewhere(() -> tryLock(two.readLock(), REFUSED_MS)));
        one.readLock().acquire();
        one.writeLock().release();
        eq(true, elsewhere(() -> tryLock(two.readLock(), LIMIT_MS)));
    }

    @Case(value = "all or none", feature = "InterProcessMultiLock")
    static void multi(Scene s) throws Exception {
        CuratorFramework client = client(s);
        InterProcessMutex blocked = new InterProcessMutex(client(s), s.p("/b"));
        InterProcessMultiLock both = new InterProcessMultiLock(client, List.of(s.p("/a"), s.p("/b")));
        eq(true, tryLock(both, LIMIT_MS));
        eq(false, elsewhere(() -> tryLock(blocked, REFUSED_MS)));
        both.release();
        blocked.acquire();
        eq(false, elsewhere(() -> tryLock(both, REFUSED_MS)));
        that(elsewhere(() -> tryLock(new InterProcessMutex(client, s.p("/a")), LIMIT_MS)), "the first lock free again");
    }
}
