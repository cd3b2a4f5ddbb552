//! Topics as a broker configures them.

use super::{DataVersion, perm};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// One topic.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct TopicConfig {
    /// `message.type`, `cleanup.policy`, ...
    #[serde(deserialize_with = "null_as_default")]
    pub attributes: BTreeMap<String, String>,
    /// A fixed-order topic.
    pub order: bool,
    /// See [`perm`].
    pub perm: i32,
    /// Queues that are read.
    pub read_queue_nums: i32,
    /// Always `SINGLE_TAG`.
    pub topic_filter_type: String,
    /// The name.
    pub topic_name: String,
    /// Bit 0 unit, bit 1 unit subscription.
    pub topic_sys_flag: i32,
    /// Queues that are written.
    pub write_queue_nums: i32,
}

/// The only filter type there ever was.
pub const SINGLE_TAG: &str = "SINGLE_TAG";

impl Default for TopicConfig {
    fn default() -> Self {
        Self::new("", 16, 16, perm::READ | perm::WRITE)
    }
}

impl TopicConfig {
    /// A topic with these queues and permission, and nothing special.
    pub fn new(name: impl Into<String>, read_queues: i32, write_queues: i32, perm: i32) -> Self {
        Self {
            attributes: BTreeMap::new(),
            order: false,
            perm,
            read_queue_nums: read_queues,
            topic_filter_type: SINGLE_TAG.to_owned(),
            topic_name: name.into(),
            topic_sys_flag: 0,
            write_queue_nums: write_queues,
        }
    }

    /// The form in a compressed registration: `topic read write perm SINGLE_TAG {attributes}`.
    pub fn to_line(&self) -> String {
        let attributes = crate::fastjson::to_vec(&self.attributes);
        format!(
            "{} {} {} {} {} {}",
            self.topic_name,
            self.read_queue_nums,
            self.write_queue_nums,
            self.perm,
            self.topic_filter_type,
            String::from_utf8_lossy(&attributes)
        )
    }

    /// Reads the form of [`TopicConfig::to_line`]; the attributes may be missing (older brokers).
    /// `None` if the line is invalid.
    pub fn from_line(line: &str) -> Option<Self> {
        let mut parts = line.splitn(6, ' ');
        let name = parts.next().filter(|name| !name.is_empty())?;
        let (read, write, perm) =
            (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
        let mut config = Self::new(name, read, write, perm);
        if let Some(filter_type) = parts.next() {
            config.topic_filter_type = filter_type.to_owned();
        }
        if let Some(attributes) = parts.next().filter(|text| !text.is_empty()) {
            config.attributes = crate::fastjson::from_slice(attributes.as_bytes()).ok()?;
        }
        Some(config)
    }
}

/// A broker's topics: `topics.json`, the response to 21 and part of a registration.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct TopicConfigTable {
    /// Version of the table.
    pub data_version: DataVersion,
    /// By name.
    pub topic_config_table: BTreeMap<String, TopicConfig>,
}

/// The same with the parts of static topics, which are always empty here. Java reads none of them
/// as required, but writes all.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct TopicConfigAndMappingTable {
    /// Version of the table.
    pub data_version: DataVersion,
    /// Version of the static-topic tables.
    pub mapping_data_version: DataVersion,
    /// By name.
    pub topic_config_table: BTreeMap<String, TopicConfig>,
    /// Static topics.
    pub topic_queue_mapping_detail_map: BTreeMap<String, serde_json::Value>,
    /// Static topics.
    pub topic_queue_mapping_info_map: BTreeMap<String, serde_json::Value>,
}

/// `{"topicList":[..]}`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct TopicList {
    /// A broker's address, if the list is from one broker.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub broker_addr: Option<String>,
    /// The names.
    pub topic_list: Vec<String>,
}

/// The body of 18.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct TopicConfigList {
    /// The topics.
    #[serde(deserialize_with = "null_as_default")]
    pub topic_config_list: Vec<TopicConfig>,
}

/// Java writes absent maps as null, Go empty lists.
pub(crate) fn null_as_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_form_comes_back_with_and_without_attributes() {
        let mut config = TopicConfig::new("t", 4, 8, 6);
        assert_eq!(TopicConfig::from_line("t 4 8 6"), Some(config.clone()));
        config.attributes.insert("message.type".into(), "FIFO".into());
        assert_eq!(config.to_line(), r#"t 4 8 6 SINGLE_TAG {"message.type":"FIFO"}"#);
        assert_eq!(TopicConfig::from_line(&config.to_line()), Some(config));
        assert_eq!(TopicConfig::from_line("t x 8 6"), None);
        assert_eq!(TopicConfig::from_line(""), None);
    }
}
