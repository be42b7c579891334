package compat.zkcli;

import java.io.IOException;
import java.util.List;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import org.apache.zookeeper.ZooKeeper;
import org.apache.zookeeper.ZooKeeper.States;
import org.apache.zookeeper.ZooKeeperMain;
import org.apache.zookeeper.util.ServiceUtils;

/**
 * The Apache shell in this process. {@code <server>} in a command stands for the server's address. The
 * command {@code zkCli ARGS} runs a separate shell with these arguments, as the script of that name does.
 */
final class Shell extends ZooKeeperMain {
    private static final String COMMAND_LINE = "zkCli ";
    private static final long LIMIT_MS = 20_000;

    private final String server;
    private final Capture capture;
    private Integer exited;
    private ZooKeeper refused;

    Shell(String server, Capture capture) throws IOException, InterruptedException {
        super(new String[] {"-server", server, "-timeout", "8000", "-waitforconnection"});
        this.server = server;
        this.capture = capture;
        ServiceUtils.setSystemExitProcedure(code -> exited = code);
        settle();
        capture.take();
    }

    /** Types a command. Returns its output, and its exit code unless that is 0. */
    List<String> type(String command) throws IOException, InterruptedException {
        exited = null;
        String line = command.replace("<server>", server);
        try {
            if (line.startsWith(COMMAND_LINE)) {
                ZooKeeperMain.main(line.substring(COMMAND_LINE.length()).split(" "));
            } else {
                executeLine(line);
            }
        } catch (RuntimeException e) {
            // The shell itself would end here, with a stack trace.
            System.err.println("crash: " + e);
        }
        settle();
        if (exited != null) {
            System.out.println("[exit " + exited + "]");
        } else if (exitCode != 0) {
            System.out.println("[status " + exitCode + "]");
        }
        return capture.take();
    }

    /** Waits until the shell is connected, if it is to connect, and has printed all events so far. */
    private void settle() throws InterruptedException {
        long deadline = System.currentTimeMillis() + LIMIT_MS;
        while (zk.getState() == States.CONNECTING && System.currentTimeMillis() < deadline) {
            Thread.sleep(5);
        }
        if (zk.getState() == States.CONNECTED) {
            CountDownLatch passed = new CountDownLatch(1);
            zk.sync("/", (rc, path, ctx) -> passed.countDown(), null);
            passed.await(LIMIT_MS, TimeUnit.MILLISECONDS);
        }
        // The state changes before the event arrives.
        if (zk.getState() == States.AUTH_FAILED && zk != refused) {
            refused = zk;
            while (!capture.hasEvent("AuthFailed") && System.currentTimeMillis() < deadline) {
                Thread.sleep(5);
            }
        }
    }
}
