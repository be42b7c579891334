package compat.curator;

import static compat.curator.Clients.bytes;
import static compat.curator.Clients.client;
import static compat.harness.Check.eq;
import static compat.harness.Check.that;

import compat.harness.Case;
import compat.harness.Feature;
import compat.harness.Scene;
import org.apache.curator.framework.CuratorFramework;
import org.apache.zookeeper.CreateMode;

/** Protected creates, which Curator finds again after a lost reply. */
@Feature("protection")
final class Protection {
    @Case("names carry an id and the sequence number")
    static void names(Scene s) throws Exception {
        CuratorFramework client = client(s);
        String path = client.create().creatingParentsIfNeeded().withProtection().withMode(CreateMode.EPHEMERAL_SEQUENTIAL)
                .forPath(s.p("/lock-"), bytes("x"));
        that(path.matches(s.root() + "/_c_[0-9a-f-]{36}-lock-0000000000"), "a protected name, got " + path);
    }

    @Case("a cut connection during creates makes none twice")
    static void cut(Scene s) throws Exception {
        var proxy = s.proxy();
        CuratorFramework client = client(s, Clients.builder(s).connectString(proxy.address()));
        client.create().forPath(s.root());
        Thread cutter = new Thread(() -> {
            for (int i = 0; i < 3; i++) {
                pause();
                proxy.cut();
                proxy.restore();
            }
        });
        cutter.setDaemon(true);
        cutter.start();
        int made = 0;
        while (cutter.isAlive() || made < 50) {
            client.create().withProtection().withMode(CreateMode.PERSISTENT_SEQUENTIAL).forPath(s.p("/n-"), bytes("x"));
            made++;
            Thread.sleep(2);
        }
        eq(made, client.getChildren().forPath(s.root()).size());
    }

    private static void pause() {
        try {
            Thread.sleep(300);
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
        }
    }
}
