package judge.check;

import static judge.Scene.message;
import static judge.Scene.sent;

import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Set;
import java.util.TreeSet;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicReference;
import judge.Await;
import judge.Check;
import judge.Expect;
import judge.Inbox;
import judge.Scene;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendCallback;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageDecoder;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageId;
import org.apache.rocketmq.common.message.MessageQueue;

/** Every way in which a producer sends. */
public final class SendChecks {
    public static List<Check> all() {
        return List.of(
            new Check("send_sync", SendChecks::sync),
            new Check("send_async", SendChecks::async),
            new Check("send_one_way", SendChecks::oneWay),
            new Check("send_batch", SendChecks::batch),
            new Check("send_to_chosen_queue", SendChecks::chosenQueue),
            new Check("send_keys_tags_properties", SendChecks::properties),
            new Check("send_compressed_body", SendChecks::compressed),
            new Check("send_over_vip_port", SendChecks::vipPort));
    }

    private static void sync(Scene scene) throws Exception {
        String topic = scene.wideTopic(4);
        Set<MessageQueue> queues = new TreeSet<>();
        for (int i = 0; i < 16; i++) {
            SendResult result = sent(scene.producer().send(message(topic, "m" + i)));
            queues.add(result.getMessageQueue());
            MessageId id = MessageDecoder.decodeMessageId(result.getOffsetMsgId());
            Expect.that(id.getOffset() >= 0, "negative physical offset in " + result);
            Expect.that(result.getMsgId().length() >= 32, "short message id in " + result);
            Expect.equal("region", "DefaultRegion", result.getRegionId());
        }
        Expect.equal("queues used by rotation", Math.min(16, 4 * scene.cluster().masters().size()), queues.size());
    }

    private static void async(Scene scene) throws Exception {
        String topic = scene.topic(4);
        int count = 64;
        CountDownLatch left = new CountDownLatch(count);
        AtomicReference<Throwable> failure = new AtomicReference<>();
        Set<String> bodies = new TreeSet<>();
        for (int i = 0; i < count; i++) {
            bodies.add("async-" + i);
            scene.producer().send(message(topic, "async-" + i), new SendCallback() {
                @Override
                public void onSuccess(SendResult result) {
                    left.countDown();
                }

                @Override
                public void onException(Throwable e) {
                    failure.set(e);
                    left.countDown();
                }
            });
        }
        Expect.that(left.await(Await.SECONDS, TimeUnit.SECONDS), left.getCount() + " callbacks are missing");
        Expect.that(failure.get() == null, "async send failed: " + failure.get());
        consumeAll(scene, topic, bodies);
    }

    private static void oneWay(Scene scene) throws Exception {
        String topic = scene.topic(4);
        // The first send opens the connection, so that no one-way message is lost to a closed one.
        Set<String> bodies = scene.send(topic, 1);
        for (int i = 0; i < 20; i++) {
            scene.producer().sendOneway(message(topic, "one-way-" + i));
            bodies.add("one-way-" + i);
        }
        consumeAll(scene, topic, bodies);
    }

    private static void batch(Scene scene) throws Exception {
        String topic = scene.topic(4);
        List<Message> batch = new ArrayList<>();
        Set<String> bodies = new TreeSet<>();
        for (int i = 0; i < 50; i++) {
            batch.add(new Message(topic, "TagA", "key-" + i, ("batch-" + i).getBytes(StandardCharsets.UTF_8)));
            bodies.add("batch-" + i);
        }
        SendResult result = sent(scene.producer().send(batch));
        String[] offsetIds = result.getOffsetMsgId().split(",");
        Expect.equal("offset ids of the batch", batch.size(), offsetIds.length);
        long previous = -1;
        for (String id : offsetIds) {
            long offset = MessageDecoder.decodeMessageId(id).getOffset();
            Expect.that(offset > previous, "physical offsets of a batch do not rise: " + result.getOffsetMsgId());
            previous = offset;
        }
        List<MessageExt> received = consumeAll(scene, topic, bodies);
        for (MessageExt message : received) {
            Expect.equal("tag in a batch", "TagA", message.getTags());
            Expect.equal("queue of a batch", result.getMessageQueue().getQueueId(), message.getQueueId());
            String number = Inbox.text(message).substring("batch-".length());
            Expect.equal("key in a batch", "key-" + number, message.getKeys());
            Expect.equal("queue offset in a batch", result.getQueueOffset() + Integer.parseInt(number),
                message.getQueueOffset());
        }
    }

    private static void chosenQueue(Scene scene) throws Exception {
        String topic = scene.topic(4);
        List<MessageQueue> queues = scene.producer().fetchPublishMessageQueues(topic);
        for (MessageQueue queue : queues) {
            for (long offset = 0; offset < 3; offset++) {
                SendResult result = sent(scene.producer().send(message(topic, "m"), queue));
                Expect.equal("queue", queue, result.getMessageQueue());
                Expect.equal("queue offset", offset, result.getQueueOffset());
            }
        }
        SendResult selected = sent(scene.producer().send(message(topic, "m"),
            (all, message, argument) -> all.get((Integer) argument), 2));
        Expect.equal("selected queue", queues.get(2), selected.getMessageQueue());
    }

    private static void properties(Scene scene) throws Exception {
        String topic = scene.topic(1);
        byte[] body = "body ü".getBytes(StandardCharsets.UTF_8);
        Message message = new Message(topic, "TagA", "key-1 key-2", 7, body, true);
        message.putUserProperty("city", "München ☃");
        message.putUserProperty("empty spaces", " a  b ");
        long before = System.currentTimeMillis();
        SendResult result = sent(scene.producer().send(message));
        MessageExt received = consumeAll(scene, topic, Set.of("body ü")).get(0);
        Expect.equal("message id", result.getMsgId(), received.getMsgId());
        Expect.equal("tag", "TagA", received.getTags());
        Expect.equal("keys", "key-1 key-2", received.getKeys());
        Expect.equal("flag", 7, received.getFlag());
        Expect.equal("user property", "München ☃", received.getUserProperty("city"));
        Expect.equal("user property", " a  b ", received.getUserProperty("empty spaces"));
        Expect.equal("topic", topic, received.getTopic());
        Expect.equal("queue offset", result.getQueueOffset(), received.getQueueOffset());
        Expect.equal("reconsume times", 0, received.getReconsumeTimes());
        Expect.atLeast("born timestamp", before, received.getBornTimestamp());
        Expect.atLeast("store timestamp", received.getBornTimestamp(), received.getStoreTimestamp() + 1000);
        Expect.equal("offset id", result.getOffsetMsgId(),
            MessageDecoder.createMessageId(received.getStoreHost(), received.getCommitLogOffset()));
        Expect.that(received.getBornHostString() != null && received.getBornHost() != null, "no born host");
    }

    private static void compressed(Scene scene) throws Exception {
        String topic = scene.topic(1);
        byte[] body = "a line that repeats itself\n".repeat(8_000).getBytes(StandardCharsets.UTF_8);
        sent(scene.producer().send(new Message(topic, body)));
        Inbox inbox = new Inbox();
        scene.startedPush(scene.group(), topic, inbox);
        MessageExt received = inbox.awaitCount(1).get(0);
        Expect.that(Arrays.equals(body, received.getBody()), "another body than was sent");
        Expect.atLeast("a body four times the stored size", 4L * received.getStoreSize(), body.length);
    }

    private static void vipPort(Scene scene) throws Exception {
        String topic = scene.topic(1);
        DefaultMQProducer producer = new DefaultMQProducer(scene.name("vip"));
        producer.setVipChannelEnabled(true);
        scene.startedProducer(producer);
        sent(producer.send(message(topic, "vip")));
        consumeAll(scene, topic, Set.of("vip"));
    }

    private static List<MessageExt> consumeAll(Scene scene, String topic, Set<String> bodies) throws Exception {
        Inbox inbox = new Inbox();
        scene.startedPush(scene.group(), topic, inbox);
        inbox.awaitBodies(bodies);
        return inbox.all();
    }

    private SendChecks() {
    }
}
