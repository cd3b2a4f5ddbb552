package judge.check;

import static judge.Scene.message;
import static judge.Scene.sent;

import java.util.List;
import java.util.Set;
import java.util.TreeSet;
import judge.Check;
import judge.Expect;
import judge.Inbox;
import judge.Scene;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;

/** Messages that become visible later. */
public final class DelayChecks {
    private static final long[] LEVEL_MILLIS = {0, 1_000, 5_000};

    public static List<Check> all() {
        return List.of(
            new Check("delay_levels_one_and_two", DelayChecks::levels),
            new Check("delay_keeps_message", DelayChecks::keeps));
    }

    private static void levels(Scene scene) throws Exception {
        String topic = scene.topic(4);
        Inbox inbox = new Inbox();
        scene.startedPush(scene.group(), topic, inbox);
        Set<String> bodies = new TreeSet<>();
        for (int level = 2; level >= 0; level--) {
            for (int i = 0; i < 5; i++) {
                Message message = message(topic, "level-" + level + "-" + i);
                message.setDelayTimeLevel(level);
                message.putUserProperty("level", Integer.toString(level));
                sent(scene.producer().send(message));
                bodies.add(Inbox.text(copy(message)));
            }
        }
        inbox.awaitBodies(bodies);
        Expect.equal("deliveries", bodies.size(), inbox.size());
        for (MessageExt message : inbox.all()) {
            long least = LEVEL_MILLIS[Integer.parseInt(message.getUserProperty("level"))];
            Expect.atLeast("delay of " + Inbox.text(message), least - 100,
                message.getStoreTimestamp() - message.getBornTimestamp());
        }
    }

    private static MessageExt copy(Message message) {
        MessageExt copy = new MessageExt();
        copy.setBody(message.getBody());
        return copy;
    }

    private static void keeps(Scene scene) throws Exception {
        String topic = scene.topic(4);
        Message message = message(topic, "delayed");
        message.setTags("TagA");
        message.setKeys("key-1");
        message.setFlag(7);
        message.setDelayTimeLevel(1);
        var result = sent(scene.producer().send(message));
        Inbox inbox = new Inbox();
        var consumer = scene.push(scene.group());
        consumer.subscribe(topic, "TagA");
        consumer.registerMessageListener(Scene.taking(inbox));
        consumer.start();
        MessageExt received = inbox.awaitCount(1).get(0);
        Expect.equal("topic", topic, received.getTopic());
        Expect.equal("queue", result.getMessageQueue().getQueueId(), received.getQueueId());
        Expect.equal("message id", result.getMsgId(), received.getMsgId());
        Expect.equal("keys", "key-1", received.getKeys());
        Expect.equal("flag", 7, received.getFlag());
        Expect.equal("reconsume times", 0, received.getReconsumeTimes());
    }

    private DelayChecks() {
    }
}
