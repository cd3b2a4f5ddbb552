package mqadmin;

import static mqadmin.Command.line;
import static mqadmin.Failure.unlessEqual;

import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import org.apache.rocketmq.client.producer.SendResult;

/** Commands that find, send and read messages. */
final class MessageCommands {
    private static final String EVALUATED = "`eval` says whether the group wants the message; Java fills it in only with "
        + "extended consume queues";

    static List<List<Command>> seen(Fixture f) {
        return Stages.each(
            Command.of("queryMsgById", () -> line("queryMsgById -n %s -t %s -i %s", f.namesrv, f.topic,
                sent(f).getOffsetMsgId()).get(), output -> message(f, output)),
            Command.of("queryMsgById_as_text", () -> line("queryMsgById -n %s -t %s -i %s -f UTF-8", f.namesrv, f.topic,
                sent(f).getOffsetMsgId()).get(), output -> output.has(Fixture.body(3))),
            Command.of("queryMsgById_pushed_to_a_client", () -> line("queryMsgById -n %s -t %s -i %s -g %s -d %s",
                f.namesrv, f.topic, sent(f).getOffsetMsgId(), f.group, f.clientId()).get(),
                output -> output.has("consumeResult=CR_SUCCESS")).masks("spentTimeMills=\\d+", "spentTimeMills=N"),
            Command.of("queryMsgByKey", line("queryMsgByKey -n %s -t %s -k key-3", f.namesrv, f.topic),
                output -> output.row(sent(f).getMsgId(), Integer.toString(sent(f).getMessageQueue().getQueueId()))),
            Command.of("queryMsgByKey_since", () -> line("queryMsgByKey -n %s -t %s -k key-3 -b %d -e %d -m 1", f.namesrv,
                f.topic, System.currentTimeMillis() - 600_000, System.currentTimeMillis()).get(),
                output -> output.row(sent(f).getMsgId())),
            Command.of("queryMsgByKey_before_the_message", line("queryMsgByKey -n %s -t %s -k key-3 -b 1 -e 2", f.namesrv,
                f.topic)).refused(),
            Command.of("queryMsgByUniqueKey", () -> line("queryMsgByUniqueKey -n %s -t %s -i %s", f.namesrv, f.topic,
                sent(f).getMsgId()).get(), output -> message(f, output)),
            Command.of("queryMsgByUniqueKey_all", () -> line("queryMsgByUniqueKey -n %s -t %s -i %s -a", f.namesrv, f.topic,
                sent(f).getMsgId()).get(), output -> message(f, output)),
            Command.of("queryMsgByUniqueKey_pushed_to_a_client", () -> line("queryMsgByUniqueKey -n %s -t %s -i %s -g %s -d %s",
                f.namesrv, f.topic, sent(f).getMsgId(), f.group, f.clientId()).get(),
                output -> output.has("consumeResult=CR_SUCCESS")).masks("spentTimeMills=\\d+", "spentTimeMills=N"),
            Command.of("queryMsgByUniqueKey_pushed_to_no_client", () -> line("queryMsgByUniqueKey -n %s -t %s -i %s -g %s -d none",
                f.namesrv, f.topic, sent(f).getMsgId(), f.group).get()),
            Command.of("queryMsgByOffset", () -> line("queryMsgByOffset -n %s -t %s -b %s -i %d -o %d", f.namesrv,
                f.topic, f.broker, sent(f).getMessageQueue().getQueueId(), sent(f).getQueueOffset()).get(),
                output -> message(f, output)),
            Command.of("queryMsgTraceById", () -> line("queryMsgTraceById -n %s -i %s", f.namesrv,
                f.tracedMessage.getMsgId()).get(), output -> {
                    output.has("#ProducerGroup", "mqadmin-tracing-" + f.run, "#ConsumerGroup", "mqadmin-traced-" + f.run);
                    output.rows("Pub", "success").get(0);
                    output.rows("Sub", "success").get(0);
                }),
            Command.of("queryMsgTraceById_of_no_message", line("queryMsgTraceById -n %s -i %s", f.namesrv,
                "0".repeat(32))).refused(),
            Command.of("printMsg", line("printMsg -n %s -t %s -d true", f.namesrv, f.topic), output -> {
                for (int i = 0; i < Fixture.MESSAGES; i++) {
                    output.has(Fixture.body(i));
                }
            }).sorted(),
            Command.of("printMsg_with_another_tag", line("printMsg -n %s -t %s -s TagB -d true", f.namesrv, f.topic))
                .sorted(),
            Command.of("printMsgByQueue", line("printMsgByQueue -n %s -t %s -a %s -i 1 -p true -d true -f true", f.namesrv,
                f.topic, f.broker), output -> output.has(Fixture.body(1), Fixture.body(5), Fixture.body(9), "TagA")),
            Command.of("printMsgByQueue_since", () -> line("printMsgByQueue -n %s -t %s -a %s -i 1 -b %d -e %d -f true", f.namesrv,
                f.topic, f.broker, System.currentTimeMillis() - 600_000, System.currentTimeMillis()).get()),
            Command.of("queryCq", () -> line("queryCq -n %s -t %s -q %d -i 0 -c 5 -b %s", f.namesrv, f.topic,
                sent(f).getMessageQueue().getQueueId(), f.address).get(),
                output -> output.has("physicOffset", "tagsCode")).differs(EVALUATED),
            Command.of("queryCq_of_a_group", () -> line("queryCq -n %s -t %s -q %d -i 0 -c 5 -b %s -g %s", f.namesrv, f.topic,
                sent(f).getMessageQueue().getQueueId(), f.address, f.group).get()).differs(EVALUATED),
            Command.of("consumeMessage", line("consumeMessage -n %s -t %s -g mqadmin-reader-%s -c 100", f.namesrv,
                f.topic, f.run), output -> output.has(Fixture.body(0), Fixture.body(9))).sorted(),
            Command.of("consumeMessage_of_a_queue", line("consumeMessage -n %s -t %s -b %s -i 1 -o 1 -g mqadmin-reader2-%s -c 1",
                f.namesrv, f.topic, f.broker, f.run), output -> output.has(Fixture.body(5))));
    }

    static List<List<Command>> sends(Fixture f) {
        return List.of(List.of(
            Command.once("sendMessage", line("sendMessage -n %s -t %s -p from-mqadmin -k sent-key -c TagB", f.namesrv,
                f.sends), output -> output.row(f.broker, "SEND_OK")),
            Command.of("queryMsgByKey_of_sendMessage", line("queryMsgByKey -n %s -t %s -k sent-key", f.namesrv,
                f.sends), output -> {
                    if (output.lines().size() < 2) {
                        throw new Failure("the message just sent is not found");
                    }
                }),
            Command.once("sendMessage_to_a_queue", line("sendMessage -n %s -t %s -b %s -i 0 -p from-mqadmin -k sent-key -c TagC",
                f.namesrv, f.sends, f.broker), output -> output.row(f.broker, "0", "SEND_OK")),
            Command.once("queryMsgById_sent_again", () -> line("queryMsgById -n %s -t %s -i %s -s true", f.namesrv, f.sends,
                f.tracedMessage.getOffsetMsgId()).get(), output -> output.has("sendStatus=SEND_OK")),
            Command.once("checkMsgSendRT", line("checkMsgSendRT -n %s -t %s -a 3 -s 64", f.namesrv, f.sends), output ->
                unlessEqual("sends", 3, output.rows(f.broker, "0", "true").size())).masks("true \\d+", "true N"),
            Command.of("printMsgByQueue_after_sends", line("printMsgByQueue -n %s -t %s -a %s -i 0 -f true", f.namesrv,
                f.sends, f.broker))),
            List.of(Command.once("sendMsgStatus", line("sendMsgStatus -n %s -b %s -c 3 -s 64", f.namesrv, f.broker),
                output -> output.has("SEND_OK")).masks("queueOffset=\\d+", "queueOffset=N")),
            List.of(Command.until("clusterRT", "(?m)^\\S+ +broker-\\d+ .*\\n", line("clusterRT -n %s -c %s -a 3 -s 64 -i 600", f.namesrv,
                f.cluster)).expects(output -> output.row(f.cluster, f.broker, "3", "0"))));
    }

    private static SendResult sent(Fixture f) {
        return f.sent.get(3);
    }

    private static void message(Fixture f, Output output) throws Exception {
        unlessEqual("topic", f.topic, output.field("Topic:"));
        unlessEqual("tags", "[TagA]", output.field("Tags:"));
        unlessEqual("keys", "[key-3]", output.field("Keys:"));
        unlessEqual("queue", Integer.toString(sent(f).getMessageQueue().getQueueId()), output.field("Queue ID:"));
        unlessEqual("queue offset", Long.toString(sent(f).getQueueOffset()), output.field("Queue Offset:"));
        unlessEqual("reconsume times", "0", output.field("Reconsume Times:"));
        unlessEqual("body", Fixture.body(3), Files.readString(Path.of(output.field("Message Body Path:"))));
    }

    private MessageCommands() {
    }
}
