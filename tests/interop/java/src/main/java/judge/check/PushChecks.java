package judge.check;

import static judge.Scene.message;
import static judge.Scene.sent;
import static judge.Scene.taking;

import java.util.List;
import java.util.Set;
import java.util.TreeSet;
import java.util.concurrent.TimeUnit;
import judge.Await;
import judge.Check;
import judge.Expect;
import judge.Inbox;
import judge.Scene;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.common.message.Message;

/** Push consumers of all kinds, without failures. */
public final class PushChecks {
    public static List<Check> all() {
        return List.of(
            new Check("push_clustering_shares_queues", PushChecks::sharing),
            new Check("push_member_joins_and_leaves", PushChecks::membership),
            new Check("push_broadcasting", PushChecks::broadcasting),
            new Check("push_tag_filter", PushChecks::tags),
            new Check("push_long_poll_wakes", PushChecks::longPoll),
            new Check("push_offset_kept_across_restart", PushChecks::restart),
            new Check("push_two_groups_both_get_all", PushChecks::twoGroups),
            new Check("push_consumes_in_batches", PushChecks::batches));
    }

    private static void sharing(Scene scene) throws Exception {
        String topic = scene.wideTopic(8);
        Inbox first = new Inbox();
        Inbox second = new Inbox();
        DefaultMQPushConsumer one = scene.startedPush(scene.group(), topic, first);
        DefaultMQPushConsumer two = scene.startedPush(scene.group(), topic, second);
        scene.awaitBalance(topic, one, two);
        Set<String> bodies = scene.send(topic, 80);
        Await.value("80 deliveries", () -> first.size() + second.size(), sum -> sum >= bodies.size());
        Set<String> all = new TreeSet<>(first.bodies());
        all.addAll(second.bodies());
        Expect.equal("bodies", bodies, all);
        Expect.equal("deliveries without duplicates", bodies.size(), first.size() + second.size());
        Expect.that(first.size() > 0 && second.size() > 0, "one member got everything");
    }

    /** The broker tells members at once when one comes or goes; by themselves they look only every 20 s. */
    private static void membership(Scene scene) throws Exception {
        String topic = scene.topic(4);
        int queues = 4;
        DefaultMQPushConsumer one = scene.startedPush(scene.group(), topic, new Inbox());
        scene.awaitBalance(topic, one);
        DefaultMQPushConsumer two = scene.startedPush(scene.group(), topic, new Inbox());
        Await.value("the first member to give up half", 15, () -> Scene.held(one, topic).size(),
            held -> held == queues / 2);
        Await.value("both members to be listed", 5,
            () -> scene.admin().examineConsumerConnectionInfo(scene.group()).getConnectionSet().size(),
            size -> size == 2);
        two.shutdown();
        Await.value("the first member to take all", 15, () -> Scene.held(one, topic).size(), held -> held == queues);
        Await.value("one member to be listed", 5,
            () -> scene.admin().examineConsumerConnectionInfo(scene.group()).getConnectionSet().size(),
            size -> size == 1);
    }

    private static void broadcasting(Scene scene) throws Exception {
        String topic = scene.topic(4);
        Inbox first = new Inbox();
        Inbox second = new Inbox();
        broadcastConsumer(scene, topic, first);
        broadcastConsumer(scene, topic, second);
        Set<String> bodies = scene.send(topic, 40);
        first.awaitBodies(bodies);
        second.awaitBodies(bodies);
        Expect.equal("deliveries to the first", bodies.size(), first.size());
        Expect.equal("deliveries to the second", bodies.size(), second.size());
    }

    private static void broadcastConsumer(Scene scene, String topic, Inbox inbox) throws Exception {
        DefaultMQPushConsumer consumer = scene.push(scene.group());
        // The enum's package moved between releases; this names it in all of them.
        consumer.setMessageModel(Enum.valueOf(consumer.getMessageModel().getDeclaringClass(), "BROADCASTING"));
        consumer.subscribe(topic, "*");
        consumer.registerMessageListener(taking(inbox));
        consumer.start();
        scene.awaitBalance(topic, consumer);
    }

    private static void tags(Scene scene) throws Exception {
        String topic = scene.topic(2);
        Set<String> wanted = scene.send(topic, "TagA", "a", 10);
        scene.send(topic, "TagB", "b", 10);
        // These two have the same hash, so the broker lets both through and the client must choose.
        wanted.addAll(scene.send(topic, "AaAa", "hash", 5));
        scene.send(topic, "BBBB", "same-hash", 5);
        scene.send(topic, "", "untagged", 5);
        Inbox inbox = new Inbox();
        DefaultMQPushConsumer consumer = scene.push(scene.group());
        consumer.subscribe(topic, "TagA || AaAa");
        consumer.registerMessageListener(taking(inbox));
        consumer.start();
        inbox.awaitBodies(wanted);
        wanted.addAll(scene.send(topic, "TagA", "later-a", 10));
        scene.send(topic, "TagB", "later-b", 10);
        inbox.awaitBodies(wanted);
        Expect.equal("deliveries", wanted.size(), inbox.size());
    }

    /** A message reaches a waiting consumer at once, not when its poll of 15 s ends. */
    private static void longPoll(Scene scene) throws Exception {
        String topic = scene.topic(1);
        Inbox inbox = new Inbox();
        DefaultMQPushConsumer consumer = scene.startedPush(scene.group(), topic, inbox);
        scene.awaitBalance(topic, consumer);
        long slowest = 0;
        for (int i = 1; i <= 10; i++) {
            long begin = System.nanoTime();
            sent(scene.producer().send(message(topic, "m" + i)));
            inbox.awaitCount(i);
            slowest = Math.max(slowest, TimeUnit.NANOSECONDS.toMillis(System.nanoTime() - begin));
        }
        Expect.that(slowest < 4_000, "a waiting consumer got a message only after " + slowest + " ms");
    }

    private static void restart(Scene scene) throws Exception {
        String topic = scene.topic(4);
        Inbox before = new Inbox();
        DefaultMQPushConsumer consumer = scene.startedPush(scene.group(), topic, before);
        before.awaitBodies(scene.send(topic, "", "before", 20));
        scene.awaitCommitted(scene.group());
        consumer.shutdown();
        Set<String> later = scene.send(topic, "", "after", 20);
        Inbox after = new Inbox();
        scene.startedPush(scene.group(), topic, after);
        after.awaitBodies(later);
        Expect.equal("deliveries after the restart", later.size(), after.size());
    }

    private static void twoGroups(Scene scene) throws Exception {
        String topic = scene.topic(4);
        Inbox first = new Inbox();
        Inbox second = new Inbox();
        scene.startedPush(scene.name("first"), topic, first);
        scene.startedPush(scene.name("second"), topic, second);
        Set<String> bodies = scene.send(topic, 40);
        first.awaitBodies(bodies);
        second.awaitBodies(bodies);
    }

    private static void batches(Scene scene) throws Exception {
        String topic = scene.topic(1);
        Set<String> bodies = new TreeSet<>();
        for (int i = 0; i < 10; i++) {
            List<Message> batch = List.of(message(topic, i + "-a"), message(topic, i + "-b"), message(topic, i + "-c"));
            sent(scene.producer().send(batch));
            bodies.addAll(Set.of(i + "-a", i + "-b", i + "-c"));
        }
        Inbox inbox = new Inbox();
        DefaultMQPushConsumer consumer = scene.push(scene.group());
        consumer.setConsumeMessageBatchMaxSize(16);
        consumer.setPullBatchSize(16);
        consumer.subscribe(topic, "*");
        consumer.registerMessageListener(taking(inbox));
        consumer.start();
        inbox.awaitBodies(bodies);
        Expect.equal("deliveries", bodies.size(), inbox.size());
    }

    private PushChecks() {
    }
}
