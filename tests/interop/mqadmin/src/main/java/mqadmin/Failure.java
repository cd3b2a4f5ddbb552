package mqadmin;

/** A command printed something else than it must. */
final class Failure extends RuntimeException {
    private static final long serialVersionUID = 1;

    Failure(String message) {
        super(message);
    }

    static void unlessEqual(String what, Object expected, Object found) {
        if (!expected.equals(found)) {
            throw new Failure(what + ": expected " + expected + ", found " + found);
        }
    }
}
