//! Finding messages: requests 12, 33, 309, 321, 323 and their answers.

use super::header;

header! {
    /// 12: by key, or by unique id if the extra field `_UNIQUE_KEY_QUERY` is "true".
    QueryMessage<'a> {
        topic: &'a str = "topic",
        key: &'a str = "key",
        max: i32 = "maxNum",
        /// Milliseconds since 1970.
        begin: i64 = "beginTimestamp",
        end: i64 = "endTimestamp",
        unique_key: Option<bool> = "_UNIQUE_KEY_QUERY",
    }

    /// Where the index stands.
    QueryMessageResponse {
        last_update_timestamp: i64 = "indexLastUpdateTimestamp",
        last_update_offset: i64 = "indexLastUpdatePhyoffset",
    }

    /// 33.
    ViewMessage<'a> {
        topic: Option<&'a str> = "topic",
        /// In the commit log.
        offset: i64 = "offset",
    }

    /// 309, relayed to the client with the message as body.
    ConsumeMessageDirectly<'a> {
        consumer_group: &'a str = "consumerGroup",
        client_id: Option<&'a str> = "clientId",
        message_id: Option<&'a str> = "msgId",
        broker_name: Option<&'a str> = "brokerName",
        topic: Option<&'a str> = "topic",
        topic_sys_flag: Option<i32> = "topicSysFlag",
        group_sys_flag: Option<i32> = "groupSysFlag",
    }

    /// 321.
    QueryConsumeQueue<'a> {
        topic: &'a str = "topic",
        queue_id: i32 = "queueId",
        index: i64 = "index",
        count: i32 = "count",
        consumer_group: Option<&'a str> = "consumerGroup",
    }

    /// 323.
    ResumeCheckHalfMessage<'a> {
        topic: Option<&'a str> = "topic",
        message_id: Option<&'a str> = "msgId",
    }
}
