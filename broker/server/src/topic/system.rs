//! Topics that every broker has.

use crate::config::Config;
use rmq_protocol::{
    body::{TopicConfig, perm},
    names,
};

const READ_WRITE: i32 = perm::READ | perm::WRITE;

/// The system topics under these settings.
pub(super) fn topics(config: &Config) -> Vec<TopicConfig> {
    let identity = &config.identity;
    let levels =
        crate::config::delay_levels::parse(&config.messages.delay_levels).map_or(18, |levels| levels.len() as i32);
    let one = |name: &str| TopicConfig::new(name, 1, 1, READ_WRITE);
    let mut topics = vec![
        one(names::SELF_TEST_TOPIC),
        TopicConfig::new(names::BENCHMARK_TOPIC, 1024, 1024, READ_WRITE),
        TopicConfig {
            perm: if config.topics.cluster_topic { READ_WRITE | perm::INHERIT } else { perm::INHERIT },
            ..TopicConfig::new(&identity.cluster_name, 16, 16, READ_WRITE)
        },
        TopicConfig {
            perm: if config.topics.broker_topic { READ_WRITE | perm::INHERIT } else { perm::INHERIT },
            ..one(&identity.broker_name)
        },
        one(names::OFFSET_MOVED_TOPIC),
        TopicConfig::new(names::SCHEDULE_TOPIC, levels, levels, READ_WRITE),
        one(&names::reply_topic(&identity.cluster_name)),
        one(names::HALF_TOPIC),
        one(names::OP_HALF_TOPIC),
    ];
    if config.topics.auto_create {
        let queues = config.topics.default_queues;
        topics.push(TopicConfig::new(names::AUTO_CREATE_TOPIC, queues, queues, READ_WRITE | perm::INHERIT));
    }
    if config.topics.trace_topic {
        topics.push(one(&config.topics.trace_topic_name));
    }
    topics
}
