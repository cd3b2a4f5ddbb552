package judge;

import static judge.Scene.message;
import static judge.Scene.sent;

import java.util.ArrayList;
import java.util.List;
import java.util.TreeSet;
import org.apache.rocketmq.client.producer.LocalTransactionState;
import org.apache.rocketmq.client.producer.TransactionListener;
import org.apache.rocketmq.client.producer.TransactionMQProducer;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;

/** Transactions that one broker takes and the next one has to finish, over the same store directory. */
final class Transactions implements TransactionListener {
    private static final int EACH = 20;

    private final String topic;
    private final TransactionMQProducer producer;
    private volatile int serving;

    Transactions(Scene scene, String topic) throws Exception {
        this.topic = topic;
        producer = new TransactionMQProducer(scene.name("transactions"));
        producer.setTransactionListener(this);
        scene.startedProducer(producer);
    }

    /** What broker number `number` commits, rolls back, and leaves open for the next one. */
    void send(int number) throws Exception {
        serving = number;
        for (int i = 0; i < EACH; i++) {
            for (String outcome : List.of("commit", "roll", "open")) {
                sent(producer.sendMessageInTransaction(message(topic, outcome + "-" + number + "-" + i), outcome));
            }
        }
    }

    /** The next broker serves: open transactions are committed when it asks. */
    void next(int number) {
        serving = number;
    }

    /** The bodies that a consumer finds once broker number `number` has asked. */
    List<String> expected(int number, boolean itsOwn) {
        List<String> bodies = new ArrayList<>();
        for (int i = 0; i < EACH; i++) {
            for (int broker = 0; broker < number; broker++) {
                bodies.add("commit-" + broker + "-" + i);
                bodies.add("open-" + broker + "-" + i);
            }
            if (itsOwn) {
                bodies.add("commit-" + number + "-" + i);
            }
        }
        return new ArrayList<>(new TreeSet<>(bodies));
    }

    @Override
    public LocalTransactionState executeLocalTransaction(Message message, Object outcome) {
        return state((String) outcome, false);
    }

    @Override
    public LocalTransactionState checkLocalTransaction(MessageExt message) {
        String[] parts = Inbox.text(message).split("-");
        return state(parts[0], Integer.parseInt(parts[1]) < serving);
    }

    private static LocalTransactionState state(String outcome, boolean passed) {
        return switch (outcome) {
            case "commit" -> LocalTransactionState.COMMIT_MESSAGE;
            case "roll" -> LocalTransactionState.ROLLBACK_MESSAGE;
            default -> passed ? LocalTransactionState.COMMIT_MESSAGE : LocalTransactionState.UNKNOW;
        };
    }
}
