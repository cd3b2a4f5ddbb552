//! `RocketMQCluster`: namesrvs and broker groups as one object.
//!
//! A group is one broker name: ordinal 0 of its StatefulSet is the master, the others are its
//! slaves. `groups` is what scales.

use std::{collections::BTreeMap, str::FromStr};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// What a user asks of a cluster.
#[derive(Clone, Debug, Default, PartialEq, CustomResource, KubeSchema, Serialize, Deserialize)]
#[kube(
    group = "rocketmq.rs",
    version = "v1alpha1",
    kind = "RocketMQCluster",
    plural = "rocketmqclusters",
    shortname = "rmq",
    category = "rocketmq",
    namespaced,
    status = "ClusterStatus",
    derive = "PartialEq",
    derive = "Default",
    doc = "A RocketMQ cluster: namesrvs and master/slave broker groups.",
    cel,
    scale(
        spec_replicas_path = ".spec.brokers.groups",
        status_replicas_path = ".status.brokerGroups",
        label_selector_path = ".status.selector"
    ),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type=='Ready')].status",
        description = "every namesrv and every group works"
    ),
    printcolumn(
        name = "Groups",
        type_ = "string",
        json_path = ".status.groupsReady",
        description = "groups that take writes / wanted"
    ),
    printcolumn(
        name = "Namesrv",
        type_ = "string",
        json_path = ".status.namesrvReady",
        description = "namesrvs ready / wanted"
    ),
    printcolumn(
        name = "Image",
        type_ = "string",
        json_path = ".status.image",
        description = "image of the brokers",
        priority = 1
    ),
    printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase"),
    printcolumn(
        name = "Message",
        type_ = "string",
        json_path = ".status.conditions[?(@.type=='Ready')].message",
        priority = 1
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    validation = Rule::new("self.metadata.name.size() <= 40 && \
        self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')")
        .message("metadata.name becomes part of Service and pod names: write at most 40 of a-z, 0-9 \
            and '-', a letter first and no '-' or '.' at the end"),
    validation = Rule::new("(has(self.spec.clusterName) ? self.spec.clusterName : \
        self.metadata.name) == (has(oldSelf.spec.clusterName) ? oldSelf.spec.clusterName : \
        oldSelf.metadata.name)")
        .message("spec.clusterName cannot change, brokers and admin tools know the cluster by it: \
            write the old name, or create another RocketMQCluster")
        .field_path(".spec.clusterName")
)]
#[serde(rename_all = "camelCase")]
pub struct ClusterSpec {
    /// Image of namesrvs and brokers; absent: the operator's own, so an operator upgrade then
    /// restarts this cluster too. Write it out in production.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<Image>,
    /// RocketMQ's name of the cluster (brokerClusterName); absent: metadata.name. Cannot change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 127))]
    #[x_kube(validation = Rule::new("self.matches('^[A-Za-z0-9_-]{1,127}$')")
        .message("clusterName is also the name of a topic: write 1 to 127 of A-Z, a-z, 0-9, '_' and '-'"))]
    pub cluster_name: Option<String>,
    /// The name servers.
    #[serde(default)]
    pub namesrv: Namesrv,
    /// The broker groups.
    #[serde(default)]
    pub brokers: Brokers,
    /// How clients reach brokers.
    #[serde(default)]
    pub access: Access,
    /// Rules for topics and consumer groups.
    #[serde(default)]
    pub topics: Topics,
    /// Switches for the administrator of the cluster.
    #[serde(default)]
    pub operation: Operation,
}

/// A container image.
#[derive(Clone, Debug, Default, PartialEq, Eq, KubeSchema, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Image {
    /// Registry and path, without tag.
    #[schemars(length(min = 1, max = 255))]
    pub repository: String,
    /// Tag, or a digest that starts with `sha256:`.
    #[schemars(length(min = 1, max = 128))]
    pub tag: String,
    /// When the kubelet pulls it.
    #[serde(default)]
    pub pull_policy: PullPolicy,
    /// Names of Secrets in the cluster's namespace that open the registry.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8), inner(length(min = 1, max = 253)))]
    pub pull_secrets: Vec<String>,
}

impl Image {
    /// `repository:tag`, or `repository@sha256:...`.
    pub fn reference(&self) -> String {
        let separator = if self.tag.starts_with("sha256:") { '@' } else { ':' };
        format!("{}{separator}{}", self.repository, self.tag)
    }
}

impl FromStr for Image {
    type Err = String;

    /// Reads `repository:tag` or `repository@sha256:...`. A registry's port is no tag; without a
    /// tag it is `latest`.
    fn from_str(reference: &str) -> Result<Self, String> {
        let (repository, tag) = match reference.split_once('@') {
            Some(parts) => parts,
            None => match reference.rsplit_once(':') {
                Some((repository, tag)) if !tag.contains('/') => (repository, tag),
                _ => (reference, "latest"),
            },
        };
        if repository.is_empty() || tag.is_empty() {
            return Err(format!("'{reference}' is no image: write repository:tag or repository@sha256:..."));
        }
        Ok(Self { repository: repository.to_owned(), tag: tag.to_owned(), ..Self::default() })
    }
}

/// Kubernetes' own pull policies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum PullPolicy {
    /// Pull when the node lacks it.
    #[default]
    IfNotPresent,
    /// Pull at each start.
    Always,
    /// Never pull.
    Never,
}

/// The name servers. They do not talk to each other; every broker registers with each.
#[derive(Clone, Debug, PartialEq, KubeSchema, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Namesrv {
    /// How many. Clients use any of them; two survive the loss of a node.
    #[serde(default = "two")]
    #[x_kube(validation = Rule::new("self >= 1 && self <= 9")
        .message("namesrv.replicas must be 1 to 9: every broker registers with each of them; 2 or 3 \
            are enough"))]
    pub replicas: i32,
    /// Further keys of namesrv.conf by RocketMQ's names.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "properties")]
    #[x_kube(validation = Rule::new("!('listenPort' in self || 'kvConfigPath' in self || \
        'configStorePath' in self || 'httpPort' in self)")
        .message("listenPort, httpPort, kvConfigPath and configStorePath are set by the operator: \
            remove them from namesrv.config"))]
    pub config: BTreeMap<String, String>,
    /// Overlay on the pod that the operator builds.
    #[serde(default, skip_serializing_if = "PodTemplate::is_empty")]
    pub pod_template: PodTemplate,
}

impl Default for Namesrv {
    fn default() -> Self {
        Self { replicas: two(), config: BTreeMap::new(), pod_template: PodTemplate::default() }
    }
}

/// The broker groups, all alike.
#[derive(Clone, Debug, PartialEq, KubeSchema, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("self.replication != 'Sync' || self.slavesPerGroup >= 1")
        .message("replication: Sync waits for a slave: write slavesPerGroup: 1 or more, or \
            replication: Async")
)]
pub struct Brokers {
    /// How many groups: the write capacity. May grow; a smaller number is refused in the status
    /// until draining is served.
    #[serde(default = "one")]
    #[x_kube(validation = Rule::new("self >= 1 && self <= 64")
        .message("brokers.groups must be 1 to 64: make a second RocketMQCluster for more"))]
    pub groups: i32,
    /// Copies of each group beside its master.
    #[serde(default = "one")]
    #[x_kube(validation = Rule::new("self >= 0 && self <= 4")
        .message("brokers.slavesPerGroup must be 0 to 4: write 0 for a master alone, 1 or 2 for copies"))]
    pub slaves_per_group: i32,
    /// Whether a send waits for a slave.
    #[serde(default)]
    pub replication: Replication,
    /// Whether a send waits for the disk.
    #[serde(default)]
    pub flush: Flush,
    /// Further keys of broker.conf by RocketMQ's names.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "properties")]
    #[x_kube(validation = Rule::new("!('brokerClusterName' in self)")
        .message("brokerClusterName is set from spec.clusterName: write it there"))]
    #[x_kube(validation = Rule::new("!('brokerRole' in self || 'inSyncReplicas' in self || \
        'haMasterAddress' in self)")
        .message("brokerRole, inSyncReplicas and haMasterAddress follow from brokers.replication \
            and brokers.slavesPerGroup: write those"))]
    #[x_kube(validation = Rule::new("!('flushDiskType' in self)")
        .message("flushDiskType is set from brokers.flush: write flush: Async or flush: Sync"))]
    #[x_kube(validation = Rule::new("!('autoCreateTopicEnable' in self || \
        'autoCreateSubscriptionGroup' in self)")
        .message("autoCreateTopicEnable and autoCreateSubscriptionGroup are set from spec.topics: \
            write topics.autoCreate and topics.autoCreateGroups"))]
    #[x_kube(validation = Rule::new("!('brokerIP1' in self || 'brokerIP2' in self)")
        .message("brokerIP1 and brokerIP2 differ by pod and are set from spec.access: write \
            access.internal.advertise: PodDNS or PodIP"))]
    #[x_kube(validation = Rule::new("!('brokerName' in self || 'brokerId' in self || 'namesrvAddr' \
        in self || 'listenPort' in self || 'haListenPort' in self || 'fastListenPort' in self || \
        'httpPort' in self || 'brokerPermission' in self || 'checkLogBeforeWrites' in self || \
        'expectedSlaves' in self || 'storePathRootDir' in self || 'storePathCommitLog' in self)")
        .message("brokerName, brokerId, namesrvAddr, brokerPermission, checkLogBeforeWrites, \
            expectedSlaves, the ports and the store paths are set by the operator: remove them from \
            brokers.config"))]
    pub config: BTreeMap<String, String>,
    /// The disk of each broker.
    #[serde(default)]
    pub storage: Storage,
    /// Whether master and slave of one group may share a node.
    #[serde(default)]
    pub anti_affinity: AntiAffinity,
    /// Overlay on the pods that the operator builds.
    #[serde(default, skip_serializing_if = "PodTemplate::is_empty")]
    pub pod_template: PodTemplate,
}

impl Default for Brokers {
    fn default() -> Self {
        Self {
            groups: one(),
            slaves_per_group: one(),
            replication: Replication::default(),
            flush: Flush::default(),
            config: BTreeMap::new(),
            storage: Storage::default(),
            anti_affinity: AntiAffinity::default(),
            pod_template: PodTemplate::default(),
        }
    }
}

/// When a send is acknowledged, as to slaves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Replication {
    /// The master has it; slaves follow.
    #[default]
    Async,
    /// One slave has it too.
    Sync,
}

/// When a send is acknowledged, as to the disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Flush {
    /// It is in memory; the disk follows within half a second.
    #[default]
    Async,
    /// It is on the disk.
    Sync,
}

/// The disk of one broker.
#[derive(Clone, Debug, PartialEq, Eq, KubeSchema, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.storageClassName) == has(oldSelf.storageClassName) && \
        (!has(self.storageClassName) || self.storageClassName == oldSelf.storageClassName)")
        .message("storage.storageClassName cannot change, existing volumes stay where they are: \
            write the old class, or create another RocketMQCluster")
)]
pub struct Storage {
    /// Size of each volume. May grow where the storage class allows expansion.
    #[serde(default = "twenty_gibibytes")]
    #[schemars(length(max = 32))]
    #[x_kube(validation = Rule::new("isQuantity(self) && quantity(self).isGreaterThan(quantity('0'))")
        .message("storage.size must be a quantity above zero: write for example 20Gi"))]
    #[x_kube(validation = Rule::new("!isQuantity(self) || !isQuantity(oldSelf) || \
        quantity(self).compareTo(quantity(oldSelf)) >= 0")
        .message("storage.size can grow but not shrink, volumes cannot: write the old size or a larger one"))]
    pub size: String,
    /// StorageClass of the volumes; absent: the default class. Cannot change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub storage_class_name: Option<String>,
    /// What becomes of volumes that are no longer used.
    #[serde(default)]
    pub reclaim: Reclaim,
}

impl Default for Storage {
    fn default() -> Self {
        Self { size: twenty_gibibytes(), storage_class_name: None, reclaim: Reclaim::default() }
    }
}

/// What becomes of volumes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, KubeSchema, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Reclaim {
    /// When slavesPerGroup is lowered.
    #[serde(default)]
    pub on_scale_down: ReclaimPolicy,
    /// When the RocketMQCluster is deleted.
    #[serde(default)]
    pub on_delete: ReclaimPolicy,
}

/// Kubernetes' own two words for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ReclaimPolicy {
    /// Keep the volume and the messages on it.
    #[default]
    Retain,
    /// Delete the volume.
    Delete,
}

impl ReclaimPolicy {
    /// The word the StatefulSet takes.
    pub fn as_str(self) -> &'static str {
        match self {
            ReclaimPolicy::Retain => "Retain",
            ReclaimPolicy::Delete => "Delete",
        }
    }
}

/// Whether members of one group may share a node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum AntiAffinity {
    /// No opinion.
    None,
    /// Apart where there are nodes enough.
    #[default]
    Preferred,
    /// Apart, or not scheduled.
    Required,
}

/// How brokers are reached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, KubeSchema, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Access {
    /// For clients inside Kubernetes.
    #[serde(default)]
    pub internal: InternalAccess,
}

/// Access from inside Kubernetes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, KubeSchema, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct InternalAccess {
    /// The address that brokers register and clients then dial.
    #[serde(default)]
    pub advertise: Advertise,
}

/// What a broker registers as its address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Advertise {
    /// The stable DNS name of the pod: survives a restart.
    #[default]
    PodDNS,
    /// The pod's IP: for clients that are outside the cluster's DNS but inside its network.
    PodIP,
}

/// Rules for topics and consumer groups.
#[derive(Clone, Debug, Default, PartialEq, Eq, KubeSchema, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Topics {
    /// Whether brokers create a topic when a producer sends to it. Off: topics come from
    /// RocketMQTopic objects or admin tools.
    #[serde(default)]
    pub auto_create: bool,
    /// Whether brokers create a consumer group when a consumer shows up.
    #[serde(default)]
    pub auto_create_groups: bool,
    /// Other namespaces whose RocketMQTopic and RocketMQConsumerGroup objects may name this
    /// cluster; '*' for all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256), inner(length(min = 1, max = 63)))]
    pub allowed_namespaces: Vec<String>,
}

/// Switches for the administrator of the cluster.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, KubeSchema, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Operation {
    /// Leave everything as it is; the same as the annotation rocketmq.rs/pause, but in Git.
    #[serde(default)]
    pub paused: bool,
}

/// A strategic overlay on a pod that the operator builds: what stands here is merged over it, lists
/// by name. The container of the process is called `namesrv` or `broker`.
#[derive(Clone, Debug, Default, PartialEq, KubeSchema, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PodTemplate {
    /// Further labels and annotations.
    #[serde(default, skip_serializing_if = "PodMetadata::is_empty")]
    pub metadata: PodMetadata,
    /// Any part of a PodSpec: resources, env, tolerations, nodeSelector, topologySpreadConstraints,
    /// further containers.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    #[schemars(schema_with = "free_object")]
    pub spec: Map<String, Value>,
}

impl PodTemplate {
    /// Whether it changes nothing.
    pub fn is_empty(&self) -> bool {
        self.metadata.is_empty() && self.spec.is_empty()
    }
}

/// Labels and annotations of a pod.
#[derive(Clone, Debug, Default, PartialEq, Eq, KubeSchema, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PodMetadata {
    /// Added to the operator's labels.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Added to the operator's annotations.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

impl PodMetadata {
    fn is_empty(&self) -> bool {
        self.labels.is_empty() && self.annotations.is_empty()
    }
}

/// What the operator found. Every field may be absent: a status from another version must never
/// make the object unreadable.
#[derive(Clone, Debug, Default, PartialEq, KubeSchema, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClusterStatus {
    /// Generation of the spec that this status is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// One word for people: Pending, Creating, Running, RollingOut, Scaling, Degraded, Paused,
    /// Failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<String>,
    /// Image that pods are meant to run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// Addresses of all namesrvs, ';' between them, as clients take them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namesrv_addrs: Option<String>,
    /// Namesrvs ready / wanted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namesrv_ready: Option<String>,
    /// Groups that take writes / wanted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub groups_ready: Option<String>,
    /// Groups that exist; the scale subresource reads it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub broker_groups: Option<i32>,
    /// Label selector of broker pods; the scale subresource reads it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<String>,
    /// Each group.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub groups: Vec<GroupStatus>,
    /// What holds and what does not.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
}

/// One broker group.
#[derive(Clone, Debug, Default, PartialEq, Eq, KubeSchema, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GroupStatus {
    /// Broker name, which is also the StatefulSet's.
    pub name: String,
    /// Pod that is the master.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub master: Option<String>,
    /// Whether its master is registered and takes writes.
    #[serde(default)]
    pub writable: bool,
    /// Slaves that follow their master and keep up / wanted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub in_sync: Option<String>,
    /// Whether the group has been given its topics and groups and was opened for writes. Once true
    /// it stays so.
    #[serde(default)]
    pub open: bool,
}

fn one() -> i32 {
    1
}

fn two() -> i32 {
    2
}

fn twenty_gibibytes() -> String {
    "20Gi".to_owned()
}

/// Keys of a properties file. Bounds keep the cost of the rules within the API server's budget.
fn properties(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "maxProperties": 128,
        "additionalProperties": { "type": "string", "maxLength": 4096 },
    })
}

fn free_object(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "object", "x-kubernetes-preserve-unknown-fields": true })
}

/// Name of a broker group: RocketMQ's broker name, and the StatefulSet's.
pub fn group_name(cluster: &str, group: u32) -> String {
    format!("{cluster}-broker-{group}")
}

#[cfg(test)]
mod tests {
    use super::Image;

    #[test]
    fn image_references_are_read_and_written_alike() {
        for text in ["a:1", "r.example:5000/a/b:1.0", "a@sha256:00ff"] {
            assert_eq!(text.parse::<Image>().map(|image| image.reference()).as_deref(), Ok(text));
        }
        assert_eq!(
            "r.example:5000/a".parse::<Image>().map(|image| image.reference()).as_deref(),
            Ok("r.example:5000/a:latest")
        );
        for text in ["", ":1", "a:", "a@"] {
            assert!(text.parse::<Image>().is_err(), "{text}");
        }
    }
}
