package judge.check;

import static judge.Scene.message;
import static judge.Scene.sent;

import java.util.List;
import java.util.stream.Collectors;
import judge.Await;
import judge.Check;
import judge.Expect;
import judge.Inbox;
import judge.Scene;
import org.apache.rocketmq.client.QueryResult;
import org.apache.rocketmq.client.exception.MQClientException;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;

/** Finding stored messages. */
public final class QueryChecks {
    public static List<Check> all() {
        return List.of(
            new Check("query_by_offset_id", QueryChecks::byOffsetId),
            new Check("query_by_unique_key", QueryChecks::byUniqueKey),
            new Check("query_by_key", QueryChecks::byKey),
            new Check("query_by_key_in_a_time_range", QueryChecks::byTime));
    }

    private static void byOffsetId(Scene scene) throws Exception {
        String topic = scene.topic(4);
        SendResult result = sent(scene.producer().send(message(topic, "wanted")));
        sent(scene.producer().send(message(topic, "other")));
        MessageExt found = scene.admin().viewMessage(topic, result.getOffsetMsgId());
        Expect.equal("body", "wanted", Inbox.text(found));
        Expect.equal("topic", topic, found.getTopic());
        Expect.equal("queue", result.getMessageQueue().getQueueId(), found.getQueueId());
    }

    private static void byUniqueKey(Scene scene) throws Exception {
        String topic = scene.topic(4);
        SendResult result = sent(scene.producer().send(message(topic, "wanted")));
        MessageExt found = Await.value("the message " + result.getMsgId(),
            () -> scene.admin().viewMessage(topic, result.getMsgId()), message -> message != null);
        Expect.equal("body", "wanted", Inbox.text(found));
        Expect.equal("message id", result.getMsgId(), found.getMsgId());
    }

    private static void byKey(Scene scene) throws Exception {
        String topic = scene.topic(4);
        String other = scene.topic(4);
        for (int i = 0; i < 5; i++) {
            sendWithKeys(scene, topic, "wanted-" + i, "order-1 item-" + i);
            sendWithKeys(scene, topic, "unwanted-" + i, "order-2");
            sendWithKeys(scene, other, "other-topic-" + i, "order-1");
        }
        List<MessageExt> found = Await.value("5 messages with the key",
            () -> query(scene, topic, "order-1", 0, Long.MAX_VALUE).getMessageList(), list -> list.size() == 5);
        Expect.equal("bodies", List.of("wanted-0", "wanted-1", "wanted-2", "wanted-3", "wanted-4"),
            found.stream().map(Inbox::text).sorted().collect(Collectors.toList()));
        List<MessageExt> second = query(scene, topic, "item-3", 0, Long.MAX_VALUE).getMessageList();
        Expect.equal("messages with the second key", 1, second.size());
        Expect.equal("body", "wanted-3", Inbox.text(second.get(0)));
        List<MessageExt> capped = scene.admin().queryMessage(topic, "order-1", 2, 0, Long.MAX_VALUE).getMessageList();
        Expect.equal("messages when two are asked for", 2, capped.size());
    }

    private static void byTime(Scene scene) throws Exception {
        String topic = scene.topic(1);
        sendWithKeys(scene, topic, "now", "order-1");
        MessageExt found = Await.value("the message",
            () -> query(scene, topic, "order-1", 0, Long.MAX_VALUE).getMessageList(), list -> list.size() == 1).get(0);
        long stored = found.getStoreTimestamp();
        Expect.equal("messages within a minute", 1,
            query(scene, topic, "order-1", stored - 60_000, stored + 60_000).getMessageList().size());
        boolean none = false;
        try {
            none = query(scene, topic, "order-1", stored - 120_000, stored - 60_000).getMessageList().isEmpty();
        } catch (MQClientException e) {
            none = true;
        }
        Expect.that(none, "a message was found a minute before it was stored");
    }

    private static QueryResult query(Scene scene, String topic, String key, long begin, long end) throws Exception {
        return scene.admin().queryMessage(topic, key, 32, begin, end);
    }

    private static void sendWithKeys(Scene scene, String topic, String body, String keys) throws Exception {
        Message message = message(topic, body);
        message.setKeys(keys);
        sent(scene.producer().send(message));
    }

    private QueryChecks() {
    }
}
