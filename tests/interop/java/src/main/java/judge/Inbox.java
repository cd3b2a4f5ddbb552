package judge;

import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import java.util.Set;
import java.util.TreeSet;
import java.util.concurrent.TimeUnit;
import java.util.stream.Collectors;
import org.apache.rocketmq.common.message.MessageExt;

/** Messages in the order in which consumers got them. */
public final class Inbox {
    private final List<MessageExt> messages = new ArrayList<>();

    public synchronized void add(MessageExt message) {
        messages.add(message);
        notifyAll();
    }

    public synchronized void addAll(List<MessageExt> more) {
        messages.addAll(more);
        notifyAll();
    }

    public synchronized List<MessageExt> all() {
        return new ArrayList<>(messages);
    }

    public synchronized int size() {
        return messages.size();
    }

    /** Waits until so many deliveries, duplicates included, are here. */
    public List<MessageExt> awaitCount(int count) throws InterruptedException {
        return awaitCount(count, Await.SECONDS);
    }

    public synchronized List<MessageExt> awaitCount(int count, int seconds) throws InterruptedException {
        long deadline = System.nanoTime() + TimeUnit.SECONDS.toNanos(seconds);
        while (messages.size() < count) {
            long left = deadline - System.nanoTime();
            if (left <= 0) {
                throw new Failure("waited " + seconds + " s for " + count + " messages, got " + messages.size());
            }
            TimeUnit.NANOSECONDS.timedWait(this, left);
        }
        return new ArrayList<>(messages);
    }

    /** Waits until every one of these bodies is here; fails on a body that nobody sent. */
    public void awaitBodies(Set<String> expected) throws InterruptedException {
        long deadline = System.nanoTime() + TimeUnit.SECONDS.toNanos(Await.SECONDS);
        while (true) {
            Set<String> got;
            synchronized (this) {
                got = bodies();
                if (!got.containsAll(expected)) {
                    long left = deadline - System.nanoTime();
                    if (left > 0) {
                        TimeUnit.NANOSECONDS.timedWait(this, left);
                        continue;
                    }
                }
            }
            Set<String> missing = new TreeSet<>(expected);
            missing.removeAll(got);
            Expect.that(missing.isEmpty(), "never delivered: " + missing + "; got " + got.size());
            Set<String> foreign = new TreeSet<>(got);
            foreign.removeAll(expected);
            Expect.that(foreign.isEmpty(), "delivered though nobody sent it here: " + foreign);
            return;
        }
    }

    public synchronized Set<String> bodies() {
        return messages.stream().map(Inbox::text).collect(Collectors.toCollection(TreeSet::new));
    }

    public static String text(MessageExt message) {
        return new String(message.getBody(), StandardCharsets.UTF_8);
    }
}
