package compat.harness;

import java.io.IOException;
import java.util.List;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import org.apache.jute.Record;
import org.apache.zookeeper.KeeperException.Code;
import org.apache.zookeeper.Watcher.Event.KeeperState;
import org.apache.zookeeper.ZooKeeper;
import org.apache.zookeeper.proto.RequestHeader;

/** The Apache client with a recording default watcher and a few methods that the cases need. */
public final class Zk extends ZooKeeper {
    public static final long CONNECT_LIMIT_MS = 15_000;

    private final Events events;

    Zk(String servers, int timeoutMs, Events events) throws IOException {
        super(servers, timeoutMs, events);
        this.events = events;
    }

    Zk(String servers, int timeoutMs, Events events, long sessionId, byte[] password) throws IOException {
        super(servers, timeoutMs, events, sessionId, password);
        this.events = events;
    }

    public Events events() {
        return events;
    }

    public Zk awaitConnected() throws InterruptedException {
        events.awaitState(KeeperState.SyncConnected, CONNECT_LIMIT_MS);
        return this;
    }

    /**
     * Returns once every earlier event has been processed: the callback of an asynchronous request goes
     * through the same queue, after the events that came before its reply.
     */
    public Zk fence() throws InterruptedException {
        CountDownLatch passed = new CountDownLatch(1);
        sync("/", (rc, path, ctx) -> passed.countDown(), null);
        Check.that(passed.await(CONNECT_LIMIT_MS, TimeUnit.MILLISECONDS), "a reply to sync");
        return this;
    }

    /** Removes and returns the znode events that the default watcher has seen so far. */
    public List<String> seen() throws InterruptedException {
        return fence().events.take();
    }

    /** Sends a request without the client's own argument checks, and returns the server's error code. */
    public Code raw(int opcode, Record request, Record response) throws InterruptedException {
        return Code.get(rawHeader(opcode, request, response).getErr());
    }

    public org.apache.zookeeper.proto.ReplyHeader rawHeader(int opcode, Record request, Record response)
            throws InterruptedException {
        RequestHeader header = new RequestHeader();
        header.setType(opcode);
        return cnxn.submitRequest(header, request, response, null);
    }

    /** Drops the TCP connection; the client reconnects by itself and keeps its session. */
    public void cutConnection() throws IOException {
        events.forgetStates();
        getTestable().closeSocket();
    }

    /** Disconnects without closing the session, as a crashed client does. */
    public void abandon() {
        cnxn.disconnect();
    }
}
