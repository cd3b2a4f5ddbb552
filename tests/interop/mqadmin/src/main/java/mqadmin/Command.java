package mqadmin;

import java.util.function.Supplier;

/**
 * A command line of the admin tool and what its output must say. The words are made when the command runs, because
 * they may name what an earlier one made. A command that may not be repeated is marked with once.
 */
record Command(String name, boolean once, Supplier<String[]> words, Expectation expectation) {
    /** Looks at the output and throws if something is missing. */
    @FunctionalInterface
    interface Expectation {
        void check(Output output) throws Exception;
    }

    static Command of(String name, Supplier<String[]> words, Expectation expectation) {
        return new Command(name, false, words, expectation);
    }

    static Command once(String name, Supplier<String[]> words, Expectation expectation) {
        return new Command(name, true, words, expectation);
    }

    /** Splits at blanks; no argument of the tests holds one. */
    static Supplier<String[]> line(String format, Object... arguments) {
        return () -> String.format(format, arguments).split(" ");
    }
}
