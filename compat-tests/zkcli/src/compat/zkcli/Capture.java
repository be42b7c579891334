package compat.zkcli;

import java.io.ByteArrayOutputStream;
import java.io.OutputStream;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;

/**
 * Replaces the process's output streams before the shell's classes store them. Separates the output of
 * the shell from that of its event thread, because their relative order is random.
 * Lines of the error stream are marked {@code 2>}.
 */
final class Capture {
    private final PrintStream terminal;
    private final List<String> printed = new ArrayList<>();
    private final List<String> events = new ArrayList<>();

    private Capture(PrintStream terminal) {
        this.terminal = terminal;
    }

    static Capture install() {
        Capture capture = new Capture(System.out);
        System.setOut(capture.stream(""));
        System.setErr(capture.stream("2> "));
        return capture;
    }

    /** The output stream of the suite itself. */
    PrintStream terminal() {
        return terminal;
    }

    /** Removes and returns the lines so far, events last. */
    synchronized List<String> take() {
        List<String> taken = new ArrayList<>(printed);
        taken.addAll(events);
        printed.clear();
        events.clear();
        return taken;
    }

    /** Returns whether an event with this state has been printed since lines were last taken. */
    synchronized boolean hasEvent(String state) {
        return events.stream().anyMatch(line -> line.contains("state:" + state));
    }

    private PrintStream stream(String mark) {
        return new PrintStream(new LineStream(mark), true, StandardCharsets.UTF_8);
    }

    private synchronized void add(String mark, String line) {
        if (Thread.currentThread().getName().endsWith("-EventThread")) {
            // The shell prints WATCHER:: and an empty line with each event; the event of a session's end comes at no fixed moment.
            if (line.startsWith("WatchedEvent") && !line.contains("state:Closed")) {
                events.add("~ " + line);
            }
        } else {
            printed.add((mark + line).stripTrailing());
        }
    }

    /** Splits the output of each thread into lines. */
    private final class LineStream extends OutputStream {
        private final ThreadLocal<ByteArrayOutputStream> pending = ThreadLocal.withInitial(ByteArrayOutputStream::new);
        private final String mark;

        LineStream(String mark) {
            this.mark = mark;
        }

        @Override
        public void write(int value) {
            if (value == '\n') {
                add(mark, pending.get().toString(StandardCharsets.UTF_8));
                pending.get().reset();
            } else {
                pending.get().write(value);
            }
        }
    }
}
