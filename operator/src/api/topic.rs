//! `RocketMQTopic`: one topic, on some or all groups of a cluster.
//!
//! Truth flows one way, from the object to the brokers. What the object does not name (further
//! attributes of the topic on a broker) is left alone.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Adoption, ClusterRef, DeletionPolicy, Management, Origin};

/// What a user asks of a topic.
#[derive(Clone, Debug, Default, PartialEq, CustomResource, KubeSchema, Serialize, Deserialize)]
#[kube(
    group = "rocketmq.rs",
    version = "v1alpha1",
    kind = "RocketMQTopic",
    plural = "rocketmqtopics",
    shortname = "rmqt",
    category = "rocketmq",
    namespaced,
    status = "TopicStatus",
    derive = "PartialEq",
    derive = "Default",
    doc = "A topic of a RocketMQ cluster.",
    cel,
    printcolumn(name = "Topic", type_ = "string", json_path = ".status.topicName"),
    printcolumn(name = "Cluster", type_ = "string", json_path = ".spec.clusterRef.name"),
    printcolumn(
        name = "Queues",
        type_ = "integer",
        json_path = ".spec.queues",
        description = "queues on each group"
    ),
    printcolumn(name = "Perm", type_ = "string", json_path = ".spec.perm"),
    printcolumn(name = "Type", type_ = "string", json_path = ".spec.messageType", priority = 1),
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
    validation = Rule::new("has(self.spec.topicName) || self.metadata.name.matches('^[a-z0-9-]{1,127}$')")
        .message("metadata.name cannot be the topic's name (a topic has no '.' and at most 127 \
            characters): write spec.topicName")
        .field_path(".spec.topicName"),
    validation = Rule::new("(has(self.spec.topicName) ? self.spec.topicName : self.metadata.name) \
        == (has(oldSelf.spec.topicName) ? oldSelf.spec.topicName : oldSelf.metadata.name)")
        .message("spec.topicName cannot change, its messages would stay behind: write the old name, \
            or create another RocketMQTopic")
        .field_path(".spec.topicName")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.messageType) == has(oldSelf.messageType) && \
        (!has(self.messageType) || self.messageType == oldSelf.messageType)")
        .message("messageType cannot change, messages of the old type may be stored: write the old \
            type, or create another RocketMQTopic")
)]
pub struct TopicSpec {
    /// The cluster it lives in. Cannot change.
    #[x_kube(validation = Rule::new("self == oldSelf")
        .message("clusterRef cannot change, its messages would stay behind: write the old one, or \
            create another RocketMQTopic"))]
    pub cluster_ref: ClusterRef,
    /// RocketMQ's name of the topic; absent: metadata.name. Cannot change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 127))]
    #[x_kube(validation = Rule::new("self.matches('^[A-Za-z0-9_-]{1,127}$')")
        .message("topicName must be 1 to 127 of A-Z, a-z, 0-9, '_' and '-'; names with '%' belong \
            to retry and dead-letter topics, which brokers make themselves"))]
    #[x_kube(validation = Rule::new("!self.startsWith('rmq_sys_') && !(self in ['TBW102', \
        'SELF_TEST_TOPIC', 'BenchmarkTest', 'OFFSET_MOVED_EVENT', 'SCHEDULE_TOPIC_XXXX', \
        'RMQ_SYS_TRACE_TOPIC', 'RMQ_SYS_TRANS_HALF_TOPIC', 'RMQ_SYS_TRANS_OP_HALF_TOPIC', \
        'TRANS_CHECK_MAX_TIME_TOPIC', 'CHECKPOINT_TOPIC'])")
        .message("topicName is a topic of RocketMQ itself, which brokers make and keep: write another name"))]
    pub topic_name: Option<String>,
    /// Queues on each group, for reading and writing. May grow; shrinking is refused.
    #[serde(default = "eight")]
    #[x_kube(validation = Rule::new("self >= 1 && self <= 1024")
        .message("queues must be 1 to 1024 on each group: more consumers than queues stand idle, 8 \
            to 64 serve most"))]
    #[x_kube(validation = Rule::new("self >= oldSelf")
        .message("queues can grow but not shrink, messages in the last queues would be lost: write \
            the old number or a larger one"))]
    pub queues: i32,
    /// Whether clients may read it, write it, or both.
    #[serde(default)]
    pub perm: Perm,
    /// Kind of messages it takes (attribute message.type); absent: not managed. Cannot change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message_type: Option<MessageType>,
    /// Groups it lives on; absent: all, also those that come later.
    #[serde(default)]
    pub placement: Placement,
    /// How far the operator goes.
    #[serde(default)]
    pub management: Management,
    /// What to do when the topic exists before the object.
    #[serde(default)]
    pub adoption: Adoption,
    /// What happens to the topic when the object is deleted.
    #[serde(default)]
    pub deletion_policy: DeletionPolicy,
}

/// Whether clients may read a topic, write it, or both.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Perm {
    /// Producers and consumers.
    #[default]
    ReadWrite,
    /// Consumers only.
    ReadOnly,
    /// Producers only.
    WriteOnly,
}

impl Perm {
    /// RocketMQ's bits: 4 to read, 2 to write.
    pub fn bits(self) -> u32 {
        match self {
            Perm::ReadWrite => 6,
            Perm::ReadOnly => 4,
            Perm::WriteOnly => 2,
        }
    }
}

/// RocketMQ 5's kinds of messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum MessageType {
    /// No order, no delay.
    Normal,
    /// In order by message group.
    Fifo,
    /// Delivered later.
    Delay,
    /// Half messages that are committed or rolled back.
    Transaction,
    /// Any of them.
    Mixed,
}

impl MessageType {
    /// As the attribute message.type holds it.
    pub fn as_str(self) -> &'static str {
        match self {
            MessageType::Normal => "NORMAL",
            MessageType::Fifo => "FIFO",
            MessageType::Delay => "DELAY",
            MessageType::Transaction => "TRANSACTION",
            MessageType::Mixed => "MIXED",
        }
    }
}

/// Which groups hold the topic.
#[derive(Clone, Debug, Default, PartialEq, Eq, KubeSchema, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Placement {
    /// Indices of groups, from 0; absent or empty: all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(range(min = 0, max = 63)))]
    #[x_kube(validation = Rule::new("self.all(i, self.exists_one(j, j == i))")
        .message("placement.groups names a group twice: write each index once"))]
    pub groups: Vec<i32>,
}

impl Placement {
    /// Whether the group with this index holds it.
    pub fn includes(&self, group: u32) -> bool {
        self.groups.is_empty() || self.groups.iter().any(|&index| u32::try_from(index) == Ok(group))
    }
}

/// What the operator found.
#[derive(Clone, Debug, Default, PartialEq, KubeSchema, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TopicStatus {
    /// Generation of the spec that this status is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// RocketMQ's name of the topic.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub topic_name: Option<String>,
    /// Whether it was made for this object or found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<Origin>,
    /// Uid of the cluster that `origin` is about: a cluster deleted and made anew has none of the
    /// old topics.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster_uid: Option<String>,
    /// The topic on each broker.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub brokers: Vec<TopicOnBroker>,
    /// What holds and what does not.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
}

/// The topic as one broker has it.
#[derive(Clone, Debug, Default, PartialEq, Eq, KubeSchema, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TopicOnBroker {
    /// Broker name.
    pub name: String,
    /// Write queues; absent: the topic is not there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queues: Option<i32>,
    /// R, W or RW; absent: the topic is not there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub perm: Option<String>,
    /// Whether it equals the spec.
    #[serde(default)]
    pub synced: bool,
}

impl super::RocketMQTopic {
    /// RocketMQ's name of the topic: the spec's, else the object's.
    pub fn topic_name(&self) -> &str {
        self.spec.topic_name.as_deref().or(self.metadata.name.as_deref()).unwrap_or_default()
    }
}

fn eight() -> i32 {
    8
}
