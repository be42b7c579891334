package compat.zkcli;

import java.io.IOException;
import java.nio.file.Path;
import java.util.HashMap;
import java.util.List;
import java.util.Map;

/**
 * The zkCli suite: types every command of a recorded transcript into the Apache shell and compares the
 * output. {@code Main check FILE} prints one line per command; {@code Main record FILE} writes the
 * outputs of this server into the file instead. With a third argument the server is a member of an
 * ensemble, and that file has the commands that it answers differently, with its answers.
 */
public final class Main {
    private final Transcript transcript;
    private final Capture capture = Capture.install();
    private final Shell shell;
    private final Normaliser normaliser;
    private final Map<String, Integer> uses = new HashMap<>();

    private Main(Transcript transcript) throws Exception {
        String server = System.getenv().getOrDefault("ZK_CONNECT", "127.0.0.1:2181");
        String all = System.getenv().getOrDefault("ZK_CONNECT_ALL", server);
        this.transcript = transcript;
        this.shell = new Shell(server, capture);
        this.normaliser = new Normaliser(server, List.of(all.split(",")));
    }

    public static void main(String[] args) throws Exception {
        Path file = Path.of(args[1]);
        Main suite = new Main(Transcript.read(file));
        if (args[0].equals("check")) {
            System.exit(suite.check(args.length > 2 ? outputs(Transcript.read(Path.of(args[2]))) : Map.of()) ? 0 : 1);
        }
        if (args.length > 2) {
            Path differences = Path.of(args[2]);
            suite.record(false).write(differences);
        } else {
            suite.record(true).write(file);
        }
        System.exit(0);
    }

    /** The answers of an ensemble that differ, by command. */
    private static Map<String, List<String>> outputs(Transcript differences) {
        Map<String, List<String>> outputs = new HashMap<>();
        differences.entries().stream().filter(entry -> !entry.isSection())
                .forEach(entry -> outputs.put(entry.command(), entry.output()));
        return outputs;
    }

    /** Returns this server's answers: all of them, or only those that differ from the transcript. */
    private Transcript record(boolean whole) throws IOException, InterruptedException {
        Transcript recorded = new Transcript();
        if (!whole) {
            recorded.entries().add(new Transcript.Entry(
                    "# What three servers of Apache ZooKeeper 3.9.5 answer differently from one, written by ./record.", List.of()));
        }
        for (Transcript.Entry entry : transcript.entries()) {
            if (entry.isSection()) {
                normaliser.forget();
                if (whole) {
                    recorded.entries().add(entry);
                }
                continue;
            }
            List<String> lines = normaliser.lines(shell.type(entry.command()));
            if (whole || !lines.equals(entry.output())) {
                recorded.entries().add(new Transcript.Entry(entry.command(), lines));
            }
        }
        return recorded;
    }

    private boolean check(Map<String, List<String>> differences) throws IOException, InterruptedException {
        boolean allOk = !transcript.entries().isEmpty();
        for (Transcript.Entry entry : transcript.entries()) {
            if (entry.isSection()) {
                normaliser.forget();
                continue;
            }
            List<String> expected = differences.getOrDefault(entry.command(), entry.output());
            List<String> lines = normaliser.lines(shell.type(entry.command()));
            boolean ok = expected.equals(lines);
            allOk &= ok;
            String label = label(entry);
            capture.terminal().println(ok ? "ok " + label : "not ok " + label + " # " + difference(expected, lines));
            capture.terminal().flush();
        }
        return allOk;
    }

    private String label(Transcript.Entry entry) {
        int use = uses.merge(entry.command(), 1, Integer::sum);
        return entry.feature() + " / " + entry.command() + (use > 1 ? " (" + use + ")" : "");
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
