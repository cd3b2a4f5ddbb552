//! The table of settings: group, field, type, Java's key, default, whether it may change at run
//! time, and below these the meaning. The structs, the parser, the printer and the list for
//! `--check` are generated from it.

use super::{
    Error, java_keys,
    value::{Flush, Millis, Role, Seconds, Value},
};
use std::time::Duration;

/// One row of the table, for documentation.
#[derive(Debug, Clone, Copy)]
pub struct Setting {
    /// The key in `broker.conf`.
    pub key: &'static str,
    /// The group that it belongs to.
    pub group: &'static str,
    /// May be changed while the broker runs.
    pub hot: bool,
    /// The meaning of the setting.
    pub meaning: &'static str,
}

impl Setting {
    /// Whether Java's `mqbroker -m` prints the setting.
    pub fn is_important(&self) -> bool {
        java_keys::IMPORTANT.contains(&self.key)
    }
}

macro_rules! settings {
    ($($(#[$doc:meta])* $group:ident: $name:ident {
        $($field:ident: $type:ty = $key:literal, $default:expr, $hot:ident, $meaning:literal;)*
    })*) => {
        /// All settings of a broker, in groups. The doc line of each field names its key in
        /// `broker.conf`.
        #[derive(Debug, Clone, PartialEq, Default)]
        pub struct Config { $($(#[$doc])* pub $group: $name,)* }

        $(
            $(#[$doc])*
            #[derive(Debug, Clone, PartialEq)]
            pub struct $name { $(#[doc = concat!("`", $key, "`: ", $meaning)] pub $field: $type,)* }

            impl Default for $name {
                fn default() -> Self {
                    Self { $($field: $default,)* }
                }
            }
        )*

        /// All settings, in the order of the table.
        pub const SETTINGS: &[Setting] = &[$($(
            Setting { key: $key, group: stringify!($group), hot: settings!(@hot $hot), meaning: $meaning },
        )*)*];

        impl Config {
            /// Sets one value. Returns false if there is no such key.
            pub(super) fn set(&mut self, key: &str, text: &str) -> Result<bool, Error> {
                match java_keys::current(key) {
                    $($($key => {
                        self.$group.$field = Value::parse(text)
                            .map_err(|wanted| Error::Value { key: $key, value: text.to_owned(), wanted })?;
                    })*)*
                    _ => return Ok(false),
                }
                Ok(true)
            }

            /// The text of one value.
            pub fn text(&self, key: &str) -> Option<String> {
                match key {
                    $($($key => Some(Value::text(&self.$group.$field)),)*)*
                    _ => None,
                }
            }
        }
    };
    (@hot hot) => { true };
    (@hot fixed) => { false };
}

const fn millis(millis: u64) -> Millis {
    Millis(Duration::from_millis(millis))
}

/// Java's delay levels.
const DELAY_LEVELS: &str = "1s 5s 10s 30s 1m 2m 3m 4m 5m 6m 7m 8m 9m 10m 20m 30m 1h 2h";

settings! {
    /// The identity of this broker.
    identity: Identity {
        cluster_name: String = "brokerClusterName", "DefaultCluster".into(), fixed,
            "the cluster it belongs to";
        broker_name: String = "brokerName", String::new(), fixed,
            "the broker group; master and slaves share it (default: the host's name)";
        broker_id: u64 = "brokerId", 0, fixed,
            "0 is the master, others are slaves";
        role: Role = "brokerRole", Role::AsyncMaster, fixed,
            "ASYNC_MASTER, SYNC_MASTER or SLAVE; a brokerId above 0 is always a SLAVE";
        broker_ip: String = "brokerIP1", String::new(), fixed,
            "the address clients connect to: a number or a DNS name (default: the first address that \
             is not loopback)";
        replication_ip: String = "brokerIP2", String::new(), fixed,
            "the address slaves connect to (default: brokerIP1)";
        region: String = "regionId", "DefaultRegion".into(), fixed,
            "reported to clients for their traces";
    }

    /// Addresses, ports and connections.
    network: Network {
        bind_address: String = "bindAddress", "0.0.0.0".into(), fixed,
            "the local address of all ports";
        listen_port: u16 = "listenPort", 10911, fixed,
            "for clients; the port two below it serves them too";
        replication_port: u16 = "haListenPort", 0, fixed,
            "for slaves (default: listenPort + 1)";
        http_port: u16 = "httpPort", 0, fixed,
            "for /healthz, /readyz and /metrics; 0 is none";
        idle: Seconds = "serverChannelMaxIdleTimeSeconds", Seconds(Duration::from_secs(120)), fixed,
            "a connection silent for so many seconds is closed";
        max_connections: usize = "maxConnections", 20_000, fixed,
            "connections at a time; fewer if the process may not have so many file descriptors and \
             768 more. From seven eighths on, an address with many gets no more";
        buffer_limit: usize = "maxNetworkBufferBytes", 0, fixed,
            "bytes that what connections read into and leave unread may take together; 0 is a \
             quarter of the memory of the process's control group, or of the machine's";
        stop_timeout: Seconds = "shutdownWaitTimeSeconds", Seconds(Duration::from_secs(30)), fixed,
            "how many seconds stopping may take";
        reads_after_failure: Millis = "readsAfterFailureMillis", millis(60_000), hot,
            "how long reads go on after a failed sync, or the end of a thread, before /healthz \
             fails and the process ends, in milliseconds (86,400,000 at most)";
    }

    /// The disk.
    store: Store {
        root: String = "storePathRootDir", String::new(), fixed,
            "the folder of everything (default: $HOME/store)";
        commit_log: String = "storePathCommitLog", String::new(), fixed,
            "the folders of the commit log, joined by ',': files take turns over those with room \
             (default: commitlog below the root)";
        commit_log_read_only: String = "readOnlyCommitLogStorePaths", String::new(), fixed,
            "folders of the commit log that get no new files, joined by ','";
        commit_log_file_size: u64 = "mappedFileSizeCommitLog", 1 << 30, fixed,
            "bytes of a commit log file";
        consume_queue_file_size: u64 = "mappedFileSizeConsumeQueue", 6_000_000, fixed,
            "bytes of a consume queue file";
        index: bool = "messageIndexEnable", true, fixed,
            "index messages by key";
        index_slots: u32 = "maxHashSlotNum", 5_000_000, fixed,
            "hash slots of an index file";
        index_entries: u32 = "maxIndexNum", 20_000_000, fixed,
            "entries of an index file";
        flush: Flush = "flushDiskType", Flush::Async, fixed,
            "ASYNC_FLUSH or SYNC_FLUSH";
        flush_interval: Millis = "flushIntervalCommitLog", millis(500), fixed,
            "between two flushes, in milliseconds";
        flush_least_pages: u32 = "flushCommitLogLeastPages", 4, fixed,
            "pages of 4 KiB worth a flush";
        flush_thorough_interval: Millis = "flushCommitLogThoroughInterval", millis(10_000), fixed,
            "after which one page is enough, in milliseconds";
        queue_write_interval: Millis = "flushIntervalConsumeQueue", millis(1_000), fixed,
            "how long entries of consume queues gather in memory before they are written, in \
             milliseconds";
        sync_flush_timeout: Millis = "syncFlushTimeout", millis(5_000), hot,
            "how long a send waits for the disk, in milliseconds";
        reserved_hours: u64 = "fileReservedTime", 72, hot,
            "hours a message is kept";
        delete_when: String = "deleteWhen", "04".into(), hot,
            "hours of the day at which old files are deleted, joined by ';'";
        disk_max_used: u32 = "diskMaxUsedSpaceRatio", 75, hot,
            "percent of the disk above which old files are deleted at any hour";
        disk_clean_forcibly: u32 = "diskSpaceCleanForciblyRatio", 85, hot,
            "percent above which files are deleted whatever their age";
        disk_warning: u32 = "diskSpaceWarningLevelRatio", 90, hot,
            "percent above which writes are refused";
        clean_forcibly: bool = "cleanFileForciblyEnable", true, hot,
            "whether files may be deleted whatever their age";
        delete_batch: u32 = "deleteFileBatchMax", 10, hot,
            "files deleted in one round";
        delete_pause: Millis = "deleteCommitLogFilesInterval", millis(100), hot,
            "between two files that are deleted, in milliseconds";
        clean_interval: Millis = "cleanResourceInterval", millis(10_000), hot,
            "between two rounds, in milliseconds";
    }

    /// Master and slaves.
    replication: Replication {
        timeout: Millis = "slaveTimeout", millis(3_000), hot,
            "how long a send waits for slaves, in milliseconds";
        in_sync: u32 = "inSyncReplicas", 1, hot,
            "members, the master among them, that must have a message before a SYNC_MASTER \
             acknowledges it";
        min_in_sync: u32 = "minInSyncReplicas", 1, hot,
            "the least it may be lowered to";
        auto_in_sync: bool = "enableAutoInSyncReplicas", false, hot,
            "lower inSyncReplicas to the members that keep up";
        heartbeat: Millis = "haSendHeartbeatInterval", millis(5_000), fixed,
            "between two heartbeats, in milliseconds";
        housekeeping: Millis = "haHousekeepingInterval", millis(20_000), fixed,
            "idle timeout of a replication connection, in milliseconds";
        batch: u32 = "haTransferBatchSize", 32 * 1024, fixed,
            "bytes sent to a slave at once";
        max_gap: u64 = "haMaxGapNotInSync", 256 << 20, hot,
            "bytes a slave may lack and still count as keeping up";
        master_address: String = "haMasterAddress", String::new(), fixed,
            "where a slave finds its master (default: what the namesrv says)";
        check_log: bool = "checkLogBeforeWrites", false, fixed,
            "whether a master takes no writes after a start until it has found its log no shorter \
             than its slaves'; a new store waits for an administrator's decision, so leave it off \
             for the first start of a group";
        expected_slaves: u32 = "expectedSlaves", 0, fixed,
            "slaves of this group that such a master waits for";
        check_log_timeout: Millis = "checkLogTimeout", millis(30_000), fixed,
            "how long it waits for them, in milliseconds; after a restart of the system that was \
             no clean stop, an administrator decides then";
        slave_read: bool = "slaveReadEnable", false, hot,
            "send clients that are far behind to a slave";
    }

    /// Topics and groups.
    topics: Topics {
        permission: i32 = "brokerPermission", 6, hot,
            "of the whole broker: 4 read, 2 write, 6 both";
        default_queues: i32 = "defaultTopicQueueNums", 8, fixed,
            "queues of a topic that the first send creates, at most";
        auto_create: bool = "autoCreateTopicEnable", true, fixed,
            "create topics at the first send";
        auto_create_group: bool = "autoCreateSubscriptionGroup", true, hot,
            "create groups at their first heartbeat";
        cluster_topic: bool = "clusterTopicEnable", true, fixed,
            "have a topic with the cluster's name";
        broker_topic: bool = "brokerTopicEnable", true, fixed,
            "have a topic with the broker's name";
        reject_read_only: bool = "rejectSendOnReadOnlyTopic", false, hot,
            "refuse messages for topics without write permission at once, rather than only hide \
             such topics from routes";
        trace_topic: bool = "traceTopicEnable", false, fixed,
            "have a topic for the clients' traces";
        trace_topic_name: String = "msgTraceTopicName", rmq_protocol::names::TRACE_TOPIC.into(), fixed,
            "its name";
        trace_on: bool = "traceOn", true, hot,
            "have clients trace messages";
    }

    /// Messages and reads.
    messages: Messages {
        max_size: u32 = "maxMessageSize", 4 << 20, fixed,
            "bytes of a message body";
        delay_levels: String = "messageDelayLevel", DELAY_LEVELS.into(), fixed,
            "pauses of the delay levels";
        memory_bytes: u32 = "maxTransferBytesOnMessageInMemory", 256 << 10, fixed,
            "bytes of one pull of recent messages";
        memory_count: u32 = "maxTransferCountOnMessageInMemory", 32, fixed,
            "messages of one pull of recent messages";
        disk_bytes: u32 = "maxTransferBytesOnMessageInDisk", 64 << 10, fixed,
            "bytes of one pull of old messages";
        disk_count: u32 = "maxTransferCountOnMessageInDisk", 8, fixed,
            "messages of one pull of old messages";
        memory_ratio: u32 = "accessMessageInMemoryMaxRatio", 40, fixed,
            "percent of the memory of the machine, or of the pod where its limit is lower, that \
             counts as recent";
        query_max: u32 = "defaultQueryMaxNum", 32, hot,
            "messages found by one query by unique key";
        query_batch: u32 = "maxMsgsNumBatch", 64, hot,
            "messages found by one query by key, at most";
        long_polling: bool = "longPollingEnable", true, hot,
            "let pulls wait for messages";
        short_polling: Millis = "shortPollingTimeMills", millis(1_000), hot,
            "how long they wait if not, in milliseconds";
        max_parked: usize = "maxParkedPulls", 100_000, hot,
            "pulls that may wait at a time";
        property_filter: bool = "enablePropertyFilter", false, hot,
            "let clients subscribe by SQL92 expressions on properties";
    }

    /// Transaction messages.
    transactions: Transactions {
        reject: bool = "rejectTransactionMessage", false, hot,
            "refuse transaction messages";
        timeout: Millis = "transactionTimeOut", millis(6_000), hot,
            "after which a producer is first asked for the outcome, in milliseconds";
        check_interval: Millis = "transactionCheckInterval", millis(30_000), hot,
            "between two such questions, in milliseconds";
        check_max: u32 = "transactionCheckMax", 15, hot,
            "questions after which a transaction is given up";
        op_bytes: u32 = "transactionOpMsgMaxSize", 4096, hot,
            "bytes of an op message, which lists finished transactions";
        op_interval: Millis = "transactionOpBatchInterval", millis(3_000), hot,
            "how long finished transactions gather for one, in milliseconds";
        max_open: usize = "maxOpenTransactions", 1_000_000, hot,
            "transactions that may be open at a time; a group may have half of what the others leave";
    }

    /// Clients.
    clients: Clients {
        expiry: Millis = "channelExpiredTimeout", millis(120_000), fixed,
            "a client silent for so many milliseconds is forgotten";
        notify_members: bool = "notifyConsumerIdsChangedEnable", true, hot,
            "notify the members of a group when it changes";
        flush_offsets: Millis = "flushConsumerOffsetInterval", millis(5_000), fixed,
            "between two writes of the consumer offsets, in milliseconds (100 to 86,400,000)";
        keep_filters: Millis = "filterDataCleanTimeSpan", millis(86_400_000), hot,
            "how long config/consumerFilter.json keeps the SQL92 subscription of a group without \
             clients, in milliseconds";
        refused_keys: String = "configBlackList", "configBlackList;brokerConfigPath".into(), fixed,
            "keys that may not be changed at run time, joined by ';'";
    }

    /// Registration.
    namesrv: Namesrv {
        addresses: String = "namesrvAddr", String::new(), hot,
            "the namesrvs, joined by ';'";
        period: Millis = "registerNameServerPeriod", millis(30_000), fixed,
            "between two registrations, in milliseconds (10,000 to 60,000)";
        timeout: Millis = "registerBrokerTimeoutMills", millis(24_000), fixed,
            "how long a registration may take, in milliseconds";
        compressed: bool = "compressedRegister", false, fixed,
            "compress registrations";
    }
}
