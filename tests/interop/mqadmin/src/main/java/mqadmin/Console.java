package mqadmin;

import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.OutputStream;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.util.List;
import java.util.concurrent.TimeUnit;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.apache.commons.cli.CommandLine;
import org.apache.commons.cli.DefaultParser;
import org.apache.commons.cli.Options;
import org.apache.rocketmq.common.MixAll;
import org.apache.rocketmq.srvutil.ServerUtil;
import org.apache.rocketmq.tools.command.MQAdminStartup;
import org.apache.rocketmq.tools.command.SubCommand;

/**
 * Runs commands of the admin tool as its main function would, several at a time, and gives what each prints to both
 * streams: the tool reports most failures as a stack trace and exits with 0.
 */
final class Console extends MQAdminStartup {
    private static final long WAIT_MILLIS = 60_000;
    private static final InheritableThreadLocal<ByteArrayOutputStream> PRINTED = new InheritableThreadLocal<>();
    private static long lastStart;

    static {
        System.setOut(new PrintStream(new Dispatch(System.out), true, StandardCharsets.UTF_8));
        System.setErr(new PrintStream(new Dispatch(System.err), true, StandardCharsets.UTF_8));
    }

    /** Ends when the command does, or, if there is a pattern, as soon as the output holds it. */
    static String run(Pattern enough, String... words) throws Exception {
        ByteArrayOutputStream printed = new ByteArrayOutputStream();
        Thread thread = new Thread(() -> {
            PRINTED.set(printed);
            try {
                execute(words);
            } catch (Exception e) {
                e.printStackTrace();
            }
        }, words[0]);
        thread.start();
        long deadline = System.nanoTime() + TimeUnit.MILLISECONDS.toNanos(WAIT_MILLIS);
        while (thread.isAlive()) {
            thread.join(enough == null ? WAIT_MILLIS : 20);
            String text = printed.toString(StandardCharsets.UTF_8);
            Matcher matcher = enough == null ? null : enough.matcher(text);
            if (matcher != null && matcher.find()) {
                thread.interrupt();
                thread.join(WAIT_MILLIS);
                return text.substring(0, matcher.end());
            }
            if (System.nanoTime() > deadline) {
                thread.interrupt();
                throw new Failure("still runs after " + WAIT_MILLIS + " ms, and has printed:\n" + text);
            }
        }
        return printed.toString(StandardCharsets.UTF_8);
    }

    private static void execute(String... words) throws Exception {
        SubCommand command = command(words[0]);
        Options options = ServerUtil.buildCommandlineOptions(new Options());
        String[] rest = List.of(words).subList(1, words.length).toArray(String[]::new);
        CommandLine line = ServerUtil.parseCmdLine("mqadmin " + command.commandName(), rest,
            command.buildCommandlineOptions(options), new DefaultParser());
        if (line.hasOption('n')) {
            System.setProperty(MixAll.NAMESRV_ADDR_PROPERTY, line.getOptionValue('n'));
        }
        command.execute(line, options, null);
    }

    /** A new command each time, for some keep closed clients. */
    private static synchronized SubCommand command(String name) throws InterruptedException {
        // The tool names its clients after the millisecond, and two of one name would share connections.
        while (System.currentTimeMillis() - lastStart < 10) {
            TimeUnit.MILLISECONDS.sleep(2);
        }
        lastStart = System.currentTimeMillis();
        SUB_COMMANDS.clear();
        initCommand();
        return SUB_COMMANDS.stream().filter(command -> command.commandName().equals(name)).findFirst()
            .orElseThrow(() -> new Failure("the tool has no command " + name));
    }

    /** The names of all commands of the tool. */
    static synchronized List<String> registered() {
        SUB_COMMANDS.clear();
        initCommand();
        return SUB_COMMANDS.stream().map(SubCommand::commandName).toList();
    }

    /** Threads that a command starts print for it too. */
    private static final class Dispatch extends OutputStream {
        private final OutputStream otherwise;

        Dispatch(OutputStream otherwise) {
            this.otherwise = otherwise;
        }

        @Override
        public void write(int b) throws IOException {
            write(new byte[] {(byte) b}, 0, 1);
        }

        @Override
        public void write(byte[] bytes, int begin, int length) throws IOException {
            OutputStream to = PRINTED.get();
            (to == null ? otherwise : to).write(bytes, begin, length);
        }

        @Override
        public void flush() throws IOException {
            otherwise.flush();
        }
    }

    private Console() {
    }
}
