package mqadmin;

import java.io.ByteArrayOutputStream;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import org.apache.rocketmq.tools.command.MQAdminStartup;

/** Runs one command of the admin tool as its script would, and gives what it prints. */
final class Console extends MQAdminStartup {
    /** Everything printed to both streams: the tool reports most failures as a stack trace and exits with 0. */
    static String run(String... words) {
        // The tool adds its commands again at each start; the old ones keep closed clients.
        SUB_COMMANDS.clear();
        PrintStream out = System.out;
        PrintStream err = System.err;
        ByteArrayOutputStream printed = new ByteArrayOutputStream();
        try (PrintStream both = new PrintStream(printed, true, StandardCharsets.UTF_8)) {
            System.setOut(both);
            System.setErr(both);
            main0(words, null);
        } finally {
            System.setOut(out);
            System.setErr(err);
        }
        return printed.toString(StandardCharsets.UTF_8);
    }

    private Console() {
    }
}
