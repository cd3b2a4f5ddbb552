package judge;

import java.nio.charset.StandardCharsets;
import java.util.ArrayDeque;
import java.util.Deque;
import java.util.Set;
import java.util.TreeSet;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.stream.Collectors;
import org.apache.rocketmq.client.ClientConfig;
import org.apache.rocketmq.client.consumer.DefaultLitePullConsumer;
import org.apache.rocketmq.client.consumer.DefaultMQPullConsumer;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.client.producer.SendStatus;
import org.apache.rocketmq.common.consumer.ConsumeFromWhere;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageQueue;
import org.apache.rocketmq.tools.admin.DefaultMQAdminExt;

/**
 * What one check works with: names nobody else uses, and clients that are shut down when it ends. Clients ask for
 * routes, send heartbeats and persist offsets every second instead of every 30, 30 and 5, or a run would mostly wait.
 */
public final class Scene implements AutoCloseable {
    private static final String RUN = Long.toString(System.currentTimeMillis() % 1_000_000_000L, 36);
    private static final AtomicInteger CLIENTS = new AtomicInteger();
    private static final int CLIENT_MILLIS = 1_000;

    private final String name;
    private final Cluster cluster;
    private final Deque<Runnable> cleanups = new ArrayDeque<>();
    private DefaultMQProducer producer;

    Scene(String name, Cluster cluster) {
        this.name = name;
        this.cluster = cluster;
    }

    public Cluster cluster() {
        return cluster;
    }

    public DefaultMQAdminExt admin() {
        return cluster.admin();
    }

    /** A name for a topic or group: the check's, the run's, and the part's. */
    public String name(String part) {
        return name + "-" + RUN + "-" + part;
    }

    /** A new topic with so many queues, all on one master. */
    public String topic(int queues) throws Exception {
        String topic = name("topic" + CLIENTS.incrementAndGet());
        cluster.createTopic(topic, queues);
        return topic;
    }

    /** A new topic with so many queues on each master. */
    public String wideTopic(int queues) throws Exception {
        String topic = name("topic" + CLIENTS.incrementAndGet());
        cluster.createTopicEverywhere(topic, queues);
        return topic;
    }

    public String group() {
        return name("group");
    }

    // ---- clients

    /** The producer that this scene sends with when it does not matter how. */
    public synchronized DefaultMQProducer producer() throws Exception {
        if (producer == null) {
            producer = startedProducer(new DefaultMQProducer(name("producer")));
        }
        return producer;
    }

    public DefaultMQProducer startedProducer(DefaultMQProducer fresh) throws Exception {
        configure(fresh);
        fresh.setSendMsgTimeout(10_000);
        onClose(fresh::shutdown);
        fresh.start();
        return fresh;
    }

    /** A push consumer from the first offset, not yet subscribed nor started. */
    public DefaultMQPushConsumer push(String group) {
        DefaultMQPushConsumer consumer = new DefaultMQPushConsumer(group);
        configure(consumer);
        consumer.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
        consumer.setConsumeThreadMin(2);
        consumer.setConsumeThreadMax(2);
        onClose(consumer::shutdown);
        return consumer;
    }

    /** A started clustering consumer of all tags that takes what comes. */
    public DefaultMQPushConsumer startedPush(String group, String topic, Inbox inbox) throws Exception {
        DefaultMQPushConsumer consumer = push(group);
        consumer.subscribe(topic, "*");
        consumer.registerMessageListener(taking(inbox));
        consumer.start();
        return consumer;
    }

    public DefaultMQPullConsumer startedPull(String group) throws Exception {
        DefaultMQPullConsumer consumer = new DefaultMQPullConsumer(group);
        configure(consumer);
        onClose(consumer::shutdown);
        consumer.start();
        return consumer;
    }

    public DefaultLitePullConsumer litePull(String group) {
        DefaultLitePullConsumer consumer = new DefaultLitePullConsumer(group);
        configure(consumer);
        consumer.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
        onClose(consumer::shutdown);
        return consumer;
    }

    private void configure(ClientConfig client) {
        client.setNamesrvAddr(cluster.namesrv());
        client.setInstanceName(name("client" + CLIENTS.incrementAndGet()));
        client.setPollNameServerInterval(CLIENT_MILLIS);
        client.setHeartbeatBrokerInterval(CLIENT_MILLIS);
        client.setPersistConsumerOffsetInterval(CLIENT_MILLIS);
    }

    public void onClose(Runnable cleanup) {
        synchronized (cleanups) {
            cleanups.push(cleanup);
        }
    }

    // ---- steps that many checks share

    public static MessageListenerConcurrently taking(Inbox inbox) {
        return (messages, context) -> {
            inbox.addAll(messages);
            return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        };
    }

    public static Message message(String topic, String body) {
        return new Message(topic, body.getBytes(StandardCharsets.UTF_8));
    }

    /** Sends so many messages and gives their bodies. */
    public Set<String> send(String topic, int count) throws Exception {
        return send(topic, "", "message", count);
    }

    public Set<String> send(String topic, String tag, String prefix, int count) throws Exception {
        Set<String> bodies = new TreeSet<>();
        for (int i = 0; i < count; i++) {
            String body = String.format("%s-%04d", prefix, i);
            Message message = message(topic, body);
            if (!tag.isEmpty()) {
                message.setTags(tag);
            }
            sent(producer().send(message));
            bodies.add(body);
        }
        return bodies;
    }

    public static SendResult sent(SendResult result) {
        Expect.equal("send status", SendStatus.SEND_OK, result.getSendStatus());
        return result;
    }

    /** The queues of a topic that a push consumer holds now. */
    public static Set<MessageQueue> held(DefaultMQPushConsumer consumer, String topic) {
        return consumer.getDefaultMQPushConsumerImpl().getRebalanceImpl().getProcessQueueTable().keySet().stream()
            .filter(queue -> queue.getTopic().equals(topic)).collect(Collectors.toCollection(TreeSet::new));
    }

    /** Waits until the consumers together hold every queue of the topic, none twice, none of them idle. */
    public void awaitBalance(String topic, DefaultMQPushConsumer... consumers) throws Exception {
        int queues = producer().fetchPublishMessageQueues(topic).size();
        Await.value(consumers.length + " consumers to share " + queues + " queues", () -> {
            Set<MessageQueue> all = new TreeSet<>();
            int sum = 0;
            boolean idle = false;
            for (DefaultMQPushConsumer consumer : consumers) {
                Set<MessageQueue> held = held(consumer, topic);
                all.addAll(held);
                sum += held.size();
                idle |= held.isEmpty();
            }
            return idle || sum != all.size() ? -sum : sum;
        }, sum -> sum == queues);
    }

    /** Waits until the broker has the group's offsets of all that is stored. */
    public void awaitCommitted(String group) throws Exception {
        Await.value("all offsets of " + group, () -> admin().examineConsumeStats(group).computeTotalDiff(),
            left -> left == 0);
    }

    /**
     * Makes the group's retry topic, as it is for any group that has run before: a client looks for the queues of a
     * topic that was unknown at its start only every 20 s.
     */
    public void createRetryTopic(String group) throws Exception {
        cluster.createTopic("%RETRY%" + group, 1);
    }

    @Override
    public void close() {
        synchronized (cleanups) {
            while (!cleanups.isEmpty()) {
                cleanups.pop().run();
            }
        }
    }
}
