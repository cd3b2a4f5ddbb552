//! Offsets of groups and queues: 14, 15, 29 to 32.

use crate::{
    consumer_offset::ConsumerOffsets,
    error::{Answer, Rejection},
    subscription_group::SubscriptionGroups,
    topic::Topics,
};
use rmq_protocol::{
    Command, Reply, ResponseCode,
    header::{
        Header, OffsetResponse, QueryConsumerOffset, QueueRequest, SearchOffset, TimestampResponse,
        UpdateConsumerOffset,
    },
};
use rmq_store::{Boundary, MessageStore};
use std::sync::Arc;

/// Handles of these requests.
pub(crate) struct Offsets {
    pub(crate) store: Arc<MessageStore>,
    pub(crate) topics: Arc<Topics>,
    pub(crate) groups: Arc<SubscriptionGroups>,
    pub(crate) offsets: Arc<ConsumerOffsets>,
}

fn offset(offset: i64) -> Answer {
    Ok(Reply::with(&OffsetResponse { offset }))
}

impl Offsets {
    /// 14: a group without an offset begins at 0 if the queue's first message is still there and recent, so that a new group misses nothing of a young
    /// topic; else the client decides.
    pub(crate) fn query(&self, request: &Command) -> Answer {
        let header = QueryConsumerOffset::decode(&request.fields)?;
        if let Some(committed) = self.offsets.committed(header.topic, header.consumer_group, header.queue_id) {
            return offset(committed);
        }
        let first = self.store.min_offset(header.topic, header.queue_id);
        if header.set_zero_if_not_found != Some(false) && first == 0 && self.is_recent(header.topic, header.queue_id) {
            return offset(0);
        }
        Err(Rejection::new(
            ResponseCode::QueryNotFound,
            format!(
                "the group {} has no offset in queue {} of {}",
                header.consumer_group, header.queue_id, header.topic
            ),
        ))
    }

    /// The first message of the queue is likely in memory, or there is none yet.
    fn is_recent(&self, topic: &str, queue_id: i32) -> bool {
        match self.store.physical_offset(topic, queue_id, 0) {
            Ok(Some(offset)) => self.store.is_in_memory(offset),
            Ok(None) => self.store.max_offset(topic, queue_id) == 0,
            Err(_) => false,
        }
    }

    /// 15.
    pub(crate) fn update(&self, request: &Command) -> Answer {
        let header = UpdateConsumerOffset::decode(&request.fields)?;
        if self.topics.find(header.topic).is_none() {
            return Err(Rejection::no_topic(header.topic));
        }
        if self.groups.find(header.consumer_group).is_none() {
            return Err(Rejection::no_group(header.consumer_group));
        }
        if header.queue_id < 0 || header.commit_offset < 0 {
            return Err(Rejection::invalid("queue id and offset cannot be negative"));
        }
        self.offsets.commit(header.topic, header.consumer_group, header.queue_id, header.commit_offset);
        Ok(Reply::ok())
    }

    /// 29.
    pub(crate) fn search(&self, request: &Command) -> Answer {
        let header = SearchOffset::decode(&request.fields)?;
        let boundary = match header.boundary {
            Some(boundary) if boundary.eq_ignore_ascii_case("upper") => Boundary::Upper,
            _ => Boundary::Lower,
        };
        offset(self.store.offset_by_time(header.topic, header.queue_id, header.timestamp, boundary)? as i64)
    }

    /// 30.
    pub(crate) fn max(&self, request: &Command) -> Answer {
        let header = QueueRequest::decode(&request.fields)?;
        offset(self.store.max_offset(header.topic, header.queue_id) as i64)
    }

    /// 31.
    pub(crate) fn min(&self, request: &Command) -> Answer {
        let header = QueueRequest::decode(&request.fields)?;
        offset(self.store.min_offset(header.topic, header.queue_id) as i64)
    }

    /// 32.
    pub(crate) fn earliest(&self, request: &Command) -> Answer {
        let header = QueueRequest::decode(&request.fields)?;
        let first = self.store.min_offset(header.topic, header.queue_id);
        let timestamp = self.store.store_timestamp(header.topic, header.queue_id, first)?.unwrap_or(-1);
        Ok(Reply::with(&TimestampResponse { timestamp }))
    }
}
