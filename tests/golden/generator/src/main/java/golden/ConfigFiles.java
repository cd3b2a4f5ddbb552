package golden;

import java.util.Map;
import java.util.concurrent.atomic.AtomicLong;
import org.apache.rocketmq.broker.BrokerController;
import org.apache.rocketmq.broker.filter.ConsumerFilterManager;
import org.apache.rocketmq.broker.offset.ConsumerOffsetManager;
import org.apache.rocketmq.broker.schedule.ScheduleMessageService;
import org.apache.rocketmq.broker.subscription.SubscriptionGroupManager;
import org.apache.rocketmq.broker.topic.TopicConfigManager;
import org.apache.rocketmq.common.BrokerConfig;
import org.apache.rocketmq.common.ConfigManager;
import org.apache.rocketmq.common.TopicConfig;
import org.apache.rocketmq.common.filter.ExpressionType;
import org.apache.rocketmq.remoting.netty.NettyClientConfig;
import org.apache.rocketmq.remoting.netty.NettyServerConfig;
import org.apache.rocketmq.remoting.protocol.DataVersion;
import org.apache.rocketmq.remoting.protocol.subscription.SubscriptionGroupConfig;
import org.apache.rocketmq.store.config.MessageStoreConfig;

/** The JSON files of a broker's config folder, as its managers persist them. */
final class ConfigFiles {
    private final Cases cases = new Cases();
    private final BrokerController broker = new BrokerController(brokerConfig(), new NettyServerConfig(),
        new NettyClientConfig(), new MessageStoreConfig());

    static Cases cases() throws Exception {
        ConfigFiles files = new ConfigFiles();
        files.topics();
        files.subscriptionGroups();
        files.consumerOffsets();
        files.delayOffsets();
        files.consumerFilters();
        return files.cases;
    }

    private static BrokerConfig brokerConfig() {
        BrokerConfig config = new BrokerConfig();
        config.setBrokerName("broker-a");
        config.setBrokerClusterName("DefaultCluster");
        return config;
    }

    private void topics() throws Exception {
        TopicConfigManager topics = new TopicConfigManager(broker, false);
        topics.getTopicConfigTable().put("TopicTest", new TopicConfig("TopicTest", 4, 4, 6));
        TopicConfig ordered = new TopicConfig("Orders", 8, 16, 6, 1);
        ordered.setOrder(true);
        ordered.getAttributes().put("message.type", "FIFO");
        topics.getTopicConfigTable().put("Orders", ordered);
        topics.getTopicConfigTable().put("%RETRY%consumers", new TopicConfig("%RETRY%consumers", 1, 1, 6));
        topics.setDataVersion(dataVersion());
        file("topics.json", topics, topics.getTopicConfigTable());
    }

    private void subscriptionGroups() throws Exception {
        SubscriptionGroupManager groups = new SubscriptionGroupManager(broker, false);
        SubscriptionGroupConfig plain = new SubscriptionGroupConfig();
        plain.setGroupName("consumers");
        groups.getSubscriptionGroupTable().put("consumers", plain);
        SubscriptionGroupConfig unusual = new SubscriptionGroupConfig();
        unusual.setGroupName("orderly");
        unusual.setConsumeMessageOrderly(true);
        unusual.setConsumeBroadcastEnable(false);
        unusual.setRetryMaxTimes(3);
        unusual.setBrokerId(0);
        unusual.setWhichBrokerWhenConsumeSlowly(2);
        groups.getSubscriptionGroupTable().put("orderly", unusual);
        groups.setDataVersion(dataVersion());
        file("subscriptionGroup.json", groups, groups.getSubscriptionGroupTable());
    }

    private void consumerOffsets() throws Exception {
        ConsumerOffsetManager offsets = new ConsumerOffsetManager(broker);
        offsets.commitOffset("golden", "consumers", "TopicTest", 0, 12);
        offsets.commitOffset("golden", "consumers", "TopicTest", 10, 5_000_000_000L);
        offsets.commitOffset("golden", "orderly", "Orders", 3, 0);
        offsets.setDataVersion(dataVersion());
        file("consumerOffset.json", offsets, offsets.getOffsetTable());
    }

    private void delayOffsets() throws Exception {
        ScheduleMessageService delays = new ScheduleMessageService(broker);
        delays.getOffsetTable().put(3, 10L);
        delays.getOffsetTable().put(18, 5_000_000_000L);
        delays.setDataVersion(dataVersion());
        file("delayOffset.json", delays, delays.getOffsetTable());
    }

    private void consumerFilters() throws Exception {
        ConsumerFilterManager filters = new ConsumerFilterManager(broker);
        filters.register("TopicTest", "consumers", "a > 5 AND TAGS = 'TagA'", ExpressionType.SQL92, 1_700_000_000_001L);
        filters.get("TopicTest", "consumers").setBornTime(1_700_000_000_002L);
        // A group whose last client has left, in a time that does not pass: dead rows are removed after a day.
        filters.register("Orders", "orderly", "region IN ('\u6d59\u6c5f', 'it''s')", ExpressionType.SQL92, 1_700_000_000_003L);
        filters.get("Orders", "orderly").setBornTime(1_700_000_000_004L);
        filters.get("Orders", "orderly").setDeadTime(4_000_000_000_000L);
        // The compiled forms are not part of the file.
        filters.get("TopicTest", "consumers").setCompiledExpression(null);
        filters.get("Orders", "orderly").setCompiledExpression(null);
        file("consumerFilter.json", filters, filters.getFilterDataByTopic());
    }

    private void file(String name, ConfigManager manager, Map<?, ?> table) throws Exception {
        Map<String, Object> made = cases.add(name);
        made.put("kind", "config-file");
        made.put("dataVersion", Describe.value(dataVersion()));
        made.put("table", Describe.value(table));
        made.put("text", manager.encode(true));
    }

    static DataVersion dataVersion() {
        DataVersion version = new DataVersion();
        version.setStateVersion(2);
        version.setTimestamp(1_700_000_000_000L);
        version.setCounter(new AtomicLong(7));
        return version;
    }
}
