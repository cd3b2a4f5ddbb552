//! Counters and lags: responses to 202, 208, 303, 308, 315, 317, 321.

use super::{QueueMap, Subscription};
use crate::message::MessageQueue;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The response to 202.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct TopicStats {
    /// By queue.
    pub offset_table: QueueMap<TopicOffset>,
    /// Messages a second.
    pub topic_put_tps: f64,
}

/// The ends of a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct TopicOffset {
    /// When the newest message was stored, in milliseconds since 1970; 0 if there is none.
    pub last_update_timestamp: i64,
    /// The offset after the newest message.
    pub max_offset: i64,
    /// The offset of the oldest message.
    pub min_offset: i64,
}

/// The response to 208.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ConsumeStatsBody {
    /// Messages a second.
    pub consume_tps: f64,
    /// By queue.
    pub offset_table: QueueMap<ConsumeOffset>,
}

/// A group's position in a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ConsumeOffset {
    /// The queue's end.
    pub broker_offset: i64,
    /// The group's committed offset.
    pub consumer_offset: i64,
    /// Store time of the last finished message, in milliseconds since 1970.
    pub last_timestamp: i64,
    /// The group's pull offset.
    pub pull_offset: i64,
}

/// The response to 317.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct BrokerConsumeStatsBody {
    /// The broker.
    pub broker_addr: String,
    /// One map per group, from its name to its topics.
    pub consume_stats_list: Vec<BTreeMap<String, Vec<ConsumeStatsBody>>>,
    /// Messages not consumed.
    pub total_diff: i64,
    /// Messages pulled and not finished.
    pub total_inflight_diff: i64,
}

/// The response to 315.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct BrokerStats {
    /// The last day.
    pub stats_day: StatsItem,
    /// The last hour.
    pub stats_hour: StatsItem,
    /// The last minute.
    pub stats_minute: StatsItem,
}

/// A counter over a time.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct StatsItem {
    /// Average of a value, if there is one.
    pub avgpt: f64,
    /// In total.
    pub sum: i64,
    /// Per second.
    pub tps: f64,
}

/// The response to 303.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ConsumeTimeSpans {
    /// One row a queue.
    pub consume_time_span_set: Vec<QueueTimeSpan>,
}

/// Times of a queue, in milliseconds since 1970.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct QueueTimeSpan {
    /// Of the last consumed message.
    pub consume_time_stamp: i64,
    /// Age of the first message that is not consumed, in milliseconds.
    pub delay_time: i64,
    /// Of the newest message.
    pub max_time_stamp: i64,
    /// The queue.
    pub message_queue: MessageQueue,
    /// Of the oldest message.
    pub min_time_stamp: i64,
}

/// The response to 308.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct CorrectionOffsets {
    /// By queue id.
    pub correction_offsets: BTreeMap<i32, i64>,
}

/// The response to 321.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ConsumeQueueBody {
    /// A feature for property filters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub filter_data: Option<String>,
    /// The queue's end.
    pub max_queue_index: i64,
    /// The queue's beginning.
    pub min_queue_index: i64,
    /// The entries.
    pub queue_data: Vec<ConsumeQueueEntry>,
    /// The asking group's subscription.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subscription_data: Option<Subscription>,
}

/// One entry of a consume queue.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ConsumeQueueEntry {
    /// Whether the group's filter accepts the entry.
    pub eval: bool,
    /// The error, if evaluating the filter failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub msg: Option<String>,
    /// Position in the commit log.
    pub physic_offset: i64,
    /// Size of the record in bytes.
    pub physic_size: i32,
    /// Hash of the tags.
    pub tags_code: i64,
}
