//! Pop consumption: requests 200050 to 200055, 200151 and their responses.

use super::header;

header! {
    /// Take messages for a time.
    PopMessage<S> {
        consumer_group: S = "consumerGroup",
        topic: S = "topic",
        /// -1: all queues.
        queue_id: i32 = "queueId",
        max_messages: i32 = "maxMsgNums",
        /// Milliseconds.
        invisible_time: i64 = "invisibleTime",
        /// How long to wait, in milliseconds.
        poll_time: i64 = "pollTime",
        born_time: i64 = "bornTime",
        /// Where a new group begins: 0 the oldest message, 1 the next one.
        init_mode: i32 = "initMode",
        expression_type: Option<S> = "expType",
        expression: Option<S> = "exp",
        order: Option<bool> = "order",
        attempt_id: Option<S> = "attemptId",
    }

    /// What was taken.
    PopMessageResponse<S> {
        pop_time: i64 = "popTime",
        invisible_time: i64 = "invisibleTime",
        revive_queue_id: i32 = "reviveQid",
        rest: i64 = "restNum",
        start_offset_info: Option<S> = "startOffsetInfo",
        message_offset_info: Option<S> = "msgOffsetInfo",
        order_count_info: Option<S> = "orderCountInfo",
    }

    /// Done with one.
    AckMessage<S> {
        consumer_group: S = "consumerGroup",
        topic: S = "topic",
        queue_id: i32 = "queueId",
        extra_info: S = "extraInfo",
        offset: i64 = "offset",
    }

    /// Keep one longer.
    ChangeInvisibleTime<S> {
        consumer_group: S = "consumerGroup",
        topic: S = "topic",
        queue_id: i32 = "queueId",
        extra_info: S = "extraInfo",
        offset: i64 = "offset",
        /// Milliseconds from now.
        invisible_time: i64 = "invisibleTime",
    }

    /// The new receipt's parts.
    ChangeInvisibleTimeResponse {
        pop_time: i64 = "popTime",
        invisible_time: i64 = "invisibleTime",
        revive_queue_id: i32 = "reviveQid",
    }

    /// Wait until there is something to pop.
    Notification<S> {
        consumer_group: S = "consumerGroup",
        topic: S = "topic",
        queue_id: i32 = "queueId",
        poll_time: i64 = "pollTime",
        born_time: i64 = "bornTime",
        order: Option<bool> = "order",
        attempt_id: Option<S> = "attemptId",
    }

    /// Is there?
    NotificationResponse {
        has_message: bool = "hasMsg",
        polling_full: Option<bool> = "pollingFull",
    }
}
