package judge.check;

import static judge.Scene.message;
import static judge.Scene.sent;

import java.util.List;
import java.util.Set;
import java.util.stream.Collectors;
import judge.Await;
import judge.Check;
import judge.Expect;
import judge.Inbox;
import judge.Scene;
import org.apache.rocketmq.client.consumer.DefaultMQPullConsumer;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;

/** Offsets asked for, moved and reported. */
public final class OffsetChecks {
    public static List<Check> all() {
        return List.of(
            new Check("offset_min_max_earliest", OffsetChecks::bounds),
            new Check("offset_by_timestamp", OffsetChecks::byTimestamp),
            new Check("offset_reset_while_consuming", OffsetChecks::resetOnline),
            new Check("offset_reset_while_stopped", OffsetChecks::resetOffline),
            new Check("offset_lag_reported", OffsetChecks::lag));
    }

    private static void bounds(Scene scene) throws Exception {
        String topic = scene.topic(2);
        List<MessageQueue> queues = scene.producer().fetchPublishMessageQueues(topic);
        MessageQueue used = queues.get(0);
        MessageQueue unused = queues.get(1);
        DefaultMQPullConsumer consumer = scene.startedPull(scene.group());
        consumer.fetchSubscribeMessageQueues(topic);
        Expect.equal("max of an unused queue", 0L, consumer.maxOffset(unused));
        long before = System.currentTimeMillis();
        for (int i = 0; i < 5; i++) {
            sent(scene.producer().send(message(topic, "m" + i), used));
        }
        Await.value("max offset", () -> consumer.maxOffset(used), max -> max == 5);
        Expect.equal("min offset", 0L, consumer.minOffset(used));
        long earliest = consumer.earliestMsgStoreTime(used);
        Expect.that(Math.abs(earliest - before) < 60_000, "earliest store time " + earliest + ", sent at " + before);
    }

    private static void byTimestamp(Scene scene) throws Exception {
        String topic = scene.topic(1);
        MessageQueue queue = scene.producer().fetchPublishMessageQueues(topic).get(0);
        DefaultMQPullConsumer consumer = scene.startedPull(scene.group());
        consumer.fetchSubscribeMessageQueues(topic);
        List<MessageExt> stored = sendApart(scene, topic, queue, consumer);
        for (MessageExt message : stored) {
            Expect.equal("offset at the time of message " + message.getQueueOffset(), message.getQueueOffset(),
                consumer.searchOffset(queue, message.getStoreTimestamp()));
        }
        Expect.equal("offset before the first message", 0L,
            consumer.searchOffset(queue, stored.get(0).getStoreTimestamp() - 60_000));
        long last = stored.get(stored.size() - 1).getStoreTimestamp();
        Expect.equal("offset after the last message", (long) stored.size(),
            consumer.searchOffset(queue, last + 60_000));
    }

    /** Six messages no two of which were stored in the same millisecond. */
    private static List<MessageExt> sendApart(Scene scene, String topic, MessageQueue queue,
        DefaultMQPullConsumer consumer) throws Exception {
        int count = 6;
        for (int i = 0; i < count; i++) {
            long begin = System.currentTimeMillis();
            sent(scene.producer().send(message(topic, "m" + i), queue));
            Await.until("the clock", () -> System.currentTimeMillis() > begin + 5);
        }
        Await.value("max offset", () -> consumer.maxOffset(queue), max -> max == count);
        return consumer.pull(queue, "*", 0, count).getMsgFoundList();
    }

    private static void resetOnline(Scene scene) throws Exception {
        String topic = scene.topic(1);
        Inbox inbox = new Inbox();
        scene.startedPush(scene.group(), topic, inbox);
        long from = sendTwoHalves(scene, topic, inbox);
        int before = inbox.size();
        Set<String> expected = storedSince(inbox, from);
        var reset = scene.admin().resetOffsetByTimestamp(topic, scene.group(), from, true);
        Expect.equal("queues reset", 1, reset.size());
        Expect.equal("new offset", 10L, reset.values().iterator().next());
        List<MessageExt> all = inbox.awaitCount(before + expected.size());
        Expect.equal("bodies delivered again", expected, texts(all.subList(before, all.size())));
    }

    private static void resetOffline(Scene scene) throws Exception {
        String topic = scene.topic(1);
        Inbox inbox = new Inbox();
        DefaultMQPushConsumer consumer = scene.startedPush(scene.group(), topic, inbox);
        long from = sendTwoHalves(scene, topic, inbox);
        consumer.shutdown();
        scene.admin().resetOffsetNew(scene.group(), topic, from);
        Inbox again = new Inbox();
        scene.startedPush(scene.group(), topic, again);
        Set<String> expected = storedSince(inbox, from);
        again.awaitBodies(expected);
        Expect.equal("deliveries", expected.size(), again.size());
    }

    /** Two times ten messages, consumed and committed; gives the store time of the eleventh. */
    private static long sendTwoHalves(Scene scene, String topic, Inbox inbox) throws Exception {
        scene.send(topic, "", "first", 10);
        long last = inbox.awaitCount(10).get(9).getStoreTimestamp();
        Await.until("the clock", () -> System.currentTimeMillis() > last + 20);
        scene.send(topic, "", "second", 10);
        inbox.awaitCount(20);
        scene.awaitCommitted(scene.group());
        return inbox.all().stream().filter(message -> message.getQueueOffset() == 10).findFirst().orElseThrow()
            .getStoreTimestamp();
    }

    private static Set<String> storedSince(Inbox inbox, long from) {
        return inbox.all().stream().filter(message -> message.getStoreTimestamp() >= from).map(Inbox::text)
            .collect(Collectors.toSet());
    }

    private static Set<String> texts(List<MessageExt> messages) {
        return messages.stream().map(Inbox::text).collect(Collectors.toSet());
    }

    private static void lag(Scene scene) throws Exception {
        String topic = scene.topic(1);
        Inbox inbox = new Inbox();
        DefaultMQPushConsumer consumer = scene.startedPush(scene.group(), topic, inbox);
        scene.send(topic, 10);
        inbox.awaitCount(10);
        scene.awaitCommitted(scene.group());
        consumer.shutdown();
        SendResult last = null;
        for (int i = 0; i < 7; i++) {
            last = sent(scene.producer().send(message(topic, "late-" + i)));
        }
        Expect.equal("offset of the last message", 16L, last.getQueueOffset());
        Await.value("a lag of 7", () -> scene.admin().examineConsumeStats(scene.group()).computeTotalDiff(),
            left -> left == 7);
        Await.value("the topic's max offset", () -> scene.admin().examineTopicStats(topic).getOffsetTable().values()
            .iterator().next().getMaxOffset(), max -> max == 17);
    }

    private OffsetChecks() {
    }
}
