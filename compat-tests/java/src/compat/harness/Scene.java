package compat.harness;

import java.io.IOException;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.Phaser;
import org.apache.zookeeper.CreateMode;
import org.apache.zookeeper.ZooDefs.Ids;

/**
 * What one case works with: a root znode of its own, and the connections it opened. Closes what is
 * left open when the case ends. Cases in different scenes share nothing but the server.
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

    /** The case's own subtree; exists once {@link #zk} was called. */
    public String root() {
        return root;
    }

    public String p(String path) {
        return root + path;
    }

    /** The case's first connection. */
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

    /** A relay to the server that the case can cut; see {@link #connectThrough}. */
    public Proxy proxy() throws IOException {
        return keep(new Proxy(servers));
    }

    public Zk connectThrough(Proxy proxy, int timeoutMs) throws Exception {
        return keep(new Zk(proxy.address(), timeoutMs, events())).awaitConnected();
    }

    private Zk dial(String chroot, int timeoutMs) throws IOException {
        return keep(new Zk(servers + chroot, timeoutMs, events()));
    }

    /** Dials with a known session; does not wait, since the server may refuse it. */
    public Zk resume(long sessionId, byte[] password) throws IOException {
        return keep(new Zk(servers, SESSION_MS, events(), sessionId, password));
    }

    public Events events() {
        return new Events(root);
    }

    /** Has it closed at the end of the case, latest first. */
    public synchronized <T extends AutoCloseable> T keep(T closeable) {
        open.add(closeable);
        return closeable;
    }

    /** Waits for all cases of the wave, and for what is done to the server. */
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
                // The case has been judged already; what it left behind dies with its session.
                continue;
            }
        }
        open.clear();
    }
}
