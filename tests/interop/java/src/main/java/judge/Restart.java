package judge;

import static judge.Scene.message;
import static judge.Scene.sent;

import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Set;
import java.util.TreeSet;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;

/**
 * What a broker must still know after it was stopped, or killed, and started again: the first phase leaves messages,
 * offsets and a delayed message behind and writes down which; the second looks for them.
 */
final class Restart {
    private static final int QUEUES = 3;
    private static final int CONSUMED = 30;
    private static final int LEFT = 20;

    /** The phase is before or after; a kill may cost offsets of the last seconds, so then messages may come again. */
    static int run(Arguments arguments) throws Exception {
        Path state = Path.of(arguments.required("file"));
        String phase = arguments.required("phase");
        boolean passed;
        try (Cluster cluster = new Cluster(arguments.required("namesrv"));
             Scene scene = new Scene("restart", cluster)) {
            if (phase.equals("before")) {
                before(scene, state);
            } else {
                after(scene, Files.readAllLines(state), arguments.has("killed"));
            }
            passed = true;
        } catch (Failure e) {
            System.out.printf("FAIL restart: %s: %s%n", phase, e.getMessage());
            passed = false;
        }
        System.out.printf("%d passed, %d failed%n", passed ? 1 : 0, passed ? 0 : 1);
        return passed ? 0 : 1;
    }

    private static void before(Scene scene, Path state) throws Exception {
        String topic = scene.topic(QUEUES);
        String group = scene.group();
        Inbox inbox = new Inbox();
        var consumer = scene.startedPush(group, topic, inbox);
        inbox.awaitBodies(scene.send(topic, "", "consumed", CONSUMED));
        scene.awaitCommitted(group);
        consumer.shutdown();
        scene.send(topic, "", "left", LEFT);
        Message delayed = message(topic, "delayed");
        delayed.setDelayTimeLevel(2);
        sent(scene.producer().send(delayed));
        Message keyed = message(topic, "keyed");
        keyed.setKeys("restart-key");
        SendResult result = sent(scene.producer().send(keyed));
        Files.write(state, List.of(topic, group, result.getMsgId(), result.getOffsetMsgId()));
    }

    private static void after(Scene scene, List<String> state, boolean killed) throws Exception {
        String topic = state.get(0);
        String group = state.get(1);
        scene.cluster().awaitRoute(topic, 1);
        Expect.equal("queues of the topic", QUEUES, scene.producer().fetchPublishMessageQueues(topic).size());
        Expect.equal("body by offset id", "keyed", Inbox.text(scene.admin().viewMessage(topic, state.get(3))));
        List<MessageExt> found = Await.value("the message by key",
            () -> scene.admin().queryMessage(topic, "restart-key", 8, 0, Long.MAX_VALUE).getMessageList(),
            list -> !list.isEmpty());
        Expect.equal("message by key", state.get(2), found.get(0).getMsgId());

        Set<String> expected = new TreeSet<>(Set.of("delayed", "keyed"));
        for (int i = 0; i < LEFT; i++) {
            expected.add(String.format("left-%04d", i));
        }
        Inbox inbox = new Inbox();
        scene.startedPush(group, topic, inbox);
        Await.until("what was left behind", () -> inbox.bodies().containsAll(expected));
        if (!killed) {
            Expect.equal("bodies delivered after the restart", expected, inbox.bodies());
        }
        scene.send(topic, "", "afterwards", 10);
        Await.until("messages sent after the restart", () -> inbox.bodies().contains("afterwards-0009"));
    }

    private Restart() {
    }
}
