package mqadmin;

import static mqadmin.Command.line;
import static mqadmin.Failure.unlessEqual;

import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import org.apache.rocketmq.client.producer.SendResult;

/** Commands that find, send and read messages. */
final class MessageCommands {
    static List<Command> all(Fixture f) {
        return List.of(
            Command.of("queryMsgById", () -> line("queryMsgById -n %s -t %s -i %s", f.namesrv, f.topic,
                sent(f).getOffsetMsgId()).get(), output -> message(f, output)),
            Command.of("queryMsgByKey", line("queryMsgByKey -n %s -t %s -k key-3", f.namesrv, f.topic),
                output -> output.row(sent(f).getMsgId(), Integer.toString(sent(f).getMessageQueue().getQueueId()))),
            Command.of("queryMsgByUniqueKey", () -> line("queryMsgByUniqueKey -n %s -t %s -i %s", f.namesrv, f.topic,
                sent(f).getMsgId()).get(), output -> message(f, output)),
            Command.of("queryMsgByOffset", () -> line("queryMsgByOffset -n %s -t %s -b %s -i %d -o %d", f.namesrv,
                f.topic, f.broker, sent(f).getMessageQueue().getQueueId(), sent(f).getQueueOffset()).get(),
                output -> message(f, output)),
            Command.of("printMsg", line("printMsg -n %s -t %s -d true", f.namesrv, f.topic), output -> {
                for (int i = 0; i < Fixture.MESSAGES; i++) {
                    output.has(Fixture.body(i));
                }
            }),
            Command.of("queryCq", () -> line("queryCq -n %s -t %s -q %d -i 0 -c 5 -b %s", f.namesrv, f.topic,
                sent(f).getMessageQueue().getQueueId(), f.address).get(),
                output -> output.has("physicOffset", "tagsCode")),
            Command.of("sendMessage", line("sendMessage -n %s -t %s -p from-mqadmin -k sent-key -c TagB", f.namesrv,
                f.topic), output -> output.row(f.broker, "SEND_OK")),
            Command.of("queryMsgByKey_of_sendMessage", line("queryMsgByKey -n %s -t %s -k sent-key", f.namesrv,
                f.topic), output -> {
                    if (output.lines().size() < 2) {
                        throw new Failure("the message just sent is not found");
                    }
                }),
            Command.of("consumeMessage", line("consumeMessage -n %s -t %s -g mqadmin-reader-%s -c 100", f.namesrv,
                f.topic, f.run), output -> output.has(Fixture.body(0), Fixture.body(9), "from-mqadmin")));
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
