//! The response to a pull.

use super::check::Checked;
use bytes::Bytes;
use rmq_protocol::{body::SubscriptionGroup, header::PullMessageResponse};
use rmq_store::{GetStatus, Got, QueueOffset};
use std::ops::RangeInclusive;

/// The result of a pull.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PullStatus {
    Found,
    /// There is nothing to read. The client pulls again.
    NotFound,
    /// No message among those examined matches. The client continues at the next offset at once.
    RetryAtOnce,
    /// The offset is outside of the queue. The client continues at the next offset.
    OffsetMoved,
}

/// The outcome of a pull.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pulled {
    pub(crate) status: PullStatus,
    /// An explanation for people.
    pub(crate) remark: String,
    /// The offset to continue at, and the broker to pull from.
    pub(crate) next: PullMessageResponse,
    /// Slices of the commit log.
    pub(crate) records: Vec<Bytes>,
}

/// The outcome with messages.
pub(super) fn found(got: Got, checked: &Checked, slaves_read: bool) -> Pulled {
    let next = next(&got, suggested(&got, &checked.group, slaves_read), checked);
    Pulled { status: PullStatus::Found, remark: "FOUND".to_owned(), next, records: got.records }
}

/// The outcome without a message.
pub(super) fn nothing(got: &Got, status: PullStatus, suggested: i64, checked: &Checked) -> Pulled {
    let remark = format!("{:?}", got.status);
    Pulled { status, remark, next: next(got, suggested, checked), records: Vec::new() }
}

/// The response to a negative offset. `held` is the range of offsets in the queue.
pub(super) fn before_the_queue(asked: i64, held: RangeInclusive<QueueOffset>, checked: &Checked) -> Pulled {
    let (min, max) = held.into_inner();
    let next = PullMessageResponse {
        next_offset: min.to_wire(),
        min_offset: min.to_wire(),
        max_offset: max.to_wire(),
        ..flags(checked)
    };
    let remark = format!("OffsetTooSmall: the queueOffset {asked} is outside of {min}..={max}");
    Pulled { status: PullStatus::OffsetMoved, remark, next, records: Vec::new() }
}

fn next(got: &Got, suggested_broker_id: i64, checked: &Checked) -> PullMessageResponse {
    PullMessageResponse {
        suggested_broker_id,
        next_offset: got.next_offset.to_wire(),
        min_offset: got.min_offset.to_wire(),
        max_offset: got.max_offset.to_wire(),
        ..flags(checked)
    }
}

fn flags(checked: &Checked) -> PullMessageResponse {
    PullMessageResponse {
        offset_delta: Some(0),
        topic_sys_flag: Some(checked.topic_sys_flag),
        group_sys_flag: Some(checked.group.group_sys_flag),
        ..PullMessageResponse::default()
    }
}

/// The broker that the client should pull from next: 0 is the master, 1 a slave. A slave sends
/// clients back to the master when they have caught up. `slaves_read` is true if slaves serve reads
/// in this group, or if this broker is a slave.
pub(super) fn suggested(got: &Got, group: &SubscriptionGroup, slaves_read: bool) -> i64 {
    match (slaves_read, got.far_behind) {
        (true, true) => group.which_broker_when_consume_slowly,
        (true, false) => group.broker_id,
        (false, _) => 0,
    }
}

/// The status when there is no message. A slave that follows its master sends the client back to
/// the master at once. A slave whose master is gone answers as a master does, but never corrects an
/// offset, because it may lack messages that the master had.
pub(super) fn status_of_nothing(status: GetStatus, asked: i64, slave: bool, follows: bool) -> PullStatus {
    match status {
        GetStatus::Found => PullStatus::Found,
        GetStatus::MessageWasRemoving | GetStatus::NoMatchedMessage => PullStatus::RetryAtOnce,
        _ if follows => PullStatus::RetryAtOnce,
        _ if slave => PullStatus::NotFound,
        GetStatus::NoMatchedLogicQueue | GetStatus::NoMessageInQueue if asked != 0 => PullStatus::OffsetMoved,
        GetStatus::NoMatchedLogicQueue | GetStatus::NoMessageInQueue => PullStatus::NotFound,
        GetStatus::OffsetFoundNull | GetStatus::OffsetOverflowOne => PullStatus::NotFound,
        GetStatus::OffsetOverflowBadly | GetStatus::OffsetTooSmall => PullStatus::OffsetMoved,
    }
}
