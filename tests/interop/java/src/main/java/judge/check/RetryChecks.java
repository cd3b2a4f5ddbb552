package judge.check;

import static judge.Scene.message;
import static judge.Scene.sent;

import java.util.List;
import java.util.Set;
import judge.Check;
import judge.Expect;
import judge.Inbox;
import judge.Scene;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;

/** Messages that a consumer could not handle. */
public final class RetryChecks {
    public static List<Check> all() {
        return List.of(
            new Check("retry_after_ten_seconds", RetryChecks::defaultDelay),
            new Check("retry_dead_letter_after_one_retry", RetryChecks::deadLetterAfterRetry),
            new Check("retry_with_chosen_delay", RetryChecks::chosenDelay),
            new Check("retry_dead_letter_at_once", RetryChecks::deadLetterAtOnce));
    }

    private static void defaultDelay(Scene scene) throws Exception {
        retryOnce(scene, 0, 10_000);
    }

    private static void chosenDelay(Scene scene) throws Exception {
        retryOnce(scene, 1, 1_000);
    }

    /** The first delivery fails; the second must be the same message in everything but its count. */
    private static void retryOnce(Scene scene, int delayLevel, long millis) throws Exception {
        String topic = scene.topic(2);
        String group = scene.group();
        scene.createRetryTopic(group);
        Inbox inbox = new Inbox();
        DefaultMQPushConsumer consumer = scene.push(group);
        consumer.subscribe(topic, "TagA");
        consumer.registerMessageListener((MessageListenerConcurrently) (messages, context) -> {
            inbox.addAll(messages);
            context.setDelayLevelWhenNextConsume(delayLevel);
            return messages.get(0).getReconsumeTimes() == 0
                ? ConsumeConcurrentlyStatus.RECONSUME_LATER : ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        });
        consumer.start();
        Message message = message(topic, "fails once");
        message.setTags("TagA");
        message.setKeys("key-1");
        message.putUserProperty("city", "München");
        SendResult result = sent(scene.producer().send(message));

        List<MessageExt> deliveries = inbox.awaitCount(2, 90);
        MessageExt first = deliveries.get(0);
        MessageExt again = deliveries.get(1);
        Expect.equal("reconsume times", 1, again.getReconsumeTimes());
        Expect.equal("topic", topic, again.getTopic());
        Expect.equal("message id", result.getMsgId(), again.getMsgId());
        Expect.equal("body", Inbox.text(first), Inbox.text(again));
        Expect.equal("keys", "key-1", again.getKeys());
        Expect.equal("tag", "TagA", again.getTags());
        Expect.equal("user property", "München", again.getUserProperty("city"));
        Expect.equal("origin message id", result.getOffsetMsgId(), again.getProperty("ORIGIN_MESSAGE_ID"));
        Expect.equal("born timestamp", first.getBornTimestamp(), again.getBornTimestamp());
        Expect.atLeast("delay", millis - 100, again.getStoreTimestamp() - first.getStoreTimestamp());
    }

    private static void deadLetterAfterRetry(Scene scene) throws Exception {
        deadLetter(scene, 1);
    }

    private static void deadLetterAtOnce(Scene scene) throws Exception {
        deadLetter(scene, 0);
    }

    private static void deadLetter(Scene scene, int maxReconsumeTimes) throws Exception {
        String topic = scene.topic(1);
        String group = scene.group();
        scene.createRetryTopic(group);
        Inbox inbox = new Inbox();
        DefaultMQPushConsumer consumer = scene.push(group);
        consumer.setMaxReconsumeTimes(maxReconsumeTimes);
        consumer.subscribe(topic, "*");
        consumer.registerMessageListener((MessageListenerConcurrently) (messages, context) -> {
            inbox.addAll(messages);
            context.setDelayLevelWhenNextConsume(maxReconsumeTimes == 0 ? 0 : 1);
            return ConsumeConcurrentlyStatus.RECONSUME_LATER;
        });
        consumer.start();
        SendResult result = sent(scene.producer().send(message(topic, "always fails")));

        String deadLetters = "%DLQ%" + group;
        scene.cluster().awaitRoute(deadLetters, 1);
        Inbox dead = new Inbox();
        scene.startedPush(scene.name("undertaker"), deadLetters, dead);
        MessageExt letter = dead.awaitCount(1).get(0);
        Expect.equal("body", "always fails", Inbox.text(letter));
        Expect.equal("message id", result.getMsgId(), letter.getMsgId());
        Expect.equal("real topic", topic, letter.getProperty("RETRY_TOPIC"));
        Expect.equal("deliveries before", maxReconsumeTimes + 1, inbox.size());
        scene.awaitCommitted(group);
        Expect.equal("bodies", Set.of("always fails"), inbox.bodies());
    }

    private RetryChecks() {
    }
}
