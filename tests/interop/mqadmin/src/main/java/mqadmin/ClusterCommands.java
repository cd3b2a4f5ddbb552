package mqadmin;

import static mqadmin.Command.line;

import java.util.List;

/** Commands about brokers, namesrvs and the cluster as a whole. */
final class ClusterCommands {
    private static final String READ_AHEAD = "the kernel decides what is read ahead of the commit log; "
        + "broker settings that would are accepted and have no effect";
    private static final String COLD = "this broker has no flow control of cold data, and says so instead of keeping "
        + "thresholds that nothing reads";

    private static final String SETTINGS = "the settings that our servers have; those of Java that they accept and do not "
        + "need are left out";
    private static final String ROWS = "no rows of threads for transactions and of the timer wheel; rows of the log check and of "
        + "namesrvs that do not answer";

    /** The names of settings and figures, for most values are those of a machine. */
    private static Command names(Command command) {
        return command.masks("_/[^\\s:]+", "_PATH").masks("(?m)^((BROKER )?[^\\s:=]+) ?[:=].*$", "$1").sorted();
    }

    static List<List<Command>> seen(Fixture f) {
        String target = "-n " + f.namesrv + " -b " + f.address;
        String inCluster = "-n " + f.namesrv + " -c " + f.cluster;
        return Stages.each(
            clusterList("clusterList", "", f),
            clusterList("clusterList_of_a_cluster", " -c " + f.cluster, f),
            Command.of("clusterList_totals", line("clusterList -n %s -m", f.namesrv),
                output -> output.row(f.cluster, f.broker)).masks("(broker-\\d+)( \\d+)+", "$1 NUMBERS"),
            Command.until("clusterList_again_and_again", "(?s)#Cluster.*#Cluster.*\\n.*\\n", line("clusterList -n %s -i 1", f.namesrv))
                .masks("(NAMES|BROKER) .*", "$1"),
            names(Command.of("brokerStatus", line("brokerStatus %s", target), output -> {
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
            })).differs(ROWS),
            names(Command.of("brokerStatus_of_cluster", line("brokerStatus %s", inCluster),
                output -> output.has(f.address, "commitLogMaxOffset"))).differs(ROWS),
            names(Command.of("getBrokerConfig", line("getBrokerConfig %s", target), output -> {
                output.row("brokerName", "=", f.broker);
                output.row("brokerClusterName", "=", f.cluster);
            })).differs(SETTINGS),
            Command.of("getBrokerConfig_of_cluster", line("getBrokerConfig %s", inCluster))
                .masks("(?m)^(?!=|brokerName|listenPort).*$", "").masks("listenPort.*", "listenPort").sorted(),
            Command.of("producerConnection", line("producerConnection -n %s -g %s -t %s", f.namesrv, f.producerGroup,
                f.topic), output -> output.has("mqadmin-producer", "JAVA")),
            Command.of("producerConnection_of_no_group", line("producerConnection -n %s -g none-%s -t %s", f.namesrv, f.run,
                f.topic)).refused(),
            Command.of("producer", line("producer %s", target), output -> output.has(f.producerGroup))
                .masks("(?m)^(?!producer group.*mqadmin-producer|.*mqadmin-producer).*$", "")
                .masks("lastUpdateTimestamp=\\d+", "lastUpdateTimestamp=N").sorted(),
            Command.of("haStatus", line("haStatus %s", target),
                output -> {
                    output.row("#MasterAddr", f.address);
                    if (Long.parseLong(output.field("#MasterCommitLogMaxOffset")) <= 0) {
                        throw new Failure("an empty commit log after sends");
                    }
                    output.row("#SlaveNum", "0");
                }).masks("#MasterCommitLogMaxOffset \\d+", "#MasterCommitLogMaxOffset N"),
            Command.of("haStatus_of_cluster", line("haStatus %s", inCluster))
                .masks("#MasterCommitLogMaxOffset \\d+", "#MasterCommitLogMaxOffset N"),
            Command.of("statsAll", line("statsAll -n %s -t %s", f.namesrv, f.topic),
                output -> output.row(f.topic, f.group)),
            Command.of("statsAll_of_active_topics", line("statsAll -n %s -a", f.namesrv),
                output -> output.row(f.topic, f.group)).masks("(?m)^(?!#|mqadmin-RUN mqadmin-group-RUN ).*$", "").sorted(),
            Command.of("getColdDataFlowCtrInfo", line("getColdDataFlowCtrInfo %s", target)).differs(COLD),
            Command.of("getColdDataFlowCtrInfo_of_cluster", line("getColdDataFlowCtrInfo %s", inCluster)).differs(COLD),
            names(Command.of("getNamesrvConfig", line("getNamesrvConfig -n %s", f.namesrv),
                output -> output.has("kvConfigPath"))).differs(SETTINGS));
    }

    private static Command clusterList(String name, String option, Fixture f) {
        return Command.of(name, line("clusterList -n %s%s", f.namesrv, option), output -> {
            List<String> row = output.row(f.cluster, f.broker, f.address);
            Failure.unlessEqual("broker id", "0", row.get(2));
            if (row.stream().noneMatch(cell -> cell.matches("V\\d+_\\d+_\\d+"))) {
                throw new Failure("no version in " + row);
            }
        }).masks("(VERSION) .*", "$1");
    }

    static List<List<Command>> changed(Fixture f) {
        String target = "-n " + f.namesrv + " -b " + f.address;
        String inCluster = "-n " + f.namesrv + " -c " + f.cluster;
        String threshold = "-g " + f.group + " -v 1024";
        return List.of(
            List.of(
                Command.of("updateBrokerConfig", line("updateBrokerConfig %s -k syncFlushTimeout -v 4999", target),
                    output -> output.has("update broker config success, " + f.address)),
                Command.of("getBrokerConfig_after_update", line("getBrokerConfig %s", target),
                    output -> output.row("syncFlushTimeout", "=", "4999")).masks("(?m)^(?!syncFlushTimeout).*$", ""),
                Command.of("updateBrokerConfig_in_cluster", line("updateBrokerConfig %s -k syncFlushTimeout -v 4998", inCluster)),
                Command.of("updateBrokerConfig_that_is_unknown", line("updateBrokerConfig %s -k noSuchSetting -v 1", target))
                    .differs("a setting that no broker has is refused, with a similar name")),
            List.of(
                Command.of("updateNamesrvConfig", line("updateNamesrvConfig -n %s -k orderMessageEnable -v true", f.namesrv)),
                Command.of("getNamesrvConfig_after_update", line("getNamesrvConfig -n %s", f.namesrv),
                    output -> output.row("orderMessageEnable", "=", "true")).masks("(?m)^(?!orderMessageEnable).*$", ""),
                Command.of("updateNamesrvConfig_that_a_start_reads", line("updateNamesrvConfig -n %s "
                    + "-k scanNotActiveBrokerInterval -v 4000", f.namesrv))
                    .differs("a setting that is read only at a start is refused"),
                Command.of("updateNamesrvConfig_of_a_path", line("updateNamesrvConfig -n %s -k kvConfigPath -v /tmp/elsewhere",
                    f.namesrv)).refused()),
            List.of(
                Command.of("updateKvConfig", line("updateKvConfig -n %s -s mqadmin -k key -v value", f.namesrv),
                    output -> output.has("create or update kv config to namespace success.")),
                Command.of("deleteKvConfig", line("deleteKvConfig -n %s -s mqadmin -k key", f.namesrv),
                    output -> output.has("delete kv config from namespace success."))),
            List.of(
                Command.of("cleanExpiredCQ", line("cleanExpiredCQ %s", target), output -> output.has("success")),
                Command.of("cleanExpiredCQ_of_cluster", line("cleanExpiredCQ %s", inCluster), output -> output.has("success")),
                Command.of("cleanUnusedTopic", line("cleanUnusedTopic %s", target), output -> output.has("success")),
                Command.of("cleanUnusedTopic_of_cluster", line("cleanUnusedTopic %s", inCluster), output -> output.has("success")),
                Command.of("deleteExpiredCommitLog", line("deleteExpiredCommitLog %s", target), output -> output.has("success")),
                Command.of("deleteExpiredCommitLog_of_cluster", line("deleteExpiredCommitLog %s", inCluster),
                    output -> output.has("success"))),
            List.of(Command.of("resetMasterFlushOffset", line("resetMasterFlushOffset %s -o 0", target))),
            List.of(
                Command.of("updateColdDataFlowCtrGroupConfig", line("updateColdDataFlowCtrGroupConfig %s %s", target,
                    threshold)).differs(COLD),
                Command.of("updateColdDataFlowCtrGroupConfig_of_cluster", line("updateColdDataFlowCtrGroupConfig %s %s", inCluster,
                    threshold)).differs(COLD),
                Command.of("getColdDataFlowCtrInfo_after_update", line("getColdDataFlowCtrInfo %s", target)).differs(COLD),
                Command.of("removeColdDataFlowCtrGroupConfig", line("removeColdDataFlowCtrGroupConfig %s -g %s", target,
                    f.group)).differs(COLD)),
            List.of(
                Command.of("setCommitLogReadAheadMode", line("setCommitLogReadAheadMode %s -m 1", target)).differs(READ_AHEAD),
                Command.of("setCommitLogReadAheadMode_back", line("setCommitLogReadAheadMode %s -m 0", target)).differs(READ_AHEAD),
                Command.of("setCommitLogReadAheadMode_that_is_none", line("setCommitLogReadAheadMode %s -m 7", target))));
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
