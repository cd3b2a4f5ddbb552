package mqadmin;

import static mqadmin.Command.line;

import java.util.ArrayList;
import java.util.List;

/** Commands for what our servers do not have: each must be refused with words. */
final class NotMeantCommands {
    static List<List<Command>> all(Fixture f) {
        String target = "-n " + f.namesrv + " -b " + f.address;
        List<List<Command>> chains = new ArrayList<>();
        chains.add(all("a process is one broker: there are no broker containers", List.of(
            "addBroker -n " + f.namesrv + " -c " + f.address + " -b /tmp/broker.conf",
            "removeBroker -n " + f.namesrv + " -c " + f.address + " -b " + f.cluster + ":" + f.broker + ":0")));
        String controller = "-n " + f.namesrv + " -a " + f.namesrv;
        chains.add(all("roles are static: there is no controller, and no DLedger", List.of(
            "getControllerMetaData " + controller,
            "getControllerConfig " + controller,
            "updateControllerConfig " + controller + " -k key -v value",
            "electMaster " + controller + " -b 1 -bn " + f.broker + " -c " + f.cluster,
            "cleanBrokerMetadata " + controller + " -bn " + f.broker + " -c " + f.cluster,
            "getSyncStateSet " + controller + " -b " + f.broker,
            "getBrokerEpoch -n " + f.namesrv + " -b " + f.broker)));
        chains.add(all("there are no static topics", List.of(
            "updateStaticTopic -n " + f.namesrv + " -b " + f.broker + " -t " + f.topic + "-static -qn 2",
            "remappingStaticTopic -n " + f.namesrv + " -b " + f.broker + " -t " + f.topic)));
        chains.add(all("tables and queues are Java's files, not RocksDB", List.of(
            "rocksDBConfigToJson -n " + f.namesrv + " -c " + f.cluster + " -t topics",
            "checkRocksdbCqWriteProgress -n " + f.namesrv + " -c " + f.cluster + " -t " + f.topic + " -cf 0",
            "switchTimerEngine " + target + " -e R")));
        chains.add(all("there are no users and access rules yet", List.of(
            "createUser " + target + " -u user -p password",
            "updateUser " + target + " -u user -p other",
            "deleteUser " + target + " -u user",
            "getUser " + target + " -u user",
            "listUser " + target,
            "copyUser -n " + f.namesrv + " -f " + f.address + " -t " + f.address + " -u user",
            "createAcl " + target + " -s User:user -r Topic:* -a Pub -d Allow",
            "updateAcl " + target + " -s User:user -r Topic:* -a Sub -d Allow",
            "deleteAcl " + target + " -s User:user",
            "getAcl " + target + " -s User:user",
            "listAcl " + target,
            "copyAcl -n " + f.namesrv + " -f " + f.address + " -t " + f.address + " -s User:user")));
        chains.add(all("there is no POP yet", List.of(
            "setConsumeMode " + target + " -t " + f.topic + " -g " + f.group + " -m POP -q 1")));
        chains.add(all("there are no lite topics", List.of(
            "getBrokerLiteInfo " + target,
            "getParentTopicInfo -n " + f.namesrv + " -p " + f.topic,
            "getLiteTopicInfo -n " + f.namesrv + " -p " + f.topic + " -l lite",
            "getLiteClientInfo -n " + f.namesrv + " -p " + f.topic + " -g " + f.group + " -c client",
            "getLiteGroupInfo -n " + f.namesrv + " -p " + f.topic + " -g " + f.group,
            "triggerLiteDispatch -n " + f.namesrv + " -p " + f.topic + " -g " + f.group)));
        chains.add(List.of(
            local("exportMetadataInRocksDB", "reads RocksDB files of a broker, which ours does not write"),
            local("exportPopRecord", "reads RocksDB files of a broker, which ours does not write"),
            local("dumpCompactionLog", "reads files of compacted topics, which there are none of")));
        return chains;
    }

    private static List<Command> all(String reason, List<String> lines) {
        return lines.stream().map(words -> Command.of(words.split(" ")[0], line("%s", words)).notMeant(reason)).toList();
    }

    /** It asks no server, so there is nothing to run. */
    private static Command local(String name, String reason) {
        return Command.custom(name, () -> "").notMeant(reason);
    }

    private NotMeantCommands() {
    }
}
