package golden;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.concurrent.ConcurrentHashMap;
import java.util.stream.Stream;
import org.apache.rocketmq.common.BrokerConfig;
import org.apache.rocketmq.store.ConsumeQueue;
import org.apache.rocketmq.store.DefaultMessageStore;
import org.apache.rocketmq.store.DispatchRequest;
import org.apache.rocketmq.store.StoreCheckpoint;
import org.apache.rocketmq.store.config.MessageStoreConfig;
import org.apache.rocketmq.store.index.IndexFile;
import org.apache.rocketmq.store.stats.BrokerStatsManager;

/** Consume queue, index and checkpoint files, written by the store's own classes into a temporary folder. */
final class StoreFiles {
    private static final int INDEX_SLOTS = 16;
    private static final int INDEX_ENTRIES = 24;
    private static final long BEGIN = 1_700_000_000_000L;

    private final Cases cases = new Cases();
    private final Path folder;

    private StoreFiles(Path folder) {
        this.folder = folder;
    }

    static Cases cases() throws Exception {
        Path folder = Files.createTempDirectory("golden");
        StoreFiles files = new StoreFiles(folder);
        files.consumeQueues();
        files.index();
        files.checkpoint();
        try (Stream<Path> paths = Files.walk(folder)) {
            for (Path path : paths.sorted((a, b) -> b.compareTo(a)).toList()) {
                Files.delete(path);
            }
        }
        return files.cases;
    }

    private void consumeQueues() throws Exception {
        MessageStoreConfig config = new MessageStoreConfig();
        config.setStorePathRootDir(folder.resolve("store").toString());
        BrokerConfig brokerConfig = new BrokerConfig();
        DefaultMessageStore store = new DefaultMessageStore(config,
            new BrokerStatsManager("golden", true), null, brokerConfig, new ConcurrentHashMap<>());
        // Loading an empty folder makes the checkpoint that a consume queue reports to.
        if (!store.load()) {
            throw new IllegalStateException("an empty store does not load");
        }
        consumeQueue(store, "from-zero", 0);
        consumeQueue(store, "from-five", 5);
    }

    /** A queue of ten entries a file; one that begins at five is filled up with blank entries first. */
    private void consumeQueue(DefaultMessageStore store, String name, long firstOffset) throws Exception {
        String queues = folder.resolve("queues").toString();
        ConsumeQueue queue = new ConsumeQueue(name, 1, queues, 10 * ConsumeQueue.CQ_STORE_UNIT_SIZE, store);
        List<Map<String, Object>> entries = new ArrayList<>();
        String[] tags = {"TagA", "", "TagB"};
        for (int i = 0; i < tags.length; i++) {
            long tagsCode = tags[i].isEmpty() ? 0 : tags[i].hashCode();
            DispatchRequest request = new DispatchRequest(name, 1, 8_000_000_000L + i * 200L, 180 + i, tagsCode,
                BEGIN + i, firstOffset + i, "", null, 0, 0, null);
            queue.putMessagePositionInfoWrapper(request);
            Map<String, Object> entry = new TreeMap<>();
            entry.put("queueOffset", request.getConsumeQueueOffset());
            entry.put("physicalOffset", request.getCommitLogOffset());
            entry.put("size", request.getMsgSize());
            entry.put("tagsCode", tagsCode);
            entries.add(entry);
        }
        queue.flush(0);
        byte[] file = Files.readAllBytes(folder.resolve("queues").resolve(name).resolve("1").resolve("0".repeat(20)));
        Map<String, Object> made = cases.add("consume-queue-" + name);
        made.put("kind", "consume-queue");
        made.put("minOffset", queue.getMinOffsetInQueue());
        made.put("entries", entries);
        made.put("hex", Cases.hex(file));
    }

    private void index() throws IOException {
        Path path = folder.resolve("20231114221320000");
        IndexFile index = new IndexFile(path.toString(), INDEX_SLOTS, INDEX_ENTRIES, 0, 0);
        List<Map<String, Object>> puts = new ArrayList<>();
        // "polygenelubricants" hashes to Integer.MIN_VALUE; the two Aa/BB keys collide.
        String[] keys = {"TopicTest#order-1", "TopicTest#order-2", "TopicTest#order-1", "polygenelubricants",
            "TopicTest#AaAa", "TopicTest#BBBB"};
        for (int i = 0; i < keys.length; i++) {
            long physicalOffset = 8_000_000_000L + i * 200L;
            long storeTimestamp = BEGIN + i * 1_700L;
            index.putKey(keys[i], physicalOffset, storeTimestamp);
            Map<String, Object> put = new TreeMap<>();
            put.put("key", keys[i]);
            put.put("physicalOffset", physicalOffset);
            put.put("storeTimestamp", storeTimestamp);
            puts.add(put);
        }
        Map<String, Object> found = new TreeMap<>();
        for (String key : keys) {
            List<Long> offsets = new ArrayList<>();
            index.selectPhyOffset(offsets, key, 32, 0, Long.MAX_VALUE);
            found.put(key, offsets);
        }
        index.flush();
        Map<String, Object> made = cases.add("index");
        made.put("kind", "index");
        made.put("slots", INDEX_SLOTS);
        made.put("capacity", INDEX_ENTRIES);
        made.put("puts", puts);
        made.put("found", found);
        made.put("hex", Cases.hex(Files.readAllBytes(path)));
    }

    private void checkpoint() throws IOException {
        Path path = folder.resolve("checkpoint");
        StoreCheckpoint checkpoint = new StoreCheckpoint(path.toString());
        checkpoint.setPhysicMsgTimestamp(BEGIN + 1);
        checkpoint.setLogicsMsgTimestamp(BEGIN + 2);
        checkpoint.setIndexMsgTimestamp(BEGIN + 3);
        checkpoint.setMasterFlushedOffset(4_000_000_004L);
        checkpoint.setConfirmPhyOffset(5_000_000_005L);
        checkpoint.setLogicsPhysicalOffset(6_000_000_006L);
        checkpoint.flush();
        byte[] file = Files.readAllBytes(path);
        Map<String, Object> made = cases.add("checkpoint");
        made.put("kind", "checkpoint");
        made.put("fileSize", file.length);
        made.put("physicMsgTimestamp", checkpoint.getPhysicMsgTimestamp());
        made.put("logicsMsgTimestamp", checkpoint.getLogicsMsgTimestamp());
        made.put("indexMsgTimestamp", checkpoint.getIndexMsgTimestamp());
        made.put("masterFlushedOffset", checkpoint.getMasterFlushedOffset());
        made.put("confirmPhysicalOffset", checkpoint.getConfirmPhyOffset());
        made.put("logicsPhysicalOffset", checkpoint.getLogicsPhysicalOffset());
        made.put("minTimestamp", checkpoint.getMinTimestamp());
        // The rest of the 4096 bytes is zero.
        made.put("hex", Cases.hex(java.util.Arrays.copyOf(file, 64)));
    }
}
