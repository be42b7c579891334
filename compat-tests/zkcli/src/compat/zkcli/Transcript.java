package compat.zkcli;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import org.apache.zookeeper.ZooKeeperMain;

/**
 * A recorded conversation. A line {@code $ command} is typed, the indented lines below it are the output of
 * the shell, and a line that starts with # begins a section, in which the numbering of zxids starts again.
 */
final class Transcript {
    private static final String TYPED = "$ ";
    private static final String PRINTED = "  ";

    /** A command with its output, or a section's comment without one. */
    record Entry(String command, List<String> output) {
        boolean isSection() {
            return command.startsWith("#");
        }

        /** The matrix row: the shell's command word. */
        String feature() {
            String word = command.split(" ")[0].replace("\"", "");
            return word.equals("zkCli") || ZooKeeperMain.getCommands().contains(word) ? word : "unknown command";
        }
    }

    private final List<Entry> entries = new ArrayList<>();

    List<Entry> entries() {
        return entries;
    }

    static Transcript read(Path file) throws IOException {
        Transcript transcript = new Transcript();
        for (String line : Files.readAllLines(file)) {
            if (line.startsWith(TYPED)) {
                transcript.entries.add(new Entry(line.substring(TYPED.length()), new ArrayList<>()));
            } else if (line.startsWith("#")) {
                transcript.entries.add(new Entry(line, List.of()));
            } else if (!line.isBlank()) {
                transcript.entries.get(transcript.entries.size() - 1).output().add(line.substring(PRINTED.length()));
            }
        }
        return transcript;
    }

    void write(Path file) throws IOException {
        List<String> lines = new ArrayList<>();
        for (Entry entry : entries) {
            if (entry.isSection()) {
                if (!lines.isEmpty() && !lines.get(lines.size() - 1).startsWith("#")) {
                    lines.add("");
                }
                lines.add(entry.command());
            } else {
                lines.add(TYPED + entry.command());
                entry.output().forEach(line -> lines.add(PRINTED + line));
            }
        }
        Files.write(file, lines);
    }
}
