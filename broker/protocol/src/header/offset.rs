//! Offsets of queues and groups: requests 14, 15, 29 to 32, 222, 314 and their answers.

use super::header;

header! {
    /// 14.
    QueryConsumerOffset<'a> {
        consumer_group: &'a str = "consumerGroup",
        topic: &'a str = "topic",
        queue_id: i32 = "queueId",
        /// Said "false" on purpose: no offset is "not found" rather than 0.
        set_zero_if_not_found: Option<bool> = "setZeroIfNotFound",
    }

    /// 15.
    UpdateConsumerOffset<'a> {
        consumer_group: &'a str = "consumerGroup",
        topic: &'a str = "topic",
        queue_id: i32 = "queueId",
        commit_offset: i64 = "commitOffset",
    }

    /// 29.
    SearchOffset<'a> {
        topic: &'a str = "topic",
        queue_id: i32 = "queueId",
        /// Milliseconds since 1970.
        timestamp: i64 = "timestamp",
        /// `LOWER` (also if absent): the first message at or after the time. `UPPER`: the last at or before it.
        boundary: Option<&'a str> = "boundaryType",
    }

    /// 30, 31, 32: a queue.
    QueueRequest<'a> {
        topic: &'a str = "topic",
        queue_id: i32 = "queueId",
    }

    /// An offset.
    OffsetResponse {
        offset: i64 = "offset",
    }

    /// A time in milliseconds since 1970.
    TimestampResponse {
        timestamp: i64 = "timestamp",
    }

    /// 222: move a group; the body of the answer has the offsets.
    ResetOffset<'a> {
        topic: &'a str = "topic",
        group: &'a str = "group",
        /// -1 (also if absent): all.
        queue_id: Option<i32> = "queueId",
        /// To this offset rather than to a time.
        offset: Option<i64> = "offset",
        /// Milliseconds since 1970; -1: the end.
        timestamp: i64 = "timestamp",
        /// Also forward.
        force: bool = "isForce",
    }

    /// 220: broker to consumer.
    ResetConsumerClientOffset<'a> {
        topic: &'a str = "topic",
        group: &'a str = "group",
        timestamp: i64 = "timestamp",
        force: bool = "isForce",
    }

    /// 314.
    CloneGroupOffset<'a> {
        source_group: &'a str = "srcGroup",
        target_group: &'a str = "destGroup",
        topic: Option<&'a str> = "topic",
        offline: Option<bool> = "offline",
    }

    /// 308.
    QueryCorrectionOffset<'a> {
        /// Joined by commas.
        filter_groups: Option<&'a str> = "filterGroups",
        compare_group: &'a str = "compareGroup",
        topic: &'a str = "topic",
    }
}
