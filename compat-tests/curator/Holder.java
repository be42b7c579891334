import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.util.concurrent.atomic.AtomicBoolean;
import org.apache.curator.framework.CuratorFramework;
import org.apache.curator.framework.CuratorFrameworkFactory;
import org.apache.curator.framework.recipes.locks.InterProcessMutex;
import org.apache.curator.framework.state.ConnectionState;
import org.apache.curator.retry.RetryForever;
import org.apache.zookeeper.CreateMode;

/**
 * Holds a lock and an ephemeral znode through Curator, for ../migration: CONNECT PATH. Answers each line of input with a line that
 * tells whether the session was lost, whether it holds the lock, and the session's id; `release` first releases the lock. Ends when
 * its input ends.
 */
public final class Holder {
    private static final int SESSION_MS = 10_000;
    private static final int CONNECT_MS = 15_000;

    private Holder() {}

    public static void main(String[] args) throws Exception {
        AtomicBoolean lost = new AtomicBoolean();
        BufferedReader input = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        try (CuratorFramework client =
                CuratorFrameworkFactory.newClient(args[0], SESSION_MS, CONNECT_MS, new RetryForever(200))) {
            client.getConnectionStateListenable().addListener((ignored, state) -> {
                if (state == ConnectionState.LOST) {
                    lost.set(true);
                }
            });
            client.start();
            InterProcessMutex lock = new InterProcessMutex(client, args[1] + "/lock");
            lock.acquire();
            client.create().withMode(CreateMode.EPHEMERAL).forPath(args[1] + "/ephemeral");
            String line = "";
            do {
                if (line.equals("release")) {
                    lock.release();
                }
                client.sync().forPath("/");
                client.getData().forPath("/");
                long session = client.getZookeeperClient().getZooKeeper().getSessionId();
                System.out.printf("%b %b %x%n", lost.get(), lock.isAcquiredInThisProcess(), session);
                line = input.readLine();
            } while (line != null);
        }
    }
}
