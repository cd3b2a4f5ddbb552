package mqadmin;

import static mqadmin.Command.line;
import static mqadmin.Failure.unlessEqual;

import java.util.List;

/** Commands about consumer groups and their offsets. */
final class ConsumerCommands {
    static List<Command> all(Fixture f) {
        String made = "mqadmin-made-" + f.run;
        return List.of(
            Command.of("consumerProgress", line("consumerProgress -n %s -g %s", f.namesrv, f.group), output -> {
                List<List<String>> rows = output.rows(f.topic, f.broker);
                unlessEqual("queues", Fixture.QUEUES, rows.size());
                unlessEqual("consumed", rows.stream().mapToLong(row -> Long.parseLong(row.get(3))).sum(),
                    rows.stream().mapToLong(row -> Long.parseLong(row.get(4))).sum());
                unlessEqual("total", "0", output.field("Consume Diff Total:"));
            }),
            Command.of("consumerProgress_of_all", line("consumerProgress -n %s", f.namesrv), output -> {
                List<String> row = output.row(f.group);
                unlessEqual("members", "1", row.get(1));
            }),
            Command.of("consumerConnection", line("consumerConnection -n %s -g %s", f.namesrv, f.group),
                output -> output.has("mqadmin-consumer", "JAVA", f.topic, "TagA || TagB", "CONSUME_PASSIVELY",
                    "CLUSTERING", "CONSUME_FROM_FIRST_OFFSET")),
            Command.of("consumerStatus", line("consumerStatus -n %s -g %s", f.namesrv, f.group),
                output -> output.has("mqadmin-consumer", "Same subscription in the same group of consumer")),
            Command.of("brokerConsumeStats", line("brokerConsumeStats -n %s -b %s", f.namesrv, f.address),
                output -> unlessEqual("queues", Fixture.QUEUES, output.rows(f.topic, f.group, f.broker).size())),
            Command.of("updateSubGroup", line("updateSubGroup -n %s -c %s -g %s -r 3", f.namesrv, f.cluster, made),
                output -> output.has("create subscription group to " + f.address + " success.",
                    "groupName=" + made, "retryMaxTimes=3")),
            Command.of("getConsumerConfig", line("getConsumerConfig -n %s -g %s", f.namesrv, made),
                output -> {
                    output.has(f.broker);
                    if (output.rows("retryMaxTimes", "=", "3").isEmpty()) {
                        throw new Failure("the group's retryMaxTimes is not 3");
                    }
                }),
            Command.of("cloneGroupOffset", line("cloneGroupOffset -n %s -s %s -d %s -t %s", f.namesrv, f.group, made,
                f.topic), output -> output.has("clone group offset success.")),
            Command.of("resetOffsetByTime", line("resetOffsetByTime -n %s -g %s -t %s -s 0 -f true", f.namesrv, f.group,
                f.topic), output -> {
                    List<List<String>> rows = output.rows(f.broker);
                    unlessEqual("queues", Fixture.QUEUES, rows.size());
                    rows.forEach(row -> unlessEqual("offset", "0", row.get(row.size() - 1)));
                }),
            Command.of("skipAccumulatedMessage", line("skipAccumulatedMessage -n %s -g %s -t %s -f true", f.namesrv,
                f.group, f.topic), output -> unlessEqual("queues", Fixture.QUEUES, output.rows(f.broker).size())),
            Command.once("deleteSubGroup", line("deleteSubGroup -n %s -c %s -g %s", f.namesrv, f.cluster, made),
                output -> output.has("delete subscription group [" + made + "] from broker [" + f.address
                    + "] in cluster [" + f.cluster + "] success.")));
    }

    private ConsumerCommands() {
    }
}
