package judge;

import java.util.Objects;
import org.apache.rocketmq.client.exception.MQBrokerException;
import org.apache.rocketmq.client.exception.MQClientException;

/** Comparisons that fail with both sides in the message. */
public final class Expect {
    public static void equal(String what, Object expected, Object found) {
        if (!Objects.equals(expected, found)) {
            throw new Failure(what + ": expected " + expected + ", found " + found);
        }
    }

    public static void that(boolean holds, String what) {
        if (!holds) {
            throw new Failure(what);
        }
    }

    public static void atLeast(String what, long least, long found) {
        if (found < least) {
            throw new Failure(what + ": expected at least " + least + ", found " + found);
        }
    }

    /** The action must be refused with this response code. */
    public static void refused(String what, int code, Action action) throws Exception {
        int found;
        try {
            action.run();
            throw new Failure(what + " was accepted, expected code " + code);
        } catch (MQBrokerException e) {
            found = e.getResponseCode();
        } catch (MQClientException e) {
            found = e.getResponseCode();
        }
        equal("code of " + what, code, found);
    }

    /** An action of a client. */
    @FunctionalInterface
    public interface Action {
        void run() throws Exception;
    }

    private Expect() {
    }
}
