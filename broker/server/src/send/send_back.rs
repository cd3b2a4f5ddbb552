//! A consumer wants a message again later: 36.

use super::{DEFAULT_TRIES, properties as rewrite};
use crate::{
    config::Live,
    error::Rejection,
    group::subscription::SubscriptionGroups,
    observe::stats::{Kind, Stats},
    registration::Registration,
    send::{
        durability::{Durability, Stored, Wanted},
        stalled::Attempt,
    },
    timer::delay::Delay,
    topic::{self, Topics},
};
use rmq_protocol::{
    Command, Reply, ResponseCode,
    body::perm,
    header::{ConsumerSendMessageBack, Header},
    message::{
        properties,
        stored::{Draft, Record},
    },
    names,
    version::V3_4_9,
};
use rmq_store::{Appended, MessageStore, Patience};
use std::{net::SocketAddr, sync::Arc};

/// The level of the first retry: 10 s.
const FIRST_LEVEL: i32 = 3;

/// Handles of this request.
pub(crate) struct SendBack {
    pub(crate) store: Arc<MessageStore>,
    pub(crate) topics: Arc<Topics>,
    pub(crate) groups: Arc<SubscriptionGroups>,
    pub(crate) delay: Arc<Delay>,
    pub(crate) registration: Arc<Registration>,
    pub(crate) settings: Arc<Live>,
    pub(crate) stats: Arc<Stats>,
    pub(crate) durability: Arc<Durability>,
    pub(crate) store_host: SocketAddr,
}

impl SendBack {
    /// Stores the message again, if there are blocks for it within `patience`: for the group's retry topic after a pause that grows with its tries, or, after
    /// too many, among the group's dead letters. Reads the message, which may wait for the disk; a second attempt finds it in memory.
    pub(crate) fn send_back(&self, request: &Command, patience: Patience) -> Result<Attempt, Rejection> {
        let header = ConsumerSendMessageBack::decode(&request.fields)?;
        let settings = self.settings.load();
        let group = self.groups.find(header.group).ok_or_else(|| Rejection::no_group(header.group))?;
        if settings.is_slave() {
            return Err(Rejection::new(
                ResponseCode::ServiceNotAvailable,
                "this broker is a slave; send back to its master",
            ));
        }
        if !perm::is_writable(settings.topics.permission) {
            return Err(Rejection::new(ResponseCode::NoPermission, "this broker takes no messages (brokerPermission)"));
        }
        if group.retry_queue_nums <= 0 {
            let nothing = Stored { reply: Reply::ok(), end: 0, wanted: Wanted::default(), new_topic: None };
            return Ok(Attempt::Stored(nothing));
        }
        let not_found =
            || Rejection::new(ResponseCode::SystemError, format!("there is no message at offset {}", header.offset));
        let offset = u64::try_from(header.offset).map_err(|_| not_found())?;
        let bytes = self.store.record(offset).ok_or_else(not_found)?;
        let record = Record::parse(&bytes).map_err(|_| not_found())?;
        if let Some(limit @ ..=-2) = header.max_reconsume_times {
            return Err(Rejection::number("maxReconsumeTimes", limit.into(), "-1 (the default) or more is wanted"));
        }
        let limit = match header.max_reconsume_times {
            Some(limit) if request.version >= V3_4_9 => limit,
            _ => group.retry_max_times,
        };
        let limit = if limit < 0 { DEFAULT_TRIES } else { limit };
        let tries = record.reconsume_times();
        let dead = header.delay_level < 0 || tries >= limit;
        let (name, queues) = if dead {
            (names::dead_letter_topic(header.group), 1)
        } else {
            (names::retry_topic(header.group), group.retry_queue_nums)
        };
        names::check_topic(&name).map_err(|error| Rejection::topic_name(&name, &error))?;
        let (topic, new) = self.topics.find_or_create(&name, queues, perm::READ | perm::WRITE);
        if !perm::is_writable(topic.perm) {
            return Err(Rejection::new(ResponseCode::NoPermission, format!("the topic {name} is not writable")));
        }
        if new {
            self.registration.announce();
        }
        let wanted = self.durability.wanted(true)?;
        // The topic may have fewer queues than the group says now.
        let queue_id = topic::random_queue(&topic).ok_or_else(|| {
            Rejection::new(
                ResponseCode::NoPermission,
                format!("the topic {name} has {} queues to read; give it one", topic.read_queue_nums),
            )
        })?;
        let level = match header.delay_level {
            _ if dead => 0,
            0 => FIRST_LEVEL.saturating_add(tries),
            chosen => chosen,
        };
        let level = level.min(self.delay.levels().count());
        let Some(appended) = self.append(&record, &name, queue_id, level, patience)? else {
            return Ok(Attempt::Stalled { new_topic: new });
        };
        self.stats.add(Kind::SendBack, &format!("{}@{}", record.topic(), header.group), 1);
        if dead {
            let topic = header.origin_topic.filter(|topic| !topic.is_empty()).unwrap_or(record.topic());
            self.stats.add(Kind::DeadLetter, &format!("{topic}@{}", header.group), 1);
        }
        let stored = Stored { reply: Reply::ok(), end: appended.end, wanted, new_topic: new.then_some(name) };
        Ok(Attempt::Stored(stored))
    }

    fn append(
        &self,
        record: &Record<'_>,
        topic: &str,
        queue_id: i32,
        level: i32,
        patience: Patience,
    ) -> Result<Option<Appended>, Rejection> {
        let raw = record.properties();
        let seen = rewrite::see(raw);
        let origin = record.offset_id().to_string();
        let (queue_text, level_text) = (queue_id.to_string(), level.to_string());
        // The first topic and id stay with a message however often it comes back.
        let mut set = vec![
            (properties::RETRY_TOPIC, seen.retry_topic.unwrap_or(record.topic())),
            (properties::ORIGIN_MESSAGE_ID, seen.origin_id.unwrap_or(&origin)),
            (properties::WAIT, "false"),
        ];
        let removed = [properties::DELAY, properties::REAL_TOPIC, properties::REAL_QUEUE_ID];
        if level > 0 {
            set.extend([
                (properties::DELAY, level_text.as_str()),
                (properties::REAL_TOPIC, topic),
                (properties::REAL_QUEUE_ID, &queue_text),
            ]);
        }
        let mut written = Vec::with_capacity(raw.len() + 128);
        rewrite::write(raw, &seen, &set, &removed, &mut written);
        let (topic, queue_id) = if level > 0 { (names::SCHEDULE_TOPIC, level - 1) } else { (topic, queue_id) };
        let draft = Draft {
            topic,
            queue_id,
            store_host: self.store_host,
            reconsume_times: record.reconsume_times().saturating_add(1),
            properties: &written,
            ..Draft::of(record)
        };
        Ok(self.store.put_again_within(&draft, patience)?)
    }
}
