package judge.check;

import java.util.Collection;
import java.util.List;
import java.util.Set;
import java.util.TreeSet;
import judge.Await;
import judge.Check;
import judge.Expect;
import judge.Inbox;
import judge.Scene;
import org.apache.rocketmq.client.consumer.DefaultLitePullConsumer;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;

/** The lite pull consumer, by subscription and by hand. */
public final class LitePullChecks {
    public static List<Check> all() {
        return List.of(
            new Check("lite_pull_subscribe", LitePullChecks::subscribe),
            new Check("lite_pull_assign_and_seek", LitePullChecks::assign),
            new Check("lite_pull_commit", LitePullChecks::commit));
    }

    private static void subscribe(Scene scene) throws Exception {
        String topic = scene.topic(4);
        Set<String> wanted = scene.send(topic, "TagA", "a", 20);
        scene.send(topic, "TagB", "b", 20);
        DefaultLitePullConsumer consumer = scene.litePull(scene.group());
        consumer.subscribe(topic, "TagA");
        consumer.start();
        Expect.equal("bodies", wanted, poll(consumer, wanted.size()));
    }

    private static void assign(Scene scene) throws Exception {
        String topic = scene.topic(2);
        scene.send(topic, 20);
        DefaultLitePullConsumer consumer = scene.litePull(scene.group());
        consumer.setAutoCommit(false);
        consumer.start();
        Collection<MessageQueue> queues = consumer.fetchMessageQueues(topic);
        Expect.equal("queues", 2, queues.size());
        MessageQueue queue = queues.iterator().next();
        consumer.assign(List.of(queue));
        Inbox all = pollInbox(consumer, 10);
        Inbox inbox = pollAfter(consumer, () -> consumer.seek(queue, 4), 6);
        for (MessageExt message : inbox.all()) {
            Expect.equal("queue", queue.getQueueId(), message.getQueueId());
            Expect.atLeast("queue offset", 4, message.getQueueOffset());
        }
        Expect.that(all.bodies().containsAll(inbox.bodies()), "other messages after the seek than before");
        Inbox again = pollAfter(consumer, () -> consumer.seekToBegin(queue), 10);
        Expect.equal("bodies from the beginning", all.bodies(), again.bodies());
        long middle = inbox.all().get(2).getStoreTimestamp();
        Long byTime = consumer.offsetForTimestamp(queue, middle);
        Expect.that(byTime <= inbox.all().get(2).getQueueOffset(), "offset " + byTime + " by time is too far");
    }

    private static void commit(Scene scene) throws Exception {
        String topic = scene.topic(1);
        scene.send(topic, 10);
        DefaultLitePullConsumer consumer = scene.litePull(scene.group());
        consumer.setAutoCommit(false);
        consumer.setPullBatchSize(4);
        consumer.subscribe(topic, "*");
        consumer.start();
        Inbox first = new Inbox();
        first.addAll(Await.value("messages", () -> consumer.poll(1000), messages -> !messages.isEmpty()));
        consumer.commitSync();
        MessageQueue queue = consumer.assignment().iterator().next();
        long expected = first.size();
        Await.value("the committed offset", () -> consumer.committed(queue), offset -> offset == expected);
        consumer.shutdown();
        DefaultLitePullConsumer next = scene.litePull(scene.group());
        next.subscribe(topic, "*");
        next.start();
        Inbox rest = pollInbox(next, (int) (10 - expected));
        Expect.equal("first offset after the restart", expected, rest.all().get(0).getQueueOffset());
    }

    private static Set<String> poll(DefaultLitePullConsumer consumer, int count) throws Exception {
        return new TreeSet<>(pollInbox(consumer, count).bodies());
    }

    /**
     * Seeks and polls. A seek that interrupts a pull before it was sent makes the client close its connection; where its next pull
     * meets that, the client has forgotten the offset, so after some seconds without a message it is told again.
     */
    private static Inbox pollAfter(DefaultLitePullConsumer consumer, Expect.Action seek, int count) throws Exception {
        Inbox inbox = new Inbox();
        Await.value(count + " messages polled after a seek", () -> {
            if (inbox.size() == 0) {
                seek.run();
            }
            inbox.addAll(consumer.poll(8000));
            return inbox.size();
        }, size -> size >= count);
        Expect.equal("polled messages", count, inbox.size());
        return inbox;
    }

    private static Inbox pollInbox(DefaultLitePullConsumer consumer, int count) throws Exception {
        Inbox inbox = new Inbox();
        Await.value(count + " polled messages", () -> {
            inbox.addAll(consumer.poll(1000));
            return inbox.size();
        }, size -> size >= count);
        Expect.equal("polled messages", count, inbox.size());
        return inbox;
    }

    private LitePullChecks() {
    }
}
