//! Queue locks of ordered groups: requests 41 and 42.

use crate::{
    config::Live,
    core::Core,
    error::Rejection,
    group::{QueueLocks, members::Consumers, subscription::SubscriptionGroups},
    role::CurrentRole,
    topic::Topics,
};
use rmq_protocol::{
    body::{LockBatch, LockBatchResponse},
    message::MessageQueue,
};
use std::{sync::Arc, time::Instant};

/// The state that these requests use.
pub(crate) struct Locks {
    role: Arc<CurrentRole>,
    locks: Arc<QueueLocks>,
    topics: Arc<Topics>,
    groups: Arc<SubscriptionGroups>,
    consumers: Arc<Consumers>,
    settings: Arc<Live>,
}

impl Locks {
    pub(crate) fn new(core: &Core, locks: &Arc<QueueLocks>) -> Self {
        Self {
            role: Arc::clone(&core.role),
            topics: Arc::clone(&core.topics),
            groups: Arc::clone(&core.groups),
            consumers: Arc::clone(&core.consumers),
            settings: Arc::clone(&core.settings),
            locks: Arc::clone(locks),
        }
    }

    fn exists(&self, queue: &MessageQueue) -> bool {
        let topic = self.topics.find(&queue.topic);
        topic.is_some_and(|topic| (0..topic.read_queue_nums.max(topic.write_queue_nums)).contains(&queue.queue_id))
    }

    /// A client may lock before its first heartbeat has arrived, so the group is created here as a
    /// heartbeat or a pull would create it. A group that is in no table and has no members may have
    /// any name. It gets no locks, otherwise one peer could create any number of groups.
    fn may_lock(&self, group: &str) -> bool {
        let settings = self.settings.load();
        let made = self.groups.find_or_create(group, settings.topics.auto_create_group && !self.role.is_slave());
        made.is_some() || self.consumers.message_model(group).is_some()
    }

    /// Request 41. Queues that do not exist, and queues of a group that may not lock, are treated
    /// as if other clients held them.
    pub(crate) fn lock(&self, mut body: LockBatch) -> Result<LockBatchResponse, Rejection> {
        if body.client_id.is_empty() {
            return Err(Rejection::invalid(
                "the field clientId is empty: the lock would be shared by all clients without an id; name the client",
            ));
        }
        if let Some(queue) = body.mq_set.iter().find(|queue| queue.queue_id < 0) {
            return Err(Rejection::number("queueId", queue.queue_id.into(), "0 or more is wanted"));
        }
        let may_lock = !body.mq_set.is_empty() && self.may_lock(&body.consumer_group);
        body.mq_set.retain(|queue| may_lock && self.exists(queue));
        if body.mq_set.is_empty() {
            return Ok(LockBatchResponse { locked: Vec::new() });
        }
        let locked = self.locks.lock(&body.consumer_group, &body.client_id, &body.mq_set, Instant::now());
        Ok(LockBatchResponse { locked })
    }

    /// Request 42.
    pub(crate) fn unlock(&self, body: &LockBatch) {
        self.locks.unlock(&body.consumer_group, &body.client_id, &body.mq_set);
    }
}
