package mqadmin;

import java.util.List;
import java.util.concurrent.TimeUnit;

/** Runs the commands one after the other: each leaves the cluster as the next expects it. */
public final class Main {
    private static final int WAIT_SECONDS = 20;
    private static int passed;
    private static int failed;

    public static void main(String[] args) throws Exception {
        if (args.length != 2 || !args[0].equals("--namesrv")) {
            System.err.println("usage: mqadmin --namesrv HOST:PORT");
            System.exit(2);
        }
        try (Fixture fixture = new Fixture(args[1])) {
            for (List<Command> part : List.of(TopicCommands.first(fixture), ClusterCommands.all(fixture),
                MessageCommands.all(fixture), ConsumerCommands.all(fixture), TopicCommands.last(fixture))) {
                part.forEach(command -> judge(fixture, command));
            }
        }
        System.out.printf("%d passed, %d failed%n", passed, failed);
        System.exit(failed == 0 ? 0 : 1);
    }

    /** Much shows only after some statistics or a registration, so a command is repeated until it satisfies. */
    private static void judge(Fixture fixture, Command command) {
        long begin = System.nanoTime();
        long deadline = begin + TimeUnit.SECONDS.toNanos(WAIT_SECONDS);
        String printed = "";
        while (true) {
            try {
                String[] words = command.words().get();
                printed = Console.run(words);
                Output output = new Output(words[0], printed);
                output.hasNot("Exception").hasNot("not exist.");
                command.expectation().check(output);
                passed++;
                System.out.printf("PASS %s %.1fs%n", command.name(), (System.nanoTime() - begin) / 1e9);
                return;
            } catch (Exception e) {
                if (System.nanoTime() > deadline || command.once()) {
                    failed++;
                    System.out.printf("FAIL %s: %s%n%s%n", command.name(), e, printed.indent(4));
                    return;
                }
            }
        }
    }

    private Main() {
    }
}
