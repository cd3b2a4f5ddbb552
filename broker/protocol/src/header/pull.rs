//! Pulling: requests 11 and 361 and their response.

use super::header;

impl owned::PullMessage {
    /// The same header with borrowed text.
    pub fn borrowed(&self) -> PullMessage<'_> {
        PullMessage {
            consumer_group: &self.consumer_group,
            topic: &self.topic,
            queue_id: self.queue_id,
            queue_offset: self.queue_offset,
            max_messages: self.max_messages,
            sys_flag: self.sys_flag,
            commit_offset: self.commit_offset,
            suspend_timeout: self.suspend_timeout,
            subscription: self.subscription.as_deref(),
            subscription_version: self.subscription_version,
            expression_type: self.expression_type.as_deref(),
            max_bytes: self.max_bytes,
            request_source: self.request_source,
            proxy_forward_client_id: self.proxy_forward_client_id.as_deref(),
        }
    }
}

header! {
    /// Messages of one queue from an offset on.
    PullMessage<S> {
        consumer_group: S = "consumerGroup",
        topic: S = "topic",
        queue_id: i32 = "queueId",
        queue_offset: i64 = "queueOffset",
        max_messages: i32 = "maxMsgNums",
        /// See [`crate::message::sys_flag::pull`].
        sys_flag: i32 = "sysFlag",
        /// Committed as the group's offset if the flag says so.
        commit_offset: i64 = "commitOffset",
        /// How long the broker may wait for messages, in milliseconds.
        suspend_timeout: i64 = "suspendTimeoutMillis",
        /// The filter, if the flag says that the client sends it.
        subscription: Option<S> = "subscription",
        subscription_version: i64 = "subVersion",
        /// `TAG` (also if absent) or `SQL92`.
        expression_type: Option<S> = "expressionType",
        max_bytes: Option<i32> = "maxMsgBytes",
        request_source: Option<i32> = "requestSource",
        /// The client behind a proxy. The spelling is Java's.
        proxy_forward_client_id: Option<S> = "proxyFrowardClientId",
    }

    /// Where to continue, and at which broker.
    PullMessageResponse {
        /// 0: the master; 1: a slave, as the client is far behind.
        suggested_broker_id: i64 = "suggestWhichBrokerId",
        next_offset: i64 = "nextBeginOffset",
        min_offset: i64 = "minOffset",
        max_offset: i64 = "maxOffset",
        offset_delta: Option<i64> = "offsetDelta",
        topic_sys_flag: Option<i32> = "topicSysFlag",
        group_sys_flag: Option<i32> = "groupSysFlag",
        forbidden_type: Option<i32> = "forbiddenType",
    }
}
