package mqadmin;

import static mqadmin.Command.line;
import static mqadmin.Failure.unlessEqual;

import java.util.List;

/** Commands about topics: those that make what later ones look at, and those that take it away again. */
final class TopicCommands {
    private static final String SYSTEM_TOPICS = "no system topics of POP, the timer wheel and RocksDB";

    static List<List<Command>> made(Fixture f) {
        String listed = f.file("topics.json", """
            [{"topicName":"%1$s-listed-1","readQueueNums":3,"writeQueueNums":2,"perm":6},
             {"topicName":"%1$s-listed-2","readQueueNums":1,"writeQueueNums":1,"perm":4,"order":true}]
            """.formatted(f.topic)).toString();
        String listedInCluster = f.file("topics-in-cluster.json", """
            [{"topicName":"%1$s-listed-3","readQueueNums":1,"writeQueueNums":1,"perm":6}]
            """.formatted(f.topic)).toString();
        return List.of(
            List.of(Command.of("updateTopic", line("updateTopic -n %s -b %s -t %s -r %d -w %d", f.namesrv, f.address, f.topic,
                Fixture.QUEUES, Fixture.QUEUES), output -> {
                    output.has("create topic to " + f.address + " success.", "topicName=" + f.topic,
                        "readQueueNums=4", "writeQueueNums=4", "perm=RW-");
                    f.start();
                })),
            List.of(Command.of("updateTopic_in_cluster", line("updateTopic -n %s -c %s -t %s -r 2 -w 2", f.namesrv,
                f.cluster, f.other), output -> output.has("create topic to " + f.address + " success."))),
            List.of(Command.of("updateTopic_with_options", line("updateTopic -n %s -b %s -t %s -r 1 -w 1 -p 6 -o true "
                + "-u true -s true -a +message.type=NORMAL", f.namesrv, f.address, f.sends))),
            List.of(Command.of("updateTopic_for_traces", line("updateTopic -n %s -b %s -t %s -r 1 -w 1", f.namesrv,
                f.address, f.traced), output -> f.trace())),
            List.of(Command.of("updateTopic_for_retries", line("updateTopic -n %s -b %s -t %%RETRY%%%s -r 1 -w 1", f.namesrv,
                f.address, f.made))),
            List.of(Command.of("updateTopic_that_no_name_permits", line("updateTopic -n %s -b %s -t %s/x", f.namesrv,
                f.address, f.topic)).refused()),
            List.of(Command.of("updateTopicList", line("updateTopicList -n %s -b %s -f %s", f.namesrv, f.address, listed))),
            List.of(Command.of("updateTopicList_in_cluster", line("updateTopicList -n %s -c %s -f %s", f.namesrv,
                f.cluster, listedInCluster))));
    }

    static List<List<Command>> seen(Fixture f) {
        return Stages.each(
            Command.of("topicList", line("topicList -n %s", f.namesrv), output -> {
                output.row(f.topic);
                output.row(f.other);
            }).sorted().differs(SYSTEM_TOPICS),
            Command.of("topicList_with_groups", line("topicList -n %s -c", f.namesrv),
                output -> output.row(f.cluster, f.topic, f.group)).sorted().differs(SYSTEM_TOPICS),
            Command.of("topicRoute", line("topicRoute -n %s -t %s", f.namesrv, f.topic), output -> {
                String compact = output.text().replaceAll("\\s", "");
                new Output("topicRoute", compact).has("\"" + f.address + "\"", "\"brokerName\":\"" + f.broker + "\"",
                    "\"cluster\":\"" + f.cluster + "\"", "\"readQueueNums\":4", "\"writeQueueNums\":4", "\"perm\":6");
            }),
            Command.of("topicRoute_as_a_list", line("topicRoute -n %s -t %s -l", f.namesrv, f.topic),
                output -> output.row(f.cluster, f.broker, "4", "4", "6")),
            Command.of("topicRoute_of_a_listed_topic", line("topicRoute -n %s -t %s-listed-1 -l", f.namesrv, f.topic)),
            Command.of("topicRoute_of_a_topic_with_options", line("topicRoute -n %s -t %s", f.namesrv, f.sends)),
            Command.of("topicRoute_of_no_topic", line("topicRoute -n %s -t %s-none", f.namesrv, f.topic)).refused(),
            Command.of("topicStatus", line("topicStatus -n %s -t %s", f.namesrv, f.topic), output -> {
                List<List<String>> rows = output.rows(f.broker);
                unlessEqual("queues", Fixture.QUEUES, rows.size());
                unlessEqual("sum of max offsets", (long) Fixture.MESSAGES,
                    rows.stream().mapToLong(row -> Long.parseLong(row.get(3))).sum());
                rows.forEach(row -> unlessEqual("min offset", "0", row.get(2)));
            }),
            Command.of("topicStatus_by_cluster", line("topicStatus -n %s -t %s -c %s", f.namesrv, f.topic, f.cluster)),
            Command.of("topicClusterList", line("topicClusterList -n %s -t %s", f.namesrv, f.topic),
                output -> output.row(f.cluster)),
            Command.of("topicClusterList_of_no_topic", line("topicClusterList -n %s -t %s-none", f.namesrv, f.topic))
                .refused(),
            Command.of("allocateMQ", line("allocateMQ -n %s -t %s -i 10.0.0.1,10.0.0.2", f.namesrv, f.topic),
                output -> output.has("10.0.0.1", "10.0.0.2", f.broker)).masks("\"queueId\":\\d", "\"queueId\":N"));
    }

    static List<List<Command>> changed(Fixture f) {
        return List.of(
            List.of(
                Command.of("updateTopicPerm", line("updateTopicPerm -n %s -b %s -t %s -p 4", f.namesrv, f.address, f.other),
                    output -> output.has("update topic perm from 6 to 4 in " + f.address + " success.")),
                Command.of("topicRoute_after_perm", line("topicRoute -n %s -t %s -l", f.namesrv, f.other),
                    output -> output.row(f.cluster, f.broker, "2", "2", "4")),
                Command.once("updateTopicPerm_in_cluster", line("updateTopicPerm -n %s -c %s -t %s -p 6", f.namesrv,
                    f.cluster, f.other), output -> output.has("success"))),
            List.of(
                Command.of("updateOrderConf_put", line("updateOrderConf -n %s -m put -t %s -v %s:4", f.namesrv, f.topic,
                    f.broker), output -> output.has("update orderConf success")),
                Command.of("updateOrderConf_get", line("updateOrderConf -n %s -m get -t %s", f.namesrv, f.topic),
                    output -> output.has("orderConf=[" + f.broker + ":4]")),
                Command.of("updateOrderConf_delete", line("updateOrderConf -n %s -m delete -t %s", f.namesrv, f.topic),
                    output -> output.has("delete orderConf success")),
                Command.of("updateOrderConf_get_after_delete", line("updateOrderConf -n %s -m get -t %s", f.namesrv,
                    f.topic)).refused()));
    }

    static List<List<Command>> last(Fixture f) {
        return List.of(List.of(
            Command.once("wipeWritePerm", line("wipeWritePerm -n %s -b %s", f.namesrv, f.broker),
                output -> output.has("wipe write perm of broker[" + f.broker + "] in name server[" + f.namesrv
                    + "] OK,")).masks("OK, \\d+", "OK, N"),
            // An official broker that registers meanwhile restores its permission.
            Command.custom("topicRoute_after_wipe", () -> {
                Console.run(null, "wipeWritePerm", "-n", f.namesrv, "-b", f.broker);
                return Console.run(null, "topicRoute", "-n", f.namesrv, "-t", f.topic, "-l");
            }).expects(output -> permission(f, output, "4")),
            Command.once("addWritePerm", line("addWritePerm -n %s -b %s", f.namesrv, f.broker),
                output -> output.has("add write perm of broker[" + f.broker + "] in name server[" + f.namesrv
                    + "] OK,")).masks("OK, \\d+", "OK, N"),
            Command.of("topicRoute_after_add", line("topicRoute -n %s -t %s -l", f.namesrv, f.topic),
                output -> permission(f, output, "6")),
            Command.once("deleteTopic", line("deleteTopic -n %s -c %s -t %s", f.namesrv, f.cluster, f.other),
                output -> output.has("delete topic [" + f.other + "] from cluster [" + f.cluster + "] success.",
                    "delete topic [" + f.other + "] from NameServer success.")),
            Command.of("topicList_after_delete", line("topicList -n %s", f.namesrv),
                output -> output.hasNot(f.other + "\n")).sorted().differs(SYSTEM_TOPICS)));
    }

    private static void permission(Fixture f, Output output, String expected) {
        List<String> row = output.row(f.cluster, f.broker);
        unlessEqual("permission", expected, row.get(row.size() - 1));
    }

    private TopicCommands() {
    }
}
