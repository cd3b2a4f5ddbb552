package judge.ledger;

import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicLong;
import judge.Arguments;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.client.producer.SendStatus;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageQueue;

/**
 * Sends until told to stop and records each acknowledged message. Every key has a thread that sends its sequence 0, 1,
 * 2, ... one after the other, always to the same queue while the route does not change, and repeats a number until it
 * is acknowledged; what failed may still have been stored, which shows up as duplicates and not as loss.
 */
public final class LedgerProducer {
    static final String KEY = "ledgerKey";
    static final String SEQUENCE = "ledgerSequence";
    private static final long RETRY_NANOS = TimeUnit.MILLISECONDS.toNanos(100);
    private static final int SEND_MILLIS = 3_000;

    private final DefaultMQProducer producer;
    private final String topic;
    private final LedgerFile file;
    private final int size;
    private final long pauseNanos;
    private final Stop stop = new Stop();
    private final AtomicLong acknowledged = new AtomicLong();
    private final AtomicLong failed = new AtomicLong();
    private final AtomicLong lastAcknowledged = new AtomicLong();
    private final AtomicLong longestGap = new AtomicLong();

    private LedgerProducer(Arguments arguments, DefaultMQProducer producer, LedgerFile file, int keys) {
        this.producer = producer;
        this.topic = arguments.required("topic");
        this.file = file;
        this.size = arguments.number("size", 256);
        this.pauseNanos = TimeUnit.SECONDS.toNanos(keys) / Math.max(arguments.number("rate", 1_000), 1);
    }

    /** Runs until SIGTERM, then prints a line of totals. */
    public static int run(Arguments arguments) throws Exception {
        int keys = arguments.number("keys", 16);
        DefaultMQProducer producer = new DefaultMQProducer("ledger-producer");
        producer.setNamesrvAddr(arguments.required("namesrv"));
        producer.setInstanceName("ledger-" + ProcessHandle.current().pid());
        producer.setSendMsgTimeout(SEND_MILLIS);
        producer.setPollNameServerInterval(1_000);
        producer.start();
        try (LedgerFile file = new LedgerFile(Path.of(arguments.required("file")))) {
            LedgerProducer ledger = new LedgerProducer(arguments, producer, file, keys);
            ledger.sendUntilStopped(keys);
            producer.shutdown();
            System.out.printf("acked=%d failed=%d longest_gap_ms=%d%n", ledger.acknowledged.get(),
                ledger.failed.get(), TimeUnit.NANOSECONDS.toMillis(ledger.longestGap.get()));
            System.out.flush();
            ledger.stop.done();
        }
        return 0;
    }

    private void sendUntilStopped(int keys) throws InterruptedException {
        List<Thread> threads = new ArrayList<>();
        String run = Long.toString(System.currentTimeMillis(), 36);
        for (int i = 0; i < keys; i++) {
            int number = i;
            Thread thread = new Thread(() -> sendKey("k" + run + "." + number, number), "key-" + i);
            thread.start();
            threads.add(thread);
        }
        for (Thread thread : threads) {
            thread.join();
        }
    }

    private void sendKey(String key, int number) {
        try {
            for (long sequence = 0; !stop.isAsked(); ) {
                if (sendOne(key, number, sequence)) {
                    sequence++;
                    stop.await(pauseNanos);
                } else {
                    stop.await(RETRY_NANOS);
                }
            }
        } catch (Exception e) {
            e.printStackTrace();
            Runtime.getRuntime().halt(1);
        }
    }

    private boolean sendOne(String key, int number, long sequence) throws Exception {
        Message message = new Message(topic, body(key, sequence));
        message.setKeys(key + "-" + sequence);
        message.putUserProperty(KEY, key);
        message.putUserProperty(SEQUENCE, Long.toString(sequence));
        SendResult result;
        try {
            result = producer.send(message, (queues, sending, argument) -> choose(queues, number), null);
        } catch (InterruptedException e) {
            throw e;
        } catch (Exception e) {
            failed.incrementAndGet();
            return false;
        }
        if (result.getSendStatus() != SendStatus.SEND_OK) {
            failed.incrementAndGet();
            return false;
        }
        file.record(key, sequence, result.getMsgId() + " " + result.getMessageQueue().getBrokerName() + " "
            + result.getMessageQueue().getQueueId() + " " + result.getQueueOffset());
        acknowledged.incrementAndGet();
        long now = System.nanoTime();
        long before = lastAcknowledged.getAndSet(now);
        if (before != 0) {
            longestGap.accumulateAndGet(now - before, Math::max);
        }
        return true;
    }

    private static MessageQueue choose(List<MessageQueue> queues, int number) {
        return queues.stream().sorted().toList().get(number % queues.size());
    }

    private byte[] body(String key, long sequence) {
        StringBuilder body = new StringBuilder(size + 32).append(key).append(' ').append(sequence).append(' ');
        while (body.length() < size) {
            body.append('.');
        }
        return body.toString().getBytes(StandardCharsets.US_ASCII);
    }
}
