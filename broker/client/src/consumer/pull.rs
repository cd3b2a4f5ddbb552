//! The task that pulls one queue.

use super::{
    Core,
    fetch::{self, Fetched, PullRequest, Status, fetch},
    queue::Queue,
    wanted_tags,
};
use crate::{Error, compression, session};
use rmq_protocol::{
    ResponseCode,
    body::Subscription,
    message::{MessageExt, properties, stored::Records},
    names,
};
use std::{
    sync::{Arc, atomic::Ordering::Relaxed},
    time::{Duration, Instant},
};

/// The pause after a failed pull.
const FAILED: Duration = Duration::from_secs(1);
/// The pause after a broker responded that it is overloaded.
const BUSY: Duration = Duration::from_millis(50);
/// How often a full or unlocked queue is checked again without a notification.
const LOOK: Duration = Duration::from_secs(1);

impl Core {
    /// Pulls until the task is cancelled.
    pub(super) async fn pull(self: &Arc<Self>, queue: &Arc<Queue>) {
        let subscription = Arc::clone(&self.subscriptions[&queue.name.topic]);
        loop {
            while queue.is_full(self.is_ordered()) || (self.needs_locks() && !queue.is_locked()) {
                let _ = tokio::time::timeout(LOOK, queue.room.notified()).await;
            }
            let begun = Instant::now();
            queue.last_pull.store(session::now(), Relaxed);
            let pulled = match self.ask(queue, &subscription).await {
                Ok(fetched) => self.take_in(queue, &subscription, &fetched, begun.elapsed()),
                Err(error) => Err(error),
            };
            match pulled {
                Ok(true) => {}
                Ok(false) => tokio::time::sleep(FAILED).await,
                Err(error) => tokio::time::sleep(self.after_failure(queue, &error).await).await,
            }
        }
    }

    async fn ask(&self, queue: &Queue, subscription: &Subscription) -> Result<Fetched, Error> {
        let commit = queue.commit();
        let request = PullRequest {
            group: &self.options.group,
            queue: &queue.name,
            offset: queue.next(),
            max_messages: self.options.pull_batch as i32,
            commit: (!self.is_broadcasting() && commit > 0 && !queue.moved.load(Relaxed)).then_some(commit),
            suspend: Some(fetch::SUSPEND),
            filter: None,
            subscription_version: subscription.sub_version,
            broker_id: queue.suggested_broker.load(Relaxed),
        };
        fetch(&self.session, &request).await
    }

    /// False if the next pull would only repeat the request.
    fn take_in(
        &self,
        queue: &Queue,
        subscription: &Subscription,
        fetched: &Fetched,
        took: Duration,
    ) -> Result<bool, Error> {
        queue.suggested_broker.store(fetched.suggested_broker, Relaxed);
        match fetched.status {
            Status::Found => {
                let messages = self.messages(subscription, fetched).map_err(|why| Error::InvalidResponse {
                    address: queue.name.broker_name.clone(),
                    request: "PullMessage",
                    why: why.to_string(),
                })?;
                self.rates.pulled(&queue.name.topic, messages.len(), took);
                queue.add(messages, fetched.next);
            }
            Status::Nothing => queue.add(Vec::new(), fetched.next),
            Status::Moved => {
                tracing::warn!(
                    group = self.options.group,
                    queue = ?queue.name,
                    from = queue.next(),
                    to = fetched.next,
                    min = fetched.min,
                    max = fetched.max,
                    "the broker says that the offset is not in the queue; continuing at another offset"
                );
                let elsewhere = fetched.next != queue.next();
                queue.move_to(fetched.next);
                return Ok(elsewhere);
            }
        }
        Ok(true)
    }

    fn messages(
        &self,
        subscription: &Subscription,
        fetched: &Fetched,
    ) -> Result<Vec<MessageExt>, rmq_protocol::message::Error> {
        let tags = wanted_tags(subscription);
        let mut messages = Vec::new();
        for record in Records::new(&fetched.records) {
            let record = record?;
            let wanted = tags
                .as_ref()
                .is_none_or(|tags| record.property(properties::TAGS).is_some_and(|tag| tags.contains(&*tag)));
            if wanted {
                messages.push(self.unwrapped(MessageExt::from_record(&record)));
            }
        }
        Ok(messages)
    }

    /// A message for the application: inflated, and under the topic it was sent to.
    pub(super) fn unwrapped(&self, message: MessageExt) -> MessageExt {
        let mut message = compression::inflated(message);
        if names::group_of_retry_topic(&message.message.topic) == Some(self.options.group.as_str())
            && let Some(topic) = message.message.properties.get(properties::RETRY_TOPIC)
        {
            message.message.topic = topic.to_owned();
        }
        message
    }

    /// Handles a failure and returns how long to wait.
    async fn after_failure(&self, queue: &Queue, error: &Error) -> Duration {
        match error.code() {
            Some(ResponseCode::FlowControl | ResponseCode::SystemBusy) => return BUSY,
            // A broker that was restarted does not know the consumers.
            Some(ResponseCode::SubscriptionNotExist | ResponseCode::SubscriptionNotLatest) => {
                self.session.beat.notify_one()
            }
            _ => {
                tracing::warn!(group = self.options.group, queue = ?queue.name, %error, "a pull failed; trying again");
                self.session.routes.renew(&queue.name.topic).await;
            }
        }
        FAILED
    }
}
