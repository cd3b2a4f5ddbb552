//! Sending: requests 10, 310, 320, 36, 37, 39, 324 to 326, 370 and their responses.

use super::header;

header! {
    /// 10 and 324: a message, its body in the command's body.
    SendMessage<S> {
        producer_group: S = "producerGroup",
        topic: S = "topic",
        /// The topic whose settings a new topic takes.
        default_topic: S = "defaultTopic",
        default_topic_queues: i32 = "defaultTopicQueueNums",
        /// Negative: the broker picks one.
        queue_id: i32 = "queueId",
        /// See [`crate::message::sys_flag`].
        sys_flag: i32 = "sysFlag",
        /// Milliseconds since 1970.
        born_timestamp: i64 = "bornTimestamp",
        /// The application's own bits.
        flag: i32 = "flag",
        /// See [`crate::message::properties`].
        properties: Option<S> = "properties",
        reconsume_times: Option<i32> = "reconsumeTimes",
        unit_mode: Option<bool> = "unitMode",
        /// The body holds several messages.
        batch: Option<bool> = "batch",
        max_reconsume_times: Option<i32> = "maxReconsumeTimes",
    }

    /// 310, 320 and 325: the same under one-letter names.
    SendMessageV2<S> {
        producer_group: S = "a",
        topic: S = "b",
        /// The topic whose settings a new topic takes.
        default_topic: S = "c",
        default_topic_queues: i32 = "d",
        /// Negative: the broker picks one.
        queue_id: i32 = "e",
        /// See [`crate::message::sys_flag`].
        sys_flag: i32 = "f",
        /// Milliseconds since 1970.
        born_timestamp: i64 = "g",
        /// The application's own bits.
        flag: i32 = "h",
        /// See [`crate::message::properties`].
        properties: Option<S> = "i",
        reconsume_times: Option<i32> = "j",
        unit_mode: Option<bool> = "k",
        max_reconsume_times: Option<i32> = "l",
        /// The body holds several messages.
        batch: Option<bool> = "m",
        broker_name: Option<S> = "n",
    }

    /// The response to a send.
    SendMessageResponse<S> {
        /// The offset id; of a batch all of them, joined by commas.
        message_id: S = "msgId",
        queue_id: i32 = "queueId",
        /// Of a batch the first.
        queue_offset: i64 = "queueOffset",
        transaction_id: Option<S> = "transactionId",
        batch_unique_id: Option<S> = "batchUniqId",
        recall_handle: Option<S> = "recallHandle",
        /// Clients read the region of their traces here.
        region: Option<S> = "MSG_REGION",
        trace_on: Option<bool> = "TRACE_ON",
    }

    /// 36: a consumer returns a message for a later retry.
    ConsumerSendMessageBack<S> {
        /// Position of the message in the commit log.
        offset: i64 = "offset",
        group: S = "group",
        /// Negative: to the dead letters. Zero: the broker chooses by the number of attempts.
        delay_level: i32 = "delayLevel",
        origin_message_id: Option<S> = "originMsgId",
        origin_topic: Option<S> = "originTopic",
        unit_mode: Option<bool> = "unitMode",
        max_reconsume_times: Option<i32> = "maxReconsumeTimes",
    }

    /// 37: the outcome of a transaction.
    EndTransaction<S> {
        topic: Option<S> = "topic",
        producer_group: S = "producerGroup",
        /// Offset of the half message in its queue.
        transaction_offset: i64 = "tranStateTableOffset",
        commit_log_offset: i64 = "commitLogOffset",
        /// 8 commit, 12 roll back, 0 unknown.
        commit_or_rollback: i32 = "commitOrRollback",
        from_check: Option<bool> = "fromTransactionCheck",
        message_id: S = "msgId",
        transaction_id: Option<S> = "transactionId",
    }

    /// 39: checks the outcome of a transaction.
    CheckTransactionState<S> {
        topic: Option<S> = "topic",
        transaction_offset: i64 = "tranStateTableOffset",
        commit_log_offset: i64 = "commitLogOffset",
        message_id: Option<S> = "msgId",
        transaction_id: Option<S> = "transactionId",
        offset_message_id: Option<S> = "offsetMsgId",
    }

    /// 326: the response to a request message, pushed to the client that sent the request.
    ReplyMessage<S> {
        producer_group: S = "producerGroup",
        topic: S = "topic",
        default_topic: S = "defaultTopic",
        default_topic_queues: i32 = "defaultTopicQueueNums",
        queue_id: i32 = "queueId",
        sys_flag: i32 = "sysFlag",
        born_timestamp: i64 = "bornTimestamp",
        flag: i32 = "flag",
        properties: Option<S> = "properties",
        reconsume_times: Option<i32> = "reconsumeTimes",
        unit_mode: Option<bool> = "unitMode",
        born_host: S = "bornHost",
        store_host: S = "storeHost",
        store_timestamp: i64 = "storeTimestamp",
    }

    /// 370: cancel a delayed message.
    RecallMessage<S> {
        producer_group: Option<S> = "producerGroup",
        topic: S = "topic",
        recall_handle: S = "recallHandle",
    }

    /// Its response.
    RecallMessageResponse<S> {
        message_id: S = "msgId",
    }
}

impl<'a> From<SendMessage<'a>> for SendMessageV2<'a> {
    fn from(long: SendMessage<'a>) -> Self {
        Self {
            producer_group: long.producer_group,
            topic: long.topic,
            default_topic: long.default_topic,
            default_topic_queues: long.default_topic_queues,
            queue_id: long.queue_id,
            sys_flag: long.sys_flag,
            born_timestamp: long.born_timestamp,
            flag: long.flag,
            properties: long.properties,
            reconsume_times: long.reconsume_times,
            unit_mode: long.unit_mode,
            max_reconsume_times: long.max_reconsume_times,
            batch: long.batch,
            broker_name: None,
        }
    }
}
