import java.util.List;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import org.apache.curator.framework.AuthInfo;
import org.apache.curator.framework.CuratorFramework;
import org.apache.curator.framework.CuratorFrameworkFactory;
import org.apache.curator.retry.RetryOneTime;
import org.apache.zookeeper.KeeperException;
import org.apache.zookeeper.Watcher.Event.EventType;
import org.apache.zookeeper.admin.ZooKeeperAdmin;
import org.apache.zookeeper.data.Stat;

/** Calls reconfig through the Java client and Curator. Launched from its source; prints lines as ../../README.md defines them. */
public final class Clients {
    private static final String CONNECT = System.getenv("ZK_CONNECT");
    private static final int SERVERS = Integer.parseInt(System.getenv("ZK_SERVERS"));
    private static final String OBSERVER = "server.9=127.0.0.1:39:40:observer;127.0.0.1:41";
    private static final int LIMIT_S = 15;
    private static int failures;

    private interface Case {
        void run() throws Exception;
    }

    public static void main(String[] args) {
        run("ZooKeeperAdmin adds and removes an observer", Clients::admin);
        run("ZooKeeperAdmin is told why not", Clients::refused);
        run("Curator adds and removes an observer", Clients::curator);
        run("Curator's EnsembleTracker follows the members", Clients::tracker);
        System.exit(failures == 0 ? 0 : 1);
    }

    private static void run(String name, Case body) {
        try {
            body.run();
            System.out.println("ok reconfig clients / " + name);
        } catch (Exception | AssertionError error) {
            failures++;
            System.out.println(("not ok reconfig clients / " + name + " # " + error).replace('\n', ' '));
        }
    }

    private static ZooKeeperAdmin connect() throws Exception {
        var connected = new CountDownLatch(1);
        var admin = new ZooKeeperAdmin(CONNECT, 10_000, event -> connected.countDown());
        check(connected.await(LIMIT_S, TimeUnit.SECONDS), "connected");
        return admin;
    }

    private static void admin() throws Exception {
        try (var admin = connect()) {
            admin.addAuthInfo("digest", "super:admin".getBytes());
            if (SERVERS == 1) {
                fails(KeeperException.Code.UNIMPLEMENTED, () -> admin.reconfigure(OBSERVER, null, null, -1, null));
                return;
            }
            var changed = new CountDownLatch(1);
            var before = new Stat();
            admin.getConfig(event -> {
                if (event.getType() == EventType.NodeDataChanged) {
                    changed.countDown();
                }
            }, before);
            var stat = new Stat();
            var text = new String(admin.reconfigure(OBSERVER, null, null, before.getMzxid(), stat));
            check(text.contains(OBSERVER + "\n"), text);
            check(text.endsWith("\nversion=" + Long.toHexString(stat.getMzxid())), text);
            check(changed.await(LIMIT_S, TimeUnit.SECONDS), "the event");
            text = new String(admin.reconfigure(List.of(), List.of("9"), null, -1, new Stat()));
            check(!text.contains("server.9="), text);
        }
    }

    private static void refused() throws Exception {
        try (var admin = connect()) {
            var alone = KeeperException.Code.UNIMPLEMENTED;
            fails(SERVERS == 1 ? alone : KeeperException.Code.NOAUTH, () -> admin.reconfigure(OBSERVER, null, null, -1, null));
            fails(SERVERS == 1 ? alone : KeeperException.Code.BADARGUMENTS, () -> admin.reconfigure("x", null, null, -1, null));
            fails(SERVERS == 1 ? alone : KeeperException.Code.BADVERSION, () -> admin.reconfigure(OBSERVER, null, null, 7, null));
            fails(SERVERS == 1 ? alone : KeeperException.Code.NEWCONFIGNOQUORUM,
                    () -> admin.reconfigure(null, null, "server.7=127.0.0.1:8:9,server.8=127.0.0.1:9:10", -1, null));
        }
    }

    private static CuratorFramework framework() throws Exception {
        var client = CuratorFrameworkFactory.builder()
                .connectString(CONNECT)
                .sessionTimeoutMs(10_000)
                .retryPolicy(new RetryOneTime(100))
                .authorization(List.of(new AuthInfo("digest", "super:admin".getBytes())))
                .build();
        client.start();
        check(client.blockUntilConnected(LIMIT_S, TimeUnit.SECONDS), "connected");
        return client;
    }

    private static void curator() throws Exception {
        try (var client = framework()) {
            if (SERVERS == 1) {
                fails(KeeperException.Code.UNIMPLEMENTED, () -> client.reconfig().joining(OBSERVER).forEnsemble());
                return;
            }
            var text = new String(client.reconfig().joining(OBSERVER).forEnsemble());
            check(text.contains(OBSERVER + "\n"), text);
            text = new String(client.reconfig().leaving("9").forEnsemble());
            check(!text.contains("server.9="), text);
            text = new String(client.getConfig().forEnsemble());
            check(!text.contains("server.9="), text);
        }
    }

    private static void tracker() throws Exception {
        if (SERVERS == 1) {
            return;
        }
        try (var client = framework(); var other = framework()) {
            tracks(client, "127.0.0.1:41", false);
            other.reconfig().joining(OBSERVER).forEnsemble();
            tracks(client, "127.0.0.1:41", true);
            other.reconfig().leaving("9").forEnsemble();
            tracks(client, "127.0.0.1:41", false);
        }
    }

    /** Waits until the client's servers are those of the ensemble, with or without this one. */
    private static void tracks(CuratorFramework client, String address, boolean wanted) throws Exception {
        long until = System.nanoTime() + TimeUnit.SECONDS.toNanos(LIMIT_S);
        while (true) {
            var known = List.of(client.getZookeeperClient().getCurrentConnectionString().split(","));
            if (known.size() == SERVERS + (wanted ? 1 : 0) && known.contains(address) == wanted) {
                return;
            }
            check(System.nanoTime() < until, "the client knows " + known);
            Thread.sleep(20);
        }
    }

    private static void fails(KeeperException.Code code, Case body) throws Exception {
        try {
            body.run();
        } catch (KeeperException error) {
            check(error.code() == code, error.code() + " instead of " + code);
            return;
        }
        throw new AssertionError("success instead of " + code);
    }

    private static void check(boolean holds, String what) {
        if (!holds) {
            throw new AssertionError(what);
        }
    }
}
