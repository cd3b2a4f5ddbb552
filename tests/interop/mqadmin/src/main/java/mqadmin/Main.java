package mqadmin;

import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import java.util.regex.Pattern;
import org.apache.rocketmq.common.MixAll;

/**
 * Runs the commands in stages: each stage leaves the cluster as the next expects it. In a stage, chains of commands run
 * at the same time, the commands of a chain one after the other.
 */
public final class Main {
    private static final int WAIT_SECONDS = 20;
    private static final int AT_ONCE = 12;
    private static final String USAGE =
        "usage: mqadmin --namesrv HOST:PORT --servers ours|java --transcripts FOLDER [--page FILE] [--only REGEX] [--write]";

    private final Fixture fixture;
    private final boolean ours;
    private final boolean write;
    private final Pattern only;
    private final Path known;
    private final Path knownDifferences;
    private final Transcript official;
    private final Transcript differences;
    private final Transcript seen = new Transcript();
    private final Table table = new Table();
    private int passed;
    private int failed;

    private Main(Fixture fixture, Map<String, String> options) throws Exception {
        this.fixture = fixture;
        ours = options.get("servers").equals("ours");
        write = options.containsKey("write");
        only = Pattern.compile(options.getOrDefault("only", ""));
        known = Path.of(options.get("transcripts"), "java.md");
        knownDifferences = Path.of(options.get("transcripts"), "ours.md");
        official = Transcript.read(known);
        differences = Transcript.read(knownDifferences);
    }

    public static void main(String[] args) throws Exception {
        Map<String, String> options = options(args);
        System.setProperty(MixAll.NAMESRV_ADDR_PROPERTY, options.get("namesrv"));
        boolean good;
        try (Fixture fixture = new Fixture(options.get("namesrv"))) {
            Main main = new Main(fixture, options);
            main.judgeAll();
            good = main.conclude(options.get("page"));
        }
        System.exit(good ? 0 : 1);
    }

    private static Map<String, String> options(String[] args) {
        Map<String, String> options = new HashMap<>();
        for (int i = 0; i < args.length; i++) {
            options.put(args[i].replaceFirst("^--", ""), args[i].equals("--write") ? "" : i + 1 < args.length ? args[++i] : "");
        }
        if (!options.keySet().containsAll(List.of("namesrv", "servers", "transcripts"))) {
            System.err.println(USAGE);
            System.exit(2);
        }
        return options;
    }

    private void judgeAll() throws Exception {
        ExecutorService pool = Executors.newFixedThreadPool(AT_ONCE);
        for (List<List<Command>> stage : Stages.all(fixture)) {
            List<Future<?>> chains = new ArrayList<>();
            for (List<Command> chain : stage) {
                chains.add(pool.submit(() -> chain.forEach(this::judge)));
            }
            for (Future<?> chain : chains) {
                chain.get();
            }
        }
        pool.shutdown();
    }

    /** Much shows only after some statistics or a registration, so a command is repeated until it satisfies. */
    private void judge(Command command) {
        if (command.kind() == Command.Kind.NOT_MEANT && !ours || !only.matcher(command.name).find()) {
            return;
        }
        long begin = System.nanoTime();
        long deadline = begin + TimeUnit.SECONDS.toNanos(WAIT_SECONDS);
        String printed = "";
        while (true) {
            try {
                printed = command.action.run();
                command.check(new Output(command.name, printed));
                List<String> lines = command.normal.lines(fixture, printed);
                compare(command, lines);
                seen.put(command.name, lines);
                conclude(command, begin, null, null);
                return;
            } catch (Exception e) {
                if (System.nanoTime() > deadline || command.isOnce()) {
                    conclude(command, begin, e, printed);
                    return;
                }
            }
        }
    }

    private void compare(Command command, List<String> lines) {
        boolean same = command.kind() == Command.Kind.PASS || !ours;
        if (write && (!ours || !same)) {
            return;
        }
        List<String> expected = (same ? official : differences).get(command.name);
        if (expected == null) {
            command.isFinal();
            throw new Failure("the transcripts do not know it");
        }
        Transcript.compare(expected, lines);
        if (!same && lines.equals(official.get(command.name))) {
            throw new Failure("it is said to differ from the official servers, and does not");
        }
    }

    private synchronized void conclude(Command command, long begin, Exception failure, String printed) {
        table.add(command, failure == null);
        if (failure == null) {
            passed++;
            System.out.printf("PASS %s %.1fs%n", command.name, (System.nanoTime() - begin) / 1e9);
        } else {
            failed++;
            System.out.printf("FAIL %s: %s%n%s%n", command.name, failure, printed.indent(4));
        }
    }

    private boolean conclude(String page) throws Exception {
        if (write) {
            seen.names().stream().filter(name -> !ours || table.differs(name))
                .forEach(name -> (ours ? differences : official).put(name, seen.get(name)));
            if (ours) {
                differences.write(knownDifferences, "What our servers say otherwise than the official ones");
            } else {
                official.write(known, "What the official servers 5.5.0 say");
            }
        }
        if (ours && only.pattern().isEmpty()) {
            List<String> missing = new ArrayList<>(Console.registered());
            missing.removeAll(table.tools());
            check("every_command_of_the_tool", missing.isEmpty(), "not judged: " + missing);
            String text = table.text();
            System.out.println(text);
            if (page != null) {
                Path file = Path.of(page);
                if (write) {
                    Files.writeString(file, Table.replaced(Files.readString(file), text));
                }
                check("the_page_has_this_table", Files.readString(file).contains(text), page + " has another table");
            }
            System.out.println(table.counts());
        }
        System.out.printf("%d passed, %d failed%n", passed, failed);
        return failed == 0;
    }

    private void check(String name, boolean holds, String otherwise) {
        if (holds) {
            passed++;
            System.out.println("PASS " + name);
        } else {
            failed++;
            System.out.println("FAIL " + name + ": " + otherwise);
        }
    }
}
