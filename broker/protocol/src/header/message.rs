//! Queries for messages: requests 12, 33, 309, 321, 323 and their responses.

use super::header;

header! {
    /// 12: by key, or by unique id if the extra field `_UNIQUE_KEY_QUERY` is "true".
    QueryMessage<S> {
        topic: S = "topic",
        key: S = "key",
        max: i32 = "maxNum",
        /// Milliseconds since 1970.
        begin: i64 = "beginTimestamp",
        end: i64 = "endTimestamp",
        unique_key: Option<bool> = "_UNIQUE_KEY_QUERY",
    }

    /// The position of the index.
    QueryMessageResponse {
        last_update_timestamp: i64 = "indexLastUpdateTimestamp",
        last_update_offset: i64 = "indexLastUpdatePhyoffset",
    }

    /// 33.
    ViewMessage<S> {
        topic: Option<S> = "topic",
        /// In the commit log.
        offset: i64 = "offset",
    }

    /// 309, relayed to the client with the message as body.
    ConsumeMessageDirectly<S> {
        consumer_group: S = "consumerGroup",
        client_id: Option<S> = "clientId",
        message_id: Option<S> = "msgId",
        broker_name: Option<S> = "brokerName",
        topic: Option<S> = "topic",
        topic_sys_flag: Option<i32> = "topicSysFlag",
        group_sys_flag: Option<i32> = "groupSysFlag",
    }

    /// 321.
    QueryConsumeQueue<S> {
        topic: S = "topic",
        queue_id: i32 = "queueId",
        index: i64 = "index",
        count: i32 = "count",
        consumer_group: Option<S> = "consumerGroup",
    }

    /// 323.
    ResumeCheckHalfMessage<S> {
        topic: Option<S> = "topic",
        message_id: Option<S> = "msgId",
    }
}
