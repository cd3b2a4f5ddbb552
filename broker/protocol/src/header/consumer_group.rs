//! Groups and their clients: requests 35, 38, 40, 201, 203, 204, 207, 208, 223, 303, 307, 352 and
//! their responses.

use super::header;

header! {
    /// 35.
    UnregisterClient<S> {
        client_id: S = "clientID",
        producer_group: Option<S> = "producerGroup",
        consumer_group: Option<S> = "consumerGroup",
    }

    /// 38, 40, 203 and others: a consumer group.
    ConsumerGroupRequest<S> {
        consumer_group: S = "consumerGroup",
    }

    /// 204: a producer group.
    ProducerGroupRequest<S> {
        producer_group: S = "producerGroup",
    }

    /// The response to a heartbeat.
    HeartbeatResponse {
        /// The broker understands fingerprints.
        supports_v2: bool = "IS_SUPPORT_HEART_BEAT_V2",
        /// Send the subscriptions again in full.
        subscription_changed: bool = "IS_SUB_CHANGE",
    }

    /// 201: optionally in parts; without fields all of them.
    AllGroupConfig<S> {
        sequence: Option<i32> = "groupSeq",
        data_version: Option<S> = "dataVersion",
        max: Option<i32> = "maxGroupNum",
    }

    /// How many there are.
    AllGroupConfigResponse {
        total: Option<i32> = "totalGroupNum",
    }

    /// 352.
    GroupRequest<S> {
        group: S = "group",
    }

    /// 207.
    DeleteGroup<S> {
        group: S = "groupName",
        /// With its offsets.
        clean_offset: Option<bool> = "cleanOffset",
    }

    /// 208.
    ConsumeStats<S> {
        consumer_group: S = "consumerGroup",
        /// Empty or absent: all topics of the group.
        topic: Option<S> = "topic",
        /// With an absent topic: these alone, each followed by `;`.
        topics: Option<S> = "topicList",
    }

    /// 223, and 221 to the client.
    ConsumerStatus<S> {
        topic: S = "topic",
        group: S = "group",
        client_address: Option<S> = "clientAddr",
    }

    /// 303.
    QueryConsumeTimeSpan<S> {
        topic: S = "topic",
        group: S = "group",
    }

    /// 307, relayed to the client.
    ConsumerRunningInfo<S> {
        consumer_group: S = "consumerGroup",
        client_id: S = "clientId",
        stack_trace: Option<bool> = "jstackEnable",
    }
}
