//! Offsets in bulk: `consumerOffset.json`, `delayOffset.json`, and the bodies of 43, 45, 220 to
//! 223.

use super::{DataVersion, QueueMap, topic_config::null_as_default};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// `consumerOffset.json` and the response to 43.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ConsumerOffsetTable {
    /// Version of the table.
    pub data_version: DataVersion,
    /// Offset by queue id, by `topic@group`.
    pub offset_table: BTreeMap<String, BTreeMap<i32, i64>>,
}

/// `delayOffset.json` and the response to 45.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct DelayOffsetTable {
    /// Version of the table.
    pub data_version: DataVersion,
    /// Offset in the schedule topic by delay level (from 1).
    pub offset_table: BTreeMap<i32, i64>,
}

/// New offsets for the queues of a group: the response to 222 and the body of 220.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ResetOffsetBody {
    /// By queue.
    pub offset_table: QueueMap<i64>,
}

/// The form of [`ResetOffsetBody`] that clients in C++ read.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ResetOffsetListBody {
    /// One row a queue.
    pub offset_table: Vec<QueueOffset>,
}

/// A queue and an offset in it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct QueueOffset {
    /// The broker group.
    pub broker_name: String,
    /// The offset.
    pub offset: i64,
    /// The queue.
    pub queue_id: i32,
    /// The topic.
    pub topic: String,
}

/// The offsets of a group's clients: the response to 221 and 223.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ConsumerStatusBody {
    /// By client id; in the response to 223.
    #[serde(deserialize_with = "null_as_default")]
    pub consumer_table: BTreeMap<String, QueueMap<i64>>,
    /// By queue; in the response to 221.
    #[serde(deserialize_with = "null_as_default")]
    pub message_queue_table: QueueMap<i64>,
}
