package compat.curator;

import static compat.curator.Clients.LIMIT_MS;
import static compat.curator.Clients.bytes;
import static compat.curator.Clients.client;
import static compat.curator.Clients.text;
import static compat.harness.Check.eq;
import static compat.harness.Check.that;

import compat.harness.Case;
import compat.harness.Feature;
import compat.harness.Scene;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import org.apache.curator.framework.CuratorFramework;
import org.apache.curator.framework.recipes.queue.DistributedDelayQueue;
import org.apache.curator.framework.recipes.queue.DistributedIdQueue;
import org.apache.curator.framework.recipes.queue.DistributedPriorityQueue;
import org.apache.curator.framework.recipes.queue.DistributedQueue;
import org.apache.curator.framework.recipes.queue.QueueBuilder;
import org.apache.curator.framework.recipes.queue.QueueConsumer;
import org.apache.curator.framework.recipes.queue.QueueSerializer;
import org.apache.curator.framework.recipes.queue.SimpleDistributedQueue;
import org.apache.curator.framework.state.ConnectionState;

/** The queues. */
@Feature("DistributedQueue")
final class Queues {
    private static final QueueSerializer<String> TEXT = new QueueSerializer<>() {
        @Override
        public byte[] serialize(String item) {
            return bytes(item);
        }

        @Override
        public String deserialize(byte[] bytes) {
            return text(bytes);
        }
    };

    /** A consumer that keeps its items. */
    private static final class Consumer implements QueueConsumer<String> {
        private final LinkedBlockingQueue<String> items = new LinkedBlockingQueue<>();

        @Override
        public void consumeMessage(String message) {
            items.add(message);
        }

        @Override
        public void stateChanged(CuratorFramework client, ConnectionState state) {}

        List<String> take(int count) throws InterruptedException {
            List<String> taken = new ArrayList<>();
            while (taken.size() < count) {
                String item = items.poll(LIMIT_MS, TimeUnit.MILLISECONDS);
                that(item != null, count + " items, got " + taken);
                taken.add(item);
            }
            return taken;
        }
    }

    private static QueueBuilder<String> builder(Scene s, CuratorFramework client, Consumer consumer) {
        return QueueBuilder.builder(client, consumer, TEXT, s.p("/queue"));
    }

    @Case("first in, first out, between two clients")
    static void fifo(Scene s) throws Exception {
        DistributedQueue<String> in = s.keep(builder(s, client(s), null).buildQueue());
        in.start();
        List<String> expected = new ArrayList<>();
        for (int i = 0; i < 20; i++) {
            in.put("item" + i);
            expected.add("item" + i);
        }
        in.flushPuts(LIMIT_MS, TimeUnit.MILLISECONDS);
        Consumer consumer = new Consumer();
        DistributedQueue<String> out = s.keep(builder(s, client(s), consumer).buildQueue());
        out.start();
        eq(expected, consumer.take(20));
    }

    @Case("two consumers share the items, each once")
    static void shared(Scene s) throws Exception {
        Consumer consumer = new Consumer();
        for (int i = 0; i < 2; i++) {
            DistributedQueue<String> out = s.keep(builder(s, client(s), consumer).lockPath(s.p("/lock")).buildQueue());
            out.start();
        }
        DistributedQueue<String> in = s.keep(builder(s, client(s), null).buildQueue());
        in.start();
        for (int i = 0; i < 30; i++) {
            in.put("item" + i);
        }
        eq(30, java.util.Set.copyOf(consumer.take(30)).size());
    }

    @Case(value = "removed by id", feature = "DistributedIdQueue")
    static void byId(Scene s) throws Exception {
        DistributedIdQueue<String> in = s.keep(builder(s, client(s), null).buildIdQueue());
        in.start();
        in.put("a", "id-a");
        in.put("b", "id-b");
        in.put("c", "id-c");
        in.flushPuts(LIMIT_MS, TimeUnit.MILLISECONDS);
        eq(1, in.remove("id-b"));
        eq(0, in.remove("id-x"));
        Consumer consumer = new Consumer();
        DistributedIdQueue<String> out = s.keep(builder(s, client(s), consumer).buildIdQueue());
        out.start();
        eq(List.of("a", "c"), consumer.take(2));
    }

    @Case(value = "lowest priority first", feature = "DistributedPriorityQueue")
    static void priority(Scene s) throws Exception {
        DistributedPriorityQueue<String> in = s.keep(builder(s, client(s), null).buildPriorityQueue(0));
        in.start();
        in.put("late", 30);
        in.put("soon", -5);
        in.put("middle", 7);
        in.flushPuts(LIMIT_MS, TimeUnit.MILLISECONDS);
        Consumer consumer = new Consumer();
        DistributedPriorityQueue<String> out = s.keep(builder(s, client(s), consumer).buildPriorityQueue(0));
        out.start();
        eq(List.of("soon", "middle", "late"), consumer.take(3));
    }

    @Case(value = "an item comes at its time", feature = "DistributedDelayQueue")
    static void delay(Scene s) throws Exception {
        Consumer consumer = new Consumer();
        DistributedDelayQueue<String> queue = s.keep(builder(s, client(s), consumer).buildDelayQueue());
        queue.start();
        long start = System.currentTimeMillis();
        queue.put("second", start + 1_200);
        queue.put("first", start + 600);
        eq(List.of("first", "second"), consumer.take(2));
        that(System.currentTimeMillis() >= start + 1_200, "the items not before their time");
    }

    @Case(value = "offer, peek, poll, take, with and without waiting", feature = "SimpleDistributedQueue")
    static void simple(Scene s) throws Exception {
        SimpleDistributedQueue in = new SimpleDistributedQueue(client(s), s.root());
        SimpleDistributedQueue out = new SimpleDistributedQueue(client(s), s.root());
        eq(null, out.poll());
        eq(null, out.poll(200, TimeUnit.MILLISECONDS));
        in.offer(bytes("a"));
        in.offer(bytes("b"));
        in.offer(bytes("c"));
        eq("a", text(out.peek()));
        eq("a", text(out.poll()));
        eq("b", text(out.take()));
        eq("c", text(out.remove()));
        var waiting = new java.util.concurrent.FutureTask<>(() -> text(out.take()));
        Thread thread = new Thread(waiting);
        thread.setDaemon(true);
        thread.start();
        in.offer(bytes("d"));
        eq("d", waiting.get(LIMIT_MS, TimeUnit.MILLISECONDS));
    }
}
