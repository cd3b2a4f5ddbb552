package mqadmin;

import java.nio.charset.StandardCharsets;
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
import org.apache.rocketmq.tools.admin.DefaultMQAdminExt;

/** Something for the commands to look at: a broker, a topic with ten messages, a producer and a consumer online. */
final class Fixture implements AutoCloseable {
    static final int MESSAGES = 10;
    static final int QUEUES = 4;
    private static final int WAIT_SECONDS = 60;

    final String namesrv;
    final String run = Long.toString(System.currentTimeMillis() % 1_000_000_000L, 36);
    final String topic = "mqadmin-" + run;
    final String group = "mqadmin-group-" + run;
    final String producerGroup = "mqadmin-producer-" + run;
    final List<SendResult> sent = new ArrayList<>();
    String cluster;
    String broker;
    String address;
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
            sent.add(producer.send(new Message(topic, "TagA", "key-" + i, body(i).getBytes(StandardCharsets.UTF_8))));
        }
        CountDownLatch left = new CountDownLatch(MESSAGES);
        consumer = new DefaultMQPushConsumer(group);
        consumer.setNamesrvAddr(namesrv);
        consumer.setInstanceName("mqadmin-consumer");
        consumer.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
        consumer.setPersistConsumerOffsetInterval(500);
        consumer.subscribe(topic, "TagA || TagB");
        consumer.registerMessageListener((MessageListenerConcurrently) (messages, context) -> {
            messages.forEach(message -> left.countDown());
            return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        });
        consumer.start();
        if (!left.await(WAIT_SECONDS, TimeUnit.SECONDS)) {
            throw new Failure(left.getCount() + " messages were not delivered");
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
