//! Queue locks of ordered groups: 41 and 42.

use crate::{
    connected::QueueLocks,
    error::{Answer, Rejection},
};
use rmq_protocol::{
    Command, Reply,
    body::{LockBatch, LockBatchResponse},
    fastjson,
};
use std::{sync::Arc, time::Instant};

/// Handles of these requests.
pub(crate) struct Locks {
    pub(crate) locks: Arc<QueueLocks>,
}

impl Locks {
    /// 41.
    pub(crate) fn lock(&self, request: &Command) -> Answer {
        let body: LockBatch = fastjson::from_slice(&request.body)?;
        if let Some(queue) = body.mq_set.iter().find(|queue| queue.queue_id < 0) {
            return Err(Rejection::number("queueId", queue.queue_id.into(), "0 or more is wanted"));
        }
        let locked = self.locks.lock(&body.consumer_group, &body.client_id, &body.mq_set, Instant::now());
        Ok(Reply::body(fastjson::to_vec(&LockBatchResponse { locked })))
    }

    /// 42.
    pub(crate) fn unlock(&self, request: &Command) -> Answer {
        let body: LockBatch = fastjson::from_slice(&request.body)?;
        self.locks.unlock(&body.consumer_group, &body.client_id, &body.mq_set);
        Ok(Reply::ok())
    }
}
