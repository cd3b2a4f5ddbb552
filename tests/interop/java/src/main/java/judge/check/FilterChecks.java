package judge.check;

import static judge.Scene.message;
import static judge.Scene.sent;
import static judge.Scene.taking;

import java.util.List;
import java.util.Set;
import java.util.TreeSet;
import java.util.concurrent.atomic.AtomicBoolean;
import judge.Await;
import judge.Check;
import judge.Codes;
import judge.Expect;
import judge.Inbox;
import judge.Scene;
import org.apache.rocketmq.client.consumer.DefaultLitePullConsumer;
import org.apache.rocketmq.client.consumer.DefaultMQPullConsumer;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.MessageSelector;
import org.apache.rocketmq.client.consumer.PullResult;
import org.apache.rocketmq.client.consumer.PullStatus;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;

/** Consumers that subscribe by SQL92. The broker has enablePropertyFilter=true. */
public final class FilterChecks {
    public static List<Check> all() {
        return List.of(
            new Check("filter_push", FilterChecks::push),
            new Check("filter_retry", FilterChecks::retry),
            new Check("filter_pull", FilterChecks::pull),
            new Check("filter_lite_pull", FilterChecks::litePull),
            new Check("filter_of_a_new_expression", FilterChecks::changed),
            new Check("filter_wrong_is_refused_at_the_start", FilterChecks::wrong));
    }

    private static void push(Scene scene) throws Exception {
        String topic = scene.topic(4);
        Set<String> wanted = sendNumbers(scene, topic, 0, 40, 10, 30);
        Inbox inbox = new Inbox();
        DefaultMQPushConsumer consumer = scene.push(scene.group());
        consumer.subscribe(topic, MessageSelector.bySql("TAGS = 'even' AND n BETWEEN 10 AND 29 OR word IN ('it''s')"));
        consumer.registerMessageListener(taking(inbox));
        consumer.start();
        inbox.awaitBodies(wanted);
        // Now its pulls wait at the ends of the queues.
        Message quoted = message(topic, "quoted");
        quoted.putUserProperty("word", "it's");
        sent(scene.producer().send(quoted));
        wanted.add("quoted");
        wanted.addAll(sendNumbers(scene, topic, 10, 30, 10, 30));
        inbox.awaitCount(wanted.size() + 10);
        inbox.awaitBodies(wanted);
        scene.awaitCommitted(scene.group());
    }

    /** The retry topic is not filtered. */
    private static void retry(Scene scene) throws Exception {
        String topic = scene.topic(1);
        scene.createRetryTopic(scene.group());
        sendNumbers(scene, topic, 0, 6, 0, 0);
        Inbox inbox = new Inbox();
        AtomicBoolean failed = new AtomicBoolean();
        MessageListenerConcurrently listener = (messages, context) -> {
            inbox.addAll(messages);
            context.setDelayLevelWhenNextConsume(1);
            return failed.getAndSet(true) ? ConsumeConcurrentlyStatus.CONSUME_SUCCESS : ConsumeConcurrentlyStatus.RECONSUME_LATER;
        };
        DefaultMQPushConsumer consumer = scene.push(scene.group());
        consumer.subscribe(topic, MessageSelector.bySql("n = 4"));
        consumer.registerMessageListener(listener);
        consumer.start();
        List<MessageExt> both = inbox.awaitCount(2);
        Expect.equal("bodies", Set.of("n4"), inbox.bodies());
        Expect.equal("times consumed before", 1, both.get(1).getReconsumeTimes());
    }

    private static void pull(Scene scene) throws Exception {
        String topic = scene.topic(1);
        sendNumbers(scene, topic, 0, 10, 0, 0);
        MessageQueue queue = scene.producer().fetchPublishMessageQueues(topic).get(0);
        Await.value("max offset", () -> scene.admin().maxOffset(queue), max -> max == 10);
        DefaultMQPullConsumer consumer = scene.startedPull(scene.group());
        consumer.fetchSubscribeMessageQueues(topic);
        // Until its first heartbeat the client believes that the broker is too old.
        PullResult found = Await.value("messages", () -> consumer.pull(queue, MessageSelector.bySql("n >= 7"), 0, 10),
            result -> result.getPullStatus() == PullStatus.FOUND);
        Set<String> bodies = new TreeSet<>();
        found.getMsgFoundList().forEach(message -> bodies.add(Inbox.text(message)));
        Expect.equal("bodies", Set.of("n7", "n8", "n9"), bodies);
        PullResult nothing = consumer.pull(queue, MessageSelector.bySql("n > 100"), 0, 10);
        Expect.equal("status without a match", PullStatus.NO_MATCHED_MSG, nothing.getPullStatus());
        Expect.equal("offset after what did not match", 10L, nothing.getNextBeginOffset());
    }

    private static void litePull(Scene scene) throws Exception {
        String topic = scene.topic(2);
        Set<String> wanted = sendNumbers(scene, topic, 0, 20, 5, 15);
        DefaultLitePullConsumer consumer = scene.litePull(scene.group());
        consumer.subscribe(topic, MessageSelector.bySql("n >= 5 AND n < 15 AND NOT (TAGS = 'odd')"));
        consumer.start();
        Set<String> got = new TreeSet<>();
        Await.until(wanted.size() + " messages", () -> {
            consumer.poll(500).forEach(message -> got.add(Inbox.text(message)));
            return got.size() >= wanted.size();
        });
        Expect.equal("bodies", wanted, got);
    }

    /** The group comes back with another expression and goes on where it was. */
    private static void changed(Scene scene) throws Exception {
        String topic = scene.topic(1);
        Inbox before = new Inbox();
        DefaultMQPushConsumer first = scene.push(scene.group());
        first.subscribe(topic, MessageSelector.bySql("n < 5"));
        first.registerMessageListener(taking(before));
        first.start();
        sendNumbers(scene, topic, 0, 10, 0, 0);
        before.awaitBodies(Set.of("n0", "n1", "n2", "n3", "n4"));
        // A parked pull does not tell its client of n5 to n9 before its deadline.
        Await.until("the offset behind what does not match", () -> scene.admin().examineConsumeStats(scene.group(), topic)
            .getOffsetTable().values().stream().anyMatch(queue -> queue.getConsumerOffset() == 10));
        first.shutdown();
        Inbox after = new Inbox();
        DefaultMQPushConsumer second = scene.push(scene.group());
        // It matches messages of before, too: those lie behind the group's offset.
        second.subscribe(topic, MessageSelector.bySql("n >= 8"));
        second.registerMessageListener(taking(after));
        second.start();
        sendNumbers(scene, topic, 10, 20, 0, 0);
        Set<String> wanted = new TreeSet<>();
        for (int i = 10; i < 20; i++) {
            wanted.add("n" + i);
        }
        after.awaitBodies(wanted);
    }

    private static void wrong(Scene scene) throws Exception {
        String topic = scene.topic(1);
        DefaultMQPushConsumer consumer = scene.push(scene.group());
        consumer.subscribe(topic, MessageSelector.bySql("n BETWEEN 1"));
        consumer.registerMessageListener(taking(new Inbox()));
        Expect.refused("a wrong expression", Codes.SUBSCRIPTION_PARSE_FAILED, consumer::start);
    }

    /** Sends messages with a number and a tag each; gives the even ones of a range. */
    private static Set<String> sendNumbers(Scene scene, String topic, int from, int to, int low, int high) throws Exception {
        Set<String> wanted = new TreeSet<>();
        for (int i = from; i < to; i++) {
            Message message = message(topic, "n" + i);
            message.setTags(i % 2 == 0 ? "even" : "odd");
            message.putUserProperty("n", Integer.toString(i));
            sent(scene.producer().send(message));
            if (i % 2 == 0 && i >= low && i < high) {
                wanted.add("n" + i);
            }
        }
        return wanted;
    }

    private FilterChecks() {
    }
}
