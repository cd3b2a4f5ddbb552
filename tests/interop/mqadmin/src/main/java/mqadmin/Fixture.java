package mqadmin;

import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.common.consumer.ConsumeFromWhere;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageQueue;
import org.apache.rocketmq.tools.admin.DefaultMQAdminExt;

/** Something for the commands to look at: a broker, a topic with ten messages, a producer and a consumer online. */
final class Fixture implements AutoCloseable {
    static final int MESSAGES = 10;
    static final int QUEUES = 4;
    static final String CLIENT = "mqadmin-consumer";
    private static final int WAIT_SECONDS = 60;

    final String namesrv;
    final String run = "r" + Long.toString(System.currentTimeMillis() % 1_000_000_000L, 36);
    final String topic = "mqadmin-" + run;
    final String other = topic + "-other";
    final String sends = topic + "-sends";
    final String traced = topic + "-traced";
    final String group = "mqadmin-group-" + run;
    final String made = "mqadmin-made-" + run;
    final String producerGroup = "mqadmin-producer-" + run;
    final List<SendResult> sent = new ArrayList<>();
    final Path folder = Files.createDirectories(Path.of("mqadmin-files").toAbsolutePath());
    String cluster;
    String broker;
    String address;
    SendResult tracedMessage;
    DefaultMQPushConsumer consumer;
    private DefaultMQProducer producer;

    Fixture(String namesrv) throws Exception {
        this.namesrv = namesrv;
        DefaultMQAdminExt admin = new DefaultMQAdminExt();
        admin.setNamesrvAddr(namesrv);
        admin.setInstanceName("mqadmin-fixture");
        admin.start();
        long deadline = System.nanoTime() + TimeUnit.SECONDS.toNanos(WAIT_SECONDS);
        while (address == null) {
            for (var data : admin.examineBrokerClusterInfo().getBrokerAddrTable().values()) {
                cluster = data.getCluster();
                broker = data.getBrokerName();
                address = data.getBrokerAddrs().get(0L);
            }
            if (System.nanoTime() > deadline) {
                throw new Failure("no broker is registered at " + namesrv);
            }
            TimeUnit.MILLISECONDS.sleep(50);
        }
        admin.shutdown();
    }

    /** The topic must exist by now: the first command creates it. */
    void start() throws Exception {
        producer = new DefaultMQProducer(producerGroup);
        producer.setNamesrvAddr(namesrv);
        producer.setInstanceName("mqadmin-producer");
        producer.setSendMsgTimeout(10_000);
        producer.start();
        for (int i = 0; i < MESSAGES; i++) {
            sent.add(producer.send(new Message(topic, "TagA", "key-" + i, body(i).getBytes(StandardCharsets.UTF_8)),
                new MessageQueue(topic, broker, i % QUEUES)));
        }
        consumer = new DefaultMQPushConsumer(group);
        consumer.setInstanceName(CLIENT);
        consume(consumer, topic, MESSAGES);
    }

    /** Sends and consumes a message with tracing clients. They live as long as the process: their shutdown takes 30 s. */
    void trace() throws Exception {
        DefaultMQProducer tracing = new DefaultMQProducer("mqadmin-tracing-" + run);
        tracing.setEnableTrace(true);
        tracing.setNamesrvAddr(namesrv);
        tracing.setInstanceName("mqadmin-tracing-producer");
        tracing.setSendMsgTimeout(10_000);
        tracing.start();
        tracedMessage = tracing.send(new Message(traced, "TagA", "traced-key", body(0).getBytes(StandardCharsets.UTF_8)));
        DefaultMQPushConsumer follower = new DefaultMQPushConsumer("mqadmin-traced-" + run);
        follower.setEnableTrace(true);
        follower.setInstanceName("mqadmin-tracing-consumer");
        consume(follower, traced, 1);
    }

    /** Starts the consumer and returns when so many messages have come. */
    private void consume(DefaultMQPushConsumer started, String from, int count) throws Exception {
        CountDownLatch left = new CountDownLatch(count);
        started.setNamesrvAddr(namesrv);
        started.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
        started.setPersistConsumerOffsetInterval(500);
        started.subscribe(from, "TagA || TagB");
        started.registerMessageListener((MessageListenerConcurrently) (messages, context) -> {
            messages.forEach(message -> left.countDown());
            return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        });
        started.start();
        if (!left.await(WAIT_SECONDS, TimeUnit.SECONDS)) {
            throw new Failure(left.getCount() + " messages were not delivered");
        }
    }

    String clientId() {
        return consumer.getDefaultMQPushConsumerImpl().getmQClientFactory().getClientId();
    }

    Path file(String name, String text) {
        try {
            return Files.writeString(folder.resolve(name), text);
        } catch (IOException e) {
            throw new Failure(e.toString());
        }
    }

    static String body(int number) {
        return "body ü " + number;
    }

    @Override
    public void close() {
        if (consumer != null) {
            consumer.shutdown();
        }
        if (producer != null) {
            producer.shutdown();
        }
    }
}
