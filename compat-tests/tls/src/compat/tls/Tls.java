package compat.tls;

import java.io.File;
import java.nio.charset.StandardCharsets;
import java.util.TreeSet;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import org.apache.zookeeper.CreateMode;
import org.apache.zookeeper.Watcher.Event.KeeperState;
import org.apache.zookeeper.ZooDefs;
import org.apache.zookeeper.ZooKeeper;
import org.apache.zookeeper.client.ZKClientConfig;
import org.apache.zookeeper.data.ClientInfo;

/** Connects over TLS with each pair of stores, `KEYS:TRUST`. Prints a line for each: its identity there, and the data that it reads. */
public final class Tls {
    private static final int TIMEOUT_MS = 10_000;
    /** Long enough for a busy machine, because the client loads classes during its first handshake. */
    private static final int PATIENCE_MS = 30_000;

    private Tls() {}

    public static void main(String[] arguments) throws Exception {
        String connect = arguments[0];
        String directory = arguments[1];
        String password = arguments[2];
        for (int at = 3; at < arguments.length; at++) {
            String[] stores = arguments[at].split(":");
            System.out.println(arguments[at] + talk(connect, config(directory, password, stores[0], stores[1])));
        }
    }

    private static ZKClientConfig config(String directory, String password, String keys, String trust) {
        ZKClientConfig config = new ZKClientConfig();
        config.setProperty(ZKClientConfig.SECURE_CLIENT, "true");
        config.setProperty(ZKClientConfig.ZOOKEEPER_CLIENT_CNXN_SOCKET, "org.apache.zookeeper.ClientCnxnSocketNetty");
        config.setProperty("zookeeper.ssl.keyStore.location", directory + File.separator + keys);
        config.setProperty("zookeeper.ssl.keyStore.password", password);
        config.setProperty("zookeeper.ssl.trustStore.location", directory + File.separator + trust);
        config.setProperty("zookeeper.ssl.trustStore.password", password);
        return config;
    }

    private static String talk(String connect, ZKClientConfig config) throws Exception {
        CountDownLatch connected = new CountDownLatch(1);
        try (ZooKeeper client = new ZooKeeper(
                connect,
                TIMEOUT_MS,
                event -> {
                    if (event.getState() == KeeperState.SyncConnected) {
                        connected.countDown();
                    }
                },
                config)) {
            if (!connected.await(PATIENCE_MS, TimeUnit.MILLISECONDS)) {
                return " does not connect";
            }
            TreeSet<String> identities = new TreeSet<>();
            for (ClientInfo identity : client.whoAmI()) {
                identities.add(identity.getAuthScheme() + ":" + identity.getUser());
            }
            byte[] data = "hello".getBytes(StandardCharsets.UTF_8);
            String path = client.create("/java-", data, ZooDefs.Ids.CREATOR_ALL_ACL, CreateMode.EPHEMERAL_SEQUENTIAL);
            return " " + String.join(" ", identities) + " " + new String(client.getData(path, false, null), StandardCharsets.UTF_8);
        }
    }
}
