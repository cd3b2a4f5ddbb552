package judge.check;

import static judge.Scene.message;
import static judge.Scene.sent;

import java.util.List;
import judge.Await;
import judge.Check;
import judge.Codes;
import judge.Expect;
import judge.Inbox;
import judge.Scene;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.exception.MQClientException;
import org.apache.rocketmq.client.producer.SendResult;

/** What dashboards ask of brokers and, through brokers, of clients. */
public final class AdminChecks {
    public static List<Check> all() {
        return List.of(
            new Check("admin_cluster_and_topics", AdminChecks::cluster),
            new Check("admin_producer_connection", AdminChecks::producers),
            new Check("admin_consumer_connection", AdminChecks::consumers),
            new Check("admin_consumer_running_info", AdminChecks::runningInfo),
            new Check("admin_consume_message_directly", AdminChecks::consumeDirectly),
            new Check("admin_groups_of_a_topic", AdminChecks::groupsOfTopic),
            new Check("admin_runtime_info", AdminChecks::runtimeInfo),
            new Check("admin_kv_config", AdminChecks::kvConfig));
    }

    private static void cluster(Scene scene) throws Exception {
        String topic = scene.topic(1);
        Expect.that(scene.admin().fetchAllTopicList().getTopicList().contains(topic), "the topic is not listed");
        var info = scene.admin().examineBrokerClusterInfo();
        Expect.that(!info.getClusterAddrTable().isEmpty(), "no cluster");
        String cluster = info.getClusterAddrTable().keySet().iterator().next();
        Expect.that(scene.admin().fetchTopicsByCLuster(cluster).getTopicList().contains(topic),
            "the topic is not listed under its cluster");
        Expect.that(scene.admin().getTopicClusterList(topic).contains(cluster), "the cluster is not the topic's");
    }

    private static void producers(Scene scene) throws Exception {
        String topic = scene.topic(1);
        scene.send(topic, 1);
        String group = scene.producer().getProducerGroup();
        var connection = Await.value("the producer to be listed",
            () -> scene.admin().examineProducerConnectionInfo(group, topic).getConnectionSet().iterator().next(),
            found -> found != null);
        Expect.equal("client id", scene.producer().buildMQClientId(), connection.getClientId());
        Expect.equal("language", "JAVA", connection.getLanguage().name());
    }

    private static void consumers(Scene scene) throws Exception {
        String topic = scene.topic(1);
        DefaultMQPushConsumer consumer = scene.push(scene.group());
        consumer.subscribe(topic, "TagA || TagB");
        consumer.registerMessageListener(Scene.taking(new Inbox()));
        consumer.start();
        var connections = Await.value("the consumer to be listed",
            () -> scene.admin().examineConsumerConnectionInfo(scene.group()), found -> found != null);
        Expect.equal("members", 1, connections.getConnectionSet().size());
        Expect.equal("client id", consumer.buildMQClientId(),
            connections.getConnectionSet().iterator().next().getClientId());
        Expect.equal("subscription", "TagA || TagB",
            connections.getSubscriptionTable().get(topic).getSubString());
        Expect.equal("model", "CLUSTERING", connections.getMessageModel().name());
        Expect.equal("type", "CONSUME_PASSIVELY", connections.getConsumeType().name());
        Expect.equal("start", "CONSUME_FROM_FIRST_OFFSET", connections.getConsumeFromWhere().name());
        scene.cluster().awaitRoute("%RETRY%" + scene.group(), 1);
        consumer.shutdown();
        Expect.refused("the connections of a group without members", Codes.CONSUMER_NOT_ONLINE,
            () -> scene.admin().examineConsumerConnectionInfo(scene.group()));
    }

    private static void runningInfo(Scene scene) throws Exception {
        String topic = scene.topic(2);
        Inbox inbox = new Inbox();
        DefaultMQPushConsumer consumer = scene.startedPush(scene.group(), topic, inbox);
        inbox.awaitBodies(scene.send(topic, 4));
        var info = scene.admin().getConsumerRunningInfo(scene.group(), consumer.buildMQClientId(), false);
        long queues = info.getMqTable().keySet().stream().filter(queue -> queue.getTopic().equals(topic)).count();
        Expect.equal("queues of the consumer", 2L, queues);
        Expect.that(info.getSubscriptionSet().stream().anyMatch(data -> data.getTopic().equals(topic)),
            "the subscription is missing");
    }

    private static void consumeDirectly(Scene scene) throws Exception {
        String topic = scene.topic(1);
        Inbox inbox = new Inbox();
        DefaultMQPushConsumer consumer = scene.startedPush(scene.group(), topic, inbox);
        SendResult result = sent(scene.producer().send(message(topic, "again, please")));
        inbox.awaitCount(1);
        var answer = scene.admin().consumeMessageDirectly(scene.group(), consumer.buildMQClientId(), topic,
            result.getOffsetMsgId());
        Expect.equal("result", "CR_SUCCESS", answer.getConsumeResult().name());
        Expect.equal("deliveries", 2, inbox.awaitCount(2).size());
        Expect.equal("body", "again, please", Inbox.text(inbox.all().get(1)));
    }

    private static void groupsOfTopic(Scene scene) throws Exception {
        String topic = scene.topic(1);
        Inbox inbox = new Inbox();
        scene.startedPush(scene.group(), topic, inbox);
        inbox.awaitBodies(scene.send(topic, 2));
        Await.value("the group to be listed under the topic",
            () -> scene.admin().queryTopicConsumeByWho(topic).getGroupList(), list -> list.contains(scene.group()));
    }

    private static void runtimeInfo(Scene scene) throws Exception {
        String topic = scene.topic(1);
        String master = scene.cluster().masters().get(0);
        long before = Long.parseLong(
            scene.admin().fetchBrokerRuntimeStats(master).getTable().get("commitLogMaxOffset"));
        for (var queue : scene.producer().fetchPublishMessageQueues(topic)) {
            sent(scene.producer().send(message(topic, "x".repeat(1000)), queue));
        }
        var table = scene.admin().fetchBrokerRuntimeStats(master).getTable();
        Expect.atLeast("commitLogMaxOffset", before + 1000, Long.parseLong(table.get("commitLogMaxOffset")));
        for (String key : List.of("brokerVersionDesc", "bootTimestamp", "putTps", "getTotalTps", "msgPutTotalTodayNow",
            "commitLogMinOffset", "commitLogDiskRatio", "consumeQueueDiskRatio", "runtime", "dispatchBehindBytes")) {
            Expect.that(table.get(key) != null, "no " + key + " among " + table.keySet());
        }
    }

    private static void kvConfig(Scene scene) throws Exception {
        String namespace = scene.name("namespace");
        scene.admin().createAndUpdateKvConfig(namespace, "key", "value ü");
        Expect.equal("value", "value ü", scene.admin().getKVConfig(namespace, "key"));
        Expect.equal("table size", 1, scene.admin().getKVListByNamespace(namespace).getTable().size());
        scene.admin().deleteKvConfig(namespace, "key");
        boolean gone;
        try {
            gone = scene.admin().getKVConfig(namespace, "key") == null;
        } catch (MQClientException e) {
            gone = true;
        }
        Expect.that(gone, "a deleted value is still there");
    }

    private AdminChecks() {
    }
}
