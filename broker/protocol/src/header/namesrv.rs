//! Requests of brokers and operators to a namesrv: 100 to 104, 205, 219, 322, 327, 901, 904 and
//! their responses.

use super::header;

header! {
    /// 100.
    PutKvConfig<S> {
        namespace: S = "namespace",
        key: S = "key",
        value: S = "value",
    }

    /// 101, 102.
    KvConfigKey<S> {
        namespace: S = "namespace",
        key: S = "key",
    }

    /// The value, if there is one.
    KvConfigResponse<S> {
        value: Option<S> = "value",
    }

    /// 219.
    KvNamespace<S> {
        namespace: S = "namespace",
    }

    /// 103: a broker; its topics are the body ([`crate::body::RegisterBrokerBody`]).
    RegisterBroker<S> {
        broker_name: S = "brokerName",
        broker_address: S = "brokerAddr",
        cluster_name: S = "clusterName",
        ha_server_address: S = "haServerAddr",
        broker_id: i64 = "brokerId",
        /// The broker expires after this many milliseconds without a heartbeat; absent: the
        /// namesrv's own limit.
        heartbeat_timeout: Option<i64> = "heartbeatTimeoutMillis",
        enable_acting_master: Option<bool> = "enableActingMaster",
        compressed: Option<bool> = "compressed",
        /// Of the body as sent; 0: unchecked.
        body_crc32: Option<i32> = "bodyCrc32",
    }

    /// The master's address for replication, for a slave.
    RegisterBrokerResponse<S> {
        ha_server_address: Option<S> = "haServerAddr",
        master_address: Option<S> = "masterAddr",
        /// The address of another living broker with the same name and id. Java has no such field,
        /// and ignores it.
        contested_by: Option<S> = "contestedBy",
    }

    /// 104, 322: a broker.
    BrokerIdentity<S> {
        broker_name: S = "brokerName",
        broker_address: S = "brokerAddr",
        cluster_name: S = "clusterName",
        broker_id: i64 = "brokerId",
    }

    /// The response to 322; the body is the version the namesrv has.
    QueryDataVersionResponse {
        changed: bool = "changed",
    }

    /// 205, 327: all brokers of a name.
    BrokerNameRequest<S> {
        broker_name: S = "brokerName",
    }

    /// The response to 205.
    WipeWritePermResponse {
        topics: i32 = "wipeTopicCount",
    }

    /// The response to 327.
    AddWritePermResponse {
        topics: i32 = "addTopicCount",
    }

    /// 901.
    MemberGroup<S> {
        cluster_name: S = "clusterName",
        broker_name: S = "brokerName",
    }

    /// 904.
    BrokerHeartbeat<S> {
        cluster_name: S = "clusterName",
        broker_address: S = "brokerAddr",
        broker_name: S = "brokerName",
        broker_id: Option<i64> = "brokerId",
        epoch: Option<i32> = "epoch",
        max_offset: Option<i64> = "maxOffset",
        confirm_offset: Option<i64> = "confirmOffset",
        /// Milliseconds. The spelling is Java's.
        heartbeat_timeout: Option<i64> = "heartbeatTimeoutMills",
        election_priority: Option<i32> = "electionPriority",
    }

    /// 905.
    NotifyMinBrokerIdChange<S> {
        min_broker_id: Option<i64> = "minBrokerId",
        broker_name: Option<S> = "brokerName",
        min_broker_address: Option<S> = "minBrokerAddr",
        offline_broker_address: Option<S> = "offlineBrokerAddr",
        ha_broker_address: Option<S> = "haBrokerAddr",
    }
}
