package compat.curator;

import static compat.curator.Clients.LIMIT_MS;
import static compat.curator.Clients.client;
import static compat.harness.Check.eq;

import compat.harness.Case;
import compat.harness.Feature;
import compat.harness.Scene;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import org.apache.curator.framework.recipes.barriers.DistributedBarrier;
import org.apache.curator.framework.recipes.barriers.DistributedDoubleBarrier;

/** DistributedBarrier and DistributedDoubleBarrier. */
@Feature("DistributedBarrier")
final class Barriers {
    @Case("holds until it is removed; no barrier, no waiting")
    static void barrier(Scene s) throws Exception {
        DistributedBarrier mine = new DistributedBarrier(client(s), s.root());
        DistributedBarrier theirs = new DistributedBarrier(client(s), s.root());
        eq(true, theirs.waitOnBarrier(LIMIT_MS, TimeUnit.MILLISECONDS));
        mine.setBarrier();
        eq(false, theirs.waitOnBarrier(300, TimeUnit.MILLISECONDS));
        ExecutorService pool = Executors.newCachedThreadPool();
        Future<Boolean> waiting = pool.submit(() -> theirs.waitOnBarrier(LIMIT_MS, TimeUnit.MILLISECONDS));
        mine.removeBarrier();
        eq(true, waiting.get(LIMIT_MS, TimeUnit.MILLISECONDS));
        pool.shutdownNow();
    }

    @Case(value = "all enter together and leave together", feature = "DistributedDoubleBarrier")
    static void doubleBarrier(Scene s) throws Exception {
        int members = 4;
        AtomicInteger arrived = new AtomicInteger();
        AtomicInteger leaving = new AtomicInteger();
        ExecutorService pool = Executors.newFixedThreadPool(members);
        List<Future<Boolean>> results = new ArrayList<>();
        for (int i = 0; i < members; i++) {
            DistributedDoubleBarrier barrier = new DistributedDoubleBarrier(client(s), s.root(), members);
            results.add(pool.submit(() -> {
                arrived.incrementAndGet();
                boolean entered = barrier.enter(LIMIT_MS, TimeUnit.MILLISECONDS) && arrived.get() == members;
                leaving.incrementAndGet();
                return entered && barrier.leave(LIMIT_MS, TimeUnit.MILLISECONDS) && leaving.get() == members;
            }));
        }
        for (Future<Boolean> result : results) {
            eq(true, result.get(LIMIT_MS, TimeUnit.MILLISECONDS));
        }
        pool.shutdownNow();
    }

    @Case(value = "too few members: nobody enters", feature = "DistributedDoubleBarrier")
    static void tooFew(Scene s) throws Exception {
        DistributedDoubleBarrier barrier = new DistributedDoubleBarrier(client(s), s.root(), 2);
        eq(false, barrier.enter(300, TimeUnit.MILLISECONDS));
    }
}
