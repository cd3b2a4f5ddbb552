package mqadmin;

import com.alibaba.fastjson2.JSON;
import com.alibaba.fastjson2.JSONObject;
import com.alibaba.fastjson2.JSONWriter;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.function.Supplier;
import java.util.regex.Pattern;

/**
 * A command line of the admin tool. Its normalized output is compared with that of the official servers, or, where our
 * servers are meant to differ, with what ours are known to say; an expectation checks what normalizing hides.
 */
final class Command {
    /** Looks at the output and throws if something is missing. */
    @FunctionalInterface
    interface Expectation {
        void check(Output output) throws Exception;
    }

    /** Gives what the command prints. */
    @FunctionalInterface
    interface Action {
        String run() throws Exception;
    }

    /** How our servers should answer. */
    enum Kind { PASS, DIFFERS, NOT_MEANT }

    final String name;
    final Action action;
    final Normal normal = new Normal();
    private final List<Expectation> expectations = new ArrayList<>();
    private boolean once;
    private boolean refused;
    private Kind kind = Kind.PASS;
    private String why = "";

    private Command(String name, Action action) {
        this.name = name;
        this.action = action;
    }

    /** The words are made when the command runs, because they may name what an earlier one made. */
    static Command of(String name, Supplier<String[]> words) {
        return new Command(name, () -> Console.run(null, words.get()));
    }

    static Command of(String name, Supplier<String[]> words, Expectation expectation) {
        return of(name, words).expects(expectation);
    }

    /** A command that may not be repeated. */
    static Command once(String name, Supplier<String[]> words, Expectation expectation) {
        Command command = of(name, words).expects(expectation);
        command.once = true;
        return command;
    }

    /** A command that runs until it is interrupted: here, as soon as it has printed this. */
    static Command until(String name, String pattern, Supplier<String[]> words) {
        Pattern enough = Pattern.compile(pattern);
        return new Command(name, () -> Console.run(enough, words.get()));
    }

    /** A command that writes a file of JSON, which counts as printed: a line for each value of the second level. */
    static Command export(String name, Path file, Supplier<String[]> words) {
        return new Command(name, () -> {
            Files.deleteIfExists(file);
            StringBuilder text = new StringBuilder(Console.run(null, words.get())).append('\n');
            flatten(JSON.parseObject(Files.readString(file)), "", text, 0);
            return text.toString();
        }).sorted();
    }

    private static void flatten(JSONObject from, String path, StringBuilder to, int depth) {
        from.forEach((key, value) -> {
            if (value instanceof JSONObject object && depth < 2 && object.values().stream().anyMatch(JSONObject.class::isInstance)) {
                flatten(object, path + key + " ", to, depth + 1);
            } else {
                to.append(path).append(key).append(' ').append(JSON.toJSONString(value, JSONWriter.Feature.MapSortField)).append('\n');
            }
        });
    }

    static Command custom(String name, Action action) {
        return new Command(name, action);
    }

    Command expects(Expectation expectation) {
        expectations.add(expectation);
        return this;
    }

    /** The official servers refuse this too: an exception is the right output, its code counts, and not its words. */
    Command refused() {
        refused = true;
        return masks("(DESC: |DESC:).*", "DESC: WORDS").masks("(?m)^(See|For more information,).*$", "");
    }

    Command differs(String reason) {
        kind = Kind.DIFFERS;
        why = reason;
        return this;
    }

    /** Only our servers are asked. */
    Command notMeant(String reason) {
        kind = Kind.NOT_MEANT;
        why = reason;
        return this;
    }

    /** What varies from run to run. */
    Command masks(String pattern, String replacement) {
        normal.mask(pattern, replacement);
        return this;
    }

    /** The order of the lines is that of a hash table. */
    Command sorted() {
        normal.sort();
        return this;
    }

    void check(Output output) throws Exception {
        if (!refused && kind == Kind.PASS) {
            // The tool prints most failures as a stack trace and exits with 0.
            output.hasNot("Exception").hasNot("not exist.");
        }
        for (Expectation expectation : expectations) {
            expectation.check(output);
        }
    }

    String tool() {
        return name.split("_")[0];
    }

    boolean isOnce() {
        return once;
    }

    /** Repeating it will not help. */
    void isFinal() {
        once = true;
    }

    Kind kind() {
        return kind;
    }

    String why() {
        return why;
    }

    /** Splits at blanks; no argument of the tests holds one. */
    static Supplier<String[]> line(String format, Object... arguments) {
        return () -> String.format(format, arguments).split(" ");
    }
}
