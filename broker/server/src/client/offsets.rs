//! Offsets of groups and queues: requests 14, 15, 29 to 32.

use crate::{
    core::Core,
    error::{Reason, Rejection},
    group::{offsets::ConsumerOffsets, subscription::SubscriptionGroups},
    role::CurrentRole,
    topic::Topics,
};
use rmq_protocol::header::owned::{QueryConsumerOffset, QueueRequest, SearchOffset, UpdateConsumerOffset};
use rmq_store::{Boundary, MessageStore, Millis, QueueOffset};
use std::sync::Arc;

/// The state that these requests use.
pub(crate) struct Offsets {
    role: Arc<CurrentRole>,
    store: Arc<MessageStore>,
    topics: Arc<Topics>,
    groups: Arc<SubscriptionGroups>,
    offsets: Arc<ConsumerOffsets>,
}

impl Offsets {
    pub(crate) fn new(core: &Core) -> Self {
        Self {
            role: Arc::clone(&core.role),
            store: Arc::clone(&core.store),
            topics: Arc::clone(&core.topics),
            groups: Arc::clone(&core.groups),
            offsets: Arc::clone(&core.offsets),
        }
    }

    /// Refuses a queue that the topic does not have. A queue that was removed may still hold
    /// messages, and is accepted then.
    fn check_queue(&self, topic: &str, queue_id: i32) -> Result<(), Rejection> {
        let config = self.topics.find(topic).ok_or_else(|| Rejection::no_topic(topic))?;
        let queues = config.read_queue_nums.max(config.write_queue_nums);
        if (0..queues).contains(&queue_id) || self.store.queues(topic).contains(&queue_id) {
            return Ok(());
        }
        Err(Rejection::no_queue(topic, queues, queue_id))
    }

    /// Request 14 without a read: the group has an offset.
    pub(crate) fn committed(&self, header: &QueryConsumerOffset) -> Option<i64> {
        self.offsets.committed(&header.topic, &header.consumer_group, header.queue_id)
    }

    /// Request 14. A group without an offset starts at 0 if the queue's first message still exists
    /// and is recent, so that a new group misses no message of a young topic. Otherwise the client
    /// decides. Reads from the disk: must not run on reactor threads.
    pub(crate) fn query(&self, header: &QueryConsumerOffset) -> Result<i64, Rejection> {
        self.check_queue(&header.topic, header.queue_id)?;
        if let Some(committed) = self.offsets.committed(&header.topic, &header.consumer_group, header.queue_id) {
            return Ok(committed);
        }
        let first = self.store.min_offset(&header.topic, header.queue_id);
        if header.set_zero_if_not_found != Some(false)
            && first == QueueOffset::ZERO
            && self.is_recent(&header.topic, header.queue_id)
        {
            return Ok(0);
        }
        Err(Rejection::new(
            Reason::NotFound,
            format!(
                "the group {} has no offset in queue {} of {}",
                header.consumer_group, header.queue_id, header.topic
            ),
        ))
    }

    /// Whether the first message of the queue is probably in memory, or the queue is empty.
    fn is_recent(&self, topic: &str, queue_id: i32) -> bool {
        match self.store.physical_offset(topic, queue_id, QueueOffset::ZERO) {
            Ok(Some(offset)) => self.store.is_in_memory(offset),
            Ok(None) => self.store.max_offset(topic, queue_id) == QueueOffset::ZERO,
            Err(_) => false,
        }
    }

    /// Request 15.
    pub(crate) fn update(&self, header: &UpdateConsumerOffset, one_way: bool) -> Result<(), Rejection> {
        self.check_queue(&header.topic, header.queue_id)?;
        if self.groups.find(&header.consumer_group).is_none() {
            return Err(Rejection::no_group(&header.consumer_group));
        }
        let Ok(offset) = u64::try_from(header.commit_offset) else {
            return Err(Rejection::number("commitOffset", header.commit_offset, "0 or more is wanted"));
        };
        // A tool, which waits for the response, may set the offset of a group ahead of its queue. A
        // client commits its progress one-way. If that is ahead, it was reached with a log that
        // lost its end since, and the group would skip the next messages. On a slave it was reached
        // with a master that is gone.
        if one_way && !self.role.is_slave() {
            let end = self.store.next_offset(&header.topic, header.queue_id).get();
            if offset > end {
                // A peer may send many of these, so the message is logged at a level that fills no
                // log.
                tracing::debug!(
                    group = header.consumer_group,
                    topic = header.topic,
                    queue_id = header.queue_id,
                    offset,
                    end,
                    "progress beyond the end of a queue is not kept"
                );
                let reason = format!("the commitOffset {offset} is beyond the end of the queue, {end}");
                return Err(Rejection::invalid(reason));
            }
        }
        self.offsets.commit(&header.topic, &header.consumer_group, header.queue_id, header.commit_offset);
        Ok(())
    }

    /// Request 29.
    pub(crate) fn search(&self, header: &SearchOffset) -> Result<i64, Rejection> {
        self.check_queue(&header.topic, header.queue_id)?;
        let boundary = match header.boundary.as_deref().unwrap_or_default() {
            upper if upper.eq_ignore_ascii_case("upper") => Boundary::Upper,
            lower if lower.is_empty() || lower.eq_ignore_ascii_case("lower") => Boundary::Lower,
            other => {
                return Err(Rejection::invalid(format!(
                    "the boundaryType cannot be {other:?}: LOWER or UPPER is wanted"
                )));
            }
        };
        Ok(self.store.offset_by_time(&header.topic, header.queue_id, header.timestamp.into(), boundary)?.to_wire())
    }

    /// Request 30.
    pub(crate) fn max(&self, header: &QueueRequest) -> Result<i64, Rejection> {
        self.check_queue(&header.topic, header.queue_id)?;
        Ok(self.store.max_offset(&header.topic, header.queue_id).to_wire())
    }

    /// Request 31.
    pub(crate) fn min(&self, header: &QueueRequest) -> Result<i64, Rejection> {
        self.check_queue(&header.topic, header.queue_id)?;
        Ok(self.store.min_offset(&header.topic, header.queue_id).to_wire())
    }

    /// Request 32.
    pub(crate) fn earliest(&self, header: &QueueRequest) -> Result<i64, Rejection> {
        self.check_queue(&header.topic, header.queue_id)?;
        let first = self.store.min_offset(&header.topic, header.queue_id);
        let timestamp = self.store.store_timestamp(&header.topic, header.queue_id, first)?.map_or(-1, Millis::get);
        Ok(timestamp)
    }
}
