//! Requests about topics: 17, 18, 202, 215, 300, 305, 351.

use crate::{
    blocking::blocking,
    config::Live,
    core::Core,
    error::{Reason, Rejection},
    group::{members::Consumers, offsets::ConsumerOffsets},
    observe::stats::{Kind, Stats},
    registration::Registration,
    role::CurrentRole,
    topic::{self, Topics, attributes},
};
use rmq_protocol::{
    body::{GroupList, SINGLE_TAG, TopicConfig, TopicList, TopicOffset, TopicStats},
    header::owned::{CreateTopic, TopicRequest},
    message::MessageQueue,
    names,
};
use rmq_store::{MessageStore, Millis};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};

/// How long the response waits for the namesrvs. A topic that is created but not registered yet is
/// registered with the next heartbeat.
const REGISTER: Duration = Duration::from_secs(3);

/// The state that these requests use.
pub(crate) struct TopicAdmin {
    role: Arc<CurrentRole>,
    store: Arc<MessageStore>,
    topics: Arc<Topics>,
    consumers: Arc<Consumers>,
    offsets: Arc<ConsumerOffsets>,
    registration: Arc<Registration>,
    settings: Arc<Live>,
    stats: Arc<Stats>,
}

impl TopicAdmin {
    pub(crate) fn new(core: &Core) -> Self {
        Self {
            role: Arc::clone(&core.role),
            store: Arc::clone(&core.store),
            topics: Arc::clone(&core.topics),
            consumers: Arc::clone(&core.consumers),
            offsets: Arc::clone(&core.offsets),
            registration: Arc::clone(&core.registration),
            settings: Arc::clone(&core.settings),
            stats: Arc::clone(&core.stats),
        }
    }

    /// Request 17. The topic is durable and registered when the response is sent.
    pub(crate) async fn create(&self, header: &CreateTopic) -> Result<(), Rejection> {
        self.check(&header.topic)?;
        let mut attributes = self.topics.find(&header.topic).map(|topic| topic.attributes.clone()).unwrap_or_default();
        attributes::apply(header.attributes.as_deref().unwrap_or_default(), &mut attributes)
            .map_err(|error| Rejection::invalid(error.to_string()))?;
        let config = TopicConfig {
            attributes,
            order: header.order.unwrap_or(false),
            perm: header.perm,
            read_queue_nums: header.read_queues,
            topic_filter_type: SINGLE_TAG.to_owned(),
            topic_name: header.topic.to_owned(),
            topic_sys_flag: header.sys_flag.unwrap_or(0),
            write_queue_nums: header.write_queues,
        };
        self.put_all(vec![config]).await
    }

    /// Request 18.
    pub(crate) async fn create_several(&self, topics: Vec<TopicConfig>) -> Result<(), Rejection> {
        for config in &topics {
            self.check(&config.topic_name)?;
        }
        self.put_all(topics).await
    }

    fn check(&self, topic: &str) -> Result<(), Rejection> {
        let settings = self.settings.load();
        self.role.require_master(Reason::Failed, "change topics on its master")?;
        names::check_topic(topic).map_err(|error| Rejection::topic_name(topic, &error))?;
        if topic::is_reserved(topic, &settings) {
            return Err(Rejection::invalid(format!("the topic {topic} belongs to the system")));
        }
        Ok(())
    }

    async fn put_all(&self, configs: Vec<TopicConfig>) -> Result<(), Rejection> {
        for config in &configs {
            topic::check_queues(config).map_err(Rejection::invalid)?;
            if config.write_queue_nums > config.read_queue_nums {
                return Err(Rejection::invalid(format!(
                    "{} cannot have {} queues to write (writeQueueNums) and {} to read (readQueueNums): \
                    no consumer would get the messages of the others; raise readQueueNums",
                    config.topic_name, config.write_queue_nums, config.read_queue_nums
                )));
            }
            if !(0..=3).contains(&config.topic_sys_flag) {
                let wanted = "0, 1 (unit), 2 (unit subscription) or 3 is wanted";
                return Err(Rejection::number("topicSysFlag", config.topic_sys_flag.into(), wanted));
            }
            if !(0..=7).contains(&config.perm) {
                return Err(Rejection::invalid(format!(
                    "{} cannot have the permission {}: 2 write, 4 read, 6 both",
                    config.topic_name, config.perm
                )));
            }
        }
        let new = configs.iter().filter(|config| self.topics.find(&config.topic_name).is_none());
        let (first, more) = (configs.first().map_or("", |config| &config.topic_name), new.count());
        if more > 0 {
            self.topics.check_room(first, more)?;
        }
        for config in configs {
            if self.topics.find(&config.topic_name).is_some_and(|known| *known == config) {
                continue;
            }
            tracing::info!(
                topic = config.topic_name,
                read = config.read_queue_nums,
                write = config.write_queue_nums,
                perm = config.perm,
                "topic created or changed"
            );
            self.topics.put(config);
        }
        self.registration.announce();
        self.persist().await?;
        self.registration.announced(REGISTER).await;
        Ok(())
    }

    async fn persist(&self) -> Result<(), Rejection> {
        let topics = Arc::clone(&self.topics);
        blocking(move || topics.persist()).await
    }

    /// Request 215: deletes the topic with its retry topics, offsets and queues.
    pub(crate) async fn delete(&self, header: &TopicRequest) -> Result<(), Rejection> {
        self.check(&header.topic)?;
        if topic::is_own(&header.topic, &self.settings.load()) {
            let reason = format!("the topic {} has the name of this broker or its cluster and stays", header.topic);
            return Err(Rejection::invalid(reason));
        }
        self.topics.remove(&header.topic);
        self.offsets.retain(|topic, _| topic != header.topic);
        self.persist().await?;
        let (store, name) = (Arc::clone(&self.store), header.topic.to_owned());
        blocking(move || store.delete_topic(&name)).await?;
        tracing::info!(topic = header.topic, "topic deleted");
        Ok(())
    }

    /// Request 202.
    pub(crate) fn stats(&self, header: &TopicRequest) -> Result<TopicStats, Rejection> {
        let topic = self.topics.find(&header.topic).ok_or_else(|| Rejection::no_topic(&header.topic))?;
        let broker_name = self.settings.load().identity.broker_name.clone();
        let queues = topic.write_queue_nums.max(topic.read_queue_nums);
        let rows = (0..queues).map(|queue_id| {
            let (min, max) =
                (self.store.min_offset(&header.topic, queue_id), self.store.max_offset(&header.topic, queue_id));
            let last = match max.before().filter(|last| *last >= min) {
                Some(last) => self.store.store_timestamp(&header.topic, queue_id, last)?.map_or(0, Millis::get),
                None => 0,
            };
            let queue = MessageQueue { broker_name: broker_name.clone(), queue_id, topic: header.topic.to_owned() };
            Ok((
                queue,
                TopicOffset { last_update_timestamp: last, max_offset: max.to_wire(), min_offset: min.to_wire() },
            ))
        });
        let body = TopicStats {
            offset_table: rows.collect::<Result<_, rmq_store::Error>>()?,
            topic_put_tps: self.stats.rate(Kind::TopicPut, &header.topic, Instant::now()),
        };
        Ok(body)
    }

    /// Request 300: groups that are connected or have offsets.
    pub(crate) fn groups(&self, header: &TopicRequest) -> GroupList {
        let mut groups = self.consumers.groups_of(&header.topic);
        groups.extend(self.offsets.groups_of(&header.topic));
        GroupList { group_list: groups.into_iter().collect() }
    }

    /// Request 305.
    pub(crate) fn system_topics(&self) -> TopicList {
        let settings = self.settings.load();
        let topics = self.topics.snapshot().topic_config_table.into_keys();
        TopicList {
            broker_addr: None,
            topic_list: topics
                .filter(|topic| topic::is_reserved(topic, &settings) || topic::is_own(topic, &settings))
                .collect(),
        }
    }

    /// Request 351.
    pub(crate) fn one(&self, header: &TopicRequest) -> Result<Arc<TopicConfig>, Rejection> {
        self.topics.find(&header.topic).ok_or_else(|| Rejection::no_topic(&header.topic))
    }
}
