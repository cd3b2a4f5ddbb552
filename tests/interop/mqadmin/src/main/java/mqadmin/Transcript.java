package mqadmin;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;

/** Normalized outputs by the names of their commands, in a file: "## name", then the lines, indented. */
final class Transcript {
    private static final String HEAD = "## ";
    private static final String INDENT = "    ";
    private final Map<String, List<String>> sections = new TreeMap<>();

    static Transcript read(Path file) throws IOException {
        Transcript transcript = new Transcript();
        if (!Files.exists(file)) {
            return transcript;
        }
        List<String> section = new ArrayList<>();
        for (String line : Files.readAllLines(file)) {
            if (line.startsWith(HEAD)) {
                section = new ArrayList<>();
                transcript.put(line.substring(HEAD.length()), section);
            } else if (line.startsWith(INDENT)) {
                section.add(line.substring(INDENT.length()));
            }
        }
        return transcript;
    }

    void write(Path file, String title) throws IOException {
        StringBuilder text = new StringBuilder("# ").append(title).append('\n');
        sections.forEach((name, lines) -> {
            text.append('\n').append(HEAD).append(name).append("\n\n");
            lines.forEach(line -> text.append(INDENT).append(line).append('\n'));
        });
        Files.writeString(file, text);
    }

    synchronized void put(String name, List<String> lines) {
        sections.put(name, lines);
    }

    synchronized List<String> get(String name) {
        return sections.get(name);
    }

    synchronized List<String> names() {
        return List.copyOf(sections.keySet());
    }

    /** Throws with the lines that only one of the two has, or with the first that is out of order. */
    static void compare(List<String> expected, List<String> found) {
        if (expected.equals(found)) {
            return;
        }
        List<String> missing = new ArrayList<>(expected);
        found.forEach(missing::remove);
        List<String> extra = new ArrayList<>(found);
        expected.forEach(extra::remove);
        StringBuilder text = new StringBuilder("the output differs:");
        missing.forEach(line -> text.append("\n  - ").append(line));
        extra.forEach(line -> text.append("\n  + ").append(line));
        if (missing.isEmpty() && extra.isEmpty()) {
            text.append("\n  the lines are in another order:\n  ").append(String.join("\n  ", found));
        }
        throw new Failure(text.toString());
    }
}
