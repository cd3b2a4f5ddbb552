//! Locks on queues for ordered consumption: 41 and 42.

use super::topic_config::null_as_default;
use crate::message::MessageQueue;
use serde::{Deserialize, Serialize};

/// The body of both requests.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct LockBatch {
    /// Who wants them.
    pub client_id: String,
    /// For which group.
    pub consumer_group: String,
    /// Which.
    #[serde(deserialize_with = "null_as_default")]
    pub mq_set: Vec<MessageQueue>,
    /// Do not ask other members of the broker group.
    pub only_this_broker: bool,
}

/// The answer to 41.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct LockBatchResponse {
    /// What was locked.
    #[serde(rename = "lockOKMQSet", deserialize_with = "null_as_default")]
    pub locked: Vec<MessageQueue>,
}
