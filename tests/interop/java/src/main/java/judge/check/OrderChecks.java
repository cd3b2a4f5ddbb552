package judge.check;

import static judge.Scene.message;
import static judge.Scene.sent;

import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeSet;
import java.util.concurrent.ConcurrentHashMap;
import judge.Await;
import judge.Check;
import judge.Expect;
import judge.Inbox;
import judge.Scene;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeOrderlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerOrderly;
import org.apache.rocketmq.common.message.MessageExt;

/** Messages with the same key stay in order. */
public final class OrderChecks {
    private static final int KEYS = 8;
    private static final int PER_KEY = 20;

    public static List<Check> all() {
        return List.of(
            new Check("order_kept_per_key", OrderChecks::keptPerKey),
            new Check("order_kept_when_suspended", OrderChecks::suspended),
            new Check("order_kept_when_a_member_joins", OrderChecks::memberJoins));
    }

    private static void keptPerKey(Scene scene) throws Exception {
        String topic = scene.topic(4);
        Inbox inbox = new Inbox();
        DefaultMQPushConsumer one = orderly(scene, topic, inbox, Set.of());
        scene.awaitBalance(topic, one);
        Set<String> bodies = sendOrdered(scene, topic);
        inbox.awaitBodies(bodies);
        expectOrder(inbox.all());
        Expect.equal("deliveries", bodies.size(), inbox.size());
    }

    /** A message that suspends its queue comes again before anything behind it. */
    private static void suspended(Scene scene) throws Exception {
        String topic = scene.topic(2);
        Inbox inbox = new Inbox();
        Set<String> suspending = Set.of("key-0:0005", "key-3:0010");
        orderly(scene, topic, inbox, suspending);
        Set<String> bodies = sendOrdered(scene, topic);
        inbox.awaitBodies(bodies);
        expectOrder(inbox.all());
        Expect.equal("deliveries with two repeated", bodies.size() + suspending.size(), inbox.size());
        Set<String> repeated = new TreeSet<>();
        Map<Integer, String> lastOfQueue = new HashMap<>();
        for (MessageExt message : inbox.all()) {
            String body = Inbox.text(message);
            if (body.equals(lastOfQueue.put(message.getQueueId(), body))) {
                repeated.add(body);
            }
        }
        Expect.equal("messages repeated with nothing of their queue between", suspending, repeated);
    }

    /** The second member must wait for the locks of the first. */
    private static void memberJoins(Scene scene) throws Exception {
        String topic = scene.topic(4);
        Inbox inbox = new Inbox();
        DefaultMQPushConsumer one = orderly(scene, topic, inbox, Set.of());
        scene.awaitBalance(topic, one);
        Set<String> bodies = sendOrdered(scene, topic);
        DefaultMQPushConsumer two = orderly(scene, topic, inbox, Set.of());
        Await.value("the second member to hold queues", 100, () -> Scene.held(two, topic).size(), held -> held > 0);
        scene.awaitBalance(topic, one, two);
        for (int key = 0; key < KEYS; key++) {
            for (int i = PER_KEY; i < 2 * PER_KEY; i++) {
                bodies.add(sendOne(scene, topic, key, i));
            }
        }
        inbox.awaitBodies(bodies);
        expectOrder(inbox.all());
    }

    private static DefaultMQPushConsumer orderly(Scene scene, String topic, Inbox inbox, Set<String> suspending)
        throws Exception {
        Set<String> left = ConcurrentHashMap.newKeySet();
        left.addAll(suspending);
        DefaultMQPushConsumer consumer = scene.push(scene.group());
        consumer.subscribe(topic, "*");
        consumer.registerMessageListener((MessageListenerOrderly) (messages, context) -> {
            inbox.addAll(messages);
            if (left.remove(Inbox.text(messages.get(0)))) {
                context.setSuspendCurrentQueueTimeMillis(200);
                return ConsumeOrderlyStatus.SUSPEND_CURRENT_QUEUE_A_MOMENT;
            }
            return ConsumeOrderlyStatus.SUCCESS;
        });
        consumer.start();
        return consumer;
    }

    private static Set<String> sendOrdered(Scene scene, String topic) throws Exception {
        Set<String> bodies = new TreeSet<>();
        for (int i = 0; i < PER_KEY; i++) {
            for (int key = 0; key < KEYS; key++) {
                bodies.add(sendOne(scene, topic, key, i));
            }
        }
        return bodies;
    }

    private static String sendOne(Scene scene, String topic, int key, int number) throws Exception {
        String body = String.format("key-%d:%04d", key, number);
        sent(scene.producer().send(message(topic, body),
            (queues, message, argument) -> queues.get((Integer) argument % queues.size()), key));
        return body;
    }

    /** First deliveries of each key must rise by one; repeats may follow. */
    private static void expectOrder(List<MessageExt> deliveries) {
        Map<String, Integer> last = new HashMap<>();
        for (MessageExt message : deliveries) {
            String[] parts = Inbox.text(message).split(":");
            int number = Integer.parseInt(parts[1]);
            int before = last.getOrDefault(parts[0], -1);
            Expect.that(number <= before + 1, parts[0] + ": " + number + " came right after " + before);
            last.put(parts[0], Math.max(before, number));
        }
    }

    private OrderChecks() {
    }
}
