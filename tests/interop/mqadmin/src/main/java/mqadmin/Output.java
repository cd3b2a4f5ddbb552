package mqadmin;

import java.util.Arrays;
import java.util.List;

/** What a command printed, as lines of words. */
record Output(String command, String text) {
    List<String> lines() {
        return text.lines().toList();
    }

    /** Lines split at blanks that hold all of these words as whole cells. */
    List<List<String>> rows(String... cells) {
        return lines().stream().map(line -> Arrays.asList(line.trim().split("\\s+")))
            .filter(row -> row.containsAll(List.of(cells))).toList();
    }

    /** The only such row. */
    List<String> row(String... cells) {
        List<List<String>> rows = rows(cells);
        if (rows.size() != 1) {
            throw new Failure(rows.size() + " rows with " + List.of(cells) + ", expected one");
        }
        return rows.get(0);
    }

    Output has(String... pieces) {
        for (String piece : pieces) {
            if (!text.contains(piece)) {
                throw new Failure("«" + piece + "» is not in the output");
            }
        }
        return this;
    }

    Output hasNot(String piece) {
        if (text.contains(piece)) {
            throw new Failure("«" + piece + "» is in the output");
        }
        return this;
    }

    /** The rest of the line that begins with this label. */
    String field(String label) {
        return lines().stream().filter(line -> line.trim().startsWith(label))
            .map(line -> line.trim().substring(label.length()).trim()).findFirst()
            .orElseThrow(() -> new Failure("no line begins with «" + label + "»"));
    }
}
