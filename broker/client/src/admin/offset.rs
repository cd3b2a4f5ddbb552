//! Offsets of queues, and of groups in queues.

use super::Admin;
use crate::{Error, link::none_if};
use rmq_protocol::{
    RequestCode, ResponseCode,
    body::{ConsumerOffsetTable, ResetOffsetBody, TopicRoute, perm},
    header,
    message::MessageQueue,
};
use std::collections::BTreeMap;

/// Which of the messages around a time is requested.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Boundary {
    /// The first at or after the time; the end of the queue if there is none.
    #[default]
    Lower,
    /// The last at or before the time.
    Upper,
}

impl Admin {
    /// The offset of the oldest message of a queue.
    ///
    /// # Errors
    /// The broker did not answer.
    pub async fn min_offset(&self, address: &str, topic: &str, queue_id: i32) -> Result<i64, Error> {
        let request = header::QueueRequest { topic, queue_id };
        Ok(self.link.ask(address, RequestCode::MinOffset, &request).await?.header::<header::OffsetResponse>()?.offset)
    }

    /// The offset after the newest message of a queue.
    ///
    /// # Errors
    /// The broker did not answer.
    pub async fn max_offset(&self, address: &str, topic: &str, queue_id: i32) -> Result<i64, Error> {
        let request = header::QueueRequest { topic, queue_id };
        Ok(self.link.ask(address, RequestCode::MaxOffset, &request).await?.header::<header::OffsetResponse>()?.offset)
    }

    /// The offset of the message at a time (milliseconds since 1970).
    ///
    /// # Errors
    /// The broker did not answer.
    pub async fn search_offset(
        &self,
        address: &str,
        topic: &str,
        queue_id: i32,
        timestamp: i64,
        boundary: Boundary,
    ) -> Result<i64, Error> {
        let boundary = match boundary {
            Boundary::Lower => "LOWER",
            Boundary::Upper => "UPPER",
        };
        let request = header::SearchOffset { topic, queue_id, timestamp, boundary: Some(boundary) };
        let response = self.link.ask(address, RequestCode::SearchOffsetByTimestamp, &request).await?;
        Ok(response.header::<header::OffsetResponse>()?.offset)
    }

    /// The store timestamp of the oldest message of a queue, in milliseconds since 1970; -1 if
    /// there is none.
    ///
    /// # Errors
    /// The broker did not answer.
    pub async fn earliest_store_time(&self, address: &str, topic: &str, queue_id: i32) -> Result<i64, Error> {
        let request = header::QueueRequest { topic, queue_id };
        let response = self.link.ask(address, RequestCode::EarliestMessageStoreTime, &request).await?;
        Ok(response.header::<header::TimestampResponse>()?.timestamp)
    }

    /// A group's committed offset in a queue; `None` if it has none.
    ///
    /// # Errors
    /// The broker did not answer.
    pub async fn consumer_offset(
        &self,
        address: &str,
        consumer_group: &str,
        queue: &MessageQueue,
    ) -> Result<Option<i64>, Error> {
        let request = header::QueryConsumerOffset {
            consumer_group,
            topic: &queue.topic,
            queue_id: queue.queue_id,
            set_zero_if_not_found: Some(false),
        };
        match none_if(
            self.link.ask(address, RequestCode::QueryConsumerOffset, &request).await,
            ResponseCode::QueryNotFound,
        )? {
            Some(response) => Ok(Some(response.header::<header::OffsetResponse>()?.offset)),
            None => Ok(None),
        }
    }

    /// Sets a group's offset in a queue. Running consumers are not notified: use
    /// [`Admin::reset_offset`] for those.
    ///
    /// # Errors
    /// The broker did not answer.
    pub async fn set_consumer_offset(
        &self,
        address: &str,
        consumer_group: &str,
        queue: &MessageQueue,
        offset: i64,
    ) -> Result<(), Error> {
        let request = header::UpdateConsumerOffset {
            consumer_group,
            topic: &queue.topic,
            queue_id: queue.queue_id,
            commit_offset: offset,
        };
        self.link.ask(address, RequestCode::UpdateConsumerOffset, &request).await.map(|_| ())
    }

    /// The offsets of all groups of a broker.
    ///
    /// # Errors
    /// The broker did not answer.
    pub async fn all_consumer_offsets(&self, address: &str) -> Result<ConsumerOffsetTable, Error> {
        self.link.ask(address, RequestCode::AllConsumerOffset, &header::Empty {}).await?.body()
    }

    /// Resets a group to the messages of a time (milliseconds since 1970; -1 is the end) in all
    /// queues of a topic. Running consumers follow; if there are none, the stored offsets are
    /// changed. Unless `force` is set, no queue is moved forward. Returns the new offsets.
    ///
    /// # Errors
    /// A broker did not do it (those before it did), or [`Error::NoRoute`].
    pub async fn reset_offset(
        &self,
        topic: &str,
        group: &str,
        timestamp: i64,
        force: bool,
    ) -> Result<BTreeMap<MessageQueue, i64>, Error> {
        let route = self.route_of(topic).await?;
        let mut moved = BTreeMap::new();
        for broker in &route.broker_datas {
            let Some(master) = broker.broker_addrs.get(&0) else {
                return Err(Error::NoBroker { group: broker.broker_name.clone() });
            };
            let request = header::ResetOffset { topic, group, queue_id: Some(-1), offset: None, timestamp, force };
            let asked = self.link.ask(master, RequestCode::InvokeBrokerToResetOffset, &request).await;
            match none_if(asked, ResponseCode::ConsumerNotOnline)? {
                Some(response) => moved.extend(response.body::<ResetOffsetBody>()?.offset_table.0),
                None => {
                    for queue in queues_of(&route, topic, &broker.broker_name) {
                        if let Some(offset) = self.reset_stored_offset(master, &queue, group, timestamp, force).await? {
                            moved.insert(queue, offset);
                        }
                    }
                }
            }
        }
        Ok(moved)
    }

    async fn reset_stored_offset(
        &self,
        master: &str,
        queue: &MessageQueue,
        group: &str,
        timestamp: i64,
        force: bool,
    ) -> Result<Option<i64>, Error> {
        let target = if timestamp < 0 {
            self.max_offset(master, &queue.topic, queue.queue_id).await?
        } else {
            self.search_offset(master, &queue.topic, queue.queue_id, timestamp, Boundary::Lower).await?
        };
        let current = self.consumer_offset(master, group, queue).await?;
        if !force && current.is_some_and(|current| target > current) {
            return Ok(None);
        }
        self.set_consumer_offset(master, group, queue, target).await?;
        Ok(Some(target))
    }

    /// Copies the offsets of a group in a topic to another group, on every master of the topic.
    ///
    /// # Errors
    /// A broker did not do it, for instance because one of the groups does not exist;
    /// [`Error::NoRoute`].
    pub async fn clone_group_offset(&self, source_group: &str, target_group: &str, topic: &str) -> Result<(), Error> {
        for broker in self.route_of(topic).await?.broker_datas {
            let Some(master) = broker.broker_addrs.get(&0) else { continue };
            let request =
                header::CloneGroupOffset { source_group, target_group, topic: Some(topic), offline: Some(false) };
            self.link.ask(master, RequestCode::CloneGroupOffset, &request).await?;
        }
        Ok(())
    }
}

/// The readable queues of a topic on one broker group.
fn queues_of(route: &TopicRoute, topic: &str, broker_name: &str) -> Vec<MessageQueue> {
    route
        .queue_datas
        .iter()
        .filter(|queues| queues.broker_name == broker_name && perm::is_readable(queues.perm))
        .flat_map(|queues| {
            (0..queues.read_queue_nums).map(|queue_id| MessageQueue {
                broker_name: broker_name.to_owned(),
                queue_id,
                topic: topic.to_owned(),
            })
        })
        .collect()
}
