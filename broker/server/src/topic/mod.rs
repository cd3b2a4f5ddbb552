//! The broker's topics: `config/topics.json`.
//!
//! | file | what |
//! |---|---|
//! | `mod.rs` | the table: find, create, delete, persist |
//! | [`system`] | topics that every broker has |
//! | [`attributes`] | the attribute changes of `updateTopic` |

pub(crate) mod attributes;
mod system;

use crate::{
    Error,
    config::Config,
    error::Rejection,
    feature::Feature,
    metrics_page::{MetricsPage, Written},
    rows::{self, InvalidRows, Row},
    table::{self, Changes, Table},
};
use rmq_protocol::{
    body::{DataVersion, TopicConfig, TopicConfigTable, perm},
    names,
};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::Arc,
};

/// The limit of topics on this broker, created by a first send or by request. Topics for retries
/// and dead letters, two for each consumer group, are not counted. One peer must not exhaust the
/// memory of the broker.
pub(crate) const MAX_TOPICS: usize = 100_000;
/// The limit of queues of one topic on one broker. A higher number is a typing error.
pub(crate) const MAX_QUEUES: i32 = 65_536;

/// The topics of this broker.
pub(crate) struct Topics {
    table: Table<TopicConfig>,
    /// The names of the system topics. Some of them are settings, and are not valid as names of
    /// topics.
    system: BTreeSet<String>,
}

/// [`TopicConfigTable`] with rows that are not validated yet: the file, or the response of a
/// master.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct TopicRows {
    pub(crate) data_version: DataVersion,
    topic_config_table: InvalidRows,
}

/// The file as it is written.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct TopicFile {
    data_version: DataVersion,
    topic_config_table: BTreeMap<String, Row<TopicConfig>>,
}

impl Topics {
    /// Reads `config/topics.json` below the store's root and adds the system topics.
    pub(crate) fn open(root: &Path, config: &Config) -> Result<Self, Error> {
        let path = root.join("config/topics.json");
        let TopicRows { data_version, topic_config_table } = table::load(&path)?;
        let system_topics = system::topics(config);
        let system: BTreeSet<_> = system_topics.iter().map(|topic| topic.topic_name.clone()).collect();
        let (mut topics, invalid) = rows::judge(path.display(), topic_config_table, |name, topic| {
            check_row(name, topic, system.contains(name))
        });
        for topic in system_topics {
            topics.entry(topic.topic_name.clone()).or_insert(topic);
        }
        // The file was written while a first send could create topics. The current setting applies.
        if !config.topics.auto_create
            && let Some(template) = topics.get_mut(names::AUTO_CREATE_TOPIC)
        {
            template.perm &= !perm::INHERIT;
        }
        Ok(Self { table: Table::new(path, data_version, topics, invalid), system })
    }

    pub(crate) fn find(&self, topic: &str) -> Option<Arc<TopicConfig>> {
        self.table.find(topic)
    }

    /// Whether the topic exists, or its row was left out. The stored messages of such a topic must
    /// not be deleted.
    pub(crate) fn is_known(&self, topic: &str) -> bool {
        self.table.find(topic).is_some() || self.table.is_unread(topic)
    }

    pub(crate) fn len(&self) -> usize {
        self.table.len()
    }

    pub(crate) fn version(&self) -> DataVersion {
        self.table.version()
    }

    /// Increments the version without a change, so that namesrvs read the table again.
    pub(crate) fn touch(&self) {
        self.table.touch();
    }

    /// Creates or changes a topic.
    pub(crate) fn put(&self, topic: TopicConfig) {
        let name = topic.topic_name.clone();
        self.table.put(&name, topic);
    }

    /// Deletes a topic. Returns false if it did not exist.
    pub(crate) fn remove(&self, topic: &str) -> bool {
        self.table.remove(topic)
    }

    /// The topic of a first send. It is created from `template` with at most `queues` queues, if
    /// the template allows that. The flag is true if it is new.
    ///
    /// # Errors
    /// There are too many topics to create another.
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
        if self.table.is_unread(topic) {
            return Err(Rejection::invalid(format!(
                "the topic {topic} stands in topics.json in a form that cannot be used, as the \
                 broker's log says; correct it with updateTopic"
            )));
        }
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
            "the topic {topic} is not made: this broker has {topics} topics, and may have \
             {MAX_TOPICS}; delete topics that are not used"
        )))
    }

    /// A retry or dead-letter topic, created if it does not exist. The flag is true if it is new.
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

    /// Replaces the table with the master's, except rows that cannot be used.
    pub(crate) fn replace(&self, table: TopicRows) {
        let (topics, invalid) = rows::judge("the master's table of topics", table.topic_config_table, |name, topic| {
            check_row(name, topic, self.system.contains(name))
        });
        self.table.replace(table.data_version, topics, invalid);
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
        self.table.persist(|data_version, topic_config_table| TopicFile { data_version, topic_config_table })
    }

    /// The number of changes in this process so far.
    pub(crate) fn generation(&self) -> u64 {
        self.table.generation()
    }

    /// Topics that changed after `generation`, as namesrvs and clients see them: the broker's own
    /// permission masks each topic's.
    pub(crate) fn changed_since(&self, generation: u64, broker_permission: i32) -> Changes<TopicConfig> {
        let mut changes = self.table.changed_since(generation);
        for topic in changes.entries.values_mut() {
            topic.perm = masked(topic.perm, broker_permission);
        }
        changes
    }
}

/// Whether a row of a table can be used. Other brokers and earlier versions allowed longer names.
fn check_row(name: &str, topic: &mut TopicConfig, is_system: bool) -> Result<(), String> {
    if topic.topic_name.is_empty() {
        name.clone_into(&mut topic.topic_name);
    }
    if topic.topic_name != name {
        return Err(format!("its topicName is {:?}", topic.topic_name));
    }
    if !is_system {
        names::check_stored(name).map_err(|error| error.to_string())?;
    }
    check_queues(topic)
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

/// A topic's permission, masked with the broker's.
pub(crate) fn masked(topic: i32, broker: i32) -> i32 {
    let both = perm::READ | perm::WRITE;
    if broker & both == both { topic } else { topic & broker }
}

/// A readable queue of the topic: `wanted`, or any other if `wanted` is not readable. On a topic
/// without a readable queue there is no better choice; the message waits in `wanted`.
pub(crate) fn readable_queue(topic: &TopicConfig, wanted: i32) -> i32 {
    if topic.read_queue_nums <= 0 || (0..topic.read_queue_nums).contains(&wanted) {
        return wanted.max(0);
    }
    random_queue(topic).unwrap_or(0)
}

/// A random queue that is both written and read, or at least read. `None` if there is none.
pub(crate) fn random_queue(topic: &TopicConfig) -> Option<i32> {
    let both = topic.read_queue_nums.min(topic.write_queue_nums);
    let queues = if both > 0 { both } else { topic.read_queue_nums };
    (queues > 0).then(|| rand::random_range(0..queues))
}

/// Whether an application may not create, change or delete a topic of this name.
pub(crate) fn is_reserved(topic: &str, config: &Config) -> bool {
    names::is_system_topic(topic) || topic == names::reply_topic(&config.identity.cluster_name)
}

/// Whether the topic is named after the cluster or the broker. Such topics may be changed: every
/// start creates them again, and clients use them as templates.
pub(crate) fn is_own(topic: &str, config: &Config) -> bool {
    topic == config.identity.cluster_name || topic == config.identity.broker_name
}

impl Feature for Topics {
    fn save(&self) -> Result<(), rmq_store::Error> {
        self.persist()
    }

    fn metrics(&self, to: &MetricsPage) -> Written {
        to.count("rocketmq_topic_number", "Topics of this broker.", self.len())
    }
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
    fn a_row_that_cannot_be_used_prevents_no_start_and_is_not_lost() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("config/topics.json");
        std::fs::create_dir_all(folder.path().join("config")).unwrap();
        let bad = [
            ("none", r#"{"readQueueNums":0,"topicName":"none","writeQueueNums":0}"#),
            ("many", r#"{"readQueueNums":8,"topicName":"many","writeQueueNums":100000}"#),
            ("huge", r#"{"readQueueNums":99999999999,"topicName":"huge","writeQueueNums":8}"#),
            ("a b", r#"{"readQueueNums":8,"topicName":"a b","writeQueueNums":8}"#),
            ("other", r#"{"readQueueNums":8,"topicName":"another","writeQueueNums":8}"#),
            ("text", r#""eight""#),
        ];
        let row = |(name, row): &(&str, &str)| format!("{name:?}:{row}");
        let rows: Vec<_> =
            bad.iter().chain(&[("good", r#"{"readQueueNums":3,"writeQueueNums":3}"#)]).map(row).collect();
        std::fs::write(&file, format!(r#"{{"topicConfigTable":{{{}}}}}"#, rows.join(","))).unwrap();
        let (config, _) = Config::from_properties([("brokerName", "b"), ("brokerClusterName", "c")]).unwrap();

        let topics = Topics::open(folder.path(), &config).unwrap();
        assert_eq!(topics.find("good"), Some(Arc::new(TopicConfig::new("good", 3, 3, 6))));
        assert!(bad.iter().all(|(name, _)| topics.find(name).is_none() && topics.is_known(name)));
        let refused = topics.find_or_inherit("many", names::AUTO_CREATE_TOPIC, 4).unwrap_err();
        assert!(refused.remark.contains("topics.json"), "{refused:?}");
        topics.put(TopicConfig::new("none", 4, 4, 6));
        assert!(topics.remove("text"));
        topics.persist().unwrap();
        let written: TopicRows = table::load(&file).unwrap();
        let kept = |name: &str| written.topic_config_table.get(name).cloned();
        for (name, row) in &bad[1..5] {
            assert_eq!(kept(name), Some(serde_json::from_str(row).unwrap()), "{name}");
        }
        assert_eq!(kept("text"), None);
        let again = Topics::open(folder.path(), &config).unwrap();
        assert_eq!(again.find("none").map(|topic| topic.read_queue_nums), Some(4));
        assert!(again.is_known("many") && again.find("many").is_none());

        // The same in the table of a master.
        let (_folder, slave) = self::topics();
        slave.replace(written);
        assert!(slave.find("good").is_some() && slave.find("many").is_none());
    }

    #[test]
    fn the_brokers_permission_covers_the_topics() {
        assert_eq!(masked(7, 6), 7);
        assert_eq!(masked(6, 4), 4);
        assert_eq!(masked(2, 4), 0);
    }
}
