package judge.check;

import java.util.List;
import java.util.Set;
import judge.Check;
import judge.Expect;
import judge.Inbox;
import judge.Scene;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.common.consumer.ConsumeFromWhere;

/**
 * Where a group without offsets begins. While a queue still holds its first message in memory a broker answers offset
 * zero, so on young topics every group begins there whatever the consumer asks for.
 */
public final class ConsumeStartChecks {
    public static List<Check> all() {
        return List.of(
            new Check("start_from_first", scene -> begins(scene, ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET)),
            new Check("start_from_last_on_a_young_topic",
                scene -> begins(scene, ConsumeFromWhere.CONSUME_FROM_LAST_OFFSET)),
            new Check("start_from_timestamp_on_a_young_topic",
                scene -> begins(scene, ConsumeFromWhere.CONSUME_FROM_TIMESTAMP)),
            new Check("start_on_an_empty_topic", ConsumeStartChecks::empty));
    }

    private static void begins(Scene scene, ConsumeFromWhere where) throws Exception {
        String topic = scene.topic(4);
        Set<String> bodies = scene.send(topic, 20);
        Inbox inbox = new Inbox();
        consumer(scene, topic, where, inbox);
        inbox.awaitBodies(bodies);
        Expect.equal("deliveries", bodies.size(), inbox.size());
    }

    private static void empty(Scene scene) throws Exception {
        String topic = scene.topic(4);
        Inbox inbox = new Inbox();
        scene.awaitBalance(topic, consumer(scene, topic, ConsumeFromWhere.CONSUME_FROM_LAST_OFFSET, inbox));
        Set<String> bodies = scene.send(topic, 20);
        inbox.awaitBodies(bodies);
        Expect.equal("deliveries", bodies.size(), inbox.size());
    }

    private static DefaultMQPushConsumer consumer(Scene scene, String topic, ConsumeFromWhere where, Inbox inbox)
        throws Exception {
        DefaultMQPushConsumer consumer = scene.push(scene.group());
        consumer.setConsumeFromWhere(where);
        consumer.subscribe(topic, "*");
        consumer.registerMessageListener(Scene.taking(inbox));
        consumer.start();
        return consumer;
    }

    private ConsumeStartChecks() {
    }
}
