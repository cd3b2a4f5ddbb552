package mqadmin;

import java.util.TreeMap;
import org.apache.rocketmq.remoting.protocol.body.ConsumerRunningInfo;
import org.apache.rocketmq.tools.monitor.DeleteMsgsEvent;
import org.apache.rocketmq.tools.monitor.FailedMsgs;
import org.apache.rocketmq.tools.monitor.MonitorConfig;
import org.apache.rocketmq.tools.monitor.MonitorListener;
import org.apache.rocketmq.tools.monitor.MonitorService;
import org.apache.rocketmq.tools.monitor.UndoneMsgs;

/**
 * One round of what startMonitoring repeats forever. The command starts this class of the tool with a listener that
 * writes to a log; here the listener prints. It judges groups with a retry topic, every minute from the twentieth second.
 */
final class Monitoring implements MonitorListener {
    private final StringBuffer printed = new StringBuffer();

    static String round(Fixture f) throws Exception {
        Monitoring listener = new Monitoring();
        MonitorConfig config = new MonitorConfig();
        config.setNamesrvAddr(f.namesrv);
        MonitorService monitor = new MonitorService(config, listener, null);
        monitor.start();
        try {
            monitor.doMonitorWork();
        } finally {
            monitor.shutdown();
        }
        return listener.printed.toString();
    }

    @Override
    public void beginRound() {
        printed.append("begin\n");
    }

    @Override
    public void reportUndoneMsgs(UndoneMsgs undone) {
        printed.append("undone of ").append(undone.getConsumerGroup()).append(" in ").append(undone.getTopic()).append(": ")
            .append(undone.getUndoneMsgsTotal()).append('\n');
    }

    @Override
    public void reportFailedMsgs(FailedMsgs failed) {
        printed.append("failed of ").append(failed.getConsumerGroup()).append('\n');
    }

    @Override
    public void reportDeleteMsgsEvent(DeleteMsgsEvent event) {
        printed.append("deleted: ").append(event).append('\n');
    }

    @Override
    public void reportConsumerRunningInfo(TreeMap<String, ConsumerRunningInfo> clients) {
        clients.keySet().stream().filter(client -> client.contains("@mqadmin-"))
            .forEach(client -> printed.append("running: ").append(client.replaceFirst("^[^@]*@", "")).append('\n'));
    }

    @Override
    public void endRound() {
        printed.append("end\n");
    }
}
