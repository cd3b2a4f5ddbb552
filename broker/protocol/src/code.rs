//! Request and response codes: the number and a one-line meaning of each.
//!
//! Only codes that a released program sends are listed; the gaps in the numbers are codes of Java's
//! table that no released program uses.

macro_rules! codes {
    ($(#[$doc:meta])* $name:ident { $($(#[$row:meta])* $variant:ident = $number:literal,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[repr(i32)]
        pub enum $name { $($(#[$row])* $variant = $number,)* }

        impl $name {
            /// All of them, by number.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// The code with this number, if there is one.
            pub fn from_number(number: i32) -> Option<Self> {
                match number { $($number => Some(Self::$variant),)* _ => None }
            }

            /// The number on the wire.
            pub fn number(self) -> i32 {
                self as i32
            }

            /// The name, for logs and labels.
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => stringify!($variant),)* }
            }
        }
    };
}

codes! {
    /// The outcome of a request. 10, 11 and 12 on a send mean that the message is stored.
    ResponseCode {
        /// Success.
        Success = 0,
        /// An internal error.
        SystemError = 1,
        /// Overloaded; try another broker.
        SystemBusy = 2,
        /// The process does not know this request code.
        RequestCodeNotSupported = 3,
        /// A transaction could not be stored.
        TransactionFailed = 4,
        /// Stored, but the flush was not complete at the timeout.
        FlushDiskTimeout = 10,
        /// Stored, but there is no slave to copy it.
        SlaveNotAvailable = 11,
        /// Stored, but not on enough slaves at the timeout.
        FlushSlaveTimeout = 12,
        /// The message is invalid.
        MessageIllegal = 13,
        /// Unavailable: a slave, a full disk, a stopping broker.
        ServiceNotAvailable = 14,
        /// The client is too old.
        VersionNotSupported = 15,
        /// The broker, topic or group does not permit it.
        NoPermission = 16,
        /// No such topic.
        TopicNotExist = 17,
        /// The topic exists.
        TopicExistAlready = 18,
        /// No message at this offset yet.
        PullNotFound = 19,
        /// No match in this range; pull again from the given offset.
        PullRetryImmediately = 20,
        /// The offset is outside the queue; continue at the given offset.
        PullOffsetMoved = 21,
        /// Nothing found.
        QueryNotFound = 22,
        /// The filter expression is wrong.
        SubscriptionParseFailed = 23,
        /// The group has no such subscription.
        SubscriptionNotExist = 24,
        /// The broker knows an older subscription than the client.
        SubscriptionNotLatest = 25,
        /// No such group.
        SubscriptionGroupNotExist = 26,
        /// No compiled filter for this group.
        FilterDataNotExist = 27,
        /// The compiled filter is older than the subscription.
        FilterDataNotLatest = 28,
        /// A field has an invalid value.
        InvalidParameter = 29,
        /// A half message that is to be committed.
        TransactionShouldCommit = 200,
        /// A half message that is to be rolled back.
        TransactionShouldRollback = 201,
        /// Outcome unknown.
        TransactionStateUnknown = 202,
        /// The transaction belongs to another group.
        TransactionStateGroupWrong = 203,
        /// A unit rule.
        NoBuyerId = 204,
        /// A unit rule.
        NotInCurrentUnit = 205,
        /// No client of this group is connected.
        ConsumerNotOnline = 206,
        /// The client did not respond before the timeout.
        ConsumeMessageTimeout = 207,
        /// No message.
        NoMessage = 208,
        /// Too many parked pops.
        PollingFull = 209,
        /// The pop found nothing before the timeout.
        PollingTimeout = 210,
        /// No such broker.
        BrokerNotExist = 211,
        /// Dispatch is behind.
        BrokerDispatchNotComplete = 212,
        /// Not for broadcasting groups.
        BroadcastConsumption = 213,
        /// Rate limited.
        FlowControl = 215,
        /// Another broker leads this logical queue.
        NotLeaderForQueue = 501,
        /// Not allowed in this state.
        IllegalOperation = 604,
        /// Reconnect elsewhere.
        GoAway = 1500,
        /// The broker is not registered or not alive.
        BrokerLiveInfoNotExists = 2016,
        /// No such user.
        UserNotExist = 3001,
        /// No such policy.
        PolicyNotExist = 3002,
    }
}

#[allow(clippy::derivable_impls, reason = "the variants are made by a macro that cannot mark one of them")]
impl Default for ResponseCode {
    fn default() -> Self {
        Self::Success
    }
}

codes! {
    /// The operation that a request asks for.
    RequestCode {
        /// Store a message (long field names).
        SendMessage = 10,
        /// Read messages of one queue; long polling if requested.
        PullMessage = 11,
        /// Find messages by key.
        QueryMessage = 12,
        /// A group's committed offset in a queue.
        QueryConsumerOffset = 14,
        /// Commit a group's offset.
        UpdateConsumerOffset = 15,
        /// Create or change a topic.
        UpdateAndCreateTopic = 17,
        /// Create or change several topics.
        UpdateAndCreateTopicList = 18,
        /// All topics of a broker.
        AllTopicConfig = 21,
        /// Change settings of a running broker.
        UpdateBrokerConfig = 25,
        /// The current settings.
        BrokerConfig = 26,
        /// A broker's runtime information.
        BrokerRuntimeInfo = 28,
        /// The offset of the first message at a time.
        SearchOffsetByTimestamp = 29,
        /// The end of a queue.
        MaxOffset = 30,
        /// The beginning of a queue.
        MinOffset = 31,
        /// When the oldest message of a queue was stored.
        EarliestMessageStoreTime = 32,
        /// One message by its position in the commit log.
        ViewMessageById = 33,
        /// A client's heartbeat, with the groups it serves.
        HeartBeat = 34,
        /// A client leaves a group.
        UnregisterClient = 35,
        /// A consumer returns a message for a later retry.
        ConsumerSendMessageBack = 36,
        /// Commit or roll back.
        EndTransaction = 37,
        /// The clients of a group.
        ConsumerListByGroup = 38,
        /// Broker to producer: check the outcome of this transaction.
        CheckTransactionState = 39,
        /// Broker to consumer: the group has changed.
        NotifyConsumerIdsChanged = 40,
        /// Lock queues for ordered consumption.
        LockBatchQueues = 41,
        /// Release the locks.
        UnlockBatchQueues = 42,
        /// All offsets, for a slave.
        AllConsumerOffset = 43,
        /// Delay progress, for a slave.
        AllDelayOffset = 45,
        /// Check a filter expression.
        CheckClientConfig = 46,
        /// Timer progress, for a slave.
        TimerCheckPoint = 60,
        /// Timer counts, for a slave.
        TimerMetrics = 61,
        /// Store a value in the namesrv.
        PutKvConfig = 100,
        /// Read it.
        KvConfig = 101,
        /// Delete it.
        DeleteKvConfig = 102,
        /// Register a broker and its topics.
        RegisterBroker = 103,
        /// Unregister a broker.
        UnregisterBroker = 104,
        /// The route of a topic.
        RouteInfoByTopic = 105,
        /// All brokers of all clusters.
        BrokerClusterInfo = 106,
        /// Create or change a consumer group.
        UpdateAndCreateSubscriptionGroup = 200,
        /// All groups of a broker.
        AllSubscriptionGroupConfig = 201,
        /// Offsets of every queue of a topic.
        TopicStatsInfo = 202,
        /// The connected clients of a group.
        ConsumerConnectionList = 203,
        /// The connected clients of a producer group.
        ProducerConnectionList = 204,
        /// Remove the write permission of a broker from all routes.
        WipeWritePermOfBroker = 205,
        /// All topics.
        AllTopicListFromNamesrv = 206,
        /// Delete a group.
        DeleteSubscriptionGroup = 207,
        /// The lag of a group.
        ConsumeStats = 208,
        /// Delete a topic.
        DeleteTopicInBroker = 215,
        /// Remove a topic from the routes.
        DeleteTopicInNamesrv = 216,
        /// Add a topic's queues.
        RegisterTopicInNamesrv = 217,
        /// All values of a namespace.
        KvListByNamespace = 219,
        /// Broker to consumer: reset to these offsets.
        ResetConsumerClientOffset = 220,
        /// Broker to consumer: report the offsets.
        ConsumerStatusFromClient = 221,
        /// Reset a group to a time.
        InvokeBrokerToResetOffset = 222,
        /// Ask the clients of a group for their offsets.
        InvokeBrokerToGetConsumerStatus = 223,
        /// Topics of a cluster.
        TopicsByCluster = 224,
        /// Create or change several groups.
        UpdateAndCreateSubscriptionGroupList = 225,
        /// The groups that consume a topic.
        QueryTopicConsumeByWho = 300,
        /// The age of what a group has not consumed.
        QueryConsumeTimeSpan = 303,
        /// Topics of the system.
        SystemTopicListFromNamesrv = 304,
        /// Topics of the system, by a broker.
        SystemTopicListFromBroker = 305,
        /// Delete queue files that only refer to deleted messages.
        CleanExpiredConsumeQueue = 306,
        /// A client's runtime information, relayed.
        ConsumerRunningInfo = 307,
        /// Offsets of several groups compared.
        QueryCorrectionOffset = 308,
        /// Deliver one message to one client, relayed.
        ConsumeMessageDirectly = 309,
        /// Store a message (one-letter field names).
        SendMessageV2 = 310,
        /// Topics with the unit flag.
        UnitTopicList = 311,
        /// Topics with the unit-subscription flag.
        HasUnitSubTopicList = 312,
        /// Topics with the second flag but not the first.
        HasUnitSubUnUnitTopicList = 313,
        /// Copy a group's offsets to another group.
        CloneGroupOffset = 314,
        /// A counter by name.
        ViewBrokerStatsData = 315,
        /// Delete queues of topics that are gone.
        CleanUnusedTopic = 316,
        /// The lag of all groups.
        BrokerConsumeStats = 317,
        /// Change settings of a running namesrv.
        UpdateNamesrvConfig = 318,
        /// Its settings.
        NamesrvConfig = 319,
        /// Store several messages of one queue.
        SendBatchMessage = 320,
        /// Entries of a consume queue.
        QueryConsumeQueue = 321,
        /// Whether this broker's topic table has changed since the given version.
        QueryDataVersion = 322,
        /// Check a half message again.
        ResumeCheckHalfMessage = 323,
        /// Reply to a request message (long field names).
        SendReplyMessage = 324,
        /// Reply to a request message.
        SendReplyMessageV2 = 325,
        /// Broker to producer: the response to its request message.
        PushReplyMessageToClient = 326,
        /// Restore a broker's write permission.
        AddWritePermOfBroker = 327,
        /// All producers.
        AllProducerInfo = 328,
        /// Run retention now.
        DeleteExpiredCommitLog = 329,
        /// One topic.
        TopicConfig = 351,
        /// One group.
        SubscriptionGroupConfig = 352,
        /// Pull of a lite consumer.
        LitePullMessage = 361,
        /// Take a delayed message back.
        RecallMessage = 370,
        /// Let the broker assign queues.
        QueryAssignment = 400,
        /// Pull or pop for a group.
        SetMessageRequestMode = 401,
        /// The same, for a slave.
        AllMessageRequestMode = 402,
        /// The members of a broker group.
        BrokerMemberGroup = 901,
        /// A broker's heartbeat.
        BrokerHeartbeat = 904,
        /// Namesrv to broker: the lowest id of your group changed.
        NotifyMinBrokerIdChange = 905,
        /// Master and slave exchange addresses.
        ExchangeBrokerHaInfo = 906,
        /// State of replication.
        BrokerHaStatus = 907,
        /// Set the flushed offset of its master that a slave holds.
        ResetMasterFlushOffset = 908,
        /// The epochs of a broker's log.
        BrokerEpochCache = 1007,
        /// Decides about a master that accepts no writes, because its log is empty or shorter than
        /// a slave's. Not a code of Java's.
        RecoverMaster = 1900,
        /// What the flow control of cold data has counted.
        ColdDataFlowControlInfo = 2003,
        /// Create a user.
        AuthCreateUser = 3001,
        /// Change a user.
        AuthUpdateUser = 3002,
        /// Delete a user.
        AuthDeleteUser = 3003,
        /// One user.
        AuthGetUser = 3004,
        /// Users.
        AuthListUser = 3005,
        /// Create an access rule.
        AuthCreateAcl = 3006,
        /// Change it.
        AuthUpdateAcl = 3007,
        /// Delete it.
        AuthDeleteAcl = 3008,
        /// The rules of a subject.
        AuthGetAcl = 3009,
        /// Rules.
        AuthListAcl = 3010,
        /// Pop messages: take them for a limited time.
        PopMessage = 200050,
        /// Acknowledge one.
        AckMessage = 200051,
        /// Read without taking.
        PeekMessage = 200052,
        /// Change the invisible time of one.
        ChangeMessageInvisibleTime = 200053,
        /// Wait until there is something to pop.
        Notification = 200054,
        /// How many pops are parked.
        PollingInfo = 200055,
        /// Acknowledge several.
        BatchAckMessage = 200151,
    }
}
