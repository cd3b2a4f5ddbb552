//! Groups and their clients: requests 35, 38, 40, 201, 203, 204, 207, 208, 223, 303, 307, 352 and their answers.

use super::header;

header! {
    /// 35.
    UnregisterClient<'a> {
        client_id: &'a str = "clientID",
        producer_group: Option<&'a str> = "producerGroup",
        consumer_group: Option<&'a str> = "consumerGroup",
    }

    /// 38, 40, 203 and others: a consumer group.
    ConsumerGroupRequest<'a> {
        consumer_group: &'a str = "consumerGroup",
    }

    /// 204: a producer group.
    ProducerGroupRequest<'a> {
        producer_group: &'a str = "producerGroup",
    }

    /// The answer to a heartbeat.
    HeartbeatResponse {
        /// The broker understands fingerprints.
        supports_v2: bool = "IS_SUPPORT_HEART_BEAT_V2",
        /// Send the subscriptions again in full.
        subscription_changed: bool = "IS_SUB_CHANGE",
    }

    /// 201: optionally in parts; without fields all of them.
    AllGroupConfig<'a> {
        sequence: Option<i32> = "groupSeq",
        data_version: Option<&'a str> = "dataVersion",
        max: Option<i32> = "maxGroupNum",
    }

    /// How many there are.
    AllGroupConfigResponse {
        total: Option<i32> = "totalGroupNum",
    }

    /// 352.
    GroupRequest<'a> {
        group: &'a str = "group",
    }

    /// 207.
    DeleteGroup<'a> {
        group: &'a str = "groupName",
        /// With its offsets.
        clean_offset: Option<bool> = "cleanOffset",
    }

    /// 208.
    ConsumeStats<'a> {
        consumer_group: &'a str = "consumerGroup",
        /// Empty or absent: all topics of the group.
        topic: Option<&'a str> = "topic",
        /// With an absent topic: these alone, each followed by `;`.
        topics: Option<&'a str> = "topicList",
    }

    /// 223, and 221 to the client.
    ConsumerStatus<'a> {
        topic: &'a str = "topic",
        group: &'a str = "group",
        client_address: Option<&'a str> = "clientAddr",
    }

    /// 303.
    QueryConsumeTimeSpan<'a> {
        topic: &'a str = "topic",
        group: &'a str = "group",
    }

    /// 307, relayed to the client.
    ConsumerRunningInfo<'a> {
        consumer_group: &'a str = "consumerGroup",
        client_id: &'a str = "clientId",
        stack_trace: Option<bool> = "jstackEnable",
    }
}
