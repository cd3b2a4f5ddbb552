package judge.ledger;

import java.io.BufferedWriter;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.time.Instant;
import java.time.temporal.ChronoUnit;

/**
 * A ledger: one line an event, written through before the next step, so that it holds after a kill -9.
 * Fields are separated by blanks: microseconds since 1970, key, sequence, then what helps an investigation.
 */
final class LedgerFile implements AutoCloseable {
    private final BufferedWriter writer;

    LedgerFile(Path path) throws IOException {
        writer = Files.newBufferedWriter(path, StandardCharsets.US_ASCII, StandardOpenOption.CREATE,
            StandardOpenOption.APPEND);
    }

    synchronized void record(String key, long sequence, String details) throws IOException {
        long micros = ChronoUnit.MICROS.between(Instant.EPOCH, Instant.now());
        writer.write(micros + " " + key + " " + sequence + " " + details + "\n");
        writer.flush();
    }

    @Override
    public synchronized void close() throws IOException {
        writer.close();
    }

    /** One line of a ledger. */
    record Entry(long micros, String key, long sequence) {
        /** A line cut short by a kill gives null. */
        static Entry parse(String line) {
            String[] fields = line.split(" ");
            if (fields.length < 4) {
                return null;
            }
            return new Entry(Long.parseLong(fields[0]), fields[1], Long.parseLong(fields[2]));
        }
    }
}
