//! What brokers and operators tell a namesrv: requests 100 to 104, 205, 219, 322, 327, 901, 904 and their answers.

use super::header;

header! {
    /// 100.
    PutKvConfig<'a> {
        namespace: &'a str = "namespace",
        key: &'a str = "key",
        value: &'a str = "value",
    }

    /// 101, 102.
    KvConfigKey<'a> {
        namespace: &'a str = "namespace",
        key: &'a str = "key",
    }

    /// The value, if there is one.
    KvConfigResponse<'a> {
        value: Option<&'a str> = "value",
    }

    /// 219.
    KvNamespace<'a> {
        namespace: &'a str = "namespace",
    }

    /// 103: a broker; its topics are the body ([`crate::body::RegisterBrokerBody`]).
    RegisterBroker<'a> {
        broker_name: &'a str = "brokerName",
        broker_address: &'a str = "brokerAddr",
        cluster_name: &'a str = "clusterName",
        ha_server_address: &'a str = "haServerAddr",
        broker_id: i64 = "brokerId",
        /// After so many milliseconds of silence the broker is gone; absent: the namesrv's own limit.
        heartbeat_timeout: Option<i64> = "heartbeatTimeoutMillis",
        enable_acting_master: Option<bool> = "enableActingMaster",
        compressed: Option<bool> = "compressed",
        /// Of the body as sent; 0: unchecked.
        body_crc32: Option<i32> = "bodyCrc32",
    }

    /// Where a slave finds its master.
    RegisterBrokerResponse<'a> {
        ha_server_address: Option<&'a str> = "haServerAddr",
        master_address: Option<&'a str> = "masterAddr",
        /// The address of another living broker with the same name and id. Java has no such field, and passes it over.
        contested_by: Option<&'a str> = "contestedBy",
    }

    /// 104, 322: a broker.
    BrokerIdentity<'a> {
        broker_name: &'a str = "brokerName",
        broker_address: &'a str = "brokerAddr",
        cluster_name: &'a str = "clusterName",
        broker_id: i64 = "brokerId",
    }

    /// The answer to 322; the body is the version the namesrv has.
    QueryDataVersionResponse {
        changed: bool = "changed",
    }

    /// 205, 327: all brokers of a name.
    BrokerNameRequest<'a> {
        broker_name: &'a str = "brokerName",
    }

    /// The answer to 205.
    WipeWritePermResponse {
        topics: i32 = "wipeTopicCount",
    }

    /// The answer to 327.
    AddWritePermResponse {
        topics: i32 = "addTopicCount",
    }

    /// 901.
    MemberGroup<'a> {
        cluster_name: &'a str = "clusterName",
        broker_name: &'a str = "brokerName",
    }

    /// 904.
    BrokerHeartbeat<'a> {
        cluster_name: &'a str = "clusterName",
        broker_address: &'a str = "brokerAddr",
        broker_name: &'a str = "brokerName",
        broker_id: Option<i64> = "brokerId",
        epoch: Option<i32> = "epoch",
        max_offset: Option<i64> = "maxOffset",
        confirm_offset: Option<i64> = "confirmOffset",
        /// Milliseconds. The spelling is Java's.
        heartbeat_timeout: Option<i64> = "heartbeatTimeoutMills",
        election_priority: Option<i32> = "electionPriority",
    }

    /// 905.
    NotifyMinBrokerIdChange<'a> {
        min_broker_id: Option<i64> = "minBrokerId",
        broker_name: Option<&'a str> = "brokerName",
        min_broker_address: Option<&'a str> = "minBrokerAddr",
        offline_broker_address: Option<&'a str> = "offlineBrokerAddr",
        ha_broker_address: Option<&'a str> = "haBrokerAddr",
    }
}
