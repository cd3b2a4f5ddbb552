//! A consumer's runtime information for tools (307), and the result of consuming one message for a
//! tool (309).

use rmq_protocol::body::{QueueMap, Subscription};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The response to 307.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct RunningInfo {
    /// Its threads, if requested and if the language has them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jstack: Option<String>,
    /// Its queues.
    pub mq_table: QueueMap<QueueInfo>,
    /// Its settings, by Java's names.
    pub properties: BTreeMap<String, String>,
    /// Rates by topic.
    pub status_table: BTreeMap<String, ConsumeStatus>,
    /// What it has subscribed.
    pub subscription_set: Vec<Subscription>,
}

/// One queue of a consumer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct QueueInfo {
    /// Messages that wait or are being consumed.
    pub cached_msg_count: i32,
    /// The newest of them.
    pub cached_msg_max_offset: i64,
    /// The oldest of them.
    pub cached_msg_min_offset: i64,
    /// Their bodies.
    pub cached_msg_size_in_mi_b: i32,
    /// Its committed offset.
    pub commit_offset: i64,
    /// No longer consumed by this client. The spelling is Java's.
    pub droped: bool,
    /// Time of the last consumption, in milliseconds since 1970.
    pub last_consume_timestamp: i64,
    /// Time of the last lock.
    pub last_lock_timestamp: i64,
    /// Time of the last pull.
    pub last_pull_timestamp: i64,
    /// It holds the queue's lock.
    pub locked: bool,
    /// Being consumed, in order.
    pub transaction_msg_count: i32,
    /// The newest of those.
    pub transaction_msg_max_offset: i64,
    /// The oldest of those.
    pub transaction_msg_min_offset: i64,
    /// Attempts to release the lock.
    pub try_unlock_times: i64,
}

/// The rates of one topic.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ConsumeStatus {
    /// Failed since the start.
    #[serde(rename = "consumeFailedMsgs")]
    pub consume_failed_messages: i64,
    /// Failed per second.
    #[serde(rename = "consumeFailedTPS")]
    pub consume_failed_tps: f64,
    /// Consumed per second.
    #[serde(rename = "consumeOKTPS")]
    pub consume_ok_tps: f64,
    /// Milliseconds of consuming a batch.
    #[serde(rename = "consumeRT")]
    pub consume_rt: f64,
    /// Milliseconds of a pull.
    #[serde(rename = "pullRT")]
    pub pull_rt: f64,
    /// Pulled per second.
    #[serde(rename = "pullTPS")]
    pub pull_tps: f64,
}

/// The response to 309.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ConsumeDirectlyResult {
    /// A flag of Java for transactions in consumption, which were never released.
    pub auto_commit: bool,
    /// The outcome.
    pub consume_result: ConsumeResult,
    /// By an ordered listener.
    pub order: bool,
    /// The reason of a failure.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remark: Option<String>,
    /// Milliseconds.
    pub spent_time_mills: i64,
}

impl Default for ConsumeDirectlyResult {
    fn default() -> Self {
        Self {
            auto_commit: true,
            consume_result: ConsumeResult::default(),
            order: false,
            remark: None,
            spent_time_mills: 0,
        }
    }
}

/// The outcomes of a listener, in Java's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum ConsumeResult {
    /// Consumed.
    #[default]
    #[serde(rename = "CR_SUCCESS")]
    Success,
    /// Wanted again later.
    #[serde(rename = "CR_LATER")]
    Later,
    /// Java's transactions in consumption.
    #[serde(rename = "CR_ROLLBACK")]
    Rollback,
    /// Java's transactions in consumption.
    #[serde(rename = "CR_COMMIT")]
    Commit,
    /// The listener failed.
    #[serde(rename = "CR_THROW_EXCEPTION")]
    Threw,
    /// The listener returned nothing.
    #[serde(rename = "CR_RETURN_NULL")]
    Nothing,
}
