package compat.curator;

import static compat.curator.Clients.LIMIT_MS;
import static compat.curator.Clients.client;
import static compat.harness.Check.eq;
import static compat.harness.Check.that;

import compat.harness.Case;
import compat.harness.Feature;
import compat.harness.Scene;
import java.util.concurrent.TimeUnit;
import org.apache.curator.framework.recipes.locks.InterProcessSemaphoreV2;
import org.apache.curator.framework.recipes.locks.Lease;
import org.apache.curator.framework.recipes.shared.SharedCount;

/** InterProcessSemaphoreV2. */
@Feature("InterProcessSemaphoreV2")
final class Semaphores {
    private static Lease tryAcquire(InterProcessSemaphoreV2 semaphore, int limitMs) throws Exception {
        return semaphore.acquire(limitMs, TimeUnit.MILLISECONDS);
    }

    @Case("as many leases as there are, one more after a return")
    static void leases(Scene s) throws Exception {
        InterProcessSemaphoreV2 one = new InterProcessSemaphoreV2(client(s), s.root(), 3);
        InterProcessSemaphoreV2 two = new InterProcessSemaphoreV2(client(s), s.root(), 3);
        var held = one.acquire(2);
        that(tryAcquire(two, LIMIT_MS) != null, "the third lease");
        eq(null, tryAcquire(two, 300));
        one.returnLease(held.iterator().next());
        that(tryAcquire(two, LIMIT_MS) != null, "the lease given back");
        eq(3, one.getParticipantNodes().size());
    }

    @Case("leases of a client that goes are free")
    static void clientGone(Scene s) throws Exception {
        var client = client(s);
        that(tryAcquire(new InterProcessSemaphoreV2(client, s.root(), 1), LIMIT_MS) != null, "the lease");
        InterProcessSemaphoreV2 waiting = new InterProcessSemaphoreV2(client(s), s.root(), 1);
        eq(null, tryAcquire(waiting, 300));
        client.close();
        that(tryAcquire(waiting, LIMIT_MS) != null, "the lease again");
    }

    @Case("a shared count sets the number of leases")
    static void counted(Scene s) throws Exception {
        var client = client(s);
        SharedCount count = s.keep(new SharedCount(client, s.p("/count"), 1));
        count.start();
        InterProcessSemaphoreV2 semaphore = new InterProcessSemaphoreV2(client, s.p("/leases"), count);
        that(tryAcquire(semaphore, LIMIT_MS) != null, "the first lease");
        eq(null, tryAcquire(semaphore, 300));
        count.setCount(2);
        that(tryAcquire(semaphore, LIMIT_MS) != null, "the second lease");
    }
}
