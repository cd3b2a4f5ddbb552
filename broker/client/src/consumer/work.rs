//! Delivers messages to the application's function and handles the outcome.

use super::{Core, Delivery, Outcome, queue::Queue};
use crate::{Error, session};
use futures::FutureExt;
use rmq_protocol::{RequestCode, header, message::MessageExt, names};
use std::{
    panic::AssertUnwindSafe,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::{Duration, Instant},
};
use tokio::sync::OwnedSemaphorePermit;

/// The pause before messages are delivered again after the broker refused to take them back.
const AGAIN: Duration = Duration::from_secs(5);
/// Delay level of messages whose function ran too long: 10 seconds.
const TOO_LONG: u8 = 3;
/// How often an unlocked queue is checked again without a notification.
const LOOK: Duration = Duration::from_secs(1);

/// Starts the task that delivers the messages of a queue.
pub(super) fn spawn(core: &Arc<Core>, queue: Arc<Queue>) {
    let core = Arc::clone(core);
    let tracked = core.work.clone();
    tracked.spawn(async move {
        let handed_out = async {
            if core.is_ordered() {
                core.hand_out_in_order(&queue).await
            } else {
                core.hand_out(&queue).await
            }
            core.release(&queue).await;
        };
        // The session outlives this work, unless the consumer is dropped or its functions do not
        // end.
        let _ = core.session.stop.run_until_cancelled(handed_out).await;
    });
}

impl Core {
    /// Several deliveries at a time.
    async fn hand_out(self: &Arc<Self>, queue: &Arc<Queue>) {
        while let Some(permit) = self.next_work(queue).await {
            let messages = queue.take(self.options.batch as usize);
            if messages.is_empty() {
                continue;
            }
            let (core, queue) = (Arc::clone(self), Arc::clone(queue));
            self.work.spawn(async move {
                let _ = core.session.stop.run_until_cancelled(core.consume(&queue, messages, permit)).await;
            });
        }
    }

    /// Waits for messages and for a permit; `None` at the end.
    async fn next_work(&self, queue: &Queue) -> Option<OwnedSemaphorePermit> {
        queue
            .stop
            .run_until_cancelled(async {
                while !queue.has_work() {
                    queue.work.notified().await;
                }
                Arc::clone(&self.workers).acquire_owned().await.ok()
            })
            .await
            .flatten()
    }

    async fn consume(&self, queue: &Queue, messages: Vec<MessageExt>, _permit: OwnedSemaphorePermit) {
        let mut messages: Arc<[MessageExt]> = messages.into();
        loop {
            let outcome = self.call(queue, &messages).await;
            if queue.lost.load(Relaxed) {
                // The member that has the queue now gets them again; sent back they would be
                // delivered twice.
                return;
            }
            let failed = match outcome {
                Outcome::Done => Vec::new(),
                _ if self.is_broadcasting() => {
                    tracing::warn!(
                        group = self.options.group,
                        queue = ?queue.name,
                        messages = messages.len(),
                        "broadcast messages were not consumed and are skipped"
                    );
                    Vec::new()
                }
                Outcome::Later => self.send_back(queue, &messages, 0).await,
                Outcome::LaterBy(level) => self.send_back(queue, &messages, level.into()).await,
                Outcome::Dead => self.send_back(queue, &messages, -1).await,
            };
            let failed_offsets: Vec<_> = failed.iter().map(|message| message.queue_offset).collect();
            queue.finish(offsets(&messages).filter(|offset| !failed_offsets.contains(&(*offset as u64))));
            if failed.is_empty() {
                return;
            }
            // When the consumer stops they are left for the next member.
            if self.pulling.run_until_cancelled(tokio::time::sleep(AGAIN)).await.is_none() {
                return;
            }
            messages = failed
                .into_iter()
                .map(|mut message| {
                    message.reconsume_times += 1;
                    message
                })
                .collect();
        }
    }

    /// One delivery at a time, and only while the broker's lock is held.
    async fn hand_out_in_order(self: &Arc<Self>, queue: &Arc<Queue>) {
        while let Some(permit) = self.next_work(queue).await {
            if self.needs_locks() && !queue.is_locked() {
                drop(permit);
                self.rebalance.notify_one();
                let _ = queue.stop.run_until_cancelled(tokio::time::timeout(LOOK, queue.work.notified())).await;
                continue;
            }
            let messages: Arc<[MessageExt]> = queue.take(self.options.batch as usize).into();
            if messages.is_empty() {
                continue;
            }
            let outcome = self.call(queue, &messages).await;
            drop(permit);
            match outcome {
                Outcome::Done => queue.finish(offsets(&messages)),
                Outcome::Later | Outcome::LaterBy(_) => self.again_in_order(queue, &messages, false).await,
                Outcome::Dead => self.again_in_order(queue, &messages, true).await,
            }
        }
    }

    /// Puts messages back to the front; those that have no attempts left become dead letters.
    async fn again_in_order(&self, queue: &Queue, messages: &[MessageExt], dead: bool) {
        let mut again = Vec::new();
        for message in messages {
            let last =
                self.options.max_reconsume.is_some_and(|max| i64::from(message.reconsume_times) >= i64::from(max));
            if (dead || last)
                && !self.is_broadcasting()
                && self.send_back(queue, std::slice::from_ref(message), -1).await.is_empty()
            {
                queue.finish([message.queue_offset as i64]);
            } else {
                again
                    .push(MessageExt { reconsume_times: message.reconsume_times.saturating_add(1), ..message.clone() });
            }
        }
        if !again.is_empty() {
            queue.put_back(again);
            let _ = queue.stop.run_until_cancelled(tokio::time::sleep(self.options.suspend)).await;
        }
    }

    /// Calls the application's function.
    pub(super) async fn call(&self, queue: &Queue, messages: &Arc<[MessageExt]>) -> Outcome {
        let delivery = Delivery { queue: Arc::new(queue.name.clone()), messages: Arc::clone(messages) };
        let begun = Instant::now();
        queue.last_consume.store(session::now(), Relaxed);
        let called = AssertUnwindSafe(async { (self.listener)(delivery).await }).catch_unwind();
        let outcome = match tokio::time::timeout(self.options.consume_timeout, called).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_)) => {
                tracing::error!(group = self.options.group, queue = ?queue.name, "the consuming function panicked");
                Outcome::Later
            }
            Err(_) => {
                tracing::warn!(
                    group = self.options.group,
                    queue = ?queue.name,
                    timeout = ?self.options.consume_timeout,
                    "the consuming function did not return within its timeout"
                );
                Outcome::LaterBy(TOO_LONG)
            }
        };
        let topic = messages.first().map_or(queue.name.topic.as_str(), |message| message.message.topic.as_str());
        self.rates.consumed(topic, messages.len(), outcome == Outcome::Done, begun.elapsed());
        outcome
    }

    /// Sends messages back to the broker for a retry, or as dead letters below level 0; returns
    /// those it did not accept.
    async fn send_back(&self, queue: &Queue, messages: &[MessageExt], delay_level: i32) -> Vec<MessageExt> {
        let mut failed = Vec::new();
        for message in messages {
            if let Err(error) = self.send_one_back(queue, message, delay_level).await {
                tracing::warn!(
                    group = self.options.group,
                    message = message.msg_id,
                    %error,
                    "a message cannot be sent back; this consumer consumes it again"
                );
                failed.push(message.clone());
            }
        }
        if failed.len() < messages.len() {
            self.expect_retries().await;
        }
        failed
    }

    async fn send_one_back(&self, queue: &Queue, message: &MessageExt, delay_level: i32) -> Result<(), Error> {
        let address = self.master(&queue.name).await?;
        let request = header::ConsumerSendMessageBack {
            offset: message.physical_offset as i64,
            group: &self.options.group,
            delay_level,
            origin_message_id: Some(&message.msg_id),
            origin_topic: Some(&message.message.topic),
            unit_mode: Some(false),
            max_reconsume_times: self.options.max_reconsume.map(|max| i32::try_from(max).unwrap_or(i32::MAX)),
        };
        self.session.link.ask(&address, RequestCode::ConsumerSendMessageBack, &request).await.map(|_| ())
    }

    /// The retry topic of a new group gets its route some time after the first heartbeat; a
    /// consumer that waits for the next regular refresh would be late.
    async fn expect_retries(&self) {
        let consumed = self.queues.lock().keys().any(|name| names::is_retry_topic(&name.topic));
        if !consumed {
            self.session.routes.renew(&names::retry_topic(&self.options.group)).await;
            self.rebalance.notify_one();
        }
    }
}

fn offsets(messages: &[MessageExt]) -> impl Iterator<Item = i64> {
    messages.iter().map(|message| message.queue_offset as i64)
}
