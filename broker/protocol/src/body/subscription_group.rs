//! Consumer groups as a broker configures them.

use super::{DataVersion, topic_config::null_as_default};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// One group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct SubscriptionGroup {
    /// Settings of newer releases.
    #[serde(deserialize_with = "null_as_default")]
    pub attributes: BTreeMap<String, String>,
    /// The broker id to read from; 0 is the master.
    pub broker_id: i64,
    /// Broadcasting is allowed.
    pub consume_broadcast_enable: bool,
    /// Consumption is allowed.
    pub consume_enable: bool,
    /// The group may begin at the oldest message.
    pub consume_from_min_enable: bool,
    /// Ordered pop.
    pub consume_message_orderly: bool,
    /// Minutes until an unacknowledged message is delivered again.
    pub consume_timeout_minute: i32,
    /// The name.
    pub group_name: String,
    /// Pauses between attempts of ordered pop.
    #[serde(deserialize_with = "null_as_default")]
    pub group_retry_policy: RetryPolicy,
    /// Bits.
    pub group_sys_flag: i32,
    /// Notify the clients when the group changes.
    pub notify_consumer_ids_changed_enable: bool,
    /// Attempts before a message becomes a dead letter.
    pub retry_max_times: i32,
    /// Queues of the retry topic.
    pub retry_queue_nums: i32,
    /// Subscriptions that must be equal for all clients; not used.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subscription_data_set: Option<Vec<serde_json::Value>>,
    /// The broker id to read from when the group is far behind.
    pub which_broker_when_consume_slowly: i64,
}

impl Default for SubscriptionGroup {
    fn default() -> Self {
        Self {
            attributes: BTreeMap::new(),
            broker_id: 0,
            consume_broadcast_enable: true,
            consume_enable: true,
            consume_from_min_enable: true,
            consume_message_orderly: false,
            consume_timeout_minute: 15,
            group_name: String::new(),
            group_retry_policy: RetryPolicy::default(),
            group_sys_flag: 0,
            notify_consumer_ids_changed_enable: true,
            retry_max_times: 16,
            retry_queue_nums: 1,
            subscription_data_set: None,
            which_broker_when_consume_slowly: 1,
        }
    }
}

impl SubscriptionGroup {
    /// A group with the defaults.
    pub fn new(name: impl Into<String>) -> Self {
        Self { group_name: name.into(), ..Self::default() }
    }
}

/// Pauses between attempts.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct RetryPolicy {
    /// Steps of their own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub customized_retry_policy: Option<CustomizedRetryPolicy>,
    /// Growing steps.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exponential_retry_policy: Option<ExponentialRetryPolicy>,
    /// Which of the two.
    #[serde(rename = "type")]
    pub kind: RetryPolicyType,
}

/// Kinds of [`RetryPolicy`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum RetryPolicyType {
    /// A list of pauses.
    #[default]
    Customized,
    /// Growing pauses.
    Exponential,
}

/// A list of pauses in milliseconds; the last repeats.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct CustomizedRetryPolicy {
    /// Milliseconds.
    #[serde(deserialize_with = "null_as_default")]
    pub next: Vec<i64>,
}

/// Growing pauses in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ExponentialRetryPolicy {
    /// The first.
    pub initial: i64,
    /// The longest.
    pub max: i64,
    /// Growth.
    pub multiplier: i64,
}

impl Default for ExponentialRetryPolicy {
    fn default() -> Self {
        Self { initial: 5_000, max: 7_200_000, multiplier: 2 }
    }
}

/// `subscriptionGroup.json` and the response to 201.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct SubscriptionGroupTable {
    /// Version of the table.
    pub data_version: DataVersion,
    /// Topics that a group must not read: by group, by topic, bits.
    #[serde(deserialize_with = "null_as_default")]
    pub forbidden_table: BTreeMap<String, BTreeMap<String, i32>>,
    /// By name.
    pub subscription_group_table: BTreeMap<String, SubscriptionGroup>,
}

/// The body of 225.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct SubscriptionGroupList {
    /// The groups.
    #[serde(alias = "groupConfigList", deserialize_with = "null_as_default")]
    pub group_config_list: Vec<SubscriptionGroup>,
}
