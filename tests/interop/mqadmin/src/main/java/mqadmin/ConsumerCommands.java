package mqadmin;

import static mqadmin.Command.line;
import static mqadmin.Failure.unlessEqual;

import java.util.List;

/** Commands about consumer groups and their offsets. */
final class ConsumerCommands {
    /** A group has an offset in its retry topic only after its first look for queues. */
    private static final String RETRIES = "(?m)^(undone of \\S+ in )?%RETRY%.*$";

    static List<List<Command>> made(Fixture f) {
        String listed = f.file("groups.json", """
            [{"groupName":"%1$s-listed-1","retryMaxTimes":5},
             {"groupName":"%1$s-listed-2","consumeBroadcastEnable":false,"consumeMessageOrderly":true}]
            """.formatted(f.group)).toString();
        String listedInCluster = f.file("groups-in-cluster.json", """
            [{"groupName":"%1$s-listed-3"}]
            """.formatted(f.group)).toString();
        return Stages.each(
            Command.of("updateSubGroup", line("updateSubGroup -n %s -c %s -g %s -r 3", f.namesrv, f.cluster, f.made),
                output -> output.has("create subscription group to " + f.address + " success.",
                    "groupName=" + f.made, "retryMaxTimes=3")),
            Command.of("updateSubGroup_with_options", line("updateSubGroup -n %s -b %s -g %s-options -s true -m false -d false "
                + "-o true -q 2 -r 7 -i 0 -w 1 -a false", f.namesrv, f.address, f.made)),
            Command.of("updateSubGroupList", line("updateSubGroupList -n %s -b %s -f %s", f.namesrv, f.address, listed)),
            Command.of("updateSubGroupList_in_cluster", line("updateSubGroupList -n %s -c %s -f %s", f.namesrv, f.cluster,
                listedInCluster)));
    }

    /** What others show is only stable once the groups have told how far they are. */
    static List<List<Command>> consumed(Fixture f) {
        return Stages.each(
            Command.of("consumerProgress", line("consumerProgress -n %s -g %s", f.namesrv, f.group), output -> {
                List<List<String>> rows = output.rows(f.topic, f.broker);
                unlessEqual("queues", Fixture.QUEUES, rows.size());
                unlessEqual("consumed", rows.stream().mapToLong(row -> Long.parseLong(row.get(3))).sum(),
                    rows.stream().mapToLong(row -> Long.parseLong(row.get(4))).sum());
                unlessEqual("total", "0", output.field("Consume Diff Total:"));
            }).masks(RETRIES, ""),
            Command.of("consumerProgress_of_a_tracing_group", line("consumerProgress -n %s -g mqadmin-traced-%s", f.namesrv, f.run),
                output -> {
                    output.row(f.traced, f.broker);
                    unlessEqual("total", "0", output.field("Consume Diff Total:"));
                }).masks(RETRIES, ""));
    }

    static List<List<Command>> seen(Fixture f) {
        return Stages.each(
            Command.of("consumerProgress_of_a_topic_with_clients", line("consumerProgress -n %s -g %s -t %s -s true", f.namesrv,
                f.group, f.topic), output -> unlessEqual("queues", Fixture.QUEUES, output.rows(f.topic, f.broker).size())).masks(RETRIES, ""),
            Command.of("consumerProgress_of_all", line("consumerProgress -n %s", f.namesrv), output -> {
                List<String> row = output.row(f.group);
                unlessEqual("members", "1", row.get(1));
            }).masks("CLUSTERING \\d+ ", "CLUSTERING N ").sorted(),
            Command.of("consumerProgress_of_no_group", line("consumerProgress -n %s -g %s-none", f.namesrv, f.group)).refused(),
            Command.of("consumerConnection", line("consumerConnection -n %s -g %s", f.namesrv, f.group),
                output -> output.has(Fixture.CLIENT, "JAVA", f.topic, "TagA || TagB", "CONSUME_PASSIVELY",
                    "CLUSTERING", "CONSUME_FROM_FIRST_OFFSET")).sorted(),
            Command.of("consumerConnection_of_a_broker", line("consumerConnection -n %s -g %s -b %s", f.namesrv, f.group,
                f.address)).sorted(),
            Command.of("consumerConnection_of_no_member", line("consumerConnection -n %s -g %s", f.namesrv, f.made)).refused(),
            Command.of("consumerStatus", line("consumerStatus -n %s -g %s", f.namesrv, f.group),
                output -> output.has(Fixture.CLIENT, "Same subscription in the same group of consumer")),
            Command.of("consumerStatus_of_a_client", () -> line("consumerStatus -n %s -g %s -i %s -b %s -s", f.namesrv, f.group,
                f.clientId(), f.address).get(), output -> output.has("#Consumer Properties#", "#Consumer jstack#"))
                .masks("(?m)^(?!#).*$", "").refused(),
            Command.of("brokerConsumeStats", line("brokerConsumeStats -n %s -b %s", f.namesrv, f.address),
                output -> unlessEqual("queues", Fixture.QUEUES, output.rows(f.topic, f.group, f.broker).size()))
                .masks(RETRIES, "").sorted(),
            Command.of("brokerConsumeStats_of_ordered_topics", line("brokerConsumeStats -n %s -b %s -o true -l 0 -t 5000",
                f.namesrv, f.address)).sorted(),
            Command.of("getConsumerConfig", line("getConsumerConfig -n %s -g %s", f.namesrv, f.made),
                output -> {
                    output.has(f.broker);
                    if (output.rows("retryMaxTimes", "=", "3").isEmpty()) {
                        throw new Failure("the group's retryMaxTimes is not 3");
                    }
                }),
            Command.of("getConsumerConfig_with_options", line("getConsumerConfig -n %s -g %s-options", f.namesrv, f.made)),
            Command.of("getConsumerConfig_of_a_listed_group", line("getConsumerConfig -n %s -g %s-listed-1", f.namesrv, f.group)));
    }

    static List<List<Command>> watched(Fixture f) {
        return Stages.each(Command.custom("startMonitoring", () -> Monitoring.round(f)).expects(output ->
                output.has("undone of " + f.group + " in " + f.topic + ": 0", "running: " + Fixture.CLIENT)).masks(RETRIES, "").masks("(?m)^undone of __MONITOR_CONSUMER .*$", "").sorted());
    }

    static List<List<Command>> moved(Fixture f) {
        return List.of(List.of(
            Command.of("cloneGroupOffset", line("cloneGroupOffset -n %s -s %s -d %s -t %s", f.namesrv, f.group, f.made,
                f.topic), output -> output.has("clone group offset success.")),
            Command.of("consumerProgress_after_clone", line("consumerProgress -n %s -g %s", f.namesrv, f.made)).masks(RETRIES, ""),
            Command.of("resetOffsetByTime", line("resetOffsetByTime -n %s -g %s -t %s -s 0 -f true", f.namesrv, f.group,
                f.topic), output -> {
                    List<List<String>> rows = output.rows(f.broker);
                    unlessEqual("queues", Fixture.QUEUES, rows.size());
                    rows.forEach(row -> unlessEqual("offset", "0", row.get(row.size() - 1)));
                }).sorted(),
            Command.of("resetOffsetByTime_of_an_offline_group", line("resetOffsetByTime -n %s -g %s -t %s -s 0", f.namesrv, f.made,
                f.topic)).sorted(),
            Command.of("resetOffsetByTime_beyond_the_queue", line("resetOffsetByTime -n %s -g %s -t %s -s now -b %s -q 1 -o 99",
                f.namesrv, f.made, f.topic, f.address)).refused(),
            Command.of("resetOffsetByTime_of_a_queue", line("resetOffsetByTime -n %s -g %s -t %s -s now -b %s -q 1 -o 2",
                f.namesrv, f.made, f.topic, f.address)),
            Command.of("consumerProgress_after_reset", line("consumerProgress -n %s -g %s", f.namesrv, f.made)).masks(RETRIES, ""),
            Command.of("skipAccumulatedMessage", line("skipAccumulatedMessage -n %s -g %s -t %s -f true", f.namesrv,
                f.group, f.topic), output -> unlessEqual("queues", Fixture.QUEUES, output.rows(f.broker).size())).sorted(),
            Command.once("deleteSubGroup", line("deleteSubGroup -n %s -c %s -g %s", f.namesrv, f.cluster, f.made),
                output -> output.has("delete subscription group [" + f.made + "] from broker [" + f.address
                    + "] in cluster [" + f.cluster + "] success.")),
            Command.once("deleteSubGroup_with_offsets", line("deleteSubGroup -n %s -b %s -g %s-options -r true", f.namesrv,
                f.address, f.made), output -> output.has("success")),
            Command.of("getConsumerConfig_after_delete", line("getConsumerConfig -n %s -g %s", f.namesrv, f.made)).refused()
                .differs("a group that is asked for and is not there is not made")));
    }

    private ConsumerCommands() {
    }
}
