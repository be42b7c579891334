package compat.curator;

import compat.harness.Suite;

/** The Curator suite: the framework and its recipes, used as in services. */
public final class Main {
    private Main() {}

    public static void main(String[] args) throws Exception {
        new Suite("curator", args.length > 0 ? args[0] : "")
                .add(Framework.class, Transactions.class, Protection.class, WatcherSets.class)
                .add(Locks.class, Semaphores.class, Leaders.class, Barriers.class, Counters.class)
                .add(Queues.class, Caches.class, OldCaches.class, Nodes.class, Discovery.class)
                .add(LostSessions.class, Restarts.class)
                .runAndExit();
    }
}
