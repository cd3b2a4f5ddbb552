package judge;

/** A named statement about a cluster that must hold. */
public record Check(String name, Body body) {
    /** Runs the check; any exception is a failure, and its message the reason. */
    @FunctionalInterface
    public interface Body {
        void run(Scene scene) throws Exception;
    }
}
