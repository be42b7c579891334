package compat.harness;

import java.util.concurrent.TimeUnit;

/** The handle on the server under test: runs {@code $ZK_CTL}. */
public final class Ctl {
    private static final long LIMIT_S = 60;

    private Ctl() {}

    public static void run(String command) {
        String program = System.getenv("ZK_CTL");
        Check.that(program != null, "ZK_CTL to name the program that controls the server");
        try {
            Process process = new ProcessBuilder(program, command).redirectErrorStream(true)
                    .redirectOutput(ProcessBuilder.Redirect.DISCARD).start();
            Check.that(process.waitFor(LIMIT_S, TimeUnit.SECONDS), command + " to end within " + LIMIT_S + " s");
            Check.eq("exit code of " + command, 0, process.exitValue());
        } catch (java.io.IOException | InterruptedException e) {
            throw new IllegalStateException("cannot " + command + " the server", e);
        }
    }
}
