package compat.harness;

import java.io.IOException;
import java.util.concurrent.TimeUnit;

/** Controls the server under test through {@code $ZK_CTL}. */
public final class Ctl {
    private static final long LIMIT_S = 60;
    private static final String WAIT = "wait";
    private static final long WAIT_MS = 500;

    private Ctl() {}

    /** Runs one command; {@code wait} waits for half a second. */
    public static void run(String command) {
        try {
            if (command.equals(WAIT)) {
                Thread.sleep(WAIT_MS);
            } else {
                control(command);
            }
        } catch (IOException | InterruptedException e) {
            throw new IllegalStateException("cannot " + command + " the server", e);
        }
    }

    /**
     * Waits until the leader, too, has applied the writes that its follower has acknowledged. Until it has applied a setACL, a
     * leader of Apache ZooKeeper checks writes against the old ACL.
     */
    public static void settle() {
        if (!System.getenv().getOrDefault("ZK_SERVERS", "1").equals("1")) {
            run("settle");
        }
    }

    private static void control(String command) throws IOException, InterruptedException {
        String program = System.getenv("ZK_CTL");
        Check.that(program != null, "ZK_CTL to name the program that controls the server");
        Process process = new ProcessBuilder(program, command).redirectErrorStream(true)
                .redirectOutput(ProcessBuilder.Redirect.DISCARD).start();
        Check.that(process.waitFor(LIMIT_S, TimeUnit.SECONDS), command + " to end within " + LIMIT_S + " s");
        Check.eq("exit code of " + command, 0, process.exitValue());
    }
}
