//! Connected clients as tools see them: responses to 203, 204, 300, 328.

use super::{ConsumeFromWhere, ConsumeType, MessageModel, Subscription};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// One client.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Connection {
    /// Remote address.
    pub client_addr: String,
    /// Its id.
    pub client_id: String,
    /// Name of its language.
    pub language: String,
    /// Its release.
    pub version: i32,
}

/// The clients of a consumer group.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ConsumerConnection {
    /// The clients.
    pub connection_set: Vec<Connection>,
    /// Where the group began.
    pub consume_from_where: ConsumeFromWhere,
    /// Pull, push or pop.
    pub consume_type: ConsumeType,
    /// Clustering or broadcasting.
    pub message_model: MessageModel,
    /// By topic.
    pub subscription_table: BTreeMap<String, Subscription>,
}

/// The clients of a producer group.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ProducerConnection {
    /// The clients.
    pub connection_set: Vec<Connection>,
}

/// One producer in the response to 328.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ProducerInfo {
    /// Its id.
    pub client_id: String,
    /// Name of its language.
    pub language: String,
    /// Time of its last heartbeat, in milliseconds since 1970.
    pub last_update_timestamp: i64,
    /// Remote address.
    #[serde(rename = "remoteIP")]
    pub remote_ip: String,
    /// Its release.
    pub version: i32,
}

/// The response to 328.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ProducerTable {
    /// By group.
    pub data: BTreeMap<String, Vec<ProducerInfo>>,
}

/// The response to 300.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct GroupList {
    /// The names.
    pub group_list: Vec<String>,
}
