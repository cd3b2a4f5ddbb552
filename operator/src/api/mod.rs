//! The kinds that users write: `RocketMQCluster`, `RocketMQTopic`, `RocketMQConsumerGroup`.
//!
//! Types, defaults, schema and the rules (CEL) of the API server live here and nothing else: no
//! client, no clock, no judgement that needs to observe the cluster. `crds/` and the chart's copies
//! are generated from these types.
//!
//! Two habits hold in this module. A field stands here only when something in this repository
//! serves it. Every refusal that can be decided from the object alone is a CEL rule whose message
//! says what to write instead, so that `kubectl apply` and `rocketmq up` refuse the same manifest
//! with the same words.
//!
//! Integers are `i32` although none may be negative: the API server knows the format `int32` and
//! warns about `uint32`.

// The schema derive copies each struct into a function body, where `pub` has no effect.
#![allow(unreachable_pub)]

pub mod cluster;
pub mod condition;
pub mod consumer_group;
pub mod reference;
pub mod settings;
pub mod topic;

pub use cluster::RocketMQCluster;
pub use consumer_group::RocketMQConsumerGroup;
pub use topic::RocketMQTopic;

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

/// The API group of all our kinds.
pub const GROUP: &str = "rocketmq.rs";
/// The one version that is served and stored.
pub const VERSION: &str = "v1alpha1";
/// On any of our objects: leave it and everything below it as it is, and say so in a condition.
pub const PAUSE_ANNOTATION: &str = "rocketmq.rs/pause";
/// On a topic or consumer group: let it be deleted although its brokers could not be asked.
pub const ABANDON_ANNOTATION: &str = "rocketmq.rs/abandon";

/// The cluster a topic or a consumer group lives in.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct ClusterRef {
    /// Name of the RocketMQCluster.
    #[schemars(length(min = 1, max = 63))]
    pub name: String,
    /// Its namespace; absent: the namespace of this object. A cluster admits other namespaces by
    /// spec.topics.allowedNamespaces.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63))]
    pub namespace: Option<String>,
}

/// How far the operator goes to make brokers equal the object.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub enum Management {
    /// Create, update, and write back what was changed on a broker by other means.
    #[default]
    Enforce,
    /// Create what is missing; a difference is told (Drifted), not corrected.
    CreateOnly,
    /// Never write; tell what differs.
    Observe,
}

/// What happens when the name already exists on a broker before the object does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub enum Adoption {
    /// Take it over when it equals the spec; otherwise refuse and show the difference.
    #[default]
    IfMatches,
    /// Take it over and change it to the spec.
    Always,
    /// Refuse.
    Never,
}

/// What happens on the brokers when the object is deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub enum DeletionPolicy {
    /// Nothing: messages and settings stay. No finalizer is set, so namespaces delete in any order.
    #[default]
    Retain,
    /// Delete there too, with everything in it.
    Delete,
    /// Delete there once nothing is left in it; until then the object stays and says what it waits
    /// for.
    DeleteIfEmpty,
}

/// Whether what the object names was made for it or found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub enum Origin {
    /// The operator created it.
    Created,
    /// It existed and was taken over.
    Adopted,
}
