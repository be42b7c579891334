package compat.curator;

import static compat.curator.Clients.LIMIT_MS;
import static compat.curator.Clients.client;
import static compat.harness.Check.eq;

import compat.harness.Case;
import compat.harness.Check;
import compat.harness.Feature;
import compat.harness.Scene;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import org.apache.curator.framework.CuratorFramework;
import org.apache.curator.framework.recipes.atomic.AtomicValue;
import org.apache.curator.framework.recipes.atomic.CachedAtomicLong;
import org.apache.curator.framework.recipes.atomic.DistributedAtomicLong;
import org.apache.curator.framework.recipes.atomic.PromotedToLock;
import org.apache.curator.framework.recipes.shared.SharedCount;
import org.apache.curator.framework.recipes.shared.SharedCountListener;
import org.apache.curator.framework.recipes.shared.SharedCountReader;
import org.apache.curator.framework.state.ConnectionState;
import org.apache.curator.retry.RetryNTimes;

/** SharedCount and DistributedAtomicLong. */
@Feature("SharedCount")
final class Counters {
    private static SharedCount count(Scene s) throws Exception {
        SharedCount count = s.keep(new SharedCount(client(s), s.root(), 10));
        count.start();
        return count;
    }

    @Case("set, compare and set, and be told")
    static void sharedCount(Scene s) throws Exception {
        SharedCount mine = count(s);
        SharedCount theirs = count(s);
        LinkedBlockingQueue<Integer> heard = new LinkedBlockingQueue<>();
        theirs.addListener(new SharedCountListener() {
            @Override
            public void countHasChanged(SharedCountReader reader, int newCount) {
                heard.add(newCount);
            }

            @Override
            public void stateChanged(CuratorFramework client, ConnectionState state) {}
        });
        eq(10, theirs.getCount());
        var old = theirs.getVersionedValue();
        mine.setCount(11);
        Integer told = heard.poll(LIMIT_MS, TimeUnit.MILLISECONDS);
        // When Curator notices that its client is connected, it reports the current value again, possibly late.
        while (Integer.valueOf(10).equals(told)) {
            told = heard.poll(LIMIT_MS, TimeUnit.MILLISECONDS);
        }
        eq(11, told);
        eq(11, theirs.getCount());
        eq(false, theirs.trySetCount(old, 12));
        eq(true, theirs.trySetCount(theirs.getVersionedValue(), 13));
        Check.eventually(LIMIT_MS, "13 seen", () -> mine.getCount() == 13);
    }

    @Case(value = "increments of several clients add up", feature = "DistributedAtomicLong")
    static void atomicLong(Scene s) throws Exception {
        ExecutorService pool = Executors.newCachedThreadPool();
        List<Future<Integer>> workers = new ArrayList<>();
        for (int i = 0; i < 4; i++) {
            DistributedAtomicLong counter = atomicLong(s, client(s));
            workers.add(pool.submit(() -> {
                int succeeded = 0;
                for (int n = 0; n < 25; n++) {
                    succeeded += counter.increment().succeeded() ? 1 : 0;
                }
                return succeeded;
            }));
        }
        long sum = 0;
        for (Future<Integer> worker : workers) {
            sum += worker.get(LIMIT_MS, TimeUnit.MILLISECONDS);
        }
        pool.shutdownNow();
        eq(100, sum);
        eq(100, atomicLong(s, client(s)).get().postValue());
    }

    /** Returns a counter that takes a lock if it does not succeed at once. */
    static DistributedAtomicLong atomicLong(Scene s, CuratorFramework client) {
        PromotedToLock lock = PromotedToLock.builder().lockPath(s.p("-lock")).timeout(LIMIT_MS, TimeUnit.MILLISECONDS)
                .retryPolicy(new RetryNTimes(20, 10)).build();
        return new DistributedAtomicLong(client, s.root(), new RetryNTimes(3, 5), lock);
    }

    @Case(value = "add, subtract, compareAndSet, initialize", feature = "DistributedAtomicLong")
    static void atomicOperations(Scene s) throws Exception {
        DistributedAtomicLong counter = atomicLong(s, client(s));
        eq(true, counter.initialize(5L));
        eq(false, counter.initialize(6L));
        eq(8, counter.add(3L).postValue());
        AtomicValue<Long> less = counter.subtract(4L);
        eq(List.of(8L, 4L), List.of(less.preValue(), less.postValue()));
        eq(false, counter.compareAndSet(5L, 6L).succeeded());
        eq(true, counter.compareAndSet(4L, 6L).succeeded());
        eq(6, counter.get().postValue());
    }

    @Case(value = "a cached counter gives out every number once", feature = "DistributedAtomicLong")
    static void cached(Scene s) throws Exception {
        CachedAtomicLong one = new CachedAtomicLong(atomicLong(s, client(s)), 10);
        CachedAtomicLong two = new CachedAtomicLong(atomicLong(s, client(s)), 10);
        java.util.Set<Long> seen = new java.util.HashSet<>();
        for (int i = 0; i < 25; i++) {
            seen.add(one.next().postValue());
            seen.add(two.next().postValue());
        }
        eq(50, seen.size());
    }
}
