package judge;

import java.util.concurrent.Callable;
import java.util.concurrent.TimeUnit;
import java.util.function.Predicate;

/** Waiting for what a cluster does in its own time, never longer than a deadline. */
public final class Await {
    public static final int SECONDS = 60;
    private static final long STEP_MILLIS = 25;

    public static void until(String what, Callable<Boolean> condition) throws Exception {
        value(what, condition, holds -> holds);
    }

    /** Asks until the answer satisfies; an exception counts as an unsatisfying answer. */
    public static <T> T value(String what, Callable<T> question, Predicate<T> satisfies) throws Exception {
        return value(what, SECONDS, question, satisfies);
    }

    public static <T> T value(String what, int seconds, Callable<T> question, Predicate<T> satisfies)
        throws Exception {
        long deadline = System.nanoTime() + TimeUnit.SECONDS.toNanos(seconds);
        Object last;
        do {
            try {
                T answer = question.call();
                if (satisfies.test(answer)) {
                    return answer;
                }
                last = answer;
            } catch (InterruptedException e) {
                throw e;
            } catch (Exception e) {
                last = e;
            }
            TimeUnit.MILLISECONDS.sleep(STEP_MILLIS);
        } while (System.nanoTime() < deadline);
        throw new Failure("waited " + seconds + " s for " + what + "; last answer: " + last);
    }

    private Await() {
    }
}
