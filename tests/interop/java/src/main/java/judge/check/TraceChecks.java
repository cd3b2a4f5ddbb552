package judge.check;

import static judge.Scene.message;
import static judge.Scene.sent;

import java.util.List;
import judge.Await;
import judge.Check;
import judge.Expect;
import judge.Inbox;
import judge.Scene;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.common.message.MessageExt;

/** Message traces are plain messages to a system topic, found by the id of what they trace. */
public final class TraceChecks {
    private static final String TRACE_TOPIC = "RMQ_SYS_TRACE_TOPIC";

    public static List<Check> all() {
        return List.of(new Check("trace_of_a_send", TraceChecks::send));
    }

    private static void send(Scene scene) throws Exception {
        String topic = scene.topic(1);
        DefaultMQProducer producer = new DefaultMQProducer(scene.name("traced"), true, null);
        scene.startedProducer(producer);
        SendResult result = sent(producer.send(message(topic, "traced")));
        Expect.that(result.isTraceOn(), "the broker switched the trace off");
        List<MessageExt> traces = Await.value("the trace of " + result.getMsgId(),
            () -> scene.admin().queryMessage(TRACE_TOPIC, result.getMsgId(), 8, 0, Long.MAX_VALUE).getMessageList(),
            found -> !found.isEmpty());
        String[] fields = Inbox.text(traces.get(0)).split("\u0001");
        Expect.equal("kind of trace", "Pub", fields[0]);
        Expect.equal("traced group", scene.name("traced"), fields[3]);
        Expect.equal("traced topic", topic, fields[4]);
        Expect.equal("traced message", result.getMsgId(), fields[5]);
    }

    private TraceChecks() {
    }
}
