package judge.check;

import static judge.Scene.message;
import static judge.Scene.sent;

import java.util.List;
import java.util.Set;
import judge.Await;
import judge.Check;
import judge.Codes;
import judge.Expect;
import judge.Inbox;
import judge.Scene;
import org.apache.rocketmq.client.consumer.DefaultMQPullConsumer;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.common.TopicConfig;
import org.apache.rocketmq.common.message.MessageQueue;

/** How topics come to be, change and go. */
public final class TopicChecks {
    public static List<Check> all() {
        return List.of(
            new Check("topic_auto_creation", TopicChecks::autoCreation),
            new Check("topic_created_by_admin", TopicChecks::created),
            new Check("topic_queues_added", TopicChecks::queuesAdded),
            new Check("topic_deleted", TopicChecks::deleted),
            new Check("topic_unknown_at_namesrv", TopicChecks::unknownAtNamesrv),
            new Check("topic_unknown_at_broker", TopicChecks::unknownAtBroker));
    }

    private static void autoCreation(Scene scene) throws Exception {
        String topic = scene.name("auto");
        sent(scene.producer().send(message(topic, "first")));
        scene.cluster().awaitRoute(topic, 1);
        var queues = scene.admin().examineTopicRouteInfo(topic).getQueueDatas().get(0);
        Expect.equal("read queues", 4, queues.getReadQueueNums());
        Expect.equal("write queues", 4, queues.getWriteQueueNums());
        Expect.equal("perm", 6, queues.getPerm());
        Inbox inbox = new Inbox();
        scene.startedPush(scene.group(), topic, inbox);
        inbox.awaitBodies(Set.of("first"));
    }

    private static void created(Scene scene) throws Exception {
        String topic = scene.name("created");
        for (String master : scene.cluster().masters()) {
            scene.admin().createAndUpdateTopicConfig(master, new TopicConfig(topic, 6, 3, 4));
        }
        scene.cluster().awaitRoute(topic, scene.cluster().masters().size());
        for (var queues : scene.admin().examineTopicRouteInfo(topic).getQueueDatas()) {
            Expect.equal("read queues", 6, queues.getReadQueueNums());
            Expect.equal("write queues", 3, queues.getWriteQueueNums());
            Expect.equal("perm", 4, queues.getPerm());
        }
        TopicConfig config = scene.admin().examineTopicConfig(scene.cluster().masters().get(0), topic);
        Expect.equal("write queues at the broker", 3, config.getWriteQueueNums());
    }

    private static void queuesAdded(Scene scene) throws Exception {
        String topic = scene.topic(1);
        Inbox inbox = new Inbox();
        scene.startedPush(scene.group(), topic, inbox);
        scene.send(topic, 4);
        inbox.awaitCount(4);
        scene.cluster().createTopic(topic, 3);
        Await.value("the producer to see the new queues",
            () -> scene.producer().fetchPublishMessageQueues(topic).size(), size -> size == 3);
        for (MessageQueue queue : scene.producer().fetchPublishMessageQueues(topic)) {
            sent(scene.producer().send(message(topic, "queue-" + queue.getQueueId()), queue));
        }
        Await.until("messages of the new queues", () -> inbox.bodies().containsAll(Set.of("queue-1", "queue-2")));
    }

    private static void deleted(Scene scene) throws Exception {
        String topic = scene.topic(2);
        scene.send(topic, 4);
        scene.cluster().deleteTopic(topic);
        Expect.refused("the route of a deleted topic", Codes.TOPIC_NOT_EXIST,
            () -> scene.admin().examineTopicRouteInfo(topic));
        scene.cluster().createTopic(topic, 2);
        Inbox inbox = new Inbox();
        scene.startedPush(scene.group(), topic, inbox);
        inbox.awaitBodies(scene.send(topic, "", "after", 4));
    }

    private static void unknownAtNamesrv(Scene scene) throws Exception {
        Expect.refused("the route of an unknown topic", Codes.TOPIC_NOT_EXIST,
            () -> scene.admin().examineTopicRouteInfo(scene.name("unknown")));
    }

    private static void unknownAtBroker(Scene scene) throws Exception {
        String topic = scene.topic(1);
        MessageQueue queue = scene.producer().fetchPublishMessageQueues(topic).get(0);
        MessageQueue unknown = new MessageQueue(scene.name("unknown"), queue.getBrokerName(), 0);
        DefaultMQProducer producer = new DefaultMQProducer(scene.name("no-default"));
        producer.setCreateTopicKey(scene.name("no-such-default"));
        scene.startedProducer(producer);
        // The first calls let a client learn the broker's address.
        sent(producer.send(message(topic, "m")));
        Expect.refused("sending to an unknown topic", Codes.TOPIC_NOT_EXIST,
            () -> producer.send(message(unknown.getTopic(), "m"), unknown));
        DefaultMQPullConsumer consumer = scene.startedPull(scene.group());
        consumer.maxOffset(queue);
        Expect.refused("pulling from an unknown topic", Codes.TOPIC_NOT_EXIST,
            () -> consumer.pull(unknown, "*", 0, 1));
    }

    private TopicChecks() {
    }
}
