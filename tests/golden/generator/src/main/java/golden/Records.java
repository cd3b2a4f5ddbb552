package golden;

import java.io.ByteArrayOutputStream;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import org.apache.rocketmq.common.UtilAll;
import org.apache.rocketmq.common.compression.CompressionType;
import org.apache.rocketmq.common.compression.CompressorFactory;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageAccessor;
import org.apache.rocketmq.common.message.MessageClientIDSetter;
import org.apache.rocketmq.common.message.MessageDecoder;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageExtBrokerInner;
import org.apache.rocketmq.common.message.MessageId;
import org.apache.rocketmq.common.message.MessageVersion;
import org.apache.rocketmq.common.sysflag.MessageSysFlag;
import org.apache.rocketmq.store.CommitLog;
import org.apache.rocketmq.store.MessageExtEncoder;
import org.apache.rocketmq.store.config.MessageStoreConfig;

/** Messages as they lie in the commit log, batch bodies, message ids and property strings. */
final class Records {
    private static final int QUEUE_OFFSET_POSITION = 20;
    private static final int PHYSICAL_OFFSET_POSITION = 28;
    private static final long BORN = 1_700_000_000_123L;
    private static final long STORED = 1_700_000_000_456L;

    private final Cases cases = new Cases();

    static Cases cases() throws Exception {
        Records records = new Records();
        records.storedMessages();
        records.batch();
        records.messageIds();
        records.properties();
        records.hashes();
        return records.cases;
    }

    static byte[] twoStoredMessages() throws Exception {
        ByteArrayOutputStream both = new ByteArrayOutputStream();
        both.write(encode(plain(), new MessageStoreConfig(), 42, 8000));
        both.write(encode(full(), new MessageStoreConfig(), 43, 8200));
        return both.toByteArray();
    }

    static byte[] batchBody() {
        Message first = new Message("TopicTest", "TagA", "order-1", "first".getBytes(StandardCharsets.UTF_8));
        Message second = new Message("TopicTest", "TagB", "", 9, "zweite ü".getBytes(StandardCharsets.UTF_8), true);
        Message third = new Message("TopicTest", new byte[0]);
        MessageAccessor.putProperty(first, "UNIQ_KEY", "7F00000100002A139A55000000000001");
        MessageAccessor.putProperty(second, "UNIQ_KEY", "7F00000100002A139A55000000000002");
        MessageAccessor.setProperties(third, new TreeMap<>());
        return MessageDecoder.encodeMessages(List.of(first, second, third));
    }

    private void storedMessages() throws Exception {
        MessageStoreConfig config = new MessageStoreConfig();
        stored("plain", plain(), config);
        stored("full", full(), config);
        MessageExtBrokerInner empty = plain();
        empty.setBody(new byte[0]);
        stored("empty-body", empty, config);
        stored("born-ipv6", hosts(full(), "2001:db8::1", "10.0.0.2"), config);
        stored("store-ipv6", hosts(full(), "10.0.0.1", "2001:db8::2"), config);
        stored("both-ipv6", hosts(plain(), "2001:db8::1", "2001:db8::2"), config);
        MessageExtBrokerInner longTopic = full();
        longTopic.setTopic("%RETRY%" + "group_".repeat(30));
        longTopic.setVersion(MessageVersion.MESSAGE_VERSION_V2);
        stored("version-2", longTopic, config);
        MessageStoreConfig withCrc = new MessageStoreConfig();
        withCrc.setEnabledAppendPropCRC(true);
        stored("property-crc", full(), withCrc);
        for (CompressionType type : CompressionType.values()) {
            stored("compressed-" + type.name().toLowerCase(), compressed(type), config);
        }
        MessageExtBrokerInner committed = full();
        committed.setSysFlag(MessageSysFlag.TRANSACTION_COMMIT_TYPE | MessageSysFlag.MULTI_TAGS_FLAG);
        committed.setPreparedTransactionOffset(7777);
        stored("transaction-commit", committed, config);
    }

    private void stored(String name, MessageExtBrokerInner message, MessageStoreConfig config) throws Exception {
        byte[] record = encode(message, config, 42, 8_000_000_000L);
        MessageExt read = MessageDecoder.decode(ByteBuffer.wrap(record), true, false, false, true, true);
        if (read == null) {
            throw new IllegalStateException("Java cannot read its own record " + name);
        }
        Map<String, String> properties = new TreeMap<>();
        if (read.getProperties() != null) {
            properties.putAll(read.getProperties());
        }
        String propertiesString = properties.getOrDefault("propertiesString", "");
        properties.remove("propertiesString");
        byte[] body = read.getBody() == null ? new byte[0] : read.getBody();

        Map<String, Object> made = cases.add("stored-" + name);
        made.put("kind", "stored-message");
        if (name.equals("compressed-zlib")) {
            made.put("codec", "deflate");
        }
        made.put("version", message.getVersion() == MessageVersion.MESSAGE_VERSION_V2 ? 2 : 1);
        made.put("storeSize", read.getStoreSize());
        made.put("bodyCrc", read.getBodyCRC());
        made.put("queueId", read.getQueueId());
        made.put("flag", read.getFlag());
        made.put("queueOffset", read.getQueueOffset());
        made.put("physicalOffset", read.getCommitLogOffset());
        made.put("sysFlag", read.getSysFlag());
        made.put("bornTimestamp", read.getBornTimestamp());
        made.put("bornHost", Describe.value(read.getBornHost()));
        made.put("storeTimestamp", read.getStoreTimestamp());
        made.put("storeHost", Describe.value(read.getStoreHost()));
        made.put("reconsumeTimes", read.getReconsumeTimes());
        made.put("preparedTransactionOffset", read.getPreparedTransactionOffset());
        made.put("body", Cases.hex(body));
        made.put("topic", read.getTopic());
        made.put("properties", properties);
        made.put("propertiesHex", Cases.hex(propertiesString.getBytes(StandardCharsets.UTF_8)));
        made.put("offsetMessageId", read.getMsgId());
        if ((read.getSysFlag() & MessageSysFlag.COMPRESSED_FLAG) != 0) {
            made.put("inflatedBody", Cases.hex(MessageDecoder.decode(ByteBuffer.wrap(record)).getBody()));
        }
        made.put("hex", Cases.hex(record));
    }

    /** Encodes as the commit log does: the encoder first, then what is known only under the append lock. */
    private static byte[] encode(MessageExtBrokerInner message, MessageStoreConfig config, long queueOffset,
        long physicalOffset) {
        message.setBodyCRC(UtilAll.crc32(message.getBody()));
        MessageExtEncoder encoder = new MessageExtEncoder(config);
        if (encoder.encode(message) != null) {
            throw new IllegalStateException("the encoder refused " + message);
        }
        ByteBuffer encoded = encoder.getEncoderBuffer();
        byte[] record = new byte[encoded.getInt(0)];
        encoded.get(record);
        ByteBuffer patched = ByteBuffer.wrap(record);
        patched.putLong(QUEUE_OFFSET_POSITION, queueOffset);
        patched.putLong(PHYSICAL_OFFSET_POSITION, physicalOffset);
        if (config.isEnabledAppendPropCRC()) {
            int checked = record.length - CommitLog.CRC32_RESERVED_LEN;
            patched.position(checked);
            MessageDecoder.createCrc32(patched, UtilAll.crc32(record, 0, checked));
        }
        return record;
    }

    private static MessageExtBrokerInner plain() throws Exception {
        MessageExtBrokerInner message = new MessageExtBrokerInner();
        message.setTopic("TopicTest");
        message.setBody("hello".getBytes(StandardCharsets.UTF_8));
        message.setQueueId(3);
        message.setBornTimestamp(BORN);
        message.setStoreTimestamp(STORED);
        message.setVersion(MessageVersion.MESSAGE_VERSION_V1);
        return hosts(message, "10.0.0.1", "10.0.0.2");
    }

    private static MessageExtBrokerInner full() throws Exception {
        MessageExtBrokerInner message = plain();
        message.setFlag(7);
        message.setSysFlag(MessageSysFlag.MULTI_TAGS_FLAG);
        message.setReconsumeTimes(2);
        message.setTags("TagA");
        message.setKeys("order-1 order-2");
        message.putUserProperty("city", "München");
        message.putUserProperty("note", "a b\tc");
        MessageAccessor.putProperty(message, "UNIQ_KEY", "0A00000100002A139A55000000000000");
        message.setPropertiesString(MessageDecoder.messageProperties2String(message.getProperties()));
        return message;
    }

    private static MessageExtBrokerInner compressed(CompressionType type) throws Exception {
        MessageExtBrokerInner message = full();
        byte[] body = "a line that repeats itself\n".repeat(40).getBytes(StandardCharsets.UTF_8);
        message.setBody(CompressorFactory.getCompressor(type).compress(body, 5));
        message.setSysFlag(MessageSysFlag.COMPRESSED_FLAG | type.getCompressionFlag());
        return message;
    }

    private static MessageExtBrokerInner hosts(MessageExtBrokerInner message, String born, String store)
        throws Exception {
        message.setBornHost(new InetSocketAddress(InetAddress.getByName(born), 52_000));
        message.setStoreHost(new InetSocketAddress(InetAddress.getByName(store), 10_911));
        if (born.indexOf(':') >= 0) {
            message.setBornHostV6Flag();
        }
        if (store.indexOf(':') >= 0) {
            message.setStoreHostAddressV6Flag();
        }
        return message;
    }

    private void batch() throws Exception {
        byte[] body = batchBody();
        Map<String, Object> made = cases.add("batch-body");
        made.put("kind", "batch-body");
        List<Message> messages = MessageDecoder.decodeMessages(ByteBuffer.wrap(body));
        made.put("messages", messages.stream().map(message -> {
            Map<String, Object> described = new TreeMap<>();
            described.put("flag", message.getFlag());
            described.put("body", Cases.hex(message.getBody()));
            described.put("properties", new TreeMap<>(message.getProperties()));
            return described;
        }).toList());
        made.put("hex", Cases.hex(body));
    }

    private void messageIds() throws Exception {
        offsetId("ipv4", "10.0.0.2", 10_911, 8_000_000_000L);
        offsetId("ipv4-high", "255.254.253.252", 65_535, Long.MAX_VALUE);
        offsetId("ipv6", "2001:db8::2", 10_911, 0);
        uniqueId("ipv4", "7F000001" + "1A2B" + "2A139A55" + "0102ABCD" + "00FF");
        uniqueId("ipv6", "20010DB8000000000000000000000002" + "FFFE" + "2A139A55" + "7FFFFFFF" + "FFFF");
    }

    private void offsetId(String name, String host, int port, long offset) throws Exception {
        String id = MessageDecoder.createMessageId(new InetSocketAddress(InetAddress.getByName(host), port), offset);
        MessageId decoded = MessageDecoder.decodeMessageId(id);
        Map<String, Object> made = cases.add("offset-id-" + name);
        made.put("kind", "offset-message-id");
        made.put("host", Describe.value(decoded.getAddress()));
        made.put("offset", decoded.getOffset());
        made.put("text", id);
    }

    private void uniqueId(String name, String id) {
        byte[] bytes = UtilAll.string2bytes(id);
        int ipLength = bytes.length == 28 ? 16 : 4;
        ByteBuffer rest = ByteBuffer.wrap(bytes, ipLength + 2, bytes.length - ipLength - 2);
        Map<String, Object> made = cases.add("unique-id-" + name);
        made.put("kind", "unique-id");
        made.put("host", MessageClientIDSetter.getIPStrFromID(id));
        made.put("pid", MessageClientIDSetter.getPidFromID(id));
        made.put("classLoaderHash", rest.getInt());
        made.put("millisOfMonth", rest.getInt());
        made.put("counter", rest.getShort() & 0xFFFF);
        made.put("text", id);
    }

    /** What the decoder makes of property strings that other clients and older releases write. */
    private void properties() {
        properties("ended", "KEYS\u0001k\u0002TAGS\u0001t\u0002");
        properties("not-ended", "KEYS\u0001k\u0002TAGS\u0001t");
        properties("empty", "");
        properties("empty-value-dropped", "KEYS\u0001\u0002TAGS\u0001t\u0002");
        properties("empty-name-dropped", "\u0001v\u0002TAGS\u0001t\u0002");
        properties("no-separator-dropped", "junk\u0002TAGS\u0001t\u0002");
        properties("shortest", "a\u0001b\u0002");
        properties("value-with-separator", "a\u0001b\u0001c\u0002");
        properties("empty-entries", "\u0002\u0002a\u0001b\u0002\u0002");
        properties("later-wins", "a\u0001first\u0002a\u0001second\u0002");
        properties("unicode", "stadt\u0001München ☃\u0002");
        properties("many-tags", "TAGS\u0001TagA || TagB\u0002");
    }

    private void properties(String name, String text) {
        Map<String, Object> made = cases.add("properties-" + name);
        made.put("kind", "properties");
        made.put("properties", new TreeMap<>(MessageDecoder.string2messageProperties(text)));
        made.put("hex", Cases.hex(text.getBytes(StandardCharsets.UTF_8)));
    }

    /** Java's String.hashCode decides tag codes and index slots. */
    private void hashes() {
        for (String text : List.of("", "TagA", "TagB", "*", "München", "☃", "\uD83D\uDE00", "polygenelubricants",
            "TopicTest#order-1")) {
            Map<String, Object> made = cases.add("hash-" + text);
            made.put("kind", "string-hash");
            made.put("text", text);
            made.put("hash", text.hashCode());
        }
    }
}
