package judge.check;

import static judge.Scene.message;
import static judge.Scene.sent;

import java.util.ArrayList;
import java.util.List;
import java.util.Random;
import java.util.Set;
import java.util.TreeSet;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;
import java.util.stream.LongStream;
import judge.Await;
import judge.Check;
import judge.Expect;
import judge.Inbox;
import judge.Scene;
import org.apache.rocketmq.client.consumer.DefaultMQPullConsumer;
import org.apache.rocketmq.client.consumer.PullResult;
import org.apache.rocketmq.client.consumer.PullStatus;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;

/** A consumer that asks for every message itself. */
public final class PullChecks {
    public static List<Check> all() {
        return List.of(
            new Check("pull_all_queues", PullChecks::allQueues),
            new Check("pull_statuses", PullChecks::statuses),
            new Check("pull_blocks_until_a_message_comes", PullChecks::blocks),
            new Check("pull_by_tag", PullChecks::byTag),
            new Check("pull_offset_committed", PullChecks::committed),
            new Check("pull_large_messages", PullChecks::large));
    }

    private static void allQueues(Scene scene) throws Exception {
        String topic = scene.topic(4);
        Set<String> bodies = scene.send(topic, 100);
        DefaultMQPullConsumer consumer = scene.startedPull(scene.group());
        Set<MessageQueue> queues = consumer.fetchSubscribeMessageQueues(topic);
        Expect.equal("queues", 4, queues.size());
        Set<String> pulled = new TreeSet<>();
        for (MessageQueue queue : queues) {
            long next = 0;
            long max = consumer.maxOffset(queue);
            while (next < max) {
                PullResult result = consumer.pull(queue, "*", next, 10);
                Expect.equal("status", PullStatus.FOUND, result.getPullStatus());
                Expect.that(result.getMsgFoundList().size() <= 10, "more messages than asked for");
                Expect.equal("first offset", next, result.getMsgFoundList().get(0).getQueueOffset());
                Expect.equal("next offset", next + result.getMsgFoundList().size(), result.getNextBeginOffset());
                Expect.equal("min offset", 0L, result.getMinOffset());
                result.getMsgFoundList().forEach(found -> pulled.add(Inbox.text(found)));
                next = result.getNextBeginOffset();
            }
        }
        Expect.equal("bodies", bodies, pulled);
    }

    private static void statuses(Scene scene) throws Exception {
        String topic = scene.topic(1);
        MessageQueue queue = fill(scene, topic, 5);
        DefaultMQPullConsumer consumer = scene.startedPull(scene.group());
        consumer.fetchSubscribeMessageQueues(topic);
        PullResult atEnd = consumer.pull(queue, "*", 5, 10);
        Expect.equal("status at the end", PullStatus.NO_NEW_MSG, atEnd.getPullStatus());
        PullResult beyond = consumer.pull(queue, "*", 50, 10);
        Expect.equal("status far beyond the end", PullStatus.OFFSET_ILLEGAL, beyond.getPullStatus());
        Expect.equal("offset to go on from", 5L, beyond.getNextBeginOffset());
        Expect.equal("max offset", 5L, beyond.getMaxOffset());
        PullResult unmatched = consumer.pull(queue, "NoSuchTag", 0, 10);
        Expect.equal("status without a match", PullStatus.NO_MATCHED_MSG, unmatched.getPullStatus());
        Expect.equal("offset after what did not match", 5L, unmatched.getNextBeginOffset());
    }

    private static void blocks(Scene scene) throws Exception {
        String topic = scene.topic(1);
        MessageQueue queue = fill(scene, topic, 1);
        DefaultMQPullConsumer consumer = scene.startedPull(scene.group());
        consumer.fetchSubscribeMessageQueues(topic);
        CompletableFuture<PullResult> waiting = CompletableFuture.supplyAsync(() -> {
            try {
                return consumer.pullBlockIfNotFound(queue, "*", 1, 10);
            } catch (Exception e) {
                throw new IllegalStateException(e);
            }
        });
        // An answer within this time would mean that the broker does not hold the request.
        long begin = System.nanoTime();
        Await.until("time to pass", () -> System.nanoTime() - begin > TimeUnit.MILLISECONDS.toNanos(1_500));
        Expect.that(!waiting.isDone(), "the pull did not wait");
        sent(scene.producer().send(message(topic, "at last"), queue));
        PullResult result = waiting.get(4, TimeUnit.SECONDS);
        Expect.equal("status", PullStatus.FOUND, result.getPullStatus());
        Expect.equal("body", "at last", Inbox.text(result.getMsgFoundList().get(0)));
    }

    private static void byTag(Scene scene) throws Exception {
        String topic = scene.topic(1);
        for (int i = 0; i < 5; i++) {
            scene.send(topic, "TagA", "a" + i, 1);
            scene.send(topic, "TagB", "b" + i, 1);
        }
        MessageQueue queue = scene.producer().fetchPublishMessageQueues(topic).get(0);
        DefaultMQPullConsumer consumer = scene.startedPull(scene.group());
        consumer.fetchSubscribeMessageQueues(topic);
        Await.value("max offset", () -> consumer.maxOffset(queue), max -> max == 10);
        PullResult result = consumer.pull(queue, "TagB", 0, 32);
        List<String> bodies = result.getMsgFoundList().stream().map(Inbox::text).toList();
        Expect.equal("bodies", List.of("b0-0000", "b1-0000", "b2-0000", "b3-0000", "b4-0000"), bodies);
    }

    private static void committed(Scene scene) throws Exception {
        String topic = scene.topic(1);
        MessageQueue queue = fill(scene, topic, 5);
        DefaultMQPullConsumer consumer = scene.startedPull(scene.group());
        consumer.fetchSubscribeMessageQueues(topic);
        // A broker takes offsets only of groups it knows; the first pull makes it known.
        Expect.equal("status", PullStatus.FOUND, consumer.pull(queue, "*", 0, 3).getPullStatus());
        consumer.updateConsumeOffset(queue, 3);
        consumer.persist(queue);
        Await.value("the offset at the broker", () -> consumer.fetchConsumeOffset(queue, true),
            offset -> offset == 3);
        consumer.shutdown();
        DefaultMQPullConsumer next = scene.startedPull(scene.group());
        next.fetchSubscribeMessageQueues(topic);
        Expect.equal("offset after a restart", 3L, next.fetchConsumeOffset(queue, true));
    }

    private static void large(Scene scene) throws Exception {
        String topic = scene.topic(1);
        MessageQueue queue = scene.producer().fetchPublishMessageQueues(topic).get(0);
        int count = 5;
        int size = 700_000;
        byte[] noise = new byte[size];
        new Random(7).nextBytes(noise);
        for (int i = 0; i < count; i++) {
            noise[0] = (byte) i;
            sent(scene.producer().send(new Message(topic, noise.clone()), queue));
        }
        DefaultMQPullConsumer consumer = scene.startedPull(scene.group());
        consumer.fetchSubscribeMessageQueues(topic);
        Await.value("max offset", () -> consumer.maxOffset(queue), max -> max == count);
        long next = 0;
        while (next < count) {
            PullResult result = consumer.pull(queue, "*", next, 32);
            Expect.equal("status at " + next, PullStatus.FOUND, result.getPullStatus());
            for (MessageExt message : result.getMsgFoundList()) {
                Expect.equal("size", size, message.getBody().length);
                Expect.equal("first byte", (byte) message.getQueueOffset(), message.getBody()[0]);
            }
            next = result.getNextBeginOffset();
        }
    }

    private static MessageQueue fill(Scene scene, String topic, int count) throws Exception {
        MessageQueue queue = scene.producer().fetchPublishMessageQueues(topic).get(0);
        List<Long> offsets = new ArrayList<>();
        for (int i = 0; i < count; i++) {
            offsets.add(sent(scene.producer().send(message(topic, "m" + i), queue)).getQueueOffset());
        }
        Expect.equal("offsets", LongStream.range(0, count).boxed().toList(),
            offsets);
        Await.value("max offset", () -> scene.admin().maxOffset(queue), max -> max == count);
        return queue;
    }

    private PullChecks() {
    }
}
