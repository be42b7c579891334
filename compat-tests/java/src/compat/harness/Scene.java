package compat.harness;

import java.io.IOException;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.Phaser;
import org.apache.zookeeper.CreateMode;
import org.apache.zookeeper.ZooDefs.Ids;

/**
 * The resources of one case: a root znode of its own, and the connections it opened. Closes open
 * connections when the case ends. Cases in different scenes share only the server.
 */
public final class Scene implements AutoCloseable {
    public static final int SESSION_MS = 8_000;

    private final String servers;
    private final String root;
    private final Phaser wave;
    private final List<AutoCloseable> open = new ArrayList<>();
    private Zk first;

    Scene(String servers, String root, Phaser wave) {
        this.servers = servers;
        this.root = root;
        this.wave = wave;
    }

    public String servers() {
        return servers;
    }

    /** Returns the root of the case's own subtree, which exists once {@link #zk} has been called. */
    public String root() {
        return root;
    }

    public String p(String path) {
        return root + path;
    }

    /** Returns the case's first connection. */
    public Zk zk() throws Exception {
        if (first == null) {
            first = connect();
            first.create(root, null, Ids.OPEN_ACL_UNSAFE, CreateMode.PERSISTENT);
        }
        return first;
    }

    public Zk connect() throws Exception {
        return connect(SESSION_MS);
    }

    public Zk connect(int timeoutMs) throws Exception {
        return dial("", timeoutMs).awaitConnected();
    }

    public Zk connectChroot(String chroot) throws Exception {
        return dial(chroot, SESSION_MS).awaitConnected();
    }

    /** Returns a relay to the server that the case can cut; see {@link #connectThrough}. */
    public Proxy proxy() throws IOException {
        return keep(new Proxy(servers));
    }

    public Zk connectThrough(Proxy proxy, int timeoutMs) throws Exception {
        return keep(new Zk(proxy.address(), timeoutMs, events())).awaitConnected();
    }

    private Zk dial(String chroot, int timeoutMs) throws IOException {
        return keep(new Zk(servers + chroot, timeoutMs, events()));
    }

    /** Connects with a known session. Does not wait, because the server may refuse it. */
    public Zk resume(long sessionId, byte[] password) throws IOException {
        return keep(new Zk(servers, SESSION_MS, events(), sessionId, password));
    }

    public Events events() {
        return new Events(root);
    }

    /** Registers a resource to close at the end of the case, latest first. */
    public synchronized <T extends AutoCloseable> T keep(T closeable) {
        open.add(closeable);
        return closeable;
    }

    /** Waits for all cases of the wave, and for the action on the server. */
    public void wave() {
        Check.that(wave != null, "a case that waits for a wave to be declared with @Wave");
        wave.arriveAndAwaitAdvance();
    }

    @Override
    public synchronized void close() {
        for (int i = open.size() - 1; i >= 0; i--) {
            try {
                open.get(i).close();
            } catch (Exception e) {
                // The verdict on the case is already known; anything that it left behind ends with its session.
                continue;
            }
        }
        open.clear();
    }
}
