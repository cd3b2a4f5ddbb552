package judge;

import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Set;
import org.apache.rocketmq.common.MQVersion;
import org.apache.rocketmq.common.TopicConfig;
import org.apache.rocketmq.tools.admin.DefaultMQAdminExt;

/** The cluster under judgement, seen through one admin client. */
public final class Cluster implements AutoCloseable {
    public static final int READ_WRITE = 6;

    private final String namesrv;
    private final DefaultMQAdminExt admin;
    private final List<String> masters;

    public Cluster(String namesrv) throws Exception {
        this.namesrv = namesrv;
        admin = new DefaultMQAdminExt();
        admin.setNamesrvAddr(namesrv);
        admin.setInstanceName("judge-admin-" + System.nanoTime());
        admin.start();
        masters = Await.value("a master registered at " + namesrv, this::registeredMasters, found -> !found.isEmpty());
    }

    private List<String> registeredMasters() throws Exception {
        List<String> found = new ArrayList<>();
        for (var broker : admin.examineBrokerClusterInfo().getBrokerAddrTable().values()) {
            String master = broker.getBrokerAddrs().get(0L);
            if (master != null) {
                found.add(master);
            }
        }
        return found;
    }

    public String namesrv() {
        return namesrv;
    }

    public DefaultMQAdminExt admin() {
        return admin;
    }

    /** Addresses of all masters. */
    public List<String> masters() {
        return masters;
    }

    /** Creates the topic on the first master, so that its queues are known, and waits until the route shows it. */
    public void createTopic(String topic, int queues) throws Exception {
        admin.createAndUpdateTopicConfig(masters.get(0), new TopicConfig(topic, queues, queues, READ_WRITE));
        awaitRoute(topic, 1);
    }

    /** Creates the topic with so many queues on each master. */
    public void createTopicEverywhere(String topic, int queues) throws Exception {
        for (String master : masters) {
            admin.createAndUpdateTopicConfig(master, new TopicConfig(topic, queues, queues, READ_WRITE));
        }
        awaitRoute(topic, masters.size());
    }

    public void deleteTopic(String topic) throws Exception {
        admin.deleteTopicInBroker(new HashSet<>(masters), topic);
        Set<String> namesrvs = Set.of(namesrv.split(";"));
        // Release 5.0 swapped the name of a cluster, for which null means any, and the name of the topic.
        boolean topicFirst = MQVersion.CURRENT_VERSION < MQVersion.Version.V5_0_0.ordinal();
        admin.deleteTopicInNameServer(namesrvs, topicFirst ? topic : null, topicFirst ? null : topic);
    }

    /** Waits until the route names at least so many brokers. */
    public void awaitRoute(String topic, int brokers) throws Exception {
        Await.value("a route of " + topic, () -> admin.examineTopicRouteInfo(topic).getQueueDatas().size(),
            found -> found >= brokers);
    }

    @Override
    public void close() {
        admin.shutdown();
    }
}
