//! `RocketMQConsumerGroup`: one consumer group (subscription group) on all groups of brokers.
//!
//! A consumer group is a setting of each broker; where auto-creation is off a consumer that meets a
//! broker without it is refused, so the object puts it on every broker. Resetting offsets is an
//! act, not a state, and has no field.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

use super::{Adoption, ClusterRef, DeletionPolicy, Management, Origin};

/// What a user asks of a consumer group.
#[derive(Clone, Debug, Default, PartialEq, CustomResource, KubeSchema, Serialize, Deserialize)]
#[kube(
    group = "rocketmq.rs",
    version = "v1alpha1",
    kind = "RocketMQConsumerGroup",
    plural = "rocketmqconsumergroups",
    shortname = "rmqg",
    category = "rocketmq",
    namespaced,
    status = "ConsumerGroupStatus",
    derive = "PartialEq",
    derive = "Default",
    doc = "A consumer group of a RocketMQ cluster.",
    cel,
    printcolumn(name = "Group", type_ = "string", json_path = ".status.groupName"),
    printcolumn(name = "Cluster", type_ = "string", json_path = ".spec.clusterRef.name"),
    printcolumn(name = "Members", type_ = "integer", json_path = ".status.members"),
    printcolumn(
        name = "Lag",
        type_ = "integer",
        json_path = ".status.lag",
        description = "messages not consumed yet, about a minute old"
    ),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type=='Ready')].status"
    ),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = ".status.conditions[?(@.type=='Ready')].reason"
    ),
    printcolumn(
        name = "Message",
        type_ = "string",
        json_path = ".status.conditions[?(@.type=='Ready')].message",
        priority = 1
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    validation = Rule::new("has(self.spec.groupName) || self.metadata.name.matches('^[a-z0-9-]{1,120}$')")
        .message("metadata.name cannot be the group's name (a consumer group has no '.' and at most \
            120 characters): write spec.groupName")
        .field_path(".spec.groupName"),
    validation = Rule::new("(has(self.spec.groupName) ? self.spec.groupName : self.metadata.name) \
        == (has(oldSelf.spec.groupName) ? oldSelf.spec.groupName : oldSelf.metadata.name)")
        .message("spec.groupName cannot change, its offsets would stay behind: write the old name, \
            or create another RocketMQConsumerGroup")
        .field_path(".spec.groupName")
)]
#[serde(rename_all = "camelCase")]
pub struct ConsumerGroupSpec {
    /// The cluster it lives in. Cannot change.
    #[x_kube(validation = Rule::new("self == oldSelf")
        .message("clusterRef cannot change, its offsets would stay behind: write the old one, or \
            create another RocketMQConsumerGroup"))]
    pub cluster_ref: ClusterRef,
    /// RocketMQ's name of the group; absent: metadata.name. Cannot change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 120))]
    #[x_kube(validation = Rule::new("self.matches('^[A-Za-z0-9_-]{1,120}$')")
        .message("groupName must be 1 to 120 of A-Z, a-z, 0-9, '_' and '-'"))]
    #[x_kube(validation = Rule::new("!self.startsWith('CID_RMQ_SYS_') && !(self in \
        ['DEFAULT_CONSUMER', 'DEFAULT_PRODUCER', 'TOOLS_CONSUMER', 'SCHEDULE_CONSUMER', \
        'FILTERSRV_CONSUMER', '__MONITOR_CONSUMER', 'CLIENT_INNER_PRODUCER', 'SELF_TEST_P_GROUP', \
        'SELF_TEST_C_GROUP', 'CID_ONS-HTTP-PROXY', 'CID_ONSAPI_PERMISSION', 'CID_ONSAPI_OWNER', \
        'CID_ONSAPI_PULL', 'CID_SYS_RMQ_TRANS'])")
        .message("groupName is a group of RocketMQ itself, which brokers keep: write another name"))]
    pub group_name: Option<String>,
    /// Whether the group may consume at all.
    #[serde(default = "yes")]
    pub consume_enable: bool,
    /// Whether members may consume in broadcasting mode.
    #[serde(default = "yes")]
    pub broadcast: bool,
    /// Whether messages are handed out in order.
    #[serde(default)]
    pub orderly: bool,
    /// What happens to messages whose consumption failed.
    #[serde(default)]
    pub retry: Retry,
    /// How far the operator goes.
    #[serde(default)]
    pub management: Management,
    /// What to do when the group exists before the object.
    #[serde(default)]
    pub adoption: Adoption,
    /// What happens to the group when the object is deleted. DeleteIfEmpty waits until no member is
    /// connected.
    #[serde(default)]
    pub deletion_policy: DeletionPolicy,
}

/// What happens to messages whose consumption failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, KubeSchema, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Retry {
    /// Queues of the retry topic on each broker; 0 switches retries off.
    #[serde(default = "one")]
    #[x_kube(validation = Rule::new("self >= 0 && self <= 64")
        .message("retry.queues must be 0 to 64: 1 serves most, 0 drops failed messages"))]
    pub queues: i32,
    /// Tries after the first before a message goes to the dead-letter topic.
    #[serde(default = "sixteen")]
    #[x_kube(validation = Rule::new("self >= 0 && self <= 10000")
        .message("retry.maxTimes must be 0 to 10000: 16 is RocketMQ's own and lasts about five hours"))]
    pub max_times: i32,
}

impl Default for Retry {
    fn default() -> Self {
        Self { queues: one(), max_times: sixteen() }
    }
}

/// What the operator found.
#[derive(Clone, Debug, Default, PartialEq, KubeSchema, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ConsumerGroupStatus {
    /// Generation of the spec that this status is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// RocketMQ's name of the group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group_name: Option<String>,
    /// Whether it was made for this object or found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<Origin>,
    /// Uid of the cluster that `origin` is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster_uid: Option<String>,
    /// Connected members, as of about a minute ago.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub members: Option<i32>,
    /// Messages not consumed yet over all topics, rounded to two significant digits, as of about a
    /// minute ago; metrics are elsewhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lag: Option<i64>,
    /// Topics it has consumed from.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub topics: Vec<String>,
    /// Brokers that have it as the spec says.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub synced_brokers: Vec<String>,
    /// What holds and what does not.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
}

impl super::RocketMQConsumerGroup {
    /// RocketMQ's name of the group: the spec's, else the object's.
    pub fn group_name(&self) -> &str {
        self.spec.group_name.as_deref().or(self.metadata.name.as_deref()).unwrap_or_default()
    }
}

fn yes() -> bool {
    true
}

fn one() -> i32 {
    1
}

fn sixteen() -> i32 {
    16
}
