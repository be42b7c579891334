package compat.tls;

import java.nio.charset.StandardCharsets;
import java.util.List;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.stream.Collectors;
import org.apache.curator.framework.CuratorFramework;
import org.apache.curator.framework.CuratorFrameworkFactory;
import org.apache.curator.framework.recipes.cache.CuratorCache;
import org.apache.curator.framework.recipes.cache.CuratorCacheListener;
import org.apache.curator.framework.recipes.locks.InterProcessMutex;
import org.apache.curator.framework.state.ConnectionState;
import org.apache.curator.retry.RetryForever;
import org.apache.zookeeper.CreateMode;
import org.apache.zookeeper.ZooDefs;

/**
 * Holds a Curator lock and a znode that only its creator can access while the servers restart. The caller restarts them after
 * the line `held`, and then writes a line. System properties configure the connection.
 */
public final class Lock {
    private static final int SESSION_MS = 20_000;
    private static final int WAIT_S = 20;

    private Lock() {}

    public static void main(String[] arguments) throws Exception {
        try (CuratorFramework holder = client(arguments[0]); CuratorFramework other = client(arguments[0])) {
            CountDownLatch reconnected = new CountDownLatch(2);
            for (CuratorFramework each : List.of(holder, other)) {
                each.getConnectionStateListenable().addListener((client, state) -> {
                    if (state == ConnectionState.RECONNECTED) {
                        reconnected.countDown();
                    }
                });
            }
            CountDownLatch told = new CountDownLatch(1);
            CuratorCache cache = CuratorCache.build(other, "/lock-told");
            cache.listenable().addListener(CuratorCacheListener.builder().forCreates(node -> told.countDown()).build());
            cache.start();

            InterProcessMutex lock = new InterProcessMutex(holder, "/lock");
            lock.acquire();
            holder.create().withMode(CreateMode.EPHEMERAL).withACL(ZooDefs.Ids.CREATOR_ALL_ACL).forPath("/lock-mine", bytes("x"));
            long session = holder.getZookeeperClient().getZooKeeper().getSessionId();
            System.out.println("held by " + holder.getZookeeperClient().getZooKeeper().whoAmI().stream()
                    .map(identity -> identity.getAuthScheme() + ":" + identity.getUser()).sorted().collect(Collectors.joining(" ")));

            System.in.read();
            System.out.println("reconnected: " + reconnected.await(WAIT_S, TimeUnit.SECONDS));
            System.out.println("same session: " + (session == holder.getZookeeperClient().getZooKeeper().getSessionId()));
            System.out.println("mine: " + new String(holder.getData().forPath("/lock-mine"), StandardCharsets.UTF_8));
            holder.create().forPath("/lock-told");
            System.out.println("told: " + told.await(WAIT_S, TimeUnit.SECONDS));
            InterProcessMutex wanted = new InterProcessMutex(other, "/lock");
            System.out.println("taken from the holder: " + wanted.acquire(500, TimeUnit.MILLISECONDS));
            lock.release();
            System.out.println("taken once it is free: " + wanted.acquire(WAIT_S, TimeUnit.SECONDS));
            wanted.release();
            cache.close();
            holder.delete().forPath("/lock-told");
        }
    }

    private static CuratorFramework client(String connect) throws InterruptedException {
        CuratorFramework client = CuratorFrameworkFactory.builder().connectString(connect).sessionTimeoutMs(SESSION_MS)
                .connectionTimeoutMs(SESSION_MS).retryPolicy(new RetryForever(200)).build();
        client.start();
        client.blockUntilConnected();
        return client;
    }

    private static byte[] bytes(String text) {
        return text.getBytes(StandardCharsets.UTF_8);
    }
}
