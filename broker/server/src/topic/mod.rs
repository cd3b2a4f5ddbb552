//! The broker's topics: `config/topics.json`.
//!
//! | file | what |
//! |---|---|
//! | `mod.rs` | the table: find, create, delete, persist |
//! | [`system`] | topics that every broker has |
//! | [`attributes`] | the attribute changes of `updateTopic` |

pub(crate) mod attributes;
mod system;

pub(crate) use system::reply_topic;

use crate::{
    Error,
    config::Config,
    error::Rejection,
    table::{self, Changes, Table},
};
use rmq_protocol::{
    body::{DataVersion, TopicConfig, TopicConfigTable, perm},
    names,
};
use std::{path::Path, sync::Arc};

/// Topics that this broker makes at a first send or is told to make, at most; those for retries and dead letters, two for each consumer group, come on top.
/// What one peer makes must not take the memory of all.
pub(crate) const MAX_TOPICS: usize = 100_000;
/// Queues of one topic on one broker: beyond this it is a typing error.
pub(crate) const MAX_QUEUES: i32 = 65_536;

/// The topics of this broker.
pub(crate) struct Topics {
    table: Table<TopicConfig>,
}

impl Topics {
    /// Reads `config/topics.json` below the store's root and adds the system's topics.
    pub(crate) fn open(root: &Path, config: &Config) -> Result<Self, Error> {
        let path = root.join("config/topics.json");
        let TopicConfigTable { data_version, topic_config_table: mut topics } = table::load(&path)?;
        if let Some(reason) = topics.values().find_map(|topic| check_queues(topic).err()) {
            return Err(Error::Table { path, reason });
        }
        for topic in system::topics(config) {
            topics.entry(topic.topic_name.clone()).or_insert(topic);
        }
        // Written when topics could be made by a first send; the setting of now counts.
        if !config.topics.auto_create
            && let Some(template) = topics.get_mut(names::AUTO_CREATE_TOPIC)
        {
            template.perm &= !perm::INHERIT;
        }
        Ok(Self { table: Table::new(path, data_version, topics) })
    }

    pub(crate) fn find(&self, topic: &str) -> Option<Arc<TopicConfig>> {
        self.table.find(topic)
    }

    pub(crate) fn len(&self) -> usize {
        self.table.len()
    }

    pub(crate) fn version(&self) -> DataVersion {
        self.table.version()
    }

    /// Counts the version up without a change, so that namesrvs look at the table again.
    pub(crate) fn touch(&self) {
        self.table.touch();
    }

    /// Creates or changes a topic.
    pub(crate) fn put(&self, topic: TopicConfig) {
        let name = topic.topic_name.clone();
        self.table.put(&name, topic);
    }

    /// Deletes a topic; false if it was not there.
    pub(crate) fn remove(&self, topic: &str) -> bool {
        self.table.remove(topic)
    }

    /// The topic of a first send: made after `template` with at most `queues` queues, if the template may be inherited from.
    /// The flag says whether it is new.
    ///
    /// # Errors
    /// There are too many topics to make another.
    pub(crate) fn find_or_inherit(
        &self,
        topic: &str,
        template: &str,
        queues: i32,
    ) -> Result<Option<(Arc<TopicConfig>, bool)>, Rejection> {
        if let Some(found) = self.table.find(topic) {
            return Ok(Some((found, false)));
        }
        let Some(template) = self.table.find(template).filter(|template| perm::is_inherited(template.perm)) else {
            return Ok(None);
        };
        self.check_room(topic, 1)?;
        let queues = queues.clamp(1, template.write_queue_nums.max(1));
        let permission = template.perm & !perm::INHERIT;
        Ok(Some(self.table.find_or_put(topic, || TopicConfig {
            topic_sys_flag: template.topic_sys_flag,
            ..TopicConfig::new(topic, queues, queues, permission)
        })))
    }

    /// Refuses `more` topics, the first of which is `topic`, if there would be too many.
    pub(crate) fn check_room(&self, topic: &str, more: usize) -> Result<(), Rejection> {
        let topics = self.table.len();
        if topics + more <= MAX_TOPICS {
            return Ok(());
        }
        self.table.refused(topic, MAX_TOPICS);
        Err(Rejection::invalid(format!(
            "the topic {topic} is not made: this broker has {topics} topics, and may have {MAX_TOPICS}; delete topics that are not used"
        )))
    }

    /// A retry or dead-letter topic, made if it is not there. The flag says whether it is new.
    pub(crate) fn find_or_create(&self, topic: &str, queues: i32, permission: i32) -> (Arc<TopicConfig>, bool) {
        match self.table.find(topic) {
            Some(found) => (found, false),
            None => self.table.find_or_put(topic, || TopicConfig::new(topic, queues, queues, permission)),
        }
    }

    pub(crate) fn snapshot(&self) -> TopicConfigTable {
        let (data_version, topic_config_table) = self.table.snapshot();
        TopicConfigTable { data_version, topic_config_table }
    }

    /// Takes over the master's table.
    pub(crate) fn replace(&self, table: TopicConfigTable) {
        self.table.replace(table.data_version, table.topic_config_table);
    }

    /// See [`Table::begin_write`].
    pub(crate) fn begin_write(&self) -> bool {
        self.table.begin_write()
    }

    /// See [`Table::begin_write`].
    pub(crate) fn write(&self) -> Result<(), rmq_store::Error> {
        self.table.end_waiting();
        self.persist()
    }

    /// See [`Table::persist`].
    pub(crate) fn persist(&self) -> Result<(), rmq_store::Error> {
        self.table.persist(|data_version, topic_config_table| TopicConfigTable { data_version, topic_config_table })
    }

    /// Changes of this process so far.
    pub(crate) fn generation(&self) -> u64 {
        self.table.generation()
    }

    /// Topics that changed after `generation`, for others' eyes: with the broker's own permission laid over each.
    pub(crate) fn changed_since(&self, generation: u64, broker_permission: i32) -> Changes<TopicConfig> {
        let mut changes = self.table.changed_since(generation);
        for topic in changes.entries.values_mut() {
            topic.perm = masked(topic.perm, broker_permission);
        }
        changes
    }
}

/// Refuses numbers of queues that no topic may have.
pub(crate) fn check_queues(topic: &TopicConfig) -> Result<(), String> {
    for (name, queues) in [("readQueueNums", topic.read_queue_nums), ("writeQueueNums", topic.write_queue_nums)] {
        if !(0..=MAX_QUEUES).contains(&queues) {
            return Err(format!("the topic {} cannot have {name}={queues}: 0 to {MAX_QUEUES}", topic.topic_name));
        }
    }
    if topic.read_queue_nums == 0 && topic.write_queue_nums == 0 {
        return Err(format!("the topic {} cannot have readQueueNums=0 and writeQueueNums=0", topic.topic_name));
    }
    Ok(())
}

/// A topic's permission on a broker that does not permit everything.
pub(crate) fn masked(topic: i32, broker: i32) -> i32 {
    let both = perm::READ | perm::WRITE;
    if broker & both == both { topic } else { topic & broker }
}

/// A queue of the topic that can be read: `wanted`, or any other where that cannot. On a topic
/// without a queue to read nothing can be chosen better; the message waits there.
pub(crate) fn readable_queue(topic: &TopicConfig, wanted: i32) -> i32 {
    if topic.read_queue_nums <= 0 || (0..topic.read_queue_nums).contains(&wanted) {
        return wanted.max(0);
    }
    random_queue(topic).unwrap_or(0)
}

/// Any queue that is both written and read, or at least read; `None` where none is.
pub(crate) fn random_queue(topic: &TopicConfig) -> Option<i32> {
    let both = topic.read_queue_nums.min(topic.write_queue_nums);
    let queues = if both > 0 { both } else { topic.read_queue_nums };
    (queues > 0).then(|| rand::random_range(0..queues))
}

/// Topics whose names an application may not create, change or delete.
pub(crate) fn is_reserved(topic: &str, config: &Config) -> bool {
    names::is_system_topic(topic) || topic == reply_topic(&config.identity.cluster_name)
}

/// Topics named after the cluster and the broker, which may be changed: every start makes them
/// anew, and clients take them for templates.
pub(crate) fn is_own(topic: &str, config: &Config) -> bool {
    topic == config.identity.cluster_name || topic == config.identity.broker_name
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topics() -> (tempfile::TempDir, Topics) {
        let folder = tempfile::tempdir().unwrap();
        let (config, _) = Config::from_properties([("brokerName", "b"), ("brokerClusterName", "c")]).unwrap();
        let topics = Topics::open(folder.path(), &config).unwrap();
        (folder, topics)
    }

    #[test]
    fn a_first_send_inherits_from_the_template() {
        let (_folder, topics) = topics();
        let (topic, new) = topics.find_or_inherit("orders", names::AUTO_CREATE_TOPIC, 4).unwrap().unwrap();
        assert!(new);
        assert_eq!((topic.read_queue_nums, topic.write_queue_nums, topic.perm), (4, 4, 6));
        assert!(!topics.find_or_inherit("orders", names::AUTO_CREATE_TOPIC, 16).unwrap().unwrap().1);
        assert!(topics.find_or_inherit("others", "orders", 4).unwrap().is_none(), "orders cannot be inherited from");
        assert_eq!(
            topics.find_or_inherit("more", names::AUTO_CREATE_TOPIC, 100).unwrap().unwrap().0.write_queue_nums,
            8
        );
    }

    #[test]
    fn a_template_of_former_days_makes_no_topics_once_that_is_switched_off() {
        let (folder, topics) = topics();
        topics.persist().unwrap();
        let settings = [("brokerName", "b"), ("brokerClusterName", "c"), ("autoCreateTopicEnable", "false")];
        let (config, _) = Config::from_properties(settings).unwrap();
        let again = Topics::open(folder.path(), &config).unwrap();
        assert!(again.find_or_inherit("orders", names::AUTO_CREATE_TOPIC, 4).unwrap().is_none());
    }

    #[test]
    fn topics_survive_a_restart() {
        let (folder, topics) = topics();
        topics.put(TopicConfig::new("orders", 3, 3, 6));
        topics.persist().unwrap();
        let (config, _) = Config::from_properties([("brokerName", "b"), ("brokerClusterName", "c")]).unwrap();
        let again = Topics::open(folder.path(), &config).unwrap();
        assert_eq!(again.find("orders"), topics.find("orders"));
        assert_eq!(again.version(), topics.version());
    }

    #[test]
    fn first_sends_make_no_more_topics_than_there_may_be() {
        let (_folder, topics) = topics();
        for number in topics.len()..MAX_TOPICS {
            topics.put(TopicConfig::new(format!("t{number}"), 1, 1, 6));
        }
        let refused = topics.find_or_inherit("another", names::AUTO_CREATE_TOPIC, 4).unwrap_err();
        assert!(refused.remark.contains("another") && refused.remark.contains("100000"), "{refused:?}");
        let known = format!("t{}", MAX_TOPICS - 1);
        assert!(topics.find_or_inherit(&known, names::AUTO_CREATE_TOPIC, 4).unwrap().is_some());
        assert!(topics.find_or_create("%RETRY%g", 1, 6).1, "those of groups come on top");
    }

    #[test]
    fn a_table_with_more_queues_than_a_topic_may_have_is_not_read() {
        let (folder, topics) = topics();
        topics.put(TopicConfig::new("orders", 1, MAX_QUEUES + 1, 6));
        topics.persist().unwrap();
        let (config, _) = Config::from_properties([("brokerName", "b"), ("brokerClusterName", "c")]).unwrap();
        let refused = Topics::open(folder.path(), &config).err().map(|error| error.to_string()).unwrap_or_default();
        assert!(refused.contains("orders") && refused.contains("writeQueueNums=65537"), "{refused:?}");
    }

    #[test]
    fn the_brokers_permission_covers_the_topics() {
        assert_eq!(masked(7, 6), 7);
        assert_eq!(masked(6, 4), 4);
        assert_eq!(masked(2, 4), 0);
    }
}
