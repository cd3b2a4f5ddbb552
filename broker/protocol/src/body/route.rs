//! Routes: which brokers serve a topic, and which brokers exist.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The response to 105.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct TopicRoute {
    /// The brokers that have the topic.
    pub broker_datas: Vec<BrokerData>,
    /// An obsolete feature; always empty.
    pub filter_server_table: BTreeMap<String, Vec<String>>,
    /// `broker:queues;..` of a fixed-order topic.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub order_topic_conf: Option<String>,
    /// Its queues on each of them.
    pub queue_datas: Vec<QueueData>,
}

/// A broker group: one name, several addresses.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct BrokerData {
    /// Address by broker id; 0 is the master.
    pub broker_addrs: BTreeMap<i64, String>,
    /// The name.
    pub broker_name: String,
    /// Its cluster.
    pub cluster: String,
    /// A slave may act as the master.
    pub enable_acting_master: bool,
}

/// A topic's queues on one broker group.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct QueueData {
    /// The group.
    pub broker_name: String,
    /// See [`super::perm`].
    pub perm: i32,
    /// Queues that are read.
    pub read_queue_nums: i32,
    /// Bit 0 unit, bit 1 unit subscription.
    pub topic_sys_flag: i32,
    /// Queues that are written.
    pub write_queue_nums: i32,
}

/// The response to 106.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ClusterInfo {
    /// Groups by name.
    pub broker_addr_table: BTreeMap<String, BrokerData>,
    /// Names of groups by cluster.
    pub cluster_addr_table: BTreeMap<String, Vec<String>>,
}

/// The response to 901.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct MemberGroupBody {
    /// The group.
    pub broker_member_group: MemberGroup,
}

/// The living members of a broker group.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct MemberGroup {
    /// Address by broker id.
    pub broker_addrs: BTreeMap<i64, String>,
    /// The name.
    pub broker_name: String,
    /// Its cluster.
    pub cluster: String,
}
