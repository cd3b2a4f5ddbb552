package judge.ledger;

import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.TimeUnit;
import judge.Arguments;

/**
 * Compares what was acknowledged with what was delivered. Lost: acknowledged and never delivered. Duplicates:
 * deliveries beyond the first. Unacknowledged: delivered though no acknowledgement reached the producer, which is allowed.
 * Regressions: a first delivery behind a higher sequence of its key, which FIFO topics must not have.
 */
public final class LedgerCompare {
    private static final int EXAMPLES = 10;

    private final Set<String> acknowledged = new HashSet<>();
    private final Set<String> delivered = new HashSet<>();
    private final List<String> lost = new ArrayList<>();
    private final List<String> regressions = new ArrayList<>();
    private long duplicates;

    /** Prints one line of totals, then examples; with --wait, reads again until nothing is missing. */
    public static int run(Arguments arguments) throws Exception {
        List<LedgerFile.Entry> acked = read(arguments.required("acked"));
        long deadline = System.nanoTime() + TimeUnit.SECONDS.toNanos(arguments.number("wait", 0));
        LedgerCompare result = new LedgerCompare(acked, read(arguments.required("delivered")));
        while (!result.lost.isEmpty() && System.nanoTime() < deadline) {
            TimeUnit.MILLISECONDS.sleep(250);
            result = new LedgerCompare(acked, read(arguments.required("delivered")));
        }
        boolean passed = result.lost.isEmpty() && !(arguments.has("fifo") && !result.regressions.isEmpty());
        System.out.printf("%s ledger acked=%d delivered=%d lost=%d duplicates=%d unacknowledged=%d regressions=%d%n",
            passed ? "PASS" : "FAIL", result.acknowledged.size(), result.delivered.size(), result.lost.size(),
            result.duplicates, result.unacknowledged(), result.regressions.size());
        result.lost.stream().limit(EXAMPLES).forEach(id -> System.out.println("lost " + id));
        result.regressions.stream().limit(EXAMPLES).forEach(id -> System.out.println("regression " + id));
        if (acked.isEmpty()) {
            System.out.println("nothing was acknowledged, so nothing is proven");
            return 1;
        }
        return passed ? 0 : 1;
    }

    private LedgerCompare(List<LedgerFile.Entry> acked, List<LedgerFile.Entry> deliveries) {
        acked.forEach(entry -> acknowledged.add(id(entry)));
        Map<String, Long> highest = new HashMap<>();
        for (LedgerFile.Entry entry : deliveries) {
            if (!delivered.add(id(entry))) {
                duplicates++;
                continue;
            }
            Long before = highest.get(entry.key());
            if (before != null && entry.sequence() < before) {
                regressions.add(id(entry) + " after " + before);
            } else {
                highest.put(entry.key(), entry.sequence());
            }
        }
        for (LedgerFile.Entry entry : acked) {
            if (!delivered.contains(id(entry))) {
                lost.add(id(entry));
            }
        }
    }

    private long unacknowledged() {
        return delivered.stream().filter(id -> !acknowledged.contains(id)).count();
    }

    private static String id(LedgerFile.Entry entry) {
        return entry.key() + "-" + entry.sequence();
    }

    /** All entries of the files, in the order of their times. */
    private static List<LedgerFile.Entry> read(String files) throws IOException {
        List<LedgerFile.Entry> entries = new ArrayList<>();
        for (String file : files.split(",")) {
            if (!Files.exists(Path.of(file))) {
                continue;
            }
            for (String line : Files.readAllLines(Path.of(file), StandardCharsets.US_ASCII)) {
                LedgerFile.Entry entry = LedgerFile.Entry.parse(line);
                if (entry != null) {
                    entries.add(entry);
                }
            }
        }
        // Lines of one file are in order already; the sort is stable.
        entries.sort(Comparator.comparingLong(LedgerFile.Entry::micros));
        return entries;
    }
}
