//! Messages that a consumer sends back for redelivery: request 36.

use super::{
    DEFAULT_TRIES, MessageWriter, Outcome, Prepared as AnyPrepared, Stored, Waits,
    durability::Wanted,
    prepare::{self, OwnedDraft},
    properties,
};
use crate::{
    error::{Reason, Rejection},
    observe::stats::Kind,
    topic,
};
use bytes::Bytes;
use rmq_protocol::{
    body::{SubscriptionGroup, TopicConfig, perm},
    header::owned::ConsumerSendMessageBack,
    message::{
        properties as names_of,
        stored::{Draft, Record},
    },
    names,
    version::{V3_4_9, Version},
};
use rmq_store::{Deadline, LogOffset};
use std::sync::Arc;

/// The delay level of the first retry: 10 s.
const FIRST_LEVEL: i32 = 3;

/// A request to deliver a message again.
pub(crate) struct SendBackRequest {
    pub(crate) header: ConsumerSendMessageBack,
    pub(crate) client_version: Version,
}

/// A message that is ready to be appended again.
pub(crate) struct Prepared {
    draft: OwnedDraft,
    wanted: Wanted,
    counted: Counted,
}

/// The keys of the counters that count the message.
struct Counted {
    /// `topic@group` of a message that was sent back.
    sent_back: String,
    /// The same key if the message went to the dead letters.
    dead: Option<String>,
}

impl Prepared {
    pub(super) fn bytes(&self) -> usize {
        self.draft.bytes()
    }
}

/// The destination of a message that was sent back.
struct Retry {
    topic: Arc<TopicConfig>,
    new: bool,
    dead: bool,
    /// 0 means no delay.
    level: i32,
}

impl MessageWriter {
    /// Stores the message again: in the group's retry topic with a delay that grows with the number
    /// of deliveries, or, after too many, in the group's dead-letter topic. Reads the message,
    /// which may block on the disk. Does not wait for disk blocks.
    pub(crate) fn send_back(&self, request: &SendBackRequest) -> Result<Outcome<'static>, Rejection> {
        let header = &request.header;
        let group = self.groups.find(&header.group).ok_or_else(|| Rejection::no_group(&header.group))?;
        let settings = self.settings.load();
        self.role.require_master(Reason::Unavailable, "send back to its master")?;
        if !perm::is_writable(settings.topics.permission) {
            return Err(Rejection::new(Reason::NotPermitted, "this broker takes no messages (brokerPermission)"));
        }
        if group.retry_queue_nums <= 0 {
            return Ok(Outcome::stored(Stored {
                sent: None,
                end: LogOffset::ZERO,
                wanted: Wanted::default(),
                new_topic: false,
            }));
        }
        let not_found = || Rejection::new(Reason::Failed, format!("there is no message at offset {}", header.offset));
        let offset = LogOffset::from_wire(header.offset).ok_or_else(not_found)?;
        let bytes = self.store.record(offset).ok_or_else(not_found)?;
        let record = Record::parse(&bytes).map_err(|_| not_found())?;
        let retry = self.retry(request, &group, &record)?;
        let prepared = self.prepare_back(request, &bytes, &record, &retry)?;
        match self.append_back(prepared, Deadline::Now)? {
            Ok(stored) => Ok(Outcome::stored(Stored { new_topic: retry.new, ..stored })),
            Err(prepared) => {
                Ok(Outcome::Waits(Waits::Blocks { prepared: AnyPrepared::Back(prepared), new_topic: retry.new }))
            }
        }
    }

    /// Finds, or creates, the topic that the message goes to.
    fn retry(
        &self,
        request: &SendBackRequest,
        group: &SubscriptionGroup,
        record: &Record<'_>,
    ) -> Result<Retry, Rejection> {
        let header = &request.header;
        if let Some(limit @ ..=-2) = header.max_reconsume_times {
            return Err(Rejection::number("maxReconsumeTimes", limit.into(), "-1 (the default) or more is wanted"));
        }
        let limit = match header.max_reconsume_times {
            Some(limit) if request.client_version >= V3_4_9 => limit,
            _ => group.retry_max_times,
        };
        let limit = if limit < 0 { DEFAULT_TRIES } else { limit };
        let tries = record.reconsume_times();
        let dead = header.delay_level < 0 || tries >= limit;
        let (name, queues) = if dead {
            (names::dead_letter_topic(&header.group), 1)
        } else {
            (names::retry_topic(&header.group), group.retry_queue_nums)
        };
        names::check_topic(&name).map_err(|error| Rejection::topic_name(&name, &error))?;
        let (topic, new) = self.topics.find_or_create(&name, queues, perm::READ | perm::WRITE);
        if !perm::is_writable(topic.perm) {
            return Err(Rejection::new(Reason::NotPermitted, format!("the topic {name} is not writable")));
        }
        if new {
            self.registration.announce();
        }
        let level = match header.delay_level {
            _ if dead => 0,
            0 => FIRST_LEVEL.saturating_add(tries),
            chosen => chosen,
        };
        Ok(Retry { topic, new, dead, level: level.min(self.delay.levels().count()) })
    }

    fn prepare_back(
        &self,
        request: &SendBackRequest,
        bytes: &Bytes,
        record: &Record<'_>,
        retry: &Retry,
    ) -> Result<Prepared, Rejection> {
        let header = &request.header;
        let topic = retry.topic.topic_name.as_str();
        // The topic may have fewer queues than the group's current setting.
        let queue_id = topic::random_queue(&retry.topic).ok_or_else(|| prepare::no_queue_to_read(&retry.topic))?;
        let raw = record.properties();
        let seen = properties::see(raw);
        let origin = record.offset_id().to_string();
        let (queue_text, level_text) = (queue_id.to_string(), retry.level.to_string());
        // The original topic and id stay with a message, however often it is sent back.
        let mut set = vec![
            (names_of::RETRY_TOPIC, seen.retry_topic.unwrap_or(record.topic())),
            (names_of::ORIGIN_MESSAGE_ID, seen.origin_id.unwrap_or(&origin)),
            (names_of::WAIT, "false"),
        ];
        let removed = [names_of::DELAY, names_of::REAL_TOPIC, names_of::REAL_QUEUE_ID];
        if retry.level > 0 {
            set.extend([
                (names_of::DELAY, level_text.as_str()),
                (names_of::REAL_TOPIC, topic),
                (names_of::REAL_QUEUE_ID, &queue_text),
            ]);
        }
        let mut written = Vec::with_capacity(raw.len() + 128);
        properties::write(raw, &seen, &set, &removed, &mut written);
        let (topic, queue_id) =
            if retry.level > 0 { (names::SCHEDULE_TOPIC, retry.level - 1) } else { (topic, queue_id) };
        let draft = Draft {
            topic,
            queue_id,
            store_host: self.store_host,
            reconsume_times: record.reconsume_times().saturating_add(1),
            properties: &written,
            ..Draft::of(record)
        };
        let died_of = header.origin_topic.as_deref().filter(|topic| !topic.is_empty()).unwrap_or(record.topic());
        Ok(Prepared {
            draft: OwnedDraft::new(&draft, bytes.slice_ref(record.body())),
            wanted: self.durability.wanted(true)?,
            counted: Counted {
                sent_back: format!("{}@{}", record.topic(), header.group),
                dead: retry.dead.then(|| format!("{died_of}@{}", header.group)),
            },
        })
    }

    /// Appends the message. Returns `prepared` if no disk blocks are available within `deadline`.
    pub(super) fn append_back(
        &self,
        prepared: Prepared,
        deadline: Deadline,
    ) -> Result<Result<Stored<'static>, Prepared>, Rejection> {
        let Some(appended) = self.store.put_again_within(&prepared.draft.draft(), deadline)? else {
            return Ok(Err(prepared));
        };
        self.stats.add(Kind::SendBack, &prepared.counted.sent_back, 1);
        if let Some(dead) = &prepared.counted.dead {
            self.stats.add(Kind::DeadLetter, dead, 1);
        }
        Ok(Ok(Stored { sent: None, end: appended.end, wanted: prepared.wanted, new_topic: false }))
    }
}
