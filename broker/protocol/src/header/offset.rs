//! Offsets of queues and groups: requests 14, 15, 29 to 32, 222, 314 and their responses.

use super::header;

header! {
    /// 14.
    QueryConsumerOffset<S> {
        consumer_group: S = "consumerGroup",
        topic: S = "topic",
        queue_id: i32 = "queueId",
        /// "false" means: a missing offset is "not found" rather than 0.
        set_zero_if_not_found: Option<bool> = "setZeroIfNotFound",
    }

    /// 15.
    UpdateConsumerOffset<S> {
        consumer_group: S = "consumerGroup",
        topic: S = "topic",
        queue_id: i32 = "queueId",
        commit_offset: i64 = "commitOffset",
    }

    /// 29.
    SearchOffset<S> {
        topic: S = "topic",
        queue_id: i32 = "queueId",
        /// Milliseconds since 1970.
        timestamp: i64 = "timestamp",
        /// `LOWER` (also if absent): the first message at or after the time. `UPPER`: the last at
        /// or before it.
        boundary: Option<S> = "boundaryType",
    }

    /// 30, 31, 32: a queue.
    QueueRequest<S> {
        topic: S = "topic",
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

    /// 222: move a group; the body of the response has the offsets.
    ResetOffset<S> {
        topic: S = "topic",
        group: S = "group",
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
    ResetConsumerClientOffset<S> {
        topic: S = "topic",
        group: S = "group",
        timestamp: i64 = "timestamp",
        force: bool = "isForce",
    }

    /// 314.
    CloneGroupOffset<S> {
        source_group: S = "srcGroup",
        target_group: S = "destGroup",
        topic: Option<S> = "topic",
        offline: Option<bool> = "offline",
    }

    /// 308.
    QueryCorrectionOffset<S> {
        /// Joined by commas.
        filter_groups: Option<S> = "filterGroups",
        compare_group: S = "compareGroup",
        topic: S = "topic",
    }
}
