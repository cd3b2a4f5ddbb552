package judge;

import static judge.Scene.sent;

import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.AtomicIntegerArray;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;

/** Sends numbered messages from several threads and takes them back; every number must come, with its own body. */
final class RoundTrip {
    private static final int WAIT_SECONDS = 180;

    private static final String RUN = "run";

    private final String run = Long.toString(System.nanoTime(), 36);
    private final int count;
    private final int size;
    private final AtomicIntegerArray deliveries;
    private final AtomicInteger missing;
    private final AtomicInteger wrong = new AtomicInteger();

    private RoundTrip(int count, int size) {
        this.count = count;
        this.size = size;
        this.deliveries = new AtomicIntegerArray(count);
        this.missing = new AtomicInteger(count);
    }

    static int run(Arguments arguments) throws Exception {
        RoundTrip trip = new RoundTrip(arguments.number("count", 100_000), arguments.number("size", 128));
        try (Cluster cluster = new Cluster(arguments.required("namesrv"));
             Scene scene = new Scene("roundtrip", cluster)) {
            String topic = arguments.optional("topic", "");
            return trip.run(scene, topic.isEmpty() ? scene.wideTopic(8) : topic, arguments.number("threads", 8));
        }
    }

    private int run(Scene scene, String topic, int threads) throws Exception {
        DefaultMQPushConsumer consumer = scene.push(scene.group());
        consumer.setConsumeMessageBatchMaxSize(32);
        consumer.subscribe(topic, "*");
        consumer.registerMessageListener((MessageListenerConcurrently) (messages, context) -> {
            messages.forEach(this::take);
            return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        });
        consumer.start();

        long begin = System.nanoTime();
        send(scene.producer(), topic, threads);
        double sendSeconds = (System.nanoTime() - begin) / 1e9;
        Await.value("the last messages", WAIT_SECONDS, missing::get, left -> left == 0);
        double seconds = (System.nanoTime() - begin) / 1e9;

        long delivered = 0;
        for (int i = 0; i < count; i++) {
            delivered += deliveries.get(i);
        }
        boolean passed = missing.get() == 0 && wrong.get() == 0;
        System.out.printf("%s roundtrip count=%d duplicates=%d wrong=%d send_seconds=%.1f seconds=%.1f rate=%.0f%n",
            passed ? "PASS" : "FAIL", count, delivered - count, wrong.get(), sendSeconds, seconds, count / seconds);
        return passed ? 0 : 1;
    }

    private void send(DefaultMQProducer producer, String topic, int threads) throws Exception {
        ExecutorService senders = Executors.newFixedThreadPool(threads);
        AtomicInteger next = new AtomicInteger();
        List<Future<?>> ends = new ArrayList<>();
        for (int i = 0; i < threads; i++) {
            ends.add(senders.submit(() -> {
                for (int number = next.getAndIncrement(); number < count; number = next.getAndIncrement()) {
                    Message message = new Message(topic, body(number));
                    message.putUserProperty(RUN, run);
                    sent(producer.send(message));
                }
                return null;
            }));
        }
        for (Future<?> end : ends) {
            end.get();
        }
        senders.shutdown();
        senders.awaitTermination(1, TimeUnit.SECONDS);
    }

    private byte[] body(int number) {
        StringBuilder body = new StringBuilder(size + 16);
        body.append(number).append(' ');
        while (body.length() < size) {
            body.append((char) ('a' + (number + body.length()) % 26));
        }
        return body.toString().getBytes(StandardCharsets.US_ASCII);
    }

    private void take(MessageExt message) {
        if (!run.equals(message.getUserProperty(RUN))) {
            return;
        }
        String text = Inbox.text(message);
        int number;
        try {
            number = Integer.parseInt(text.substring(0, Math.max(text.indexOf(' '), 0)));
        } catch (NumberFormatException e) {
            wrong.incrementAndGet();
            return;
        }
        if (number >= count || !text.equals(new String(body(number), StandardCharsets.US_ASCII))) {
            wrong.incrementAndGet();
        } else if (deliveries.incrementAndGet(number) == 1) {
            missing.decrementAndGet();
        }
    }
}
