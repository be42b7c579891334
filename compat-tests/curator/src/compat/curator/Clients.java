package compat.curator;

import static java.nio.charset.StandardCharsets.UTF_8;

import compat.harness.Check;
import compat.harness.Scene;
import java.util.List;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.concurrent.TimeUnit;
import org.apache.curator.framework.CuratorFramework;
import org.apache.curator.framework.CuratorFrameworkFactory;
import org.apache.curator.framework.state.ConnectionState;
import org.apache.curator.retry.ExponentialBackoffRetry;
import org.apache.zookeeper.ZooKeeper;

/** Curator clients for a case, closed with its scene. */
final class Clients {
    static final int LIMIT_MS = 20_000;
    private static final int CONNECT_MS = 5_000;

    private Clients() {}

    static CuratorFramework client(Scene s) throws Exception {
        return client(s, builder(s));
    }

    static CuratorFramework client(Scene s, CuratorFrameworkFactory.Builder builder) throws Exception {
        CuratorFramework client = s.keep(builder.build());
        client.start();
        Check.that(client.blockUntilConnected(LIMIT_MS, TimeUnit.MILLISECONDS), "a connection");
        return client;
    }

    static CuratorFrameworkFactory.Builder builder(Scene s) {
        return CuratorFrameworkFactory.builder().connectString(s.servers()).sessionTimeoutMs(Scene.SESSION_MS)
                .connectionTimeoutMs(CONNECT_MS).retryPolicy(new ExponentialBackoffRetry(50, 8, 1_000));
    }

    static byte[] bytes(String text) {
        return text.getBytes(UTF_8);
    }

    static String text(byte[] data) {
        return new String(data, UTF_8);
    }

    static void create(CuratorFramework client, String path, String data) throws Exception {
        client.create().creatingParentsIfNeeded().forPath(path, bytes(data));
    }

    /** Ends the client's session on the server, as expiry does. The client learns of it when it reconnects. */
    static void endSession(Scene s, CuratorFramework client) throws Exception {
        ZooKeeper zk = client.getZookeeperClient().getZooKeeper();
        s.resume(zk.getSessionId(), zk.getSessionPasswd()).awaitConnected().close();
    }

    /** Returns the connection states from now on, without the first, which Curator may report at any time. */
    static List<ConnectionState> states(CuratorFramework client) {
        List<ConnectionState> states = new CopyOnWriteArrayList<>();
        client.getConnectionStateListenable().addListener((c, state) -> {
            if (state != ConnectionState.CONNECTED) {
                states.add(state);
            }
        });
        return states;
    }

    /** Runs the action on a thread of its own, because locks belong to threads. */
    static <T> T elsewhere(java.util.concurrent.Callable<T> body) throws Exception {
        var task = new java.util.concurrent.FutureTask<>(body);
        Thread thread = new Thread(task);
        thread.setDaemon(true);
        thread.start();
        return task.get(LIMIT_MS, TimeUnit.MILLISECONDS);
    }
}
