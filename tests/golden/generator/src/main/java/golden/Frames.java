package golden;

import io.netty.buffer.ByteBuf;
import io.netty.buffer.Unpooled;
import java.io.ByteArrayOutputStream;
import java.nio.charset.StandardCharsets;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import org.apache.rocketmq.common.MQVersion;
import org.apache.rocketmq.common.action.RocketMQAction;
import org.apache.rocketmq.remoting.CommandCustomHeader;
import org.apache.rocketmq.remoting.protocol.FastCodesHeader;
import org.apache.rocketmq.remoting.protocol.LanguageCode;
import org.apache.rocketmq.remoting.protocol.RemotingCommand;
import org.apache.rocketmq.remoting.protocol.RequestCode;
import org.apache.rocketmq.remoting.protocol.ResponseCode;
import org.apache.rocketmq.remoting.protocol.SerializeType;
import org.apache.rocketmq.remoting.protocol.header.*;
import org.apache.rocketmq.remoting.protocol.header.namesrv.*;

/** Whole frames, as the encoder of the Netty pipeline writes them, with the header in both serialize types. */
final class Frames {
    /** Codes from here on do not fit the signed short of the binary header, so Java sends them as JSON only. */
    private static final int FIRST_CODE_WITHOUT_BINARY = 0x8000;

    private static final List<Class<? extends CommandCustomHeader>> REQUESTS = List.of(
        SendMessageRequestHeader.class, PullMessageRequestHeader.class, QueryMessageRequestHeader.class,
        QueryConsumerOffsetRequestHeader.class, UpdateConsumerOffsetRequestHeader.class,
        CreateTopicRequestHeader.class, CreateTopicListRequestHeader.class, GetAllTopicConfigRequestHeader.class,
        SearchOffsetRequestHeader.class, GetMaxOffsetRequestHeader.class, GetMinOffsetRequestHeader.class,
        GetEarliestMsgStoretimeRequestHeader.class, ViewMessageRequestHeader.class,
        UnregisterClientRequestHeader.class, ConsumerSendMsgBackRequestHeader.class,
        EndTransactionRequestHeader.class, GetConsumerListByGroupRequestHeader.class,
        CheckTransactionStateRequestHeader.class, NotifyConsumerIdsChangedRequestHeader.class,
        PutKVConfigRequestHeader.class, GetKVConfigRequestHeader.class, DeleteKVConfigRequestHeader.class,
        RegisterBrokerRequestHeader.class, UnRegisterBrokerRequestHeader.class, GetRouteInfoRequestHeader.class,
        GetAllSubscriptionGroupRequestHeader.class, GetTopicStatsInfoRequestHeader.class,
        GetConsumerConnectionListRequestHeader.class, GetProducerConnectionListRequestHeader.class,
        WipeWritePermOfBrokerRequestHeader.class, AddWritePermOfBrokerRequestHeader.class,
        DeleteSubscriptionGroupRequestHeader.class, GetConsumeStatsRequestHeader.class,
        DeleteTopicRequestHeader.class, DeleteTopicFromNamesrvRequestHeader.class, RegisterTopicRequestHeader.class,
        GetKVListByNamespaceRequestHeader.class, ResetOffsetRequestHeader.class,
        GetConsumerStatusRequestHeader.class, GetTopicsByClusterRequestHeader.class,
        QueryTopicConsumeByWhoRequestHeader.class, QueryTopicsByConsumerRequestHeader.class,
        QuerySubscriptionByConsumerRequestHeader.class, QueryConsumeTimeSpanRequestHeader.class,
        GetConsumerRunningInfoRequestHeader.class, QueryCorrectionOffsetHeader.class,
        ConsumeMessageDirectlyResultRequestHeader.class, CloneGroupOffsetRequestHeader.class,
        ViewBrokerStatsDataRequestHeader.class, GetConsumeStatsInBrokerHeader.class,
        QueryConsumeQueueRequestHeader.class, QueryDataVersionRequestHeader.class,
        ResumeCheckHalfMessageRequestHeader.class, ReplyMessageRequestHeader.class,
        GetTopicConfigRequestHeader.class, GetSubscriptionGroupConfigRequestHeader.class,
        UpdateGroupForbiddenRequestHeader.class, RecallMessageRequestHeader.class,
        PopMessageRequestHeader.class, AckMessageRequestHeader.class, PeekMessageRequestHeader.class,
        ChangeInvisibleTimeRequestHeader.class, NotificationRequestHeader.class, PollingInfoRequestHeader.class,
        GetBrokerMemberGroupRequestHeader.class, AddBrokerRequestHeader.class, RemoveBrokerRequestHeader.class,
        BrokerHeartbeatRequestHeader.class, NotifyMinBrokerIdChangeRequestHeader.class,
        ExchangeHAInfoRequestHeader.class, ResetMasterFlushOffsetHeader.class,
        NotifyBrokerRoleChangedRequestHeader.class, CreateUserRequestHeader.class, CreateAclRequestHeader.class);

    private static final Map<Integer, Class<? extends CommandCustomHeader>> RESPONSES = new TreeMap<>(Map.ofEntries(
        Map.entry(RequestCode.SEND_MESSAGE, SendMessageResponseHeader.class),
        Map.entry(RequestCode.PULL_MESSAGE, PullMessageResponseHeader.class),
        Map.entry(RequestCode.QUERY_MESSAGE, QueryMessageResponseHeader.class),
        Map.entry(RequestCode.QUERY_CONSUMER_OFFSET, QueryConsumerOffsetResponseHeader.class),
        Map.entry(RequestCode.GET_ALL_TOPIC_CONFIG, GetAllTopicConfigResponseHeader.class),
        Map.entry(RequestCode.GET_BROKER_CONFIG, GetBrokerConfigResponseHeader.class),
        Map.entry(RequestCode.SEARCH_OFFSET_BY_TIMESTAMP, SearchOffsetResponseHeader.class),
        Map.entry(RequestCode.GET_MAX_OFFSET, GetMaxOffsetResponseHeader.class),
        Map.entry(RequestCode.GET_MIN_OFFSET, GetMinOffsetResponseHeader.class),
        Map.entry(RequestCode.GET_EARLIEST_MSG_STORETIME, GetEarliestMsgStoretimeResponseHeader.class),
        Map.entry(RequestCode.GET_ALL_SUBSCRIPTIONGROUP_CONFIG, GetAllSubscriptionGroupResponseHeader.class),
        Map.entry(RequestCode.GET_KV_CONFIG, GetKVConfigResponseHeader.class),
        Map.entry(RequestCode.REGISTER_BROKER, RegisterBrokerResponseHeader.class),
        Map.entry(RequestCode.WIPE_WRITE_PERM_OF_BROKER, WipeWritePermOfBrokerResponseHeader.class),
        Map.entry(RequestCode.ADD_WRITE_PERM_OF_BROKER, AddWritePermOfBrokerResponseHeader.class),
        Map.entry(RequestCode.QUERY_DATA_VERSION, QueryDataVersionResponseHeader.class),
        Map.entry(RequestCode.RECALL_MESSAGE, RecallMessageResponseHeader.class),
        Map.entry(RequestCode.POP_MESSAGE, PopMessageResponseHeader.class),
        Map.entry(RequestCode.CHANGE_MESSAGE_INVISIBLETIME, ChangeInvisibleTimeResponseHeader.class),
        Map.entry(RequestCode.NOTIFICATION, NotificationResponseHeader.class),
        Map.entry(RequestCode.POLLING_INFO, PollingInfoResponseHeader.class),
        Map.entry(RequestCode.EXCHANGE_BROKER_HA_INFO, ExchangeHAInfoResponseHeader.class)));

    private final Cases cases = new Cases();
    private int opaque = 1000;

    static Cases cases() throws Exception {
        Frames frames = new Frames();
        frames.realisticSends();
        frames.realisticPulls();
        for (Class<? extends CommandCustomHeader> type : REQUESTS) {
            frames.request(type);
        }
        for (Map.Entry<Integer, Class<? extends CommandCustomHeader>> response : RESPONSES.entrySet()) {
            frames.response(response.getKey(), response.getValue());
        }
        frames.withoutHeader();
        frames.languages();
        return frames.cases;
    }

    /** Values as a producer of 5.5.0 sends them. */
    private void realisticSends() throws Exception {
        String properties = "KEYS\u0001order-1 order-2\u0002UNIQ_KEY\u00017F00000100002A139A55000000000000\u0002"
            + "WAIT\u0001true\u0002TAGS\u0001TagA\u0002city\u0001München\u0002";
        SendMessageRequestHeader first = new SendMessageRequestHeader();
        first.setProducerGroup("producers");
        first.setTopic("TopicTest");
        first.setDefaultTopic("TBW102");
        first.setDefaultTopicQueueNums(4);
        first.setQueueId(3);
        first.setSysFlag(0);
        first.setBornTimestamp(1_700_000_000_123L);
        first.setFlag(7);
        first.setProperties(properties);
        first.setReconsumeTimes(0);
        first.setUnitMode(false);
        first.setBatch(false);
        first.setBrokerName("broker-a");
        byte[] body = "hello, wörld".getBytes(StandardCharsets.UTF_8);
        both("send", RequestCode.SEND_MESSAGE, 0, null, first, body);
        SendMessageRequestHeaderV2 second = SendMessageRequestHeaderV2.createSendMessageRequestHeaderV2(first);
        both("send-v2", RequestCode.SEND_MESSAGE_V2, 0, null, second, body);
        both("send-v2-one-way", RequestCode.SEND_MESSAGE_V2, 2, null, second, body);
        second.setM(true);
        both("send-batch", RequestCode.SEND_BATCH_MESSAGE, 0, null, second, Records.batchBody());

        SendMessageResponseHeader answer = new SendMessageResponseHeader();
        answer.setMsgId("7F00000100002A9F0000000000001F40");
        answer.setQueueId(3);
        answer.setQueueOffset(42L);
        both("send-answer", ResponseCode.SUCCESS, 1, null, answer, null);
        both("send-answer-flush-timeout", ResponseCode.FLUSH_DISK_TIMEOUT, 1, null, answer, null);
        both("send-refused", ResponseCode.NO_PERMISSION, 1, "the broker[127.0.0.1] sending message is forbidden",
            null, null);
    }

    private void realisticPulls() throws Exception {
        PullMessageRequestHeader pull = new PullMessageRequestHeader();
        pull.setConsumerGroup("consumers");
        pull.setTopic("TopicTest");
        pull.setQueueId(3);
        pull.setQueueOffset(42L);
        pull.setMaxMsgNums(32);
        pull.setSysFlag(3);
        pull.setCommitOffset(40L);
        pull.setSuspendTimeoutMillis(15_000L);
        pull.setSubscription("TagA || TagB");
        pull.setSubVersion(1_700_000_000_000L);
        pull.setMaxMsgBytes(Integer.MAX_VALUE);
        pull.setExpressionType("TAG");
        pull.setBrokerName("broker-a");
        both("pull", RequestCode.PULL_MESSAGE, 0, null, pull, null);
        both("pull-lite", RequestCode.LITE_PULL_MESSAGE, 0, null, pull, null);
        PullMessageResponseHeader found = new PullMessageResponseHeader();
        found.setSuggestWhichBrokerId(0L);
        found.setNextBeginOffset(44L);
        found.setMinOffset(0L);
        found.setMaxOffset(44L);
        found.setGroupSysFlag(0);
        found.setTopicSysFlag(0);
        both("pull-found", ResponseCode.SUCCESS, 1, "FOUND", found, Records.twoStoredMessages());
        both("pull-not-found", ResponseCode.PULL_NOT_FOUND, 1, "OFFSET_OVERFLOW_ONE", found, null);
    }

    private void request(Class<? extends CommandCustomHeader> type) throws Exception {
        RocketMQAction action = type.getAnnotation(RocketMQAction.class);
        if (action == null) {
            throw new IllegalArgumentException(type + " names no request code");
        }
        String name = "request-" + type.getSimpleName();
        both(name, action.value(), 0, null, Fill.header(type, false), null);
        CommandCustomHeader required = Fill.header(type, true);
        one(name + "-required", action.value(), 0, null, required, null, SerializeType.JSON);
    }

    private void response(int requestCode, Class<? extends CommandCustomHeader> type) throws Exception {
        String name = "response-" + requestCode + "-" + type.getSimpleName();
        both(name, ResponseCode.SUCCESS, 1, null, Fill.header(type, false), null);
    }

    private void withoutHeader() throws Exception {
        both("heartbeat", RequestCode.HEART_BEAT, 0, null, null, Bodies.heartbeat().encode());
        both("lock", RequestCode.LOCK_BATCH_MQ, 0, null, null, Bodies.lockRequest().encode());
        both("cluster-info-request", RequestCode.GET_BROKER_CLUSTER_INFO, 0, null, null, null);
        both("code-not-supported", ResponseCode.REQUEST_CODE_NOT_SUPPORTED, 1, " request type 9999 not supported",
            null, null);
        both("success", ResponseCode.SUCCESS, 1, null, null, null);
    }

    /** Every language byte in the binary header, and its name in the JSON one. */
    private void languages() throws Exception {
        for (LanguageCode language : LanguageCode.values()) {
            for (SerializeType type : SerializeType.values()) {
                RemotingCommand command = command(RequestCode.GET_BROKER_CLUSTER_INFO, 0, null, null, type);
                command.setLanguage(language);
                record("language-" + language + suffix(type), null, command, null);
            }
        }
    }

    private void both(String name, int code, int flag, String remark, CommandCustomHeader header, byte[] body)
        throws Exception {
        one(name, code, flag, remark, header, body, SerializeType.JSON);
        if (code < FIRST_CODE_WITHOUT_BINARY) {
            one(name, code, flag, remark, header, body, SerializeType.ROCKETMQ);
        }
    }

    private void one(String name, int code, int flag, String remark, CommandCustomHeader header, byte[] body,
        SerializeType type) throws Exception {
        record(name + suffix(type), header, command(code, flag, remark, header, type), body);
    }

    private RemotingCommand command(int code, int flag, String remark, CommandCustomHeader header,
        SerializeType type) {
        RemotingCommand command = RemotingCommand.createRequestCommand(code, header);
        command.setFlag(flag);
        command.setRemark(remark);
        command.setOpaque(opaque++);
        command.setVersion(MQVersion.Version.V5_5_0.ordinal());
        command.setSerializeTypeCurrentRPC(type);
        return command;
    }

    private void record(String name, CommandCustomHeader header, RemotingCommand command, byte[] body)
        throws Exception {
        command.setBody(body);
        byte[] frame = encode(command);
        RemotingCommand decoded = RemotingCommand.decode(Unpooled.wrappedBuffer(frame, 4, frame.length - 4));
        Map<String, Object> made = cases.add(name);
        made.put("header", header == null ? null : header.getClass().getSimpleName());
        made.put("serialize", command.getSerializeTypeCurrentRPC().name());
        made.put("fieldOrder", header instanceof FastCodesHeader
            && command.getSerializeTypeCurrentRPC() == SerializeType.ROCKETMQ ? "declared" : "hash");
        made.put("code", decoded.getCode());
        made.put("language", decoded.getLanguage().name());
        made.put("version", decoded.getVersion());
        made.put("opaque", decoded.getOpaque());
        made.put("flag", decoded.getFlag());
        made.put("remark", decoded.getRemark());
        made.put("extFields", decoded.getExtFields() == null ? Map.of() : new TreeMap<>(decoded.getExtFields()));
        made.put("body", body == null ? "" : Cases.hex(body));
        made.put("hex", Cases.hex(frame));
    }

    private static byte[] encode(RemotingCommand command) throws Exception {
        ByteBuf head = Unpooled.buffer();
        command.fastEncodeHeader(head);
        ByteArrayOutputStream frame = new ByteArrayOutputStream();
        head.readBytes(frame, head.readableBytes());
        if (command.getBody() != null) {
            frame.write(command.getBody());
        }
        return frame.toByteArray();
    }

    private static String suffix(SerializeType type) {
        return type == SerializeType.JSON ? ".json" : ".binary";
    }
}
