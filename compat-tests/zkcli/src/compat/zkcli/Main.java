package compat.zkcli;

import java.io.IOException;
import java.nio.file.Path;
import java.util.HashMap;
import java.util.List;
import java.util.Map;

/**
 * The zkCli suite: types every command of a recorded transcript into the Apache shell and compares what
 * it prints. {@code Main check FILE} prints one line per command; {@code Main record FILE} writes the
 * outputs of this server into the file instead.
 */
public final class Main {
    private Main() {}

    public static void main(String[] args) throws Exception {
        String server = System.getenv().getOrDefault("ZK_CONNECT", "127.0.0.1:2181");
        Path file = Path.of(args[1]);
        Transcript transcript = Transcript.read(file);
        Capture capture = Capture.install();
        Shell shell = new Shell(server, capture);
        if (args[0].equals("record")) {
            record(shell, server, transcript).write(file);
            capture.terminal().println("recorded " + file);
            System.exit(0);
        }
        System.exit(check(shell, server, transcript, capture) ? 0 : 1);
    }

    private static Transcript record(Shell shell, String server, Transcript transcript) throws IOException, InterruptedException {
        Transcript recorded = new Transcript();
        Normaliser normaliser = new Normaliser(server);
        for (Transcript.Entry entry : transcript.entries()) {
            if (entry.isSection()) {
                normaliser.forget();
                recorded.entries().add(entry);
            } else {
                recorded.entries().add(new Transcript.Entry(entry.command(), normaliser.lines(shell.type(entry.command()))));
            }
        }
        return recorded;
    }

    private static boolean check(Shell shell, String server, Transcript transcript, Capture capture)
            throws IOException, InterruptedException {
        boolean allOk = !transcript.entries().isEmpty();
        Normaliser normaliser = new Normaliser(server);
        Map<String, Integer> uses = new HashMap<>();
        for (Transcript.Entry entry : transcript.entries()) {
            if (entry.isSection()) {
                normaliser.forget();
                continue;
            }
            List<String> lines = normaliser.lines(shell.type(entry.command()));
            int use = uses.merge(entry.command(), 1, Integer::sum);
            String label = entry.feature() + " / " + entry.command() + (use > 1 ? " (" + use + ")" : "");
            boolean ok = entry.output().equals(lines);
            allOk &= ok;
            capture.terminal().println(ok ? "ok " + label : "not ok " + label + " # " + difference(entry.output(), lines));
            capture.terminal().flush();
        }
        return allOk;
    }

    private static String difference(List<String> expected, List<String> actual) {
        for (int i = 0; i < Math.max(expected.size(), actual.size()); i++) {
            String want = i < expected.size() ? expected.get(i) : "<end>";
            String got = i < actual.size() ? actual.get(i) : "<end>";
            if (!want.equals(got)) {
                return "line " + (i + 1) + ": expected `" + want + "`, got `" + got + "`";
            }
        }
        throw new IllegalArgumentException("no difference");
    }
}
