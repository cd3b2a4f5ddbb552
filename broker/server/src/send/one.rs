//! Stores one message.

use super::{
    Ids, MessageWriter, Outcome, Prepared as AnyPrepared, SendRequest, Sent, Stored, Waits,
    durability::Wanted,
    prepare::{self, OwnedDraft, Target},
    properties,
};
use crate::{config::Config, error::Rejection};
use bytes::Bytes;
use rmq_protocol::{
    message::{
        OffsetId, properties as names_of,
        stored::Draft,
        sys_flag::{self, Transaction},
    },
    names,
};
use rmq_store::{Appended, Deadline};
use std::{borrow::Cow, cell::RefCell};

thread_local! {
    static PROPERTIES: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// A message that is checked and encoded. Only the append remains.
pub(crate) struct Prepared {
    draft: OwnedDraft,
    target: Target,
    unique_key: String,
    wanted: Wanted,
    half: bool,
}

impl Prepared {
    pub(super) fn bytes(&self) -> usize {
        self.draft.bytes()
    }
}

/// The topic that a stored message counts for. A transaction counts for its own topic once it is
/// committed.
fn counted(target: &Target, half: bool) -> &str {
    if half { names::HALF_TOPIC } else { &target.topic.topic_name }
}

impl MessageWriter {
    pub(super) fn send_one<'a>(
        &'a self,
        request: &SendRequest<'a>,
        target: Target,
        settings: &Config,
    ) -> Result<Outcome<'a>, Rejection> {
        let SendRequest { header, body, born_host, .. } = request;
        let raw = header.properties.unwrap_or_default().as_bytes();
        let seen = properties::see(raw);
        prepare::check_kind(header, &seen)?;
        prepare::check_size(body.len(), settings)?;
        let half = prepare::is_half(header, &seen);
        if half {
            self.transactions.admit(seen.producer_group.unwrap_or_default(), settings)?;
        }
        let (mut target, mut delay_level) = (target, seen.delay_level);
        if names::is_retry_topic(header.topic)
            && let Some(dead) = self.dead_letter(request)?
        {
            target = dead;
            delay_level = 0;
        }
        let wanted = self.durability.wanted(seen.wait)?;
        let unique_key = self.unique_key(&seen);
        let destination = self.destination(&target, half, delay_level);
        let (mut queue_digits, mut level_digits) = (itoa::Buffer::new(), itoa::Buffer::new());
        let level_text = level_digits.format(destination.level);
        let mut set = properties::of_the_broker(settings).to_vec();
        let mut removed = Vec::new();
        if seen.unique_key.is_none() {
            set.push((names_of::UNIQ_KEY, &unique_key));
        }
        if half {
            set.push((names_of::TRANSACTION_ID, &unique_key));
            removed.push(names_of::TRANSACTION_CHECK_TIMES);
        }
        if half || destination.level > 0 {
            set.push((names_of::REAL_TOPIC, &target.topic.topic_name));
            set.push((names_of::REAL_QUEUE_ID, queue_digits.format(target.queue_id)));
        }
        // A message that once was a half message of its own is none any more.
        if !half && seen.transactional {
            removed.push(names_of::TRANSACTION_PREPARED);
        }
        if destination.level != seen.delay_level {
            removed.push(names_of::DELAY);
            if destination.level > 0 {
                set.push((names_of::DELAY, level_text));
            }
        }
        let appended = PROPERTIES.with_borrow_mut(|buffer| {
            buffer.clear();
            properties::write(raw, &seen, &set, &removed, buffer);
            let draft = Draft {
                topic: destination.topic,
                queue_id: destination.queue_id,
                flag: header.flag,
                // With the state of its `sysFlag` the half message would be in no queue.
                sys_flag: sys_flag::with_transaction(header.sys_flag, Transaction::None),
                born_timestamp: header.born_timestamp,
                born_host: *born_host,
                store_host: self.store_host,
                reconsume_times: header.reconsume_times.unwrap_or(0),
                prepared_transaction_offset: 0,
                properties: buffer,
                body,
            };
            let appended = self.store.put_within(&draft, Deadline::Now)?;
            Ok::<_, Rejection>(appended.ok_or_else(|| OwnedDraft::new(&draft, Bytes::copy_from_slice(body))))
        })?;
        Ok(match appended {
            Ok(appended) => {
                self.count(counted(&target, half), 1, body.len(), settings);
                Outcome::stored(self.stored_one(&appended, &target, unique_key, wanted, settings))
            }
            Err(draft) => {
                let (new_topic, unique_key) = (self.announce(&target), unique_key.into_owned());
                let target = Target { new: false, ..target };
                let prepared = AnyPrepared::One(Prepared { draft, target, unique_key, wanted, half });
                Outcome::Waits(Waits::Blocks { prepared, new_topic })
            }
        })
    }

    /// Appends the message. Blocks for up to `deadline`.
    pub(super) fn append_one(
        &self,
        prepared: Prepared,
        deadline: Deadline,
    ) -> Result<Option<Stored<'static>>, Rejection> {
        let Prepared { draft, target, unique_key, wanted, half } = prepared;
        let draft = draft.draft();
        let Some(appended) = self.store.put_within(&draft, deadline)? else { return Ok(None) };
        let settings = self.settings.load();
        self.count(counted(&target, half), 1, draft.body.len(), &settings);
        Ok(Some(self.stored_one(&appended, &target, Cow::Owned(unique_key), wanted, &settings).into_owned()))
    }

    fn stored_one<'a>(
        &'a self,
        appended: &Appended,
        target: &Target,
        unique_key: Cow<'a, str>,
        wanted: Wanted,
        settings: &Config,
    ) -> Stored<'a> {
        let id = OffsetId { host: self.store_host, physical_offset: appended.physical_offset.get() };
        let sent = self.sent(Ids::One(id), appended, target, unique_key, settings);
        Stored { sent: Some(sent), end: appended.end, wanted, new_topic: self.announce(target) }
    }

    /// The description of a stored message that its producer receives.
    pub(super) fn sent<'a>(
        &'a self,
        ids: Ids,
        appended: &Appended,
        target: &Target,
        unique_key: Cow<'a, str>,
        settings: &Config,
    ) -> Sent<'a> {
        Sent {
            ids,
            queue_id: target.queue_id,
            queue_offset: appended.queue_offset.to_wire(),
            unique_key,
            region: Cow::Borrowed(&self.region),
            trace_on: settings.topics.trace_on,
        }
    }

    /// Announces a topic to the namesrvs if the message created it. Returns whether it did.
    pub(super) fn announce(&self, target: &Target) -> bool {
        if target.new {
            self.registration.announce();
        }
        target.new
    }
}
