package compat.harness;

import java.util.ArrayList;
import java.util.List;
import org.apache.zookeeper.WatchedEvent;
import org.apache.zookeeper.Watcher;

/**
 * A watcher that records events. Owns two lists in order of arrival: znode events and session states.
 * Paths are recorded without the case's root, so that expectations have the form {@code "NodeCreated /a"}.
 */
public final class Events implements Watcher {
    private final String root;
    private final List<WatchedEvent> nodes = new ArrayList<>();
    private final List<Event.KeeperState> states = new ArrayList<>();

    public Events(String root) {
        this.root = root;
    }

    @Override
    public synchronized void process(WatchedEvent event) {
        if (event.getType() == Event.EventType.None) {
            states.add(event.getState());
        } else {
            nodes.add(event);
        }
        notifyAll();
    }

    /** Removes and returns the znode events so far. Call {@link Zk#fence} first: it makes "so far" exact. */
    public synchronized List<WatchedEvent> takeEvents() {
        List<WatchedEvent> taken = List.copyOf(nodes);
        nodes.clear();
        return taken;
    }

    public List<String> take() {
        return takeEvents().stream().map(this::text).toList();
    }

    /** Waits for the next znode event, if its cause is something that this client cannot fence. */
    public synchronized WatchedEvent next(long limitMs) throws InterruptedException {
        long deadline = System.currentTimeMillis() + limitMs;
        while (nodes.isEmpty()) {
            long left = deadline - System.currentTimeMillis();
            Check.that(left > 0, "an event within " + limitMs + " ms");
            wait(left);
        }
        return nodes.remove(0);
    }

    public String nextText(long limitMs) throws InterruptedException {
        return text(next(limitMs));
    }

    /** Waits until this session state has been reported since the last {@link #forgetStates}. */
    public synchronized void awaitState(Event.KeeperState state, long limitMs) throws InterruptedException {
        long deadline = System.currentTimeMillis() + limitMs;
        while (!states.contains(state)) {
            long left = deadline - System.currentTimeMillis();
            Check.that(left > 0, "state " + state + " within " + limitMs + " ms, saw " + states);
            wait(left);
        }
    }

    public synchronized void forgetStates() {
        states.clear();
    }

    public synchronized List<Event.KeeperState> states() {
        return List.copyOf(states);
    }

    private String text(WatchedEvent event) {
        String path = event.getPath();
        String shown = path != null && path.startsWith(root) ? path.substring(root.length()) : path;
        return event.getType() + " " + shown;
    }
}
