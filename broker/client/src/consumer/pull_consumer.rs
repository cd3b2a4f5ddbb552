//! Manual pulling: the application decides what to read, and when.

use super::{
    Filter,
    fetch::{self, PullRequest, Status, fetch},
};
use crate::{Error, admin::Admin, compression, session::Session};
use bytes::Bytes;
use parking_lot::Mutex;
use rmq_protocol::message::{MessageExt, MessageQueue, stored::Records};
use rmq_remoting::Limits;
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use tokio_util::sync::DropGuard;

/// Reads queues from offsets of the application's choice. It is no member of the group: nothing is
/// balanced, and nothing is committed unless requested.
pub struct PullConsumer {
    group: String,
    session: Session,
    admin: Admin,
    /// The member of the broker group that the last response suggested.
    suggested: Mutex<BTreeMap<MessageQueue, i64>>,
    _stop: DropGuard,
}

/// The result of a pull.
#[derive(Debug, Clone)]
pub struct Pulled {
    /// The offset of the next pull.
    pub next: i64,
    /// The oldest offset of the queue.
    pub min: i64,
    /// The end of the queue.
    pub max: i64,
    /// Stored records, one after another; empty if there are no new messages. [`Pulled::messages`]
    /// decodes them.
    pub records: Bytes,
}

impl Pulled {
    /// The messages, inflated.
    ///
    /// # Errors
    /// The broker sent invalid records.
    pub fn messages(&self) -> Result<Vec<MessageExt>, rmq_protocol::message::Error> {
        Records::new(&self.records).map(|record| Ok(compression::inflated(MessageExt::from_record(&record?)))).collect()
    }
}

impl PullConsumer {
    /// Connects to a namesrv. `namesrvs`: `host:port`, several separated by `;`.
    ///
    /// # Errors
    /// No namesrv can be reached.
    pub async fn start(namesrvs: &str, group: impl Into<String>) -> Result<Self, Error> {
        let session = Session::start(namesrvs, None, Duration::from_secs(3), Arc::new(()), Limits::default()).await?;
        Ok(Self {
            group: group.into(),
            admin: Admin::over(session.link.clone()),
            suggested: Mutex::default(),
            _stop: session.drop_guard(),
            session,
        })
    }

    /// The queues of a topic that can be read.
    ///
    /// # Errors
    /// No namesrv answered, or [`Error::NoRoute`].
    pub async fn queues(&self, topic: &str) -> Result<Vec<MessageQueue>, Error> {
        self.session.routes.renew(topic).await;
        Ok(self.session.routes.existing(topic).await?.read.clone())
    }

    /// Reads at most `max` messages from `offset` on. With `wait` the broker waits up to 15 seconds
    /// for the first.
    ///
    /// # Errors
    /// The broker did not answer, or refused.
    pub async fn pull(&self, queue: &MessageQueue, offset: i64, max: u32, wait: bool) -> Result<Pulled, Error> {
        self.pull_matching(queue, &Filter::Tags("*".to_owned()), offset, max, wait).await
    }

    /// The same with a filter that the broker evaluates. A broker compares only hashes of tags: a
    /// message of another tag may come too. When none of the next messages matches, the result is
    /// empty and its next offset lies behind them.
    ///
    /// # Errors
    /// The broker did not answer, or refused; it refuses an SQL92 expression that is wrong, and any
    /// unless it has `enablePropertyFilter=true`.
    pub async fn pull_matching(
        &self,
        queue: &MessageQueue,
        filter: &Filter,
        offset: i64,
        max: u32,
        wait: bool,
    ) -> Result<Pulled, Error> {
        let request = PullRequest {
            group: &self.group,
            queue,
            offset,
            max_messages: i32::try_from(max).unwrap_or(i32::MAX),
            commit: None,
            suspend: wait.then_some(fetch::SUSPEND),
            filter: Some(filter),
            subscription_version: 0,
            broker_id: self.suggested.lock().get(queue).copied().unwrap_or(0),
        };
        let fetched = match fetch(&self.session, &request).await {
            Ok(fetched) => fetched,
            Err(error) => {
                // Nothing refreshes routes in the background here; the next pull must not use the
                // same wrong route.
                self.session.routes.renew(&queue.topic).await;
                return Err(error);
            }
        };
        if fetched.suggested_broker == 0 {
            self.suggested.lock().remove(queue);
        } else {
            self.suggested.lock().insert(queue.clone(), fetched.suggested_broker);
        }
        let records = if fetched.status == Status::Found { fetched.records } else { Bytes::new() };
        Ok(Pulled { next: fetched.next, min: fetched.min, max: fetched.max, records })
    }

    /// The group's offset in a queue; `None` if it has none.
    ///
    /// # Errors
    /// The broker did not answer.
    pub async fn committed(&self, queue: &MessageQueue) -> Result<Option<i64>, Error> {
        self.admin.consumer_offset(&self.master(queue).await?, &self.group, queue).await
    }

    /// Stores the group's offset in a queue.
    ///
    /// # Errors
    /// The broker did not answer.
    pub async fn commit(&self, queue: &MessageQueue, offset: i64) -> Result<(), Error> {
        self.admin.set_consumer_offset(&self.master(queue).await?, &self.group, queue, offset).await
    }

    async fn master(&self, queue: &MessageQueue) -> Result<String, Error> {
        let route = self.session.routes.existing(&queue.topic).await?;
        route
            .master(&queue.broker_name)
            .map(str::to_owned)
            .ok_or_else(|| Error::NoBroker { group: queue.broker_name.clone() })
    }

    /// Closes the connections.
    pub async fn stop(self) {
        self.session.stop.cancel();
        self.session.link.remoting().close().await;
    }
}
