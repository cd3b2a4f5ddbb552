//! `consumerFilter.json`: the SQL92 subscriptions of groups.

use super::topic_config::null_as_default;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The file. It has no version.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ConsumerFilterTable {
    /// By topic.
    #[serde(deserialize_with = "null_as_default")]
    pub filter_data_by_topic: BTreeMap<String, TopicFilters>,
}

/// The filters on one topic.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct TopicFilters {
    /// By consumer group.
    #[serde(deserialize_with = "null_as_default")]
    pub group_filter_data: BTreeMap<String, ConsumerFilter>,
    /// The topic.
    pub topic: String,
}

/// The filter of one group on one topic.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ConsumerFilter {
    /// The place of the group in Java's bitmaps of matches.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bloom_filter_data: Option<BloomFilterData>,
    /// When the broker first heard of the expression, in milliseconds since 1970.
    pub born_time: i64,
    /// The version of the subscription.
    pub client_version: i64,
    /// The group.
    pub consumer_group: String,
    /// Whether the group has no clients, or none of them subscribes to the topic. Java writes this
    /// and reads the times.
    pub dead: bool,
    /// Since when, in milliseconds since 1970; 0 if it does.
    pub dead_time: i64,
    /// The expression.
    pub expression: String,
    /// `SQL92`.
    pub expression_type: String,
    /// The topic.
    pub topic: String,
}

/// A row of bits in a bloom filter.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct BloomFilterData {
    /// The bits of the filter.
    pub bit_num: i32,
    /// Those of the group.
    #[serde(deserialize_with = "null_as_default")]
    pub bit_pos: Vec<i32>,
}
