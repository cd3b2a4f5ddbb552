//! Requests about the broker itself: 25, 26, 28, 306, 315, 316, 321, 329.

use crate::{
    admin::runtime_info::RuntimeInfo,
    clock::now_millis,
    config::Live,
    core::Core,
    error::{Reason, Rejection},
    filter::{Filters, Wanted},
    group::members::Consumers,
    observe::stats::{Kind, Stats},
    registration::Registration,
    replication::{Following, LogCheck},
    role::CurrentRole,
    topic::Topics,
};
use rmq_protocol::{
    body::{BrokerStats, ConsumeQueueBody, ConsumeQueueEntry, DataVersion, KvTable, runtime_info as rows},
    header::owned::{QueryConsumeQueue, ViewBrokerStats},
    java_properties,
    message::stored::Record,
};
use rmq_store::{LogOffset, MessageStore, QueueOffset};
use std::{sync::Arc, time::Instant};

/// The limit of entries of a queue that one request shows.
const MAX_ENTRIES: i32 = 1000;

/// The settings in force, as a properties file.
pub(crate) struct InForce {
    pub(crate) version: DataVersion,
    pub(crate) properties: String,
}

/// The state that these requests use.
pub(crate) struct BrokerAdmin {
    role: Arc<CurrentRole>,
    store: Arc<MessageStore>,
    topics: Arc<Topics>,
    consumers: Arc<Consumers>,
    filters: Arc<Filters>,
    registration: Arc<Registration>,
    settings: Arc<Live>,
    stats: Arc<Stats>,
    following: Arc<Following>,
    log_check: Arc<LogCheck>,
    runtime_info: RuntimeInfo,
}

impl BrokerAdmin {
    pub(crate) fn new(
        core: &Core,
        following: &Arc<Following>,
        log_check: &Arc<LogCheck>,
        runtime_info: RuntimeInfo,
    ) -> Self {
        Self {
            role: Arc::clone(&core.role),
            store: Arc::clone(&core.store),
            topics: Arc::clone(&core.topics),
            consumers: Arc::clone(&core.consumers),
            filters: Arc::clone(&core.filters),
            registration: Arc::clone(&core.registration),
            settings: Arc::clone(&core.settings),
            stats: Arc::clone(&core.stats),
            following: Arc::clone(following),
            log_check: Arc::clone(log_check),
            runtime_info,
        }
    }

    /// Request 25. If a change will be lost at the end of the process, returns the reason. Blocks
    /// on the file.
    pub(crate) fn update_config(&self, text: &str) -> Result<Option<String>, Rejection> {
        let pairs = java_properties::parse(text);
        let before = self.settings.load_full();
        let persisted = self.settings.update(&pairs, now_millis())?;
        let after = self.settings.load_full();
        tracing::info!(changes = text.trim(), "settings changed");
        if before.store != after.store {
            self.store.set_retention(after.for_store()?.retention)?;
        }
        if before.topics.permission != after.topics.permission {
            // Namesrvs accept changed permissions only with a new version of the topic table.
            self.topics.touch();
            self.registration.announce_everything();
        }
        if before.namesrv.addresses != after.namesrv.addresses {
            self.registration.announce_everything();
        }
        let lost =
            persisted.err().inspect(|why| tracing::info!(why, "the change of settings holds until the broker ends"));
        Ok(lost)
    }

    /// Request 26.
    pub(crate) fn config(&self) -> InForce {
        InForce { version: self.settings.version(), properties: self.settings.load().to_properties() }
    }

    /// Request 28. Adds to Java's rows: whether a master takes writes, or what a slave follows.
    pub(crate) fn runtime_info(&self) -> KvTable {
        let mut table = self.runtime_info.table(Instant::now());
        match self.role.is_slave() {
            true => table.insert(rows::SLAVE_STATE.to_owned(), self.following.describe_state()),
            false => table.insert(rows::LOG_CHECK.to_owned(), self.log_check.describe()),
        };
        KvTable { table }
    }

    /// Request 315.
    pub(crate) fn stats(&self, header: &ViewBrokerStats) -> Result<BrokerStats, Rejection> {
        let found =
            Kind::from_name(&header.name).and_then(|kind| self.stats.describe(kind, &header.key, Instant::now()));
        match found {
            Some(stats) => Ok(stats),
            None => {
                Err(Rejection::new(Reason::Failed, format!("nothing is counted as {} of {}", header.name, header.key)))
            }
        }
    }

    /// Request 329: a round of deletion now, at any hour. The upkeep of the store then deletes
    /// more. Blocks.
    pub(crate) fn delete_expired(&self) -> Result<(), Rejection> {
        self.store.delete_expired()?;
        Ok(())
    }

    /// Request 306: removes the entries of queues whose records are gone. Blocks.
    pub(crate) fn clean_queues(&self) -> Result<(), Rejection> {
        self.store.trim_followers()?;
        Ok(())
    }

    /// Request 316: deletes queues whose topics are gone. Blocks.
    pub(crate) fn clean_unused(&self) -> Result<(), Rejection> {
        self.store.clean_unused_topics(|topic| self.topics.is_known(topic))?;
        Ok(())
    }

    /// Request 321.
    pub(crate) fn consume_queue(&self, header: &QueryConsumeQueue) -> Result<ConsumeQueueBody, Rejection> {
        if !self.store.queues(&header.topic).contains(&header.queue_id) {
            return Err(Rejection::new(
                Reason::Failed,
                format!("there is no queue {} of {} here", header.queue_id, header.topic),
            ));
        }
        let (min, max) = (
            self.store.min_offset(&header.topic, header.queue_id),
            self.store.max_offset(&header.topic, header.queue_id),
        );
        let subscription = header
            .consumer_group
            .as_ref()
            .and_then(|group| self.consumers.subscription(group, &header.topic).flatten());
        if header.count < 1 {
            return Err(Rejection::number("count", header.count.into(), "1 or more is wanted"));
        }
        let Some(first) = QueueOffset::from_wire(header.index).filter(|index| (min..max).contains(index)) else {
            return Err(Rejection::new(
                Reason::Failed,
                format!(
                    "the index {} is outside of {min}..{max}, what queue {} of {} holds",
                    header.index, header.queue_id, header.topic
                ),
            ));
        };
        let last = max.min(first.saturating_add(header.count.min(MAX_ENTRIES) as u64));
        let wanted = subscription.as_ref().and_then(|subscription| {
            let group = header.consumer_group.as_deref().unwrap_or_default();
            self.filters.wanted(group, subscription, self.settings.load().messages.property_filter).ok()
        });
        let mut queue_data = Vec::new();
        for offset in first.get()..last.get() {
            let Some(place) = self.store.physical_offset(&header.topic, header.queue_id, offset.into())? else {
                continue;
            };
            queue_data.push(self.entry(place, wanted.as_ref()));
        }
        let body = ConsumeQueueBody {
            filter_data: None,
            max_queue_index: max.to_wire(),
            min_queue_index: min.to_wire(),
            queue_data,
            subscription_data: subscription.map(|subscription| (*subscription).clone()),
        };
        Ok(body)
    }

    /// An entry of a queue, computed from its message.
    fn entry(&self, place: LogOffset, wanted: Option<&Wanted>) -> ConsumeQueueEntry {
        let bytes = self.store.record(place);
        let record = bytes.as_ref().and_then(|bytes| Record::parse(bytes).ok());
        let tags_code = record.as_ref().map_or(0, Record::tags_code);
        ConsumeQueueEntry {
            eval: wanted.is_none_or(|wanted| record.as_ref().is_some_and(|record| wanted.accepts(record))),
            msg: record.is_none().then(|| "the message cannot be read".to_owned()),
            physic_offset: place.to_wire(),
            physic_size: record.map_or(0, |record| record.size() as i32),
            tags_code,
        }
    }
}
