package judge.check;

import static judge.Scene.message;
import static judge.Scene.sent;

import java.util.Arrays;
import java.util.List;
import judge.Check;
import judge.Codes;
import judge.Expect;
import judge.Inbox;
import judge.Scene;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;

/** What is just allowed, and what must be refused. */
public final class LimitChecks {
    private static final int MAX_BODY = 4 * 1024 * 1024;
    private static final int MAX_PROPERTIES = 32_767;

    public static List<Check> all() {
        return List.of(
            new Check("limit_largest_body", LimitChecks::largestBody),
            new Check("limit_body_too_large", LimitChecks::bodyTooLarge),
            new Check("limit_large_properties", LimitChecks::largeProperties),
            new Check("limit_properties_too_large", LimitChecks::propertiesTooLarge),
            new Check("limit_long_topic", LimitChecks::longTopic));
    }

    private static void largestBody(Scene scene) throws Exception {
        String topic = scene.topic(1);
        byte[] body = new byte[MAX_BODY];
        Arrays.fill(body, (byte) 'x');
        body[MAX_BODY - 1] = 'y';
        sent(unlimited(scene).send(new Message(topic, body)));
        Inbox inbox = new Inbox();
        scene.startedPush(scene.group(), topic, inbox);
        Expect.that(Arrays.equals(body, inbox.awaitCount(1).get(0).getBody()), "another body than was sent");
    }

    private static void bodyTooLarge(Scene scene) throws Exception {
        String topic = scene.topic(1);
        DefaultMQProducer producer = unlimited(scene);
        Expect.refused("a body over the limit", Codes.MESSAGE_ILLEGAL,
            () -> producer.send(new Message(topic, new byte[MAX_BODY + 1])));
        sent(producer.send(message(topic, "the connection still works")));
    }

    private static void largeProperties(Scene scene) throws Exception {
        String topic = scene.topic(1);
        String value = "v".repeat(MAX_PROPERTIES - 500);
        Message large = message(topic, "large");
        large.putUserProperty("large", value);
        sent(scene.producer().send(large));
        Inbox inbox = new Inbox();
        scene.startedPush(scene.group(), topic, inbox);
        MessageExt received = inbox.awaitCount(1).get(0);
        Expect.that(value.equals(received.getUserProperty("large")), "another property than was sent");
    }

    private static void propertiesTooLarge(Scene scene) throws Exception {
        String topic = scene.topic(1);
        Message large = message(topic, "too large");
        large.putUserProperty("large", "v".repeat(MAX_PROPERTIES + 1));
        Expect.refused("properties over the limit", Codes.MESSAGE_ILLEGAL, () -> scene.producer().send(large));
    }

    private static void longTopic(Scene scene) throws Exception {
        String topic = scene.name("x".repeat(127 - scene.name("").length()));
        Expect.equal("length of the name", 127, topic.length());
        scene.cluster().createTopic(topic, 1);
        sent(scene.producer().send(message(topic, "long")));
        Inbox inbox = new Inbox();
        scene.startedPush(scene.group(), topic, inbox);
        Expect.equal("topic", topic, inbox.awaitCount(1).get(0).getTopic());
    }

    /** A producer whose own limit does not come first. */
    private static DefaultMQProducer unlimited(Scene scene) throws Exception {
        DefaultMQProducer producer = new DefaultMQProducer(scene.name("unlimited"));
        producer.setMaxMessageSize(16 * 1024 * 1024);
        producer.setCompressMsgBodyOverHowmuch(Integer.MAX_VALUE);
        producer.setRetryTimesWhenSendFailed(0);
        return scene.startedProducer(producer);
    }

    private LimitChecks() {
    }
}
