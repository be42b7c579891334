package compat.zkcli;

import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.Collectors;
import java.util.stream.Stream;

/**
 * Replaces values that legitimately vary between runs. A zxid becomes a name by order of appearance in
 * its section, so that equal zxids stay recognisable; times, session ids and addresses become words.
 */
final class Normaliser {
    /** An empty line, visible in the transcript. */
    private static final String EMPTY = "<empty>";
    private static final Pattern STAT_ZXID = Pattern.compile("^([cmp]Zxid = )0x([0-9a-f]+)$");
    private static final Pattern EVENT_ZXID = Pattern.compile("( zxid: )(-?\\d+)$");
    private static final Pattern TIME = Pattern.compile("^([cm]time = )(?!Thu Jan 01 00:00:00 UTC 1970).+$");
    private static final Pattern OWNER = Pattern.compile("^(ephemeralOwner = )0x(?!0$).+$");
    private static final Pattern LIST = Pattern.compile("^\\[(/.*)\\]$");

    /** A line of an ensemble's configuration, and the list of its clients' addresses that {@code config -c} prints. */
    private static final Pattern MEMBER = Pattern.compile("^(server\\.\\d+=)127\\.0\\.0\\.1:\\d+:\\d+(:participant;)(.+)$");
    private static final Pattern MEMBERS = Pattern.compile("^(\\d+ )(127\\.0\\.0\\.1:\\d+(?:,127\\.0\\.0\\.1:\\d+)+)$");

    private final String server;
    private final List<String> servers;
    private final Map<Long, String> names = new HashMap<>();

    /** @param server the server that the shell connects to, one of all */
    Normaliser(String server, List<String> servers) {
        this.server = server;
        this.servers = servers;
    }

    /** Starts a section. */
    void forget() {
        names.clear();
    }

    List<String> lines(List<String> lines) {
        List<String> done = new ArrayList<>(lines.stream().map(this::line).toList());
        sortIdentities(done);
        sortRemovals(done);
        return done;
    }

    private String line(String line) {
        if (line.isEmpty()) {
            return EMPTY;
        }
        Matcher member = MEMBER.matcher(line);
        if (member.matches()) {
            return member.group(1) + "<peers>" + member.group(2) + numbered(member.group(3));
        }
        Matcher members = MEMBERS.matcher(line);
        if (members.matches()) {
            return members.group(1) + Stream.of(members.group(2).split(",")).map(this::numbered).collect(Collectors.joining(","));
        }
        String text = line.replace(server, "<server>");
        Matcher stat = STAT_ZXID.matcher(text);
        if (stat.matches()) {
            return stat.group(1) + name(Long.parseUnsignedLong(stat.group(2), 16));
        }
        Matcher event = EVENT_ZXID.matcher(text);
        if (event.find()) {
            return text.substring(0, event.start()) + event.group(1) + name(Long.parseLong(event.group(2)));
        }
        Matcher list = LIST.matcher(text);
        if (list.matches()) {
            return Stream.of(list.group(1).split(", ")).sorted().collect(Collectors.joining(", ", "[", "]"));
        }
        return OWNER.matcher(TIME.matcher(text).replaceFirst("$1<time>")).replaceFirst("$1<session>");
    }

    private String numbered(String address) {
        int index = servers.indexOf(address);
        return index < 0 ? address : "<server " + (index + 1) + ">";
    }

    private String name(long zxid) {
        return zxid <= 0 ? Long.toString(zxid) : names.computeIfAbsent(zxid, unknown -> "<zxid " + (names.size() + 1) + ">");
    }

    /** Sorts the identities of a connection, which whoami lists in no fixed order. */
    private static void sortIdentities(List<String> lines) {
        int title = lines.indexOf("Auth scheme: User");
        if (title >= 0) {
            lines.subList(title + 1, lines.size()).sort(null);
        }
    }

    /** Sorts events about removed watches, which the client reports in the order of a hash set. */
    private static void sortRemovals(List<String> lines) {
        int first = (int) lines.stream().takeWhile(line -> !line.contains("WatchRemoved")).count();
        lines.subList(first, lines.size()).sort(null);
    }
}
