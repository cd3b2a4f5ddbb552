//! Queries for messages.

use super::{Admin, cluster::any_member};
use crate::{
    Error, compression,
    link::{Response, none_if},
};
use futures::future::join_all;
use rmq_protocol::{
    RequestCode, ResponseCode,
    body::ConsumeQueueBody,
    header,
    message::{MessageExt, OffsetId, UniqueId, stored::Records},
};
use std::{
    ops::Range,
    time::{SystemTime, UNIX_EPOCH},
};

/// Messages requested from one broker in a search by unique id; several share an id only after
/// retries.
const UNIQUE_KEY_MAX: i32 = 32;
/// Tolerance around the time within a unique id: producers count from the beginning of the month in
/// their own time zone.
const TIME_ZONES: i64 = 24 * 3600 * 1000;

impl Admin {
    /// The message with this offset id, requested from the broker whose address is within the id.
    ///
    /// # Errors
    /// The id is invalid; the broker did not answer, or has no such message.
    pub async fn view_message(&self, topic: Option<&str>, offset_message_id: &str) -> Result<MessageExt, Error> {
        let id: OffsetId = offset_message_id.parse().map_err(|_| {
            Error::Argument(format!(
                "{offset_message_id} is no offset id; a message id made by a client is looked up by unique key"
            ))
        })?;
        let request = header::ViewMessage { topic, offset: id.physical_offset as i64 };
        let response = self.link.ask(&id.host.to_string(), RequestCode::ViewMessageById, &request).await?;
        let found = records(&response)?.pop();
        found.ok_or_else(|| {
            Error::invalid_response(&response.address, RequestCode::ViewMessageById, "there is no record in it")
        })
    }

    /// Messages of a topic that carry `key`, stored within `time` (milliseconds since 1970), newest
    /// first: at most `max` from each broker.
    ///
    /// # Errors
    /// Some broker did not answer, or [`Error::NoRoute`].
    pub async fn query_message_by_key(
        &self,
        topic: &str,
        key: &str,
        max: i32,
        time: Range<i64>,
    ) -> Result<Vec<MessageExt>, Error> {
        let request = header::QueryMessage { topic, key, max, begin: time.start, end: time.end, unique_key: None };
        let mut found = self.query(&request).await?;
        // The index contains only hashes.
        found.retain(|message| message.message.topic == topic && message.message.keys().any(|found| found == key));
        Ok(found)
    }

    /// Messages of a topic with this client-made id, newest first: several if the message was
    /// retried.
    ///
    /// # Errors
    /// Some broker did not answer, or [`Error::NoRoute`].
    pub async fn query_message_by_unique_key(&self, topic: &str, id: &str) -> Result<Vec<MessageExt>, Error> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_millis() as i64);
        // The time in the id lets brokers skip their older index files. It has no month, so an id
        // may be older than it seems.
        let near = id.parse::<UniqueId>().map_or(0, |parsed| parsed.time_near(now) - TIME_ZONES);
        for begin in [near, 0] {
            let request = header::QueryMessage {
                topic,
                key: id,
                max: UNIQUE_KEY_MAX,
                begin,
                end: i64::MAX,
                unique_key: Some(true),
            };
            let mut found = self.query(&request).await?;
            found.retain(|message| message.msg_id == id);
            if !found.is_empty() || near <= 0 {
                return Ok(found);
            }
        }
        Ok(Vec::new())
    }

    async fn query(&self, request: &header::QueryMessage<'_>) -> Result<Vec<MessageExt>, Error> {
        let route = self.route_of(request.topic).await?;
        let asked = route
            .broker_datas
            .iter()
            .filter_map(any_member)
            .map(|address| self.link.ask(address, RequestCode::QueryMessage, request));
        let mut found = Vec::new();
        for response in join_all(asked).await {
            if let Some(response) = none_if(response, ResponseCode::QueryNotFound)? {
                found.extend(records(&response)?);
            }
        }
        found.sort_by_key(|message| std::cmp::Reverse(message.store_timestamp));
        Ok(found)
    }

    /// Entries of a consume queue on one broker, and whether a group's filter accepts them.
    ///
    /// # Errors
    /// The broker did not answer, or has no such queue.
    pub async fn consume_queue(
        &self,
        address: &str,
        topic: &str,
        queue_id: i32,
        from: i64,
        count: i32,
    ) -> Result<ConsumeQueueBody, Error> {
        let request = header::QueryConsumeQueue { topic, queue_id, index: from, count, consumer_group: None };
        let response = self.link.ask(address, RequestCode::QueryConsumeQueue, &request).await?;
        // Java has no output for an empty range.
        if response.command.body.is_empty() { Ok(ConsumeQueueBody::default()) } else { response.body() }
    }
}

/// The messages in a response, inflated.
fn records(response: &Response) -> Result<Vec<MessageExt>, Error> {
    response.read(|command| {
        let messages: Result<Vec<_>, _> =
            Records::new(&command.body).map(|record| record.map(|record| MessageExt::from_record(&record))).collect();
        Ok(messages?.into_iter().map(compression::inflated).collect())
    })
}
