//! Stores the messages of one request: all or none, contiguous in their queue.

use super::{
    Ids, MessageWriter, Outcome, Prepared as AnyPrepared, SendRequest, Stored, Waits,
    durability::Wanted,
    prepare::{self, Target},
    properties,
};
use crate::{
    config::Config,
    error::{Reason, Rejection},
};
use bytes::Bytes;
use rmq_protocol::{
    message::{OffsetId, batch, properties as names_of, stored::Draft},
    names,
};
use rmq_store::Deadline;
use std::{borrow::Cow, net::SocketAddr, ops::Range};

/// A batch that is checked and encoded. Only the append remains.
pub(crate) struct Prepared {
    target: Target,
    entries: Vec<Entry>,
    /// The property strings of all entries.
    properties: Vec<u8>,
    /// The body of the request. The entries' bodies are ranges of it. For a batch that waits it is
    /// a copy: the received body is a slice of a larger buffer, and keeping the slice would keep
    /// the whole buffer.
    body: Bytes,
    sys_flag: i32,
    born_timestamp: i64,
    born_host: SocketAddr,
    reconsume_times: i32,
    /// The unique key of the batch as a whole, if the client gave it one.
    unique_key: String,
    wanted: Wanted,
}

struct Entry {
    flag: i32,
    body: Range<usize>,
    properties: Range<usize>,
}

impl Prepared {
    pub(super) fn bytes(&self) -> usize {
        self.body.len() + self.properties.len() + self.entries.len() * size_of::<Entry>()
    }
}

/// The range of `part` within `whole`.
fn range_of(part: &[u8], whole: &[u8]) -> Range<usize> {
    let start = part.as_ptr().addr().saturating_sub(whole.as_ptr().addr());
    start..start + part.len()
}

fn illegal(reason: impl Into<String>) -> Rejection {
    Rejection::new(Reason::IllegalMessage, reason)
}

impl MessageWriter {
    pub(super) fn send_batch<'a>(
        &'a self,
        request: &SendRequest<'a>,
        target: Target,
        settings: &Config,
    ) -> Result<Outcome<'a>, Rejection> {
        let mut prepared = self.prepare_batch(request, target, settings)?;
        if let Some(stored) = self.append_batch(&prepared, Deadline::Now)? {
            return Ok(Outcome::stored(stored.into_owned()));
        }
        let new_topic = self.announce(&prepared.target);
        prepared.target.new = false;
        prepared.body = Bytes::copy_from_slice(&prepared.body);
        Ok(Outcome::Waits(Waits::Blocks { prepared: AnyPrepared::Batch(prepared), new_topic }))
    }

    fn prepare_batch(
        &self,
        request: &SendRequest<'_>,
        target: Target,
        settings: &Config,
    ) -> Result<Prepared, Rejection> {
        let SendRequest { header, body, born_host, .. } = request;
        if names::is_retry_topic(header.topic) {
            return Err(illegal("a batch cannot go to a retry topic"));
        }
        prepare::check_size(body.len(), settings)?;
        let shared = header.properties.unwrap_or_default().as_bytes();
        let batch_seen = properties::see(shared);
        prepare::check_kind(header, &batch_seen)?;
        // Properties of the batch apply to every entry. A value of the entry itself takes
        // precedence.
        let of_the_broker = properties::of_the_broker(settings);
        let inherited: Vec<(&str, &str)> = names_of::iter(shared)
            .filter_map(|(name, value)| Some((std::str::from_utf8(name).ok()?, std::str::from_utf8(value).ok()?)))
            .filter(|(name, _)| *name != names_of::UNIQ_KEY && of_the_broker.iter().all(|(own, _)| own != name))
            .collect();
        let mut entries = Vec::new();
        let mut written = Vec::with_capacity(2 * body.len().min(64 << 10));
        for entry in batch::iter(body) {
            let entry = entry.map_err(|error| illegal(format!("the batch cannot be read: {error}")))?;
            let seen = properties::see(entry.properties);
            prepare::check_kind(header, &seen)?;
            if seen.transactional || batch_seen.transactional {
                return Err(illegal("messages of a batch cannot be transaction messages; send each by itself"));
            }
            if seen.delay_level > 0 || batch_seen.delay_level > 0 {
                return Err(illegal("messages of a batch cannot be delayed"));
            }
            let unique_key = self.unique_key(&seen);
            let own = |name: &str| names_of::find(entry.properties, name).is_some();
            let mut set: Vec<_> = inherited.iter().copied().filter(|(name, _)| !own(name)).collect();
            set.extend(of_the_broker);
            if seen.unique_key.is_none() {
                set.push((names_of::UNIQ_KEY, &unique_key));
            }
            let start = written.len();
            properties::write(entry.properties, &seen, &set, &[], &mut written);
            entries.push(Entry {
                flag: entry.flag,
                body: range_of(entry.body, body),
                properties: start..written.len(),
            });
        }
        if entries.is_empty() {
            return Err(illegal("the batch is empty"));
        }
        Ok(Prepared {
            target,
            entries,
            properties: written,
            body: Bytes::clone(body),
            sys_flag: header.sys_flag,
            born_timestamp: header.born_timestamp,
            born_host: *born_host,
            reconsume_times: header.reconsume_times.unwrap_or(0),
            unique_key: batch_seen.unique_key.unwrap_or_default().to_owned(),
            wanted: self.durability.wanted(batch_seen.wait)?,
        })
    }

    /// Appends the batch. Blocks for up to `deadline`.
    pub(super) fn append_batch<'a>(
        &'a self,
        prepared: &'a Prepared,
        deadline: Deadline,
    ) -> Result<Option<Stored<'a>>, Rejection> {
        let target = &prepared.target;
        let draft = |entry: &'a Entry| Draft {
            topic: &target.topic.topic_name,
            queue_id: target.queue_id,
            flag: entry.flag,
            sys_flag: prepared.sys_flag,
            born_timestamp: prepared.born_timestamp,
            born_host: prepared.born_host,
            store_host: self.store_host,
            reconsume_times: prepared.reconsume_times,
            prepared_transaction_offset: 0,
            properties: &prepared.properties[entry.properties.clone()],
            body: &prepared.body[entry.body.clone()],
        };
        let drafts: Vec<_> = prepared.entries.iter().map(draft).collect();
        let Some(appended) = self.store.put_batch_within(&drafts, deadline)? else { return Ok(None) };
        let (Some(first), Some(last)) = (appended.first(), appended.last()) else {
            return Err(illegal("the batch is empty"));
        };
        let settings = self.settings.load();
        self.count(&target.topic.topic_name, appended.len(), prepared.body.len(), &settings);
        let mut ids = String::with_capacity(33 * appended.len());
        for appended in &appended {
            if !ids.is_empty() {
                ids.push(',');
            }
            let id = OffsetId { host: self.store_host, physical_offset: appended.physical_offset.get() };
            ids.push_str(&id.to_string());
        }
        let sent = self.sent(Ids::Batch(ids), first, target, Cow::Borrowed(&prepared.unique_key), &settings);
        let new_topic = self.announce(target);
        Ok(Some(Stored { sent: Some(sent), end: last.end, wanted: prepared.wanted, new_topic }))
    }
}
