package mqadmin;

import java.util.LinkedHashSet;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;

/** A row for each command of the tool: how our servers answer it, and why not as the official ones do. */
final class Table {
    private static final String HEAD = "| command | here | why |\n|---|---|---|\n";
    private final Map<String, Row> rows = new TreeMap<>(String.CASE_INSENSITIVE_ORDER);
    private final Set<String> differing = new LinkedHashSet<>();

    private static final class Row {
        private final Set<Command.Kind> kinds = new LinkedHashSet<>();
        private final Set<String> reasons = new java.util.TreeSet<>();
        private boolean failed;

        /** A command passes if all its forms do; it is not meant if none of them is. */
        String verdict() {
            if (failed) {
                return "fails";
            }
            if (kinds.equals(Set.of(Command.Kind.PASS))) {
                return "pass";
            }
            return kinds.equals(Set.of(Command.Kind.NOT_MEANT)) ? "not meant" : "differs by design";
        }
    }

    void add(Command command, boolean good) {
        Row row = rows.computeIfAbsent(command.tool(), name -> new Row());
        row.kinds.add(command.kind());
        row.failed |= !good;
        if (!command.why().isEmpty()) {
            row.reasons.add(command.why());
            differing.add(command.name);
        }
    }

    boolean differs(String name) {
        return differing.contains(name);
    }

    Set<String> tools() {
        return rows.keySet();
    }

    String text() {
        StringBuilder text = new StringBuilder(HEAD);
        rows.forEach((name, row) ->
            text.append(String.format("| `%s` | %s | %s |%n", name, row.verdict(), String.join("; ", row.reasons))));
        return text.toString();
    }

    String counts() {
        Map<String, Integer> counts = new TreeMap<>();
        rows.values().forEach(row -> counts.merge(row.verdict(), 1, Integer::sum));
        return "TABLE " + rows.size() + " commands: " + counts;
    }

    /** The page with this table in place of the one that it has. */
    static String replaced(String page, String table) {
        int begin = page.indexOf(HEAD);
        int end = page.indexOf("\n\n", begin);
        return begin < 0 ? page + "\n" + table : page.substring(0, begin) + table + (end < 0 ? "" : page.substring(end + 1));
    }
}
