//! Queries of messages: request 12 by key, request 33 by log offset.

use crate::{
    config::Live,
    core::Core,
    error::{Reason, Rejection},
};
use bytes::Bytes;
use rmq_protocol::header::owned::{QueryMessage, ViewMessage};
use rmq_store::{Found, LogOffset, MessageStore};
use std::sync::Arc;

/// The state that these requests use.
pub(crate) struct Query {
    store: Arc<MessageStore>,
    settings: Arc<Live>,
}

impl Query {
    pub(crate) fn new(core: &Core) -> Self {
        Self { store: Arc::clone(&core.store), settings: Arc::clone(&core.settings) }
    }

    /// Request 12. Reads from the disk: must not run on reactor threads.
    pub(crate) fn by_key(&self, header: &QueryMessage) -> Result<Found, Rejection> {
        if header.max < 1 {
            return Err(Rejection::number("maxNum", header.max.into(), "1 or more is wanted"));
        }
        let messages = &self.settings.load().messages;
        // A unique key belongs to one message, and the client does not know how many messages to
        // ask for.
        let asked = if header.unique_key == Some(true) { messages.query_max } else { header.max.unsigned_abs() };
        let wanted = asked.min(messages.query_batch) as usize;
        let found = self.store.query(&header.topic, &header.key, wanted, header.begin.into(), header.end.into())?;
        if found.records.is_empty() {
            return Err(Rejection::new(
                Reason::NotFound,
                format!(
                    "no message of {} has the key {:?} in that time, or its index is gone",
                    header.topic, header.key
                ),
            ));
        }
        Ok(found)
    }

    /// Request 33.
    pub(crate) fn by_place(&self, header: &ViewMessage) -> Result<Bytes, Rejection> {
        let record = LogOffset::from_wire(header.offset).and_then(|offset| self.store.record(offset));
        record.ok_or_else(|| {
            Rejection::new(
                Reason::Failed,
                format!("there is no message at offset {} of the commit log; it may be deleted", header.offset),
            )
        })
    }
}
