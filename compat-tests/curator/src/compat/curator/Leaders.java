package compat.curator;

import static compat.curator.Clients.LIMIT_MS;
import static compat.curator.Clients.client;
import static compat.harness.Check.eq;
import static compat.harness.Check.that;

import compat.harness.Case;
import compat.harness.Check;
import compat.harness.Feature;
import compat.harness.Scene;
import java.util.ArrayList;
import java.util.List;
import java.util.Set;
import java.util.TreeSet;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import java.util.stream.Collectors;
import org.apache.curator.framework.CuratorFramework;
import org.apache.curator.framework.recipes.leader.LeaderLatch;
import org.apache.curator.framework.recipes.leader.LeaderLatchListener;
import org.apache.curator.framework.recipes.leader.LeaderSelector;
import org.apache.curator.framework.recipes.leader.LeaderSelectorListenerAdapter;

/** LeaderLatch and LeaderSelector. */
@Feature("LeaderLatch")
final class Leaders {
    static LeaderLatch latch(Scene s, CuratorFramework client, String id) throws Exception {
        LeaderLatch latch = s.keep(new LeaderLatch(client, s.root(), id));
        latch.start();
        return latch;
    }

    static void awaitLeadership(LeaderLatch latch) throws Exception {
        that(latch.await(LIMIT_MS, TimeUnit.MILLISECONDS), latch.getId() + " to lead");
    }

    @Case("the first leads, the others follow in turn")
    static void turns(Scene s) throws Exception {
        List<LeaderLatch> latches = new ArrayList<>();
        for (String id : List.of("a", "b", "c")) {
            LeaderLatch latch = latch(s, client(s), id);
            latches.add(latch);
            Check.eventually(LIMIT_MS, id + " taking part", () -> latch.getParticipants().stream().anyMatch(p -> p.getId().equals(id)));
        }
        for (LeaderLatch latch : latches) {
            awaitLeadership(latch);
            eq(latch.getId(), latch.getLeader().getId());
            eq(1, latches.stream().filter(LeaderLatch::hasLeadership).count());
            latch.close();
        }
    }

    @Case("participants and listeners")
    static void participants(Scene s) throws Exception {
        LinkedBlockingQueue<String> heard = new LinkedBlockingQueue<>();
        LeaderLatch one = s.keep(new LeaderLatch(client(s), s.root(), "one", LeaderLatch.CloseMode.NOTIFY_LEADER));
        one.addListener(new LeaderLatchListener() {
            @Override
            public void isLeader() {
                heard.add("leader");
            }

            @Override
            public void notLeader() {
                heard.add("not leader");
            }
        });
        one.start();
        eq("leader", heard.poll(LIMIT_MS, TimeUnit.MILLISECONDS));
        LeaderLatch two = latch(s, client(s), "two");
        Check.eventually(LIMIT_MS, "two participants", () -> two.getParticipants().size() == 2);
        Set<String> ids = two.getParticipants().stream().map(p -> p.getId() + p.isLeader()).collect(Collectors.toCollection(TreeSet::new));
        eq(Set.of("onetrue", "twofalse"), ids);
        one.close();
        eq("not leader", heard.poll(LIMIT_MS, TimeUnit.MILLISECONDS));
        awaitLeadership(two);
    }

    @Case("the next leads when the leader's client goes")
    static void leaderGone(Scene s) throws Exception {
        CuratorFramework leading = client(s);
        awaitLeadership(latch(s, leading, "a"));
        LeaderLatch next = latch(s, client(s), "b");
        leading.close();
        awaitLeadership(next);
    }

    @Case(value = "each is leader in turn, again when requeued", feature = "LeaderSelector")
    static void selector(Scene s) throws Exception {
        LinkedBlockingQueue<String> led = new LinkedBlockingQueue<>();
        for (String id : List.of("a", "b")) {
            LeaderSelector selector = s.keep(new LeaderSelector(client(s), s.root(), new LeaderSelectorListenerAdapter() {
                @Override
                public void takeLeadership(CuratorFramework client) throws Exception {
                    led.add(id);
                    Thread.sleep(20);
                }
            }));
            selector.autoRequeue();
            selector.start();
        }
        List<String> seen = new ArrayList<>();
        while (seen.stream().filter("a"::equals).count() < 3 || seen.stream().filter("b"::equals).count() < 3) {
            String next = led.poll(LIMIT_MS, TimeUnit.MILLISECONDS);
            that(next != null, "another leader after " + seen);
            seen.add(next);
        }
    }

    @Case(value = "leadership lasts as long as takeLeadership", feature = "LeaderSelector")
    static void selectorHolds(Scene s) throws Exception {
        CountDownLatch done = new CountDownLatch(1);
        LinkedBlockingQueue<String> led = new LinkedBlockingQueue<>();
        List<LeaderSelector> selectors = new ArrayList<>();
        for (String id : List.of("a", "b")) {
            LeaderSelector selector = s.keep(new LeaderSelector(client(s), s.root(), new LeaderSelectorListenerAdapter() {
                @Override
                public void takeLeadership(CuratorFramework client) throws Exception {
                    led.add(id);
                    done.await();
                }
            }));
            selector.setId(id);
            selector.start();
            selectors.add(selector);
        }
        String first = led.poll(LIMIT_MS, TimeUnit.MILLISECONDS);
        Check.eventually(LIMIT_MS, "two participants", () -> selectors.get(0).getParticipants().size() == 2);
        eq(first, selectors.get(0).getLeader().getId());
        eq(null, led.poll());
        done.countDown();
        String second = led.poll(LIMIT_MS, TimeUnit.MILLISECONDS);
        that(second != null && !second.equals(first), "the other to lead");
    }
}
