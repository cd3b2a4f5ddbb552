//! Finding messages: 12 by key, 33 by place.

use crate::{
    config::Live,
    error::{Answer, Rejection},
};
use rmq_protocol::{
    Body, Command, Reply, ResponseCode,
    header::{Header, QueryMessage, QueryMessageResponse, ViewMessage},
};
use rmq_store::MessageStore;
use std::sync::Arc;

/// Handles of these requests.
pub(crate) struct Query {
    pub(crate) store: Arc<MessageStore>,
    pub(crate) settings: Arc<Live>,
}

impl Query {
    /// 12. Reads from the disk: not for reactor threads.
    pub(crate) fn by_key(&self, request: &Command) -> Answer {
        let header = QueryMessage::decode(&request.fields)?;
        if header.max < 1 {
            return Err(Rejection::number("maxNum", header.max.into(), "1 or more is wanted"));
        }
        let messages = &self.settings.load().messages;
        // A unique key has one message, and its asker does not know how many to ask for.
        let asked = if header.unique_key == Some(true) { messages.query_max } else { header.max.unsigned_abs() };
        let wanted = asked.min(messages.query_batch).max(1) as usize;
        let found = self.store.query(header.topic, header.key, wanted, header.begin, header.end)?;
        if found.records.is_empty() {
            return Err(Rejection::new(
                ResponseCode::QueryNotFound,
                format!(
                    "no message of {} has the key {:?} in that time, or its index is gone",
                    header.topic, header.key
                ),
            ));
        }
        let header = QueryMessageResponse {
            last_update_timestamp: found.index_timestamp,
            last_update_offset: found.index_offset as i64,
        };
        let mut reply = Reply::with(&header);
        reply.body = Body::Parts(found.records);
        Ok(reply)
    }

    /// 33.
    pub(crate) fn by_place(&self, request: &Command) -> Answer {
        let header = ViewMessage::decode(&request.fields)?;
        let record = u64::try_from(header.offset).ok().and_then(|offset| self.store.record(offset));
        match record {
            Some(record) => Ok(Reply::body(record)),
            None => Err(Rejection::new(
                ResponseCode::SystemError,
                format!("there is no message at offset {} of the commit log; it may be deleted", header.offset),
            )),
        }
    }
}
