//! Checks a message before it is stored, and applies the broker's changes to it.

use super::{DEFAULT_TRIES, MessageWriter, SendRequest, properties::Seen};
use crate::{
    clock::now_millis,
    config::Config,
    error::{Reason, Rejection},
    topic,
};
use bytes::Bytes;
use rmq_protocol::{
    body::{TopicConfig, perm},
    header::SendMessageV2,
    message::{
        properties,
        stored::Draft,
        sys_flag::{self, Transaction},
    },
    names,
    version::V3_4_9,
};
use std::{borrow::Cow, net::SocketAddr, sync::Arc, time::Instant};

/// The topic and the queue that a message is addressed to.
pub(super) struct Target {
    pub(super) topic: Arc<TopicConfig>,
    pub(super) queue_id: i32,
    /// The topic was created for this message.
    pub(super) new: bool,
}

/// The queue that the record is stored in. For a delayed or a half message it is not the queue that
/// the message is addressed to.
pub(super) struct Destination<'a> {
    pub(super) topic: &'a str,
    pub(super) queue_id: i32,
    /// 0 means no delay.
    pub(super) level: i32,
}

/// A [`Draft`] that owns its parts, for a message that has to wait.
pub(super) struct OwnedDraft {
    topic: String,
    properties: Vec<u8>,
    body: Bytes,
    queue_id: i32,
    flag: i32,
    sys_flag: i32,
    born_timestamp: i64,
    born_host: SocketAddr,
    store_host: SocketAddr,
    reconsume_times: i32,
    prepared_transaction_offset: i64,
}

impl OwnedDraft {
    /// Copies `draft` except its body, which is replaced by `body`. `body` should not be a slice of
    /// a larger buffer, because the whole buffer would stay in memory.
    pub(super) fn new(draft: &Draft<'_>, body: Bytes) -> Self {
        Self {
            topic: draft.topic.to_owned(),
            properties: draft.properties.to_owned(),
            body,
            queue_id: draft.queue_id,
            flag: draft.flag,
            sys_flag: draft.sys_flag,
            born_timestamp: draft.born_timestamp,
            born_host: draft.born_host,
            store_host: draft.store_host,
            reconsume_times: draft.reconsume_times,
            prepared_transaction_offset: draft.prepared_transaction_offset,
        }
    }

    pub(super) fn draft(&self) -> Draft<'_> {
        Draft {
            topic: &self.topic,
            queue_id: self.queue_id,
            flag: self.flag,
            sys_flag: self.sys_flag,
            born_timestamp: self.born_timestamp,
            born_host: self.born_host,
            store_host: self.store_host,
            reconsume_times: self.reconsume_times,
            prepared_transaction_offset: self.prepared_transaction_offset,
            properties: &self.properties,
            body: &self.body,
        }
    }

    pub(super) fn bytes(&self) -> usize {
        self.topic.len() + self.properties.len() + self.body.len()
    }
}

impl MessageWriter {
    /// Returns the queue of a request, and creates the topic if that is allowed. Refuses a request
    /// that this broker does not accept.
    pub(super) fn target(&self, request: &SendRequest<'_>, settings: &Config) -> Result<Target, Rejection> {
        let header = &request.header;
        self.check_broker(settings)?;
        names::check_topic(header.topic).map_err(|error| Rejection::topic_name(header.topic, &error))?;
        if names::is_closed_to_clients(header.topic) {
            return Err(Rejection::new(
                Reason::NotPermitted,
                format!("the topic {} belongs to the system", header.topic),
            ));
        }
        check_numbers(header)?;
        let (topic, new) = self.topic(header)?;
        if settings.topics.reject_read_only && !perm::is_writable(topic.perm) {
            return Err(Rejection::new(Reason::NotPermitted, format!("the topic {} is read only", header.topic)));
        }
        let queue_id = queue(&topic, header.queue_id)?;
        Ok(Target { topic, queue_id, new })
    }

    fn check_broker(&self, settings: &Config) -> Result<(), Rejection> {
        self.role.require_master(Reason::Unavailable, "send to its master")?;
        if !perm::is_writable(settings.topics.permission) {
            return Err(Rejection::new(
                Reason::NotPermitted,
                format!("the broker {} takes no messages (brokerPermission)", settings.identity.broker_name),
            ));
        }
        Ok(())
    }

    fn topic(&self, header: &SendMessageV2<'_>) -> Result<(Arc<TopicConfig>, bool), Rejection> {
        // The check comes before the topic is created.
        if let Some(group) = names::group_of_retry_topic(header.topic)
            && self.groups.find(group).is_none()
        {
            return Err(Rejection::no_group(group));
        }
        if header.default_topic_queues < 1 && self.topics.find(header.topic).is_none() {
            let value = header.default_topic_queues.into();
            return Err(Rejection::number("defaultTopicQueueNums", value, "1 or more is wanted for a new topic"));
        }
        let inherited = self.topics.find_or_inherit(header.topic, header.default_topic, header.default_topic_queues)?;
        match inherited {
            Some(found) => Ok(found),
            None if names::is_retry_topic(header.topic) => {
                self.topics.check_room(header.topic, 1)?;
                Ok(self.topics.find_or_create(header.topic, 1, perm::READ | perm::WRITE))
            }
            None => Err(Rejection::no_topic(header.topic)),
        }
    }

    /// A message that a client sends to a retry topic goes to the dead letters after too many
    /// deliveries. A retried message of an ordered group goes there at once, because it would wait
    /// for itself.
    pub(super) fn dead_letter(&self, request: &SendRequest<'_>) -> Result<Option<Target>, Rejection> {
        let header = &request.header;
        let Some(group_name) = names::group_of_retry_topic(header.topic) else { return Ok(None) };
        let group = self.groups.find(group_name).ok_or_else(|| Rejection::no_group(group_name))?;
        let asked = header.max_reconsume_times.filter(|limit| request.client_version >= V3_4_9 && *limit >= 0);
        let limit = asked.unwrap_or(group.retry_max_times);
        let limit = if limit < 0 { DEFAULT_TRIES } else { limit };
        let tries = header.reconsume_times.unwrap_or(0);
        if tries <= limit && !(tries > 0 && self.locks.is_locked(group_name, Instant::now())) {
            return Ok(None);
        }
        let (topic, new) =
            self.topics.find_or_create(&names::dead_letter_topic(group_name), 1, perm::READ | perm::WRITE);
        Ok(Some(Target { topic, queue_id: 0, new }))
    }

    /// The message's unique key, or a new one.
    pub(super) fn unique_key<'a>(&self, seen: &Seen<'a>) -> Cow<'a, str> {
        match seen.unique_key {
            Some(key) => Cow::Borrowed(key),
            None => Cow::Owned(self.unique_ids.next(now_millis()).to_string()),
        }
    }

    pub(super) fn destination<'a>(&self, target: &'a Target, half: bool, delay_level: i32) -> Destination<'a> {
        if half {
            return Destination { topic: names::HALF_TOPIC, queue_id: 0, level: 0 };
        }
        if delay_level <= 0 {
            return Destination { topic: &target.topic.topic_name, queue_id: target.queue_id, level: 0 };
        }
        let level = delay_level.min(self.delay.levels().count());
        Destination { topic: names::SCHEDULE_TOPIC, queue_id: level - 1, level }
    }
}

/// The queue that the client asks for. If the client leaves the choice to the broker, a random
/// queue.
fn queue(topic: &TopicConfig, asked: i32) -> Result<i32, Rejection> {
    let queues = topic.write_queue_nums.max(topic.read_queue_nums);
    match asked {
        any if any < 0 => topic::random_queue(topic).ok_or_else(|| no_queue_to_read(topic)),
        queue_id if queue_id >= queues => Err(Rejection::new(
            Reason::Failed,
            format!("the topic {} has {queues} queues here, there is no queue {queue_id}", topic.topic_name),
        )),
        queue_id => Ok(queue_id),
    }
}

pub(super) fn no_queue_to_read(topic: &TopicConfig) -> Rejection {
    let reason = format!("the topic {} has {} queues to read; give it one", topic.topic_name, topic.read_queue_nums);
    Rejection::new(Reason::NotPermitted, reason)
}

/// Whether the message begins a transaction. A retried message may still carry the property of the
/// half message that it once was: consumers before 4.6.1 send it back so.
pub(super) fn is_half(header: &SendMessageV2<'_>, seen: &Seen<'_>) -> bool {
    seen.transactional && !(header.reconsume_times.unwrap_or(0) > 0 && seen.delay_level > 0)
}

/// Refuses half messages that could never be finished or asked about.
fn check_half(header: &SendMessageV2<'_>, seen: &Seen<'_>) -> Result<(), Rejection> {
    let words = if !matches!(sys_flag::transaction(header.sys_flag), Transaction::None | Transaction::Prepared) {
        format!("sysFlag {} is that of a finished transaction, and the message begins one", header.sys_flag)
    } else if seen.delay_level > 0 {
        "a transaction message cannot be delayed".to_owned()
    } else if seen.producer_group.is_none_or(str::is_empty) {
        format!("a transaction message names its producer group in the property {}", properties::PRODUCER_GROUP)
    } else {
        return Ok(());
    };
    Err(Rejection::new(Reason::IllegalMessage, words))
}

/// Refuses messages that contradict themselves, and kinds of message that this broker does not
/// implement. They must not be stored as plain messages.
pub(super) fn check_kind(header: &SendMessageV2<'_>, seen: &Seen<'_>) -> Result<(), Rejection> {
    if is_half(header, seen) {
        check_half(header, seen)?;
    } else if sys_flag::transaction(header.sys_flag) != Transaction::None {
        // Stored with its `sysFlag`, the message would be in no queue.
        let reason =
            format!("sysFlag {} is that of a transaction, and the message has no TRAN_MSG=true", header.sys_flag);
        return Err(Rejection::new(Reason::IllegalMessage, reason));
    }
    if let Some((name, value, wanted)) = seen.wrong {
        let reason = format!("the property {name} cannot be {value:?}: {wanted}");
        return Err(Rejection::new(Reason::IllegalMessage, reason));
    }
    Ok(())
}

/// Refuses numbers that no valid client sends.
fn check_numbers(header: &SendMessageV2<'_>) -> Result<(), Rejection> {
    if let Some(times @ ..=-1) = header.reconsume_times {
        return Err(Rejection::number("reconsumeTimes", times.into(), "0 or more is wanted"));
    }
    if let Some(limit @ ..=-2) = header.max_reconsume_times {
        return Err(Rejection::number("maxReconsumeTimes", limit.into(), "-1 (the default) or more is wanted"));
    }
    Ok(())
}

pub(super) fn check_size(bytes: usize, settings: &Config) -> Result<(), Rejection> {
    let limit = settings.messages.max_size as usize;
    if bytes > limit {
        return Err(Rejection::new(
            Reason::IllegalMessage,
            format!("the body has {bytes} bytes, more than {limit} (maxMessageSize)"),
        ));
    }
    Ok(())
}
