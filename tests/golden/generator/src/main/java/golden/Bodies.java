package golden;

import com.alibaba.fastjson2.JSONWriter;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.BitSet;
import java.util.HashMap;
import java.util.HashSet;
import java.util.LinkedHashMap;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import java.util.concurrent.ConcurrentHashMap;
import org.apache.rocketmq.common.KeyBuilder;
import org.apache.rocketmq.common.TopicConfig;
import org.apache.rocketmq.common.UtilAll;
import org.apache.rocketmq.common.consumer.ConsumeFromWhere;
import org.apache.rocketmq.common.message.MessageQueue;
import org.apache.rocketmq.common.message.MessageQueueAssignment;
import org.apache.rocketmq.common.message.MessageQueueForC;
import org.apache.rocketmq.common.message.MessageRequestMode;
import org.apache.rocketmq.remoting.protocol.LanguageCode;
import org.apache.rocketmq.remoting.protocol.RemotingSerializable;
import org.apache.rocketmq.remoting.protocol.admin.ConsumeStats;
import org.apache.rocketmq.remoting.protocol.admin.OffsetWrapper;
import org.apache.rocketmq.remoting.protocol.admin.TopicOffset;
import org.apache.rocketmq.remoting.protocol.admin.TopicStatsTable;
import org.apache.rocketmq.remoting.protocol.body.*;
import org.apache.rocketmq.remoting.protocol.header.GetConsumerListByGroupResponseBody;
import org.apache.rocketmq.remoting.protocol.heartbeat.ConsumeType;
import org.apache.rocketmq.remoting.protocol.heartbeat.ConsumerData;
import org.apache.rocketmq.remoting.protocol.heartbeat.HeartbeatData;
import org.apache.rocketmq.remoting.protocol.heartbeat.MessageModel;
import org.apache.rocketmq.remoting.protocol.heartbeat.ProducerData;
import org.apache.rocketmq.remoting.protocol.heartbeat.SubscriptionData;
import org.apache.rocketmq.remoting.protocol.route.BrokerData;
import org.apache.rocketmq.remoting.protocol.route.QueueData;
import org.apache.rocketmq.remoting.protocol.route.TopicRouteData;
import org.apache.rocketmq.remoting.protocol.statictopic.TopicQueueMappingInfo;
import org.apache.rocketmq.remoting.protocol.subscription.CustomizedRetryPolicy;
import org.apache.rocketmq.remoting.protocol.subscription.ExponentialRetryPolicy;
import org.apache.rocketmq.remoting.protocol.subscription.GroupRetryPolicy;
import org.apache.rocketmq.remoting.protocol.subscription.GroupRetryPolicyType;
import org.apache.rocketmq.remoting.protocol.subscription.SubscriptionGroupConfig;

/** Bodies of requests and answers. Releases before 5.3 used another JSON writer, which gives these the same bytes. */
final class Bodies {
    private static final long TIME = 1_700_000_000_000L;

    private final Cases cases = new Cases();

    static Cases cases() throws Exception {
        Bodies bodies = new Bodies();
        bodies.routes();
        bodies.registration();
        bodies.clients();
        bodies.queues();
        bodies.statistics();
        bodies.configuration();
        bodies.broker();
        bodies.pop();
        return bodies.cases;
    }

    // ---- routes

    private void routes() throws Exception {
        written("route", route());
        standard("route-standard", route());
        TopicRouteData ordered = route();
        ordered.setOrderTopicConf("broker-a:4;broker-b:8");
        ordered.getBrokerDatas().get(0).setCluster("Cluster ü");
        written("route-ordered", ordered);
        standard("route-ordered-standard", ordered);
        ClusterInfo clusters = new ClusterInfo();
        Map<String, BrokerData> brokers = new TreeMap<>();
        route().getBrokerDatas().forEach(broker -> brokers.put(broker.getBrokerName(), broker));
        clusters.setBrokerAddrTable(brokers);
        clusters.setClusterAddrTable(Map.of("DefaultCluster", new LinkedHashSet<>(List.of("broker-a", "broker-b"))));
        written("cluster-info", clusters);
        GetBrokerMemberGroupResponseBody members = new GetBrokerMemberGroupResponseBody();
        BrokerMemberGroup group = new BrokerMemberGroup("DefaultCluster", "broker-a");
        group.setBrokerAddrs(Map.of(0L, "10.0.0.2:10911"));
        members.setBrokerMemberGroup(group);
        written("broker-member-group", members);
    }

    private static TopicRouteData route() {
        TopicRouteData route = new TopicRouteData();
        HashMap<Long, String> addresses = new HashMap<>();
        addresses.put(0L, "10.0.0.2:10911");
        addresses.put(1L, "10.0.0.3:10911");
        BrokerData first = new BrokerData("DefaultCluster", "broker-a", addresses);
        BrokerData second = new BrokerData("DefaultCluster", "broker-b",
            new HashMap<>(Map.of(0L, "broker-b.example:10911")));
        route.setBrokerDatas(new ArrayList<>(List.of(first, second)));
        route.setQueueDatas(new ArrayList<>(List.of(queueData("broker-a", 4, 4, 6), queueData("broker-b", 8, 6, 4))));
        route.setFilterServerTable(new HashMap<>());
        return route;
    }

    private static QueueData queueData(String broker, int read, int write, int perm) {
        QueueData data = new QueueData();
        data.setBrokerName(broker);
        data.setReadQueueNums(read);
        data.setWriteQueueNums(write);
        data.setPerm(perm);
        data.setTopicSysFlag(0);
        return data;
    }

    // ---- registration

    private void registration() throws Exception {
        RegisterBrokerBody body = new RegisterBrokerBody();
        TopicConfigAndMappingSerializeWrapper wrapper = topicsWithMapping();
        body.setTopicConfigSerializeWrapper(wrapper);
        body.setFilterServerList(new ArrayList<>());
        written("register-broker", body);
        deflated("register-broker-compressed", body);
        RegisterBrokerBody mapped = new RegisterBrokerBody();
        TopicConfigAndMappingSerializeWrapper withMapping = topicsWithMapping();
        TopicQueueMappingInfo mapping = new TopicQueueMappingInfo("TopicTest", 4, "broker-a", 100);
        mapping.getCurrIdMap().put(0, 2);
        withMapping.setTopicQueueMappingInfoMap(new ConcurrentHashMap<>(Map.of("TopicTest", mapping)));
        mapped.setTopicConfigSerializeWrapper(withMapping);
        mapped.setFilterServerList(new ArrayList<>());
        written("register-broker-static-topic", mapped);
        deflated("register-broker-static-topic-compressed", mapped);
        written("topic-configs", wrapper);
        written("data-version", ConfigFiles.dataVersion());
        KVTable table = new KVTable();
        table.setTable(new HashMap<>(Map.of("TopicTest", "broker-a:4;broker-b:4")));
        written("kv-table", table);
    }

    private void deflated(String name, RegisterBrokerBody body) throws Exception {
        byte[] bytes = body.encode(true);
        Map<String, Object> made = start(name, body, "deflate");
        made.put("crc32", UtilAll.crc32(bytes));
        made.put("hex", Cases.hex(bytes));
    }

    private static TopicConfigAndMappingSerializeWrapper topicsWithMapping() {
        TopicConfigAndMappingSerializeWrapper wrapper = new TopicConfigAndMappingSerializeWrapper();
        wrapper.setDataVersion(ConfigFiles.dataVersion());
        wrapper.setMappingDataVersion(ConfigFiles.dataVersion());
        ConcurrentHashMap<String, TopicConfig> table = new ConcurrentHashMap<>();
        table.put("TopicTest", new TopicConfig("TopicTest", 4, 4, 6));
        TopicConfig ordered = new TopicConfig("Orders", 8, 16, 6, 1);
        ordered.setOrder(true);
        ordered.getAttributes().put("message.type", "FIFO");
        table.put("Orders", ordered);
        wrapper.setTopicConfigTable(table);
        return wrapper;
    }

    // ---- clients

    static HeartbeatData heartbeat() {
        HeartbeatData heartbeat = new HeartbeatData();
        heartbeat.setClientID("10.0.0.1@4711#1");
        ProducerData producer = new ProducerData();
        producer.setGroupName("producers");
        heartbeat.setProducerDataSet(new LinkedHashSet<>(List.of(producer)));
        Set<ConsumerData> consumers = new LinkedHashSet<>();
        consumers.add(consumer("push", ConsumeType.CONSUME_PASSIVELY, MessageModel.CLUSTERING,
            ConsumeFromWhere.CONSUME_FROM_LAST_OFFSET));
        consumers.add(consumer("pull", ConsumeType.CONSUME_ACTIVELY, MessageModel.BROADCASTING,
            ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET));
        consumers.add(consumer("pop", ConsumeType.CONSUME_POP, MessageModel.CLUSTERING,
            ConsumeFromWhere.CONSUME_FROM_TIMESTAMP));
        heartbeat.setConsumerDataSet(consumers);
        return heartbeat;
    }

    private static ConsumerData consumer(String group, ConsumeType type, MessageModel model, ConsumeFromWhere from) {
        ConsumerData consumer = new ConsumerData();
        consumer.setGroupName(group);
        consumer.setConsumeType(type);
        consumer.setMessageModel(model);
        consumer.setConsumeFromWhere(from);
        consumer.getSubscriptionDataSet().add(subscription());
        return consumer;
    }

    private static SubscriptionData subscription() {
        SubscriptionData subscription = new SubscriptionData("TopicTest", "TagA || TagB");
        subscription.setTagsSet(new LinkedHashSet<>(List.of("TagA", "TagB")));
        subscription.setCodeSet(new LinkedHashSet<>(List.of("TagA".hashCode(), "TagB".hashCode())));
        subscription.setSubVersion(TIME);
        return subscription;
    }

    private void clients() throws Exception {
        written("heartbeat", heartbeat());
        HeartbeatData fingerprint = heartbeat();
        fingerprint.setHeartbeatFingerprint(-123456789);
        fingerprint.setWithoutSub(true);
        fingerprint.getConsumerDataSet().forEach(consumer -> consumer.setSubscriptionDataSet(new HashSet<>()));
        written("heartbeat-fingerprint", fingerprint);
        HeartbeatData empty = new HeartbeatData();
        empty.setClientID("10.0.0.1@4711#2");
        written("heartbeat-empty", empty);
        CheckClientRequestBody check = new CheckClientRequestBody();
        check.setClientId("10.0.0.1@4711#1");
        check.setGroup("push");
        check.setSubscriptionData(subscription());
        written("check-client", check);
        GetConsumerListByGroupResponseBody list = new GetConsumerListByGroupResponseBody();
        list.setConsumerIdList(List.of("10.0.0.1@4711#1", "10.0.0.1@4712#1"));
        written("consumer-list", list);
        written("consumer-connection", consumerConnection());
        ProducerConnection producers = new ProducerConnection();
        producers.setConnectionSet(connections());
        written("producer-connection", producers);
        written("producer-table", new ProducerTableInfo(new TreeMap<>(Map.of("producers",
            List.of(new ProducerInfo("10.0.0.1@4711#1", "10.0.0.1:52000", LanguageCode.JAVA, 513, TIME))))));
        written("consumer-running-info", runningInfo());
        ConsumeMessageDirectlyResult result = new ConsumeMessageDirectlyResult();
        result.setConsumeResult(CMResult.CR_LATER);
        result.setRemark("why");
        result.setSpentTimeMills(12);
        written("consume-directly-result", result);
    }

    private static ConsumerConnection consumerConnection() {
        ConsumerConnection connection = new ConsumerConnection();
        connection.setConnectionSet(connections());
        connection.setConsumeType(ConsumeType.CONSUME_PASSIVELY);
        connection.setMessageModel(MessageModel.CLUSTERING);
        connection.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_LAST_OFFSET);
        connection.getSubscriptionTable().put("TopicTest", subscription());
        return connection;
    }

    private static LinkedHashSet<Connection> connections() {
        LinkedHashSet<Connection> connections = new LinkedHashSet<>();
        for (LanguageCode language : List.of(LanguageCode.JAVA, LanguageCode.GO)) {
            Connection connection = new Connection();
            connection.setClientId("10.0.0.1@" + language);
            connection.setClientAddr("10.0.0.1:52000");
            connection.setLanguage(language);
            connection.setVersion(513);
            connections.add(connection);
        }
        return connections;
    }

    private static ConsumerRunningInfo runningInfo() {
        ConsumerRunningInfo info = new ConsumerRunningInfo();
        info.getProperties().put("PROP_CONSUME_TYPE", "CONSUME_PASSIVELY");
        info.getProperties().put("PROP_CLIENT_VERSION", "V5_5_0");
        info.getSubscriptionSet().add(subscription());
        ProcessQueueInfo queue = new ProcessQueueInfo();
        queue.setCommitOffset(42);
        queue.setLastPullTimestamp(TIME);
        info.getMqTable().put(new MessageQueue("TopicTest", "broker-a", 3), queue);
        ConsumeStatus status = new ConsumeStatus();
        status.setConsumeOKTPS(1.5);
        info.getStatusTable().put("TopicTest", status);
        info.setJstack("TID: 1 STATE: RUNNABLE");
        return info;
    }

    // ---- queues

    private static Set<MessageQueue> messageQueues() {
        return new LinkedHashSet<>(List.of(new MessageQueue("TopicTest", "broker-a", 0),
            new MessageQueue("TopicTest", "broker-a", 3)));
    }

    static LockBatchRequestBody lockRequest() {
        LockBatchRequestBody lock = new LockBatchRequestBody();
        lock.setConsumerGroup("orderly");
        lock.setClientId("10.0.0.1@4711#1");
        lock.setMqSet(messageQueues());
        return lock;
    }

    private void queues() throws Exception {
        written("lock-request", lockRequest());
        LockBatchResponseBody locked = new LockBatchResponseBody();
        locked.setLockOKMQSet(messageQueues());
        written("lock-response", locked);
        UnlockBatchRequestBody unlock = new UnlockBatchRequestBody();
        unlock.setConsumerGroup("orderly");
        unlock.setClientId("10.0.0.1@4711#1");
        unlock.setMqSet(messageQueues());
        written("unlock-request", unlock);
        ResetOffsetBody reset = new ResetOffsetBody();
        messageQueues().forEach(queue -> reset.getOffsetTable().put(queue, 40L + queue.getQueueId()));
        written("reset-offset", reset);
        ResetOffsetBodyForC resetForC = new ResetOffsetBodyForC();
        resetForC.setOffsetTable(List.of(new MessageQueueForC("TopicTest", "broker-a", 3, 43)));
        written("reset-offset-for-c", resetForC);
        GetConsumerStatusBody status = new GetConsumerStatusBody();
        messageQueues().forEach(queue -> status.getMessageQueueTable().put(queue, 40L + queue.getQueueId()));
        written("consumer-status", status);
        QueryConsumeQueueResponseBody queried = new QueryConsumeQueueResponseBody();
        queried.setSubscriptionData(subscription());
        ConsumeQueueData entry = new ConsumeQueueData();
        entry.setPhysicOffset(8_000_000_000L);
        entry.setPhysicSize(180);
        entry.setTagsCode("TagA".hashCode());
        entry.setEval(true);
        entry.setMsg("a message");
        queried.setQueueData(List.of(entry));
        queried.setMaxQueueIndex(44);
        written("consume-queue-entries", queried);
    }

    // ---- statistics

    private void statistics() throws Exception {
        TopicStatsTable topic = new TopicStatsTable();
        topic.setTopicPutTps(1.25);
        messageQueues().forEach(queue -> {
            TopicOffset offset = new TopicOffset();
            offset.setMinOffset(1);
            offset.setMaxOffset(42);
            offset.setLastUpdateTimestamp(TIME);
            topic.getOffsetTable().put(queue, offset);
        });
        written("topic-stats", topic);
        written("consume-stats", consumeStats());
        written("consume-stats-empty", new ConsumeStats());
        ConsumeStatsList list = new ConsumeStatsList();
        list.setBrokerAddr("10.0.0.2:10911");
        list.setTotalDiff(84);
        list.setConsumeStatsList(List.of(Map.of("push", List.of(consumeStats()))));
        written("consume-stats-list", list);
        BrokerStatsData data = new BrokerStatsData();
        data.setStatsMinute(statsItem(60, 1.0));
        data.setStatsHour(statsItem(3600, 1.5));
        data.setStatsDay(statsItem(86_400, 0.0));
        written("broker-stats", data);
        QueryConsumeTimeSpanBody spans = new QueryConsumeTimeSpanBody();
        QueueTimeSpan span = new QueueTimeSpan();
        span.setMessageQueue(new MessageQueue("TopicTest", "broker-a", 3));
        span.setMinTimeStamp(TIME);
        span.setMaxTimeStamp(TIME + 1000);
        span.setConsumeTimeStamp(TIME + 500);
        span.setDelayTime(500);
        spans.setConsumeTimeSpanSet(List.of(span));
        written("consume-time-span", spans);
    }

    private static ConsumeStats consumeStats() {
        ConsumeStats stats = new ConsumeStats();
        stats.setConsumeTps(2.5);
        messageQueues().forEach(queue -> {
            OffsetWrapper offset = new OffsetWrapper();
            offset.setBrokerOffset(42);
            offset.setConsumerOffset(40);
            offset.setPullOffset(41);
            offset.setLastTimestamp(TIME);
            stats.getOffsetTable().put(queue, offset);
        });
        return stats;
    }

    private static BrokerStatsItem statsItem(long sum, double tps) {
        BrokerStatsItem item = new BrokerStatsItem();
        item.setSum(sum);
        item.setTps(tps);
        item.setAvgpt(0.5);
        return item;
    }

    // ---- configuration

    private void configuration() throws Exception {
        written("topic-config", topicsWithMapping().getTopicConfigTable().get("Orders"));
        CreateTopicListRequestBody topics = new CreateTopicListRequestBody();
        topics.setTopicConfigList(List.of(new TopicConfig("TopicTest", 4, 4, 6)));
        written("topic-config-list", topics);
        written("subscription-group-config", group("push"));
        SubscriptionGroupConfig customized = group("customized");
        GroupRetryPolicy policy = new GroupRetryPolicy();
        policy.setType(GroupRetryPolicyType.CUSTOMIZED);
        policy.setCustomizedRetryPolicy(new CustomizedRetryPolicy(new long[] {1000, 5000}));
        customized.setGroupRetryPolicy(policy);
        written("subscription-group-config-customized", customized);
        SubscriptionGroupConfig exponential = group("exponential");
        GroupRetryPolicy growing = new GroupRetryPolicy();
        growing.setType(GroupRetryPolicyType.EXPONENTIAL);
        growing.setExponentialRetryPolicy(new ExponentialRetryPolicy());
        exponential.setGroupRetryPolicy(growing);
        exponential.getAttributes().put("priority.factor", "10");
        written("subscription-group-config-exponential", exponential);
        SubscriptionGroupWrapper wrapper = new SubscriptionGroupWrapper();
        wrapper.setDataVersion(ConfigFiles.dataVersion());
        wrapper.setSubscriptionGroupTable(new ConcurrentHashMap<>(Map.of("push", group("push"))));
        wrapper.setForbiddenTable(new ConcurrentHashMap<>(Map.of("push",
            new ConcurrentHashMap<>(Map.of("TopicTest", 1)))));
        written("subscription-groups", wrapper);
        TopicList list = new TopicList();
        list.setTopicList(new LinkedHashSet<>(List.of("TopicTest", "%RETRY%push")));
        list.setBrokerAddr("10.0.0.2:10911");
        written("topic-list", list);
        GroupList groups = new GroupList();
        groups.setGroupList(new LinkedHashSet<>(List.of("push", "pull")));
        written("group-list", groups);
        ConsumerOffsetSerializeWrapper offsets = new ConsumerOffsetSerializeWrapper();
        offsets.setDataVersion(ConfigFiles.dataVersion());
        offsets.setOffsetTable(new ConcurrentHashMap<>(Map.of("TopicTest@push",
            new ConcurrentHashMap<>(Map.of(0, 12L, 10, 5_000_000_000L)))));
        written("consumer-offsets", offsets);
    }

    private static SubscriptionGroupConfig group(String name) {
        SubscriptionGroupConfig config = new SubscriptionGroupConfig();
        config.setGroupName(name);
        return config;
    }

    // ---- broker

    private void broker() throws Exception {
        KVTable runtime = new KVTable();
        Map<String, String> table = new LinkedHashMap<>();
        table.put("brokerVersionDesc", "V5_5_0");
        table.put("brokerVersion", "513");
        table.put("msgPutTotalTodayNow", "42");
        table.put("putTps", "1.0 2.0 3.0");
        table.put("commitLogMaxOffset", "8000000000");
        table.put("commitLogDirCapacity", "Total : 100.0 GiB, Free : 50.0 GiB.");
        runtime.setTable(new HashMap<>(table));
        written("broker-runtime-info", runtime);
        HARuntimeInfo ha = new HARuntimeInfo();
        ha.setMaster(true);
        ha.setMasterCommitLogMaxOffset(8_000_000_000L);
        ha.setInSyncSlaveNums(1);
        HARuntimeInfo.HAConnectionRuntimeInfo connection = new HARuntimeInfo.HAConnectionRuntimeInfo();
        connection.setAddr("10.0.0.3:40000");
        connection.setSlaveAckOffset(7_999_999_000L);
        connection.setDiff(1000);
        connection.setInSync(true);
        ha.setHaConnectionInfo(List.of(connection));
        written("ha-runtime-info", ha);
    }

    // ---- pop

    private void pop() throws Exception {
        SetMessageRequestModeRequestBody mode = new SetMessageRequestModeRequestBody();
        mode.setTopic("TopicTest");
        mode.setConsumerGroup("pop");
        mode.setMode(MessageRequestMode.POP);
        mode.setPopShareQueueNum(-1);
        written("message-request-mode", mode);
        QueryAssignmentRequestBody request = new QueryAssignmentRequestBody();
        request.setTopic("TopicTest");
        request.setConsumerGroup("pop");
        request.setClientId("10.0.0.1@4711#1");
        request.setStrategyName("AVG");
        request.setMessageModel(MessageModel.CLUSTERING);
        written("query-assignment", request);
        QueryAssignmentResponseBody response = new QueryAssignmentResponseBody();
        MessageQueueAssignment assignment = new MessageQueueAssignment();
        assignment.setMessageQueue(new MessageQueue("TopicTest", "broker-a", -1));
        assignment.setMode(MessageRequestMode.POP);
        response.setMessageQueueAssignments(new LinkedHashSet<>(List.of(assignment)));
        written("query-assignment-response", response);
        BatchAckMessageRequestBody acks = new BatchAckMessageRequestBody();
        acks.setBrokerName("broker-a");
        BatchAck ack = new BatchAck();
        ack.setConsumerGroup("pop");
        ack.setTopic("TopicTest");
        ack.setRetry("0");
        ack.setStartOffset(42);
        ack.setQueueId(3);
        ack.setReviveQueueId(5);
        ack.setPopTime(TIME);
        ack.setInvisibleTime(60_000);
        BitSet bits = new BitSet();
        bits.set(0);
        bits.set(9);
        ack.setBitSet(bits);
        acks.setAcks(List.of(ack));
        written("batch-ack", acks);
        Map<String, Object> retry = cases.add("pop-retry-topics");
        retry.put("class", KeyBuilder.class.getSimpleName());
        retry.put("codec", "text");
        retry.put("value", Map.of("topic", "TopicTest", "group", "pop"));
        retry.put("text", KeyBuilder.buildPopRetryTopicV1("TopicTest", "pop") + " "
            + KeyBuilder.buildPopRetryTopicV2("TopicTest", "pop"));
    }

    // ---- recording

    private void written(String name, Object body) throws Exception {
        text(name, body, "json", RemotingSerializable.encode(body));
    }

    /** As namesrv answers clients from V4_9_4 on. */
    private void standard(String name, RemotingSerializable body) throws Exception {
        byte[] bytes = body.encode(JSONWriter.Feature.BrowserCompatible, JSONWriter.Feature.MapSortField);
        text(name, body, "standard", bytes);
    }

    private void text(String name, Object body, String codec, byte[] bytes) throws Exception {
        start(name, body, codec).put("text", new String(bytes, StandardCharsets.UTF_8));
    }

    private Map<String, Object> start(String name, Object body, String codec) throws Exception {
        Map<String, Object> made = cases.add(name);
        made.put("class", body.getClass().getSimpleName());
        made.put("codec", codec);
        made.put("value", Describe.value(body));
        return made;
    }
}
