package mqadmin;

import static mqadmin.Command.line;

import java.nio.file.Path;
import java.util.List;

/** Commands that write what they read to files. */
final class ExportCommands {
    static List<List<Command>> all(Fixture f) {
        Path topics = f.folder.resolve("topics");
        Path groups = f.folder.resolve("groups");
        Path brokerTopics = f.folder.resolve("broker-topics");
        Path brokerGroups = f.folder.resolve("broker-groups");
        String cluster = "-n " + f.namesrv + " -c " + f.cluster;
        String broker = "-n " + f.namesrv + " -b " + f.address;
        return Stages.each(
            export("exportMetadata", f.folder, "metadata.json", cluster),
            export("exportMetadata_of_topics", topics, "topic.json", cluster + " -t -s"),
            export("exportMetadata_of_groups", groups, "subscriptionGroup.json", cluster + " -g"),
            export("exportMetadata_of_topics_of_a_broker", brokerTopics, "topic.json", broker + " -t"),
            export("exportMetadata_of_groups_of_a_broker", brokerGroups, "subscriptionGroup.json", broker + " -g"),
            export("exportConfigs", f.folder, "configs.json", cluster)
                .differs("`useTLS` is not there: our servers have no such setting"),
            export("exportMetrics", f.folder, "metrics.json", cluster)
                .differs("`cpuNum` is a number of threads that our servers do not have"));
    }

    private static Command export(String name, Path folder, String file, String options) {
        String tool = name.split("_")[0];
        return Command.export(name, folder.resolve(file), line("%s %s -f %s", tool, options, folder))
            .masks("dataVersion .*", "dataVersion").masks("(cpuNum\":\")\\d+", "$1N");
    }

    private ExportCommands() {
    }
}
