package compat.java;

import compat.harness.Suite;

/** The suite of the Apache Java client: every operation of its ZooKeeper class, as an application uses it. */
public final class Main {
    private Main() {}

    public static void main(String[] args) throws Exception {
        new Suite("java", args.length > 0 ? args[0] : "")
                .add(Creates.class, Deletes.class, Data.class, Children.class, Paths.class, Acls.class, AclChecks.class)
                .add(Multis.class, MultiReads.class, Async.class, Watches.class, WatchOrder.class)
                .add(PersistentWatches.class, RemoveWatches.class, WatchAcls.class)
                .add(Sessions.class, Ephemerals.class, Reconnects.class, Restarts.class)
                .add(Quotas.class, Reaping.class, Limits.class, Pipelines.class, Chroots.class, Zxids.class)
                .add(Protocol.class)
                .runAndExit();
    }
}
