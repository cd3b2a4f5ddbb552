//! The plain form of a registration, read within limits: topics are counted before any is created,
//! as a topic of a few bytes takes some hundred when it is decoded.

use super::register_broker::{ReadLimits, RegisterBrokerBody, RegistrationError, check_topics};
use crate::{
    body::{DataVersion, TopicConfig, TopicConfigAndMappingTable},
    fastjson,
};
use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, MapAccess, Visitor},
};
use std::{collections::BTreeMap, fmt, marker::PhantomData};

pub(super) fn decode(body: &[u8], limits: &ReadLimits) -> Result<RegisterBrokerBody, RegistrationError> {
    let counted: Body<Counted> = fastjson::from_slice(body)?;
    check_topics(counted.topic_config_serialize_wrapper.topic_config_table.0, limits)?;
    if !limits.routes_only {
        return Ok(fastjson::from_slice(body)?);
    }
    let routed: Body<Routed> = fastjson::from_slice(body)?;
    let Table { data_version, topic_config_table: Routed(topic_config_table) } = routed.topic_config_serialize_wrapper;
    let table = TopicConfigAndMappingTable { data_version, topic_config_table, ..Default::default() };
    Ok(RegisterBrokerBody { topic_config_serialize_wrapper: table, ..Default::default() })
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase", bound = "T: Entries")]
struct Body<T> {
    topic_config_serialize_wrapper: Table<T>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase", bound = "T: Entries")]
struct Table<T> {
    data_version: DataVersion,
    #[serde(deserialize_with = "entries")]
    topic_config_table: T,
}

/// How many topics there are.
#[derive(Default)]
struct Counted(usize);

/// Topics without attributes.
#[derive(Default)]
struct Routed(BTreeMap<String, TopicConfig>);

/// The fields of a topic that routes need.
#[derive(Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Topic {
    topic_name: String,
    perm: i32,
    read_queue_nums: i32,
    write_queue_nums: i32,
    topic_sys_flag: i32,
}

impl Default for Topic {
    fn default() -> Self {
        TopicConfig::default().into()
    }
}

impl From<TopicConfig> for Topic {
    fn from(config: TopicConfig) -> Self {
        Self {
            topic_name: config.topic_name,
            perm: config.perm,
            read_queue_nums: config.read_queue_nums,
            write_queue_nums: config.write_queue_nums,
            topic_sys_flag: config.topic_sys_flag,
        }
    }
}

impl From<Topic> for TopicConfig {
    fn from(topic: Topic) -> Self {
        let new = Self::new(topic.topic_name, topic.read_queue_nums, topic.write_queue_nums, topic.perm);
        Self { topic_sys_flag: topic.topic_sys_flag, ..new }
    }
}

/// Passes the entries of a map on one by one.
trait Entries: Default {
    type Key<'de>: Deserialize<'de>;
    type Value: for<'de> Deserialize<'de>;

    fn take(&mut self, key: Self::Key<'_>, value: Self::Value);
}

impl Entries for Counted {
    type Key<'de> = IgnoredAny;
    type Value = IgnoredAny;

    fn take(&mut self, _key: IgnoredAny, _value: IgnoredAny) {
        self.0 += 1;
    }
}

impl Entries for Routed {
    type Key<'de> = String;
    type Value = Topic;

    fn take(&mut self, key: String, topic: Topic) {
        self.0.insert(key, topic.into());
    }
}

struct OfMap<T>(PhantomData<T>);

impl<'de, T: Entries> Visitor<'de> for OfMap<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("topics by name")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<T, A::Error> {
        let mut taken = T::default();
        while let Some((key, value)) = map.next_entry()? {
            taken.take(key, value);
        }
        Ok(taken)
    }
}

fn entries<'de, D: Deserializer<'de>, T: Entries>(deserializer: D) -> Result<T, D::Error> {
    deserializer.deserialize_map(OfMap(PhantomData))
}
