package mqadmin;

import static mqadmin.Command.line;
import static mqadmin.Failure.unlessEqual;

import java.util.List;

/** Commands about topics: those that make what later ones look at, and those that take it away again. */
final class TopicCommands {
    static List<Command> first(Fixture f) {
        String other = f.topic + "-other";
        return List.of(
            Command.of("updateTopic", line("updateTopic -n %s -b %s -t %s -r %d -w %d", f.namesrv, f.address, f.topic,
                Fixture.QUEUES, Fixture.QUEUES), output -> {
                    output.has("create topic to " + f.address + " success.", "topicName=" + f.topic,
                        "readQueueNums=4", "writeQueueNums=4", "perm=RW-");
                    f.start();
                }),
            Command.of("updateTopic_in_cluster", line("updateTopic -n %s -c %s -t %s -r 2 -w 2", f.namesrv,
                f.cluster, other), output -> output.has("create topic to " + f.address + " success.")),
            Command.of("topicList", line("topicList -n %s", f.namesrv), output -> {
                output.row(f.topic);
                output.row(other);
            }),
            Command.of("topicList_with_groups", line("topicList -n %s -c", f.namesrv),
                output -> output.row(f.cluster, f.topic, f.group)),
            Command.of("topicRoute", line("topicRoute -n %s -t %s", f.namesrv, f.topic), output -> {
                String compact = output.text().replaceAll("\\s", "");
                new Output("topicRoute", compact).has("\"" + f.address + "\"", "\"brokerName\":\"" + f.broker + "\"",
                    "\"cluster\":\"" + f.cluster + "\"", "\"readQueueNums\":4", "\"writeQueueNums\":4", "\"perm\":6");
            }),
            Command.of("topicRoute_as_a_list", line("topicRoute -n %s -t %s -l", f.namesrv, f.topic),
                output -> output.row(f.cluster, f.broker, "4", "4", "6")),
            Command.of("topicStatus", line("topicStatus -n %s -t %s", f.namesrv, f.topic), output -> {
                List<List<String>> rows = output.rows(f.broker);
                unlessEqual("queues", Fixture.QUEUES, rows.size());
                unlessEqual("sum of max offsets", (long) Fixture.MESSAGES,
                    rows.stream().mapToLong(row -> Long.parseLong(row.get(3))).sum());
                rows.forEach(row -> unlessEqual("min offset", "0", row.get(2)));
            }),
            Command.of("topicClusterList", line("topicClusterList -n %s -t %s", f.namesrv, f.topic),
                output -> output.row(f.cluster)),
            Command.of("updateTopicPerm", line("updateTopicPerm -n %s -b %s -t %s -p 4", f.namesrv, f.address, other),
                output -> output.has("update topic perm from 6 to 4 in " + f.address + " success.")),
            Command.of("topicRoute_after_perm", line("topicRoute -n %s -t %s -l", f.namesrv, other),
                output -> output.row(f.cluster, f.broker, "2", "2", "4")),
            Command.of("allocateMQ", line("allocateMQ -n %s -t %s -i 10.0.0.1,10.0.0.2", f.namesrv, f.topic),
                output -> output.has("10.0.0.1", "10.0.0.2", f.broker)),
            Command.of("updateOrderConf_put", line("updateOrderConf -n %s -m put -t %s -v %s:4", f.namesrv, f.topic,
                f.broker), output -> output.has("update orderConf success")),
            Command.of("updateOrderConf_get", line("updateOrderConf -n %s -m get -t %s", f.namesrv, f.topic),
                output -> output.has("orderConf=[" + f.broker + ":4]")),
            Command.of("updateOrderConf_delete", line("updateOrderConf -n %s -m delete -t %s", f.namesrv, f.topic),
                output -> output.has("delete orderConf success")));
    }

    static List<Command> last(Fixture f) {
        String other = f.topic + "-other";
        return List.of(
            Command.once("wipeWritePerm", line("wipeWritePerm -n %s -b %s", f.namesrv, f.broker),
                output -> output.has("wipe write perm of broker[" + f.broker + "] in name server[" + f.namesrv
                    + "] OK,")),
            Command.of("topicRoute_after_wipe", line("topicRoute -n %s -t %s -l", f.namesrv, f.topic),
                output -> output.row(f.cluster, f.broker, "4", "4", "4")),
            Command.once("addWritePerm", line("addWritePerm -n %s -b %s", f.namesrv, f.broker),
                output -> output.has("add write perm of broker[" + f.broker + "] in name server[" + f.namesrv
                    + "] OK,")),
            Command.of("topicRoute_after_add", line("topicRoute -n %s -t %s -l", f.namesrv, f.topic),
                output -> output.row(f.cluster, f.broker, "4", "4", "6")),
            Command.once("deleteTopic", line("deleteTopic -n %s -c %s -t %s", f.namesrv, f.cluster, other),
                output -> output.has("delete topic [" + other + "] from cluster [" + f.cluster + "] success.",
                    "delete topic [" + other + "] from NameServer success.")),
            Command.of("topicList_after_delete", line("topicList -n %s", f.namesrv), output -> output.hasNot(other)));
    }

    private TopicCommands() {
    }
}
