//! Locks on queues for ordered consumption: 41 and 42.

use super::topic_config::null_as_default;
use crate::message::MessageQueue;
use serde::{Deserialize, Serialize};

/// The body of both requests.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct LockBatch {
    /// The client that requests the locks.
    pub client_id: String,
    /// Its group.
    pub consumer_group: String,
    /// The queues.
    #[serde(deserialize_with = "null_as_default")]
    pub mq_set: Vec<MessageQueue>,
    /// Do not ask other members of the broker group.
    pub only_this_broker: bool,
}

/// The response to 41.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct LockBatchResponse {
    /// The queues that were locked.
    #[serde(rename = "lockOKMQSet", deserialize_with = "null_as_default")]
    pub locked: Vec<MessageQueue>,
}
