import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.atomic.AtomicLong;
import org.apache.curator.framework.CuratorFramework;
import org.apache.curator.framework.CuratorFrameworkFactory;
import org.apache.curator.retry.ExponentialBackoffRetry;

/** A load through Curator, with the retry policy of its own examples, for ../rolling: CONNECT COUNT. Ends when its input ends. */
public final class RollingLoad {
    private static final int SESSION_MS = 20_000;
    private static final int CONNECT_MS = 15_000;

    private RollingLoad() {}

    public static void main(String[] args) throws Exception {
        AtomicBoolean ended = new AtomicBoolean();
        AtomicLong done = new AtomicLong();
        List<String> errors = new ArrayList<>();
        List<Thread> workers = new ArrayList<>();
        for (int number = 0; number < Integer.parseInt(args[1]); number++) {
            String path = "/curator-" + number;
            CuratorFramework client =
                    CuratorFrameworkFactory.newClient(args[0], SESSION_MS, CONNECT_MS, new ExponentialBackoffRetry(1000, 3));
            client.start();
            client.create().forPath(path);
            workers.add(new Thread(() -> {
                try (client) {
                    while (!ended.get()) {
                        client.setData().forPath(path, new byte[100]);
                        client.getData().forPath(path);
                        done.addAndGet(2);
                    }
                } catch (Exception error) {
                    synchronized (errors) {
                        errors.add(error.toString());
                    }
                }
            }));
        }
        workers.forEach(Thread::start);
        System.out.println("ready");
        System.in.read();
        ended.set(true);
        for (Thread worker : workers) {
            worker.join();
        }
        System.out.println(done);
        errors.forEach(System.out::println);
    }
}
