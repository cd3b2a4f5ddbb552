//! Storing messages: 10, 310, 320.
//!
//! A message is checked, given what the broker adds to its properties, turned into a delayed or dead one if it asks for that, and appended.
//! The answer is ready then; whether it may be given yet is for [`Durability`]. Where there are no disk blocks for it all of that is done again when its
//! turn has come in the [line](crate::send::stalled): to keep it would cost those that find blocks, which are nearly all.

pub(crate) mod durability;
mod properties;
pub(crate) mod reply;
pub(crate) mod send_back;
pub(crate) mod stalled;

use crate::{
    clock::now_millis,
    config::{Config, Live},
    error::Rejection,
    group::{QueueLocks, subscription::SubscriptionGroups},
    observe::stats::{Kind, Stats},
    registration::Registration,
    send::{
        durability::{Durability, Stored, Wanted},
        stalled::Attempt,
    },
    timer::delay::Delay,
    topic::{self, Topics},
};
use properties as rewrite;
use rmq_protocol::{
    Command, Reply, RequestCode, ResponseCode,
    body::{TopicConfig, perm},
    header::{Header, SendMessage, SendMessageResponse, SendMessageV2},
    message::{OffsetId, batch, message_id::UniqueIds, properties as names_of, stored::Draft, sys_flag},
    names,
    version::V3_4_9,
};
use rmq_store::{Appended, MessageStore, Patience};
use std::{cell::RefCell, net::SocketAddr, sync::Arc, time::Instant};

/// Tries after which a message is dead, if nobody says otherwise.
const DEFAULT_TRIES: i32 = 16;

/// Handles of the send path.
pub(crate) struct Send {
    pub(crate) store: Arc<MessageStore>,
    pub(crate) topics: Arc<Topics>,
    pub(crate) groups: Arc<SubscriptionGroups>,
    pub(crate) locks: Arc<QueueLocks>,
    pub(crate) delay: Arc<Delay>,
    pub(crate) registration: Arc<Registration>,
    pub(crate) settings: Arc<Live>,
    pub(crate) stats: Arc<Stats>,
    pub(crate) durability: Arc<Durability>,
    /// For messages of clients that do not make ids of their own.
    pub(crate) unique_ids: UniqueIds,
    /// What stands in the records.
    pub(crate) store_host: SocketAddr,
}

thread_local! {
    static PROPERTIES: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// What a client wants stored, and how.
struct Asked<'a> {
    header: &'a SendMessageV2<'a>,
    request: &'a Command,
    born_host: SocketAddr,
    settings: &'a Config,
    patience: Patience,
}

/// Where a message goes.
struct Target {
    topic: Arc<TopicConfig>,
    queue_id: i32,
    new: bool,
}

impl Send {
    /// Stores the message or messages of a request, if there are blocks for them within `patience`.
    pub(crate) fn send(
        &self,
        code: RequestCode,
        request: &Command,
        born_host: SocketAddr,
        patience: Patience,
    ) -> Result<Attempt, Rejection> {
        let header = match code {
            RequestCode::SendMessage | RequestCode::SendReplyMessage => SendMessage::decode(&request.fields)?.into(),
            _ => SendMessageV2::decode(&request.fields)?,
        };
        let settings = self.settings.load();
        self.check_broker(&settings)?;
        names::check_topic(header.topic).map_err(|error| Rejection::topic_name(header.topic, &error))?;
        if names::is_closed_to_clients(header.topic) {
            return Err(Rejection::new(
                ResponseCode::NoPermission,
                format!("the topic {} belongs to the system", header.topic),
            ));
        }
        check_numbers(&header)?;
        let target = self.target(&header, &settings)?;
        let batch = code == RequestCode::SendBatchMessage || header.batch == Some(true);
        let asked = Asked { header: &header, request, born_host, settings: &settings, patience };
        if batch { self.store_batch(&asked, target) } else { self.store_one(&asked, target) }
    }

    fn check_broker(&self, settings: &Config) -> Result<(), Rejection> {
        if settings.is_slave() {
            return Err(Rejection::new(
                ResponseCode::ServiceNotAvailable,
                "this broker is a slave; send to its master",
            ));
        }
        if !perm::is_writable(settings.topics.permission) {
            return Err(Rejection::new(
                ResponseCode::NoPermission,
                format!("the broker {} takes no messages (brokerPermission)", settings.identity.broker_name),
            ));
        }
        Ok(())
    }

    fn target(&self, header: &SendMessageV2<'_>, settings: &Config) -> Result<Target, Rejection> {
        // Before it makes the topic.
        if let Some(group) = names::group_of_retry_topic(header.topic)
            && self.groups.find(group).is_none()
        {
            return Err(Rejection::no_group(group));
        }
        if header.default_topic_queues < 1 && self.topics.find(header.topic).is_none() {
            let value = header.default_topic_queues.into();
            return Err(Rejection::number("defaultTopicQueueNums", value, "1 or more is wanted for a new topic"));
        }
        let found =
            match self.topics.find_or_inherit(header.topic, header.default_topic, header.default_topic_queues)? {
                Some(found) => Some(found),
                None if names::is_retry_topic(header.topic) => {
                    self.topics.check_room(header.topic, 1)?;
                    Some(self.topics.find_or_create(header.topic, 1, perm::READ | perm::WRITE))
                }
                None => None,
            };
        let (topic, new) = found.ok_or_else(|| Rejection::no_topic(header.topic))?;
        if settings.topics.reject_read_only && !perm::is_writable(topic.perm) {
            return Err(Rejection::new(ResponseCode::NoPermission, format!("the topic {} is read only", header.topic)));
        }
        let queues = topic.write_queue_nums.max(topic.read_queue_nums);
        let queue_id = match header.queue_id {
            any if any < 0 => topic::random_queue(&topic).ok_or_else(|| no_queue(&topic))?,
            queue_id if queue_id >= queues => {
                return Err(Rejection::new(
                    ResponseCode::SystemError,
                    format!("the topic {} has {queues} queues here, there is no queue {queue_id}", header.topic),
                ));
            }
            queue_id => queue_id,
        };
        Ok(Target { topic, queue_id, new })
    }

    fn store_one(&self, asked: &Asked<'_>, target: Target) -> Result<Attempt, Rejection> {
        let Asked { header, request, born_host, settings, patience } = asked;
        let raw = header.properties.unwrap_or_default().as_bytes();
        let seen = rewrite::see(raw);
        refuse_missing_kinds(header, &seen)?;
        check_size(request.body.len(), settings)?;
        let (mut target, mut delay_level) = (target, seen.delay_level);
        if names::is_retry_topic(header.topic)
            && let Some(dead) = self.dead_letter(header, request)?
        {
            target = dead;
            delay_level = 0;
        }
        let wanted = self.durability.wanted(seen.wait)?;
        let unique_key = self.unique_key(&seen);
        let unique_key = seen.unique_key.unwrap_or(&unique_key);
        let destination = self.destination(&target, delay_level);
        let (mut queue_digits, mut level_digits) = (itoa::Buffer::new(), itoa::Buffer::new());
        let level_text = level_digits.format(destination.level);
        let mut set = vec![(names_of::CLUSTER, settings.identity.cluster_name.as_str())];
        let mut removed = Vec::new();
        if seen.unique_key.is_none() {
            set.push((names_of::UNIQ_KEY, unique_key));
        }
        if destination.level > 0 {
            set.push((names_of::REAL_TOPIC, &target.topic.topic_name));
            set.push((names_of::REAL_QUEUE_ID, queue_digits.format(target.queue_id)));
        }
        if destination.level != seen.delay_level {
            removed.push(names_of::DELAY);
            if destination.level > 0 {
                set.push((names_of::DELAY, level_text));
            }
        }
        let appended = PROPERTIES.with_borrow_mut(|buffer| {
            buffer.clear();
            rewrite::write(raw, &seen, &set, &removed, buffer);
            let draft = Draft {
                topic: destination.topic,
                queue_id: destination.queue_id,
                flag: header.flag,
                sys_flag: header.sys_flag,
                born_timestamp: header.born_timestamp,
                born_host: *born_host,
                store_host: self.store_host,
                reconsume_times: header.reconsume_times.unwrap_or(0),
                prepared_transaction_offset: 0,
                properties: buffer,
                body: &request.body,
            };
            self.store.put_within(&draft, *patience)
        })?;
        let Some(appended) = appended else { return Ok(self.stalled(&target)) };
        self.count(&target.topic.topic_name, 1, request.body.len(), settings);
        let message_id = self.offset_id(&appended);
        let stored = self.stored(&message_id, &appended, &target, unique_key, settings);
        Ok(Attempt::Stored(Stored { wanted, ..stored }))
    }

    fn store_batch(&self, asked: &Asked<'_>, target: Target) -> Result<Attempt, Rejection> {
        let Asked { header, request, born_host, settings, patience } = asked;
        let illegal = |words: &str| Err(Rejection::new(ResponseCode::MessageIllegal, words));
        if names::is_retry_topic(header.topic) {
            return illegal("a batch cannot go to a retry topic");
        }
        check_size(request.body.len(), settings)?;
        let shared = header.properties.unwrap_or_default().as_bytes();
        let batch_seen = rewrite::see(shared);
        refuse_missing_kinds(header, &batch_seen)?;
        // What stands once for all of them; an entry's own value goes before.
        let inherited: Vec<(&str, &str)> = names_of::iter(shared)
            .filter_map(|(name, value)| Some((std::str::from_utf8(name).ok()?, std::str::from_utf8(value).ok()?)))
            .filter(|(name, _)| *name != names_of::UNIQ_KEY)
            .collect();
        let mut entries = Vec::new();
        let mut written = Vec::with_capacity(2 * request.body.len().min(64 << 10));
        for entry in batch::iter(&request.body) {
            let entry = entry.map_err(|error| {
                Rejection::new(ResponseCode::MessageIllegal, format!("the batch cannot be read: {error}"))
            })?;
            let seen = rewrite::see(entry.properties);
            refuse_missing_kinds(header, &seen)?;
            if seen.delay_level > 0 || batch_seen.delay_level > 0 {
                return illegal("messages of a batch cannot be delayed");
            }
            let unique_key = self.unique_key(&seen);
            let own = |name: &str| names_of::find(entry.properties, name).is_some();
            let mut set: Vec<_> = inherited.iter().copied().filter(|(name, _)| !own(name)).collect();
            set.push((names_of::CLUSTER, &settings.identity.cluster_name));
            if seen.unique_key.is_none() {
                set.push((names_of::UNIQ_KEY, &unique_key));
            }
            let start = written.len();
            rewrite::write(entry.properties, &seen, &set, &[], &mut written);
            entries.push((entry.flag, entry.body, start..written.len()));
        }
        if entries.is_empty() {
            return illegal("the batch is empty");
        }
        let wanted = self.durability.wanted(batch_seen.wait)?;
        let drafts: Vec<_> = entries
            .iter()
            .map(|(flag, body, place)| Draft {
                topic: &target.topic.topic_name,
                queue_id: target.queue_id,
                flag: *flag,
                sys_flag: header.sys_flag,
                born_timestamp: header.born_timestamp,
                born_host: *born_host,
                store_host: self.store_host,
                reconsume_times: header.reconsume_times.unwrap_or(0),
                prepared_transaction_offset: 0,
                properties: &written[place.clone()],
                body,
            })
            .collect();
        let Some(appended) = self.store.put_batch_within(&drafts, *patience)? else { return Ok(self.stalled(&target)) };
        let (Some(first), Some(last)) = (appended.first(), appended.last()) else {
            return illegal("the batch is empty");
        };
        self.count(&target.topic.topic_name, appended.len(), request.body.len(), settings);
        let mut ids = String::with_capacity(33 * appended.len());
        for appended in &appended {
            if !ids.is_empty() {
                ids.push(',');
            }
            ids.push_str(&self.offset_id(appended));
        }
        let place = Appended { end: last.end, ..*first };
        let unique_key = batch_seen.unique_key.unwrap_or_default();
        Ok(Attempt::Stored(Stored { wanted, ..self.stored(&ids, &place, &target, unique_key, settings) }))
    }

    /// A message that a client sends to a retry topic and that has been tried too often goes to the dead letters, and so does one of an
    /// ordered group, which would wait for itself.
    fn dead_letter(&self, header: &SendMessageV2<'_>, request: &Command) -> Result<Option<Target>, Rejection> {
        let Some(group_name) = names::group_of_retry_topic(header.topic) else { return Ok(None) };
        let group = self.groups.find(group_name).ok_or_else(|| Rejection::no_group(group_name))?;
        let asked = header.max_reconsume_times.filter(|limit| request.version >= V3_4_9 && *limit >= 0);
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

    fn unique_key(&self, seen: &rewrite::Seen<'_>) -> String {
        match seen.unique_key {
            Some(_) => String::new(),
            None => self.unique_ids.next(now_millis()).to_string(),
        }
    }

    fn destination<'a>(&self, target: &'a Target, delay_level: i32) -> Destination<'a> {
        if delay_level <= 0 {
            return Destination { topic: &target.topic.topic_name, queue_id: target.queue_id, level: 0 };
        }
        let level = delay_level.min(self.delay.levels().count());
        Destination { topic: names::SCHEDULE_TOPIC, queue_id: level - 1, level }
    }

    fn offset_id(&self, appended: &Appended) -> String {
        OffsetId { host: self.store_host, physical_offset: appended.physical_offset }.to_string()
    }

    fn count(&self, topic: &str, messages: usize, bytes: usize, settings: &Config) {
        self.stats.add(Kind::TopicPut, topic, messages as u64);
        self.stats.add(Kind::TopicPutSize, topic, bytes as u64);
        self.stats.add(Kind::BrokerPut, &settings.identity.cluster_name, messages as u64);
    }

    /// The next attempt finds the topic, and could not know that it is new.
    fn stalled(&self, target: &Target) -> Attempt {
        if target.new {
            self.registration.announce();
        }
        Attempt::Stalled { new_topic: target.new }
    }

    fn stored(
        &self,
        message_id: &str,
        appended: &Appended,
        target: &Target,
        unique_key: &str,
        settings: &Config,
    ) -> Stored {
        if target.new {
            self.registration.announce();
        }
        let header = SendMessageResponse {
            message_id,
            queue_id: target.queue_id,
            queue_offset: appended.queue_offset as i64,
            transaction_id: (!unique_key.is_empty()).then_some(unique_key),
            batch_unique_id: None,
            recall_handle: None,
            region: Some(&settings.identity.region),
            trace_on: Some(settings.topics.trace_on),
        };
        Stored {
            reply: Reply::with(&header),
            end: appended.end,
            wanted: Wanted::default(),
            new_topic: target.new.then(|| target.topic.topic_name.clone()),
        }
    }
}

fn no_queue(topic: &TopicConfig) -> Rejection {
    let words = format!("the topic {} has {} queues to read; give it one", topic.topic_name, topic.read_queue_nums);
    Rejection::new(ResponseCode::NoPermission, words)
}

/// Where the record goes; for a delayed message that is not where the message goes.
struct Destination<'a> {
    topic: &'a str,
    queue_id: i32,
    /// 0 is none.
    level: i32,
}

/// Kinds of message that this broker would not treat as what they are must not be taken for plain ones.
fn refuse_missing_kinds(header: &SendMessageV2<'_>, seen: &rewrite::Seen<'_>) -> Result<(), Rejection> {
    if seen.transactional {
        return Err(Rejection::new(ResponseCode::NoPermission, "this broker does not take transaction messages"));
    }
    if sys_flag::transaction(header.sys_flag) != sys_flag::Transaction::None {
        // Stored as it says, it would be in no queue.
        let words = format!("sysFlag {} is that of a transaction; this broker does not take those", header.sys_flag);
        return Err(Rejection::new(ResponseCode::MessageIllegal, words));
    }
    if let Some((name, value, wanted)) = seen.wrong {
        let words = format!("the property {name} cannot be {value:?}: {wanted}");
        return Err(Rejection::new(ResponseCode::MessageIllegal, words));
    }
    Ok(())
}

/// Numbers that no client means.
fn check_numbers(header: &SendMessageV2<'_>) -> Result<(), Rejection> {
    if let Some(times @ ..=-1) = header.reconsume_times {
        return Err(Rejection::number("reconsumeTimes", times.into(), "0 or more is wanted"));
    }
    if let Some(limit @ ..=-2) = header.max_reconsume_times {
        return Err(Rejection::number("maxReconsumeTimes", limit.into(), "-1 (the default) or more is wanted"));
    }
    Ok(())
}

fn check_size(bytes: usize, settings: &Config) -> Result<(), Rejection> {
    let limit = settings.messages.max_size as usize;
    if bytes > limit {
        return Err(Rejection::new(
            ResponseCode::MessageIllegal,
            format!("the body has {bytes} bytes, more than {limit} (maxMessageSize)"),
        ));
    }
    Ok(())
}
