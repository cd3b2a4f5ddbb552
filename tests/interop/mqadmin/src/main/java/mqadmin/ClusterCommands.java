package mqadmin;

import static mqadmin.Command.line;

import java.util.List;

/** Commands about brokers, namesrvs and the cluster as a whole. */
final class ClusterCommands {
    static List<Command> all(Fixture f) {
        String target = "-n " + f.namesrv + " -b " + f.address;
        return List.of(
            Command.of("clusterList", line("clusterList -n %s", f.namesrv), output -> {
                List<String> row = output.row(f.cluster, f.broker, f.address);
                Failure.unlessEqual("broker id", "0", row.get(2));
                if (row.stream().noneMatch(cell -> cell.matches("V\\d+_\\d+_\\d+"))) {
                    throw new Failure("no version in " + row);
                }
            }),
            Command.of("clusterList_totals", line("clusterList -n %s -m", f.namesrv),
                output -> output.row(f.cluster, f.broker)),
            Command.of("brokerStatus", line("brokerStatus %s", target), output -> {
                output.field("brokerVersionDesc");
                output.field("bootTimestamp");
                output.field("putTps");
                output.field("getTransferredTps");
                output.field("msgPutTotalTodayNow");
                output.field("runtime");
                between(output, "commitLogDiskRatio", 0.000_001, 1);
                between(output, "consumeQueueDiskRatio", 0.000_001, 1);
                between(output, "commitLogMaxOffset", 1, Long.MAX_VALUE);
                between(output, "earliestMessageTimeStamp", 1, System.currentTimeMillis());
                for (String mayBeNone : List.of("commitLogMinOffset", "dispatchBehindBytes", "pageCacheLockTimeMills",
                    "sendThreadPoolQueueSize", "sendThreadPoolQueueHeadWaitTimeMills", "pullThreadPoolQueueSize")) {
                    between(output, mayBeNone, 0, Long.MAX_VALUE);
                }
                if (!output.field("remainHowManyDataToFlush").matches(": \\d+(\\.\\d+)? ([KMG]i)?B")) {
                    throw new Failure("remainHowManyDataToFlush is " + output.field("remainHowManyDataToFlush"));
                }
            }),
            Command.of("brokerStatus_of_cluster", line("brokerStatus -n %s -c %s", f.namesrv, f.cluster),
                output -> output.has(f.address, "commitLogMaxOffset")),
            Command.of("getBrokerConfig", line("getBrokerConfig %s", target), output -> {
                output.row("brokerName", "=", f.broker);
                output.row("brokerClusterName", "=", f.cluster);
            }),
            Command.of("updateBrokerConfig", line("updateBrokerConfig %s -k syncFlushTimeout -v 4999", target),
                output -> output.has("update broker config success, " + f.address)),
            Command.of("getBrokerConfig_after_update", line("getBrokerConfig %s", target),
                output -> output.row("syncFlushTimeout", "=", "4999")),
            Command.of("producerConnection", line("producerConnection -n %s -g %s -t %s", f.namesrv, f.producerGroup,
                f.topic), output -> output.has("mqadmin-producer", "JAVA")),
            Command.of("producer", line("producer %s", target), output -> output.has(f.producerGroup)),
            Command.of("haStatus", line("haStatus %s", target),
                output -> {
                    output.row("#MasterAddr", f.address);
                    if (Long.parseLong(output.field("#MasterCommitLogMaxOffset")) <= 0) {
                        throw new Failure("an empty commit log after sends");
                    }
                    output.row("#SlaveNum", "0");
                }),
            Command.of("statsAll", line("statsAll -n %s -t %s", f.namesrv, f.topic),
                output -> output.row(f.topic, f.group)),
            Command.of("sendMsgStatus", line("sendMsgStatus -n %s -b %s -c 3 -s 64", f.namesrv, f.broker),
                output -> output.has("SEND_OK")),
            Command.of("cleanExpiredCQ", line("cleanExpiredCQ %s", target), output -> output.has("success")),
            Command.of("cleanUnusedTopic", line("cleanUnusedTopic %s", target), output -> output.has("success")),
            Command.of("deleteExpiredCommitLog", line("deleteExpiredCommitLog %s", target),
                output -> output.has("success")),
            Command.of("getNamesrvConfig", line("getNamesrvConfig -n %s", f.namesrv),
                output -> output.has("kvConfigPath")),
            Command.of("updateKvConfig", line("updateKvConfig -n %s -s mqadmin -k key -v value", f.namesrv),
                output -> output.has("create or update kv config to namespace success.")),
            Command.of("deleteKvConfig", line("deleteKvConfig -n %s -s mqadmin -k key", f.namesrv),
                output -> output.has("delete kv config from namespace success.")));
    }

    /** What stands behind a label and a colon is a number, and a possible one. */
    private static void between(Output output, String label, double least, double most) {
        String value = output.field(label).replaceFirst("^: *", "");
        if (Double.parseDouble(value) < least || Double.parseDouble(value) > most) {
            throw new Failure(label + " is " + value);
        }
    }

    private ClusterCommands() {
    }
}
