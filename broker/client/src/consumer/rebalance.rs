//! Rebalancing: which queues belong to this member, and how it takes them over and gives them up.

use super::{Core, FromWhere, allocate, queue::Queue, work};
use crate::{Error, admin::Boundary, session};
use futures::future::join_all;
use rmq_protocol::{
    RequestCode,
    body::{ConsumerIds, LockBatch, LockBatchResponse},
    fastjson, header,
    message::MessageQueue,
    names,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

/// The interval of rebalancing without a notification, and of renewing locks.
const INTERVAL: Duration = Duration::from_secs(20);
/// The first pause after an incomplete round; it doubles up to [`INTERVAL`].
const SOON: Duration = Duration::from_secs(1);

impl Core {
    pub(super) async fn keep_balanced(self: Arc<Self>) {
        let mut pause = SOON / 2;
        loop {
            // A topic without a route may get one at any time: the retry topic is created by the
            // group's first heartbeat.
            pause = if self.balance().await { INTERVAL } else { (pause * 2).min(INTERVAL) };
            tokio::select! {
                () = self.pulling.cancelled() => return,
                () = self.rebalance.notified() => pause = SOON / 2,
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// One round; false if it should be repeated soon.
    async fn balance(self: &Arc<Self>) -> bool {
        if self.needs_locks() {
            self.renew_locks().await;
        }
        let mut complete = true;
        for topic in self.subscriptions.keys() {
            match self.share(topic).await {
                Ok(share) => complete &= self.take_over(topic, share).await,
                Err(error) => {
                    tracing::debug!(topic, %error, "the queues of a topic cannot be allocated");
                    complete = false;
                }
            }
        }
        complete
    }

    /// The queues of a topic that belong to this member now.
    async fn share(&self, topic: &str) -> Result<BTreeSet<MessageQueue>, Error> {
        let route = self.session.routes.existing(topic).await?;
        let mut queues = route.read.clone();
        if self.is_broadcasting() {
            return Ok(queues.into_iter().collect());
        }
        let asked = route.brokers.values().filter_map(|group| group.values().next());
        let request = header::ConsumerGroupRequest { consumer_group: &self.options.group };
        let mut last = Error::NoRoute { topic: topic.to_owned() };
        for address in asked {
            match self.session.link.ask(address, RequestCode::ConsumerListByGroup, &request).await {
                Ok(response) => {
                    let mut members = response.body::<ConsumerIds>()?.consumer_id_list;
                    if !members.iter().any(|member| **member == *self.session.client_id) {
                        // The broker was restarted, or does not know this member yet. The current
                        // queues are kept until it does.
                        self.session.beat.notify_one();
                        return Err(Error::invalid_response(
                            address,
                            RequestCode::ConsumerListByGroup,
                            "this consumer is not in the list",
                        ));
                    }
                    members.sort_unstable();
                    queues.sort_unstable();
                    return Ok(allocate::averagely(&self.session.client_id, &members, &queues)
                        .iter()
                        .cloned()
                        .collect());
                }
                Err(error) => {
                    self.session.beat.notify_one();
                    last = error;
                }
            }
        }
        Err(last)
    }

    /// Gives up lost queues and starts new ones; false if some queue could not be taken over yet.
    async fn take_over(self: &Arc<Self>, topic: &str, share: BTreeSet<MessageQueue>) -> bool {
        let ours: BTreeMap<_, _> = self
            .queues
            .lock()
            .iter()
            .filter(|(name, _)| name.topic == topic)
            .map(|(name, queue)| (name.clone(), Arc::clone(queue)))
            .collect();
        for (name, queue) in &ours {
            if !share.contains(name) {
                tracing::info!(group = self.options.group, queue = ?name, "a queue is no longer assigned");
                queue.lost.store(true, Relaxed);
                queue.stop.cancel();
            }
        }
        let new: Vec<_> = share.into_iter().filter(|name| !ours.contains_key(name)).collect();
        let mut locked: BTreeSet<_> = if self.needs_locks() && !new.is_empty() {
            let responses = self.lock(&new).await;
            responses.into_iter().filter_map(|(name, ours)| ours.then_some(name)).collect()
        } else {
            new.iter().cloned().collect()
        };
        if self.pulling.is_cancelled() {
            // Too late to start.
            self.unlock(&new).await;
            return true;
        }
        let mut complete = locked.len() == new.len();
        for name in new {
            if !locked.remove(&name) {
                continue;
            }
            match self.first_offset(&name).await {
                Ok((stored, first)) => self.begin(name, stored, first),
                Err(error) => {
                    tracing::warn!(
                        group = self.options.group,
                        queue = ?name,
                        %error,
                        "the first offset of a queue cannot be fetched; trying again"
                    );
                    complete = false;
                }
            }
        }
        complete
    }

    fn begin(self: &Arc<Self>, name: MessageQueue, stored: Option<i64>, first: i64) {
        tracing::info!(group = self.options.group, queue = ?name, offset = first, "a queue is assigned");
        let queue = Arc::new(Queue::new(name.clone(), first, self.pulling.child_token()));
        queue.committed.store(stored.unwrap_or(-1), Relaxed);
        if self.needs_locks() {
            queue.set_locked(true, session::now());
        }
        self.queues.lock().insert(name, Arc::clone(&queue));
        let (core, pulled, stop) = (Arc::clone(self), Arc::clone(&queue), queue.stop.clone());
        self.session.spawn(async move {
            let _ = stop.run_until_cancelled(core.pull(&pulled)).await;
        });
        work::spawn(self, queue);
    }

    /// The stored offset of a queue, or the initial one.
    async fn first_offset(&self, name: &MessageQueue) -> Result<(Option<i64>, i64), Error> {
        let stored = self.offsets.load(name).await?;
        if let Some(offset) = stored {
            return Ok((stored, offset));
        }
        // A message that was sent back before the queue was first consumed must not be missed.
        let from = if names::is_retry_topic(&name.topic) { FromWhere::First } else { self.options.from };
        let first = match from {
            FromWhere::First => self.edge(name, RequestCode::MinOffset).await?,
            FromWhere::Last => self.edge(name, RequestCode::MaxOffset).await?,
            FromWhere::Timestamp(time) => self.search(name, time).await?,
        };
        Ok((None, first))
    }

    async fn edge(&self, name: &MessageQueue, request: RequestCode) -> Result<i64, Error> {
        let header = header::QueueRequest { topic: &name.topic, queue_id: name.queue_id };
        let response = self.session.link.ask(&self.master(name).await?, request, &header).await?;
        Ok(response.header::<header::OffsetResponse>()?.offset)
    }

    async fn search(&self, name: &MessageQueue, timestamp: i64) -> Result<i64, Error> {
        let admin = crate::Admin::over(self.session.link.clone());
        admin.search_offset(&self.master(name).await?, &name.topic, name.queue_id, timestamp, Boundary::Lower).await
    }

    pub(super) async fn master(&self, name: &MessageQueue) -> Result<String, Error> {
        let route = self.session.routes.existing(&name.topic).await?;
        route
            .master(&name.broker_name)
            .map(str::to_owned)
            .ok_or_else(|| Error::NoBroker { group: name.broker_name.clone() })
    }

    /// The end of a queue's tasks: offsets are stored and the lock is released. After that another
    /// member, or this one again, may have the queue.
    pub(super) async fn release(&self, queue: &Arc<Queue>) {
        if self.pulling.is_cancelled() && !queue.lost.load(Relaxed) {
            // The whole consumer stops, which stores all offsets and releases all locks at the end.
            return;
        }
        self.offsets.persist(std::slice::from_ref(queue)).await;
        let locking = self.locking.lock().await;
        self.unlock(std::slice::from_ref(&queue.name)).await;
        self.queues.lock().remove(&queue.name);
        drop(locking);
        self.rebalance.notify_one();
    }

    /// Includes queues that are being given up: as long as their function runs, no other member may
    /// have them.
    async fn renew_locks(&self) {
        let _locking = self.locking.lock().await;
        let held: BTreeMap<_, _> =
            self.queues.lock().iter().map(|(name, queue)| (name.clone(), Arc::clone(queue))).collect();
        let names: Vec<_> = held.keys().cloned().collect();
        // If a broker does not answer, its locks stay valid until their timeout.
        for (name, locked) in self.lock(&names).await {
            if let Some(queue) = held.get(&name) {
                queue.set_locked(locked, session::now());
            }
        }
    }

    /// Requests the locks of these queues from the brokers. The responses decide which of them are
    /// locked.
    async fn lock(&self, names: &[MessageQueue]) -> BTreeMap<MessageQueue, bool> {
        let asked = by_broker(names).into_values().map(async |mq_set| {
            let address = self.master(&mq_set[0]).await?;
            let body = fastjson::to_vec(&self.lock_batch(mq_set.clone()));
            let response =
                self.session.link.ask_with(&address, RequestCode::LockBatchQueues, &header::Empty {}, body).await?;
            Ok::<_, Error>((mq_set, response.body::<LockBatchResponse>()?.locked))
        });
        let mut responses = BTreeMap::new();
        for response in join_all(asked).await {
            match response {
                Ok((asked, locked)) => responses.extend(asked.into_iter().map(|name| {
                    let ours = locked.contains(&name);
                    (name, ours)
                })),
                Err(error) => tracing::warn!(group = self.options.group, %error, "queues cannot be locked"),
            }
        }
        responses
    }

    /// Releases the locks of these queues.
    pub(super) async fn unlock(&self, names: &[MessageQueue]) {
        if !self.needs_locks() {
            return;
        }
        let asked = by_broker(names).into_values().map(async |mq_set| {
            let address = self.master(&mq_set[0]).await?;
            let body = fastjson::to_vec(&self.lock_batch(mq_set));
            self.session.link.ask_with(&address, RequestCode::UnlockBatchQueues, &header::Empty {}, body).await
        });
        for response in join_all(asked).await {
            if let Err(error) = response {
                tracing::debug!(group = self.options.group, %error, "queues were not unlocked; the broker will do it by itself");
            }
        }
    }

    fn lock_batch(&self, mq_set: Vec<MessageQueue>) -> LockBatch {
        LockBatch {
            client_id: self.session.client_id.to_string(),
            consumer_group: self.options.group.clone(),
            mq_set,
            only_this_broker: false,
        }
    }
}

fn by_broker(names: &[MessageQueue]) -> BTreeMap<String, Vec<MessageQueue>> {
    let mut brokers: BTreeMap<String, Vec<MessageQueue>> = BTreeMap::new();
    for name in names {
        brokers.entry(name.broker_name.clone()).or_default().push(name.clone());
    }
    brokers
}
