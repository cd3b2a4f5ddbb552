package judge;

import static judge.Scene.message;
import static judge.Scene.sent;

import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.util.ArrayList;
import java.util.Collections;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import java.util.TreeSet;
import java.util.concurrent.ConcurrentHashMap;
import org.apache.rocketmq.client.consumer.DefaultMQPullConsumer;
import org.apache.rocketmq.client.consumer.PullResult;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.client.producer.SendStatus;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;

/**
 * One store directory, opened by one broker after the other: each must have everything the ones before it took, and goes on where
 * they ended. Whoever starts the brokers writes a line to the standard input when the next one serves: how the one before was
 * stopped, TERM or KILL. For each broker "served" is printed when it has been judged and may be stopped.
 */
final class Handover {
    private static final int QUEUES = 3;
    private static final int MESSAGES = 300;
    private static final int BODY = 3_000;
    private static final int BATCH = 10;
    private static final int RETRIES = 5;

    private final Scene scene;
    private final String topic;
    private final String delayTopic;
    private final String loadTopic;
    private final String group;
    private final DefaultMQPullConsumer consumer;
    private final Map<Integer, List<String>> bodies = new TreeMap<>();
    /** What the messages of a queue carry besides their bodies, as the broker told it that took them. */
    private final Map<Integer, List<String>> headers = new TreeMap<>();
    /** What was acknowledged while the broker was about to be stopped, by its offset. */
    private final Map<Long, String> loaded = new ConcurrentHashMap<>();
    private Thread load;
    private final Map<String, Integer> topics = new HashMap<>();
    private final List<Known> known = new ArrayList<>();
    private final Set<String> delayed = new TreeSet<>();
    /** Every offset that was ever committed in a queue; a kill may cost those of the last seconds. */
    private final Map<Integer, List<Long>> committed = new TreeMap<>();
    private Transactions transactions;
    private boolean killedBefore;
    private boolean searchesByTime;

    /** A message that must be found by its key and its ids. */
    private record Known(String key, String messageId, String offsetMessageId, String body) {
    }

    static int run(Arguments arguments) throws Exception {
        int brokers = arguments.number("brokers", 3);
        int judged = 0;
        BufferedReader input = new BufferedReader(new InputStreamReader(System.in));
        try (Cluster cluster = new Cluster(arguments.required("namesrv")); Scene scene = new Scene("handover", cluster)) {
            Handover handover = new Handover(scene);
            for (; judged < brokers; judged++) {
                if (judged > 0) {
                    String stopped = input.readLine();
                    Expect.that(stopped != null, "no further broker was started");
                    handover.awaitBroker();
                    handover.verify(stopped.equals("KILL"));
                    handover.killedBefore |= stopped.equals("KILL");
                    handover.transactions.next(judged);
                    handover.verifyTransactions(judged, false);
                } else {
                    handover.prepare();
                }
                handover.append(judged);
                handover.verify(false);
                handover.transactions.send(judged);
                handover.verifyTransactions(judged, true);
                handover.delay(judged);
                if (judged < brokers - 1) {
                    handover.load(judged);
                }
                System.out.println("served");
            }
        } catch (Exception e) {
            System.out.printf("FAIL handover: broker %d: %s%n", judged + 1, e);
        }
        boolean passed = judged == brokers;
        System.out.printf("%d passed, %d failed%n", judged, passed ? 0 : 1);
        return passed ? 0 : 1;
    }

    private Handover(Scene scene) throws Exception {
        this.scene = scene;
        topic = scene.name("topic");
        delayTopic = scene.name("delay");
        loadTopic = scene.name("load");
        group = scene.group();
        consumer = scene.startedPull(group);
    }

    private void prepare() throws Exception {
        createTopic(topic, QUEUES);
        createTopic(delayTopic, 1);
        createTopic(loadTopic, 1);
        String transactionTopic = scene.name("transactions");
        createTopic(transactionTopic, 1);
        transactions = new Transactions(scene, transactionTopic);
        String broker = scene.cluster().masters().get(0);
        // The class of it moved between 4.9 and 5: one that every broker has is changed and named otherwise.
        var config = scene.admin().examineSubscriptionGroupConfig(broker, "TOOLS_CONSUMER");
        config.setGroupName(group);
        config.setRetryMaxTimes(RETRIES);
        scene.admin().createAndUpdateSubscriptionGroupConfig(broker, config);
        lookAtRelease();
    }

    private void createTopic(String name, int queues) throws Exception {
        scene.cluster().createTopic(name, queues);
        topics.put(name, queues);
    }

    private void awaitBroker() throws Exception {
        Await.until("the broker to answer", () -> consumer.maxOffset(queue(topic, 0)) >= 0);
        for (String name : topics.keySet()) {
            scene.cluster().awaitRoute(name, 1);
        }
        lookAtRelease();
    }

    /** Release 4.9 looks for the file by the time it was changed last, so in a burst it is wrong about its own files. */
    private void lookAtRelease() throws Exception {
        String broker = scene.cluster().masters().get(0);
        // An official broker has no answer in its first second.
        String release = Await.value("the broker's release",
            () -> scene.admin().fetchBrokerRuntimeStats(broker).getTable().get("brokerVersionDesc"), found -> found != null);
        searchesByTime = !release.startsWith("V4");
    }

    private MessageQueue queue(String name, int id) throws Exception {
        return consumer.fetchSubscribeMessageQueues(name).stream().filter(queue -> queue.getQueueId() == id).findFirst()
            .orElseThrow(() -> new Failure("no queue " + id + " of " + name));
    }

    // ---- what each broker takes

    private void append(int number) throws Exception {
        createTopic(scene.name("extra" + number), number + 1);
        for (int i = 0; i < MESSAGES; i++) {
            Message message = message(topic, body(number, i));
            message.setTags(tag(i));
            String key = "key-" + number + "-" + i;
            message.setKeys(key + " every");
            int id = i % QUEUES;
            SendResult result = sent(scene.producer().send(message, queue(topic, id)));
            store(id, result, List.of(body(number, i)));
            if (i % 60 == 0 || i == MESSAGES - 1) {
                known.add(new Known(key, result.getMsgId(), result.getOffsetMsgId(), body(number, i)));
            }
        }
        List<Message> batch = new ArrayList<>();
        List<String> batchBodies = new ArrayList<>();
        for (int i = 0; i < BATCH; i++) {
            batchBodies.add("batch-" + number + "-" + i);
            batch.add(message(topic, batchBodies.get(i)));
        }
        store(0, sent(scene.producer().send(batch, queue(topic, 0))), batchBodies);
        for (int id = 0; id < QUEUES; id++) {
            commit(id, bodies.get(id).size() - 7L);
        }
    }

    /** Sent last, so that it is delivered by the next broker. */
    private void delay(int number) throws Exception {
        Message message = message(delayTopic, "delayed-" + number);
        message.setDelayTimeLevel(1);
        sent(scene.producer().send(message));
        delayed.add("delayed-" + number);
    }

    /** Sends until the broker is gone, so that it is stopped or killed in the middle of its work. */
    private void load(int number) throws Exception {
        DefaultMQProducer producer = scene.producer();
        MessageQueue queue = queue(loadTopic, 0);
        load = new Thread(() -> {
            for (int i = 0; ; i++) {
                String body = "load-" + number + "-" + i;
                try {
                    SendResult result = producer.send(message(loadTopic, body), queue);
                    if (result.getSendStatus() == SendStatus.SEND_OK) {
                        loaded.merge(result.getQueueOffset(), body, (one, other) -> one + " and " + other);
                    }
                } catch (Exception gone) {
                    return;
                }
            }
        });
        load.setDaemon(true);
        int before = loaded.size();
        load.start();
        Await.until("the load", () -> loaded.size() > before + 100);
    }

    private static String body(int number, int i) {
        return ("body-" + number + "-" + i + "-").repeat(BODY / 10);
    }

    private static String tag(int i) {
        return i % 2 == 0 ? "even" : "odd";
    }

    private void store(int id, SendResult result, List<String> added) {
        List<String> stored = bodies.computeIfAbsent(id, none -> new ArrayList<>());
        Expect.equal("offset in queue " + id, (long) stored.size(), result.getQueueOffset());
        stored.addAll(added);
    }

    private void commit(int id, long offset) throws Exception {
        MessageQueue queue = queue(topic, id);
        Await.value("the offset " + offset + " of queue " + id, () -> {
            // The client's own timer may drop it between the two.
            consumer.updateConsumeOffset(queue, offset);
            consumer.persist(queue);
            return consumer.fetchConsumeOffset(queue, true);
        }, found -> found == offset);
        committed.computeIfAbsent(id, none -> new ArrayList<>()).add(offset);
    }

    // ---- what each broker must have

    private void verify(boolean killed) throws Exception {
        for (var entry : topics.entrySet()) {
            Expect.equal("queues of " + entry.getKey(), entry.getValue(),
                scene.admin().examineTopicRouteInfo(entry.getKey()).getQueueDatas().get(0).getWriteQueueNums());
        }
        Expect.equal("retries of the group", RETRIES, scene.admin()
            .examineSubscriptionGroupConfig(scene.cluster().masters().get(0), group).getRetryMaxTimes());
        for (int id = 0; id < QUEUES; id++) {
            verifyQueue(id);
            verifyOffset(id, killed);
        }
        verifyLoad();
        for (Known message : known) {
            Expect.equal("body by offset id", message.body(),
                Inbox.text(scene.admin().viewMessage(topic, message.offsetMessageId())));
            List<MessageExt> found = Await.value("the message with " + message.key(),
                () -> scene.admin().queryMessage(topic, message.key(), 8, 0, Long.MAX_VALUE).getMessageList(),
                list -> !list.isEmpty());
            Expect.equal("messages with " + message.key(), 1, found.size());
            Expect.equal("id of the message with " + message.key(), message.messageId(), found.get(0).getMsgId());
            Expect.equal("body by unique key", message.body(),
                Inbox.text(scene.admin().viewMessage(topic, message.messageId())));
        }
        Expect.equal("messages with the key that every one has", 32,
            scene.admin().queryMessage(topic, "every", 32, 0, Long.MAX_VALUE).getMessageList().size());
        Await.value("delayed messages " + delayed,
            () -> texts(pull(queue(delayTopic, 0), "*")), found -> found.equals(delayed));
    }

    /** What is committed is there, and what was open when the one before was stopped. After a kill it may be there twice. */
    private void verifyTransactions(int number, boolean itsOwn) throws Exception {
        List<String> expected = transactions.expected(number, itsOwn);
        MessageQueue queue = queue(scene.name("transactions"), 0);
        Await.value("transactions of broker " + number, () -> texts(pull(queue, "*")), found -> found.containsAll(expected));
        List<MessageExt> found = pull(queue, "*");
        Expect.equal("finished transactions", new TreeSet<>(expected), texts(found));
        Expect.that(killedBefore || found.size() == expected.size(), found.size() + " messages of " + expected.size() + " transactions");
    }

    private void verifyLoad() throws Exception {
        if (load == null) {
            return;
        }
        load.join();
        long last = Collections.max(loaded.keySet());
        Await.until("offset " + last + " of the load", () -> consumer.maxOffset(queue(loadTopic, 0)) > last);
        Map<Long, String> found = new HashMap<>();
        pull(queue(loadTopic, 0), "*").forEach(message -> found.put(message.getQueueOffset(), Inbox.text(message)));
        loaded.forEach((offset, body) -> Expect.equal("what was acknowledged at " + offset + " under load", body, found.get(offset)));
    }

    private void verifyQueue(int id) throws Exception {
        MessageQueue queue = queue(topic, id);
        List<String> stored = bodies.get(id);
        Expect.equal("min offset of queue " + id, 0L, consumer.minOffset(queue));
        Await.value("max offset of queue " + id, () -> consumer.maxOffset(queue), max -> max == stored.size());
        List<MessageExt> pulled = pull(queue, "*");
        Expect.equal("messages in queue " + id, stored.size(), pulled.size());
        List<String> told = headers.computeIfAbsent(id, none -> new ArrayList<>());
        long tagged = 0;
        for (int offset = 0; offset < stored.size(); offset++) {
            MessageExt message = pulled.get(offset);
            Expect.equal("offset in queue " + id, (long) offset, message.getQueueOffset());
            Expect.equal("body at " + offset + " of queue " + id, stored.get(offset), Inbox.text(message));
            if (offset == told.size()) {
                told.add(header(message));
            }
            Expect.equal("header at " + offset + " of queue " + id, told.get(offset), header(message));
            tagged += "odd".equals(message.getTags()) ? 1 : 0;
        }
        Expect.equal("messages of queue " + id + " by tag", tagged, (long) pull(queue, "odd").size());
        for (int offset : searchesByTime ? new int[] {0, stored.size() / 2, stored.size() - 1} : new int[0]) {
            long time = pulled.get(offset).getStoreTimestamp();
            long found = consumer.searchOffset(queue, time);
            Expect.equal("store time of offset " + found + " of queue " + id + ", found by that of " + offset, time,
                pulled.get((int) found).getStoreTimestamp());
        }
    }

    private static String header(MessageExt message) {
        Map<String, String> properties = new TreeMap<>(message.getProperties());
        // The client adds the bounds of the queue.
        properties.remove("MIN_OFFSET");
        properties.remove("MAX_OFFSET");
        return String.format("born at %d on %s, stored at %d on %s, place %d, size %d, crc %d, flags %d and %d, consumed %d times, half at %d, %s",
            message.getBornTimestamp(), message.getBornHost(), message.getStoreTimestamp(), message.getStoreHost(),
            message.getCommitLogOffset(), message.getStoreSize(), message.getBodyCRC(), message.getFlag(), message.getSysFlag(),
            message.getReconsumeTimes(), message.getPreparedTransactionOffset(), properties);
    }

    private void verifyOffset(int id, boolean killed) throws Exception {
        List<Long> all = committed.get(id);
        long found = consumer.fetchConsumeOffset(queue(topic, id), true);
        if (killed) {
            Expect.that(found < 0 || all.contains(found), "offset of queue " + id + ": " + found + " of " + all);
        } else {
            Expect.equal("offset of queue " + id, all.get(all.size() - 1), found);
        }
    }

    /** Everything in a queue that has the tag. */
    private List<MessageExt> pull(MessageQueue queue, String tag) throws Exception {
        List<MessageExt> pulled = new ArrayList<>();
        long max = consumer.maxOffset(queue);
        for (long next = consumer.minOffset(queue); next < max; ) {
            PullResult result = consumer.pull(queue, tag, next, 32);
            if (result.getMsgFoundList() != null) {
                pulled.addAll(result.getMsgFoundList());
            }
            Expect.that(result.getNextBeginOffset() > next,
                "a pull at " + next + " of " + queue + " went nowhere: " + result.getPullStatus());
            next = result.getNextBeginOffset();
        }
        return pulled;
    }

    private static Set<String> texts(List<MessageExt> messages) {
        Set<String> texts = new TreeSet<>();
        messages.forEach(message -> texts.add(Inbox.text(message)));
        return texts;
    }
}
