package judge.check;

import static judge.Scene.message;
import static judge.Scene.sent;

import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import judge.Await;
import judge.Check;
import judge.Expect;
import judge.Inbox;
import judge.Scene;
import org.apache.rocketmq.client.consumer.DefaultMQPullConsumer;
import org.apache.rocketmq.client.consumer.PullResult;
import org.apache.rocketmq.client.producer.LocalTransactionState;
import org.apache.rocketmq.client.producer.TransactionListener;
import org.apache.rocketmq.client.producer.TransactionMQProducer;
import org.apache.rocketmq.client.producer.TransactionSendResult;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageClientExt;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;

/** Transaction messages. The servers of the run ask after a second and then every two, three times. */
public final class TransactionChecks {
    public static List<Check> all() {
        return List.of(
            new Check("transaction_commit_and_roll_back", TransactionChecks::outcomes),
            new Check("transaction_given_up_is_resumed", TransactionChecks::resumed),
            new Check("transaction_unknown_is_asked", TransactionChecks::asked),
            new Check("transaction_other_instance_is_asked", TransactionChecks::otherInstance));
    }

    /** Answers by the first word of the body, and remembers what it was asked for. */
    private static final class Listener implements TransactionListener {
        private final Map<String, Integer> questions = new ConcurrentHashMap<>();
        private volatile int unknown;

        Listener(int unknown) {
            this.unknown = unknown;
        }

        @Override
        public LocalTransactionState executeLocalTransaction(Message message, Object argument) {
            return (LocalTransactionState) argument;
        }

        @Override
        public LocalTransactionState checkLocalTransaction(MessageExt message) {
            int question = questions.merge(Inbox.text(message), 1, Integer::sum);
            if (question <= unknown) {
                return LocalTransactionState.UNKNOW;
            }
            return Inbox.text(message).startsWith("commit")
                ? LocalTransactionState.COMMIT_MESSAGE : LocalTransactionState.ROLLBACK_MESSAGE;
        }
    }

    private static TransactionMQProducer producer(Scene scene, String group, Listener listener) throws Exception {
        TransactionMQProducer producer = new TransactionMQProducer(group);
        producer.setTransactionListener(listener);
        scene.startedProducer(producer);
        return producer;
    }

    private static TransactionSendResult send(TransactionMQProducer producer, Message message,
        LocalTransactionState outcome) throws Exception {
        return (TransactionSendResult) sent(producer.sendMessageInTransaction(message, outcome));
    }

    private static void outcomes(Scene scene) throws Exception {
        String topic = scene.topic(4);
        Inbox inbox = new Inbox();
        scene.startedPush(scene.group(), topic, inbox);
        Listener listener = new Listener(0);
        TransactionMQProducer producer = producer(scene, scene.name("transactions"), listener);
        send(producer, message(topic, "roll back"), LocalTransactionState.ROLLBACK_MESSAGE);
        Message message = message(topic, "commit");
        message.setTags("TagA");
        message.setKeys("key-1");
        message.setFlag(7);
        message.putUserProperty("city", "München");
        TransactionSendResult result = send(producer, message, LocalTransactionState.COMMIT_MESSAGE);
        MessageExt received = inbox.awaitCount(1).get(0);
        Expect.equal("body", "commit", Inbox.text(received));
        Expect.equal("topic", topic, received.getTopic());
        Expect.equal("message id", result.getMsgId(), received.getMsgId());
        Expect.equal("transaction id", result.getTransactionId(), received.getTransactionId());
        Expect.equal("tag", "TagA", received.getTags());
        Expect.equal("keys", "key-1", received.getKeys());
        Expect.equal("flag", 7, received.getFlag());
        Expect.equal("user property", "München", received.getUserProperty("city"));
        Expect.equal("found by id", "commit",
            Inbox.text(scene.admin().viewMessage(topic, result.getMsgId())));
        send(producer, message(topic, "commit, the second"), LocalTransactionState.COMMIT_MESSAGE);
        inbox.awaitBodies(Set.of("commit", "commit, the second"));
        Expect.equal("deliveries", 2, inbox.size());
        Expect.equal("questions", Map.of(), listener.questions);
    }

    private static void asked(Scene scene) throws Exception {
        String topic = scene.topic(4);
        Inbox inbox = new Inbox();
        scene.startedPush(scene.group(), topic, inbox);
        Listener listener = new Listener(1);
        TransactionMQProducer producer = producer(scene, scene.name("transactions"), listener);
        send(producer, message(topic, "roll back"), LocalTransactionState.UNKNOW);
        send(producer, message(topic, "commit"), LocalTransactionState.UNKNOW);
        inbox.awaitBodies(Set.of("commit"));
        Await.value("a question about the other", () -> listener.questions.getOrDefault("roll back", 0),
            questions -> questions >= 2);
        Expect.equal("deliveries", 1, inbox.size());
    }

    /** Nobody knows the outcome: it is kept where an administrator finds it, who has it asked again. */
    private static void resumed(Scene scene) throws Exception {
        String topic = scene.topic(1);
        Inbox inbox = new Inbox();
        scene.startedPush(scene.group(), topic, inbox);
        Listener listener = new Listener(Integer.MAX_VALUE);
        TransactionMQProducer producer = producer(scene, scene.name("transactions"), listener);
        TransactionSendResult result = send(producer, message(topic, "commit"), LocalTransactionState.UNKNOW);
        DefaultMQPullConsumer reader = scene.startedPull(scene.name("reader"));
        MessageExt kept = Await.value("the message among the given up", () -> givenUp(reader, result.getTransactionId()),
            found -> found != null);
        Expect.equal("questions", Map.of("commit", 3), listener.questions);
        listener.unknown = 0;
        String id = ((MessageClientExt) kept).getOffsetMsgId();
        Expect.that(scene.admin().resumeCheckHalfMessage("TRANS_CHECK_MAX_TIME_TOPIC", id), "it is not resumed");
        inbox.awaitBodies(Set.of("commit"));
        Expect.equal("deliveries", 1, inbox.size());
    }

    private static MessageExt givenUp(DefaultMQPullConsumer reader, String transaction) throws Exception {
        for (MessageQueue queue : reader.fetchSubscribeMessageQueues("TRANS_CHECK_MAX_TIME_TOPIC")) {
            long next = reader.minOffset(queue);
            long max = reader.maxOffset(queue);
            while (next < max) {
                PullResult result = reader.pull(queue, "*", next, 32);
                for (MessageExt found : result.getMsgFoundList()) {
                    if (transaction.equals(found.getTransactionId()) || transaction.equals(found.getProperty("UNIQ_KEY"))) {
                        return found;
                    }
                }
                next = result.getNextBeginOffset();
            }
        }
        return null;
    }

    /** The producer that sent it is gone; another one of its group is asked. */
    private static void otherInstance(Scene scene) throws Exception {
        String topic = scene.topic(4);
        String group = scene.name("transactions");
        Inbox inbox = new Inbox();
        scene.startedPush(scene.group(), topic, inbox);
        TransactionMQProducer first = producer(scene, group, new Listener(1000));
        send(first, message(topic, "commit"), LocalTransactionState.UNKNOW);
        first.shutdown();
        Listener listener = new Listener(0);
        TransactionMQProducer second = producer(scene, group, listener);
        // It is known to the broker of the topic once it has sent there.
        sent(second.send(message(topic, "plain")));
        inbox.awaitBodies(Set.of("plain", "commit"));
        Expect.atLeast("questions", 1, listener.questions.getOrDefault("commit", 0));
    }
}
